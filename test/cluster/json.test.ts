import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { isEqualJson, parseJsonExactly, stringifyJson, type JsonValue } from "../../src/cluster/json.ts";

describe("JSON goes through unchanged", () => {
  const texts = [
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "18446744073709551616",
    "[1,-1,0,1.5,1e+21,1e-7,0.1]",
    '{"b":1,"a":{"d":[],"c":{}},"":null}',
    '{"__proto__":{"a":1},"constructor":2,"toString":"x","toJSON":3}',
    '"\\u0000\\\\\\" é\u{1f600}\u2028"',
    '{"metadata":{"generation":9007199254740993,"x-kubernetes-int-or-string":true}}',
    "null",
    "true",
  ];
  for (const text of texts) {
    test(text, () => {
      assert.equal(stringifyJson(parseJsonExactly(text)), text);
    });
  }

  test("as whatever there is, which is then equal to itself", () => {
    fc.assert(
      fc.property(JSON_VALUE, (value) => {
        const again = parseJsonExactly(stringifyJson(value));
        assert.ok(isEqualJson(again, value));
        assert.equal(stringifyJson(again), stringifyJson(value));
      }),
    );
  });
});

test("only integers that a number cannot hold are bigint", () => {
  assert.deepEqual(parseJsonExactly("[1, 9007199254740991, 9007199254740992, -9007199254740992, 1e20, 0.5, -0]"), [
    1,
    9007199254740991,
    9007199254740992n,
    -9007199254740992n,
    1e20,
    0.5,
    -0,
  ]);
});

test("a key __proto__ is a key as any other", () => {
  const value = parseJsonExactly('{"__proto__": {"polluted": true}}') as Record<string, JsonValue>;
  assert.deepEqual(Object.keys(value), ["__proto__"]);
  assert.equal(value["polluted"], undefined);
  assert.ok(!isEqualJson(value, {}));
  assert.ok(isEqualJson(value, parseJsonExactly('{"__proto__":{"polluted":true}}')));
});

test("what is not JSON, or a number out of range, is a SyntaxError", () => {
  for (const text of ["", "{", "{a: 1}", "01", "[1,]", "1e400", "-1e400", "1n", "undefined"]) {
    assert.throws(() => parseJsonExactly(text), SyntaxError, text);
  }
});

describe("two values are equal", () => {
  const equal: [JsonValue, JsonValue][] = [
    [1, 1n],
    [-0, 0],
    [2 ** 53, 2n ** 53n],
    // A number means what is written of it: 2 ** 60 is written 1152921504606847000, which is read as a bigint.
    [2 ** 60, 1_152_921_504_606_847_000n],
    [2 ** 60, 2n ** 60n],
    [
      { a: 1, b: [{ c: null }] },
      { b: [{ c: null }], a: 1n },
    ],
    [[], []],
    ["a", "a"],
  ];
  const unequal: [JsonValue, JsonValue][] = [
    [2 ** 53, 2n ** 53n + 1n],
    [9007199254740993n, 9007199254740992n],
    [1, "1"],
    [1n, "1"],
    [0, null],
    [0, false],
    ["", null],
    [[], {}],
    [[1], [1, 2]],
    [
      [1, 2],
      [2, 1],
    ],
    [{ a: 1 }, { b: 1 }],
    [{ a: 1 }, { a: 1, b: 1 }],
    [{ toString: 1 }, {}],
    [{ a: null }, { b: null }],
  ];
  for (const [a, b] of equal) {
    test(`${stringifyJson(a)} and ${stringifyJson(b)}, whatever is a number or bigint, in any order of keys`, () => {
      assert.ok(isEqualJson(a, b) && isEqualJson(b, a));
    });
  }
  for (const [a, b] of unequal) {
    test(`but not ${stringifyJson(a)} and ${stringifyJson(b)}`, () => {
      assert.ok(!isEqualJson(a, b) && !isEqualJson(b, a));
    });
  }

  test("as JSON of the same keys and values in another order, and as nothing else", () => {
    fc.assert(
      fc.property(JSON_VALUE, JSON_VALUE, (a, b) => {
        assert.ok(isEqualJson(a, reversed(a)));
        assert.equal(isEqualJson(a, b), stringifyJson(sorted(a)) === stringifyJson(sorted(b)));
      }),
    );
  });
});

const { value: JSON_VALUE } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, false, "", "a", 0, 1, 1.5),
    fc.string(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 70n }),
    fc.bigInt({ min: -(2n ** 70n), max: -(2n ** 53n) }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc
      .array(fc.tuple(fc.oneof(fc.constantFrom("a", "b", "__proto__", "1"), fc.string()), tie("value")), {
        maxLength: 4,
      })
      .map((entries) => Object.fromEntries(entries)),
  ),
}));

function reversed(value: JsonValue): JsonValue {
  return reordered(value, (keys) => keys.toReversed());
}

function sorted(value: JsonValue): JsonValue {
  return reordered(value, (keys) => keys.toSorted());
}

function reordered(value: JsonValue, order: (keys: string[]) => string[]): JsonValue {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => reordered(item, order));
  return Object.fromEntries(order(Object.keys(value)).map((key) => [key, reordered(value[key] as JsonValue, order)]));
}
