/** What others may write into the cache of attachments, and what lies there that nobody has meant. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { listAttachments, readAttachment, writeAttachment, type CachedAttachment } from "../../src/cni/cache.ts";
import { kernelLock } from "../../src/cni/lock.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { NetworkHost } from "../helpers/network.ts";
import type { Ran } from "../helpers/node.ts";
import { Recorder } from "../helpers/recorder.ts";
import { reportOf } from "../helpers/report.ts";

const skip = cannotMount;
const SECRET = "s3cr3t-of-another";

/** As another user of the node, who is in no group. */
function asNobody(script: string): void {
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-ec", script];
  const { status, stderr } = spawnSync("setpriv", words, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

/** What libcni would write, of an attachment to a network whose plugin the attacker has chosen. */
function entry(more: object = {}, plugin = "evil"): string {
  const list = { cniVersion: "1.0.0", name: "net", plugins: [{ type: plugin, note: SECRET }] };
  return JSON.stringify({
    kind: "cniCacheV1",
    containerId: "c1",
    config: Buffer.from(JSON.stringify(list)).toString("base64"),
    ifName: "eth0",
    networkName: "net",
    netns: "/run/netns/a",
    result: { cniVersion: "1.0.0" },
    ...more,
  });
}

/** A host with a network "net" of the plugin "good"; "evil" is there too, and no configuration names it. */
async function makeHost(): Promise<NetworkHost> {
  const host = await NetworkHost.make("good", "evil");
  host.network("net", { type: "good" });
  host.target("a");
  fs.mkdirSync(join(host.cacheDir, "results"), { recursive: true, mode: 0o700 });
  fs.chmodSync(host.plugins.root, 0o755);
  return host;
}

const DEL = ["del", "net", "a", "--container-id=c1"];
const CHECK = ["check", "net", "a", "--container-id=c1"];
const GC = ["gc"];
const GC_ALL = ["gc", "net", "--valid=", "--all"];
const LIST = ["list", "--attachments"];
const ADD = ["add", "net", "a", "--container-id=c1", "--ifname=eth0"];

/** It says what is not trusted and how to put it right, shows nothing of it, and has called no plugin by it. */
function assertUntrusted(host: NetworkHost, { stderr, stdout }: Ran, path: string): void {
  assert.match(stderr, /what lies there is not trusted: /u);
  assert.ok(stderr.includes(`${path}: `), stderr);
  assert.ok(stderr.includes(`chown root: ${path}; chmod go-w ${path}`), stderr);
  assert.ok(!`${stdout}${stderr}`.includes(SECRET));
  assert.ok(!host.plugins.takeNames().some((name) => name.startsWith("evil")));
}

describe("a cache that others may have written decides nothing", { skip }, () => {
  test("of a directory that belongs to another user", async () => {
    await using host = await makeHost();
    const results = join(host.cacheDir, "results");
    fs.chmodSync(host.cacheDir, 0o777);
    fs.rmdirSync(results);
    asNobody(`mkdir ${results}; printf %s '${entry()}' > ${results}/net-c1-eth0`);
    fs.chmodSync(host.cacheDir, 0o755);
    for (const words of [DEL, CHECK, GC, GC_ALL, LIST, ADD]) {
      const ran = await host.run(...words);
      assert.equal(ran.exitCode, 1, words.join(" "));
      assertUntrusted(host, ran, results);
    }
    const json = reportOf(await host.run(...DEL, "--output=json"));
    assert.equal((json["error"] as { code: string }).code, "cache-untrusted");
    assert.deepEqual(fs.readdirSync(results), ["net-c1-eth0"]);
  });

  test("of directories that others may write to", async () => {
    await using host = await makeHost();
    const results = join(host.cacheDir, "results");
    for (const [path, mode] of [
      [host.cacheDir, 0o775],
      [host.cacheDir, 0o777],
      [results, 0o770],
      [results, 0o1777],
    ] as const) {
      const { mode: before } = fs.statSync(path);
      fs.chmodSync(path, mode);
      fs.writeFileSync(host.plugins.cached("net-c1-eth0"), entry());
      for (const words of [DEL, GC, ADD]) {
        const ran = await host.run(...words);
        assert.equal(ran.exitCode, 1);
        assertUntrusted(host, ran, path);
      }
      fs.chmodSync(path, before);
    }
  });

  test("a tmpfs as the cache's directory is fine: others cannot replace what root has in it", async () => {
    await using host = await makeHost();
    fs.chmodSync(host.cacheDir, 0o1777);
    const ran = await host.run(...ADD);
    assert.equal(ran.exitCode, 0, ran.stderr);
  });

  for (const [what, script] of [
    ["belongs to another user", (path: string) => fs.chownSync(path, 65534, 65534)],
    ["others may write to", (path: string) => fs.chmodSync(path, 0o666)],
    [
      "is a link",
      (path: string): void => {
        fs.renameSync(path, `${path}.real`);
        fs.symlinkSync(`${path}.real`, path);
      },
    ],
  ] as const) {
    test(`of an entry that ${what}`, async () => {
      await using host = await makeHost();
      const path = host.plugins.cached("net-c1-eth0");
      fs.writeFileSync(path, entry({}), { mode: 0o600 });
      script(path);
      for (const words of [DEL, CHECK, ADD]) {
        const ran = await host.run(...words);
        assert.equal(ran.exitCode, 1, words.join(" "));
        assertUntrusted(host, ran, path);
      }
      for (const words of [GC, GC_ALL, LIST]) {
        const ran = await host.run(...words);
        assert.equal(ran.exitCode, 0, ran.stderr);
        assertUntrusted(host, ran, path);
        const { problems } = reportOf(await host.run(...words, "--output=json")) as { problems: { code: string }[] };
        assert.deepEqual(
          problems.map(({ code }) => code),
          ["cache-untrusted"],
        );
      }
      assert.ok(fs.lstatSync(path));
    });
  }

  test("an entry of another runtime, which is root's, goes on working", async () => {
    await using host = await makeHost();
    fs.writeFileSync(host.plugins.cached("net-c1-eth0"), entry({}, "good"), { mode: 0o600 });
    const ran = await host.run(...DEL);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(host.plugins.takeNames(), ["good DEL"]);
  });
});

describe("the lock of a cache leads nowhere else", { skip }, () => {
  test("a directory of state that belongs to another user, or is a link, is refused", async () => {
    using place = new Recorder();
    const state = `${place.cacheDir}/results/.cni-node`;
    const elsewhere = join(place.root, "elsewhere");
    fs.mkdirSync(elsewhere);
    fs.mkdirSync(state, { recursive: true, mode: 0o700 });
    fs.chownSync(state, 65534, 65534);
    await assert.rejects(kernelLock(place.cacheDir).container("c1"), /it belongs to user 65534$/u);
    fs.rmdirSync(state);
    fs.symlinkSync(elsewhere, state);
    await assert.rejects(kernelLock(place.cacheDir).container("c1"), /it is a link$/u);
    assert.throws(() => writeAttachment(place.cacheDir, ATTACHMENT), /it is a link$/u);
    assert.deepEqual(fs.readdirSync(elsewhere), []);
  });

  test("a lock file that is a link is not followed", async () => {
    using place = new Recorder();
    const victim = join(place.root, "victim");
    fs.mkdirSync(`${place.cacheDir}/results/.cni-node`, { recursive: true, mode: 0o700 });
    fs.symlinkSync(victim, `${place.cacheDir}/results/.cni-node/lock-gc`);
    await assert.rejects(kernelLock(place.cacheDir).all(), /it is a link$/u);
    assert.ok(!fs.existsSync(victim));
  });

  test("a temporary file that is a link is not followed", () => {
    using place = new Recorder();
    const victim = join(place.root, "victim");
    fs.writeFileSync(victim, "keep");
    fs.mkdirSync(`${place.cacheDir}/results/.cni-node`, { recursive: true, mode: 0o700 });
    fs.symlinkSync(victim, `${place.cacheDir}/results/.cni-node/net-c1-eth0`);
    writeAttachment(place.cacheDir, ATTACHMENT);
    assert.equal(fs.readFileSync(victim, "utf8"), "keep");
    const written = fs.lstatSync(`${place.cacheDir}/results/net-c1-eth0`);
    assert.deepEqual([written.isFile(), written.mode & 0o777], [true, 0o600]);
  });
});

const ATTACHMENT: CachedAttachment = {
  networkName: "net",
  containerId: "c1",
  ifName: "eth0",
  config: "{}",
  netns: "/run/netns/a",
  args: [],
  capabilityArgs: {},
  result: { cniVersion: "1.0.0" },
};

describe("an entry that root has written is checked all the same", { skip }, () => {
  const key = { networkName: "net", containerId: "c1", ifName: "eth0" };
  for (const [what, text] of [
    ["a container ID that leads elsewhere", entry({ containerId: "x/../net-c1" })],
    ["a container ID with a NUL", entry({ containerId: "c1\0" })],
    ["a network's name that leads elsewhere", entry({ networkName: "../results/net" })],
    ["an interface that leads elsewhere", entry({ ifName: "../x" })],
    ["a network namespace with a NUL", entry({ netns: "/run/netns/a\0" })],
    ["a kind that is not libcni's", entry({ kind: SECRET })],
    ["a result that is none", entry({ result: { cniVersion: SECRET } })],
    ["an address that is none", entry({ result: { cniVersion: "1.0.0", ips: [{ address: SECRET }] } })],
    ["a text that is not JSON", `{"kind":"cniCacheV1","containerId":"${SECRET}`],
    ["nothing in it", ""],
    ["too many values", `[${"{},".repeat(600_000)}{}]`],
    ["levels without end", "[".repeat(100_000)],
  ] as const) {
    test(`${what} is refused, and nothing of it is shown`, () => {
      using place = new Recorder();
      fs.mkdirSync(`${place.cacheDir}/results`, { recursive: true });
      fs.writeFileSync(place.cached("net-c1-eth0"), text);
      const said: string[] = [];
      try {
        readAttachment(place.cacheDir, key);
        assert.fail("it was read");
      } catch (error) {
        assert.equal((error as Error).name, "CniError");
        said.push((error as Error).message);
      }
      listAttachments(place.cacheDir, { onProblem: ({ code, message }) => said.push(code, message) });
      assert.ok(!said.join(" ").includes(SECRET), said.join(" "));
    });
  }

  test("a damaged record is told with its path and its cure by list and gc (A9, N8)", async () => {
    await using host = await makeHost();
    const whole = entry();
    for (const [name, text] of [
      ["net-empty-eth0", ""],
      ["net-cut-eth0", whole.slice(0, 120)],
    ] as const) {
      fs.writeFileSync(host.plugins.cached(name), text, { mode: 0o600 });
    }
    for (const words of [LIST, GC, GC_ALL]) {
      const { exitCode, stderr } = await host.run(...words);
      assert.equal(exitCode, 0);
      assert.match(stderr, /net-empty-eth0: is not an attachment: it is empty\n {2}hint: .*remove it/u);
      assert.match(stderr, /net-cut-eth0: is not an attachment: it is not JSON: .* at line 1, column \d+\n/u);
      const { problems } = reportOf(await host.run(...words, "--output=json")) as { problems: { code: string }[] };
      assert.deepEqual([...new Set(problems.map(({ code }) => code))], ["cache-damaged"]);
    }
  });

  test("the network of the host itself is given to no plugin", async () => {
    await using host = await makeHost();
    for (const netns of ["/proc/1/ns/net", "/proc/self/ns/net", "/proc/thread-self/ns/net"]) {
      fs.writeFileSync(host.plugins.cached("net-c1-eth0"), entry({ netns }, "good"), { mode: 0o600 });
      for (const words of [DEL, GC_ALL]) {
        await host.run(...words);
        const calls = host.plugins.take().map((call) => call.netns);
        assert.ok(!calls.includes(netns), `${words.join(" ")} ${netns}`);
      }
    }
  });

  test("plugins are not named by a path", async () => {
    await using host = await makeHost();
    fs.writeFileSync(host.plugins.cached("net-c1-eth0"), entry({}, `../bin/evil`), { mode: 0o600 });
    const { exitCode, stderr } = await host.run(...DEL);
    assert.equal(exitCode, 1);
    assert.match(stderr, /invalid plugin name/u);
    assert.deepEqual(host.plugins.takeNames(), []);
  });

  test("arguments that no process can be given are an error, not a defect", async () => {
    await using host = await makeHost();
    for (const value of ["x".repeat(1_000_000), "a\0b"]) {
      fs.writeFileSync(host.plugins.cached("net-c1-eth0"), entry({ cniArgs: [["K", value]] }, "good"), { mode: 0o600 });
      const { exitCode, stderr } = await host.run(...DEL);
      assert.equal(exitCode, 1);
      assert.doesNotMatch(stderr, /defect/u);
      assert.deepEqual(host.plugins.takeNames(), []);
    }
  });
});

/** Long enough for anything that ends. */
const LONG = 120_000;

describe("a cache of any size costs no more than 128 MiB", { skip, timeout: 5 * LONG }, () => {
  test("of as many entries as are read, and of one more", async () => {
    await using host = await makeHost();
    for (let index = 0; index < 20_000; index++) {
      fs.writeFileSync(host.plugins.cached(`net-c${index}-eth0`), entry({ containerId: `c${index}` }), { mode: 0o600 });
    }
    for (const words of [LIST, GC, ["check", "net", "a"]]) await assertSmall(host, words);
    fs.writeFileSync(host.plugins.cached("net-more-eth0"), entry());
    const { stderr, exitCode } = await assertSmall(host, LIST);
    assert.equal(exitCode, 1);
    assert.match(stderr, /results: holds more than 20000 files: it is not read\n/u);
  });

  test("of entries without end, FIFOs and devices", async () => {
    await using host = await makeHost();
    fs.writeFileSync(host.plugins.cached("net-c1-eth0"), "");
    fs.truncateSync(host.plugins.cached("net-c1-eth0"), 100 * 2 ** 30);
    const made = spawnSync("sh", ["-ec", "mkfifo net-c2-eth0; mknod net-c3-eth0 c 1 5"], {
      cwd: join(host.cacheDir, "results"),
    });
    assert.equal(made.status, 0);
    for (let index = 10; index < 40; index++) {
      const large = entry({ containerId: `c${index}`, capabilityArgs: { a: "x".repeat(1_000_000) } });
      fs.writeFileSync(host.plugins.cached(`net-c${index}-eth0`), large, { mode: 0o600 });
    }
    const { stderr } = await host.run(...LIST);
    assert.match(stderr, /net-c1-eth0: cannot be read: it is larger than 1 MiB\n/u);
    assert.match(stderr, /net-c2-eth0: cannot be read: it is not a regular file\n/u);
    for (const words of [LIST, GC, GC_ALL, CHECK, DEL]) {
      const ran = await assertSmall(host, words);
      assert.doesNotMatch(ran.stderr, /defect/u);
    }
  });
});

/** Runs it, and sees how much memory it has had at most. */
async function assertSmall(host: NetworkHost, words: readonly string[]): Promise<Ran> {
  const file = join(host.plugins.root, "memory");
  const code = `import fs from"node:fs";process.on("exit",()=>fs.writeFileSync(${JSON.stringify(file)},String(process.resourceUsage().maxRSS)))`;
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` };
  const ran = await host.runWith({ env }, ...words);
  const used = Number(fs.readFileSync(file, "utf8")) / 1024;
  assert.ok(used < 128, `${words.join(" ")} took ${Math.round(used)} MiB`);
  return ran;
}
