/** A doctor for any node: looks at everything and changes nothing, takes no lock, and needs no record. */
import * as fs from "node:fs";
import { basename, dirname, join, relative } from "node:path";

import { readCatalogue } from "../apply/catalogue.ts";
import { kubeconfigsOf } from "../apply/proof.ts";
import { configsAfter, lookAtAttachments } from "../apply/removal.ts";
import { NodeView } from "../apply/view.ts";
import { isConfigName } from "../cni/config.ts";
import { seenBelow } from "../cni/invoke.ts";
import { configFiles, type DirectoryListing, type Network } from "../cni/listing.ts";
import { readDirectoryListing } from "../cni/load.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure, systemFailure, throwIfInterrupted } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { findDirectory, isBelow, type DirectoryRequest } from "../host/directory.ts";
import { lookAtAssets, type Assets, type TargetDirectory } from "./assets.ts";
import { lookAtKubeconfig } from "./credentials.ts";
import { lookAtModes, lookAtNames, writableFindings } from "./files.ts";
import {
  askPlugins,
  choose,
  chosenNetworks,
  filesOf,
  lookAtNetwork,
  lookAtWord,
  networksBehind,
  rulesOf,
  type Choices,
  type FileStatus,
  type PluginStatus,
  type Rule,
} from "./network.ts";

/** What is to be looked at. */
export interface StatusRequest {
  directories: Record<"plugin" | "config", DirectoryRequest>;
  /** Where the image's plugins and their catalogue are. */
  pluginSource: string;
  /** The container runtime's socket, if it is to be asked. */
  criSocket?: string;
  /** Read also what has not changed by its size, times and inode. */
  checksum: boolean;
}

/** How many containers were attached with a plugin. */
export interface AttachmentStatus {
  plugin: string;
  /** They may still be there. */
  living: number;
  /** They are gone, and nobody has deleted their attachment. */
  gone: number;
}

/** What was found on a node. */
export interface NodeStatus extends Pick<Assets, "assets" | "backups" | "unfinished"> {
  /** The worst first. */
  findings: Finding[];
  /** As the node sees it; undefined: it is not mounted, and nothing is said of the network. */
  configDirectory: string | undefined;
  /** What the runtimes take. */
  choices: Choices | undefined;
  /** The rules that count on this node. */
  rules: readonly Rule[];
  files: FileStatus[];
  /** Those that the pods' network needs. */
  plugins: PluginStatus[];
  attachments: AttachmentStatus[];
  /** What the runtime says of itself, if it was asked and answered. */
  word: RuntimeStatus | undefined;
  /** What could not be looked at, a sentence each. */
  unseen: string[];
}

/** How long the runtime may take to answer, milliseconds. */
const WORD_LIMIT = 5000;

/**
 * Looks at a node.
 *
 * @throws Failure `mount-missing` where there is nothing to look at, and where a directory cannot be read; Interrupted.
 */
export async function lookAtNode(request: StatusRequest, signal: AbortSignal): Promise<NodeStatus> {
  const findings: Finding[] = [];
  const unseen: string[] = [];
  const word = request.criSocket === undefined ? undefined : await ask(request.criSocket, findings, signal);
  const places = findPlaces(request, word, unseen);
  const { hostRoot, plugins: pluginDirectory, configs: configDirectory } = places;
  const view = new NodeView(
    {
      hostRoot,
      pluginDirectory: existing(pluginDirectory),
      configDirectory: existing(configDirectory),
      runtimePluginDirs: word?.pluginDirs,
    },
    signal,
  );
  throwIfInterrupted(signal);
  const network =
    configDirectory === undefined ? NOTHING : await lookAtPodNetwork(configDirectory, view, word, places, request);
  throwIfInterrupted(signal);
  const targets = [pluginDirectory, configDirectory].filter((one) => one !== undefined);
  const assets = await lookAtAssets(targets, versionsOf(request.pluginSource), request.checksum);
  const attached = await attachmentsOf(configDirectory, hostRoot, view, unseen);
  return {
    ...assets,
    ...network,
    rules: rulesOf(word),
    word,
    attachments: attached.attachments,
    configDirectory: configDirectory?.shown,
    unseen,
    findings: worstFirst([
      ...findings,
      ...network.findings,
      ...assets.findings,
      ...attached.findings,
      ...targets.flatMap(({ path, shown }) => writableFindings(path, shown)),
      ...network.plugins.flatMap(({ path }) =>
        path === undefined ? [] : writableFindings(path, shownAs(path, hostRoot)),
      ),
      ...targets.flatMap((target) => linksOf(target, hostRoot).dangling),
    ]),
  };
}

const NOTHING = { findings: [], choices: undefined, files: [], plugins: [] };

/** A client of runtimes is loaded only where one is asked. */
async function ask(socket: string, findings: Finding[], signal: AbortSignal): Promise<RuntimeStatus | undefined> {
  const { askRuntime } = await import("../cri/status.ts");
  try {
    return await askRuntime(socket, { timeout: WORD_LIMIT, signal });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    findings.push({
      code: "runtime-silent",
      severity: "error",
      path: socket,
      message: `the container runtime did not answer: ${error.message}`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return undefined;
  }
}

interface FoundPlaces {
  hostRoot: string;
  plugins: TargetDirectory | undefined;
  configs: TargetDirectory | undefined;
}

function findPlaces({ directories }: StatusRequest, word: RuntimeStatus | undefined, unseen: string[]): FoundPlaces {
  const hostRoot = seenBelow("/", directories.config.hostRoot) ?? directories.config.hostRoot;
  const failures: Failure[] = [];
  const find = (request: DirectoryRequest): TargetDirectory | undefined => {
    try {
      const path = findDirectory(request);
      return { path, shown: shownAs(path, hostRoot) };
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "mount-missing") throw error;
      failures.push(error);
      return undefined;
    }
  };
  const plugins = find(directories.plugin);
  const configs = find(ofRuntime(directories.config, hostRoot, word?.configDir));
  if (plugins === undefined && configs === undefined) {
    throw new Failure({
      code: "mount-missing",
      subject: hostRoot,
      problem: "there is nothing to look at: neither plugins nor configurations of a node are mounted below it",
      hint: "on the node itself say --host-root=/; in a container mount the node's directories, for example with docker run -v /:/host:ro",
    });
  }
  unseen.push(...failures.map((failure) => failure.message));
  return { hostRoot, plugins, configs };
}

/** The path as the node sees it, as far as that is known. */
function shownAs(path: string, hostRoot: string): string {
  return isBelow(path, hostRoot) ? join("/", relative(hostRoot, path)) : path;
}

/** Where the runtime reads its configurations, unless another directory is asked for. */
function ofRuntime(request: DirectoryRequest, hostRoot: string, configDir: string | undefined): DirectoryRequest {
  const path = configDir === undefined || request.named ? undefined : seenBelow(hostRoot, configDir);
  return path !== undefined && fs.existsSync(path) ? { ...request, path } : request;
}

function existing(directory: TargetDirectory | undefined): string | undefined {
  return directory !== undefined && fs.existsSync(directory.path) ? directory.path : undefined;
}

/** The network of the pods, and the files that it is made of. */
async function lookAtPodNetwork(
  directory: TargetDirectory,
  view: NodeView,
  word: RuntimeStatus | undefined,
  { hostRoot }: FoundPlaces,
  { criSocket = "" }: StatusRequest,
): Promise<Pick<NodeStatus, "findings" | "choices" | "files" | "plugins">> {
  const { path, shown } = directory;
  refuseUnreadable(path);
  const links = linksOf(directory, hostRoot);
  const listing = readDirectoryListing(path, links.texts);
  const choices = await choose(listing, view, word);
  const rules = rulesOf(word);
  const chosen = chosenNetworks(choices, rules);
  const networks = [...chosen, ...networksBehind(chosen, listing)];
  const plugins = await askPlugins(networks, view);
  const configured = [...configFiles(listing), ...dropInsOf(listing)];
  return {
    findings: [
      ...(word === undefined ? [] : lookAtWord(word, choices, { configDir: shown, shown, socket: criSocket })),
      ...(await lookAtNetwork(listing, { choices, rules, plugins, shown }, view)).map((one) =>
        doubted(one, links, shown),
      ),
      ...kubeconfigFindings(networks, directory, hostRoot),
      ...lookAtNames(listing, directory),
      ...lookAtModes(configured, directory),
    ],
    choices,
    files: filesOf(choices),
    plugins,
  };
}

/** Whoever may not read a file must not call it broken. @throws Failure */
function refuseUnreadable(directory: string): void {
  if (!fs.existsSync(directory)) return;
  for (const name of fs.readdirSync(directory)) {
    try {
      fs.accessSync(join(directory, name), fs.constants.R_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES" || code === "EPERM") throw systemFailure(join(directory, name), "cannot be read", error);
    }
  }
}

/** What the links in a directory lead to. Followed from here, they would lead elsewhere in this container. */
interface Links {
  /** The texts of the files that they lead to, by name. */
  texts: Map<string, string>;
  /** What those lead to that cannot be seen from here, by name. */
  hidden: Map<string, string>;
  /** Those that lead nowhere, and are no configurations: what is wrong with these is said otherwise. */
  dangling: Finding[];
}

function linksOf({ path, shown }: TargetDirectory, hostRoot: string): Links {
  const links: Links = { texts: new Map(), hidden: new Map(), dangling: [] };
  const entries = fs.existsSync(path) ? fs.readdirSync(path, { withFileTypes: true }) : [];
  for (const { name } of entries.filter((entry) => entry.isSymbolicLink())) {
    const target = isBelow(path, hostRoot) ? seenBelow(hostRoot, join(shown, name)) : seenBelow("/", join(path, name));
    const stat = target === undefined ? undefined : fs.statSync(target, { throwIfNoEntry: false });
    const leads = fs.readlinkSync(join(path, name));
    if (stat !== undefined) {
      if (stat.isFile() && isConfigName(name)) links.texts.set(name, fs.readFileSync(target ?? "", "utf8"));
    } else if (hostRoot !== "/" && target !== undefined && !fs.existsSync(dirname(target))) {
      links.hidden.set(name, leads);
    } else if (!isConfigName(name)) {
      const message = `is a link that leads nowhere (${leads})`;
      const hint = "remove it, or make what it leads to";
      links.dangling.push({ code: "link-dangling", severity: "warning", path: join(shown, name), message, hint });
    }
  }
  return links;
}

/** What would be an error if a link led nowhere may be none if its target is only not mounted. */
function doubted(finding: Finding, { hidden }: Links, shown: string): Finding {
  const leads = hidden.get(basename(finding.path));
  if (leads !== undefined && finding.code === "config-invalid") {
    return {
      code: "link-unseen",
      severity: "warning",
      path: finding.path,
      message: `is a link to ${leads}, which is not mounted: what it configures cannot be seen, and runtimes may take other files than is said here`,
      hint: "mount the directory that it leads to",
    };
  }
  return hidden.size > 0 && finding.path === shown ? { ...finding, severity: "warning" } : finding;
}

function dropInsOf({ dropIns }: DirectoryListing): string[] {
  return [...dropIns].flatMap(([network, entries]) =>
    typeof entries === "string"
      ? []
      : [...entries.keys()].filter((name) => name.endsWith(".conf")).map((name) => join(network, name)),
  );
}

function kubeconfigFindings(networks: readonly Network[], configs: TargetDirectory, hostRoot: string): Finding[] {
  const seen = (path: string): string | undefined => {
    const isConfig = isBelow(path, configs.shown);
    const here = isConfig ? join(configs.path, relative(configs.shown, path)) : seenBelow(hostRoot, path);
    return here !== undefined && fs.existsSync(here) ? here : undefined;
  };
  const paths = new Set(networks.flatMap(({ list }) => list.plugins.flatMap(kubeconfigsOf)));
  return [...paths].flatMap((path) => {
    const here = path.startsWith("/") ? seen(path) : undefined;
    return here === undefined ? [] : lookAtKubeconfig(here, path, seen, Date.now());
  });
}

/** By the digest of the binary. What is installed need not come from this image, so that a catalogue is not needed. */
function versionsOf(source: string): Map<string, string> {
  try {
    const entries = readCatalogue(source)?.plugins ?? [];
    return new Map(entries.flatMap(({ sha256, version }) => (version ? [[`sha256:${sha256}`, version]] : [])));
  } catch {
    return new Map();
  }
}

async function attachmentsOf(
  configs: TargetDirectory | undefined,
  hostRoot: string,
  view: NodeView,
  unseen: string[],
): Promise<{ attachments: AttachmentStatus[]; findings: Finding[] }> {
  const texts = configs === undefined ? undefined : configsAfter(configs.path, new Map(), new Set());
  const { living, gone, directories } = lookAtAttachments(texts, hostRoot);
  if (directories.length === 0 && hostRoot !== "/") {
    unseen.push(`${join(hostRoot, "var/lib/cni")}: the containers that were attached cannot be seen there`);
  }
  const plugins = [...new Set([...living, ...gone].flatMap((one) => one.plugins))].toSorted();
  const attachments = plugins.map((plugin) => ({
    plugin,
    living: containersOf(living, plugin),
    gone: containersOf(gone, plugin),
  }));
  const findings: Finding[] = [];
  for (const { plugin, living: count } of attachments) {
    if (count === 0 || plugin.includes("/") || !("missing" in (await view.plugin(plugin)))) continue;
    const who = count === 1 ? "a container that was attached" : `${count} containers that were attached`;
    findings.push({
      code: "attachment-plugin-missing",
      severity: "warning",
      path: plugin,
      message: `is gone, and ${who} with it may still be there: CRI-O and Multus call it to remove them, and the pods stay Terminating`,
      hint: `install it until these pods are gone: cni-node install --plugins=${plugin}`,
    });
  }
  return { attachments, findings };
}

function containersOf(attachments: readonly { containerId: string; plugins: string[] }[], plugin: string): number {
  return new Set(attachments.filter(({ plugins }) => plugins.includes(plugin)).map((one) => one.containerId)).size;
}

function worstFirst(findings: readonly Finding[]): Finding[] {
  const { error = [], warning = [] } = Object.groupBy(findings, ({ severity }) => severity);
  return [...error, ...warning];
}
