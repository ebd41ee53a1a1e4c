/** What went wrong in the field with other installers, each named by its report, does not happen here. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { readDirectoryListing } from "../src/cni/load.ts";
import { selectForContainerd } from "../src/cni/selection.ts";
import { conflist, contentsOf, endOf, TestNode, until } from "./helpers/node.ts";

const CALICO = '{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[{"type":"calico"},{"type":"portmap"}]}';

/** A node with Calico, and an image with Multus around it. */
function multusNode(): TestNode {
  const node = new TestNode();
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), CALICO);
  node.plugin("multus");
  node.template(
    "00-multus.conf",
    '{"cniVersion":"0.3.1","name":"m","type":"multus","delegates":[__10-calico.conflist__]}',
  );
  return node;
}

const MULTUS = ["--plugins=multus", "--configs=00-multus.conf"];

async function run(node: TestNode, ...argv: string[]): Promise<string> {
  const ran = await node.run(argv);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout;
}

function chosen(node: TestNode): string | undefined {
  return selectForContainerd(readDirectoryListing(node.netd)).chosen?.file;
}

test("story 1 (istio#44167, power loss): a configuration of 0 bytes is written again, and so is a plugin", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const good = contentsOf(node.host);
  fs.truncateSync(join(node.netd, "00-multus.conf"));
  fs.truncateSync(join(node.bin, "multus"));
  assert.equal(chosen(node), undefined);
  await run(node, "install", ...MULTUS);
  assert.deepEqual(contentsOf(node.host), good);
  assert.equal(chosen(node), "00-multus.conf");
});

test("story 2 (amazon-vpc-cni-k8s#1437, containerd#8662): whoever reads while it is replaced gets one of the two", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const path = join(node.netd, "00-multus.conf");
  const seen = new Set<string>([fs.readFileSync(path, "utf8")]);
  node.template(
    "00-multus.conf",
    `{"name":"m","type":"multus","delegates":[__10-calico.conflist__],"x":"${"x".repeat(1e6)}"}`,
  );
  const child = node.start(["install", ...MULTUS]);
  const ended = endOf(child);
  while (child.exitCode === null) {
    for (let count = 0; count < 20; count++) seen.add(fs.readFileSync(path, "utf8"));
    await new Promise(setImmediate);
  }
  assert.equal((await ended).exitCode, 0);
  seen.add(fs.readFileSync(path, "utf8"));
  assert.equal(seen.size, 2);
  for (const text of seen) assert.doesNotThrow(() => JSON.parse(text) as unknown);
});

test("story 3 (multus-cni#1155): while the primary is gone or empty, nothing is written and the last good file stays", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const good = fs.readFileSync(join(node.netd, "00-multus.conf"), "utf8");
  for (const text of [undefined, ""]) {
    if (text === undefined) fs.rmSync(join(node.netd, "10-calico.conflist"));
    else fs.writeFileSync(join(node.netd, "10-calico.conflist"), text);
    const ran = await node.run(["install", ...MULTUS]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /the pointer __10-calico\.conflist__ needs .*, which is (?:not there|empty)/u);
    assert.equal(fs.readFileSync(join(node.netd, "00-multus.conf"), "utf8"), good);
  }
  const waiting = node.run(["install", ...MULTUS, "--wait=30s"]);
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), CALICO);
  assert.equal((await waiting).exitCode, 0);
});

test("story 4 (multus-cni#1221, Text file busy): a plugin that runs is replaced, and goes on running", async () => {
  using node = new TestNode();
  fs.copyFileSync("/bin/sleep", join(node.plugins, "shim"));
  await run(node, "install", "--plugins=shim", "--validate=off");
  const running = spawn(join(node.bin, "shim"), ["infinity"]);
  try {
    await once(running, "spawn");
    node.plugin("shim");
    await run(node, "install", "--plugins=shim");
    assert.equal(running.exitCode, null);
    assert.deepEqual(fs.readFileSync(join(node.bin, "shim")), fs.readFileSync(join(node.plugins, "shim")));
  } finally {
    running.kill("SIGKILL");
  }
});

test("story 8 (multus-cni#1429): after uninstall the primary is what pods get, and nothing of Multus is left", async () => {
  using node = multusNode();
  const before = contentsOf(node.host);
  await run(node, "install", ...MULTUS);
  assert.equal(chosen(node), "00-multus.conf");
  await run(node, "uninstall", ...MULTUS);
  assert.equal(chosen(node), "10-calico.conflist");
  assert.deepEqual(contentsOf(node.host), before);
  assert.deepEqual(fs.readdirSync(node.netd), ["10-calico.conflist"]);
});

test("story 9 (istio#59846): the plugin stays for the pods that it has to be removed from, and goes when they are gone", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const results = join(node.host, "var/lib/cni/results");
  const netns = join(node.host, "run/netns");
  for (const directory of [results, netns]) fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(join(netns, "pod"), "");
  const config = Buffer.from('{"name":"m","plugins":[{"type":"multus"}]}').toString("base64");
  const attachment = {
    kind: "cniCacheV1",
    containerId: "c1",
    ifName: "eth0",
    networkName: "m",
    netns: "/run/netns/pod",
  };
  fs.writeFileSync(join(results, "m-c1-eth0"), JSON.stringify({ ...attachment, config }));
  const report = await run(node, "uninstall", ...MULTUS);
  assert.match(report, /^deleted +config +00-multus\.conf$/mu);
  assert.match(report, /^kept +plugin +multus +a container that was attached with it may still be there/mu);
  fs.rmSync(join(netns, "pod"));
  assert.match(await run(node, "uninstall", ...MULTUS), /^deleted +plugin +multus/mu);
});

test("story 11 (istio#49009, #57316): a pod of the installer that ends takes nothing along", async () => {
  using node = multusNode();
  const child = node.start(["install", ...MULTUS, "--pause"]);
  const ended = endOf(child);
  await until(() => fs.existsSync(join(node.netd, "00-multus.conf")));
  const installed = contentsOf(node.host);
  child.kill("SIGTERM");
  await ended;
  assert.deepEqual(contentsOf(node.host), installed);
  // Nor does one whose list has become empty.
  const pruned = await run(node, "apply", "--configs=", "--plugins=", "--owner=cni-node", "--prune");
  assert.equal(pruned, "nothing to do\n");
  assert.deepEqual(contentsOf(node.host), installed);
});

test("story 20 (istio/cni#85, istio#27771): installed over and over, it is there once, and never without the primary", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const first = contentsOf(node.host);
  for (let count = 0; count < 3; count++) await run(node, "install", ...MULTUS);
  assert.deepEqual(contentsOf(node.host), first);
  const { delegates } = JSON.parse(first["etc/cni/net.d/00-multus.conf"] ?? "") as { delegates: { name: string }[] };
  assert.deepEqual(
    delegates.map(({ name }) => name),
    ["k8s-pod-network"],
  );
});

test("story 21 (istio#32137): the primary keeps its name, its cniVersion and every byte", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  assert.ok(fs.readFileSync(join(node.netd, "00-multus.conf"), "utf8").includes(CALICO));
  assert.equal(fs.readFileSync(join(node.netd, "10-calico.conflist"), "utf8"), CALICO);
});

test("story 23 (calico#7461, CIS 1.1.9): new configurations are 0600; one that was there keeps its mode", async () => {
  using node = multusNode();
  node.template("20-own.conflist", conflist("own", "bridge"));
  fs.writeFileSync(join(node.netd, "20-own.conflist"), conflist("own", "ptp"));
  fs.chmodSync(join(node.netd, "20-own.conflist"), 0o640);
  await run(node, "install", "--plugins=multus", "--configs=00-multus.conf,20-own.conflist");
  const modes = ["00-multus.conf", "20-own.conflist"].map((name) => fs.statSync(join(node.netd, name)).mode & 0o777);
  assert.deepEqual(modes, [0o600, 0o640]);
});

test("story 25 (kubernetes#115629, flannel#1721): plugins that a package upgrade wiped away come back with the next run", async () => {
  using node = multusNode();
  await run(node, "install", ...MULTUS);
  const good = contentsOf(node.host);
  for (const name of fs.readdirSync(node.bin)) fs.rmSync(join(node.bin, name), { recursive: true });
  assert.match(await run(node, "install", ...MULTUS), /^created +plugin +multus/mu);
  assert.deepEqual(contentsOf(node.host), good);
});
