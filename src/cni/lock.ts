/** Section 3, Lifecycle & Ordering: no two operations on one container at a time, and none at all during GC. */
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

import { makeDirectory } from "./cache.ts";
import { CniError, ERROR_CODES, ioFailure } from "./error.ts";
import { requireTrustedCache, requireTrustedFile, stateDir } from "./trust.ts";

/** Waits for its turn. What it returns gives the turn to the next one. */
export interface Lock {
  /** For add, check and delete. */
  container(containerId: string, signal?: AbortSignal): Promise<Disposable>;
  /** For garbage collection: waits for all others, and all others wait for it. */
  all(signal?: AbortSignal): Promise<Disposable>;
}

/** So many containers can be worked on at a time, if chance is kind: a file for each would have to be removed again. */
const STRIPES = 64;

/**
 * The lock of all processes that use this library on a cache directory. The kernel frees it with its process.
 *
 * It is SQLite's own on empty files: an open file description lock would need native code. SQLite waits by blocking,
 * so that it is asked not to, and we wait. Its methods throw `CniError` when it cannot be had.
 */
export function kernelLock(cacheDir: string): Lock {
  const directory = stateDir(cacheDir);
  const lock = async (name: string, mode: Mode, signal?: AbortSignal): Promise<Disposable> => {
    requireTrustedCache(cacheDir);
    try {
      makeDirectory(directory);
    } catch (error) {
      throw ioFailure(`${directory} cannot be locked`, error);
    }
    const path = join(directory, `lock-${name}`);
    // SQLite follows links, and writes where they lead.
    requireTrustedCache(cacheDir);
    requireTrustedFile(path);
    return waitFor(path, mode, signal);
  };
  return {
    container: async (containerId, signal) => {
      const stripe = Number.parseInt(hash("sha256", containerId).slice(0, 8), 16) % STRIPES;
      using stack = new DisposableStack();
      stack.use(await lock("gc", "shared", signal));
      stack.use(await lock(String(stripe), "exclusive", signal));
      return stack.move();
    },
    all: async (signal) => lock("gc", "exclusive", signal),
  };
}

type Mode = "shared" | "exclusive";

const STATEMENTS: Record<Mode, string> = {
  // Reading begins with a shared lock.
  shared: "BEGIN; SELECT count(*) FROM sqlite_schema",
  exclusive: "BEGIN EXCLUSIVE",
};

async function waitFor(path: string, mode: Mode, signal: AbortSignal | undefined): Promise<Disposable> {
  for (;;) {
    if (signal?.aborted === true) {
      const msg = `it was given up while others were at work: ${String(signal.reason)}`;
      throw new CniError({ code: ERROR_CODES.tryAgainLater, msg });
    }
    const held = tryLock(path, mode);
    if (held !== undefined) return held;
    // Waiters that ask at random times do not ask together.
    await sleep(5 + Math.random() * 20);
  }
}

/** Undefined: somebody else holds it. */
function tryLock(path: string, mode: Mode): Disposable | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec(`PRAGMA journal_mode = MEMORY; ${STATEMENTS[mode]}`);
    return database;
  } catch (error) {
    database?.close();
    const { errcode } = error as { errcode?: number };
    if (errcode === SQLITE_BUSY) return undefined;
    throw ioFailure(`${path} cannot be locked`, errcode === SQLITE_CANTOPEN ? (reasonAgainst(path) ?? error) : error);
  }
}

const SQLITE_BUSY = 5;
const SQLITE_CANTOPEN = 14;

/** SQLite does not tell why a file cannot be opened; the system does. */
function reasonAgainst(path: string): unknown {
  try {
    fs.closeSync(fs.openSync(path, "a"));
    return undefined;
  } catch (error) {
    return error;
  }
}
