/** What plugins have answered this process: a static binary that is still the same file answers the same. */
import * as fs from "node:fs";

import { isStatic } from "../system/elf.ts";

/** More plugins no node has. */
const MOST_PLUGINS = 500;
/** A file that was written to so recently may be written to again without a change of its times, milliseconds. */
const SETTLED_MS = 100;

const answers = new Map<string, { file: string; versions: readonly string[] }>();

/** The versions that the plugin at that path answered, if it is the same file. */
export function answerOf(path: string): readonly string[] | undefined {
  const known = answers.get(path);
  return known !== undefined && known.file === fileAt(path) ? known.versions : undefined;
}

/** Asks a plugin, and remembers what it answers. A script or a program with libraries depends on other files, too. */
export async function asked(path: string, ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const file = fileAt(path);
  const versions = await ask();
  if (answers.size >= MOST_PLUGINS) answers.clear();
  if (file !== undefined && isStatic(path) && file === fileAt(path)) answers.set(path, { file, versions });
  else answers.delete(path);
  return versions;
}

/** What tells a file from any other, and from itself after a change. Undefined: it cannot be seen, or has just changed. */
function fileAt(path: string): string | undefined {
  try {
    const { dev, ino, size, mode, mtimeNs, ctimeNs, ctimeMs } = fs.statSync(path, { bigint: true });
    return Date.now() - Number(ctimeMs) < SETTLED_MS ? undefined : [dev, ino, size, mode, mtimeNs, ctimeNs].join(" ");
  } catch {
    return undefined;
  }
}
