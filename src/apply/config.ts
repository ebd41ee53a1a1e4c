import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";

import { isConfigName, readConfig } from "../cni/config.ts";
import { Failure, isSystemError, systemFailure } from "../errors.ts";
import { createFile } from "../host/disk.ts";
import { modeOf, type Live } from "../host/inspect.ts";
import { mask } from "../secrets.ts";
import { readFile, SIZE_LIMITS } from "../system/read.ts";
import { excerptOf } from "../template/excerpt.ts";
import { findPointers, placeOf, substitute, type Place, type Pointer, type Rendered } from "../template/pointer.ts";
import type { Content } from "./plugin.ts";
import { hintOfMissing } from "./source.ts";

/** What is done about a rendered configuration that the CNI specification does not allow. */
export type Validation = "strict" | "warn" | "off";

export interface ConfigOptions {
  /** The directory of the templates. */
  source: string;
  /** The node's directory of configurations, where pointers are looked up. */
  directory: string;
  validate: Validation;
  /** Given: every configuration gets this mode; else 0600 for new ones, and those that exist keep theirs. */
  mode?: number;
}

/** Configurations may hold credentials (CIS Kubernetes Benchmark 1.1.9). */
const CONFIG_MODE = 0o600;

/**
 * Renders the templates of these names, and checks the results.
 *
 * @throws Failure `source-missing`, `pointer-missing`, `pointer-in-string`, `pointer-cycle`,
 * `pointer-depth`, `config-too-large`, `config-invalid`.
 */
export function prepareConfigs(
  names: readonly string[],
  options: ConfigOptions,
): { contents: Map<string, Content>; warnings: string[] } {
  const { rendered, unreadable } = renderAll(names, options);
  const warnings: string[] = [];
  for (const [name, result] of rendered) {
    const failure = options.validate === "off" ? undefined : checkRendered(name, result, options, unreadable.get(name));
    if (failure !== undefined && options.validate === "strict") throw failure;
    if (failure !== undefined) warnings.push(failure.message);
  }
  const contents = new Map(Array.from(rendered, ([name, { text }]) => [name, configContent(text, options)] as const));
  return { contents, warnings };
}

/** A pointer may name a configuration of the same run, whatever the order: it stands for that one's new content. */
function renderAll(
  names: readonly string[],
  options: ConfigOptions,
): {
  rendered: Map<string, Rendered>;
  /** By template, the file that a pointer of it names and that is no JSON: somebody may be writing it. */
  unreadable: Map<string, string>;
} {
  const rendered = new Map<string, Rendered>();
  const unreadable = new Map<string, string>();
  const chain: string[] = [];

  function render(name: string): Rendered {
    const known = rendered.get(name);
    if (known !== undefined) return known;
    const path = join(options.source, name);
    if (chain.includes(name)) throw pointerCycle(path, [...chain.slice(chain.indexOf(name)), name]);
    if (chain.length === MAX_DEPTH) throw tooDeep(path);
    chain.push(name);
    const template = readTemplate(path);
    const pointers = findPointers(template);
    const inString = pointers.find((pointer) => isConfigName(name) && pointer.inString);
    if (inString !== undefined) throw pointerInString(path, inString);
    const contents = new Map(pointers.map((pointer) => [pointer.name, contentFor(pointer, path)]));
    chain.pop();
    const [broken] = [...contents].find(([, content]) => !isJson(content)) ?? [];
    if (broken !== undefined) unreadable.set(name, broken);
    refuseTooLarge(path, template, pointers, contents);
    const result = substitute(template, contents);
    rendered.set(name, result);
    return result;
  }

  function contentFor(pointer: Pointer, path: string): string {
    return names.includes(pointer.name) ? render(pointer.name).text : readTarget(pointer, path, options.directory);
  }

  for (const name of names) render(name);
  return { rendered, unreadable };
}

/** Templates that point to templates: nobody needs more, and each level may be ten times as large as the one before. */
const MAX_DEPTH = 16;

function tooDeep(path: string): Failure {
  return new Failure({
    code: "pointer-depth",
    subject: path,
    problem: `its template is reached through more than ${MAX_DEPTH} others`,
    hint: "let the templates point to the files that they need, not to each other in a chain",
  });
}

function refuseTooLarge(
  path: string,
  template: string,
  pointers: readonly Pointer[],
  contents: ReadonlyMap<string, string>,
): void {
  const size = pointers.reduce((sum, { name }) => sum + (contents.get(name)?.length ?? 0), template.length);
  if (size <= SIZE_LIMITS.template) return;
  throw new Failure({
    code: "config-too-large",
    subject: path,
    problem: `the rendered configuration would be larger than ${SIZE_LIMITS.template / 1024 / 1024} MiB`,
    hint: "look at which files its pointers name, and how often",
  });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function readTemplate(path: string): string {
  try {
    return readTextFile(path, SIZE_LIMITS.template, "the template cannot be read");
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
      throw new Failure({
        code: "source-missing",
        subject: path,
        problem: "there is no such template",
        hint: hintOfMissing(path, "templates", "--config-source"),
      });
    }
    throw systemFailure(path, "the template cannot be read", error);
  }
}

/** The content of the node's file that a pointer names. An empty one is a file that is being written. */
function readTarget({ name, line, column }: Pointer, template: string, directory: string): string {
  const path = join(directory, name);
  const attempt = `cannot be read for the pointer in ${template}, line ${line}`;
  try {
    const text = readTextFile(path, SIZE_LIMITS.config, attempt);
    if (text.trim() !== "") return text;
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
      throw systemFailure(path, attempt, error);
    }
  }
  throw new Failure({
    code: "pointer-missing",
    subject: template,
    problem: `line ${line}, column ${column}: the pointer __${name}__ needs ${path}, which ${fs.existsSync(path) ? "is empty" : "is not there"}`,
    hint: "install the configuration that it names first, or wait for it with --wait=60s",
    passing: true,
  });
}

/** @param attempt what does not work if it cannot be read, for the message. */
function readTextFile(path: string, limit: number, attempt: string): string {
  const bytes = readFile(path, limit, { attempt });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Failure({ code: "not-text", subject: path, problem: "is no UTF-8 text", cause: error });
  }
}

function pointerCycle(path: string, names: readonly string[]): Failure {
  return new Failure({
    code: "pointer-cycle",
    subject: path,
    problem: `its pointers lead back to itself: ${names.join(" → ")}`,
    hint: "give the template a name of its own, so that the file it points to stays what it is",
  });
}

function pointerInString(path: string, { name, line, column }: Pointer): Failure {
  return new Failure({
    code: "pointer-in-string",
    subject: path,
    problem: `line ${line}, column ${column}: the pointer __${name}__ stands inside a JSON string, where no file can stand`,
    hint: "remove the quotes around it",
  });
}

function checkRendered(
  name: string,
  { text, template, origin }: Rendered,
  { source }: ConfigOptions,
  unreadable: string | undefined,
): Failure | undefined {
  if (!isConfigName(name)) return undefined;
  const result = readConfig(name, text);
  if ("list" in result) return undefined;
  const { message, offset } = result.objection;
  const from = offset === undefined ? undefined : origin(offset);
  const where = offset === undefined ? "" : whereOf(placeOf(text, offset));
  const came = from === undefined ? "" : `, which is${whereOf(from)} of ${from.pointer ?? "the template"}`;
  return new Failure({
    code: "config-invalid",
    subject: join(source, name),
    problem: `the rendered configuration ${message}${where}${came}${from === undefined ? "" : shownLine(template, from)}`,
    hint:
      unreadable === undefined
        ? `fix the template${offset === undefined ? "; --validate=warn installs it all the same" : ""}`
        : `${unreadable}, which it points to, is no JSON by itself: if somebody is writing it, wait with --wait=60s; else mend the template`,
    passing: unreadable !== undefined,
  });
}

/** Of a template: what a file of the node has is shown to nobody, and neither is a secret. */
function shownLine(template: string, place: Place & { pointer?: string }): string {
  const lineOf = (text: string): string | undefined => text.split("\n")[place.line - 1];
  const isShown = place.pointer === undefined && lineOf(mask(template)) === lineOf(template);
  return isShown ? `\n${excerptOf(template, place)}` : "";
}

function whereOf({ line, column }: Place): string {
  return ` at line ${line}, column ${column}`;
}

function configContent(text: string, options: ConfigOptions): Content {
  const bytes = Buffer.from(text);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const mode = (live: Live): number => options.mode ?? (live.type === "file" ? modeOf(live) : CONFIG_MODE);
  return {
    text,
    mode,
    digest: async () => Promise.resolve(digest),
    size: bytes.length,
    stage: async (path, live) => {
      await createFile(path, bytes, { mode: mode(live), ...ownerOf(live) });
      return digest;
    },
  };
}

/** A file that is replaced keeps its owner as well as its mode. */
function ownerOf({ type, stat }: Live): { uid?: number; gid?: number } {
  return type === "file" && stat !== undefined ? { uid: Number(stat.uid), gid: Number(stat.gid) } : {};
}

/**
 * Warns of the network names that more than one configuration in the directory has, of which one is being written:
 * the attachments of one would be taken for the other's (CNI specification, section 1).
 *
 * @param written new contents by file name. @param removed names that will be gone.
 */
export function warnOfDuplicateNames(
  directory: string,
  written: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): string[] {
  const files = new Map<string, string[]>();
  const others = readConfigs(directory, new Set([...removed, ...written.keys()]));
  const texts = new Map([...others, ...Array.from(written).filter(([name]) => isConfigName(name))]);
  for (const [file, text] of texts) {
    const result = readConfig(file, text);
    if ("list" in result) files.set(result.list.name, [...(files.get(result.list.name) ?? []), file]);
  }
  return [...files]
    .filter(([, names]) => names.length > 1 && names.some((name) => written.has(name)))
    .map(
      ([network, names]) =>
        `${directory}: the network name ${JSON.stringify(network)} is used by ${names.join(", ")}; names must be unique`,
    );
}

function readConfigs(directory: string, except: ReadonlySet<string>): [string, string][] {
  const found: [string, string][] = [];
  for (const name of fs.existsSync(directory) ? fs.readdirSync(directory) : []) {
    if (!isConfigName(name) || except.has(name)) continue;
    try {
      found.push([name, readTextFile(join(directory, name), SIZE_LIMITS.config, "cannot be read")]);
    } catch {
      // What cannot be read, or has a name that is no text, is no configuration that a runtime takes.
    }
  }
  return found;
}
