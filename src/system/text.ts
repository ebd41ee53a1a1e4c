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

/** The same of JSON, which stays the same value; what it has between strings is ASCII. */
export function visibleJson(json: string): string {
  return json.replace(INVISIBLE, (character) => {
    if (character === "\n") return character;
    return Array.from({ length: character.length }, (_, index) => escapeUnit(character.charCodeAt(index))).join("");
  });
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

/** IDs that machines make, alone or as a TARGET (`docker:…`). What people name may look like less of one: 20260101123000. */
const MACHINE_ID = /^((?:[a-z]+:)?[0-9a-f]{12})[0-9a-f]{52}$|^(cnitool-[0-9a-f]{12})[0-9a-f]{8}$/u;

/** A container ID as people read it: of the digits of a machine's the first 12, as docker does; others whole. */
export function shortId(id: string): string {
  return id.replace(MACHINE_ID, "$1$2");
}

/**
 * Does a text that was given mean this ID: is it what people see of it, or more? Less does not: what is given again to
 * delete a container that is gone must not mean another one. Where it is one of several IDs, it means that one only.
 */
export function isIdOf(given: string, id: string): boolean {
  return id.startsWith(given) && given.startsWith(shortId(id));
}

/**
 * Rows of cells in columns of equal width, a text each; the last cell is as long as it is.
 *
 * @param columns a row that is wider is broken into lines: between cells and, of a cell that has no room, between words.
 */
export function alignRows(rows: readonly (readonly string[])[], columns = Infinity): string[] {
  const cells = rows.map((row) => row.map(visible));
  // There may be more of them than a function takes arguments.
  const widths = (cells[0] ?? []).map((_, column) =>
    cells.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  return cells.map((row) => {
    const padded = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)));
    const line = padded.join("  ").trimEnd();
    return line.length <= columns ? line : foldRow(row, padded, columns);
  });
}

/** What goes on in another line stands so far inside. */
const INDENT = 4;

/** A row on several lines. The lines of its last cell stay below each other if there is room. */
function foldRow(row: readonly string[], padded: readonly string[], columns: number): string {
  const lines: string[] = [];
  let line = "";
  for (const [index, cell] of row.entries()) {
    const longer = index === 0 ? (padded[0] ?? "") : `${line}  ${padded[index] ?? ""}`;
    // A short cell or an empty one before it leaves room.
    const closer = `${line.trimEnd()}  ${cell}`;
    const fitting = [longer, ...(index === 0 ? [] : [closer])].find((one) => one.trimEnd().length <= columns);
    line = fitting ?? line;
    if (fitting !== undefined || cell === "") continue;
    const start = line.length + 2;
    const isBelow = index > 0 && index === row.length - 1 && start <= columns / 2;
    const indent = isBelow ? start : INDENT;
    const [first = "", ...more] = wrapLines(cell, columns - indent);
    if (isBelow) lines.push(`${line}  ${first}`);
    else if (index === 0) lines.push(first);
    else lines.push(line, " ".repeat(INDENT) + first);
    lines.push(...more.map((part) => " ".repeat(indent) + part));
    line = lines.pop() ?? "";
  }
  return [...lines, line].map((one) => one.trimEnd()).join("\n");
}

/** The lines of a text that has no more than so many columns. A longer word has a line of its own, and so has a command. */
export function wrapLines(text: string, columns: number): string[] {
  if (text.length <= columns) return [text];
  const lines: string[] = [];
  const sentence = text.length > LONGEST ? text : text.replace(COMMAND, (command) => joined(command, columns));
  for (const word of sentence.split(" ")) {
    const longer = [...lines.slice(-1), word].join(" ");
    if (lines.length > 0 && longer.length <= columns) lines[lines.length - 1] = longer;
    // Of the spaces between two words, none begins a line.
    else if (lines.length === 0 || word !== "") lines.push(word);
  }
  return lines.map((line) => line.replaceAll(JOINT, " ").trimEnd());
}

/** Commands are looked for in texts of no more characters: of others' texts it takes the square of the time. */
const LONGEST = 4000;

/** What a command in a sentence begins with. */
const PROGRAMS = [
  "cni-node (?:apply|catalogue|credentials|engine|install|list|network|plan|routes|status|uninstall|version|watch)\\b",
  "(?:docker|podman) (?:run|rm|restart)",
  "kubectl [a-z]+",
  "ip (?:address|link|netns|route)",
  "systemctl [a-z]+",
  "(?:chmod|chown|rm|kill) [^ ]",
];

/** A command, to the end of its part of the sentence. */
const COMMAND = new RegExp(
  String.raw`(?<=^|[ (])(?:${PROGRAMS.join("|")})(?:'[^']*'|[^])*?(?=[,;:)]*(?: [(→]|[,;:)] |$))`,
  "gu",
);

/** Stands for the space between words that are not parted. What is wrapped has been made visible: it has none. */
const JOINT = "\0";

/** Several plain words behind an option or path, or behind a program and what it is to do: `… shows what is there`. */
const SAID_BEHIND = /^(.* (?:-|[^ ]*[/=:'])[^ ]*|[^ ]+ [^ ]+ [^ ]+(?= (?:[a-z]+ ){2}))((?: [a-z]+){2,})$/su;

/** A command whose words are not parted. What is said behind its last argument may be, if it would be too long. */
function joined(command: string, columns: number): string {
  if (command.length <= columns) return command.replaceAll(" ", JOINT);
  const [, start = command, rest = ""] = SAID_BEHIND.exec(command) ?? [];
  return start.replaceAll(" ", JOINT) + rest;
}

/** A word of a command that people paste into a shell: quoted where it must be. */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/u.test(text)) return text;
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
