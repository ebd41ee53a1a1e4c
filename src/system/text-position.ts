/** Lines and columns of texts. Pure. */
import { lastAtMost } from "./search.ts";

/** A position in a text, both counted from 1; the column in UTF-16 units as editors do. */
export interface TextPosition {
  line: number;
  column: number;
}

/** Line and column of an offset. */
export function positionOf(text: string, offset: number): TextPosition {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

/** Tells the positions of offsets that only grow, each line end being looked for once. */
export function positionsIn(text: string): (offset: number) => TextPosition {
  let line = 1;
  let lineStart = 0;
  return (offset) => {
    for (let end = text.indexOf("\n", lineStart); end !== -1 && end < offset; end = text.indexOf("\n", lineStart)) {
      line++;
      lineStart = end + 1;
    }
    return { line, column: offset - lineStart + 1 };
  };
}

/** The lines of a text, for many positions in it. */
export class Lines {
  readonly #length: number;
  /** Where each begins. */
  readonly #starts = [0];

  constructor(text: string) {
    this.#length = text.length;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", end + 1)) this.#starts.push(end + 1);
  }

  /** In UTF-16 units. */
  offsetOf({ line, column }: TextPosition): number {
    return Math.min(this.#length, (this.#starts[line - 1] ?? this.#length) + column - 1);
  }

  positionOf(offset: number): TextPosition {
    const index = lastAtMost(this.#starts, offset);
    return { line: index + 1, column: offset - (this.#starts[index] ?? 0) + 1 };
  }
}
