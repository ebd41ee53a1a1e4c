/** Paths of a file system that this process sees below a directory, as processes see them whose root that is. */
import { join } from "node:path";

import { readLinkIfPossible } from "./read.ts";

/**
 * Where a path of a file system is seen by this process that has it below `root`. Undefined: it leads nowhere, for its
 * links are a loop or it is too long.
 */
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
  if (path.length > MAX_PATH) throw new Error("the path is too long");
  const names = path.split("/");
  for (let links = 0, steps = 0; names.length > 0;) {
    if (++steps > MAX_STEPS) throw new Error("the path leads through too many directories");
    const next = join(resolved, names.shift() ?? "");
    const target = OF_PROCESS.test(resolved) ? undefined : readLinkIfPossible(join(root, next));
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
const MAX_PATH = 4096;
/** No path of a node has so many names, with those of the links on its way; the kernel has no such bound. */
const MAX_STEPS = 1000;
