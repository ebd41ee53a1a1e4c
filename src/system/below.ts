/** Paths of a file system that this process sees below a directory, as processes see them whose root that is. */
import * as fs from "node:fs";
import { join } from "node:path";

/** Where a path of a file system is seen by this process that has it below `root`. Undefined: its links are a loop. */
export function seenBelow(root: string, path: string): string | undefined {
  try {
    return join(root, resolveBelow(root, path));
  } catch {
    return undefined;
  }
}

/** What the links of a process lead to has no path: `/proc/7/ns/net` is `net:[4026531840]`. */
const OF_PROCESS = /^\/proc\/\d+(?:\/|$)/u;

/** Follows links as a process does whose root it is: an absolute target begins there. Those of processes stay. */
function resolveBelow(root: string, path: string): string {
  let resolved = "/";
  const names = path.split("/");
  for (let links = 0; names.length > 0;) {
    const next = join(resolved, names.shift() ?? "");
    const target = OF_PROCESS.test(resolved) ? undefined : readLink(join(root, next));
    if (target === undefined) {
      resolved = next;
    } else {
      if (++links > MAX_LINKS) throw new Error(`too many links: ${path}`);
      if (target.startsWith("/")) resolved = "/";
      names.unshift(...target.split("/"));
    }
  }
  return resolved;
}

/** As the kernel. */
const MAX_LINKS = 40;

/** Undefined: it is no link. */
function readLink(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch {
    return undefined;
  }
}
