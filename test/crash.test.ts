/** Promise 1: a run killed at any instant has happened or not, and the next one finishes or forgets it. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { failAt, killAt, withFaults, type FaultPolicy } from "./helpers/faults.ts";
import { conflist, contentsOf, TestNode } from "./helpers/node.ts";
import { SEED, SEED_NOTE } from "./helpers/random.ts";
import { COUNTS, FORM } from "./soak/counts.ts";

/** What is tried does not depend on the file system, only how long it takes. */
const BASE = fs.existsSync("/dev/shm") ? "/dev/shm" : undefined;
/** `make soak` tries every death and every second one; shorter forms some of them, the shortest others each time. */
const { step: STEP, stride: STRIDE, distances: DISTANCES } = COUNTS[FORM];
const FIRST = 1 + (SEED % STEP);

interface Scenario {
  name: string;
  /** What happened on the node before. */
  prepare: (node: TestNode) => Promise<void> | void;
  argv: string[];
}

/** The proof changes no file; what it does to a run that is killed is in test/kills.test.ts. */
const UNPROVED = "--validate=off";
const BOTH = ["--plugins=bridge,portmap", "--configs=05-multus.conflist,20-own.conflist", UNPROVED];

const SCENARIOS: Scenario[] = [
  { name: "install", prepare: image, argv: ["install", ...BOTH] },
  {
    name: "install over files of others",
    prepare(node) {
      image(node);
      fs.writeFileSync(join(node.bin, "bridge"), "somebody's bridge", { mode: 0o755 });
      fs.writeFileSync(join(node.netd, "20-own.conflist"), conflist("somebody", "ptp"), { mode: 0o644 });
      fs.symlinkSync("bridge", join(node.bin, "portmap"));
    },
    argv: ["install", ...BOTH],
  },
  { name: "re-install of other versions", prepare: installed, argv: ["install", ...BOTH] },
  {
    name: "apply that adds and removes",
    prepare: installed,
    argv: ["apply", "--plugins=bridge,vlan:bridge,portmap", "--configs=30-vlan.conflist:05-multus.conflist", UNPROVED],
  },
  { name: "uninstall", prepare: installed, argv: ["uninstall", ...BOTH] },
  {
    name: "uninstall that gives back the files of others",
    async prepare(node) {
      await SCENARIOS[1]?.prepare(node);
      assert.equal((await node.run(["install", ...BOTH])).exitCode, 0);
    },
    argv: ["uninstall", ...BOTH],
  },
  { name: "install in one directory", prepare: image, argv: ["install", "--configs=05-multus.conflist", UNPROVED] },
];

function image(node: TestNode): void {
  for (const name of ["bridge", "portmap", "vlan", "other"]) node.plugin(name, "1", 1000);
  node.template("05-multus.conflist", `{"cniVersion":"1.0.0","name":"m","plugins":[\n__10-primary.conf__\n]}\n`);
  node.template("20-own.conflist", conflist("own", "bridge"));
  node.template("30-vlan.conflist", conflist("vlans", "vlan"));
  node.template("90-other.conflist", conflist("other", "other"));
  fs.writeFileSync(join(node.netd, "10-primary.conf"), '{"cniVersion":"1.0.0","name":"p","type":"bridge"}\n');
}

async function installed(node: TestNode): Promise<void> {
  image(node);
  assert.equal((await node.run(["install", ...BOTH])).exitCode, 0);
  for (const name of ["bridge", "portmap"]) node.plugin(name, "2", 2000);
  node.template("20-own.conflist", conflist("own", "bridge", "portmap"));
}

/** A run that changes something else in both directories, and so meets what was left there. */
const OTHER = ["install", "--plugins=other", "--configs=90-other.conflist", UNPROVED];

/** What is on the node after `prepare`, and what after the run as well, both with and without `OTHER`. */
async function references({ prepare, argv }: Scenario): Promise<Record<"before" | "after", State>> {
  using untouched = new TestNode([], BASE);
  await prepare(untouched);
  const touching = await untouched.run(OTHER);
  assert.equal(touching.exitCode, 0, touching.stderr);
  using changed = new TestNode([], BASE);
  await prepare(changed);
  const ran = await changed.run(argv);
  assert.equal(ran.exitCode, 0, ran.stderr);
  await changed.run(OTHER);
  return { before: stateOf(untouched), after: stateOf(changed) };
}

interface State {
  files: Record<string, string>;
  modes: Record<string, number>;
  records: unknown[];
}

/** Contents and modes of all files, and what the records say of them. */
function stateOf(node: TestNode): State {
  const files = contentsOf(node.host);
  const modes = Object.fromEntries(Object.keys(files).map((path) => [path, fs.lstatSync(join(node.host, path)).mode]));
  return { files, modes, records: [node.bin, node.netd].map(recordOf) };
}

function recordOf(directory: string): unknown {
  const path = join(directory, ".cni-node/record.json");
  if (!fs.existsSync(path)) return "none";
  const { assets, pending, awaited } = JSON.parse(fs.readFileSync(path, "utf8")) as {
    assets: { before?: string; seen?: unknown }[];
    pending?: unknown;
    awaited?: unknown;
  };
  const kept = assets.flatMap((asset) => asset.before ?? []).toSorted();
  assert.deepEqual(fs.readdirSync(join(directory, ".cni-node/objects")).toSorted(), kept, "objects are what is named");
  const told = assets.map(({ seen, ...asset }) => ({
    ...asset,
    before: asset.before !== undefined,
    seen: seen !== undefined,
  }));
  return { assets: told, pending, awaited };
}

function noLeftovers(node: TestNode): void {
  for (const directory of [node.bin, node.netd]) {
    const state = join(directory, ".cni-node");
    const entries = fs.existsSync(state) ? fs.readdirSync(state).toSorted() : [];
    assert.deepEqual(entries, entries.length === 0 ? [] : ["lock", "objects", "record.json"]);
    assert.ok(!fs.existsSync(join(directory, ".cni-node.tmp")), "no temporary file is left");
  }
}

/** Every live file is one that was there before or will be there after, whole. */
function wholeFiles(node: TestNode, before: State, after: State): void {
  for (const [path, content] of Object.entries(contentsOf(node.host))) {
    if (path.endsWith(".cni-node.tmp")) continue;
    assert.ok([before.files[path], after.files[path]].includes(content), `${path} is the old or the new one`);
  }
}

async function nodeAfter({ prepare, argv }: Scenario, policy: FaultPolicy): Promise<{ node: TestNode; count: number }> {
  const node = new TestNode([], BASE);
  await prepare(node);
  const operations = await withFaults(policy, async () => node.run(argv));
  return { node, count: operations.length };
}

/** After whatever was left: another run works, what was begun has happened wholly or not at all, and again is right. */
async function assertWhole(
  node: TestNode,
  scenario: Scenario,
  states: Awaited<ReturnType<typeof references>>,
): Promise<void> {
  const other = await node.run(OTHER);
  assert.equal(other.exitCode, 0, other.stderr);
  noLeftovers(node);
  const now = stateOf(node);
  const expected =
    now.files["etc/cni/net.d/05-multus.conflist"] === states.after.files["etc/cni/net.d/05-multus.conflist"];
  assert.deepEqual(now, stateMatching(now, states, expected));
  const again = await node.run(scenario.argv);
  assert.equal(again.exitCode, 0, again.stderr);
  noLeftovers(node);
  assert.deepEqual(stateOf(node).files, states.after.files);
}

function stateMatching(now: State, { before, after }: Record<"before" | "after", State>, preferAfter: boolean): State {
  const same = (state: State): boolean => JSON.stringify(state.files) === JSON.stringify(now.files);
  if (same(before) && same(after)) return preferAfter && sameRecords(now, after) ? after : before;
  return same(after) ? after : before;
}

function sameRecords(a: State, b: State): boolean {
  return JSON.stringify(a.records) === JSON.stringify(b.records);
}

for (const scenario of SCENARIOS) {
  test(`${scenario.name}: killed before or after any file operation, it has happened wholly or not at all`, async (t) => {
    t.diagnostic(SEED_NOTE);
    const states = await references(scenario);
    const { node: clean, count } = await nodeAfter(scenario, {});
    clean[Symbol.dispose]();
    assert.ok(count >= 15, `${count} operations`);
    for (const when of ["before", "after"] as const) {
      for (let number = FIRST; number <= count; number += STEP) {
        const { node } = await nodeAfter(scenario, killAt(number, when));
        using _ = node;
        wholeFiles(node, states.before, states.after);
        await assertWhole(node, scenario, states);
      }
    }
  });

  test(`${scenario.name}: killed a second time while the first run is being recovered, it is whole all the same`, async (t) => {
    t.diagnostic(SEED_NOTE);
    const states = await references(scenario);
    const { node: clean, count } = await nodeAfter(scenario, {});
    clean[Symbol.dispose]();
    for (let number = 2; number <= count; number += STRIDE) {
      for (let second = 1, more = true; more; second += STRIDE) {
        const { node } = await nodeAfter(scenario, killAt(number, "after"));
        using _ = node;
        const tried = await withFaults(killAt(second, second % 2 === 1 ? "before" : "after"), async () =>
          node.run(OTHER),
        );
        more = tried.length >= second;
        wholeFiles(node, states.before, states.after);
        await assertWhole(node, scenario, states);
      }
    }
  });

  test(`${scenario.name}: an I/O error at any file operation is undone wholly, or done with a warning`, async (t) => {
    t.diagnostic(SEED_NOTE);
    const states = await references(scenario);
    const { node: clean, count } = await nodeAfter(scenario, {});
    clean[Symbol.dispose]();
    for (let number = FIRST; number <= count; number += STEP) {
      using node = new TestNode([], BASE);
      await scenario.prepare(node);
      const files = contentsOf(node.host);
      let result = { exitCode: -1, stderr: "" };
      await withFaults(failAt([number]), async () => (result = await node.run(scenario.argv)));
      const done = result.exitCode === 0;
      assert.ok(done || result.exitCode === 1, `operation ${number}: exit code ${result.exitCode}: ${result.stderr}`);
      if (!done) {
        assert.deepEqual(contentsOf(node.host), files, `operation ${number}: nothing has changed`);
        assert.match(result.stderr, /i\/o error/iu);
      }
      await assertWhole(node, scenario, states);
    }
  });

  test(`${scenario.name}: a second I/O error while the first is undone ends with 4 at most, and the next run fixes it`, async (t) => {
    t.diagnostic(SEED_NOTE);
    const states = await references(scenario);
    const { node: clean, count } = await nodeAfter(scenario, {});
    clean[Symbol.dispose]();
    const codes = new Set<number>();
    for (let first = 1 + FIRST; first <= count; first += STEP) {
      for (const distance of DISTANCES) {
        using node = new TestNode([], BASE);
        await scenario.prepare(node);
        let result = { exitCode: -1, stderr: "" };
        await withFaults(failAt([first, first + distance]), async () => (result = await node.run(scenario.argv)));
        codes.add(result.exitCode);
        assert.ok([0, 1, 4].includes(result.exitCode), result.stderr);
        wholeFiles(node, states.before, states.after);
        await assertWhole(node, scenario, states);
      }
    }
    assert.ok(codes.has(1));
  });
}
