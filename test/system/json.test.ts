import assert from "node:assert/strict";
import { test } from "node:test";

import { describeJsonError } from "../../src/system/json.ts";

test("what is not JSON is told by its place, without a character of it", () => {
  const cases: [text: string, message: string][] = [
    ["", "is empty"],
    ["root:x:0:0", "is not JSON: invalid symbol at line 1, column 1"],
    ['{\n  "token": s3cr3t\n}', "is not JSON: invalid symbol at line 2, column 12"],
    ["[".repeat(100_000), "is not JSON"],
  ];
  for (const [text, message] of cases) assert.equal(describeJsonError(text), message);
});
