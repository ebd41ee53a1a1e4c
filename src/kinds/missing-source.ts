/** What helps whoever names a file that is not among the sources. */
import * as fs from "node:fs";
import { basename, dirname } from "node:path";

import { Failure } from "../errors.ts";
import { nearestTo } from "../system/nearest.ts";
import { visible } from "../system/text.ts";

/** So many names fit into a message. */
const MOST_NAMES = 20;

/** `did you mean bridge? `, or nothing. */
export function didYouMean(names: readonly string[], known: readonly string[]): string {
  const meant = names.flatMap((name) => nearestTo(name, known) ?? []);
  return meant.length === 0 ? "" : `did you mean ${[...new Set(meant)].join(", ")}? `;
}

/**
 * `source-missing`, with what to do about it.
 *
 * @param holds what its directory holds, in the plural. @param option the option that names the directory.
 */
export function sourceMissing(path: string, problem: string, holds: string, option: string): Failure {
  return new Failure({ code: "source-missing", subject: path, problem, hint: hintOfMissing(path, holds, option) });
}

function hintOfMissing(path: string, holds: string, option: string): string {
  const names = fileNames(dirname(path));
  if (names.length === 0) return `mount the ${holds} and name their directory with ${option}`;
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const there = `${names.slice(0, MOST_NAMES).join(", ")}${more}`;
  return `${didYouMean([basename(path)], names)}${dirname(path)} has ${there}; ${option} names another directory`;
}

function fileNames(directory: string): string[] {
  try {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."));
    return files.map(({ name }) => visible(name)).toSorted();
  } catch {
    return [];
  }
}
