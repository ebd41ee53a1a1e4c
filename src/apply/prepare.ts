/** Looks at everything that a run needs, and decides each step. Nothing is changed. */
import { ALL_KINDS, byFileKind, FILE_KINDS, KINDS, type FileKind } from "../asset.ts";
import { Objections } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { assetsOf, type HeldAsset } from "../host/record.ts";
import type { SeenAsset } from "../host/remember.ts";
import type { DirectorySteps, FileStep } from "../host/transaction.ts";
import {
  isOfFile,
  type Changes,
  type Decided,
  type Desired,
  type Directories,
  type Kept,
  type Step,
  type StepResult,
  type Surroundings,
  type Wanted,
} from "../kinds/kind.ts";
import { withChain } from "../kinds/chained.ts";
import { renderPlugin } from "../kinds/configs.ts";
import { withDelegate } from "../kinds/delegate.ts";
import type { PreparedManifest } from "../kinds/manifest-plan.ts";
import { prepareManifests } from "../kinds/manifests.ts";
import { refuseMissingBackup, unseenLinks } from "../kinds/restore.ts";
import { FILES } from "../kinds/table.ts";
import type { NodeView } from "../node/view.ts";
import { decide } from "./decide.ts";
import { planSteps } from "./plan.ts";

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
  /** What else is to be said, once everything is written. */
  said: () => readonly Finding[];
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
  asked: Wanted,
  directories: Directories,
  surroundings: Surroundings,
  view: NodeView,
  objections: Objections,
): Promise<Prepared> {
  const held = heldIn(directories);
  const { config } = directories;
  const rendered = (of: Wanted) => async (names: readonly string[]) => {
    return textsOf(await FILES.config.read(names, of, config, new Objections(), view.signal));
  };
  const chained = await withChain(
    asked,
    config,
    {
      textsOf: rendered(asked),
      pluginOf: async (name) => renderPlugin(name, asked, config, objections, view.signal),
    },
    objections,
  );
  const { wanted, warnings: ofDelegate } = await withDelegate(
    chained.wanted,
    config,
    surroundings.hostRoot,
    rendered(chained.wanted),
    objections,
    view.signal,
  );
  const steps = planSteps(listsOf(wanted, held), held, wanted);
  const desired = await readFiles(steps, wanted, directories, objections, view.signal);
  const manifests = await prepareManifests(
    steps.filter((step) => !isOfFile(step)),
    held,
    wanted,
    objections,
  );
  const decided = await decideFiles(steps, desired, { wanted, directories, view }, objections);
  const kept = applyPolicies(decided, wanted, surroundings);
  const files = kept.decided.filter(({ step, file }) =>
    objections.catch(() => {
      refuseMissingBackup(file, directories[step.kind]);
      return true;
    }),
  );
  const results = new Map<Step, StepResult>(files.map(({ step, result }) => [step, result]));
  const records = [...manifests.values()].filter(({ asset, held: before }) => asset !== before);
  const dropped = records.filter(({ asset }) => asset === undefined);
  return {
    steps: steps.flatMap((step) => results.get(step) ?? manifests.get(step) ?? []),
    parts: partsOf(directories, [
      ...files.flatMap(({ step: { kind }, file }) => (file === undefined ? [] : [{ kind, file }])),
      ...records.filter((one) => !dropped.includes(one)).map(recordStep),
    ]),
    afterwards: partsOf(directories, dropped.map(recordStep)),
    seen: seenIn(directories, decided),
    changes: changesOf(steps, files, desired, { wanted, directories, surroundings }),
    warnings: [
      ...chained.warnings,
      ...ofDelegate,
      ...FILE_KINDS.flatMap((kind) => desired[kind].warnings),
      ...[...manifests.values()].flatMap((manifest) => manifest.warnings),
      ...decided.flatMap((one) => one.warning ?? []),
      ...FILE_KINDS.flatMap((kind) => desired[kind].warningsOf?.(changedOf(kind, files)) ?? []),
      // Of a run that is refused, not all is known that will be there.
      ...(objections.any ? [] : kept.warnings),
      ...(wanted.validate === "off" ? [] : unseenLinks(files, directories, surroundings.hostRoot)),
    ],
    said: () => FILE_KINDS.flatMap((kind) => desired[kind].said?.() ?? []),
    isDraining: kept.isDraining,
  };
}

/** A record counts for its own directory only: a user who can write one must not decide about another. */
function heldIn(directories: Directories): HeldAsset[] {
  return ALL_KINDS.flatMap((kind) => assetsOf(directories[KINDS[kind].recordedIn]?.record, kind));
}

function textsOf({ contents }: Desired): Map<string, string> {
  const texts = Array.from(contents, ([name, { text }]) => [name, text] as const);
  return new Map(texts.filter((one): one is readonly [string, string] => one[1] !== undefined));
}

/** What is asked for, with what belongs to it. */
function listsOf(wanted: Wanted, held: readonly HeldAsset[]): Wanted["lists"] {
  const listed = FILE_KINDS.flatMap((kind) => {
    const { [kind]: lists } = wanted.lists;
    const { listed: withMore } = FILES[kind];
    if (lists === undefined || withMore === undefined) return [];
    const names = held.filter((asset) => asset.kind === kind).map(({ name }) => name);
    return [[kind, withMore(lists, names, wanted)] as const];
  });
  return { ...wanted.lists, ...Object.fromEntries(listed) };
}

async function readFiles(
  steps: readonly Step[],
  wanted: Wanted,
  directories: Directories,
  objections: Objections,
  signal: AbortSignal,
): Promise<Record<FileKind, Desired>> {
  const desired: Partial<Record<FileKind, Desired>> = {};
  for (const kind of FILE_KINDS) {
    const names = steps.filter((step) => step.kind === kind && step.action === "install").map(({ name }) => name);
    desired[kind] = await FILES[kind].read(names, wanted, directories[kind], objections, signal);
  }
  return desired as Record<FileKind, Desired>;
}

/** What decisions are made upon. */
interface About {
  wanted: Wanted;
  directories: Directories;
}

async function decideFiles(
  steps: readonly Step[],
  desired: Record<FileKind, Desired>,
  { wanted, directories, view }: About & { view: NodeView },
  objections: Objections,
): Promise<Decided[]> {
  const decisions = steps.filter(isOfFile).map(async (step) => {
    const content = desired[step.kind].contents.get(step.name);
    const directory = directories[step.kind];
    if (directory === undefined || (step.action === "install" && content === undefined)) return undefined;
    return decide(step, wanted, directory, content, view);
  });
  const settled = await Promise.allSettled(decisions);
  return settled.flatMap((one) => objections.catch(() => resultOf(one)) ?? []);
}

function resultOf<Result>(settled: PromiseSettledResult<Result>): Result {
  if (settled.status === "fulfilled") return settled.value;
  throw settled.reason;
}

/** Keeps assets, in the order of removal: what stays of one kind may need what is to be removed of the next. */
function applyPolicies(decided: Decided[], wanted: Wanted, surroundings: Surroundings): Kept {
  const kept: Kept = { decided, warnings: [], isDraining: false };
  for (const kind of FILE_KINDS.toReversed()) {
    const next = FILES[kind].keep(kept.decided, wanted, surroundings);
    kept.decided = next.decided;
    kept.warnings.push(...next.warnings);
    kept.isDraining ||= next.isDraining;
  }
  return kept;
}

function seenIn(directories: Directories, decided: readonly Decided[]): Prepared["seen"] {
  const found = decided.flatMap(({ step: { kind, name }, seen }) => (seen === undefined ? [] : [{ kind, name, seen }]));
  return Map.groupBy(found, ({ kind }) => directories[kind]?.path ?? "");
}

/** The files of a kind that change. */
function changedOf(kind: FileKind, files: readonly Decided[]): Decided[] {
  return files.filter(({ step, file }) => step.kind === kind && file !== undefined && file.effect !== "none");
}

/** What is to be proved. */
function changesOf(
  steps: readonly Step[],
  files: readonly Decided[],
  desired: Record<FileKind, Desired>,
  { wanted, directories, surroundings }: About & { surroundings: Surroundings },
): Changes {
  const restored = files.filter(({ file }) => file?.effect === "restore").map(({ step: { name } }) => name);
  const nothing: Changes = {
    plugins: new Map(),
    entries: new Map(),
    files: new Map(),
    refused: new Set(),
    restored: new Set(restored),
    pluginDirectory: "",
  };
  if (FILE_KINDS.every((kind) => changedOf(kind, files).length === 0)) return nothing;
  const changes = FILE_KINDS.map((kind) => {
    const refused = steps.filter((step) => {
      return step.kind === kind && step.action === "install" && !desired[kind].contents.has(step.name);
    });
    return FILES[kind].changes(changedOf(kind, files), {
      wanted,
      desired: desired[kind],
      refused: new Set(refused.map(({ name }) => name)),
      directory: directories[kind],
      surroundings,
    });
  });
  return Object.assign(nothing, ...changes) as Changes;
}

/** Manifests have no file on the node, only a place in a record. */
function recordStep({ step: { kind, name }, asset }: PreparedManifest): RecordedStep {
  const file = { kind, name, phase: "add", live: { type: "absent" }, effect: "none", keepLive: false, asset } as const;
  return { kind: KINDS[kind].recordedIn, file };
}

/** A step, and the kind in whose directory it is recorded. */
interface RecordedStep {
  kind: FileKind;
  file: FileStep;
}

function partsOf(directories: Directories, steps: readonly RecordedStep[]): DirectorySteps[] {
  const own = byFileKind((kind) => steps.filter((step) => step.kind === kind).map(({ file }) => file));
  return FILE_KINDS.flatMap((kind) => {
    const directory = directories[kind]?.path;
    return directory === undefined || own[kind].length === 0 ? [] : [{ directory, steps: own[kind] }];
  });
}
