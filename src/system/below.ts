/** Paths of a file system that this process sees below a directory, as processes see them whose root that is. */
import * as fs from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";

import { readLinkIfPossible } from "./read.ts";

declare const OF_NODE: unique symbol;

/** An absolute path as the processes of the node see it; this process may see the same file elsewhere. */
export type HostPath = string & { readonly [OF_NODE]: true };

/** Says of a path that it is one of the node. What follows a link with `..` leads elsewhere than its text says, and stays. */
export function hostPath(path: string): HostPath {
  return (path.startsWith("/") ? path : `/${path}`) as HostPath;
}

/**
 * Where a path of a file system is seen by this process that has it below `root`. Undefined: it leads nowhere, for its
 * links are a loop or it is too long.
 */
export function seenBelow(root: string, path: HostPath): string | undefined {
  try {
    return join(root, resolveBelow(root, path));
  } catch {
    return undefined;
  }
}

/** The way back: what the node calls a path that is seen here. Undefined: it is not below the root. */
export function pathOnNode(root: string, path: string): HostPath | undefined {
  return isBelow(path, root) ? hostPath(relative(root, path)) : undefined;
}

/** The path as the node calls it, as far as that is known: for people. */
export function shownAs(root: string, path: string): string {
  return pathOnNode(root, path) ?? path;
}

/** Where a path that is seen here leads by the links on its way, followed as the node does where it is the node's. */
export function followBelow(root: string, path: string): string | undefined {
  const onNode = pathOnNode(root, path);
  return onNode === undefined ? seenBelow("/", hostPath(path)) : seenBelow(root, onNode);
}

/**
 * The real path of what is there. A link of a process stays: the root of another one, `/proc/7/root`, reads as `/`, which
 * is this process's own.
 *
 * @throws errors of the system.
 */
export function realPathOf(path: string): string {
  return seenBelow("/", hostPath(resolve(path))) ?? fs.realpathSync(path);
}

/** What the links of a process lead to has no path: `/proc/7/ns/net` is `net:[4026531840]`. */
const OF_PROCESS = /^\/proc\/\d+(?:\/|$)/u;

/** Follows links as a process does whose root it is: an absolute target begins there. Those of processes stay. */
function resolveBelow(root: string, path: string): string {
  let resolved = "/";
  if (path.length > MAX_PATH) throw new Error("the path is too long");
  const above = root.replace(/\/+$/u, "");
  const names = path.split("/");
  for (let links = 0, steps = 0; names.length > 0;) {
    if (++steps > MAX_STEPS) throw new Error("the path leads through too many directories");
    const name = names.shift() ?? "";
    if (name === "" || name === ".") continue;
    const next = name === ".." ? dirname(resolved) : `${resolved === "/" ? "" : resolved}/${name}`;
    const target = OF_PROCESS.test(resolved) ? undefined : readLinkIfPossible(`${above}${next}`);
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

/** Is this path the directory itself or below it? */
export function isBelow(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === "" || (!isAbsolute(way) && way !== ".." && !way.startsWith("../"));
}
