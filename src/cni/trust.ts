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

/**
 * Throws unless the directories of a cache, as far as they are there, can be written to by root and this user only.
 * Those above them do not count: whoever can put another directory in their place cannot make it root's.
 *
 * @throws CniError with a Failure `cache-untrusted` as its cause.
 */
export function requireTrustedCache(cacheDir: string): void {
  // Whoever has made these two may have made a link of them: the cache may lie on another disk.
  requireTrusted(cacheDir, statOf(cacheDir, true), true);
  requireTrusted(resultsDir(cacheDir), statOf(resultsDir(cacheDir), true));
  requireTrusted(stateDir(cacheDir), statOf(stateDir(cacheDir), false));
}

/** The same of one file in such a directory: a link is refused. @throws CniError */
export function requireTrustedFile(path: string): void {
  requireTrusted(path, statOf(path, false));
}

/** Undefined: there is none. */
function statOf(path: string, follow: boolean): fs.Stats | undefined {
  try {
    return follow ? fs.statSync(path) : fs.lstatSync(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new CniError(
      { code: ERROR_CODES.ioFailure, msg: `${path} cannot be looked at: ${reasonOf(error)}` },
      { cause: error },
    );
  }
}

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/** @param mayBeSticky a directory that others may write to, and not replace in it what is not theirs: a tmpfs. */
function requireTrusted(path: string, stat: fs.Stats | undefined, mayBeSticky = false): void {
  if (stat === undefined) return;
  const objection = objectionTo(stat, mayBeSticky);
  if (objection !== undefined) throw untrusted(path, objection);
}

function objectionTo(stat: fs.Stats, mayBeSticky: boolean): string | undefined {
  if (stat.isSymbolicLink()) return "it is a link";
  const isKept = mayBeSticky && (stat.mode & STICKY) !== 0;
  const objection = objectionToOwner({ uid: stat.uid, mode: isKept ? stat.mode & ~OTHERS_WRITE : stat.mode });
  return objection && `it ${objection}`;
}

function untrusted(path: string, objection: string): CniError {
  const word = shellWord(path);
  const cause = new Failure({
    code: "cache-untrusted",
    subject: path,
    problem: `what lies there is not trusted: ${objection}`,
    hint: `what a cache says decides which plugins run as root: look at what is there and remove what you do not know; then chown root: ${word}; chmod go-w ${word}`,
  });
  return new CniError({ code: ERROR_CODES.ioFailure, msg: cause.message }, { cause });
}

/** Is it an error of this module? */
export function isUntrusted(error: unknown): boolean {
  return error instanceof CniError && error.cause instanceof Failure && error.cause.code === "cache-untrusted";
}
