/**
 * A target directory and cni-node's own state in it, held open. Whoever may write to the directory can put anything at
 * any path in it, also between a look and an act: what is done here is done in the very directories that were looked
 * at, by their descriptors, and the state is used only if nobody but root and this user can have written it.
 */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, systemFailure } from "../errors.ts";
import { isSameInode } from "../system/inode.ts";
import { objectionToOwner } from "../system/owner.ts";
import { syncDirectory, TICK_MS } from "../system/disk.ts";

const STATE = ".cni-node";

/** The paths of cni-node's own state in a target directory. */
export interface StatePaths {
  state: string;
  record: string;
  objects: string;
  lock: string;
  spare: string;
  /** The links by which plugins are tried. */
  probe: string;
}

/** The paths as people know them; to read or write there, open the directory as a `Target`. */
export function statePaths(directory: string): StatePaths {
  return pathsIn(join(directory, STATE));
}

function pathsIn(state: string): StatePaths {
  return {
    state,
    record: `${state}/record.json`,
    objects: `${state}/objects`,
    lock: `${state}/lock`,
    spare: `${state}/spare.tmp`,
    probe: `${state}/probe.tmp`,
  };
}

const DIRECTORY = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW;

/** A target directory that is held open. */
export class Target implements Disposable {
  /** As people know it. */
  readonly path: string;
  /** The same directory by its descriptor, for this process and those that it starts. */
  readonly here: string;
  readonly #descriptor: number;
  #state: { descriptor: number; paths: StatePaths } | undefined;

  private constructor(path: string) {
    this.path = path;
    this.#descriptor = fs.openSync(path, DIRECTORY);
    this.here = byDescriptor(this.#descriptor);
  }

  /**
   * Opens a directory, and its state if it has one.
   *
   * @param path its real path.
   * @throws Failure `state-untrusted`; errors of the system as they are.
   */
  static open(path: string): Target {
    const target = new Target(path);
    try {
      target.#openState();
      return target;
    } catch (error) {
      target[Symbol.dispose]();
      throw error;
    }
  }

  /** By descriptor; undefined where there is no state. */
  get state(): StatePaths | undefined {
    return this.#state?.paths;
  }

  /** The state of a directory that is locked: there is one. */
  get lockedState(): StatePaths {
    const { state } = this;
    if (state === undefined) throw new Error(`${this.path} is used as if it were locked`);
    return state;
  }

  /** Makes the state where there is none, durably. @throws Failure `state-untrusted`; errors of the system. */
  makeState(): StatePaths {
    if (this.#state === undefined) {
      makeOwnDirectory(join(this.here, STATE));
      syncDirectory(this.here);
      this.#openState();
    }
    if (this.state === undefined) throw Object.assign(new Error("it was removed again"), { code: "ENOENT" });
    return this.state;
  }

  /** Does the path still lead to the directory that is held open? Others may remove it and make it again. */
  isInPlace(): boolean {
    const present = fs.statSync(this.path, { bigint: true, throwIfNoEntry: false });
    const held = fs.fstatSync(this.#descriptor, { bigint: true });
    return isSameInode(present, held);
  }

  /** Is the state that is held open still the one of the directory? A run that ends removes one that is not needed. */
  hasState(): boolean {
    if (this.#state === undefined) return false;
    const present = fs.lstatSync(join(this.here, STATE), { bigint: true, throwIfNoEntry: false });
    const held = fs.fstatSync(this.#state.descriptor, { bigint: true });
    return isSameInode(present, held);
  }

  #openState(): void {
    const shown = statePaths(this.path);
    const opened = openOwnDirectory(join(this.here, STATE), shown.state);
    if (opened === undefined) return;
    this.#state = { descriptor: opened, paths: pathsIn(byDescriptor(opened)) };
    const { objects, probe, record, lock } = this.#state.paths;
    for (const [path, name] of [[objects, shown.objects] as const, [probe, shown.probe] as const]) {
      const descriptor = openOwnDirectory(path, name);
      if (descriptor !== undefined) fs.closeSync(descriptor);
    }
    refuseForeignFile(record, shown.record);
    refuseForeignFile(lock, shown.lock);
  }

  [Symbol.dispose](): void {
    if (this.#state !== undefined) fs.closeSync(this.#state.descriptor);
    this.#state = undefined;
    fs.closeSync(this.#descriptor);
  }
}

/** Which directory of the file system it is now. */
export function originOf({ here }: Target): { device: string; inode: string; time: string } {
  const { dev, ino } = fs.statSync(here, { bigint: true });
  return { device: String(dev), inode: String(ino), time: String(Date.now()) };
}

/**
 * Is what is at a path the directory that had this origin, or one that was made in its place since? Then what is missing
 * in it was removed. Another file system, or an older directory, is mounted in its place.
 */
export function isInPlaceOf(path: string, { device, inode, time }: ReturnType<typeof originOf>): boolean {
  const stat = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat?.isDirectory() !== true || String(stat.dev) !== device) return false;
  return String(stat.ino) === inode || stat.birthtimeMs >= BigInt(time) - BigInt(TICK_MS);
}

/**
 * For this process and those that it starts. /proc may be that of another PID namespace, in which our number belongs to
 * somebody else: what it says of itself counts, and it must be what was opened.
 */
function byDescriptor(descriptor: number): string {
  try {
    const path = `/proc/${fs.readlinkSync("/proc/self")}/fd/${descriptor}`;
    const [named, opened] = [fs.statSync(path, { bigint: true }), fs.fstatSync(descriptor, { bigint: true })];
    if (isSameInode(named, opened)) return path;
  } catch {
    // There is no /proc, or it does not know this process.
  }
  throw new Failure({
    code: "proc-missing",
    subject: "/proc",
    problem: "does not show this process, and cni-node opens what it changes by its descriptors there",
    hint: "mount /proc (containers have it unless it is taken away)",
  });
}

function makeOwnDirectory(path: string): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error, "EEXIST")) throw error;
  }
}

/** Undefined: there is none. @param shown its path for people. @throws Failure `state-untrusted`. */
function openOwnDirectory(path: string, shown: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = fs.openSync(path, DIRECTORY);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    if (isSystemError(error, "ELOOP", "ENOTDIR")) {
      const isLink = fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
      throw untrusted(shown, isLink ? "is a symbolic link" : "is not a directory");
    }
    throw systemFailure(shown, "cannot be opened", error);
  }
  const objection = objectionToOwner(fs.fstatSync(descriptor));
  if (objection === undefined) return descriptor;
  fs.closeSync(descriptor);
  throw untrusted(shown, objection);
}

function refuseForeignFile(path: string, shown: string): void {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isFile()) throw untrusted(shown, stat.isSymbolicLink() ? "is a symbolic link" : "is not a regular file");
  const objection = objectionToOwner(stat);
  if (objection !== undefined) throw untrusted(shown, objection);
}

function untrusted(path: string, why: string): Failure {
  return new Failure({
    code: "state-untrusted",
    subject: path,
    problem: `${why}: another user may have written what cni-node would act on, so nothing in it was read or changed`,
    hint: "find out who made it; move it away if cni-node did not (cni-node then starts without a record here), or give it back to root and take the write permission of others away if it did",
  });
}
