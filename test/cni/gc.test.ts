import assert from "node:assert/strict";
import * as fs from "node:fs";
import { describe, test } from "node:test";

import { parseNetworkList, type NetworkList } from "../../src/cni/config.ts";
import { listAttachments } from "../../src/cni/cache.ts";
import { gc } from "../../src/cni/gc.ts";
import { add } from "../../src/cni/network.ts";
import type { ValidAttachment } from "../../src/cni/request.ts";
import type { RuntimeConf } from "../../src/cni/runtime.ts";
import { until } from "../helpers/node.ts";
import { Recorder } from "../helpers/recorder.ts";

function listOf(value: object): NetworkList {
  const read = parseNetworkList("10-net.conflist", JSON.stringify(value));
  if ("objection" in read) throw new Error(read.objection.message);
  return read.list;
}

const plugins = [{ type: "first", capabilities: { mac: true } }, { type: "second" }];
const NET = listOf({ cniVersion: "1.1.0", name: "net", plugins });

/** Two plugins, and attachments of containers, `NETWORK CONTAINER INTERFACE`. */
async function placeWith(...attachments: string[]): Promise<Recorder> {
  const place = new Recorder(["first", "second"]);
  for (const one of attachments) {
    const [name = "", containerId = "", ifName = ""] = one.split(" ");
    await add({ ...NET, name, text: "" }, confOf(place, { containerId, ifName, netns: `/run/netns/${containerId}` }));
  }
  place.take();
  return place;
}

function confOf({ bin, cacheDir }: Recorder, rest: Partial<RuntimeConf> = {}): RuntimeConf {
  return { containerId: "none", netns: "/none", ifName: "none0", pluginDirs: [bin], cacheDir, ...rest };
}

describe("gc", () => {
  test("deletes what is in the cache and not valid, then has every plugin clean up", async () => {
    using place = await placeWith("net c1 eth0", "net c1 eth1", "net c2 eth0", "other c3 eth0");
    const valid = { containerID: "c1", ifname: "eth0" };
    const elsewhere = { containerID: "c9", ifname: "eth0" };
    const { deleted, errors } = await gc(NET, [valid, elsewhere, valid], confOf(place));
    assert.deepEqual(errors, []);
    assert.deepEqual(
      deleted.map(({ containerId, ifName }) => `${containerId} ${ifName}`),
      ["c1 eth1", "c2 eth0"],
    );
    const calls = place.take();
    assert.deepEqual(
      calls.map((call) => [call.plugin, call.command, call.containerId, call.ifName, call.netns].join(" ").trim()),
      [
        "second DEL c1 eth1 /run/netns/c1",
        "first DEL c1 eth1 /run/netns/c1",
        "second DEL c2 eth0 /run/netns/c2",
        "first DEL c2 eth0 /run/netns/c2",
        "first GC",
        "second GC",
      ],
    );
    assert.deepEqual(calls[4]?.request, {
      ...plugins[0],
      cniVersion: "1.1.0",
      name: "net",
      "cni.dev/valid-attachments": [valid, elsewhere],
    });
    assert.equal(calls[4].path, place.bin);
    assert.deepEqual(
      ["net-c1-eth0", "net-c1-eth1", "net-c2-eth0", "other-c3-eth0"].map((name) => fs.existsSync(place.cached(name))),
      [true, false, false, true],
    );
  });

  test("goes on after errors, and tells them all", async () => {
    using place = await placeWith("net c1 eth0", "net c2 eth0");
    place.does("second", "DEL", `[ $CNI_CONTAINERID = c2 ] || { printf '{"code":11,"msg":"busy"}'; exit 1; }`);
    place.fails("first", "GC", { code: 5, msg: "stuck" });
    const { deleted, errors } = await gc(NET, [], confOf(place));
    assert.deepEqual(
      deleted.map(({ containerId }) => containerId),
      ["c2"],
    );
    assert.deepEqual(
      errors.map(({ message }) => message),
      ["plugin second: DEL failed: busy", "plugin first: GC failed: stuck"],
    );
    assert.deepEqual(place.takeNames(), ["second DEL", "second DEL", "first DEL", "first GC", "second GC"]);
    assert.ok(fs.existsSync(place.cached("net-c1-eth0")));
  });

  test("deletes what was added with a result that cannot be read, with the parameters of ADD", async () => {
    using place = await placeWith();
    const conf = { containerId: "c1", ifName: "eth0", netns: "/run/netns/c1" };
    await add(NET, confOf(place, { ...conf, args: [["K", "v"]], capabilityArgs: { mac: "02:00:00:00:00:01" } }));
    const path = place.cached("net-c1-eth0");
    fs.writeFileSync(path, fs.readFileSync(path, "utf8").replace(/"cniVersion":"[^"]*"/u, '"cniVersion":"9.9.9"'));
    place.take();
    const { deleted, errors } = await gc(NET, [], confOf(place));
    assert.deepEqual([deleted.length, errors], [1, []]);
    const [, call] = place.take();
    assert.deepEqual([call?.command, call?.netns, call?.args], ["DEL", "/run/netns/c1", "K=v"]);
    assert.deepEqual(call?.request["runtimeConfig"], { mac: "02:00:00:00:00:01" });
    assert.ok(!fs.existsSync(path));
  });

  test("that is given up ends its plugin, calls no other, and forgets nothing", async () => {
    using place = await placeWith("net c1 eth0", "net c2 eth0");
    place.does("second", "DEL", `echo > "$record/begun"; exec sleep 60`);
    const caller = new AbortController();
    const collecting = gc(NET, [], confOf(place, { signal: caller.signal }));
    await until(() => fs.existsSync(`${place.root}/record/begun`));
    caller.abort("SIGTERM");
    const { deleted, errors } = await collecting;
    assert.deepEqual(deleted, []);
    assert.ok(errors.every(({ msg }) => msg === "it was ended: SIGTERM"));
    assert.deepEqual(place.takeNames(), ["second DEL"]);
    assert.ok(["net-c1-eth0", "net-c2-eth0"].every((name) => fs.existsSync(place.cached(name))));
  });

  test("asks for the valid attachments when the other operations have ended: one that was just added is valid", async () => {
    using place = await placeWith();
    place.does("first", "ADD", `echo > "$record/begun"; sleep 0.3; printf '{}'`);
    const attachment = { containerId: "c1", ifName: "eth0", netns: "/run/netns/c1" };
    const adding = add(NET, confOf(place, attachment));
    await until(() => fs.existsSync(`${place.root}/record/begun`));
    const list = function* (): Generator<ValidAttachment> {
      for (const { containerId, ifName } of listAttachments(place.cacheDir)) {
        yield { containerID: containerId, ifname: ifName };
      }
    };
    const { deleted } = await gc(NET, list(), confOf(place));
    await adding;
    assert.deepEqual(deleted, []);
    assert.ok(fs.existsSync(place.cached("net-c1-eth0")));
  });

  test("before 1.1.0 it deletes, and no plugin is asked", async () => {
    using place = await placeWith("net c1 eth0");
    await gc({ ...NET, cniVersion: "1.0.0" }, [], confOf(place));
    assert.deepEqual(place.takeNames(), ["second DEL", "first DEL"]);
  });

  test("with nothing in the cache it asks the plugins", async () => {
    using place = await placeWith();
    assert.deepEqual(await gc(NET, [], confOf(place)), { deleted: [], errors: [] });
    assert.deepEqual(
      place.take().map(({ request }) => request["cni.dev/valid-attachments"]),
      [[], []],
    );
  });

  test("with disableGC it does nothing", async () => {
    using place = await placeWith("net c1 eth0");
    await gc({ ...NET, disableGC: true }, [], confOf(place));
    assert.deepEqual(place.take(), []);
  });

  test("refuses a network that cannot be one", async () => {
    using place = await placeWith();
    await assert.rejects(gc({ ...NET, name: "" }, [], confOf(place)), { code: 7 });
  });
});
