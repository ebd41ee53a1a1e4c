/** What people see on a terminal. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { run } from "../src/cli.ts";
import { writeAttachment } from "../src/cni/cache.ts";
import { cannotMount } from "./helpers/namespace.ts";
import { NetworkHost } from "./helpers/network.ts";
import { assertApproved, assertFits, cannotRunScript, onTerminal, shown } from "./helpers/terminal.ts";
import { BUNDLE, conflist, TestNode } from "./helpers/node.ts";

/** A node with something of everything: a chosen network, a broken file, drift, and many plugins. */
async function nodeToSee(): Promise<TestNode> {
  const node = new TestNode();
  const plugins = Array.from("abcdefgh", (letter) => `plugin-${letter}`);
  for (const name of plugins) node.plugin(name);
  node.template("10-net.conflist", conflist("mynet", "bridge", "portmap"));
  const installed = await node.run(["install", `--plugins=${plugins.join()}`, "--configs=10-net.conflist"]);
  assert.equal(installed.exitCode, 0, installed.stderr);
  fs.appendFileSync(join(node.bin, "plugin-a"), "# changed\n");
  fs.writeFileSync(join(node.netd, "20-broken.conflist"), '{"cniVersion": "1.0.0", "name": "broken", "plugins": [');
  return node;
}

/** A network, and a container of docker that somebody has added to it. */
function addAttachment(node: TestNode): void {
  fs.writeFileSync(
    join(node.netd, "15-second.conflist"),
    conflist("a-network-with-a-name", "ipvlan", "bandwidth", "tuning"),
  );
  const containerId = "0123456789abcdef".repeat(4);
  writeAttachment(join(node.host, "var/lib/cni"), {
    networkName: "a-network-with-a-name",
    containerId,
    ifName: "eth1",
    config: "{}",
    netns: "/proc/1/ns/nothing",
    args: [],
    capabilityArgs: {},
    result: { cniVersion: "1.0.0", ips: [{ address: "10.1.2.3/24" }, { address: "2001:db8:1:2:3:4:5:6/64" }] },
    note: { target: `docker:${containerId}`, identity: "1", since: "1", boot: "1" },
  });
}

/** Where everything is: commands have options for some of it. */
function placesOf({ plugins, templates, host }: TestNode): Record<string, string> {
  return { CNI_NODE_PLUGIN_SOURCE: plugins, CNI_NODE_CONFIG_SOURCE: templates, CNI_NODE_HOST_ROOT: host };
}

/** Runs a command on a terminal of this width. */
async function screenOf(node: TestNode, argv: readonly string[], columns: number, rows = 1000): Promise<string> {
  let screen = "";
  const print = (text: string): void => {
    screen += text;
  };
  await run(argv, {
    env: { TERM: "xterm", ...placesOf(node) },
    stdin: async () => Promise.resolve(""),
    stdout: print,
    stderr: print,
    signal: new AbortController().signal,
    terminals: () => ({ stdout: { columns, rows }, stderr: true }),
  });
  return shown(screen).replaceAll(node.root, "/tmp/node");
}

/** The reports that have approved screens. */
const REPORTS: Readonly<Record<string, string[]>> = {
  status: ["status"],
  plan: ["plan", "--plugins=plugin-b,plugin-c:plugin-d", "--configs=10-net.conflist"],
  "list-wide": ["list", "-o", "wide"],
  "network-list": ["network", "list"],
  attachments: ["network", "list", "--attachments"],
  "attachments-wide": ["network", "list", "--attachments", "-o", "wide"],
  "network-show": ["network", "show", "mynet"],
  "engine-status": ["engine", "status"],
};

describe("a screen", () => {
  for (const [name, argv] of Object.entries(REPORTS)) {
    for (const columns of [60, 80, 120]) {
      test(`of ${name} with ${columns} columns is the approved one, with no line that is wider`, async () => {
        using node = await nodeToSee();
        if (name !== "status") addAttachment(node);
        const screen = await screenOf(node, argv, columns);
        assertApproved(name, columns, screen);
      });
    }

    test(`that is none has a line for each row of ${name}`, async () => {
      using node = await nodeToSee();
      addAttachment(node);
      const wide = await screenOf(node, argv, 10_000);
      const { stdout, stderr } = await node.run(argv, { env: placesOf(node) });
      assert.equal((stdout + stderr).split("\n").length, wide.split("\n").length);
    });
  }

  for (const columns of [60, 80, 120]) {
    test(
      `of engine enable with ${columns} columns says what would be done, with the paths of the host`,
      { skip: cannotRunScript },
      async () => {
        using node = new TestNode();
        const enable = ["engine", "enable", "docker", "--dry-run", `--host-root=${node.host}`];
        const screen = await onTerminal([process.execPath, BUNDLE, ...enable], columns);
        assertApproved("engine-enable", columns, shown(screen));
      },
    );
  }

  test("has the beginning of a container ID; what is no terminal has all of it, for programs", async () => {
    using node = await nodeToSee();
    addAttachment(node);
    const argv = ["network", "list", "--attachments"];
    const screen = await screenOf(node, argv, 200);
    assert.match(screen, / 0123456789ab {2}docker:0123456789ab$/mu);
    const { stdout } = await node.run(argv, { env: placesOf(node) });
    const whole = "0123456789abcdef".repeat(4);
    assert.ok(stdout.includes(` ${whole}  docker:${whole}\n`), stdout);
    assert.equal((await node.run([...argv, "-o", "wide"], { env: placesOf(node) })).stdout, stdout);
  });

  test(
    "of 60 columns has every report of networks, with no line that is wider",
    { skip: cannotMount || cannotRunScript },
    async () => {
      await using host = await NetworkHost.make("first", "second");
      host.network("net", { type: "first" }, { type: "second" });
      const places = [`--cache-dir=${host.cacheDir}`, "--host-root=/"];
      const calls = [`--config-dir=${host.netd}`, `--plugin-dir=${host.plugins.bin}`];
      host.target("a-namespace-with-quite-a-long-name");
      assert.equal((await host.run("add", "net", "a-namespace-with-quite-a-long-name")).exitCode, 0);
      for (const words of [
        ["map", ...places],
        ["list", "--attachments", ...places],
        ["gc", ...places, ...calls],
        ["probe", "net", ...places, ...calls],
        ["version", "net", ...places, ...calls],
        ["check", "net", "a-namespace-with-quite-a-long-name", ...places, ...calls],
        ["add", "net", "a-namespace-with-quite-a-long-name", "--ifname=eth0", ...places, ...calls],
      ]) {
        const entered = ["nsenter", ...host.namespace.entrance, process.execPath, BUNDLE, "network", ...words];
        const screen = shown(await onTerminal(entered, 60));
        assert.notEqual(screen.trim(), "");
        assertFits(screen, 60);
      }
    },
  );

  test("that is lower than the report ends with the summary", async () => {
    using node = await nodeToSee();
    const screen = await screenOf(node, ["status"], 80, 10);
    const [first, ...more] = screen.trimEnd().split("\n");
    assert.match(first ?? "", /^\{33:\d+ warnings?/u);
    assert.equal(more.at(-1), first);
  });

  test("counts assets of which many are unchanged, unless all are asked for", async () => {
    using node = await nodeToSee();
    const argv = ["apply", "--plugins=plugin-b,plugin-c,plugin-d,plugin-e,plugin-f,plugin-g,plugin-h"];
    assert.equal(await screenOf(node, argv, 80), "{2:unchanged}   plugin    7 plugins\n");
    assert.equal((await screenOf(node, [...argv, "-v"], 80)).split("\n").length, 8);
    assert.equal(await screenOf(node, [...argv, "-q"], 80), "");
  });

  test("breaks a long reason between words, below where it begins", async () => {
    using node = await nodeToSee();
    node.template("10-net.conflist", conflist("mynet", "bridge"));
    fs.writeFileSync(join(node.netd, "30-x.conflist"), conflist("x", "bridge"));
    const places = node.places.filter((place) => place.startsWith("--config-source"));
    node.template("30-x.conflist", conflist("y", "bridge"));
    const screen = await screenOf(node, ["install", "--configs=30-x.conflist", ...places], 60);
    const row =
      /^\{32:configured\}  config    30-x\.conflist\n {4}replaces a file that was there before; uninstall\n {4}restores it$/mu;
    assert.match(screen, row);
    const wide = await screenOf(node, ["uninstall", "--configs=30-x.conflist"], 80);
    assert.match(wide, /^\{33:deleted\} +config +30-x\.conflist {2}what was there before comes back$/mu);
  });

  test("of a plan says what would be done, and colours what goes and what comes", async () => {
    using node = await nodeToSee();
    node.template("10-net.conflist", conflist("mynet", "bridge"));
    node.plugin("new");
    const places = node.places.filter(
      (place) => !place.startsWith("--host-root") && !place.startsWith("--plugin-source"),
    );
    const screen = await screenOf(node, ["plan", "--plugins=new:plugin-b", "--configs=10-net.conflist", ...places], 80);
    assert.match(screen, /^\{32:would create\} +plugin +new$/mu);
    assert.match(screen, /^\{32:would configure\} +config +10-net\.conflist/mu);
    assert.match(screen, /^\{33:would delete\} +plugin +plugin-b$/mu);
    assert.match(screen, /^\{31:-\{.*portmap.*\}$/mu);
    assert.match(screen, /^\{32:\+\{.*\}$/mu);
  });
});

test("what takes longer than a second says what it is", async () => {
  using node = new TestNode();
  const slow = '#!/bin/sh\nsleep 2\necho \'{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}\'\n';
  fs.writeFileSync(join(node.plugins, "slow"), slow);
  const screen = await screenOf(node, ["install", "--plugins=slow"], 80);
  assert.match(screen, /^\{1:cni-node:\} proves what is to go live …\n[^]*\{32:created\} +plugin +slow$/mu);
});

describe("colours", () => {
  test("are on terminals only, unless they are asked for, and not with NO_COLOR or a dumb terminal", async () => {
    using node = await nodeToSee();
    const argv = ["status", `--host-root=${node.host}`];
    const hasColours = async (options: string[], env: NodeJS.ProcessEnv, isTerminal: boolean): Promise<boolean> => {
      let screen = "";
      const print = (text: string): void => {
        screen += text;
      };
      const terminal = { columns: 80, rows: 24 };
      await run([...argv, ...options], {
        env,
        stdin: async () => Promise.resolve(""),
        stdout: print,
        stderr: print,
        signal: new AbortController().signal,
        terminals: () => ({ stdout: isTerminal ? terminal : undefined, stderr: isTerminal }),
      });
      return screen.includes("\u001B[");
    };
    assert.equal(await hasColours([], {}, true), true);
    assert.equal(await hasColours([], {}, false), false);
    assert.equal(await hasColours([], { NO_COLOR: "1" }, true), false);
    assert.equal(await hasColours([], { TERM: "dumb" }, true), false);
    assert.equal(await hasColours(["--color=never"], {}, true), false);
    assert.equal(await hasColours(["--color=always"], { NO_COLOR: "1" }, false), true);
    assert.equal(await hasColours([], { CNI_NODE_COLOR: "always" }, false), true);
    assert.equal(await hasColours(["--output=json"], {}, true), false);
  });

  test(
    "of a real terminal come through, and nothing that a file of the node has steers it",
    { skip: cannotRunScript },
    async () => {
      using node = await nodeToSee();
      fs.writeFileSync(join(node.netd, "30-\u001B[2Jx.conflist"), "{}");
      const screen = await onTerminal([process.execPath, BUNDLE, "status", `--host-root=${node.host}`]);
      assert.ok(screen.includes("\u001B[1mnetwork\u001B[0m"));
      assert.ok(!screen.includes("\u001B[2J"));
      assert.match(screen, /30-\\u001b\[2Jx\.conflist/u);
    },
  );
});

describe("kubectl's fingers", () => {
  test("find -o, -q, -v, -h, and YAML", async () => {
    using node = await nodeToSee();
    for (const argv of [
      ["version", "-o", "yaml"],
      ["version", "-o=yaml"],
      ["version", "-oyaml"],
      ["-o", "yaml", "version"],
    ]) {
      assert.match(
        (await node.run(argv)).stdout,
        /^version: 1\ncommand: version\nresult: done\nexitCode: 0\ncniNode: /u,
      );
    }
    assert.equal((await node.run(["version", "-q"])).stdout, "");
    // What programs read, and what was asked for by its name, is printed.
    assert.match((await node.run(["version", "-q", "-ojson"])).stdout, /^\{"version":1,/u);
    const env = { CNI_NODE_QUIET: "1", CNI_NODE_OUTPUT: "yaml" };
    assert.match((await node.run(["completion", "bash"], { env })).stdout, /^# Completion/u);
    assert.match((await node.run(["install", "--help"], { env })).stdout, /^Usage: cni-node install/u);
    assert.match((await node.run(["install", "-h"])).stdout, /^Usage: cni-node install/u);
    const failed = await node.run(["install", "--plugins=none", "-o", "yaml"]);
    assert.match(failed.stdout, /^version: 1\ncommand: install\nresult: failed\n[^]*code: source-missing$/mu);
    const wide = await node.run(["list", `--plugin-source=${node.plugins}`, "-o", "wide"]);
    assert.match(wide.stdout, /^plugin-a {2,}\S.*MB$/mu);
  });
});
