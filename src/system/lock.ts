/**
 * A lock on a file that holds between processes; the kernel frees it with its holder. It is SQLite's own on an empty
 * file: an open file description lock would need native code.
 */
import * as fs from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

import { isSameInode } from "./inode.ts";

export type LockMode = "shared" | "exclusive";

const STATEMENTS: Record<LockMode, string> = {
  // Reading begins with a shared lock.
  shared: "BEGIN; SELECT count(*) FROM sqlite_schema",
  exclusive: "BEGIN EXCLUSIVE",
};

/**
 * Tries once to lock a file; undefined: somebody else holds the lock.
 *
 * @param descriptor is of the file that is meant, and must stay open as long as the lock is held: closing any
 *   descriptor of a file drops the process's locks on it. SQLite opens files by their paths and follows links: it makes
 *   none then, and undefined is returned also if it has opened another file, which somebody has put in its place.
 * @throws errors of SQLite, with `sqliteCodeOf`.
 */
export function tryLock(path: string, mode: LockMode, descriptor?: number): Disposable | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = descriptor === undefined ? new DatabaseSync(path, { timeout: 0 }) : openSame(path, descriptor);
    database?.exec(`PRAGMA journal_mode = MEMORY; ${STATEMENTS[mode]}`);
    return database;
  } catch (error) {
    database?.close();
    if (sqliteCodeOf(error) === SQLITE_BUSY) return undefined;
    throw error;
  }
}

/** SQLite waits by blocking, so that it is asked not to, and we try again, in order to notice signals. */
export async function untilLocked<T>(attempt: () => T | undefined): Promise<T> {
  for (;;) {
    const held = attempt();
    if (held !== undefined) return held;
    // Waiters that ask at random times do not ask together.
    await sleep(5 + Math.random() * 20);
  }
}

/** The code of an error of SQLite; undefined: it is none. */
export function sqliteCodeOf(error: unknown): number | undefined {
  return (error as { errcode?: number }).errcode;
}

const SQLITE_BUSY = 5;
/** SQLite does not say why it cannot open a file. */
export const SQLITE_CANTOPEN = 14;

/** Undefined: the file that was opened is not that of the descriptor. */
function openSame(path: string, descriptor: number): DatabaseSync | undefined {
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
  return fs.readdirSync("/proc/self/fd").filter((name) => isSameInode(statDescriptor(Number(name)), file)).length;
}

/** Undefined: it was that of the directory that has just been read. */
function statDescriptor(descriptor: number): fs.Stats | undefined {
  try {
    return fs.fstatSync(descriptor);
  } catch {
    return undefined;
  }
}
