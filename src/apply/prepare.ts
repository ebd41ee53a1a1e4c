/** Looks at everything that a run needs, and decides each step. Nothing is changed. */
import { join } from "node:path";

import { readDirectoryListing } from "../cni/load.ts";
import type { Objections } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { HeldAsset, HostRecord } from "../host/record.ts";
import type { SeenAsset } from "../host/remember.ts";
import type { DirectorySteps, FileStep } from "../host/transaction.ts";
import { FILE_KINDS, type FileKind } from "../node/directory.ts";
import { KINDS, RECORDED_IN, type Kind, type Lists } from "./asset.ts";
import { prepareConfigs, warnOfDuplicateNames, warnOfUnreadNames, type Validation } from "./config.ts";
import { decide, heldAs, type Decided } from "./decide.ts";
import type { ManifestOptions, PreparedManifest } from "./manifest.ts";
import { planSteps, type Step, type StepResult } from "./plan.ts";
import { preparePlugins, type Content } from "./plugin.ts";
import { keepNeeded, keepNetwork } from "./policies.ts";
import type { Changes } from "./prove.ts";
import { refuseMissingBackup, restoredPlugin, unseenLinks } from "./restore.ts";
import type { NodeView } from "../node/view.ts";

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
  /** Files that were read and are right, by directory; the records do not say so yet. */
  seen: ReadonlyMap<string, readonly SeenAsset[]>;
  /** What is to be proved. Plugins are named by their source. */
  changes: Changes;
  warnings: Finding[];
  /** Plugins stay because of containers that may end. */
  isDraining: boolean;
}

/**
 * Reads, renders and validates all that is wanted, compares it with what is held and live, and decides.
 *
 * @param objections receives why the run is refused. The steps that are refused are left out of what is prepared.
 * @throws Failure `changed-meanwhile`, and what ends a run with another exit code than 1.
 */
export async function prepare(
  wanted: Wanted,
  directories: Partial<Record<FileKind, Directory>>,
  surroundings: Surroundings,
  view: NodeView,
  objections: Objections,
): Promise<Prepared> {
  const held = heldIn(directories);
  const steps = planSteps(wanted.lists, held, wanted);
  const { plugins, configs, manifests } = await readSources(
    steps,
    held,
    wanted,
    directories.config?.path ?? "",
    objections,
  );
  const decided: Decided[] = [];
  const decisions = steps.map(async (step) => {
    if (step.kind === "manifest") return undefined;
    const content = (step.kind === "plugin" ? plugins : configs.contents).get(step.name);
    if (step.action === "install" && content === undefined) return undefined;
    return decide(step, wanted, directories[step.kind] as Directory, content, view);
  });
  for (const settled of await Promise.allSettled(decisions)) {
    const one = objections.catch(() => resultOf(settled));
    if (one !== undefined) decided.push(one);
  }
  const network = keepNetwork(decided, wanted, surroundings);
  const needed = keepNeeded(network.decided, wanted, surroundings);
  const isPossible = ({ file }: Decided): boolean =>
    objections.catch(() => {
      refuseMissingBackup(file, directories);
      return true;
    }) === true;
  const files = needed.decided.filter(isPossible);
  const records = [...manifests.values()].filter(({ asset, held: before }) => asset !== before);
  const [kept, dropped] = [
    records.filter(({ asset }) => asset !== undefined),
    records.filter(({ asset }) => asset === undefined),
  ];
  const results = new Map(files.map(({ step, result }) => [step, result]));
  const refused = steps.filter(({ kind, action, name }) => {
    return kind === "plugin" && action === "install" && !plugins.has(name);
  });
  return {
    steps: steps.flatMap((step) => results.get(step) ?? manifests.get(step) ?? []),
    parts: partsOf(directories, [...files, ...kept.map(recordStep)]),
    afterwards: partsOf(directories, dropped.map(recordStep)),
    seen: Map.groupBy(decided.flatMap(seenAsset), ({ kind }) => directories[kind as FileKind]?.path ?? ""),
    changes: {
      ...changesOf(files, wanted, directories, surroundings),
      refused: new Set(refused.map(({ name }) => name)),
      entries: new Map(Array.from(plugins, ([name, { entry }]) => [name, entry])),
    },
    warnings: [
      ...configs.warnings,
      ...[...manifests.values()].flatMap((manifest) => manifest.warnings),
      ...decided.flatMap((one) => one.warning ?? []),
      ...nameWarnings(files, directories.config?.path, configs.pointedTo),
      // Of a run that is refused, not all is known that will be there.
      ...(objections.any ? [] : [...network.warnings, ...needed.warnings]),
      ...(wanted.validate === "off" ? [] : unseenLinks(files, directories, surroundings.hostRoot)),
    ],
    isDraining: needed.isDraining,
  };
}

function seenAsset({ step: { kind, name }, seen }: Decided): SeenAsset[] {
  return seen === undefined ? [] : [{ kind, name, seen }];
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

/** @param directory of configurations. */
async function readSources(
  steps: readonly Step[],
  held: readonly HeldAsset[],
  wanted: Wanted,
  directory: string,
  objections: Objections,
): Promise<Sources> {
  const names = (kind: Kind): string[] =>
    steps.filter((step) => step.kind === kind && step.action === "install").map((step) => step.name);
  const { sources, checksum, validate, configMode } = wanted;
  const plugins = objections.catch(() => preparePlugins(sources.plugin, names("plugin"), checksum, objections));
  const options = {
    source: sources.config,
    directory,
    validate,
    ...(configMode === undefined ? {} : { mode: configMode }),
  };
  const configs = await prepareConfigs(names("config"), options, objections);
  const manifests = await prepareManifests(steps, held, wanted, objections);
  return { plugins: plugins ?? new Map<string, Content>(), configs, manifests };
}

/** A record tells of its own directory only: whoever can write one must not decide about another. */
function heldIn(directories: Partial<Record<FileKind, Directory>>): HeldAsset[] {
  return KINDS.flatMap((kind) => {
    const assets = directories[RECORDED_IN[kind]]?.record?.assets ?? [];
    return assets.filter((asset) => asset.kind === kind);
  });
}

/** What becomes of plugins and configurations. */
function changesOf(
  decided: readonly Decided[],
  { sources }: Wanted,
  directories: Partial<Record<FileKind, Directory>>,
  { configDirectory, hostRoot }: Surroundings,
): Omit<Changes, "refused" | "entries"> {
  const plugins = new Map<string, string | undefined>();
  const restored = new Set<string>();
  const texts = new Map<string, string | undefined>();
  for (const { result, file } of decided) {
    const { kind, name } = result;
    const effect = file?.effect ?? "none";
    if (effect === "none") continue;
    if (effect === "restore") restored.add(name);
    // What cannot be seen is not text.
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

/** The code for manifests is loaded where there are some. */
async function prepareManifests(
  steps: readonly Step[],
  held: readonly HeldAsset[],
  wanted: Wanted,
  objections: Objections,
): Promise<Map<Step, PreparedManifest>> {
  const own = steps.filter(({ kind }) => kind === "manifest");
  if (own.length === 0) return new Map();
  const { prepareManifest } = await import("./manifest.ts");
  const isRemoved = ({ name }: HeldAsset): boolean => {
    return own.some((step) => step.action === "uninstall" && step.name === name);
  };
  const staying = held.filter((asset) => asset.kind === "manifest" && !isRemoved(asset));
  const prepared = new Map<Step, PreparedManifest>();
  for (const step of own) {
    const manifest = objections.catch(() => prepareManifest(step, heldAs(held, step), staying, wanted));
    if (manifest !== undefined) prepared.set(step, manifest);
  }
  return prepared;
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
  return FILE_KINDS.flatMap((kind) => {
    const directory = directories[kind]?.path;
    const steps = files.filter((file) => RECORDED_IN[file.kind as Kind] === kind);
    return directory === undefined || steps.length === 0 ? [] : [{ directory, steps }];
  });
}

function nameWarnings(
  decided: readonly Decided[],
  directory: string | undefined,
  pointedTo: ReadonlySet<string>,
): Finding[] {
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
