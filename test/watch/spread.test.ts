import assert from "node:assert/strict";
import { test } from "node:test";

import { delayOf } from "../../src/watch/spread.ts";

test("nodes are spread evenly over the time, and each keeps its place in it", () => {
  const nodes = Array.from({ length: 5000 }, (_, index) => `node-${index}`);
  const delays = nodes.map((node) => delayOf(node, 60_000));
  assert.deepEqual(
    delays,
    nodes.map((node) => delayOf(node, 60_000)),
  );
  const seconds = Map.groupBy(delays, (delay) => Math.floor(delay / 1000));
  assert.equal(seconds.size, 60);
  for (const [second, { length }] of seconds) assert.ok(length > 40 && length < 140, `${length} in second ${second}`);
  assert.deepEqual([delayOf("a", 0), delayOf("b", 0)], [0, 0]);
});
