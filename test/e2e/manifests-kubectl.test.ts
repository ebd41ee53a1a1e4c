/** Manifests are read as kubectl reads them: its own decoder is asked (test/cluster/decode.ts). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isEqualJson, stringifyJson, type JsonValue } from "../../src/cluster/json.ts";
import { parseManifest } from "../../src/cluster/manifest.ts";
import { Failure } from "../../src/errors.ts";
import { cannotStart } from "../cluster/cluster.ts";
import { decode, type Decoded } from "../cluster/decode.ts";
import { CORPUS, damageManifests, generateManifests, json, thing } from "../cluster/manifests.ts";

const FILE = "a.yaml";

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
  "binary data that is not text": [/cannot be read as !!binary/u, thing("a: !!binary /w==")],
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
