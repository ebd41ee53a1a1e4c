/** `status` on real directories with the real plugins. The numbers of stories are those of failures in the field. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import { createServer, type Server } from "node:net";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Ajv2020 } from "ajv/dist/2020.js";

import type { Finding } from "../src/finding.ts";
import { lockDirectory } from "../src/host/lock.ts";
import { Deadline } from "../src/system/deadline.ts";
import { CertificateAuthority } from "./cluster/pki.ts";
import { Killed, withFaults } from "./helpers/faults.ts";
import { BUNDLE, contentsOf, endOf, TestNode, type Ran } from "./helpers/node.ts";
import { SimulatedRuntime, type Answers } from "./helpers/simulated-runtime.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const architecture = { x64: "amd64" }[process.arch as string] ?? process.arch;
const built = join(root, `build/plugins/linux-${architecture}`);
const isReport = new Ajv2020({ strict: true }).compile(
  JSON.parse(fs.readFileSync(join(root, "docs/schemas/report.json"), "utf8")) as object,
);

/** What `status --output=json` printed. */
interface Report {
  exitCode: number;
  findings: Finding[];
  networks?: { rule: string; file?: string; name?: string; plugins?: string[]; reason?: string }[];
  files: { name: string; containerd: { verdict: string }; crio: { verdict: string } }[];
  plugins: { name: string; state: string; directory?: string; cniVersions?: string[]; reason?: string }[];
  assets: { kind: string; name: string; owners: string[]; version?: string; state: string; reason?: string }[];
  backups: { name: string; path: string }[];
  unfinished: { directory: string; next: string }[];
  attachments: { plugin: string; living: number; gone: number }[];
  runtime?: { name: string; networkReady: boolean };
  unseen: string[];
}

/** A node with plugins of the reference set, and with a network that works. */
class Node extends TestNode {
  constructor(plugins = ["bridge", "host-local", "portmap", "loopback"]) {
    super([]);
    for (const name of plugins) this.plant(name);
  }

  /** Puts a real plugin on the node, as somebody else would. */
  plant(name: string): void {
    fs.copyFileSync(join(built, name), join(this.bin, name));
    fs.chmodSync(join(this.bin, name), 0o755);
  }

  /** Writes a file to net.d. */
  write(name: string, content: unknown, mode = 0o600): void {
    const path = join(this.netd, name);
    fs.mkdirSync(join(path, ".."), { recursive: true });
    fs.writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content), { mode });
    fs.chmodSync(path, mode);
  }

  async status(...more: string[]): Promise<Report> {
    const ran = await this.run(["status", `--host-root=${this.host}`, "--output=json", ...more]);
    assert.equal(ran.stderr, "");
    const report = JSON.parse(ran.stdout) as Report;
    assert.ok(isReport(report), `${JSON.stringify(isReport.errors)}\n${ran.stdout}`);
    assert.equal(report.exitCode, ran.exitCode);
    // Only root can make files that belong to root.
    const findings = report.findings.filter(({ code }) => process.getuid?.() === 0 || code !== "file-owner");
    assert.equal(ran.exitCode, report.findings.some(({ severity }) => severity !== "note") ? 3 : 0);
    return { ...report, findings };
  }

  async text(...more: string[]): Promise<Ran> {
    return this.run(["status", `--host-root=${this.host}`, ...more]);
  }
}

const BRIDGE = {
  type: "bridge",
  bridge: "cni0",
  isGateway: true,
  ipam: { type: "host-local", subnet: "10.22.0.0/16" },
};
const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
const PRIMARY = { cniVersion: "1.0.0", name: "primary", plugins: [BRIDGE, PORTMAP] };

function healthy(): Node {
  const node = new Node();
  node.write("10-primary.conflist", PRIMARY);
  return node;
}

/** `error plugin-missing 10-a.conflist` of each, sorted. */
function told({ findings }: Report): string[] {
  return findings.map(({ severity, code, path }) => `${severity} ${code} ${path.split("/").at(-1) ?? ""}`).toSorted();
}

function findingOf({ findings }: Report, code: string): Finding {
  const found = findings.find((one) => one.code === code);
  assert.ok(found, `no ${code} among ${JSON.stringify(findings)}`);
  return found;
}

describe("a healthy node", () => {
  test("that cni-node has never seen has no findings, exit code 0, and a text that says so", async () => {
    using node = healthy();
    const report = await node.status();
    assert.deepEqual(told(report), []);
    assert.deepEqual(
      report.networks?.map(({ rule, file, name, plugins }) => [rule, file, name, plugins]),
      ["containerd", "CRI-O"].map((rule) => [rule, "10-primary.conflist", "primary", ["bridge", "portmap"]]),
    );
    assert.deepEqual(
      report.plugins.map(({ name, state }) => [name, state]),
      ["bridge", "host-local", "portmap", "loopback"].map((name) => [name, "runs"]),
    );
    assert.ok(report.plugins.every(({ cniVersions }) => cniVersions?.includes("1.0.0")));
    assert.deepEqual(report.assets, []);
    assert.deepEqual(
      report.files.map(({ name, containerd, crio }) => [name, containerd.verdict, crio.verdict]),
      [["10-primary.conflist", "chosen", "chosen"]],
    );
    const { stdout } = await node.text();
    if (process.getuid?.() === 0) assert.match(stdout, /^healthy: nothing is wrong that can be seen from here\n/u);
    assert.match(
      stdout,
      /containerd and CRI-O take 10-primary\.conflist: network "primary", cniVersion 1\.0\.0, bridge → portmap/u,
    );
  });

  test("is not changed by looking at it, and neither is one on which cni-node works", async () => {
    using node = healthy();
    node.plugin("vlan");
    await node.run(["install", "--plugins=vlan"]);
    const look = (): unknown => [
      contentsOf(node.host),
      fs.readdirSync(node.netd),
      fs.readdirSync(join(node.bin, ".cni-node"), { recursive: true }),
      fs.readFileSync(join(node.bin, ".cni-node/record.json"), "utf8"),
    ];
    const before = look();
    await node.status();
    await node.status("--checksum");
    assert.deepEqual(look(), before);
  });

  test("is looked at while another run holds the locks", async () => {
    using node = healthy();
    const locks = await Promise.all(
      [node.bin, node.netd].map((directory) => lockDirectory(directory, new Deadline(0), new AbortController().signal)),
    );
    try {
      assert.equal((await node.status()).networks?.length, 2);
    } finally {
      for (const lock of locks) lock.release();
    }
  });

  test("shows no configuration's secrets", async () => {
    using node = healthy();
    const secret = { ...BRIDGE, token: "hunter2", kubeconfig: "/etc/cni/net.d/p.kubeconfig" };
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [secret] });
    node.write("p.kubeconfig", kubeconfig({ token: jwt({ exp: 1 }) }));
    const { stdout } = await node.text();
    assert.doesNotMatch(stdout + JSON.stringify(await node.status()), /hunter2|eyJ/u);
  });
});

describe("where nothing can be looked at, status fails with exit code 1", () => {
  test("nothing is mounted", async () => {
    using node = new TestNode();
    const { exitCode, stdout, stderr } = await node.run(["status", `--host-root=${join(node.root, "nowhere")}`]);
    assert.deepEqual([exitCode, stdout], [1, ""]);
    assert.match(stderr, /there is nothing to look at.*\n {2}hint: on the node itself say --host-root=\//u);
  });

  test("but with either directory it says what it could not see", async () => {
    using node = healthy();
    const nowhere = `--host-root=${join(node.root, "nowhere")}`;
    const configs = await node.run(["status", nowhere, `--config-dir=${node.netd}`, "--output=json"]);
    const { findings, unseen, plugins } = JSON.parse(configs.stdout) as Report;
    assert.ok(
      unseen.some((what) => what.includes("/opt/cni/bin: the plugins, for nothing of the node is mounted there")),
    );
    assert.ok(plugins.every(({ state }) => state === "unproved"));
    assert.deepEqual(
      findings.filter(({ severity }) => severity === "error"),
      [],
    );
    const bins = await node.run(["status", nowhere, `--plugin-dir=${node.bin}`, "--output=json"]);
    assert.equal((JSON.parse(bins.stdout) as Report).networks, undefined);
    assert.equal(bins.exitCode, 0, bins.stdout);
  });
});

test(
  "whoever may not read it all is told so, and not that it is broken",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async () => {
    using node = healthy();
    fs.chmodSync(node.root, 0o755);
    const child = spawn(process.execPath, [BUNDLE, "status", `--host-root=${node.host}`], { uid: 65_534, gid: 65_534 });
    const { exitCode, stdout, stderr } = await endOf(child);
    assert.deepEqual([exitCode, stderr], [3, ""]);
    assert.match(stdout, /^1 warning\n\nwarning {2}\/etc\/cni\/net\.d\n.*\[network-unseen\]\n/u);
    assert.match(
      stdout,
      /^not examined\n(?: {2}.*\n)* {2}\S*10-primary\.conflist: cannot be read: permission denied; run as root/mu,
    );
  },
);

test(
  "nor where a directory beside the configurations may not be looked into",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async () => {
    using node = healthy();
    fs.chmodSync(node.root, 0o755);
    fs.chmodSync(join(node.netd, "10-primary.conflist"), 0o644);
    fs.mkdirSync(join(node.netd, "multus.d"), { mode: 0o700 });
    const look = async (): Promise<Ran> => {
      const words = [BUNDLE, "status", `--host-root=${node.host}`];
      return endOf(spawn(process.execPath, words, { uid: 65_534, gid: 65_534 }));
    };
    assert.equal((await look()).exitCode, 0, "nobody reads it");
    fs.mkdirSync(join(node.netd, "primary"), { mode: 0o700 });
    const { exitCode, stdout } = await look();
    assert.equal(exitCode, 3);
    assert.match(stdout, /\[network-unseen\]/u);
    assert.match(stdout, /10-primary\.conflist: has more plugins in the directory primary\/, .*permission denied/u);
  },
);

describe("the network of the pods", () => {
  test("stories 1 and 3 (istio#44167, multus-cni#1155): an empty conflist leaves the node without a network", async () => {
    using node = healthy();
    node.write("00-multus.conf", "");
    const report = await node.status();
    assert.deepEqual(told(report), ["error config-invalid 00-multus.conf", "warning no-network net.d"]);
    assert.match(findingOf(report, "no-network").message, /00-multus\.conf .*with containerd the node is NotReady/u);
    assert.deepEqual(
      report.networks?.map(({ rule, file }) => [rule, file]),
      [
        ["containerd", undefined],
        ["CRI-O", "10-primary.conflist"],
      ],
    );
  });

  test("story 2 (containerd#8662): half a configuration is an error, with the place in it", async () => {
    using node = new Node();
    node.write("10-primary.conflist", JSON.stringify(PRIMARY).slice(0, 50));
    const report = await node.status();
    assert.deepEqual(told(report), ["error config-invalid 10-primary.conflist", "error no-network net.d"]);
  });

  test("a node without any configuration is told who should write one", async () => {
    using node = new Node();
    const report = await node.status();
    assert.deepEqual(told(report), ["error no-network net.d"]);
    assert.match(findingOf(report, "no-network").hint ?? "", /Calico/u);
  });

  test("a pointer that nobody replaced is told, also where the file cannot be loaded because of it", async () => {
    using node = healthy();
    node.write("00-multus.conf", '{"name": "m", "type": "bridge", "delegates": [ __10-calico.conflist__ ]}');
    const report = await node.status();
    assert.ok(told(report).includes("warning pointer-left 00-multus.conf"), told(report).join());
    node.write("00-multus.conf", '{"cniVersion": "1.0.0", "name": "m", "type": "bridge", "mtu": "__CNI_MTU__"}');
    assert.deepEqual(told(await node.status()), ["warning pointer-left 00-multus.conf"]);
  });

  test("what Linkerd leaves of its template in every chain is none that somebody forgot", async () => {
    using node = healthy();
    fs.copyFileSync(join(node.bin, "portmap"), join(node.bin, "linkerd-cni"));
    const policy = { k8s_api_root: "https://__KUBERNETES_SERVICE_HOST__:__KUBERNETES_SERVICE_PORT__" };
    const linkerd = { type: "linkerd-cni", policy: { ...policy, k8s_auth_token: "__SERVICEACCOUNT_TOKEN__" } };
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [BRIDGE, linkerd] });
    assert.deepEqual(told(await node.status()), []);
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [{ ...BRIDGE, mtu: "__MTU__" }, linkerd] });
    assert.deepEqual(told(await node.status()), ["warning pointer-left 10-primary.conflist"]);
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [{ ...BRIDGE, ...linkerd.policy }] });
    assert.deepEqual(told(await node.status()), ["warning pointer-left 10-primary.conflist"]);
  });

  test("a broken file behind the one in use is a warning", async () => {
    using node = healthy();
    node.write("99-next.conf", "{");
    assert.deepEqual(told(await node.status()), ["warning config-broken-unused 99-next.conf"]);
  });

  test("story 12 (multus-cni#1130): a Multus that delegates to itself is an error", async () => {
    using node = healthy();
    node.plant("loopback");
    fs.copyFileSync(join(built, "ptp"), join(node.bin, "multus"));
    fs.chmodSync(join(node.bin, "multus"), 0o755);
    const inner = { type: "multus", delegates: [PRIMARY] };
    node.write("00-multus.conf", { cniVersion: "1.0.0", name: "multus", type: "multus", delegates: [inner] });
    assert.ok(told(await node.status()).includes("error delegates-to-itself 00-multus.conf"));
  });

  test("story 20 (istio/cni#85, istio#27771): a chain without its primary plugin, and an entry that is there twice", async () => {
    using node = new Node();
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [PORTMAP, PORTMAP] });
    assert.deepEqual(told(await node.status()), [
      "error chain-without-interface 10-primary.conflist",
      "warning chain-duplicate 10-primary.conflist",
    ]);
  });

  test("Multus that takes the pods' network from a file: the file's plugins are looked at, too", async () => {
    using node = new Node(["bridge", "loopback", "portmap"]);
    fs.copyFileSync(join(built, "ptp"), join(node.bin, "multus"));
    fs.chmodSync(join(node.bin, "multus"), 0o755);
    const multus = {
      cniVersion: "1.0.0",
      name: "m",
      type: "multus",
      capabilities: { portMappings: true },
      clusterNetwork: "/etc/cni/net.d/10-primary.conflist",
    };
    node.write("00-multus.conf", multus);
    assert.deepEqual(told(await node.status()), ["error cluster-network-missing 00-multus.conf"]);
    node.write("10-primary.conflist", "{");
    assert.deepEqual(told(await node.status()), ["error config-invalid 10-primary.conflist"]);
    node.write("10-primary.conflist", PRIMARY);
    const report = await node.status();
    assert.deepEqual(told(report), ["error plugin-missing 10-primary.conflist"]);
    assert.ok(report.plugins.some(({ name, state }) => name === "host-local" && state === "missing"));
    fs.mkdirSync(join(node.host, "run/flannel"), { recursive: true });
    node.plant("host-local");
    node.write("00-multus.conf", { ...multus, readinessindicatorfile: "/run/flannel/subnet.env" });
    assert.deepEqual(told(await node.status()), ["error readiness-file-missing 00-multus.conf"]);
    fs.writeFileSync(join(node.host, "run/flannel/subnet.env"), "");
    assert.deepEqual(told(await node.status()), []);
    // Its daemon has the node's files at /host.
    const shim = { ...multus, readinessindicatorfile: "/host/run/flannel/subnet.env" };
    node.write("00-multus.conf", { ...shim, clusterNetwork: "/host/etc/cni/net.d/10-primary.conflist" });
    assert.deepEqual(told(await node.status()), []);
    node.write("00-multus.conf", { ...shim, clusterNetwork: "/host/etc/cni/net.d/05-gone.conflist" });
    assert.deepEqual(told(await node.status()), ["error cluster-network-missing 00-multus.conf"]);
  });

  test("a version that the plugin does not support, and one that no plugin does", async () => {
    using node = healthy();
    node.write("10-primary.conflist", { ...PRIMARY, cniVersion: "0.9.9" });
    assert.ok(told(await node.status()).some((one) => one.startsWith("error version-")));
  });

  test("a name that no pod can be attached to, and a type that is a path", async () => {
    using node = healthy();
    node.write("10-primary.conflist", { ...PRIMARY, name: "a b", plugins: [{ type: "bin/bridge" }] });
    const report = told(await node.status());
    assert.ok(report.includes("error network-name 10-primary.conflist"), report.join());
    assert.ok(report.includes("error plugin-type 10-primary.conflist"), report.join());
  });

  test("containerd needs loopback for every pod", async () => {
    using node = new Node(["bridge", "host-local", "portmap"]);
    node.write("10-primary.conflist", PRIMARY);
    assert.deepEqual(told(await node.status()), ["warning loopback-missing loopback"]);
  });

  test("story 25 (kubernetes#115629): plugins that a package upgrade wiped are missing, ours and others'", async () => {
    using node = new Node(["host-local", "loopback", "bridge"]);
    node.write("10-primary.conflist", PRIMARY);
    const missing = ["error plugin-missing 10-primary.conflist", "warning no-network net.d"];
    assert.deepEqual(told(await node.status()), missing);
    fs.copyFileSync(join(built, "portmap"), join(node.plugins, "portmap"));
    await node.run(["install", "--plugins=portmap"]);
    assert.deepEqual(told(await node.status()), []);
    fs.rmSync(join(node.bin, "portmap"));
    assert.deepEqual(told(await node.status()), ["error asset-missing portmap", ...missing]);
  });

  test("flannel calls bridge and host-local without being told: they are needed, too (flannel#1721)", async () => {
    using node = new Node(["loopback", "portmap"]);
    // What is asked of it here, any plugin answers.
    fs.copyFileSync(join(built, "portmap"), join(node.bin, "flannel"));
    const flannel = { type: "flannel", delegate: { isDefaultGateway: true } };
    node.write("10-flannel.conflist", { cniVersion: "0.3.1", name: "cbr0", plugins: [flannel, PORTMAP] });
    const report = await node.status();
    assert.deepEqual(told(report), [
      "error plugin-missing 10-flannel.conflist",
      "error plugin-missing 10-flannel.conflist",
    ]);
    for (const name of ["bridge", "host-local"]) node.plant(name);
    assert.deepEqual(told(await node.status()), []);
    fs.rmSync(join(node.bin, "bridge"));
    node.plant("macvlan");
    const other = { type: "flannel", delegate: { type: "macvlan" } };
    node.write("10-flannel.conflist", { cniVersion: "0.3.1", name: "cbr0", plugins: [other, PORTMAP] });
    assert.deepEqual(told(await node.status()), []);
  });

  test("plugins that do not run are errors, and what cannot be judged from here is none", async () => {
    const cases: [what: string, make: (path: string) => void, state: string, code: string][] = [
      ["no program", (path) => fs.writeFileSync(path, "text"), "broken", "plugin-no-program"],
      ["not executable", (path) => fs.chmodSync(path, 0o644), "broken", "plugin-mode"],
      ["it fails", (path) => fs.writeFileSync(path, "#!/bin/sh\nexit 1\n"), "broken", "plugin-broken"],
      ["its interpreter is not here", (path) => fs.writeFileSync(path, "#!/nowhere/sh\n"), "unproved", "plugin-loader"],
    ];
    for (const [what, make, state, code] of cases) {
      using node = healthy();
      make(join(node.bin, "portmap"));
      const report = await node.status();
      assert.equal(report.plugins.find(({ name }) => name === "portmap")?.state, state, what);
      const severity = state === "broken" ? "error" : "warning";
      // CRI-O asks the plugins before it takes a network.
      const without = state === "broken" ? ["warning no-network net.d"] : [];
      assert.deepEqual(told(report), [`${severity} ${code} 10-primary.conflist`, ...without], what);
    }
  });
});

/** A socket on which somebody listens. */
async function listen(path: string): Promise<Server> {
  fs.mkdirSync(join(path, ".."), { recursive: true });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

test("whose socket is there counts, and nobody else's rule; both where there is none, or both", async () => {
  using node = healthy();
  fs.rmSync(join(node.bin, "loopback"));
  const rules = async (): Promise<string[] | undefined> => (await node.status()).networks?.map(({ rule }) => rule);
  assert.deepEqual(await rules(), ["containerd", "CRI-O"]);
  await using crio = await listen(join(node.host, "run/crio/crio.sock"));
  assert.ok(crio.listening);
  assert.deepEqual(await rules(), ["CRI-O"]);
  // containerd alone needs it.
  assert.deepEqual(told(await node.status()), []);
  await using containerd = await listen(join(node.host, "run/containerd/containerd.sock"));
  assert.ok(containerd.listening);
  assert.deepEqual(await rules(), ["containerd", "CRI-O"]);
});

describe("a distribution whose runtime has directories of its own, without asking it", () => {
  const cases: [what: string, configs: string | undefined, plugins: string][] = [
    ["k3s", "var/lib/rancher/k3s/agent/etc/cni/net.d", "var/lib/rancher/k3s/data/cni"],
    [
      "k3s before it had one directory for all plugins",
      "var/lib/rancher/k3s/agent/etc/cni/net.d",
      "var/lib/rancher/k3s/data/current/bin",
    ],
    ["MicroK8s", "var/snap/microk8s/current/args/cni-network", "var/snap/microk8s/current/opt/cni/bin"],
    ["OpenShift", "etc/kubernetes/cni/net.d", "var/lib/cni/bin"],
    ["GKE", undefined, "home/kubernetes/bin"],
  ];
  for (const [what, configs = "etc/cni/net.d", plugins] of cases) {
    test(`${what}: those are looked at`, async () => {
      using node = healthy();
      for (const [from, to] of [
        [node.bin, plugins],
        [node.netd, configs],
      ] as const) {
        fs.mkdirSync(join(node.host, to, ".."), { recursive: true });
        fs.renameSync(from, join(node.host, to));
      }
      const report = await node.status();
      assert.deepEqual(told(report), []);
      assert.equal(report.networks?.[0]?.file, "10-primary.conflist");
      assert.deepEqual(report.unseen, []);
    });
  }

  test("configurations in the usual directory are not those in use there, and that is said", async () => {
    using node = healthy();
    const own = join(node.host, "var/lib/rancher/k3s/agent/etc/cni/net.d");
    fs.mkdirSync(own, { recursive: true });
    fs.writeFileSync(join(own, "10-flannel.conflist"), JSON.stringify({ ...PRIMARY, name: "cbr0" }), { mode: 0o600 });
    const bin = join(node.host, "var/lib/rancher/k3s/data/cni");
    fs.cpSync(node.bin, bin, { recursive: true });
    fs.rmSync(join(bin, "portmap"));
    node.plugin("portmap");
    const report = await node.status(`--plugin-source=${node.plugins}`);
    assert.equal(report.networks?.[0]?.name, "cbr0");
    assert.deepEqual(report.unseen, [
      "/etc/cni/net.d: k3s reads /var/lib/rancher/k3s/agent/etc/cni/net.d; name the other with --config-dir",
    ]);
    assert.match(
      findingOf(report, "plugin-missing").hint ?? "",
      new RegExp(`--plugins=portmap --plugin-dir=${bin} \\(docker run .*--plugin-dir=${bin}\\)$`, "u"),
    );
    const named = await node.status(`--config-dir=${node.netd}`);
    assert.equal(named.networks?.[0]?.name, "primary");
    assert.deepEqual(named.unseen, []);
  });
});

test("a plugin that this image has is to be installed from it, another by whoever brings it", async () => {
  using node = healthy();
  fs.rmSync(join(node.bin, "portmap"));
  const hint = async (): Promise<string> =>
    findingOf(await node.status(`--plugin-source=${node.plugins}`), "plugin-missing").hint ?? "";
  assert.match(await hint(), /restart its pod on this node/u);
  node.plugin("portmap");
  assert.match(
    await hint(),
    /: cni-node install --plugins=portmap \(docker run --rm -v \/:\/host cni-node install --plugins=portmap\)$/u,
  );
});

describe("files in net.d", () => {
  test("a stale twin (Multus that went from .conf to .conflist): the old one is read", async () => {
    using node = healthy();
    node.write("10-primary.conf", { ...BRIDGE, cniVersion: "1.0.0", name: "old" });
    const report = await node.status();
    assert.deepEqual(told(report), ["warning stale-twin 10-primary.conf"]);
    assert.match(findingOf(report, "stale-twin").message, /^hides 10-primary\.conflist/u);
  });

  test("story 14 (multus-cni#972): what Cilium renamed is found, with the setting that does it", async () => {
    using node = healthy();
    node.template("00-multus.conf", JSON.stringify({ cniVersion: "1.0.0", name: "m", ...BRIDGE }));
    await node.run(["install", "--configs=00-multus.conf"]);
    fs.renameSync(join(node.netd, "00-multus.conf"), join(node.netd, "00-multus.conf.cilium_bak"));
    const report = await node.status();
    assert.deepEqual(told(report), [
      "error asset-missing 00-multus.conf",
      "warning set-aside-by-cilium 00-multus.conf.cilium_bak",
    ]);
    assert.match(findingOf(report, "set-aside-by-cilium").hint ?? "", /cni\.exclusive=false/u);
  });

  test("what was renamed by others, and a network under a name that nobody reads; not a kubeconfig, not a directory", async () => {
    using node = healthy();
    for (const name of ["02-a.conf.bak", "02-b.conflist~", "02-c.json.old"]) node.write(name, PRIMARY);
    node.write("30-d.config", PRIMARY);
    node.write("31-e.CONFLIST", PRIMARY);
    node.write("calico-kubeconfig", kubeconfig({}));
    node.write("README", "text");
    node.write("multus.d/multus.kubeconfig", kubeconfig({}));
    assert.deepEqual(told(await node.status()), [
      "warning name-unread 30-d.config",
      "warning name-unread 31-e.CONFLIST",
      "warning set-aside 02-a.conf.bak",
      "warning set-aside 02-b.conflist~",
      "warning set-aside 02-c.json.old",
    ]);
  });

  test("what was renamed and would not be used under its name either is none: copies, what Cilium does to a distribution's files", async () => {
    using node = healthy();
    for (const name of [
      "10-primary.conflist.bak",
      "02-crio-bridge.conflist.disabled",
      "87-podman-bridge.conflist.cilium_bak",
      "99-loopback.conf.cilium_bak",
    ]) {
      node.write(name, PRIMARY);
    }
    assert.deepEqual(told(await node.status()), []);
    fs.rmSync(join(node.netd, "10-primary.conflist"));
    assert.deepEqual(told(await node.status()), [
      "error no-network net.d",
      "warning set-aside 10-primary.conflist.bak",
      "warning set-aside-by-cilium 87-podman-bridge.conflist.cilium_bak",
      "warning set-aside-by-cilium 99-loopback.conf.cilium_bak",
    ]);
  });

  test("what Cilium renamed of ours is told, wherever its name comes", async () => {
    using node = healthy();
    node.template("50-m.conf", JSON.stringify({ cniVersion: "1.0.0", name: "m", ...BRIDGE }));
    await node.run(["install", "--configs=50-m.conf"]);
    fs.renameSync(join(node.netd, "50-m.conf"), join(node.netd, "50-m.conf.cilium_bak"));
    assert.deepEqual(told(await node.status()), [
      "error asset-missing 50-m.conf",
      "warning set-aside-by-cilium 50-m.conf.cilium_bak",
    ]);
  });

  test("story 23 (CIS Kubernetes Benchmark 1.1.9): modes wider than 0600, drop-ins included; 0400 is strict enough", async () => {
    using node = healthy();
    node.write("20-a.conf", { cniVersion: "1.0.0", name: "a", type: "bridge" }, 0o644);
    node.write("21-b.conf", { name: "b", type: "bridge" }, 0o400);
    node.write("primary/10-tuning.conf", { ...PORTMAP, snat: true }, 0o640);
    const usual = await node.status();
    assert.deepEqual(told(usual), ["note file-mode 10-tuning.conf", "note file-mode 20-a.conf"]);
    assert.equal(usual.exitCode, 0, "most nodes are so");
    assert.match((await node.text()).stdout, /^healthy: .*, 2 notes\n\nnote {5}/mu);
    node.write("20-a.conf", { name: "a", type: "bridge" }, 0o646);
    node.write("21-b.conf", { name: "b", type: "bridge", token: "x" }, 0o644);
    const wrong = await node.status();
    assert.deepEqual(told(wrong), [
      "note file-mode 10-tuning.conf",
      "warning file-mode 20-a.conf",
      "warning file-mode 21-b.conf",
    ]);
    assert.equal(wrong.exitCode, 3);
  });

  test("files that do not belong to root", { skip: process.getuid?.() !== 0 && "needs root" }, async () => {
    using node = healthy();
    fs.chownSync(join(node.netd, "10-primary.conflist"), 1234, 0);
    assert.deepEqual(told(await node.status()), ["warning file-owner 10-primary.conflist"]);
  });

  test("directories and plugins that others than root may write to", async () => {
    using node = healthy();
    fs.chmodSync(node.netd, 0o777);
    fs.chmodSync(join(node.bin, "bridge"), 0o775);
    assert.deepEqual(told(await node.status()), [
      "warning writable-by-others bridge",
      "warning writable-by-others net.d",
    ]);
  });

  test("two files with the same network name", async () => {
    using node = healthy();
    node.write("20-a.conf", { name: "primary", type: "bridge" });
    node.write("20-a.json", { name: "primary", type: "bridge" });
    assert.deepEqual(told(await node.status()), [
      "warning network-name-shared 20-a.conf",
      "warning network-name-shared 20-a.json",
      "warning stale-twin 20-a.conf",
    ]);
  });

  test("networks that share a name on purpose: Multus around one (--override-network-name), Cilium chained into one; and none", async () => {
    using node = healthy();
    node.plant("vlan");
    node.write("00-multus.conf", { cniVersion: "1.0.0", name: "primary", type: "vlan", delegates: [PRIMARY] });
    node.write("20-chained.conflist", { ...PRIMARY, plugins: [BRIDGE, { type: "vlan" }] });
    for (const name of ["99-loopback.conf", "200-loopback.conf"]) node.write(name, { type: "loopback" });
    assert.deepEqual(told(await node.status()), []);
  });

  test("what is not a file and no text, and names that would steer a terminal, are told like everything else", async () => {
    using node = healthy();
    fs.writeFileSync(Buffer.from(`${node.netd}/bad\xff.conf`, "latin1"), "{}", { mode: 0o600 });
    fs.symlinkSync("loop.conf", join(node.netd, "loop.conf"));
    fs.symlinkSync("loop", join(node.netd, "loop"));
    fs.mkdirSync(join(node.netd, "30-dir.conf"));
    const nul = "\0";
    const odd = {
      type: `a\u001b[31m${nul}b`,
      kubeconfig: `/e${nul}/k`,
      readinessindicatorfile: `/x${nul}`,
      cniDir: `/c${nul}`,
    };
    const ipam = { type: "host-local", dataDir: `/d${nul}` };
    const delegates = [null, 1, { plugins: "a" }];
    node.write("00-a.conf", { ...odd, name: "a", clusterNetwork: `/etc/cni/net.d/${nul}`, ipam, delegates });
    const report = told(await node.status());
    for (const expected of [
      "error cluster-network-missing 00-a.conf",
      "error plugin-missing 00-a.conf",
      "error readiness-file-missing 00-a.conf",
      "warning config-broken-unused loop.conf",
      "warning link-dangling loop",
    ]) {
      assert.ok(report.includes(expected), report.join());
    }
    const { stdout } = await node.text();
    assert.match(stdout, /needs the plugin "a\\u001b\[31m\\u0000b", which is not in/u);
    assert.doesNotMatch(stdout, /(?!\n)\p{Cc}/u);
  });

  test("a directory that is a link is followed as the node does", async () => {
    using node = healthy();
    fs.mkdirSync(join(node.host, "srv"));
    fs.renameSync(node.netd, join(node.host, "srv/net.d"));
    fs.symlinkSync("/srv/net.d", node.netd);
    fs.renameSync(node.bin, join(node.host, "srv/bin"));
    fs.symlinkSync("../../srv/bin", node.bin);
    const report = await node.status();
    assert.deepEqual(told(report), []);
    assert.equal(report.networks?.[0]?.file, "10-primary.conflist");
  });

  test("no directory of plugins", async () => {
    using node = healthy();
    fs.rmSync(node.bin, { recursive: true });
    const report = await node.status();
    assert.ok(told(report).includes("warning plugin-directory-missing bin"), told(report).join());
    // Fedora's packages have theirs elsewhere.
    using fedora = healthy();
    fs.mkdirSync(join(fedora.host, "usr/libexec"), { recursive: true });
    fs.renameSync(fedora.bin, join(fedora.host, "usr/libexec/cni"));
    assert.deepEqual(told(await fedora.status()), []);
  });

  test("links whose name is not text, and links to what is not a configuration for its size, stop nothing", async () => {
    using node = healthy();
    const name = Buffer.from([0xff, 0xfe]);
    fs.symlinkSync("/nowhere", Buffer.concat([Buffer.from(`${node.netd}/`), name]));
    fs.writeFileSync(join(node.host, "large"), "", { mode: 0o600 });
    fs.truncateSync(join(node.host, "large"), 3 * 1024 ** 3);
    fs.symlinkSync("/large", join(node.netd, "99-large.conf"));
    assert.deepEqual(told(await node.status()), ["warning config-broken-unused 99-large.conf"]);
  });

  test("links: one that leads nowhere, one to a place that is not mounted, and one that is followed on the node", async () => {
    using node = healthy();
    fs.mkdirSync(join(node.host, "opt/config"));
    fs.renameSync(join(node.netd, "10-primary.conflist"), join(node.host, "opt/config/primary"));
    fs.symlinkSync("/opt/config/primary", join(node.netd, "10-primary.conflist"));
    fs.symlinkSync("/etc/cni/gone", join(node.netd, "notes"));
    assert.deepEqual(told(await node.status()), ["warning link-dangling notes"]);
    fs.rmSync(join(node.netd, "notes"));
    fs.symlinkSync("/etc/cni/gone", join(node.netd, "00-a.conf"));
    assert.ok(told(await node.status()).includes("error config-invalid 00-a.conf"));
    fs.rmSync(join(node.netd, "00-a.conf"));
    fs.symlinkSync("/srv/unseen/a.conf", join(node.netd, "00-a.conf"));
    const report = await node.status();
    assert.deepEqual(told(report), ["warning link-unseen 00-a.conf", "warning no-network net.d"]);
  });
});

function jwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "RS256" })}.${part(claims)}.c2lnbmF0dXJl`;
}

function kubeconfig(user: object): string {
  const contexts = [{ name: "c", context: { cluster: "local", user: "u" } }];
  const users = [{ name: "u", user }];
  const clusters = [{ name: "local", cluster: { server: "https://[fd00:10:96::1]:443" } }];
  return JSON.stringify({ apiVersion: "v1", kind: "Config", "current-context": "c", clusters, contexts, users });
}

/** A node whose network needs a kubeconfig. */
function withKubeconfig(content: string | undefined, mode = 0o600): Node {
  const node = healthy();
  const path = "/etc/cni/net.d/primary.d/primary.kubeconfig";
  node.write("10-primary.conflist", { ...PRIMARY, plugins: [{ ...BRIDGE, kubernetes: { kubeconfig: path } }] });
  if (content !== undefined) node.write("primary.d/primary.kubeconfig", content, mode);
  return node;
}

describe("the credentials of plugins", () => {
  const now = Math.floor(Date.now() / 1000);
  const hour = 3600;

  test("stories 8, 10 and 19 (multus-cni#1429, bitnami/charts#25337, istio#60668): a kubeconfig that is not there", async () => {
    using node = withKubeconfig(undefined);
    assert.deepEqual(told(await node.status()), ["error kubeconfig-missing 10-primary.conflist"]);
  });

  test("one that others may read", async () => {
    using node = withKubeconfig(kubeconfig({ token: "opaque" }), 0o644);
    assert.deepEqual(told(await node.status()), ["warning kubeconfig-mode primary.kubeconfig"]);
  });

  test("stories 5 and 6 (rke2#9313, calico#4857): a token that has expired, that is about to, and that is good", async () => {
    const cases: [claims: object, expected: string[]][] = [
      [{ iat: now - 2 * hour, exp: now - 1 }, ["error credentials-expired primary.kubeconfig"]],
      [{ iat: now - 95 * hour, exp: now + 5 * hour }, ["warning credentials-expire primary.kubeconfig"]],
      [{ exp: now + hour / 2 }, ["warning credentials-expire primary.kubeconfig"]],
      [{ iat: now - 80 * hour, exp: now + 20 * hour }, []],
      [{ exp: now + 2 * hour }, []],
      [{ sub: "a token of a Secret, which does not expire" }, []],
    ];
    for (const [claims, expected] of cases) {
      using node = withKubeconfig(kubeconfig({ token: jwt(claims) }));
      assert.deepEqual(told(await node.status()), expected, JSON.stringify(claims));
    }
  });

  test("also a token in a file of its own, and a client certificate", async () => {
    using node = withKubeconfig(kubeconfig({ tokenFile: "/var/run/token" }));
    fs.mkdirSync(join(node.host, "var/run"), { recursive: true });
    fs.writeFileSync(join(node.host, "var/run/token"), jwt({ exp: 1 }));
    assert.deepEqual(told(await node.status()), ["error credentials-expired primary.kubeconfig"]);
    const { certificate } = await CertificateAuthority.make(join(node.root, "pki"));
    const data = fs.readFileSync(certificate).toString("base64");
    node.write("primary.d/primary.kubeconfig", kubeconfig({ "client-certificate-data": data }));
    assert.deepEqual(told(await node.status()), []);
    const { lookAtKubeconfig } = await import("../src/status/credentials.ts");
    const path = join(node.netd, "primary.d/primary.kubeconfig");
    const { findings: found } = lookAtKubeconfig(path, "/k", () => undefined, Date.now() + 25 * hour * 1000);
    assert.deepEqual(
      found.map(({ code }) => code).filter((code) => code !== "file-owner"),
      ["credentials-expired"],
    );
  });

  test("a token that is good for ever, in the largest number that there is, is not an error", async () => {
    using node = withKubeconfig(kubeconfig({ token: jwt({ exp: 2 ** 63 }) }));
    assert.deepEqual(told(await node.status()), []);
  });

  for (const text of ["users: [{name: u, user: {token: hunter2}", "{{__hunter2__}}", "hunter2: {}", ""]) {
    test(`one that is none, without quoting it: ${JSON.stringify(text)}`, async () => {
      using node = withKubeconfig(text);
      const report = await node.status();
      assert.deepEqual(told(report), ["error kubeconfig-invalid primary.kubeconfig"]);
      const { stdout, stderr } = await node.bundle(["status", `--host-root=${node.host}`]);
      assert.doesNotMatch(JSON.stringify(report) + stdout + stderr, /hunter2/u);
    });
  }
});

describe("what cni-node installed", () => {
  /** A node on which two owners have installed things, over a file that was there before. */
  async function installed(): Promise<Node> {
    const node = healthy();
    for (const name of ["macvlan", "vlan"]) fs.copyFileSync(join(built, name), join(node.plugins, name));
    fs.copyFileSync(join(built, ".catalogue.json"), join(node.plugins, ".catalogue.json"));
    node.template("10-primary.conflist", `${JSON.stringify({ ...PRIMARY, name: "ours" })}\n`);
    assert.equal((await node.run(["install", "--plugins=macvlan", "--configs=10-primary.conflist"])).exitCode, 0);
    assert.equal((await node.run(["install", "--plugins=macvlan,vlan", "--owner=other"])).exitCode, 0);
    return node;
  }

  test("is told with owners and versions, and what was there before with its place", async () => {
    using node = await installed();
    const report = await node.status(`--plugin-source=${node.plugins}`);
    assert.deepEqual(told(report), []);
    assert.deepEqual(
      report.assets.map(({ kind, name, owners, version, state }) => [kind, name, owners.join(), version, state]),
      [
        ["plugin", "macvlan", "cni-node,other", "v1.9.1", "unchanged"],
        ["plugin", "vlan", "other", "v1.9.1", "unchanged"],
        ["config", "10-primary.conflist", "cni-node", undefined, "unchanged"],
      ],
    );
    assert.equal(report.backups.length, 1);
    const [backup] = report.backups;
    assert.match(fs.readFileSync(join(node.host, backup?.path ?? ""), "utf8"), /"name":"primary"/u);
  });

  test("drift is what somebody changed or removed", async () => {
    using node = await installed();
    fs.writeFileSync(join(node.netd, "10-primary.conflist"), JSON.stringify(PRIMARY));
    fs.rmSync(join(node.bin, "macvlan"));
    fs.rmSync(join(node.bin, "vlan"));
    fs.symlinkSync("bridge", join(node.bin, "vlan"));
    const report = await node.status();
    assert.deepEqual(told(report), [
      "error asset-missing macvlan",
      "warning asset-changed 10-primary.conflist",
      "warning asset-changed vlan",
    ]);
    assert.match(findingOf(report, "asset-missing").hint ?? "", /cni-node install --plugins=macvlan --owner=cni-node/u);
  });

  test("R8: the commands in hints, run as they are, fix what they are about", async () => {
    using node = await installed();
    const configs = join(node.host, "elsewhere");
    fs.mkdirSync(configs);
    fs.writeFileSync(join(configs, "10-primary.conflist"), JSON.stringify(PRIMARY), { mode: 0o600 });
    const places = [`--plugin-source=${node.plugins}`, `--config-dir=${configs}`];
    node.template("20-more.conf", JSON.stringify({ ...BRIDGE, cniVersion: "1.0.0", name: "more" }));
    const ran = await node.run(["install", "--configs=20-more.conf", "--owner=third", `--config-dir=${configs}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    fs.rmSync(join(configs, "20-more.conf"));
    for (const name of ["macvlan", "portmap", "loopback"]) fs.rmSync(join(node.bin, name));
    for (const name of ["portmap", "loopback"]) fs.copyFileSync(join(built, name), join(node.plugins, name));
    const broken = await node.status(...places);
    assert.deepEqual(told(broken), [
      "error asset-missing 20-more.conf",
      "error asset-missing macvlan",
      "error plugin-missing 10-primary.conflist",
      "warning loopback-missing loopback",
      "warning no-network elsewhere",
    ]);
    for (const { hint = "" } of broken.findings.filter(({ code }) => code !== "no-network")) {
      const [, command = "", container] =
        /(cni-node install .*) \(docker run --rm -v \/:\/host (.*)\)$/u.exec(hint) ?? [];
      assert.equal(command, container);
      const installs = await node.run(command.split(" ").slice(1));
      assert.equal(installs.exitCode, 0, `${hint}\n${installs.stderr}`);
    }
    assert.deepEqual(told(await node.status(...places)), []);
  });

  test("R8: no command names what cannot be in a list", async () => {
    using node = healthy();
    node.plugin("a,b");
    const key = { containerId: "c1", ifName: "eth0", networkName: "n" };
    const results = join(node.host, "var/lib/cni/results");
    fs.mkdirSync(results);
    const config = Buffer.from(JSON.stringify({ cniVersion: "1.0.0", name: "n", plugins: [{ type: "a,b" }] })).toString(
      "base64",
    );
    fs.writeFileSync(join(results, "n-c1-eth0"), JSON.stringify({ kind: "cniCacheV1", config, ...key }));
    const report = await node.status(`--plugin-source=${node.plugins}`);
    assert.equal(findingOf(report, "attachment-plugin-missing").hint, "install it until these pods are gone");
  });

  test("content that changed behind the same size and times is found with --checksum", async () => {
    using node = await installed();
    const path = join(node.bin, "vlan");
    const { atime, mtime } = fs.statSync(path);
    const file = fs.openSync(path, "r+");
    fs.writeSync(file, Buffer.from([0]), 0, 1, 1000);
    fs.closeSync(file);
    fs.utimesSync(path, atime, mtime);
    assert.ok(told(await node.status("--checksum")).includes("warning asset-changed vlan"));
  });

  test("entries that others chain into our list are no drift (Istio, Linkerd), in whatever form they write it", async () => {
    using node = await installed();
    const path = join(node.netd, "10-primary.conflist");
    const ours = JSON.parse(fs.readFileSync(path, "utf8")) as { plugins: object[] };
    const chained = {
      plugins: [...ours.plugins, { ...PORTMAP, name: "another" }],
      name: "ours",
      cniVersion: "1.0.0",
    };
    fs.writeFileSync(path, JSON.stringify(chained, undefined, 4));
    const report = await node.status();
    assert.deepEqual(told(report), []);
    const asset = report.assets.find(({ kind }) => kind === "config");
    assert.deepEqual([asset?.state, asset?.reason], ["extended", "others have chained a plugin into it"]);
    const [first, second] = ours.plugins;
    const changes: object[] = [
      { ...chained, name: "theirs" },
      { ...chained, plugins: [second, first, { ...PORTMAP, snat: true }] },
      { ...chained, plugins: [{ ...first, mtu: 1400 }, second, { type: "portmap" }] },
      { ...chained, plugins: [first, { type: "tuning" }] },
    ];
    for (const changed of changes) {
      fs.writeFileSync(path, JSON.stringify(changed));
      const state = (await node.status()).assets.find(({ kind }) => kind === "config")?.state;
      assert.equal(state, "changed", JSON.stringify(changed));
    }
  });

  test("what an uninstall gave back is nobody's, and no drift", async () => {
    using node = await installed();
    await node.run(["uninstall", "--configs=10-primary.conflist"]);
    const report = await node.status();
    assert.deepEqual(told(report), []);
    assert.equal(report.assets.find(({ kind }) => kind === "config")?.state, "released");
  });

  test("a backup that somebody removed, and a record that cannot be read", async () => {
    using node = await installed();
    fs.rmSync(join(node.netd, ".cni-node/objects"), { recursive: true });
    assert.ok(told(await node.status()).some((one) => one.startsWith("warning backup-missing ")));
    fs.writeFileSync(join(node.netd, ".cni-node/record.json"), "{");
    assert.ok(told(await node.status()).includes("error record-unreadable record.json"));
  });
});

describe("a run that was killed", () => {
  /** Kills a run when it has written so many records and, after them, so many live files. */
  async function killAfter(node: Node, records: number, files: number, argv: string[]): Promise<void> {
    let [written, live] = [0, 0];
    const refuse = (): void => {
      if (written >= records && live >= files) throw new Killed();
    };
    const policy = {
      before: refuse,
      after({ name, path }: { name: string; path: string }) {
        if (name === "renameSync" && path.endsWith("/record.json.tmp")) written++;
        else if (name === "renameSync" && written >= records) live++;
        refuse();
      },
    };
    await withFaults(policy, async () => node.run(argv));
    assert.deepEqual([written, live], [records, files]);
  }

  test("before its commit point will be forgotten, after it finished; status says which and does neither", async () => {
    // The second record is the commit point: that of net.d, with its journal.
    for (const [records, files, next] of [
      [1, 0, /^forget it/u],
      [2, 0, /^finish it/u],
      [2, 2, /^finish it/u],
    ] as const) {
      using node = healthy();
      node.plugin("vlan");
      node.template("05-a.conflist", JSON.stringify({ ...PRIMARY, name: "a" }));
      const argv = ["install", "--plugins=vlan", "--configs=05-a.conflist"];
      assert.equal((await node.run(argv)).exitCode, 0);
      node.plugin("vlan", "2");
      node.template("05-a.conflist", JSON.stringify({ ...PRIMARY, name: "b" }));
      await killAfter(node, records, files, argv);
      const before = contentsOf(node.host);
      const report = await node.status();
      assert.ok(
        report.unfinished.some((one) => next.test(one.next)),
        JSON.stringify(report.unfinished),
      );
      assert.ok(told(report).some((one) => one.startsWith("warning run-unfinished ")));
      assert.deepEqual(
        report.findings.filter(({ code }) => code.startsWith("asset-")),
        [],
        "what a run is changing is not a drift",
      );
      assert.deepEqual(contentsOf(node.host), before);
      const alone = await node.run(["status", "--output=json", `--plugin-dir=${node.bin}`, "--host-root=/nowhere"]);
      assert.match(alone.stdout, /until the other directory of that run is mounted/u);
    }
  });
});

describe("containers that were attached", () => {
  function attach(node: Node, containerId: string, netns: string, types: string[]): void {
    const results = join(node.host, "var/lib/cni/results");
    fs.mkdirSync(results, { recursive: true });
    const config = Buffer.from(JSON.stringify({ plugins: types.map((type) => ({ type })) })).toString("base64");
    const value = { kind: "cniCacheV1", containerId, config, ifName: "eth0", networkName: "net", netns };
    fs.writeFileSync(join(results, `net-${containerId}-eth0`), JSON.stringify(value));
  }

  test("story 9 (istio#59846): a plugin that is gone while containers need it to be removed", async () => {
    using node = healthy();
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    fs.writeFileSync(join(node.host, "run/netns/one"), "");
    attach(node, "c1", "/run/netns/one", ["bridge", "istio-cni"]);
    attach(node, "c2", "/run/netns/gone", ["bridge", "linkerd-cni"]);
    const report = await node.status();
    assert.deepEqual(told(report), ["warning attachment-plugin-missing istio-cni"]);
    assert.deepEqual(report.attachments, [
      { plugin: "bridge", living: 1, gone: 1 },
      { plugin: "istio-cni", living: 1, gone: 0 },
      { plugin: "linkerd-cni", living: 0, gone: 1 },
    ]);
    assert.match(
      (await node.text()).stdout,
      /bridge +1 there {2}1 attachment of a container that is gone → cni-node network gc\n/u,
    );
  });

  for (const [what, path, change] of [
    ["a directory", "var/lib/cni/results", (at: string): void => fs.chmodSync(at, 0o775)],
    ["a file", "var/lib/cni/results/net-c1-eth0", (at: string): void => fs.chmodSync(at, 0o666)],
    [
      "a link",
      "var/lib/cni/results/net-c1-eth0",
      (at: string): void => {
        fs.renameSync(at, `${at}.was`);
        fs.symlinkSync("net-c1-eth0.was", at);
      },
    ],
  ] as const) {
    test(`N8: ${what} of the cache that others may have written is not trusted: its path, and the cure`, async () => {
      using node = healthy();
      fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
      fs.writeFileSync(join(node.host, "run/netns/one"), "");
      attach(node, "c1", "/run/netns/one", ["bridge"]);
      assert.deepEqual(told(await node.status()), []);
      change(join(node.host, path));
      const report = await node.status();
      assert.deepEqual(told(report), [`warning cache-untrusted ${basename(path)}`]);
      assert.match(findingOf(report, "cache-untrusted").hint ?? "", new RegExp(`chmod go-w /${path}$`, "u"));
      // It still counts for what needs its plugins.
      assert.deepEqual(report.attachments, [{ plugin: "bridge", living: 1, gone: 0 }]);
    });
  }
});

test("what is not a file where files are expected keeps nobody waiting", async () => {
  using node = healthy();
  for (const path of ["var/lib/cni/results/primary-c1-eth0", "var/lib/cni/networks/primary/10.22.0.2"]) {
    fs.mkdirSync(join(node.host, path, ".."), { recursive: true });
    execFileSync("mkfifo", [join(node.host, path)]);
  }
  const child = spawn(process.execPath, [BUNDLE, "status", `--host-root=${node.host}`, "--output=json"]);
  // A reader that waits in the kernel hears no other signal.
  const limit = setTimeout(() => child.kill("SIGKILL"), 30_000);
  const { exitCode, stdout } = await endOf(child);
  clearTimeout(limit);
  assert.equal(exitCode, 3);
  assert.deepEqual(
    told(JSON.parse(stdout) as Report).filter((one) => !one.includes("file-owner")),
    [
      "error addresses-unreadable 10.22.0.2",
      "warning addresses-stale primary",
      "warning attachment-damaged primary-c1-eth0",
    ],
  );
});

test("addresses that host-local keeps for containers that are gone are counted, those of living ones are not", async () => {
  using node = healthy();
  const config = Buffer.from(JSON.stringify(PRIMARY)).toString("base64");
  fs.mkdirSync(join(node.host, "var/lib/cni/results"), { recursive: true });
  fs.mkdirSync(join(node.host, "var/lib/cni/networks/primary"), { recursive: true });
  fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
  for (const [id, number] of [
    ["one", 2],
    ["two", 3],
    ["three", 4],
  ] as const) {
    const value = {
      kind: "cniCacheV1",
      containerId: id,
      config,
      ifName: "eth0",
      networkName: "primary",
      netns: `/run/netns/${id}`,
    };
    fs.writeFileSync(join(node.host, `var/lib/cni/results/primary-${id}-eth0`), JSON.stringify(value));
    fs.writeFileSync(join(node.host, `var/lib/cni/networks/primary/10.22.0.${number}`), `${id}\r\neth0`);
  }
  fs.writeFileSync(join(node.host, "var/lib/cni/networks/primary/last_reserved_ip.0"), "10.22.0.4");
  fs.writeFileSync(join(node.host, "run/netns/two"), "");
  const report = await node.status();
  assert.deepEqual(told(report), ["warning addresses-stale primary"]);
  assert.match(findingOf(report, "addresses-stale").message, /^keeps 2 of 3 addresses/u);
});

describe("the runtime's own word", () => {
  function containerd(network: Answers["network"], networks: string[], more: object = {}, load = "OK"): Answers {
    const Networks = networks.map((Name) => ({ IFName: "eth0", Config: { Name, CNIVersion: "1.0.0", Plugins: [] } }));
    const dirs = { PluginDirs: ["/opt/cni/bin"], PluginConfDir: "/etc/cni/net.d", PluginMaxConfNum: 1 };
    const info = { cniconfig: JSON.stringify({ ...dirs, Networks, ...more }), lastCNILoadStatus: load };
    return { name: "containerd", version: "v2.4.2", network, info };
  }

  const cases: [what: string, answers: Answers, expected: string[]][] = [
    ["it agrees", containerd(true, ["primary"]), []],
    ["it has no network", containerd("cni plugin not initialized", []), ["error runtime-not-ready runtime.sock"]],
    ["it has not read its files again", containerd(true, ["former"]), ["warning runtime-stale runtime.sock"]],
    [
      "its last load failed",
      containerd("cni plugin not initialized", [], {}, "failed to load CNI config list file: x"),
      ["error runtime-load-failed runtime.sock", "error runtime-not-ready runtime.sock"],
    ],
    [
      "it reads another directory, which is not mounted",
      containerd(true, ["primary"], { PluginConfDir: "/srv/net.d" }),
      ["error runtime-directory runtime.sock"],
    ],
  ];
  for (const [what, answers, expected] of cases) {
    test(what, async () => {
      using node = healthy();
      await using runtime = await SimulatedRuntime.start(node.root, answers);
      const { socket } = runtime;
      const report = await node.status(`--cri-socket=${socket}`);
      assert.deepEqual(told(report), expected);
      assert.equal(report.runtime?.name, "containerd");
      assert.deepEqual(
        report.networks?.map(({ rule }) => rule),
        ["containerd"],
      );
      assert.match(
        (await node.text(`--cri-socket=${socket}`)).stdout,
        /containerd v2\.4\.2 itself says: its network is/u,
      );
    });
  }

  test("where it reads another directory that can be seen, that one is looked at, with its plugins", async () => {
    using node = healthy();
    fs.renameSync(join(node.host, "etc/cni"), join(node.host, "srv"));
    fs.renameSync(join(node.host, "opt/cni/bin"), join(node.host, "srv/bin"));
    const more = { PluginConfDir: "/srv/net.d", PluginDirs: ["/srv/bin"] };
    await using runtime = await SimulatedRuntime.start(node.root, containerd(true, ["primary"], more));
    const report = await node.status(`--cri-socket=${runtime.socket}`);
    assert.deepEqual(told(report), []);
    assert.equal(report.networks?.[0]?.file, "10-primary.conflist");
  });

  test("where another directory of plugins is asked for than it uses, that is said", async () => {
    using node = healthy();
    const [bin, more] = [join(node.host, "srv/bin"), { PluginDirs: ["/srv/bin"] }];
    fs.cpSync(node.bin, bin, { recursive: true });
    await using runtime = await SimulatedRuntime.start(node.root, containerd(true, ["primary"], more));
    const report = await node.status(`--cri-socket=${runtime.socket}`, `--plugin-dir=${node.bin}`);
    assert.deepEqual(told(report), ["warning runtime-plugin-directory runtime.sock"]);
    assert.deepEqual(told(await node.status(`--cri-socket=${runtime.socket}`)), []);
  });

  test("a runtime that does not answer is an error, and the rest is told", async () => {
    using node = healthy();
    const report = await node.status(`--cri-socket=${join(node.root, "no.sock")}`);
    assert.deepEqual(told(report), ["error runtime-silent no.sock"]);
    assert.equal(
      findingOf(report, "runtime-silent").message,
      "the container runtime did not answer: there is no such socket",
    );
    assert.equal(report.networks?.length, 2);
  });

  test("where its files are right and it has none of them, the cure is to have it read them again; else to fix them", async () => {
    using node = healthy();
    const failed = containerd("cni plugin not initialized", [], {}, "no network config found in /etc/cni/net.d");
    await using runtime = await SimulatedRuntime.start(node.root, failed);
    const hints = async (): Promise<(string | undefined)[]> => {
      const report = await node.status(`--cri-socket=${runtime.socket}`);
      return ["runtime-not-ready", "runtime-load-failed"].map((code) => findingOf(report, code).hint);
    };
    for (const hint of await hints()) assert.match(hint ?? "", /restart it, or write the file again \(cp -p /u);
    node.write("10-primary.conflist", "{");
    assert.deepEqual(await hints(), [
      "it has no configuration that it can use, see there",
      "fix the file that it names",
    ]);
  });

  test("CRI-O that is told to use a network that nobody configures: the cure is in its own configuration", async () => {
    using node = healthy();
    const config =
      '[crio.network]\nnetwork_dir = "/etc/cni/net.d/"\nplugin_dirs = ["/opt/cni/bin/"]\ncni_default_network = "x"\n';
    const answers: Answers = { name: "cri-o", version: "1.34.0", network: true, http: { "/config": config } };
    await using runtime = await SimulatedRuntime.start(node.root, answers);
    const report = await node.status(`--cri-socket=${runtime.socket}`);
    assert.deepEqual(told(report), ["error no-network net.d"]);
    assert.match(findingOf(report, "no-network").hint ?? "", /cni_default_network/u);
  });
});

describe("issue 14", () => {
  const STORE = "var/lib/cni/networks/primary";

  /** A network with the addresses from 10.22.0.2 to 10.22.0.6: the first is the gateway's. */
  function small(): Node {
    const node = healthy();
    const bridge = { ...BRIDGE, ipam: { type: "host-local", subnet: "10.22.0.0/29" } };
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [bridge, PORTMAP] });
    fs.mkdirSync(join(node.host, STORE), { recursive: true });
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    return node;
  }

  function lease(node: Node, address: string, id: string): void {
    fs.writeFileSync(join(node.host, STORE, address), id === "" ? "" : `${id}\r\neth0`);
  }

  function attach(node: Node, id: string, isAlive: boolean, more: object = {}): void {
    const results = join(node.host, "var/lib/cni/results");
    fs.mkdirSync(results, { recursive: true });
    const config = Buffer.from(JSON.stringify(PRIMARY)).toString("base64");
    const key = { containerId: id, ifName: "eth0", networkName: "primary", netns: `/run/netns/${id}` };
    fs.writeFileSync(
      join(results, `primary-${id}-eth0`),
      JSON.stringify({ kind: "cniCacheV1", config, ...key, ...more }),
    );
    if (isAlive) fs.writeFileSync(join(node.host, "run/netns", id), "");
  }

  test("A3: a range that is used up is an error, with how many of how many, whose they are, and the cure", async () => {
    using node = small();
    for (const [number, id] of ["", "", "gone", "lost", "alive"].entries()) lease(node, `10.22.0.${number + 2}`, id);
    lease(node, "10.23.0.1", "elsewhere");
    attach(node, "gone", false, { "cni-node.io/note": { target: "x" } });
    attach(node, "alive", true);
    const report = await node.status();
    assert.deepEqual(told(report), ["error addresses-stale primary"]);
    const { message, hint = "" } = findingOf(report, "addresses-stale");
    assert.match(
      message,
      /all 5 of the range are taken, 2 by empty files.*, 1 by containers that are gone \(gone\), 1 by containers that no runtime remembers \(lost\)/u,
    );
    // R8: the command that exists, also as people in a container run it.
    assert.match(
      hint,
      /cni-node network gc primary \(docker run --rm --privileged --pid=host -v \S+ cni-node network gc primary\)$/u,
    );
    const find = /find \S+ -type f -name '\S+' -empty -delete/u.exec(hint)?.[0] ?? "";
    fs.writeFileSync(join(node.host, STORE, "lock"), "");
    execFileSync("sh", ["-c", find.replace("/var/lib", `${node.host}/var/lib`)]);
    assert.deepEqual(fs.readdirSync(join(node.host, STORE)).toSorted(), [
      "10.22.0.4",
      "10.22.0.5",
      "10.22.0.6",
      "10.23.0.1",
      "lock",
    ]);
    assert.equal(findingOf(await node.status(), "addresses-stale").severity, "warning");
  });

  test("A3: by containers that are there: the range is too small", async () => {
    using node = small();
    for (let number = 2; number < 7; number++) {
      lease(node, `10.22.0.${number}`, `c${number}`);
      attach(node, `c${number}`, true);
    }
    assert.deepEqual(told(await node.status()), ["error addresses-used-up primary"]);
    fs.rmSync(join(node.host, STORE, "10.22.0.4"));
    assert.deepEqual(told(await node.status()), []);
  });

  test("A3: each set of ranges by itself, of IPv6, and of whatever form", async () => {
    using node = small();
    const ranges = [
      [
        { subnet: "10.30.0.0/24", rangeStart: "10.30.0.10", rangeEnd: "10.30.0.11" },
        { subnet: "10.31.0.0/30", gateway: "10.31.0.2" },
      ],
      [{ subnet: "fd00::/126" }],
    ];
    const write = (): void => {
      node.write("10-primary.conflist", {
        ...PRIMARY,
        plugins: [{ ...BRIDGE, ipam: { type: "host-local", ranges } }, PORTMAP],
      });
    };
    write();
    for (const address of ["10.30.0.10", "10.30.0.11"]) lease(node, address, "x");
    assert.deepEqual(told(await node.status()), []);
    // All of the second range but the gateway.
    lease(node, "10.31.0.1", "x");
    assert.deepEqual(told(await node.status()), ["error addresses-stale primary"]);
    fs.rmSync(join(node.host, STORE, "10.31.0.1"));
    for (const address of ["fd00::2", "fd00::3"]) lease(node, address, "x");
    assert.deepEqual(told(await node.status()), ["error addresses-stale primary"]);
  });

  for (const [what, text] of [
    ["empty", ""],
    ["cut", '{"kind":"cniCacheV1","containerId":"c1","con'],
    ["of another form", "[1]"],
  ] as const) {
    test(`A9, N8: a file of the cache that is ${what} is damaged: its path, and the cure`, async () => {
      using node = healthy();
      const path = join(node.host, "var/lib/cni/results/primary-c1-eth0");
      fs.mkdirSync(join(path, ".."));
      fs.writeFileSync(path, text);
      const report = await node.status();
      assert.deepEqual(told(report), ["warning attachment-damaged primary-c1-eth0"]);
      assert.match(
        findingOf(report, "attachment-damaged").hint ?? "",
        /rm \/var\/lib\/cni\/results\/primary-c1-eth0$/u,
      );
    });
  }

  test("A21: the directory of plugins is a file: a finding, and the rest of the report", async () => {
    using node = healthy();
    fs.rmSync(node.bin, { recursive: true });
    fs.writeFileSync(node.bin, "");
    const report = await node.status();
    assert.ok(told(report).includes("error directory-unusable bin"), told(report).join());
    assert.equal(report.networks?.[0]?.file, "10-primary.conflist");
    assert.match((await node.text()).stdout, /files in \/etc\/cni\/net\.d/u);
  });

  test("A13: a directory in the place of a plugin or of a configuration: look at it, remove it", async () => {
    using node = healthy();
    fs.rmSync(join(node.bin, "portmap"));
    fs.mkdirSync(join(node.bin, "portmap"));
    fs.mkdirSync(join(node.netd, "05-a.conflist"));
    const report = await node.status();
    for (const expected of ["error plugin-no-file 10-primary.conflist", "warning config-directory 05-a.conflist"]) {
      assert.ok(told(report).includes(expected), told(report).join());
    }
    assert.match(findingOf(report, "plugin-no-file").hint ?? "", /look at \S+portmap, and remove it/u);
  });

  test("A4: a link that leads nowhere, whose target's directory can be seen, is a plugin that is missing", async () => {
    using node = healthy();
    fs.rmSync(join(node.bin, "portmap"));
    fs.symlinkSync("/opt/cni/portmap-1.0", join(node.bin, "portmap"));
    const report = await node.status();
    assert.deepEqual(told(report), [
      "error plugin-missing 10-primary.conflist",
      "warning link-dangling portmap",
      "warning no-network net.d",
    ]);
    assert.match(
      findingOf(report, "plugin-missing").message,
      /portmap, which is a link to \/opt\/cni\/portmap-1\.0, which is not there$/u,
    );
    fs.mkdirSync(join(node.host, "usr/lib/cni"), { recursive: true });
    fs.copyFileSync(join(built, "portmap"), join(node.host, "usr/lib/cni/portmap"));
    assert.ok(
      !told(await node.status()).some((one) => one.startsWith("error")),
      "runtimes look on in the next directory",
    );
  });

  test("A14: no cniVersion, and one under another key, is told as such", async () => {
    using node = healthy();
    const { cniVersion, ...without } = PRIMARY;
    for (const [list, message] of [
      [without, /^has no cniVersion: runtimes take it for 0\.1\.0/u],
      [{ ...without, cniversion: cniVersion }, /^has no cniVersion \(it has "cniversion", which is another key\)/u],
    ] as const) {
      node.write("10-primary.conflist", list);
      assert.match(findingOf(await node.status(), "version-missing").message, message);
    }
  });

  test("A10: a syntax error has its line and column, in a file that is used and in one that is not", async () => {
    using node = healthy();
    node.write("05-a.conflist", '{\n  "name": "a",\n  "plugins": [x]\n}');
    node.write("99-b.conf", "{\n\n");
    const report = await node.status();
    assert.match(findingOf(report, "config-invalid").message, / at line 3, column 15\b/u);
    assert.match(findingOf(report, "config-broken-unused").message, / at line 3, column 1\b/u);
  });

  test("A18: a type with a blank is quoted, and not to be installed", async () => {
    using node = healthy();
    node.plugin("bridge");
    node.write("10-primary.conflist", { ...PRIMARY, plugins: [{ ...BRIDGE, type: "bridge " }] });
    const { message, hint = "" } = findingOf(await node.status(`--plugin-source=${node.plugins}`), "plugin-missing");
    assert.match(message, /needs the plugin "bridge ", which/u);
    assert.match(hint, /^correct the type in the configuration, "bridge "/u);
  });

  const runtimes: [what: string, path: string, text: string][] = [
    [
      "containerd 2",
      "etc/containerd/config.toml",
      '[plugins."io.containerd.cri.v1.runtime".cni]\nbin_dirs = ["DIR"]\n',
    ],
    ["containerd 1", "etc/containerd/config.toml", '[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "DIR"\n'],
    ["CRI-O", "etc/crio/crio.conf.d/10-crio.conf", '[crio.network]\nplugin_dirs = ["DIR"]\n'],
  ];
  for (const [what, path, text] of runtimes) {
    test(`R1: plugins only where ${what} does not look, by its own configuration, are an error`, async () => {
      const write = (node: Node, directory: string): void => {
        fs.mkdirSync(join(node.host, path, ".."), { recursive: true });
        fs.writeFileSync(join(node.host, path), text.replace("DIR", directory));
      };
      using node = healthy();
      write(node, "/opt/cni/bin/");
      const good = await node.status();
      assert.deepEqual([told(good), good.unseen], [[], []]);
      assert.ok(good.plugins.every(({ directory }) => directory === "/opt/cni/bin"));
      assert.match((await node.text()).stdout, /bridge +runs +\/opt\/cni\/bin +CNI/u);
      fs.mkdirSync(join(node.host, "usr/libexec/cni"), { recursive: true });
      write(node, "/usr/libexec/cni");
      const report = await node.status();
      assert.match(
        findingOf(report, "plugin-missing").message,
        /which is not in \/usr\/libexec\/cni, but in \/opt\/cni\/bin, where the runtime does not look$/u,
      );
    });
  }

  test("R1: where neither the configuration nor the runtime says it, that is told", async () => {
    using node = healthy();
    assert.match((await node.status()).unseen.join(), /where the runtime looks for plugins: .*--cri-socket/u);
  });
});

test("the text has the worst first, says each thing once, and is the same in words as the JSON", async () => {
  using node = healthy();
  node.write("20-a.conf", { cniVersion: "1.0.0", name: "a", type: "bridge" }, 0o644);
  node.write("21-b.conf", { cniVersion: "1.0.0", name: "b", type: "bridge" }, 0o644);
  fs.rmSync(join(node.bin, "portmap"));
  const { stdout, exitCode } = await node.text();
  assert.equal(exitCode, 3);
  if (process.getuid?.() === 0)
    assert.match(stdout, /^1 error, 2 notes\n\nerror {4}\/etc\/cni\/net\.d\/10-primary\.conflist\n/u);
  assert.equal(stdout.match(/CIS Kubernetes Benchmark 1\.1\.9/gu)?.length, 1);
  for (const { message, hint = "" } of (await node.status()).findings) {
    assert.ok(stdout.includes(message) && stdout.includes(hint), message);
  }
});
