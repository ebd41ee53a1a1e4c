/** The objects of manifests. That kubectl reads them alike is in test/e2e/manifests-kubectl.test.ts. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { stringifyJson, type JsonValue } from "../../src/cluster/json.ts";
import { decodeManifest, parseManifest } from "../../src/cluster/manifest.ts";
import { Failure } from "../../src/errors.ts";
import { json, thing } from "./manifests.ts";

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
    [
      "an apiVersion that is not text",
      "apiVersion: 1.0\nkind: A\nmetadata: {name: a}",
      /not a string: number$/u,
      /quotes/u,
    ],
    ["no kind", "apiVersion: v1\nmetadata: {name: a}", /^line 1: the object has no kind$/u],
    ["an empty kind", "apiVersion: v1\nkind: ''\nmetadata: {name: a}", /the object has no kind$/u],
    ["no metadata", "---\napiVersion: v1\nkind: A", /^line 2: A has no metadata.name$/u],
    ["metadata that is not an object", "apiVersion: v1\nkind: A\nmetadata: [name]", /A has no metadata.name$/u],
    ["an empty name", "apiVersion: v1\nkind: A\nmetadata: {name: ''}", /A has no metadata.name$/u],
    [
      "a name that is not text",
      "apiVersion: v1\nkind: A\nmetadata: {name: 1}",
      /metadata.name that is not a string/u,
      /quotes/u,
    ],
    [
      "a namespace that is not text",
      "apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: no}",
      /A a has a metadata/u,
    ],
    [
      "generateName",
      "apiVersion: v1\nkind: A\nmetadata: {generateName: a-}",
      /A has generateName and no name$/u,
      /apply/u,
    ],
    ["a document that is not an object", "- a\n---\nb", /^line 1: the document is not an object$/u],
    ["a list without kind", "items: []", /^line 1: the list has no kind$/u],
    ["a list in a list", "kind: List\nitems: [{kind: List, items: []}]", /^line 1: a list stands in a list/u, /outer/u],
    [
      "a key that is there already",
      thing("a: 1\nb:\n  c: 2\n  c: 3"),
      /^line 8, column 5: the key "c" is there already$/u,
    ],
    ["one in JSON", '{"a": {"b": 1, "\\u0062": 2}}', /^line 1, column 16: this key is there already$/u],
    [
      "a value that begins with * and is not an alias",
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
    ["broken JSON", '{\n  "a": 1,\n  "b" 2\n}', /^line 3, column 7: this is not JSON: /u],
    ["YAML behind two JSON values", "{}\n{}\n---\na: b\n", /^line 3, column 1: this is not JSON: /u],
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
      message: "a.yaml: line 2: is not UTF-8 text",
      code: "manifest-invalid",
    });
  });
});

function failureOf(text: string): Failure {
  try {
    parseManifest(FILE, text);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error(`read: ${JSON.stringify(text)}`);
}
