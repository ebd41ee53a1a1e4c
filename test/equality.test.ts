/** What is right already is known by its size, times and inode; its content is read where one of them differs. */
import assert from "node:assert/strict";
import changeable, * as fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";

import { lockDirectory } from "../src/host/lock.ts";
import { Deadline } from "../src/system/deadline.ts";
import { conflist, TestNode, until } from "./helpers/node.ts";

const INSTALL = ["install", "--plugins=bridge", "--configs=10-a.conflist"];

async function installed(): Promise<TestNode> {
  const node = new TestNode();
  node.plugin("bridge", "1");
  node.template("10-a.conflist", conflist("a", "bridge"));
  assert.equal((await node.run(INSTALL)).exitCode, 0);
  return node;
}

/** How often the content of this file is read, or copied, while something is done. */
async function readsOf(path: string, act: () => Promise<unknown>): Promise<number> {
  const { open } = fs.promises;
  let reads = 0;
  fs.promises.open = async (...args) => {
    if (args[0] === path) reads++;
    return open(...args);
  };
  try {
    await act();
  } finally {
    fs.promises.open = open;
  }
  return reads;
}

for (const place of ["opt/cni/bin/bridge", "etc/cni/net.d/10-a.conflist"]) {
  test(`a run that finds ${place} as it left it does not read it, with --checksum it does`, async () => {
    using node = await installed();
    const path = join(node.host, place);
    let stdout = "";
    const again = async (...more: string[]): Promise<number> =>
      readsOf(path, async () => ({ stdout } = await node.run([...INSTALL, ...more])));
    assert.equal(await again(), 0);
    assert.match(stdout, /^unchanged .*\nunchanged .*\n$/u);
    assert.equal(await again("--checksum"), 1);
    assert.match(stdout, /^unchanged .*\nunchanged .*\n$/u);
  });

  test(`${place}, written in place with as many bytes and its time put back, is repaired`, async () => {
    using node = await installed();
    const path = join(node.host, place);
    const [content, { atime, mtime }] = [fs.readFileSync(path), fs.statSync(path)];
    fs.writeFileSync(path, Buffer.alloc(content.length, "x"));
    fs.utimesSync(path, atime, mtime);
    const { stdout } = await node.run(INSTALL);
    assert.match(stdout, /^configured .*it had been changed$/mu);
    assert.deepEqual(fs.readFileSync(path), content);
  });
}

/** Installs while somebody writes into the configuration, with as many bytes, as soon as it is live. */
async function installWhile(node: TestNode, write: (path: string) => void): Promise<void> {
  const path = join(node.netd, "10-a.conflist");
  const { renameSync } = changeable;
  changeable.renameSync = (from, to) => {
    renameSync(from, to);
    if (String(to).endsWith("10-a.conflist")) write(path);
  };
  syncBuiltinESMExports();
  try {
    assert.equal((await node.run(INSTALL)).exitCode, 0);
  } finally {
    changeable.renameSync = renameSync;
    syncBuiltinESMExports();
  }
  assert.match(fs.readFileSync(path, "utf8"), /^x+$/u);
}

test("a file that somebody writes in place as soon as it is live, with as many bytes, is repaired", async () => {
  using node = new TestNode();
  node.plugin("bridge", "1");
  node.template("10-a.conflist", conflist("a", "bridge"));
  await installWhile(node, (path) => fs.writeFileSync(path, Buffer.alloc(fs.statSync(path).size, "x")));
  assert.match((await node.run(INSTALL)).stdout, /^configured .*it had been changed$/mu);
});

test(
  "and one of another owner is, who puts its time back as well",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async () => {
    using node = await installed();
    const path = join(node.netd, "10-a.conflist");
    fs.chownSync(path, 65_534, 65_534);
    node.template("10-a.conflist", conflist("b", "bridge"));
    await installWhile(node, () => {
      const { size, atime, mtime } = fs.statSync(path);
      fs.writeFileSync(path, Buffer.alloc(size, "x"));
      fs.utimesSync(path, atime, mtime);
    });
    assert.equal(fs.statSync(path).uid, 65_534);
    assert.match((await node.run(INSTALL)).stdout, /^configured .*it had been changed$/mu);
  },
);

test("a file that was touched and is still right is read, and left alone", async () => {
  using node = await installed();
  const path = join(node.bin, "bridge");
  fs.utimesSync(path, new Date(0), new Date(0));
  const { ino } = fs.statSync(path);
  assert.equal(await readsOf(path, async () => node.run(INSTALL)), 1);
  assert.deepEqual([fs.statSync(path).ino, fs.statSync(path).mtimeMs], [ino, 0]);
});

for (const place of ["opt/cni/bin/bridge", "etc/cni/net.d/10-a.conflist"]) {
  test(`${place}, rewritten by somebody else with the same content, is read once`, async () => {
    using node = await installed();
    const path = join(node.host, place);
    fs.writeFileSync(path, fs.readFileSync(path));
    const { ino, mtimeMs } = fs.statSync(path);
    const reads = async (): Promise<number> =>
      readsOf(path, async () => assert.equal((await node.run(INSTALL)).exitCode, 0));
    // A file that was written just now may be written again within the same tick of the clock.
    await until(() => Date.now() - fs.statSync(path).ctimeMs > 200);
    const record = fs.readFileSync(join(dirname(path), ".cni-node/record.json"), "utf8");
    assert.equal(await readsOf(path, async () => node.run(["plan", ...INSTALL.slice(1)])), 1);
    assert.equal(fs.readFileSync(join(dirname(path), ".cni-node/record.json"), "utf8"), record);
    assert.deepEqual([await reads(), await reads()], [1, 0]);
    assert.deepEqual([fs.statSync(path).ino, fs.statSync(path).mtimeMs], [ino, mtimeMs]);
  });
}

test("a run that changes nothing does not wait for the lock to note what it has read", async () => {
  using node = await installed();
  const path = join(node.bin, "bridge");
  fs.writeFileSync(path, fs.readFileSync(path));
  await until(() => Date.now() - fs.statSync(path).ctimeMs > 200);
  const lock = await lockDirectory(node.bin, new Deadline(0), new AbortController().signal);
  const record = join(node.bin, ".cni-node/record.json");
  const before = fs.readFileSync(record, "utf8");
  const ran = await node.run([...INSTALL, "--lock-timeout=60s"]);
  assert.deepEqual([ran.exitCode, ran.stderr, fs.readFileSync(record, "utf8")], [0, "", before]);
  lock.release();
});

test("a file that was there already and right is known from then on, too", async () => {
  using node = new TestNode();
  node.plugin("bridge", "1");
  const path = join(node.bin, "bridge");
  fs.copyFileSync(join(node.plugins, "bridge"), path);
  fs.chmodSync(path, 0o755);
  const install = async (): Promise<unknown> => node.run(["install", "--plugins=bridge"]);
  await install();
  assert.equal(await readsOf(path, install), 0);
});

test("with a catalogue the plugin in the image is not read either, unless --checksum is given", async () => {
  using node = await installed();
  const source = join(node.plugins, "bridge");
  assert.equal(await readsOf(source, async () => node.run(INSTALL)), 1);
  assert.equal((await node.run(["catalogue", `--plugin-source=${node.plugins}`])).exitCode, 0);
  assert.equal(await readsOf(source, async () => node.run(INSTALL)), 0);
  assert.equal(await readsOf(source, async () => node.run([...INSTALL, "--checksum"])), 1);
  // What is copied is looked at all the same.
  fs.rmSync(join(node.bin, "bridge"));
  node.plugin("bridge", "2");
  const ran = await node.run(INSTALL);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /is not the binary that the catalogue of the image knows by this name/u);
});

test("a new version of as many bytes is installed", async () => {
  using node = await installed();
  node.plugin("bridge", "2");
  assert.match((await node.run(INSTALL)).stdout, /^configured +plugin +bridge/mu);
  assert.match(fs.readFileSync(join(node.bin, "bridge"), "utf8"), /"version":"2"/u);
});
