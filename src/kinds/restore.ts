/** What was there before cni-node and comes back with an uninstall: judged where it will stand. */
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";

import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { inspect } from "../host/inspect.ts";
import { statePaths } from "../host/target.ts";
import type { FileStep } from "../host/transaction.ts";
import { hostPath, isBelow, seenBelow } from "../system/below.ts";
import type { Decided, Directories, Directory, Surroundings } from "./kind.ts";

/** Before anything is tried: a plan, too, says what cannot be put back. @throws Failure `backup-missing`. */
export function refuseMissingBackup(file: FileStep | undefined, directory: Directory | undefined): void {
  const { path = "", objects = "" } = directory ?? {};
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

/** The file that a step restores, as it will stand. Undefined: it cannot be seen. */
export function restoredFile(
  file: FileStep | undefined,
  directory: Directory | undefined,
  { hostRoot }: Surroundings,
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
export function asItStands(file: string, standsAt: string, hostRoot: string): string | undefined {
  if (fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return file;
  const root = isBelow(standsAt, hostRoot) ? hostRoot : "/";
  const target = fs.readlinkSync(file);
  const path = target.startsWith("/") ? target : `/${relative(root, dirname(standsAt))}/${target}`;
  const here = seenBelow(root, hostPath(path));
  return here !== undefined && here !== standsAt && fs.existsSync(here) ? here : undefined;
}

/** Warns of a link that comes back and leads to what cannot be seen: nobody judges it. */
export function unseenLinks(files: readonly Decided[], directories: Directories, hostRoot: string): Finding[] {
  return files.flatMap(({ step: { kind, name }, file }) => {
    const directory = directories[kind];
    if (file?.restores === undefined || directory === undefined) return [];
    if (asItWillStand(directory, file.restores, name, hostRoot) !== undefined) return [];
    const target = fs.readlinkSync(join(directory.objects, file.restores));
    const message = `what comes back is a link to ${target}, which is not there or not mounted, so it was not tried`;
    return warning("link-unseen", join(directory.path, name), message);
  });
}
