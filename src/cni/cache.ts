/** What libcni and we remember of attachments: one file each in `CACHEDIR/results`, in libcni's format. */
import { basename, dirname, join } from "node:path";

import { Failure, hintFor, isAbsence, isSystemError, isExhaustion } from "../errors.ts";
import { makeDirectory, remove, replaceDurably } from "../system/disk.ts";
import { entriesIn, firstEntriesIn } from "../system/entries.ts";
import { describeJsonError } from "../system/json.ts";
import { readText } from "../system/read.ts";
import { CniError, ERROR_CODES, ioFailure } from "./error.ts";
import type { Args } from "./invoke.ts";
import { hasTooManyValues, isObject } from "./json.ts";
import { fileNameOf, isIfName, isName } from "./names.ts";
import { parseResult, type AnyResult } from "./result.ts";
import { isUntrusted, requireTrustedCache, requireTrustedFile, resultsDir, stateDir, untrustedFile } from "./trust.ts";

/** libcni's. */
export const DEFAULT_CACHE_DIR = "/var/lib/cni";

/** What an attachment is known by. */
export interface AttachmentKey {
  networkName: string;
  containerId: string;
  ifName: string;
}

/** An attachment as the cache has it. */
export interface CachedAttachment extends AttachmentKey {
  /** The text of the network configuration list that it was added with. */
  config: string;
  /** Empty when it is not known. */
  netns: string;
  args: Args;
  capabilityArgs: Readonly<Record<string, unknown>>;
  /** The final result of ADD, in its own version; undefined before its end, and in a list when it cannot be read. */
  result: AnyResult | undefined;
  /** What its caller wants to know of it later; libcni passes over it. */
  note?: Readonly<Record<string, unknown>> | undefined;
}

/** What libcni wrote before 0.7: nothing but the result. */
export interface BareResult {
  result: AnyResult;
}

/** Does the cache say more of it than the result? */
export function isWhole(attachment: CachedAttachment | BareResult): attachment is CachedAttachment {
  return "containerId" in attachment;
}

/** Of the directories that we make for a cache: for root's eyes only. */
export const OWN_MODE = 0o700;

const KIND = "cniCacheV1";
/** The key of `note`. */
const NOTE = "cni-node.io/note";
/** How large the file of an attachment may be, in bytes; those of long chains have some 10 KiB. */
const MAX_SIZE = 1024 * 1024;
/** So much is kept of a cache at a time, in bytes of its files: thousands of attachments. */
const MAX_KEPT = 16 * 1024 * 1024;
/** So many files a cache may have: a node has hundreds, and one whose runtime forgets them some thousands. */
const MAX_FILES = 20_000;

/**
 * Reads what is remembered of an attachment; undefined when nothing is.
 *
 * @throws CniError when the file cannot be read, is none of the cache's, or others may have written it.
 */
export function readAttachment(cacheDir: string, key: AttachmentKey): CachedAttachment | BareResult | undefined {
  requireTrustedCache(cacheDir);
  const path = pathOf(cacheDir, key);
  requireTrustedFile(path);
  const read = readEntry(path, parseResult);
  if (read === undefined) return undefined;
  return !isWhole(read.attachment) || isSame(read.attachment, key) ? read.attachment : undefined;
}

/**
 * Remembers an attachment: whole or not at all, also when the power fails.
 *
 * @throws CniError when it cannot be written.
 */
export function writeAttachment(cacheDir: string, attachment: CachedAttachment): void {
  requireTrustedCache(cacheDir);
  const path = pathOf(cacheDir, attachment);
  const { containerId, config, ifName, networkName, netns, args, capabilityArgs, result, note } = attachment;
  const content = {
    kind: KIND,
    containerId,
    config: Buffer.from(config).toString("base64"),
    ifName,
    networkName,
    ...(netns === "" ? {} : { netns }),
    ...(args.length === 0 ? {} : { cniArgs: args }),
    ...(Object.keys(capabilityArgs).length === 0 ? {} : { capabilityArgs }),
    result,
    ...(note === undefined ? {} : { [NOTE]: note }),
  };
  const text = JSON.stringify(content);
  if (Buffer.byteLength(text) > MAX_SIZE) {
    const msg = `${path} cannot be written: it would be larger than ${MAX_SIZE / 1024 / 1024} MiB`;
    throw new CniError({ code: ERROR_CODES.ioFailure, msg });
  }
  try {
    replaceFile(path, text);
  } catch (error) {
    throw ioFailure(`${path} cannot be written`, error);
  }
}

/** Forgets an attachment, if it is remembered. Throws `CniError` when the file cannot be removed. */
export function removeAttachment(cacheDir: string, key: AttachmentKey): void {
  requireTrustedCache(cacheDir);
  const path = pathOf(cacheDir, key);
  const present = tryRead(path);
  if (present !== undefined && isWhole(present) && !isSame(present, key)) return;
  try {
    remove(path);
    remove(temporaryOf(path));
  } catch (error) {
    throw ioFailure(`${path} cannot be removed`, error);
  }
}

/** How a cache is read. */
interface ReadOptions {
  /** Is told of every file that is damaged (`cache-damaged`), or that others may have written (`cache-untrusted`). */
  onProblem?: (problem: Failure) => void;
  /** What the names of their files begin with, or have in them, where that is known: others are not read. */
  prefix?: string;
  part?: string;
}

/**
 * The attachments in the cache, whoever has added them, in the order of their file names; also one whose result cannot
 * be read, for it has to be deleted some day. Other files are left out, and bare results, which do not say whose they
 * are.
 *
 * @param isMeant only those; others are not kept, for a cache may be large.
 * @throws CniError when the directory is there and cannot be read, holds too much, or others may write to it.
 */
export function listAttachments(
  cacheDir: string,
  { isMeant = () => true, ...options }: ReadOptions & { isMeant?: (attachment: CachedAttachment) => boolean } = {},
): CachedAttachment[] {
  let kept = 0;
  return pickAttachments(
    cacheDir,
    (attachment, size) => {
      if (!isMeant(attachment)) return undefined;
      if ((kept += size) > MAX_KEPT) throw tooMuch(cacheDir, `more than ${MAX_KEPT / 1024 / 1024} MiB of attachments`);
      return attachment;
    },
    options,
  );
}

/**
 * What `pick` makes of each of these attachments, but for undefined.
 *
 * @throws CniError as `listAttachments`.
 */
export function pickAttachments<T>(
  cacheDir: string,
  pick: (attachment: CachedAttachment, size: number) => T | undefined,
  { onProblem = () => undefined, prefix = "", part = "" }: ReadOptions = {},
): T[] {
  requireTrustedCache(cacheDir);
  const picked: T[] = [];
  const names = filesIn(cacheDir).filter((name) => name.startsWith(prefix) && name.includes(part));
  for (const entry of readEntries(cacheDir, names)) {
    if (entry instanceof Failure) {
      onProblem(entry);
      continue;
    }
    const one = pick(entry.attachment, entry.size);
    if (one !== undefined) picked.push(one);
  }
  return picked;
}

/** One at a time, in this order; of those that are none, why. */
function* readEntries(
  cacheDir: string,
  names: readonly string[],
): Generator<{ attachment: CachedAttachment; size: number } | Failure> {
  const directory = resultsDir(cacheDir);
  for (const name of names) {
    const path = join(directory, name);
    try {
      requireTrustedFile(path);
      const entry = readOwnEntry(cacheDir, path);
      if (entry !== undefined) yield entry;
    } catch (error) {
      if (!(error instanceof CniError) || isExhaustion(error.cause)) throw error;
      yield isUntrusted(error) ? (error.cause as Failure) : damaged(path, error);
    }
  }
}

/** Undefined: it is a bare result, or has the name of another attachment. @throws CniError where it is damaged. */
function readOwnEntry(cacheDir: string, path: string): { attachment: CachedAttachment; size: number } | undefined {
  const { attachment, size = 0 } = readEntry(path, tryParseResult) ?? {};
  if (attachment === undefined || !isWhole(attachment)) return undefined;
  return pathOf(cacheDir, attachment) === path ? { attachment, size } : undefined;
}

function damaged(path: string, { msg, cause }: CniError): Failure {
  return new Failure({
    code: "cache-damaged",
    subject: path,
    problem: msg.slice(path.length).replace(/^:? /u, ""),
    hint:
      hintFor(cause) ??
      "no attachment can be deleted by it, and its addresses stay taken: look at its content, and remove it",
    cause,
  });
}

/** What one file of the cache holds. */
export type CacheFile = { path: string } & (
  | { attachment: CachedAttachment }
  /** It is damaged. */
  | { problem: string }
  /** Others may have written it; it comes once more for what it holds. */
  | { objection: string }
  /** The system does not let it be read. */
  | { error: unknown }
);

/**
 * The attachments in the cache as `listAttachments` has them, one at a time, those in files that others may have
 * written included; and the files that are damaged: nobody will ever delete by them.
 *
 * @throws errors of the system as they are, when the directory is not there or cannot be read.
 */
export function* scanCache(cacheDir: string): Generator<CacheFile> {
  const directory = resultsDir(cacheDir);
  for (const entry of entriesIn(directory)) {
    const path = join(directory, entry.name.toString());
    if (entry.isDirectory()) continue;
    try {
      const untrusted = untrustedFile(path);
      if (untrusted !== undefined) yield { path, objection: untrusted.objection };
      const own = readOwnEntry(cacheDir, path);
      if (own !== undefined) yield { path, attachment: own.attachment };
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      const isSystems = (error.cause as NodeJS.ErrnoException | undefined)?.errno !== undefined;
      yield isSystems ? { path, error: error.cause } : { path, problem: damaged(path, error).problem };
    }
  }
}

/**
 * The file of an attachment that stands in the way of a new one: the same container has that interface already, from
 * whatever network; or it would be overwritten, for "a-b" of "c" and "a" of "b-c" have the same file.
 *
 * @throws CniError when the directory is there and cannot be read, or others may have written the file.
 */
export function findOccupant(cacheDir: string, key: AttachmentKey): string | undefined {
  requireTrustedCache(cacheDir);
  const own = pathOf(cacheDir, key);
  requireTrustedFile(own);
  return filesIn(cacheDir)
    .filter((name) => name.endsWith(`-${key.containerId}-${key.ifName}`))
    .map((name) => join(dirname(own), name))
    .find((path) => {
      const present = tryRead(path);
      if (present === undefined) return false;
      return path === own || (isWhole(present) && isSame({ ...present, networkName: key.networkName }, key));
    });
}

/** In their order; none when there is no such directory. */
function filesIn(cacheDir: string): string[] {
  const directory = resultsDir(cacheDir);
  try {
    const { entries, isCut } = firstEntriesIn(directory, MAX_FILES, (entry) => !entry.isDirectory());
    if (isCut) throw tooMuch(cacheDir, `more than ${MAX_FILES} files`);
    return entries.map(({ name }) => name.toString());
  } catch (error) {
    if (isAbsence(error) && !isSystemError(error, "ENOTDIR")) return [];
    if (error instanceof CniError) throw error;
    throw ioFailure(`${directory} cannot be read`, error);
  }
}

function tooMuch(cacheDir: string, what: string): CniError {
  const cause = new Failure({
    code: "cache-too-large",
    subject: resultsDir(cacheDir),
    problem: `holds ${what}: it is not read`,
    hint: "no node has so many containers: look at who writes there, and move the files of those that are gone away",
  });
  return new CniError({ code: ERROR_CODES.ioFailure, msg: cause.message }, { cause });
}

function tryRead(path: string): CachedAttachment | BareResult | undefined {
  try {
    requireTrustedFile(path);
    return readEntry(path, tryParseResult)?.attachment;
  } catch (error) {
    if (!(error instanceof CniError) || isExhaustion(error.cause)) throw error;
    return undefined;
  }
}

function tryParseResult(value: unknown): AnyResult | undefined {
  try {
    return parseResult(value);
  } catch {
    return undefined;
  }
}

function isSame(a: AttachmentKey, b: AttachmentKey): boolean {
  return a.networkName === b.networkName && a.containerId === b.containerId && a.ifName === b.ifName;
}

function pathOf(cacheDir: string, key: AttachmentKey): string {
  return join(resultsDir(cacheDir), fileNameOf(key));
}

/** @throws CniError. Its messages say nothing of what is in the file: it may be anybody's. */
function readEntry(
  path: string,
  resultOf: (value: unknown) => AnyResult | undefined,
): { attachment: CachedAttachment | BareResult; size: number } | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  const refuse = (why: string): CniError => {
    return new CniError({ code: ERROR_CODES.decodingFailure, msg: `${path} is not an attachment: ${why}` });
  };
  const value = parseEntry(text, refuse);
  if (!isObject(value)) throw refuse("it is not a JSON object");
  const { kind } = value as { kind?: unknown };
  const attachment = kind === undefined ? bareResult(value) : kind === KIND ? parseV1(value, resultOf) : undefined;
  if (attachment === undefined) throw refuse(`its kind is not ${JSON.stringify(KIND)}`);
  if (typeof attachment === "string") throw refuse(attachment);
  return { attachment, size: text.length };
}

function readIfThere(path: string): string | undefined {
  try {
    return readText(path, MAX_SIZE);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    if (error instanceof Failure) {
      throw new CniError({ code: ERROR_CODES.ioFailure, msg: error.message }, { cause: error });
    }
    throw ioFailure(`${path} cannot be read`, error);
  }
}

function parseEntry(text: string, refuse: (why: string) => CniError): unknown {
  if (hasTooManyValues(text)) throw refuse("it has too many values");
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw refuse(`it ${describeJsonError(text)}`);
  }
}

/** What is wrong with it, if it is none. */
function bareResult(value: Record<string, unknown>): BareResult | string {
  const result = tryParseResult(value);
  return result === undefined ? NO_RESULT : { result };
}

const NO_RESULT = "its result is not one of the CNI specification";

/** What is wrong with it, if it is none. */
function parseV1(
  value: Record<string, unknown>,
  resultOf: (value: unknown) => AnyResult | undefined,
): CachedAttachment | string {
  const texts = ["networkName", "containerId", "ifName", "config", "netns"] as const;
  const wrong = texts.find((key) => typeof (value[key] ?? "") !== "string");
  if (wrong !== undefined) return `${wrong} is not a string`;
  const [networkName, containerId, ifName, config, netns] = texts.map((key) => value[key] ?? "") as [
    ...[string, string, string, string, string],
  ];
  if (!isName(networkName) || !isName(containerId) || !isIfName(ifName)) {
    return "its networkName, containerId or ifName is not one of the CNI specification";
  }
  if (netns.includes("\0")) return "netns is not a path";
  const { cniArgs, capabilityArgs, result, [NOTE]: note } = value as Partial<Record<string, unknown>>;
  if (!isArgs(cniArgs ?? [])) return "cniArgs is not a list of pairs";
  if (!isObject(capabilityArgs ?? {})) return "capabilityArgs is not a JSON object";
  let parsed: AnyResult | undefined;
  try {
    // With a note and no result, ADD has been begun and not finished.
    parsed = result === undefined && isObject(note) ? undefined : resultOf(result);
  } catch {
    return NO_RESULT;
  }
  return {
    networkName,
    containerId,
    ifName,
    config: Buffer.from(config, "base64").toString("utf8"),
    netns,
    args: (cniArgs ?? []) as Args,
    capabilityArgs: (capabilityArgs ?? {}) as Record<string, unknown>,
    result: parsed,
    ...(isObject(note) ? { note } : {}),
  };
}

function isArgs(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every((one) => typeof one === "string"))
  );
}

/**
 * The temporary file is in a directory below, for in the same one other runtimes would take it for an attachment; and
 * not elsewhere, for the directory may be a file system of its own.
 */
function temporaryOf(path: string): string {
  return join(stateDir(dirname(dirname(path))), basename(path));
}

function replaceFile(path: string, content: string): void {
  const temporary = temporaryOf(path);
  makeDirectory(dirname(temporary), OWN_MODE);
  try {
    replaceDurably(path, content, 0o600, temporary);
  } catch (error) {
    remove(temporary);
    throw error;
  }
}
