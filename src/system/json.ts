/** JSON without loss, and why a text is not JSON. */
import { parse, printParseErrorCode, type ParseError } from "jsonc-parser";

import { positionOf } from "./text-position.ts";

declare global {
  interface JSON {
    parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
    rawJSON(text: string): object;
    isRawJSON(value: unknown): boolean;
  }
}

/**
 * Parses JSON; of a number that JavaScript would not hold, `read` makes a value: of an integer beyond 2^53, and of what
 * is out of range, which is infinite. @throws SyntaxError
 */
export function parseExactly(text: string, read: (value: number, source: string) => unknown): unknown {
  // To look at each value takes ten times as long.
  if (!MAY_BE_INEXACT.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_key, value, { source = "" }) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    return Number.isFinite(value) && !/^-?\d+$/u.test(source) ? value : read(value, source);
  });
}

/** Every integer of 15 digits is exact, and only a number with so many digits or an exponent can be out of range. */
const MAY_BE_INEXACT = /\d{16}|(?:^|[:,[\s])-?\d[\d.]*[eE]/u;

/** What is wrong with a text that is not JSON, and where; without a character of it, for it may be a secret. */
export interface JsonSyntaxError {
  /** `value expected` */
  problem: string;
  /** In UTF-16 units from the beginning. */
  offset: number;
}

/**
 * The first syntax error of a text that `JSON.parse` refuses; its own messages quote the text and do not always say
 * where. Undefined: the tolerant parser has no objection, or the text is nested too deep for it.
 */
export function findJsonError(text: string): JsonSyntaxError | undefined {
  const errors: ParseError[] = [];
  try {
    parse(text, errors, { disallowComments: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  const [first] = errors;
  if (first === undefined) return undefined;
  const problem = printParseErrorCode(first.error).replace(/([a-z])([A-Z])/gu, "$1 $2");
  return { problem: problem.toLowerCase(), offset: first.offset };
}

/** Why a text is not JSON, for a message: `is not JSON: value expected at line 1, column 1`. */
export function describeJsonError(text: string): string {
  if (text.trim() === "") return "is empty";
  const error = findJsonError(text);
  if (error === undefined) return "is not JSON";
  const { line, column } = positionOf(text, error.offset);
  return `is not JSON: ${error.problem} at line ${line}, column ${column}`;
}

/** Is a text in JSON nested deeper than so many levels? What walks through it by recursion would overflow the stack. */
export function isDeeperThan(text: string, levels: number): boolean {
  if (countOf(text, "[") + countOf(text, "{") <= levels) return false;
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) index = endOfString(text, index);
    else if (code === BRACE || code === BRACKET) depth++;
    else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) depth--;
    if (depth > levels) return true;
  }
  return false;
}

/** Where the string that begins here ends. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return end;
  }
  return text.length;
}

/**
 * About how many values a JSON or YAML text has, at least: each takes many times its own characters in memory, so that
 * what may come from anybody is counted before it is parsed.
 */
export function countValues(text: string): number {
  return 1 + countOf(text, ",") + countOf(text, "[") + countOf(text, "{") + countOf(text, "\n");
}

/** How often a text has a character: a step for each of them, and not for each character. */
function countOf(text: string, character: string): number {
  let count = 0;
  for (let at = text.indexOf(character); at !== -1; at = text.indexOf(character, at + 1)) count++;
  return count;
}

const [BRACKET, BRACE] = [0x5b, 0x7b];
const [QUOTE, BACKSLASH, CLOSING_BRACKET, CLOSING_BRACE] = [0x22, 0x5c, 0x5d, 0x7d];

/** Is the text JSON? */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
