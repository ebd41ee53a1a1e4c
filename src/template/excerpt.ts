/** A line of a text as people are shown it, with a caret below the place. */
import type { TextPosition } from "../system/text-position.ts";

/** So many characters fit on a line of a terminal, with what stands before them. */
const WIDTH = 100;

/** The line of that place, and a caret below its column; a long line is cut on both sides of it. */
export function excerptOf(text: string, { line, column }: TextPosition): string {
  const whole = (text.split("\n")[line - 1] ?? "").replace(/\r$/u, "").replaceAll("\t", " ");
  const from = Math.max(0, Math.min(column - 1 - WIDTH / 2, whole.length - WIDTH));
  return `${whole.slice(from, from + WIDTH)}\n${" ".repeat(column - 1 - from)}^`;
}
