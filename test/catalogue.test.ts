import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { BUNDLE, contentsOf, endOf, TestNode, VERSIONS, type Ran } from "./helpers/node.ts";

interface Catalogue {
  plugins: Record<string, unknown>[];
  [more: string]: unknown;
}

/** A plugin that can be run: `COPY` keeps the mode. */
function plugin(node: TestNode, name: string, version = "1"): void {
  node.plugin(name, version);
  fs.chmodSync(join(node.plugins, name), 0o755);
}

async function catalogue(node: TestNode, ...options: string[]): Promise<Ran> {
  return node.run(["catalogue", `--plugin-source=${node.plugins}`, ...options]);
}

function pathOf({ plugins }: TestNode): string {
  return join(plugins, ".catalogue.json");
}

function read(node: TestNode): Catalogue {
  return JSON.parse(fs.readFileSync(pathOf(node), "utf8")) as Catalogue;
}

/** What is known of a plugin by looking at it. */
function seen({ plugins }: TestNode, name: string): Record<string, unknown> {
  const content = fs.readFileSync(join(plugins, name));
  return { name, size: content.length, sha256: hash("sha256", content), cniVersions: VERSIONS };
}

describe("catalogue", () => {
  test("lists what lies there with size, digest and the versions that it answers, sorted by bytes", async () => {
    using node = new TestNode();
    for (const name of ["b", "a", "B", "é"]) plugin(node, name);
    fs.writeFileSync(join(node.plugins, ".hidden"), "");
    fs.mkdirSync(join(node.plugins, "directory"));
    const ran = await catalogue(node);
    const lines = ["B", "a", "b", "é"].map((name) => `created     plugin    ${name}\n`);
    assert.deepEqual(ran, { exitCode: 0, stdout: lines.join(""), stderr: "" });
    assert.deepEqual(
      read(node).plugins,
      ["B", "a", "b", "é"].map((name) => seen(node, name)),
    );
    assert.equal(read(node)["version"], 1);
    assert.match(String(read(node)["platform"]), /^linux\/(?:amd64|arm64)$/u);
    assert.equal(fs.statSync(pathOf(node)).mode & 0o777, 0o644);
  });

  test("asks the plugins that lie there, also where their directory is the working one", async () => {
    using node = new TestNode();
    plugin(node, "bridge");
    const env = { PATH: "/nowhere" };
    const child = spawn(process.execPath, [BUNDLE, "catalogue", "--plugin-source=."], { cwd: node.plugins, env });
    const { exitCode, stderr } = await endOf(child);
    assert.deepEqual([exitCode, stderr], [0, ""]);
    assert.deepEqual(read(node).plugins, [seen(node, "bridge")]);
  });

  test("keeps all that is known of what has not changed, asks what is new or other, drops what is gone", async () => {
    using node = new TestNode();
    for (const name of ["same", "other"]) plugin(node, name);
    const known = { module: "example.org/m", version: "v1", licence: "Apache-2.0", cniVersions: ["9.9.9"], later: [1] };
    const plugins = ["gone", "other", "same"].map((name) =>
      name === "gone" ? { ...seen(node, "same"), name } : { ...seen(node, name), ...known },
    );
    const before = { version: 1, platform: "linux/riscv64", later: true, plugins };
    fs.writeFileSync(pathOf(node), JSON.stringify(before));
    plugin(node, "other", "2");
    plugin(node, "new");
    assert.equal(
      (await catalogue(node)).stdout,
      [
        "created     plugin    new\n",
        "configured  plugin    other\n",
        "unchanged   plugin    same\n",
        "deleted     plugin    gone   there is no such file\n",
      ].join(""),
    );
    const after = [seen(node, "new"), seen(node, "other"), { ...seen(node, "same"), ...known }];
    assert.deepEqual(read(node), { ...before, plugins: after });
  });

  test("writes the same bytes for the same files, and nothing where all is right", async () => {
    using node = new TestNode();
    using twin = new TestNode();
    for (const name of ["a", "b"]) plugin(node, name);
    for (const name of ["b", "a"]) plugin(twin, name);
    await catalogue(node);
    await catalogue(twin);
    await catalogue(twin);
    assert.equal(fs.readFileSync(pathOf(node), "utf8"), fs.readFileSync(pathOf(twin), "utf8"));
    const { ino, mtimeNs } = fs.statSync(pathOf(node), { bigint: true });
    const again = await catalogue(node, "--output=json");
    assert.deepEqual(JSON.parse(again.stdout), {
      version: 1,
      command: "catalogue",
      result: "done",
      exitCode: 0,
      plugins: ["a", "b"].map((name) => ({ name, outcome: "unchanged" })),
      warnings: [],
    });
    const after = fs.statSync(pathOf(node), { bigint: true });
    assert.deepEqual([after.ino, after.mtimeNs], [ino, mtimeNs]);
  });

  const scripts = {
    "of another architecture": "\x7fELF",
    "not executable": undefined,
    "that fails": "#!/bin/sh\nexit 3\n",
    "that is ended by a signal": "#!/bin/sh\nkill -9 $$\n",
    "that answers nonsense": "#!/bin/sh\necho nonsense\n",
    "that speaks no version": "#!/bin/sh\necho '{\"supportedVersions\": []}'\n",
    "without its interpreter": "#!/nowhere/sh\n",
  };
  for (const [what, script] of Object.entries(scripts)) {
    test(`lists a binary ${what}, without versions, and warns`, async () => {
      using node = new TestNode();
      node.plugin("odd");
      const path = join(node.plugins, "odd");
      if (script !== undefined) fs.writeFileSync(path, script, { mode: 0o755 });
      if (script !== undefined) fs.chmodSync(path, 0o755);
      const ran = await catalogue(node);
      assert.equal(ran.exitCode, 0);
      assert.match(ran.stderr, /^cni-node: warning: .*\/odd: does not report its CNI versions: .+\n$/u);
      const { cniVersions: _, ...entry } = seen(node, "odd");
      assert.deepEqual(read(node).plugins, [entry]);
      assert.equal((await node.run(["install", "--plugins=odd", "--validate=warn"])).exitCode, 0);
    });
  }

  test("writes a catalogue that was none anew, and says so", async () => {
    using node = new TestNode();
    plugin(node, "a");
    fs.writeFileSync(pathOf(node), "{");
    const { exitCode, stderr } = await catalogue(node);
    assert.equal(exitCode, 0);
    assert.ok(stderr.startsWith(`cni-node: warning: ${pathOf(node)}: is not a catalogue of plugins: `));
    assert.deepEqual(read(node).plugins, [seen(node, "a")]);
  });

  test("needs its directory, and says so", async () => {
    using node = new TestNode();
    const { exitCode, stderr } = await node.run(["catalogue", "--plugin-source=/nowhere/bin"]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /^cni-node: \/nowhere\/bin: no such directory/u);
  });
});

describe("a binary that is not the one of its catalogue entry", () => {
  test("is refused before anything is live, naming the command that fixes it, and then installed", async () => {
    using node = new TestNode();
    for (const name of ["good", "bad"]) plugin(node, name);
    await catalogue(node);
    plugin(node, "bad", "2");
    const refused = await node.run(["install", "--plugins=good,bad", "--output=json"]);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /\/bad: is not the binary that the catalogue .*\n {2}hint: .*cni-node catalogue/u);
    assert.equal((JSON.parse(refused.stdout) as { error: { code: string } }).error.code, "catalogue-mismatch");
    assert.deepEqual(contentsOf(node.host), {});
    assert.deepEqual(fs.readdirSync(node.bin), []);
    await catalogue(node);
    assert.equal((await node.run(["install", "--plugins=good,bad"])).exitCode, 0);
  });

  test("is refused where the same binary is on the node already", async () => {
    using node = new TestNode();
    plugin(node, "a");
    await catalogue(node);
    plugin(node, "a", "2");
    fs.copyFileSync(join(node.plugins, "a"), join(node.bin, "a"));
    const { exitCode, stderr } = await node.run(["install", "--plugins=a"]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /cni-node catalogue/u);
  });

  test("does not keep others from being installed, or itself from being removed", async () => {
    using node = new TestNode();
    for (const name of ["good", "bad"]) plugin(node, name);
    await catalogue(node);
    assert.equal((await node.run(["install", "--plugins=bad"])).exitCode, 0);
    plugin(node, "bad", "2");
    assert.equal((await node.run(["install", "--plugins=good"])).exitCode, 0);
    assert.equal((await node.run(["uninstall", "--plugins=bad"])).stdout, "deleted     plugin    bad\n");
  });
});

test("plugins are not installed by a catalogue that cannot be read: whether they are whole is not known", async () => {
  using node = new TestNode();
  plugin(node, "a");
  fs.writeFileSync(pathOf(node), "{");
  const { exitCode, stderr } = await node.run(["install", "--plugins=a"]);
  assert.equal(exitCode, 1);
  assert.match(stderr, /\.catalogue\.json: is not a catalogue of plugins: .*\n {2}hint: cni-node catalogue/u);
});
