import * as fs from "node:fs";

import { Failure, isSystemError, reasonOf, systemFailure, throwIfInterrupted } from "../errors.ts";
import type { Deadline } from "../system/deadline.ts";
import { SQLITE_CANTOPEN, sqliteCodeOf, tryLock, untilLocked } from "../system/lock.ts";
import { removeDirectoryIfEmpty } from "../system/disk.ts";
import { isSameInode } from "../system/inode.ts";
import { statePaths, Target } from "./target.ts";
import { shellWord } from "../system/text.ts";

/** A lock that is held; the kernel frees it with its process. */
export interface DirectoryLock {
  /** The directory, held open as long as it is locked. */
  readonly target: Target;
  release(): void;
}

/**
 * Waits for the lock of a target directory, which must exist.
 *
 * @param onWait is called once, when another run is waited for.
 * @throws Failure `lock-timeout`, `lock-unusable`, `state-untrusted`, `mount-missing`; Interrupted.
 */
export async function lockDirectory(
  directory: string,
  deadline: Deadline,
  signal: AbortSignal,
  onWait?: () => void,
): Promise<DirectoryLock> {
  refuseElsewhere(directory);
  let tries = 0;
  return untilLocked(() => {
    throwIfInterrupted(signal);
    const lock = tryDirectory(directory);
    if (lock !== undefined) return lock;
    if (deadline.isOver) {
      throw new Failure({
        code: "lock-timeout",
        subject: directory,
        problem: "cannot be locked: another cni-node run works there",
        hint: "wait for it to end, or give it more time with --lock-timeout",
      });
    }
    // What is about to be freed anyway is not worth a word.
    if (++tries === TRIES_UNSAID) onWait?.();
    return undefined;
  });
}

/** SQLite, which locks, follows links by their texts: it would come out in the file system of this process. */
function refuseElsewhere(directory: string): void {
  if (!/^\/proc\/\d+\/root\//u.test(directory)) return;
  throw new Failure({
    code: "mount-missing",
    subject: directory,
    problem: "is in the file system of another process, and is not mounted here: it can be looked at only",
    hint: "mount it, for example with docker run -v /:/host, and name that with --host-root",
  });
}

/** Some seconds. */
const TRIES_UNSAID = 200;

/** Undefined: somebody else holds it, or it was removed under our hands. */
function tryDirectory(directory: string): DirectoryLock | undefined {
  const path = statePaths(directory).lock;
  let target: Target | undefined;
  let descriptor: number | undefined;
  let held: Disposable | undefined;
  try {
    target = Target.open(directory);
    const { lock } = target.makeState();
    // Kept open so that its inode is not used again: it tells whether the file that was locked is still the lock.
    descriptor = fs.openSync(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    held = tryLock(path, "exclusive", descriptor);
    if (held === undefined || !target.hasState() || !isSameInode(fs.fstatSync(descriptor), fs.statSync(lock))) {
      return free(target, held, descriptor);
    }
    const locked = { target, held, descriptor };
    return { target, release: () => void free(locked.target, locked.held, locked.descriptor) };
  } catch (error) {
    const isMade = descriptor !== undefined;
    if (!isMade && target !== undefined) leaveNothing(target);
    free(target, held, descriptor);
    // The holder has just removed the file with its directory.
    if (sqliteCodeOf(error) === SQLITE_CANTOPEN || isSystemError(error, "ENOENT")) return undefined;
    if (sqliteCodeOf(error) !== undefined) throw unusable(path, error);
    throw systemFailure(path, isMade ? "cannot be locked" : "the lock cannot be made", error);
  }
}

const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

function leaveNothing(target: Target): void {
  try {
    if (target.hasState()) removeDirectoryIfEmpty(statePaths(target.here).state);
  } catch {
    // The failure to lock is what is told.
  }
}

function free(target: Target | undefined, held: Disposable | undefined, descriptor: number | undefined): undefined {
  held?.[Symbol.dispose]();
  if (descriptor !== undefined) fs.closeSync(descriptor);
  target?.[Symbol.dispose]();
}

function unusable(path: string, error: unknown): Failure {
  return new Failure({
    code: "lock-unusable",
    subject: path,
    problem: `cannot be locked: ${reasonOf(error)}`,
    hint: `the lock is an empty file, on a file system with advisory locks: see what it is (ls -ld ${shellWord(path)}), and remove it`,
    cause: error,
  });
}
