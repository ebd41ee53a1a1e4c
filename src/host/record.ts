/** The record of a target directory: what cni-node wrote there, what was there before and, during a run, its journal. */
import * as fs from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

import { ALL_KINDS, type Kind } from "../asset.ts";
import { Failure, isAbsence, isSystemError, systemFailure } from "../errors.ts";
import { countValues, describeJsonError, isDeeperThan } from "../system/json.ts";
import { objectionToName, OWNER } from "../system/name.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { remove, removeDirectoryIfEmpty, removeLinks, replaceDurably, TEMPORARY } from "../system/disk.ts";
import { statePaths, Target } from "./target.ts";

/** A record may have been written by somebody else: what becomes a part of a path or of a decision is checked. */
const Name = v.pipe(
  v.string(),
  v.check((name) => objectionToName(name) === undefined, "it is not a file name"),
);
const Id = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/u, "it is not an id"));
const Digest = v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/u, "it is not a digest"));
const Integer = v.pipe(v.string(), v.regex(/^-?\d{1,20}$/u, "it is not a number"));
const Owner = v.pipe(v.string(), v.regex(OWNER, "it is not an owner"));
const Text = v.pipe(v.string(), v.maxLength(4096), v.regex(/^\P{Cc}*$/u, "it has control characters"));

const HeldObject = v.looseObject({
  apiVersion: Text,
  kind: Text,
  namespace: v.exactOptional(Text),
  name: Text,
});

/** A file that was looked at, and its content then. As long as nothing of it differs, the content need not be read. */
const SeenFile = v.looseObject({
  digest: Digest,
  size: Integer,
  /** Both in nanoseconds. */
  mtime: Integer,
  ctime: Integer,
  inode: Integer,
  device: Integer,
});

const HeldAsset = v.looseObject({
  /** With the kind, what it is known by. */
  name: Name,
  kind: v.picklist(ALL_KINDS),
  /** Who wants it there. Nobody: it was given back, or `before` could not be restored. */
  owners: v.array(Owner),
  /** Of a configuration list that we wrote, the digests of our parts: others may chain their plugins into it. */
  chain: v.exactOptional(
    v.object({ rest: v.string(), plugins: v.array(v.string()), types: v.exactOptional(v.array(v.string())) }),
  ),
  /**
   * Of a list that `--chain` edits: the plugins in it that are ours. The rest is somebody else's, so the asset has no
   * owners: an earlier version of cni-node leaves the file alone. `copyOf`: the whole file is ours, made of that one.
   */
  chained: v.exactOptional(
    v.object({
      entries: v.array(
        v.object({ from: Text, owner: Owner, type: Text, digest: Digest, wasThere: v.optional(v.literal(true)) }),
      ),
      copyOf: v.exactOptional(Name),
    }),
  ),
  /** Of credentials: whose token it is, `NAMESPACE/NAME`. */
  account: v.exactOptional(Text),
  /** What we wrote; absent where nothing of ours was ever written. */
  digest: v.optional(Digest),
  /** The live file, as it was when it was last found right. */
  seen: v.optional(SeenFile),
  /** The object that keeps the foreign file which was there before. */
  before: v.optional(Id),
  /** The file that is there was given back by an uninstall: it is no longer ours to remove. */
  givenBack: v.optional(v.boolean()),
  /** Of a manifest: the objects in the cluster that were applied from it. */
  objects: v.optional(v.array(HeldObject)),
});

const Change = v.looseObject({
  name: Name,
  phase: v.picklist(["add", "remove"]),
  /** The objects that are live before and after; null: no file. */
  before: v.nullable(Id),
  after: v.nullable(Id),
});

/** Which directory of the file system it was, and when, milliseconds: its state may be lost with all that is in it. */
const Origin = v.looseObject({ device: Integer, inode: Integer, time: Integer });

const Pending = v.looseObject({
  run: Id,
  /** All directories of the run in kind order; the record of the last one decides whether it was committed. */
  directories: v.pipe(v.array(v.looseObject({ id: Id, path: Text, origin: v.exactOptional(Origin) })), v.minLength(1)),
  changes: v.array(Change),
  /** What the record holds once the changes are live. */
  assets: v.array(HeldAsset),
});

const Record = v.looseObject({
  version: v.literal(1),
  /** Random: paths differ between containers, and an unmounted directory must not pass for this one. */
  directory: Id,
  assets: v.array(HeldAsset),
  pending: v.optional(Pending),
  /**
   * The journals of other directories may name this one: until they do not, its id must not go with its last asset, or
   * nobody could tell this directory from one that is not mounted.
   */
  awaited: v.optional(v.looseObject({ run: Id, by: v.array(Id) })),
});

/** A file that was looked at, and its content then. */
export type SeenFile = v.InferOutput<typeof SeenFile>;
/** What cni-node knows of one asset in a directory. */
export type HeldAsset = v.InferOutput<typeof HeldAsset>;
/** One file to be changed: which object is live before and after. */
export type Change = v.InferOutput<typeof Change>;
/** The journal of a run that is being carried out. */
export type Pending = v.InferOutput<typeof Pending>;
/** The content of `record.json`. Fields of later versions are kept. */
export type HostRecord = v.InferOutput<typeof Record>;

/**
 * Reads the record of a directory that need not exist; undefined where there is none.
 *
 * @throws Failure `state-untrusted`, `record-unreadable`, `record-newer`.
 */
export function readRecord(directory: string): HostRecord | undefined {
  return withTarget(directory, recordOf);
}

/** The same of a directory that is held open. */
export function recordOf({ path, state }: Target): HostRecord | undefined {
  if (state === undefined) return undefined;
  const shown = statePaths(path).record;
  let text: string;
  try {
    text = readText(state.record, SIZE_LIMITS.record, { follow: false });
  } catch (error) {
    if (isAbsence(error)) return undefined;
    if (error instanceof Failure) throw unreadable(shown, `it is larger than ${SIZE_LIMITS.record} bytes`);
    throw systemFailure(shown, "the record cannot be read", error);
  }
  return parseRecord(shown, text);
}

/** Undefined where there is no such directory. */
function withTarget<T>(directory: string, look: (target: Target) => T): T | undefined {
  let target: Target;
  try {
    target = Target.open(directory);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw systemFailure(directory, "cannot be opened", error);
  }
  using _ = target;
  return look(target);
}

/** The record that was read last: a run reads the same one several times. */
let last: { path: string; text: string; record: HostRecord } | undefined;
/** Longer texts are not kept. */
const KEPT = 256 * 1024;

function parseRecord(path: string, text: string): HostRecord {
  if (last?.path === path && last.text === text) return last.record;
  const record = parseText(path, text);
  if (text.length <= KEPT) last = { path, text, record };
  return record;
}

function parseText(path: string, text: string): HostRecord {
  let value: unknown;
  if (countValues(text) > MAX_VALUES) throw unreadable(path, `it has more than ${MAX_VALUES} values`);
  try {
    value = JSON.parse(text);
  } catch {
    throw unreadable(path, `it ${describeJsonError(text)}`);
  }
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > 1) {
    throw new Failure({
      code: "record-newer",
      subject: path,
      problem: `is of version ${version}, written by a newer cni-node; this one understands version 1`,
      hint: "use the newer cni-node on this node",
    });
  }
  if (isDeeperThan(text, MAX_DEPTH)) throw unreadable(path, `it is nested deeper than ${MAX_DEPTH} levels`);
  const parsed = v.safeParse(Record, value);
  if (!parsed.success) throw unreadable(path, whyInvalid(parsed.issues[0]));
  return parsed.output;
}

/** Where, and what is expected there; not what there is. */
function whyInvalid(issue: v.BaseIssue<unknown>): string {
  const place = v.getDotPath(issue) ?? "";
  return issue.type === "check" || issue.type === "regex"
    ? `${place}: ${issue.message}`
    : `${place}: expected ${issue.expected ?? issue.type}`;
}

/** Unknown fields of later versions are kept, and written by recursion. */
const MAX_DEPTH = 64;
/** Each takes many times its own characters in memory; an asset has some 20 lines. */
const MAX_VALUES = 200_000;

function unreadable(path: string, why: string): Failure {
  return new Failure({
    code: "record-unreadable",
    subject: path,
    problem: `is not a record of cni-node: ${why}`,
    hint: "cni-node writes this file whole or not at all: find out what else wrote it; moving the .cni-node directory away makes cni-node forget what it installed here and what was there before",
  });
}

/** Writes a directory's record, durably. Assets are sorted by name, so that equal records are equal files. */
export function writeRecord(target: Target, record: HostRecord): void {
  const text = `${JSON.stringify({ ...record, assets: sorted(record.assets) }, undefined, 2)}\n`;
  if (text.length > SIZE_LIMITS.record || countValues(text) > MAX_VALUES) throw tooManyAssets(target.path);
  replaceDurably(target.lockedState.record, text, 0o600);
}

function tooManyAssets(subject: string): Failure {
  return new Failure({
    code: "record-too-large",
    subject,
    problem: "so many assets cannot be recorded",
    hint: "install some thousands at most in one directory",
  });
}

function sorted(assets: readonly HeldAsset[]): HeldAsset[] {
  const key = ({ kind, name }: HeldAsset): Buffer => Buffer.from(`${kind}/${name}`);
  return assets.toSorted((a, b) => Buffer.compare(key(a), key(b)));
}

/** The assets of a kind in a record. A record counts for the kinds of its own directory only. */
export function assetsOf(record: HostRecord | undefined, kind: Kind): HeldAsset[] {
  return record?.assets.filter((asset) => asset.kind === kind) ?? [];
}

/** The record without its journal. */
export function withoutPending({ pending: _pending, ...record }: HostRecord): HostRecord {
  return record;
}

/** The record without the mark that others' journals name it. */
export function withoutAwaited({ awaited: _awaited, ...record }: HostRecord): HostRecord {
  return record;
}

/** The ids of the objects that a record still needs. */
function neededObjects(record: HostRecord | undefined): Set<string> {
  const assets = [...(record?.assets ?? []), ...(record?.pending?.assets ?? [])];
  const changes = record?.pending?.changes ?? [];
  return new Set(
    [...assets.map((asset) => asset.before), ...changes.flatMap((change) => [change.before, change.after])].filter(
      (id) => typeof id === "string",
    ),
  );
}

/** Did a run that was killed leave something in this directory: a journal, or files that no record needs? */
export function isLeftUntidy(directory: string): boolean {
  return withTarget(directory, isUntidy) ?? false;
}

function isUntidy(target: Target): boolean {
  const record = recordOf(target);
  if (record?.pending !== undefined || leftovers(target, record).length > 0) return true;
  return (record === undefined || record.assets.length === 0) && target.state !== undefined;
}

/** The paths of what lies in a directory and its state, of ours, that no record needs. */
function leftovers({ here, state: paths }: Target, record: HostRecord | undefined): string[] {
  const temporary = join(here, TEMPORARY);
  const isInTheWay = fs.lstatSync(temporary, { throwIfNoEntry: false }) !== undefined;
  const own = isInTheWay ? [temporary] : [];
  if (paths === undefined) return own;
  const needed = neededObjects(record);
  return [
    ...entries(paths.state)
      .filter((name) => name.endsWith(".tmp"))
      .map((name) => join(paths.state, name)),
    ...entries(paths.objects)
      .filter((name) => !needed.has(name))
      .map((name) => join(paths.objects, name)),
    ...own,
  ];
}

/**
 * Removes what no record needs and, with the last asset, the state itself. The caller holds the lock.
 *
 * @param visible the directories of the node that the caller knows, whose journals may name this one.
 */
export function sweep(target: Target, visible: readonly string[]): void {
  const { here, path } = target;
  const { record: recordPath, objects, lock, probe } = target.lockedState;
  const record = recordOf(target);
  const errors = leftovers(target, record).flatMap((left) => {
    return errorOf(() => (left === probe ? removeLinks : remove)(left));
  });
  const isNeeded = record !== undefined && (record.assets.length > 0 || record.pending !== undefined);
  if (!isNeeded && isReleased(path, record, visible)) {
    removeDirectoryIfEmpty(objects);
    remove(recordPath);
    remove(lock);
    if (target.hasState()) removeDirectoryIfEmpty(statePaths(here).state);
  }
  if (errors[0] !== undefined) throw errors[0];
}

/** What cannot be removed must not keep the rest from being removed. */
function errorOf(operation: () => void): Error[] {
  try {
    operation();
    return [];
  } catch (error) {
    return [error as Error];
  }
}

/**
 * Can the id of this directory go, as far as the journals of the others are concerned? Only if as many others as took
 * part in that run can be seen: one that is not mounted may still name it.
 */
export function isReleased(directory: string, record: HostRecord | undefined, visible: readonly string[]): boolean {
  const awaited = record?.awaited;
  if (awaited === undefined) return true;
  const others = visible.filter((other) => other !== directory).map((other) => readRecord(other));
  return others.length >= awaited.by.length && others.every((other) => other?.pending?.run !== awaited.run);
}

function entries(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return [];
    throw systemFailure(directory, "cannot be listed", error);
  }
}
