/** The metrics of a process that keeps routes, by the rules of Prometheus. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { warning } from "../../src/finding.ts";
import type { Keeping } from "../../src/routes/keep.ts";
import { Metrics } from "../../src/routes/metrics.ts";
import { readExposition } from "../helpers/exposition.ts";

const START: Keeping = {
  runningSince: undefined,
  nodes: undefined,
  last: undefined,
  lastSuccess: undefined,
  passes: { done: 0, partial: 0, failed: 0 },
  changes: { add: 0, replace: 0, remove: 0 },
  restarts: 0,
  requests: 0,
};

test("the exposition is strict from the start, and docs/pod-network.md has every metric with its labels", async () => {
  let keeping = START;
  const metrics = new Metrics(
    () => keeping,
    () => false,
    { version: "1.0.0", revision: "abc" },
  );
  const start = readExposition(await metrics.text());
  assert.deepEqual(
    start.get("cni_node_routes_syncs_total")?.samples.map(({ labels, value }) => [labels["result"], value]),
    [
      ["done", 0],
      ["partial", 0],
      ["failed", 0],
    ],
  );
  const findings = [warning("route-foreign", "a", "b"), warning("route-foreign", "c", "d")];
  keeping = { ...START, last: { steps: [], masqueraded: [], findings, isAlone: false } };
  const families = readExposition(await metrics.text());
  assert.deepEqual(families.get("cni_node_routes_findings")?.samples, [
    { name: "cni_node_routes_findings", labels: { code: "route-foreign" }, value: 2 },
  ]);
  const own = Array.from(families.values(), ({ name, samples }) => {
    const labels = Object.keys(samples[0]?.labels ?? {});
    return labels.length === 0 ? name : `${name}{${labels.join()}}`;
  }).filter((name) => name.startsWith("cni_node_routes"));
  const docs = readFileSync(new URL("../../docs/pod-network.md", import.meta.url), "utf8");
  const told = Array.from(docs.matchAll(/^\| `(cni_node_[^`]+)` \|/gmu), ([, name = ""]) => name);
  assert.deepEqual(told.toSorted(), own.toSorted());
  for (const name of families.keys()) assert.ok(docs.includes(name) || name.startsWith("process_"), name);
});
