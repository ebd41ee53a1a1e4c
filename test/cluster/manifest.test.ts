/** Manifests are read as kubectl reads them: its own decoder is asked (decode.ts). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isEqualJson, stringifyJson, type JsonValue } from "../../src/cluster/json.ts";
import { decodeManifest, parseManifest } from "../../src/cluster/manifest.ts";
import { Failure } from "../../src/errors.ts";
import { cannotStart } from "./cluster.ts";
import { decode, type Decoded } from "./decode.ts";
import { CORPUS, damageManifests, generateManifests, json, thing } from "./manifests.ts";

const FILE = "a.yaml";

describe("the objects of a manifest", () => {
  test("are told by apiVersion, kind, namespace and name, with the line where their document begins", () => {
    const text = [
      "# comment",
      "apiVersion: v1",
      "kind: ConfigMap",
      "metadata: {name: a, namespace: b}",
      "---",
      "",
      "# comment",
      "apiVersion: rbac.authorization.k8s.io/v1",
      "kind: ClusterRole",
      "metadata: {name: c}",
    ].join("\n");
    assert.deepEqual(parseManifest(FILE, text), [
      {
        apiVersion: "v1",
        kind: "ConfigMap",
        name: "a",
        namespace: "b",
        value: { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", namespace: "b" } },
        line: 2,
      },
      {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        name: "c",
        value: { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name: "c" } },
        line: 8,
      },
    ]);
  });

  test("come out of lists, in order, and take version and kind of the list if they have neither", () => {
    const text = JSON.stringify({
      apiVersion: "v1",
      kind: "ConfigMapList",
      items: [{ metadata: { name: "a" } }, { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "b" } }],
    });
    assert.deepEqual(
      parseManifest(FILE, text).map(({ apiVersion, kind, name, line }) => [apiVersion, kind, name, line]),
      [
        ["v1", "ConfigMap", "a", 1],
        ["apps/v1", "DaemonSet", "b", 1],
      ],
    );
  });

  test("keep every key, __proto__ too, and every digit", () => {
    const [object] = parseManifest(FILE, thing("__proto__: {constructor: 9007199254740993}\nb: 0x7fffffffffffffff"));
    assert.equal(
      stringifyJson(object?.value["spec"] as JsonValue),
      '{"__proto__":{"constructor":9007199254740993},"b":9223372036854775807}',
    );
  });

  const problems: [about: string, text: string, problem: RegExp, hint?: RegExp][] = [
    ["no apiVersion", "kind: A\nmetadata: {name: a}", /^line 1: A has no apiVersion$/u],
    ["an apiVersion that is no text", "apiVersion: 1.0\nkind: A\nmetadata: {name: a}", /no text: number$/u, /quotes/u],
    ["no kind", "apiVersion: v1\nmetadata: {name: a}", /^line 1: the object has no kind$/u],
    ["an empty kind", "apiVersion: v1\nkind: ''\nmetadata: {name: a}", /the object has no kind$/u],
    ["no metadata", "---\napiVersion: v1\nkind: A", /^line 2: A has no metadata.name$/u],
    ["metadata that is no object", "apiVersion: v1\nkind: A\nmetadata: [name]", /A has no metadata.name$/u],
    ["an empty name", "apiVersion: v1\nkind: A\nmetadata: {name: ''}", /A has no metadata.name$/u],
    [
      "a name that is no text",
      "apiVersion: v1\nkind: A\nmetadata: {name: 1}",
      /metadata.name that is no text/u,
      /quotes/u,
    ],
    [
      "a namespace that is no text",
      "apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: no}",
      /A a has a metadata/u,
    ],
    [
      "generateName",
      "apiVersion: v1\nkind: A\nmetadata: {generateName: a-}",
      /A has generateName and no name$/u,
      /apply/u,
    ],
    ["a document that is no object", "- a\n---\nb", /^line 1: the document is no object$/u],
    ["a list without kind", "items: []", /^line 1: the list has no kind$/u],
    ["a list in a list", "kind: List\nitems: [{kind: List, items: []}]", /^line 1: a list stands in a list/u, /outer/u],
    [
      "a key that is there already",
      thing("a: 1\nb:\n  c: 2\n  c: 3"),
      /^line 8, column 5: the key "c" is there already$/u,
    ],
    ["one in JSON", '{"a": {"b": 1, "\\u0062": 2}}', /^line 1, column 16: this key is there already$/u],
    [
      "a value that begins with * and is no alias",
      "a: *x",
      /^line 1, column 4: a value that begins with \* is an alias/u,
    ],
    ["the same, with what no name has", "b: c\na: [*.x.org]", /^line 2, column 5: a value that begins with \*/u],
    ["the same, with spaces", "a:\n  - *hunter2 y", /^line 2, column 5: a value that begins with \* (?!.*hunter)/u],
    ["only a *", "verbs: [*]", /^line 1, column 9: a value that begins with \*/u],
    ["broken YAML in the second document", "a: b\r\n---\r\na: b\r\nc: @d\r\n", /^line 4, column 4: /u],
    ["broken YAML behind quotes that are not indented", "a: 'b\nc\nd'\ne: 'f\ng'\nh: @i", /^line 6, column 4: /u],
    ["quotes that are not closed", "a: 'b\nc'\nd: \"e'\nf: g", /^line 3, column 4: the closing quote is missing$/u],
    ["broken YAML behind such on its line", "a: 'b\nc' @d", /^line 2, column 4: /u],
    ["broken JSON", '{\n  "a": 1,\n  "b" 2\n}', /^line 3, column 7: this is no JSON: /u],
    ["YAML behind two JSON values", "{}\n{}\n---\na: b\n", /^line 3, column 1: this is no JSON: /u],
    ["a number that is out of range", '{"a": 1e400}', /^line 1, column 1: .*range/u],
    ["nesting without end", thing(`a: ${"[".repeat(50_000)}${"]".repeat(50_000)}`), /nested too deeply$/u],
    ["nesting without end in JSON", json(`${"[".repeat(500_000)}${"]".repeat(500_000)}`), /nested too deeply$/u],
    ["brackets that are never closed", json("[".repeat(500_000)), /./u],
  ];
  for (const [about, text, problem, hint = /./u] of problems) {
    test(`${about}: refused, with file, place and hint`, () => {
      const failure = failureOf(text);
      assert.equal(failure.code, "manifest-invalid");
      assert.ok(failure.message.startsWith(`${FILE}: `));
      assert.match(failure.message.slice(FILE.length + 2), problem);
      assert.match(failure.hint ?? "", hint);
    });
  }

  test("that nobody could expand are refused before the memory is full", () => {
    const levels = Array.from({ length: 40 }, (_, level) => `a${level + 1}: &a${level + 1} [*a${level}, *a${level}]`);
    assert.match(
      failureOf(thing(["a0: &a0 x", ...levels].join("\n"))).message,
      /too much of the document comes of aliases/u,
    );
  });
});

describe("a manifest is text", () => {
  test("in UTF-8, or in UTF-16 with a byte order mark", () => {
    const littleEndian = Buffer.from("\uFEFFa: é", "utf16le");
    assert.equal(decodeManifest(FILE, Buffer.from("a: é")), "a: é");
    assert.equal(decodeManifest(FILE, Buffer.from("\uFEFFa: é")), "a: é");
    assert.equal(decodeManifest(FILE, littleEndian), "a: é");
    assert.equal(decodeManifest(FILE, Buffer.from(littleEndian).swap16()), "a: é");
  });

  test("and nothing else, which is told with its line", () => {
    assert.throws(() => decodeManifest(FILE, Buffer.from("a: b\nc: \xe9", "latin1")), {
      message: "a.yaml: line 2: is no UTF-8 text",
      code: "manifest-invalid",
    });
  });
});

/** What kubectl takes and we refuse: the sentences that say so, and manifests of which they must be said. */
const REFUSED: Record<string, [says: RegExp, ...manifests: string[]]> = {
  "a key given twice": [
    /key (?:"[^]*" )?is there already$/u,
    thing("a: 1\na: 2"),
    thing("1: a\n'1': b"),
    thing("a: [&a {1: b}, {<<: *a, '1': c}]"),
    '{"kind": "B", "kind": "A", "apiVersion": "v1", "metadata": {"name": "a"}}',
  ],
  "<< behind a key that it brings in, where kubectl lets << win": [
    /put << first$/u,
    thing("a: &a {b: 1}\nc: {b: 2, <<: *a}"),
  ],
  "what kubectl drops": [
    /kubectl ignores what follows \.\.\.|no document ends here$|at node end$|: unexpected /u,
    `${thing()}...\n${thing()}`,
    `${thing()}...\n[`,
    `${thing()}...\n...\n`,
    `# a\n${json()} b`,
    `${json("a")} b`,
  ],
  "brackets over lines that are not indented": [
    /sufficiently indented/u,
    thing("a: [\nb\n]"),
    thing("a: {\n\tb: c\n}"),
  ],
  "binary data that is no text": [/cannot be read as !!binary/u, thing("a: !!binary /w==")],
  "!!timestamp": [/cannot be read as !!timestamp$/u, thing("a: !!timestamp 2001-01-01")],
  "line ends that only YAML 1.1 knows, and a byte order mark inside": [
    /the character U\+/u,
    thing("a: b\u2028  c"),
    thing("a: 'b\u0085'"),
    thing("a: b\uFEFF"),
  ],
  "half a character, which kubectl replaces": [/holds half a character$/u, json('"\\ud83d"')],
  "an escaped '": [/escape/iu, thing('a: "b\\\'"')],
  "an escaped line end before an empty line": [/escape/iu, thing('a: "b\\\n\n  c"')],
  "tabs at the beginning of a line or behind - and ?": [
    /a tab cannot be indentation$/u,
    thing("a: b\n  \t\nc: d"),
    thing("? a\t\n: b"),
  ],
  "? in brackets": [
    /\? cannot stand in brackets$|must be in quotes here$/u,
    thing("a: {? b : c}"),
    thing("a: {?b: c}"),
  ],
  "a lone - in brackets": [
    /block seq(?:uence)? props$|not allowed within flow/u,
    thing("a: [!x -]"),
    thing("a: {b: -}"),
  ],
  "a colon in brackets that touches what follows": [
    /a space must follow this :$|not allowed within flow/u,
    thing("a: {b:}"),
  ],
  "a comment that touches": [
    /comments must be separated|nothing but a comment/u,
    thing("a: 'b'#c"),
    `${thing()}---#\n`,
    `${thing()}--- # a\rb: c\n${thing()}`,
  ],
  "a colon that touches an alias": [
    /is an alias, which wants an anchor|followed by map values$/u,
    thing("a: &a b\n*a: c"),
  ],
  "a tag alone as a key": [/must stand before this :$|a line must end behind/u, thing("!!str : a")],
  "tags with unusual characters": [/a tag has letters|could not resolve tag/u, thing("a: !%62 c"), thing("a: !!b!c d")],
  "a value's indicator on the line of the key's": [/single line$/u, thing("a:\n|\n  b"), thing("?\n>\n? a")],
  "lines of spaces where the indentation is given": [/a line of spaces cannot stand here/u, thing("a: |1\n  b\n   \n")],
};

describe("what kubectl reads", { skip: cannotStart }, () => {
  test("hand-written manifests of every construct mean the same to us", async () => {
    const answers = await decode(CORPUS.map(([, text]) => text));
    const differences = CORPUS.map(([, text], index) => differenceOf(text, answers[index] as Decoded));
    assert.deepEqual(
      CORPUS.flatMap(([name], index) => (differences[index] === undefined ? [] : [`${name}: ${differences[index]}`])),
      [],
    );
  });

  test("generated manifests mean the same to us, or are refused for one of the reasons below", async () => {
    const texts = generateManifests(4000);
    const answers = await decode(texts);
    const differences = texts.map((text, index) => differenceOf(text, answers[index] as Decoded));
    const reasons = Object.values(REFUSED).map(([says]) => says);
    const others = differences.filter((each) => each !== undefined && !reasons.some((says) => says.test(each)));
    assert.deepEqual(others.slice(0, 5), []);
    const same = texts.filter((_, index) => differences[index] === undefined && answers[index]?.error === undefined);
    assert.ok(same.length > texts.length / 2, `only ${same.length} of ${texts.length} mean something`);
  });

  test("damaged manifests mean the same to us, or are refused", async () => {
    const texts = damageManifests(4000);
    const answers = await decode(texts);
    const differences = texts.map((text, index) => differenceOf(text, answers[index] as Decoded));
    assert.deepEqual(differences.filter((each) => each?.startsWith("we read")).slice(0, 5), []);
  });

  for (const [what, [says, ...manifests]] of Object.entries(REFUSED)) {
    test(`except, which is refused: ${what}`, async () => {
      const answers = await decode(manifests);
      for (const [index, text] of manifests.entries()) {
        assert.match(
          differenceOf(text, answers[index] as Decoded) ?? `${JSON.stringify(text)} is read as by kubectl`,
          says,
        );
      }
    });
  }
});

/** Undefined: both read the same objects, or none. */
function differenceOf(text: string, { objects, error }: Decoded): string | undefined {
  const theirs = objects as JsonValue[];
  const kubectlTakes = error === undefined && theirs.every(hasIdentity);
  try {
    const ours = parseManifest(FILE, text).map(({ value }) => value);
    if (!kubectlTakes) return `we read ${stringifyJson(ours)} of ${JSON.stringify(text)}, kubectl nothing: ${error}`;
    if (isEqualJson(ours, theirs)) return undefined;
    return `we read ${stringifyJson(ours)} of ${JSON.stringify(text)}, kubectl ${stringifyJson(theirs)}`;
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    if (!kubectlTakes) return undefined;
    return `kubectl reads ${stringifyJson(theirs)} of ${JSON.stringify(text)}: ${failure.message}`;
  }
}

function hasIdentity(object: JsonValue): boolean {
  const { apiVersion, kind, metadata } = object as Record<string, unknown>;
  const { name } = (metadata ?? {}) as { name?: unknown };
  return [apiVersion, kind, name].every((text) => typeof text === "string" && text !== "");
}

function failureOf(text: string): Failure {
  try {
    parseManifest(FILE, text);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error(`read: ${JSON.stringify(text)}`);
}
