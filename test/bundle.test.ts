/** The files of the program (scripts/bundle.ts). */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { test } from "node:test";

import { BUNDLE } from "./helpers/node.ts";

const files = globSync(`${dirname(BUNDLE)}/**/*.cjs`);

test("a module that is loaded when it is first used has everything that is used of it", () => {
  const used = files.flatMap((file) => {
    const text = readFileSync(file, "utf8");
    const require = createRequire(file);
    return Array.from(
      text.matchAll(/\b(import_\w+)=late\(\(\)=>require\("([^"]+)"\)\)/gu),
      ([, name = "", from = ""]) => {
        const module = require(from) as Record<string, unknown>;
        const names = Array.from(text.matchAll(new RegExp(`\\b${name}\\.(\\w+)`, "gu")), ([, one = ""]) => one);
        return { from, missing: names.filter((one) => module[one] === undefined) };
      },
    );
  });
  assert.ok(used.some(({ from }) => from === "./yaml.cjs"));
  assert.deepEqual(
    used.filter(({ missing }) => missing.length > 0),
    [],
  );
});
