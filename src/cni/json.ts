/** JSON as Go's encoding/json reads and writes it, which is how runtimes and plugins do. */
import { countValues, findJsonError, isDeeperThan, parseExactly } from "../system/json.ts";
import { codePointName, escapeUnit } from "../system/text.ts";

/** Something in a network configuration that a runtime or plugin will object to. */
export interface Objection {
  message: string;
  /** Where in the text, for syntax errors. */
  offset?: number;
  /** This user may not read the file. */
  isDenied?: boolean;
}

/** libcni stops at 10,000; no configuration comes near, and our own stack ends before that. */
const MAX_DEPTH = 1000;

/** So many values a text may have: each takes some ten times its length in memory. */
const MAX_VALUES = 500_000;

/** Would a text of JSON take more memory than any is worth? */
export function hasTooManyValues(text: string): boolean {
  return countValues(text) > MAX_VALUES;
}

/** `JSON.parse` decides; it does not always say where, so that the tolerant parser finds the place. */
export function parseJson(text: string): { value: unknown } | { objection: Objection } {
  if (hasTooManyValues(text)) return { objection: { message: `has more than ${MAX_VALUES} values` } };
  try {
    const value = JSON.parse(text) as unknown;
    if (isDeeperThan(text, MAX_DEPTH)) return { objection: { message: `is nested deeper than ${MAX_DEPTH} levels` } };
    return { value: /\d{16}/u.test(text) ? parseExactly(text, keep) : value };
  } catch {
    if (text.trim() === "") return { objection: { message: "is empty" } };
    const first = findJsonError(text);
    if (first === undefined) return { objection: { message: "is not JSON" } };
    const message = `is not JSON: ${first.problem}${invisibleAt(text, first.offset)}`;
    return { objection: { message, offset: first.offset } };
  }
}

/** The same; undefined where there is an objection. */
export function parseIfJson(text: string): unknown {
  const parsed = parseJson(text);
  return "value" in parsed ? parsed.value : undefined;
}

/** "The runtime MUST pass through these fields, unchanged": an integer that a number cannot hold stays its text. */
function keep(value: number, source: string): unknown {
  return Number.isFinite(value) ? JSON.rawJSON(source) : value;
}

/** Names a character that people would not see: a byte order mark, a no-break space. */
function invisibleAt(text: string, offset: number): string {
  const code = text.codePointAt(offset) ?? 0x20;
  const isSeen = (code >= 0x20 && code < 0x7f) || code === 0x0a || code === 0x0d || code === 0x09;
  return isSeen ? "" : ` ${codePointName(code)}`;
}

/** Has the value a number that is too large for a double? Go refuses it, JavaScript makes it infinite. */
export function hasHugeNumber(value: unknown): boolean {
  if (typeof value === "number") return !Number.isFinite(value);
  return typeof value === "object" && value !== null && Object.values(value).some(hasHugeNumber);
}

/** Writes a value with sorted keys, without blanks and with the escapes of Go's `json.Marshal`. */
export function writeJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  if (isObject(value)) {
    const members = Object.keys(value).sort();
    return `{${members.map((key) => `${writeJson(key)}:${writeJson(value[key])}`).join(",")}}`;
  }
  if (Object.is(value, -0)) return "-0";
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/gu, (character) => escapeUnit(character.charCodeAt(0)));
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}
