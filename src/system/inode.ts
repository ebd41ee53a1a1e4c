/** Whether two paths or descriptors lead to one file. */
import * as fs from "node:fs";

/** What tells a file from all others that are there at the time. */
interface Inode<N extends number | bigint> {
  ino: N;
  dev: N;
}

/** Are both there and one file, whatever it holds? */
export function isSameInode<N extends number | bigint>(
  one: Inode<N> | undefined,
  other: Inode<N> | undefined,
): boolean {
  return one !== undefined && one.ino === other?.ino && one.dev === other.dev;
}

/** The same of paths, links followed: also of a directory that is mounted in two places. */
export function isSameFile(one: string, other: string): boolean {
  const [first, second] = [one, other].map((path) => fs.statSync(path, { bigint: true, throwIfNoEntry: false }));
  return isSameInode(first, second);
}
