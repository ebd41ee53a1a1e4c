/** `--plugin-dir=auto` and `--config-dir=auto`: the directories of the container runtime, wherever it says so. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

import { findDirectoriesFor } from "../src/commands/network-options.ts";
import { conflist, contentsOf, TestNode } from "./helpers/node.ts";
import { SimulatedRuntime, type Answers } from "./helpers/simulated-runtime.ts";

const K3S = "var/lib/rancher/k3s/agent/etc/cni/net.d";
const K3S_BIN = "var/lib/rancher/k3s/data/cni";
const TOML = "etc/containerd/config.toml";
const AUTO = ["--plugin-dir=auto", "--config-dir=auto"];
const ASSETS = ["--plugins=bridge", "--configs=a.conflist"];

function writeTo(node: TestNode, path: string, text: string): void {
  fs.mkdirSync(dirname(join(node.host, path)), { recursive: true });
  fs.writeFileSync(join(node.host, path), text);
}

function nodeWith(files: Record<string, string>, directories: readonly string[] = []): TestNode {
  const node = new TestNode();
  node.plugin("bridge");
  node.template("a.conflist", conflist("a", "bridge"));
  for (const [path, text] of Object.entries(files)) writeTo(node, path, text);
  for (const path of directories) fs.mkdirSync(join(node.host, path), { recursive: true });
  return node;
}

function containerd(version: 2 | 3, keys: Record<string, string | string[]>): string {
  const table = version === 3 ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri";
  const lines = Object.entries(keys).map(([key, value]) => `  ${key} = ${JSON.stringify(value)}`);
  return [`version = ${version}`, `[plugins."${table}".cni]`, ...lines, ""].join("\n");
}

function isThere(node: TestNode, ...path: string[]): boolean {
  return fs.existsSync(join(node.host, ...path));
}

for (const [what, files, configDir, pluginDir] of [
  [
    "k3s' directories",
    { [`${K3S}/10-flannel.conflist`]: conflist("cbr0", "loopback"), [`${K3S_BIN}/x`]: "" },
    K3S,
    K3S_BIN,
  ],
  [
    "containerd's bin_dir and conf_dir",
    { [TOML]: containerd(2, { bin_dir: "/usr/lib/cni/", conf_dir: "/etc/other/net.d" }) },
    "etc/other/net.d",
    "usr/lib/cni",
  ],
  [
    "RKE2's own configuration of containerd",
    {
      [TOML]: 'disabled_plugins = ["cri"]\n',
      "var/lib/rancher/rke2/agent/etc/containerd/config.toml": containerd(3, {
        bin_dirs: ["/opt/rke2/bin"],
        conf_dir: "/etc/rke2/net.d",
      }),
    },
    "etc/rke2/net.d",
    "opt/rke2/bin",
  ],
  [
    "CRI-O's directories",
    { "etc/crio/crio.conf.d/10.conf": '[crio.network]\nnetwork_dir = "/etc/kni"\nplugin_dirs = ["/usr/bin/cni"]\n' },
    "etc/kni",
    "usr/bin/cni",
  ],
] as const) {
  test(`A12, A23: auto takes ${what}: install, plan, status, network and uninstall`, async () => {
    using node = nodeWith(files);
    const before = contentsOf(node.host);
    const planned = await node.run(["plan", ...ASSETS, ...AUTO]);
    assert.deepEqual([planned.exitCode, planned.stderr], [0, "cni-node: nothing has been changed, this is the plan\n"]);
    const ran = await node.run(["install", ...ASSETS, ...AUTO]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    assert.deepEqual([isThere(node, configDir, "a.conflist"), isThere(node, pluginDir, "bridge")], [true, true]);
    assert.deepEqual([fs.readdirSync(node.netd), fs.readdirSync(node.bin)], [[], []]);
    const root = `--host-root=${node.host}`;
    const status = await node.run(["status", root, ...AUTO, "--output=json"]);
    assert.equal((JSON.parse(status.stdout) as { configDirectory: string }).configDirectory, `/${configDir}`);
    const listed = await node.run(["network", "list", root, ...AUTO, "--output=json"]);
    assert.equal((JSON.parse(listed.stdout) as { directory: string }).directory, join(node.host, configDir));
    assert.equal((await node.run(["network", "show", "a", root, "--config-dir=auto"])).exitCode, 0);
    const { pluginDirs } = await findDirectoriesFor(
      { hostRoot: node.host, pluginDir: "auto" },
      undefined,
      new AbortController().signal,
    );
    assert.deepEqual(pluginDirs, [`/${pluginDir}`]);
    const env = { CNI_NODE_PLUGIN_DIR: "auto", CNI_NODE_CONFIG_DIR: "auto" };
    const removed = await node.run(["uninstall", ...ASSETS], { env });
    assert.equal(removed.exitCode, 0, removed.stderr);
    assert.deepEqual(contentsOf(node.host), before);
  });
}

describe("several directories of plugins (containerd 2's bin_dirs)", () => {
  const files = { [TOML]: containerd(3, { bin_dirs: ["/opt/first", "/opt/second", "/opt/third"] }) };

  test("A12: auto takes the first that is there, and plugins in all of them count", async () => {
    using node = nodeWith(files, ["opt/second", "opt/third"]);
    writeTo(node, "opt/third/vlan", "");
    fs.copyFileSync(join(node.plugins, "bridge"), join(node.host, "opt/third/vlan"));
    fs.chmodSync(join(node.host, "opt/third/vlan"), 0o755);
    node.template("a.conflist", conflist("a", "bridge", "vlan"));
    const ran = await node.run(["install", ...ASSETS, ...AUTO]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    assert.equal(isThere(node, "opt/second/bridge"), true);
    const status = await node.run(["status", `--host-root=${node.host}`, "--output=json"]);
    const { plugins } = JSON.parse(status.stdout) as { plugins: { name: string; directory?: string }[] };
    assert.deepEqual(
      plugins.map(({ name, directory }) => [name, directory]),
      [
        ["bridge", "/opt/second"],
        ["vlan", "/opt/third"],
        ["loopback", undefined],
      ],
    );
    const { pluginDirs } = await findDirectoriesFor(
      { hostRoot: node.host, pluginDir: "auto" },
      undefined,
      new AbortController().signal,
    );
    assert.deepEqual(pluginDirs, ["/opt/first", "/opt/second", "/opt/third"]);
  });

  test("A12: the usual directory is taken where it is one of them", async () => {
    using node = nodeWith({ [TOML]: containerd(3, { bin_dirs: ["/usr/libexec/cni", "/opt/cni/bin"] }) });
    const ran = await node.run(["install", ...ASSETS, ...AUTO]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    assert.equal(isThere(node, "opt/cni/bin/bridge"), true);
  });
});

test("several directories of plugins can be named: the first is installed to, and plugins in all of them count", async () => {
  using node = nodeWith({}, ["opt/first", "opt/second"]);
  fs.copyFileSync(join(node.plugins, "bridge"), join(node.host, "opt/second/vlan"));
  fs.chmodSync(join(node.host, "opt/second/vlan"), 0o755);
  node.template("a.conflist", conflist("a", "bridge", "vlan"));
  const named = `--plugin-dir=${["first", "second"].map((name) => join(node.host, "opt", name)).join(":")}`;
  const ran = await node.run(["install", ...ASSETS, named]);
  assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  assert.equal(isThere(node, "opt/first/bridge"), true);
  const status = await node.run(["status", `--host-root=${node.host}`, named, "--output=json"]);
  const { plugins } = JSON.parse(status.stdout) as { plugins: { name: string; directory?: string }[] };
  assert.deepEqual(
    plugins.map(({ name, directory }) => [name, directory]),
    [
      ["bridge", "/opt/first"],
      ["vlan", "/opt/second"],
      ["loopback", undefined],
    ],
  );
  const outside = await node.run(["install", ...ASSETS, `${named}:/elsewhere`]);
  assert.equal(outside.exitCode, 2);
  assert.match(outside.stderr, /^cni-node: --plugin-dir: \/elsewhere is not below the host root /u);
  const removed = await node.run(["uninstall", ...ASSETS, named]);
  assert.equal(removed.exitCode, 0, removed.stderr);
});

test("A12: without a runtime that says so, auto is an error that names what was looked at; nothing changes", async () => {
  using node = nodeWith({});
  const before = contentsOf(node.host);
  for (const words of [
    ["install", ...ASSETS, "--config-dir=auto"],
    ["uninstall", ...ASSETS, "--plugin-dir=auto"],
    ["status", `--host-root=${node.host}`, "--config-dir=auto"],
    ["network", "list", `--host-root=${node.host}`, "--config-dir=auto"],
  ]) {
    const { exitCode, stderr } = await node.run([...words, "--output=json"]);
    assert.equal(exitCode, 1, words.join(" "));
    const option = words.at(-1)?.split("=")[0] ?? "";
    assert.ok(stderr.startsWith(`cni-node: ${option}=auto: where the container runtime looks for `), stderr);
    for (const path of [TOML, "etc/crio/crio.conf", K3S]) assert.ok(stderr.includes(`/${path}`), stderr);
    assert.match(stderr, new RegExp(`name the directory with ${option}\n`, "u"));
  }
  assert.deepEqual(contentsOf(node.host), before);
});

for (const [what, imports, files, says] of [
  ["imports what is not there", "/etc/containerd/conf.d/*.toml", {}, true],
  ["imports what says nothing of CNI", "conf.d/*.toml", { "conf.d/a.toml": "version = 3\n", "conf.d/b": "=" }, true],
  ["imports one that does", "/etc/containerd/b.toml", { "b.toml": containerd(3, { bin_dirs: ["/x"] }) }, false],
  ["imports one that cannot be read", "conf.d/*.toml", { "conf.d/a.toml": "=" }, false],
  ["imports by a pattern that is not known", "conf.d/[ab].toml", {}, false],
] as const) {
  test(`A12: a configuration of containerd that ${what} ${says ? "counts" : "says nothing"}`, async () => {
    const others = Object.entries(files).map(([name, text]) => [`etc/containerd/${name}`, text] as const);
    const own = `imports = [${JSON.stringify(imports)}]\n${containerd(3, { conf_dir: "/etc/other" })}`;
    using node = nodeWith({ [TOML]: own, ...Object.fromEntries(others) });
    const ran = await node.run(["install", "--configs=a.conflist", "--plugins=bridge", "--config-dir=auto"]);
    if (says) assert.equal(isThere(node, "etc/other/a.conflist"), true, ran.stderr);
    else assert.match(ran.stderr, /^cni-node: --config-dir=auto: /u);
  });
}

for (const [what, text] of [
  ["serves no Kubernetes", 'disabled_plugins = ["cri"]\n'],
  ["is not TOML", "=\n"],
  ["names a relative directory", containerd(2, { conf_dir: "net.d", bin_dir: "bin" })],
] as const) {
  test(`A12: a configuration of containerd that ${what} says nothing`, async () => {
    using node = nodeWith({ [TOML]: text });
    assert.match(
      (await node.run(["install", ...ASSETS, "--config-dir=auto"])).stderr,
      /^cni-node: --config-dir=auto: /u,
    );
  });
}

test("A12: the warning of a run without effect names auto", async () => {
  using node = nodeWith({ [`${K3S}/10-flannel.conflist`]: conflist("cbr0", "loopback"), [`${K3S_BIN}/x`]: "" });
  const { stderr } = await node.run(["install", ...ASSETS]);
  assert.match(stderr, /; use --plugin-dir=auto, or give --plugin-dir=/u);
  assert.match(stderr, /; use --config-dir=auto, or give --config-dir=/u);
});

test("R1: a plugin that lies only where the configured runtime does not look does not prove a configuration", async () => {
  using node = nodeWith({ [TOML]: containerd(2, { bin_dir: "/opt/cni/bin" }) });
  writeTo(node, "usr/lib/cni/vlan", "");
  node.template("a.conflist", conflist("a", "vlan"));
  const { exitCode, stderr } = await node.run(["install", "--configs=a.conflist"]);
  assert.equal(exitCode, 1);
  assert.match(
    stderr,
    /needs the plugin vlan, which is not in \/opt\/cni\/bin, but in .*\/usr\/lib\/cni, where the runtime does not look/u,
  );
});

describe("with --cri-socket", () => {
  const answers = (config: object): Answers => ({
    name: "containerd",
    version: "v2.1.4",
    network: true,
    info: { cniconfig: JSON.stringify({ PluginMaxConfNum: 1, Networks: [], ...config }), lastCNILoadStatus: "OK" },
  });

  test("A12: auto takes what the runtime says, before what its files say", async () => {
    using node = nodeWith({ [TOML]: containerd(2, { conf_dir: "/etc/other" }) }, ["etc/said", "opt/said"]);
    const said = answers({ PluginDirs: ["/opt/said"], PluginConfDir: "/etc/said" });
    await using runtime = await SimulatedRuntime.start(node.root, said);
    const words = [...ASSETS, ...AUTO, `--cri-socket=${runtime.socket}`];
    const ran = await node.run(["install", ...words, "--no-confirm"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    assert.deepEqual([isThere(node, "etc/said/a.conflist"), isThere(node, "opt/said/bridge")], [true, true]);
    const status = await node.run(["status", ...AUTO, `--cri-socket=${runtime.socket}`, `--host-root=${node.host}`]);
    assert.doesNotMatch(status.stdout, /runtime-(?:plugin-)?directory/u);
    // The same options in the environment, as a container has them for all that is run in it.
    const env = { CNI_NODE_CONFIG_DIR: "auto", CNI_NODE_CRI_SOCKET: runtime.socket, CNI_NODE_HOST_ROOT: node.host };
    const listed = await node.run(["network", "list", "--output=json"], { env });
    assert.equal((JSON.parse(listed.stdout) as { directory: string }).directory, join(node.host, "etc/said"));
    assert.equal((await node.run(["network", "show", "a"], { env })).exitCode, 0);
  });

  test("A12: a runtime that does not answer ends the run", async () => {
    using node = nodeWith({ [TOML]: containerd(2, {}) });
    const ran = await node.run(["install", ...ASSETS, ...AUTO, `--cri-socket=${join(node.root, "none.sock")}`]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /none\.sock/u);
  });

  test("A12: plugins that go where the runtime does not look are a warning that names auto", async () => {
    using node = nodeWith({}, ["opt/said"]);
    const said = answers({ PluginDirs: ["/opt/said"], PluginConfDir: "/etc/cni/net.d" });
    await using runtime = await SimulatedRuntime.start(node.root, said);
    const ran = await node.run(["install", "--plugins=bridge", `--cri-socket=${runtime.socket}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /containerd looks for plugins in \/opt\/said; use --plugin-dir=auto, or give /u);
  });
});
