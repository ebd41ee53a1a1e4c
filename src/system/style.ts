/** Colours by meaning, for terminals. Pure. */

import type { Meaning, Paint } from "../world.ts";

/** Select Graphic Rendition (ECMA-48, 8.3.117): what begins a meaning. */
const CODES: Readonly<Record<Meaning, number>> = { good: 32, bad: 31, warn: 33, strong: 1, faint: 2 };

/** For terminals. */
export const coloured: Paint = (meaning, text) => `\u001b[${CODES[meaning]}m${text}\u001b[0m`;

/** For files and pipes. */
export const plain: Paint = (_, text) => text;

/**
 * Is what goes to this stream coloured?
 *
 * @param choice of `--color`. @param env NO_COLOR (no-color.org) and TERM count for `auto`.
 */
export function isColoured(
  choice: "auto" | "always" | "never",
  isTerminal: boolean,
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if (choice !== "auto") return choice === "always";
  return isTerminal && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}
