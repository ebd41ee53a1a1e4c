/** What lies on the node now, looked at without changing anything. */
import * as fs from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { isAbsence, systemFailure } from "../errors.ts";
import { SIZE_LIMITS } from "../system/read.ts";
import { digestOfFile } from "../system/disk.ts";
import { isSameInode } from "../system/inode.ts";
import { objectionToOwner } from "../system/owner.ts";
import type { SeenFile } from "./record.ts";

/** What a name in a target directory stands for. Links are not followed. */
export interface Live {
  type: "absent" | "file" | "link" | "directory" | "special";
  /** Of everything but `absent`. */
  stat?: fs.BigIntStats;
}

/** Looks at one name in a directory; the directory need not exist. */
export function inspect(directory: string, name: string): Live {
  const path = join(directory, name);
  try {
    const stat = fs.lstatSync(path, { bigint: true });
    return { type: typeOf(stat), stat };
  } catch (error) {
    if (isAbsence(error)) return { type: "absent" };
    throw systemFailure(path, "cannot be examined", error);
  }
}

function typeOf(stat: fs.BigIntStats): Live["type"] {
  if (stat.isFile()) return "file";
  if (stat.isSymbolicLink()) return "link";
  return stat.isDirectory() ? "directory" : "special";
}

/** Permission bits, 0 for what is absent. */
export function modeOf(live: Live): number {
  return Number(live.stat?.mode ?? 0n) & 0o7777;
}

/** What is to be remembered of a file with that content, so that it need not be read again. */
export function seenAs({ stat }: Live, digest: string): SeenFile | undefined {
  if (stat === undefined) return undefined;
  const { size, mtimeNs, ctimeNs, ino, dev } = stat;
  return { digest, ...texts({ size, mtime: mtimeNs, ctime: ctimeNs, inode: ino, device: dev }) };
}

function texts<K extends string>(numbers: Record<K, bigint>): Record<K, string> {
  return Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, String(value)])) as Record<K, string>;
}

/**
 * The digest of a regular file, without reading it where it is the very file that was seen, not written to or renamed
 * since. Undefined: it is something else, or larger than any file of ours.
 */
export async function digestOfLive(path: string, live: Live, seen: SeenFile | undefined): Promise<string | undefined> {
  if (live.type !== "file" || (live.stat?.size ?? 0n) > BigInt(SIZE_LIMITS.plugin)) return undefined;
  if (seen !== undefined && isDeepStrictEqual(seenAs(live, seen.digest), { ...seen })) return seen.digest;
  return digestOfFile(path);
}

/**
 * May nobody but root and this user write to it? Others can write as many bytes and put the time back, so that it looks
 * as before wherever the time of its last change, which nobody can set, has to be left out.
 */
export function isOnlyOurs({ stat }: Live): boolean {
  return stat !== undefined && objectionToOwner({ uid: Number(stat.uid), mode: Number(stat.mode) }) === undefined;
}

/** Is it the same file, not written to in between? A new link to it changes neither of these. */
export function isUnwritten(a: Live, b: Live): boolean {
  const { stat: now } = a;
  const { stat: then } = b;
  if (now === undefined || then === undefined) return a.type === b.type;
  return isSameInode(now, then) && now.size === then.size && now.mtimeNs === then.mtimeNs;
}

/**
 * Has nothing been done to it, not even a new link? Mode and owner are compared, too: a change of them within the tick of
 * the kernel's clock in which the file was made changes none of its times.
 */
export function isUntouched({ stat: now }: Live, { stat: then }: Live): boolean {
  const keys = ["ino", "dev", "size", "mtimeNs", "ctimeNs", "mode", "uid", "gid"] as const;
  return keys.every((key) => now?.[key] === then?.[key]);
}
