import * as fs from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

import { Failure, isSystemError, reasonOf, systemFailure, throwIfInterrupted } from "../errors.ts";
import { makeDirectory, removeDirectoryIfEmpty } from "./disk.ts";
import { statePaths } from "./record.ts";

/** A lock that is held; the kernel frees it with its process. */
export interface Lock {
  release(): void;
}

/**
 * Waits for the lock of a target directory, which must exist.
 *
 * The lock is SQLite's own on an empty file: an open file description lock would need native code. SQLite waits by
 * blocking, so that it is asked not to, and we wait, in order to notice signals.
 *
 * @param deadline as `performance.now()` counts: the clock of a node may jump.
 * @param onWait is called once, when another run is waited for.
 * @throws Failure `lock-timeout`, `lock-unusable`; Interrupted.
 */
export async function lockDirectory(
  directory: string,
  deadline: number,
  signal: AbortSignal,
  onWait?: () => void,
): Promise<Lock> {
  for (let tries = 1; ; tries++) {
    throwIfInterrupted(signal);
    const lock = tryLock(directory);
    if (lock !== undefined) return lock;
    if (performance.now() >= deadline) {
      throw new Failure({
        code: "lock-timeout",
        subject: directory,
        problem: "cannot be locked: another cni-node run works there",
        hint: "wait for it to end, or give it more time with --lock-timeout",
      });
    }
    // What is about to be freed anyway is not worth a word.
    if (tries === TRIES_UNSAID) onWait?.();
    // Waiters that ask at random times do not ask together.
    await sleep(5 + Math.random() * 20);
  }
}

/** Some seconds. */
const TRIES_UNSAID = 200;

/** Undefined: somebody else holds it, or it was removed under our hands. */
function tryLock(directory: string): Lock | undefined {
  const { state, lock: path } = statePaths(directory);
  let descriptor: number | undefined;
  let database: DatabaseSync | undefined;
  try {
    makeDirectory(state, 0o700);
    refuseUnlessDirectory(state);
    // Kept open so that its inode is not used again: it tells whether the file that was locked is still the lock.
    // Closed after the database: closing any descriptor of a file drops the process's locks on it.
    descriptor = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_NOFOLLOW, 0o600);
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    const locked = fs.fstatSync(descriptor);
    const present = fs.statSync(path);
    if (locked.ino !== present.ino || locked.dev !== present.dev) return free(database, descriptor);
    const held = { database, descriptor };
    return { release: () => void free(held.database, held.descriptor) };
  } catch (error) {
    free(database, descriptor);
    if (isBusy(error) || isSystemError(error, "ENOENT")) return undefined;
    if (codeOf(error) !== undefined) throw unusable(path, error);
    if (fs.existsSync(path)) throw systemFailure(path, "cannot be locked", error);
    leaveNothing(state);
    throw systemFailure(path, "the lock cannot be made", error);
  }
}

/** Nothing is written outside the target directory, also where somebody has put a link. */
function refuseUnlessDirectory(state: string): void {
  if (fs.lstatSync(state).isDirectory()) return;
  throw new Failure({
    code: "not-a-directory",
    subject: state,
    problem: "is no directory, but cni-node keeps its state there",
    hint: "look at what it is, and remove it",
  });
}

function leaveNothing(state: string): void {
  try {
    removeDirectoryIfEmpty(state);
  } catch {
    // The failure to lock is what is told.
  }
}

function free(database: DatabaseSync | undefined, descriptor: number | undefined): undefined {
  database?.close();
  if (descriptor !== undefined) fs.closeSync(descriptor);
}

/** SQLITE_BUSY, or SQLITE_CANTOPEN when the holder has just removed the file with its directory. */
function isBusy(error: unknown): boolean {
  return [5, 14].includes(codeOf(error) ?? 0);
}

/** Of an error of SQLite's. */
function codeOf(error: unknown): number | undefined {
  return (error as { errcode?: number }).errcode;
}

function unusable(path: string, error: unknown): Failure {
  return new Failure({
    code: "lock-unusable",
    subject: path,
    problem: `cannot be locked: ${reasonOf(error)}`,
    hint: "the lock is an empty file, on a file system with advisory locks: look at what it is, and remove it",
    cause: error,
  });
}
