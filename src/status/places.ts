/** Where a node's directories are seen from here. */
import * as fs from "node:fs";
import { join, relative } from "node:path";

import { seenBelow } from "../cni/invoke.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure } from "../errors.ts";
import { findDirectory, isBelow, type DirectoryRequest } from "../host/directory.ts";

/** A directory of the node that assets are installed to. */
export interface TargetDirectory {
  /** Where it is seen from here. */
  path: string;
  /** Its path on the node, as far as that is known. */
  shown: string;
}

/** Where a node is seen from here. */
export interface FoundPlaces {
  hostRoot: string;
  plugins: TargetDirectory | undefined;
  configs: TargetDirectory | undefined;
}

/**
 * Finds the directories of a node.
 *
 * @param word what the runtime says: where it reads its configurations, unless another directory is asked for.
 * @param unseen is told what is not mounted.
 * @throws Failure `mount-missing` where there is nothing at all.
 */
export function findPlaces(
  directories: Record<"plugin" | "config", DirectoryRequest>,
  word: RuntimeStatus | undefined,
  unseen: string[],
): FoundPlaces {
  const hostRoot = seenBelow("/", directories.config.hostRoot) ?? directories.config.hostRoot;
  const failures: string[] = [];
  const find = (request: DirectoryRequest): TargetDirectory | undefined => {
    try {
      return linkedDirectory(request, hostRoot) ?? inView(findDirectory(request), hostRoot);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "mount-missing") throw error;
      failures.push(`${request.path}: the ${request.holds}, for nothing of the node is mounted there`);
      return undefined;
    }
  };
  const plugins = find(ofRuntime(directories.plugin, hostRoot, word?.pluginDirs));
  const configs = find(
    ofRuntime(directories.config, hostRoot, word?.configDir === undefined ? undefined : [word.configDir]),
  );
  if (plugins === undefined && configs === undefined) {
    throw new Failure({
      code: "mount-missing",
      subject: hostRoot,
      problem: "there is nothing to look at: neither plugins nor configurations of a node are mounted below it",
      hint: "on the node itself say --host-root=/; in a container mount the node's directories, for example with docker run -v /:/host:ro",
    });
  }
  unseen.push(...failures);
  return { hostRoot, plugins, configs };
}

/** A directory that a link leads to: the link is followed as the node does. */
function linkedDirectory(
  { named, path, hostRoot: asked }: DirectoryRequest,
  hostRoot: string,
): TargetDirectory | undefined {
  const shown = join("/", relative(asked, path));
  const target = named || hostRoot === "/" ? undefined : seenBelow(hostRoot, shown);
  const isLinked = target !== undefined && target !== join(hostRoot, shown);
  return isLinked && fs.statSync(target, { throwIfNoEntry: false })?.isDirectory() === true
    ? { path: target, shown }
    : undefined;
}

function inView(path: string, hostRoot: string): TargetDirectory {
  return { path, shown: shownAs(path, hostRoot) };
}

/** The path as the node sees it, as far as that is known. */
export function shownAs(path: string, hostRoot: string): string {
  return isBelow(path, hostRoot) ? join("/", relative(hostRoot, path)) : path;
}

/** Where the runtime itself says that it looks, unless another directory is asked for. */
function ofRuntime(request: DirectoryRequest, hostRoot: string, told: readonly string[] = []): DirectoryRequest {
  const paths = told.map((path) => join(request.hostRoot, path));
  if (request.named || paths.includes(request.path)) return request;
  const found = told.findIndex((path) => fs.existsSync(seenBelow(hostRoot, path) ?? ""));
  return { ...request, path: paths[found] ?? request.path };
}

/** Is this another directory than those that the runtime says it uses? Not where that cannot be told from here. */
export function isForeign({ path }: TargetDirectory, hostRoot: string, told: readonly string[] | undefined): boolean {
  const seen = told?.map((one) => seenBelow(hostRoot, one) ?? "") ?? [path];
  return !seen.includes(path) && (isBelow(path, hostRoot) || seen.some((one) => fs.existsSync(one)));
}

/** Undefined: it would have to be made first. */
export function existing(directory: TargetDirectory | undefined): string | undefined {
  return directory !== undefined && fs.existsSync(directory.path) ? directory.path : undefined;
}
