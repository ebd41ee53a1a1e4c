/** The directories of a run: looked at, locked in one order, recovered, tidied up. */
import * as fs from "node:fs";
import { dirname } from "node:path";

import { isAbsence, reasonOf, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { Deadline } from "../system/deadline.ts";
import { makeDirectory, removeDirectoryIfEmpty } from "../system/disk.ts";
import { lockDirectory, type DirectoryLock } from "./lock.ts";
import { readRecord, sweep } from "./record.ts";
import { Target } from "./target.ts";
import { recover } from "./transaction.ts";

/** How the directories of a run are locked. */
export interface LockOptions {
  signal: AbortSignal;
  /** Milliseconds: how long another run is waited for. */
  lockTimeout: number;
  /** Is told of another run that is waited for. */
  onWait(this: void, what: string): void;
  /** The mode of a directory that is made; of those above it, it is 0755. */
  modeOf(this: void, directory: string): number;
}

/** The directories that a run may write to, and the locks that it holds on them. */
export class LockedDirectories implements Disposable {
  /** What was finished of earlier runs. */
  readonly notes: Finding[] = [];
  readonly #known: readonly string[];
  readonly #options: LockOptions;
  readonly #locks = new Map<string, DirectoryLock>();
  /** Directories that were looked at without a lock; undefined: there was none. */
  readonly #looked = new Map<string, Target | undefined>();
  readonly #made: string[] = [];

  /**
   * @param known real paths, also of directories that are not there, in the order in which all runs lock them: so no two
   *   wait for each other.
   */
  constructor(known: readonly string[], options: LockOptions) {
    this.#known = known;
    this.#options = options;
  }

  /** Those that are there. */
  get visible(): string[] {
    return this.#known.filter((path) => fs.existsSync(path));
  }

  /** Those in which the runs were that have left something in these. */
  ofSameRuns(untidy: readonly string[]): string[] {
    const ids = new Set(untidy.flatMap((path) => readRecord(path)?.pending?.directories.map(({ id }) => id) ?? []));
    return this.visible.filter((path) => ids.has(readRecord(path)?.directory ?? ""));
  }

  /** Are these locked? */
  holds(directories: Iterable<string>): boolean {
    return [...directories].every((directory) => this.#locks.has(directory));
  }

  /** Locks these and those that were locked before, makes what is missing, and finishes what earlier runs left there. */
  async lock(directories: Iterable<string>): Promise<void> {
    const { signal, lockTimeout, onWait, modeOf } = this.#options;
    const all = new Set([...this.#locks.keys(), ...directories]);
    this.#release();
    const deadline = new Deadline(lockTimeout);
    for (const directory of this.inOrder(all)) {
      try {
        this.#made.push(...makeDirectory(dirname(directory), 0o755), ...makeDirectory(directory, modeOf(directory)));
      } catch (error) {
        throw systemFailure(directory, "cannot be made", error);
      }
      const lock = await lockDirectory(directory, deadline, signal, () => {
        onWait(`another run in ${directory} (--lock-timeout)`);
      });
      this.#locks.set(directory, lock);
    }
    const targets = Array.from(this.#locks.values(), ({ target }) => target);
    this.notes.push(...(await recover(targets, this.visible)));
  }

  /** Those of these that are known, in the order in which they are locked. */
  inOrder(directories: ReadonlySet<string>): string[] {
    return this.#known.filter((path) => directories.has(path));
  }

  /** A directory that is locked; undefined: it is not. */
  locked(directory: string): Target | undefined {
    return this.#locks.get(directory)?.target;
  }

  /** A directory that is written to. */
  targetOf(directory: string): Target {
    const target = this.locked(directory);
    if (target === undefined) throw new Error(`${directory} is to be written and not locked`);
    return target;
  }

  /**
   * A directory as it is now. If it is not locked, it is held open until it is looked at anew, as long as what was seen
   * counts.
   *
   * @returns undefined: it is not there yet.
   * @throws Failure `state-untrusted`.
   */
  look(directory: string): Target | undefined {
    const target = this.locked(directory);
    if (target !== undefined) return target;
    if (!this.#looked.has(directory)) this.#looked.set(directory, openIfThere(directory));
    return this.#looked.get(directory);
  }

  /** What was seen no longer counts. */
  lookAnew(): void {
    for (const target of this.#looked.values()) target?.[Symbol.dispose]();
    this.#looked.clear();
  }

  /** Removes what is no longer needed, and frees the locks. Returns warnings. */
  tidyUp(): Finding[] {
    const warnings: Finding[] = [];
    for (const [directory, { target }] of this.#locks) {
      try {
        sweep(target, this.visible);
      } catch (error) {
        const message = `left-over files of this run could not be removed: ${reasonOf(error)}`;
        warnings.push(warning("files-left", directory, message, "the next run does it"));
      }
    }
    this[Symbol.dispose]();
    return warnings;
  }

  /** The same for a run that failed: what it made goes as far as it is empty. */
  abandon(): Finding[] {
    const warnings = this.tidyUp();
    try {
      for (const directory of this.#made.toReversed()) removeDirectoryIfEmpty(directory);
    } catch {
      // An empty directory more does no harm.
    }
    return warnings;
  }

  #release(): void {
    for (const lock of this.#locks.values()) lock.release();
    this.#locks.clear();
  }

  [Symbol.dispose](): void {
    this.#release();
    this.lookAnew();
  }
}

function openIfThere(directory: string): Target | undefined {
  try {
    return Target.open(directory);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw systemFailure(directory, "cannot be opened", error);
  }
}
