/** Where a node's directories are seen from here. */
import * as fs from "node:fs";

import type { FileKind } from "../asset.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure, isAbsence } from "../errors.ts";
import type { Finding } from "../finding.ts";
import {
  findDirectory,
  findDirectoryIfUsable,
  followRuntime,
  realHostRoot,
  type DirectoryRequest,
} from "../node/directory.ts";
import { followBelow, isBelow, pathOnNode, seenBelow, shownAs, type HostPath } from "../system/below.ts";
import { firstNamesIn } from "../system/entries.ts";
import { type Notes } from "./notes.ts";
import { shellWord } from "../system/text.ts";

/** A directory of the node that assets are installed to. */
export interface TargetDirectory {
  /** Where it is seen from here. */
  path: string;
  /** Its path on the node, as far as that is known. */
  shown: string;
}

/** The directories of a node as they are seen from here. */
export interface FoundDirectories {
  hostRoot: string;
  /** Where the runtime looks for plugins, as the node sees it; undefined: that is not known. */
  runtimePluginDirs: readonly HostPath[] | undefined;
  /** Undefined: it cannot be seen, or there are no such assets. */
  targets: Record<FileKind, TargetDirectory | undefined>;
}

/**
 * Finds the directories of a node.
 *
 * @param runtime what the runtime says: where it reads its configurations, unless another directory is asked for. Where it
 *   does not, its distribution or its configuration may.
 * @param notes gets what is not mounted, and what is not a directory.
 * @throws Failure `mount-missing` where there is nothing at all; `runtime-directory-unknown`.
 */
export async function findDirectories(
  directories: Record<FileKind, DirectoryRequest>,
  runtime: RuntimeStatus | undefined,
  notes: Notes,
): Promise<FoundDirectories> {
  const hostRoot = realHostRoot(directories);
  const failures: string[] = [];
  const broken: string[] = [];
  const find = (request: DirectoryRequest): TargetDirectory | undefined => {
    try {
      const path = findDirectory(request);
      refuseUnreadable(path);
      return { path, shown: shownFor(request, path, hostRoot) };
    } catch (error) {
      if (error instanceof Failure && error.code === "mount-missing") {
        failures.push(`${request.path}: the ${request.holds}, for nothing of the node is mounted there`);
        return undefined;
      }
      const path = shownAs(hostRoot, request.path);
      broken.push(path);
      notes.addFailure(error, path, (problem) => unusable(path, request.holds, problem));
      return undefined;
    }
  };
  const { directories: followed, looks } = await followRuntime(directories, runtime, "all");
  const plugins = find(followed.plugin);
  const configs = find(followed.config);
  if (plugins === undefined && configs === undefined && broken.length === 0) {
    throw new Failure({
      code: "mount-missing",
      subject: hostRoot,
      problem: "there is nothing to look at: neither plugins nor configurations of a node are mounted below it",
      hint: "on the node itself say --host-root=/; in a container mount the node's directories, for example with docker run -v /:/host:ro",
    });
  }
  notes.addUnseen(...failures);
  if (plugins !== undefined && looks.plugin === undefined && !directories.plugin.named) {
    notes.addUnseen(
      "where the runtime looks for plugins: neither its configuration can be read nor was it asked (--cri-socket); plugins in any of the usual directories count",
    );
  }
  const { path: usual, named } = directories.config;
  const here = followBelow(hostRoot, usual) ?? "";
  if (looks.config !== undefined && !named && configs?.path !== here && firstNamesIn(here, 1).length > 0) {
    const { by, paths } = looks.config;
    notes.addUnseen(
      `${shownAs(hostRoot, usual)}: ${by} reads ${paths.join(" and ")}; name the other with --config-dir`,
    );
  }
  const credentials = findDirectoryIfUsable(directories.credentials);
  const isThere = credentials !== undefined && fs.existsSync(credentials);
  return {
    hostRoot,
    targets: { plugin: plugins, credentials: isThere ? find(directories.credentials) : undefined, config: configs },
    runtimePluginDirs: looks.plugin?.paths,
  };
}

/** What is there may not be looked into. @throws errors of the system */
function refuseUnreadable(path: string): void {
  try {
    fs.accessSync(path, fs.constants.R_OK | fs.constants.X_OK);
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}

function unusable(path: string, holds: string, problem: string): Finding {
  return {
    code: "directory-unusable",
    severity: "error",
    path,
    message: `${problem}: runtimes find no ${holds} there, and nothing can be installed`,
    hint: `see what it is and who made it (ls -ld ${shellWord(path)}), and put a directory in its place; if the runtime uses another one, name it (--plugin-dir, --config-dir)`,
  };
}

/** The node calls a directory as it is asked for, also if a link leads to it. */
function shownFor({ named, path, hostRoot: asked }: DirectoryRequest, found: string, hostRoot: string): string {
  return (named ? undefined : pathOnNode(asked, path)) ?? shownAs(hostRoot, found);
}

/** Is this another directory than those that the runtime says it uses? Not where that cannot be told from here. */
export function isForeign(
  { path }: TargetDirectory,
  hostRoot: string,
  runtimeDirs: readonly HostPath[] | undefined,
): boolean {
  const used = runtimeDirs?.map((one) => seenBelow(hostRoot, one) ?? "") ?? [path];
  return !used.includes(path) && (isBelow(path, hostRoot) || used.some((one) => fs.existsSync(one)));
}

/** Undefined: it would have to be made first. */
export function existing(directory: TargetDirectory | undefined): string | undefined {
  return directory !== undefined && fs.existsSync(directory.path) ? directory.path : undefined;
}
