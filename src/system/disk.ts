/** Every change that cni-node makes to a file, one function each. What is on the disk after each is whole. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { isSystemError } from "../errors.ts";
import { Semaphore } from "./semaphore.ts";

/** The one temporary name in a target directory. Runtimes load files by extension and so never load it. */
export const TEMPORARY = ".cni-node.tmp";

/** Permissions, and the owner where it is not to be the process's own. */
export interface Attributes {
  mode: number;
  uid?: number;
  gid?: number;
}

/**
 * Makes a directory and the missing ones above it, durably, with this mode whatever the umask. Returns those it made,
 * the outermost first. `fs.mkdirSync` with `recursive` says of a read-only file system that there is no such file.
 */
export function makeDirectory(path: string, mode: number): string[] {
  if (fs.existsSync(path)) return [];
  const above = makeDirectory(dirname(path), mode);
  try {
    fs.mkdirSync(path, { mode });
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return above;
    throw error;
  }
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  const descriptor = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fs.fchmodSync(descriptor, mode);
  } finally {
    fs.closeSync(descriptor);
  }
  syncDirectory(dirname(path));
  return [...above, path];
}

/**
 * So many files are read or written at a time. It is the number of threads that Node has for that; more would only hold
 * more buffers and descriptors.
 */
const AT_ONCE = 4;
const inTurn = new Semaphore(AT_ONCE);

/** Writes a new file with its final mode and owner, durable but for its directory entry. The path must be free. */
export async function createFile(path: string, content: Uint8Array, attributes: Attributes): Promise<void> {
  using _ = await inTurn.enter();
  const file = await fs.promises.open(path, "wx", 0o600);
  try {
    await file.writeFile(content);
    await finish(file, attributes);
  } finally {
    await file.close();
  }
}

/** Copies a file, following links at the source, as `createFile`. Returns the copy's sha256 (`sha256:…`). */
export async function createCopy(source: string, path: string, attributes: Attributes): Promise<string> {
  using _ = await inTurn.enter();
  await fs.promises.copyFile(source, path, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
  // The copy has the mode of the source, which need not be writable.
  const file = await fs.promises.open(path, "r");
  try {
    const [digest] = await Promise.all([readDigest(path), finish(file, attributes)]);
    return digest;
  } finally {
    await file.close();
  }
}

/** The kernel dates files by its last tick, milliseconds ago: the slowest clock that Linux is built with ticks so often. */
export const TICK_MS = 10;

async function finish(file: fs.promises.FileHandle, { mode, uid, gid }: Attributes): Promise<void> {
  if (uid !== undefined && gid !== undefined) {
    const now = await file.stat();
    if (now.uid !== uid || now.gid !== gid) await file.chown(uid, gid);
  }
  await file.chmod(mode);
  // Two writes within one tick have the same time: made older than it is, a new file shows any write by others.
  const before = new Date(Date.now() - 2 * TICK_MS);
  await file.utimes(before, before);
  await file.sync();
}

/** Gives a file a second name in the same file system: content, mode, owner, times and attributes stay its own. */
export function link(from: string, to: string): void {
  fs.linkSync(from, to);
}

/** Makes a directory of symbolic links: their targets by their names. Durable in no way. */
export function makeLinks(directory: string, links: ReadonlyMap<string, string>): void {
  removeLinks(directory);
  fs.mkdirSync(directory, { mode: 0o700 });
  for (const [name, target] of links) fs.symlinkSync(target, join(directory, name));
}

/** Removes what `makeLinks` has made, also by halves; one that is gone is fine. */
export function removeLinks(directory: string): void {
  fs.rmSync(directory, { recursive: true, force: true });
}

/** Puts a file in the place of `directory/name`: readers see the old one or the new one, whole. Removes no `from`. */
export function replace(from: string, directory: string, name: string): void {
  const temporary = join(directory, TEMPORARY);
  remove(temporary);
  fs.linkSync(from, temporary);
  fs.renameSync(temporary, join(directory, name));
}

/** Removes a file; one that is gone is fine. */
export function remove(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR")) throw error;
  }
}

/** Removes a directory if it is empty; one that is gone or in use is fine. */
export function removeDirectoryIfEmpty(path: string): void {
  try {
    fs.rmdirSync(path);
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTEMPTY", "EEXIST")) throw error;
  }
}

/**
 * Replaces a small file of ours by a new one, durably, with this mode whatever the umask.
 *
 * @param temporary where it is written first, in the same file system; it stays there if that fails.
 */
export function replaceDurably(path: string, content: string, mode: number, temporary = `${path}.tmp`): void {
  remove(temporary);
  const descriptor = fs.openSync(temporary, "wx", 0o600);
  try {
    fs.writeFileSync(descriptor, content);
    fs.fchmodSync(descriptor, mode);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
  fs.renameSync(temporary, path);
  syncDirectory(dirname(path));
}

/** Takes up an inode and that much space, to have them when a full disk must be cleaned up. Durable in no way. */
export function reserve(path: string, size: number): void {
  remove(path);
  fs.writeFileSync(path, Buffer.alloc(size), { mode: 0o600, flag: "wx" });
}

/** Makes the entries of a directory durable. */
export function syncDirectory(path: string): void {
  const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** The sha256 of a file's content, `sha256:` and 64 hexadecimal digits. */
export async function digestOfFile(path: string): Promise<string> {
  using _ = await inTurn.enter();
  return readDigest(path);
}

async function readDigest(path: string): Promise<string> {
  const hash = createHash("sha256");
  const file = await fs.promises.open(path, "r");
  try {
    // One buffer for the whole file: streams allocate one for each chunk, which costs as much as hashing it.
    const buffer = Buffer.allocUnsafe(1 << 18);
    for (let read = await file.read(buffer); read.bytesRead > 0; read = await file.read(buffer)) {
      hash.update(buffer.subarray(0, read.bytesRead));
    }
  } finally {
    await file.close();
  }
  return `sha256:${hash.digest("hex")}`;
}
