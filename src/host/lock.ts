import * as fs from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

import { Failure, isSystemError, reasonOf, systemFailure, throwIfInterrupted } from "../errors.ts";
import { removeDirectoryIfEmpty } from "./disk.ts";
import { statePaths, Target } from "./target.ts";

/** A lock that is held; the kernel frees it with its process. */
export interface Lock {
  /** The directory, held open as long as it is locked. */
  readonly target: Target;
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
 * @throws Failure `lock-timeout`, `lock-unusable`, `state-untrusted`; Interrupted.
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
  const path = statePaths(directory).lock;
  let target: Target | undefined;
  let descriptor: number | undefined;
  let database: DatabaseSync | undefined;
  try {
    target = Target.open(directory);
    const { lock } = target.makeState();
    // Kept open so that its inode is not used again: it tells whether the file that was locked is still the lock.
    // Closed after the database: closing any descriptor of a file drops the process's locks on it.
    descriptor = fs.openSync(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    database = openDatabase(path, descriptor);
    database?.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    if (database === undefined || !target.hasState() || !isSameFile(fs.fstatSync(descriptor), fs.statSync(lock))) {
      return free(target, database, descriptor);
    }
    const held = { target, database, descriptor };
    return { target, release: () => void free(held.target, held.database, held.descriptor) };
  } catch (error) {
    const isMade = descriptor !== undefined;
    if (!isMade && target !== undefined) leaveNothing(target);
    free(target, database, descriptor);
    if (isBusy(error) || isSystemError(error, "ENOENT")) return undefined;
    if (codeOf(error) !== undefined) throw unusable(path, error);
    throw systemFailure(path, isMade ? "cannot be locked" : "the lock cannot be made", error);
  }
}

const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

/**
 * SQLite opens files by their paths and follows links: it makes none, and what it has opened must be the file of this
 * descriptor. Undefined: it is another, for somebody has put one in its place.
 */
function openDatabase(path: string, descriptor: number): DatabaseSync | undefined {
  const before = countDescriptors(descriptor);
  const url = pathToFileURL(path);
  url.searchParams.set("mode", "rw");
  const database = new DatabaseSync(url, { timeout: 0 });
  if (countDescriptors(descriptor) > before) return database;
  database.close();
  return undefined;
}

/** How many descriptors of this process are of the same file. */
function countDescriptors(descriptor: number): number {
  const file = fs.fstatSync(descriptor);
  return fs.readdirSync("/proc/self/fd").filter((name) => isSameFile(statDescriptor(Number(name)), file)).length;
}

/** Undefined: it was that of the directory that has just been read. */
function statDescriptor(descriptor: number): fs.Stats | undefined {
  try {
    return fs.fstatSync(descriptor);
  } catch {
    return undefined;
  }
}

function isSameFile(a: fs.Stats | undefined, b: fs.Stats): boolean {
  return a?.ino === b.ino && a.dev === b.dev;
}

function leaveNothing(target: Target): void {
  try {
    if (target.hasState()) removeDirectoryIfEmpty(statePaths(target.here).state);
  } catch {
    // The failure to lock is what is told.
  }
}

function free(
  target: Target | undefined,
  database: DatabaseSync | undefined,
  descriptor: number | undefined,
): undefined {
  database?.close();
  if (descriptor !== undefined) fs.closeSync(descriptor);
  target?.[Symbol.dispose]();
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
