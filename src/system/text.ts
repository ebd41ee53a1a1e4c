/** Text of others on its way to people: it must not forge lines, steer a terminal, or become part of a command. */

/**
 * What has no glyph of its own, or changes how others are shown: controls, line and paragraph separators, and the
 * format characters that reverse or hide text (U+202E, U+200B). Unassigned and private characters may be any of these.
 */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** A text on one line, as it is, with everything that cannot be seen as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, escaped);
}

/** Has a text nothing that cannot be seen? What has is part of no command that people are told to paste. */
export function isVisible(text: string): boolean {
  return visible(text) === text;
}

/** The same of a text that may have several lines and tabs. */
export function visibleLines(text: string): string {
  return text.replace(INVISIBLE, (character) =>
    character === "\n" || character === "\t" ? character : escaped(character),
  );
}

/** The same of a text with colours of ours: only these are kept. */
export function paintedLines(text: string): string {
  return (
    text
      // oxlint-disable-next-line no-control-regex -- colours begin with ESC
      .split(/(\u001B\[\d{1,2}m)/u)
      .map((part, index) => (index % 2 === 1 ? part : visibleLines(part)))
      .join("")
  );
}

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code > 0xffff ? `\\u{${code.toString(16)}}` : escapeUnit(code);
}

/** A UTF-16 unit as JSON has it: `\u202e`. */
export function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`;
}

/** A character for people: `U+FEFF`. */
export function codePointName(code: number): string {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A text of which nobody reads more than the beginning. */
export function shorten(text: string, most = 1000): string {
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters)`;
}

/** Rows of cells in columns of equal width, a line each; the last cell is as long as it is. */
export function alignRows(rows: readonly (readonly string[])[]): string[] {
  const cells = rows.map((row) => row.map(visible));
  // There may be more of them than a function takes arguments.
  const widths = (cells[0] ?? []).map((_, column) =>
    cells.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  return cells.map((row) => {
    const padded = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)));
    return padded.join("  ").trimEnd();
  });
}

/** The lines of a text that has no more than so many columns; a longer word has a line of its own. */
export function wrapLines(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const longer = [...lines.slice(-1), word].join(" ");
    if (lines.length > 0 && longer.length <= columns) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** A word of a command that people paste into a shell: quoted where it must be. */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/u.test(text)) return text;
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
