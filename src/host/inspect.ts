/** What lies on the node now, looked at without changing anything. */
import * as fs from "node:fs";
import { join } from "node:path";

import { isSystemError, systemFailure } from "../errors.ts";
import { digestOf } from "./disk.ts";

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
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return { type: "absent" };
    throw systemFailure(path, "cannot be looked at", error);
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

/** Is this a regular file with that content? */
export async function hasDigest(path: string, live: Live, digest: string | undefined): Promise<boolean> {
  return live.type === "file" && digest !== undefined && (await digestOf(path)) === digest;
}

/** Is it the same file, not written to in between? A new link to it changes neither of these. */
export function isSameFile(a: Live, b: Live): boolean {
  if (a.stat === undefined || b.stat === undefined) return a.type === b.type;
  return (
    a.stat.ino === b.stat.ino &&
    a.stat.dev === b.stat.dev &&
    a.stat.size === b.stat.size &&
    a.stat.mtimeNs === b.stat.mtimeNs
  );
}
