/** Where a text is not JSON, without a character of it: it may be a secret, and be shown to anybody. */
import { parse, printParseErrorCode, type ParseError } from "jsonc-parser";

/** What is wrong with a text that is not JSON, and where. */
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
  const before = text.slice(0, error.offset);
  const line = before.split("\n").length;
  return `is not JSON: ${error.problem} at line ${line}, column ${error.offset - before.lastIndexOf("\n")}`;
}

/** Is a value nested deeper than so many levels? What walks through it by recursion would overflow the stack. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > levels) return true;
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
  }
  return false;
}
/**
 * About how many values a JSON or YAML text has, at least: each takes many times its own characters in memory, so that
 * what may come from anybody is counted before it is parsed.
 */
export function countValues(text: string): number {
  let count = 1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === COMMA || code === BRACKET || code === BRACE || code === LINE_FEED) count++;
  }
  return count;
}

const [COMMA, BRACKET, BRACE, LINE_FEED] = [0x2c, 0x5b, 0x7b, 0x0a];
