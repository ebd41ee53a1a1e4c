/** A doctor for any node: looks at everything and changes nothing, takes no lock, and needs no record. */
import * as fs from "node:fs";
import { join } from "node:path";

import { FILE_KINDS, isFileKind, type FileKind } from "../asset.ts";
import { readCatalogue } from "../node/catalogue.ts";
import { commandOf, withCommand } from "../node/cure.ts";
import { lookAtAttachments, type Attachments } from "../node/attachments.ts";
import { NodeView } from "../node/view.ts";
import type { RememberedAttachment } from "../cni/attachments.ts";
import { configFiles, loadFile, type DirectoryListing, type Network } from "../cni/listing.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { kubeconfigsOf } from "../cni/references.ts";
import { cureOfUntrusted } from "../cni/trust.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure, throwIfInterrupted } from "../errors.ts";
import type { Cure, Finding } from "../finding.ts";
import type { DirectoryRequest } from "../node/directory.ts";
import { rulesOf, type Rule } from "../node/runtime.ts";
import { shownAs } from "../system/below.ts";
import { entriesIn } from "../system/entries.ts";
import { Turns } from "../system/turns.ts";
import { lookAtAddresses } from "./addresses.ts";
import { lookAtAssets, type Assets } from "./assets.ts";
import { lookAtKubeconfig } from "./credentials.ts";
import { lookAtModes, lookAtNames, writableFindings } from "./files.ts";
import { doubted, linksOf, withoutNowhere } from "./links.ts";
import {
  askPlugins,
  choose,
  chosenNetworks,
  comesFirst,
  filesOf,
  lookAtNetwork,
  lookAtRuntime,
  networksBehind,
  type Choices,
  type FileStatus,
  type PluginStatus,
} from "./network.ts";
import { crowded, MOST_NOTES, Notes, type Noted } from "./notes.ts";
import { existing, findDirectories, isForeign, type FoundDirectories, type TargetDirectory } from "./directories.ts";
import { shellWord } from "../system/text.ts";
import { lookAtWatches, type WatchStatus } from "./watches.ts";

/** What is to be looked at. */
export interface StatusRequest {
  directories: Record<FileKind, DirectoryRequest>;
  /** Where the image's plugins and their catalogue are. */
  sources: Record<"plugin", string>;
  /** The container runtime's socket, if it is to be asked. */
  criSocket?: string | undefined;
  /** Read also what has not changed by its size, times and inode. */
  checksum: boolean;
  /** How long a plugin may take to answer VERSION, milliseconds. */
  versionLimit?: number | undefined;
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
  /** The processes that keep this node. */
  watches: WatchStatus[];
  /** What the runtime says of itself, if it was asked and answered. */
  runtime: RuntimeStatus | undefined;
  /** What could not be looked at, a sentence each. */
  unseen: string[];
}

/** How long the runtime may take to answer, milliseconds. */
const RUNTIME_LIMIT_MS = 5000;

/**
 * Looks at a node.
 *
 * @throws Failure `mount-missing` where there is nothing to look at; Interrupted.
 */
export async function lookAtNode(request: StatusRequest, signal: AbortSignal): Promise<NodeStatus> {
  const notes = new Notes();
  const runtime = request.criSocket === undefined ? undefined : await ask(request.criSocket, notes, signal);
  const directories = await findDirectories(request.directories, runtime, notes);
  const { hostRoot } = directories;
  const { plugin: pluginDirectory, config: configDirectory } = directories.targets;
  const view = new NodeView(
    {
      hostRoot,
      pluginDirectory: existing(pluginDirectory),
      configDirectory: existing(configDirectory),
      runtimePluginDirs: directories.runtimePluginDirs,
      versionLimit: request.versionLimit,
    },
    signal,
  );
  const turns = new Turns(signal);
  const targets = FILE_KINDS.flatMap((kind) => directories.targets[kind] ?? []);
  const options = { versions: versionsOf(request.sources.plugin), checksum: request.checksum };
  const assets = await lookAtAssets(targets, options, signal);
  const { networks, texts, ...network } =
    configDirectory === undefined
      ? NOTHING
      : await lookAtPodNetwork(configDirectory, view, { runtime, directories, turns }, request, assets);
  const attached = await findAttachments(networks, texts, hostRoot, view, turns);
  await lookAtKubeconfigs(kubeconfigsIn(networks, assets), view, notes, turns);
  const { watches, findings: watchFindings } = await lookAtWatches(targets);
  for (const target of targets) await turns.pause().then(() => notes.add(...crowdOf(target)));
  throwIfInterrupted(signal);
  const { assets: held, backups, unfinished } = assets;
  return {
    assets: held,
    backups,
    unfinished,
    ...network,
    rules: rulesOf(runtime, hostRoot),
    runtime,
    watches,
    attachments: attached.attachments,
    configDirectory: configDirectory?.shown,
    unseen: [...notes.unseen, ...network.unseen, ...assets.unseen, ...attached.unseen].slice(0, MOST_NOTES),
    findings: worstFirst(
      [
        ...notes.findings,
        ...network.findings,
        ...assets.findings,
        ...attached.findings,
        ...watchFindings,
        ...withoutPlugins(pluginDirectory, hostRoot, network.plugins),
        ...otherPlugins(pluginDirectory, hostRoot, runtime, request.criSocket),
        ...targets.flatMap(({ path, shown }) => writableFindings(path, shown)),
        ...network.plugins.flatMap(({ path }) =>
          path === undefined ? [] : writableFindings(path, shownAs(hostRoot, path)),
        ),
        ...targets.flatMap((target) => linksOf(target, hostRoot).dangling),
      ].map((finding) => curedHere(finding, directories, request)),
    ),
  };
}

/** More entries than these no directory of a node needs. */
const MOST_ENTRIES = 2000;

/** Runtimes and plugins read such a directory again and again. */
function crowdOf({ path, shown }: TargetDirectory): Finding[] {
  let count = 0;
  try {
    for (const _ of entriesIn(path)) if (++count > MOST_ENTRIES) return [crowded(shown)];
  } catch {
    // What keeps it from being looked into is told elsewhere.
  }
  return [];
}

interface PodNetwork extends Pick<NodeStatus, "findings" | "choices" | "files" | "plugins" | "unseen"> {
  /** Those that pods get, and those that these delegate to. */
  networks: Network[];
  /** The texts of all configurations. */
  texts: string[];
}

const NOTHING: PodNetwork = {
  findings: [],
  choices: undefined,
  files: [],
  plugins: [],
  unseen: [],
  networks: [],
  texts: [],
};

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
  runtime: RuntimeStatus | undefined,
  socket = "",
): Finding[] {
  if (directory === undefined || runtime === undefined || !isForeign(directory, hostRoot, runtime.pluginDirs))
    return [];
  const where = runtime.pluginDirs?.join(" and ") ?? "";
  return [
    {
      code: "runtime-plugin-directory",
      severity: "warning",
      path: socket,
      message: `${runtime.name} looks for plugins in ${where}, and not in ${directory.shown}: what is installed there is not found`,
      hint: "install to the directory that it uses: --plugin-dir=auto takes it",
    },
  ];
}

/** A client of runtimes is loaded only where one is asked. */
async function ask(socket: string, notes: Notes, signal: AbortSignal): Promise<RuntimeStatus | undefined> {
  const { askRuntime } = await import("../cri/status.ts");
  try {
    return await askRuntime(socket, { timeout: RUNTIME_LIMIT_MS, signal });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    notes.add({
      code: "runtime-silent",
      severity: "error",
      path: socket,
      message: `the container runtime did not answer: ${error.problem}`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return undefined;
  }
}

/** The network of the pods, and the files that it is made of. */
async function lookAtPodNetwork(
  directory: TargetDirectory,
  view: NodeView,
  { runtime, directories, turns }: { runtime: RuntimeStatus | undefined; directories: FoundDirectories; turns: Turns },
  { criSocket = "" }: StatusRequest,
  { assets }: Assets,
): Promise<PodNetwork> {
  const { shown } = directory;
  const notes = new Notes();
  const links = linksOf(directory, directories.hostRoot);
  const listing = listingOf(directory, links, notes);
  if (listing === undefined) return { ...NOTHING, ...notes.noted };
  const denied = deniedFiles(listing, shown);
  notes.addUnseen(...denied.values());
  const choices = await choose(listing, view, runtime);
  const rules = rulesOf(runtime, directories.hostRoot);
  const [rule = "containerd"] = rules;
  const chosen = chosenNetworks(choices, rules);
  const networks = [...chosen, ...networksBehind(chosen, listing)];
  const plugins = await askPlugins(networks, view);
  const isOther = isForeign(
    directory,
    directories.hostRoot,
    runtime?.configDir === undefined ? undefined : [runtime.configDir],
  );
  const configured = [...configFiles(listing), ...dropInsOf(listing)].slice(0, MOST_ENTRIES);
  const missing = new Set(assets.filter(({ state }) => state === "missing").map(({ name }) => name));
  const isMissed = (name: string): boolean => missing.has(name) || comesFirst(name, choices, rules);
  const found = await lookAtNetwork(listing, { choices, rules, plugins, shown }, view);
  notes.add(
    ...(runtime === undefined ? [] : lookAtRuntime(runtime, choices, { rule, isOther, shown, socket: criSocket })),
    ...found.flatMap((one) => unlessDenied(one, denied, shown)).map((one) => doubted(one, links, shown)),
    ...(await turns.all(lookAtNames(listing, directory, isMissed))),
    ...(await turns.all(lookAtModes(configured, directory, directories.hostRoot))),
  );
  const texts = Array.from(listing.entries.values(), (entry) => (entry.type === "file" ? entry.text : ""));
  return {
    ...notes.noted,
    choices,
    files: filesOf(choices),
    plugins,
    networks,
    texts: texts.filter((text) => text !== ""),
  };
}

/** Undefined: the directory cannot be read. */
function listingOf(
  { path, shown }: TargetDirectory,
  links: ReturnType<typeof linksOf>,
  notes: Notes,
): DirectoryListing | undefined {
  try {
    return withoutNowhere(readDirectoryListing(path, links.texts), links);
  } catch (error) {
    notes.addFailure(error, shown, (message) => ({
      code: "directory-unusable",
      severity: "error",
      path: shown,
      message,
    }));
    return undefined;
  }
}

/** The files that this user may not read, or that need one, and a sentence about each. */
function deniedFiles(listing: DirectoryListing, shown: string): Map<string, string> {
  const denied = new Map<string, string>();
  for (const file of configFiles(listing)) {
    const loaded = loadFile(file, listing);
    const { message = "", isDenied = false } = "objection" in loaded ? loaded.objection : {};
    if (!isDenied) continue;
    const path = join(shown, file);
    denied.set(path, `${path}: ${message}; run as root to see what it configures`);
  }
  return denied;
}

/** What is not known is not wrong: whoever may not read a file must not call it broken, nor the node without network. */
function unlessDenied(finding: Finding, denied: ReadonlyMap<string, string>, shown: string): Finding[] {
  if (denied.size === 0) return [finding];
  if (denied.has(finding.path) && finding.code.startsWith("config-")) return [];
  if (finding.path !== shown) return [finding];
  const message = "has configurations that this user may not read: which network pods get cannot be told";
  return [{ code: "network-unseen", severity: "warning", path: shown, message, hint: "run cni-node status as root" }];
}

function dropInsOf({ dropIns }: DirectoryListing): string[] {
  return [...dropIns].flatMap(([network, entries]) =>
    "reason" in entries
      ? []
      : [...entries.keys()].filter((name) => name.endsWith(".conf")).map((name) => join(network, name)),
  );
}

/** A node has one for each plugin that asks the API. */
const MOST_KUBECONFIGS = 100;

/** Those that configurations name, and our own, with the cure of our own. */
function kubeconfigsIn(networks: readonly Network[], { renewals }: Assets): Map<string, Cure | undefined> {
  const named = networks.flatMap(({ list }) => list.plugins.flatMap(kubeconfigsOf));
  return new Map([...named.map((path) => [path, undefined] as const), ...renewals]);
}

async function lookAtKubeconfigs(
  paths: ReadonlyMap<string, Cure | undefined>,
  view: NodeView,
  notes: Notes,
  turns: Turns,
): Promise<void> {
  const fileAt = (path: string): string | undefined => (path.startsWith("/") ? view.fileAt(path) : undefined);
  if (paths.size > MOST_KUBECONFIGS)
    notes.addUnseen(`kubeconfigs: all but the first ${MOST_KUBECONFIGS} of ${paths.size}`);
  for (const [path, cure] of [...paths].slice(0, MOST_KUBECONFIGS)) {
    await turns.pause();
    const here = fileAt(path);
    const isThere = (named: string): boolean | undefined => view.hasFile(named);
    const found = here === undefined ? undefined : lookAtKubeconfig(here, path, fileAt, Date.now(), isThere);
    notes.add(...(found?.findings ?? []).map((one) => (cure === undefined ? one : renewed(one, cure))));
    notes.addUnseen(
      ...(found?.unseen ?? []),
      ...(view.hasFile(path) === undefined ? [`${path}: whether it is there`] : []),
    );
  }
}

/** Our own credentials are renewed by our own command. */
function renewed(finding: Finding, cure: Cure): Finding {
  if (!/^(?:credentials|kubeconfig)-/u.test(finding.code) || finding.code === "kubeconfig-mode") return finding;
  return { ...finding, hint: "cni-node watch keeps it fresh; to renew it once", cure };
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

async function findAttachments(
  networks: readonly Network[],
  texts: readonly string[],
  hostRoot: string,
  view: NodeView,
  turns: Turns,
): Promise<Noted & { attachments: AttachmentStatus[] }> {
  const notes = new Notes();
  const found = await turns.all(lookAtAttachments(texts, hostRoot));
  noteAttachments(found, hostRoot, notes);
  const [living, gone] = [containersByPlugin(found.living), containersByPlugin(found.gone)];
  const plugins = [...new Set([...living.keys(), ...gone.keys()])].toSorted().slice(0, MOST_NOTES);
  const attachments = plugins.map((plugin) => {
    return { plugin, living: living.get(plugin)?.size ?? 0, gone: gone.get(plugin)?.size ?? 0 };
  });
  for (const { plugin, living: count } of attachments) {
    if (count === 0 || plugin.includes("/") || !("missing" in (await view.plugin(plugin)))) continue;
    const who = count === 1 ? "a container that was attached" : `${count} containers that were attached`;
    notes.add({
      code: "attachment-plugin-missing",
      severity: "warning",
      path: plugin,
      message: `is gone, and ${who} with it may still be there: CRI-O and Multus call it to remove them, and the pods stay Terminating`,
      hint: "install it until these pods are gone",
      cure: { kind: "plugin", name: plugin },
    });
  }
  const remaining = new Set(found.living.map(({ containerId }) => containerId));
  const containers = {
    living: remaining,
    gone: new Set(found.gone.map(({ containerId }) => containerId)).difference(remaining),
    ours: new Set(found.gone.filter(({ isOurs }) => isOurs).map(({ containerId }) => containerId)),
    areAll: found.directories.length > 0 && found.unseen.length + found.crowded.length === 0,
  };
  await turns.all(lookAtAddresses(networks, containers, hostRoot, notes));
  return { ...notes.noted, attachments };
}

function noteAttachments(
  { directories, damaged, untrusted, crowded: full, unseen }: Attachments,
  hostRoot: string,
  notes: Notes,
): void {
  if (directories.length === 0 && hostRoot !== "/") {
    notes.addUnseen(`${join(hostRoot, "var/lib/cni")}: the containers that were attached cannot be seen there`);
  }
  notes.add(...full.map(crowded));
  for (const { path, error } of unseen) {
    notes.addFailure(error, path, (message) => ({ code: "attachments-unreadable", severity: "error", path, message }));
  }
  for (const { path, objection } of untrusted.slice(0, MOST_NOTES)) {
    notes.add({
      code: "cache-untrusted",
      severity: "warning",
      path,
      message: `${objection}: others may have written what decides which plugins run as root, and cni-node network uses nothing of it`,
      hint: cureOfUntrusted(path),
    });
  }
  for (const { path, problem } of damaged.slice(0, MOST_NOTES)) {
    notes.add({
      code: "attachment-damaged",
      severity: "warning",
      path,
      message: `${problem}: the container cannot be deleted by it, and its addresses may stay taken`,
      hint: `see whether its container is gone, and then remove it: rm ${shellWord(path)}`,
    });
  }
}

function containersByPlugin(attachments: readonly RememberedAttachment[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { containerId, plugins } of attachments) {
    for (const plugin of plugins) {
      const containers = found.get(plugin);
      if (containers === undefined) found.set(plugin, new Set([containerId]));
      else containers.add(containerId);
    }
  }
  return found;
}

/** The command of the cure is for the directory that was looked at. */
function curedHere(finding: Finding, { targets }: FoundDirectories, request: StatusRequest): Finding {
  const { cure } = finding;
  if (cure === undefined) return finding;
  const { directories, sources } = request;
  const target = targetOf(cure);
  const command = commandOf(cure, target === undefined ? [] : elsewhere(targets[target], directories[target]));
  if (command === undefined || directories.plugin.hostRoot === "/") return withCommand(finding, sources, command);
  const words = cure.kind === "network" ? "--privileged --pid=host -v /var/lib/cni:/host/var/lib/cni" : "-v /:/host";
  return withCommand(finding, sources, `${command} (docker run --rm ${words} ${command})`);
}

/** The kind of the directory that a cure writes to, if it does. */
function targetOf({ kind }: Cure): FileKind | undefined {
  if (kind === "network") return undefined;
  if (kind === "chain") return "config";
  return isFileKind(kind) ? kind : undefined;
}

/** The option that names the directory, unless it is the usual one. */
function elsewhere(directory: TargetDirectory | undefined, request: DirectoryRequest): string[] {
  const { path, named, hostRoot, option } = request;
  const isUsual = directory === undefined || (!named && directory.shown === shownAs(hostRoot, path));
  return isUsual ? [] : [`${option}=${shellWord(directory.path)}`];
}

function worstFirst(findings: readonly Finding[]): Finding[] {
  const { error = [], warning = [], note: notes = [] } = Object.groupBy(findings, ({ severity }) => severity);
  const all = [...error, ...warning, ...notes];
  const rest = all.length - MOST_NOTES;
  if (rest <= 0) return all;
  const message = `has ${rest} more findings than are shown here`;
  const hint = "fix those that are shown, and look again";
  return [...all.slice(0, MOST_NOTES), { code: "more-findings", severity: "warning", path: "the node", message, hint }];
}
