import { lastAtMost } from "../system/search.ts";
import { positionsIn, type TextPosition } from "../system/text-position.ts";

/** A text whose variables have been replaced by their values. */
export interface Substituted {
  text: string;
  /** The variables without a value, which became nothing, in order of appearance. */
  missing: (TextPosition & { name: string })[];
  /** Where an offset in `text` comes from; of a value: where the variable stands. */
  originalOffset: (offset: number) => number;
}

/** GNU envsubst: `$NAME` and `${NAME}`, and nothing else of the shell. */
const VARIABLE = /\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})/g;

/**
 * Replaces variables as GNU envsubst does: values are inserted as they are and not searched for variables, a backslash
 * is not an escape, `$1 $(X) ${X:-y}` stay. With `only`, every other variable stays too.
 */
export function substituteVariables(
  text: string,
  valueOf: (name: string) => string | undefined,
  only?: ReadonlySet<string>,
): Substituted {
  const missing: Substituted["missing"] = [];
  /** Where each value begins in the new text. */
  const starts: number[] = [];
  /** The same, and its reference and what follows it in the old one. */
  const values: { start: number; length: number; reference: number; after: number }[] = [];
  let growth = 0;
  const positionAt = positionsIn(text);
  const substituted = text.replaceAll(VARIABLE, (reference, plain?: string, braced?: string, offset = 0) => {
    const name = plain ?? braced ?? "";
    if (only?.has(name) === false) return reference;
    const value = valueOf(name);
    if (value === undefined) missing.push({ name, ...positionAt(offset) });
    const { length } = value ?? "";
    starts.push(offset + growth);
    values.push({ start: offset + growth, length, reference: offset, after: offset + reference.length });
    growth += length - reference.length;
    return value ?? "";
  });
  const originalOffset = (offset: number): number => {
    const last = values[lastAtMost(starts, offset)];
    if (last === undefined) return offset;
    return offset < last.start + last.length ? last.reference : last.after + offset - last.start - last.length;
  };
  return { text: substituted, missing, originalOffset };
}

/** The variables that a SHELL-FORMAT of GNU envsubst mentions: `$A ${B}`. */
export function parseShellFormat(format: string): Set<string> {
  return new Set(Array.from(format.matchAll(VARIABLE), ([, plain, braced]) => plain ?? braced ?? ""));
}
