import * as fs from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { throwIfInterrupted } from "../errors.ts";

/** How often to look where the kernel has no watch left to give (inotify limits). */
const POLL_MS = 1000;
/** How often to look all the same: at what a link leads to, no watch is kept. */
const RESYNC_MS = 10_000;
/** Changes come in bursts: one look serves them all. */
const SETTLE_MS = 50;

/** Tells when something has changed in a directory since the watch was made: make it, look, and only then wait. */
export interface DirectoryWatch extends Disposable {
  /**
   * Waits until something has changed, or until the deadline (as `performance.now()` counts).
   *
   * @returns false when the deadline has passed. @throws Interrupted
   */
  changed(deadline: number, signal: AbortSignal): Promise<boolean>;
}

/** Watches a directory or, where it does not exist yet, the nearest one above it that does. */
export function watchDirectory(directory: string): DirectoryWatch {
  const event = Promise.withResolvers<void>();
  let watcher: fs.FSWatcher | undefined;
  try {
    watcher = fs.watch(nearestExisting(directory), () => event.resolve());
    watcher.on("error", () => event.resolve());
  } catch {
    // Out of watches (EMFILE, ENOSPC), or the directory has just gone: look again after a while.
  }
  return {
    async changed(deadline, signal) {
      const limit = new AbortController();
      const left = Math.max(0, Math.min(deadline - performance.now(), watcher === undefined ? POLL_MS : RESYNC_MS));
      try {
        const ended = Promise.withResolvers<void>();
        signal.addEventListener("abort", () => ended.resolve(), { once: true, signal: limit.signal });
        const timer = sleep(left, undefined, { signal: limit.signal }).catch(() => undefined);
        await Promise.race([event.promise, ended.promise, timer]);
      } finally {
        limit.abort();
      }
      throwIfInterrupted(signal);
      if (performance.now() >= deadline) return false;
      await sleep(SETTLE_MS);
      return true;
    },
    [Symbol.dispose]() {
      watcher?.close();
    },
  };
}

function nearestExisting(directory: string): string {
  return fs.existsSync(directory) ? directory : nearestExisting(dirname(directory));
}
