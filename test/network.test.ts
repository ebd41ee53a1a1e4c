/** The network commands with a recording plugin, on namespaces of their own. test/network-plugins.test.ts has real ones. */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cannotMount, childrenOf } from "./helpers/namespace.ts";
import { NetworkHost } from "./helpers/network.ts";
import { BUNDLE, endOf, until, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";

const skip = cannotMount;
const RESULT = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/a" }],
  ips: [{ address: "10.1.0.5/16", gateway: "10.1.0.1", interface: 0 }],
  routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }],
};

/** A host with the network "net" of two plugins and the namespace "a". */
async function makeHost(): Promise<NetworkHost> {
  const host = await NetworkHost.make("first", "second");
  host.network("net", { type: "first" }, { type: "second" });
  host.plugins.prints("first", "ADD", RESULT);
  host.plugins.prints("second", "ADD", RESULT);
  host.target("a");
  return host;
}

/** Does the process that nsenter has started handle its signals? */
function isReady(nsenter: number): boolean {
  const [pid] = childrenOf(nsenter);
  const [, caught = "0"] = /^SigCgt:\t(\w+)$/mu.exec(fs.readFileSync(`/proc/${pid ?? nsenter}/status`, "utf8")) ?? [];
  return (BigInt(`0x${caught}`) & SIGHUP) !== 0n;
}

/** The one that Node.js does not handle by itself, and the last one that we do. */
const SIGHUP = 1n;

/** As libcni's cnitool names it. */
function idOf(path: string): string {
  return `cnitool-${hash("sha512", path).slice(0, 20)}`;
}

const ID = idOf("/run/netns/a");

function done({ exitCode, stdout, stderr }: Ran): string {
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

/** What it says, and that it has called no plugin and remembers nothing. */
async function refused(host: NetworkHost, exitCode: number, ...words: string[]): Promise<string> {
  const ran = await host.run(...words);
  assert.deepEqual([ran.exitCode, ran.stdout], [exitCode, ""], ran.stderr);
  assert.deepEqual(host.plugins.takeNames(), []);
  return ran.stderr;
}

function cached(host: NetworkHost): string[] {
  const results = join(host.cacheDir, "results");
  return fs.existsSync(results) ? fs.readdirSync(results).filter((name) => name !== ".cni-node") : [];
}

/** Where the links of a directory lead; those that are gone meanwhile lead nowhere. */
function linksIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory).flatMap((name) => {
      try {
        return fs.readlinkSync(join(directory, name));
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

/** Writes what another runtime remembers, or we of that TARGET. */
function addForeign(host: NetworkHost, containerId: string, netns: string, target?: string): void {
  const config = Buffer.from(fs.readFileSync(join(host.netd, "10-net.conflist"))).toString("base64");
  const entry = {
    kind: "cniCacheV1",
    containerId,
    config,
    ifName: "eth0",
    networkName: "net",
    netns,
    result: RESULT,
    ...(target === undefined ? {} : { "cni-node.io/note": { target, identity: "1", since: "1", boot: "1" } }),
  };
  fs.mkdirSync(join(host.cacheDir, "results"), { recursive: true });
  fs.writeFileSync(host.plugins.cached(`net-${containerId}-eth0`), JSON.stringify(entry));
}

describe("network add", { skip }, () => {
  test("prints the result as the specification has it, and remembers the attachment as libcni does", async () => {
    await using host = await makeHost();
    const ran = await host.run("add", "net", "a", "--args=K=v;L=w=x", '--capability-args={"mac":"02:00:00:00:00:01"}');
    assert.deepEqual(JSON.parse(done(ran)), RESULT);
    assert.match(ran.stderr, /^cni-node: warning: [^\n]* declares the capability mac: it has none\n$/u);
    const calls = host.plugins.take();
    assert.deepEqual(
      calls.map(({ plugin, command, containerId, netns, ifName, args }) => [
        plugin,
        command,
        containerId,
        netns,
        ifName,
        args,
      ]),
      ["first", "second"].map((plugin) => [plugin, "ADD", ID, "/run/netns/a", "eth0", "K=v;L=w=x"]),
    );
    const entry = JSON.parse(fs.readFileSync(host.plugins.cached(`net-${ID}-eth0`), "utf8")) as Record<string, unknown>;
    assert.equal(entry["kind"], "cniCacheV1");
    assert.deepEqual(entry["cniArgs"], [
      ["K", "v"],
      ["L", "w=x"],
    ]);
    assert.deepEqual(entry["capabilityArgs"], { mac: "02:00:00:00:00:01" });
  });

  test("takes the next free ethN", async () => {
    await using host = await makeHost();
    host.sh("ip -n a link add eth0 type veth peer name eth1; ip -n a link add eth3 type veth peer name x");
    done(await host.run("add", "net", "a"));
    assert.deepEqual(cached(host), [`net-${ID}-eth2`]);
    assert.equal(done(await host.run("check", "net", "a")), "right       net  a  eth2\n");
    assert.equal(done(await host.run("del", "net", "a")), "deleted     net  a  eth2\n");
    assert.deepEqual(
      host.plugins
        .take()
        .map(({ command, ifName }) => [command, ifName])
        .at(-1),
      ["DEL", "eth2"],
    );
    assert.deepEqual(cached(host), []);
  });

  test("tells people with --output=text, and programs with --output=json", async () => {
    await using host = await makeHost();
    assert.equal(
      done(await host.run("add", "net", "a", "--output=text")),
      [
        "added       net  a  eth0",
        "  interface   eth0 in the container",
        "  address     10.1.0.5/16 gateway 10.1.0.1",
        "  route       0.0.0.0/0 by 10.1.0.1",
        "",
      ].join("\n"),
    );
    assert.deepEqual(JSON.parse(done(await host.run("add", "net", "a", "--ifname=b", "--output=json"))), {
      version: 1,
      command: "network add",
      result: "done",
      exitCode: 0,
      attachment: { network: "net", target: "a", containerId: ID, netns: "/run/netns/a", ifName: "b" },
      cniResult: RESULT,
    });
  });

  test("says what a plugin said of its failure, and takes back what was begun", async () => {
    await using host = await makeHost();
    host.plugins.fails("second", "ADD", { code: 101, msg: "no more addresses", details: "in 10.1.0.0/16" });
    const ran = await host.run("add", "net", "a");
    assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
    assert.equal(
      ran.stderr,
      `cni-node: network net: container ${ID} cannot be added as eth0: plugin second: ADD failed: no more addresses; in 10.1.0.0/16 (code 101)\n` +
        "  hint: --trace shows what the plugin was given and what it answered\n",
    );
    assert.deepEqual(host.plugins.takeNames(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    const { error, exitCode } = JSON.parse((await host.run("add", "net", "a", "--output=json")).stdout) as {
      error: Record<string, unknown>;
      exitCode: number;
    };
    assert.equal(exitCode, 1);
    assert.equal(error["code"], "cni-plugin-failed");
    const details = "in 10.1.0.0/16";
    assert.deepEqual(error["cni"], { code: 101, msg: "no more addresses", details, plugin: "second", command: "ADD" });
    assert.deepEqual(cached(host), []);
  });

  test("ends with 4 when what was begun cannot be taken back", async () => {
    await using host = await makeHost();
    host.plugins.fails("second", "ADD", { code: 11, msg: "busy" });
    host.plugins.fails("first", "DEL", { code: 5, msg: "disk" });
    const { exitCode, stderr } = await host.run("add", "net", "a");
    assert.equal(exitCode, 4);
    assert.match(stderr, /busy \(code 11\); and it could not be taken back: plugin first: DEL failed: disk\n/u);
  });

  test("small: the hint is chmod, and it ends with 1, when a plugin that cannot be started is all that cannot be taken back", async () => {
    await using host = await makeHost();
    fs.chmodSync(join(host.plugins.bin, "second"), 0o644);
    const { exitCode, stderr } = await host.run("add", "net", "a");
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /second: ADD failed: \S+ cannot be run: permission denied\n {2}hint: make it executable: chmod 755 \S+\/second; /u,
    );
    assert.deepEqual(host.plugins.takeNames(), ["first ADD", "first DEL"]);
    host.plugins.fails("first", "DEL", { code: 5, msg: "disk" });
    assert.equal((await host.run("add", "net", "a")).exitCode, 4);
  });

  test("makes the namespace with --new, and takes it away again when the network cannot be added", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "b", "--new"));
    assert.equal(host.sh("ip netns list | wc -l").trim(), "2");
    host.plugins.take();
    host.plugins.fails("first", "ADD", { code: 100, msg: "no" });
    assert.equal((await host.run("add", "net", "c", "--new")).exitCode, 1);
    assert.equal(host.sh("ip netns list | wc -l").trim(), "2");
    host.plugins.take();
    assert.match(
      await refused(host, 1, "add", "net", "a", "--new"),
      /such a network namespace already\n {2}hint: leave out --new/u,
    );
    for (const [wrong, hint] of [
      ["--ifname=a/b", "--ifname"],
      ["--container-id=../c", "--container-id"],
    ] as const) {
      assert.match(await refused(host, 1, "add", "net", "a", wrong), new RegExp(`hint: .*${hint}`, "u"));
    }
    assert.match(await refused(host, 2, "add", "net", "pid:1", "--new"), /^cni-node: --new: requires the name/u);
    assert.equal(host.sh("ip netns list | wc -l").trim(), "2");
    done(await host.run("del", "net", "b", "--delete-netns"));
    assert.equal(host.sh("ip netns list | wc -l").trim(), "1");
    assert.match(done(await host.run("del", "net", "b", "--delete-netns")), /^absent/u);
  });

  test("reads a network from standard input and from a file of any name", async () => {
    await using host = await makeHost();
    const single = { name: "cbr0", type: "first" };
    const stdin = JSON.stringify(single);
    host.plugins.prints("first", "ADD", { cniVersion: "0.2.0", ip4: { ip: "10.1.0.5/16" } });
    const printed = done(await host.runWith({ stdin }, "add", "-", "a"));
    assert.deepEqual(JSON.parse(printed), { cniVersion: "0.2.0", ip4: { ip: "10.1.0.5/16" }, dns: {} });
    assert.deepEqual(host.plugins.take()[0]?.request, { ...single, cniVersion: "0.2.0" });
    const file = join(host.plugins.root, "anything");
    fs.writeFileSync(file, stdin);
    done(await host.run("del", `--file=${file}`, "a"));
    done(await host.runWith({ stdin }, "del", "--file=-", "a"));
    fs.writeFileSync(file, JSON.stringify({ cniVersion: "1.0.0", name: "list", plugins: [{ type: "first" }] }));
    done(await host.run("add", `--file=${file}`, "a"));
    assert.equal(host.plugins.take().at(-1)?.request["name"], "list");
    fs.writeFileSync(file, "{}");
    assert.match(await refused(host, 1, "add", `--file=${file}`, "a"), /anything: has no/u);
    assert.match(await refused(host, 1, "add", "--file=/dev/zero", "a"), /\/dev\/zero: .* is larger than 2 MiB/u);
    assert.match(
      await refused(host, 1, "add", "--file=/nowhere", "a"),
      /^cni-node: \/nowhere: the network configuration cannot be read/u,
    );
    assert.match(await refused(host, 2, "add", `--file=${file}`, "net", "a"), /"a": unexpected argument/u);
  });

  test("reads the environment of cnitool, and options win", async () => {
    await using host = await makeHost();
    const env = {
      CNI_NODE_CONFIG_DIR: "",
      NETCONFPATH: host.netd,
      CNI_NODE_PLUGIN_DIR: "",
      CNI_PATH: host.plugins.bin,
      CNI_ARGS: "A=1",
      CAP_ARGS: '{"ips":["10.1.0.9/16"]}',
      CNI_IFNAME: "net7",
    };
    done(await host.runWith({ env }, "add", "net", "a"));
    const [call] = host.plugins.take();
    assert.deepEqual([call?.args, call?.ifName, call?.path], ["A=1", "net7", host.plugins.bin]);
    const options = ["--args=B=2", "--ifname=net8", "--capability-args={}"];
    done(await host.runWith({ env }, "add", "net", "a", ...options));
    assert.deepEqual(
      [host.plugins.take()[0]].map((one) => [one?.args, one?.ifName]),
      [["B=2", "net8"]],
    );
    const said = (await host.runWith({ env: { ...env, CNI_ARGS: "x" } }, "add", "net", "a")).stderr;
    assert.match(said, /^cni-node: CNI_ARGS: "x" is not KEY=VALUE/u);
  });

  const USAGE: [words: string[], said: RegExp][] = [
    [["add"], /^cni-node: NETWORK: is missing/u],
    [["add", "net"], /^cni-node: TARGET: is missing/u],
    [["add", "net", "a", "b"], /^cni-node: "b": unexpected argument/u],
    [["add", "net", "a", "--", "b"], /^cni-node: .*argument/u],
    [["add", "net", "docker"], /\/run\/netns\/docker is not a network namespace/u],
    [["add", "net", "what:ever"], /is not a known target: what/u],
    [["add", "net", "pid:0"], /is not a process number/u],
    [["add", "net", "pid:"], /is not a process number/u],
    [["add", "net", "pod:name"], /is not pod:NAMESPACE\/NAME/u],
    [["add", "net", "a/b"], /is not a name in \/run\/netns/u],
    [["add", "net", "runc:../.."], /there is no such container/u],
    [["add", "net", "docker:"], /there is no such container/u],
    [["add", "net", "a", "--args=x"], /^cni-node: --args: "x" is not KEY=VALUE/u],
    [["add", "net", "a", "--capability-args=[]"], /^cni-node: --capability-args: is not a JSON object/u],
    [["add", "net", "a", "--valid="], /unknown option '--valid'/u],
    [["add", "net", "a", "--plugin-timeout=5"], /is not a duration/u],
    [["gc", "net", "--all"], /--all: requires --valid/u],
    [["gc", "--valid="], /NETWORK: is missing/u],
    [["gc", "net", "--valid=x"], /"x" is not ID\/IFNAME/u],
    [["ad"], /unknown command 'ad'\n(?:.|\n)*did you mean add\?/u],
  ];
  test("what is used wrongly is refused before anything is touched", async () => {
    await using host = await makeHost();
    for (const [words, said] of USAGE) {
      const ran = await host.run(...words);
      assert.ok([1, 2].includes(ran.exitCode), words.join(" "));
      assert.match(ran.stderr, said);
      assert.deepEqual([ran.stdout, host.plugins.takeNames(), cached(host)], ["", [], []]);
    }
  });
});

describe("before it adds, network add refuses", { skip }, () => {
  test("a namespace that is none, and that of the host itself", async () => {
    await using host = await makeHost();
    host.sh("touch /run/netns/file");
    for (const target of ["nope", "file", "/nowhere", "pid:999999"]) {
      assert.match(await refused(host, 1, "add", "net", target), /is not a network namespace\n {2}hint: /u);
    }
    for (const target of ["pid:1", "/proc/self/ns/net"]) {
      for (const verb of ["add", "del"]) {
        assert.match(await refused(host, 1, verb, "net", target), /this is the network of the host itself/u);
      }
    }
  });

  test("the namespace of a process that has got the number of a container's", async () => {
    await using host = await makeHost();
    const keeper = host.namespace.spawn(["unshare", "--net", "sh", "-c", "echo $$; cat"]);
    const [pid] = (await once(keeper.stdout ?? keeper, "data")) as [Buffer];
    const since = host.sh(`cut -d" " -f22 /proc/${String(pid).trim()}/stat`).trim();
    for (const [state, isStranger] of [
      [`runc/c/state.json '{"init_process_pid":${String(pid).trim()},"init_process_start":1}'`, true],
      [`crun/c/status '{"pid":${String(pid).trim()},"process-start-time":1}'`, true],
      [`runc/c/state.json '{"init_process_pid":${String(pid).trim()},"init_process_start":${since}}'`, false],
      [`crun/c/status '{"pid":${String(pid).trim()},"process-start-time":${since}}'`, false],
    ] as const) {
      const [file = "", json = ""] = state.split(" ");
      host.sh(`rm -rf /run/runc /run/crun; mkdir -p /run/runc/c /run/crun/c; echo ${json} > /run/${file}`);
      if (isStranger) assert.match(await refused(host, 1, "add", "net", "runc:c"), /no such container, or it is not/u);
      else {
        done(await host.run("add", "net", "runc:c"));
        done(await host.run("del", "net", "runc:c"));
        host.plugins.take();
      }
    }
    // Its ID may be given as people see it.
    const id = "0123456789ab".padEnd(64, "0");
    const state = `{"init_process_pid":${String(pid).trim()},"init_process_start":${since}}`;
    host.sh(`rm -rf /run/runc /run/crun; mkdir -p /run/runc/${id}
      echo '${state}' > /run/runc/${id}/state.json`);
    assert.match(await refused(host, 1, "add", "net", "runc:0123456789a"), /no such container/u);
    done(await host.run("add", "net", "runc:0123456789ab"));
    assert.deepEqual(cached(host), [`net-${id}-eth0`]);
    done(await host.run("del", "net", `runc:${id}`));
    done(await host.run("add", "net", `runc:${id}`));
    host.sh("rm -r /run/runc");
    assert.match(done(await host.run("del", "net", "runc:0123456789ab")), /^deleted /u);
    const ended = endOf(keeper);
    keeper.stdin?.end();
    await ended;
  });

  test("a plugin that is not there, also the one for addresses", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first" }, { type: "none", ipam: { type: "nothing" } });
    const said = await refused(host, 1, "add", "net", "a");
    assert.match(
      said,
      /^cni-node: network net: \/.* has no none, nothing\n {2}hint: have their installer install them: \/opt\/cni\/bin here does not have them; /u,
    );
    const bin = host.plugins.bin;
    const env = { CNI_NODE_PLUGIN_SOURCE: bin };
    fs.renameSync(join(bin, "first"), join(bin, "none"));
    const { stderr } = await host.runWith({ env }, "add", "net", "a", "--plugin-dir=/nowhere");
    assert.match(stderr, /hint: install them: cni-node install --plugins=none; \S+ here does not have the others; /u);
  });

  test("an interface name that is taken", async () => {
    await using host = await makeHost();
    host.sh("ip -n a link add eth0 type veth peer name eth1");
    const said = await refused(host, 1, "add", "net", "a", "--ifname=eth1");
    assert.match(said, /^cni-node: eth1: .* already\n {2}hint: .* eth2 is free\n/u);
    assert.match(
      await refused(host, 1, "add", "net", "a", "--ifname=far-too-long-name"),
      /CNI_IFNAME is "far-too-long-name"/u,
    );
  });

  const BRINGING: [what: string, plugin: object][] = [
    ["isDefaultGateway", { isDefaultGateway: true }],
    ["a route to 0.0.0.0/0", { ipam: { routes: [{ dst: "10.0.0.0/8" }, { dst: "0.0.0.0/0" }] } }],
    ["a delegate of the kind", { delegate: { isDefaultGateway: true } }],
  ];
  for (const [what, more] of BRINGING) {
    test(`a second default route: ${what}`, async () => {
      await using host = await makeHost();
      host.network("net", { type: "first", ...more });
      host.sh(
        "ip -n a link add eth0 type veth peer name x; ip -n a link set eth0 up; ip -n a link set x up; ip -n a addr add 10.9.0.2/24 dev eth0; ip -n a route add default via 10.9.0.1",
      );
      assert.match(await refused(host, 1, "add", "net", "a"), /it brings a default route, .* one on eth0 already/u);
      done(await host.run("add", "net", "a", "--allow-default-route"));
    });
  }

  test("a second default route of IPv6, and none where it is of the other kind", async () => {
    await using host = await makeHost();
    host.sh(
      "ip -n a link add eth0 type veth peer name x; ip -n a link set eth0 up; ip -n a link set x up; ip -n a route add default via fe80::1 dev eth0",
    );
    host.network("net", { type: "first", ipam: { routes: [{ dst: "::/0" }] } });
    assert.match(await refused(host, 1, "add", "net", "a"), /it brings a default route/u);
    host.network("net", { type: "first", isDefaultGateway: true });
    done(await host.run("add", "net", "a"));
    done(await host.run("del", "net", "a"));
    host.plugins.take();
    host.plugins.install("ipam");
    for (const ipam of [
      { subnet: "fd00:1::/64" },
      { ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: "fd00:1::/64" }]] },
      { addresses: [{ address: "fd00:1::2/64" }] },
    ]) {
      host.network("net", { type: "first", isDefaultGateway: true, ipam: { type: "ipam", ...ipam } });
      assert.match(await refused(host, 1, "add", "net", "a"), /it brings a default route/u);
    }
    host.sh("ip -n a -6 route del default; ip -n a link set lo up; ip -n a route add default dev lo");
    host.network("net", { type: "first", isDefaultGateway: true, ipam: { type: "ipam", subnet: "fd00:1::/64" } });
    done(await host.run("add", "net", "a"));
  });

  test("an address that is in use: in the namespace, on the host, by another container", async () => {
    await using host = await makeHost();
    host.target("b");
    host.sh("ip -n a link set lo up; ip -n a addr add 10.9.0.2/32 dev lo; ip addr add 10.9.0.3/32 dev lo");
    host.sh("ip -n a addr add 2001:db8::2/128 dev lo");
    host.network("net", { type: "first", ipam: { type: "static", addresses: [{ address: "10.9.0.2/24" }] } });
    fs.writeFileSync(join(host.plugins.bin, "static"), "");
    assert.match(
      await refused(host, 1, "add", "net", "a"),
      /^cni-node: 10\.9\.0\.2: .* the network namespace itself has it/u,
    );
    host.network("net", { type: "first" });
    assert.match(await refused(host, 1, "add", "net", "b", "--args=IP=10.9.0.3"), /10\.9\.0\.3: .* the host has it/u);
    const ips = '--capability-args={"ips":["2001:DB8::2/64"]}';
    assert.match(await refused(host, 1, "add", "net", "a", ips), /^cni-node: 2001:db8::2: /mu);
    done(await host.run("add", "net", "a"));
    host.plugins.take();
    const said = await refused(host, 1, "add", "net", "b", "--args=IP=10.1.0.5");
    assert.ok(said.includes(`container ${ID} on eth0 has it already`), said);
  });
});

test("who may not look is told to be root", { skip }, async () => {
  await using host = await makeHost();
  done(await host.run("add", "net", "a"));
  host.sh(`chmod 700 ${host.cacheDir}; chmod 755 ${host.plugins.root}`);
  const env = { CNI_NODE_HOST_ROOT: "/", CNI_NODE_CONFIG_DIR: host.netd, CNI_NODE_CACHE_DIR: host.cacheDir };
  for (const words of [["list", "--attachments"], ["add", "net", "a"], ["del", "net", "a"], ["gc"]]) {
    const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, BUNDLE];
    const child = host.namespace.spawn([...user, "network", ...words], { ...env, CNI_PATH: host.plugins.bin });
    child.stdin?.end();
    const { exitCode, stdout, stderr } = await endOf(child);
    assert.deepEqual([exitCode, stdout], [1, ""], stderr);
    assert.match(stderr, /^cni-node: .*(?:permission denied|cannot open|not permitted).*\n {2}hint: run as root/iu);
  }
});

describe("network del and check", { skip }, () => {
  test("work on a container that is gone, and on a network whose configuration is", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    host.sh("ip netns delete a");
    fs.rmSync(join(host.netd, "10-net.conflist"));
    host.plugins.take();
    const ran = await host.run("del", "net", "a");
    assert.equal(done(ran), "deleted     net  a  eth0\n");
    assert.match(ran.stderr, /^cni-node: warning: .*no network configuration.* it is used as it was/u);
    assert.deepEqual(
      host.plugins.take().map(({ command, netns }) => [command, netns]),
      [
        ["DEL", ""],
        ["DEL", ""],
      ],
    );
    assert.equal((await host.run("del", "net", "a")).exitCode, 1);
  });

  test("never tell a plugin another namespace than the one that was added", async () => {
    await using host = await makeHost();
    // The new one may have the number of the old one, and does not have that interface.
    const interfaces = [{ name: "eth0", mac: "02:00:00:00:00:07", sandbox: "/run/netns/a" }];
    host.plugins.prints("second", "ADD", { ...RESULT, interfaces });
    done(await host.run("add", "net", "a"));
    host.sh("ip netns delete a; ip netns add a");
    host.plugins.take();
    assert.match(await refused(host, 1, "check", "net", "a"), /is gone, and another one has its place/u);
    done(await host.run("del", "net", "a"));
    assert.deepEqual(
      host.plugins.take().map(({ netns }) => netns),
      ["", ""],
    );
  });

  test("take the given namespace where others have not noted theirs", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    const file = host.plugins.cached(`net-${ID}-eth0`);
    const { kind, containerId, config, ifName, networkName } = JSON.parse(fs.readFileSync(file, "utf8")) as Record<
      string,
      unknown
    >;
    const result = { cniVersion: "1.0.0" };
    fs.writeFileSync(file, JSON.stringify({ kind, containerId, config, ifName, networkName, result }));
    host.plugins.take();
    done(await host.run("check", "net", "a"));
    done(await host.run("del", "net", "a"));
    assert.deepEqual(
      host.plugins.take().map(({ command, netns }) => `${command} ${netns}`),
      ["CHECK", "CHECK", "DEL", "DEL"].map((command) => `${command} /run/netns/a`),
    );
  });

  test("need to be told which interface where there are several", async () => {
    await using host = await makeHost();
    for (const name of ["x", "y"]) done(await host.run("add", "net", "a", `--ifname=${name}`));
    host.plugins.take();
    assert.match(
      await refused(host, 1, "del", "net", "a"),
      /more than once: x, y\n {2}hint: choose one with --ifname/u,
    );
    done(await host.run("del", "net", "a", "--ifname=y"));
    done(await host.run("check", "net", "a"));
  });

  test("del is done when it was done; check is not", async () => {
    await using host = await makeHost();
    done(await host.run("del", "net", "a"));
    assert.deepEqual(host.plugins.takeNames(), ["second DEL", "first DEL"]);
    const { exitCode, stderr } = await host.run("check", "net", "a");
    assert.equal(exitCode, 1);
    assert.match(stderr, /has not been added to network net as eth0 \(code 3\)/u);
  });

  test("check ends with 3 when a plugin objects, and says so where nobody is asked", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    host.plugins.fails("second", "CHECK", { code: 102, msg: "the route is missing" });
    const { exitCode, stderr } = await host.run("check", "net", "a");
    assert.equal(exitCode, 3);
    assert.match(stderr, /plugin second: CHECK failed: the route is missing \(code 102\)/u);
    host.configure("10-net.conflist", {
      cniVersion: "1.1.0",
      name: "net",
      disableCheck: true,
      plugins: [{ type: "first" }],
    });
    assert.match(done(await host.run("check", "net", "a")), /^unchecked/u);
  });
});

describe("network gc", { skip }, () => {
  test("releases what cni-node has added and whose namespace is gone, and nothing else", async () => {
    await using host = await makeHost();
    for (const name of ["b", "d"]) host.target(name);
    for (const name of ["a", "b", "d"]) done(await host.run("add", "net", name));
    addForeign(host, "gone", "/run/netns/gone");
    addForeign(host, "alive", "/run/netns/a");
    // b is gone; d has no name any more, and a process in it.
    const keeper = host.namespace.spawn(["ip", "netns", "exec", "d", "sh", "-c", "echo in; cat"]);
    await new Promise((resolve) => keeper.stdout?.once("data", resolve));
    host.sh("ip netns delete b; ip netns delete d");
    host.plugins.take();
    const kept = "its network namespace is there";
    assert.deepEqual(
      done(await host.run("gc"))
        .split("\n")
        .sort(),
      [
        "",
        `deleted     net  ${idOf("/run/netns/b")}  eth0`,
        `kept        net  ${ID}  eth0  ${kept}`,
        `kept        net  ${idOf("/run/netns/d")}  eth0  ${kept}`,
      ].sort(),
    );
    assert.deepEqual(
      host.plugins.take().map(({ command, netns }) => [command, netns]),
      [
        ["DEL", ""],
        ["DEL", ""],
      ],
    );
    const ended = endOf(keeper);
    keeper.stdin?.end();
    await ended;
    assert.match(done(await host.run("gc", "net")), /^deleted/mu);
    assert.deepEqual(cached(host).sort(), ["net-alive-eth0", `net-${ID}-eth0`, "net-gone-eth0"].sort());
    assert.equal(done(await host.run("gc", "other")), "nothing to do\n");
  });

  test("never tells a plugin the namespace that has the place of one that is gone, and takes it for none", async () => {
    await using host = await makeHost();
    const result = { ...RESULT, interfaces: [{ name: "eth0", mac: "02:00:00:00:00:07", sandbox: "/run/netns/a" }] };
    host.plugins.prints("second", "ADD", result);
    done(await host.run("add", "net", "a"));
    // The new one has the number of the old one, if the kernel is done with that.
    host.sh("ip netns delete a; sleep 0.2; ip netns add a; ip -n a link add eth0 type veth peer name x");
    host.plugins.take();
    assert.match(done(await host.run("list", "--attachments")), / gone /u);
    assert.match(done(await host.run("gc")), /^deleted/u);
    assert.deepEqual(
      host.plugins.take().map(({ command, netns }) => [command, netns]),
      [
        ["DEL", ""],
        ["DEL", ""],
      ],
    );
  });

  test("does not tell it with --valid either", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    host.sh("ip netns delete a");
    host.target("a");
    host.plugins.take();
    host.plugins.fails("first", "DEL", { code: 11, msg: "busy" });
    const { exitCode, stderr } = await host.run("gc", "net", "--valid=");
    assert.deepEqual([exitCode, /busy \(code 11\)/u.test(stderr)], [4, true]);
    host.plugins.does("first", "DEL", "exit 0");
    assert.match(done(await host.run("gc", "net", "--valid=")), /^deleted {5}net/u);
    assert.deepEqual(
      host.plugins.take().flatMap(({ command, netns }) => (command === "DEL" ? [netns] : [])),
      ["", "", "", ""],
    );
    assert.deepEqual(cached(host), []);
  });

  test("keeps what is in a namespace that has lost its path", async () => {
    await using host = await makeHost();
    const mac = "02:00:00:00:00:07";
    host.plugins.prints("second", "ADD", { ...RESULT, interfaces: [{ name: "eth0", mac, sandbox: "/run/netns/a" }] });
    done(await host.run("add", "net", "a"));
    host.sh(`ip -n a link add eth0 address ${mac} type veth peer name x`);
    host.sh("touch /run/elsewhere; mount --bind /run/netns/a /run/elsewhere; ip netns delete a");
    assert.match(done(await host.run("gc")), /^kept/u);
    const keeper = host.namespace.spawn(["sh", "-c", "exec 9</run/elsewhere; umount -l /run/elsewhere; echo in; cat"]);
    await new Promise((resolve) => keeper.stdout?.once("data", resolve));
    assert.match(done(await host.run("gc")), /^kept/u);
    const ended = endOf(keeper);
    keeper.stdin?.end();
    await ended;
    assert.match(done(await host.run("gc")), /^deleted/u);
  });

  test("keeps what is in a namespace that only a thread is in", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    const setns = process.arch === "arm64" ? 268 : 308;
    const thread = `syscall(${setns}, $fd, 0) == 0 or die $!; POSIX::close($fd); $| = 1; print "in"; <STDIN>`;
    const program = `$fd = POSIX::open("/run/netns/a"); threads->create(sub { ${thread} })->join`;
    const keeper = host.namespace.spawn(["perl", "-Mthreads", "-MPOSIX", "-e", program]);
    await new Promise((resolve) => keeper.stdout?.once("data", resolve));
    host.sh("ip netns delete a");
    assert.match(done(await host.run("gc")), /^kept/u);
    const ended = endOf(keeper);
    keeper.stdin?.end();
    await ended;
    assert.match(done(await host.run("gc")), /^deleted/u);
  });

  test("releases what was added before the machine was started again", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    const file = host.plugins.cached(`net-${ID}-eth0`);
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(boot, "another"));
    assert.match(done(await host.run("gc", "--output=json")), /"outcome":"deleted"/u);
  });

  test("goes on when a plugin fails, keeps what it was about, and ends with 1", async () => {
    await using host = await makeHost();
    host.target("b");
    for (const name of ["a", "b"]) done(await host.run("add", "net", name));
    host.sh("ip netns delete a; ip netns delete b");
    host.plugins.does(
      "first",
      "DEL",
      `[ "$CNI_CONTAINERID" != ${ID} ] || { printf '{"code":11,"msg":"busy"}'; exit 1; }`,
    );
    const { exitCode, stdout, stderr } = await host.run("gc");
    assert.equal(exitCode, 1);
    assert.match(stderr, /plugin first: DEL failed: busy \(code 11\)\n {2}hint: wait/u);
    assert.match(stdout, /^deleted/mu);
    assert.deepEqual(cached(host), [`net-${ID}-eth0`]);
  });

  test("with --valid goes on when a plugin fails, and tells what was deleted and all that failed", async () => {
    await using host = await makeHost();
    host.target("b");
    for (const name of ["a", "b"]) done(await host.run("add", "net", name));
    host.plugins.does(
      "second",
      "DEL",
      `[ "$CNI_CONTAINERID" = ${ID} ] || { printf '{"code":100,"msg":"stuck"}'; exit 1; }`,
    );
    host.plugins.fails("first", "GC", { code: 101, msg: "no list" });
    const { exitCode, stderr } = await host.run("gc", "net", "--valid=");
    assert.equal(exitCode, 4);
    assert.match(
      stderr,
      new RegExp(`network net: ${ID}/eth0 was deleted, .*stuck \\(code 100\\); .*no list \\(code 101\\)`, "u"),
    );
    assert.equal(cached(host).length, 1);
  });

  test("with --valid does as the specification says, but not with attachments of others", async () => {
    await using host = await makeHost();
    host.target("b");
    for (const name of ["a", "b"]) done(await host.run("add", "net", name));
    addForeign(host, "foreign", "/run/netns/a");
    host.plugins.take();
    const said = await refused(host, 1, "gc", "net", `--valid=${ID}/eth0`);
    assert.match(said, /others have added attachments that would be deleted: foreign\/eth0\n/u);
    assert.match(
      done(await host.run("gc", "net", `--valid=${ID}/eth0,foreign/eth0`)),
      /^deleted {5}net {2}cnitool-\S+ {2}eth0\n$/u,
    );
    const gcCalls = host.plugins.take().filter(({ command }) => command === "GC");
    const valid = [ID, "foreign"].map((containerID) => ({ containerID, ifname: "eth0" }));
    assert.deepEqual(
      gcCalls.map(({ request }) => request["cni.dev/valid-attachments"]),
      [valid, valid],
    );
    done(await host.run("gc", "net", "--valid=", "--all"));
    assert.deepEqual(cached(host), []);
  });
});

describe("what a plugin says", { skip }, () => {
  test("is told without the secrets that it was given, and does not steer the terminal", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first", token: "S3CRET" });
    host.plugins.does("first", "ADD", `printf '%s' "$request"; exit 1`);
    const echoed = await host.run("add", "net", "a");
    assert.match(echoed.stderr, /plugin first: ADD failed: .*"type":"first"/u);
    host.plugins.does("first", "ADD", `printf 'red \\033[31m\\a\\n' >&2; exit 1`);
    const coloured = await host.run("add", "net", "a");
    assert.match(coloured.stderr, /red \\u001b\[31m\\u0007/u);
    for (const { stdout, stderr } of [echoed, coloured]) {
      // oxlint-disable-next-line no-control-regex -- this is what must not be there
      assert.doesNotMatch(stdout + stderr, /S3CRET|\x1b|\x07/u);
    }
  });
});

describe("network status, version, list and show", { skip }, () => {
  test("status asks all plugins; one that is not ready is a finding", async () => {
    await using host = await makeHost();
    assert.equal(done(await host.run("status", "net")), "ready      net  first, second\n");
    assert.deepEqual(host.plugins.takeNames(), ["first STATUS", "second STATUS"]);
    host.plugins.fails("first", "STATUS", { code: 50, msg: "no route to the API" });
    const { exitCode, stderr } = await host.run("status", "net");
    assert.equal(exitCode, 3);
    assert.match(
      stderr,
      /^cni-node: network net: it is not ready: plugin first: STATUS failed: no route to the API \(code 50\)/u,
    );
    host.configure("10-net.conflist", { cniVersion: "1.0.0", name: "net", plugins: [{ type: "first" }] });
    assert.match(done(await host.run("status", "net")), /^not asked {2}net {2}STATUS needs CNI 1\.1\.0/u);
  });

  test("version says which plugin does not support the network", async () => {
    await using host = await makeHost();
    host.plugins.prints("first", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.0.0", "1.1.0"] });
    host.plugins.prints("second", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["0.4.0"] });
    const { exitCode, stdout } = await host.run("version", "net");
    assert.equal(exitCode, 3);
    assert.equal(stdout, "net  1.1.0\nsupported    first   1.0.0, 1.1.0\nunsupported  second  0.4.0, not 1.1.0\n");
    host.network("net", { type: "first" }, { type: "none" });
    assert.match((await host.run("version", "net")).stdout, /^no answer {4}none {3}plugin none: not found in /mu);
  });

  test("list tells the networks, and what is wrong with a file", async () => {
    await using host = await makeHost();
    host.configure("05-broken.conf", { name: "broken" });
    assert.equal(
      done(await host.run("list")),
      [
        "-    -      05-broken.conf   has no plugin type in the configuration (key type)",
        "net  1.1.0  10-net.conflist  first, second",
        "",
      ].join("\n"),
    );
    fs.rmSync(host.netd, { recursive: true });
    assert.match(done(await host.run("list")), /net\.d is not there: mount it/u);
  });

  test("list --attachments tells whose they are and whether they are alive", async () => {
    await using host = await makeHost();
    assert.match(done(await host.run("list", "--attachments")), /cache is not there: nothing has been attached/u);
    done(await host.run("add", "net", "a"));
    const row = `net  eth0  alive  10.1.0.5  cni-node  ${ID}  a\n`;
    assert.equal(done(await host.run("list", "--attachments")), row);
    assert.equal(done(await host.run("list", "--attachments", "-o", "wide")), row);
    host.sh("ip netns delete a");
    assert.equal(done(await host.run("list", "--attachments")), row.replace("alive", "gone"));
  });

  test("a container ID is taken as it is printed, or whole; less of it means no other container", async () => {
    await using host = await makeHost();
    const [one, two, three] = ["0123456789abc", "0123456789abf", "f123456789abc"].map((start) => start.padEnd(64, "0"));
    const ids = [one, two, three];
    for (const id of ids) done(await host.run("add", "net", "a", `--container-id=${id}`, "--output=text"));
    host.sh("ip netns delete a");
    assert.match(
      done(await host.run("gc", "net", "--valid=f123456789ab/eth0,0123456789abc/eth0,0123456789abf/eth0")),
      /^nothing to do$/mu,
    );
    host.plugins.take();
    const ambiguous = await refused(host, 1, "del", "net", "a", "--container-id=0123456789ab");
    assert.ok(ambiguous.includes(`more than one container ID begins so: ${one}, ${two}\n  hint: give more`), ambiguous);
    assert.match(done(await host.run("del", "net", "a", "--container-id=f123456789")), /^absent /u);
    assert.match(done(await host.run("del", "net", "a", "--container-id=f123456789ab")), /^deleted /u);
    assert.match(done(await host.run("del", "net", "a", "--container-id=0123456789abc")), /^deleted /u);
    assert.deepEqual(cached(host), [`net-${two}-eth0`]);
  });

  test("a container that is gone is no other one whose ID or name begins like its", async () => {
    await using host = await makeHost();
    const [gone, other] = ["1764397801123", "1764397801123456789"];
    for (const name of [gone, other]) host.target(name);
    done(await host.run("add", "net", other, `--container-id=${other}`));
    host.sh(`ip netns delete ${other}`);
    assert.match(done(await host.run("del", "net", gone, `--container-id=${gone}`)), /^absent /u);
    assert.deepEqual(cached(host), [`net-${other}-eth0`]);
    assert.match(done(await host.run("gc", "net", `--valid=${gone}/eth0`)), /^deleted /u);
  });

  test("a TARGET that is gone is the container that was added by it, not one whose ID begins so", async () => {
    await using host = await makeHost();
    const whole = "0123456789ab".padEnd(64, "0");
    addForeign(host, whole, "", `docker:${whole}`);
    addForeign(host, "other", "", "docker:0123456789ab");
    assert.match(done(await host.run("del", "net", "docker:0123456789ab")), /^deleted /u);
    assert.deepEqual(cached(host), [`net-${whole}-eth0`]);
    assert.match(done(await host.run("del", "net", "docker:0123456789ab")), /^deleted /u);
    assert.deepEqual(cached(host), []);
  });

  test("a container ID as it is printed means one of that network, or for add the one that is remembered", async () => {
    await using host = await makeHost();
    host.network("other", { type: "first" });
    const [one, two] = ["0123456789abc", "0123456789abf"].map((start) => start.padEnd(64, "0"));
    done(await host.run("add", "net", "a", `--container-id=${one}`));
    done(await host.run("add", "other", "a", "--ifname=eth1", "--container-id=0123456789ab"));
    assert.deepEqual(cached(host).sort(), [`net-${one}-eth0`, `other-${one}-eth1`]);
    done(await host.run("add", "other", "a", "--ifname=eth2", `--container-id=${two}`));
    host.plugins.take();
    const ambiguous = await refused(host, 1, "add", "net", "a", "--ifname=eth3", "--container-id=0123456789ab");
    assert.match(ambiguous, /more than one container ID begins so/u);
    assert.match(done(await host.run("del", "net", "a", "--container-id=0123456789ab")), /^deleted /u);
    done(await host.run("add", "net", "a", "--container-id=0123456789abd"));
    assert.deepEqual(cached(host).sort(), ["net-0123456789abd-eth0", `other-${one}-eth1`, `other-${two}-eth2`].sort());
    // One whose whole ID this is comes first, whatever its network.
    addForeign(host, "0123456789abc", "");
    assert.match(done(await host.run("del", "other", "b", "--container-id=0123456789abc")), /^absent /u);
  });

  test("show prints what is used, with the plugins that are dropped in, and no secret", async () => {
    await using host = await makeHost();
    const plugins = [{ type: "first", token: "s3cret", nested: { apiKey: ["s3cret"] } }];
    host.configure("10-net.conflist", { cniVersions: ["0.4.0", "1.0.0"], name: "net", plugins });
    fs.mkdirSync(join(host.netd, "net"));
    fs.writeFileSync(join(host.netd, "net/10-more.conf"), '{"type":"second"}');
    const text = done(await host.run("show", "net"));
    assert.deepEqual(JSON.parse(text), {
      cniVersion: "1.0.0",
      name: "net",
      disableCheck: false,
      disableGC: false,
      plugins: [{ type: "first", token: "***", nested: { apiKey: "***" } }, { type: "second" }],
    });
    assert.ok(!done(await host.run("show", "net", "--output=json")).includes("s3cret"));
  });

  test("show prints numbers as they stand in the configuration", async () => {
    await using host = await makeHost();
    const file = join(host.netd, "10-net.conflist");
    fs.writeFileSync(file, '{"name":"net","plugins":[{"type":"first","id":12345678901234567890}]}');
    for (const words of [[], ["--output=json"]]) {
      assert.match(done(await host.run("show", "net", ...words)), /"id": ?12345678901234567890\b/u);
    }
  });
});

test("--output=json prints one object that docs/schemas/report.json describes, of every verb", { skip }, async () => {
  await using host = await makeHost();
  host.configure("20-broken.conf", {});
  host.target("b");
  const json = async (...words: string[]): Promise<Record<string, unknown>> => {
    const report = reportOf(await host.run(...words, "--output=json"));
    assert.equal(report["command"], `network ${words[0]}`);
    return report;
  };
  for (const verb of ["add", "check"]) await json(verb, "net", "a");
  await json("add", "net", "b");
  host.sh("ip netns delete b");
  host.plugins.fails("second", "DEL", { code: 5, msg: "disk", details: "full" });
  assert.equal((await json("gc"))["exitCode"], 1);
  assert.equal((await json("gc", "net", "--valid="))["exitCode"], 4);
  assert.equal((await json("del", "net", "a"))["exitCode"], 1);
  host.plugins.prints("second", "DEL", "");
  for (const verb of ["list", "gc"]) await json(verb);
  for (const verb of ["show", "status", "version"]) await json(verb, "net");
  await json("list", "--attachments");
  await json("del", "net", "a");
  host.plugins.fails("first", "STATUS", { code: 51, msg: "limited" });
  assert.equal((await json("status", "net"))["exitCode"], 3);
  assert.equal((await json("add", "net"))["exitCode"], 2);
  assert.equal(reportOf(await host.run("--output=json"))["command"], "network");
});

describe("--trace", { skip }, () => {
  test("tells each call on stderr, and no secret", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first", password: "s3cret" });
    host.plugins.does("first", "ADD", `echo loud >&2; printf '%s' '${JSON.stringify(RESULT)}'`);
    const { stdout, stderr } = await host.run("add", "net", "a", "--trace", "--args=TOKEN=s3cret;K=v");
    assert.deepEqual(JSON.parse(stdout), RESULT);
    assert.match(stderr, /^trace: plugin first: ADD: exit code 0, \d+ ms\n/u);
    for (const line of ["CNI_COMMAND=ADD", "CNI_ARGS=TOKEN=***;K=v", "stderr: loud", '"password":"***"', "stdout: {"]) {
      assert.ok(stderr.includes(line), `${line}: ${stderr}`);
    }
    assert.ok(!stderr.includes("s3cret"));
  });

  test("tells of check, del, gc, status and version, too, and of calls that failed", async () => {
    await using host = await makeHost();
    host.network("net", { type: "first" });
    done(await host.run("add", "net", "a"));
    host.plugins.fails("first", "CHECK", { code: 102, msg: "no" });
    for (const verb of ["check", "status", "version"]) {
      const { stderr } = await host.run(verb, "net", ...(verb === "check" ? ["a"] : []), "--trace");
      assert.ok(
        stderr.includes(`trace: plugin first: ${verb.toUpperCase()}: exit code ${verb === "check" ? 1 : 0}`),
        stderr,
      );
    }
    host.sh("ip netns delete a");
    assert.match((await host.run("gc", "--trace")).stderr, /^trace: plugin first: DEL: exit code 0/u);
    assert.match((await host.run("del", "net", "a", "--trace")).stderr, /^trace: plugin first: DEL: exit code 0/u);
  });
});

describe("called cnitool", { skip }, () => {
  /** Runs the bundle by a link of that name, with the environment that cnitool knows. */
  async function cnitool(host: NetworkHost, env: NodeJS.ProcessEnv, ...words: string[]): Promise<Ran> {
    const link = join(host.plugins.root, "cnitool");
    if (!fs.existsSync(link)) fs.symlinkSync(BUNDLE, link);
    const child = host.namespace.spawn([process.execPath, link, ...words, `--cache-dir=${host.cacheDir}`], {
      NETCONFPATH: host.netd,
      CNI_PATH: host.plugins.bin,
      CNI_NODE_HOST_ROOT: "/",
      ...env,
    });
    child.stdin?.end();
    return endOf(child);
  }

  test("it takes the words and the environment of cnitool, and each finds what the other has added", async () => {
    await using host = await makeHost();
    const netns = "/run/netns/a";
    assert.deepEqual(JSON.parse(done(await cnitool(host, { CNI_ARGS: "A=b" }, "add", "net", netns))), RESULT);
    assert.deepEqual(
      host.plugins.take().map(({ containerId, ifName, args }) => [containerId, ifName, args]),
      [1, 2].map(() => [ID, "eth0", "A=b"]),
    );
    done(await cnitool(host, {}, "check", "net", netns));
    done(await cnitool(host, {}, "status", "net", netns));
    done(await host.run("check", "net", "a"));
    done(await cnitool(host, {}, "del", "net", netns));
    done(await cnitool(host, { CNI_IFNAME: "x" }, "add", "net", netns));
    done(await cnitool(host, { CNI_IFNAME: "x" }, "add", "net", netns, "-i", "y"));
    done(await cnitool(host, {}, "-i=z", "add", "net", netns));
    assert.deepEqual(
      cached(host),
      ["x", "y", "z"].map((name) => `net-${ID}-${name}`),
    );
    done(await cnitool(host, {}, "del", "--plugin-timeout", "1m", "net", netns, "-i", "z"));
    assert.equal(cached(host).length, 2);
    assert.match((await cnitool(host, {}, "add", "net", netns, "-i=")).stderr, /--ifname: "" is empty/u);
    assert.match((await cnitool(host, {}, "add", "net")).stderr, /TARGET: is missing/u);
    assert.match((await cnitool(host, {}, "add", "net", "a")).stderr, /\/a is not a network namespace/u);
  });

  test("its gc deletes all attachments, but not those of others", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    done(await cnitool(host, {}, "gc", "net", "/run/netns/a"));
    assert.deepEqual(cached(host), []);
    done(await host.run("add", "net", "a"));
    const file = host.plugins.cached(`net-${ID}-eth0`);
    const { "cni-node.io/note": _, ...foreign } = JSON.parse(fs.readFileSync(file, "utf8")) as Record<string, unknown>;
    fs.writeFileSync(file, JSON.stringify(foreign));
    const { exitCode, stderr } = await cnitool(host, {}, "gc", "net", "/run/netns/a");
    assert.equal(exitCode, 1);
    assert.match(stderr, /others have added attachments that would be deleted/u);
    assert.deepEqual(cached(host).length, 1);
    done(await cnitool(host, {}, "gc", "net", "/run/netns/a", "--all"));
    assert.deepEqual(cached(host), []);
  });
});

describe("signals, time-outs and others at work", { skip }, () => {
  /** A plugin's call that goes on when it is told to. @returns what tells it; it waits until the call has begun. */
  function holdUp(host: NetworkHost, plugin: string, command: string, answer: string): () => Promise<() => void> {
    const at = (name: string): string => join(host.plugins.root, "record", name);
    host.plugins.does(
      plugin,
      command,
      `echo > "$record/begun"; while [ ! -e "$record/go" ]; do sleep 0.05; done; printf '%s' '${answer}'`,
    );
    return async () => {
      await until(() => fs.existsSync(at("begun")));
      return () => {
        fs.writeFileSync(at("go"), "");
      };
    };
  }

  /** Starts a command, and returns its end when it waits for its turn. */
  async function runWaiting(host: NetworkHost, ...words: string[]): Promise<{ ended: Promise<Ran> }> {
    const child = host.start(words);
    child.stdin?.end();
    const ended = endOf(child);
    // Whoever waits for a container has this one, and whoever waits for all containers tries to have it.
    const hasLock = (pid: number): boolean => linksIn(`/proc/${pid}/fd`).some((path) => path.endsWith("/lock-gc"));
    await until(() => childrenOf(child.pid ?? 0).some(hasLock));
    return { ended };
  }

  test("SIGTERM ends add by the signal, when what was begun has been taken back", async () => {
    await using host = await makeHost();
    host.plugins.does("second", "ADD", 'echo > "$record/begun"; sleep 60');
    const child = host.start(["add", "net", "a"]);
    const ended = endOf(child);
    await until(() => fs.existsSync(join(host.plugins.root, "record/begun")));
    // nsenter is the child; the process itself is below it.
    process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGTERM");
    const { stdout, stderr } = await ended;
    assert.equal(stdout, "");
    assert.equal(stderr, "cni-node: ended by SIGTERM; what had been begun was taken back\n");
    assert.deepEqual(host.plugins.takeNames(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    assert.deepEqual(cached(host), []);
    assert.equal(host.sh("ps ax | grep -c '[s]leep 60' || true").trim(), "0");
  });

  test("a signal ends the wait for standard input, and for a file that is written by somebody else", async () => {
    await using host = await makeHost();
    host.sh(`mkfifo ${host.plugins.root}/pipe`);
    for (const words of [["-"], [`--file=${host.plugins.root}/pipe`]]) {
      const child = host.start(["add", ...words, "a"]);
      const ended = endOf(child);
      await until(() => isReady(child.pid ?? 0));
      process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGINT");
      const { stderr } = await ended;
      assert.equal(stderr, "cni-node: ended by SIGINT before anything was changed\n");
    }
    assert.deepEqual(host.plugins.takeNames(), []);
  });

  test("Ctrl-C ends nobody but cni-node, whatever it has started", async () => {
    await using host = await makeHost();
    const bin = join(host.plugins.root, "path");
    fs.mkdirSync(bin);
    const slow = `#!/bin/sh\necho > ${bin}/begun; while [ ! -e ${bin}/go ]; do sleep 0.05; done; exec "$0.real" "$@"\n`;
    for (const [name, words] of [
      ["ip", ["b", "--new"]],
      ["nsenter", ["a"]],
    ] as const) {
      host.sh(`ln -s "$(command -v ${name})" ${bin}/${name}.real`);
      fs.writeFileSync(`${bin}/${name}`, slow, { mode: 0o755 });
      // A session of its own, as that of a terminal: the signal goes to all of its processes.
      const path = `PATH=${bin}:${process.env["PATH"] ?? ""}`;
      const command = ["setsid", "env", path, process.execPath, BUNDLE, "network", "add", "net", ...words];
      const child = host.namespace.spawn(command, {
        CNI_NODE_HOST_ROOT: "/",
        CNI_NODE_CONFIG_DIR: host.netd,
        CNI_NODE_CACHE_DIR: host.cacheDir,
        CNI_NODE_PLUGIN_DIR: host.plugins.bin,
      });
      const ended = endOf(child);
      await until(() => fs.existsSync(`${bin}/begun`));
      process.kill(-(childrenOf(child.pid ?? 0)[0] ?? 0), "SIGINT");
      fs.writeFileSync(`${bin}/go`, "");
      assert.match((await ended).stderr, /^cni-node: ended by SIGINT[^\n]*\n$/u, name);
      for (const file of [name, "begun", "go"]) fs.rmSync(`${bin}/${file}`);
    }
    assert.equal(host.sh("ip netns list").trim(), "a");
    assert.deepEqual(host.plugins.takeNames(), []);
  });

  test("a signal ends gc and version, too, by the signal", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    host.sh("ip netns delete a");
    for (const [command, verb] of [
      ["DEL", "gc"],
      ["VERSION", "version"],
    ] as const) {
      host.plugins.does("second", command, 'echo > "$record/begun"; sleep 60');
      const child = host.start([verb, "net"]);
      const ended = endOf(child);
      await until(() => fs.existsSync(join(host.plugins.root, "record/begun")));
      process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGTERM");
      const { stderr } = await ended;
      assert.match(stderr, /^cni-node: ended by SIGTERM before /u, verb);
      fs.rmSync(join(host.plugins.root, "record/begun"));
    }
    assert.deepEqual(cached(host), [`net-${ID}-eth0`]);
  });

  test("a plugin that takes too long is ended", async () => {
    await using host = await makeHost();
    host.plugins.does("first", "ADD", "sleep 60");
    const { exitCode, stderr } = await host.run("add", "net", "a", "--plugin-timeout=200ms");
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /plugin first: ADD failed: it was ended: it took longer than 200 ms\n {2}hint: --plugin-timeout/u,
    );
  });

  test("what an operation has waited for, it takes as it then is", async () => {
    await using host = await makeHost();
    const begun = holdUp(host, "first", "ADD", JSON.stringify(RESULT));
    const first = host.run("add", "net", "a", "--ifname=x");
    const goOn = await begun();
    const { ended } = await runWaiting(host, "del", "net", "a");
    goOn();
    done(await first);
    assert.equal(done(await ended), "deleted     net  a  x\n");
    assert.deepEqual(cached(host), []);
  });

  test("gc does not delete once more what another has deleted meanwhile", async () => {
    await using host = await makeHost();
    done(await host.run("add", "net", "a"));
    host.sh("ip netns delete a");
    host.plugins.take();
    const begun = holdUp(host, "second", "DEL", "");
    const first = host.run("del", "net", "a");
    const goOn = await begun();
    const { ended } = await runWaiting(host, "gc");
    goOn();
    done(await first);
    assert.equal(done(await ended), "nothing to do\n");
    assert.deepEqual(host.plugins.takeNames(), ["second DEL", "first DEL"]);
  });

  test("gc with --valid does not delete what others have added while it waited", async () => {
    await using host = await makeHost();
    const begun = holdUp(host, "first", "ADD", JSON.stringify(RESULT));
    const first = host.run("add", "net", "a");
    const goOn = await begun();
    const { ended } = await runWaiting(host, "gc", "net", "--valid=");
    addForeign(host, "foreign", "/run/netns/a");
    goOn();
    done(await first);
    const { exitCode, stderr } = await ended;
    assert.equal(exitCode, 1);
    assert.match(stderr, /others have added attachments that would be deleted: foreign\/eth0\n/u);
    assert.equal(cached(host).length, 2);
  });

  test("one operation on a container waits for the other, no longer than --lock-timeout", async () => {
    await using host = await makeHost();
    const begun = holdUp(host, "first", "ADD", JSON.stringify(RESULT));
    const first = host.run("add", "net", "a", "--ifname=x");
    const goOn = await begun();
    const { exitCode, stderr } = await host.run("del", "net", "a", "--lock-timeout=100ms");
    assert.equal(exitCode, 1);
    assert.match(stderr, /another process holds the lock: --lock-timeout is over/u);
    const child = host.start(["add", "net", "a", "--ifname=y"]);
    const second = endOf(child);
    const said = new Promise((resolve) => child.stderr?.once("data", resolve));
    assert.match(String(await said), /^cni-node: waiting for others that work on the same container/u);
    goOn();
    done(await first);
    done(await second);
    assert.deepEqual(host.plugins.takeNames(), ["first ADD", "second ADD", "first ADD", "second ADD"]);
  });
});
