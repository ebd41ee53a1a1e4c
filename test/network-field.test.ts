/** What people have met in the field, on real network namespaces. The letters are those of the reports. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cannotMount } from "./helpers/namespace.ts";
import { NetworkHost, REFERENCE_PLUGINS } from "./helpers/network.ts";
import { BUNDLE, endOf, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";

const skip = cannotMount || (fs.existsSync(join(REFERENCE_PLUGINS, "bridge")) ? false : "needs the reference plugins");

const BRIDGE = {
  type: "bridge",
  bridge: "br0",
  isGateway: true,
  ipam: { type: "host-local", subnet: "10.7.0.0/24", dataDir: "/run/leases" },
};

async function makeHost(...plugins: object[]): Promise<NetworkHost> {
  const host = await NetworkHost.make();
  host.configure("10-net.conflist", { cniVersion: "1.0.0", name: "net", plugins });
  return host;
}

function done({ exitCode, stdout, stderr }: Ran): string {
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

/** The leases and cached attachments that are left. */
function left(host: NetworkHost): string {
  return host.sh(`ls /run/leases/net 2>/dev/null | grep ^10 || :; ls ${host.cacheDir}/results`).trim();
}

function ofHost(host: NetworkHost): string {
  return host.sh("ls /sys/class/net | grep veth || :").trim();
}

describe("an attachment is found by the namespace that it was added to", { skip }, () => {
  for (const [what, make] of [
    ["a link to a process's namespace", "ln -s /proc/$pid/ns/net /run/link; echo /run/link"],
    ["a thread's namespace", "echo /proc/$pid/task/$pid/ns/net"],
    ["a link to a thread's namespace", "ln -s /proc/$pid/task/$pid/ns/net /run/link; echo /run/link"],
    ["a file that a process has open", "echo /proc/$pid/fd/9"],
  ] as const) {
    test(`N1: TARGET is ${what}`, async () => {
      await using host = await makeHost(BRIDGE);
      host.sh(
        "unshare --net setsid sh -c 'exec 9</proc/self/ns/net; echo $$ > /run/pid; exec sleep 1000' >/dev/null 2>&1 &",
      );
      const target = host.sh(`until [ -s /run/pid ]; do sleep 0.01; done; pid=$(cat /run/pid); ${make}`).trim();
      done(await host.run("add", "net", target));
      // Nothing pins the inode of the link, and the kernel makes another one.
      host.sh("echo 2 > /proc/sys/vm/drop_caches || :");
      assert.match(done(await host.run("check", "net", target)), /^right /u);
      assert.match(done(await host.run("list", "--attachments")), / alive /u);
      assert.match(done(await host.run("gc")), /^kept /u);
      assert.match(done(await host.run("del", "net", target)), /^deleted /u);
      assert.deepEqual([left(host), ofHost(host)], ["", ""]);
    });
  }

  test("N1: the process that it was named by has ended, and another one keeps the namespace", async () => {
    await using host = await makeHost(BRIDGE);
    host.sh("unshare --net setsid sh -c 'sleep 1000 & echo $$ > /run/pid; exec sleep 1001' >/dev/null 2>&1 &");
    const pid = host.sh("until [ -s /run/pid ]; do sleep 0.01; done; cat /run/pid").trim();
    done(await host.run("add", "net", `pid:${pid}`));
    host.sh(`kill -9 ${pid}; while grep -qs "^State:.[^Z]" /proc/${pid}/status; do sleep 0.01; done`);
    assert.match(done(await host.run("list", "--attachments")), / alive /u);
    assert.match(done(await host.run("del", "net", `pid:${pid}`)), /^deleted /u);
    assert.deepEqual([left(host), ofHost(host)], ["", ""]);
  });

  test("N9: del says what plugins leave on the host whose namespace is gone, and nothing else does", async () => {
    await using host = await NetworkHost.make("host-device", "ptp", "portmap");
    host.network("net", { type: "host-device" }, { type: "ptp", ipMasq: true }, { type: "portmap", ipMasq: false });
    const del = async (): Promise<Ran> => host.run("del", "net", "w");
    host.target("w");
    done(await host.run("add", "net", "w"));
    assert.equal((await del()).stderr, "");
    done(await host.run("add", "net", "w"));
    host.sh("ip netns delete w");
    const { stdout, stderr } = await del();
    assert.match(stdout, /^deleted /u);
    const warning = "cni-node: warning: the network namespace is gone:";
    const said = ["host-device does not release the address", "ptp leaves its masquerading rules"];
    assert.equal(stderr, said.map((what) => `${warning} ${what}\n`).join(""));
    assert.equal((await del()).stderr, "");
  });

  test("a namespace that has the number and the path of one that is gone is not touched", async () => {
    await using host = await makeHost(BRIDGE);
    // The kernel gives the lowest number that is free; others take and free numbers, too, and may keep this one.
    for (let tries = 1, isTaken = false; !isTaken; tries++) {
      assert.ok(tries <= 5, "others keep the number");
      host.target("w");
      done(await host.run("add", "net", "w"));
      const inode = host.sh("stat -L -c %i /run/netns/w").trim();
      const said = host.sh(
        `ip netns delete w
        for i in $(seq 500); do
          ip netns add x$i
          [ $(stat -L -c %i /run/netns/x$i) != ${inode} ] || { touch /run/netns/w; mount --bind /run/netns/x$i /run/netns/w; echo taken; exit 0; }
        done
        for i in $(seq 500); do ip netns delete x$i; done`,
      );
      isTaken = said.includes("taken");
      if (!isTaken) done(await host.run("gc"));
    }
    host.sh("ip -n w link add eth0 type veth peer name other");
    const { exitCode, stderr } = await host.run("check", "net", "w");
    assert.equal(exitCode, 1);
    assert.match(stderr, /is gone, and another one has its place/u);
    assert.match(done(await host.run("gc")), /^deleted /u);
    assert.equal(left(host), "");
    assert.match(host.sh("ip -n w -o link show eth0"), /eth0/u);
  });

  test("N2: under another name", async () => {
    await using host = await makeHost(BRIDGE);
    host.sh("mkdir -p /run/other; ip netns add w; ln -s /run/netns /run/other/netns");
    for (const [added, deleted] of [
      ["w", "/run/other/netns/w"],
      ["/run/other/netns/w", "w"],
      ["/run/netns/w", "/run/other/netns/w"],
    ] as const) {
      done(await host.run("add", "net", added));
      assert.match(done(await host.run("check", "net", deleted)), /^right /u);
      assert.match(done(await host.run("del", "net", deleted)), /^deleted /u);
      assert.deepEqual([left(host), ofHost(host)], ["", ""]);
    }
  });

  test("N2: as more than one container it is named", async () => {
    await using host = await makeHost(BRIDGE);
    host.target("w");
    for (const id of ["c1", "c2"]) done(await host.run("add", "net", "w", `--container-id=${id}`));
    const { exitCode, stderr } = await host.run("del", "net", "w");
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /as more than one container: c1 \(eth0\), c2 \(eth1\)\n {2}hint: choose one with --container-id/u,
    );
    for (const id of ["c1", "c2"]) done(await host.run("del", "net", "w", `--container-id=${id}`));
    assert.deepEqual([left(host), ofHost(host)], ["", ""]);
  });

  test("R7: what was never added is absent", async () => {
    await using host = await makeHost(BRIDGE);
    host.target("w");
    assert.match(done(await host.run("del", "net", "w")), /^absent {6}net {2}w {2}eth0 {2}/u);
    assert.equal(reportOf(await host.run("del", "net", "w", "--output=json"))["outcome"], "absent");
  });
});

describe("what speaks against adding", { skip }, () => {
  test("N3: addresses of the configuration do not count where the capability ips, or args.cni.ips, gives others", async () => {
    const ipam = { type: "static", addresses: [{ address: "10.8.0.5/24" }] };
    const plugin = { type: "bridge", bridge: "br0", capabilities: { ips: true }, ipam };
    await using host = await makeHost(plugin);
    for (const name of ["a", "b", "c"]) host.target(name);
    done(await host.run("add", "net", "a"));
    assert.match((await host.run("add", "net", "b")).stderr, /10\.8\.0\.5: it is asked for on network net/u);
    done(await host.run("add", "net", "b", '--capability-args={"ips":["10.8.0.6/24"]}'));
    const again = await host.run("add", "net", "c", '--capability-args={"ips":["10.8.0.6/24"]}');
    assert.match(again.stderr, /10\.8\.0\.6: it is asked for on network net/u);
    const withArgs = { ...plugin, args: { cni: { ips: ["10.8.0.7/24"] } } };
    host.configure("10-net.conflist", { cniVersion: "1.0.0", name: "net", plugins: [withArgs] });
    done(await host.run("add", "net", "c"));
  });

  test("N4: a default route in another table, or with a worse metric, takes nothing from the one that is there", async () => {
    const routed = (more: object): object => {
      return { ...BRIDGE, ipam: { ...BRIDGE.ipam, routes: [{ dst: "0.0.0.0/0", ...more }] } };
    };
    await using host = await makeHost(routed({}));
    host.target("w");
    done(await host.run("add", "net", "w"));
    for (const [more, isAllowed] of [
      [{}, false],
      [{ table: 254 }, false],
      [{ table: 100 }, true],
      [{ priority: 500 }, true],
    ] as const) {
      host.configure("20-more.conflist", { cniVersion: "1.1.0", name: "more", plugins: [routed(more)] });
      const { exitCode, stderr } = await host.run("add", "more", "w");
      assert.equal(exitCode, isAllowed ? 0 : 1, stderr);
      if (isAllowed) done(await host.run("del", "more", "w"));
      else assert.match(stderr, /it brings a default route/u);
    }
  });

  test("N5: the example in the hint for --capability-args works with portmap", async () => {
    await using host = await makeHost(BRIDGE, { type: "portmap", capabilities: { portMappings: true } });
    host.target("w");
    const { exitCode, stderr } = await host.run("add", "net", "w", "--capability-args=x");
    assert.equal(exitCode, 2);
    const [example = ""] = /\{.*\}/u.exec(stderr) ?? [];
    done(await host.run("add", "net", "w", `--capability-args=${example}`));
    done(await host.run("del", "net", "w"));
  });

  test("N6: an argument that a plugin does not know is told with what helps, and nothing is left", async () => {
    await using host = await makeHost(BRIDGE);
    const { exitCode, stderr } = await host.run("add", "net", "w", "--new", "--args=K=v");
    assert.equal(exitCode, 1, stderr);
    assert.match(stderr, /unknown args \[.*\n {2}hint: .*IgnoreUnknown=1/u);
    assert.equal(host.sh("ip netns list").trim(), "");
    assert.deepEqual([left(host), ofHost(host)], ["", ""]);
    const [, example = ""] = /--args='([^']*)'/u.exec(stderr) ?? [];
    done(await host.run("add", "net", "w", "--new", `--args=${example}`));
  });

  test("N7: a capability that no plugin declares is told, with those that there are", async () => {
    await using host = await makeHost({ ...BRIDGE, capabilities: { ips: true, mac: true } });
    host.target("w");
    const ran = await host.run("add", "net", "w", '--capability-args={"IPs":["10.7.0.9/24"]}');
    done(ran);
    assert.match(ran.stderr, /warning: .* declares the capability IPs: it has ips, mac\n/u);
  });
});

test(
  "small: the text report shows tables, metrics, sizes and what DNS is to search",
  { skip: cannotMount },
  async () => {
    await using host = await NetworkHost.make("first");
    host.network("net", { type: "first" });
    host.target("w");
    host.plugins.prints("first", "ADD", {
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", mtu: 1400, sandbox: "/run/netns/w" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1", table: 100, priority: 5, mtu: 1300 }],
      dns: { nameservers: ["10.0.0.1"], search: ["a.b"], options: ["ndots:5"], domain: "b" },
    });
    const text = done(await host.run("add", "net", "w", "--output=text"));
    for (const line of [
      "interface   eth0 mtu 1400 in the container",
      "route       0.0.0.0/0 by 10.1.0.1 table 100 priority 5 mtu 1300",
      "nameserver  10.0.0.1",
      "search      a.b",
      "option      ndots:5",
      "domain      b",
    ]) {
      assert.ok(text.includes(`  ${line}\n`), text);
    }
  },
);

describe("small, of network", { skip: cannotMount }, () => {
  async function recording(): Promise<NetworkHost> {
    const host = await NetworkHost.make("first");
    host.network("net", { type: "first" });
    host.plugins.prints("first", "ADD", { cniVersion: "1.1.0", interfaces: [{ name: "eth0" }] });
    return host;
  }

  test("small: cnitool takes paths only, and its hints say so", async () => {
    await using host = await recording();
    host.target("w");
    for (const [word, more] of [["w"], ["pid:1"], ["docker:w"], ["w", "--new"]] as const) {
      const words = [process.execPath, BUNDLE, "cnitool", "add", "net", word, ...(more === undefined ? [] : [more])];
      const ran = host.namespace.spawn(words, { NETCONFPATH: host.netd, CNI_NODE_HOST_ROOT: "/" });
      ran.stdin?.end();
      const { exitCode, stderr } = await endOf(ran);
      assert.equal(exitCode, more === undefined ? 1 : 2, stderr);
      assert.match(stderr, new RegExp(`/${word}.*\n {2}hint: .*; cnitool takes paths only\n`, "u"));
    }
    assert.deepEqual(host.plugins.take(), []);
  });

  test("small: the cniVersion v1.0.0 is said to be without the v", async () => {
    await using host = await recording();
    host.target("w");
    const file = join(host.plugins.root, "net.json");
    for (const [keys, problem] of [
      [{ cniVersion: "v1.0.0" }, /"v1\.0\.0", not a version like "1\.0\.0", without the v/u],
      [{ cniVersion: "1.0.0", cniVersions: ["v1.0.0"] }, /"v1\.0\.0", not a version like "1\.0\.0", without the v/u],
      [{ cniVersion: "one" }, /"one", not a version like "1\.0\.0"(?!,)/u],
    ] as const) {
      fs.writeFileSync(file, JSON.stringify({ name: "n", plugins: [{ type: "first" }], ...keys }));
      const { exitCode, stderr } = await host.run("add", "w", `--file=${file}`);
      assert.equal(exitCode, 1);
      assert.match(stderr, problem);
    }
  });

  test("small: a network without a name leaves no gap in messages", async () => {
    await using host = await recording();
    host.target("w");
    const file = join(host.plugins.root, "net.json");
    for (const type of ["first", "absent"]) {
      fs.writeFileSync(file, JSON.stringify({ cniVersion: "1.0.0", type }));
      for (const words of [["add", "w"], ["check", "w"], ["del", "w"], ["status"], ["probe"]]) {
        const { exitCode, stderr } = await host.run(...words, `--file=${file}`);
        assert.notEqual(exitCode, 0);
        assert.doesNotMatch(stderr, / :/u);
      }
    }
    assert.match((await host.run("add", "w", `--file=${file}`)).stderr, /^cni-node: the network: \S/u);
  });

  test("small: a container ID of 300 characters is refused for its length", async () => {
    await using host = await recording();
    host.target("w");
    const { exitCode, stderr } = await host.run("add", "net", "w", `--container-id=${"a".repeat(300)}`);
    assert.equal(exitCode, 1);
    assert.match(stderr, /CNI_CONTAINERID has 300 characters/u);
    assert.deepEqual(host.plugins.take(), []);
  });

  test("small: check and gc say the same of an attachment that cannot be judged", async () => {
    await using host = await recording();
    const keep = "setpriv --reuid=1000 --clear-groups sleep 1000";
    host.sh(`unshare --net setsid sh -c '${keep} & echo $$ > /run/pid; exec sleep 1001' >/dev/null 2>&1 &`);
    const pid = host.sh("until [ -s /run/pid ]; do sleep 0.01; done; cat /run/pid").trim();
    done(await host.run("add", "net", `pid:${pid}`));
    host.sh(`kill -9 ${pid}; while grep -qs "^State:.[^Z]" /proc/${pid}/status; do sleep 0.01; done`);
    host.plugins.take();
    for (const [wrapper, reason] of [
      [[], "its network namespace is there"],
      [
        ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"],
        "it cannot be known whether its network namespace is gone",
      ],
    ] as const) {
      const run = async (...words: string[]): Promise<Ran> => {
        const ran = host.start(words, {}, wrapper);
        ran.stdin?.end();
        return endOf(ran);
      };
      const checked = await run("check", "net", `pid:${pid}`);
      assert.equal(checked.exitCode, 1);
      assert.match(checked.stderr, new RegExp(`: ${reason}, and no path`, "u"));
      assert.match(done(await run("gc")), new RegExp(`^kept .*${reason}$`, "mu"));
    }
    assert.deepEqual(host.plugins.take(), []);
  });
});
