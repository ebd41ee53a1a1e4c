import { Composer, Lexer, Parser, type CST, type ParsedNode } from "yaml";

import { lastAtMost } from "../system/search.ts";
import { codePointName } from "../system/text.ts";
import { AS_WRITTEN } from "../system/yaml.ts";
import { Refusal } from "./refusal.ts";

/** Null: there is nothing, which means null. */
export type YamlNode = ParsedNode | null;

/**
 * Parses one document. The parser knows YAML 1.2 and go-yaml, which Kubernetes uses, 1.1: what they do not read alike is
 * refused.
 */
export function parseDocument(text: string): YamlNode {
  refuseCharacters(text);
  refuseDirectives(text);
  const content = cutAtDocumentEnd(text);
  const tokens = Array.from(new Parser().parse(content));
  const examiner = new Examiner(content);
  const documents = Array.from(new Composer(AS_WRITTEN).compose(tokens, true, content.length));
  for (const { errors, warnings } of documents) {
    const problem = [...errors, ...warnings].find(isObjection);
    if (problem !== undefined) throw explain(problem, content);
  }
  for (const token of tokens) examiner.examine(token);
  const [document, second] = documents;
  if (second !== undefined) throw new Refusal(second.range[0], "a second document begins here");
  return document?.contents ?? null;
}

/** A text with spaces put in. */
export interface Indented {
  text: string;
  originalOffset: (offset: number) => number;
}

/**
 * Indents the lines of quoted texts that the parser will not take without; go-yaml does not care how they are indented.
 * Undefined: there are none.
 */
export function indentQuotes(text: string): Indented | undefined {
  const inserted: { at: number; count: number }[] = [];
  let indented = text;
  let done = -1;
  for (let quote = findCutQuote(text); quote !== undefined; quote = findCutQuote(indented)) {
    const { start, end } = quote;
    if (end === undefined || start <= done) break; // indentation is not what it lacks
    done = start;
    const count = start - indented.lastIndexOf("\n", start);
    const lines = indented.slice(start, end).split("\n");
    if (lines.some((line) => /^(?:---|\.\.\.)(?=\s|$)/u.test(line))) return undefined; // nor does go-yaml take this
    let at = start;
    for (const line of lines.slice(0, -1)) {
      at += line.length + 1;
      inserted.push({ at, count });
      at += count;
    }
    indented = indented.slice(0, start) + lines.join(`\n${" ".repeat(count)}`) + indented.slice(end);
  }
  if (inserted.length === 0) return undefined;
  const originalOffset = (offset: number): number =>
    inserted.reduceRight((before, { at, count }) => (before >= at ? Math.max(at, before - count) : before), offset);
  return { text: indented, originalOffset };
}

/** The lexer's marks, which are not in the text; one comes before each text without quotes. */
const TEXT_MARK = "\u001F";
const MARKS = new Set(["\u0002", "\u0018", TEXT_MARK]);

/** The first quotes that the parser's lexer ends before they are closed. */
function findCutQuote(text: string): { start: number; end: number | undefined } | undefined {
  let start = 0;
  let isText = false;
  for (const lexeme of new Lexer().lex(text)) {
    const isQuote = !isText && /^["']/u.test(lexeme);
    if (isQuote && endOfQuotes(lexeme, 0) === undefined) return { start, end: endOfQuotes(text, start) };
    isText = lexeme === TEXT_MARK;
    if (!MARKS.has(lexeme)) start += lexeme.length;
  }
  return undefined;
}

/** Is this offset of a text in a comment? A text that is not YAML has none. */
export function commentsIn(text: string): (offset: number) => boolean {
  const starts: number[] = [];
  const ends: number[] = [];
  let start = 0;
  let isText = false;
  for (const lexeme of new Lexer().lex(text)) {
    if (MARKS.has(lexeme)) {
      isText = lexeme === TEXT_MARK;
      continue;
    }
    if (!isText && lexeme.startsWith("#")) {
      starts.push(start);
      ends.push(start + lexeme.length);
    }
    start += lexeme.length;
    isText = false;
  }
  return (offset) => offset < (ends[lastAtMost(starts, offset)] ?? 0);
}

/** Where the quotes that begin here end. */
export function endOfQuotes(text: string, start: number): number | undefined {
  const quote = text.charAt(start);
  const special = quote === "'" ? /''|'/gu : /\\[^]|"/gu;
  special.lastIndex = start + 1;
  for (let match = special.exec(text); match !== null; match = special.exec(text)) {
    if (match[0] === quote) return special.lastIndex;
  }
  return undefined;
}

/** go-yaml's breaks of YAML 1.1, and what it calls control characters. */
function refuseCharacters(text: string): void {
  const found = /[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u.exec(text);
  if (found === null) return;
  const name = codePointName(found[0].codePointAt(0) as number);
  throw new Refusal(found.index, `the character ${name} cannot stand here: write it as an escape in double quotes`);
}

function refuseDirectives(text: string): void {
  const found = /^%/mu.exec(text);
  if (found !== null)
    throw new Refusal(found.index, "a line that begins with % is a directive, which kubectl cannot read");
}

function cutAtDocumentEnd(text: string): string {
  const found = /^\.\.\.(?=[ \t\n])/mu.exec(text);
  if (found === null) return text;
  const content = text.slice(0, found.index);
  const end = found.index + 3;
  const rest = /\S/u.exec(text.slice(end).replaceAll(/(?<=^|[ \t])#.*/gmu, (comment) => " ".repeat(comment.length)));
  if (rest !== null) throw new Refusal(end + rest.index, "kubectl ignores what follows ...: separate documents by ---");
  if (!/^[^\s#]/mu.test(content)) throw new Refusal(found.index, "no document ends here");
  return content;
}

type Item = CST.CollectionItem;

/** Looks for what go-yaml reads in another way, or not at all. */
class Examiner {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** `indent` is that of the block around it; brackets may be between. */
  examine(token: CST.Token | null | undefined, indent = -1, inFlow = false): void {
    if (!token) return;
    if (token.type === "document") {
      this.#between(token.start, inFlow);
      this.examine(token.value);
    }
    if (isBlock(token)) for (const item of token.items) this.#examineBlockItem(item, token.indent);
    if (token.type === "flow-collection") for (const item of token.items) this.#examineFlowItem(item, indent);
    if (token.type === "scalar") this.#examinePlain(token, indent, inFlow);
    if (token.type === "double-quoted-scalar") examineEscapes(token);
    if (token.type === "block-scalar") this.#examineBlockScalar(token);
    if (token.type === "space") this.#between([token], inFlow);
    if ("end" in token) this.#between(token.end, inFlow);
  }

  #examineBlockItem(item: Item, indent: number): void {
    const { start, key, sep, value } = item;
    const question = start.find(({ type }) => type === "explicit-key-ind");
    const colon = sep?.find(({ type }) => type === "map-value-ind");
    refuseTabs(question === undefined ? start : [...start, ...(sep ?? [])]);
    this.#between(start, false);
    this.examine(key, indent);
    this.#between(sep, false);
    this.#examineSeparator(item, colon);
    if (colon !== undefined && question === undefined) this.#examineKey(item, colon);
    if (colon !== undefined && question !== undefined && this.#column(colon) !== this.#column(question)) {
      refuse(colon, "this : must stand below its ?");
    }
    if (colon === undefined && key !== undefined && value !== undefined) refuse(value, "this is neither key nor value");
    if (isBlock(value) && hasPropertyAtEnd(sep ?? start)) refuse(value, "a line must end behind this tag or anchor");
    this.examine(value, indent);
  }

  #examineFlowItem(item: Item, indent: number): void {
    const { start, key, sep, value } = item;
    this.#between(start, true);
    this.examine(key, indent, true);
    this.#between(sep, true);
    const question = start.find(({ type }) => type === "explicit-key-ind");
    if (question !== undefined) refuse(question, "? cannot stand in brackets");
    const colon = sep?.find(({ type }) => type === "map-value-ind");
    this.#examineSeparator(item, colon);
    if (colon !== undefined) {
      this.#examineKey(item, colon);
      if (key?.type === "scalar" && !/\s/u.test(this.#text.charAt(colon.offset + 1)))
        refuse(colon, "a space must follow this :");
    }
    this.examine(value, indent, true);
  }

  /** What stands between a key and its colon, if there are both. */
  #examineSeparator({ key, sep = [] }: Item, colon: CST.SourceToken | undefined): void {
    const before = colon === undefined ? sep : sep.slice(0, sep.indexOf(colon));
    const property = before.find(isProperty);
    if (property !== undefined) refuse(property, "this tag or anchor belongs to nothing");
    if (colon !== undefined && !key) refuse(colon, "a key must stand before this :");
  }

  /** A key without ? ends on its line, within 1024 characters. */
  #examineKey({ start, key }: Item, colon: CST.SourceToken): void {
    const from = start.find(isProperty) ?? key ?? colon;
    const source = this.#text.slice(from.offset, colon.offset);
    if (source.includes("\n") || source.length > 1024) refuse(from, "a key and its : must be on one line");
  }

  /** Tags, anchors and white space. */
  #between(tokens: readonly CST.SourceToken[] | undefined, inFlow: boolean): void {
    for (const token of tokens ?? []) {
      const { type, offset, source } = token;
      const next = this.#text.charAt(offset + source.length);
      if (type === "tag" && !(TAG.test(source) && /\s/u.test(next)))
        refuse(token, "a tag has letters, digits, _ . and - only, and white space behind it");
      if (type === "anchor" && !this.#isName(token))
        refuse(token, "the name of an anchor has letters, digits, _ and - only");
      if (type === "space" && source.includes("\t") && !inFlow && this.#isLineStart(offset)) {
        refuse(token, "a tab cannot be indentation");
      }
    }
  }

  #isName({ offset, source }: { offset: number; source: string }): boolean {
    return /^.[\w-]+$/u.test(source) && /[\s,\]}]/u.test(this.#text.charAt(offset + source.length));
  }

  #examinePlain({ offset, source }: CST.FlowScalar, indent: number, inFlow: boolean): void {
    if (inFlow && /^:|\?/u.test(source)) refuse({ offset }, "a text with ? or a leading : must be in quotes here");
    const [, ...lines] = source.split("\n");
    const end = offset + source.length;
    const behind = this.#text
      .slice(end, end + this.#text.slice(end).search(/\S|$/u))
      .split("\n")
      .slice(1);
    const isTabbed = (line: string): boolean =>
      line.search(/[^ ]/u) === line.indexOf("\t") && line.indexOf("\t") <= indent;
    if ([...lines, ...behind].some((line) => line.includes("\t") && isTabbed(line))) {
      refuse({ offset }, "a tab cannot be indentation");
    }
  }

  #examineBlockScalar({ offset, props, source }: CST.BlockScalar): void {
    if (/^(?: *\n)* *\t/u.test(source)) refuse({ offset }, "a tab cannot be indentation");
    if (!props.some((prop) => prop.type === "block-scalar-header" && /\d/u.test(prop.source))) return;
    const start = this.#text.indexOf("\n", offset) + 1;
    const [lines = ""] = /^(?: *\n)*/u.exec(this.#text.slice(start + source.length)) ?? [];
    if (/^ +$/mu.test(`${source}${lines}`))
      refuse({ offset }, "a line of spaces cannot stand here with an indentation given by a digit");
  }

  #isLineStart(offset: number): boolean {
    return /(?:^|\n)\s*$/u.test(this.#text.slice(Math.max(0, this.#text.lastIndexOf("\n", offset - 1)), offset));
  }

  #column({ offset }: CST.SourceToken): number {
    return offset - this.#text.lastIndexOf("\n", offset - 1);
  }
}

const TAG = /^!(?:<[\w:.,/-]+>|!?[\w.-]+)?$/u;

/** An escape of YAML 1.1 that is not a half of a character and, if of a line end, not followed by an empty line. */
const ESCAPE =
  /\\(?:[0abtnvfreNLP_ "\\\t]|\n(?![ \t]*\n)|x[\da-fA-F]{2}|u(?![dD][89a-fA-F])[\da-fA-F]{4}|U00(?!00[dD][89a-fA-F])(?:0[\da-fA-F]|10)[\da-fA-F]{4})/uy;

function examineEscapes({ offset, source }: CST.FlowScalar): void {
  for (const { index } of source.matchAll(/\\[^]/gu)) {
    ESCAPE.lastIndex = index;
    if (!ESCAPE.test(source)) refuse({ offset: offset + index }, "kubectl does not know this escape");
    if (index + 2 === source.length) refuse({ offset }, "the closing quote is missing");
  }
}

function isBlock(token: CST.Token | undefined): token is CST.BlockMap | CST.BlockSequence {
  return token?.type === "block-map" || token?.type === "block-seq";
}

function hasPropertyAtEnd(tokens: readonly CST.SourceToken[]): boolean {
  const line = tokens.slice(tokens.findLastIndex(({ type }) => type === "newline") + 1);
  return line.some(isProperty);
}

function isProperty({ type }: CST.SourceToken): boolean {
  return type === "anchor" || type === "tag";
}

function refuseTabs(tokens: readonly CST.SourceToken[]): void {
  const tab = tokens.find(({ type, source }) => type === "space" && source.includes("\t"));
  if (tab !== undefined) refuse(tab, "a tab cannot be indentation");
}

function refuse({ offset }: { offset: number }, message: string): never {
  throw new Refusal(offset, message);
}

/** Tags and duplicate keys are looked at later, by other rules. */
function isObjection({ code, message }: { code: string; message: string }): boolean {
  return code !== "BAD_COLLECTION_TYPE" && !message.startsWith("Unresolved tag: ");
}

/** Said without its name: it may be a secret that should have been in quotes. */
export const NO_ALIAS =
  "a value that begins with * is an alias, which wants an anchor of its name before it: write a text with * in double quotes";

/** Where the alias begins that the parser has stopped at, or just behind. */
function findAliasAt(text: string, offset: number): number | undefined {
  if (text[offset] === "*") return offset;
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  const found = /(?<=^|[\s[{,])\*\S*\s*$/u.exec(text.slice(start, offset));
  return found === null ? undefined : start + found.index;
}

/** The parser's messages may end in a part of the text, which may be secret. */
function explain({ pos, message }: { pos: [number, number]; message: string }, text: string): Refusal {
  if (message.startsWith("Maximum call stack")) return new Refusal(pos[0], "this is nested too deeply");
  if (/^Missing closing ['"]quote$/u.test(message)) {
    return new Refusal(findCutQuote(text)?.start ?? pos[0], "the closing quote is missing");
  }
  const alias = findAliasAt(text, pos[0]);
  if (alias !== undefined) return new Refusal(alias, NO_ALIAS);
  return new Refusal(pos[0], message.charAt(0).toLowerCase() + message.slice(1).replace(/(?<=\w): .*$/su, ""));
}
