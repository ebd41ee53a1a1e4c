/** The record of a target directory: what cni-node wrote there, what was there before and, during a run, its journal. */
import * as fs from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

import { Failure, isAbsence, isSystemError, systemFailure } from "../errors.ts";
import { describeJsonError } from "../system/json.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { remove, removeDirectoryIfEmpty, removeLinks, replaceDurably, TEMPORARY } from "./disk.ts";

const HeldObject = v.looseObject({
  apiVersion: v.string(),
  kind: v.string(),
  namespace: v.exactOptional(v.string()),
  name: v.string(),
});

/** A file that was looked at, and its content then. As long as nothing of it differs, the content need not be read. */
const SeenFile = v.looseObject({
  digest: v.string(),
  size: v.string(),
  /** Both in nanoseconds. */
  mtime: v.string(),
  ctime: v.string(),
  inode: v.string(),
  device: v.string(),
});

const HeldAsset = v.looseObject({
  /** With the kind, what it is known by. */
  name: v.string(),
  kind: v.string(),
  /** Who wants it there. Nobody: it was given back, or `before` could not be restored. */
  owners: v.array(v.string()),
  /** Of a configuration list that we wrote, the digests of its parts: others may chain their plugins into it. */
  chain: v.exactOptional(v.object({ rest: v.string(), plugins: v.array(v.string()) })),
  /** What we wrote; absent where nothing of ours was ever written. */
  digest: v.optional(v.string()),
  /** The live file, as it was when it was last found right. */
  seen: v.optional(SeenFile),
  /** The object that keeps the foreign file which was there before. */
  before: v.optional(v.string()),
  /** The file that is there was given back by an uninstall: it is no longer ours to remove. */
  givenBack: v.optional(v.boolean()),
  /** Of a manifest: the objects in the cluster that were applied from it. */
  objects: v.optional(v.array(HeldObject)),
});

const Change = v.looseObject({
  name: v.string(),
  phase: v.picklist(["add", "remove"]),
  /** The objects that are live before and after; null: no file. */
  before: v.nullable(v.string()),
  after: v.nullable(v.string()),
});

const Pending = v.looseObject({
  run: v.string(),
  /** All directories of the run in kind order; the record of the last one decides whether it was committed. */
  directories: v.pipe(v.array(v.looseObject({ id: v.string(), path: v.string() })), v.minLength(1)),
  changes: v.array(Change),
  /** What the record holds once the changes are live. */
  assets: v.array(HeldAsset),
});

const Record = v.looseObject({
  version: v.literal(1),
  /** Random: paths differ between containers, and an unmounted directory must not pass for this one. */
  directory: v.string(),
  assets: v.array(HeldAsset),
  pending: v.optional(Pending),
  /**
   * The journals of other directories may name this one: until they do not, its id must not go with its last asset, or
   * nobody could tell this directory from one that is not mounted.
   */
  awaited: v.optional(v.looseObject({ run: v.string(), by: v.array(v.string()) })),
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

/** The paths of cni-node's own state in a target directory. */
export function statePaths(directory: string): {
  state: string;
  record: string;
  objects: string;
  lock: string;
  spare: string;
  probe: string;
} {
  const state = join(directory, ".cni-node");
  return {
    state,
    record: join(state, "record.json"),
    objects: join(state, "objects"),
    lock: join(state, "lock"),
    spare: join(state, "spare.tmp"),
    // The links by which plugins are tried.
    probe: join(state, "probe.tmp"),
  };
}

/**
 * Reads a directory's record; undefined where there is none.
 *
 * @throws Failure `record-unreadable`, `record-newer`.
 */
export function readRecord(directory: string): HostRecord | undefined {
  const path = statePaths(directory).record;
  let text: string;
  try {
    text = readText(path, SIZE_LIMITS.record, { attempt: "the record cannot be read", follow: false });
  } catch (error) {
    if (isAbsence(error)) return undefined;
    if (isSystemError(error, "ELOOP")) throw unreadable(path, "it is a link");
    throw systemFailure(path, "the record cannot be read", error);
  }
  return parseRecord(path, text);
}

function parseRecord(path: string, text: string): HostRecord {
  let value: unknown;
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
  const parsed = v.safeParse(Record, value);
  if (!parsed.success) throw unreadable(path, v.summarize(parsed.issues).replaceAll("\n", " "));
  return parsed.output;
}

function unreadable(path: string, why: string): Failure {
  return new Failure({
    code: "record-unreadable",
    subject: path,
    problem: `is no record of cni-node: ${why}`,
    hint: "cni-node writes this file whole or not at all: find out what else wrote it; moving the .cni-node directory away makes cni-node forget what it installed here and what was there before",
  });
}

/** Writes a directory's record, durably. Assets are sorted by name, so that equal records are equal files. */
export function writeRecord(directory: string, record: HostRecord): void {
  const text = `${JSON.stringify({ ...record, assets: sorted(record.assets) }, undefined, 2)}\n`;
  replaceDurably(statePaths(directory).record, text, 0o600);
}

function sorted(assets: readonly HeldAsset[]): HeldAsset[] {
  const key = ({ kind, name }: HeldAsset): Buffer => Buffer.from(`${kind}/${name}`);
  return assets.toSorted((a, b) => Buffer.compare(key(a), key(b)));
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
export function isLeftUntidy(directory: string, record: HostRecord | undefined): boolean {
  if (record?.pending !== undefined || leftovers(directory, record).length > 0) return true;
  return (record === undefined || record.assets.length === 0) && fs.existsSync(statePaths(directory).state);
}

/** The paths of what lies in a directory and its state, of ours, that no record needs. */
function leftovers(directory: string, record: HostRecord | undefined): string[] {
  const { state, objects } = statePaths(directory);
  const needed = neededObjects(record);
  const temporary = join(directory, TEMPORARY);
  return [
    ...entries(state)
      .filter((name) => name.endsWith(".tmp"))
      .map((name) => join(state, name)),
    ...entries(objects)
      .filter((name) => !needed.has(name))
      .map((name) => join(objects, name)),
    ...(fs.existsSync(temporary) ? [temporary] : []),
  ];
}

/**
 * Removes what no record needs and, with the last asset, the state itself. The caller holds the lock.
 *
 * @param visible the directories of the node that the caller knows, whose journals may name this one.
 */
export function sweep(directory: string, visible: readonly string[]): void {
  const { state, record: recordPath, objects, lock, probe } = statePaths(directory);
  const record = readRecord(directory);
  const errors = leftovers(directory, record).flatMap((path) => {
    return errorOf(() => (path === probe ? removeLinks : remove)(path));
  });
  const isNeeded = record !== undefined && (record.assets.length > 0 || record.pending !== undefined);
  if (!isNeeded && isReleased(directory, record, visible)) {
    removeDirectoryIfEmpty(objects);
    remove(recordPath);
    remove(lock);
    removeDirectoryIfEmpty(state);
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
