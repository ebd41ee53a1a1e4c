import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { isConfigName, parseNetworkList, readConfig } from "../cni/config.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { Failure, isSystemError, Objections, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { createFile } from "../system/disk.ts";
import { inspect, isUnwritten, modeOf, type Live } from "../host/inspect.ts";
import type { HeldAsset } from "../host/record.ts";
import { changedMeanwhile } from "../host/transaction.ts";
import { chainOf } from "../node/chain.ts";
import { examineConfigs } from "../node/checks.ts";
import { keepChained } from "../node/merge-chain.ts";
import { findPrimary } from "../node/primary.ts";
import type { NodeView } from "../node/view.ts";
import { mask } from "../secrets.ts";
import { isJson } from "../system/json.ts";
import { positionOf, type TextPosition } from "../system/text-position.ts";
import { readFile, readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { excerptOf } from "../template/excerpt.ts";
import {
  findPointers,
  findStray,
  placeholderOf,
  POINTER_RULE,
  substitute,
  type Pointer,
  type Rendered,
} from "../template/pointer.ts";
import type { Written } from "../template/values.ts";
import { hasBytes, type Content } from "./content.ts";
import { DELEGATE_NAMES, noPrimary, warnOfOrder } from "./delegate.ts";
import {
  heldAs,
  type Chained,
  type Decided,
  type Desired,
  type Directory,
  type FileAssets,
  type Wanted,
} from "./kind.ts";
import { keepNetwork } from "./policies.ts";
import { withPodCidrs } from "./pod-cidr.ts";
import { decoded, readTemplate, Source } from "./source.ts";
import { findValues, KNOWN, NoValue } from "./values.ts";

/** Network configurations, rendered from templates. */
export const configs: FileAssets = {
  read: readDesired,
  isAsked: ({ delegate, chain, unchain }) => (delegate ?? chain ?? unchain) !== undefined,
  isShown: true,
  objectionTo: objectionToBackup,
  keep: keepNetwork,
  changes: (files, { surroundings: { configDirectory: directory } }) => {
    if (directory === undefined) return {};
    // What cannot be seen is not text.
    const texts = new Map(
      files.map(({ file, result: { name, texts: { after = "" } = {} } }) => {
        return [name, file?.effect === "write" ? after : after || undefined] as const;
      }),
    );
    return {
      configs: {
        directory,
        before: readDirectoryListing(directory),
        after: readDirectoryListing(directory, texts),
        changed: [...texts.keys()],
        written: [...texts].filter(([, text]) => text !== undefined).map(([name]) => name),
      },
    };
  },
  lossMeans: "pods get another network, or none",
};

/** Configurations may hold credentials (CIS Kubernetes Benchmark 1.1.9). */
const CONFIG_MODE = 0o600;

/**
 * Renders the templates of these names, and checks the results.
 *
 * @param objections receives `source-missing`, `pointer-missing`, `pointer-in-string`, `pointer-cycle`,
 * `pointer-depth`, `value-missing`, `config-too-large`, `config-invalid`, `pointer-invalid`; these configurations have no content.
 */
async function readDesired(
  names: readonly string[],
  wanted: Wanted,
  target: Directory | undefined,
  objections: Objections,
  signal: AbortSignal,
): Promise<Desired> {
  const { validate, sources, configMode, delegate } = wanted;
  const directory = target?.path ?? "";
  const source = new Source(sources.config, wanted.configTexts);
  const variables = names.flatMap((name) => pointersOf(source, name).map((pointer) => pointer.name));
  const isInjected = wanted.injectPodCidr && names.length > 0;
  const values = await findValues([...variables, ...(isInjected ? [POD_CIDRS] : [])], wanted, signal);
  const podCidrs = isInjected ? objections.catch(() => podCidrsIn(values)) : undefined;
  const { rendered, unreadable, pointedTo, shadowed } = renderAll(
    names,
    { source, target, glob: delegate?.glob, values, podCidrs },
    objections,
  );
  if (podCidrs !== undefined) refuseInjection(names, source, rendered, podCidrs, objections);
  const warnings: Finding[] = [...shadowed];
  for (const [name, result] of rendered) {
    const failure = validate === "off" ? undefined : await checkRendered(name, result, source, unreadable.get(name));
    if (failure !== undefined && validate === "strict") {
      objections.add(failure);
      rendered.delete(name);
    } else if (failure !== undefined) warnings.push(failure.asWarning("config-invalid", hintOf(failure)));
  }
  return {
    contents: new Map(
      Array.from(rendered, ([name, result]) => {
        const chained = wanted.chained?.get(name);
        return [name, configContent(name, { ...result, ...chained }, { asked: configMode, chained })];
      }),
    ),
    warnings,
    warningsOf: (files) => nameWarnings(files, directory, { pointedTo, copied: copiedBy(wanted) }),
  };
}

/**
 * A pointer may name a configuration of the same run, in any order: it stands for that one's new content.
 *
 * @param source of the templates. @param target the directory of the configurations, where pointers are looked up.
 * @param glob that the name of the primary must match. @param values of the variables.
 * @param podCidrs are put into the configurations that have a place for them.
 */
function renderAll(
  names: readonly string[],
  {
    source,
    target: directory,
    glob,
    values,
    podCidrs,
  }: {
    source: Source;
    target: Directory | undefined;
    glob: string | undefined;
    values: ReadonlyMap<string, Written | NoValue>;
    podCidrs: readonly string[] | undefined;
  },
  objections: Objections,
): {
  rendered: Map<string, NewConfig>;
  /** By template, the file that a pointer of it names and that is not JSON: somebody may be writing it. */
  unreadable: Map<string, string>;
  /** The files that pointers name. */
  pointedTo: Set<string>;
  /** Warnings of configurations around the primary that runtimes do not use. */
  shadowed: Finding[];
} {
  const rendered = new Map<string, NewConfig>();
  const unreadable = new Map<string, string>();
  const pointedTo = new Set<string>();
  const shadowed: Finding[] = [];
  const failed = new Set<string>();
  const chain: string[] = [];

  /** Undefined: there are objections. */
  function render(name: string): NewConfig | undefined {
    if (rendered.has(name) || failed.has(name)) return rendered.get(name);
    const path = source.nameOf(name);
    const result = objections.catch(() => {
      if (chain.includes(name)) throw pointerCycle(path, [...chain.slice(chain.indexOf(name)), name]);
      if (chain.length === MAX_DEPTH) throw tooDeep(path);
      chain.push(name);
      try {
        const made = renderTemplate(name, path);
        return made && withChained(name, source.isFinal(name) ? made : injected(name, made, podCidrs), directory);
      } finally {
        chain.pop();
      }
    });
    if (result === undefined) failed.add(name);
    else rendered.set(name, result);
    return result;
  }

  function renderTemplate(name: string, path: string): Rendered | undefined {
    const template = readTemplate(source, name);
    if (source.isFinal(name)) return { text: template, template, origin: (offset) => positionOf(template, offset) };
    const pointers = findPointers(template);
    const quoted = pointers.filter((pointer) => {
      return isConfigName(name) && pointer.inString && !values.has(pointer.name);
    });
    for (const pointer of quoted) objections.add(pointerInString(path, pointer));
    for (const { name: target } of pointers) if (target !== PRIMARY && !values.has(target)) pointedTo.add(target);
    const contents = new Map<string, string | Written>();
    for (const [target, [pointer]] of Map.groupBy(pointers, (one) => one.name)) {
      const content = quoted.includes(pointer as Pointer) ? undefined : contentFor(pointer as Pointer, path);
      if (content !== undefined) contents.set(target, content);
    }
    if (pointers.some((pointer) => !contents.has(pointer.name)) || quoted.length > 0) return undefined;
    const [broken] = [...contents].find(([, content]) => typeof content === "string" && !isJson(content)) ?? [];
    if (broken !== undefined) unreadable.set(name, broken);
    refuseTooLarge(path, template, pointers, contents);
    return substitute(template, contents);
  }

  function contentFor(pointer: Pointer, path: string): string | Written | undefined {
    const value = values.get(pointer.name);
    if (value instanceof NoValue) objections.add(valueMissing(path, pointer, value));
    if (value !== undefined) return value instanceof NoValue ? undefined : value;
    if (pointer.name === PRIMARY) return objections.catch(() => primaryFor(pointer, path));
    if (names.includes(pointer.name)) return render(pointer.name)?.kept;
    return objections.catch(() => readTarget(pointer, path, directory?.path ?? ""));
  }

  /** One of the same run can be the primary, but what is made of it. */
  function primaryFor({ line, column }: Pointer, path: string): string {
    const made = new Set(names.filter((name) => chain.includes(name) || pointsToPrimary(source, name)));
    const others = names.filter((name) => !made.has(name) && isConfigName(name));
    const texts = others.flatMap((name) => {
      const text = render(name)?.kept;
      return text === undefined ? [] : [[name, text] as const];
    });
    const except = new Set([...made, ...DELEGATE_NAMES]);
    const found = findPrimary(readDirectoryListing(directory?.path ?? "", new Map(texts)), { glob, except });
    if ("text" in found) {
      for (const name of chain) shadowed.push(...warnOfOrder(found.file, name, directory?.path ?? ""));
      return found.text;
    }
    throw noPrimary(found, directory?.path ?? "", `${path} (line ${line}, column ${column}: __PRIMARY__)`, glob);
  }

  for (const name of names) render(name);
  return { rendered, unreadable, pointedTo, shadowed };
}

/** The variable that `--inject-pod-cidr` needs. */
const POD_CIDRS = "POD_CIDRS";

function podCidrsIn(values: ReadonlyMap<string, Written | NoValue>): string[] {
  const value = values.get(POD_CIDRS);
  if (value !== undefined && !(value instanceof NoValue)) return JSON.parse(value.alone) as string[];
  const { problem = "", hint = "", passing, cause } = value ?? {};
  throw new Failure({ code: "value-missing", subject: "--inject-pod-cidr", problem, hint, passing, cause });
}

/** What is made of text that was JSON has no place in the template, and no error of syntax. */
function injected(name: string, made: Rendered, podCidrs: readonly string[] | undefined): Rendered {
  const text = podCidrs === undefined ? undefined : withPodCidrs(name, made.text, podCidrs);
  if (text === undefined || text === made.text) return made;
  return { text, template: made.template, origin: () => positionOf(made.template, 0) };
}

/** The podCIDRs belong to one network: two that give the same addresses would give them twice. */
function refuseInjection(
  names: readonly string[],
  source: Source,
  rendered: ReadonlyMap<string, NewConfig>,
  podCidrs: readonly string[],
  objections: Objections,
): void {
  const own = [...rendered].filter(([name]) => !source.isFinal(name));
  const places = own.filter(([name, { text }]) => withPodCidrs(name, text, podCidrs) !== undefined);
  // What could not be rendered is an objection already.
  if (places.length === 1 || (places.length === 0 && rendered.size < names.length)) return;
  const problem =
    places.length === 0
      ? `${names.join(", ")}: has no plugin of type bridge with host-local to take the podCIDRs`
      : `${places.map(([name]) => name).join(", ")}: each has a bridge plugin that could take the podCIDRs`;
  const hint = "write __POD_CIDR__ in the template, where it belongs";
  objections.add(new Failure({ code: "pod-cidr-place", subject: "--inject-pod-cidr", problem, hint }));
}

/** It stands for the content of the primary's file (`--delegate` without a template of one's own). */
const PRIMARY = "PRIMARY";

function pointsToPrimary(source: Source, name: string): boolean {
  return pointersOf(source, name).some((pointer) => pointer.name === PRIMARY);
}

function pointersOf(source: Source, name: string): Pointer[] {
  try {
    return source.isFinal(name) ? [] : findPointers(readTemplate(source, name));
  } catch {
    // It is an objection of its own.
    return [];
  }
}

function valueMissing(path: string, pointer: Pointer, { problem, hint, passing, cause }: NoValue): Failure {
  const { name, line, column } = pointer;
  return new Failure({
    code: "value-missing",
    subject: path,
    problem: `line ${line}, column ${column}: __${name}__ has no value: ${problem}`,
    hint,
    passing,
    cause,
  });
}

/** A rendered configuration, and what is written of it. */
interface NewConfig extends Rendered {
  /** The text with the plugins that others have chained into the live list. */
  kept: string;
  /** The live list, if it was read for that. */
  live?: Live;
}

function withChained(name: string, rendered: Rendered, directory: Directory | undefined): NewConfig {
  const held = heldAs(directory?.record?.assets ?? [], { kind: "config", name });
  if (directory === undefined || held?.chain === undefined || held.owners.length === 0) {
    return { ...rendered, kept: rendered.text };
  }
  const live = inspect(directory.path, name);
  const text = live.type === "file" ? readLive(join(directory.path, name)) : undefined;
  return {
    ...rendered,
    kept: text === undefined ? rendered.text : keepChained(name, rendered.text, text, held.chain),
    live,
  };
}

/** Undefined: it is not a configuration, so it is replaced. */
function readLive(path: string): string | undefined {
  try {
    return readTextFile(path, SIZE_LIMITS.config, "cannot be read", false);
  } catch {
    return undefined;
  }
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
  contents: ReadonlyMap<string, string | Written>,
): void {
  const size = pointers.reduce((sum, { name }) => sum + lengthOf(contents.get(name) ?? ""), template.length);
  if (size <= SIZE_LIMITS.template) return;
  throw new Failure({
    code: "config-too-large",
    subject: path,
    problem: `the rendered configuration would be larger than ${SIZE_LIMITS.template / 1024 / 1024} MiB`,
    hint: "look at which files its pointers name, and how often",
  });
}

function lengthOf(content: string | Written): number {
  return typeof content === "string" ? content.length : Math.max(content.inString.length, content.alone.length);
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
    hint: placeholderHint(name) ?? "install the configuration that it names first, or wait for it with --wait=60s",
    passing: "configs",
  });
}

/**
 * @param attempt what does not work if it cannot be read, for the message.
 * @param follow false: a link is refused.
 */
function readTextFile(path: string, limit: number, attempt: string, follow = true): string {
  return decoded(path, readFile(path, limit, { attempt, follow }));
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
    hint: placeholderHint(name) ?? "remove the quotes around it",
  });
}

/** What to do where a template of others is used as one of ours. */
function placeholderHint(name: string): string | undefined {
  const owner = placeholderOf(name);
  if (owner === undefined) return undefined;
  return `it looks like a placeholder of ${owner} installer, which a script of that one replaces; give its value in the environment and name it with --variables='$${name}', or write it there; ${KNOWN}`;
}

async function checkRendered(
  name: string,
  { text, template, origin }: Rendered,
  source: Source,
  unreadable: string | undefined,
): Promise<Failure | undefined> {
  if (!isConfigName(name)) return undefined;
  const result = readConfig(name, text);
  if ("list" in result) return undefined;
  const stray = pointerLike(text, origin);
  if (stray !== undefined) {
    return new Failure({
      code: "pointer-invalid",
      subject: source.nameOf(name),
      problem: `line ${stray.line}, column ${stray.column}: ${stray.word} is not a pointer`,
      hint: [POINTER_RULE, ANYWAY],
    });
  }
  const { message, offset } = result.objection;
  const from = offset === undefined ? undefined : origin(offset);
  const where = offset === undefined ? "" : whereOf(positionOf(text, offset));
  const came = from === undefined ? "" : `, which is${whereOf(from)} of ${from.pointer ?? "the template"}`;
  return new Failure({
    code: "config-invalid",
    subject: source.nameOf(name),
    problem: `the rendered configuration ${message}${where}${came}`,
    excerpt: from && shownLine(template, from),
    hint:
      unreadable === undefined
        ? ["fix the template", ...(offset === undefined ? [ANYWAY] : [])]
        : `${unreadable}, which it points to, is not JSON by itself: if it is being written, wait with --wait=60s; else fix the template`,
    passing: unreadable === undefined ? undefined : "configs",
  });
}

const ANYWAY = "--validate=warn installs it anyway";

/** What fixes what is installed anyway. */
function hintOf({ hints }: Failure): string {
  return hints.filter((hint) => hint !== ANYWAY).join("; ");
}

/** A word of the template that was meant as a pointer; what a file of the node has is that one's affair. */
function pointerLike(text: string, origin: Rendered["origin"]): (TextPosition & { word: string }) | undefined {
  const stray = findStray(text);
  const from = stray && origin(stray.offset);
  return stray === undefined || from === undefined || from.pointer !== undefined
    ? undefined
    : { line: from.line, column: from.column, word: stray.word };
}

/** Of a template: what a file of the node has is shown to nobody, and neither is a secret. */
function shownLine(template: string, position: TextPosition & { pointer?: string }): string | undefined {
  const lineOf = (text: string): string | undefined => text.split("\n")[position.line - 1];
  const line = lineOf(template) ?? "";
  const isShown = position.pointer === undefined && line.trim() !== "" && lineOf(mask(template)) === line;
  return isShown ? excerptOf(template, position) : undefined;
}

function whereOf({ line, column }: TextPosition): string {
  return ` at line ${line}, column ${column}`;
}

/**
 * The template of one plugin, rendered. Undefined: there are objections.
 *
 * @throws Failure of its values.
 */
export async function renderPlugin(
  name: string,
  wanted: Wanted,
  target: Directory | undefined,
  objections: Objections,
  signal: AbortSignal,
): Promise<string | undefined> {
  const source = new Source(wanted.sources.config, wanted.configTexts);
  const variables = pointersOf(source, name).map((pointer) => pointer.name);
  const values = await findValues(variables, wanted, signal);
  const { rendered } = renderAll(
    [name],
    { source, target, glob: wanted.delegate?.glob, values, podCidrs: undefined },
    objections,
  );
  return rendered.get(name)?.text;
}

/** The file of others without our plugins, which is not held afterwards. @param live the file as it was read. */
export function contentWithout(name: string, text: string, live: Live): Content {
  return configContent(name, { text, kept: text, live }, { chained: { entries: [] } });
}

/** @param how.asked the mode that was asked for; else new files get `CONFIG_MODE`, and those that exist keep theirs. */
function configContent(
  name: string,
  { text: own, kept, live: read }: Pick<NewConfig, "text" | "kept" | "live">,
  { asked, chained }: { asked?: number | undefined; chained: Chained | undefined },
): Content {
  const isOfOthers = chained !== undefined && chained.copyOf === undefined;
  const bytes = Buffer.from(kept);
  const chain = chainOf(name, own);
  const known = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const digest = async (): Promise<string> => Promise.resolve(known);
  const mode = (live: Live): number =>
    (isOfOthers ? undefined : asked) ?? (live.type === "file" ? modeOf(live) : CONFIG_MODE);
  return {
    text: kept,
    mode,
    digest,
    isCurrent: async (path, live, seen) => {
      if (read !== undefined && !isUnwritten(read, live)) throw changedMeanwhile(path);
      return hasBytes(digest, bytes.length, path, live, seen);
    },
    isHeld: (held) => {
      if (isOfOthers) return isDeepStrictEqual(held.chained?.entries, chained.entries);
      return kept !== own && isDeepStrictEqual(held.chain, chain);
    },
    recorded: () => ({
      ...(chain !== undefined && !isOfOthers && { chain }),
      ...(chained && { chained: recordedOf(chained) }),
    }),
    ...(isOfOthers && { entries: chained.entries }),
    stage: async (path, live) => {
      await createFile(path, bytes, { mode: mode(live), ...ownerOf(live) });
      return known;
    },
  };
}

function recordedOf({ entries, copyOf }: Chained): NonNullable<HeldAsset["chained"]> {
  return { entries, ...(copyOf !== undefined && { copyOf }) };
}

/** The files of which there are copies that come before them, with their names. */
function copiedBy({ chained }: Wanted): Set<string> {
  return new Set([...(chained?.values() ?? [])].flatMap(({ copyOf }) => copyOf ?? []));
}

/** A file that is replaced keeps its owner as well as its mode. */
function ownerOf({ type, stat }: Live): { uid?: number; gid?: number } {
  return type === "file" && stat !== undefined ? { uid: Number(stat.uid), gid: Number(stat.gid) } : {};
}

/** One broken file spoils the whole directory. */
async function objectionToBackup(
  name: string,
  backup: string,
  directory: string,
  view: NodeView,
): Promise<string | undefined> {
  const text = readTextIfPossible(backup, SIZE_LIMITS.config);
  if (!isConfigName(name) || text === undefined) return undefined;
  const read = readConfig(name, text);
  if ("objection" in read) return read.objection.message;
  const found = await examineConfigs(readDirectoryListing(directory, new Map([[name, text]])), view, [name]);
  return found.find(({ severity }) => severity === "error")?.message;
}

/** @param about.pointedTo the files that pointers name. @param about.copied those that have a copy, which comes first. */
function nameWarnings(
  files: readonly Decided[],
  directory: string,
  { pointedTo, copied }: { pointedTo: ReadonlySet<string>; copied: ReadonlySet<string> },
): Finding[] {
  const written = files.filter(({ file }) => file?.effect === "write");
  if (written.length === 0) return [];
  const texts = new Map(written.map(({ result }) => [result.name, result.texts?.after ?? ""]));
  const removed = new Set(files.filter(({ file }) => file?.effect === "remove").map(({ result }) => result.name));
  return [
    ...warnOfDuplicateNames(directory, texts, new Set([...removed, ...copied])),
    ...warnOfUnreadNames(directory, texts, removed, pointedTo),
  ];
}

/** So packages and people call what nobody is to read. */
const UNREAD_ON_PURPOSE = /\.(?:bak|disabled|example|off|orig|sample|template|tmpl)$/u;

/**
 * Warns of written files that hold a network configuration and have a name that no runtime reads, unless another
 * configuration names them.
 *
 * @param written new contents by file name. @param removed names that will be gone. @param pointedTo names in pointers.
 */
function warnOfUnreadNames(
  directory: string,
  written: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
  pointedTo: ReadonlySet<string>,
): Finding[] {
  const suspects = Array.from(written).filter(
    ([name, text]) =>
      !isConfigName(name) && !UNREAD_ON_PURPOSE.test(name) && !pointedTo.has(name) && isMeantAsNetwork(text),
  );
  if (suspects.length === 0) return [];
  const others = readConfigs(directory, new Set([...removed, ...written.keys()]));
  const texts = [...others, ...written].filter(([name]) => isConfigName(name)).map(([, text]) => text);
  return suspects
    .filter(([name]) => !texts.some((text) => text.includes(`"${name}"`) || text.includes(`/${name}"`)))
    .map(([name]) =>
      warning(
        "name-unread",
        join(directory, name),
        "is a network configuration that no runtime reads, because its name does not end in .conf, .conflist or .json",
        "name it .conflist if it has plugins, else .conf",
      ),
    );
}

/** Also one that is broken. */
function isMeantAsNetwork(text: string): boolean {
  const isNetwork = ["a.conflist", "a.conf"].some((name) => "list" in parseNetworkList(name, text));
  return isNetwork || (text.trimStart().startsWith("{") && /"cniVersions?"\s*:/iu.test(text));
}

/**
 * Warns of the network names that more than one configuration in the directory has, of which one is being written:
 * the attachments of one would be taken for the other's (CNI specification, section 1).
 *
 * @param written new contents by file name. @param removed names that will be gone.
 */
function warnOfDuplicateNames(
  directory: string,
  written: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): Finding[] {
  const files = new Map<string, string[]>();
  const others = readConfigs(directory, new Set([...removed, ...written.keys()]));
  const texts = new Map([...others, ...Array.from(written).filter(([name]) => isConfigName(name))]);
  for (const [file, text] of texts) {
    const result = readConfig(file, text);
    if ("list" in result) files.set(result.list.name, [...(files.get(result.list.name) ?? []), file]);
  }
  return [...files]
    .filter(([, names]) => names.length > 1 && names.some((name) => written.has(name)))
    .map(([network, names]) =>
      warning(
        "network-name-shared",
        directory,
        `the network name ${JSON.stringify(network)} is used by ${names.join(", ")}`,
        "names must be unique",
      ),
    );
}

function readConfigs(directory: string, except: ReadonlySet<string>): [string, string][] {
  const found: [string, string][] = [];
  for (const name of fs.existsSync(directory) ? fs.readdirSync(directory) : []) {
    if (!isConfigName(name) || except.has(name)) continue;
    try {
      found.push([name, readTextFile(join(directory, name), SIZE_LIMITS.config, "cannot be read")]);
    } catch {
      // What cannot be read, or has a name that is not text, is not a configuration that a runtime takes.
    }
  }
  return found;
}
