/** install --probe: networks are tried with real plugins before they go live. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { parse } from "yaml";

import { cannotMount, childrenOf, containerRoot } from "./helpers/namespace.ts";
import { NetworkHost, REFERENCE_PLUGINS } from "./helpers/network.ts";
import { BUNDLE, endOf, until, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";

const skip = cannotMount;
const IPAM = { type: "host-local", subnet: "10.8.0.0/29" };
const BRIDGE = { type: "bridge", bridge: "cni8", isGateway: true, ipam: IPAM };
const INSTALL = ["install", "--plugins=bridge,host-local", "--configs=10-net.conflist", "--probe"];

/** A host without plugins, and an image with some of the reference plugins. */
class InstallHost implements AsyncDisposable {
  readonly host: NetworkHost;
  readonly bin = "/opt/cni/bin";
  readonly netd = "/opt/cni/net.d";
  readonly image: string;
  /** What `plugin` records. */
  readonly calls: string;

  private constructor(host: NetworkHost) {
    this.host = host;
    this.image = join(host.plugins.root, "image");
    this.calls = join(host.plugins.root, "calls");
    fs.mkdirSync(this.image);
    for (const name of ["bridge", "host-local", "loopback"]) {
      fs.copyFileSync(join(REFERENCE_PLUGINS, name), join(this.image, name));
    }
  }

  static async make(): Promise<InstallHost> {
    await using begun = new AsyncDisposableStack();
    const host = begun.use(await NetworkHost.make());
    host.sh(
      "mount -t tmpfs none /var/lib; mkdir /var/lib/cni; mount -t tmpfs none /opt; mkdir -p /opt/cni/bin /opt/cni/net.d",
    );
    const made = new InstallHost(host);
    begun.move();
    return made;
  }

  template(...plugins: object[]): void {
    const list = { cniVersion: "1.1.0", name: "net", plugins };
    fs.writeFileSync(join(this.image, "10-net.conflist"), JSON.stringify(list));
  }

  /** A plugin that records where it is, for which command, and whether the configuration is live. @param cases of sh. */
  plugin(name: string, cases = ""): void {
    const live = `[ -e ${this.netd}/10-net.conflist ] && echo live >> ${this.calls}`;
    const script = [
      "#!/bin/sh",
      `echo "\${0%/*} $CNI_COMMAND" >> ${this.calls}`,
      live,
      `case $CNI_COMMAND in ${cases} VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}';; ADD) echo '{"cniVersion":"1.1.0"}';; esac`,
    ];
    fs.writeFileSync(join(this.image, name), `${script.join("\n")}\n`);
  }

  /** What the plugin was called for since the last time. */
  take(): string[] {
    const text = fs.existsSync(this.calls) ? fs.readFileSync(this.calls, "utf8") : "";
    fs.rmSync(this.calls, { force: true });
    return text.split("\n").filter(Boolean);
  }

  /** Waits until the plugin is called for it, or nothing can come any more. */
  async called(command: string, child: ChildProcess): Promise<void> {
    const isCalled = (): boolean => fs.existsSync(this.calls) && fs.readFileSync(this.calls, "utf8").includes(command);
    await until(() => isCalled() || child.exitCode !== null);
  }

  start(...words: string[]): ChildProcess {
    return this.host.namespace.start(words, {
      CNI_NODE_HOST_ROOT: "/",
      CNI_NODE_CONFIG_DIR: this.netd,
      CNI_NODE_PLUGIN_DIR: this.bin,
      CNI_NODE_PLUGIN_SOURCE: this.image,
      CNI_NODE_CONFIG_SOURCE: this.image,
    });
  }

  async run(...words: string[]): Promise<Ran> {
    return endOf(this.start(...words));
  }

  /** Everything that a run or a probe may leave: files, addresses, attachments, links. */
  state(): string {
    const files = "cd /opt/cni; find . -type f -exec md5sum {} + | sort; find . | sort";
    const cni = "cd /var/lib/cni; find . -name '10.*' -o -name '*-eth*'";
    return this.host.sh(`(${files}); (${cni}); ip -o link | cut -d: -f2; ip netns list`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
  }
}

/** As far as docs/network.md shows it. */
interface Pod {
  spec: {
    hostPID: boolean;
    containers: [
      {
        args: string[];
        securityContext: { privileged: boolean };
        volumeMounts: { name: string; mountPath: string }[];
      },
    ];
    volumes: { name: string; hostPath?: { path: string } }[];
  };
}

interface Report {
  result: string;
  exitCode: number;
  probes?: { network: string; file: string; steps: { step: string }[] }[];
  error?: { code: string; message: string; hint?: string };
}

async function reported(ran: Promise<Ran>): Promise<Report> {
  return reportOf(await ran) as unknown as Report;
}

function done({ exitCode, stdout, stderr }: Ran): string {
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

const PROBE_DIRECTORY = "/opt/cni/bin/.cni-node/probe.tmp";
const ALL = ["VERSION", "STATUS", "ADD", "CHECK", "DEL"];

describe("install --probe", { skip }, () => {
  test("adds a container by the new plugins before anything is live, and leaves nothing of it", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    assert.equal(
      done(await node.run(...INSTALL))
        .split("\n")
        .at(-2),
      "probed      network   net              version, status, add eth0 10.8.0.2, check, ping 10.8.0.1 answers, del",
    );
    const state = node.state();
    assert.doesNotMatch(state, /10\.8\.|-eth0|veth|probe/u);
    assert.match(state, /bin\/bridge[^]*net\.d\/10-net\.conflist/u);
    assert.deepEqual(
      (await reported(node.run(...INSTALL, "--output=json"))).probes,
      undefined,
      "what is right already is not tried",
    );
    node.template({ ...BRIDGE, mtu: 1400 });
    const { probes } = await reported(node.run(...INSTALL, "--output=json"));
    assert.deepEqual(
      probes?.map(({ network, file, steps }) => [network, file, ...steps.map(({ step }) => step)]),
      [["net", "10-net.conflist", "version", "status", "add", "check", "ping", "del"]],
    );
    assert.doesNotMatch(node.state(), /10\.8\.|-eth0|veth|probe/u);
  });

  test("runs the plugins where they are staged, under their names", async () => {
    await using node = await InstallHost.make();
    node.plugin("own");
    node.template({ type: "own" });
    done(await node.run("install", "--plugins=own", "--configs=10-net.conflist", "--probe-add"));
    const [proof, ...calls] = node.take();
    assert.match(proof ?? "", /^\/proc\/\d+\/fd\/\d+\/objects VERSION$/u);
    assert.deepEqual(
      calls,
      ALL.map((command) => `${PROBE_DIRECTORY} ${command}`),
    );
  });

  test("a network that does not work is not installed: the node is as it was", async () => {
    await using node = await InstallHost.make();
    const before = node.state();
    node.template({ ...BRIDGE, isGateway: false });
    const ran = await node.run(...INSTALL);
    assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
    assert.match(
      ran.stderr,
      /^cni-node: \/opt\/cni\/net\.d\/10-net\.conflist: network net does not work: PING: 10\.8\.0\.1 does not answer: .*\n {2}hint: --trace/u,
    );
    assert.equal(node.state(), before);
    node.template({ ...BRIDGE, bridge: "longer-than-the-kernel-allows" });
    const { error, ...report } = await reported(node.run(...INSTALL, "--output=json"));
    assert.deepEqual([report.result, report.exitCode, error?.code], ["failed", 1, "probe-failed"]);
    assert.match(error?.message ?? "", /ADD: plugin bridge: failed to create bridge/u);
    assert.equal(node.state(), before);
    const warned = await node.run(...INSTALL, "--validate=warn");
    assert.match(done(warned), /probed .* add failed \(/u);
    assert.match(warned.stderr, /^cni-node: warning: .*network net does not work: ADD: /u);
  });

  test("a plugin is replaced only if the networks that use it still work, or did not work before", async () => {
    await using node = await InstallHost.make();
    node.plugin("own");
    node.template({ type: "own" });
    done(await node.run("install", "--plugins=own", "--configs=10-net.conflist"));
    const before = node.state();
    node.take();
    node.plugin("own", 'ADD) echo \'{"code":7,"msg":"not today"}\'; exit 1;;');
    const update = ["install", "--plugins=own", "--probe-add"];
    const refused = await node.run(...update);
    assert.equal(refused.exitCode, 1, refused.stdout);
    assert.match(refused.stderr, /does not work: ADD: plugin own: not today/u);
    const tried = node.take();
    assert.ok(tried.includes(`${PROBE_DIRECTORY} ADD`) && tried.includes("/opt/cni/bin ADD"), tried.join("\n"));
    assert.equal(node.state(), before);

    done(await node.run("install", "--plugins=own"));
    node.plugin("own", 'ADD) echo \'{"code":7,"msg":"never"}\'; exit 1;;');
    const again = await node.run(...update);
    assert.match(done(again), /^configured {2}plugin {4}own/u);
    assert.match(again.stderr, /^cni-node: warning: .*network net does not work, as before: ADD: plugin own: never/u);
  });

  test("a plugin that comes back as a link is tried where it leads", async () => {
    await using node = await InstallHost.make();
    node.plugin("own");
    node.host.sh(`mkdir /opt/cni/lib; cp ${join(node.image, "own")} /opt/cni/lib/real; chmod 755 /opt/cni/lib/real`);
    node.host.sh(`ln -s ../lib/real ${node.bin}/own`);
    node.template({ type: "own" });
    done(await node.run("install", "--plugins=own", "--configs=10-net.conflist"));
    node.take();
    const ran = await node.run("apply", "--plugins=:own", "--probe-add");
    assert.match(done(ran), /^deleted {5}plugin {4}own +what was there before comes back/u);
    assert.equal(ran.stderr, "");
    const calls = node.take();
    assert.ok(calls.includes(`${PROBE_DIRECTORY} ADD`), calls.join("\n"));
  });

  test("adds no container where that is not known to be harmless, and says so", async () => {
    await using node = await InstallHost.make();
    node.plugin("own");
    node.template({ type: "own" });
    const ran = await node.run("install", "--plugins=own", "--configs=10-net.conflist", "--probe");
    assert.match(done(ran), /probed .* version, status, add skipped \(/u);
    assert.match(
      ran.stderr,
      /^cni-node: warning: .*no container was added to network net: .*: own; --probe-add tries it\n$/u,
    );
    assert.deepEqual(
      node.take().filter((call) => /ADD|live/u.test(call)),
      [],
    );
  });

  test("what cannot be taken back is said with exit code 4, and nothing is installed", async () => {
    await using node = await InstallHost.make();
    node.plugin("own", 'DEL) echo \'{"code":7,"msg":"stuck"}\'; exit 1;;');
    node.template({ type: "own" });
    const words = ["install", "--plugins=own", "--configs=10-net.conflist", "--probe-add", "--output=json"];
    const { result, exitCode, error } = await reported(node.run(...words));
    assert.deepEqual([result, exitCode, error?.code], ["partial", 4, "probe-failed"]);
    assert.match(`${error?.message} ${error?.hint}`, /DEL: .*stuck.*network gc/u);
    assert.equal(node.host.sh("ls /opt/cni/bin /opt/cni/net.d").match(/own|conflist/u), null);
    node.template({ ...BRIDGE, ipam: { ...IPAM, subnet: "10.8.0.0/31" } });
    const unallocatable = await reported(node.run(...INSTALL, "--output=json"));
    assert.equal(unallocatable.exitCode, 4);
    assert.match(unallocatable.error?.message ?? "", /ADD: plugin bridge: .*too small.* it could not be taken back: /u);
  });

  test("ended by a signal, nothing has happened and nothing is left", async () => {
    await using node = await InstallHost.make();
    const before = node.state();
    node.plugin("own", "CHECK) sleep 60;;");
    node.template({ type: "own" });
    const child = node.start("install", "--plugins=own", "--configs=10-net.conflist", "--probe-add");
    const ended = endOf(child);
    await node.called("CHECK", child);
    process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGTERM");
    assert.equal((await ended).stderr, "cni-node: ended by SIGTERM; nothing of the probe is left\n");
    assert.equal(node.take().at(-1), `${PROBE_DIRECTORY} DEL`);
    assert.equal(node.state(), before);
  });

  test("killed, it leaves what the next run takes away: its links, its address", async () => {
    await using node = await InstallHost.make();
    node.plugin("own", "CHECK) sleep 60;;");
    node.template({ type: "own" }, BRIDGE);
    const words = ["install", "--plugins=bridge,host-local,own", "--configs=10-net.conflist", "--probe-add"];
    const child = node.start(...words);
    const ended = endOf(child);
    await node.called("CHECK", child);
    process.kill(childrenOf(child.pid ?? 0)[0] ?? 0, "SIGKILL");
    await ended;
    assert.match(node.state(), /probe\.tmp\/own[^]*10\.8\.0\.2/u);
    node.plugin("own");
    // The namespace of the container ends when the kernel gets to it.
    for (let mtu = 1400; node.state().includes("10.8.0.2"); mtu++) {
      node.template({ type: "own" }, { ...BRIDGE, mtu });
      done(await node.run(...words));
    }
    assert.doesNotMatch(node.state(), /10\.8\.|-eth0|probe/u);
  });

  test("--trace says what plugins were given and answered, without secrets", async () => {
    await using node = await InstallHost.make();
    node.template({ ...BRIDGE, token: "abcdef" });
    const { stderr } = await node.run(...INSTALL, "--trace");
    assert.match(stderr, /^trace: plugin bridge: VERSION: exit code 0[^]*^trace: plugin bridge: ADD: exit code 0/mu);
    assert.doesNotMatch(stderr, /abcdef/u);
  });

  test("is used wrongly with a run that changes nothing, and --trace without it", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    for (const words of [["--dry-run"], ["--probe=false", "--trace"]]) {
      assert.equal((await node.run(...INSTALL, ...words)).exitCode, 2);
    }
    assert.equal((await node.run("uninstall", "--plugins=bridge", "--probe")).exitCode, 2);
  });
});

/** Runs the bundle in a container on the host, with a root, a network and mounts of its own. */
async function inContainer(
  node: InstallHost,
  words: readonly string[],
  { pid = false, at = "/host/opt/cni/bin", isMounted = true } = {},
): Promise<Ran> {
  const mounts = {
    "/opt/cni/net.d": "/host/etc/cni/net.d",
    "/var/lib/cni": "/host/var/lib/cni",
    ...(isMounted ? { "/opt/cni/bin": at } : {}),
  };
  const sources = [`--plugin-source=${node.image}`, `--config-source=${node.image}`];
  return withMounts(node, [...words, ...sources, ...(isMounted ? [`--plugin-dir=${at}`] : [])], mounts, pid);
}

async function withMounts(
  node: InstallHost,
  words: readonly string[],
  mounts: Readonly<Record<string, string>>,
  pid = false,
): Promise<Ran> {
  const { script, root } = containerRoot(fs.mkdtempSync(join(node.host.plugins.root, "container-")));
  const shell = [
    script,
    ...Object.entries(mounts).map(([from, to]) => `mkdir -p ${root}${to}; mount --bind ${from} ${root}${to}`),
    `touch ${root}/.dockerenv`,
    `chroot ${root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin ${process.execPath} ${BUNDLE} ${words.join(" ")}`,
  ].join("\n");
  const own = ["unshare", "--mount", "--net", ...(pid ? ["--pid", "--fork"] : []), "sh", "-ec", shell];
  const child = spawn("nsenter", [...node.host.namespace.entrance, ...own]);
  child.stdin.end();
  return endOf(child);
}

describe("install --probe from a container", { skip }, () => {
  test("N5: the pod of docs/network.md has all that it needs", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    const templates = join(node.image, "templates");
    fs.mkdirSync(templates);
    fs.renameSync(join(node.image, "10-net.conflist"), join(templates, "20-bridge.conflist"));
    node.host.sh(
      "mkdir /run/upper /run/work; mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc; mkdir -p /etc/cni; mount -t tmpfs none /etc/cni",
    );
    const document = fs.readFileSync(new URL("../docs/network.md", import.meta.url), "utf8");
    const { spec } = parse(/```yaml\n([^]*?)```/u.exec(document)?.[1] ?? "") as Pod;
    const [{ args, securityContext, volumeMounts }] = spec.containers;
    assert.ok(spec.hostPID && securityContext.privileged);
    const mounts = volumeMounts.map(({ name, mountPath }) => {
      const path = spec.volumes.find((volume) => volume.name === name)?.hostPath?.path;
      if (path !== undefined) node.host.sh(`mkdir -p ${path}`);
      return [path ?? templates, mountPath];
    });
    const words = [...args.filter((word) => word !== "--pause"), `--plugin-source=${node.image}`];
    assert.match(
      done(await withMounts(node, words, Object.fromEntries(mounts))),
      /^probed .* ping 10\.8\.0\.1 answers/mu,
    );
    assert.equal(node.host.sh("ls /etc/cni/net.d; ls /opt/cni/bin"), "20-bridge.conflist\nbridge\nhost-local\n");
  });

  test("that sees the host's processes: the plugins act on the host", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    node.host.sh("ip link add cni8 type bridge");
    assert.match(done(await inContainer(node, INSTALL)), /^probed .* ping 10\.8\.0\.1 answers, del$/mu);
    assert.match(node.host.sh("ip -o addr show dev cni8"), /10\.8\.0\.1\/29/u, "a bridge that was there stays");
    assert.match(node.host.sh("ls /var/lib/cni/networks/net"), /last_reserved_ip/u);
  });

  test("that has configurations only: the plugins are the host's", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    node.host.sh(`cp ${node.image}/bridge ${node.image}/host-local /opt/cni/bin`);
    const ran = await inContainer(node, ["install", "--configs=10-net.conflist", "--probe"], { isMounted: false });
    assert.match(done(ran), /^probed .* ping 10\.8\.0\.1 answers, del$/mu);
  });

  test("that does not see them: nothing is tried or installed, and it says what is missing", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    const before = node.state();
    const ran = await inContainer(node, INSTALL, { pid: true });
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /^cni-node: host: plugins would act on this container: .*\n {2}hint: .*--pid=host/u);
    assert.equal(node.state(), before);
  });

  test("whose plugins are elsewhere on the host: nothing is tried or installed, and it says so", async () => {
    await using node = await InstallHost.make();
    node.template(BRIDGE);
    const before = node.state();
    const ran = await inContainer(node, INSTALL, { at: "/mnt/plugins" });
    assert.equal(ran.exitCode, 1);
    assert.match(
      ran.stderr,
      /^cni-node: \/mnt\/plugins: the host's processes do not find these plugins at \/mnt\/plugins/u,
    );
    assert.equal(node.state(), before);
  });
});
