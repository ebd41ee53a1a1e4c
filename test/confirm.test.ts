/** The container runtime's own word: asked before a change, waited for after it, and the change undone if it was bad. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { conflist, contentsOf, TestNode } from "./helpers/node.ts";
import { SimulatedRuntime, type Answers } from "./helpers/simulated-runtime.ts";

/** A containerd that loses its network with a file of the name `00-bad.conflist`, or with the last one. */
function containerd(node: TestNode, { configDir = "/etc/cni/net.d", pluginDirs = ["/opt/cni/bin"] } = {}): Answers {
  const loadError = (): string | undefined => {
    const names = fs.readdirSync(node.netd).filter((name) => name.endsWith(".conflist"));
    if (names.includes("00-bad.conflist")) return "cni config load failed: 00-bad.conflist is bad";
    return names.length === 0 ? "cni config load failed: no network config found" : undefined;
  };
  return {
    name: "containerd",
    version: "v2.1.4",
    get network() {
      return loadError() ?? true;
    },
    get info() {
      const config = { PluginDirs: pluginDirs, PluginConfDir: configDir, PluginMaxConfNum: 1, Networks: [] };
      return { cniconfig: JSON.stringify(config), lastCNILoadStatus: loadError() ?? "OK" };
    },
  };
}

async function nodeWithNetwork(): Promise<TestNode> {
  const node = new TestNode();
  node.plugin("good");
  node.template("10-a.conflist", conflist("a", "good"));
  node.template("00-bad.conflist", conflist("bad", "good"));
  const ran = await node.run(["install", "--plugins=good", "--configs=10-a.conflist"]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return node;
}

describe("with --cri-socket", () => {
  test("a configuration that costs the runtime its network is undone, and said so", async () => {
    using node = await nodeWithNetwork();
    const before = contentsOf(node.host);
    await using runtime = await SimulatedRuntime.start(node.root, containerd(node));
    const words = ["install", "--configs=00-bad.conflist", `--cri-socket=${runtime.socket}`];
    const ran = await node.run([...words, "--output=json"]);
    const { result, error } = JSON.parse(ran.stdout) as { result: string; error: { code: string; message: string } };
    assert.deepEqual([ran.exitCode, result, error.code], [1, "undone", "network-lost"]);
    assert.match(error.message, /^containerd: it has lost its network by this change: .*00-bad\.conflist is bad/u);
    assert.deepEqual(contentsOf(node.host), before);
    const text = await node.run(words);
    assert.match(text.stderr, /what had been done was undone\n {2}hint: see what is wrong/u);
    const anyway = await node.run([...words, "--no-confirm"]);
    assert.equal(anyway.exitCode, 0, anyway.stderr);
    assert.ok(fs.existsSync(join(node.netd, "00-bad.conflist")));
  });

  test("the last configuration goes when it is removed by name: that it costs the network was said before", async () => {
    using node = await nodeWithNetwork();
    await using runtime = await SimulatedRuntime.start(node.root, containerd(node));
    const ran = await node.run(["uninstall", "--configs=10-a.conflist", `--cri-socket=${runtime.socket}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /no CNI configuration is left/u);
  });

  test("a runtime that had no network before cannot lose it", async () => {
    using node = await nodeWithNetwork();
    fs.writeFileSync(join(node.netd, "00-bad.conflist"), "{");
    await using runtime = await SimulatedRuntime.start(node.root, containerd(node));
    node.template("20-b.conflist", conflist("b", "good"));
    const ran = await node.run(["install", "--configs=20-b.conflist", `--cri-socket=${runtime.socket}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(
      ran.stderr,
      /^cni-node: warning: containerd: does not confirm the change: containerd says that its network is not ready: .*00-bad/u,
    );
  });

  test("its own directories of plugins are those in which plugins are looked for", async () => {
    using node = await nodeWithNetwork();
    fs.mkdirSync(join(node.host, "usr/lib/kube"), { recursive: true });
    fs.copyFileSync(join(node.bin, "good"), join(node.host, "usr/lib/kube/special"));
    node.template("20-b.conflist", conflist("b", "special"));
    const pluginDirs = ["/opt/cni/bin", "/usr/lib/kube"];
    await using runtime = await SimulatedRuntime.start(node.root, containerd(node, { pluginDirs }));
    const words = ["install", "--configs=20-b.conflist"];
    assert.match((await node.run(words)).stderr, /needs the plugin special, which is not in /u);
    const ran = await node.run([...words, `--cri-socket=${runtime.socket}`, "--no-confirm"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  test("a directory of its that is not mounted may hold the plugin: a warning", async () => {
    using node = await nodeWithNetwork();
    node.template("20-b.conflist", conflist("b", "special"));
    const pluginDirs = ["/opt/cni/bin", "/var/lib/rancher/bin"];
    await using runtime = await SimulatedRuntime.start(node.root, containerd(node, { pluginDirs }));
    const ran = await node.run([
      "install",
      "--configs=20-b.conflist",
      `--cri-socket=${runtime.socket}`,
      "--no-confirm",
    ]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /needs the plugin special; .* cannot be seen: \/var\/lib\/rancher\/bin is not mounted/u);
  });

  test("a runtime that reads another directory is told of", async () => {
    using node = await nodeWithNetwork();
    const answers = containerd(node, { configDir: "/var/lib/rancher/k3s/agent/etc/cni/net.d" });
    await using runtime = await SimulatedRuntime.start(node.root, answers);
    const ran = await node.run(["install", "--configs=00-bad.conflist", `--cri-socket=${runtime.socket}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /\/etc\/cni\/net\.d: containerd does not read this directory, but \/var\/lib\/rancher/u);
  });

  test("and one that reads ours through a link is not", async () => {
    using node = await nodeWithNetwork();
    fs.mkdirSync(join(node.host, "var/lib"), { recursive: true });
    fs.symlinkSync("/etc/cni/net.d", join(node.host, "var/lib/net.d"));
    const answers = containerd(node, { configDir: "/var/lib/net.d" });
    await using runtime = await SimulatedRuntime.start(node.root, answers);
    const ran = await node.run(["install", "--configs=00-bad.conflist", `--cri-socket=${runtime.socket}`]);
    assert.match(ran.stderr, /^cni-node: containerd: it has lost its network/u);
  });

  test("a runtime that does not answer ends the run before anything has changed; a run without changes does not ask", async () => {
    using node = await nodeWithNetwork();
    const before = contentsOf(node.host);
    const socket = `--cri-socket=${join(node.root, "nothing.sock")}`;
    const ran = await node.run(["install", "--configs=00-bad.conflist", socket]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /nothing\.sock.*\n {2}hint: /u);
    assert.deepEqual(contentsOf(node.host), before);
    assert.equal((await node.run(["install", "--configs=10-a.conflist", socket])).exitCode, 0);
  });
});
