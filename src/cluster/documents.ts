import { findJsonError } from "../system/json.ts";
import { positionOf, type TextPosition } from "../system/text-position.ts";
import { parseJsonExactly, type JsonValue } from "./json.ts";
import { Refusal } from "./refusal.ts";
import { numberOf } from "./yaml-scalar.ts";
import { endOfQuotes } from "./yaml-syntax.ts";
import { readYaml } from "./yaml.ts";

/** One document of a text. */
export interface Document {
  value: JsonValue;
  /** Where its content begins, from 1. */
  line: number;
}

/** A document is not read: why, and where in the text. */
export class DocumentProblem extends Error {
  override readonly name = "DocumentProblem";
  readonly position: TextPosition;

  constructor(position: TextPosition, message: string) {
    super(message);
    this.position = position;
  }
}

/** How far kubectl looks for a brace. */
const LOOK_AHEAD = 4096;

/**
 * Reads the documents of a text as kubectl does: what begins with a brace is JSON values one after another, and YAML
 * from the first or second on that is not JSON. Throws `DocumentProblem`.
 */
export function readDocuments(text: string): Document[] {
  if (!/^[\t-\r \u0085\p{Z}]*\{/u.test(text.slice(0, LOOK_AHEAD))) return readYamlDocuments(text, 0);
  const { documents, end, problem } = readJsonDocuments(text);
  if (problem === undefined) return documents;
  const rest = text.slice(end);
  const start = rest.search(/[^\t\v-\r \u0085\p{Z}]/u);
  // kubectl's decoder needs four bytes to go on as YAML.
  if (documents.length > 1 || Buffer.byteLength(rest.slice(start)) < 4) throw problem;
  try {
    return [...documents, ...readYamlDocuments(text, end + start + (rest[start] === "\n" ? 1 : 0))];
  } catch (error) {
    throw error instanceof DocumentProblem && isBehind(problem.position, error.position) ? problem : error;
  }
}

/** The reader that came further knows better what is wrong. */
function isBehind(a: TextPosition, b: TextPosition): boolean {
  return a.line === b.line ? a.column >= b.column : a.line > b.line;
}

/** The JSON values at the beginning of a text, and why what follows them is none. */
function readJsonDocuments(text: string): { documents: Document[]; end: number; problem?: DocumentProblem } {
  const documents: Document[] = [];
  let end = 0;
  for (;;) {
    const start = end + (/^[ \t\r\n]*/u.exec(text.slice(end))?.[0].length ?? 0);
    if (start === text.length) return { documents, end };
    const scanned = scanJson(text, start);
    const source = text.slice(start, scanned.end);
    const problem = problemOfJson(source);
    if (problem !== undefined) {
      return {
        documents,
        end,
        problem: new DocumentProblem(positionOf(text, start + problem.offset), problem.message),
      };
    }
    if (scanned.duplicate !== undefined) {
      throw new DocumentProblem(positionOf(text, scanned.duplicate), "this key is there already");
    }
    const { line, column } = positionOf(text, start);
    try {
      documents.push({ value: asKubernetesHolds(parseJsonExactly(source)), line });
    } catch (error) {
      const message = error instanceof RangeError ? "this is nested too deeply" : (error as Error).message;
      throw new DocumentProblem({ line, column }, message);
    }
    end = scanned.end;
  }
}

/** Where the value that begins here ends, and the first key that its object has already. */
function scanJson(text: string, start: number): { end: number; duplicate?: number } {
  const token = /["{}[\],]|[^\s"{}[\],:]+/gu;
  token.lastIndex = start;
  /** The keys of each object around, undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  let atKey = false;
  let duplicate: number | undefined;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [word] = match;
    const keys = open.at(-1);
    if (word === '"') token.lastIndex = endOfQuotes(text, match.index) ?? text.length;
    if (word === '"' && atKey && keys !== undefined) {
      const key = unescaped(text.slice(match.index, token.lastIndex));
      if (keys.has(key)) duplicate ??= match.index;
      keys.add(key);
    }
    if (word === "{" || word === "[") open.push(word === "{" ? new Set() : undefined);
    if (word === "}" || word === "]") open.pop();
    atKey = word === "{" || (word === "," && keys !== undefined);
    if (open.length === 0) return { end: token.lastIndex, ...(duplicate === undefined ? {} : { duplicate }) };
  }
  return { end: text.length };
}

function unescaped(quoted: string): string {
  return quoted.includes("\\") && problemOfJson(quoted) === undefined ? JSON.stringify(JSON.parse(quoted)) : quoted;
}

/** `JSON.parse` decides; its messages hold parts of the text and not always the place. */
function problemOfJson(source: string): { offset: number; message: string } | undefined {
  try {
    JSON.parse(source);
    return undefined;
  } catch {
    const { offset, problem } = findJsonError(source) ?? { offset: 0, problem: "it is nested too deeply" };
    return { offset, message: `this is not JSON: ${problem}` };
  }
}

function asKubernetesHolds(value: JsonValue): JsonValue {
  if (typeof value === "number" || typeof value === "bigint") return numberOf(value);
  if (typeof value === "string") return wellFormed(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(asKubernetesHolds);
  const entries = Object.entries(value).map(([key, part]) => [wellFormed(key), asKubernetesHolds(part)] as const);
  return Object.fromEntries(entries);
}

/** kubectl would send other text. */
function wellFormed(text: string): string {
  if (!text.isWellFormed()) throw new Error("a text holds half a character");
  return text;
}

function readYamlDocuments(text: string, start: number): Document[] {
  const base = positionOf(text, start).line;
  return splitDocuments(text.slice(start)).map(({ lines, index }) => {
    const source = `${lines.join("\n")}\n`.replaceAll(/\r\n?/gu, "\n");
    const content = lines.findIndex((line) => !/^(?:---|\s*(?:#|$))/u.test(line));
    try {
      refuseSeparator(lines[0]);
      return { value: readYaml(source), line: base + index + Math.max(0, content) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { line, column } = positionOf(source, error.offset);
      throw new DocumentProblem({ line: base + index + line - 1, column }, error.message);
    }
  });
}

/** Each line that begins with --- begins a document, and is its first line. */
function splitDocuments(text: string): { lines: string[]; index: number }[] {
  const documents: { lines: string[]; index: number }[] = [{ lines: [], index: 0 }];
  for (const [index, line] of text.replaceAll("\r\n", "\n").replace(/\n$/u, "").split("\n").entries()) {
    if (line.startsWith("---")) documents.push({ lines: [], index });
    documents.at(-1)?.lines.push(line);
  }
  return documents;
}

function refuseSeparator(line = ""): void {
  if (line.startsWith("---") && !/^---(?:[ \t]+#[^\r]*|[ \t]*)$/u.test(line)) {
    throw new Refusal(3, "nothing but a comment can stand behind ---");
  }
}
