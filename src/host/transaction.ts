/**
 * Changes files in several directories whole or not at all, whatever ends the process: stage, commit, act, settle.
 * The record of each directory is the journal; docs/reliability.md tells what is on the disk after each step.
 * The caller holds the locks of all directories.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { Failure, isSystemError, reasonOf, systemFailure, throwIfInterrupted } from "../errors.ts";
import { link, makeDirectory, remove, replace, reserve, syncDirectory, TEMPORARY } from "./disk.ts";
import { inspect, isSameFile, seenAs, type Live } from "./inspect.ts";
import {
  isReleased,
  readRecord,
  statePaths,
  withoutAwaited,
  withoutPending,
  writeRecord,
  type Change,
  type HeldAsset,
  type HostRecord,
  type Pending,
} from "./record.ts";

/** What is to become of one asset of a directory: of its file, where it has one there, and of its record. */
export interface FileStep {
  kind: string;
  name: string;
  /** All additions, directory by directory, come before all removals, which go through the directories backwards. */
  phase: "add" | "remove";
  /** What was there when this was decided. If it has changed since, nothing is done. */
  live: Live;
  /** `restore`: the file that `asset.before` kept comes back. `none`: only the record changes. */
  effect: "write" | "remove" | "restore" | "none";
  /** For `write`: makes the new file at this path, durable, with mode and owner. Returns its digest. */
  stage?: (path: string) => Promise<string>;
  /** The live file is somebody else's: keep it, and name it in the record as what was there before. */
  keepLive: boolean;
  /** For `restore`: the object that comes back. */
  restores?: string;
  /** The digest of the live file, where it stays and its content is known. */
  seen?: string;
  /** What the record says of the name afterwards; `digest`, `before` and `seen` are filled in. Undefined: nothing. */
  asset: HeldAsset | undefined;
}

/** Something that changes elsewhere together with the files: after everything is staged, before the commit point. */
export interface OutsideChange {
  act(): Promise<void>;
  /** Puts back what `act` has done so far. Returns how much that was, and what could not be put back. */
  undo(): Promise<{ undone: number; stuck: string[] }>;
}

/** What else belongs to a run. */
export interface Surrounding {
  /**
   * Looks at what is about to go live, and throws if it must not.
   *
   * @param stagedAs where the new content of an asset is by now.
   */
  prove?: (stagedAs: (kind: string, name: string) => string | undefined) => Promise<void>;
  outside?: OutsideChange | undefined;
  /** Looks at what has gone live, and throws if it must not stay. */
  confirm?: (() => Promise<void>) | undefined;
}

/** The steps in one directory, in order. */
export interface DirectorySteps {
  directory: string;
  steps: FileStep[];
}

/** One directory of a run that is to be committed, carried out or undone. */
interface Member {
  directory: string;
  /** As it was before the run; undefined: there was none. */
  record: HostRecord | undefined;
  id: string;
  changes: Change[];
  assets: HeldAsset[];
}

/**
 * Carries out all steps or none.
 *
 * @returns warnings: all is done, but something of the book-keeping was left to the next run.
 * @throws Failure with exit code 1: nothing has changed, or it was undone. Exit code 4: not everything could be undone.
 * @throws Interrupted before the commit point. After it, signals are not looked at.
 */
export async function transact(
  parts: readonly DirectorySteps[],
  signal: AbortSignal,
  { prove, outside, confirm }: Surrounding = {},
): Promise<string[]> {
  const members: Member[] = [];
  for (const part of parts) {
    throwIfInterrupted(signal);
    members.push(await stage(part));
  }
  await prove?.((kind, name) => stagedAs(parts, members, kind, name));
  throwIfInterrupted(signal);
  const run = newId();
  try {
    await outside?.act();
    throwIfInterrupted(signal);
    commit(run, members);
    await actOrUndo(run, members, { confirm });
  } catch (error) {
    throw outside === undefined ? error : await undoOutside(outside, error);
  }
  return settle(run, members);
}

function stagedAs(
  parts: readonly DirectorySteps[],
  members: readonly Member[],
  kind: string,
  name: string,
): string | undefined {
  const index = parts.findIndex(({ steps }) => steps.some((step) => step.kind === kind && step.name === name));
  const object = members[index]?.changes.find((change) => change.name === name)?.after ?? undefined;
  return object === undefined ? undefined : join(statePaths(parts[index]?.directory ?? "").objects, object);
}

async function actOrUndo(
  run: string,
  members: readonly Member[],
  { onForeign, confirm }: { onForeign?: (path: string) => void } & Pick<Surrounding, "confirm">,
): Promise<void> {
  const acted = new Set<Change>();
  try {
    act(members, acted, onForeign);
    await confirm?.();
  } catch (error) {
    undo(run, members, acted, error);
  }
}

async function undoOutside(outside: OutsideChange, error: unknown): Promise<unknown> {
  const { undone, stuck } = await outside.undo();
  if (stuck.length > 0)
    return notUndone(error, stuck, "look at each and put it right by hand, or run again to go forward");
  if (error instanceof Failure && undone > 0) error.undone = true;
  return error;
}

/** Puts the new contents and a second name of everything that will be replaced into `objects/`, durably. */
async function stage({ directory, steps }: DirectorySteps): Promise<Member> {
  const { objects, spare } = statePaths(directory);
  const record = readRecord(directory);
  attempt(objects, "cannot be made", () => makeDirectory(objects, 0o700));
  attempt(spare, "cannot be written", () => reserve(spare, SPARE_BYTES));
  const staged = await settled(steps.map((step) => stageStep(directory, step)));
  attempt(objects, "cannot be written", () => syncDirectory(objects));
  const touched = new Set(steps.map(({ kind, name }) => `${kind}/${name}`));
  return {
    directory,
    record,
    id: record?.directory ?? newId(),
    changes: staged.flatMap(({ change }) => (change === undefined ? [] : [change])),
    assets: [
      ...(record?.assets ?? []).filter(({ kind, name }) => !touched.has(`${kind}/${name}`)),
      ...staged.flatMap(({ asset }) => (asset === undefined ? [] : [asset])),
    ],
  };
}

async function stageStep(directory: string, step: FileStep): Promise<{ change?: Change; asset?: HeldAsset }> {
  const { name, phase, effect, live } = step;
  const before = effect === "none" && !step.keepLive ? null : keepLiveFile(directory, name, live);
  const { after, digest } = await stageAfter(directory, step);
  // Looked at again, for a new link changes the time of its last change.
  const seen = step.seen === undefined ? undefined : seenAs(inspect(directory, name), step.seen);
  const asset = step.asset && {
    ...step.asset,
    ...(digest === undefined ? {} : { digest }),
    ...(step.keepLive && before !== null ? { before } : {}),
    ...(seen === undefined ? {} : { seen }),
  };
  return {
    ...(effect === "none" ? {} : { change: { name, phase, before, after } }),
    ...(asset === undefined ? {} : { asset }),
  };
}

async function stageAfter(directory: string, step: FileStep): Promise<{ after: string | null; digest?: string }> {
  if (step.effect === "restore" && step.restores !== undefined) return { after: step.restores };
  if (step.effect !== "write" || step.stage === undefined) return { after: null };
  const after = newId();
  const path = join(statePaths(directory).objects, after);
  try {
    return { after, digest: await step.stage(path) };
  } catch (error) {
    throw systemFailure(join(directory, step.name), "the new file cannot be written", error);
  }
}

/** Undo copy and backup in one: a second link to the live file. Returns its object id, null where nothing is live. */
function keepLiveFile(directory: string, name: string, live: Live): string | null {
  const path = join(directory, name);
  if (!isSameFile(inspect(directory, name), live)) throw changedMeanwhile(path);
  if (live.type === "absent") return null;
  const id = newId();
  try {
    link(path, join(statePaths(directory).objects, id));
  } catch (error) {
    throw cannotKeep(path, error);
  }
  if (!isSameFile(inspect(statePaths(directory).objects, id), live)) throw changedMeanwhile(path);
  return id;
}

function cannotKeep(path: string, error: unknown): Error {
  if (isSystemError(error, "ENOENT")) return changedMeanwhile(path);
  if (isSystemError(error, "EXDEV", "EBUSY")) {
    return new Failure({
      code: "file-is-mount",
      subject: path,
      problem: "cannot be replaced: the file is a mount of its own",
      hint: "mount the whole directory instead of the single file",
      cause: error,
    });
  }
  if (isSystemError(error, "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK")) {
    return new Failure({
      code: "no-hard-links",
      subject: path,
      problem: `cannot be kept for undoing: ${reasonOf(error)}`,
      hint: "cni-node needs a file system with hard links for its target directories",
      cause: error,
    });
  }
  return systemFailure(path, "cannot be kept for undoing", error);
}

/** Somebody else has changed a file while this run looked at it: look again. */
export function changedMeanwhile(path: string): Failure {
  return new Failure({
    code: "changed-meanwhile",
    subject: path,
    problem: "was changed by somebody else while this run looked at it; nothing was done",
    hint: "run again",
    passing: true,
  });
}

/** After the last record has been written the run will happen, whatever comes. */
function commit(run: string, members: readonly Member[]): void {
  if (members.length === 0) return;
  const directories = members.map(({ id, directory }) => ({ id, path: directory }));
  try {
    const decider = members.at(-1);
    if (members.length > 1 && decider !== undefined && decider.record === undefined) {
      write(decider.directory, awaitedRecord(run, decider, members));
    }
    for (const member of members) {
      const pending: Pending = { run, directories, changes: member.changes, assets: member.assets };
      write(member.directory, { ...recordOf(member), pending });
    }
  } catch (error) {
    // A full disk has room for the records again once the new files are gone; a run that counts as committed needs them.
    const decided = readRecord(members.at(-1)?.directory ?? "")?.pending?.run === run;
    if (!decided) for (const member of members) discardStaged(member);
    forget(run, members, error);
    throw error;
  }
}

function discardStaged({ directory, changes, record }: Member): void {
  const kept = new Set(record?.assets.map((asset) => asset.before));
  for (const { after } of changes) {
    if (after !== null && !kept.has(after)) remove(join(statePaths(directory).objects, after));
  }
}

function write(directory: string, record: HostRecord): void {
  attempt(statePaths(directory).record, "cannot be written", () => writeRecord(directory, record));
}

/** A member's record outside the run. */
function recordOf({ record, id }: Member): HostRecord {
  return record === undefined ? { version: 1, directory: id, assets: [] } : withoutPending(record);
}

/** The same, kept for the journals of the other members to be recognised by. */
function awaitedRecord(run: string, member: Member, members: readonly Member[]): HostRecord {
  const by = members.map(({ id }) => id).filter((id) => id !== member.id);
  return by.length === 0 ? recordOf(member) : { ...recordOf(member), awaited: { run, by } };
}

/**
 * Carries out the changes; what is done already is left. A name that is neither before nor after belongs to others.
 *
 * @param acted receives the changes that are done, for `undo`.
 */
function act(members: readonly Member[], acted: Set<Change>, onForeign: (path: string) => void = refuseForeign): void {
  for (const phase of ["add", "remove"] as const) {
    for (const { directory, changes } of phase === "add" ? members : members.toReversed()) {
      const own = changes.filter((change) => change.phase === phase);
      for (const change of own) changeFile(directory, change, onForeign, acted);
      if (own.length > 0) attempt(directory, "cannot be made durable", () => syncDirectory(directory));
    }
  }
}

function refuseForeign(path: string): void {
  throw changedMeanwhile(path);
}

/** Makes what is wanted live, and notes that it is; a file that is neither before nor after is somebody else's. */
function changeFile(directory: string, change: Change, onForeign: (path: string) => void, acted: Set<Change>): void {
  const { name, before, after } = change;
  const path = join(directory, name);
  if (!isLive(directory, name, after)) {
    if (!isLive(directory, name, before)) return onForeign(path);
    if (after === null) attempt(path, "cannot be removed", () => remove(path));
    else putInPlace(directory, name, after);
  }
  acted.add(change);
}

function putInPlace(directory: string, name: string, object: string): void {
  const temporary = join(directory, TEMPORARY);
  attempt(temporary, "is in the way of cni-node's temporary file and cannot be removed", () => remove(temporary));
  const from = join(statePaths(directory).objects, object);
  attempt(join(directory, name), "cannot be put in place", () => replace(from, directory, name));
}

/** The inode decides: contents may be equal by chance. */
function isLive(directory: string, name: string, object: string | null): boolean {
  const live = inspect(directory, name);
  if (object === null) return live.type === "absent";
  const kept = inspect(statePaths(directory).objects, object);
  return live.stat !== undefined && live.stat.ino === kept.stat?.ino && live.stat.dev === kept.stat.dev;
}

/**
 * Puts back what `act` has done, then forgets the run.
 *
 * @throws the failure that made it necessary, or one with exit code 4 that names what could not be undone.
 */
function undo(run: string, members: readonly Member[], acted: ReadonlySet<Change>, error: unknown): never {
  const stuck = (["remove", "add"] as const).flatMap((phase) =>
    (phase === "add" ? members.toReversed() : members).flatMap((member) => undoPhase(member, phase, acted)),
  );
  if (stuck.length > 0) throw notUndone(error, stuck);
  forget(run, members, error);
  if (error instanceof Failure && acted.size > 0) error.undone = true;
  throw error;
}

/** Goes on after an error: as much as can be is put back. Returns what could not. */
function undoPhase({ directory, changes }: Member, phase: Change["phase"], acted: ReadonlySet<Change>): string[] {
  const stuck: string[] = [];
  const undoing = changes.filter((change) => change.phase === phase && acted.has(change)).toReversed();
  for (const { before, after, ...change } of undoing) {
    try {
      changeFile(directory, { ...change, before: after, after: before }, refuseForeign, new Set());
    } catch (error) {
      stuck.push(`${join(directory, change.name)} (${reasonOf(error)})`);
    }
  }
  try {
    if (undoing.length > 0) syncDirectory(directory);
  } catch (error) {
    stuck.push(`${directory} (${reasonOf(error)})`);
  }
  return stuck;
}

function notUndone(
  error: unknown,
  stuck: readonly string[],
  hint = "mend the cause and run any cni-node command that writes here: it finishes this run first",
): Failure {
  return new Failure({
    code: "not-undone",
    subject: (error as Error).message,
    problem: `undoing failed too, left as they are: ${stuck.join(", ")}`,
    hint,
    exitCode: 4,
    cause: error,
  });
}

/** What a record without its journal may take: so much is kept free for `forget`. */
const SPARE_BYTES = 1 << 16;

/** Removes the journals, the deciding one first, so that a run killed here is never taken for committed. */
function forget(run: string, members: readonly Member[], cause: unknown): void {
  try {
    for (const { directory } of members) remove(statePaths(directory).spare);
    for (const member of members.toReversed()) {
      if (readRecord(member.directory)?.pending?.run === run) {
        writeRecord(member.directory, awaitedRecord(run, member, members));
      }
    }
    for (const member of members) {
      if (member.record === undefined) remove(statePaths(member.directory).record);
      else if (readRecord(member.directory)?.awaited?.run === run) writeRecord(member.directory, recordOf(member));
    }
  } catch (error) {
    throw notUndone(cause, [`the journal (${reasonOf(error)})`]);
  }
}

/** Writes what is held now, the deciding directory last. */
function settle(run: string, members: readonly Member[]): string[] {
  for (const member of members) letGo(member);
  for (const member of members) {
    const record = member === members.at(-1) ? recordOf(member) : awaitedRecord(run, member, members);
    const base = member.assets.length > 0 ? recordOf(member) : record;
    try {
      writeRecord(member.directory, { ...base, assets: member.assets.map((asset) => lookedAt(asset, member)) });
    } catch (error) {
      return [
        `${statePaths(member.directory).record}: cannot be written: ${reasonOf(error)}; everything is done, the next run finishes the book-keeping`,
      ];
    }
  }
  return [];
}

/** Takes the second name of each new file away, so that the file is from now on as it will be found again. */
function letGo(member: Member): void {
  try {
    discardStaged(member);
  } catch {
    // What is left is swept; until then the file is read when it is compared.
  }
}

/** The asset, with what its file is like if this run has written it. */
function lookedAt(asset: HeldAsset, { directory, changes }: Member): HeldAsset {
  const isWritten = changes.some(({ name, after }) => name === asset.name && after !== null);
  if (!isWritten || asset.digest === undefined || asset.owners.length === 0) return asset;
  const seen = seenAs(inspect(directory, asset.name), asset.digest);
  return seen === undefined ? asset : { ...asset, seen };
}

/**
 * Finishes or undoes what an earlier run left in these directories.
 *
 * @param directories locked, in kind order.
 * @param visible as for `sweep`.
 * @returns what was done, a sentence each.
 * @throws Failure `recovery-incomplete` when a directory of that run is not here.
 */
export async function recover(directories: readonly string[], visible: readonly string[]): Promise<string[]> {
  const notes = await finishRuns(directories);
  for (const directory of directories) {
    const record = readRecord(directory);
    if (record?.awaited !== undefined && isReleased(directory, record, visible)) {
      writeRecord(directory, withoutAwaited(record));
    }
  }
  return notes;
}

async function finishRuns(directories: readonly string[]): Promise<string[]> {
  const notes: string[] = [];
  for (;;) {
    const found = directories.map((directory) => ({ directory, record: readRecord(directory) }));
    const pending = found.find(({ record }) => record?.pending !== undefined)?.record?.pending;
    if (pending === undefined) return notes;
    notes.push(...(await recoverRun(pending, found)));
  }
}

async function recoverRun(
  { run, directories }: Pending,
  found: readonly { directory: string; record: HostRecord | undefined }[],
): Promise<string[]> {
  const present = directories.map(({ id, path }) => {
    const member = found.find(({ record }) => record?.directory === id);
    if (member?.record === undefined) throw recoveryIncomplete(found, run, path);
    return { directory: member.directory, record: member.record };
  });
  const begun = present.filter(({ record }) => record.pending?.run === run);
  if (present.at(-1)?.record.pending?.run !== run) {
    for (const { directory, record } of begun) writeRecord(directory, withoutPending(record));
    return ["forgot a run that had been ended before it changed anything"];
  }
  const members = begun.map(({ directory, record }) => memberOf(directory, record));
  const foreign: string[] = [];
  if (!members.some(isLetGo)) await actOrUndo(run, members, { onForeign: (path) => foreign.push(path) });
  for (const warning of settle(run, members)) {
    throw new Failure({ code: "recovery-failed", subject: "an earlier run", problem: warning });
  }
  return [
    "finished a run that had been ended half way",
    ...foreign.map((path) => `${path}: changed by somebody else since that run, left as it is`),
  ];
}

/** The second names of new files are taken away when everything is live, and not before. */
function isLetGo({ directory, changes }: Member): boolean {
  const { objects } = statePaths(directory);
  return changes.some(({ after }) => after !== null && inspect(objects, after).type === "absent");
}

function memberOf(directory: string, record: HostRecord): Member {
  const { pending } = record;
  return {
    directory,
    record: withoutPending(record),
    id: record.directory,
    changes: pending?.changes ?? [],
    assets: pending?.assets ?? [],
  };
}

function recoveryIncomplete(found: readonly { directory: string }[], run: string, path: string): Failure {
  return new Failure({
    code: "recovery-incomplete",
    subject: found.map(({ directory }) => directory).join(", "),
    problem: `an earlier run (${run}) was ended half way and cannot be finished: it also wrote to a directory that was at ${path} and is not here`,
    hint: "mount or name both directories (--plugin-dir, --config-dir) and run again; if the other one is gone for good, move the .cni-node directory of this one away: cni-node then forgets what it installed here",
  });
}

/** Waits for all before it throws the first error: nothing may still be writing when the caller sweeps. */
async function settled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason as Error;
    return result.value;
  });
}

function attempt(subject: string, problem: string, operation: () => void): void {
  try {
    operation();
  } catch (error) {
    throw systemFailure(subject, problem, error);
  }
}

function newId(): string {
  return randomBytes(8).toString("hex");
}
