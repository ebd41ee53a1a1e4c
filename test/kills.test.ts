/** Promise 1, on the program itself: SIGKILL at random moments. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { randomKills } from "./helpers/crash.ts";
import { SEED_NOTE } from "./helpers/random.ts";
import { COUNTS, FORM } from "./soak/counts.ts";

const { kills } = COUNTS[FORM];

test(`${kills} kills of the bundle at random moments: every file old or new, and the next run makes it whole`, async (t) => {
  t.diagnostic(SEED_NOTE);
  const { violations, ...figures } = await randomKills(kills);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
  assert.ok(figures.killed > kills / 10, `only ${figures.killed} runs were killed while they worked`);
});
