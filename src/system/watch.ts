/** Directories that others change: when to look at them again. */
import * as fs from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { isSystemError, reasonOf, throwIfInterrupted } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { Deadline } from "./deadline.ts";
import { firstEntriesIn } from "./entries.ts";

/** Milliseconds. */
const TIMING = {
  /** How often to look whether the path leads to the same directory: no event tells of a mount or of a link above. */
  check: 2_000,
  /** How often to ask the kernel again for a watch, after it had none left. */
  retry: 30_000,
};

/** More entries no node needs; the changes of others are noticed by events only. */
const MOST_ENTRIES = 4096;

/** What a run writes for itself changes nothing for others. */
const OWN = ".cni-node";

/** A directory that is replaced all the time is looked at instead. */
const TRIES = 10;

/** What inotify means by its errors; the system's own words for ENOSPC speak of a disk. */
const EXHAUSTED: Record<string, string> = {
  EMFILE: "no instance of inotify is left",
  ENOSPC: "no watch of inotify is left",
};

/**
 * Watches a directory, which need not exist yet: it is found when it is made, made again, replaced, or mounted. Says
 * when to look again, and nothing of what has changed. Without inotify it looks every two seconds.
 */
export class DirectoryWatch implements Disposable {
  readonly path: string;
  readonly #onChange: () => void;
  readonly #timing: typeof TIMING;
  readonly #timer: NodeJS.Timeout;
  #watcher: fs.FSWatcher | undefined;
  /** What was there when the watch was made: the directory, or the nearest one above it. */
  #watched: Nearest;
  /** Of a directory that cannot be watched: what it looked like. */
  #fingerprint = "";
  #exhausted: string | undefined;
  #retryAt = 0;

  /** @param onChange is called after a change; several changes may be one call, and one change several. */
  constructor(path: string, onChange: () => void, timing: Partial<typeof TIMING> = {}) {
    this.path = path;
    this.#onChange = onChange;
    this.#timing = { ...TIMING, ...timing };
    this.#watched = this.#watch();
    this.#timer = setInterval(() => {
      this.#check();
    }, this.#timing.check);
    this.#timer.unref();
  }

  /** Why it is looked at every two seconds instead of at once after each change. */
  get finding(): Finding | undefined {
    if (this.#exhausted === undefined) return undefined;
    const message = `cannot be watched (${this.#exhausted}): it is checked every ${this.#timing.check / 1000} seconds until it can`;
    const hint =
      "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl, or find what uses them up";
    return warning("inotify-exhausted", this.path, message, hint);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#watcher?.close();
  }

  /** Watches what is there. Between a look at the path and the watch, what is there may change. */
  #watch(): Nearest {
    for (let tries = 1; ; tries++) {
      const nearest = nearestTo(this.path);
      const error = this.#tryWatch(nearest.path);
      if (error === undefined && nearestTo(this.path).id === nearest.id) {
        this.#exhausted = undefined;
        return nearest;
      }
      if (tries < TRIES && (error === undefined || isSystemError(error, "ENOENT", "ENOTDIR"))) continue;
      this.#exhausted = EXHAUSTED[String((error as NodeJS.ErrnoException | undefined)?.code)] ?? reasonOf(error);
      this.#retryAt = performance.now() + this.#timing.retry;
      this.#fingerprint = fingerprint(this.path);
      return nearest;
    }
  }

  #tryWatch(path: string): unknown {
    this.#watcher?.close();
    this.#watcher = undefined;
    try {
      const watcher = fs.watch(path, (_, name) => {
        if (watcher === this.#watcher) this.#onEvent(name);
      });
      watcher.on("error", () => {
        if (watcher === this.#watcher) this.#change(this.#watch());
      });
      this.#watcher = watcher;
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #onEvent(name: string | null): void {
    const { path, isThere } = this.#watched;
    // A directory that goes says so by its own name. The next one may have the same inode.
    if (name === basename(path) || nearestTo(this.path).id !== this.#watched.id) return this.#change(this.#watch());
    if (isThere && name?.startsWith(OWN) !== true) this.#onChange();
  }

  #check(): void {
    if (nearestTo(this.path).id !== this.#watched.id) return this.#change(this.#watch());
    if (this.#exhausted === undefined) return;
    const before = this.#fingerprint;
    if (performance.now() >= this.#retryAt) this.#watched = this.#watch();
    this.#fingerprint = fingerprint(this.path);
    if (this.#fingerprint !== before) this.#onChange();
  }

  /** The directory is another one; nobody knows what has changed meanwhile. */
  #change(nearest: Nearest): void {
    const before = this.#watched;
    this.#watched = nearest;
    if (before.isThere || nearest.isThere) this.#onChange();
  }
}

/** The directory that a path leads to or, as long as it does not, the nearest one above. */
interface Nearest {
  path: string;
  isThere: boolean;
  /** Of no other directory, at no other time. */
  id: string;
}

function nearestTo(path: string): Nearest {
  for (let above = path; ; above = dirname(above)) {
    const stat = statIfPossible(above);
    if (stat?.isDirectory() === true || above === dirname(above)) {
      const id = `${above} ${stat?.dev} ${stat?.ino} ${stat?.birthtimeNs}`;
      return { path: above, isThere: above === path && stat !== undefined, id };
    }
  }
}

function statIfPossible(path: string): fs.BigIntStats | undefined {
  try {
    return fs.statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

/** What the entries of a directory look like from outside: the same text means that nothing has changed. */
function fingerprint(path: string): string {
  try {
    const { entries, isCut } = firstEntriesIn(path, MOST_ENTRIES, ({ name }) => !name.toString().startsWith(OWN));
    return JSON.stringify([isCut, ...entries.map(({ name }) => [name.toString("latin1"), ...look(path, name)])]);
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

/** An entry and, of a link, what it leads to. */
function look(path: string, name: Buffer): string[] {
  const entry = Buffer.concat([Buffer.from(`${path}/`), name]);
  return [fs.lstatSync, fs.statSync].map((stat) => {
    try {
      const { dev, ino, mode, size, mtimeNs, ctimeNs } = stat(entry, { bigint: true });
      return [dev, ino, mode, size, mtimeNs, ctimeNs].join(" ");
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    }
  });
}

/** Milliseconds. Changes come in bursts: one look serves them all. At what a link leads to, no watch is kept. */
const [SETTLE, RESYNC] = [50, 10_000];

/**
 * Something that others change, to be waited for: make it, look, and only then wait, so that no change is lost.
 *
 * @throws Interrupted from `changed`.
 */
export class NextChange implements Disposable {
  readonly #watch: DirectoryWatch;
  readonly #changed = Promise.withResolvers<undefined>();

  constructor(directory: string) {
    this.#watch = new DirectoryWatch(directory, () => this.#changed.resolve(undefined));
  }

  /**
   * Waits until something has changed, or so many milliseconds.
   *
   * @returns false when they have passed.
   */
  async changed(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    const deadline = new Deadline(milliseconds);
    const ended = Promise.withResolvers<undefined>();
    const end = (): void => ended.resolve(undefined);
    const timer = setTimeout(end, Math.min(RESYNC, milliseconds));
    signal.addEventListener("abort", end);
    try {
      if (!signal.aborted) await Promise.race([this.#changed.promise, ended.promise]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
    throwIfInterrupted(signal);
    if (deadline.isOver) return false;
    await sleep(SETTLE);
    return true;
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }
}
