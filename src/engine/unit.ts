/** The flags of dockerd as the host starts it: its systemd unit, and Debian's start scripts. Changes nothing. */
import * as fs from "node:fs";

import { firstNamesIn } from "../system/entries.ts";
import { objectionToOwner } from "../system/owner.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { EnginePaths } from "./paths.ts";

/** Where systemd finds units; of several files of one name, the first counts. */
const UNITS = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/**
 * The words after dockerd in its unit, and those that Debian's start scripts add. A word with a dollar sign stays where it
 * is not known what it stands for. Undefined: there is neither.
 */
export function startWords(paths: EnginePaths): string[] | undefined {
  const read = (path: string): string | undefined => readTextIfPossible(paths.pathHere(path), SIZE_LIMITS.config);
  const unit = UNITS.map((directory) => read(`${directory}/docker.service`)).find((text) => text !== undefined);
  const dropIns = new Map<string, string>();
  for (const directory of UNITS.map((one) => `${one}/docker.service.d`).toReversed()) {
    const names = firstNamesIn(paths.pathHere(directory), 100, (name) => name.endsWith(".conf"));
    for (const name of names) dropIns.set(name, `${directory}/${name}`);
  }
  const defaults = read("/etc/default/docker");
  if (unit === undefined && dropIns.size === 0 && defaults === undefined) return undefined;
  // In the order of their names, wherever they are.
  const added = [...dropIns].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => read(path) ?? "");
  const text = [unit ?? "", ...added].join("\n").replaceAll("\\\n", " ");
  const start = text.match(/^ExecStart=.*\bdockerd\b.*$/gmu)?.at(-1) ?? "";
  const options = defaults?.match(/^\s*DOCKER_OPTS=.*$/gmu)?.at(-1) ?? "";
  return `${expanded(start, text, paths)} ${options.replace("DOCKER_OPTS=", "")}`
    .replaceAll(/["']/gu, " ")
    .split(/\s+/u)
    .slice(1);
}

/** The line with the values of its variables: those of the files that the unit names, else its own. */
function expanded(line: string, unit: string, paths: EnginePaths): string {
  const files = valuesOf("EnvironmentFile", unit);
  const texts = files.map((file) => environmentFile(file, paths));
  const own = valuesOf("Environment", unit).flatMap((value) =>
    Array.from(value.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/gu), ([, ...words]) => words.find(Boolean) ?? ""),
  );
  const variables = new Map([...own, ...texts.flatMap((text) => linesOf(text ?? ""))].flatMap((one) => pairIn(one)));
  // For systemd, what is not set is empty. What its own environment sets is not known here.
  const isWhole = files.length > 0 && !texts.includes(undefined);
  return line.replaceAll(/\$(?:\{(\w+)\}|(\w+))/gu, (word, braced: string | undefined, plain: string | undefined) => {
    return variables.get(braced ?? plain ?? "") ?? (isWhole ? "" : word);
  });
}

/** What a key of a unit is given, each time since it was last given nothing. */
function valuesOf(key: string, unit: string): string[] {
  const values = Array.from(unit.matchAll(new RegExp(`^${key}=(.*)$`, "gmu")), ([, value = ""]) => value.trim());
  return values.slice(values.lastIndexOf("") + 1);
}

/** The text of a file that a unit names; undefined: it cannot be read, or others can have written it. */
function environmentFile(named: string, paths: EnginePaths): string | undefined {
  const [, optional, file = ""] = /^(-?)(.*)$/su.exec(named) ?? [];
  // A pattern, or a specifier of systemd.
  if (!file.startsWith("/") || /[*?[%]/u.test(file)) return undefined;
  const path = paths.pathHere(file);
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return optional === "" ? undefined : "";
  return objectionToOwner(stat) === undefined ? readTextIfPossible(path, SIZE_LIMITS.config) : undefined;
}

function linesOf(text: string): string[] {
  return text.replaceAll("\\\n", " ").split("\n");
}

/** `NAME=VALUE`, with or without quotes; a comment is none. */
function pairIn(text: string): [name: string, value: string][] {
  const [, name, value = ""] = /^\s*([A-Za-z_]\w*)=(.*?)\s*$/su.exec(text) ?? [];
  return name === undefined ? [] : [[name, value]];
}
