/** What can be wrong with a node, and what cni-node does about it: it says so, and leaves everything as it was. */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";

import { findDirectoriesFor } from "../src/commands/network-options.ts";
import { cannotMount, containerRoot, Namespace } from "./helpers/namespace.ts";
import { BUNDLE, conflist, endOf, TestNode, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";
import { differencesOf, problemsOf, snapshotOf } from "./helpers/state.ts";
import { COUNTS, FORM } from "./soak/counts.ts";

/** The short form tries every so many amounts of space. */
const { step: STEP } = COUNTS[FORM];

const LISTS = ["--plugins=bridge,tuning", "--configs=10-net.conflist,20-more.conflist"];
const INSTALL = ["install", ...LISTS];
const UNINSTALL = ["uninstall", ...LISTS];

/** A node with somebody's files on it, and an image with two plugins and two configs. */
function makeNode(): TestNode {
  const node = new TestNode();
  image(node, "1");
  const answer = '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}';
  fs.writeFileSync(join(node.bin, "foreign"), `#!/bin/sh\necho '${answer}'\n`, { mode: 0o755 });
  fs.writeFileSync(join(node.netd, "99-foreign.conflist"), conflist("foreign", "foreign"));
  return node;
}

/** Gives all assets of the image this version. */
function image(node: TestNode, version: string, size = 0): void {
  for (const name of ["bridge", "tuning"]) node.plugin(name, version, size);
  node.template("10-net.conflist", configText("net", version));
  node.template("20-more.conflist", configText("more", version));
}

function configText(name: string, version: string): string {
  const plugins = [{ type: "bridge", version }, { type: "tuning" }];
  return `${JSON.stringify({ cniVersion: "1.0.0", name, plugins })}\n`;
}

/** Three ways to come upon a fault. */
const SITUATIONS = [
  { when: "install", held: false, argv: INSTALL },
  { when: "re-install", held: true, argv: INSTALL },
  { when: "uninstall", held: true, argv: UNINSTALL },
] as const;
type Situation = (typeof SITUATIONS)[number];

/** Brings a new node into a situation. */
async function situate({ held }: Situation): Promise<TestNode> {
  const node = makeNode();
  if (!held) return node;
  await succeeds(node, INSTALL);
  image(node, "2");
  return node;
}

async function succeeds(node: TestNode, argv: readonly string[]): Promise<Ran> {
  const ran = await node.run(argv);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran;
}

/** A run was refused and said all this. */
function assertRefused(ran: Ran, says: readonly (string | RegExp)[], exitCode = 1): void {
  assert.equal(ran.exitCode, exitCode, `${ran.stdout}${ran.stderr}`);
  assert.equal(ran.stdout, "");
  assert.match(ran.stderr, /^cni-node: \S.*: .+/u);
  assert.doesNotMatch(ran.stderr, /a defect of cni-node|\n {4}at /u);
  for (const text of says) assert.ok(hasText(ran.stderr, text), `${ran.stderr} does not say ${text}`);
}

function hasText(text: string, part: string | RegExp): boolean {
  return typeof part === "string" ? text.includes(part) : part.test(text);
}

/** Runs cni-node, which must refuse and change nothing. */
async function refuses(
  node: TestNode,
  argv: readonly string[],
  says: readonly (string | RegExp)[],
  exitCode = 1,
): Promise<void> {
  const before = snapshotOf(node.root);
  assertRefused(await node.run(argv), says, exitCode);
  assertSame(snapshotOf(node.root), before);
}

function assertSame(after: Record<string, string>, before: Record<string, string>): void {
  assert.deepEqual(differencesOf(before, after), []);
}

function assertTidy(node: TestNode, root = ""): void {
  assert.deepEqual(
    [node.bin, node.netd].map((directory) => problemsOf(root + directory)),
    [[], []],
  );
}

/** The snapshot of the host's own files. */
function filesOf(node: TestNode): Record<string, string> {
  const entries = Object.entries(snapshotOf(node.host));
  return Object.fromEntries(entries.filter(([name]) => !name.split("/").includes(".cni-node")));
}

function removeAll(path: string): void {
  fs.rmSync(path, { recursive: true, force: true });
}

function replaceBy(path: string, make: (path: string) => void): void {
  removeAll(path);
  make(path);
}

function makeFifo(path: string): void {
  execFileSync("mkfifo", [path]);
}

/** A socket stays when its server is not closed by itself. */
function makeSocket(path: string): void {
  const code = `require("node:net").createServer().listen(process.argv[1], () => process.exit())`;
  execFileSync(process.execPath, ["-e", code, path]);
  assert.ok(fs.lstatSync(path).isSocket());
}

// What is in the place of a file.

const NO_FILES = [
  { what: "a directory", make: (path: string) => void fs.mkdirSync(join(path, "full"), { recursive: true }) },
  { what: "a fifo", make: makeFifo },
  { what: "a socket", make: makeSocket },
];

for (const situation of SITUATIONS) {
  for (const { what, make } of NO_FILES) {
    for (const [kind, name] of [
      ["plugin", "tuning"],
      ["config", "20-more.conflist"],
    ] as const) {
      test(`${situation.when} where ${what} is in the place of a ${kind} is refused and changes nothing`, async () => {
        using node = await situate(situation);
        const path = join(kind === "plugin" ? node.bin : node.netd, name);
        replaceBy(path, make);
        await refuses(node, situation.argv, [`cni-node: ${path}: `, what === "a directory" ? what : "a special file"]);
        removeAll(path);
        await succeeds(node, situation.argv);
        assertTidy(node);
      });
    }
  }
}

test("a fifo among the node's configurations makes no run wait for its writer", async () => {
  using node = makeNode();
  makeFifo(join(node.netd, "50-foreign.conf"));
  const child = node.start(INSTALL);
  const guard = setTimeout(() => child.kill("SIGKILL"), 10_000);
  const ran = await endOf(child);
  clearTimeout(guard);
  assert.deepEqual([ran.signal, ran.exitCode, ran.stderr], [undefined, 0, ""]);
  assertTidy(node);
});

// Links.

const LINK_TARGETS = [
  { what: "a dangling link", target: () => "nowhere", follows: undefined },
  { what: "a link to itself", target: (name: string) => name, follows: undefined },
  { what: "a link to a file beside it", target: () => "precious", follows: "precious" },
  {
    what: "a link that leads out of the directory",
    target: () => "../../../../outside",
    follows: "../../../../outside",
  },
] as const;

for (const { what, target, follows } of LINK_TARGETS) {
  test(`${what} in the place of a file is replaced, not followed, and comes back`, async () => {
    using node = makeNode();
    const links = [
      [node.bin, "tuning"],
      [node.netd, "20-more.conflist"],
    ] as const;
    for (const [directory, name] of links) {
      if (follows !== undefined) fs.writeFileSync(join(directory, follows), conflist("linked", "foreign"));
      fs.symlinkSync(target(name), join(directory, name));
    }
    const before = { host: filesOf(node), outside: snapshotOf(node.root)["./outside"] };
    await succeeds(node, INSTALL);
    for (const [directory, name] of links) {
      assert.ok(fs.lstatSync(join(directory, name)).isFile());
      if (follows !== undefined) {
        assert.equal(fs.readFileSync(join(directory, follows), "utf8"), conflist("linked", "foreign"));
      }
    }
    assertTidy(node);
    await succeeds(node, UNINSTALL);
    assert.deepEqual({ host: filesOf(node), outside: snapshotOf(node.root)["./outside"] }, before);
    assertTidy(node);
  });

  test(`uninstall of ${what} that cni-node knows nothing of removes the link and not what it leads to`, async () => {
    using node = makeNode();
    if (follows !== undefined) fs.writeFileSync(join(node.bin, follows), "precious");
    const before = snapshotOf(node.root);
    fs.symlinkSync(target("tuning"), join(node.bin, "tuning"));
    await succeeds(node, ["uninstall", "--plugins=tuning"]);
    assertSame(snapshotOf(node.root), before);
  });
}

for (const [what, bin, netd] of [
  ["relative", "../../../usr/libexec/cni/tuning", "../primary.conflist"],
  ["absolute", "/usr/libexec/cni/tuning", "/etc/cni/primary.conflist"],
] as const) {
  test(`A11: a ${what} link that comes back is judged where it will stand`, async () => {
    using node = makeNode();
    fs.symlinkSync(bin, join(node.bin, "tuning"));
    fs.symlinkSync(netd, join(node.netd, "10-net.conflist"));
    fs.writeFileSync(join(node.netd, "../primary.conflist"), conflist("primary", "tuning"));
    fs.rmSync(join(node.netd, "99-foreign.conflist"));
    const before = filesOf(node);
    await succeeds(node, INSTALL);
    const plan = await node.run(["plan", "--plugins=:bridge,tuning", "--configs=:10-net.conflist,20-more.conflist"]);
    const { stderr, stdout } = await succeeds(node, UNINSTALL);
    assert.deepEqual([plan.stderr, stderr], ["cni-node: nothing has been changed, this is the plan\n", ""]);
    assert.match(plan.stdout, /^\+.*"name":"primary"/mu);
    assert.match(stdout, /tuning +what was there before comes back/u);
    assertSame(filesOf(node), before);
  });

  test(`A11: a ${what} link to a configuration that cannot work does not come back`, async () => {
    using node = makeNode();
    fs.symlinkSync(netd, join(node.netd, "10-net.conflist"));
    fs.writeFileSync(join(node.netd, "../primary.conflist"), conflist("primary", "not-there"));
    await succeeds(node, INSTALL);
    const { stdout } = await succeeds(node, ["uninstall", "--configs=10-net.conflist"]);
    assert.match(stdout, /10-net\.conflist +what was there before is kept at .*: it needs the plugin not-there/u);
  });
}

test("A11: a link that comes back and leads to what is not mounted is named as such", async () => {
  using node = makeNode();
  fs.symlinkSync("/somewhere/tuning", join(node.bin, "tuning"));
  await succeeds(node, INSTALL);
  const { stderr } = await succeeds(node, UNINSTALL);
  assert.match(
    stderr,
    /warning: \S+tuning: what comes back is a link to \/somewhere\/tuning, which is not there or not mounted/u,
  );
  assert.doesNotMatch(stderr, /loader/u);
});

test("a target directory that is a link inside the host root is followed and stays a link", async () => {
  using node = makeNode();
  const real = join(node.host, "var/lib/cni/net.d");
  fs.mkdirSync(dirname(real), { recursive: true });
  fs.renameSync(node.netd, real);
  fs.symlinkSync("../../var/lib/cni/net.d", node.netd);
  const before = filesOf(node);
  await succeeds(node, INSTALL);
  assert.ok(fs.lstatSync(node.netd).isSymbolicLink());
  assert.ok(fs.lstatSync(join(real, "10-net.conflist")).isFile());
  assertTidy(node);
  await succeeds(node, UNINSTALL);
  assertSame(snapshotOf(node.host), before);
});

/** Below the host root, as MicroK8s (net.d) and MicroShift have them: links that begin at the node's root. */
const SNAP = "/var/snap/microk8s/current";

function linked(): TestNode {
  const node = makeNode();
  fs.mkdirSync(join(node.host, "var/snap/microk8s/1234/args"), { recursive: true });
  fs.symlinkSync("1234", join(node.host, SNAP));
  fs.renameSync(node.netd, join(node.host, SNAP, "args/cni-network"));
  fs.symlinkSync(`${SNAP}/args/cni-network`, node.netd);
  fs.renameSync(node.bin, join(node.host, SNAP, "bin"));
  fs.rmdirSync(dirname(node.bin));
  fs.symlinkSync(SNAP, dirname(node.bin));
  return node;
}

for (const [what, named] of [
  ["by default", false],
  ["also when they are named", true],
] as const) {
  test(`A5: target directories that are absolute links are followed below the host root, ${what}`, async () => {
    using node = linked();
    const before = filesOf(node);
    const names = named ? [`--plugin-dir=${node.bin}`, `--config-dir=${node.netd}`] : [];
    await succeeds(node, [...INSTALL, ...names]);
    const [bin, netd] = ["bin", "args/cni-network"].map((path) => join(node.host, SNAP, path)) as [string, string];
    assert.ok(fs.lstatSync(join(bin, "bridge")).isFile());
    assert.ok(fs.lstatSync(join(netd, "10-net.conflist")).isFile());
    assert.ok(fs.lstatSync(node.netd).isSymbolicLink());
    assert.deepEqual([problemsOf(bin), problemsOf(netd)], [[], []]);
    assert.match((await succeeds(node, [...INSTALL, ...names])).stdout, /^(?:unchanged .*\n){4}$/u);
    await succeeds(node, [...UNINSTALL, ...names]);
    assertSame(filesOf(node), before);
  });
}

test("A5: a plugin goes from a linked directory: a configuration that needs it counts it as gone", async () => {
  using node = linked();
  removeAll(join(node.host, "usr/libexec/cni"));
  await succeeds(node, INSTALL);
  const ran = await node.run(["uninstall", "--plugins=bridge", "--force"]);
  assert.match(ran.stderr, /needs the plugin bridge, which is not in/u);
});

test("A5: a directory that is not there yet is made behind the links, not in this container", async () => {
  using node = makeNode();
  removeAll(join(node.host, "etc/cni"));
  fs.mkdirSync(join(node.host, "usr/share/cni"), { recursive: true });
  fs.symlinkSync("/usr/share/cni", join(node.host, "etc/cni"));
  await succeeds(node, INSTALL);
  assert.ok(fs.existsSync(join(node.host, "usr/share/cni/net.d/10-net.conflist")));
});

test("A5: a link to what is not mounted is refused, with the mount and the option that help", async () => {
  using node = linked();
  removeAll(join(node.host, "var/snap"));
  await refuses(node, INSTALL, [
    `cni-node: ${dirname(node.bin)}: is a link that leads nowhere (${SNAP}) below the host root`,
    `-v ${SNAP}:${node.host}${SNAP}`,
    "--plugin-dir",
  ]);
});

test("A5: the network commands find networks and plugins behind absolute links", async () => {
  using node = linked();
  await succeeds(node, INSTALL);
  const ran = await node.run(["network", "list", `--host-root=${node.host}`]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stdout, /foreign/u);
  const show = await node.run(["network", "show", "net", `--host-root=${node.host}`]);
  assert.equal(show.exitCode, 0, show.stderr);
  const { pluginDirs } = await findDirectoriesFor({ hostRoot: node.host }, undefined, new AbortController().signal);
  assert.deepEqual(pluginDirs, [join("/", SNAP.replace("current", "1234"), "bin")]);
});

test("a target directory that is a link out of the host root is refused", async () => {
  using node = makeNode();
  const outside = join(node.root, "outside");
  fs.mkdirSync(outside);
  replaceBy(node.netd, (path) => fs.symlinkSync(outside, path));
  await refuses(node, INSTALL, [`cni-node: ${node.netd}: `, outside, "host root", "--config-dir"]);
});

test("a directory above the target that is a link out of the host root is refused, and nothing is made there", async () => {
  using node = makeNode();
  const outside = join(node.root, "outside");
  fs.mkdirSync(outside);
  replaceBy(join(node.host, "etc/cni"), (path) => fs.symlinkSync(outside, path));
  await refuses(node, INSTALL, [`cni-node: ${node.netd}: `, outside, "host root", "--config-dir"]);
  assert.deepEqual(fs.readdirSync(outside), []);
});

test("a directory above the target that is a link to nowhere is refused, and the message names the link", async () => {
  using node = makeNode();
  const link = join(node.host, "etc/cni");
  replaceBy(link, (path) => fs.symlinkSync("/nowhere/cni", path));
  await refuses(node, INSTALL, [`cni-node: ${link}: is a link that leads nowhere (/nowhere/cni)`]);
});

for (const [what, target] of [
  ["dangling", "nowhere"],
  ["looping", "net.d"],
] as const) {
  test(`a target directory that is a ${what} link is refused, and the message names it`, async () => {
    using node = makeNode();
    replaceBy(node.netd, (path) => fs.symlinkSync(target, path));
    await refuses(node, [...INSTALL, "--lock-timeout=300ms"], [`cni-node: ${node.netd}: `, "link"]);
  });
}

test("a state directory that is a link is refused: nothing is written through it", async () => {
  using node = makeNode();
  const outside = join(node.root, "outside");
  fs.mkdirSync(outside);
  fs.symlinkSync(outside, join(node.netd, ".cni-node"));
  await refuses(node, INSTALL, [".cni-node"]);
});

test("something else in the place of the lock is refused, and the message names it", async () => {
  const writeText = (path: string): void => fs.writeFileSync(path, "no lock ".repeat(1000));
  for (const [put, problem] of [
    [makeFifo, "is not a regular file"],
    [writeText, "cannot be locked: "],
  ] as const) {
    using node = makeNode();
    await succeeds(node, INSTALL);
    const lock = join(node.bin, ".cni-node/lock");
    replaceBy(lock, put);
    await refuses(node, UNINSTALL, [`cni-node: ${lock}: ${problem}`, "hint"]);
  }
});

test("a file where the state directory belongs is refused, and the message names it", async () => {
  using node = makeNode();
  fs.writeFileSync(join(node.netd, ".cni-node"), "");
  await refuses(node, [...INSTALL, "--lock-timeout=300ms"], [join(node.netd, ".cni-node"), /is not a directory/u]);
});

test("a directory where the temporary file belongs is refused, and the message names it", async () => {
  using node = makeNode();
  fs.mkdirSync(join(node.netd, ".cni-node.tmp"));
  await refuses(node, INSTALL, [join(node.netd, ".cni-node.tmp"), /directory/iu]);
});

test("a source that is named by its relative path is the one whose plugins are run, not what PATH has of that name", async () => {
  using node = makeNode();
  const words = ["plan", "--plugins=bridge", "--plugin-source=.", `--host-root=${node.host}`];
  const { exitCode, stderr } = await endOf(
    spawn(process.execPath, [BUNDLE, ...words], { cwd: node.plugins, env: { PATH: "/nowhere" } }),
  );
  assert.equal(exitCode, 0, stderr);
});

test("links at the source are followed, for plugins and for templates", async () => {
  using node = makeNode();
  for (const [directory, name] of [
    [node.plugins, "tuning"],
    [node.templates, "20-more.conflist"],
  ] as const) {
    fs.renameSync(join(directory, name), join(directory, "real"));
    fs.symlinkSync("real", join(directory, name));
  }
  await succeeds(node, INSTALL);
  assert.ok(fs.lstatSync(join(node.bin, "tuning")).isFile());
  assert.equal(fs.readFileSync(join(node.netd, "20-more.conflist"), "utf8"), configText("more", "1"));
});

// Sources.

const BAD_SOURCES = [
  { what: "is missing", make: () => undefined },
  { what: "is a directory", make: (path: string) => void fs.mkdirSync(path) },
  { what: "is a dangling link", make: (path: string) => void fs.symlinkSync("nowhere", path) },
  { what: "is a link to itself", make: (path: string) => void fs.symlinkSync(path, path) },
  { what: "is a socket", make: makeSocket },
];

for (const { what, make } of BAD_SOURCES) {
  test(`a plugin whose source ${what} is refused before anything is changed`, async () => {
    using node = makeNode();
    replaceBy(join(node.plugins, "tuning"), make);
    await refuses(node, INSTALL, ["tuning", node.plugins]);
  });

  test(`a config whose template ${what} is refused before anything is changed`, async () => {
    using node = makeNode();
    replaceBy(join(node.templates, "20-more.conflist"), make);
    await refuses(node, INSTALL, [`cni-node: ${join(node.templates, "20-more.conflist")}: `]);
  });
}

test("a template that is a fifo is refused and not waited for", async () => {
  using node = makeNode();
  replaceBy(join(node.templates, "20-more.conflist"), makeFifo);
  const before = snapshotOf(node.root);
  const child = node.start(INSTALL);
  const guard = setTimeout(() => child.kill("SIGKILL"), 10_000);
  const ran = await endOf(child);
  clearTimeout(guard);
  assert.equal(ran.signal, undefined, "it waited");
  assertRefused(ran, ["20-more.conflist"]);
  assertSame(snapshotOf(node.root), before);
});

test("source directories that are missing are refused, each by its option", async () => {
  using node = makeNode();
  removeAll(node.plugins);
  await refuses(node, INSTALL, [`cni-node: ${node.plugins}: `, "--plugin-source"]);
  fs.mkdirSync(node.plugins);
  image(node, "1");
  removeAll(node.templates);
  await refuses(node, INSTALL, [`cni-node: ${node.templates}`, "--config-source"]);
});

// Directories and mounts that are missing.

test("a host root that is missing is refused, and the message names the mount", async () => {
  using node = makeNode();
  removeAll(node.host);
  await refuses(node, INSTALL, [`cni-node: ${node.bin}: `, "mount"]);
});

test("a target path that is a file is refused", async () => {
  using node = makeNode();
  replaceBy(node.netd, (path) => fs.writeFileSync(path, ""));
  await refuses(node, INSTALL, [`cni-node: ${node.netd}: is not a directory`]);
  await refuses(node, [...INSTALL, `--config-dir=${node.netd}`], [`cni-node: ${node.netd}: is not a directory`]);
});

test("a target path below a file is refused", async () => {
  using node = makeNode();
  replaceBy(dirname(node.netd), (path) => fs.writeFileSync(path, ""));
  await refuses(node, INSTALL, [`cni-node: ${node.netd}: `, "not a directory"]);
});

test("target directories that are missing below the host root are made, and go with a run that fails", async () => {
  using node = makeNode();
  removeAll(join(node.host, "opt"));
  removeAll(join(node.host, "etc"));
  fs.mkdirSync(join(node.templates, "30-directory"));
  await refuses(node, ["install", "--plugins=bridge", "--configs=30-directory"], ["30-directory"]);
  await succeeds(node, INSTALL);
  assertTidy(node);
});

test("one of two mounts is enough for what needs no other", { skip: cannotMount }, async () => {
  using node = makeNode();
  const at = join(node.root, "container");
  fs.mkdirSync(at);
  const { script, root } = containerRoot(at);
  const sources = [`--plugin-source=${node.plugins}`, `--config-source=${node.templates}`];
  const plugins = ["install", "--plugins=bridge,tuning", ...sources];
  const configs = ["install", "--configs=10-net.conflist", ...sources];
  await using container = await Namespace.make(script, { chroot: root });
  for (const argv of [plugins, configs, [...INSTALL, ...sources]]) {
    assertRefused(await container.bundle(argv), [/^cni-node: \/host\/(?:opt\/cni\/bin|etc\/cni\/net\.d): .*mount/u]);
  }
  assert.ok(!fs.existsSync(`${container.root}/host`), "nothing was made in the container");
  container.sh(`mkdir -p /host/etc/cni/net.d; mount --bind ${node.netd} /host/etc/cni/net.d`);
  const before = snapshotOf(node.host);
  const says = ["cni-node: /host/opt/cni/bin: ", "mount", "-v /opt/cni/bin:/host/opt/cni/bin", "--plugin-dir"];
  assertRefused(await container.bundle(plugins), says);
  assertRefused(await container.bundle([...INSTALL, ...sources]), says);
  assertSame(snapshotOf(node.host), before);
  assert.deepEqual(fs.readdirSync(`${container.root}/host`), ["etc"]);
  assert.equal((await container.bundle(configs)).exitCode, 0);
  container.sh(`mkdir -p /host/opt/cni/bin; mount --bind ${node.bin} /host/opt/cni/bin`);
  assert.equal((await container.bundle([...INSTALL, ...sources])).exitCode, 0);
  assertTidy(node);
});

/** A container in which this directory is mounted at /host. */
async function hostIs(node: TestNode, path: string): Promise<Namespace> {
  const at = join(node.root, "container");
  fs.mkdirSync(at);
  const { script, root } = containerRoot(at);
  return Namespace.make(`${script}\nmkdir ${root}/host\nmount --bind ${path} ${root}/host`, { chroot: root });
}

for (const [what, path] of [
  ["the plugin directory", "opt/cni/bin"],
  ["the directory above it", "opt/cni"],
  ["the configurations' directory", "etc/cni/net.d"],
  ["the directory above that", "etc/cni"],
] as const) {
  for (const isEmpty of [true, false]) {
    test(
      `R3: ${what}${isEmpty ? ", empty," : ""} that is mounted as the host root is refused, with the right mount`,
      { skip: cannotMount },
      async () => {
        using node = makeNode();
        for (const name of fs.readdirSync(node.bin)) removeAll(join(node.bin, name));
        for (const name of fs.readdirSync(node.netd)) removeAll(join(node.netd, name));
        if (!isEmpty) fs.writeFileSync(join(node.bin, "loopback"), "");
        if (!isEmpty) fs.writeFileSync(join(node.netd, "10-a.conflist"), "{}");
        const before = snapshotOf(node.host);
        await using container = await hostIs(node, join(node.host, path));
        const sources = [`--plugin-source=${node.plugins}`, `--config-source=${node.templates}`];
        for (const [list, mount] of [
          ["--plugins=bridge", "-v /opt/cni/bin:/host/opt/cni/bin"],
          ["--configs=10-net.conflist", "-v /etc/cni/net.d:/host/etc/cni/net.d"],
        ] as const) {
          const ran = await container.bundle(["install", list, ...sources]);
          assertRefused(ran, ["cni-node: /host: is not the root of a node: ", mount]);
        }
        assertSame(snapshotOf(node.host), before);
        if (path !== "opt/cni/bin") return;
        const named = await container.bundle(["install", "--plugins=bridge", ...sources, "--plugin-dir=/host"]);
        assert.equal(named.exitCode, 0, named.stderr);
        assert.ok(fs.existsSync(join(node.bin, "bridge")));
      },
    );
  }
}

/** The same with another host root. */
function rootedAt(node: TestNode, host: string): TestNode {
  return Object.create(node, { host: { value: host } }) as TestNode;
}

test("R3: plugins at the top of a host root that is named show the same mistake", async () => {
  using node = makeNode();
  fs.writeFileSync(join(node.bin, "loopback"), "");
  await refuses(
    rootedAt(node, node.bin),
    ["install", "--plugins=bridge"],
    [`cni-node: ${node.bin}: is not the root of a node: it holds loopback`],
  );
});

for (const [what, make] of [
  ["an empty scratch directory", () => undefined],
  [
    "a scratch directory with files of a project",
    (path: string) => void fs.writeFileSync(join(path, "package.json"), "{}"),
  ],
  [
    "a root file system with a stray configuration",
    (path: string) => {
      fs.mkdirSync(join(path, "usr"));
      fs.writeFileSync(join(path, "stray.conflist"), "");
    },
  ],
] as const) {
  test(`R3: ${what} goes on being a host root, also mounted at /host`, { skip: cannotMount }, async () => {
    using node = makeNode();
    const scratch = join(node.root, "scratch");
    fs.mkdirSync(scratch);
    make(scratch);
    await using container = await hostIs(node, scratch);
    const ran = await container.bundle(["install", "--plugins=bridge", `--plugin-source=${node.plugins}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    removeAll(join(scratch, "opt"));
    await succeeds(rootedAt(node, scratch), ["install", "--plugins=bridge"]);
    assert.ok(fs.existsSync(join(scratch, "opt/cni/bin/bridge")));
  });
}

test(
  "one directory that is mounted in two places is refused for plugins and configs",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    await using namespace = await Namespace.make(`mount --bind ${node.netd} ${node.bin}`);
    const ran = await namespace.bundle([...INSTALL, ...node.places]);
    assertRefused(ran, [`cni-node: ${node.bin}: is named for plugins and for configs`], 2);
  },
);

test("a directory that is named and missing is refused, also where the other one is there", async () => {
  using node = makeNode();
  const missing = join(node.host, "missing");
  await refuses(node, [...INSTALL, `--config-dir=${missing}`], [`cni-node: ${missing}: `, "mount", "--config-dir"]);
  await refuses(node, [...INSTALL, `--plugin-dir=${missing}`], [`cni-node: ${missing}: `, "mount", "--plugin-dir"]);
});

// Permissions.

/** Runs the bundle without the rights of root, which may not even reach the program's own directory. */
async function asNobody(node: TestNode, argv: readonly string[]): Promise<Ran> {
  const program = join(node.root, "program");
  fs.chmodSync(node.root, 0o755);
  fs.mkdirSync(program, { mode: 0o755 });
  const script = [
    `mount -t tmpfs -o mode=755 none ${program}`,
    `touch ${program}/node`,
    `mkdir ${program}/dist`,
    `mount --bind ${process.execPath} ${program}/node`,
    `mount --bind ${dirname(BUNDLE)} ${program}/dist`,
  ];
  try {
    await using namespace = await Namespace.make(script.join("\n"));
    const words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", join(program, "node")];
    return await endOf(namespace.spawn([...words, join(program, "dist/cni-node.cjs"), ...argv, ...node.places]));
  } finally {
    fs.rmdirSync(program);
  }
}

function giveToNobody(directory: string): void {
  const paths = fs.readdirSync(directory, { recursive: true, encoding: "utf8" });
  for (const path of ["", ...paths]) fs.chownSync(join(directory, path), 65_534, 65_534);
}

for (const situation of SITUATIONS) {
  for (const place of ["bin", "netd"] as const) {
    test(
      `${situation.when} by a user who may not write to ${place} is refused and changes nothing (story 24: aws#1291)`,
      { skip: cannotMount },
      async () => {
        using node = await situate(situation);
        giveToNobody(place === "bin" ? node.netd : node.bin);
        const before = snapshotOf(node.host);
        assertRefused(await asNobody(node, situation.argv), [`cni-node: ${node[place]}`, "permission denied"]);
        assertSame(snapshotOf(node.host), before);
      },
    );
  }
}

test("a source that may not be read is refused and changes nothing", { skip: cannotMount }, async () => {
  using node = makeNode();
  giveToNobody(node.host);
  for (const path of [join(node.plugins, "tuning"), join(node.templates, "20-more.conflist")]) {
    fs.chmodSync(path, 0);
    const before = snapshotOf(node.host);
    assertRefused(await asNobody(node, INSTALL), [`cni-node: ${path}: `, "permission denied"]);
    assertSame(snapshotOf(node.host), before);
    fs.chmodSync(path, 0o644);
  }
  const { exitCode, stderr } = await asNobody(node, INSTALL);
  assert.equal(exitCode, 0, `${stderr}: directories that may be written to are enough`);
});

test("a source that nobody may write to is copied by a user who is not root", { skip: cannotMount }, async () => {
  using node = makeNode();
  giveToNobody(node.host);
  fs.chmodSync(join(node.plugins, "tuning"), 0o444);
  const { exitCode, stderr } = await asNobody(node, INSTALL);
  assert.equal(exitCode, 0, stderr);
});

test("a file on the node that may not be read is named, not taken for a defect", { skip: cannotMount }, async () => {
  using node = makeNode();
  const path = join(node.bin, "tuning");
  fs.copyFileSync(join(node.plugins, "tuning"), path);
  giveToNobody(node.host);
  fs.chownSync(path, 0, 0);
  fs.chmodSync(path, 0o700);
  assertRefused(await asNobody(node, INSTALL), [`cni-node: ${path}: cannot be read: permission denied`]);
});

test("a directory in net.d that may not be read: plugins that it may name stay", { skip: cannotMount }, async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  const path = join(node.netd, "multus.d");
  fs.mkdirSync(path, { mode: 0o700 });
  giveToNobody(node.host);
  fs.chownSync(path, 0, 0);
  assertRefused(await asNobody(node, UNINSTALL), [`cni-node: ${path}: cannot be listed: permission denied`]);
});

/** Why `chattr` cannot be tried here; false: it can. */
const cannotChattr = ((): string | false => {
  using node = new TestNode();
  if (spawnSync("chattr", ["+i", node.host]).status !== 0) return "needs chattr, and a file system that has it";
  execFileSync("chattr", ["-i", node.host]);
  return false;
})();

for (const situation of SITUATIONS) {
  for (const place of ["bin", "netd"] as const) {
    for (const [what, flag] of [
      ["immutable", "i"],
      ["append-only", "a"],
    ] as const) {
      const wherever = `${what} ${place === "bin" ? "plugin" : "config"}`;
      test(`${situation.when} over an ${wherever} is refused and changes nothing`, { skip: cannotChattr }, async () => {
        using node = await situate(situation);
        const path = join(node[place], place === "bin" ? "tuning" : "20-more.conflist");
        if (!situation.held) fs.writeFileSync(path, conflist("immutable", "immutable"));
        using flagged = new Flag(path, flag);
        await refuses(node, situation.argv, [`cni-node: ${path}: `, "operation not permitted", "chattr"]);
        flagged.clear();
        await succeeds(node, situation.argv);
        assertTidy(node);
      });

      test(
        `${situation.when} in the ${what} directory of a ${place === "bin" ? "plugin" : "config"} is refused or undone`,
        { skip: cannotChattr },
        async () => {
          using node = await situate(situation);
          const before = snapshotOf(node.root);
          using flagged = new Flag(node[place], flag);
          assertRefused(await node.run(situation.argv), [
            `cni-node: ${node[place]}`,
            "operation not permitted",
            "chattr",
          ]);
          flagged.clear();
          // An append-only directory keeps what is put there, so that only the next run can tidy up.
          const after = snapshotOf(node.root);
          if (what === "immutable") assertSame(contentOfRecords(after), contentOfRecords(before));
          else assertSame(withoutState(after), withoutState(before));
          await succeeds(node, situation.argv);
          assertTidy(node);
        },
      );
    }
  }
}

/** A run that was undone has written the records anew, as they were. */
function contentOfRecords(snapshot: Record<string, string>): Record<string, string> {
  const entries = Object.entries(snapshot);
  return Object.fromEntries(
    entries.map(([name, text]) => [name, name.endsWith("/record.json") ? text.replace(/inode.* /u, "") : text]),
  );
}

function withoutState(snapshot: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot).filter(([name]) => !name.includes("/.cni-node")));
}

/** An attribute of chattr on a file, as long as it is needed. */
class Flag implements Disposable {
  readonly #path: string;
  readonly #flag: string;

  constructor(path: string, flag: string) {
    this.#path = path;
    this.#flag = flag;
    execFileSync("chattr", [`+${flag}`, path]);
  }

  clear(): void {
    execFileSync("chattr", [`-${this.#flag}`, this.#path]);
  }

  [Symbol.dispose](): void {
    if (fs.existsSync(this.#path)) this.clear();
  }
}

// Mounts of the target directories.

for (const situation of SITUATIONS) {
  for (const place of ["bin", "netd"] as const) {
    test(
      `${situation.when} where ${place} is mounted read-only is refused and changes nothing`,
      { skip: cannotMount },
      async () => {
        using node = await situate(situation);
        const path = node[place];
        await using namespace = await Namespace.make(`mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`);
        const before = snapshotOf(node.root);
        const ran = await namespace.bundle([...situation.argv, ...node.places]);
        assertRefused(ran, [`cni-node: ${path}`, "read-only file system", "mount it writable"]);
        assertSame(snapshotOf(node.root), before);
        namespace.sh(`mount -o remount,bind,rw ${path}`);
        assert.equal((await namespace.bundle([...situation.argv, ...node.places])).exitCode, 0);
        assertTidy(node);
      },
    );
  }

  for (const place of ["bin", "netd"] as const) {
    for (const access of ["rw", "ro"] as const) {
      const kind = place === "bin" ? "plugin" : "config";
      test(
        `${situation.when} over a ${kind} that is a mount of its own (${access}) is refused and changes nothing`,
        { skip: cannotMount },
        async () => {
          using node = await situate(situation);
          const path = join(node[place], place === "bin" ? "tuning" : "20-more.conflist");
          const other = join(node.root, "mounted");
          fs.writeFileSync(other, conflist("mounted", "mounted"));
          if (!situation.held) fs.writeFileSync(path, "");
          await using namespace = await Namespace.make(
            `mount --bind ${other} ${path}; mount -o remount,bind,${access} ${path}`,
          );
          const before = { outside: snapshotOf(node.root), inside: snapshotOf(namespace.root + node.host) };
          const ran = await namespace.bundle([...situation.argv, ...node.places]);
          assertRefused(ran, [`cni-node: ${path}: `, "a mount of its own", "mount the whole directory"]);
          assertSame(snapshotOf(node.root), before.outside);
          assertSame(snapshotOf(namespace.root + node.host), before.inside);
          namespace.sh(`umount ${path}`);
          assert.equal((await namespace.bundle([...situation.argv, ...node.places])).exitCode, 0);
          assertTidy(node);
        },
      );
    }
  }
}

test("a read-only node where everything is right already is not a failure", { skip: cannotMount }, async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  await using namespace = await Namespace.make(
    `mount --bind ${node.host} ${node.host}; mount -o remount,bind,ro ${node.host}`,
  );
  const { exitCode, stdout, stderr } = await namespace.bundle([...INSTALL, ...node.places]);
  assert.deepEqual([exitCode, stderr], [0, ""]);
  assert.match(stdout, /^(?:unchanged .*\n){4}$/u);
});

/** The paths that are mounted read-only, in a namespace of their own. */
async function readOnly(...paths: string[]): Promise<Namespace> {
  return Namespace.make(
    paths.map((path) => `mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`).join("\n"),
  );
}

/** Somebody else has put there what the image has. */
function putAll(node: TestNode): void {
  for (const name of ["bridge", "tuning"]) {
    fs.copyFileSync(join(node.plugins, name), join(node.bin, name));
    fs.chmodSync(join(node.bin, name), 0o755);
  }
  for (const name of ["10-net.conflist", "20-more.conflist"])
    fs.copyFileSync(join(node.templates, name), join(node.netd, name));
}

for (const places of [["bin"], ["netd"], ["bin", "netd"]] as const) {
  const where = places.join(" and ");
  test(
    `A19: what somebody else has put on a read-only ${where} already needs no lock`,
    { skip: cannotMount },
    async () => {
      using node = makeNode();
      putAll(node);
      const before = snapshotOf(node.host);
      await using namespace = await readOnly(...places.map((place) => node[place]));
      const plan = await namespace.bundle(["plan", ...LISTS, ...node.places]);
      const { exitCode, stdout, stderr } = await namespace.bundle([...INSTALL, ...node.places]);
      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /^(?:unchanged .*\n){4}$/u);
      assert.equal(plan.stdout, stdout);
      for (const place of places) {
        assert.match(stderr, new RegExp(`warning: ${node[place]}: cannot be written to, so that the record`, "u"));
        assert.equal(fs.existsSync(join(node[place], ".cni-node")), false);
      }
      if (places.length === 2) assertSame(snapshotOf(node.host), before);
    },
  );

  test(`A19: uninstall of what is not on a read-only ${where} needs no lock`, { skip: cannotMount }, async () => {
    using node = makeNode();
    await succeeds(node, INSTALL);
    for (const name of ["bridge", "tuning"]) removeAll(join(node.bin, name));
    for (const name of ["10-net.conflist", "20-more.conflist"]) removeAll(join(node.netd, name));
    await using namespace = await readOnly(...places.map((place) => node[place]));
    const { exitCode, stdout, stderr } = await namespace.bundle([...UNINSTALL, ...node.places]);
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /^(?:absent .*\n){4}$/u);
  });
}

test(
  "A19: what is right on a read-only bin does not keep configurations from being installed",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    putAll(node);
    removeAll(join(node.netd, "10-net.conflist"));
    await using namespace = await readOnly(node.bin);
    const { exitCode, stdout, stderr } = await namespace.bundle([...INSTALL, ...node.places]);
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /^unchanged .*\nunchanged .*\ncreated +config +10-net.conflist\nunchanged/u);
    assertTidy(node);
  },
);

test(
  "A19: what a killed run left on a read-only bin is left there by a run that changes nothing",
  { skip: cannotMount },
  async () => {
    using node = makeNode();
    await succeeds(node, INSTALL);
    const left = join(node.bin, ".cni-node/objects/0123456789abcdef");
    fs.writeFileSync(left, "");
    await using namespace = await readOnly(node.bin);
    const { exitCode, stdout, stderr } = await namespace.bundle([...INSTALL, ...node.places]);
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /^(?:unchanged .*\n){4}$/u);
    assert.ok(fs.existsSync(left));
    await succeeds(node, INSTALL);
    assert.ok(!fs.existsSync(left));
  },
);

test("A19: what must be written to a read-only bin fails, and says why", { skip: cannotMount }, async () => {
  using node = makeNode();
  putAll(node);
  image(node, "2");
  await using namespace = await readOnly(node.bin);
  const before = snapshotOf(node.root);
  assertRefused(await namespace.bundle([...INSTALL, ...node.places]), [
    `cni-node: ${node.bin}`,
    "read-only file system",
  ]);
  assertSame(snapshotOf(node.root), before);
});

test("A19: a user who may not write to what is right already needs no lock", { skip: cannotMount }, async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  giveToNobody(node.netd);
  for (const path of [node.host, node.bin]) fs.chmodSync(path, 0o755);
  putAll(node);
  removeAll(join(node.bin, ".cni-node"));
  removeAll(join(node.netd, ".cni-node"));
  const { exitCode, stdout, stderr } = await asNobody(node, ["install", "--plugins=bridge,tuning"]);
  assert.equal(exitCode, 0, stderr);
  assert.match(stdout, /^(?:unchanged .*\n){2}$/u);
});

// Space: one page or inode more at each attempt, so that it runs out at every write in turn.

for (const situation of SITUATIONS) {
  for (const place of ["bin", "netd"] as const) {
    for (const resource of ["space", "inodes"] as const) {
      test(
        `${situation.when} where ${place} runs out of ${resource} is refused at every write, until there is enough`,
        { skip: cannotMount },
        async () => {
          using node = await situate(SITUATIONS[0]);
          const path = node[place];
          await using namespace = await Namespace.make(
            `mount -t tmpfs -o mode=755,nr_inodes=10000 none ${path}; echo foreign > ${path}/foreign`,
          );
          const run = async (): Promise<Ran> => namespace.bundle([...situation.argv, ...node.places]);
          const inside = namespace.root + node.host;
          if (situation.held) {
            assert.equal((await namespace.bundle([...INSTALL, ...node.places])).exitCode, 0);
            image(node, "2", 10_000);
          }
          let refused = 0;
          for (let more = 0; ; more += STEP) {
            assert.ok(more < 30 + STEP, "no amount is enough");
            const before = snapshotOf(inside);
            namespace.sh(limit(path, resource, more));
            const ran = await run();
            namespace.sh(`mount -o remount,size=50%,nr_inodes=10000 ${path}`);
            if (ran.exitCode === 0) break;
            assertRefused(ran, [`cni-node: ${path}`, "no space left on device", "free some space"]);
            assertSame(contentOfRecords(snapshotOf(inside)), contentOfRecords(before));
            refused++;
          }
          assert.ok(refused > 0);
          assert.equal((await run()).exitCode, 0);
          assert.deepEqual(
            [node.bin, node.netd].map((directory) => problemsOf(namespace.root + directory)),
            [[], []],
          );
          const names = situation.when === "uninstall" ? [] : ["10-net.conflist", "20-more.conflist"];
          const version = situation.held ? "2" : "1";
          for (const name of names)
            assert.match(fs.readFileSync(join(inside, "etc/cni/net.d", name), "utf8"), new RegExp(`"${version}"`, "u"));
        },
      );
    }
  }
}

/** Leaves a tmpfs so many pages, or inodes, more than it uses. */
function limit(path: string, resource: "space" | "inodes", more: number): string {
  return resource === "space"
    ? `mount -o remount,size=$(($(df --block-size=1 --output=used ${path} | tail -1) + ${more} * 4096)) ${path}`
    : `mount -o remount,nr_inodes=$(($(df --output=iused ${path} | tail -1) + ${more})) ${path}`;
}

// Names.

const LONG = ["x".repeat(255), `${"ü".repeat(125)}.conf`];

test("names of 255 bytes are installed, replaced and removed", async () => {
  using node = makeNode();
  const before = filesOf(node);
  node.plugin(LONG[0] ?? "");
  node.template(LONG[1] ?? "", `{"name":"long","type":"bridge"}`);
  const lists = [`--plugins=bridge,${LONG[0]}`, `--configs=${LONG[1]}`];
  await succeeds(node, ["install", ...lists]);
  node.plugin(LONG[0] ?? "", "2");
  await succeeds(node, ["install", ...lists]);
  assertTidy(node);
  await succeeds(node, ["uninstall", ...lists]);
  assertTidy(node);
  assertSame(filesOf(node), before);
});

test("a name of 256 bytes is a mistake in the command line", async () => {
  using node = makeNode();
  await refuses(node, ["install", `--plugins=${"x".repeat(256)}`], ["--plugins", "longer than 255 bytes"], 2);
});

test("foreign files with names that are no text stay as they are", async () => {
  using node = makeNode();
  for (const directory of [node.bin, node.netd]) {
    for (const name of [
      [0xff, 0xfe],
      [0x2e, 0xff],
      [0xe9, ...Buffer.from(".conflist")],
      [0x0a],
      [...Buffer.from("a\tb.conf")],
    ]) {
      fs.writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name)]), "{}");
    }
  }
  const before = snapshotOf(node.host);
  await succeeds(node, INSTALL);
  assertSame(only(snapshotOf(node.host), before), before);
  await succeeds(node, UNINSTALL);
  assertSame(snapshotOf(node.host), before);
});

/** The entries of a snapshot that another one has. */
function only(snapshot: Record<string, string>, other: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot).filter(([name]) => name in other));
}

test("10,000 foreign files in net.d stay as they are", async () => {
  using node = makeNode();
  for (let number = 0; number < 10_000; number++) {
    fs.writeFileSync(join(node.netd, `50-foreign-${number}.conflist`), conflist(`foreign-${number}`, "foreign"));
  }
  const before = snapshotOf(node.host);
  await succeeds(node, INSTALL);
  assertSame(only(snapshotOf(node.host), before), before);
  await succeeds(node, UNINSTALL);
  assertSame(snapshotOf(node.host), before);
});

// Records.

const recordOf = (directory: string): string => join(directory, ".cni-node/record.json");

const BAD_RECORDS = [
  ["empty", () => "", "record"],
  ["cut", (text: string) => text.slice(0, 100), "record"],
  ["no JSON", () => "\0\0\0\0", "record"],
  ["null", () => "null", "record"],
  ["a list", () => "[]", "record"],
  ["without a version", (text: string) => text.replace(`"version": 1,`, ""), "record"],
  ["of version 0", (text: string) => text.replace(`"version": 1`, `"version": 0`), "record"],
  ["without its assets", (text: string) => text.replace(`"assets"`, `"other"`), "record"],
  ["with an asset that is none", (text: string) => text.replace(`"name": "`, `"name": 1, "other": "`), "record"],
  ["of version 2", (text: string) => text.replace(`"version": 1`, `"version": 2`), "newer"],
  ["of version 2 with another form", () => `{"version":2,"held":{}}`, "newer"],
] as const;

for (const verb of ["install", "uninstall"] as const) {
  for (const place of ["bin", "netd"] as const) {
    test(`${verb} where the record of ${place} is broken is refused, names it and changes nothing`, async (t) => {
      using node = makeNode();
      await succeeds(node, INSTALL);
      image(node, "2");
      const path = recordOf(node[place]);
      const whole = fs.readFileSync(path, "utf8");
      for (const [what, breakIt, says] of BAD_RECORDS) {
        await t.test(what, async () => {
          assert.notEqual(breakIt(whole), whole);
          fs.writeFileSync(path, breakIt(whole));
          await refuses(node, [verb, ...LISTS], [`cni-node: ${path}: `, says]);
        });
      }
      fs.writeFileSync(path, whole);
      await succeeds(node, [verb, ...LISTS]);
      assertTidy(node);
    });
  }
}

for (const [what, pathIn, says] of [
  ["record", recordOf, "record.json: is not a regular file"],
  ["backup", backupIn, "cannot be put back: .* is not a file any more"],
] as const) {
  test(`a fifo in the place of a ${what} makes no run wait for its writer`, async () => {
    using node = makeNode();
    fs.writeFileSync(join(node.netd, "10-net.conflist"), conflist("before", "before"));
    await succeeds(node, INSTALL);
    replaceBy(pathIn(node.netd), makeFifo);
    const child = node.start(["uninstall", "--configs=10-net.conflist"]);
    const guard = setTimeout(() => child.kill("SIGKILL"), 10_000);
    const { signal, stdout, stderr } = await endOf(child);
    clearTimeout(guard);
    assert.equal(signal, undefined);
    assert.match(`${stdout}${stderr}`, new RegExp(says, "u"));
  });
}

/** The one file that is kept there. */
function backupIn(directory: string): string {
  const objects = join(directory, ".cni-node/objects");
  return join(objects, fs.readdirSync(objects)[0] ?? "");
}

test("fields of a record that this version does not know are kept through runs", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  for (const directory of [node.bin, node.netd]) {
    const record = JSON.parse(fs.readFileSync(recordOf(directory), "utf8")) as { assets: object[] };
    const assets = record.assets.map((asset) => ({ ...asset, futureAsset: [1] }));
    fs.writeFileSync(recordOf(directory), JSON.stringify({ ...record, assets, futureField: { deep: true } }));
  }
  image(node, "2");
  node.plugin("portmap");
  await succeeds(node, ["install", "--plugins=bridge,tuning,portmap", "--configs=10-net.conflist,20-more.conflist"]);
  await succeeds(node, ["uninstall", "--plugins=portmap", "--configs=20-more.conflist"]);
  for (const directory of [node.bin, node.netd]) {
    const record = JSON.parse(fs.readFileSync(recordOf(directory), "utf8")) as Record<string, unknown>;
    assert.deepEqual(record["futureField"], { deep: true });
    for (const asset of record["assets"] as object[]) assert.deepEqual({ ...asset, futureAsset: [1] }, asset);
  }
  assertTidy(node);
});

test("a backup that somebody has deleted: uninstall is refused, and says which file is gone", async () => {
  using node = makeNode();
  for (const [directory, name] of [
    [node.bin, "tuning"],
    [node.netd, "20-more.conflist"],
  ] as const) {
    fs.writeFileSync(join(directory, name), conflist("before", "before"));
  }
  await succeeds(node, INSTALL);
  for (const directory of [node.netd, node.bin]) {
    const objects = join(directory, ".cni-node/objects");
    const [id = ""] = fs.readdirSync(objects);
    fs.renameSync(join(objects, id), join(node.root, id));
    await refuses(node, UNINSTALL, [directory, join(objects, id), "gone"]);
    const lists = directory === node.bin ? "--plugins=:tuning" : "--configs=:20-more.conflist";
    await refuses(node, ["plan", lists, "--force"], ["cannot be put back", join(objects, id), "gone"]);
    await succeeds(node, INSTALL);
    fs.renameSync(join(node.root, id), join(objects, id));
  }
  await succeeds(node, UNINSTALL);
  assertTidy(node);
});

test("objects that are gone with their directory: an installation makes it again", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  for (const directory of [node.bin, node.netd]) removeAll(join(directory, ".cni-node/objects"));
  image(node, "2");
  await succeeds(node, INSTALL);
  assertTidy(node);
});

test("a state directory that somebody has deleted: what is there counts as foreign, and nothing is lost", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  for (const directory of [node.bin, node.netd]) removeAll(join(directory, ".cni-node"));
  const before = filesOf(node);
  image(node, "2");
  await succeeds(node, INSTALL);
  assertTidy(node);
  await succeeds(node, UNINSTALL);
  assertSame(filesOf(node), before);
});

// What was there before.

const lacksXattr = ((): string | false => {
  using node = new TestNode();
  return spawnSync("setfattr", ["-n", "user.cni-node", "-v", "1", node.host]).status === 0
    ? false
    : "needs setfattr, and a file system with user attributes";
})();

const BEFORE = [
  {
    what: "mode, owner, times and attributes",
    skip: process.getuid?.() === 0 ? lacksXattr : "needs root",
    make: (path: string) => {
      fs.writeFileSync(path, conflist("before", "before"));
      execFileSync("setfattr", ["-n", "user.origin", "-v", "somebody", path]);
      fs.chownSync(path, 1234, 4321);
      fs.chmodSync(path, 0o4751);
      fs.utimesSync(path, 1_000_000_000.123, 1_100_000_000.456);
    },
  },
  {
    what: "a second name elsewhere",
    skip: false,
    make: (path: string) => {
      fs.writeFileSync(path, conflist("before", "before"));
      fs.linkSync(path, `${path}.other-name`);
    },
  },
  {
    what: "the right content and another mode",
    skip: false,
    make: (path: string) => {
      fs.writeFileSync(path, path.endsWith("conflist") ? configText("more", "1") : conflist("before", "before"), {
        mode: 0o4755,
      });
    },
  },
] as const;

for (const { what, skip, make } of BEFORE) {
  test(
    `a foreign file with ${what} comes back as it was, also after re-installations and a second time`,
    { skip },
    async () => {
      using node = makeNode();
      const paths = [join(node.bin, "tuning"), join(node.netd, "20-more.conflist")];
      for (const path of paths) make(path);
      const before = { files: filesOf(node), attributes: attributesOf(paths) };
      for (const round of ["1", "2"]) {
        image(node, round);
        await succeeds(node, [...INSTALL, "--config-mode=0600"]);
        for (const path of paths) assert.equal(fs.statSync(path).mode & 0o7000, 0);
        image(node, `${round}a`);
        await succeeds(node, INSTALL);
        assertTidy(node);
        // One of those that come back names a plugin of ours, which would stay for its sake.
        await succeeds(node, [...UNINSTALL, "--force"]);
        assertSame(filesOf(node), before.files);
        assert.equal(attributesOf(paths), before.attributes);
        assertTidy(node);
      }
      const given = snapshotOf(node.host);
      await succeeds(node, UNINSTALL);
      await succeeds(node, ["apply", "--owner=cni-node", "--prune", "--plugins=", "--configs="]);
      assertSame(snapshotOf(node.host), given);
    },
  );
}

function attributesOf(paths: readonly string[]): string {
  return spawnSync("getfattr", ["--absolute-names", "--dump", ...paths], { encoding: "utf8" }).stdout;
}

test("a foreign configuration that runtimes would not load is not put back but kept, and the report says where", async () => {
  using node = makeNode();
  const path = join(node.netd, "20-more.conflist");
  fs.writeFileSync(path, `{"name": "cut`);
  await succeeds(node, INSTALL);
  const { stdout } = await succeeds(node, UNINSTALL);
  const [, kept = ""] = /20-more\.conflist +what was there before is kept at (\S+): it is not JSON/u.exec(stdout) ?? [];
  assert.equal(fs.readFileSync(kept, "utf8"), `{"name": "cut`);
  assert.ok(!fs.existsSync(path));
  const after = snapshotOf(node.host);
  await succeeds(node, UNINSTALL);
  assertSame(snapshotOf(node.host), after);
});

test("what somebody has put in the place of our file stays, and so does what was there before it", async () => {
  using node = makeNode();
  for (const [directory, name] of [
    [node.bin, "tuning"],
    [node.netd, "20-more.conflist"],
  ] as const) {
    fs.writeFileSync(join(directory, name), conflist("before", "before"));
  }
  await succeeds(node, INSTALL);
  fs.writeFileSync(join(node.bin, "tuning"), "newer");
  fs.writeFileSync(join(node.netd, "20-more.conflist"), conflist("newer", "newer"));
  const { stdout } = await succeeds(node, UNINSTALL);
  const kept = [...stdout.matchAll(/^kept .* it was changed since; what was there before is kept at (\S+)$/gmu)];
  assert.deepEqual(
    kept.map(([, path = ""]) => fs.readFileSync(path, "utf8")),
    [conflist("before", "before"), conflist("before", "before")],
  );
  assert.equal(fs.readFileSync(join(node.bin, "tuning"), "utf8"), "newer");
  assert.equal(fs.readFileSync(join(node.netd, "20-more.conflist"), "utf8"), conflist("newer", "newer"));
});

test("what is right already keeps its inode and time, and a run that changes nothing writes nothing", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  const before = snapshotOf(node.host);
  await succeeds(node, INSTALL);
  assertSame(snapshotOf(node.host), before);
  node.plugin("tuning", "2");
  await succeeds(node, INSTALL);
  const changed = differencesOf(before, snapshotOf(node.host)).map((line) => line.split(": ", 1)[0]);
  assert.deepEqual(changed, ["./opt/cni/bin/.cni-node/record.json", "./opt/cni/bin/tuning"]);
  await refuses(node, ["install", "--plugins=bridge,missing", "--configs=10-net.conflist"], ["missing"]);
  await succeeds(node, ["plan", ...LISTS.map((list) => `${list}:`)]);
});

// Owners.

const A = "--owner=a";
const B = "--owner=b";

test("what was there already and right stays when it is uninstalled, is said so, and nothing of it is kept", async () => {
  using node = makeNode();
  fs.writeFileSync(join(node.netd, "10-net.conflist"), configText("net", "1"), { mode: 0o600 });
  const before = snapshotOf(node.netd)["./10-net.conflist"];
  await succeeds(node, INSTALL);
  const { stdout } = await succeeds(node, ["uninstall", "--configs=10-net.conflist"]);
  assert.equal(stdout, "kept        config    10-net.conflist  it was there before cni-node\n");
  await succeeds(node, UNINSTALL);
  assert.equal(snapshotOf(node.netd)["./10-net.conflist"], before);
  assert.deepEqual(problemsOf(node.netd), []);
});

test("what was there already and right and was changed since stays, and what it was is kept", async () => {
  using node = makeNode();
  const path = join(node.netd, "10-net.conflist");
  fs.writeFileSync(path, configText("net", "1"), { mode: 0o600 });
  await succeeds(node, INSTALL);
  fs.rmSync(path);
  fs.writeFileSync(path, configText("net", "3"));
  const { stdout } = await succeeds(node, ["uninstall", "--configs=10-net.conflist"]);
  assert.match(stdout, /^kept .* it was changed since; what was there before is kept at /u);
  const [kept = ""] = / is kept at (.*)\n/u.exec(stdout)?.slice(1) ?? [];
  assert.equal(fs.readFileSync(kept, "utf8"), configText("net", "1"));
  assert.equal(fs.readFileSync(path, "utf8"), configText("net", "3"));
});

test("what two owners hold is kept until the last one removes it, and what was there before comes back then", async () => {
  using node = makeNode();
  fs.writeFileSync(join(node.bin, "tuning"), "before");
  const before = filesOf(node);
  await succeeds(node, [...INSTALL, A]);
  const installed = filesOf(node);
  await succeeds(node, [...INSTALL, B]);
  const { stdout } = await succeeds(node, [...UNINSTALL, A]);
  assert.match(stdout, /^(?:kept .* also held by b\n){4}$/u);
  assertSame(filesOf(node), installed);
  await succeeds(node, [...UNINSTALL, A]);
  assertSame(filesOf(node), installed);
  assertTidy(node);
  await succeeds(node, [...UNINSTALL, B]);
  assertSame(filesOf(node), before);
  assertTidy(node);
});

test("other content for what another owner holds is refused, and --take-over replaces it", async () => {
  using node = makeNode();
  await succeeds(node, [...INSTALL, A]);
  node.plugin("tuning", "2");
  await refuses(node, [...INSTALL, B], [`cni-node: ${join(node.bin, "tuning")}: `, "a holds it", "--take-over"]);
  node.plugin("tuning", "1");
  node.template("20-more.conflist", configText("more", "2"));
  await refuses(
    node,
    [...INSTALL, B],
    [`cni-node: ${join(node.netd, "20-more.conflist")}: `, "a holds it", "--take-over"],
  );
  await succeeds(node, [...INSTALL, B, "--take-over"]);
  assert.equal(fs.readFileSync(join(node.netd, "20-more.conflist"), "utf8"), configText("more", "2"));
  assertTidy(node);
  await succeeds(node, [...UNINSTALL, A]);
  assert.equal(fs.readFileSync(join(node.netd, "20-more.conflist"), "utf8"), configText("more", "2"));
  await succeeds(node, [...UNINSTALL, B]);
  assert.deepEqual(fs.readdirSync(node.netd), ["99-foreign.conflist"]);
  assert.deepEqual(fs.readdirSync(node.bin), ["foreign"]);
});

// Somebody else at work: functions of node:fs that do something else first.

/** A path that begins at the descriptor of a directory, as the path that it is. */
function byPath(path: string): string {
  return path.replace(/^\/proc\/\d+\/fd\/\d+/u, (descriptor) => fs.readlinkSync(descriptor));
}

/** Does something before and after a function of node:fs. */
function intercept(
  name: "linkSync" | "lstatSync" | "renameSync",
  before: (...paths: string[]) => void,
  after: (...paths: string[]) => void = () => undefined,
): Disposable {
  const original = fs[name] as (...values: unknown[]) => unknown;
  const patch = (replacement: unknown): void => {
    Object.assign(fs, { [name]: replacement });
    syncBuiltinESMExports();
  };
  patch((...values: unknown[]) => {
    const paths = values.slice(0, 2).map((path) => byPath(String(path)));
    before(...paths);
    const result = original(...values);
    after(...paths);
    return result;
  });
  return { [Symbol.dispose]: () => patch(original) };
}

/** Somebody else's way to replace a file. */
function putForeign(path: string, text: string): void {
  fs.writeFileSync(`${path}.foreign`, text);
  fs.renameSync(`${path}.foreign`, path);
}

const CHANGES = [
  { how: "replaced", change: (path: string, text: string) => putForeign(path, text) },
  { how: "written to", change: (path: string, text: string) => void fs.writeFileSync(path, text) },
] as const;

for (const { how, change } of CHANGES) {
  test(`a file that is ${how} while a run looks at it is looked at again, and the newer one is what comes back`, async () => {
    using node = makeNode();
    const path = join(node.netd, "20-more.conflist");
    fs.writeFileSync(path, conflist("before", "before"));
    let times = 0;
    {
      using _ = intercept("linkSync", (from) => {
        if (from === path && times++ === 0) change(path, conflist("newer", "newer"));
      });
      await succeeds(node, INSTALL);
    }
    assert.ok(times > 1);
    assertTidy(node);
    await succeeds(node, UNINSTALL);
    assert.equal(fs.readFileSync(path, "utf8"), conflist("newer", "newer"));
  });

  test(`a file that is ${how} whenever a run looks at it is left to others, and nothing is done`, async () => {
    using node = makeNode();
    const path = join(node.netd, "20-more.conflist");
    fs.writeFileSync(path, conflist("before", "before"));
    const before = snapshotOf(node.host);
    let times = 0;
    {
      using _ = intercept("linkSync", (from) => {
        if (from === path) change(path, conflist(`newer-${times++}`, "newer"));
      });
      assertRefused(await node.run(INSTALL), [`cni-node: ${path}: was changed by another program`, "run again"]);
    }
    assert.equal(fs.readFileSync(path, "utf8"), conflist(`newer-${times - 1}`, "newer"));
    const changed = differencesOf(before, snapshotOf(node.host)).map((line) => line.split(": ", 1)[0]);
    assert.deepEqual(changed, ["./etc/cni/net.d/20-more.conflist"]);
  });
}

for (const { when, held, argv } of SITUATIONS) {
  for (const place of ["bin", "netd"] as const) {
    test(`a ${place === "bin" ? "plugin" : "config"} that somebody removes while ${when} compares it is looked at again`, async () => {
      using node = await situate({ when, held, argv } as Situation);
      image(node, "1");
      const path = join(node[place], place === "bin" ? "tuning" : "20-more.conflist");
      if (!held) fs.copyFileSync(join(place === "bin" ? node.plugins : node.templates, basename(path)), path);
      let looks = 0;
      {
        using _ = intercept(
          "lstatSync",
          (looked) => void (looks += looked === path ? 1 : 0),
          (looked) => {
            if (looked === path && looks === 1) fs.unlinkSync(path);
          },
        );
        await succeeds(node, [...argv, "--checksum"]);
      }
      assert.ok(looks > 1);
      assert.equal(fs.existsSync(path), argv === INSTALL);
      assertTidy(node);
    });
  }
}

/** Is this the rename that puts the record in place which decides the run? */
function isCommit(node: TestNode, from: string, to: string): boolean {
  return to === recordOf(node.netd) && fs.readFileSync(from, "utf8").includes(`"pending"`);
}

for (const { when, held, argv } of SITUATIONS) {
  test(`a file that somebody replaces between commit and act (${when}): what was done is undone, then looked at anew`, async () => {
    using node = await situate({ when, held, argv } as Situation);
    const path = join(node.netd, "20-more.conflist");
    if (!held) fs.writeFileSync(path, conflist("before", "before"));
    const bridge = fs.existsSync(join(node.bin, "bridge")) ? snapshotOf(node.bin)["./bridge"] : undefined;
    let seen: string | undefined;
    let commits = 0;
    {
      using _ = intercept("renameSync", (from = "", to = "") => {
        if (isCommit(node, from, to) && commits++ === 0) putForeign(path, conflist("newer", "newer"));
        else if (isCommit(node, from, to)) seen = snapshotOf(node.bin)["./bridge"];
      });
      await succeeds(node, argv);
    }
    assert.equal(commits, 2, "the run was begun twice");
    assert.equal(seen?.replace(/links=\d+/u, ""), bridge?.replace(/links=\d+/u, ""), "the first one was undone");
    assertTidy(node);
    if (held) return;
    await succeeds(node, UNINSTALL);
    assert.equal(fs.readFileSync(path, "utf8"), conflist("newer", "newer"));
  });
}

test("a file that somebody replaces at every attempt: nothing is done, and what they put there stays", async () => {
  using node = makeNode();
  const path = join(node.netd, "20-more.conflist");
  fs.writeFileSync(path, conflist("before", "before"));
  const before = snapshotOf(node.host);
  let commits = 0;
  {
    using _ = intercept("renameSync", (from = "", to = "") => {
      if (isCommit(node, from, to)) putForeign(path, conflist(`newer-${commits++}`, "newer"));
    });
    assertRefused(await node.run(INSTALL), [`cni-node: ${path}: was changed by another program`, "run again"]);
  }
  assert.equal(fs.readFileSync(path, "utf8"), conflist(`newer-${commits - 1}`, "newer"));
  const changed = differencesOf(before, snapshotOf(node.host)).map((line) => line.split(": ", 1)[0]);
  assert.deepEqual(changed, ["./etc/cni/net.d/20-more.conflist"]);
});

test("an error while acting, and a file that cannot be put back, for it was replaced: exit code 4 names it", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  image(node, "2");
  const replaced = join(node.bin, "bridge");
  const failing = join(node.netd, "20-more.conflist");
  {
    using _ = intercept("renameSync", (_from = "", to = "") => {
      if (to !== failing) return;
      putForeign(replaced, "newer");
      throw Object.assign(new Error("EIO: i/o error, rename"), { code: "EIO", errno: -5, syscall: "rename" });
    });
    assertRefused(await node.run(INSTALL), [failing, "i/o error", replaced, "run any cni-node command"], 4);
  }
  assert.equal(fs.readFileSync(replaced, "utf8"), "newer");
  const { stderr } = await succeeds(node, ["install", "--plugins=tuning"]);
  assert.match(stderr, /finished a run that had been interrupted/u);
  assert.ok(stderr.includes(`${replaced}: changed by another program`));
  assert.equal(fs.readFileSync(replaced, "utf8"), "newer");
  assert.equal(fs.readFileSync(failing, "utf8"), configText("more", "2"));
  await succeeds(node, INSTALL);
  assertTidy(node);
});

test("a run that fails says what it has finished of an earlier one, in JSON, too", async () => {
  using node = makeNode();
  await succeeds(node, INSTALL);
  for (const output of ["text", "json"]) {
    image(node, output);
    const lost = join(node.bin, "bridge");
    {
      using _ = intercept("renameSync", (_from = "", to = "") => {
        if (to !== join(node.netd, "20-more.conflist")) return;
        putForeign(lost, "newer");
        throw Object.assign(new Error("EIO: i/o error, rename"), { code: "EIO", errno: -5, syscall: "rename" });
      });
      assertRefused(await node.run(INSTALL), ["i/o error"], 4);
    }
    fs.writeFileSync(join(node.plugins, "broken"), "#!/bin/sh\nexit 1\n");
    const ran = await node.run(["install", "--plugins=broken", `--output=${output}`]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /^cni-node: warning: .*: finished a run that had been interrupted.*\n.*broken/su);
    if (output === "json") {
      const { result, warnings } = reportOf(ran) as { result: string; warnings: { code: string }[] };
      assert.deepEqual([result, warnings.map(({ code }) => code)], ["failed", ["run-finished", "changed-by-others"]]);
    }
    node.plugin("bridge", output);
    await succeeds(node, INSTALL);
  }
});
