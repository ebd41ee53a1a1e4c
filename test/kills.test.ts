/** Promise 1, on the program itself: SIGKILL at random moments. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { randomKills } from "./helpers/crash.ts";

test("300 kills of the bundle at random moments: every file old or new, and the next run makes it whole", async (t) => {
  const { violations, ...figures } = await randomKills(300);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
  assert.ok(figures.killed > 30, `only ${figures.killed} runs were killed while they worked`);
});
