/** A place in a text, both counted from 1; the column in UTF-16 units as editors do. */
export interface Place {
  line: number;
  column: number;
}

/** A `__NAME__` in a template; the half-open range `[start, end)` of the text is what its content takes the place of. */
export interface Pointer extends Place {
  name: string;
  start: number;
  end: number;
  /** It stands inside a JSON string, where no file can stand. */
  inString: boolean;
}

/** A template whose pointers have been replaced. */
export interface Rendered {
  /** Ends in exactly one newline. */
  text: string;
  template: string;
  /** Where the character at this offset of `text` comes from: the template, or the file that `pointer` names. */
  origin: (offset: number) => Place & { pointer?: string };
}

/** design: one underscore may separate words, two end the name; a pointer touches no other word character. */
const POINTER = /(?<![A-Za-z0-9_])__([A-Za-z0-9][A-Za-z0-9.+@-]*(?:_[A-Za-z0-9.+@-]+)*)__(?![A-Za-z0-9_])/g;

/** Finds the pointers of a template, leftmost first. One that is alone on its line stands for the whole line. */
export function findPointers(template: string): Pointer[] {
  const place = placesOf(template);
  return Array.from(template.matchAll(POINTER), (match) => {
    const start = match.index;
    const end = start + match[0].length;
    const lineStart = template.lastIndexOf("\n", start - 1) + 1;
    const lineEnd = template.indexOf("\n", end) === -1 ? template.length : template.indexOf("\n", end);
    const before = template.slice(lineStart, start);
    const alone = before.trim() === "" && template.slice(end, lineEnd).trim() === "";
    return {
      name: match[1] as string,
      ...place(start),
      start: alone ? lineStart : start,
      end: alone ? lineEnd : end,
      inString: endsInString(before),
    };
  });
}

/**
 * Replaces each pointer by the content of that name, verbatim but for its final newline. Contents are not searched for
 * pointers.
 */
export function substitute(template: string, contents: ReadonlyMap<string, string>): Rendered {
  const pieces: { text: string; from: number; pointer?: string }[] = [];
  let position = 0;
  for (const { name, start, end } of findPointers(template)) {
    const content = contents.get(name);
    if (content === undefined) throw new RangeError(`no content for pointer ${name}`);
    pieces.push({ text: template.slice(position, start), from: position });
    pieces.push({ text: content.replace(/\r?\n$/u, ""), from: 0, pointer: name });
    position = end;
  }
  pieces.push({ text: template.slice(position), from: position });
  const text = `${pieces
    .map((piece) => piece.text)
    .join("")
    .replace(/[\r\n]+$/u, "")}\n`;

  function origin(offset: number): Place & { pointer?: string } {
    let remaining = offset;
    for (const piece of pieces) {
      if (remaining < piece.text.length) {
        return piece.pointer === undefined
          ? placeOf(template, piece.from + remaining)
          : { ...placeOf(contents.get(piece.pointer) as string, remaining), pointer: piece.pointer };
      }
      remaining -= piece.text.length;
    }
    return placeOf(template, template.length);
  }
  return { text, template, origin };
}

/** Line and column of an offset. */
export function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

/** JSON strings do not span lines: the part of the line before the pointer decides. */
function endsInString(line: string): boolean {
  return (line.replace(/\\./gsu, "").match(/"/gu)?.length ?? 0) % 2 === 1;
}

/** Tells the places of offsets that only grow, each line end being looked for once. */
export function placesOf(text: string): (offset: number) => Place {
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
