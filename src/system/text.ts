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

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** A text of which nobody reads more than the beginning. */
export function shorten(text: string, most = 1000): string {
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters)`;
}

/** A word of a command that people paste into a shell: quoted where it must be. */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/u.test(text)) return text;
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
