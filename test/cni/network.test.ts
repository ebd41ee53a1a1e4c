import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { describe, test } from "node:test";

import { parseNetworkList, type NetworkList } from "../../src/cni/config.ts";
import { CniError } from "../../src/cni/error.ts";
import { PluginError, type PluginCall } from "../../src/cni/invoke.ts";
import { add, check, del, status, version } from "../../src/cni/network.ts";
import type { RuntimeConf } from "../../src/cni/runtime.ts";
import { endOf, until } from "../helpers/node.ts";
import { isAlive } from "../helpers/plugin.ts";
import { Recorder } from "../helpers/recorder.ts";

function listOf(value: object): NetworkList {
  const read = parseNetworkList("10-net.conflist", JSON.stringify(value));
  if ("objection" in read) throw new Error(read.objection.message);
  return read.list;
}

const plugins = [{ type: "first" }, { type: "second" }, { type: "third" }];
const NET = listOf({ cniVersion: "1.1.0", name: "net", plugins });

const RESULT = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/a" }],
  ips: [{ address: "10.1.0.5/16", interface: 0 }],
};

function recorder(): Recorder {
  return new Recorder(["first", "second", "third"]);
}

function confOf({ bin, cacheDir }: Recorder, rest: Partial<RuntimeConf> = {}): RuntimeConf {
  return { containerId: "c1", netns: "/run/netns/a", ifName: "eth0", pluginDirs: [bin], cacheDir, ...rest };
}

/** The cache file as data, its configuration as text. */
function cachedOf(place: Recorder, name = "net-c1-eth0"): Record<string, unknown> {
  const entry = JSON.parse(fs.readFileSync(place.cached(name), "utf8")) as { config: string };
  return { ...entry, config: Buffer.from(entry.config, "base64").toString() };
}

function isCached(place: Recorder, name = "net-c1-eth0"): boolean {
  return fs.existsSync(place.cached(name));
}

async function errorOf(operation: Promise<unknown>): Promise<CniError> {
  try {
    await operation;
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  throw new Error("it succeeded");
}

describe("add", () => {
  test("calls every plugin in order, each with the result of the one before, and remembers the last one", async () => {
    using plugin = recorder();
    const results = ["first", "second", "third"].map((name) => ({ ...RESULT, dns: { domain: name } }));
    for (const result of results) plugin.prints(result.dns.domain, "ADD", result);
    const args = [
      ["K", "v"],
      ["L", "w"],
    ] as const;
    assert.deepEqual(await add(NET, confOf(plugin, { args })), results[2]);
    const parameters = { containerId: "c1", netns: "/run/netns/a", ifName: "eth0", args: "K=v;L=w", path: plugin.bin };
    assert.deepEqual(
      plugin.take().map(({ stdin: _stdin, ...call }) => call),
      [
        {
          plugin: "first",
          command: "ADD",
          ...parameters,
          request: { type: "first", cniVersion: "1.1.0", name: "net" },
        },
        {
          plugin: "second",
          command: "ADD",
          ...parameters,
          request: { type: "second", cniVersion: "1.1.0", name: "net", prevResult: results[0] },
        },
        {
          plugin: "third",
          command: "ADD",
          ...parameters,
          request: { type: "third", cniVersion: "1.1.0", name: "net", prevResult: results[1] },
        },
      ],
    );
    assert.deepEqual(cachedOf(plugin), {
      kind: "cniCacheV1",
      containerId: "c1",
      config: NET.text,
      ifName: "eth0",
      networkName: "net",
      netns: "/run/netns/a",
      cniArgs: args,
      result: results[2],
    });
  });

  test("gives each plugin its own configuration unaltered, and what the runtime alone may set", async () => {
    using plugin = recorder();
    const own = {
      nested: { list: [1, null, "é\u2028"] },
      nothing: null,
      ipam: { type: "host-local" },
      args: { cni: {} },
    };
    const net = listOf({
      cniVersion: "1.0.0",
      name: "net",
      plugins: [
        {
          type: "first",
          name: "other",
          cniVersion: "0.3.1",
          ...own,
          capabilities: { portMappings: true, mac: false, ips: true },
          prevResult: { cniVersion: "1.0.0" },
          "cni.dev/valid-attachments": [],
          "cni.dev/other": 1,
        },
      ],
    });
    const capabilityArgs = { portMappings: [{ hostPort: 80 }], mac: "00:00:00:00:00:01", bandwidth: {} };
    await add(net, confOf(plugin, { capabilityArgs }));
    assert.deepEqual(plugin.take()[0]?.request, {
      type: "first",
      name: "net",
      cniVersion: "1.0.0",
      ...own,
      runtimeConfig: { portMappings: [{ hostPort: 80 }] },
    });
    assert.deepEqual(cachedOf(plugin)["capabilityArgs"], capabilityArgs);
  });

  test("numbers of any size reach the plugin as they are", async () => {
    using plugin = recorder();
    const text = '{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"first","id":9007199254740993,"f":0.1}]}';
    const read = parseNetworkList("a.conflist", text);
    assert.ok("list" in read);
    await add(read.list, confOf(plugin));
    assert.match(plugin.take()[0]?.stdin ?? "", /"id":9007199254740993,"f":0\.1/u);
  });

  test("converts a result to the version of the network for the next plugin, and keeps it in its own", async () => {
    using plugin = recorder();
    plugin.prints("first", "ADD", { cniVersion: "0.2.0", ip4: { ip: "10.1.0.5/16" } });
    plugin.prints("second", "ADD", { cniVersion: "0.3.1", ips: [{ version: "4", address: "10.1.0.5/16" }] });
    const net = listOf({ cniVersion: "1.0.0", name: "net", plugins: plugins.slice(0, 2) });
    const result = await add(net, confOf(plugin));
    assert.equal(result.cniVersion, "0.3.1");
    const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.1.0.5/16" }] };
    assert.deepEqual(plugin.take()[1]?.request["prevResult"], prevResult);
    assert.equal((cachedOf(plugin)["result"] as typeof RESULT).cniVersion, "0.3.1");
    await check(net, confOf(plugin));
    await del(net, confOf(plugin));
    for (const { request } of plugin.take()) assert.deepEqual(request["prevResult"], prevResult);
  });

  const refused: [what: string, conf: Partial<RuntimeConf>, code: number][] = [
    ["no container ID", { containerId: "" }, 3],
    ["a container ID that is a path", { containerId: "../c1" }, 4],
    ["a container ID that begins with a dot", { containerId: ".c1" }, 4],
    ["a container ID with a line break", { containerId: "c1\n" }, 4],
    ["no interface name", { ifName: "" }, 4],
    ["an interface name of 16 bytes", { ifName: "0123456789abcdef" }, 4],
    ["an interface name of 16 bytes in 8 letters", { ifName: "ääääääää" }, 4],
    ["the interface name .", { ifName: "." }, 4],
    ["the interface name ..", { ifName: ".." }, 4],
    ["an interface name with /", { ifName: "a/b" }, 4],
    ["an interface name with :", { ifName: "a:b" }, 4],
    ["an interface name with a blank", { ifName: "a\u00a0b" }, 4],
    ["no network namespace", { netns: "" }, 4],
  ];
  for (const [what, conf, code] of refused) {
    test(`refuses ${what}, and calls no plugin`, async () => {
      using plugin = recorder();
      assert.equal((await errorOf(add(NET, confOf(plugin, conf)))).code, code);
      assert.deepEqual(plugin.take(), []);
    });
  }

  for (const [what, change] of Object.entries({
    "without a name": { name: "" },
    "with a name that is a path": { name: "../net" },
    "with a cniVersion that is none": { cniVersion: "new" },
    "without plugins": { plugins: [] },
  })) {
    test(`refuses a network ${what}`, async () => {
      using plugin = recorder();
      assert.equal((await errorOf(add({ ...NET, ...change }, confOf(plugin)))).code, 7);
      assert.deepEqual(plugin.take(), []);
    });
  }

  test("an interface that the container has already is refused before a plugin could take it away", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    for (const name of ["net", "other"]) {
      const error = await errorOf(add({ ...NET, name }, confOf(plugin)));
      assert.match(error.message, /^CNI_CONTAINERID c1 with CNI_IFNAME eth0 is in use; .*net-c1-eth0 is of an attach/u);
    }
    assert.deepEqual(plugin.take(), []);
    await add(NET, confOf(plugin, { ifName: "eth1" }));
    await add(NET, confOf(plugin, { containerId: "x-c1" }));
    await del(NET, confOf(plugin));
    await add(NET, confOf(plugin));
  });

  test("no attachment takes another one's place in the cache", async () => {
    using plugin = recorder();
    await add({ ...NET, name: "a-b" }, confOf(plugin, { containerId: "c" }));
    const other = { ...NET, name: "a" };
    const conf = confOf(plugin, { containerId: "b-c" });
    assert.match((await errorOf(add(other, conf))).message, /in use/u);
    assert.equal((await errorOf(check(other, conf))).code, 3);
    await del(other, conf);
    assert.ok(isCached(plugin, "a-b-c-eth0"));
  });

  test("takes a result that comes late, from what the plugin has started", async () => {
    using plugin = recorder();
    plugin.does("third", "ADD", `(sleep 0.3; printf '%s' '${JSON.stringify(RESULT)}') &`);
    assert.deepEqual(await add(NET, confOf(plugin)), RESULT);
  });

  test("of two at the same time one is done, and the other takes nothing away", async () => {
    using plugin = recorder();
    plugin.does("first", "ADD", "sleep 0.2; printf '{}'");
    const ended = await Promise.allSettled([add(NET, confOf(plugin)), add(NET, confOf(plugin))]);
    const [error, ...more] = ended.flatMap((one) => (one.status === "rejected" ? [one.reason as CniError] : []));
    assert.deepEqual([error?.code, more.length], [4, 0]);
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", "third ADD"]);
    assert.ok(isCached(plugin));
  });

  test("runs plugins in the given environment", async () => {
    using plugin = recorder();
    plugin.does("first", "ADD", `printf '{"dns":{"domain":"%s %s"}}' "$WHO" "$HOME"`);
    const result = await add({ ...NET, plugins: plugins.slice(0, 1) }, confOf(plugin, { env: { WHO: "me" } }));
    assert.deepEqual(result, { cniVersion: "1.1.0", dns: { domain: "me " } });
  });
});

/** Adds, and gives up when it is told to end. */
const PROGRAM = `
  import { add } from ${JSON.stringify(new URL("../../src/cni/index.ts", import.meta.url).href)};
  const caller = new AbortController();
  process.once("SIGTERM", (signal) => caller.abort(signal));
  const conf = { ...JSON.parse(process.argv[1]), signal: caller.signal };
  await add(JSON.parse(process.env.NETWORK), conf).catch(({ message }) => console.log(message));`;

describe("an ADD that fails is taken back", () => {
  const DELETED = ["third DEL", "second DEL", "first DEL"];

  test("by DEL to every plugin in reverse order, without a result", async () => {
    using plugin = recorder();
    plugin.fails("second", "ADD", { code: 11, msg: "busy", details: "lease" });
    const args = [["K", "v"]] as const;
    const error = await errorOf(add(NET, confOf(plugin, { args })));
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.plugin, error.code, error.msg, error.details], ["second", 11, "busy", "lease"]);
    assert.deepEqual(error.cleanup, []);
    const calls = plugin.take();
    assert.deepEqual(
      calls.map((call) => `${call.plugin} ${call.command}`),
      ["first ADD", "second ADD", ...DELETED],
    );
    for (const call of calls.slice(2)) {
      assert.deepEqual([call.netns, call.args, call.request["prevResult"]], ["/run/netns/a", "K=v", undefined]);
    }
    assert.ok(!isCached(plugin));
  });

  const failures: [what: string, prepare: (plugin: Recorder) => void, message: RegExp][] = [
    [
      "prints no result",
      (plugin) => plugin.prints("third", "ADD", "done"),
      /plugin third: ADD failed: the result cannot/u,
    ],
    ["prints nothing", (plugin) => plugin.prints("third", "ADD", ""), /cannot be read: it is empty/u],
    [
      "prints a result of a version of the future",
      (plugin) => plugin.prints("third", "ADD", { cniVersion: "3.0.0" }),
      /"3\.0\.0" are not known/u,
    ],
    ["is not there", (plugin) => fs.rmSync(`${plugin.bin}/third`), /^plugin third: not found in \//u],
    ["prints without end", (plugin) => plugin.does("third", "ADD", "yes"), /it printed more than 8388608 bytes$/u],
    ["is ended by a signal", (plugin) => plugin.does("third", "ADD", "kill -9 $$"), /ended by SIGKILL/u],
  ];
  for (const [what, prepare, message] of failures) {
    test(`also when a plugin ${what}`, async () => {
      using plugin = recorder();
      prepare(plugin);
      const error = await errorOf(add(NET, confOf(plugin)));
      assert.match(error.message, message);
      assert.deepEqual(
        plugin.takeNames().filter((call) => call.endsWith("DEL")),
        DELETED.filter((call) => fs.existsSync(`${plugin.bin}/${call.split(" ")[0] ?? ""}`)),
      );
      assert.ok(!isCached(plugin));
    });
  }

  test("also when it cannot be remembered", async () => {
    using plugin = recorder();
    fs.mkdirSync(`${plugin.cacheDir}/results`, { recursive: true });
    fs.writeFileSync(`${plugin.cacheDir}/results/.cni-node`, "");
    const held = { [Symbol.dispose]: () => undefined };
    const lock = { container: async () => held, all: async () => held };
    const error = await errorOf(add(NET, confOf(plugin, { lock })));
    assert.equal(error.code, 5);
    assert.deepEqual(plugin.takeNames().slice(3), DELETED);
  });

  test("to the end, whatever goes wrong in it", async () => {
    using plugin = recorder();
    plugin.fails("second", "ADD", { code: 7, msg: "bad" });
    plugin.fails("second", "DEL", { code: 5, msg: "stuck" });
    fs.rmSync(`${plugin.bin}/third`);
    const error = await errorOf(add(NET, confOf(plugin)));
    assert.equal(error.msg, "bad");
    assert.match(
      error.cleanup.map(({ message }) => message).join("\n"),
      /^plugin third: not found in .*\nplugin second: DEL failed: stuck$/u,
    );
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
  });

  test("but not when the first plugin says that there is nothing to be cleaned up, or is not there", async () => {
    using plugin = recorder();
    plugin.fails("first", "ADD", { code: 3, msg: "no such container" });
    assert.equal((await errorOf(add(NET, confOf(plugin)))).code, 3);
    assert.deepEqual(plugin.takeNames(), ["first ADD"]);
    plugin.fails("second", "ADD", { code: 3, msg: "no such container" });
    plugin.prints("first", "ADD", "{}");
    await errorOf(add(NET, confOf(plugin)));
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", ...DELETED]);
    fs.rmSync(`${plugin.bin}/first`);
    assert.equal((await errorOf(add(NET, confOf(plugin)))).code, 7);
    assert.deepEqual(plugin.take(), []);
  });

  test("also when a plugin takes too long: nothing that it has started is left", async () => {
    using plugin = recorder();
    plugin.does("second", "ADD", `sleep 60 & echo $! $$ > "$record/pids"; wait`);
    const error = await errorOf(add(NET, confOf(plugin, { timeoutMs: 500 })));
    assert.match(error.message, /^plugin second: ADD failed: it was ended: it took longer than 500 ms$/u);
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", ...DELETED]);
    const pids = fs.readFileSync(`${plugin.root}/record/pids`, "utf8").split(" ").map(Number);
    assert.equal(pids.length, 2);
    await until(() => !pids.some(isAlive));
  });

  test("also when its process is told to end: nothing that it has started is left", async () => {
    using plugin = recorder();
    plugin.does("second", "ADD", `sleep 60 & echo $! $$ > "$record/pids"; wait`);
    const child = spawn(process.execPath, ["--input-type=module", "--eval", PROGRAM, JSON.stringify(confOf(plugin))], {
      env: { ...process.env, NETWORK: JSON.stringify(NET) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const record = `${plugin.root}/record/pids`;
    await until(() => fs.existsSync(record) && fs.readFileSync(record, "utf8").endsWith("\n"));
    child.kill("SIGTERM");
    const { stdout } = await endOf(child);
    assert.equal(stdout, "plugin second: ADD failed: it was ended: SIGTERM\n");
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", ...DELETED]);
    await until(() => !fs.readFileSync(record, "utf8").split(" ").map(Number).some(isAlive));
  });

  test("also when its caller gives up: the plugin is ended, and no other one is added", async () => {
    using plugin = recorder();
    plugin.does("second", "ADD", "sleep 60");
    const caller = new AbortController();
    const failure = errorOf(add(NET, confOf(plugin, { signal: caller.signal })));
    await until(
      () =>
        fs.existsSync(`${plugin.root}/record/calls`) &&
        fs.readFileSync(`${plugin.root}/record/calls`, "utf8").includes("second\nADD"),
    );
    caller.abort("SIGTERM");
    const error = await failure;
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.reason, error.plugin, error.cleanup], ["aborted", "second", []]);
    assert.deepEqual(plugin.takeNames(), ["first ADD", "second ADD", ...DELETED]);
  });
});

describe("check", () => {
  test("calls every plugin in order with the result of ADD", async () => {
    using plugin = recorder();
    plugin.prints("third", "ADD", RESULT);
    await add(NET, confOf(plugin));
    plugin.take();
    assert.equal(await check(NET, confOf(plugin)), "checked");
    const calls = plugin.take();
    assert.deepEqual(
      calls.map((call) => [call.plugin, call.command, call.netns, call.request["prevResult"]]),
      plugins.map(({ type }) => [type, "CHECK", "/run/netns/a", RESULT]),
    );
  });

  test("ends at the first plugin that objects", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    plugin.fails("second", "CHECK", { code: 100, msg: "no route" });
    assert.equal((await errorOf(check(NET, confOf(plugin)))).message, "plugin second: CHECK failed: no route");
    assert.deepEqual(plugin.takeNames(), ["first CHECK", "second CHECK"]);
    assert.ok(isCached(plugin));
  });

  test("uses the parameters and the configuration that it was added with", async () => {
    using plugin = recorder();
    const net = listOf({
      cniVersion: "1.1.0",
      name: "net",
      plugins: [{ type: "first", old: true, capabilities: { mac: true } }],
    });
    await add(net, confOf(plugin, { args: [["K", "v"]], capabilityArgs: { mac: "00:00:00:00:00:01" } }));
    plugin.take();
    await check(NET, confOf(plugin, { netns: "/other", args: [["X", "y"]], capabilityArgs: {} }));
    await check(NET, { ...confOf(plugin), netns: "" });
    for (const call of plugin.take()) {
      assert.deepEqual(
        [call.netns, call.args, call.request],
        [
          "/run/netns/a",
          "K=v",
          {
            type: "first",
            old: true,
            name: "net",
            cniVersion: "1.1.0",
            runtimeConfig: { mac: "00:00:00:00:00:01" },
            prevResult: { cniVersion: "1.1.0" },
          },
        ],
      );
    }
  });

  test("does nothing with disableCheck, then or now", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    assert.equal(await check({ ...NET, disableCheck: true }, confOf(plugin)), "disabled");
    await add(
      listOf({ cniVersion: "1.1.0", name: "net", disableCheck: true, plugins }),
      confOf(plugin, { containerId: "c2" }),
    );
    plugin.take();
    assert.equal(await check(NET, confOf(plugin, { containerId: "c2" })), "disabled");
    fs.writeFileSync(plugin.cached("net-c1-eth0"), "{");
    assert.equal(await check({ ...NET, disableCheck: true }, confOf(plugin)), "disabled");
    assert.deepEqual(plugin.take(), []);
  });

  test("is an error before 0.4.0, and for what has not been added", async () => {
    using plugin = recorder();
    assert.equal((await errorOf(check(NET, confOf(plugin)))).code, 3);
    const old = listOf({ cniVersion: "0.3.1", name: "net", plugins });
    await add(old, confOf(plugin));
    plugin.take();
    assert.match(
      (await errorOf(check(old, confOf(plugin)))).message,
      /cniVersion 0\.3\.1, and CHECK exists since 0\.4\.0/u,
    );
    assert.deepEqual(plugin.take(), []);
  });

  test("is an error when what is remembered cannot be read", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    for (const text of ["", "{", "[]", '{"kind":"other"}', '{"kind":"cniCacheV1"}', '{"cniVersion":"9.9.9"}']) {
      fs.writeFileSync(plugin.cached("net-c1-eth0"), text);
      const error = await errorOf(check(NET, confOf(plugin)));
      assert.equal(error.code, 6, text);
      assert.match(error.message, /net-c1-eth0 is not an attachment: /u);
    }
    assert.deepEqual(plugin.take(), []);
    assert.ok(isCached(plugin));
  });

  test("takes a bare result, as old runtimes have left it, with the given parameters", async () => {
    using plugin = recorder();
    fs.mkdirSync(`${plugin.cacheDir}/results`, { recursive: true });
    fs.writeFileSync(plugin.cached("net-c1-eth0"), JSON.stringify({ cniVersion: "0.2.0", ip4: { ip: "10.1.0.5/16" } }));
    await check(NET, confOf(plugin, { args: [["K", "v"]] }));
    const [call] = plugin.take();
    assert.equal(call?.args, "K=v");
    assert.deepEqual(call.request["prevResult"], { cniVersion: "1.1.0", ips: [{ address: "10.1.0.5/16" }] });
  });
});

describe("del", () => {
  test("calls every plugin in reverse order with the result of ADD, and forgets the attachment", async () => {
    using plugin = recorder();
    plugin.prints("third", "ADD", RESULT);
    await add(NET, confOf(plugin, { args: [["K", "v"]] }));
    plugin.take();
    await del(NET, confOf(plugin));
    assert.deepEqual(
      plugin.take().map((call) => [call.plugin, call.command, call.netns, call.args, call.request["prevResult"]]),
      plugins.toReversed().map(({ type }) => [type, "DEL", "/run/netns/a", "K=v", RESULT]),
    );
    assert.ok(!isCached(plugin));
  });

  test("ends at the first plugin that fails, and does not forget", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    plugin.fails("second", "DEL", { code: 11, msg: "busy" });
    assert.equal((await errorOf(del(NET, confOf(plugin)))).code, 11);
    assert.deepEqual(plugin.takeNames(), ["third DEL", "second DEL"]);
    assert.ok(isCached(plugin));
    plugin.does("second", "DEL", "");
    await del(NET, confOf(plugin));
    assert.deepEqual(plugin.takeNames(), ["third DEL", "second DEL", "first DEL"]);
  });

  test("that is given up ends its plugin, and does not forget", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    plugin.does("second", "DEL", `sleep 60 & echo $! $$ > "$record/pids"; wait`);
    const caller = new AbortController();
    const failure = errorOf(del(NET, confOf(plugin, { signal: caller.signal })));
    const record = `${plugin.root}/record/pids`;
    await until(() => fs.existsSync(record) && fs.readFileSync(record, "utf8").endsWith("\n"));
    caller.abort("SIGINT");
    assert.equal((await failure).message, "plugin second: DEL failed: it was ended: SIGINT");
    assert.deepEqual(plugin.takeNames(), ["third DEL", "second DEL"]);
    assert.ok(isCached(plugin));
    await until(() => !fs.readFileSync(record, "utf8").split(" ").map(Number).some(isAlive));
  });

  test("the namespace may be gone: it is the given one, empty or not, and else that of ADD", async () => {
    using plugin = recorder();
    for (const [netns, seen] of [
      ["", ""],
      ["/other", "/other"],
      [undefined, "/run/netns/a"],
    ] as const) {
      await add(NET, confOf(plugin));
      plugin.take();
      const { netns: _, ...conf } = confOf(plugin);
      await del(NET, netns === undefined ? conf : { ...conf, netns });
      assert.equal(plugin.take()[0]?.netns, seen);
    }
  });

  test("uses the configuration that it was added with, also after it was changed", async () => {
    using plugin = recorder();
    const added = listOf({
      cniVersion: "1.0.0",
      name: "net",
      plugins: [{ type: "first", bridge: "cni0" }, { type: "second" }],
    });
    await add(added, confOf(plugin));
    plugin.take();
    await del(
      listOf({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "first", bridge: "cni1" }] }),
      confOf(plugin),
    );
    assert.deepEqual(
      plugin.take().map(({ request }) => request),
      ["second", "first"].map((type) => ({
        type,
        ...(type === "first" ? { bridge: "cni0" } : {}),
        name: "net",
        cniVersion: "1.0.0",
        prevResult: { cniVersion: "1.0.0" },
      })),
    );
  });

  test("reaches also the plugins that were dropped in beside the configuration", async () => {
    using plugin = recorder();
    const { text } = listOf({ cniVersion: "1.1.0", name: "net", plugins: plugins.slice(0, 1) });
    const withDropIn = { ...NET, text };
    await add(withDropIn, confOf(plugin));
    plugin.take();
    await del(listOf({ cniVersion: "1.1.0", name: "net", plugins: plugins.slice(1) }), confOf(plugin));
    assert.deepEqual(plugin.takeNames(), ["third DEL", "second DEL", "first DEL"]);
    await add(withDropIn, confOf(plugin));
    // As libcni writes it: the file's text only.
    const entry = cachedOf(plugin);
    fs.writeFileSync(
      plugin.cached("net-c1-eth0"),
      JSON.stringify({ ...entry, config: Buffer.from(text).toString("base64") }),
    );
    plugin.take();
    await del(withDropIn, confOf(plugin));
    assert.deepEqual(plugin.takeNames(), ["third DEL", "second DEL", "first DEL"]);
  });

  test("twice is not an error, and needs no memory", async () => {
    using plugin = recorder();
    await del(NET, confOf(plugin, { args: [["K", "v"]] }));
    assert.deepEqual(
      plugin.take().map((call) => [call.plugin, call.args, "prevResult" in call.request]),
      plugins.toReversed().map(({ type }) => [type, "K=v", false]),
    );
  });

  test("forgets what cannot be read, before it calls the plugins with what is given", async () => {
    using plugin = recorder();
    await add(NET, confOf(plugin));
    plugin.take();
    fs.writeFileSync(plugin.cached("net-c1-eth0"), '{"kind":"cniCacheV1","config":');
    plugin.fails("third", "DEL", { code: 11, msg: "busy" });
    await errorOf(del(NET, confOf(plugin)));
    assert.ok(!isCached(plugin));
    assert.deepEqual("prevResult" in (plugin.take()[0]?.request ?? {}), false);
  });

  test("before 0.4.0, DEL is given no result", async () => {
    using plugin = recorder();
    for (const [cniVersion, isGiven] of [
      ["0.3.1", false],
      ["0.4.0", true],
    ] as const) {
      const net = listOf({ cniVersion, name: "net", plugins });
      await add(net, confOf(plugin));
      plugin.take();
      await del(net, confOf(plugin));
      assert.equal("prevResult" in (plugin.take()[0]?.request ?? {}), isGiven);
    }
  });

  test("refuses what cannot be an attachment", async () => {
    using plugin = recorder();
    assert.equal((await errorOf(del(NET, confOf(plugin, { containerId: "../../x" })))).code, 4);
    assert.equal((await errorOf(del({ ...NET, name: "a/b" }, confOf(plugin)))).code, 7);
    assert.deepEqual(plugin.take(), []);
  });
});

describe("status", () => {
  test("asks every plugin in order; capabilities are passed", async () => {
    using plugin = recorder();
    const net = listOf({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "first", capabilities: { mac: true } }] });
    assert.equal(await status(net, confOf(plugin)), "ready");
    const [call] = plugin.take();
    const { stdin: _, ...rest } = call as NonNullable<typeof call>;
    assert.deepEqual(rest, {
      plugin: "first",
      command: "STATUS",
      containerId: "",
      netns: "",
      ifName: "",
      args: "",
      path: plugin.bin,
      request: { type: "first", capabilities: { mac: true }, cniVersion: "1.1.0", name: "net" },
    });
  });

  test("ends at the first plugin that is not available", async () => {
    using plugin = recorder();
    plugin.fails("second", "STATUS", { code: 51, msg: "limited" });
    assert.equal((await errorOf(status(NET, { pluginDirs: [plugin.bin] }))).code, 51);
    assert.deepEqual(plugin.takeNames(), ["first STATUS", "second STATUS"]);
  });

  test("asks nobody before 1.1.0", async () => {
    using plugin = recorder();
    assert.equal(
      await status(listOf({ cniVersion: "1.0.0", name: "net", plugins }), { pluginDirs: [plugin.bin] }),
      "unsupported",
    );
    assert.deepEqual(plugin.take(), []);
  });
});

test("version says of every plugin what it supports, and whether that is enough for the network", async () => {
  using plugin = recorder();
  plugin.prints("first", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.0.0", "1.1.0"] });
  plugin.prints("second", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.0.0"] });
  const net = { ...NET, plugins: [...plugins.slice(0, 2), { type: "none" }, { type: "third" }] };
  plugin.does("third", "VERSION", "exit 1");
  const answers = await version(net, { pluginDirs: [plugin.bin] });
  assert.deepEqual(
    answers.map((answer) => [answer.plugin, answer.path, answer.supportedVersions, answer.supportsNetwork]),
    [
      ["first", `${plugin.bin}/first`, ["1.0.0", "1.1.0"], true],
      ["second", `${plugin.bin}/second`, ["1.0.0"], false],
      ["none", undefined, [], false],
      ["third", `${plugin.bin}/third`, [], false],
    ],
  );
  assert.deepEqual(
    answers.map(({ error }) => error?.message),
    [
      undefined,
      undefined,
      `plugin none: not found in ${plugin.bin}`,
      "plugin third: VERSION failed: no error message, exit code 1",
    ],
  );
});

test("VERSION is run like every other call: in the given environment or ours, and not longer than all", async (t) => {
  using plugin = recorder();
  plugin.does("first", "VERSION", `printf '{"cniVersion":"1.1.0","supportedVersions":["%s"]}' "$SUPPORTED"`);
  const net = { ...NET, plugins: plugins.slice(0, 1) };
  const env = { PATH: process.env["PATH"], SUPPORTED: "1.0.0" };
  const [answer] = await version(net, { pluginDirs: [plugin.bin], env });
  assert.deepEqual(answer?.supportedVersions, ["1.0.0"]);
  process.env["SUPPORTED"] = "1.1.0";
  t.after(() => delete process.env["SUPPORTED"]);
  assert.deepEqual((await version(net, { pluginDirs: [plugin.bin] }))[0]?.supportedVersions, ["1.1.0"]);
  plugin.does("first", "VERSION", "exec sleep 60");
  const [late] = await version(net, { pluginDirs: [plugin.bin], timeoutMs: 200 });
  assert.match(late?.error?.message ?? "", /it took longer than 200 ms/u);
});

test("every call of every operation is told to the trace", async () => {
  using plugin = recorder();
  plugin.prints("first", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.1.0"] });
  const net = { ...NET, plugins: plugins.slice(0, 1) };
  const calls: PluginCall[] = [];
  const conf = confOf(plugin, { trace: (call) => calls.push(call) });
  await add(net, conf);
  await check(net, conf);
  await status(net, conf);
  await version(net, conf);
  await del(net, conf);
  assert.deepEqual(
    calls.map(({ plugin: name, command, env, exitCode }) => [name, command, env["CNI_COMMAND"], exitCode]),
    ["ADD", "CHECK", "STATUS", "VERSION", "DEL"].map((command) => ["first", command, command, 0]),
  );
});
