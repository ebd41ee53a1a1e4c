/** The metrics, by the rules of Prometheus. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Failure } from "../../src/errors.ts";
import { Metrics } from "../../src/watch/metrics.ts";
import { readExposition } from "../helpers/exposition.ts";
import { reconcile, repair, watching } from "../helpers/watching.ts";

const build = { version: "1.0.0", revision: "abc" };

test("the exposition is strict from the start, and counts what happens", async () => {
  const metrics = new Metrics(
    () => watching(),
    () => false,
    build,
  );
  const value = async (name: string, labels: Record<string, string> = {}): Promise<number | undefined> => {
    const samples = readExposition(await metrics.text()).get(name)?.samples;
    return samples?.find((one) => Object.entries(labels).every(([label, text]) => one.labels[label] === text))?.value;
  };
  assert.equal(await value("cni_node_reconciles_total", { result: "failed" }), 0);
  assert.equal(await value("cni_node_steps_total", { kind: "config", outcome: "deleted" }), 0);
  assert.equal(await value("cni_node_watch_restarts_total"), 2);
  assert.equal(await value("cni_node_watch_restarts_total"), 2, "reading changes nothing");
  const failure = new Failure({ code: "pointer-missing", subject: "a", problem: "b" });
  metrics.reconciled(repair());
  metrics.reconciled(reconcile({ steps: [], changed: [], failure }));
  assert.equal(await value("cni_node_reconciles_total", { result: "done" }), 1);
  assert.equal(await value("cni_node_repairs_total", { kind: "plugin" }), 1);
  assert.equal(await value("cni_node_refusals_total", { code: "pointer-missing" }), 1);
  assert.equal(await value("cni_node_build_info", build), 1);
  assert.ok(Math.abs(((await value("process_start_time_seconds")) ?? 0) - (Date.now() / 1000 - process.uptime())) < 5);
  assert.ok(((await value("process_open_fds")) ?? 0) > 3);
});

test("codes are bounded", async () => {
  const metrics = new Metrics(
    () => watching(),
    () => true,
    build,
  );
  for (let index = 0; index < 500; index++) {
    const failure = new Failure({ code: `system-${index}`, subject: "a", problem: "b" });
    metrics.reconciled(reconcile({ steps: [], changed: [], failure }));
  }
  assert.equal(readExposition(await metrics.text()).get("cni_node_refusals_total")?.samples.length, 101);
});

test("docs/watch.md has every metric with its labels", async () => {
  const metrics = new Metrics(
    () => watching(),
    () => true,
    build,
  );
  const failure = new Failure({ code: "internal", subject: "a", problem: "b" });
  metrics.reconciled(reconcile({ failure }));
  const shown = Array.from(readExposition(await metrics.text()).values(), ({ name, samples }) => {
    const labels = Object.keys(samples[0]?.labels ?? {}).filter((label) => label !== "le");
    return labels.length === 0 ? name : `${name}{${labels.join()}}`;
  });
  const docs = readFileSync(new URL("../../docs/watch.md", import.meta.url), "utf8");
  const told = Array.from(docs.matchAll(/^\| `((?:cni_node|process)_[^`]+)` \|/gmu), ([, name = ""]) => name);
  assert.deepEqual(told.toSorted(), shown.toSorted());
});
