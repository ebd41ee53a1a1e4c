/** JSON and YAML as a tree that knows where in the text each value is, and never asks for more than a bound (pure). */
import { isAlias, isMap, isScalar, isSeq, parseAllDocuments, type Node as YamlNode } from "yaml";

import { AS_WRITTEN } from "../system/yaml.ts";

/** A value, and where it is in the text. */
export interface Tree {
  kind: "map" | "list" | "text" | "number" | "constant";
  from: number;
  to: number;
  /** What it means; of numbers and constants as it is written. */
  text: string;
  entries: Entry[];
  items: Tree[];
  /** How a text is written. */
  style: "quoted" | "plain" | "block";
  /** YAML: the name that others refer to it by, or that it refers to. */
  anchor?: string | undefined;
  alias?: string | undefined;
}

interface Entry {
  key: Tree;
  value: Tree;
}

/** What people write is never deeper. */
const MOST_DEPTH = 200;

function leaf(kind: Tree["kind"], from: number, to: number, text: string): Tree {
  return { kind, from, to, text, entries: [], items: [], style: "quoted" };
}

/** Undefined: it is not JSON, or nested too deeply. */
export function jsonTree(text: string): Tree | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return new JsonReader(text).read();
}

/** Reads what is known to be JSON. */
class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(depth = 0): Tree | undefined {
    const next = this.#peek();
    if (next !== "{" && next !== "[") return this.#readLeaf();
    if (depth > MOST_DEPTH) return undefined;
    const tree = leaf(next === "{" ? "map" : "list", this.#at, this.#at, "");
    this.#at++;
    for (let token = this.#peek(); token !== "}" && token !== "]"; token = this.#peek()) {
      if (token === ",") this.#at++;
      else if (!this.#readMember(tree, depth + 1)) return undefined;
    }
    this.#at++;
    tree.to = this.#at;
    return tree;
  }

  #readMember(tree: Tree, depth: number): boolean {
    const key = tree.kind === "map" ? this.#readLeaf() : undefined;
    if (key !== undefined && this.#peek() === ":") this.#at++;
    const value = this.read(depth);
    if (value === undefined) return false;
    if (key === undefined) tree.items.push(value);
    else tree.entries.push({ key, value });
    return true;
  }

  #readLeaf(): Tree {
    const first = this.#peek();
    const from = this.#at;
    if (first === '"') {
      do this.#at += this.#text[this.#at] === "\\" ? 2 : 1;
      while (this.#text[this.#at] !== '"');
      this.#at++;
      return leaf("text", from, this.#at, String(JSON.parse(this.#text.slice(from, this.#at))));
    }
    while (/[^\s,\]}]/u.test(this.#text[this.#at] ?? "")) this.#at++;
    const text = this.#text.slice(from, this.#at);
    return leaf(/^[-\d]/u.test(text) ? "number" : "constant", from, this.#at, text);
  }

  /** The next character that is not a blank. */
  #peek(): string {
    while (/\s/u.test(this.#text[this.#at] ?? "")) this.#at++;
    return this.#text[this.#at] ?? "";
  }
}

/** The documents of a text; undefined: it is not YAML, or YAML of nothing but a text. */
export function yamlTrees(text: string): Tree[] | undefined {
  try {
    const documents = parseAllDocuments(text, AS_WRITTEN);
    if (!Array.isArray(documents) || documents.some(({ errors }) => errors.length > 0)) return undefined;
    const trees = documents.flatMap(({ contents }) => (contents === null ? [] : [treeOf(contents as YamlNode, 0)]));
    return trees.every(({ kind }) => kind === "map" || kind === "list") ? trees : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function treeOf(node: YamlNode | null | undefined, depth: number): Tree {
  if (depth > MOST_DEPTH) throw new RangeError("nested too deeply");
  const [from, to] = node?.range ?? [0, 0];
  const tree = leaf("constant", from, to, "");
  if (isAlias(node)) return { ...tree, alias: node.source };
  if (isScalar(node)) {
    const text = typeof node.source === "string" ? node.source : "";
    const kind = node.type !== "PLAIN" ? "text" : kindOf(text);
    const style = node.type === "PLAIN" ? "plain" : node.type?.startsWith("BLOCK") === true ? "block" : "quoted";
    return { ...tree, kind, text, style, anchor: node.anchor };
  }
  if (isMap(node)) {
    const entries = node.items.map(({ key, value }) => ({
      key: treeOf(key as YamlNode | null, depth + 1),
      value: treeOf(value as YamlNode | null, depth + 1),
    }));
    return { ...tree, kind: "map", entries, anchor: node.anchor };
  }
  if (!isSeq(node)) return tree;
  const items = node.items.map((item) => treeOf(item as YamlNode | null, depth + 1));
  return { ...tree, kind: "list", items, anchor: node.anchor };
}

function kindOf(plain: string): Tree["kind"] {
  if (/^(?:|~|null|true|false)$/iu.test(plain)) return "constant";
  return /^[-+]?[\d._]+(?:e[-+]?\d+)?$/iu.test(plain) ? "number" : "text";
}
