/** Reads files that anybody may have made: never more than a bound, never one that might not end. */
import * as fs from "node:fs";

import { Failure, isAbsence, isSystemError, notRegular } from "../errors.ts";
import { shellWord } from "./text.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** How large a file of each kind may be, in bytes; the largest of each known from the field is a small part of it. */
export const SIZE_LIMITS = {
  /** A CNI configuration. */
  config: 2 * MIB,
  /** A template of one, or what it is rendered to. */
  template: 16 * MIB,
  /** A Kubernetes manifest. */
  manifest: 16 * MIB,
  /** cni-node's own record of a directory. */
  record: 4 * MIB,
  /** A kubeconfig, a token, a certificate. */
  credentials: MIB,
  /** What container runtimes, CNI plugins and the CNI cache keep of one container. */
  state: 8 * MIB,
  /** The addresses of a host-local store: one file each, with two short lines. */
  lease: 4 * KIB,
  /** A plugin binary: more is not hashed, for nothing of ours is that large. */
  plugin: 1024 * MIB,
  /** What the kernel says in /proc. */
  proc: 16 * MIB,
} as const;

/**
 * Reads a regular file whole, or the one that a link leads to. A FIFO or a device is refused without waiting for it.
 *
 * @param limit bytes; one of `SIZE_LIMITS`.
 * @param attempt what does not work if it cannot be read, for messages.
 * @param follow false: a link at the end of the path is refused (`ELOOP`).
 * @throws Failure `not-a-file`, `file-too-large`; errors of the system as they are (`ENOENT`).
 */
export function readFile(
  path: string | Buffer,
  limit: number,
  { attempt = "cannot be read", follow = true }: { attempt?: string; follow?: boolean } = {},
): Buffer {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW, O_NOCTTY } = fs.constants;
  const descriptor = openRegular(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW), attempt);
  try {
    const stat = fs.fstatSync(descriptor);
    if (!stat.isFile()) throw notRegular(String(path), attempt, stat);
    if (stat.size > limit) throw tooLarge(path, limit, attempt);
    // The size is not believed: files in /proc have none, and others grow while they are read.
    const chunks: Buffer[] = [];
    for (let size = 0; ;) {
      const chunk = Buffer.allocUnsafe(Math.max(KIB, Math.min(stat.size - size, limit) + 1));
      const read = fs.readSync(descriptor, chunk);
      if (read === 0) return Buffer.concat(chunks);
      size += read;
      if (size > limit) throw tooLarge(path, limit, attempt);
      chunks.push(chunk.subarray(0, read));
    }
  } finally {
    fs.closeSync(descriptor);
  }
}

/** The same as UTF-8; what is not UTF-8 becomes U+FFFD, as Go has it, and a byte order mark stays. */
export function readText(
  path: string | Buffer,
  limit: number,
  options: { attempt?: string; follow?: boolean } = {},
): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(readFile(path, limit, options));
}

/** The same; undefined where there is no such file. */
export function readTextIfThere(path: string, limit: number): string | undefined {
  try {
    return readText(path, limit);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** The same; undefined where there is no such file, or none that can be read. */
export function readTextIfPossible(path: string | Buffer, limit: number): string | undefined {
  try {
    return readText(path, limit);
  } catch {
    return undefined;
  }
}

/** Where a link leads; undefined: it is not a link, or was replaced a moment ago. */
export function readLinkIfPossible(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** A socket cannot be opened at all, and a FIFO without a writer only so. */
function openRegular(path: string | Buffer, flags: number, attempt: string): number {
  try {
    return fs.openSync(path, flags);
  } catch (error) {
    if (!isSystemError(error, "ENXIO", "ENODEV", "EISDIR")) throw error;
    throw notRegular(String(path), attempt, fs.statSync(path));
  }
}

function tooLarge(path: string | Buffer, limit: number, attempt: string): Failure {
  const shown = limit >= MIB ? `${limit / MIB} MiB` : `${limit / KIB} KiB`;
  return new Failure({
    code: "file-too-large",
    subject: String(path),
    problem: `${attempt}: it is larger than ${shown}`,
    hint: `see what it is and who wrote it (ls -l ${shellWord(String(path))}); no such file needs to be that large`,
  });
}

/** Is it a file that this process may execute? */
export function isExecutable(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.X_OK);
    return fs.statSync(path).isFile();
  } catch {
    return false;
  }
}
