import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { readTemplate, render } from "../../src/kube-watch/jsonpath.ts";

const OBJECT = {
  kind: "ConfigMap",
  data: { plugins: "a,b", "ca.crt": "x", empty: "" },
  items: [
    { type: "Ready", n: 1 },
    { type: "Other", n: 2 },
  ],
};

describe("a template of kubectl's JSONPath", () => {
  const cases: [template: string, text: string][] = [
    ["{.data.plugins}", "a,b"],
    ["{$.data.plugins}", "a,b"],
    ["{@.kind}", "ConfigMap"],
    ["{.data.empty}", ""],
    ["{.data.missing}", ""],
    [String.raw`{.data.ca\.crt}`, "x"],
    ["{.data['ca.crt']}", "x"],
    ["{.items[0]}", '{"type":"Ready","n":1}'],
    ["{.items[-1].n}", "2"],
    ["{.items[-2].n}", "1"],
    ["{.items[*].n}", "1 2"],
    ['{.items[?(@.type=="Ready")].n}', "1"],
    ['{range .items[*]}{.type}={.n}{"\\n"}{end}', "Ready=1\nOther=2\n"],
    ["plugins: {.data.plugins}!", "plugins: a,b!"],
    ["no braces", "no braces"],
    ["{}", JSON.stringify(OBJECT)],
    ["{.}", JSON.stringify(OBJECT)],
  ];
  for (const [template, text] of cases) {
    test(`${template} is ${JSON.stringify(text)}`, () => {
      assert.equal(render(readTemplate(template), OBJECT), text);
    });
  }

  test("that is broken is refused when it is read, and nothing of it is run as a program", () => {
    for (const template of ["{.a", "{range .a}", "{end}"]) assert.throws(() => readTemplate(template), /--jsonpath/u);
    const evil = "{.items[?(process.exit(3))]}";
    assert.throws(() => render(readTemplate(evil), OBJECT), /cannot be evaluated/u);
  });
});
