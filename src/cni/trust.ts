/**
 * Whose cache of attachments it is. What lies there decides which plugins run as root, with which configuration and on
 * which network namespace: nobody else may have written it, as with sshd's StrictModes.
 */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isAbsence, reasonOf } from "../errors.ts";
import { objectionToOwner } from "../system/owner.ts";
import { shellWord } from "../system/text.ts";
import { CniError, ERROR_CODES } from "./error.ts";

/** Where libcni keeps attachments in its cache directory. */
const RESULTS = "results";
/** What is ours alone in the directory of the attachments; libcni passes over directories. */
const STATE = ".cni-node";

/** The directory of the attachments. */
export function resultsDir(cacheDir: string): string {
  return join(cacheDir, RESULTS);
}

/** The directory of our own files, temporary ones and locks. */
export function stateDir(cacheDir: string): string {
  return join(cacheDir, RESULTS, STATE);
}

/** What others may have written, and why. */
export interface Untrusted {
  path: string;
  /** The rest of a sentence that begins with the path: `is a link`. */
  objection: string;
}

/**
 * The first of the directories of a cache, as far as they are there, that others than root and this user can write to.
 * Those above them do not count: whoever can put another directory in their place cannot make it root's.
 *
 * @throws CniError where it cannot be looked at.
 */
export function untrustedDirectory(cacheDir: string): Untrusted | undefined {
  // Whoever has made these two may have made a link of them: the cache may lie on another disk.
  return (
    untrusted(cacheDir, statOf(cacheDir, true), true) ??
    untrusted(resultsDir(cacheDir), statOf(resultsDir(cacheDir), true)) ??
    untrusted(stateDir(cacheDir), statOf(stateDir(cacheDir), false))
  );
}

/** The same of one file in such a directory: a link is not trusted. @throws CniError */
export function untrustedFile(path: string): Untrusted | undefined {
  return untrusted(path, statOf(path, false));
}

/** @throws CniError with a Failure `cache-untrusted` as its cause. */
export function requireTrustedCache(cacheDir: string): void {
  refuse(untrustedDirectory(cacheDir));
}

/** @throws CniError with a Failure `cache-untrusted` as its cause. */
export function requireTrustedFile(path: string): void {
  refuse(untrustedFile(path));
}

/** Undefined: there is none. */
function statOf(path: string, follow: boolean): fs.Stats | undefined {
  try {
    return follow ? fs.statSync(path) : fs.lstatSync(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new CniError(
      { code: ERROR_CODES.ioFailure, msg: `${path} cannot be examined: ${reasonOf(error)}` },
      { cause: error },
    );
  }
}

/** @param mayBeSticky a directory that others may write to, and not replace in it what is not theirs: a tmpfs. */
function untrusted(path: string, stat: fs.Stats | undefined, mayBeSticky = false): Untrusted | undefined {
  const objection = stat && objectionTo(stat, mayBeSticky);
  return objection === undefined ? undefined : { path, objection };
}

function objectionTo(stat: fs.Stats, mayBeSticky: boolean): string | undefined {
  return stat.isSymbolicLink() ? "is a link" : objectionToOwner(stat, { mayBeSticky });
}

/** What to do about it. */
export function cureOfUntrusted(path: string): string {
  const word = shellWord(path);
  return `the cache decides which plugins run as root: see what is there (ls -la ${word}), remove what you do not know, and then run chown root: ${word}; chmod go-w ${word}`;
}

function refuse(found: Untrusted | undefined): void {
  if (found === undefined) return;
  const { path, objection } = found;
  const cause = new Failure({
    code: "cache-untrusted",
    subject: path,
    problem: `what lies there is not trusted: it ${objection}`,
    hint: cureOfUntrusted(path),
  });
  throw new CniError({ code: ERROR_CODES.ioFailure, msg: cause.message }, { cause });
}

/** Is it an error of this module? */
export function isUntrusted(error: unknown): boolean {
  return error instanceof CniError && error.cause instanceof Failure && error.cause.code === "cache-untrusted";
}
