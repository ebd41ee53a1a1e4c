/** Section 3, Lifecycle & Ordering: no two operations on one container at a time, and none at all during GC. */
import * as fs from "node:fs";
import { join } from "node:path";

import { makeDirectory } from "../system/disk.ts";
import { SQLITE_CANTOPEN, sqliteCodeOf, tryLock, untilLocked, type LockMode } from "../system/lock.ts";
import { OWN_MODE } from "./cache.ts";
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

/** The lock of all processes that use this library on a cache directory. Its methods throw `CniError` if it fails. */
export function kernelLock(cacheDir: string): Lock {
  const directory = stateDir(cacheDir);
  const lock = async (name: string, mode: LockMode, signal?: AbortSignal): Promise<Disposable> => {
    requireTrustedCache(cacheDir);
    try {
      makeDirectory(directory, OWN_MODE);
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
      const stripe = hashOf(containerId) % STRIPES;
      using stack = new DisposableStack();
      stack.use(await lock("gc", "shared", signal));
      stack.use(await lock(String(stripe), "exclusive", signal));
      return stack.move();
    },
    all: async (signal) => lock("gc", "exclusive", signal),
  };
}

/** FNV-1a, 32 bits. To load node:crypto takes milliseconds. */
function hashOf(text: string): number {
  return Buffer.from(text).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01_00_01_93) >>> 0, 0x81_1c_9d_c5);
}

async function waitFor(path: string, mode: LockMode, signal: AbortSignal | undefined): Promise<Disposable> {
  return untilLocked(() => {
    if (signal?.aborted === true) {
      const msg = `another process holds the lock: ${String(signal.reason)}`;
      throw new CniError({ code: ERROR_CODES.tryAgainLater, msg });
    }
    try {
      return tryLock(path, mode);
    } catch (error) {
      const reason = sqliteCodeOf(error) === SQLITE_CANTOPEN ? reasonAgainst(path) : undefined;
      throw ioFailure(`${path} cannot be locked`, reason ?? error);
    }
  });
}

/** The system says why a file cannot be opened. */
function reasonAgainst(path: string): unknown {
  try {
    fs.closeSync(fs.openSync(path, "a"));
    return undefined;
  } catch (error) {
    return error;
  }
}
