/** The plugins that can be installed. */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, systemFailure } from "../errors.ts";

/**
 * Names of the plugins in a directory, byte-sorted: regular files and links to them, no dotfiles. Names that are no
 * text cannot be named and are left out.
 *
 * @throws Failure `source-missing`, or the system's.
 */
export function pluginNames(source: string): string[] {
  try {
    return fs
      .readdirSync(source, { encoding: "buffer" })
      .toSorted((a, b) => Buffer.compare(a, b))
      .filter((name) => Buffer.from(name.toString()).equals(name))
      .map((name) => name.toString())
      .filter((name) => !name.startsWith(".") && isFile(join(source, name)));
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) throw systemFailure(source, "cannot be listed", error);
    throw new Failure({
      code: "source-missing",
      subject: source,
      problem: "no such directory to list plugins from",
      hint: "name the directory of the plugin binaries with --plugin-source",
    });
  }
}

/** A link to a missing file, or to itself, is not a file. */
function isFile(path: string): boolean {
  try {
    return fs.statSync(path).isFile();
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ELOOP", "ENOTDIR")) return false;
    throw error;
  }
}
