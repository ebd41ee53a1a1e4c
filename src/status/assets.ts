/** What cni-node installed on this node, and whether it is still so. */
import { lstatSync } from "node:fs";
import { join } from "node:path";

import { isFileKind } from "../asset.ts";
import type { FileAssets } from "../kinds/kind.ts";
import { FILES } from "../kinds/table.ts";
import { hasEntries, type ChainEntry } from "../node/chain-edit.ts";
import { chainOf, isExtended, type Chain } from "../node/chain.ts";
import { Failure, isAbsence, throwIfInterrupted } from "../errors.ts";
import type { Cure, Finding } from "../finding.ts";
import { digestOfFile } from "../system/disk.ts";
import { digestOfLive, inspect, type Live } from "../host/inspect.ts";
import { assetsOf, isLeftUntidy, readRecord, type HeldAsset, type HostRecord } from "../host/record.ts";
import { statePaths } from "../host/target.ts";
import { entriesIn } from "../system/entries.ts";
import { countValues } from "../system/json.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import { crowded, Notes, problemOf, type Noted } from "./notes.ts";
import type { TargetDirectory } from "./directories.ts";

/** How an asset compares with the record. */
export type AssetState =
  /** It is what was installed. */
  | "unchanged"
  /** It is, and others have chained their plugins into it. */
  | "extended"
  | "changed"
  | "missing"
  /** Nobody holds it any more: what lies there is not cni-node's. */
  | "released"
  /** It cannot be told from here. */
  | "unproved";

/** One asset of a record. */
export interface AssetStatus {
  kind: HeldAsset["kind"];
  name: string;
  owners: string[];
  /** Of a plugin that the image's catalogue knows. */
  version?: string;
  state: AssetState;
  reason?: string;
  /** Of credentials: the service account whose token it is. */
  account?: string;
}

/** A file of others that was replaced, and waits to come back. */
export interface Backup {
  /** What took its place. */
  name: string;
  /** Where it is kept. */
  path: string;
}

/** What the records say, compared with what is there. */
export interface Assets extends Noted {
  assets: AssetStatus[];
  backups: Backup[];
  /** Runs that were ended half way: what the next run will do, by directory. */
  unfinished: { directory: string; next: string }[];
  /** What renews our own kubeconfigs, by their paths on the node. */
  renewals: Map<string, Cure>;
}

/**
 * Compares the records of these directories with what is there.
 *
 * @param options.versions of plugins, by the digest of their binaries.
 * @param options.checksum read also what has not changed by its size, times and inode.
 * @throws Interrupted
 */
export async function lookAtAssets(
  directories: readonly TargetDirectory[],
  { versions, checksum }: { versions: ReadonlyMap<string, string>; checksum: boolean },
  signal: AbortSignal,
): Promise<Assets> {
  const notes = new Notes();
  const all: Omit<Assets, keyof Noted> = { assets: [], backups: [], unfinished: [], renewals: new Map() };
  const records = directories.map((directory) => ({ directory, record: recordOf(directory, notes) }));
  for (const { directory, record } of records) {
    const next = lookAtRun(directory, record, records, notes);
    if (next !== undefined) all.unfinished.push({ directory: directory.shown, next });
    for (const asset of record?.assets ?? []) {
      const { state, reason } = await untilInterrupted(comparison(directory.path, asset, record, checksum), signal);
      const version = versions.get(asset.digest ?? "");
      all.assets.push({
        kind: asset.kind,
        name: asset.name,
        owners: ownersOf(asset),
        ...(version === undefined ? {} : { version }),
        state,
        ...(reason === undefined ? {} : { reason }),
        ...(asset.account === undefined ? {} : { account: asset.account }),
      });
      const cure = cureOf(asset, record);
      const isOurs = asset.owners.length > 0 && state !== "missing";
      if (isOurs && moduleOf(asset)?.isKubeconfig?.(asset.name) === true)
        all.renewals.set(join(directory.shown, asset.name), cure);
      notes.add(...driftOf(directory, asset, state, cure));
      if (asset.before === undefined) continue;
      all.backups.push({ name: asset.name, path: join(statePaths(directory.shown).objects, asset.before) });
      notes.add(...lookAtBackup(directory, asset.name, asset.before));
    }
  }
  return { ...all, ...notes.noted };
}

function recordOf({ path, shown }: TargetDirectory, notes: Notes): HostRecord | undefined {
  try {
    return readRecord(path);
  } catch (error) {
    const { code } = error as Partial<Failure>;
    notes.addFailure(error, statePaths(shown).record, (problem) => ({
      code: code === "record-newer" || code === "state-untrusted" ? code : "record-unreadable",
      severity: "error",
      path: statePaths(shown).record,
      message: `${problem}; what cni-node installed here is not known, and every run will fail`,
      hint: (error as Partial<Failure>).hint ?? "find out what wrote it; cni-node writes it whole or not at all",
    }));
    return undefined;
  }
}

/** What is read to compare may be large. @throws Interrupted */
async function untilInterrupted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    reject(new Error("aborted"));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    throwIfInterrupted(signal);
    return await Promise.race([work, aborted]);
  } catch (error) {
    throwIfInterrupted(signal);
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * What a run left that was ended, or is doing just now: no lock is taken to find out which. Returns what the next run
 * will do about it.
 */
function lookAtRun(
  { path, shown }: TargetDirectory,
  record: HostRecord | undefined,
  all: readonly { record: HostRecord | undefined }[],
  notes: Notes,
): string | undefined {
  if (record?.pending === undefined) return findLeftOver({ path, shown }, notes) ? "remove left-over files" : undefined;
  const { run, directories } = record.pending;
  const deciding = directories.at(-1)?.id;
  const isHere = all.some(({ record: other }) => other?.directory === deciding);
  const isCommitted = all.some((other) => other.record?.directory === deciding && other.record?.pending?.run === run);
  const next = isHere
    ? isCommitted
      ? "finish it"
      : "forget it, for it had not changed anything yet"
    : "fail, until the other directory of that run is mounted";
  notes.add({
    code: "run-unfinished",
    severity: isHere ? "warning" : "error",
    path: shown,
    message: `has a run that was interrupted or is still going on; the next run will ${next}`,
    hint: isHere
      ? "run the same cni-node command again"
      : `run it again with both directories mounted; the other one was at ${directories.at(-1)?.path ?? ""}`,
  });
  return next;
}

/** A list has some dozens. */
const MOST_VALUES = 100_000;
/** So many objects of a run, and backups, are looked at. */
const MOST_OBJECTS = 10_000;

/** Are there files that no record needs, as far as that can be seen? */
function findLeftOver({ path, shown }: TargetDirectory, notes: Notes): boolean {
  const { objects } = statePaths(shown);
  try {
    if (hasMoreThan(MOST_OBJECTS, statePaths(path).objects)) {
      notes.add(crowded(objects));
      return true;
    }
    return isLeftUntidy(path);
  } catch (error) {
    // What is wrong with the record has been told.
    if (error instanceof Failure && /^(?:record|state)-/u.test(error.code)) return false;
    notes.addFailure(error, objects, (problem) => ({
      code: "record-unreadable",
      severity: "error",
      path: objects,
      message: `${problem}; what cni-node keeps here is not known, and every run will fail`,
      hint: `see what it is and who made it (ls -ld ${shellWord(objects)}): cni-node makes a directory there`,
    }));
    return false;
  }
}

/** Where there is no such directory, there is nothing in it. */
function hasMoreThan(most: number, directory: string): boolean {
  let count = 0;
  try {
    for (const _ of entriesIn(directory)) if (++count > most) return true;
  } catch {
    // Whoever looks closer says why.
  }
  return false;
}

interface Comparison {
  state: AssetState;
  reason?: string;
}

async function comparison(
  directory: string,
  asset: HeldAsset,
  record: HostRecord | undefined,
  checksum: boolean,
): Promise<Comparison> {
  try {
    if (!isName(asset.name)) return { state: "unproved", reason: "has a name that no asset has" };
    return await compare(directory, asset, record, checksum);
  } catch (error) {
    if (!(error instanceof Failure) && (error as NodeJS.ErrnoException).errno === undefined) throw error;
    return { state: "unproved", reason: problemOf(error) };
  }
}

/** One that stays in its directory. */
function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/u.test(name);
}

/** What is larger is not hashed: no plugin comes near. */
const MOST_HASHED = 1024n * 1024n * 1024n;

async function compare(
  directory: string,
  asset: HeldAsset,
  record: HostRecord | undefined,
  checksum: boolean,
): Promise<Comparison> {
  if (!isFileKind(asset.kind)) return { state: "unproved", reason: "the cluster is not asked" };
  const entries = entriesOf(asset);
  if (asset.owners.length === 0 && entries === undefined) return { state: "released" };
  if (record?.pending?.changes.some(({ name }) => name === asset.name) === true) {
    return { state: "unproved", reason: "a run is changing it" };
  }
  const live = inspect(directory, asset.name);
  if (live.type === "absent") return { state: "missing" };
  if (live.type !== "file") return { state: "changed", reason: `is a ${live.type} now` };
  return entries === undefined
    ? compareContent(directory, asset, live, checksum)
    : compareChained(join(directory, asset.name), entries);
}

/** The plugins of ours in a file of somebody else's; undefined: the whole file is ours. */
function entriesOf({ chained }: HeldAsset): readonly ChainEntry[] | undefined {
  return chained === undefined || chained.copyOf !== undefined ? undefined : chained.entries;
}

function ownersOf(asset: HeldAsset): string[] {
  return [...new Set([...asset.owners, ...(entriesOf(asset) ?? []).map(({ owner }) => owner)])];
}

/** The rest of the file is somebody else's. */
function compareChained(path: string, entries: readonly ChainEntry[]): Comparison {
  const types = [...new Set(entries.map(({ type }) => type))].join(", ");
  const text = readText(path, SIZE_LIMITS.config, { follow: false });
  return countValues(text) <= MOST_VALUES && hasEntries(text, entries)
    ? { state: "unchanged", reason: `only ${types} in its chain` }
    : { state: "changed", reason: `only ${types}, which is not in its chain any more` };
}

async function compareContent(directory: string, asset: HeldAsset, live: Live, checksum: boolean): Promise<Comparison> {
  const path = join(directory, asset.name);
  const before = backupOf(directory, asset);
  const size = asset.digest === undefined ? before?.stat?.size : sizeOf(asset);
  if (size !== undefined && size !== live.stat?.size) return extended(path, asset) ?? { state: "changed" };
  if ((live.stat?.size ?? 0n) > MOST_HASHED) return { state: "unproved", reason: "is too large to be read" };
  const wanted = asset.digest ?? (before === undefined ? undefined : await digestOfFile(before.path));
  const digest = await digestOfLive(path, live, checksum ? undefined : asset.seen);
  const isWanted = wanted === undefined || digest === wanted;
  return extended(path, asset) ?? { state: isWanted ? "unchanged" : "changed" };
}

/** The size of what we wrote, where it was noted. */
function sizeOf({ digest, seen }: HeldAsset): bigint | undefined {
  return seen !== undefined && seen.digest === digest && /^\d+$/u.test(seen.size) ? BigInt(seen.size) : undefined;
}

/** The file that was there before; undefined: it is not kept any more. */
function backupOf(directory: string, { before }: HeldAsset): (Live & { path: string }) | undefined {
  if (before === undefined || !isName(before)) return undefined;
  const { objects } = statePaths(directory);
  const live = inspect(objects, before);
  return live.type === "file" ? { ...live, path: join(objects, before) } : undefined;
}

/** Others have chained their plugins into our list, or we wrote it with theirs. */
function extended(path: string, asset: HeldAsset): Comparison | undefined {
  const chain = asset.chain === undefined ? undefined : liveChain(path, asset.name);
  if (asset.chain === undefined || chain === undefined || !isExtended(asset.chain, chain)) return undefined;
  const count = chain.plugins.length - asset.chain.plugins.length;
  return { state: "extended", reason: `others have chained ${count === 1 ? "a plugin" : `${count} plugins`} into it` };
}

function liveChain(path: string, name: string): Chain | undefined {
  try {
    const text = readText(path, SIZE_LIMITS.config, { follow: false });
    return countValues(text) > MOST_VALUES ? undefined : chainOf(name, text);
  } catch {
    return undefined;
  }
}

/** What is done with such assets; undefined: they are objects of the cluster. */
function moduleOf({ kind }: HeldAsset): FileAssets | undefined {
  return isFileKind(kind) ? FILES[kind] : undefined;
}

function cureOf(asset: HeldAsset, record: HostRecord | undefined): Cure {
  const { kind, name, owners } = asset;
  const [entry] = asset.chained?.entries ?? [];
  if (entry !== undefined) return { kind: "chain", name: entry.from, owner: entry.owner };
  return { kind, name, owner: owners[0] ?? "", ...moduleOf(asset)?.cure?.(asset, assetsOf(record, kind)) };
}

function driftOf(
  { path: directory, shown }: TargetDirectory,
  asset: HeldAsset,
  state: AssetState,
  cure: Cure,
): Finding[] {
  const { name, kind } = asset;
  const path = join(shown, name);
  const owner = ownersOf(asset).join(", ");
  const original = asset.chained?.copyOf;
  if (original !== undefined && state !== "missing" && !isThere(join(directory, original))) {
    const message = `is a copy of ${original}, which is gone: pods get a network that its installer has removed`;
    const [{ from, owner: whose } = { from: "", owner: "" }] = asset.chained?.entries ?? [];
    const hint = `cni-node uninstall --chain=${shellWord(from)} --owner=${shellWord(whose)}`;
    return [{ code: "asset-changed", severity: "warning", path, message, hint }];
  }
  if (entriesOf(asset) !== undefined && (state === "missing" || state === "changed")) {
    const message = `had a plugin chained into it by ${owner}, which was removed since`;
    return [{ code: "asset-changed", severity: "warning", path, message, hint: "chain it again", cure }];
  }
  const cured = { hint: "install it again", cure };
  if (state === "missing" && isFileKind(kind)) {
    const message = `was installed by ${owner} and is gone: ${FILES[kind].lossMeans}`;
    return [{ code: "asset-missing", severity: "error", path, message, ...cured }];
  }
  if (state === "changed") {
    const message = `was installed by ${owner}, and was changed since`;
    return [{ code: "asset-changed", severity: "warning", path, message, ...cured }];
  }
  return [];
}

function lookAtBackup({ path, shown }: TargetDirectory, name: string, before: string): Finding[] {
  if (isName(before) && isThere(join(statePaths(path).objects, before))) return [];
  return [
    {
      code: "backup-missing",
      severity: "warning",
      path: join(statePaths(shown).objects, before),
      message: `is gone: it kept the ${name} that was there before cni-node, which can no longer come back`,
      hint: `keep a copy of ${join(shown, name)} before it is uninstalled; only cni-node should write to .cni-node`,
    },
  ];
}

function isThere(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch (error) {
    return !isAbsence(error);
  }
}
