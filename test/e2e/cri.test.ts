/** What real container runtimes say of their network, and when: containerd as Debian has it, and a newer one. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "node:test";

import { confirmNetwork, type Confirmation, type ExpectedNetwork } from "../../src/cri/confirm.ts";
import { askRuntime, type RuntimeStatus } from "../../src/cri/status.ts";
import { BUNDLE, contentsOf, endOf, TestNode, until, type Ran } from "../helpers/node.ts";
import { cannotStart, PLUGINS, startContainerd, type Containerd } from "../runtime/containerd.ts";

/** A network whose plugin says itself whether it is ready. */
const TELLER = { cniVersion: "1.1.0", name: "teller", plugins: [{ type: "teller" }] };

const NEVER = new AbortController().signal;

/** A network that pods can use. */
function bridge(name: string, keys: object = {}): ExpectedNetwork & { cniVersion: string } {
  const ipam = { type: "host-local", ranges: [[{ subnet: "10.213.0.0/24" }]] };
  return { cniVersion: "1.0.0", name, plugins: [{ type: "bridge", bridge: "test0", isGateway: true, ...keys, ipam }] };
}

async function ask({ socket }: Containerd): Promise<RuntimeStatus> {
  return askRuntime(socket, { timeout: 10_000, signal: NEVER });
}

async function confirm(
  { socket }: Containerd,
  before: RuntimeStatus,
  expected?: ExpectedNetwork,
  patience = 60_000,
): Promise<Confirmation> {
  return confirmNetwork(socket, before, expected, { timeout: patience, signal: NEVER });
}

/** A containerd that has a network already, and what it says then. */
async function withNetwork(node: Containerd, network = bridge("first")): Promise<RuntimeStatus> {
  const before = await ask(node);
  node.configure("10-first.conflist", JSON.stringify(network));
  assert.deepEqual(await confirm(node, before, network), { verdict: "confirmed" });
  return ask(node);
}

function whyOf(confirmation: Confirmation, verdict: Confirmation["verdict"]): string {
  assert.equal(confirmation.verdict, verdict);
  return "why" in confirmation ? confirmation.why : "";
}

for (const release of ["debian", "2"] as const) {
  describe(`containerd, ${release}`, { skip: cannotStart }, () => {
    test("without a configuration the network is not ready, and it says why, and which directories are its own", async () => {
      await using node = await startContainerd({ release });
      const said = await ask(node);
      assert.equal(said.name, "containerd");
      assert.match(said.version, release === "2" ? /^v2\./u : /^1\./u);
      assert.equal(said.networkReady, false);
      assert.equal(said.reason, "NetworkPluginNotReady");
      assert.match(said.message, /cni plugin not initialized/u);
      assert.match(said.loadError ?? "", /no network config found in \/etc\/cni\/net\.d/u);
      assert.equal(said.configDir, "/etc/cni/net.d");
      assert.deepEqual(said.pluginDirs, release === "2" ? ["/opt/cni/bin", "/usr/lib/cni"] : ["/opt/cni/bin"]);
      assert.equal(said.maxConfigs, 1);
      assert.deepEqual(said.networks, []);
      const [handler, ...others] = said.handlers;
      assert.deepEqual([handler?.name, handler?.configDir, others], ["other", "/etc/cni/other.d", []]);
      assert.match(handler?.loadError ?? "", /no network config found in \/etc\/cni\/other\.d/u);
    });

    test("with a configuration it is ready, and holds the network just as it is written", async () => {
      await using node = await startContainerd({ release });
      const network = bridge("first", { vendor: { key: [1, "zwei", null] }, large: 1e21, text: "<&\u2028>" });
      const said = await withNetwork(node, network);
      assert.equal(said.networkReady, true);
      assert.deepEqual([said.reason, said.message, said.loadError], ["", "", undefined]);
      assert.deepEqual(said.networks, [network]);
    });

    test("a single plugin's configuration is held as a list of one", async () => {
      await using node = await startContainerd({ release });
      const before = await ask(node);
      const single = { cniVersion: "0.4.0", name: "single", type: "ptp", ipam: {} };
      node.configure("10-single.conf", JSON.stringify(single));
      assert.deepEqual(await confirm(node, before, { name: "single", plugins: [single] }), { verdict: "confirmed" });
      assert.deepEqual((await ask(node)).networks, [{ name: "single", cniVersion: "0.4.0", plugins: [single] }]);
    });

    test("a broken file that sorts first takes its network away, and the load's error names it", async () => {
      await using node = await startContainerd({ release });
      await withNetwork(node);
      node.configure("05-broken.conflist", '{"name": "broken", ');
      await sleep(200);
      const said = await ask(node);
      assert.equal(said.networkReady, false);
      assert.match(said.loadError ?? "", /\/etc\/cni\/net\.d\/05-broken\.conflist/u);
      assert.deepEqual(said.networks, []);
    });

    test("pods start and stop with the network that it says is ready", async () => {
      await using node = await startContainerd({ release });
      await assert.rejects(node.runPod(), { code: "cri-failed", message: /cni plugin not initialized/u });
      await withNetwork(node);
      const pods = [await node.runPod(), await node.runPod()];
      assert.deepEqual(
        pods.map(({ ip }) => ip),
        ["10.213.0.2", "10.213.0.3"],
      );
      const store = join(node.host, "var/lib/cni/networks/first");
      const held = (): string[] => fs.readdirSync(store).filter((name) => name.startsWith("10."));
      assert.deepEqual(held(), ["10.213.0.2", "10.213.0.3"]);
      for (const pod of pods) await node.removePod(pod);
      assert.deepEqual(held(), []);
    });

    test("a change of the content is confirmed when it has been loaded, not before", async () => {
      await using node = await startContainerd({ release });
      const before = await withNetwork(node);
      const changed = bridge("first", { mtu: 1400 });
      assert.match(
        whyOf(await confirm(node, before, changed, 0), "unconfirmed"),
        /still uses the network first as before/u,
      );
      node.configure("10-first.conflist", JSON.stringify(changed));
      assert.deepEqual(await confirm(node, before, changed), { verdict: "confirmed" });
      assert.deepEqual((await ask(node)).networks, [changed]);
    });

    test("a change that another file outranks is confirmed by the network that stays", async () => {
      await using node = await startContainerd({ release });
      const before = await withNetwork(node);
      node.configure("20-second.conflist", JSON.stringify(bridge("second")));
      assert.deepEqual(await confirm(node, before, bridge("first")), { verdict: "confirmed" });
      assert.deepEqual(await confirm(node, before), { verdict: "confirmed" });
    });

    test("a runtime that is late is waited for", async () => {
      await using node = await startContainerd({ release });
      const before = await withNetwork(node);
      node.kill("SIGSTOP");
      node.configure("05-second.conflist", JSON.stringify(bridge("second")));
      const confirmed = confirm(node, before, bridge("second"));
      await sleep(1500);
      node.kill("SIGCONT");
      assert.deepEqual(await confirmed, { verdict: "confirmed" });
    });

    test(
      "a network that is lost is noticed long before the deadline; once undone, it is confirmed, and pods start",
      { timeout: 30_000 },
      async () => {
        await using node = await startContainerd({ release });
        const before = await withNetwork(node);
        node.configure("05-second.conflist", '{"cniVersion": "1.0.0", "name": "second", "plugins": []}');
        assert.match(whyOf(await confirm(node, before, bridge("second")), "lost"), /05-second\.conflist/u);
        await assert.rejects(node.runPod(), { code: "cri-failed" });
        fs.unlinkSync(join(node.netd, "05-second.conflist"));
        assert.deepEqual(await confirm(node, before, before.networks?.[0]), { verdict: "confirmed" });
        assert.equal((await node.runPod()).ip, "10.213.0.2");
      },
    );

    test("a network that goes with its last configuration is lost", async () => {
      await using node = await startContainerd({ release });
      const before = await withNetwork(node);
      fs.unlinkSync(join(node.netd, "10-first.conflist"));
      assert.match(whyOf(await confirm(node, before), "lost"), /no network config found/u);
    });

    test("what keeps its network from being ready since before is told, and is no loss", async () => {
      await using node = await startContainerd({ release });
      node.configure("00-foreign.conflist", "no JSON");
      await sleep(200);
      const before = await ask(node);
      node.configure("10-first.conflist", JSON.stringify(bridge("first")));
      const why = whyOf(await confirm(node, before, bridge("first")), "unconfirmed");
      assert.match(why, /^containerd says that its network is not ready: .*00-foreign\.conflist/u);
    });

    test("another network than the expected one is told, and is no loss", async () => {
      await using node = await startContainerd({ release });
      const before = await withNetwork(node);
      node.configure("05-foreign.conflist", JSON.stringify(bridge("foreign")));
      const why = whyOf(await confirm(node, before, bridge("second")), "unconfirmed");
      assert.equal(why, "containerd has loaded the network foreign instead");
    });

    test("a runtime that goes by a configuration directory which was replaced is told, and is no loss", async () => {
      await using node = await startContainerd({ release });
      const ready = await withNetwork(node);
      fs.renameSync(node.netd, `${node.netd}.old`);
      // The newer one ends, and would be started again. The older one watches the old directory.
      await sleep(300);
      fs.cpSync(`${node.netd}.old`, node.netd, { recursive: true });
      node.configure("05-second.conflist", JSON.stringify(bridge("second")));
      const before = release === "2" ? ready : await ask(node);
      const why = whyOf(await confirm(node, before, bridge("second"), 1000), "unconfirmed");
      assert.match(
        why,
        release === "2" ? /no container runtime listens/u : /no network config found .* a restart of it/u,
      );
    });
  });
}

describe("containerd 2", { skip: cannotStart }, () => {
  /** A plugin that answers STATUS as the file beside it says; it is no use for pods. */
  function installTeller(node: Containerd): (isReady: boolean) => void {
    const script = `#!/bin/sh
      case "$CNI_COMMAND" in
      VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
      STATUS) [ -e "$0.ready" ] || { echo '{"cniVersion": "1.1.0", "code": 50, "msg": "the agent is not there"}'; exit 1; } ;;
      esac`;
    fs.writeFileSync(join(node.bin, "teller"), script, { mode: 0o755 });
    const ready = join(node.bin, "teller.ready");
    return (isReady) => (isReady ? fs.writeFileSync(ready, "") : fs.rmSync(ready, { force: true }));
  }
  test("a plugin's STATUS decides, too: it is given until the deadline to be ready", async () => {
    await using node = await startContainerd({ release: "2" });
    const before = await withNetwork(node);
    const setReady = installTeller(node);
    node.configure("05-teller.conflist", JSON.stringify(TELLER));
    assert.match(whyOf(await confirm(node, before, TELLER, 2000), "lost"), /the agent is not there/u);
    const confirmed = confirm(node, before, TELLER);
    await sleep(1500);
    setReady(true);
    assert.deepEqual(await confirmed, { verdict: "confirmed" });
    const ready = await ask(node);
    setReady(false);
    assert.match(whyOf(await confirm(node, ready, TELLER, 1000), "lost"), /the agent is not there/u);
  });

  test("plugins in the network's own directory are part of it, but only what changes beside it is noticed", async () => {
    await using node = await startContainerd({ release: "2" });
    const before = await withNetwork(node);
    fs.mkdirSync(join(node.netd, "first"));
    const tuning = { type: "tuning", sysctl: {} };
    fs.writeFileSync(join(node.netd, "first/50-tuning.conf"), JSON.stringify(tuning));
    await sleep(300);
    assert.deepEqual((await ask(node)).networks, before.networks);
    node.configure("10-first.conflist", JSON.stringify(bridge("first")));
    const expected = { name: "first", plugins: [...bridge("first").plugins, tuning] };
    assert.deepEqual(await confirm(node, before, expected), { verdict: "confirmed" });
  });
});

test(
  "what cni-node installs, changes and takes back is loaded each time, and pods have it",
  { skip: cannotStart },
  async () => {
    using node = new TestNode();
    for (const name of ["bridge", "host-local", "loopback"])
      fs.copyFileSync(join(PLUGINS, name), join(node.plugins, name));
    await using containerd = await startContainerd({ host: node.host });
    let before = await ask(containerd);
    for (const network of [bridge("first"), bridge("first", { mtu: 1400 })]) {
      node.template("10-first.conflist", JSON.stringify(network));
      const ran = await node.run(["install", "--plugins=bridge,host-local,loopback", "--configs=10-first.conflist"]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(await confirm(containerd, before, network), { verdict: "confirmed" });
      before = await ask(containerd);
      await containerd.removePod(await containerd.runPod());
    }
    assert.equal((await node.run(["uninstall", "--configs=10-first.conflist"])).exitCode, 0);
    assert.match(whyOf(await confirm(containerd, before), "lost"), /no network config found/u);
  },
);

for (const release of ["debian", "2"] as const) {
  test(
    `containerd, ${release}: a change that costs it its network is refused or undone, and pods keep starting`,
    { skip: cannotStart },
    async () => {
      using node = new TestNode();
      for (const name of ["bridge", "host-local", "loopback"]) {
        fs.copyFileSync(join(PLUGINS, name), join(node.plugins, name));
      }
      // It answers VERSION like any other, and is never ready.
      const versions = '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}';
      const status = '{"cniVersion":"1.1.0","code":50,"msg":"the agent is not there"}';
      const script = `[ "$CNI_COMMAND" = VERSION ] && echo '${versions}' && exit\necho '${status}'\nexit 1\n`;
      fs.writeFileSync(join(node.plugins, "teller"), `#!/bin/sh\n${script}`);
      await using containerd = await startContainerd({ release, host: node.host });
      const socket = `--cri-socket=${containerd.socket}`;
      node.template("10-first.conflist", JSON.stringify(bridge("first")));
      const words = ["install", "--plugins=bridge,host-local,loopback,teller", socket];
      const first = await node.run([...words, "--configs=10-first.conflist"]);
      assert.deepEqual([first.exitCode, first.stderr], [0, ""]);
      await containerd.removePod(await containerd.runPod());

      const broken = '{"name": "broken", "plugins": [';
      node.template("05-broken.conflist", broken);
      const before = contentsOf(node.netd);
      const refused = await node.run(["install", "--configs=05-broken.conflist", socket]);
      assert.match(refused.stderr, /05-broken\.conflist: the rendered configuration /u);
      const undone = await node.run(["install", "--configs=05-broken.conflist", "--validate=off", socket]);
      assert.equal(undone.exitCode, 1);
      assert.match(undone.stderr, /^cni-node: containerd: it has lost its network by this change: .*05-broken/u);
      assert.deepEqual(contentsOf(node.netd), before);
      await containerd.removePod(await containerd.runPod());

      if (release === "2") {
        node.template("05-teller.conflist", JSON.stringify(TELLER));
        const notReady = await node.run(["install", "--configs=05-teller.conflist", socket]);
        assert.match(notReady.stderr, /it has lost its network by this change: .*the agent is not there/u);
        assert.deepEqual(contentsOf(node.netd), before);
        await containerd.removePod(await containerd.runPod());
      }
      assert.equal((await ask(containerd)).networkReady, true);
    },
  );
}

test("--probe tries a change of the network while pods use it: they keep theirs", { skip: cannotStart }, async () => {
  using node = new TestNode();
  for (const name of ["bridge", "host-local", "loopback"]) {
    fs.copyFileSync(join(PLUGINS, name), join(node.plugins, name));
  }
  await using containerd = await startContainerd({ release: "2", host: node.host });
  const install = async (network: object): Promise<Ran> => {
    node.template("10-first.conflist", JSON.stringify(network));
    const places = ["--host-root=/", `--plugin-source=${node.plugins}`, `--config-source=${node.templates}`];
    const assets = ["--plugins=bridge,host-local,loopback", "--configs=10-first.conflist"];
    const words = [BUNDLE, "install", ...assets, ...places, "--probe", `--cri-socket=${containerd.socket}`];
    return endOf(containerd.spawn([process.execPath, ...words]));
  };
  const first = await install(bridge("first"));
  assert.match(first.stdout, /^probed .* ping 10\.213\.0\.1 answers, del$/mu, first.stderr);
  const pod = await containerd.runPod();
  const isReachable = async (): Promise<boolean> => {
    const { exitCode } = await endOf(containerd.spawn(["ping", "-q", "-c", "1", "-w", "5", pod.ip]));
    return exitCode === 0;
  };
  assert.ok(await isReachable());
  const refused = await install(bridge("first", { bridge: "longer-than-the-kernel-allows" }));
  assert.equal(refused.exitCode, 1);
  assert.match(refused.stderr, /network first does not work: ADD: plugin bridge: /u);
  const second = await install(bridge("first", { mtu: 1400 }));
  assert.match(second.stdout, /^configured {2}config .*\nprobed .* answers, del$/mu, second.stderr);
  assert.ok(await isReachable());
  const leases = fs.readdirSync(join(node.host, "var/lib/cni/networks/first")).filter((name) => name.startsWith("10."));
  assert.deepEqual(leases, [pod.ip]);
  const later = await containerd.runPod();
  for (const one of [pod, later]) await containerd.removePod(one);
});

test(
  "a containerd that does not serve CRI is told from one that cannot be reached",
  { skip: cannotStart },
  async () => {
    await using node = await startContainerd({ cri: false });
    await assert.rejects(ask(node), { code: "cri-unsupported", hint: /disabled_plugins/u });
  },
);

test("a containerd whose test is killed is gone with it, and its pods", { skip: cannotStart }, async () => {
  const script = `
    const { startContainerd } = await import(${JSON.stringify(join(import.meta.dirname, "../runtime/containerd.ts"))});
    const node = await startContainerd();
    node.configure("10-first.conflist", ${JSON.stringify(JSON.stringify(bridge("first")))});
    await new Promise((resolve) => setTimeout(resolve, 300));
    await node.runPod();
    console.log(node.socket);
    await new Promise(() => setInterval(() => undefined, 1000));`;
  const words = ["--input-type=module", "--eval", script];
  const killed = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  const [printed] = (await once(killed.stdout, "data")) as [Buffer];
  const directory = dirname(printed.toString());
  const cgroups = (): string[] => {
    // Those of other tests come and go meanwhile.
    const search = ["/sys/fs/cgroup", "-path", `*${basename(directory)}*`];
    return spawnSync("find", search, { encoding: "utf8" }).stdout.split("\n").filter(Boolean);
  };
  assert.ok(fs.existsSync(directory));
  assert.notDeepEqual(cgroups(), []);
  killed.kill("SIGKILL");
  await until(() => !fs.existsSync(directory));
  assert.deepEqual(cgroups(), []);
  const commands = fs.readdirSync("/proc").map(commandOf);
  assert.deepEqual(
    commands.filter((command) => command.includes(directory)),
    [],
  );
});

/** The command line of a process; empty for what is none. */
function commandOf(pid: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
