/** The reference plugins, for real: in network namespaces of a test's own, with packets between them. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cannotMount } from "../helpers/namespace.ts";
import { NetworkHost, REFERENCE_PLUGINS } from "../helpers/network.ts";
import { endOf, until, type Ran } from "../helpers/node.ts";

const skip = cannotMount;

interface CniResult {
  interfaces: { name: string; mac: string; sandbox?: string; mtu?: number }[];
  ips: { address: string; gateway?: string }[];
  routes?: { dst: string; gw?: string }[];
}

function done({ exitCode, stdout, stderr }: Ran): string {
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

/** Adds a container to the network "net", in a namespace that is made for it. */
async function add(host: NetworkHost, name: string, ...options: string[]): Promise<CniResult> {
  const isThere = host.sh("ip netns list").split(/\s+/u).includes(name);
  return JSON.parse(done(await host.run("add", "net", name, ...(isThere ? [] : ["--new"]), ...options))) as CniResult;
}

function addressOf({ ips }: CniResult, index = 0): string {
  return ips[index]?.address.split("/")[0] ?? "";
}

function ping(host: NetworkHost, from: string, to: string): void {
  host.sh(`ip netns exec ${from} ping -q -c 1 -w 5 ${to}`);
}

function ipamOf(host: NetworkHost, more: object = {}): object {
  return { type: "host-local", subnet: "10.6.0.0/24", dataDir: join(host.plugins.root, "ipam"), ...more };
}

/** Everything that ADD may leave: addresses, attachments, links, rules, queues. */
function stateOf(host: NetworkHost): string {
  const ipam = join(host.plugins.root, "ipam/net");
  const leases = fs.existsSync(ipam) ? fs.readdirSync(ipam).filter((name) => /^[\da-f]+[.:]/u.test(name)) : [];
  const results = join(host.cacheDir, "results");
  const cached = fs.existsSync(results) ? fs.readdirSync(results).filter((name) => name !== ".cni-node") : [];
  const links = host.sh("ip -o link show | cut -d: -f2 | cut -d@ -f1");
  const rules = host.sh("iptables -S | grep -e '^-A.*/32' || true; iptables -t nat -S | grep -e ' 10\\.6\\.' || true");
  return [...leases, ...cached, links, rules].join("\n");
}

/** Deletes all of them twice: deleting what is gone is not an error. Nothing may be left. */
async function deleteAll(host: NetworkHost, before: string, ...names: string[]): Promise<void> {
  for (const name of names) done(await host.run("check", "net", name));
  for (const name of names.toReversed()) {
    done(await host.run("del", "net", name));
    done(await host.run("del", "net", name));
    assert.equal(host.sh(`ip -n ${name} -o link show | grep -vc ' lo:' || true`).trim(), "0");
  }
  assert.equal(stateOf(host), before);
}

describe("real plugins", { skip }, () => {
  test("bridge and host-local: IPv4 and IPv6 between two containers and the host", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add cni6 type bridge");
    const before = stateOf(host);
    const ranges = [[{ subnet: "10.6.0.0/24" }], [{ subnet: "2001:db8:6::/64" }]];
    const ipam = ipamOf(host, { subnet: undefined, ranges, routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }] });
    host.network("net", { type: "bridge", bridge: "cni6", isGateway: true, ipMasq: true, ipam });
    const results = [await add(host, "a"), await add(host, "b")];
    assert.deepEqual(
      results.map((result) => addressOf(result)),
      ["10.6.0.2", "10.6.0.3"],
    );
    for (const index of [0, 1]) {
      ping(host, "a", addressOf(results[1] as CniResult, index));
      ping(host, "b", results[1]?.ips[index]?.gateway ?? "");
    }
    host.sh("ip -n a link set eth0 down");
    assert.equal((await host.run("check", "net", "a")).exitCode, 3);
    host.sh(
      "ip -n a link set eth0 up; ip -n a route add default via 10.6.0.1; ip -n a -6 route replace default via 2001:db8:6::1",
    );
    await deleteAll(host, before, "a", "b");
  });

  test("ptp: a link for each container, and the host routes", async () => {
    await using host = await NetworkHost.make();
    const before = stateOf(host);
    host.network("net", {
      type: "ptp",
      ipMasq: false,
      mtu: 1400,
      ipam: ipamOf(host, { routes: [{ dst: "0.0.0.0/0" }] }),
    });
    const [a, b] = [await add(host, "a"), await add(host, "b")];
    assert.match(host.sh("ip -n a link show dev eth0"), /mtu 1400/u);
    ping(host, "a", addressOf(b));
    ping(host, "b", addressOf(a));
    await deleteAll(host, before, "a", "b");
  });

  test("macvlan: containers on a link of the host", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up");
    const before = stateOf(host);
    host.network("net", { type: "macvlan", master: "up0", mode: "bridge", ipam: ipamOf(host) });
    await add(host, "a");
    ping(host, "a", addressOf(await add(host, "b")));
    await deleteAll(host, before, "a", "b");
    host.network("net", { type: "macvlan", master: "none", ipam: ipamOf(host) });
    const { exitCode, stderr } = await host.run("add", "net", "a");
    assert.equal(exitCode, 1);
    assert.match(stderr, /plugin macvlan: ADD failed: Link not found/u);
    assert.equal(stateOf(host), before);
  });

  test("loopback: brings up the one that is there", async () => {
    await using host = await NetworkHost.make();
    host.network("net", { type: "loopback" });
    await add(host, "a", "--ifname=lo");
    ping(host, "a", "127.0.0.1");
    done(await host.run("check", "net", "a"));
    done(await host.run("del", "net", "a"));
  });

  test("static: addresses of the configuration, of the arguments and of the capability", async () => {
    await using host = await NetworkHost.make();
    const bridge = { type: "bridge", bridge: "cni6", capabilities: { ips: true } };
    host.network("net", { ...bridge, ipam: { type: "static", addresses: [{ address: "10.6.0.7/24" }] } });
    assert.equal(addressOf(await add(host, "a")), "10.6.0.7");
    assert.match((await host.run("add", "net", "b", "--new")).stderr, /^cni-node: 10\.6\.0\.7: .* has it already/u);
    host.network("net", { ...bridge, ipam: { type: "static" } });
    assert.equal(addressOf(await add(host, "b", "--args=IgnoreUnknown=1;IP=10.6.0.8/24")), "10.6.0.8");
    assert.equal(addressOf(await add(host, "c", '--capability-args={"ips":["10.6.0.9/24"]}')), "10.6.0.9");
    ping(host, "c", "10.6.0.7");
  });

  test("portmap: a port of the host leads into the container", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add cni6 type bridge");
    const before = stateOf(host);
    const bridge = { type: "bridge", bridge: "cni6", isGateway: true, ipMasq: true, ipam: ipamOf(host) };
    host.network("net", bridge, { type: "portmap", capabilities: { portMappings: true } });
    const mapping = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
    await add(host, "a", `--capability-args=${JSON.stringify({ portMappings: [mapping] })}`);
    const server = host.namespace.spawn([
      "ip",
      "netns",
      "exec",
      "a",
      "busybox",
      "nc",
      "-l",
      "-p",
      "80",
      "-e",
      "echo",
      "hello",
    ]);
    const ended = endOf(server);
    await until(() => host.sh("ip netns exec a busybox netstat -ltn").includes(":80 "));
    assert.equal(host.sh("busybox nc 10.6.0.1 8080 </dev/null"), "hello\n");
    await ended;
    await deleteAll(host, before, "a");
  });

  test("bandwidth: limits what goes in and out", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add cni6 type bridge");
    const before = stateOf(host);
    const bridge = { type: "bridge", bridge: "cni6", isGateway: true, ipam: ipamOf(host) };
    host.network("net", bridge, { type: "bandwidth", capabilities: { bandwidth: true } });
    const bandwidth = {
      ingressRate: 8_000_000,
      ingressBurst: 8_000_000,
      egressRate: 8_000_000,
      egressBurst: 8_000_000,
    };
    await add(host, "a", `--capability-args=${JSON.stringify({ bandwidth })}`);
    assert.equal(host.sh("tc qdisc show | grep -c 'rate 8Mbit'").trim(), "2");
    ping(host, "a", "10.6.0.1");
    await deleteAll(host, before, "a");
  });

  test("tuning: settings of the container's interface, and check finds what is not as it was", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add cni6 type bridge");
    const before = stateOf(host);
    const bridge = { type: "bridge", bridge: "cni6", isGateway: true, ipam: ipamOf(host) };
    const sysctl = { "net.ipv4.conf.IFNAME.arp_filter": "1" };
    host.network("net", bridge, { type: "tuning", sysctl, mtu: 1300, capabilities: { mac: true } });
    const { interfaces } = await add(host, "a", '--capability-args={"mac":"02:00:00:00:00:07"}');
    assert.equal(interfaces.at(-1)?.mac, "02:00:00:00:00:07");
    assert.match(host.sh("ip -n a link show dev eth0"), /mtu 1300[^]*02:00:00:00:00:07/u);
    host.sh("ip netns exec a sh -c 'echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_filter'");
    const { exitCode, stderr } = await host.run("check", "net", "a");
    assert.equal(exitCode, 3);
    assert.match(stderr, /plugin tuning: CHECK failed: .*arp_filter/u);
    host.sh("ip netns exec a sh -c 'echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_filter'");
    await deleteAll(host, before, "a");
  });

  test("firewall: the container's packets are let through", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add cni6 type bridge");
    const before = stateOf(host);
    const bridge = {
      type: "bridge",
      bridge: "cni6",
      isGateway: true,
      ipam: ipamOf(host, { routes: [{ dst: "0.0.0.0/0" }] }),
    };
    host.network("net", bridge, { type: "firewall", backend: "iptables" });
    host.sh("iptables -P FORWARD DROP; ip netns add outside; ip link add o0 type veth peer name eth0 netns outside");
    host.sh("ip addr add 10.66.0.1/24 dev o0; ip link set o0 up; ip -n outside addr add 10.66.0.2/24 dev eth0");
    host.sh("ip -n outside link set eth0 up; ip -n outside route add default via 10.66.0.1");
    await add(host, "a");
    ping(host, "a", "10.66.0.2");
    host.sh("ip link delete o0");
    await deleteAll(host, before, "a");
  });

  test("dhcp: an address from a server on the network, with the plugin's daemon", async () => {
    await using host = await NetworkHost.make();
    const processes: ChildProcess[] = [];
    try {
      host.sh("ip link add cni6 type bridge; ip link set cni6 up; ip netns add server");
      host.sh("ip link add s0 type veth peer name eth0 netns server; ip link set s0 master cni6 up");
      host.sh("ip -n server addr add 10.6.0.1/24 dev eth0; ip -n server link set eth0 up");
      const file = join(host.plugins.root, "udhcpd.conf");
      const lines = [
        "start 10.6.0.100",
        "end 10.6.0.110",
        "interface eth0",
        "option subnet 255.255.255.0",
        "option router 10.6.0.1",
      ];
      fs.writeFileSync(file, [...lines, `lease_file ${file}.leases`, `pidfile ${file}.pid`, ""].join("\n"));
      fs.writeFileSync(`${file}.leases`, "");
      processes.push(host.namespace.spawn(["ip", "netns", "exec", "server", "busybox", "udhcpd", "-f", file]));
      host.network("net", { type: "bridge", bridge: "cni6", ipam: { type: "dhcp" } });

      const { exitCode, stderr } = await host.run("add", "net", "a", "--new");
      // Without the daemon, DEL fails, too: what is left cannot be known.
      assert.equal(exitCode, 4);
      assert.match(
        stderr,
        /plugin bridge: ADD failed: .*dhcp\.sock.*no such file.*could not be taken back: plugin bridge: DEL/u,
      );
      assert.match(host.sh("ip netns list"), /^a /mu);

      processes.push(host.namespace.spawn([join(REFERENCE_PLUGINS, "dhcp"), "daemon"]));
      await until(() => host.sh("ls /run/cni 2>/dev/null || true").includes("dhcp.sock"));
      const result = await add(host, "a");
      assert.match(addressOf(result), /^10\.6\.0\.1\d\d$/u);
      ping(host, "a", "10.6.0.1");
      assert.equal(done(await host.run("del", "net", "a")), "deleted     net  a  eth0\n");
    } finally {
      for (const child of processes) child.kill("SIGKILL");
    }
  });

  test("dummy, vrf, vlan and ipvlan answer, and where they fail nothing is left", async () => {
    await using host = await NetworkHost.make();
    host.sh("ip link add up0 type veth peer name up1; ip link set up0 up");
    const plugins = [
      { type: "dummy", ipam: ipamOf(host) },
      { type: "vlan", master: "none", vlanId: 7, ipam: ipamOf(host) },
      { type: "ipvlan", master: "none", ipam: ipamOf(host) },
    ];
    for (const plugin of [...plugins, { type: "vrf", vrfname: "blue" }]) {
      host.network("net", plugin);
      assert.match(done(await host.run("version", "net")), /^supported .*1\.0\.0/mu);
    }
    for (const plugin of plugins.slice(1)) {
      const before = stateOf(host);
      host.network("net", plugin);
      const { exitCode, stderr } = await host.run("add", "net", "a", "--new");
      // The DEL of vlan fails, too, where its master is not there.
      assert.ok([1, 4].includes(exitCode), stderr);
      assert.match(stderr, new RegExp(`plugin ${plugin.type}: ADD failed: `, "u"));
      assert.equal(stateOf(host), before);
      host.sh("ip netns delete a 2>/dev/null || true");
    }
    // As the first of a chain it has no interface to work on.
    host.network("net", { type: "vrf", vrfname: "blue" });
    const { exitCode, stderr } = await host.run("add", "net", "a", "--new");
    assert.notEqual(exitCode, 0);
    assert.match(stderr, /plugin vrf: ADD failed: /u);
  });

  test("two that are added at the same time get one address and one name each", async () => {
    await using host = await NetworkHost.make();
    host.network("net", { type: "bridge", bridge: "cni6", isGateway: true, ipam: ipamOf(host) });
    for (const name of ["a", "b", "c"]) host.target(name);
    const results = await Promise.all(["a", "a", "b", "c"].map(async (name) => add(host, name)));
    assert.equal(new Set(results.map((result) => addressOf(result))).size, 4);
    assert.deepEqual(host.sh("ip -n a -o link show | grep -o ' eth[0-9]*' | sort -u | tr -d ' '").trim().split("\n"), [
      "eth0",
      "eth1",
    ]);
  });
});
