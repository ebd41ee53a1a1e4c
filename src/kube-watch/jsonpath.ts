/** kubectl's JSONPath templates: text, and expressions in braces. Text and object → text. */
import { JSONPath } from "jsonpath-plus";

import { writeJson } from "../cni/json.ts";
import { usage } from "../errors.ts";

/** A part of a template. */
type Part = { text: string } | { expression: string } | { range: string; parts: Part[] };

/** A template that has been read. */
export interface Template {
  parts: readonly Part[];
}

/** @throws Failure `usage`. */
export function parseTemplate(text: string): Template {
  const tokens = tokensOf(text);
  const parts = readParts(tokens, false);
  return { parts };
}

/** What kubectl prints: of a text the text itself, of anything else its JSON; several results with a blank between. */
export function render({ parts }: Template, object: unknown): string {
  return parts
    .map((part) => {
      if ("text" in part) return part.text;
      if ("expression" in part) return find(part.expression, object).map(shown).join(" ");
      return find(part.range, object)
        .flatMap((found) => (Array.isArray(found) ? (found as unknown[]) : [found]))
        .map((item) => render({ parts: part.parts }, item))
        .join("");
    })
    .join("");
}

function tokensOf(text: string): { text: string; isExpression: boolean }[] {
  const tokens: { text: string; isExpression: boolean }[] = [];
  let rest = text;
  while (rest !== "") {
    const start = rest.indexOf("{");
    if (start === -1) return [...tokens, { text: rest, isExpression: false }];
    if (start > 0) tokens.push({ text: rest.slice(0, start), isExpression: false });
    const end = endOf(rest, start);
    if (end === -1) throw usage("--jsonpath", `${JSON.stringify(text)} has a brace that is not closed`);
    tokens.push({ text: rest.slice(start + 1, end).trim(), isExpression: true });
    rest = rest.slice(end + 1);
  }
  return tokens;
}

/** The brace that closes the one at `start`; those in quotes do not count. */
function endOf(text: string, start: number): number {
  let quote = "";
  for (let index = start + 1; index < text.length; index++) {
    const character = text.charAt(index);
    if (character === "\\") index++;
    else if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === "}") return index;
  }
  return -1;
}

function readParts(tokens: { text: string; isExpression: boolean }[], isInRange: boolean): Part[] {
  const parts: Part[] = [];
  for (let token = tokens.shift(); token !== undefined; token = tokens.shift()) {
    const { text, isExpression } = token;
    const [, range] = /^range\s+(.+)$/su.exec(text) ?? [];
    if (!isExpression) parts.push({ text });
    else if (text === "end" && isInRange) return parts;
    else if (text === "end") throw usage("--jsonpath", "{end} has no {range}");
    else if (range !== undefined) parts.push({ range: pathOf(range), parts: readParts(tokens, true) });
    else if (/^(["']).*\1$/su.test(text)) parts.push({ text: literal(text) });
    else parts.push({ expression: pathOf(text) });
  }
  if (isInRange) throw usage("--jsonpath", "{range} has no {end}");
  return parts;
}

function literal(text: string): string {
  return text
    .slice(1, -1)
    .replaceAll(/\\(.)/gsu, (_, character: string) => ({ n: "\n", t: "\t" })[character] ?? character);
}

/** kubectl's `.data.ca\.crt`, `['ca\.crt']` and `[-1]` in the words of the library. */
function pathOf(expression: string): string {
  if (!isBalanced(expression)) throw usage("--jsonpath", `{${expression}} has a bracket that is not closed`);
  const path = expression
    .replace(/^[@$]/u, "")
    .replaceAll(/(?<=\[[^\]?]*)\\\./gu, ".")
    .replaceAll(/\.((?:[^.[\]\\'"()]|\\.)*\\.(?:[^.[\]\\'"()]|\\.)*)/gu, (_, key: string) => {
      return `['${key.replaceAll(/\\(.)/gu, "$1").replaceAll("'", String.raw`\'`)}']`;
    })
    .replaceAll(/\[-(\d+)\]/gu, (_, index: string) => `[-${index}:${index === "1" ? "" : `-${Number(index) - 1}`}]`);
  if (path === "" || path === ".") return "$";
  return path.startsWith(".") || path.startsWith("[") ? `$${path}` : `$.${path}`;
}

/** Brackets and quotes outside of quotes. */
function isBalanced(expression: string): boolean {
  const rest = expression.replaceAll(/\\./gsu, "").replaceAll(/"[^"]*"|'[^']*'/gu, "");
  if (/["']/u.test(rest)) return false;
  const open: string[] = [];
  for (const character of rest) {
    if (character === "[" || character === "(") open.push(character === "[" ? "]" : ")");
    else if ((character === "]" || character === ")") && open.pop() !== character) return false;
  }
  return open.length === 0;
}

function find(path: string, object: unknown): unknown[] {
  if (typeof object !== "object" || object === null) return path === "$" ? [object] : [];
  try {
    // kubectl takes what a filter cannot compute for false.
    return JSONPath({ path, json: object, eval: "safe", ignoreEvalErrors: true, wrap: true }) as unknown[];
  } catch (error) {
    throw usage("--jsonpath", `${path} cannot be evaluated: ${(error as Error).message}`);
  }
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : writeJson(value);
}
