/** network probe with real plugins, and with a recording one where a failure is needed. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cannotMount, childrenOf } from "./helpers/namespace.ts";
import { NetworkHost } from "./helpers/network.ts";
import { endOf, until, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";

const skip = cannotMount;

/** A host with the network "net" of a bridge. */
async function makeHost(more: object = {}, ipam: object = {}): Promise<NetworkHost> {
  const host = await NetworkHost.make("first", "second");
  const addresses = { type: "host-local", subnet: "10.8.0.0/29", dataDir: join(host.plugins.root, "ipam"), ...ipam };
  host.network("net", { type: "bridge", bridge: "cni8", isGateway: true, ipMasq: true, ipam: addresses, ...more });
  return host;
}

/** What a probe may leave behind: addresses, attachments, interfaces, rules of the firewall. */
function stateOf(host: NetworkHost): string {
  const ipam = join(host.plugins.root, "ipam/net");
  const leases = fs.existsSync(ipam) ? fs.readdirSync(ipam).filter((name) => /^\d/u.test(name)) : [];
  const results = join(host.cacheDir, "results");
  const cached = fs.existsSync(results) ? fs.readdirSync(results).filter((name) => name !== ".cni-node") : [];
  const links = host.sh("ip -o link show | cut -d: -f2; ip netns list");
  return [leases, cached, links, host.sh("iptables -t nat -S | grep -c comment || true")].join("\n");
}

function outcomesOf({ stdout }: Ran): string[] {
  return [...stdout.matchAll(/^(\w+) +(\w+) /gmu)].map(([, outcome, step]) => `${outcome} ${step}`);
}

const ALL = ["version", "status", "add", "check", "ping", "del"].map((step) => `done ${step}`);

describe("network probe", { skip }, () => {
  test("adds, checks, pings the gateway, deletes, and leaves nothing", async () => {
    await using host = await makeHost();
    const before = stateOf(host);
    const ran = await host.run("probe", "net");
    assert.deepEqual([ran.exitCode, outcomesOf(ran)], [0, ALL], ran.stdout + ran.stderr);
    assert.match(ran.stdout, /^net\n(?:.*\n)*done {5}ping {5}10\.8\.0\.1 answers\n/u);
    assert.equal(stateOf(host), before);
  });

  test("does so with ptp and macvlan, static addresses and IPv6", async () => {
    await using host = await makeHost();
    const dataDir = join(host.plugins.root, "ipam");
    const ranges = [[{ subnet: "10.8.1.0/24" }], [{ subnet: "2001:db8:1::/64" }]];
    host.network("net", { type: "ptp", ipam: { type: "host-local", ranges, dataDir } }, { type: "portmap" });
    const ptp = await host.run("probe", "net");
    assert.deepEqual(outcomesOf(ptp), [...ALL.slice(0, 5), "done ping", "done del"], ptp.stdout);
    host.sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up");
    const addresses = [{ address: "10.8.2.2/24" }];
    host.network("net", { type: "macvlan", master: "up0", mode: "bridge", ipam: { type: "static", addresses } });
    const macvlan = await host.run("probe", "net");
    assert.deepEqual(outcomesOf(macvlan), [...ALL.slice(0, 4), "skipped ping", "done del"], macvlan.stdout);
    assert.equal(macvlan.exitCode, 0);
    host.network("net", { type: "loopback" });
    assert.equal((await host.run("probe", "net")).exitCode, 0);
  });

  test("takes the network of pods, if none is named", async () => {
    await using host = await makeHost();
    host.configure("05-first.conflist", { cniVersion: "1.1.0", name: "primary", plugins: [{ type: "loopback" }] });
    const ran = await host.run("probe");
    assert.match(ran.stdout, /^primary\n/u);
    fs.rmSync(host.netd, { recursive: true });
    assert.match((await host.run("probe")).stderr, /it has no network for pods/u);
  });

  test("says that the gateway does not answer", async () => {
    await using host = await makeHost({ isGateway: false, ipMasq: false });
    const ran = await host.run("probe", "net");
    assert.equal(ran.exitCode, 3);
    assert.deepEqual(outcomesOf(ran), [...ALL.slice(0, 4), "failed ping", "done del"]);
    assert.match(ran.stdout, /^failed {3}ping {5}10\.8\.0\.1 does not answer: /mu);
  });

  test("says which plugin failed at which step", async () => {
    await using host = await makeHost();
    for (let index = 1; index <= 5; index++) {
      assert.equal((await host.run("add", "net", `n${index}`, "--new")).exitCode, 0);
    }
    const before = stateOf(host);
    const full = await host.run("probe", "net");
    assert.equal(full.exitCode, 3);
    assert.match(full.stdout, /^failed {3}add {6}bridge: .*no IP addresses available/mu);
    assert.equal(stateOf(host), before);

    host.network("net", { type: "first" }, { type: "second" });
    const cases: [command: string, plugin: string, steps: string[], exitCode: number][] = [
      ["VERSION", "second", ["failed version"], 3],
      ["STATUS", "first", ["done version", "failed status"], 3],
      ["CHECK", "second", [...ALL.slice(0, 3), "failed check", "done del"], 3],
      ["DEL", "first", [...ALL.slice(0, 4), "skipped ping", "failed del"], 4],
    ];
    for (const [command, plugin, steps, exitCode] of cases) {
      for (const name of ["first", "second"]) {
        host.plugins.prints(name, "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.1.0"] });
      }
      host.plugins.fails(plugin, command, { code: 50, msg: "it is broken" });
      const ran = await host.run("probe", "net", "--add");
      assert.deepEqual([ran.exitCode, outcomesOf(ran)], [exitCode, steps], ran.stdout);
      assert.match(ran.stdout, new RegExp(`^failed {3}${command.toLowerCase()} +${plugin}: .*it is broken`, "mu"));
      host.plugins.prints(plugin, command, "");
      reportOf(await host.run("probe", "net", "--add", "--output=json"));
    }
  });

  test("adds what is not known to be harmless only when it is asked to", async () => {
    await using host = await makeHost();
    const supported = { cniVersion: "1.1.0", supportedVersions: ["1.1.0"] };
    for (const name of ["first", "second"]) host.plugins.prints(name, "VERSION", supported);
    for (const plugins of [
      [{ type: "first" }],
      [{ type: "loopback" }, { type: "first" }],
      [{ type: "loopback", ipam: { type: "first" } }],
    ]) {
      host.network("net", ...plugins);
      const ran = await host.run("probe", "net");
      assert.equal(ran.exitCode, 0, ran.stdout + ran.stderr);
      assert.match(
        ran.stdout,
        /^skipped {2}add {6}it is not known what ADD does to the host: first; --add tries it\n/mu,
      );
      assert.ok(!host.plugins.takeNames().includes("first ADD"));
    }
    host.network("net", { type: "first" });
    assert.equal((await host.run("probe", "net", "--add")).exitCode, 0);
    assert.deepEqual(
      host.plugins.takeNames(),
      ["VERSION", "STATUS", "ADD", "CHECK", "DEL"].map((one) => `first ${one}`),
    );
  });

  test("says that a plugin is missing, and asks none", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first" }, { type: "none" });
    const { exitCode, stderr } = await host.run("probe", "net");
    assert.equal(exitCode, 1);
    assert.match(stderr, /^cni-node: network net: .* has no none\n/u);
    assert.deepEqual(host.plugins.takeNames(), []);
  });

  test("ended by a signal, it has deleted what it added", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first" });
    host.plugins.prints("first", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.1.0"] });
    host.plugins.does("first", "CHECK", 'echo > "$record/begun"; sleep 60');
    const child = host.start(["probe", "net", "--add"]);
    const ended = endOf(child);
    await until(() => fs.existsSync(join(host.plugins.root, "record/begun")));
    process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGTERM");
    const { stdout, stderr } = await ended;
    assert.deepEqual([stdout, stderr], ["", "cni-node: ended by SIGTERM; nothing of the probe is left\n"]);
    assert.equal(host.plugins.takeNames().at(-1), "first DEL");
  });

  test("killed, it leaves what gc finds", async () => {
    await using host = await makeHost();
    const before = stateOf(host);
    host.sh(
      `mkdir /run/bin; printf '#!/bin/sh\\necho > ${host.plugins.root}/begun; exec sleep 60' > /run/bin/ping; chmod +x /run/bin/ping`,
    );
    const child = host.start(["probe", "net"], { PATH: `/run/bin:${process.env["PATH"] ?? ""}` });
    const ended = endOf(child);
    await until(() => fs.existsSync(join(host.plugins.root, "begun")));
    process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGKILL");
    host.sh("kill $(ps ax | sed -n 's/^ *\\([0-9]*\\) .*[s]leep 60$/\\1/p')");
    await ended;
    let stdout: string;
    // The namespace ends when the kernel gets to it.
    do ({ stdout } = await host.run("gc"));
    while (!stdout.startsWith("deleted"));
    assert.match(stdout, /^deleted {5}net {2}cni-node-probe-/u);
    // The bridge plugin does not remove the rules for an address of a namespace that is gone.
    host.sh("ip link delete cni8");
    assert.deepEqual(stateOf(host).split("\n").slice(0, -2), before.split("\n").slice(0, -2));
  });
});
