import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Alias,
  type Pair,
  type ParsedNode,
  type Scalar,
  type YAMLMap,
} from "yaml";

import type { JsonObject, JsonValue } from "./json.ts";
import { Refusal } from "./refusal.ts";
import { mapKeyOf, numberOf, resolveScalar } from "./yaml-scalar.ts";
import { indentQuotes, NO_ALIAS, parseDocument, type Indented, type YamlNode } from "./yaml-syntax.ts";

/** Reads one YAML document as Kubernetes does (sigs.k8s.io/yaml). Throws `Refusal`. */
export function readYaml(text: string): JsonValue {
  try {
    return readOnce(text);
  } catch (error) {
    const indented = error instanceof Refusal ? indentQuotes(text) : undefined;
    if (indented === undefined) throw error;
    return readIndented(indented);
  }
}

function readIndented({ text, originalOffset }: Indented): JsonValue {
  try {
    return readOnce(text);
  } catch (error) {
    throw error instanceof Refusal ? new Refusal(originalOffset(error.offset), error.message) : error;
  }
}

function readOnce(text: string): JsonValue {
  try {
    return new Reader(parseDocument(text)).read();
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal(0, "this is nested too deeply");
    throw error;
  }
}

/** The name of a key. Keys of different kinds, as 1 and "1", may have the same. */
interface Named {
  name: string;
  kind: string;
}

/** A key's value in a mapping. */
interface Entry {
  kind: string;
  value: JsonValue;
  merged: boolean;
}

type Entries = Map<string, Entry>;

/** Turns nodes into data, and counts how many, so that aliases of aliases cannot fill the memory. */
class Reader {
  readonly #root: YamlNode;
  readonly #targets = new Map<Alias.Parsed, ParsedNode>();
  readonly #followed = new Set<Alias.Parsed>();
  #visits = 1;
  #visitsByAlias = 0;

  constructor(root: YamlNode) {
    this.#root = root;
  }

  read(): JsonValue {
    this.#link(this.#root, new Map());
    return this.#convert(this.#root);
  }

  /** An alias stands for the last anchor of that name before it. */
  #link(node: YamlNode, anchors: Map<string, ParsedNode>): void {
    if (node === null) return;
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (target === undefined) throw new Refusal(node.range[0], NO_ALIAS);
      this.#targets.set(node, target);
      return;
    }
    if (node.anchor !== undefined) anchors.set(node.anchor, node);
    if (isMap(node)) {
      for (const { key, value } of pairsOf(node)) {
        this.#link(key, anchors);
        this.#link(value, anchors);
      }
    } else if (isSeq(node)) for (const item of node.items as YamlNode[]) this.#link(item, anchors);
  }

  #convert(node: YamlNode): JsonValue {
    this.#visit(node);
    if (node === null) return null;
    if (isAlias(node)) return this.#follow(node, (target) => this.#convert(target));
    if (isScalar(node)) return jsonOf(node);
    if (isMap(node)) return objectOf(this.#readMap(node));
    return (node.items as YamlNode[]).map((item) => this.#convert(item));
  }

  /** go-yaml's limits: of a small document nearly all may come of aliases, of a large one a tenth. */
  #visit(node: YamlNode): void {
    this.#visits++;
    if (this.#followed.size > 0) this.#visitsByAlias++;
    const allowed = 0.99 - 0.89 * Math.min(1, Math.max(0, (this.#visits - 400_000) / 3_600_000));
    if (this.#visitsByAlias > 100 && this.#visits > 1000 && this.#visitsByAlias / this.#visits > allowed) {
      throw new Refusal(node?.range[0] ?? 0, "too much of the document comes of aliases");
    }
  }

  #follow<T>(alias: Alias.Parsed, read: (target: ParsedNode) => T): T {
    if (this.#followed.has(alias)) throw new Refusal(alias.range[0], `the value of &${alias.source} contains itself`);
    this.#followed.add(alias);
    const result = read(this.#targets.get(alias) as ParsedNode);
    this.#followed.delete(alias);
    return result;
  }

  /** Keys come first, for kubectl would take a value that is none if another took its place. */
  #readMap(node: YAMLMap.Parsed): Entries {
    const pairs = pairsOf(node).map(({ key, value }) => ({
      key,
      value,
      named: isMergeKey(key) ? undefined : this.#readKey(key),
    }));
    refuseDuplicates(pairs);
    const entries: Entries = new Map();
    for (const { key, value, named } of pairs) {
      if (named !== undefined)
        setEntry(entries, named.name, { kind: named.kind, value: this.#convert(value), merged: false }, key);
      else
        for (const [name, entry] of this.#readMerged(value, key))
          setEntry(entries, name, { ...entry, merged: true }, key);
    }
    return entries;
  }

  /** What `<<` brings in: of several mappings the first has the last word. */
  #readMerged(node: YamlNode, mergeKey: YamlNode): [name: string, entry: Entry][] {
    const sources = isSeq(node) ? (node.items.toReversed() as YamlNode[]) : [node];
    return sources.flatMap((source) => {
      this.#visit(source);
      if (isMap(source)) return [...this.#readMap(source)];
      const target = isAlias(source) ? this.#targets.get(source) : undefined;
      if (!isMap(target)) throw new Refusal(offsetOf(mergeKey), "<< needs a mapping, or a list of mappings");
      return this.#follow(source as Alias.Parsed, () => {
        this.#visit(target);
        return [...this.#readMap(target)];
      });
    });
  }

  #readKey(node: YamlNode): Named {
    this.#visit(node);
    if (isAlias(node)) return this.#follow(node, (target) => this.#readKey(target));
    const meaning = isScalar(node) ? meaningOf(node) : null;
    const name = mapKeyOf(meaning);
    if (name === undefined)
      throw new Refusal(offsetOf(node), "this cannot be a key: only texts, numbers and booleans can");
    return { name, kind: typeof meaning };
  }
}

function pairsOf(map: YAMLMap.Parsed): Pair<YamlNode, YamlNode>[] {
  return map.items;
}

function refuseDuplicates(pairs: readonly { key: YamlNode; named: Named | undefined }[]): void {
  const names = new Set<string>();
  for (const { key, named } of pairs) {
    if (named === undefined) continue;
    if (names.has(named.name)) throw new Refusal(offsetOf(key), `the key "${named.name}" is there already`);
    names.add(named.name);
  }
}

/** What was merged may be given again, if kubectl can see that it is the same key. */
function setEntry(entries: Entries, name: string, entry: Entry, key: YamlNode): void {
  const present = entries.get(name);
  if (present !== undefined && (!present.merged || present.kind !== entry.kind)) {
    const problem = entry.merged
      ? `<< brings in the key "${name}", which is there already: put << first`
      : `the key "${name}" is there already`;
    throw new Refusal(offsetOf(key), problem);
  }
  entries.set(name, entry);
}

function isMergeKey(node: YamlNode): boolean {
  if (!isScalar(node) || node.source !== "<<") return false;
  return node.tag === undefined ? node.type === "PLAIN" : node.tag === "!" || node.tag === "tag:yaml.org,2002:merge";
}

function objectOf(entries: Entries): JsonObject {
  return Object.fromEntries(Array.from(entries, ([name, { value }]) => [name, value]));
}

function jsonOf(scalar: Scalar.Parsed): JsonValue {
  const meaning = meaningOf(scalar);
  if (typeof meaning !== "number" && typeof meaning !== "bigint") return meaning;
  if (typeof meaning === "number" && !Number.isFinite(meaning)) {
    throw new Refusal(
      offsetOf(scalar),
      `${scalar.source} is a number that JSON does not have: put it in quotes if it is a text`,
    );
  }
  return numberOf(meaning);
}

function meaningOf(scalar: Scalar.Parsed): ReturnType<typeof numberOf> | string | boolean | null {
  const meaning = resolveScalar(scalar.source, scalar.type === "PLAIN", scalar.tag);
  if (meaning === undefined)
    throw new Refusal(offsetOf(scalar), `this cannot be read as ${scalar.tag?.replace(/^tag:yaml\.org,2002:/u, "!!")}`);
  return meaning;
}

function offsetOf(node: YamlNode): number {
  return node?.range[0] ?? 0;
}
