/** What is mounted where, as the kernel says to this process. */
import * as fs from "node:fs";

/** Does the kernel refuse to run what lies at this path, for how its file system is mounted? */
export function isMountedNoexec(path: string): boolean {
  return mountOf(fs.realpathSync(path)).options.includes("noexec");
}

/** A mount as this process sees it. */
export interface Mount {
  point: string;
  /** What of its file system is mounted: `/opt/cni/bin`. */
  root: string;
  options: string[];
}

/** What a path is on: the last of the mounts with the longest mount point. @param path absolute, without `..`. */
export function mountOf(path: string): Mount {
  let best = { point: "/", root: "/", options: "" };
  const below = `${path}/`;
  for (const line of fs.readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [, , , root, escaped, options] = line.split(" ", 6);
    if (root === undefined || escaped === undefined || options === undefined) continue;
    const point = escaped.includes("\\") ? unescapeMountPoint(escaped) : escaped;
    const isOn = point === "/" || below.startsWith(`${point}/`);
    if (isOn && point.length >= best.point.length) best = { point, root, options };
  }
  return { point: best.point, root: unescapeMountPoint(best.root), options: best.options.split(",") };
}

/** The kernel writes blanks and backslashes in mountinfo as octal escapes. */
function unescapeMountPoint(point: string): string {
  return point.replace(/\\([0-7]{3})/gu, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
