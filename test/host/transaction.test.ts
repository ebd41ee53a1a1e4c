import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Interrupted, type Cancellation } from "../../src/errors.ts";
import { transact, type OutsideChange } from "../../src/host/transaction.ts";
import { reportFailure } from "../../src/report.ts";

describe("a transaction that is cancelled", () => {
  for (const reason of ["SIGTERM", "superseded"] as const satisfies readonly Cancellation[]) {
    test(`before its commit point ends, and undoes what was changed elsewhere: ${reason}`, async () => {
      const controller = new AbortController();
      const done: string[] = [];
      const outside: OutsideChange = {
        act: async () => {
          done.push("act");
          controller.abort(reason);
          return Promise.resolve();
        },
        undo: async () => {
          done.push("undo");
          return Promise.resolve({ undone: 1, stuck: [] });
        },
      };
      await assert.rejects(transact([], controller.signal, { outside }), { name: "Interrupted", reason });
      assert.deepEqual(done, ["act", "undo"]);
    });

    test(`after its commit point is completed: ${reason}`, async () => {
      const controller = new AbortController();
      const confirm = async (): Promise<[]> => {
        controller.abort(reason);
        return Promise.resolve([]);
      };
      assert.deepEqual(await transact([], controller.signal, { confirm }), []);
    });
  }
});

test("a run that a newer one supersedes fails, and ends the process by no signal", () => {
  let text = "";
  const world = {
    env: {},
    stdin: async () => Promise.resolve(""),
    stdout: () => undefined,
    stderr: (said: string) => void (text += said),
    signal: new AbortController().signal,
  };
  assert.deepEqual(reportFailure(new Interrupted("superseded"), "apply", false, world), { exitCode: 1 });
  assert.equal(text, "cni-node: ended by a newer run before anything was changed\n");
});
