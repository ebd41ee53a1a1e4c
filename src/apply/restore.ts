/** What was there before cni-node and comes back with an uninstall: judged where it will stand. */
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";

import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { inspect } from "../host/inspect.ts";
import { statePaths } from "../host/target.ts";
import type { FileStep } from "../host/transaction.ts";
import type { FileKind } from "../node/directory.ts";
import { hostPath, isBelow, seenBelow } from "../system/below.ts";
import type { Directory } from "./prepare.ts";

/** Before anything is tried: a plan, too, says what cannot be put back. @throws Failure `backup-missing`. */
export function refuseMissingBackup(
  file: FileStep | undefined,
  directories: Partial<Record<FileKind, Directory>>,
): void {
  const { path = "", objects = "" } = directories[file?.kind as FileKind] ?? {};
  if (file?.restores === undefined) return;
  const { type } = inspect(objects, file.restores);
  if (type === "file" || type === "link") return;
  const live = join(path, file.name);
  throw new Failure({
    code: "backup-missing",
    subject: live,
    problem: `what was there before cannot be put back: ${join(statePaths(path).objects, file.restores)} is ${type === "absent" ? "gone" : "not a file any more"}`,
    hint: `remove ${live} by hand if it is to go, and run again`,
  });
}

/** The file of a plugin that comes back, as it will stand. Undefined: it cannot be seen. */
export function restoredPlugin(
  file: FileStep | undefined,
  directory: Directory | undefined,
  hostRoot: string,
): string | undefined {
  if (file?.restores === undefined || directory === undefined) return undefined;
  return asItWillStand(directory, file.restores, file.name, hostRoot);
}

/** Where the content of an object is that comes back: a link leads from its place in the directory. */
export function asItWillStand(
  directory: Directory,
  object: string,
  name: string,
  hostRoot: string,
): string | undefined {
  return asItStands(join(directory.objects, object), join(directory.path, name), hostRoot);
}

/**
 * Where the content of a file is that is kept elsewhere and will stand at this path: a link is followed from there, as
 * the node does. Undefined: it leads to what cannot be seen from here, or to itself.
 */
export function asItStands(file: string, place: string, hostRoot: string): string | undefined {
  if (fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return file;
  const root = isBelow(place, hostRoot) ? hostRoot : "/";
  const target = fs.readlinkSync(file);
  const path = target.startsWith("/") ? target : `/${relative(root, dirname(place))}/${target}`;
  const seen = seenBelow(root, hostPath(path));
  return seen !== undefined && seen !== place && fs.existsSync(seen) ? seen : undefined;
}

/** Warns of a link that comes back and leads to what cannot be seen: nobody judges it. */
export function unseenLinks(
  files: readonly { result: { name: string }; file?: FileStep }[],
  directories: Partial<Record<FileKind, Directory>>,
  hostRoot: string,
): Finding[] {
  return files.flatMap(({ result: { name }, file }) => {
    const directory = directories[file?.kind as FileKind];
    if (file?.restores === undefined || directory === undefined) return [];
    if (asItWillStand(directory, file.restores, name, hostRoot) !== undefined) return [];
    const target = fs.readlinkSync(join(directory.objects, file.restores));
    const message = `what comes back is a link to ${target}, which is not there or not mounted, so it was not tried`;
    return warning("link-unseen", join(directory.path, name), message);
  });
}
