import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { unifiedDiff } from "../src/diff.ts";

describe("a difference", () => {
  test("of equal texts is nothing", () => assert.equal(unifiedDiff("a.conf", "x\n", "x\n"), ""));

  test("is unified, with three lines around it", () => {
    const lines = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    const before = `${lines.join("\n")}\n`;
    assert.equal(
      unifiedDiff("a.conf", before, before.replace("5", "five")),
      "--- a.conf\tnow\n+++ a.conf\tplanned\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n",
    );
  });

  test("from nothing shows all that is new", () => {
    assert.equal(unifiedDiff("a.conf", "", "{}\n"), "--- a.conf\tnow\n+++ a.conf\tplanned\n@@ -0,0 +1,1 @@\n+{}\n");
  });

  test("in masked values only is said, without them", () => {
    assert.equal(
      unifiedDiff("a.conf", '{"token":"a"}', '{"token":"b"}'),
      "--- a.conf\n+++ a.conf\n(only masked values differ)\n",
    );
  });

  test("never shows what is masked, on either side", () => {
    const value = fc.jsonValue();
    fc.assert(
      fc.property(fc.constantFrom("token", "client-key", "secrets", "PASSWORD"), value, value, (key, other, same) => {
        const text = (secret: unknown, indent: number): string =>
          JSON.stringify({ same, [key]: { other, deep: [secret, [secret]] }, last: 1 }, undefined, indent);
        assert.doesNotMatch(unifiedDiff("a.conf", text("S3CRET-1", 2), text("S3CRET-2", 0)), /S3CRET/u);
      }),
    );
  });
});

test("texts that have hardly a line in common are said to differ, without looking for ever", () => {
  const [before, after] = ["a", "b"].map((letter) => {
    return Array.from({ length: 20_000 }, (_, index) => `${letter}${index}\n`).join("");
  });
  assert.equal(unifiedDiff("x", before ?? "", after ?? ""), "--- x\n+++ x\n(more differs than can be shown)\n");
  assert.match(unifiedDiff("x", "", after ?? ""), /^\+b19999$/mu, "what is new is shown whole");
});

describe("small: the texts of an object are shown line by line", () => {
  const shown = (data: Record<string, string>): string =>
    `${JSON.stringify({ kind: "ConfigMap", data }, undefined, 2)}\n`;

  test("and only those that differ", () => {
    const text = (mtu: number): string => `{\n  "type": "a",\n  "mtu": ${mtu},\n  "token": "S3CRET"\n}\n`;
    assert.equal(
      unifiedDiff("a", shown({ file: text(1400), other: "b" }), shown({ file: text(1500), other: "b" })),
      [
        "--- a\tnow",
        "+++ a\tplanned",
        "@@ -4,7 +4,7 @@",
        '     "file": |',
        "       {",
        '         "type": "a",',
        '-        "mtu": 1400,',
        '+        "mtu": 1500,',
        '         "token": "***"',
        "       }",
        '     "other": "b"',
        "",
      ].join("\n"),
    );
  });

  test("with what ends without a newline told apart, and backslashes as they are", () => {
    const diff = unifiedDiff("a", "", shown({ a: "x\ny\n", b: "x\ny", c: String.raw`x\ny`, d: "x\n\ny\n" }));
    assert.match(diff, /^\+ {4}"a": \|\n\+ {6}x\n\+ {6}y$/mu);
    assert.match(diff, /^\+ {4}"b": \|-\n\+ {6}x\n\+ {6}y$/mu);
    assert.match(diff, /^\+ {4}"c": "x\\\\ny",$/mu);
    assert.match(diff, /^\+ {4}"d": \|\n\+ {6}x\n\+\n\+ {6}y$/mu);
  });

  test("of any object, without loss of what differs", () => {
    const texts = fc.dictionary(
      fc.constantFrom("a", "b", "c"),
      fc.constantFrom("x", "x\n", "x\ny", "x\n\ny\n", "\n", "\n\n", '"x\n', "\\n"),
    );
    fc.assert(
      fc.property(texts, texts, (before, after) => {
        const isSame = shown(before) === shown(after);
        assert.equal(unifiedDiff("a", shown(before), shown(after)) === "", isSame);
        assert.doesNotMatch(unifiedDiff("a", shown(before), shown(after)), /only masked/u);
      }),
    );
  });
});
