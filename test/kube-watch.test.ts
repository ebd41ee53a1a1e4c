/** kube-watch: handlers of those who have some, and the faults of the one of 2019. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotSign } from "./cluster/pki.ts";
import { WatchServer } from "./cluster/watch-server.ts";
import { blocksOf } from "./helpers/documents.ts";
import { BUNDLE, endOf, TestNode, until, type Ran } from "./helpers/node.ts";
import { Random, SEED, SEED_NOTE } from "./helpers/random.ts";

/** A handler, which notes its calls, and kube-watch as a process. */
class KubeWatch implements AsyncDisposable {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-kube-watch-"));
  readonly handler = join(this.root, "bin/handler");
  readonly channel = join(this.root, "run/channel");
  stdout = "";
  stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<Ran> | undefined;

  /** @param script what the handler does besides: `$1`, `$2`, `$3` are its arguments. */
  constructor(script = "") {
    fs.mkdirSync(join(this.root, "bin"));
    this.write(script);
  }

  write(script: string): void {
    const text = `#!/bin/sh\nprintf '%s|%s|%s\\n' "$(cat "$1")" "$2" "$3" >>${this.root}/calls\n${script}\n`;
    fs.writeFileSync(`${this.handler}.new`, text, { mode: 0o755 });
    fs.renameSync(`${this.handler}.new`, this.handler);
  }

  start(...words: string[]): void {
    const env = { PATH: `${join(this.root, "bin")}:${process.env["PATH"]}` };
    const options = ["--handler=handler", `--channel=${this.channel}`];
    this.#child = spawn(process.execPath, [BUNDLE, "kube-watch", ...words, ...options], {
      env: { ...env, ...this.env },
    });
    this.#child.stdout?.on("data", (text: Buffer) => (this.stdout += text.toString()));
    this.#child.stderr?.on("data", (text: Buffer) => (this.stderr += text.toString()));
    this.#ended = endOf(this.#child);
  }

  env: NodeJS.ProcessEnv = {};

  /** `channel|current|previous` of each call. */
  get calls(): string[] {
    const path = join(this.root, "calls");
    return fs.existsSync(path) ? fs.readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
  }

  get ended(): Promise<Ran> {
    return this.#ended ?? assert.fail("not started");
  }

  async stop(): Promise<Ran> {
    this.#child?.kill("SIGTERM");
    return (await this.#ended) ?? assert.fail("not started");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await this.stop();
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

suite("kube-watch file", () => {
  test("hands on the content at the start and after each change, and prints what the ancestor printed", async () => {
    await using k = new KubeWatch("echo said; echo wrong >&2");
    const file = join(k.root, "10-calico.conflist");
    fs.writeFileSync(file, "one\n");
    k.start("file", file);
    await until(() => k.calls.length === 1);
    fs.writeFileSync(`${file}.new`, "two\n");
    fs.renameSync(`${file}.new`, file);
    await until(() => k.calls.length === 2);
    assert.deepEqual(k.calls, ["one|one|", "two|two|one"]);
    await until(() => k.stdout.includes("+two"));
    assert.match(
      k.stdout,
      /^### Channel data ###\none\n###\n### Channel data diff ###\n@@ .* @@\n-\n\+one\n###\nHandling channel data with handler\.\.\.\n/u,
    );
    await until(() => k.stderr.includes("[handler] wrong\n"));
    assert.match(k.stdout, /^\[handler\] said$/mu);
    // The channel is empty once its data is handled.
    await until(() => fs.readFileSync(k.channel, "utf8") === "");
  });

  test("the handler of docs/kube-watch.md installs what comes, and uninstalls what goes", async () => {
    using node = new TestNode();
    for (const name of ["bridge", "vlan", "ptp"]) node.plugin(name);
    await using k = new KubeWatch();
    const document = fs.readFileSync(new URL("../docs/kube-watch.md", import.meta.url), "utf8");
    fs.writeFileSync(k.handler, blocksOf(document), { mode: 0o755 });
    fs.writeFileSync(
      join(k.root, "bin/cni-node"),
      `#!/bin/sh\nexec ${process.execPath} ${BUNDLE} "$@" ${node.places.join(" ")}\n`,
      { mode: 0o755 },
    );
    const file = join(k.root, "plugins");
    fs.writeFileSync(file, "bridge,vlan\n");
    k.start("file", file);
    await until(() => fs.existsSync(join(node.bin, "vlan")));
    fs.writeFileSync(file, "bridge,ptp");
    await until(() => fs.existsSync(join(node.bin, "ptp")) && !fs.existsSync(join(node.bin, "vlan")));
    fs.writeFileSync(file, "");
    await until(() => !fs.existsSync(join(node.bin, "bridge")));
  });

  test("follows a file that is written in place, deleted and made again, or comes later (fault 6)", async () => {
    await using k = new KubeWatch();
    const file = join(k.root, "later");
    k.start("file", file);
    await until(() => k.stderr.includes("is not there yet"));
    fs.writeFileSync(file, "one");
    await until(() => k.calls.length === 1);
    fs.appendFileSync(file, "two");
    await until(() => k.calls.at(-1) === "onetwo|onetwo|one");
    fs.unlinkSync(file);
    await until(() => k.stderr.split("is not there yet").length === 3);
    fs.writeFileSync(file, "three");
    await until(() => k.calls.at(-1)?.startsWith("three|three|onetwo") === true);
  });

  test("hands on nothing of a file that is still being written in place, nor an empty one before it is surely empty", async () => {
    await using k = new KubeWatch();
    const file = join(k.root, "file");
    fs.writeFileSync(file, "zero");
    k.start("file", file);
    await until(() => k.calls.length === 1);
    let slowest = 0;
    for (let count = 1; count <= 20; count++) {
      const begin = performance.now();
      // As a shell does: the file is empty for a moment, and written in parts.
      const descriptor = fs.openSync(file, "w");
      await sleep(10);
      fs.writeSync(descriptor, "bridge,");
      await sleep(20);
      fs.writeSync(descriptor, `v${count}`);
      fs.closeSync(descriptor);
      slowest = Math.max(slowest, performance.now() - begin);
      await sleep(count % 5 === 0 ? 400 : 20);
    }
    await until(() => k.calls.at(-1)?.startsWith("bridge,v20|") === true);
    for (const call of k.calls) {
      assert.doesNotMatch(call, slowest < 2000 ? /^\|/u : /^never$/u);
      // A machine that pauses this process for long makes a writer that nobody can tell from one that has ended.
      if (slowest < 150) assert.match(call, /^(?:zero|bridge,v\d+)\|/u);
    }
  });

  test("follows a link to a file in another directory", async () => {
    await using k = new KubeWatch();
    fs.mkdirSync(join(k.root, "real"));
    fs.writeFileSync(join(k.root, "real/file"), "one");
    fs.symlinkSync("real/file", join(k.root, "file"));
    k.start("file", join(k.root, "file"));
    await until(() => k.calls.length === 1);
    fs.writeFileSync(join(k.root, "real/new"), "two");
    fs.renameSync(join(k.root, "real/new"), join(k.root, "real/file"));
    await until(() => k.calls.at(-1) === "two|two|one");
  });

  test("hands on the newest value only while a handler runs, never glued, never lost (faults 1, 3)", async () => {
    await using k = new KubeWatch("sleep 0.3");
    const file = join(k.root, "file");
    fs.writeFileSync(file, "0");
    k.start("file", file);
    await until(() => k.calls.length === 1);
    for (let count = 1; count <= 9; count++) {
      fs.writeFileSync(file, String(count));
      await sleep(5);
    }
    await until(() => k.calls.at(-1)?.startsWith("9|9|") === true);
    assert.ok(k.calls.length <= 4, k.calls.join());
    for (const [, current = "", previous = ""] of k.calls.map((call) => call.split("|"))) {
      assert.match(current, /^\d$/u);
      assert.match(previous, /^\d?$/u);
    }
  });

  test("calls a handler that fails again, with the newest value only, and the last one that succeeded as the previous one (fault 2)", async () => {
    await using k = new KubeWatch('case "$2" in *typo*) exit 3;; esac');
    const file = join(k.root, "file");
    fs.writeFileSync(file, "good");
    k.start("file", file);
    await until(() => k.calls.length === 1);
    fs.writeFileSync(file, "typo");
    await until(() => /handler failed with exit code 3; it is called again in 1 s/u.test(k.stderr));
    fs.writeFileSync(file, "better");
    await until(() => k.calls.at(-1) === "better|better|good");
    // One that always fails is not called all the time.
    fs.writeFileSync(file, "typo again");
    await until(() => /called again in 2 s/u.test(k.stderr));
    assert.ok(k.calls.length <= 6);
  });

  test("reports an emptied value, and after a restart what was handled before (faults 4, 5)", async () => {
    await using k = new KubeWatch();
    const file = join(k.root, "file");
    fs.writeFileSync(file, "one");
    k.start("file", file);
    await until(() => k.calls.length === 1 && fs.existsSync(`${k.channel}.prev`));
    fs.writeFileSync(file, "");
    await until(() => k.calls.at(-1) === "||one");
    fs.writeFileSync(file, "two");
    await until(() => k.calls.length === 3);
    await until(() => fs.readFileSync(`${k.channel}.prev`, "utf8") === "two");
    await k.stop();
    fs.writeFileSync(file, "three");
    k.start("file", file);
    await until(() => k.calls.at(-1) === "three|three|two");
    await until(() => fs.readFileSync(`${k.channel}.prev`, "utf8") === "three");
    await k.stop();
    // The node may have changed meanwhile, and a handler that applies puts it right.
    k.start("file", file);
    await until(() => k.calls.at(-1) === "three|three|three");
  });

  test("says that data is too long for an argument, and goes on with what is shorter", async () => {
    await using k = new KubeWatch();
    const file = join(k.root, "file");
    fs.writeFileSync(file, "x".repeat(200_000));
    k.start("file", file);
    await until(() => k.stderr.includes("the data is longer than an argument can be"));
    fs.writeFileSync(file, "short");
    await until(() => k.calls.at(-1) === "short|short|");
  });

  test("does not follow a link in the place of its channel", async () => {
    await using k = new KubeWatch();
    const [file, victim] = [join(k.root, "file"), join(k.root, "victim")];
    fs.writeFileSync(file, "one");
    fs.writeFileSync(victim, "precious");
    fs.mkdirSync(join(k.root, "run"));
    for (const path of [k.channel, `${k.channel}.prev`]) fs.symlinkSync(victim, path);
    k.start("file", file);
    await until(() => k.calls.length === 1 && fs.lstatSync(`${k.channel}.prev`).isFile());
    assert.equal(fs.readFileSync(victim, "utf8"), "precious");
  });

  test("ends a handler that takes too long with all that it has started, and the one that runs when it is stopped (fault 8)", async () => {
    await using k = new KubeWatch(`sleep 1000 & echo $! >>"\${0%/*}/pids"; wait`);
    const file = join(k.root, "file");
    const pids = (): number[] =>
      fs.existsSync(join(k.root, "bin/pids"))
        ? fs.readFileSync(join(k.root, "bin/pids"), "utf8").split("\n").filter(Boolean).map(Number)
        : [];
    const isRunning = (pid: number): boolean =>
      fs.existsSync(`/proc/${pid}/environ`) &&
      fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.startsWith("Z") !== true;
    fs.writeFileSync(file, "one");
    k.start("file", file, "--timeout=300ms");
    await until(() => k.stderr.includes("has not ended within 0.3 s, and was killed"));
    await until(() => !isRunning(pids()[0] ?? 0));
    await until(() => pids().length === 2);
    const { signal } = await k.stop();
    assert.equal(signal, "SIGTERM");
    assert.ok(pids().every((pid) => !isRunning(pid)));
  });

  test("lets a handler's own programs end in their time when it is stopped, and remembers what they have finished", async () => {
    await using k = new KubeWatch(`"\${0%/*}/inner"`);
    const inner = `#!/bin/sh\ntrap 'sleep 0.5; echo ended >>${k.root}/ended; exit 0' TERM\necho began >>${k.root}/began\nsleep 1000 & wait\n`;
    fs.writeFileSync(join(k.root, "bin/inner"), inner, { mode: 0o755 });
    const file = join(k.root, "file");
    fs.writeFileSync(file, "one");
    k.start("file", file);
    await until(() => fs.existsSync(join(k.root, "began")));
    await k.stop();
    assert.ok(fs.existsSync(join(k.root, "ended")));
    // The shell of the handler ignores the signal, and succeeds.
    k.write(`trap '' TERM; echo again >>${k.root}/began; sleep 1`);
    k.start("file", file);
    await until(() => fs.readFileSync(join(k.root, "began"), "utf8").includes("again"));
    await k.stop();
    assert.equal(fs.readFileSync(`${k.channel}.prev`, "utf8"), "one");
  });

  test("says that a handler cannot be found, and words that it does not know", async () => {
    await using k = new KubeWatch();
    fs.writeFileSync(join(k.root, "file"), "one");
    fs.unlinkSync(k.handler);
    k.start("file", join(k.root, "file"));
    await until(() => /handler cannot be run: .*; it is called again/u.test(k.stderr));
    await k.stop();
    k.start("nothing");
    const { exitCode, stderr } = await k.ended;
    assert.equal(exitCode, 2, stderr);
    assert.match(stderr, /unknown command "nothing"\n\nUsage: kube-watch object TYPE/u);
  });
});

suite("kube-watch object", { skip: cannotSign }, () => {
  test("hands on what the template makes of the object, follows it, and asks nothing while the API is away (fault 7)", async () => {
    await using server = await WatchServer.start("h2");
    await using k = new KubeWatch();
    server.put("multus-cni", { plugins: "bridge,host-local" });
    k.env = { KUBECONFIG: server.kubeconfig() };
    k.start("object", "configmap", "default/multus-cni", "--jsonpath={.data.plugins}");
    await until(() => k.calls.length === 1);
    server.put("multus-cni", { plugins: "bridge", other: "x" });
    await until(() => k.calls.length === 2);
    server.put("multus-cni", { plugins: "bridge", other: "y" });
    server.put("multus-cni", { other: "y" });
    await until(() => k.calls.length === 3);
    assert.deepEqual(k.calls, ["bridge,host-local|bridge,host-local|", "bridge|bridge|bridge,host-local", "||bridge"]);
    const { port } = server;
    await server.close();
    const before = server.requests.length;
    await sleep(1500);
    await server.listen(port);
    server.put("multus-cni", { plugins: "back" });
    await until(() => k.calls.at(-1) === "back|back|");
    assert.ok(server.requests.length - before <= 4);
  });

  test("shows nothing of a Secret, and looks for the type again while the API answers with errors", async () => {
    await using server = await WatchServer.start("h2");
    await using k = new KubeWatch();
    k.env = { KUBECONFIG: server.kubeconfig() };
    k.start("object", "secret", "default/s");
    await until(
      () => k.stderr.includes("the types of the API cannot be listed") || k.stderr.includes("no resource type"),
    );
    assert.doesNotMatch(k.stderr, /no resource type/u);
    const { signal } = await k.stop();
    assert.equal(signal, "SIGTERM");
  });

  test(`under random changes the last value handed on is the last one, and each is one that was there ${SEED_NOTE}`, async () => {
    await using server = await WatchServer.start("h2");
    await using k = new KubeWatch(
      `[ "$(($(cat /proc/sys/kernel/random/uuid | tr -dc 0-9 | tail -c 1) % 4))" -ne 0 ] || exit 1`,
    );
    const random = new Random(SEED);
    k.env = { KUBECONFIG: server.kubeconfig() };
    server.put("cm", { a: "v0" });
    k.start("object", "cm", "default/cm", "-j={.data.a}");
    await until(() => k.calls.length > 0);
    const many = process.env["CNI_NODE_TEST_LONG"] === "1" ? 1000 : 150;
    for (let count = 1; count <= many; count++) {
      server.put("cm", { a: `v${count}` });
      if (random.once(3)) await sleep(random.int(20));
    }
    await until(() => k.calls.at(-1)?.startsWith(`v${many}|v${many}|`) === true);
    for (const call of k.calls) assert.match(call, /^(v\d+)\|\1\|(?:v\d+)?$/u);
    const numbers = k.calls.map((call) => Number(/^v(\d+)/u.exec(call)?.[1]));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
      "never a stale one",
    );
  });
});
