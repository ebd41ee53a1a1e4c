import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { parseNetworkList } from "../../src/cni/config.ts";
import { gc } from "../../src/cni/gc.ts";
import { kernelLock } from "../../src/cni/lock.ts";
import { add, check, del } from "../../src/cni/network.ts";
import type { RuntimeConf } from "../../src/cni/runtime.ts";
import { Recorder } from "../helpers/recorder.ts";

/** Long enough for what need not wait, to have gone on. */
const A_WHILE = 200;

async function goesOn(locked: Promise<Disposable>): Promise<boolean> {
  return Promise.race([locked.then(() => true), sleep(A_WHILE, false)]);
}

describe("kernelLock", () => {
  test("one operation on a container at a time; others go on", async () => {
    using place = new Recorder();
    const lock = kernelLock(place.cacheDir);
    const first = await lock.container("c1");
    const second = lock.container("c1");
    using _ = await lock.container("c2");
    assert.equal(await goesOn(second), false);
    first[Symbol.dispose]();
    using later = await second;
    assert.ok(later);
  });

  test("everything waits for garbage collection, and it for everything", async () => {
    using place = new Recorder();
    const lock = kernelLock(place.cacheDir);
    const containers = [await lock.container("c1"), await lock.container("c2")];
    const all = lock.all();
    assert.equal(await goesOn(all), false);
    containers[0]?.[Symbol.dispose]();
    assert.equal(await goesOn(all), false);
    containers[1]?.[Symbol.dispose]();
    const held = await all;
    const later = lock.container("c1");
    assert.equal(await goesOn(later), false);
    held[Symbol.dispose]();
    using _ = await later;
  });

  test("whoever gives up waiting gets an error, and holds nothing", async () => {
    using place = new Recorder();
    const lock = kernelLock(place.cacheDir);
    const held = await lock.container("c1");
    const error = { name: "CniError", code: 11, message: /another process holds the lock: SIGTERM$/u };
    await assert.rejects(lock.container("c1", AbortSignal.abort("SIGTERM")), error);
    held[Symbol.dispose]();
    using _ = await lock.all();
  });

  test("says where it cannot be", async () => {
    using place = new Recorder();
    fs.writeFileSync(place.cacheDir, "");
    await assert.rejects(kernelLock(place.cacheDir).all(), { code: 5, msg: /\.cni-node cannot be locked: not a dir/u });
  });

  test("holds between processes, and is freed with its process", async () => {
    using place = new Recorder();
    const holder = await holdElsewhere(place.cacheDir);
    const lock = kernelLock(place.cacheDir);
    const waiting = lock.container("c1");
    const all = lock.all();
    assert.equal(await goesOn(waiting), false);
    const other = await lock.container("c2");
    holder.kill("SIGKILL");
    const held = await waiting;
    assert.equal(await goesOn(all), false);
    held[Symbol.dispose]();
    other[Symbol.dispose]();
    using _ = await all;
  });
});

test("operations on one container do not overlap, and none overlaps with garbage collection", async () => {
  using place = new Recorder(["only"]);
  for (const command of ["ADD", "CHECK", "DEL", "GC"]) {
    place.does(
      "only",
      command,
      `echo "+ $CNI_COMMAND $CNI_CONTAINERID" >> "$record/log"; sleep 0.05; echo "- $CNI_COMMAND $CNI_CONTAINERID" >> "$record/log"; [ $CNI_COMMAND != ADD ] || printf '{}'`,
    );
  }
  const read = parseNetworkList("a.conflist", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"only"}]}');
  assert.ok("list" in read);
  const { list } = read;
  const { bin, cacheDir } = place;
  const conf = (containerId: string): RuntimeConf => ({
    containerId,
    netns: "/n",
    ifName: "eth0",
    pluginDirs: [bin],
    cacheDir,
  });
  await add(list, conf("c1"));
  await Promise.all([
    check(list, conf("c1")),
    check(list, conf("c1")),
    add(list, conf("c2")),
    gc(
      list,
      [
        { containerID: "c1", ifname: "eth0" },
        { containerID: "c2", ifname: "eth0" },
      ],
      conf(""),
    ),
    del(list, conf("c3")),
    del(list, conf("c3")),
  ]);
  const log = fs.readFileSync(`${place.root}/record/log`, "utf8").trimEnd().split("\n");
  const running = new Set<string>();
  for (const line of log) {
    const [sign, command = "", containerId = ""] = line.split(" ");
    if (sign === "-") {
      running.delete(containerId);
    } else {
      assert.ok(!running.has(containerId), line);
      assert.ok(!running.has(""), `${line} during GC`);
      assert.ok(command !== "GC" || running.size === 0, `GC during ${[...running].join()}`);
      running.add(containerId);
    }
  }
  assert.equal(log.length, 14);
});

/** Another process that has the lock of c1. */
async function holdElsewhere(cacheDir: string): Promise<ChildProcess> {
  const module = fileURLToPath(new URL("../../src/cni/lock.ts", import.meta.url));
  const script = `
    const { kernelLock } = await import(${JSON.stringify(module)});
    globalThis.held = await kernelLock(${JSON.stringify(cacheDir)}).container("c1");
    console.log("held");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}
