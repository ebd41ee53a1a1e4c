/** What plugins leave behind, and names and arguments that no plugin can have. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { parseNetworkList } from "../../src/cni/config.ts";
import { CniError } from "../../src/cni/error.ts";
import { invoke, PluginError } from "../../src/cni/invoke.ts";
import { add, check, del } from "../../src/cni/network.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { NetworkHost } from "../helpers/network.ts";
import { until } from "../helpers/node.ts";
import { isAlive, PluginDir } from "../helpers/plugin.ts";
import { Recorder } from "../helpers/recorder.ts";

const skip = cannotMount;

/** What is in the file of a process that a plugin has started. */
async function pidIn(file: string): Promise<number> {
  await until(() => fs.existsSync(file) && fs.readFileSync(file, "utf8").endsWith("\n"));
  return Number(fs.readFileSync(file, "utf8"));
}

describe("what a plugin has started does not go on after the call was given up", () => {
  for (const [what, start] of [
    ["in the background", "sh -c 'echo $$ > FILE; exec sleep 60' &"],
    ["in a session of its own", "setsid sh -c 'echo $$ > FILE; exec sleep 60' &"],
    ["as an orphan in a session of its own", "(setsid sh -c 'echo $$ > FILE; exec sleep 60' &) ; :"],
    ["without its environment", "env -i setsid sh -c 'echo $$ > FILE; exec sleep 60' &"],
    [
      "as one of many that start others",
      "(setsid sh -c 'i=0; while [ $i -lt 1000 ]; do i=$((i+1)); (setsid sleep 60 &); echo $$ > FILE; sleep 0.01; done' &)",
    ],
  ] as const) {
    for (const why of ["timeout", "aborted"] as const) {
      test(`${what}, after ${why}`, async () => {
        using plugins = new PluginDir();
        const file = join(plugins.path, "pid");
        const path = plugins.write("slow", `export SLOW=${file}\n${start.replaceAll("FILE", file)}\nsleep 60`);
        const controller = new AbortController();
        const options = why === "timeout" ? { timeoutMs: 1000 } : { signal: controller.signal };
        const call = invoke({ plugin: "slow", path, command: "ADD", parameters: {}, stdin: "{}" }, options);
        const failure = call.catch((error: unknown) => error);
        const pid = await pidIn(file);
        if (why === "aborted") controller.abort("SIGTERM");
        assert.equal(((await failure) as PluginError).reason, why);
        assert.ok(!isAlive(pid), "it goes on");
        const { stdout } = spawnSync("sh", ["-c", `grep -lz 'SLOW=${file}' /proc/[0-9]*/environ 2>/dev/null`]);
        assert.equal(String(stdout), "");
      });
    }
  }

  test("a daemon that an earlier call has left lives on, and so does one of a call that ended by itself", async () => {
    using plugins = new PluginDir();
    const file = join(plugins.path, "pid");
    const daemon = `[ -e ${file} ] || setsid sh -c 'echo $$ > ${file}; exec sleep 60' >/dev/null 2>&1 &`;
    const path = plugins.write("dns", `${daemon}\n[ "$CNI_COMMAND" = ADD ] || sleep 60`);
    const call = { plugin: "dns", path, parameters: {}, stdin: "{}" } as const;
    await invoke({ ...call, command: "ADD" });
    const pid = await pidIn(file);
    try {
      await assert.rejects(invoke({ ...call, command: "CHECK" }, { timeoutMs: 300 }), { reason: "timeout" });
      await sleep(50);
      assert.ok(isAlive(pid));
    } finally {
      process.kill(pid, "SIGKILL");
    }
  });
});

describe("names and arguments that no plugin can have are errors of the specification, not defects", () => {
  const NETWORK = '{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"first"}]}';

  function networkOf(text: string): Parameters<typeof add>[0] {
    const parsed = parseNetworkList("x.conflist", text);
    assert.ok("list" in parsed, JSON.stringify(parsed));
    return parsed.list;
  }

  for (const [what, type] of [
    ["of more than 255 bytes", "x".repeat(300)],
    ["of more than 4096 bytes", "x".repeat(5000)],
    ["with a NUL", String.raw`first\u0000`],
    ["with a slash", "../bin/first"],
    ["of dots", ".."],
  ] as const) {
    test(`a type ${what}`, async () => {
      using place = new Recorder(["first"]);
      const network = networkOf(NETWORK.replace('"first"', `"${type}"`));
      const conf = {
        pluginDirs: [place.bin],
        cacheDir: place.cacheDir,
        containerId: "c1",
        netns: "/x",
        ifName: "eth0",
      };
      for (const operate of [add, del]) {
        await assert.rejects(operate(network, conf), (error) => error instanceof CniError && error.code === 7);
      }
    });
  }

  for (const [what, wrong] of [
    ["a container ID with a NUL", { containerId: "c1\0" }],
    ["a container ID with a slash", { containerId: "../c1" }],
    ["a container ID of 300 characters", { containerId: "c".repeat(300) }],
    ["an interface with a NUL", { ifName: "eth0\0" }],
    ["a network namespace with a NUL", { netns: "/run/netns/a\0" }],
    ["an argument with a NUL", { args: [["K", "v\0"]] as const }],
    ["a directory of plugins with a NUL", { pluginDirs: ["/x\0", "/y"] }],
  ] as const) {
    test(what, async () => {
      using place = new Recorder(["first"]);
      const conf = {
        pluginDirs: [place.bin],
        cacheDir: place.cacheDir,
        containerId: "c1",
        netns: "/run/netns/a",
        ifName: "eth0",
        ...wrong,
      };
      for (const operate of [add, check, del]) {
        await assert.rejects(operate(networkOf(NETWORK), conf), (error) => error instanceof CniError);
      }
      assert.deepEqual(place.takeNames(), []);
    });
  }

  test("a container ID is refused for its length before ADD", async () => {
    using place = new Recorder(["first"]);
    const conf = { pluginDirs: [place.bin], cacheDir: place.cacheDir, netns: "/x", ifName: "eth0" };
    await assert.rejects(add(networkOf(NETWORK), { ...conf, containerId: "c".repeat(300) }), {
      code: 4,
      message: /^CNI_CONTAINERID has 300 characters.* of 309 bytes, more than 255$/u,
    });
    assert.deepEqual(place.takeNames(), []);
  });
});

describe("configurations of any size and number", { skip }, () => {
  for (const [count, message] of [
    [300, /has 300 plugins, more than 256\n/u],
    [100_000, /has more than 5000 values\n/u],
  ] as const) {
    test(`a list of ${count} plugins is refused for its length`, async () => {
      await using host = await NetworkHost.make("first");
      host.network("net", ...Array.from({ length: count }, (_, index) => ({ type: `p${index}` })));
      for (const words of [
        ["add", "net", "a"],
        ["show", "net"],
        ["status", "net"],
        ["version", "net"],
      ]) {
        const { exitCode, stderr } = await host.run(...words);
        assert.equal(exitCode, 1);
        assert.match(stderr, message);
      }
      assert.match((await host.run("list")).stdout, message);
    });
  }

  test("a directory with too much in it is not read to its end, and what comes first in it is found", async () => {
    await using host = await NetworkHost.make("first");
    host.network("net", { type: "first" });
    for (let index = 0; index < 8; index++) {
      const large = { cniVersion: "1.0.0", name: `n${index}`, type: "first", more: "x".repeat(1_500_000) };
      host.configure(`20-${index}.conf`, large);
    }
    assert.match(
      (await host.run("list")).stdout,
      /20-7\.conf +was not read: this directory has more than any node needs\n/u,
    );
    for (let index = 0; index < 5000; index++) fs.writeFileSync(join(host.netd, `x${index}`), "");
    assert.equal((await host.run("show", "net")).exitCode, 0);
  });

  test("a configuration of many values, or of levels without end, is refused", async () => {
    await using host = await NetworkHost.make("first");
    fs.writeFileSync(join(host.netd, "10-a.conf"), `[${"{},".repeat(600_000)}{}]`);
    fs.writeFileSync(join(host.netd, "20-b.conf"), "[".repeat(1_000_000));
    fs.writeFileSync(
      join(host.netd, "30-c.conf"),
      `{"name":"c","type":"first","x":${"[".repeat(2000)}${"]".repeat(2000)}}`,
    );
    const { stdout, stderr } = await host.run("list");
    assert.equal(stderr, "");
    assert.match(stdout, /10-a\.conf +has more than 5000 values\n/u);
    assert.match(stdout, /20-b\.conf +(?:has more than|is not JSON)/u);
    assert.match(stdout, /30-c\.conf +is nested deeper than 1000 levels\n/u);
  });
});
