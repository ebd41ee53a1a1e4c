import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { describeJsonError, isDeeperThan, parseExactly } from "../../src/system/json.ts";

test("what is not JSON is told by its place, without a character of it", () => {
  const cases: [text: string, message: string][] = [
    ["", "is empty"],
    ["root:x:0:0", "is not JSON: invalid symbol at line 1, column 1"],
    ['{\n  "token": s3cr3t\n}', "is not JSON: invalid symbol at line 2, column 12"],
    ["[".repeat(100_000), "is not JSON"],
  ];
  for (const [text, message] of cases) assert.equal(describeJsonError(text), message);
});

/** JSON with numbers as people and programs write them, and strings with what numbers and brackets look like. */
const { text: texts } = fc.letrec<{ text: string }>((tie) => {
  const number = fc
    .tuple(
      fc.constantFrom("", "-"),
      fc.oneof(fc.constant("0"), fc.bigInt({ min: 1n, max: 10n ** 25n }).map(String)),
      fc.oneof(
        fc.constant(""),
        fc.nat().map((digits) => `.${digits}`),
      ),
      fc.oneof(
        fc.constant(""),
        fc.tuple(fc.constantFrom("e", "E", "e+", "E-"), fc.nat(400)).map((parts) => parts.join("")),
      ),
    )
    .map((parts) => parts.join(""));
  const string = fc
    .oneof(fc.string(), fc.constantFrom('\\"', "[1e999", '{"', " 12345678901234567890", "\\\\"))
    .map((one) => JSON.stringify(one));
  const space = fc.constantFrom("", " ", "\n");
  const list = fc.array(tie("text"), { maxLength: 4 });
  return {
    text: fc.oneof(
      { maxDepth: 5 },
      number,
      string,
      fc.constantFrom("null", "true"),
      fc.tuple(list, space).map(([items, blank]) => `[${items.join(`,${blank}`)}]`),
      fc.tuple(list, space).map(([items, blank]) => `{${items.map((one, at) => `"k${at}":${blank}${one}`).join()}}`),
    ),
  };
});

test("an integer beyond 2^53 and a number that is out of range are read as they stand, wherever they are", () => {
  const exact = (text: string): unknown[] => {
    const found: unknown[] = [];
    parseExactly(text, (_, source) => found.push(source));
    return found;
  };
  fc.assert(
    fc.property(texts, (text) => {
      const expected: unknown[] = [];
      JSON.parse(text, (_key, value, { source = "" }) => {
        if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
        if (/^-?\d+$/u.test(source) || !Number.isFinite(value)) expected.push(source);
        return value;
      });
      assert.deepEqual(exact(text), expected);
    }),
  );
  assert.deepEqual(exact("[9007199254740993,1e999,-1E999,0.1,999999999999999]"), [
    "9007199254740993",
    "1e999",
    "-1E999",
  ]);
});

test("the depth of a text is that of its lists and objects, whatever stands in its strings", () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
  fc.assert(
    fc.property(texts, fc.nat(6), (text, levels) => {
      assert.equal(isDeeperThan(text, levels), depthOf(JSON.parse(text)) > levels);
    }),
  );
});
