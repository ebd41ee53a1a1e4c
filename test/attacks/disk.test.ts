/** Disks that fail and processes that are stopped in the middle of a run: on a real file system of its own. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotMount, Namespace } from "../helpers/namespace.ts";
import { conflist, endOf, TestNode, until } from "../helpers/node.ts";
import { problemsOf } from "../helpers/state.ts";

const PRELOAD = fileURLToPath(new URL("../helpers/signal-at.mjs", import.meta.url));
const INSTALL = ["install", "--plugins=bridge", "--configs=10-net.conflist"];

/** A node whose file system is an ext4 of its own, which can be made to report an error. */
class Disk implements AsyncDisposable {
  readonly node: TestNode;
  readonly #namespace: Namespace;

  private constructor(namespace: Namespace, node: TestNode) {
    this.#namespace = namespace;
    this.node = node;
  }

  static async make(): Promise<Disk> {
    const node = new TestNode();
    const image = join(node.root, "disk");
    fs.writeFileSync(image, "");
    fs.truncateSync(image, 64 << 20);
    const mount = `mount -o loop,errors=remount-ro ${image} ${node.host}`;
    const make = `mkfs.ext4 -q ${image}; ${mount}; mkdir -p ${node.bin} ${node.netd} ${node.host}/usr/libexec/cni`;
    const disk = new Disk(await Namespace.make(make), node);
    node.plugin("bridge");
    node.template("10-net.conflist", conflist("net", "bridge"));
    return disk;
  }

  /** Stops the run just before the rename of that number to a path that matches. */
  async stopAt(argv: readonly string[], to: string, at: number): Promise<ChildProcess> {
    const env = { NODE_OPTIONS: `--import=${PRELOAD}`, TEST_SIGNAL: "SIGSTOP", TEST_AT: String(at), TEST_TO: to };
    const run = this.#namespace.start([...argv, ...this.node.places], env);
    await until(() => run.exitCode !== null || stateOf(run) === "T");
    assert.equal(run.exitCode, null, "it was stopped");
    return run;
  }

  /** The kernel has met an error: from now on nothing can be written, even by who has files open. */
  fail(): void {
    const trigger = '/sys/fs/ext4/$(basename "$(findmnt -no SOURCE --mountpoint "$1")")/trigger_fs_error';
    this.#namespace.sh(`set -- ${this.node.host}; echo 1 > "${trigger}"`);
  }

  /** The operator has repaired it. */
  repair(): void {
    this.#namespace.sh(`set -- ${this.node.host}
      umount "$1"; mount -o loop,errors=remount-ro ${join(this.node.root, "disk")} "$1"`);
  }

  async run(argv: readonly string[]): ReturnType<Namespace["bundle"]> {
    return this.#namespace.bundle([...argv, ...this.node.places]);
  }

  /** What this process sees of a directory on it. */
  seen(directory: string): string {
    return join(this.#namespace.root, directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
    this.node[Symbol.dispose]();
  }
}

function stateOf({ pid }: ChildProcess): string | undefined {
  return fs
    .readFileSync(`/proc/${pid ?? 0}/stat`, "utf8")
    .split(") ")
    .at(-1)?.[0];
}

describe(
  "a disk that fails in the middle of a run leaves whole files, and the next run puts it right",
  { skip: cannotMount },
  () => {
    for (const [when, to, at] of [
      ["before the first journal is written", "record\\.json$", 1],
      ["before the deciding journal is written", "record\\.json$", 2],
      ["before the plugin goes live", "/bridge$", 1],
      ["before the configuration goes live", "/10-net\\.conflist$", 1],
      ["before the first record is settled", "record\\.json$", 3],
      ["before the last record is settled", "record\\.json$", 4],
    ] as const) {
      test(when, async () => {
        await using disk = await Disk.make();
        const { node } = disk;
        const run = await disk.stopAt(INSTALL, to, at);
        const ended = endOf(run);
        disk.fail();
        run.kill("SIGCONT");
        const { exitCode, stdout, stderr } = await ended;
        assert.ok([0, 1, 4].includes(exitCode), stderr);
        assert.match(stderr, /read-only file system|input\/output error|structure needs cleaning/iu);
        assert.doesNotMatch(stderr, /defect/u);
        if (exitCode !== 0) assert.equal(stdout, "");
        disk.repair();
        const plugin = join(disk.seen(node.bin), "bridge");
        const image = fs.readFileSync(join(node.plugins, "bridge"), "utf8");
        if (fs.existsSync(plugin)) assert.equal(fs.readFileSync(plugin, "utf8"), image);
        const again = await disk.run(INSTALL);
        assert.equal(again.exitCode, 0, again.stderr);
        for (const directory of [node.bin, node.netd]) assert.deepEqual(problemsOf(disk.seen(directory)), []);
      });
    }
  },
);

describe("a run that is stopped for long and continued", { skip: cannotMount }, () => {
  test("holds its lock as long as it is stopped, and then does what it was about to", async () => {
    await using disk = await Disk.make();
    const { node } = disk;
    const run = await disk.stopAt(INSTALL, "/bridge$", 1);
    const ended = endOf(run);
    const other = await disk.run([...INSTALL, "--lock-timeout=500ms", "--owner=other"]);
    assert.deepEqual([other.exitCode, /another cni-node run works there/u.test(other.stderr)], [1, true], other.stderr);
    run.kill("SIGCONT");
    assert.equal((await ended).exitCode, 0);
    for (const directory of [node.bin, node.netd]) assert.deepEqual(problemsOf(disk.seen(directory)), []);
  });

  test("overwrites nothing that others have put there meanwhile: it looks again, and keeps it to give it back", async () => {
    await using disk = await Disk.make();
    const { node } = disk;
    const run = await disk.stopAt(INSTALL, "/bridge$", 1);
    const ended = endOf(run);
    const live = join(disk.seen(node.netd), "10-net.conflist");
    fs.writeFileSync(live, conflist("theirs", "bridge"));
    run.kill("SIGCONT");
    const { exitCode, stdout, stderr } = await ended;
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /10-net\.conflist +replaces a file that was there before; uninstall restores it/u);
    assert.equal((await disk.run(["uninstall", "--configs=10-net.conflist"])).exitCode, 0);
    assert.equal(fs.readFileSync(live, "utf8"), conflist("theirs", "bridge"));
  });
});
