/** A doctor for any node: looks at everything and changes nothing, takes no lock, and needs no record. */
import * as fs from "node:fs";
import { join } from "node:path";

import { readCatalogue } from "../apply/catalogue.ts";
import { kubeconfigsOf } from "../apply/proof.ts";
import { configsAfter, lookAtAttachments } from "../apply/removal.ts";
import { NodeView } from "../apply/view.ts";
import { isConfigName } from "../cni/config.ts";
import { configFiles, type DirectoryListing, type Network } from "../cni/listing.ts";
import { readDirectoryListing } from "../cni/load.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure, isSystemError, systemFailure, throwIfInterrupted } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { DirectoryRequest } from "../host/directory.ts";
import { lookAtAddresses } from "./addresses.ts";
import { lookAtAssets, type Assets } from "./assets.ts";
import { lookAtKubeconfig } from "./credentials.ts";
import { lookAtModes, lookAtNames, writableFindings } from "./files.ts";
import { doubted, linksOf } from "./links.ts";
import {
  askPlugins,
  choose,
  chosenNetworks,
  comesFirst,
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
import { existing, findPlaces, isForeign, shownAs, type FoundPlaces, type TargetDirectory } from "./places.ts";
import { isVisible, shellWord } from "../system/text.ts";

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
  const places = findPlaces(request.directories, word, unseen);
  const { hostRoot, plugins: pluginDirectory, configs: configDirectory } = places;
  const view = new NodeView(
    {
      hostRoot,
      pluginDirectory: existing(pluginDirectory),
      configDirectory: existing(configDirectory),
      runtimePluginDirs: places.runtimePluginDirs,
    },
    signal,
  );
  throwIfInterrupted(signal);
  const targets = [pluginDirectory, configDirectory].filter((one) => one !== undefined);
  const assets = await lookAtAssets(targets, versionsOf(request.pluginSource), request.checksum);
  throwIfInterrupted(signal);
  const { networks, ...network } =
    configDirectory === undefined
      ? NOTHING
      : await lookAtPodNetwork(configDirectory, view, word, places, request, assets);
  throwIfInterrupted(signal);
  const attached = await attachmentsOf(networks, places, view, unseen);
  return {
    ...assets,
    ...network,
    rules: rulesOf(word, hostRoot),
    word,
    attachments: attached.attachments,
    configDirectory: configDirectory?.shown,
    unseen,
    findings: worstFirst(
      [
        ...findings,
        ...network.findings,
        ...assets.findings,
        ...attached.findings,
        ...withoutPlugins(pluginDirectory, hostRoot, network.plugins),
        ...otherPlugins(pluginDirectory, hostRoot, word, request.criSocket),
        ...targets.flatMap(({ path, shown }) => writableFindings(path, shown)),
        ...network.plugins.flatMap(({ path }) =>
          path === undefined ? [] : writableFindings(path, shownAs(path, hostRoot)),
        ),
        ...targets.flatMap((target) => linksOf(target, hostRoot).dangling),
      ].map((finding) => curedHere(finding, pluginDirectory, request)),
    ),
  };
}

interface PodNetwork extends Pick<NodeStatus, "findings" | "choices" | "files" | "plugins"> {
  /** Those that pods get, and those that these delegate to. */
  networks: Network[];
}

const NOTHING: PodNetwork = { findings: [], choices: undefined, files: [], plugins: [], networks: [] };

/** Where runtimes have other directories, too, and all that they need is in these, this one need not be there. */
function withoutPlugins(
  directory: TargetDirectory | undefined,
  hostRoot: string,
  plugins: readonly PluginStatus[],
): Finding[] {
  if (directory === undefined || fs.existsSync(directory.path)) return [];
  if (plugins.length > 0 && plugins.every(({ path }) => path !== undefined)) return [];
  return [
    {
      code: "plugin-directory-missing",
      // In a container it may be there, and not mounted.
      severity: hostRoot === "/" ? "error" : "warning",
      path: directory.shown,
      message: "is not there: runtimes find no plugin in it",
      hint: "cni-node install makes it; if the runtime has another one, name it: --plugin-dir",
    },
  ];
}

function otherPlugins(
  directory: TargetDirectory | undefined,
  hostRoot: string,
  word: RuntimeStatus | undefined,
  socket = "",
): Finding[] {
  if (directory === undefined || word === undefined || !isForeign(directory, hostRoot, word.pluginDirs)) return [];
  const where = word.pluginDirs?.join(" and ") ?? "";
  return [
    {
      code: "runtime-plugin-directory",
      severity: "warning",
      path: socket,
      message: `${word.name} looks for plugins in ${where}, and not in ${directory.shown}: what is installed there is not found`,
      hint: "install to the directory that it uses: --plugin-dir",
    },
  ];
}

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
      message: `the container runtime did not answer: ${error.message.slice(error.message.indexOf(": ") + 2)}`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return undefined;
  }
}

/** The network of the pods, and the files that it is made of. */
async function lookAtPodNetwork(
  directory: TargetDirectory,
  view: NodeView,
  word: RuntimeStatus | undefined,
  places: FoundPlaces,
  { criSocket = "" }: StatusRequest,
  { assets }: Assets,
): Promise<PodNetwork> {
  const { path, shown } = directory;
  refuseUnreadable(path);
  const links = linksOf(directory, places.hostRoot);
  const listing = readDirectoryListing(path, links.texts);
  const choices = await choose(listing, view, word);
  const rules = rulesOf(word, places.hostRoot);
  const [rule = "containerd"] = rules;
  const chosen = chosenNetworks(choices, rules);
  const networks = [...chosen, ...networksBehind(chosen, listing)];
  const plugins = await askPlugins(networks, view);
  const isOther = isForeign(directory, places.hostRoot, word?.configDir === undefined ? undefined : [word.configDir]);
  const configured = [...configFiles(listing), ...dropInsOf(listing)];
  const missing = new Set(assets.filter(({ state }) => state === "missing").map(({ name }) => name));
  const isMissed = (name: string): boolean => missing.has(name) || comesFirst(name, choices, rules);
  return {
    findings: [
      ...(word === undefined ? [] : lookAtWord(word, choices, { rule, isOther, shown, socket: criSocket })),
      ...(await lookAtNetwork(listing, { choices, rules, plugins, shown }, view)).map((one) =>
        doubted(one, links, shown),
      ),
      ...kubeconfigFindings(networks, view),
      ...lookAtNames(listing, directory, isMissed),
      ...lookAtModes(configured, directory),
    ],
    choices,
    files: filesOf(choices),
    plugins,
    networks,
  };
}

/** Whoever may not read a file must not call it broken. @throws Failure */
function refuseUnreadable(directory: string): void {
  const entries = fs.existsSync(directory) ? entriesOf(directory) : [];
  for (const { name } of entries.filter(mayBeRead)) {
    try {
      fs.accessSync(join(directory, name), fs.constants.R_OK);
    } catch (error) {
      if (isSystemError(error, "EACCES", "EPERM")) throw systemFailure(join(directory, name), "cannot be read", error);
    }
  }
}

/** Directories may have plugins that are dropped in. */
function mayBeRead(entry: fs.Dirent): boolean {
  return isConfigName(entry.name) || (entry.isDirectory() && !entry.name.startsWith("."));
}

function entriesOf(directory: string): fs.Dirent[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    throw systemFailure(directory, "cannot be looked into", error);
  }
}

function dropInsOf({ dropIns }: DirectoryListing): string[] {
  return [...dropIns].flatMap(([network, entries]) =>
    typeof entries === "string"
      ? []
      : [...entries.keys()].filter((name) => name.endsWith(".conf")).map((name) => join(network, name)),
  );
}

function kubeconfigFindings(networks: readonly Network[], view: NodeView): Finding[] {
  const seen = (path: string): string | undefined => (path.startsWith("/") ? view.fileAt(path) : undefined);
  const paths = new Set(networks.flatMap(({ list }) => list.plugins.flatMap(kubeconfigsOf)));
  return [...paths].flatMap((path) => {
    const here = seen(path);
    return here === undefined ? [] : lookAtKubeconfig(here, path, seen, Date.now(), (named) => view.hasFile(named));
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
  networks: readonly Network[],
  places: FoundPlaces,
  view: NodeView,
  unseen: string[],
): Promise<{ attachments: AttachmentStatus[]; findings: Finding[] }> {
  const { hostRoot, configs } = places;
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
      hint: `install it until these pods are gone${isVisible(plugin) ? `: cni-node install --plugins=${shellWord(plugin)}` : ""}`,
    });
  }
  const remaining = new Set(living.map(({ containerId }) => containerId));
  const goneIds = new Set(gone.map(({ containerId }) => containerId)).difference(remaining);
  findings.push(...lookAtAddresses(networks, goneIds, hostRoot));
  return { attachments, findings };
}

function containersOf(attachments: readonly { containerId: string; plugins: string[] }[], plugin: string): number {
  return new Set(attachments.filter(({ plugins }) => plugins.includes(plugin)).map((one) => one.containerId)).size;
}

/** The cure is one that works when it is followed to the letter: from this image, into the directory that was looked at. */
function curedHere(
  finding: Finding,
  directory: TargetDirectory | undefined,
  { pluginSource, directories }: StatusRequest,
): Finding {
  const [command, plugin = "", owner] = /cni-node install --plugins=(\S+)( --owner=)?/u.exec(finding.hint ?? "") ?? [];
  if (command === undefined) return finding;
  // What has an owner came from an image that has it.
  if (owner === undefined && !fs.existsSync(join(pluginSource, plugin))) {
    const hint = `have whoever brings it install it again: restart its pod on this node; ${pluginSource} here does not have it`;
    return { ...finding, hint };
  }
  const { path, named, hostRoot } = directories.plugin;
  const isUsual = directory === undefined || (!named && directory.shown === shownAs(path, hostRoot));
  if (isUsual) return finding;
  return {
    ...finding,
    hint: finding.hint?.replace(`=${plugin}`, () => `=${plugin} --plugin-dir=${shellWord(directory.path)}`) ?? "",
  };
}

function worstFirst(findings: readonly Finding[]): Finding[] {
  const { error = [], warning = [], note = [] } = Object.groupBy(findings, ({ severity }) => severity);
  return [...error, ...warning, ...note];
}
