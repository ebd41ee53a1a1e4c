/** Whatever changes in the cluster and on the node, in whatever order: in the end the node is as desired. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { cannotSign } from "./cluster/pki.ts";
import { SEED_NOTE } from "./helpers/random.ts";
import { COUNTS, FORM } from "./soak/counts.ts";
import { keeping } from "./soak/keeping.ts";

const { keptChanges } = COUNTS[FORM];

for (const [how, restart] of [
  ["that goes on", false],
  ["that is ended and started again", true],
] as const) {
  test(
    `random changes on both sides end at what was desired last, with a process ${how}`,
    { skip: cannotSign },
    async () => {
      console.log(SEED_NOTE);
      const { violations } = await keeping(keptChanges, restart);
      assert.deepEqual(violations, []);
    },
  );
}
