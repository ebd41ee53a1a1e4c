/** The catalogue lies beside the plugins of an image: an image of others, or a directory that was mounted over it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { TestNode } from "../helpers/node.ts";

const put: [what: string, put: (path: string) => void][] = [
  ["text that is a secret", (path) => fs.writeFileSync(path, "root:secret:0:0")],
  ["cut JSON", (path) => fs.writeFileSync(path, '{"version":1,"plugins":[{"name":"secret')],
  ["entries of wrong types", (path) => fs.writeFileSync(path, '{"version":1,"plugins":[{"name":{"secret":1}}]}')],
  ["a digest that is none", (path) => write(path, { sha256: "secret" })],
  ["a size that is none", (path) => write(path, { size: -1e300 })],
  ["nesting without end", (path) => fs.writeFileSync(path, "[".repeat(100_000))],
  ["a FIFO", (path) => execFileSync("mkfifo", [path])],
  ["a directory", (path) => fs.mkdirSync(path)],
  ["100 GB of nothing", (path) => (fs.writeFileSync(path, ""), fs.truncateSync(path, 100e9))],
];

function write(path: string, entry: object): void {
  const plugin = { name: "bridge", size: 1, sha256: "0".repeat(64), ...entry };
  fs.writeFileSync(path, JSON.stringify({ version: 1, plugins: [plugin] }));
}

for (const [what, make] of put) {
  test(`${what} in the place of the catalogue is refused, and nothing of it is shown`, async () => {
    using node = new TestNode();
    node.plugin("bridge");
    make(join(node.plugins, ".catalogue.json"));
    const ran = await node.run(["install", "--plugins=bridge"]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /\.catalogue\.json: /u);
    assert.doesNotMatch(ran.stderr, /secret|defect/u);
    assert.deepEqual(fs.readdirSync(node.bin), []);
  });
}

test("a catalogue that knows another binary of that name and size lets nothing live that it does not know", async () => {
  using node = new TestNode();
  node.plugin("bridge");
  write(join(node.plugins, ".catalogue.json"), { size: fs.statSync(join(node.plugins, "bridge")).size });
  const ran = await node.run(["install", "--plugins=bridge"]);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /bridge: is not the binary that the catalogue of the image knows/u);
  assert.deepEqual(fs.readdirSync(node.bin), []);
});

test("names in a catalogue are nothing but names: one that is a path adds no plugin", async () => {
  using node = new TestNode();
  node.plugin("bridge");
  write(join(node.plugins, ".catalogue.json"), { name: "../../../etc/shadow" });
  const ran = await node.run(["list", `--plugin-source=${node.plugins}`]);
  assert.deepEqual([ran.exitCode, ran.stdout.trim().split(/\s/u)[0]], [0, "bridge"]);
});
