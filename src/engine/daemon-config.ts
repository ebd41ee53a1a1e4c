/** dockerd's configuration, daemon.json, edited as text: whatever is not ours stays as it is written. Pure. */
import { isDeepStrictEqual } from "node:util";

import { parseTree, type Node } from "jsonc-parser";

import { isObject } from "../cni/json.ts";
import { Failure } from "../errors.ts";
import { countValues, describeJsonError, isDeeperThan, parseExactly } from "../system/json.ts";

/** A runtime as dockerd's configuration has it. */
export interface DockerRuntime {
  path: string;
  runtimeArgs?: readonly string[];
}

/** The parts of a configuration that engine commands look at; all else is kept and not looked at. */
export interface DaemonConfig {
  runtimes: Readonly<Record<string, unknown>>;
  [key: string]: unknown;
}

const MAX_DEPTH = 100;
const MAX_VALUES = 100_000;
const MARK = "\ufeff";

/**
 * Reads a configuration.
 *
 * @param path its path, for messages. @param text undefined: there is none. Empty is what dockerd takes for `{}`.
 * @throws Failure `daemon-config-invalid`.
 */
export function parseDaemonConfig(text: string | undefined, path: string): DaemonConfig {
  const body = bodyOf(text ?? "");
  if (body.trim() === "") return { runtimes: {} };
  if (body.includes("\ufffd")) throw invalid(path, "is not UTF-8");
  if (isDeeperThan(body, MAX_DEPTH) || countValues(body) > MAX_VALUES) throw invalid(path, "is too large");
  const value = exactly(body, path);
  if (!isObject(value)) throw invalid(path, "is not a JSON object");
  refuseDoubles(parseTree(body), path);
  const { runtimes } = value;
  if (runtimes !== undefined && runtimes !== null && !isObject(runtimes)) {
    throw invalid(path, "has a key runtimes that is not an object");
  }
  return { ...value, runtimes: { ...runtimes } };
}

/** The configuration with this runtime; the very same text where it has it already. @throws Failure */
export function withRuntime(text: string | undefined, name: string, runtime: unknown, path: string): string {
  const { runtimes } = parseDaemonConfig(text, path);
  if (isDeepStrictEqual(runtimes[name], runtime)) return text ?? "";
  if (text === undefined || bodyOf(text).trim() === "") {
    return `${JSON.stringify({ runtimes: { [name]: runtime } }, undefined, 2)}\n`;
  }
  // `"runtimes": null` has no place for a key.
  const way = rawRuntimes(text) === null ? ["runtimes"] : ["runtimes", name];
  return checked(edit(text, way, way.length === 1 ? { [name]: runtime } : runtime), text, name, path);
}

/**
 * The same configuration with runtimes that are none; undefined: it has some, or says already that it has none. dockerd
 * keeps those that it has as long as its configuration does not speak of runtimes. @throws Failure
 */
export function withNoRuntimes(text: string | undefined, path: string): string | undefined {
  parseDaemonConfig(text, path);
  if (text === undefined || bodyOf(text).trim() === "") return '{"runtimes": {}}\n';
  return isObject(rawRuntimes(text)) ? undefined : edit(text, ["runtimes"], {});
}

/**
 * The configuration without this runtime; the very same text where it does not have it. Undefined: nothing would be left.
 *
 * @param before the configuration as it was before the runtime was added: if that had a runtime of this name, it comes
 * back; if it is the same but for its form, it comes back as it was. Undefined: there was none.
 * @throws Failure
 */
export function withoutRuntime(
  text: string,
  name: string,
  before: string | undefined,
  path: string,
): string | undefined {
  const { runtimes } = parseDaemonConfig(text, path);
  const former = before === undefined ? undefined : parseDaemonConfig(before, path).runtimes[name];
  if (!Object.hasOwn(runtimes, name)) return text;
  if (former !== undefined) return asBefore(withRuntime(text, name, former, path), before, path);
  const isLast = Object.keys(runtimes).length === 1 && !hadRuntimes(before);
  const edited = checked(edit(text, isLast ? ["runtimes"] : ["runtimes", name], undefined), text, name, path);
  if (before === undefined && Object.keys(exactly(bodyOf(edited), path) as object).length === 0) return undefined;
  return asBefore(edited, before, path);
}

function hadRuntimes(before: string | undefined): boolean {
  return before !== undefined && bodyOf(before).trim() !== "" && isObject(rawRuntimes(before));
}

function asBefore(text: string, before: string | undefined, path: string): string {
  if (before === undefined) return text;
  return isDeepStrictEqual(meaningOf(text, path), meaningOf(before, path)) ? before : text;
}

/** An empty file is an empty object, and runtimes that are null are none. */
function meaningOf(text: string, path: string): DaemonConfig {
  return parseDaemonConfig(text, path);
}

/** Nothing but this runtime may have changed. */
function checked(edited: string, text: string, name: string, path: string): string {
  const [now, then] = [edited, text].map((one) => {
    const { runtimes, ...rest } = parseDaemonConfig(one, path);
    const { [name]: _, ...others } = runtimes;
    return { ...rest, others };
  });
  if (!isDeepStrictEqual(now, then)) throw new Error("an edit of daemon.json has changed more than it should");
  return edited;
}

/** Sets what is at a way of keys, or takes it away; all else stays as it is written. */
function edit(text: string, way: readonly string[], value: unknown): string {
  const body = bodyOf(text);
  const root = parseTree(body);
  if (root === undefined) throw new Error("what was parsed is not JSON");
  return `${text.slice(0, text.length - body.length)}${editIn(body, root, way, value)}`;
}

function editIn(text: string, object: Node, [key = "", ...more]: readonly string[], value: unknown): string {
  const properties = object.children ?? [];
  const index = properties.findIndex(({ children: [name] = [] }) => name?.value === key);
  const found = properties[index]?.children?.[1];
  if (found !== undefined && more.length > 0) return editIn(text, found, more, value);
  if (value === undefined) return index === -1 ? text : without(text, object, index);
  const whole = more.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
  if (found !== undefined) return splice(text, found.offset, endOf(found), formatted(text, whole, found.offset));
  const last = properties.at(-1);
  if (last === undefined) {
    return splice(text, object.offset, endOf(object), formatted(text, { [key]: whole }, object.offset));
  }
  const indent = indentAt(text, last.offset);
  const start = indent === undefined ? ", " : `,${eolOf(text)}${indent}`;
  return splice(
    text,
    endOf(last),
    endOf(last),
    `${start}${JSON.stringify(key)}: ${formatted(text, whole, last.offset)}`,
  );
}

/** Without one of the properties of an object, and the comma beside it. */
function without(text: string, object: Node, index: number): string {
  const properties = object.children ?? [];
  const [former, own, next] = [properties[index - 1], properties[index], properties[index + 1]];
  if (own === undefined) return text;
  if (former === undefined && next === undefined) return splice(text, object.offset, endOf(object), "{}");
  if (next !== undefined) return splice(text, own.offset, next.offset, "");
  return splice(text, former === undefined ? own.offset : endOf(former), endOf(own), "");
}

/** A value for a place in the text, on several lines if what is there begins a line. */
function formatted(text: string, value: unknown, offset: number): string {
  if (!text.includes("\n")) return JSON.stringify(value);
  const [start] = /^[ \t]*/u.exec(text.slice(text.lastIndexOf("\n", offset - 1) + 1)) ?? [""];
  return JSON.stringify(value, undefined, unitOf(text)).replaceAll("\n", `${eolOf(text)}${start}`);
}

/** The blanks before what begins a line; undefined: something else is before it. */
function indentAt(text: string, offset: number): string | undefined {
  const before = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset);
  return text.includes("\n") && /^[ \t]*$/u.test(before) ? before : undefined;
}

/** What the first line that is indented is indented by. */
function unitOf(text: string): string {
  return /\n([ \t]+)\S/u.exec(text)?.[1] ?? "  ";
}

function eolOf(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

function endOf({ offset, length }: Node): number {
  return offset + length;
}

function splice(text: string, start: number, end: number, put: string): string {
  return `${text.slice(0, start)}${put}${text.slice(end)}`;
}

/** dockerd skips a byte order mark. */
function bodyOf(text: string): string {
  return text.startsWith(MARK) ? text.slice(MARK.length) : text;
}

function rawRuntimes(text: string): unknown {
  return (JSON.parse(bodyOf(text)) as { runtimes?: unknown }).runtimes;
}

/** A number that JavaScript does not hold is what is written. */
function exactly(body: string, path: string): unknown {
  try {
    return parseExactly(body, (_, source) => ({ number: source }));
  } catch {
    throw invalid(path, describeJsonError(body));
  }
}

/** Of two values for one key dockerd takes the last, and an edit would change the first. */
function refuseDoubles(root: Node | undefined, path: string): void {
  const runtimes = propertiesOf(root).filter(([key]) => key === "runtimes");
  const names = runtimes.flatMap(([, value]) => propertiesOf(value).map(([key]) => key));
  if (runtimes.length > 1) throw invalid(path, "has the key runtimes twice");
  if (new Set(names).size < names.length) throw invalid(path, "has two runtimes of one name");
}

function propertiesOf(node: Node | undefined): [key: unknown, value: Node | undefined][] {
  if (node?.type !== "object") return [];
  return (node.children ?? []).map(({ children: [key, value] = [] }) => [key?.value, value]);
}

function invalid(subject: string, problem: string): Failure {
  return new Failure({
    code: "daemon-config-invalid",
    subject,
    problem: `${problem}; nothing was changed`,
    hint: "dockerd does not start with such a file: fix it first",
  });
}
