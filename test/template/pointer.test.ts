import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { positionOf } from "../../src/system/text-position.ts";
import { findPointers, substitute } from "../../src/template/pointer.ts";

describe("a pointer is __NAME__ that touches no other word character", () => {
  const cases: [text: string, ...names: string[]][] = [
    ["__10-calico.conflist__", "10-calico.conflist"],
    ['"delegates": [ __10-calico.conflist__ ],', "10-calico.conflist"],
    ["[__a__,__b__]", "a", "b"],
    ["__a__ __a__", "a", "a"],
    ["__a__.__b__", "a", "b"],
    ["-__a__-", "a"],
    ["é__a__é", "a"],
    ["__10-a+b@c.conf__", "10-a+b@c.conf"],
    ["__a_b_1.conf__", "a_b_1.conf"],
    ["__a_.b__", "a_.b"],
    ["__A__\n__b__\r\n__c__", "A", "b", "c"],
    ["__a__b__"],
    ["__a__b__c__"],
    ["__a____b__"],
    ["___a__"],
    ["__a___"],
    ["x__a__"],
    ["__a__x"],
    ["__a__1"],
    ["_a_ __ ____ _____"],
    ["__.a__"],
    ["__-a__"],
    ["__a/b__"],
    ["__../a__"],
    ["__a b__"],
    ["__a\nb__"],
    ["__é__"],
    ["____proto____"],
    ["__a_"],
    ["$a ${a} __$a__"],
  ];
  for (const [text, ...names] of cases) {
    test(`${JSON.stringify(text)} has ${names.length === 0 ? "none" : names.join(" and ")}`, () => {
      assert.deepEqual(
        findPointers(text).map(({ name }) => name),
        names,
      );
    });
  }

  test("one of 100,000 word characters is found without trying every way to split it", () => {
    const name = "a_".repeat(50_000);
    assert.deepEqual(findPointers(`__${name}`), []);
    assert.equal(findPointers(`__${name}a__`).length, 1);
  });
});

test("a pointer knows its line and column, and whether it stands in a JSON string", () => {
  const template = '{\n  "a": [ __x__ ],\n  "b\\"": "__y__", __z__\n}';
  assert.deepEqual(
    findPointers(template).map(({ name, line, column, inString }) => ({ name, line, column, inString })),
    [
      { name: "x", line: 2, column: 10, inString: false },
      { name: "y", line: 3, column: 11, inString: true },
      { name: "z", line: 3, column: 19, inString: false },
    ],
  );
});

test("line and column are counted from 1", () => {
  const text = "ab\n\ncd";
  const positions = [0, 1, 2, 3, 4, 6].map((offset) => Object.values(positionOf(text, offset)).join(":"));
  assert.deepEqual(positions, ["1:1", "1:2", "1:3", "2:1", "3:1", "3:3"]);
});

describe("substituting", () => {
  const contents = new Map(
    Object.entries({
      a: '{\n  "a": 1\n}\n',
      bare: "1",
      crlf: "1\r\n",
      blank: "1\n\n",
      dollar: "$& $1 $$",
      nested: "[ __a__ ]\n__a__",
    }),
  );
  const cases: [promise: string, template: string, text: string][] = [
    ["replaces the whole line of one alone on it, not re-indented", "[\n    __a__  \n]\n", '[\n{\n  "a": 1\n}\n]\n'],
    ["replaces one inside a line, and nothing else of the line", "[ __bare__ ],\n", "[ 1 ],\n"],
    ["leaves the comma behind one", "__bare__,\n__crlf__\n", "1,\n1\n"],
    ["replaces all of a line", "[__bare__, __crlf__]", "[1, 1]\n"],
    ["replaces each repetition", "__bare__ __bare__\n__bare__", "1 1\n1\n"],
    ["drops one final newline of a content, not more", "[ __blank__ ]", "[ 1\n ]\n"],
    ["takes contents literally", "[ __dollar__ ]", "[ $& $1 $$ ]\n"],
    ["looks for no pointers in contents", "__nested__", "[ __a__ ]\n__a__\n"],
    ["replaces one on a line that ends in CR LF, with it", "[\r\n__bare__\r\n]", "[\r\n1\n]\n"],
    ["ends a text without a newline in one", "{}", "{}\n"],
    ["ends a text with many newlines in one", "{}\r\n\n\n", "{}\n"],
    ["makes a newline of nothing", "", "\n"],
  ];
  for (const [promise, template, text] of cases) {
    test(promise, () => assert.equal(substitute(template, contents).text, text));
  }
});

/** Texts in which pointers, and what nearly is one, are frequent. */
const pointed = fc
  .array(fc.constantFrom("_", "__", "__a__", "__b.c__", "a", "-", " ", "\n", '"', "{", ",", "é", "\r\n", "/"))
  .map((parts) => parts.join(""));
const contentsOf = fc.tuple(pointed, pointed).map(
  ([a, b]) =>
    new Map<string, string>([
      ["a", a],
      ["b.c", b],
    ]),
);

describe("for every template", () => {
  test("what is between the pointers is unchanged, and contents are put in verbatim", () => {
    const part = fc.oneof(
      fc.constantFrom("x", "{", '"', "é", "-", "$&").map((text) => ({ text, name: "" })),
      fc.constantFrom("a", "b.c").map((name) => ({ text: `__${name}__`, name })),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), contentsOf, (parts, contents) => {
        const template = parts.map(({ text }) => text).join(" ");
        const whole = parts.map(({ text, name }) => contents.get(name)?.replace(/\r?\n$/u, "") ?? text).join(" ");
        assert.equal(substitute(template, contents).text, `${whole.replace(/[\r\n]+$/u, "")}\n`);
      }),
    );
  });

  test("without pointers, nothing but the final newline changes", () => {
    fc.assert(
      fc.property(pointed, (text) => {
        fc.pre(findPointers(text).length === 0);
        assert.equal(substitute(text, new Map()).text, `${text.replace(/[\r\n]+$/u, "")}\n`);
      }),
    );
  });

  test("each character of the result is found again where its origin says", () => {
    fc.assert(
      fc.property(pointed, contentsOf, (template, contents) => {
        // Parts may run together to a pointer of another name.
        fc.pre(findPointers(template).every(({ name }) => contents.has(name)));
        const { text, origin } = substitute(template, contents);
        for (let offset = 0; offset < text.length - 1; offset++) {
          const { line, column, pointer } = origin(offset);
          const source = pointer === undefined ? template : (contents.get(pointer) as string);
          const start = source
            .split("\n")
            .slice(0, line - 1)
            .reduce((length, before) => length + before.length + 1, 0);
          assert.equal(source[start + column - 1], text[offset]);
        }
      }),
    );
  });
});
