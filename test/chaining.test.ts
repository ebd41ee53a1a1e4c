import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { contentsOf, TestNode, until } from "./helpers/node.ts";
import { prepared, replace } from "./helpers/watched.ts";

const NAME = "10-ours.conflist";
const BRIDGE = { type: "bridge", mtu: 1500 };
const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
const ISTIO = { type: "x", log_level: "info" };
const INSTALL = ["install", `--configs=${NAME}`];

type Plugin = Record<string, unknown>;

function listOf(...plugins: readonly Plugin[]): string {
  return `${JSON.stringify({ cniVersion: "1.0.0", name: "ours", plugins })}\n`;
}

/** A node on which our list is installed. */
async function installed(): Promise<TestNode> {
  const node = new TestNode();
  node.template(NAME, listOf(BRIDGE, PORTMAP));
  assert.equal((await node.run(INSTALL)).exitCode, 0);
  return node;
}

const pathOf = (node: TestNode): string => join(node.netd, NAME);
const textOf = (node: TestNode): string => fs.readFileSync(pathOf(node), "utf8");
const pluginsOf = (node: TestNode): unknown => (JSON.parse(textOf(node)) as { plugins: unknown }).plugins;

/** As Istio and Linkerd do: a new file in the place of ours. */
function chain(node: TestNode, text: string): void {
  fs.writeFileSync(`${pathOf(node)}.tmp`, text, { mode: 0o600 });
  fs.renameSync(`${pathOf(node)}.tmp`, pathOf(node));
}

/** Runs it, and once more: then nothing is written. */
async function settled(node: TestNode, arguments_: string[]): Promise<string> {
  const ran = await node.run(arguments_);
  assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  const before = [fs.statSync(pathOf(node)).ino, contentsOf(node.netd)];
  for (const again of [
    arguments_,
    [...INSTALL, "--checksum"],
    ["apply", `--configs=${NAME}`, "--prune", "--owner=cni-node"],
  ]) {
    assert.match((await node.run(again)).stdout, /^unchanged +config +10-ours\.conflist/mu);
  }
  assert.deepEqual([fs.statSync(pathOf(node)).ino, contentsOf(node.netd)], before);
  return ran.stdout;
}

describe("what others chain into our list", () => {
  test("stays, and is not even touched, if nothing else changes", async () => {
    using node = await installed();
    for (const live of [
      listOf(BRIDGE, PORTMAP, ISTIO),
      listOf(BRIDGE, ISTIO, PORTMAP),
      JSON.stringify(JSON.parse(listOf(ISTIO, BRIDGE, PORTMAP)), undefined, 4),
    ]) {
      chain(node, live);
      assert.match(await settled(node, INSTALL), /^unchanged/u);
      assert.equal(textOf(node), live);
    }
  });

  test("stays if the template changes, a plan shows it, and status does not count it as a change", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, ISTIO, PORTMAP));
    node.template(NAME, listOf({ ...BRIDGE, mtu: 9000 }, PORTMAP));
    const { stdout } = await node.run(["plan", `--configs=${NAME}`]);
    assert.match(stdout, /9000/u);
    assert.doesNotMatch(stdout, /^-.*log_level(?![\s\S]*^\+.*log_level)/mu);
    assert.match(await settled(node, INSTALL), /^configured/u);
    assert.deepEqual(pluginsOf(node), [{ ...BRIDGE, mtu: 9000 }, ISTIO, PORTMAP]);
    const status = JSON.parse((await node.run(["status", `--host-root=${node.host}`, "--output=json"])).stdout) as {
      assets: { name: string; state: string }[];
    };
    assert.equal(status.assets.find(({ name }) => name === NAME)?.state, "extended");
  });

  test("stays if the target of a pointer changes", async () => {
    using node = await installed();
    fs.writeFileSync(join(node.netd, "bridge.json.part"), JSON.stringify(BRIDGE));
    node.template(NAME, listOf(BRIDGE, PORTMAP).replace(JSON.stringify(BRIDGE), "__bridge.json.part__"));
    await settled(node, INSTALL);
    chain(node, listOf(BRIDGE, PORTMAP, ISTIO));
    fs.writeFileSync(join(node.netd, "bridge.json.part"), JSON.stringify({ ...BRIDGE, mtu: 1400 }));
    assert.match(await settled(node, INSTALL), /^configured/u);
    assert.deepEqual(pluginsOf(node), [{ ...BRIDGE, mtu: 1400 }, PORTMAP, ISTIO]);
  });

  test("is in what a pointer of the same run stands for", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, PORTMAP, ISTIO));
    node.template(
      "05-outer.conf",
      `{"cniVersion": "1.0.0", "name": "m", "type": "multus", "capabilities": {"portMappings": true}, "delegates": [\n__${NAME}__\n]}`,
    );
    assert.equal((await node.run(["install", `--configs=05-outer.conf,${NAME}`])).exitCode, 0);
    const outer = JSON.parse(fs.readFileSync(join(node.netd, "05-outer.conf"), "utf8")) as { delegates: unknown[] };
    assert.deepEqual(outer.delegates, [JSON.parse(textOf(node))]);
  });

  const repairs: [what: string, live: string][] = [
    ["a plugin of ours is changed", listOf({ ...BRIDGE, mtu: 1400 }, PORTMAP, ISTIO)],
    ["a plugin of ours is removed", listOf(BRIDGE, ISTIO)],
    ["the list has another name", listOf(BRIDGE, PORTMAP, ISTIO).replace('"ours"', '"theirs"')],
  ];
  for (const [what, live] of repairs) {
    test(`stays if ${what}, which is repaired`, async () => {
      using node = await installed();
      chain(node, live);
      assert.match(await settled(node, INSTALL), /^configured.*it had been changed/u);
      assert.deepEqual(JSON.parse(textOf(node)), JSON.parse(listOf(BRIDGE, PORTMAP, ISTIO)));
    });
  }

  test("may be removed again by its owner", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, PORTMAP, ISTIO));
    await settled(node, INSTALL);
    chain(node, listOf(BRIDGE, PORTMAP));
    assert.match(await settled(node, INSTALL), /^unchanged/u);
    chain(node, listOf({ ...BRIDGE, mtu: 1400 }, PORTMAP, ISTIO));
    await settled(node, INSTALL);
    chain(node, JSON.stringify(JSON.parse(listOf(BRIDGE, PORTMAP))));
    await settled(node, INSTALL);
    assert.equal(textOf(node), listOf(BRIDGE, PORTMAP));
  });

  for (const live of ["", "{", "[]", '{"name": "a", "type": "bridge"}']) {
    test(`is not looked for in what is not a list: ${live}`, async () => {
      using node = await installed();
      chain(node, live);
      assert.match(await settled(node, INSTALL), /^configured/u);
      assert.equal(textOf(node), listOf(BRIDGE, PORTMAP));
    });
  }

  test("is proved with the rest: a missing plugin refuses the change", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, PORTMAP, { type: "gone" }));
    node.template(NAME, listOf({ ...BRIDGE, mtu: 9000 }, PORTMAP));
    const ran = await node.run(INSTALL);
    assert.deepEqual([ran.exitCode, ran.stderr.includes("gone")], [0, true], ran.stderr);
    assert.deepEqual(pluginsOf(node), [{ ...BRIDGE, mtu: 9000 }, PORTMAP, { type: "gone" }]);
  });

  test("does not come from a file that was there before ours", async () => {
    using node = new TestNode();
    fs.writeFileSync(pathOf(node), listOf(BRIDGE, ISTIO));
    node.template(NAME, listOf(BRIDGE, PORTMAP));
    await settled(node, INSTALL);
    assert.equal(textOf(node), listOf(BRIDGE, PORTMAP));
  });

  test("does not keep a second owner away that desires the same", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, PORTMAP, ISTIO));
    const ran = await node.run([...INSTALL, "--owner=other"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    assert.equal(textOf(node), listOf(BRIDGE, PORTMAP, ISTIO));
  });

  test("stays while watch runs, and if the template changes", async () => {
    await using w = prepared();
    w.node.template(NAME, listOf(BRIDGE, PORTMAP));
    w.start(`--configs=${NAME}`, "--plugins=bridge,vlan");
    await until(() => w.lines.length === 1);
    const chained = listOf(BRIDGE, PORTMAP, ISTIO);
    replace(pathOf(w.node), chained);
    const back = ["created plugin bridge", "created plugin vlan"];
    await w.repairs("bridge", "vlan");
    await until(() => w.lines.length >= 3);
    assert.deepEqual([textOf(w.node), w.done.slice(1)], [chained, back]);
    w.node.template(NAME, listOf({ ...BRIDGE, mtu: 9000 }, PORTMAP));
    await until(() => w.config(NAME)?.includes("9000") === true);
    assert.deepEqual(pluginsOf(w.node), [{ ...BRIDGE, mtu: 9000 }, PORTMAP, ISTIO]);
    await w.repairs("bridge", "vlan");
    await until(() => w.lines.length >= 6);
    assert.deepEqual(w.done.slice(1), [...back, `configured config ${NAME}`, ...back]);
  });

  test("goes with our list if it is uninstalled by name", async () => {
    using node = await installed();
    chain(node, listOf(BRIDGE, PORTMAP, ISTIO));
    await settled(node, INSTALL);
    assert.match((await node.run(["uninstall", `--configs=${NAME}`])).stdout, /^deleted/u);
    assert.equal(fs.existsSync(pathOf(node)), false);
  });
});
