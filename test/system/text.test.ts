import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import * as fc from "fast-check";

import {
  alignRows,
  isIdOf,
  shellWord,
  shortId,
  visible,
  visibleJson,
  visibleLines,
  wrapLines,
} from "../../src/system/text.ts";

test("a text of others stays on its line, and nothing in it is hidden or reversed", () => {
  assert.equal(visible("a\nb\u202ec\u200b\u001b[2J\ttabs"), String.raw`a\u000ab\u202ec\u200b\u001b[2J\u0009tabs`);
  assert.equal(visible("überall, 网络, 😀"), "überall, 网络, 😀");
  assert.equal(visible("\u{e0041}"), String.raw`\u{e0041}`);
});

test("a text of several lines keeps its lines and tabs", () => {
  assert.equal(visibleLines("a\n\tb\r\u202e"), `a\n\tb${String.raw`\u000d\u202e`}`);
});

test("JSON of others stays the same value, and nothing in it is hidden or reversed", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const json = visibleJson(JSON.stringify({ text }, undefined, 2));
      assert.deepEqual(JSON.parse(json), { text });
      assert.equal(visibleLines(json), json);
    }),
  );
  assert.equal(visibleJson('["\u{e0041}\u202e"]'), String.raw`["\udb40\udc41\u202e"]`);
});

test("a word of a command means itself to a shell, whatever is in it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      fc.pre(!text.includes("\0") && text.isWellFormed());
      assert.equal(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" }), text);
    }),
    { numRuns: 100 },
  );
  assert.equal(shellWord("/opt/cni/bin"), "/opt/cni/bin");
  assert.equal(shellWord(""), "''");
});

test("lines are wrapped between words; a longer word has a line of its own", () => {
  assert.deepEqual(wrapLines("a bc def ghijklmn o", 6), ["a bc", "def", "ghijklmn", "o"]);
  assert.deepEqual(wrapLines("", 6), [""]);
});

test("of a command in a sentence no words are parted: what has no room has a line of its own", () => {
  const sentence = "again: cni-node install --plugins=a (docker run -v /:/host cni-node install --plugins=a)";
  assert.deepEqual(wrapLines(sentence, 32), [
    "again:",
    "cni-node install --plugins=a",
    "(docker run -v /:/host cni-node install --plugins=a)",
  ]);
  assert.deepEqual(wrapLines("they are gone → cni-node network gc mynet; rm 'a b'/c", 20), [
    "they are gone →",
    "cni-node network gc mynet;",
    "rm 'a b'/c",
  ]);
  assert.deepEqual(wrapLines("then cni-node network gc releases what's left (all)", 40), [
    "then",
    "cni-node network gc releases what's left",
    "(all)",
  ]);
  // What is said behind a long command, and the name of the program where it is no command.
  assert.deepEqual(wrapLines("cni-node install --plugins=abc installs what is missing", 30), [
    "cni-node install --plugins=abc",
    "installs what is missing",
  ]);
  assert.deepEqual(wrapLines("cni-node network version says which plugins there are", 30), [
    "cni-node network version says",
    "which plugins there are",
  ]);
  assert.deepEqual(wrapLines("what cni-node installed here is not known", 30), [
    "what cni-node installed here",
    "is not known",
  ]);
});

test("a text of others, however long, is wrapped", () => {
  for (const text of [`rm -${";".repeat(1_000_000)}`, `rm ${"/".repeat(1_000_000)} a b`, `rm ${"'".repeat(999_999)}`]) {
    assert.equal(wrapLines(text, 80).join(" "), text);
  }
});

test("rows are broken between cells, and between the words of a cell that has no room", () => {
  const rows = [
    ["a", "bb", "c d e f g h i j k"],
    ["aaaa", "b", "c"],
  ];
  assert.deepEqual(alignRows(rows), ["a     bb  c d e f g h i j k", "aaaa  b   c"]);
  assert.deepEqual(alignRows(rows, 20), ["a     bb  c d e f g\n          h i j k", "aaaa  b   c"]);
  assert.deepEqual(alignRows(rows, 14), ["a     bb\n    c d e f g\n    h i j k", "aaaa  b   c"]);
  assert.deepEqual(alignRows([["first", "a second cell", "third"]], 12), ["first\n    a second\n    cell\n    third"]);
  const gap = [
    ["a", "a second cell", "c"],
    ["a", "", "third"],
  ];
  assert.deepEqual(alignRows(gap, 19), ["a  a second cell  c", "a  third"]);
  assert.deepEqual(alignRows([["first", "a-second-cell", ""]], 12), ["first\n    a-second-cell"]);
});

test("IDs are cut as docker does, whatever stands before them, and mean the container that they are printed of", () => {
  const hex = "0123456789abcdef".repeat(4);
  for (const [id, short] of [
    [hex, "0123456789ab"],
    [`cnitool-${hex.slice(0, 20)}`, "cnitool-0123456789ab"],
    [`docker:${hex}`, "docker:0123456789ab"],
    ["0123456789ab", "0123456789ab"],
    [`/run/netns/${hex}`, `/run/netns/${hex}`],
    ["pod:default/web", "pod:default/web"],
    ["a-name-of-somebody", "a-name-of-somebody"],
    // Names and numbers that somebody has chosen: another one may begin so.
    ["1764397801123456789", "1764397801123456789"],
    [hex.slice(0, 63), hex.slice(0, 63)],
    [`${hex}0`, `${hex}0`],
    [`cnitool-${hex.slice(0, 19)}`, `cnitool-${hex.slice(0, 19)}`],
    [`docker:${hex.slice(0, 20)}`, `docker:${hex.slice(0, 20)}`],
  ] as const) {
    assert.equal(shortId(id), short);
    assert.ok(isIdOf(short, id) && isIdOf(id, id));
    assert.ok(!isIdOf(short.slice(0, -1), id) && !isIdOf(`${short}x`, id));
  }
  assert.ok(isIdOf(hex.slice(0, 13), hex) && !isIdOf(hex.slice(0, 11), hex) && !isIdOf("", hex));
  assert.ok(!isIdOf("1764397801123", "1764397801123456789"));
});
