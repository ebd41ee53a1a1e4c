import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseTemplate, render } from "../../src/kube-watch/jsonpath.ts";
import { OBJECT, TEMPLATES } from "./templates.ts";

describe("a template of kubectl's JSONPath", () => {
  for (const [template, text] of TEMPLATES) {
    test(`${template} is ${JSON.stringify(text)}`, () => {
      assert.equal(render(parseTemplate(template), OBJECT), text);
    });
  }

  test("that is broken is refused when it is read, and nothing of it is run as a program", () => {
    for (const template of ["{.a", "{range .a}", "{end}", "{[}", "{.items[?(]}", "{.a['b]}"])
      assert.throws(() => parseTemplate(template), /--jsonpath/u);
    const evil = "{.spec.containers[?(process.exit(3))]}";
    assert.equal(render(parseTemplate(evil), OBJECT), "");
  });
});
