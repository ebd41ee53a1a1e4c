import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setImmediate as later } from "node:timers/promises";

import { Rest } from "../../src/watch/rest.ts";

test("memory that nothing needs any more is given back when there was no reconcile for 5 seconds", async () => {
  const rest = new Rest();
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const garbage = new WeakRef(Array.from({ length: 100_000 }, (_, index) => ({ index })));
    await later();
    rest.reconciled();
    mock.timers.tick(4000);
    rest.reconciled();
    mock.timers.tick(4999);
    assert.ok(garbage.deref() !== undefined);
    await later();
    mock.timers.tick(1);
    assert.equal(garbage.deref(), undefined);
  } finally {
    mock.timers.reset();
  }
});

test("nothing is waited for at the end", () => {
  const rest = new Rest();
  rest.reconciled();
  rest[Symbol.dispose]();
  assert.ok(!process.getActiveResourcesInfo().includes("Timeout"));
});
