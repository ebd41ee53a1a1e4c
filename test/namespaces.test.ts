/** Runs in containers: each sees the node's directories at its own paths, some of them, and other process numbers. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { spawn, type ChildProcess } from "node:child_process";
import { on } from "node:events";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { readRecord } from "../src/host/record.ts";
import { EnginePaths } from "../src/engine/paths.ts";
import { cannotMount, childrenOf, Namespace } from "./helpers/namespace.ts";
import { BUNDLE, conflist, contentsOf, endOf, TestNode, until, withoutWaits, type Ran } from "./helpers/node.ts";
import { differencesOf, problemsOf, snapshotOf } from "./helpers/state.ts";

const PLUGINS = "--plugins=bridge,tuning";
const CONFIGS = "--configs=10-net.conflist,20-more.conflist";
const LISTS = [PLUGINS, CONFIGS];

function makeNode(): TestNode {
  const node = new TestNode();
  image(node, "1");
  return node;
}

function image(node: TestNode, version: string): void {
  for (const name of ["bridge", "tuning"]) node.plugin(name, version);
  for (const name of ["net", "more"]) {
    node.template(name === "net" ? "10-net.conflist" : "20-more.conflist", conflist(name, "bridge", "tuning"));
  }
  node.template("20-more.conflist", conflist("more", "bridge", version === "1" ? "tuning" : "bridge"));
}

/** A container that sees the node's directories at paths of its own, those of them that are asked for. */
class Container implements AsyncDisposable {
  readonly #namespace: Namespace;
  readonly #options: readonly string[];
  readonly #started: ChildProcess[] = [];
  readonly paths: { bin: string; netd: string };

  private constructor(namespace: Namespace, options: readonly string[], paths: Container["paths"]) {
    this.#namespace = namespace;
    this.#options = options;
    this.paths = paths;
  }

  static async make(
    node: TestNode,
    name: string,
    sees: readonly ("bin" | "netd")[] = ["bin", "netd"],
  ): Promise<Container> {
    const paths = { bin: join(node.root, name, "plugins"), netd: join(node.root, name, "configs") };
    const script = sees.map((place) => `mount --bind ${node[place]} ${paths[place]}`);
    for (const path of Object.values(paths)) fs.mkdirSync(path, { recursive: true });
    const options = [
      `--plugin-source=${node.plugins}`,
      `--config-source=${node.templates}`,
      `--host-root=${join(node.root, "unmounted")}`,
      ...(sees.includes("bin") ? [`--plugin-dir=${paths.bin}`] : []),
      ...(sees.includes("netd") ? [`--config-dir=${paths.netd}`] : []),
    ];
    return new Container(await Namespace.make(script.join("\n"), { pid: true }), options, paths);
  }

  start(argv: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const child = this.#namespace.start([...argv, ...this.#options], env);
    this.#started.push(child);
    return child;
  }

  async run(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return endOf(this.start(argv, env));
  }

  /** Starts a run that freezes in the act of changing files, holding its locks. */
  async startFrozen(argv: readonly string[]): Promise<Frozen> {
    const child = this.start(argv, signalAt("SIGSTOP", 2, "/(?:bridge|tuning|.*conflist)$"));
    const ended = endOf(child);
    const frozen = (): number | undefined => childrenOf(child.pid ?? 0).find(isStopped);
    await until(() => child.exitCode !== null || frozen() !== undefined);
    assert.equal(child.exitCode, null, "it ended before it froze");
    const pid = frozen() ?? assert.fail("it goes on");
    return { end: async (by) => endFrozen(child, pid, by, ended) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#started) child.kill("SIGKILL");
    await this.#namespace[Symbol.asyncDispose]();
  }
}

/** A run that holds its locks and does nothing. */
interface Frozen {
  /** Lets it go on, or kills it, and waits for its end. */
  end(by: "SIGCONT" | "SIGKILL"): Promise<Ran>;
}

async function endFrozen(nsenter: ChildProcess, pid: number, by: NodeJS.Signals, ended: Promise<Ran>): Promise<Ran> {
  process.kill(pid, by);
  // nsenter stops with its child.
  nsenter.kill("SIGCONT");
  return ended;
}

/** The environment that makes the bundle send itself a signal. */
function signalAt(signal: NodeJS.Signals, at: number, to: string): NodeJS.ProcessEnv {
  const preload = fileURLToPath(new URL("helpers/signal-at.mjs", import.meta.url));
  return { NODE_OPTIONS: `--import=${preload}`, TEST_SIGNAL: signal, TEST_AT: String(at), TEST_TO: to };
}

function isStopped(pid: number): boolean {
  return /^State:\tT/mu.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
}

function assertSame(after: Record<string, string>, before: Record<string, string>): void {
  assert.deepEqual(differencesOf(before, after), []);
}

/** Without the temporary files, which a run that is refused may remove. */
function swept(snapshot: Record<string, string>): Record<string, string> {
  const entries = Object.entries(snapshot).filter(([name]) => !name.endsWith(".tmp"));
  return Object.fromEntries(entries.map(([name, text]) => [name, text.replace(/links=\d+/u, "")]));
}

function assertTidy(node: TestNode): void {
  assert.deepEqual([node.bin, node.netd].map(problemsOf), [[], []]);
}

function assertDone(ran: Ran): void {
  assert.deepEqual([ran.exitCode, ran.signal], [0, undefined], ran.stderr);
}

test(
  "a run waits for one in another container that has the same directory at another path, and says so",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    await using first = await Container.make(node, "first");
    await using second = await Container.make(node, "second");
    const frozen = await first.startFrozen(["install", PLUGINS]);
    const before = snapshotOf(node.host);
    for (const lists of [[PLUGINS], LISTS]) {
      const { exitCode, stderr } = await second.run(["install", ...lists, "--lock-timeout=500ms"]);
      assert.equal(exitCode, 1);
      assert.ok(
        stderr.startsWith(
          `cni-node: ${second.paths.bin}: cannot be locked: another cni-node run works there\n  hint: `,
        ),
        stderr,
      );
      assertSame(snapshotOf(node.host), before);
    }
    const waiting = second.run(["uninstall", ...LISTS]);
    assertDone(await frozen.end("SIGCONT"));
    assertDone(await waiting);
    assertDone(await first.run(["install", ...LISTS]));
    assertTidy(node);
  },
);

test(
  "a run that waits goes on when the one it waits for is killed, and finishes what that one began",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    await using first = await Container.make(node, "first");
    await using second = await Container.make(node, "second");
    node.plugin("other");
    const frozen = await first.startFrozen(["install", ...LISTS]);
    assert.deepEqual(Object.keys(contentsOf(node.host)), ["opt/cni/bin/.cni-node.tmp", "opt/cni/bin/bridge"]);
    const waiting = second.run(["install", "--plugins=other"]);
    await frozen.end("SIGKILL");
    const ran = await waiting;
    assertDone(ran);
    assert.match(ran.stderr, /finished a run that had been interrupted/u);
    assert.deepEqual(fs.readdirSync(node.bin), [".cni-node", "bridge", "other", "tuning"]);
    assert.deepEqual(fs.readdirSync(node.netd), [".cni-node", "10-net.conflist", "20-more.conflist"]);
    assertTidy(node);
  },
);

for (const { who, words, by } of [
  { who: "a run", words: [], by: { signal: "SIGTERM", exitCode: -1 } },
  { who: "a run that is process 1", words: ["unshare", "--pid", "--fork", "--mount-proc"], by: { exitCode: 143 } },
] as const) {
  test(
    `${who} and waits for a lock is ended by SIGTERM, ${words.length > 0 ? "with exit code 143" : "by the signal itself"}, and nothing has happened`,
    { skip: cannotMount },
    async () => {
      using node = makeNode();
      await using first = await Container.make(node, "first");
      const frozen = await first.startFrozen(["install", PLUGINS]);
      const before = snapshotOf(node.host);
      const argv = [...words, process.execPath, BUNDLE, "install", ...LISTS, ...node.places];
      const child = spawn(argv[0] ?? "", argv.slice(1));
      const ended = endOf(child);
      await saysThatItWaits(child);
      process.kill(childrenOf(child.pid ?? 0)[0] ?? child.pid ?? 0, "SIGTERM");
      const { stdout, stderr, ...how } = await ended;
      assert.deepEqual({ stdout, ...how }, { stdout: "", ...by });
      assert.equal(withoutWaits(stderr), "cni-node: ended by SIGTERM before anything was changed\n");
      assertSame(snapshotOf(node.host), before);
      await frozen.end("SIGKILL");
    },
  );
}

/** It says so when it has waited for some seconds; until then a signal may come before it is handled. */
async function saysThatItWaits(child: ChildProcess): Promise<void> {
  for await (const [text] of on(child.stderr as Readable, "data") as AsyncIterable<[string]>) {
    if (text.includes("waiting for another run")) return;
  }
}

/** Three records, the third of which decides, four live files, two records. */
const RENAMES = 9;
const COMMIT = 3;

for (let at = 1; at <= RENAMES + 1; at++) {
  const when = at > RENAMES ? "after its last rename" : `before its rename ${at} of ${RENAMES}`;
  test(
    `a run over two directories that is killed ${when} is finished or forgotten only where both are`,
    { skip: cannotMount },
    async () => {
      using node = makeNode();
      await using both = await Container.make(node, "both");
      await using plugins = await Container.make(node, "plugins", ["bin"]);
      await using configs = await Container.make(node, "configs", ["netd"]);
      await using elsewhere = await Container.make(node, "elsewhere");
      node.plugin("other");
      node.template("99-other.conflist", conflist("other", "bridge"));
      const { exitCode } = await both.run(["install", ...LISTS], signalAt("SIGKILL", at, ""));
      assert.equal(exitCode === 0, at > RENAMES, "the number of renames");

      for (const [container, place, argv] of [
        [plugins, "bin", ["install", "--plugins=other"]],
        [configs, "netd", ["install", "--configs=99-other.conflist"]],
      ] as const) {
        const isJournalled = readRecord(node[place])?.pending !== undefined;
        const before = snapshotOf(node.host);
        const ran = await container.run(argv);
        if (!isJournalled) {
          assertDone(ran);
          continue;
        }
        assert.equal(ran.exitCode, 1, ran.stderr);
        assert.match(ran.stderr, /^cni-node: \S+: an earlier run \(\w+\) was interrupted and cannot be finished: /u);
        const missing = both.paths[place === "bin" ? "netd" : "bin"];
        assert.ok(ran.stderr.includes(missing), `${ran.stderr} does not say that ${missing} is missing`);
        assert.match(ran.stderr, /hint: mount or name both directories/u);
        assertSame(swept(snapshotOf(node.host)), swept(before));
      }

      const ran = await elsewhere.run(["install", "--plugins=other", "--configs=99-other.conflist"]);
      assertDone(ran);
      assertTidy(node);
      const names = Object.keys(contentsOf(node.host)).filter((name) => !name.includes("other"));
      assert.equal(names.length, at > COMMIT ? 4 : 0, names.join());
      assertDone(await elsewhere.run(["uninstall", ...LISTS, "--plugins=other", "--configs=99-other.conflist"]));
      assert.deepEqual(fs.readdirSync(node.bin), []);
      assert.deepEqual(fs.readdirSync(node.netd), []);
    },
  );
}

test(
  "another directory in the place of one that a killed run wrote to is not taken for it",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    using stranger = makeNode();
    await using both = await Container.make(node, "both");
    await both.run(["install", ...LISTS], signalAt("SIGKILL", 3, "/(?:bridge|tuning|.*conflist)$"));
    const before = snapshotOf(node.host);
    for (const prepared of [false, true]) {
      if (prepared) assertDone(await stranger.run(["install", ...LISTS]));
      const of = snapshotOf(stranger.host);
      for (const [bin, netd] of [
        [node.bin, stranger.netd],
        [stranger.bin, node.netd],
      ] as const) {
        const ran = await node.bundle(["install", ...LISTS, `--plugin-dir=${bin}`, `--config-dir=${netd}`]);
        assert.equal(ran.exitCode, 1);
        assert.match(ran.stderr, /was interrupted and cannot be finished/u);
        assertSame(swept(snapshotOf(node.host)), swept(before));
        assertSame(snapshotOf(stranger.host), of);
      }
    }
  },
);

/** What a package upgrade does to a directory, or an administrator. */
const WIPES: Record<string, (path: string) => void> = {
  "emptied, with all that is hidden in it": (path) => {
    for (const name of fs.readdirSync(path)) fs.rmSync(join(path, name), { recursive: true });
  },
  "removed and made again": (path) => {
    fs.rmSync(path, { recursive: true });
    fs.mkdirSync(path);
  },
  "moved away and made again": (path) => {
    fs.renameSync(path, `${path}.old`);
    fs.mkdirSync(path);
  },
};

for (const place of ["bin", "netd"] as const) {
  for (const [how, wipe] of Object.entries(WIPES)) {
    test(`story 25: the ${place} directory is ${how} after a run was killed: the next run makes the node whole`, async () => {
      for (let at = 1; at <= RENAMES; at++) {
        using node = makeNode();
        await node.bundle(["install", ...LISTS], signalAt("SIGKILL", at, ""));
        wipe(node[place]);
        const { exitCode, stderr } = await node.run(["install", ...LISTS]);
        assert.equal(exitCode, 0, `rename ${at}: ${stderr}`);
        const installed = Object.keys(contentsOf(node.host)).filter((path) => /(?:bridge|tuning|net|more)/u.test(path));
        assert.equal(installed.filter((path) => !path.includes(".old")).length, 4, `rename ${at}: ${installed.join()}`);
        assertTidy(node);
      }
    });
  }
}

test(
  "another file system in the place of a directory that a killed run wrote to is not taken for it",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    await using both = await Container.make(node, "both");
    await both.run(["install", ...LISTS], signalAt("SIGKILL", COMMIT + 2, ""));
    assert.notEqual(readRecord(node.netd)?.pending, undefined);
    const namespace = await Namespace.make(
      `mount --bind ${node.netd} ${both.paths.netd}\nmount -t tmpfs none ${both.paths.bin}`,
      { pid: true },
    );
    const places = [
      `--plugin-dir=${both.paths.bin}`,
      `--config-dir=${both.paths.netd}`,
      `--host-root=${node.root}/none`,
    ];
    const sources = [`--plugin-source=${node.plugins}`, `--config-source=${node.templates}`];
    const ran = await endOf(namespace.start(["install", ...LISTS, ...places, ...sources]));
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /was interrupted and cannot be finished/u);
    await namespace[Symbol.asyncDispose]();
  },
);

test(
  "a host root in the file system of another process is looked at there, and not taken for this process's own",
  {
    skip: cannotMount,
  },
  async () => {
    using node = new TestNode();
    node.template("a.conflist", conflist("a", "loopback"));
    const network = `printf '%s' '${conflist("inner", "loopback")}' > ${node.netd}/inner.conflist`;
    await using namespace = await Namespace.make(`mount -t tmpfs none ${node.netd}\n${network}`);
    const root = `--host-root=${namespace.root}${node.host}`;
    const status = await node.run(["status", root, "--output=json"]);
    assert.match(status.stdout, /"inner"/u);
    const named = { programDir: undefined, ociConfig: undefined, daemonConfig: undefined, podmanConfigDir: undefined };
    const hostRoot = `${namespace.root}${node.host}`;
    const others = { cdiDir: undefined, hooksDir: undefined };
    const { host } = new EnginePaths({ ...named, ...others, hostRoot }, "/usr/lib/cni-node", "/host");
    assert.equal(host.root, hostRoot);
    const words = ["install", root, `--config-source=${node.templates}`, "--configs=a.conflist", "--validate=off"];
    const { exitCode, stdout, stderr } = await endOf(spawn(process.execPath, [BUNDLE, ...words]));
    assert.deepEqual([exitCode, stdout], [1, ""], stderr);
    assert.match(stderr, /^cni-node: \S+net\.d: .* is not mounted here.*\n {2}hint: mount it/u);
    assert.deepEqual(fs.readdirSync(node.netd), []);
    assert.deepEqual(fs.readdirSync(join(namespace.root, node.netd)), ["inner.conflist"]);
  },
);
