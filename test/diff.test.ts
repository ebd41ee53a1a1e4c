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
