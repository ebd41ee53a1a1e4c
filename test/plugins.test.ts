/** The main job with the real plugins of the reference set, as `make run` does it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { TestNode } from "./helpers/node.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const architecture = { x64: "amd64" }[process.arch as string] ?? process.arch;
const built = join(root, `build/plugins/linux-${architecture}`);
const REFERENCE =
  "bandwidth bridge dhcp dummy firewall host-device host-local ipvlan loopback macvlan portmap ptp sbr static tap tuning vlan vrf";

interface Listed {
  plugins: { name: string; version: string; sha256: string; size: number; cniVersions: string[] }[];
}

async function listed(node: TestNode): Promise<Listed> {
  const { stdout } = await node.run(["list", "--output=json", `--plugin-source=${built}`]);
  return JSON.parse(stdout) as Listed;
}

test("the catalogue knows every plugin of containernetworking/plugins 1.9.1 and which CNI versions it speaks", async () => {
  using node = new TestNode();
  const { plugins } = await listed(node);
  for (const name of REFERENCE.split(" ")) {
    const plugin = plugins.find((candidate) => candidate.name === name);
    assert.equal(plugin?.version, "v1.9.1", name);
    assert.ok(plugin.cniVersions.includes("1.0.0"), name);
    assert.equal(plugin.size, fs.statSync(join(built, name)).size);
  }
});

test("N5: the main job, and the examples of make run in the README: it installs real plugins that run on the node, and a configuration around the primary one", async () => {
  using node = new TestNode();
  fs.cpSync(join(root, "examples/node"), node.netd, { recursive: true });
  fs.cpSync(join(root, "examples/templates"), node.templates, { recursive: true });
  const names = ["bridge", "host-local", "macvlan", "portmap"];
  const lists = [`--plugins=${names.join()}`, "--configs=05-bridge-portmap.conflist"];
  for (const name of names) fs.symlinkSync(join(built, name), join(node.plugins, name));
  const ran = await node.bundle(["install", ...lists]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  for (const name of names) {
    const { stdout, status } = spawnSync(join(node.bin, name), {
      env: {
        CNI_COMMAND: "VERSION",
        CNI_NETNS: "/none",
        CNI_IFNAME: "none",
        CNI_PATH: "/none",
        CNI_CONTAINERID: "none",
      },
      input: '{"cniVersion":"1.0.0"}',
      encoding: "utf8",
    });
    assert.equal(status, 0, name);
    assert.match(stdout, /supportedVersions/u);
  }
  const config = JSON.parse(fs.readFileSync(join(node.netd, "05-bridge-portmap.conflist"), "utf8")) as {
    plugins: { type: string }[];
  };
  assert.deepEqual(
    config.plugins.map(({ type }) => type),
    ["bridge", "portmap"],
  );
  const readme = fs.readFileSync(join(root, "README.md"), "utf8");
  const examples = Array.from(readme.matchAll(/^make run ARGS="(.*)"$/gmu), ([, words = ""]) => words.split(" "));
  assert.equal(examples.length, 2);
  fs.symlinkSync(join(built, "vlan"), join(node.plugins, "vlan"));
  for (const words of examples) {
    const { exitCode, stderr } = await node.bundle(words);
    assert.equal(exitCode, 0, `${words.join(" ")}: ${stderr}`);
  }
});
