/** What is shown to nobody: one rule for every output. */
import {
  isReferenceObject,
  isSecret,
  isSelection,
  isSettings,
  isShownList,
  isShownNumber,
  isShownText,
  isWordy,
} from "./secrets/names.ts";
import { HIDDEN, isShownShortValue, maskProse, quotedJson } from "./secrets/prose.ts";
import { jsonTree, yamlTrees, type Tree } from "./secrets/tree.ts";

export { isSecret } from "./secrets/names.ts";

/** More than anybody reads, and than a configuration or object may have. */
const MOST_LENGTH = 4 * 1024 * 1024;
/** So often may a text be in a text. */
const MOST_DEPTH = 6;
/** So many characters of YAML are parsed for one text; the rest is looked at line by line. */
const MOST_YAML = 64 * 1024;

/** Where nothing of it is found, nothing has to be masked. Escapes can hide it. */
const SUSPICIOUS =
  /token|secret|pass|pwd|key|cert|cred|auth|crt|pem|jwt|psk|bearer|basic |eyJ|AKIA|gh[pousr]_|github_pat|glpat|-----BEGIN|:\/\/|@(?:tcp|udp|unix)?\(|-p|-u|--user|--proxy|\\/iu;

/**
 * Masks what looks like a secret in a text of any sort: JSON, YAML, command lines, settings, messages that quote any of
 * these, and texts in texts. The values of keys that look like a token, secret, password, key, certificate or credential
 * are masked whole, at any depth; so are the data of a Secret, the value of a variable with such a name, passwords in
 * addresses, credentials in headers, PEM blocks, JSON web tokens. Everything else stays as it is written.
 *
 * Of a text that begins as JSON and is none, nothing is shown if it has such a word; any other text that cannot be
 * understood is masked line by line.
 */
export function mask(text: string): string {
  if (text.length > MOST_LENGTH) return "(not shown: this is too long)\n";
  return new Masker().mask(text, 0) ?? "(not shown: this cannot be read, and seems to hold a secret)\n";
}

class Masker {
  #yamlLeft = MOST_YAML;

  /** Undefined: nothing of it may be shown. */
  mask(text: string, depth: number): string | undefined {
    if (!SUSPICIOUS.test(text)) return text;
    if (depth > MOST_DEPTH) return undefined;
    const isJsonLike = /^[\s\uFEFF]*[{[]/u.test(text);
    const json = isJsonLike || /^\s*"/u.test(text) ? jsonTree(text) : undefined;
    if (json !== undefined) return this.#maskTrees(text, [json], depth);
    const yaml = this.#yamlOf(text);
    if (yaml !== undefined) return maskComments(this.#maskTrees(text, yaml, depth));
    if (BROKEN_JSON.test(text) && SECRET_WORD.test(text) && !beginsWithJson(text)) return undefined;
    if (BROKEN_SECRET.test(text)) return undefined;
    return maskProse(text, (part) => {
      const tree = jsonTree(part);
      return tree === undefined ? undefined : this.#maskTrees(part, [tree], depth);
    });
  }

  #yamlOf(text: string): Tree[] | undefined {
    if (text.length > this.#yamlLeft || !looksLikeYaml(text)) return undefined;
    this.#yamlLeft -= text.length;
    return yamlTrees(text);
  }

  #maskTrees(text: string, trees: readonly Tree[], depth: number): string {
    const walker = new Walker(text, (part) => this.mask(part, depth + 1));
    return walker.run(trees);
  }
}

/** A text in a text in JSON begins with `{\"`, and a line of a log may begin with `[main]`. */
const BROKEN_JSON = /^[\s\uFEFF]*(?:\{(?!\\)|\[\s*["{[])/u;
const BROKEN_SECRET = /\bkind\\*["']?[ \t]{0,16}:[ \t]{0,16}\\*["']?Secret\b/u;
const SECRET_WORD = /token|secret|pass|pwd|key|cert|cred|auth|crt|pem|jwt|psk|bearer|-----BEGIN/iu;

/** A message may begin with what it is about. */
function beginsWithJson(text: string): boolean {
  const json = quotedJson(text, text.search(/[{[]/u));
  return json !== undefined && jsonTree(json) !== undefined;
}

/** One line is YAML only if it is a key of one word, for `error: invalid token: x` is none. */
function looksLikeYaml(text: string): boolean {
  if (/^[\s\uFEFF]*[{[]/u.test(text)) return true;
  if (text.trim().includes("\n"))
    return /^[ \t]*(?:- |\? |["']?[^\s"'#][^\n]{0,256}?:[ \t]*(?:\r?$|[^\s]))/mu.test(text);
  return /^\s*(?:- )*["']?[\w./-]+["']?:(?:\s|$)/u.test(text);
}

/** What is commented out may have been a secret. */
function maskComments(text: string): string {
  return text.replaceAll(/(?<=^[ \t]*|[ \t])#[^\n]*/gmu, (comment) => maskProse(comment, () => undefined));
}

/** Finds in trees what to replace in their text. */
class Walker {
  readonly #text: string;
  readonly #mask: (text: string) => string | undefined;
  readonly #ranges: { from: number; to: number; shown: string }[] = [];
  readonly #aliases = new Set<string>();

  constructor(text: string, maskText: (text: string) => string | undefined) {
    this.#text = text;
    this.#mask = maskText;
  }

  run(trees: readonly Tree[]): string {
    for (const tree of trees) this.#walk(tree, false);
    for (const tree of trees) this.#hideAnchors(tree);
    this.#ranges.sort((a, b) => a.from - b.from || b.to - a.to);
    let masked = "";
    let done = 0;
    for (const { from, to, shown } of this.#ranges) {
      if (from < done) continue;
      masked += this.#text.slice(done, from) + shown;
      done = to;
    }
    return masked + this.#text.slice(done);
  }

  /** @param isReference it only says which secret is meant. */
  #walk(tree: Tree, isReference: boolean): void {
    if (tree.kind === "text") this.#walkText(tree);
    else if (tree.kind === "list") this.#walkList(tree, isReference);
    else if (tree.kind === "map") this.#walkMap(tree, isReference);
  }

  #walkText(tree: Tree): void {
    if (tree.style === "block") return this.#walkBlock(tree);
    const masked = this.#mask(tree.text);
    if (masked === tree.text) return;
    if (masked === undefined) return this.#hide(tree);
    const isPlain = tree.style === "plain" && !masked.includes("\n");
    this.#replace(tree, isPlain ? masked : JSON.stringify(masked));
  }

  /** Keeps its lines and their indentation. */
  #walkBlock(tree: Tree): void {
    const [head = "", ...lines] = this.#text.slice(tree.from, tree.to).split("\n");
    const indent = /^[ \t]*/u.exec(lines.find((line) => line.trim() !== "") ?? "")?.[0] ?? "";
    const content = lines
      .map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line.trimStart()))
      .join("\n");
    const masked = this.#mask(content);
    if (masked === content) return;
    if (masked === undefined) return this.#hide(tree);
    const shown = masked.split("\n").map((line) => (line === "" ? "" : `${indent}${line}`));
    this.#replace(tree, [head, ...shown].join("\n"));
  }

  /** A list of words may be a command line: `["--token", "x"]`. */
  #walkList({ items }: Tree, isReference: boolean): void {
    for (const [index, item] of items.entries()) {
      const before = items[index - 1];
      if (before?.kind === "text" && item.kind !== "map" && isOperandOf(before.text, item.text)) this.#hide(item);
      else this.#walk(item, isReference);
    }
  }

  #walkMap(map: Tree, isReference: boolean): void {
    const keys = map.entries.map(({ key }) => key.text);
    const textAt = (name: string): string => map.entries.find(({ key }) => key.text === name)?.value.text ?? "";
    const kind = textAt("kind");
    const named = textAt("name") || textAt("key");
    for (const { key, value } of map.entries) {
      this.#walkKey(key);
      if (kind === "SecretList" && key.text === "items") for (const item of value.items) this.#hideData(item);
      const name = key.text;
      if (kind === "Secret" && isData(name)) this.#hideValues(value);
      else if ((name === "value" || name === "values") && isSecret(named)) this.#walkSecret(named, value);
      else if (isSecret(name) && !isShownKey(name, value, keys, isReference)) this.#walkSecret(name, value);
      else this.#walk(value, false);
    }
  }

  /** In YAML it may be anything, and much that is none looks like a key. */
  #walkKey(key: Tree): void {
    if (key.kind === "map" || key.kind === "list") return this.#walk(key, false);
    const shown = maskProse(key.text, () => undefined);
    if (shown !== key.text) this.#replace(key, key.style === "plain" ? shown : JSON.stringify(shown));
  }

  /** The value of a name that says what it is. */
  #walkSecret(name: string, value: Tree): void {
    if (
      value.kind === "text" ? isShownText(name, value.text) : value.kind === "number" && isShownNumber(name, value.text)
    ) {
      this.#walk(value, false);
    } else if (isHarmless(value)) this.#walk(value, false);
    else if (isReferenceTo(value)) this.#walk(value, true);
    else if (value.kind === "map" && isSettings(name)) this.#walk(value, false);
    else if (value.kind === "list" && value.items.length > 0 && value.items.every(({ kind }) => kind === "text")) {
      const texts = value.items.map(({ text }) => text);
      if (isShownList(name, texts) || texts.every((text) => isShownText(name, text))) this.#walk(value, false);
      else this.#hide(value);
    } else this.#hide(value);
  }

  #hideData(secret: Tree): void {
    for (const { key, value } of secret.entries) if (isData(key.text)) this.#hideValues(value);
  }

  /** The keys of a Secret are shown. */
  #hideValues(data: Tree): void {
    if (data.kind !== "map") return this.#hide(data);
    for (const { value } of data.entries) if (!isMasked(value)) this.#hide(value);
  }

  #hide(tree: Tree): void {
    if (tree.kind === "constant" && tree.alias === undefined && tree.text === "") return;
    this.#noteAliases(tree);
    this.#replace(tree, JSON.stringify(HIDDEN));
  }

  #noteAliases({ alias, items, entries }: Tree): void {
    if (alias !== undefined) this.#aliases.add(alias);
    for (const item of items) this.#noteAliases(item);
    for (const { value } of entries) this.#noteAliases(value);
  }

  /** What a masked value refers to is masked where it stands. */
  #hideAnchors(tree: Tree): void {
    if (this.#aliases.size === 0) return;
    if (tree.anchor !== undefined && this.#aliases.has(tree.anchor)) this.#hide(tree);
    for (const item of tree.items) this.#hideAnchors(item);
    for (const { value } of tree.entries) this.#hideAnchors(value);
  }

  #replace({ from, to }: Tree, shown: string): void {
    let end = to;
    while (end > from && /\s/u.test(this.#text[end - 1] ?? "")) end--;
    this.#ranges.push({ from, to: end, shown: shown.trimEnd() });
  }
}

function isData(key: string): boolean {
  return key === "data" || key === "stringData";
}

function isMasked({ kind, text }: Tree): boolean {
  return kind === "text" && /^\*\*\*(?: \(other\))?$/u.test(text);
}

/** The key of a toleration, of a requirement, of a reference to a Secret. */
function isShownKey(name: string, { kind, text }: Tree, siblings: readonly string[], isReference: boolean): boolean {
  return (
    name === "key" && kind === "text" && (isSelection(siblings) ? siblings.length > 1 : isReference && isWordy(text))
  );
}

/** Nothing but booleans and empty texts, lists and objects. */
function isHarmless({ kind, text, alias, items, entries }: Tree): boolean {
  if (kind === "constant") return alias === undefined;
  if (kind === "text") return text === "";
  return kind !== "number" && items.every(isHarmless) && entries.every(({ value }) => isHarmless(value));
}

function isReferenceTo({ kind, items, entries }: Tree): boolean {
  if (kind === "list") return items.length > 0 && items.every((item) => item.kind === "map" && isReferenceTo(item));
  return kind === "map" && isReferenceObject(entries.map(({ key }) => key.text));
}

/** Is this word of a command line the password that the one before announces? */
function isOperandOf(option: string, word: string): boolean {
  if (word === "" || word.startsWith("-")) return false;
  if (option === "-p") return !isShownShortValue(word) && !/^(?:tcp|udp|icmp|sctp)$/u.test(word);
  return /^--?[\w./-]+$/u.test(option) && isSecret(option) && !isShownText(option, word);
}
