import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { TestNode, type Ran } from "./helpers/node.ts";

async function list(node: TestNode, ...options: string[]): Promise<Ran> {
  return node.run(["list", `--plugin-source=${node.plugins}`, ...options]);
}

/** Something of every kind beside two plugins. */
function fill({ plugins, root }: TestNode): void {
  fs.writeFileSync(join(root, "binary"), "12345");
  fs.symlinkSync(join(root, "binary"), join(plugins, "linked"));
  fs.symlinkSync("linked", join(plugins, "linked-again"));
  fs.symlinkSync("nowhere", join(plugins, "broken-link"));
  fs.symlinkSync(".", join(plugins, "link-to-directory"));
  fs.mkdirSync(join(plugins, "directory"));
  fs.writeFileSync(join(plugins, "directory/plugin"), "");
  fs.writeFileSync(join(plugins, ".hidden"), "");
}

describe("list", () => {
  test("prints regular files and links to them, one a line, no dotfiles, nothing else", async () => {
    using node = new TestNode();
    node.plugin("vlan");
    node.plugin("bridge");
    fill(node);
    assert.deepEqual(await list(node), { exitCode: 0, stdout: "bridge\nlinked\nlinked-again\nvlan\n", stderr: "" });
  });

  test("sorts by bytes, not by any language", async () => {
    using node = new TestNode();
    // U+FFEE sorts before U+1F600 by bytes, behind it by UTF-16 units.
    const names = ["B", "Z", "_", "a", "a-b", "a.b", "a0", "aa", "b", "é", "\uffee", "\u{1f600}"];
    for (const name of names.toReversed()) node.plugin(name);
    assert.equal((await list(node)).stdout, `${names.join("\n")}\n`);
  });

  test("prints nothing where there is nothing", async () => {
    using node = new TestNode();
    assert.deepEqual(await list(node), { exitCode: 0, stdout: "", stderr: "" });
    assert.equal((await list(node, "--output=json")).stdout.includes('"plugins":[]'), true);
  });

  test("prints what can be installed, also what is called like something that every object has", async () => {
    using node = new TestNode();
    for (const name of ["__proto__", "constructor", "toString"]) node.plugin(name);
    const names = (await list(node)).stdout.trim().split("\n");
    assert.deepEqual(names, ["__proto__", "constructor", "toString"]);
    assert.equal((await node.run(["install", `--plugins=${names.join()}`])).exitCode, 0);
    assert.deepEqual(fs.readdirSync(node.bin), [".cni-node", ...names]);
  });

  test("leaves out a name that is not text", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    fs.writeFileSync(Buffer.concat([Buffer.from(`${node.plugins}/a`), Buffer.from([0xff, 0xfe])]), "");
    assert.deepEqual(await list(node), { exitCode: 0, stdout: "bridge\n", stderr: "" });
    assert.equal((await list(node, "--output=json")).exitCode, 0);
  });

  test("leaves out a link that leads to itself", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    fs.symlinkSync("circle", join(node.plugins, "circle"));
    assert.deepEqual(await list(node), { exitCode: 0, stdout: "bridge\n", stderr: "" });
  });

  test("needs its directory, and says so", async () => {
    using node = new TestNode();
    const missing = await node.run(["list", "--plugin-source=/nowhere/bin"]);
    assert.deepEqual(missing, {
      exitCode: 1,
      stdout: "",
      stderr:
        "cni-node: /nowhere/bin: no such directory to list plugins from\n  hint: name the directory of the plugin binaries with --plugin-source\n",
    });
    node.plugin("bridge");
    const file = join(node.plugins, "bridge");
    const noDirectory = await node.run(["list", `--plugin-source=${file}`]);
    assert.equal(noDirectory.exitCode, 1);
    assert.match(noDirectory.stderr, /^cni-node: .*\/bridge: cannot be listed: not a directory\n/u);
  });
});

async function pluginsOf(node: TestNode): Promise<Record<string, unknown>[]> {
  const { exitCode, stdout } = await list(node, "--output=json");
  assert.equal(exitCode, 0);
  return (JSON.parse(stdout) as { plugins: Record<string, unknown>[] }).plugins;
}

describe("list --output=json", () => {
  const module = "github.com/containernetworking/plugins";
  const built = { module, version: "v1.9.1", licence: "Apache-2.0", size: 4242, sha256: "ab".repeat(32) };
  const known = { name: "bridge", ...built, cniVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] };
  /** One that is there and one that is not. */
  const catalogue = { version: 1, platform: "linux/amd64", plugins: [known, { ...known, name: "gone" }] };

  test("prints all that is known: of a plugin of the catalogue what that says, of others name and size", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    fill(node);
    fs.writeFileSync(join(node.plugins, ".catalogue.json"), JSON.stringify(catalogue));
    assert.deepEqual(await pluginsOf(node), [known, { name: "linked", size: 5 }, { name: "linked-again", size: 5 }]);
  });

  test("prints fields of a later catalogue too", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    const later = { ...catalogue, plugins: [{ ...known, later: [1] }] };
    fs.writeFileSync(join(node.plugins, ".catalogue.json"), JSON.stringify(later));
    assert.deepEqual(await pluginsOf(node), [{ ...known, later: [1] }]);
  });

  test("prints names and sizes where there is no catalogue", async () => {
    using node = new TestNode();
    node.plugin("bridge", "1", 500);
    assert.deepEqual(await pluginsOf(node), [{ name: "bridge", size: 500 }]);
  });

  for (const text of ["", "{", "[]", "null", '{"version": 2, "plugins": []}', '{"version": 1, "plugins": [{}]}']) {
    test(`warns of a catalogue that is none, and lists all the same: ${JSON.stringify(text)}`, async () => {
      using node = new TestNode();
      node.plugin("bridge", "1", 500);
      const path = join(node.plugins, ".catalogue.json");
      fs.writeFileSync(path, text);
      assert.deepEqual(await pluginsOf(node), [{ name: "bridge", size: 500 }]);
      const { stdout, stderr } = await list(node, "--output=json");
      assert.ok(stderr.startsWith(`cni-node: warning: ${path}: is not a catalogue of plugins: `));
      assert.equal((JSON.parse(stdout) as { warnings: string[] }).warnings.length, 1);
      assert.deepEqual(await list(node), { exitCode: 0, stdout: "bridge\n", stderr: "" });
    });
  }
});

test("a binary that is not in the catalogue is installed like the rest", async () => {
  using node = new TestNode();
  node.plugin("mine");
  fs.writeFileSync(join(node.plugins, ".catalogue.json"), '{"version": 1, "plugins": []}');
  assert.equal((await list(node)).stdout, "mine\n");
  assert.equal((await node.run(["install", "--plugins=mine"])).stdout, "created     plugin    mine\n");
});
