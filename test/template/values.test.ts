import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { substitute } from "../../src/template/pointer.ts";
import { sourceOf, VARIABLES, written, writtenText } from "../../src/template/values.ts";

describe("a variable of a template", () => {
  test("is one of ours, one of another installer's, or one of the environment that is named, which wins", () => {
    for (const name of Object.keys(VARIABLES)) assert.deepEqual(sourceOf(name, new Set()), { variable: name });
    assert.deepEqual(sourceOf("KUBERNETES_NODE_NAME", new Set()), { variable: "NODE_NAME" });
    assert.deepEqual(sourceOf("MTU.eth0.100", new Set()), { variable: "MTU", ifName: "eth0.100" });
    assert.deepEqual(sourceOf("VETHPREFIX", new Set()), { text: "eni" });
    assert.deepEqual(sourceOf("MTU", new Set(["MTU"])), { environment: "MTU" });
    for (const name of ["10-calico.conflist", "PRIMARY", "SITE", "toString", "MTU.", "MTU.conf"]) {
      assert.equal(sourceOf(name, new Set()), undefined, name);
    }
  });

  const cases: [promise: string, template: string, text: string][] = [
    ["a text alone is a string of JSON", '{"a": __T__}', '{"a": "x\\"y"}'],
    ["a text in a string is escaped", '{"a": "<__T__>"}', '{"a": "<x\\"y>"}'],
    ["a number alone is a number", '{"a": __N__}', '{"a": 1450}'],
    ["a number in a string is its digits", '{"a": "__N__"}', '{"a": "1450"}'],
    ["a list alone is a list", '{"a": __L__}', '{"a": ["10.1.0.0/24","fd00::/64"]}'],
    ["a list in a string is separated by commas", '{"a": "__L__"}', '{"a": "10.1.0.0/24,fd00::/64"}'],
    ["an object of the environment is one", '{"a": __O__}', '{"a": {"b": [true]}}'],
    ["a text of the environment is a string", '{"a": __E__}', '{"a": "fr 1"}'],
    ["alone on its line it takes the line's place", '{"a":\n  __N__\n}', '{"a":\n1450\n}'],
    ["what stands in a value is not replaced", '{"a": "__P__"}', '{"a": "__N__"}'],
  ];
  const values = new Map([
    ["T", written('x"y')],
    ["N", written(1450)],
    ["L", written(["10.1.0.0/24", "fd00::/64"])],
    ["O", writtenText('{"b": [true]}')],
    ["E", writtenText("fr 1")],
    ["P", written("__N__")],
  ]);
  for (const [promise, template, text] of cases) {
    test(promise, () => assert.equal(substitute(template, values).text, `${text}\n`));
  }

  test("is where an error in what stands in its place is found", () => {
    const { text, origin } = substitute('{\n  "a": __T__ x\n}', values);
    assert.deepEqual(origin(text.indexOf("y")), { line: 2, column: 8 });
    assert.deepEqual(origin(text.indexOf(" x")), { line: 2, column: 13 });
  });
});
