/** A process that watches is found by others on the node: `status`, `uninstall`, and newer processes. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as net from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { until } from "./helpers/node.ts";
import { prepared, Watched } from "./helpers/watched.ts";

interface Status {
  watches: {
    owner: string;
    standsDown?: string;
    follows: { name: string }[];
    last?: { error?: { code: string } };
    lastChange?: { changed: object[] };
    next?: { isRetry: boolean };
  }[];
  findings: { code: string }[];
}

async function statusOf(w: Watched): Promise<Status> {
  const { stdout } = await w.node.run(["status", `--host-root=${w.node.host}`, "--output=json"]);
  return JSON.parse(stdout) as Status;
}

/** It says that it stands down and that nothing is due, and does so after a while. Nothing else could tell what it does not do. */
async function assertRests(w: Watched, why: string): Promise<void> {
  for (const pause of [0, 500]) {
    await sleep(pause);
    const { watches } = await statusOf(w);
    assert.deepEqual(
      watches.map(({ standsDown = "", next }) => [standsDown.split(":", 1)[0], next]),
      [[why, undefined]],
    );
  }
}

function socketsOf(w: Watched): string[] {
  return [w.node.bin, w.node.netd].flatMap((directory) => {
    const state = join(directory, ".cni-node");
    return fs.existsSync(state) ? fs.readdirSync(state).filter((name) => name.endsWith(".sock")) : [];
  });
}

suite("a process that watches", () => {
  test("is shown by status with what it follows, its last result and its next look", async () => {
    await using w = prepared();
    w.start("--plugins=bridge", "--configs=05-multus.conflist");
    await until(() => socketsOf(w).length === 2);
    const { watches } = await statusOf(w);
    const [watch] = watches;
    assert.deepEqual([watches.length, watch?.owner, watch?.lastChange?.changed.length], [1, "w", 2]);
    assert.ok(watch?.follows.some(({ name }) => name === w.node.netd));
    const { stdout } = await w.node.run(["status", `--host-root=${w.node.host}`]);
    assert.match(stdout, /kept right by cni-node watch\n {2}owner w, since \S+Z\n/u);
    assert.match(
      stdout,
      /last change \S+Z: created plugin bridge, created config 05-multus\.conflist \(\d+ ms, for start\)/u,
    );
    fs.unlinkSync(join(w.node.netd, "10-primary.conflist"));
    await until(() => w.stderr.includes("10-primary.conflist"));
    const failing = await statusOf(w);
    assert.equal(failing.watches[0]?.last?.error?.code, "pointer-missing");
    assert.equal(failing.watches[0].next?.isRetry, true);
    assert.ok(failing.findings.some(({ code }) => code === "watch-failing"));
    await w.stop();
    assert.deepEqual([socketsOf(w), (await statusOf(w)).watches], [[], []]);
  });

  test("does not repair what an uninstall of the same owner removes, and stays away from it", async () => {
    await using w = prepared();
    const lists = ["--plugins=tuning,vlan", "--configs=05-multus.conflist"];
    w.node.plugin("tuning");
    w.start(...lists);
    await until(() => socketsOf(w).length === 2);
    for (let round = 0; round < 3; round++) {
      const { exitCode, stderr } = await w.node.run(["uninstall", "--owner=w", ...lists]);
      assert.equal(exitCode, 0, stderr);
    }
    fs.writeFileSync(join(w.node.netd, "x.conf"), "");
    await assertRests(w, "an uninstall by the same owner");
    assert.deepEqual([w.done.length, w.stderr], [1, ""], w.stdout);
    assert.deepEqual([w.plugin("vlan"), w.config("05-multus.conflist")], [undefined, undefined]);
    assert.equal((await w.stop()).signal, "SIGTERM");
    assert.deepEqual([fs.readdirSync(w.node.bin), fs.existsSync(join(w.node.netd, ".cni-node"))], [[], false]);
  });

  test("goes on if the uninstall is refused, is a dry run, is ended, or is of another owner", async () => {
    await using w = prepared();
    w.start("--plugins=bridge,vlan");
    await until(() => socketsOf(w).length === 1);
    const refused = await w.node.run([
      "uninstall",
      "--owner=w",
      "--plugins=bridge",
      `--plugin-dir=${w.node.root}/none`,
    ]);
    assert.equal(refused.exitCode, 1);
    await w.node.run(["uninstall", "--owner=w", "--plugins=bridge", "--dry-run"]);
    await w.node.run(["uninstall", "--owner=other", "--plugins=none"]);
    // One that is killed while it has the watch stand down.
    const socket = net.connect(join(w.node.bin, ".cni-node/watch.w.sock"));
    socket.write(`${JSON.stringify({ request: "stand-down", reason: "uninstall" })}\n`);
    await new Promise((resolve) => socket.once("data", resolve));
    fs.unlinkSync(join(w.node.bin, "vlan"));
    await assertRests(w, "an uninstall by the same owner");
    assert.equal(w.plugin("vlan"), undefined);
    socket.destroy();
    await until(() => w.lines.length >= 2);
    assert.match(w.lines[1] ?? "", /Z created plugin vlan \(\d+ ms, for .*\bresume\b.*\)$/u);
  });

  test("gives way to a newer one of the same owner, and takes over again when that ends", async () => {
    await using w = prepared();
    w.start("--plugins=bridge,vlan");
    await until(() => socketsOf(w).length === 1);
    await using newer = new Watched(w.node);
    newer.start("--plugins=bridge");
    await until(() => w.plugin("vlan") === undefined);
    fs.unlinkSync(join(w.node.bin, "bridge"));
    await until(() => newer.lines.length >= 2);
    assert.equal(newer.done[1], "created plugin bridge");
    assert.deepEqual([w.plugin("vlan"), w.lines.length], [undefined, 1]);
    assert.equal((await statusOf(w)).watches.length, 1);
    await newer.stop("SIGKILL");
    await until(() => w.lines.length >= 2);
    assert.match(w.lines[1] ?? "", /Z created plugin vlan \(\d+ ms, for .*\bresume\b.*\)$/u);
    await until(() => socketsOf(w).length === 1);
    assert.equal((await statusOf(w)).watches[0]?.owner, "w");
  });

  test("is found again after its directory was made anew, and a socket that a process left does not count", async () => {
    await using w = prepared();
    w.start("--plugins=bridge");
    await until(() => socketsOf(w).length === 1);
    fs.rmSync(w.node.bin, { recursive: true, force: true, maxRetries: 10 });
    fs.mkdirSync(w.node.bin, { recursive: true });
    await until(() => socketsOf(w).length === 1);
    await w.stop("SIGKILL");
    assert.deepEqual([socketsOf(w).length, (await statusOf(w)).watches], [1, []]);
    const { exitCode, stderr } = await w.node.run(["uninstall", "--owner=w", "--plugins=bridge"]);
    assert.deepEqual([exitCode, stderr, socketsOf(w)], [0, "", []]);
  });

  test("is not believed everything: an answer that is too large, not JSON, or never comes is a finding", async () => {
    await using w = prepared();
    w.start("--plugins=bridge");
    await until(() => socketsOf(w).length === 1);
    await w.stop();
    const path = join(w.node.bin, ".cni-node/watch.w.sock");
    for (const answer of ["x".repeat(1_000_000), "{}\n", "null\n", "[[[[\n", ""]) {
      const server = net.createServer((socket) => {
        socket.on("error", () => undefined).resume();
        if (answer !== "") socket.write(answer);
      });
      await new Promise<void>((resolve) => server.listen(path, resolve));
      const { watches, findings } = await statusOf(w);
      assert.deepEqual([watches, findings.some(({ code }) => code === "watch-unanswered")], [[], true]);
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test("answers others at any time: garbage, silence and many connections do not disturb it", async () => {
    await using w = prepared();
    w.start("--plugins=bridge");
    await until(() => socketsOf(w).length === 1);
    const path = join(w.node.bin, ".cni-node/watch.w.sock");
    const sockets = Array.from({ length: 40 }, (_, index) => {
      const socket = net.connect(path).on("error", () => undefined);
      if (index % 2 === 0) socket.write(index % 4 === 0 ? "x".repeat(100_000) : 'null\n{"request":1}\n');
      return socket;
    });
    fs.unlinkSync(join(w.node.bin, "bridge"));
    await until(() => w.plugin("bridge") !== undefined);
    for (const socket of sockets) socket.destroy();
    let found: Status | undefined;
    for (let tries = 0; tries < 50 && found?.watches.length !== 1; tries++) found = await statusOf(w);
    assert.equal(found?.watches.length, 1);
    assert.doesNotMatch(w.stderr, /at .*\.cjs/u);
  });
});
