/** What libcni and we remember of attachments: one file each in `CACHEDIR/results`, in libcni's format. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { Failure, isSystemError } from "../errors.ts";
import { entriesIn } from "../system/entries.ts";
import { countValues, describeJsonError } from "../system/json.ts";
import { readText as readRegularText } from "../system/read.ts";
import { CniError, ERROR_CODES, ioFailure } from "./error.ts";
import type { Args } from "./invoke.ts";
import { isObject } from "./json.ts";
import { parseResult, type AnyResult } from "./result.ts";

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
  /** The final result of ADD, in its own version; undefined in a list when it cannot be read. */
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

const KIND = "cniCacheV1";
/** The key of `note`. */
const NOTE = "cni-node.io/note";

/** Where libcni keeps attachments in its cache directory. */
const RESULTS = "results";
/** What is ours alone in the directory of the attachments; libcni passes over directories. */
const STATE = ".cni-node";

/** The directory of our own files, temporary ones and locks. */
export function stateDir(cacheDir: string): string {
  return join(cacheDir, RESULTS, STATE);
}

/**
 * Reads what is remembered of an attachment; undefined when nothing is.
 *
 * @throws CniError when the file cannot be read, or is none of the cache's.
 */
export function readAttachment(cacheDir: string, key: AttachmentKey): CachedAttachment | BareResult | undefined {
  const path = pathOf(cacheDir, key);
  const text = readText(path);
  if (text === undefined) return undefined;
  const attachment = parseAttachment(path, text, parseResult);
  return !isWhole(attachment) || isSame(attachment, key) ? attachment : undefined;
}

/**
 * Remembers an attachment: whole or not at all, also when the power fails.
 *
 * @throws CniError when it cannot be written.
 */
export function writeAttachment(cacheDir: string, attachment: CachedAttachment): void {
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
  try {
    replaceFile(path, JSON.stringify(content));
  } catch (error) {
    throw ioFailure(`${path} cannot be written`, error);
  }
}

/** Forgets an attachment, if it is remembered. Throws `CniError` when the file cannot be removed. */
export function removeAttachment(cacheDir: string, key: AttachmentKey): void {
  const path = pathOf(cacheDir, key);
  const present = tryParse(path);
  if (present !== undefined && isWhole(present) && !isSame(present, key)) return;
  try {
    removeFile(path);
    removeFile(temporaryOf(path));
  } catch (error) {
    throw ioFailure(`${path} cannot be removed`, error);
  }
}

/**
 * All attachments in the cache, whoever has added them, in the order of their file names; also one whose result cannot
 * be read, for it has to be deleted some day. Other files are left out, and bare results, which do not say whose they
 * are.
 *
 * @throws CniError when the directory is there and cannot be read.
 */
export function listAttachments(cacheDir: string): CachedAttachment[] {
  const directory = join(cacheDir, RESULTS);
  return namesIn(directory).flatMap((name) => {
    const path = join(directory, name);
    const attachment = tryParse(path);
    return attachment !== undefined && isWhole(attachment) && pathOf(cacheDir, attachment) === path ? [attachment] : [];
  });
}

/** What one file of the cache holds. */
export type CacheFile = { path: string } & (
  | { attachment: CachedAttachment }
  /** It is damaged. */
  | { problem: string }
  /** The system does not let it be read. */
  | { error: unknown }
);

/**
 * The attachments in the cache as `listAttachments` has them, one at a time, and the files that are damaged: nobody
 * will ever delete by them.
 *
 * @throws errors of the system as they are, when the directory is not there or cannot be read.
 */
export function* scanCache(cacheDir: string): Generator<CacheFile> {
  const directory = join(cacheDir, RESULTS);
  for (const entry of entriesIn(directory)) {
    if (entry.isDirectory()) continue;
    const path = join(directory, entry.name.toString());
    const read = readCacheFile(path);
    if (read === "bare") continue;
    if ("containerId" in read) {
      if (pathOf(cacheDir, read) === path) yield { path, attachment: read };
    } else {
      yield { path, ...read };
    }
  }
}

/** An attachment has a few KiB, and some hundred values. */
const MAX_SIZE = 512 * 1024;
const MAX_VALUES = 10_000;

/** What is wrong is told without a character of it. */
function readCacheFile(path: string): CachedAttachment | "bare" | { problem: string } | { error: unknown } {
  let text: string;
  try {
    text = readRegularText(path, MAX_SIZE, { follow: false });
  } catch (error) {
    if (error instanceof Failure) return { problem: error.problem };
    return isSystemError(error, "ELOOP") ? { problem: "is a link" } : { error };
  }
  if (countValues(text) > MAX_VALUES) return { problem: `has more than ${MAX_VALUES} values` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: describeJsonError(text) };
  }
  if (!isObject(value)) return { problem: "is not a JSON object" };
  const { kind } = value as { kind?: unknown };
  if (kind === undefined) return "bare";
  if (kind !== KIND) return { problem: `is not of the kind ${KIND}` };
  try {
    return parseV1(value, tryParseResult);
  } catch (error) {
    return { problem: `is not whole: ${(error as Error).message}` };
  }
}

/**
 * The file of an attachment that stands in the way of a new one: the same container has that interface already, from
 * whatever network; or it would be overwritten, for "a-b" of "c" and "a" of "b-c" have the same file.
 *
 * @throws CniError when the directory is there and cannot be read.
 */
export function findOccupant(cacheDir: string, key: AttachmentKey): string | undefined {
  const own = pathOf(cacheDir, key);
  return namesIn(dirname(own))
    .filter((name) => name.endsWith(`-${key.containerId}-${key.ifName}`))
    .map((name) => join(dirname(own), name))
    .find((path) => {
      const present = tryParse(path);
      if (present === undefined) return false;
      return path === own || (isWhole(present) && isSame({ ...present, networkName: key.networkName }, key));
    });
}

/** In their order; none when there is no such directory. */
function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory).sort();
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return [];
    throw ioFailure(`${directory} cannot be read`, error);
  }
}

function tryParse(path: string): CachedAttachment | BareResult | undefined {
  try {
    // What is no file could make its reader wait for ever.
    if (!fs.statSync(path).isFile()) return undefined;
    return parseAttachment(path, fs.readFileSync(path, "utf8"), tryParseResult);
  } catch {
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

function pathOf(cacheDir: string, { networkName, containerId, ifName }: AttachmentKey): string {
  return join(cacheDir, RESULTS, `${networkName}-${containerId}-${ifName}`);
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return undefined;
    throw ioFailure(`${path} cannot be read`, error);
  }
}

function parseAttachment(
  path: string,
  text: string,
  resultOf: (value: unknown) => AnyResult | undefined,
): CachedAttachment | BareResult {
  try {
    const value = JSON.parse(text) as unknown;
    if (!isObject(value)) throw new TypeError("it is no JSON object");
    const { kind } = value as { kind?: unknown };
    if (kind === undefined) return { result: parseResult(value) };
    if (kind !== KIND) throw new TypeError(`its kind is ${JSON.stringify(kind)}, not ${JSON.stringify(KIND)}`);
    return parseV1(value, resultOf);
  } catch (error) {
    const msg = `${path} is no attachment: ${(error as Error).message}`;
    throw new CniError({ code: ERROR_CODES.decodingFailure, msg }, { cause: error });
  }
}

function parseV1(
  value: Record<string, unknown>,
  resultOf: (value: unknown) => AnyResult | undefined,
): CachedAttachment {
  const text = (key: string): string => {
    const { [key]: one = "" } = value;
    if (typeof one !== "string") throw new TypeError(`${key} is no string`);
    return one;
  };
  const { cniArgs, capabilityArgs, result, [NOTE]: note } = value as Partial<Record<string, unknown>>;
  if (!isArgs(cniArgs ?? [])) throw new TypeError("cniArgs is no list of pairs");
  if (!isObject(capabilityArgs ?? {})) throw new TypeError("capabilityArgs is no JSON object");
  return {
    networkName: text("networkName"),
    containerId: text("containerId"),
    ifName: text("ifName"),
    config: Buffer.from(text("config"), "base64").toString("utf8"),
    netns: text("netns"),
    args: (cniArgs ?? []) as Args,
    capabilityArgs: (capabilityArgs ?? {}) as Record<string, unknown>,
    result: resultOf(result),
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
  return join(dirname(path), STATE, basename(path));
}

function replaceFile(path: string, content: string): void {
  const temporary = temporaryOf(path);
  makeDirectory(dirname(temporary));
  try {
    writeFile(temporary, content);
    fs.renameSync(temporary, path);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  const directory = fs.openSync(dirname(path), "r");
  try {
    fs.fsyncSync(directory);
  } finally {
    fs.closeSync(directory);
  }
}

function writeFile(path: string, content: string): void {
  const descriptor = fs.openSync(path, "w", 0o600);
  try {
    fs.writeFileSync(descriptor, content);
    fs.fchmodSync(descriptor, 0o600);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** It need not be there. `fs.rmSync` does not tell why it has failed. */
function removeFile(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR")) throw error;
  }
}

/**
 * Makes a directory of the cache, and those above it, for root's eyes only. `fs.mkdirSync` with `recursive` says of a
 * read-only file system that there is no such file.
 */
export function makeDirectory(path: string): void {
  if (fs.existsSync(path)) return;
  makeDirectory(dirname(path));
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error, "EEXIST")) throw error;
  }
}
