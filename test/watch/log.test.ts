/** What watch says, as text and as JSON. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Failure } from "../../src/errors.ts";
import { warning } from "../../src/finding.ts";
import { openLog, type Log, type LogOptions } from "../../src/watch/log.ts";
import type { World } from "../../src/world.ts";
import { reconcile } from "../helpers/watching.ts";

const failure = new Failure({ code: "pointer-missing", subject: "a", problem: "is missing", hint: "make it" });
const failed = reconcile({ steps: [], changed: [], failure });
const quiet = reconcile({ changed: [] });

async function logged(options: LogOptions, use: (log: Log) => void): Promise<{ out: string; err: string }> {
  const said = { out: "", err: "" };
  const world: World = {
    env: {},
    stdin: async () => Promise.resolve(""),
    stdout: (text) => void (said.out += text),
    stderr: (text) => void (said.err += text),
    signal: new AbortController().signal,
  };
  use(await openLog(world, options));
  return said;
}

test("text: a line for each change, and the same failure or finding once until it has gone", async () => {
  const finding = warning("asset-fought-over", "config a", "is fought over");
  const { out, err } = await logged({ output: "text", format: "text" }, (log) => {
    for (const one of [reconcile(), quiet, failed, failed, quiet, failed]) log.reconciled(one);
    for (const findings of [[finding], [finding], [], [finding]]) log.reconciled({ ...quiet, findings });
  });
  const lines = out
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^\S+Z /u, ""));
  assert.deepEqual(lines, [
    "created plugin bridge (12 ms, for start)",
    "failed (12 ms, for start)",
    "nothing to do (12 ms, for start)",
    "failed (12 ms, for start)",
    "nothing to do (12 ms, for start)",
  ]);
  assert.equal(err.match(/is missing/gu)?.length, 2);
  assert.equal(err.match(/is fought over/gu)?.length, 2);
});

test("a finding of the proof is not said again because a reconcile in between had nothing to prove", async () => {
  const [first, second] = ["a", "b"].map((name) => [warning("kubeconfig-unseen", `config ${name}`, "cannot be seen")]);
  const { err } = await logged({ output: "text", format: "text" }, (log) => {
    for (const findings of [first, second, second]) {
      log.reconciled({ ...reconcile(), findings: findings ?? [] });
      log.reconciled(quiet);
    }
    log.reconciled({ ...reconcile(), findings: first ?? [] });
  });
  assert.deepEqual(err.match(/config ./gu), ["config a", "config b", "config a"]);
});

test("what a failing reconcile has found is said once, too, beside whatever failure it is", async () => {
  const lasting = warning("runtime-directory", "/opt/cni/bin", "is not looked at");
  const other = reconcile({
    steps: [],
    changed: [],
    failure: new Failure({ code: "pointer-missing", subject: "b", problem: "is missing" }),
  });
  const { err } = await logged({ output: "text", format: "text" }, (log) => {
    for (const one of [failed, other, quiet, failed]) log.reconciled({ ...one, findings: [lasting] });
    log.reconciled({ ...failed, findings: [lasting, warning("run-finished", "/etc/cni/net.d", "finished a run")] });
  });
  assert.equal(err.match(/is not looked at/gu)?.length, 1);
  assert.equal(err.match(/finished a run/gu)?.length, 1, "even if the failure is the same as before");
  const { out } = await logged({ output: "json", format: "text" }, (log) => {
    log.reconciled({ ...failed, findings: [lasting] });
  });
  const { result, warnings } = JSON.parse(out) as { result: string; warnings: object[] };
  assert.deepEqual([result, warnings], ["failed", [lasting]]);
});

test("json: one object a line on stderr, with names and codes", async () => {
  const findings = [warning("asset-fought-over", "config\u202Ea", "is fought over")];
  const { out, err } = await logged({ output: "json", format: "json" }, (log) => {
    log.reconciled(reconcile({ findings }));
    log.reconciled(failed);
    log.message("listens on 127.0.0.1:1");
  });
  const lines = err.trimEnd().split("\n");
  assert.doesNotMatch(err, /\u202E/u);
  const [done, found, wrong, message] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(lines.length, 4);
  assert.deepEqual([done?.["level"], done?.["msg"], done?.["duration"]], ["info", "created plugin bridge", 12]);
  assert.deepEqual(done?.["trigger"], ["start"]);
  assert.deepEqual(done["outcomes"], { created: 1 });
  assert.deepEqual(done["findings"], [{ code: "asset-fought-over", subject: "config\u202Ea" }]);
  assert.deepEqual([found?.["level"], found?.["code"]], ["warn", "asset-fought-over"]);
  assert.deepEqual([wrong?.["level"], wrong?.["msg"]], ["error", "a: is missing"]);
  assert.equal(message?.["msg"], "listens on 127.0.0.1:1");
  assert.equal(out.trimEnd().split("\n").length, 2, "the objects on stdout stay");
});
