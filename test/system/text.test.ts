import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import * as fc from "fast-check";

import { shellWord, visible, visibleLines, wrapLines } from "../../src/system/text.ts";

test("a text of others stays on its line, and nothing in it is hidden or reversed", () => {
  assert.equal(visible("a\nb\u202ec\u200b\u001b[2J\ttabs"), String.raw`a\u000ab\u202ec\u200b\u001b[2J\u0009tabs`);
  assert.equal(visible("überall, 网络, 😀"), "überall, 网络, 😀");
  assert.equal(visible("\u{e0041}"), String.raw`\u{e0041}`);
});

test("a text of several lines keeps its lines and tabs", () => {
  assert.equal(visibleLines("a\n\tb\r\u202e"), `a\n\tb${String.raw`\u000d\u202e`}`);
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
