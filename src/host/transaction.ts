/**
 * Changes files in several directories whole or not at all, whatever ends the process: stage, commit, act, settle.
 * The record of each directory is the journal; docs/reliability.md tells what is on the disk after each step.
 * The caller holds the locks of all directories.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";

import {
  Failure,
  isSystemError,
  reasonOf,
  systemFailure,
  throwIfInterrupted,
  troubleOf,
  withFindings,
} from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { link, makeDirectory, remove, replace, reserve, syncDirectory, TEMPORARY } from "../system/disk.ts";
import { isSameInode } from "../system/inode.ts";
import { digestOfLive, inspect, isOnlyOurs, isUntouched, isUnwritten, seenAs, type Live } from "./inspect.ts";
import {
  isReleased,
  readRecord,
  recordOf,
  withoutAwaited,
  withoutPending,
  writeRecord,
  type Change,
  type HeldAsset,
  type HostRecord,
  type Pending,
} from "./record.ts";
import { isInPlaceOf, originOf, statePaths, type Target } from "./target.ts";

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
  /** The new file is made after what changes elsewhere, as the last thing before the commit point. */
  isLate?: boolean;
  /** The live file is somebody else's: keep it, and name it in the record as what was there before. */
  keepLive: boolean;
  /** Makes, as `stage`, what the record names as what was there before. */
  keeps?: (path: string) => Promise<string>;
  /** For `restore`: the object that comes back. */
  restores?: string;
  /** The digest of the live file, where it stays and its content is known. */
  liveDigest?: string;
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
   * Looks at what is about to go live, and throws if it must not. Returns what else is to be said of it.
   *
   * @param stagedAs where the new content of an asset is by now.
   */
  prove?: (stagedAs: (kind: string, name: string) => string | undefined) => Promise<Finding[]>;
  outside?: OutsideChange | undefined;
  /** Looks at what has gone live, and throws if it must not stay. Returns what else is to be said of it. */
  confirm?: (() => Promise<Finding[]>) | undefined;
}

/** The steps in one directory, in order. */
export interface DirectorySteps {
  directory: string;
  steps: FileStep[];
}

/** The same, with the directory held open. */
export interface TargetSteps {
  target: Target;
  steps: FileStep[];
}

/** One directory of a run that is to be committed, carried out or undone. */
interface Member {
  target: Target;
  /** As it was before the run; undefined: there was none. */
  record: HostRecord | undefined;
  id: string;
  changes: Change[];
  assets: HeldAsset[];
  /** The objects that go live, as they were when their content was known. */
  staged: Map<string, Live>;
}

/**
 * Carries out all steps or none.
 *
 * @returns what was found, and what of the book-keeping was left to the next run: all is done.
 * @throws Failure with exit code 1: nothing has changed, or it was undone. Exit code 4: not everything could be undone.
 * @throws Interrupted before the commit point. After it, signals are not looked at.
 */
export async function transact(
  parts: readonly TargetSteps[],
  signal: AbortSignal,
  { prove, outside, confirm }: Surrounding = {},
): Promise<Finding[]> {
  const members: Member[] = [];
  for (const part of parts) {
    throwIfInterrupted(signal);
    members.push(await stage(part));
  }
  const proved = (await prove?.((kind, name) => stagedAs(parts, members, kind, name))) ?? [];
  try {
    for (const member of members) refuseReplaced(member);
    throwIfInterrupted(signal);
    return [...proved, ...(await carryOut(parts, members, signal, { outside, confirm }))];
  } catch (error) {
    throw withFindings(error, proved);
  }
}

/** Makes what is staged and proved live. */
async function carryOut(
  parts: readonly TargetSteps[],
  members: readonly Member[],
  signal: AbortSignal,
  { outside, confirm }: Pick<Surrounding, "outside" | "confirm">,
): Promise<Finding[]> {
  const run = newId();
  try {
    await outside?.act();
    for (const [index, { steps }] of parts.entries()) await stageLate(members[index], steps, signal);
    throwIfInterrupted(signal);
    commit(run, members);
    const confirmed = await actOrUndo(run, members, { confirm });
    return [...confirmed, ...settle(run, members)];
  } catch (error) {
    throw outside === undefined ? error : await undoOutside(outside, error);
  }
}

/**
 * What goes live is what was proved: the proof runs plugins, and one that changes its own file must not go live changed.
 *
 * @throws Failure `changed-while-proved`.
 */
function refuseReplaced({ target, changes, staged }: Member): void {
  for (const { name, after } of changes) {
    if (after === null) continue;
    const [now, then] = [inspect(target.lockedState.objects, after), staged.get(after)];
    if (then === undefined && now.type === "absent") continue;
    if (then !== undefined && isUntouched(now, then)) continue;
    throw new Failure({
      code: "changed-while-proved",
      subject: join(target.path, name),
      problem: "its new file was changed while it was being tried; nothing was done",
      hint: "a plugin that changes its own file when it is run cannot be installed: ask who made it; else find out what else writes to .cni-node",
    });
  }
}

/** Undefined: nothing is staged for it, or not yet. */
function stagedAs(
  parts: readonly TargetSteps[],
  members: readonly Member[],
  kind: string,
  name: string,
): string | undefined {
  const index = parts.findIndex(({ steps }) => steps.some((step) => step.kind === kind && step.name === name));
  const object = members[index]?.changes.find((change) => change.name === name)?.after ?? undefined;
  return object === undefined ? undefined : join(parts[index]?.target.lockedState.objects ?? "", object);
}

async function actOrUndo(
  run: string,
  members: readonly Member[],
  { onForeign, confirm }: { onForeign?: (path: string) => void } & Pick<Surrounding, "confirm">,
): Promise<Finding[]> {
  const acted = new Set<Change>();
  try {
    act(members, acted, onForeign);
    return (await confirm?.()) ?? [];
  } catch (error) {
    return undo(run, members, acted, error);
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
async function stage({ target, steps }: TargetSteps): Promise<Member> {
  const { objects, spare } = target.lockedState;
  const shown = statePaths(target.path);
  const record = recordOf(target);
  attempt(shown.objects, "cannot be made", () => makeDirectory(objects, 0o700));
  attempt(shown.spare, "cannot be written", () => reserve(spare, SPARE_BYTES));
  const staged = await settled(steps.map((step) => stageStep(target, step)));
  attempt(shown.objects, "cannot be written", () => syncDirectory(objects));
  const touched = new Set(steps.map(({ kind, name }) => `${kind}/${name}`));
  const after = staged.flatMap(({ change }) => change?.after ?? []);
  return {
    target,
    record,
    id: record?.directory ?? newId(),
    staged: new Map(after.map((id) => [id, inspect(objects, id)] as const).filter(([, { type }]) => type !== "absent")),
    changes: staged.flatMap(({ change }) => (change === undefined ? [] : [change])),
    assets: [
      ...(record?.assets ?? []).filter(({ kind, name }) => !touched.has(`${kind}/${name}`)),
      ...staged.flatMap(({ asset }) => (asset === undefined ? [] : [asset])),
    ],
  };
}

/** Makes the files that had to wait. */
async function stageLate(member: Member | undefined, steps: readonly FileStep[], signal: AbortSignal): Promise<void> {
  const late = steps.filter((step) => step.isLate === true);
  if (member === undefined || late.length === 0) return;
  const { target, changes, assets, staged } = member;
  for (const step of late) {
    throwIfInterrupted(signal);
    const { after } = changes.find(({ name }) => name === step.name) ?? {};
    const asset = assets.find(({ kind, name }) => kind === step.kind && name === step.name);
    if (after === undefined || after === null || asset === undefined) continue;
    asset.digest = await stageFile(target, step, after);
    staged.set(after, inspect(target.lockedState.objects, after));
  }
  attempt(statePaths(target.path).objects, "cannot be written", () => syncDirectory(target.lockedState.objects));
}

async function stageStep(target: Target, step: FileStep): Promise<{ change?: Change; asset?: HeldAsset }> {
  const { name, phase, effect, live } = step;
  const before = effect === "none" && !step.keepLive ? null : keepLiveFile(target, name, live);
  const { after, digest } = await stageAfter(target, step);
  const kept = step.keepLive ? before : await stageKept(target, step);
  // Looked at again, for a new link changes the time of its last change.
  const now = inspect(target.here, name);
  const seen = step.liveDigest === undefined || !isOnlyOurs(now) ? undefined : seenAs(now, step.liveDigest);
  const asset = step.asset && {
    ...step.asset,
    ...(digest === undefined ? {} : { digest }),
    ...(kept === null ? {} : { before: kept }),
    ...(seen === undefined ? {} : { seen }),
  };
  return {
    ...(effect === "none" ? {} : { change: { name, phase, before, after } }),
    ...(asset === undefined ? {} : { asset }),
  };
}

async function stageAfter(
  target: Target,
  step: FileStep,
): Promise<{ after: string | null; digest?: string | undefined }> {
  if (step.effect === "restore" && step.restores !== undefined) return { after: step.restores };
  if (step.effect !== "write" || step.stage === undefined) return { after: null };
  const after = newId();
  return step.isLate === true ? { after } : { after, digest: await stageFile(target, step, after) };
}

async function stageKept(target: Target, { keeps, name }: FileStep): Promise<string | null> {
  if (keeps === undefined) return null;
  const object = newId();
  try {
    await keeps(join(target.lockedState.objects, object));
  } catch (error) {
    throw systemFailure(join(target.path, name), "what was there before cannot be kept", error);
  }
  return object;
}

/** Makes the new file. Returns its digest. */
async function stageFile(target: Target, step: FileStep, object: string): Promise<string | undefined> {
  try {
    return await step.stage?.(join(target.lockedState.objects, object));
  } catch (error) {
    throw systemFailure(join(target.path, step.name), "the new file cannot be written", error);
  }
}

/** Undo copy and backup in one: a second link to the live file. Returns its object id, null where nothing is live. */
function keepLiveFile(target: Target, name: string, live: Live): string | null {
  const path = join(target.path, name);
  const { objects } = target.lockedState;
  if (!isUnwritten(inspect(target.here, name), live)) throw changedMeanwhile(path);
  if (live.type === "absent") return null;
  const id = newId();
  try {
    link(join(target.here, name), join(objects, id));
  } catch (error) {
    throw cannotKeep(path, error);
  }
  if (!isUnwritten(inspect(objects, id), live)) throw changedMeanwhile(path);
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
    problem: "was changed by another program while this run looked at it; nothing was done",
    hint: "run again",
    passing: "configs",
  });
}

/** After the last record has been written the run will happen, whatever comes. */
function commit(run: string, members: readonly Member[]): void {
  if (members.length === 0) return;
  const directories = members.map(({ id, target }) => ({ id, path: target.path, origin: originOf(target) }));
  try {
    const decider = members.at(-1);
    if (members.length > 1 && decider !== undefined && decider.record === undefined) {
      write(decider.target, awaitedRecord(run, decider, members));
    }
    for (const member of members) {
      const pending: Pending = { run, directories, changes: member.changes, assets: member.assets };
      write(member.target, { ...recordBeside(member), pending });
    }
  } catch (error) {
    // A full disk has room for the records again once the new files are gone; a run that counts as committed needs them.
    const last = members.at(-1)?.target;
    const decided = last !== undefined && recordOf(last)?.pending?.run === run;
    if (!decided) for (const member of members) letGo(member);
    forget(run, members, error);
    throw error;
  }
}

function discardStaged({ target, changes, record }: Member): void {
  const kept = new Set(record?.assets.map((asset) => asset.before));
  for (const { after } of changes) {
    if (after !== null && !kept.has(after)) remove(join(target.lockedState.objects, after));
  }
}

function write(target: Target, record: HostRecord): void {
  attempt(statePaths(target.path).record, "cannot be written", () => writeRecord(target, record));
}

/** A member's record outside the run. */
function recordBeside({ record, id }: Member): HostRecord {
  return record === undefined ? { version: 1, directory: id, assets: [] } : withoutPending(record);
}

/** The same, kept for the journals of the other members to be recognised by. */
function awaitedRecord(run: string, member: Member, members: readonly Member[]): HostRecord {
  const by = members.map(({ id }) => id).filter((id) => id !== member.id);
  return by.length === 0 ? recordBeside(member) : { ...recordBeside(member), awaited: { run, by } };
}

/**
 * Carries out the changes; what is done already is left. A name that is neither before nor after belongs to others.
 *
 * @param acted receives the changes that are done, for `undo`.
 */
function act(members: readonly Member[], acted: Set<Change>, onForeign: (path: string) => void = refuseForeign): void {
  for (const phase of ["add", "remove"] as const) {
    for (const { target, changes } of phase === "add" ? members : members.toReversed()) {
      const own = changes.filter((change) => change.phase === phase);
      for (const change of own) changeFile(target, change, onForeign, acted);
      if (own.length > 0) attempt(target.path, "cannot be made durable", () => syncDirectory(target.here));
    }
  }
}

function refuseForeign(path: string): void {
  throw changedMeanwhile(path);
}

/** Makes what is wanted live, and notes that it is; a file that is neither before nor after is somebody else's. */
function changeFile(target: Target, change: Change, onForeign: (path: string) => void, acted: Set<Change>): void {
  const { name, before, after } = change;
  const path = join(target.path, name);
  if (!isLive(target, name, after)) {
    if (!isLive(target, name, before)) return onForeign(path);
    if (after === null) attempt(path, "cannot be removed", () => remove(join(target.here, name)));
    else putInPlace(target, name, after);
  }
  acted.add(change);
}

function putInPlace({ path, here, lockedState }: Target, name: string, object: string): void {
  attempt(join(path, TEMPORARY), "is in the way of cni-node's temporary file and cannot be removed", () =>
    remove(join(here, TEMPORARY)),
  );
  const from = join(lockedState.objects, object);
  attempt(join(path, name), "cannot be put in place", () => replace(from, here, name));
}

/** The inode decides: contents may be equal by chance. */
function isLive({ here, lockedState }: Target, name: string, object: string | null): boolean {
  const live = inspect(here, name);
  if (object === null) return live.type === "absent";
  const kept = inspect(lockedState.objects, object);
  return isSameInode(live.stat, kept.stat);
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
function undoPhase({ target, changes }: Member, phase: Change["phase"], acted: ReadonlySet<Change>): string[] {
  const stuck: string[] = [];
  const undoing = changes.filter((change) => change.phase === phase && acted.has(change)).toReversed();
  for (const { before, after, ...change } of undoing) {
    try {
      changeFile(target, { ...change, before: after, after: before }, refuseForeign, new Set());
    } catch (error) {
      stuck.push(`${join(target.path, change.name)} (${reasonOf(error)})`);
    }
  }
  try {
    if (undoing.length > 0) syncDirectory(target.here);
  } catch (error) {
    stuck.push(`${target.path} (${reasonOf(error)})`);
  }
  return stuck;
}

function notUndone(
  error: unknown,
  stuck: readonly string[],
  hint = "fix the cause and run any cni-node command that writes here: it finishes this run first",
): Failure {
  const { subject, problem } = troubleOf(error);
  return new Failure({
    code: "not-undone",
    subject,
    problem: `${problem}; undoing failed too, left as they are: ${stuck.join(", ")}`,
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
    for (const { target } of members) remove(target.lockedState.spare);
    for (const member of members.toReversed()) {
      if (recordOf(member.target)?.pending?.run === run) {
        writeRecord(member.target, awaitedRecord(run, member, members));
      }
    }
    for (const member of members) {
      if (member.record === undefined) remove(member.target.lockedState.record);
      else if (recordOf(member.target)?.awaited?.run === run) writeRecord(member.target, recordBeside(member));
    }
  } catch (error) {
    throw notUndone(cause, [`the journal (${reasonOf(error)})`]);
  }
}

/** Writes what is held now, the deciding directory last. */
function settle(run: string, members: readonly Member[]): Finding[] {
  for (const member of members) letGo(member);
  for (const member of members) {
    const record = member === members.at(-1) ? recordBeside(member) : awaitedRecord(run, member, members);
    const base = member.assets.length > 0 ? recordBeside(member) : record;
    try {
      writeRecord(member.target, { ...base, assets: member.assets.map((asset) => lookedAt(asset, member)) });
    } catch (error) {
      const hint = "everything is done, the next run finishes the book-keeping";
      return [
        warning(
          "record-unwritable",
          statePaths(member.target.path).record,
          `cannot be written: ${reasonOf(error)}`,
          hint,
        ),
      ];
    }
  }
  return [];
}

/** Takes the staged names of new files away; those that are live are from now on as they will be found again. */
function letGo(member: Member): void {
  try {
    discardStaged(member);
  } catch {
    // What is left is swept by the next run; until then the file is read when it is compared.
  }
}

/** The asset, with what its file is like if this run has written it and nobody has touched its content since. */
function lookedAt(asset: HeldAsset, { target, changes, staged }: Member): HeldAsset {
  const change = changes.find(({ name, after }) => name === asset.name && after !== null);
  const known = staged.get(change?.after ?? "");
  if (known === undefined || asset.digest === undefined || asset.owners.length === 0) return asset;
  const live = inspect(target.here, asset.name);
  const seen = isUnwritten(live, known) && isOnlyOurs(live) ? seenAs(live, asset.digest) : undefined;
  const { seen: _former, ...unseen } = asset;
  return seen === undefined ? unseen : { ...asset, seen };
}

/**
 * Finishes or undoes what an earlier run left in these directories.
 *
 * @param targets locked, in kind order.
 * @param visible as for `sweep`.
 * @returns what was done.
 * @throws Failure `recovery-incomplete` when a directory of that run is not here.
 */
export async function recover(targets: readonly Target[], visible: readonly string[]): Promise<Finding[]> {
  const notes = await finishRuns(targets, visible);
  for (const target of targets) {
    const record = recordOf(target);
    if (record?.awaited !== undefined && isReleased(target.path, record, visible)) {
      writeRecord(target, withoutAwaited(record));
    }
  }
  return notes;
}

async function finishRuns(targets: readonly Target[], visible: readonly string[]): Promise<Finding[]> {
  const notes: Finding[] = [];
  for (;;) {
    const found = targets.map((target) => ({ target, record: recordOf(target) }));
    const pending = found.find(({ record }) => record?.pending !== undefined)?.record?.pending;
    if (pending === undefined) return notes;
    notes.push(...(await recoverRun(pending, found, visible)));
  }
}

async function recoverRun(
  { run, directories }: Pending,
  found: readonly { target: Target; record: HostRecord | undefined }[],
  visible: readonly string[],
): Promise<Finding[]> {
  const present = directories.flatMap(({ id, path, origin }) => {
    const member = found.find(({ record }) => record?.directory === id);
    if (member?.record !== undefined) return [{ target: member.target, record: member.record }];
    // A package upgrade may have emptied it, or made it anew: what it had to do with that run is gone for good.
    const isHere = visible.includes(path) && readRecord(path)?.directory !== id;
    if (origin !== undefined && isHere && isInPlaceOf(path, origin)) return [];
    throw recoveryIncomplete(found, run, path);
  });
  const begun = present.filter(({ record }) => record.pending?.run === run);
  const decider = present.find(({ record }) => record.directory === directories.at(-1)?.id);
  if (decider !== undefined && decider.record.pending?.run !== run) {
    for (const { target, record } of begun) writeRecord(target, withoutPending(record));
    return [finished(begun, "forgot a run that had been ended before it changed anything")];
  }
  const members = begun.map(({ target, record }) => memberOf(target, record));
  const foreign: string[] = [];
  if (!members.some(isLetGo)) await actOrUndo(run, members, { onForeign: (path) => foreign.push(path) });
  for (const member of members) await recogniseLive(member);
  for (const { path, message } of settle(run, members)) {
    throw new Failure({ code: "recovery-failed", subject: path, problem: message });
  }
  return [
    finished(members, "finished a run that had been interrupted"),
    ...foreign.map((path) =>
      warning("changed-by-others", path, "changed by another program since that run, left as it is"),
    ),
  ];
}

function finished(members: readonly { target: Target }[], message: string): Finding {
  return warning("run-finished", members.map(({ target }) => target.path).join(", "), message);
}

/** The second names of new files are taken away when everything is live, and not before. */
function isLetGo({ target, changes }: Member): boolean {
  const { objects } = target.lockedState;
  return changes.some(({ after }) => after !== null && inspect(objects, after).type === "absent");
}

/** Of a run that was killed, only the contents tell whether what is live is what it had staged. */
async function recogniseLive({ target, changes, assets, staged }: Member): Promise<void> {
  for (const { name, after } of changes) {
    const live = inspect(target.here, name);
    const digest = assets.find((asset) => asset.name === name)?.digest;
    if (after === null || digest === undefined) continue;
    if ((await digestOfLive(join(target.here, name), live, undefined)) === digest) staged.set(after, live);
  }
}

function memberOf(target: Target, record: HostRecord): Member {
  const { pending } = record;
  return {
    target,
    staged: new Map(),
    record: withoutPending(record),
    id: record.directory,
    changes: pending?.changes ?? [],
    assets: pending?.assets ?? [],
  };
}

function recoveryIncomplete(found: readonly { target: Target }[], run: string, path: string): Failure {
  return new Failure({
    code: "recovery-incomplete",
    subject: found.map(({ target }) => target.path).join(", "),
    problem: `an earlier run (${run}) was interrupted and cannot be finished: it also wrote to a directory that was at ${path} and is not here`,
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
