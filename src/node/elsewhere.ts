/** Does a run install where the container runtime of the node does not look? */
import * as fs from "node:fs";
import { join } from "node:path";

import type { FileKind } from "../asset.ts";
import type { FindingCode } from "../codes.ts";
import { warning, type Finding } from "../finding.ts";
import { seenBelow } from "../system/below.ts";
import { shellWord } from "../system/text.ts";
import type { DirectoryRequest } from "./directory.ts";
import type { LookedInto } from "./runtime.ts";

/** What is said of a directory that the runtime does not look into, by what it holds. */
const OTHER_DIRECTORY: Partial<Record<FileKind, FindingCode>> = {
  plugin: "runtime-plugin-directory",
  config: "runtime-directory",
};

/**
 * Warns where files go to a directory that nobody named and that the runtime does not read.
 *
 * @param target where they go, its real path. @param hostRoot its real path. @param found undefined: it is not known.
 */
export function warnOfElsewhere(
  kind: FileKind,
  request: DirectoryRequest,
  target: string,
  hostRoot: string,
  found: LookedInto | undefined,
): Finding[] {
  const { [kind]: code } = OTHER_DIRECTORY;
  if (request.named || request.auto || found === undefined || code === undefined) return [];
  const candidates = found.paths.map((path) => ({ path, here: seenBelow(hostRoot, path) ?? "" }));
  const [first] = [...candidates.filter(({ here }) => fs.existsSync(here)), ...candidates];
  if (first === undefined || candidates.some(({ here }) => here === target)) return [];
  const named = shellWord(`${request.option}=${join(request.hostRoot, first.path)}`);
  const mount = fs.existsSync(first.here) ? "" : `mount ${first.path}, then `;
  const message = `${found.by} looks for ${request.holds} in ${first.path}`;
  const hint = `${mount}use ${request.option}=auto, or give ${named} to install there`;
  return [warning(code, target, message, hint)];
}
