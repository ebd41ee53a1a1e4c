/** Where the runtime of a node looks elsewhere than in the usual directories, a run that installs says so. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

import { conflist, TestNode } from "./helpers/node.ts";

const K3S = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
const K3S_BIN = "/var/lib/rancher/k3s/data/cni";
const TOML = "/etc/containerd/config.toml";
const CONTAINERD = `version = 2
[plugins."io.containerd.grpc.v1.cri".cni]
  # conf_dir = "/commented"
  bin_dir = "/usr/lib/cni/"
  conf_dir = '/etc/other/net.d'
`;

/** A node with these files. */
function nodeWith(files: Record<string, string>): TestNode {
  const node = new TestNode();
  node.plugin("bridge");
  node.template("a.conflist", conflist("a", "bridge"));
  for (const [path, text] of Object.entries(files)) {
    fs.mkdirSync(dirname(join(node.host, path)), { recursive: true });
    fs.writeFileSync(join(node.host, path), text);
  }
  return node;
}

for (const [what, files, name, config, plugin] of [
  [
    "k3s",
    { [`${K3S}/10-flannel.conflist`]: conflist("cbr0", "flannel"), [`${K3S_BIN}/bridge`]: "" },
    "k3s",
    K3S,
    K3S_BIN,
  ],
  ["containerd's configuration", { [TOML]: CONTAINERD }, "containerd", "/etc/other/net.d", "/usr/lib/cni"],
  [
    "CRI-O's configuration",
    {
      "/etc/crio/crio.conf": '[crio.network]\nnetwork_dir = "/etc/first"\n',
      "/etc/crio/crio.conf.d/10-b.conf":
        '[crio.network]\nnetwork_dir = "/etc/kni"\nplugin_dirs = [\n  "/usr/bin/cni",\n]\n',
    },
    "CRI-O",
    "/etc/kni",
    "/usr/bin/cni",
  ],
] as const) {
  for (const verb of ["install", "plan"]) {
    test(`A12, A23: ${what} names other directories: ${verb} warns, with the options`, async () => {
      using node = nodeWith(files);
      const ran = await node.run([verb, "--plugins=bridge", "--configs=a.conflist"]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      for (const [target, option, path, holds] of [
        [node.netd, "--config-dir", config, "configs"],
        [node.bin, "--plugin-dir", plugin, "plugins"],
      ] as const) {
        const says = `cni-node: warning: ${target}: ${name} looks for ${holds} in ${path}; `;
        assert.ok(ran.stderr.includes(says), ran.stderr);
        assert.ok(ran.stderr.includes(`give ${option}=${node.host}${path} to install there\n`), ran.stderr);
      }
    });
  }
}

for (const [what, files] of [
  ["is told the usual directories", { [TOML]: 'conf_dir = "/etc/cni/net.d"\nbin_dir = "/opt/cni/bin"\n' }],
  ["is told nothing", { [TOML]: "version = 3\n" }],
  ["is k3s that brings no network of its own", { [`${K3S}/.keep`]: "" }],
] as const) {
  test(`A12, A23: a runtime that ${what} is not a warning`, async () => {
    using node = nodeWith(files);
    const { stderr } = await node.run(["install", "--plugins=bridge", "--configs=a.conflist"]);
    assert.equal(stderr, "");
  });
}

test("A12, A23: whoever names the directories, or removes, is told nothing", async () => {
  using node = nodeWith({ [TOML]: CONTAINERD });
  const named = [`--plugin-dir=${node.bin}`, `--config-dir=${node.netd}`];
  const assets = ["--plugins=bridge", "--configs=a.conflist"];
  assert.equal((await node.run(["install", ...assets, ...named])).stderr, "");
  assert.doesNotMatch((await node.run(["uninstall", ...assets])).stderr, /looks for/u);
});

test("A12, A23: a usual directory that is a link to the runtime's is not a warning", async () => {
  using node = nodeWith({ [`${K3S}/10-flannel.conflist`]: conflist("cbr0", "flannel") });
  fs.rmdirSync(node.netd);
  fs.symlinkSync(K3S, node.netd);
  assert.equal((await node.run(["install", "--configs=a.conflist"])).stderr, "");
});
