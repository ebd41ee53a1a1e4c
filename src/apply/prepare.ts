/** Looks at everything that a run needs, and decides each step. Nothing is changed. */
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";

import { isConfigName, readConfig } from "../cni/config.ts";
import { seenBelow } from "../system/below.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { Failure, isSystemError, Objections, systemFailure } from "../errors.ts";
import { isBelow } from "../host/directory.ts";
import { digestOfLive, inspect, type Live } from "../host/inspect.ts";
import type { HeldAsset, HostRecord } from "../host/record.ts";
import { statePaths } from "../host/target.ts";
import { changedMeanwhile, type DirectorySteps, type FileStep } from "../host/transaction.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { Kind, Lists } from "./asset.ts";
import { chainOf } from "./chain.ts";
import { prepareConfigs, warnOfDuplicateNames, warnOfUnreadNames, type Validation } from "./config.ts";
import type { ManifestOptions, PreparedManifest } from "./manifest.ts";
import { decideInstall, decideUninstall, planSteps, type Decision, type Step, type StepResult } from "./plan.ts";
import { preparePlugins, type Content } from "./plugin.ts";
import { examineConfigs, type Changes } from "./proof.ts";
import { configsAfter, lookAtNeeds } from "./removal.ts";
import type { NodeView } from "./view.ts";

/** The kinds that are files on the node. */
export type FileKind = Exclude<Kind, "manifest">;

/** What is asked for and how, without the places on the node. */
export interface Wanted {
  lists: Partial<Record<Kind, Lists>>;
  owner: string;
  refresh: boolean;
  prune: boolean;
  takeOver: boolean;
  /** Read what is compared, also where nothing says that it has changed. */
  checksum: boolean;
  validate: Validation;
  /** Remove plugins that are still needed. */
  force: boolean;
  /** Removals that nobody asked for by name may leave the node without a configuration. */
  allowNoNetwork: boolean;
  configMode?: number | undefined;
  sources: Record<FileKind, string>;
  manifests: ManifestOptions;
}

/** A directory of the node as it is now. */
export interface Directory {
  path: string;
  record: HostRecord | undefined;
  /** Where what was there before is kept, by the descriptor of a directory that nobody else can have written to. */
  objects: string;
}

/** What of the node can be seen, asked for or not. */
export interface Surroundings {
  hostRoot: string;
  /** The directory of configurations, where it is there. */
  configDirectory: string | undefined;
}

/** A run that is ready to be carried out. */
export interface Prepared {
  /** In the order in which they are reported. Manifests have a result for each object, once the API has been asked. */
  steps: (StepResult | PreparedManifest)[];
  /** What is to be written, by directory in kind order; those where nothing is to be written are left out. */
  parts: DirectorySteps[];
  /** The same, for after the objects of manifests have been deleted. */
  afterwards: DirectorySteps[];
  /** What is to be proved. Plugins are named by their source. */
  changes: Changes;
  warnings: string[];
  /** Plugins stay because of containers that may end. */
  isDraining: boolean;
}

/**
 * Reads, renders and validates all that is wanted, compares it with what is held and live, and decides.
 *
 * @throws Failure the first objection, which knows the others of its stage: to the sources, or to the steps.
 */
export async function prepare(
  wanted: Wanted,
  directories: Partial<Record<FileKind, Directory>>,
  surroundings: Surroundings,
  view: NodeView,
): Promise<Prepared> {
  const held = heldIn(directories);
  const steps = planSteps(wanted.lists, held, wanted);
  const { plugins, configs, manifests } = await readSources(steps, held, wanted, directories.config?.path ?? "");
  const objections = new Objections();
  const decisions = await Promise.allSettled(
    steps.map(async (step): Promise<Decided | PreparedManifest> => {
      if (step.kind === "manifest") return manifests.get(step) as PreparedManifest;
      const content = (step.kind === "plugin" ? plugins : configs.contents).get(step.name);
      return decide(step, wanted, directories[step.kind] as Directory, content, view);
    }),
  );
  const decided = decisions.flatMap((one) => objections.catch(() => resultOf(one)) ?? []);
  objections.throwIfAny();
  const network = keepNetwork(
    decided.filter((one) => "result" in one),
    wanted,
    surroundings,
  );
  const needed = keepNeeded(network.decided, wanted, surroundings);
  const files = needed.decided;
  for (const { file } of files) objections.catch(() => refuseMissingBackup(file, directories));
  objections.throwIfAny();
  const warningsOfSteps = decided.flatMap((one) => ("warning" in one ? (one.warning ?? []) : []));
  const records = [...manifests.values()].filter(({ asset, held: before }) => asset !== before);
  const [kept, dropped] = [
    records.filter(({ asset }) => asset !== undefined),
    records.filter(({ asset }) => asset === undefined),
  ];
  const final = files[Symbol.iterator]();
  return {
    steps: decided.map((one) => ("result" in one ? (final.next().value as Decided).result : one)),
    parts: partsOf(directories, [...files, ...kept.map(recordStep)]),
    afterwards: partsOf(directories, dropped.map(recordStep)),
    changes: changesOf(files, wanted, directories, surroundings),
    warnings: [
      ...configs.warnings,
      ...[...manifests.values()].flatMap((manifest) => manifest.warnings),
      ...warningsOfSteps,
      ...nameWarnings(files, directories.config?.path, configs.pointedTo),
      ...network.warnings,
      ...needed.warnings,
      ...(wanted.validate === "off" ? [] : unseenLinks(files, directories, surroundings.hostRoot)),
    ],
    isDraining: needed.isDraining,
  };
}

function resultOf<Result>(settled: PromiseSettledResult<Result>): Result {
  if (settled.status === "fulfilled") return settled.value;
  throw settled.reason;
}

interface Sources {
  plugins: ReadonlyMap<string, Content>;
  configs: Awaited<ReturnType<typeof prepareConfigs>>;
  manifests: ReadonlyMap<Step, PreparedManifest>;
}

/** @param directory of configurations. @throws Failure the first objection, which knows the others. */
async function readSources(
  steps: readonly Step[],
  held: readonly HeldAsset[],
  wanted: Wanted,
  directory: string,
): Promise<Sources> {
  const names = (kind: Kind): string[] =>
    steps.filter((step) => step.kind === kind && step.action === "install").map((step) => step.name);
  const objections = new Objections();
  const plugins = objections.catch(() => preparePlugins(wanted.sources.plugin, names("plugin"), wanted.checksum));
  const configs = await objections.catchLater(async () =>
    prepareConfigs(names("config"), {
      source: wanted.sources.config,
      directory,
      validate: wanted.validate,
      ...(wanted.configMode === undefined ? {} : { mode: wanted.configMode }),
    }),
  );
  const manifests = await objections.catchLater(async () => prepareManifests(steps, held, wanted));
  objections.throwIfAny();
  return { plugins, configs, manifests } as Sources;
}

/** A record tells of its own directory only: whoever can write one must not decide about another. */
function heldIn({ plugin, config }: Partial<Record<FileKind, Directory>>): HeldAsset[] {
  return [
    ...(plugin?.record?.assets ?? []).filter(({ kind }) => kind === "plugin"),
    ...(config?.record?.assets ?? []).filter(({ kind }) => kind !== "plugin"),
  ];
}

/** Removals that nobody asked for by name do not take the last configuration; the others say what it means. */
function keepNetwork(
  decided: Decided[],
  { allowNoNetwork }: Wanted,
  { configDirectory }: Surroundings,
): { decided: Decided[]; warnings: string[] } {
  const isRemoved = ({ result, file }: Decided): boolean =>
    result.kind === "config" && file?.effect === "remove" && isConfigName(result.name);
  if (configDirectory === undefined || !decided.some(isRemoved)) return { decided, warnings: [] };
  const left = [...configsIn(configDirectory, decided).keys()];
  if (left.some((name) => !name.includes("/"))) return { decided, warnings: [] };
  const isKept = (one: Decided): boolean => isRemoved(one) && one.isPruned === true && !allowNoNetwork;
  if (decided.some(isKept)) {
    const reason = "the node would be left without a CNI configuration; --allow-no-network removes it";
    return { decided: decided.map((one) => (isKept(one) ? keep(one, reason) : one)), warnings: [] };
  }
  const meaning =
    "no CNI configuration is left: the node becomes NotReady, new pods do not start, and containerd cannot remove the network of pods that end, until there is one again";
  return { decided, warnings: [`${configDirectory}: ${meaning}`] };
}

/** Plugins stay as long as something needs them (docs/reliability.md, 5). */
function keepNeeded(
  decided: Decided[],
  { force }: Wanted,
  { configDirectory, hostRoot }: Surroundings,
): { decided: Decided[]; warnings: string[]; isDraining: boolean } {
  const isRemoved = ({ result, file }: Decided): boolean => result.kind === "plugin" && file?.effect === "remove";
  if (force || !decided.some(isRemoved)) return { decided, warnings: [], isDraining: false };
  const configs = configDirectory === undefined ? undefined : configsIn(configDirectory, decided);
  const needs = lookAtNeeds(configs, hostRoot);
  let isDraining = false;
  const kept = decided.map((one) => {
    const need = isRemoved(one) ? needs.of(one.result.name) : undefined;
    if (need?.passing === true) isDraining = true;
    return need === undefined ? one : keep(one, need.reason);
  });
  const warnings = kept.some(isRemoved)
    ? needs.unseen.map((what) => `plugins are removed without knowing ${what}`)
    : [];
  return { decided: kept, warnings, isDraining };
}

function keep({ result: { texts: _texts, ...result } }: Decided, reason: string): Decided {
  return { result: { ...result, outcome: "kept", reason } };
}

/** Before anything is tried: a plan, too, says what cannot be put back. @throws Failure `backup-missing`. */
function refuseMissingBackup(file: FileStep | undefined, directories: Partial<Record<FileKind, Directory>>): void {
  const { path = "", objects = "" } = directories[file?.kind as FileKind] ?? {};
  if (file?.restores === undefined) return;
  const { type } = inspect(objects, file.restores);
  if (type === "file" || type === "link") return;
  const live = join(path, file.name);
  throw new Failure({
    code: "backup-missing",
    subject: live,
    problem: `what was there before cannot be put back: ${join(statePaths(path).objects, file.restores)} is ${type === "absent" ? "gone" : "no file any more"}`,
    hint: `remove ${live} by hand if it is to go, and run again`,
  });
}

/** What becomes of plugins and configurations. */
function changesOf(
  decided: readonly Decided[],
  { sources }: Wanted,
  directories: Partial<Record<FileKind, Directory>>,
  { configDirectory, hostRoot }: Surroundings,
): Changes {
  const plugins = new Map<string, string | undefined>();
  const restored = new Set<string>();
  const texts = new Map<string, string | undefined>();
  for (const { result, file } of decided) {
    const { kind, name } = result;
    const effect = file?.effect ?? "none";
    if (effect === "none") continue;
    if (effect === "restore") restored.add(name);
    // What cannot be seen is no text.
    if (kind === "config") texts.set(name, effect === "write" ? result.texts?.after : result.texts?.after || undefined);
    else if (effect === "write") plugins.set(name, join(sources.plugin, name));
    else if (effect === "remove") plugins.set(name, undefined);
    else {
      const path = restoredPlugin(file, directories.plugin, hostRoot);
      if (path !== undefined) plugins.set(name, path);
    }
  }
  const isSeen = configDirectory !== undefined && (plugins.size > 0 || texts.size > 0);
  return {
    plugins,
    restored,
    pluginDirectory: directories.plugin?.path ?? "",
    ...(isSeen
      ? {
          configs: {
            directory: configDirectory,
            before: readDirectoryListing(configDirectory),
            after: readDirectoryListing(configDirectory, texts),
            written: [...texts].filter(([, text]) => text !== undefined).map(([name]) => name),
          },
        }
      : {}),
  };
}

/** Undefined: it cannot be seen. */
function restoredPlugin(
  file: FileStep | undefined,
  directory: Directory | undefined,
  hostRoot: string,
): string | undefined {
  if (file?.restores === undefined || directory === undefined) return undefined;
  return asItWillStand(directory, file.restores, file.name, hostRoot);
}

/** Where the content of an object is that comes back: a link leads from its place in the directory. */
function asItWillStand(directory: Directory, object: string, name: string, hostRoot: string): string | undefined {
  return asItStands(join(directory.objects, object), join(directory.path, name), hostRoot);
}

/**
 * Where the content of a file is that is kept elsewhere and will stand at this path: a link is followed from there, as
 * the node does. Undefined: it leads to what cannot be seen from here, or to itself.
 */
export function asItStands(file: string, place: string, hostRoot: string): string | undefined {
  if (fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return file;
  const root = isBelow(place, hostRoot) ? hostRoot : "/";
  const target = fs.readlinkSync(file);
  const path = target.startsWith("/") ? target : `/${relative(root, dirname(place))}/${target}`;
  const seen = seenBelow(root, path);
  return seen !== undefined && seen !== place && fs.existsSync(seen) ? seen : undefined;
}

/** A link that comes back and leads to what cannot be seen is judged by nobody. */
function unseenLinks(
  files: readonly Decided[],
  directories: Partial<Record<FileKind, Directory>>,
  hostRoot: string,
): string[] {
  return files.flatMap(({ result: { name }, file }) => {
    const directory = directories[file?.kind as FileKind];
    if (file?.restores === undefined || directory === undefined) return [];
    if (asItWillStand(directory, file.restores, name, hostRoot) !== undefined) return [];
    const target = fs.readlinkSync(join(directory.objects, file.restores));
    return `${join(directory.path, name)}: what comes back is a link to ${target}, which is not there or not mounted, so that it was not tried`;
  });
}

/** The configurations as they will be after this run. */
function configsIn(directory: string, decided: readonly Decided[]): Map<string, string> {
  const configs = decided.filter(({ result, file }) => result.kind === "config" && file !== undefined);
  const removed = configs.filter(({ file }) => file?.effect === "remove").map(({ result }) => result.name);
  const written = configs.flatMap(({ result, file }): [string, string][] =>
    file?.effect === "write" || file?.effect === "restore" ? [[result.name, result.texts?.after ?? ""]] : [],
  );
  return configsAfter(directory, new Map(written), new Set(removed));
}

/** The code for manifests is loaded where there are some. */
async function prepareManifests(
  steps: readonly Step[],
  held: readonly HeldAsset[],
  wanted: Wanted,
): Promise<Map<Step, PreparedManifest>> {
  const own = steps.filter(({ kind }) => kind === "manifest");
  if (own.length === 0) return new Map();
  const { prepareManifest } = await import("./manifest.ts");
  const isRemoved = ({ name }: HeldAsset): boolean => {
    return own.some((step) => step.action === "uninstall" && step.name === name);
  };
  const staying = held.filter((asset) => asset.kind === "manifest" && !isRemoved(asset));
  const objections = new Objections();
  const prepared = new Map<Step, PreparedManifest>();
  for (const step of own) {
    const manifest = objections.catch(() => prepareManifest(step, heldAs(held, step), staying, wanted));
    if (manifest !== undefined) prepared.set(step, manifest);
  }
  objections.throwIfAny();
  return prepared;
}

function heldAs(held: readonly HeldAsset[], { kind, name }: Step): HeldAsset | undefined {
  return held.find((asset) => asset.kind === kind && asset.name === name);
}

/** Manifests have no file on the node, only a place in the record of the configurations' directory. */
function recordStep({ step: { kind, name }, asset }: PreparedManifest): { file: FileStep } {
  return { file: { kind, name, phase: "add", live: { type: "absent" }, effect: "none", keepLive: false, asset } };
}

function partsOf(
  directories: Partial<Record<FileKind, Directory>>,
  decided: readonly { file?: FileStep }[],
): DirectorySteps[] {
  const files = decided.flatMap(({ file }) => file ?? []);
  return (["plugin", "config"] as const).flatMap((kind) => {
    const directory = directories[kind]?.path;
    const steps = files.filter((file) => (file.kind === "plugin") === (kind === "plugin"));
    return directory === undefined || steps.length === 0 ? [] : [{ directory, steps }];
  });
}

interface Decided {
  result: StepResult;
  warning?: string;
  /** What is to be written to the directory or its record; undefined: nothing. */
  file?: FileStep;
  isPruned?: boolean;
}

async function decide(
  step: Step,
  wanted: Wanted,
  directory: Directory,
  content: Content | undefined,
  view: NodeView,
): Promise<Decided> {
  const { action, kind, name } = step;
  if (action === "leave") return leave(step, directory, view);
  const held = heldAs(directory.record?.assets ?? [], step);
  const live = inspect(directory.path, name);
  const decision = await decideStep(step, wanted, directory, live, content, view);
  const { outcome, reason, effect, keepLive, restores, seen, asset } = decision;
  const result: StepResult = { action, kind, name, outcome, ...(reason === undefined ? {} : { reason }) };
  if (kind === "config") Object.assign(result, textsOf(decision, directory, name, live, content, view));
  if (effect === "none" && !keepLive && asset === held) return { result };
  const file: FileStep = {
    kind,
    name,
    phase: action === "install" ? "add" : "remove",
    live,
    effect,
    keepLive,
    asset: asset === held ? held : withChain(asset, content),
    ...(restores === undefined ? {} : { restores }),
    ...(seen === undefined ? {} : { seen }),
    ...(content === undefined ? {} : { stage: async (path: string) => content.stage(path, live) }),
  };
  return { result, file, isPruned: step.pruned === true };
}

/** Whoever says that an asset is there and is wrong is told so: nobody else looks. */
function leave({ action, kind, name }: Step, directory: Directory, view: NodeView): Decided {
  const instead = lackOf(directory.path, name, view.places.hostRoot);
  if (instead === undefined) {
    return { result: { action, kind, name, outcome: "unchanged", reason: "in both lists, not compared" } };
  }
  const hint = "name it on the left of the colon only, or add --refresh, to have it installed";
  return {
    result: { action, kind, name, outcome: "absent", reason: `in both lists, but ${instead}` },
    warning: `${join(directory.path, name)}: is in both lists of --${kind}s, so that nothing is done, but ${instead}; ${hint}`,
  };
}

/** Why an asset counts as absent; undefined: it is there, as far as can be seen. */
function lackOf(directory: string, name: string, hostRoot: string): string | undefined {
  const { type } = inspect(directory, name);
  if (type === "file") return undefined;
  if (type === "absent") return "not on the node";
  if (type !== "link") return `${type === "directory" ? "a directory" : "a special file"} is in its place`;
  const root = isBelow(directory, hostRoot) ? hostRoot : "/";
  const target = seenBelow(root, join("/", relative(root, directory), name));
  const isHidden = hostRoot !== "/" && target !== undefined && !fs.existsSync(dirname(target));
  const isThere = target !== undefined && fs.existsSync(target);
  return isThere || isHidden ? undefined : "a link that leads nowhere is in its place";
}

function withChain(asset: HeldAsset | undefined, content: Content | undefined): HeldAsset | undefined {
  const chain = asset?.kind === "config" && content?.text !== undefined ? chainOf(asset.name, content.text) : undefined;
  return asset === undefined || chain === undefined ? asset : { ...asset, chain };
}

async function decideStep(
  step: Step,
  wanted: Wanted,
  directory: Directory,
  live: Live,
  content: Content | undefined,
  view: NodeView,
): Promise<Decision & { seen?: string }> {
  const held = heldAs(directory.record?.assets ?? [], step);
  try {
    return content === undefined
      ? await decideRemoval(step, wanted, directory, held, live, view)
      : await decideAddition(step, wanted, directory, held, live, content);
  } catch (error) {
    const path = join(directory.path, step.name);
    // It was there a moment ago.
    if (isSystemError(error, "ENOENT") && error.path === path) throw changedMeanwhile(path);
    throw systemFailure((error as NodeJS.ErrnoException).path ?? path, "cannot be read", error);
  }
}

async function decideAddition(
  { kind, name }: Step,
  { owner, takeOver, checksum }: Wanted,
  { path: directory }: Directory,
  held: HeldAsset | undefined,
  live: Live,
  content: Content,
): Promise<Decision & { seen?: string }> {
  const path = join(directory, name);
  const sameContent =
    live.stat?.size === BigInt(content.size) &&
    (await digestOfLive(path, live, checksum ? undefined : held?.seen)) === (await content.digest());
  const digest = held === undefined && !sameContent ? undefined : await content.digest();
  const decision = decideInstall({
    path,
    kind,
    name,
    owner,
    takeOver,
    held,
    live,
    mode: content.mode(live),
    sameContent,
    sameAsHeld: held?.digest === undefined ? sameContent : held.digest === digest,
    ...(digest === undefined ? {} : { digest }),
  });
  return decision.effect === "none" && sameContent && digest !== undefined ? { ...decision, seen: digest } : decision;
}

async function decideRemoval(
  { kind, name, pruned = false }: Step,
  { owner, validate, checksum }: Wanted,
  directory: Directory,
  held: HeldAsset | undefined,
  live: Live,
  view: NodeView,
): Promise<Decision> {
  const path = join(directory.path, name);
  const { hostRoot } = view.places;
  const backup = held?.before === undefined ? undefined : asItWillStand(directory, held.before, name, hostRoot);
  const expected = held?.digest ?? (await digestOfBackup(directory, held?.before));
  const ours =
    expected !== undefined && expected === (await digestOfLive(path, live, checksum ? undefined : held?.seen));
  const isProved = kind === "config" && backup !== undefined && validate !== "off";
  const objection = isProved ? await objectionTo(name, backup, directory.path, view) : undefined;
  return decideUninstall({
    path,
    owner,
    pruned,
    held,
    live,
    ours,
    ...(held?.before === undefined
      ? {}
      : {
          backup: {
            path: join(statePaths(directory.path).objects, held.before),
            ...(objection === undefined ? {} : { objection }),
          },
        }),
  });
}

/** Of a file that was there before and right: it is what is ours as long as it is what it was. */
async function digestOfBackup({ objects }: Directory, object: string | undefined): Promise<string | undefined> {
  if (object === undefined) return undefined;
  return digestOfLive(join(objects, object), inspect(objects, object), undefined);
}

/** Why a configuration that was there before must not come back: one broken file spoils the whole directory. */
async function objectionTo(
  name: string,
  backup: string,
  directory: string,
  view: NodeView,
): Promise<string | undefined> {
  const text = readConfigText(backup);
  if (!isConfigName(name) || text === undefined) return undefined;
  const read = readConfig(name, text);
  if ("objection" in read) return read.objection.message;
  const found = await examineConfigs(readDirectoryListing(directory, new Map([[name, text]])), view, [name]);
  return found.find(({ severity }) => severity === "error")?.message;
}

function readConfigText(path: string): string | undefined {
  return readTextIfPossible(path, SIZE_LIMITS.config);
}

function textsOf(
  { effect, restores }: Decision,
  directory: Directory,
  name: string,
  live: Live,
  content: Content | undefined,
  { places: { hostRoot } }: NodeView,
): Pick<StepResult, "texts"> {
  if (effect === "none") return {};
  const before = live.type === "file" ? (readConfigText(join(directory.path, name)) ?? "") : "";
  const kept = restores === undefined ? undefined : asItWillStand(directory, restores, name, hostRoot);
  const restored = kept === undefined ? "" : (readConfigText(kept) ?? "");
  return { texts: { before, after: content?.text ?? restored } };
}

function nameWarnings(
  decided: readonly Decided[],
  directory: string | undefined,
  pointedTo: ReadonlySet<string>,
): string[] {
  const configs = decided.filter(
    ({ result, file }) => result.kind === "config" && file?.effect !== "none" && file !== undefined,
  );
  const written = configs.filter(({ file }) => file?.effect === "write");
  if (directory === undefined || written.length === 0) return [];
  const texts = new Map(written.map(({ result }) => [result.name, result.texts?.after ?? ""]));
  const removed = new Set(configs.filter(({ file }) => file?.effect === "remove").map(({ result }) => result.name));
  return [
    ...warnOfDuplicateNames(directory, texts, removed),
    ...warnOfUnreadNames(directory, texts, removed, pointedTo),
  ];
}
