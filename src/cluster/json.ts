import { isDeeperThan, parseExactly } from "../system/json.ts";

/** JSON as data, with integers of any size. Keys that look like small integers come first, as in every JS object. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | JsonObject;

export interface JsonObject {
  [key: string]: JsonValue;
}

/** Reads JSON and loses nothing: an integer that a number cannot hold becomes a bigint. Throws `SyntaxError`. */
export function parseJsonExactly(text: string): JsonValue {
  return parseExactly(text, (value, source) => {
    if (!Number.isFinite(value)) throw new SyntaxError(`the number ${source} is out of range`);
    return BigInt(source);
  }) as JsonValue;
}

/** Writes JSON, bigints as integers; `indent`: blanks for each level, on lines of their own. */
export function stringifyJson(value: JsonValue, indent?: number): string {
  const exact = (_key: string, part: JsonValue): unknown => (typeof part === "bigint" ? JSON.rawJSON(`${part}`) : part);
  return JSON.stringify(value, exact, indent);
}

/** Do both say the same? The order of keys says nothing, and 1 is 1n. */
export function isEqualJson(a: JsonValue, b: JsonValue): boolean {
  if (isNumeric(a) && isNumeric(b)) return isEqualNumber(a, b);
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && isEqualArray(a, b);
  }
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isEqualJson(a[key] as JsonValue, b[key] as JsonValue))
  );
}

function isEqualArray(a: JsonValue[], b: JsonValue[]): boolean {
  return a.length === b.length && a.every((value, index) => isEqualJson(value, b[index] as JsonValue));
}

function isNumeric(value: JsonValue): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function isEqualNumber(a: number | bigint, b: number | bigint): boolean {
  // A number above 2^53 is written with 17 digits at most, and what is written is then read as a bigint.
  // oxlint-disable-next-line eslint/eqeqeq -- compares what a number and a bigint mean
  return a == b || String(a) === String(b);
}

/** What is compared, written and merged level by level must not use up the stack; manifests have 50 levels at most. */
const MOST_LEVELS = 500;

/** Is a text in JSON nested deeper than any object of Kubernetes? Asked before it is read. */
export function isTooDeep(text: string): boolean {
  return isDeeperThan(text, MOST_LEVELS);
}
