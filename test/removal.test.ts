/** Promise 4: a plugin that a configuration or a living container needs is kept. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { conflist, TestNode, until } from "./helpers/node.ts";

const PLUGINS = ["bridge", "host-local", "portmap", "loopback", "macvlan", "multus"];

async function installed(): Promise<TestNode> {
  const node = new TestNode();
  for (const name of PLUGINS) node.plugin(name);
  assert.equal((await node.run(["install", `--plugins=${PLUGINS.join()}`])).exitCode, 0);
  return node;
}

function writeConfig(node: TestNode, name: string, value: unknown): void {
  fs.mkdirSync(join(node.netd, name, ".."), { recursive: true });
  fs.writeFileSync(join(node.netd, name), JSON.stringify(value));
}

/** An attachment as libcni remembers it. */
function attach(node: TestNode, netns: string, config: unknown, below = "var/lib/cni", containerId = "c1"): string {
  const directory = join(node.host, below, "results");
  fs.mkdirSync(directory, { recursive: true });
  const path = join(directory, `net-${containerId}-eth0`);
  const text = Buffer.from(JSON.stringify(config)).toString("base64");
  fs.writeFileSync(
    path,
    JSON.stringify({ kind: "cniCacheV1", containerId, config: text, ifName: "eth0", networkName: "net", netns }),
  );
  return path;
}

/** What became of one plugin, in the report's words. */
async function uninstall(node: TestNode, name: string, ...more: string[]): Promise<string> {
  const ran = await node.run(["uninstall", `--plugins=${name}`, ...more]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout.trim().replaceAll(/ +/gu, " ");
}

describe("a plugin is kept while a configuration in net.d names it", () => {
  const cases: [way: string, file: string, config: unknown, plugin: string][] = [
    ["as the type of a plugin in a list", "10-a.conflist", { name: "a", plugins: [{ type: "bridge" }] }, "bridge"],
    ["as the type of a single", "10-a.conf", { name: "a", type: "bridge" }, "bridge"],
    ["as ipam.type", "10-a.json", { name: "a", type: "ptp", ipam: { type: "host-local" } }, "host-local"],
    ["as delegate.type", "10-a.conf", { name: "a", type: "flannel", delegate: { type: "bridge" } }, "bridge"],
    ["as flannel's delegate by default", "10-a.conf", { name: "a", type: "flannel", delegate: {} }, "bridge"],
    ["as flannel's IPAM plugin by default", "10-a.conf", { name: "a", type: "flannel" }, "host-local"],
    [
      "in a list among the delegates of Multus",
      "00-multus.conf",
      {
        name: "m",
        type: "multus",
        delegates: [{ name: "d", plugins: [{ type: "x" }, { type: "y", ipam: { type: "host-local" } }] }],
      },
      "host-local",
    ],
    ["in the directory of a network", "net/10-more.conf", { type: "portmap" }, "portmap"],
  ];
  for (const [way, file, config, plugin] of cases) {
    test(way, async () => {
      using node = await installed();
      writeConfig(node, file, config);
      assert.equal(await uninstall(node, plugin), `kept plugin ${plugin} ${file} names it`);
      assert.ok(fs.existsSync(join(node.bin, plugin)));
      assert.equal(await uninstall(node, plugin, "--force"), `deleted plugin ${plugin}`);
    });
  }

  test("also one that cannot be read as JSON and has the word", async () => {
    using node = await installed();
    fs.writeFileSync(join(node.netd, "10-a.conflist"), '{"name": "a", "plugins": [{"type": "bridge"');
    assert.match(await uninstall(node, "bridge"), /^kept .*10-a\.conflist names it$/u);
  });

  test("not for another key called type, and not for a file that no runtime loads", async () => {
    using node = await installed();
    writeConfig(node, "10-a.conflist", { name: "a", plugins: [{ type: "calico", policy: { type: "bridge" } }] });
    writeConfig(node, "20-old.conflist.bak", { name: "b", plugins: [{ type: "bridge" }] });
    assert.equal(await uninstall(node, "bridge"), "deleted plugin bridge");
  });

  test("but not one that goes in the same run; the record keeps what stays, and the next run removes it", async () => {
    using node = await installed();
    node.template("10-a.conflist", conflist("a", "bridge"));
    node.template("20-b.conflist", conflist("b", "portmap"));
    await node.run(["install", "--configs=10-a.conflist,20-b.conflist"]);
    const { stdout } = await node.run(["uninstall", "--plugins=bridge,portmap", "--configs=10-a.conflist"]);
    assert.match(stdout, /^deleted +config +10-a\.conflist\nkept +plugin +portmap .*\ndeleted +plugin +bridge\n$/u);
    await node.run(["uninstall", "--configs=20-b.conflist"]);
    assert.equal(await uninstall(node, "portmap"), "deleted plugin portmap");
  });
});

describe("a plugin is kept while a container that was attached with it may be there", () => {
  const LIST = { name: "net", plugins: [{ type: "bridge", ipam: { type: "host-local" } }, { type: "portmap" }] };

  test("by its namespace under /run/netns, and goes when that is gone", async () => {
    using node = await installed();
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    fs.writeFileSync(join(node.host, "run/netns/cni-1"), "");
    fs.symlinkSync("/run", join(node.host, "var/run"));
    attach(node, "/var/run/netns/cni-1", LIST);
    const kept = "a container that was attached with it may still be there";
    for (const name of ["bridge", "host-local", "portmap"]) {
      assert.equal(await uninstall(node, name), `kept plugin ${name} ${kept}`);
    }
    assert.equal(await uninstall(node, "macvlan"), "deleted plugin macvlan");
    fs.unlinkSync(join(node.host, "run/netns/cni-1"));
    assert.equal(await uninstall(node, "bridge"), "deleted plugin bridge");
  });

  test("by its process, where the node's processes can be seen", async () => {
    using node = await installed();
    for (const pid of [1, 42]) fs.mkdirSync(join(node.host, `proc/${pid}`), { recursive: true });
    attach(node, "/proc/42/ns/net", LIST);
    assert.match(await uninstall(node, "bridge"), /^kept /u);
    fs.rmdirSync(join(node.host, "proc/42"));
    assert.match(await uninstall(node, "bridge"), /^deleted /u);
  });

  for (const netns of ["/run/netns/cni-1", "/var/run/netns/cni-1", "/proc/42/ns/net", "/elsewhere/ns", ""]) {
    test(`whatever cannot be determined counts as there: ${netns || "no namespace"}`, async () => {
      using node = await installed();
      attach(node, netns, LIST);
      assert.match(await uninstall(node, "bridge"), /^kept /u);
      assert.match(await uninstall(node, "bridge", "--force"), /^deleted /u);
    });
  }

  test("as Multus remembers it: results below its cniDir, and its file of delegates", async () => {
    using node = await installed();
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    fs.writeFileSync(join(node.host, "run/netns/cni-1"), "");
    writeConfig(node, "00-multus.conf", { name: "m", type: "meta", cniDir: "/var/lib/multus" });
    const delegates = [{ Conf: { type: "macvlan" }, ConfList: { plugins: null } }];
    attach(node, "/run/netns/cni-1", { name: "p", plugins: [{ type: "portmap" }] }, "var/lib/multus");
    fs.writeFileSync(join(node.host, "var/lib/multus/c1"), JSON.stringify(delegates));
    for (const name of ["portmap", "macvlan", "multus"]) assert.match(await uninstall(node, name), /^kept /u);
    fs.unlinkSync(join(node.host, "run/netns/cni-1"));
    for (const name of ["portmap", "macvlan", "multus"]) assert.match(await uninstall(node, name), /^deleted /u);
  });

  test("--drain waits until it is gone, after the configuration has been removed", async () => {
    using node = await installed();
    node.template("10-a.conflist", conflist("a", "bridge"));
    await node.run(["install", "--configs=10-a.conflist"]);
    const path = attach(node, "/run/netns/x", LIST);
    const running = node.run(["uninstall", "--plugins=bridge", "--configs=10-a.conflist", "--drain=60s"]);
    await until(() => !fs.existsSync(join(node.netd, "10-a.conflist")));
    assert.ok(fs.existsSync(join(node.bin, "bridge")));
    fs.unlinkSync(path);
    const { stdout, stderr, exitCode } = await running;
    assert.equal(exitCode, 0);
    assert.match(stderr, /^cni-node: waiting for containers that need a plugin \(--drain\)$/mu);
    assert.match(stderr, /^cni-node: warning: .*: no CNI configuration is left: /mu);
    assert.match(stdout, /^deleted +config +10-a\.conflist\ndeleted +plugin +bridge\n$/u);
  });

  test("a signal while --drain waits: what was removed is reported, and the run ends by the signal", async () => {
    using node = await installed();
    node.template("10-a.conflist", conflist("a", "bridge"));
    await node.run(["install", "--configs=10-a.conflist"]);
    attach(node, "", LIST);
    const ending = new AbortController();
    const words = ["uninstall", "--plugins=bridge", "--configs=10-a.conflist", "--drain=60s"];
    const running = node.run(words, { signal: ending.signal });
    await until(() => !fs.existsSync(join(node.netd, "10-a.conflist")));
    ending.abort("SIGTERM");
    const { stdout, signal } = await running;
    assert.match(stdout, /^deleted +config +10-a\.conflist\nkept +plugin +bridge .*\n$/u);
    assert.equal(signal, "SIGTERM");
  });

  test("a failure while --drain waits: what was removed is reported, and that nobody waits any more", async () => {
    using node = await installed();
    node.template("10-a.conflist", conflist("a", "bridge"));
    await node.run(["install", "--configs=10-a.conflist"]);
    attach(node, "", LIST);
    const running = node.run(["uninstall", "--plugins=bridge", "--configs=10-a.conflist", "--drain=60s"]);
    await until(() => !fs.existsSync(join(node.netd, ".cni-node")));
    fs.writeFileSync(join(node.bin, ".cni-node/record.json"), "");
    const { stdout, stderr, exitCode } = await running;
    assert.match(stdout, /^deleted +config +10-a\.conflist\nkept +plugin +bridge .*\n$/u);
    assert.match(stderr, /^cni-node: warning: --drain: no longer waits for containers: .*record\.json/mu);
    assert.equal(exitCode, 0);
  });

  test("--drain gives up at its end, and keeps", async () => {
    using node = await installed();
    attach(node, "", LIST);
    assert.match(await uninstall(node, "bridge", "--drain=1ms"), /^kept /u);
  });
});

test("loopback, which runtimes call for every pod, is kept without --force", async () => {
  using node = await installed();
  assert.equal(await uninstall(node, "loopback"), "kept plugin loopback container runtimes need it for every pod");
  assert.equal(await uninstall(node, "loopback", "--force"), "deleted plugin loopback");
});

test("what cannot be looked at is not waited for, and said: net.d and the attachments", async () => {
  using node = await installed();
  fs.rmSync(join(node.host, "var"), { recursive: true });
  fs.rmSync(join(node.host, "etc"), { recursive: true });
  const ran = await node.run(["uninstall", "--plugins=bridge"]);
  assert.equal(ran.exitCode, 0);
  assert.match(ran.stderr, /without knowing whether a configuration still names them: net\.d is not mounted/u);
  assert.match(ran.stderr, /without knowing whether containers still need them: .*var\/lib\/cni is not there/u);
});

describe("the last configuration of a node", () => {
  const prune = ["apply", "--owner=cni-node", "--prune", "--plugins=bridge", "--configs=05-multus.txt"];

  async function only(): Promise<TestNode> {
    const node = await installed();
    node.template("10-a.conflist", conflist("a", "bridge"));
    node.template("05-multus.txt", "no configuration\n");
    await node.run(["install", "--configs=10-a.conflist"]);
    return node;
  }

  test("is not removed by --prune, unless --allow-no-network", async () => {
    using node = await only();
    assert.match((await node.run(prune)).stdout, /^kept +config +10-a\.conflist .*--allow-no-network/mu);
    assert.ok(fs.existsSync(join(node.netd, "10-a.conflist")));
    assert.match((await node.run([...prune, "--allow-no-network"])).stdout, /^deleted +config +10-a\.conflist$/mu);
  });

  test("is removed by --prune when another one stays", async () => {
    using node = await only();
    writeConfig(node, "99-other.conf", { name: "other", type: "bridge" });
    assert.match((await node.run(prune)).stdout, /^deleted +config +10-a\.conflist$/mu);
  });

  test("is removed when somebody names it, and what that means is said", async () => {
    using node = await only();
    const ran = await node.run(["uninstall", "--configs=10-a.conflist"]);
    assert.match(ran.stdout, /^deleted +config/u);
    assert.match(ran.stderr, /warning: .*no CNI configuration is left: the node becomes NotReady/u);
  });
});
