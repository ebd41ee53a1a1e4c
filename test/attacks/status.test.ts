/** `status` on a node that somebody has prepared: it reports, changes nothing, tells no content, and needs little memory. */
import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

import type { Finding } from "../../src/finding.ts";
import { BUNDLE, endOf, TestNode, until, type Ran } from "../helpers/node.ts";

const isRoot = process.getuid?.() === 0;
const needsRoot = { skip: !isRoot && "needs root" };

/** A MiB, and what `status` may take of the memory, whatever lies on the node. */
const MIB = 1024 * 1024;
const MOST_MEMORY = 128 * MIB;
/** Nothing here takes so long, milliseconds: what does hangs. */
const PATIENCE = 120_000;

/** What must never be seen: it stands in files that are no configurations. */
const SECRET = "hunter2";

const BRIDGE = { type: "bridge", ipam: { type: "host-local", subnet: "10.22.0.0/16" } };
const PRIMARY = { cniVersion: "1.0.0", name: "primary", plugins: [BRIDGE] };
const ATTACHMENT = {
  kind: "cniCacheV1",
  containerId: "c1",
  config: Buffer.from(JSON.stringify(PRIMARY)).toString("base64"),
  ifName: "eth0",
  networkName: "primary",
  netns: "/run/netns/gone",
};

interface Looked extends Ran {
  findings: Finding[];
  unseen: string[];
  networks: { rule: string; file?: string }[];
  /** The most memory that it had, bytes. */
  memory: number;
}

class Node extends TestNode {
  constructor() {
    super(["bridge", "host-local"]);
  }

  /** Writes a file below the host root. */
  write(path: string, content: unknown, mode = 0o600): string {
    const whole = join(this.host, path);
    fs.mkdirSync(dirname(whole), { recursive: true });
    fs.writeFileSync(whole, typeof content === "string" ? content : JSON.stringify(content));
    fs.chmodSync(whole, mode);
    return whole;
  }

  /** The same for many of them: in a directory that is there. */
  writeNow(path: string, content: string): void {
    fs.writeFileSync(join(this.host, path), content);
  }

  /** A file of any size that takes no space. */
  sparse(path: string, size: number): string {
    const whole = this.write(path, "");
    fs.truncateSync(whole, size);
    return whole;
  }

  fifo(path: string): void {
    fs.mkdirSync(dirname(join(this.host, path)), { recursive: true });
    execFileSync("mkfifo", [join(this.host, path)]);
  }

  link(target: string, path: string): void {
    fs.mkdirSync(dirname(join(this.host, path)), { recursive: true });
    fs.symlinkSync(target, join(this.host, path));
  }

  begin(words: readonly string[] = [], user?: number): ChildProcess {
    const measure = "process.on('exit', () => process.stderr.write(`\\n${process.resourceUsage().maxRSS}`))";
    const command = [process.execPath, "--import", `data:text/javascript,${measure}`, BUNDLE, "status"];
    const all = [...command, `--host-root=${this.host}`, `--plugin-source=${this.plugins}`, ...words];
    const as = user === undefined ? [] : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
    const [file = "", ...rest] = [...as, ...all];
    return spawn(file, rest, { env: { PATH: process.env["PATH"] } });
  }

  /** Looks, and sees to what holds of every look. */
  async look(words: readonly string[] = [], user?: number): Promise<Looked> {
    const child = this.begin(["--output=json", ...words], user);
    const limit = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    const ran = await endOf(child);
    clearTimeout(limit);
    const [stderr = "", memory = ""] = ran.stderr.split(/\n(?=\d+$)/u);
    assert.equal(stderr, "", "nothing is said beside the report");
    assert.ok([0, 3].includes(ran.exitCode), `exit code ${ran.exitCode} ${ran.signal ?? ""}`);
    assert.doesNotMatch(ran.stdout, /defect|hunter2/u);
    const report = JSON.parse(ran.stdout) as Looked;
    assert.equal(report.exitCode, ran.exitCode);
    assert.ok(Number(memory) * 1024 < MOST_MEMORY, `it took ${Math.round(Number(memory) / 1024)} MiB`);
    return { ...report, ...ran, stderr, memory: Number(memory) * 1024 };
  }
}

/** A node whose network works. */
function healthy(): Node {
  const node = new Node();
  node.write("etc/cni/net.d/10-primary.conflist", PRIMARY);
  return node;
}

function codes({ findings }: Looked): string[] {
  return findings.map(({ code, path }) => `${code} ${path.split("/").at(-1) ?? ""}`);
}

function has(looked: Looked, expected: string): void {
  assert.ok(codes(looked).includes(expected), `${expected} is not among ${codes(looked).slice(0, 50).join(", ")}`);
}

/** What the network of the pods is, is still told. */
function tellsNetwork({ networks }: Looked): void {
  assert.deepEqual(
    networks.map(({ file }) => file),
    ["10-primary.conflist", "10-primary.conflist"],
  );
}

describe("12.7 whatever the size, memory stays small and the rest is told", () => {
  const HUGE = 100 * 1024 * MIB;

  test("sparse files of 100 GiB in the place of each file that is read", async () => {
    using node = healthy();
    for (const path of [
      "etc/cni/net.d/99-huge.conf",
      "etc/cni/net.d/99-huge",
      "etc/cni/net.d/.cni-node/record.json",
      "opt/cni/bin/.cni-node/record.json",
      "opt/cni/bin/huge",
      "var/lib/cni/results/primary-c1-eth0",
      "var/lib/cni/c2",
      "var/lib/cni/networks/primary/10.22.0.9",
      "etc/cni/net.d/k.kubeconfig",
    ]) {
      node.sparse(path, HUGE);
    }
    const plugins = [{ ...BRIDGE, kubeconfig: "/etc/cni/net.d/k.kubeconfig" }];
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins });
    const looked = await node.look();
    tellsNetwork(looked);
    for (const expected of [
      "config-broken-unused 99-huge.conf",
      "record-unreadable record.json",
      "kubeconfig-invalid k.kubeconfig",
      "attachment-damaged primary-c1-eth0",
    ]) {
      has(looked, expected);
    }
  });

  test("a plugin and a configuration of ours that became 100 GiB: they are changed, and not read to say so", async () => {
    using node = new Node();
    node.plugin("vlan");
    node.template("10-primary.conflist", `${JSON.stringify(PRIMARY)}\n`);
    assert.equal((await node.run(["install", "--plugins=vlan", "--configs=10-primary.conflist"])).exitCode, 0);
    for (const path of [join(node.bin, "vlan"), join(node.netd, "10-primary.conflist")]) fs.truncateSync(path, HUGE);
    for (const words of [[], ["--checksum"]]) {
      const looked = await node.look(words);
      has(looked, "asset-changed vlan");
      has(looked, "asset-changed 10-primary.conflist");
    }
  });

  test("100,000 leases, each named and each of a container that is gone, or empty", async () => {
    using node = healthy();
    node.write("var/lib/cni/results/primary-c1-eth0", ATTACHMENT);
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    const store = join(node.host, "var/lib/cni/networks/primary");
    fs.mkdirSync(store, { recursive: true });
    for (let one = 0; one < 100_000; one++) {
      fs.writeFileSync(join(store, `10.${22 + (one >> 16)}.${(one >> 8) & 255}.${one & 255}`), one % 2 ? "c1\n" : "");
    }
    const looked = await node.look();
    tellsNetwork(looked);
    has(looked, "addresses-stale primary");
  });

  test("100,000 files in net.d: the first are looked at, in the order in which runtimes read them", async () => {
    using node = healthy();
    for (let one = 0; one < 100_000; one++) node.writeNow(`etc/cni/net.d/99-${one}.conf`, '{"type": "a"}');
    const looked = await node.look();
    tellsNetwork(looked);
    has(looked, "directory-crowded net.d");
  });

  test("100,000 files and links in the directory of plugins", async () => {
    using node = healthy();
    for (let one = 0; one < 50_000; one++) {
      node.writeNow(`opt/cni/bin/a-plugin-with-a-rather-long-name-${one}`, "");
      fs.symlinkSync("/nowhere", join(node.bin, `a-link-with-a-rather-long-name-${one}`));
    }
    const looked = await node.look();
    tellsNetwork(looked);
    has(looked, "directory-crowded bin");
  });

  test("100,000 entries in the caches of libcni and Multus", async () => {
    using node = healthy();
    fs.mkdirSync(join(node.host, "run/netns"), { recursive: true });
    fs.mkdirSync(join(node.host, "var/lib/cni/results"), { recursive: true });
    for (let one = 0; one < 100_000; one++) {
      const containerId = `${one}`.padStart(64, "c");
      const value = { ...ATTACHMENT, containerId, netns: `/run/netns/cni-${one}` };
      node.writeNow(`var/lib/cni/results/primary-${containerId}-eth0`, JSON.stringify(value));
    }
    const looked = await node.look();
    tellsNetwork(looked);
    has(looked, "directory-crowded results");
  });

  test("JSON that takes many times its size in memory, in every file that is parsed", async () => {
    using node = healthy();
    const many = (size: number): string => `[${"{},".repeat(size / 3)}{}]`;
    const bomb = (size: number): string => `{"name":"a","type":"b","x":${many(size)}}`;
    for (let one = 0; one < 20; one++) node.write(`etc/cni/net.d/20-${one}.conf`, bomb(1.9 * MIB));
    for (let one = 0; one < 20; one++) node.write(`var/lib/cni/results/a-${one}`, bomb(7 * MIB));
    for (let one = 0; one < 20; one++) node.write(`var/lib/cni/${one}`, many(7 * MIB));
    node.write("etc/cni/net.d/.cni-node/record.json", `{"version":1,"directory":"x","assets":${many(7.5 * MIB)}}`);
    node.write("etc/cni/net.d/k.kubeconfig", many(0.9 * MIB));
    const plugins = [{ ...BRIDGE, kubeconfig: "/etc/cni/net.d/k.kubeconfig" }];
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins });
    const looked = await node.look();
    tellsNetwork(looked);
    has(looked, "kubeconfig-invalid k.kubeconfig");
    has(looked, "record-unreadable record.json");
  });

  test("configurations that name 100,000 plugins, kubeconfigs and caches", async () => {
    using node = healthy();
    const plugins = Array.from({ length: 100_000 }, (_, one) => ({ type: `p${one}` }));
    node.write("etc/cni/net.d/00-many.conflist", { ...PRIMARY, name: "many", plugins });
    for (let one = 0; one < 100; one++) {
      const some = Array.from({ length: 900 }, (_, two) => ({
        type: `q${one}-${two}`,
        kubeconfig: `/etc/cni/${one}-${two}`,
        cniDir: `/var/lib/${one}-${two}`,
      }));
      node.write(`etc/cni/net.d/01-${one}.conflist`, { ...PRIMARY, name: `m${one}`, plugins: some });
    }
    await node.look();
  });

  test("paths of a million names, and links that lead through thousands of directories", async () => {
    using node = healthy();
    const way = "a/".repeat(900_000);
    const around = "b/../".repeat(800);
    fs.mkdirSync(join(node.host, "b"));
    for (let one = 0; one < 39; one++) node.link(`/${around}l${one + 1}`, `l${one}`);
    const odd = { kubeconfig: `/${way}`, readinessindicatorfile: `/l0/x`, cniDir: `/l0/${"c/".repeat(1000)}` };
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins: [{ ...BRIDGE, ...odd }] });
    const looked = await node.look();
    tellsNetwork(looked);
  });
});

describe("12.8 no character of a file that is none of a configuration is told", () => {
  const shadow = `root:$y$j9T$${SECRET}:19000:0:99999:7:::\n`;
  const texts: [what: string, text: string][] = [
    ["no JSON", `{"token": "${SECRET}`],
    ["another file", shadow],
    ["another kind", `{"kind": "${SECRET}", "version": "${SECRET}", "${SECRET}": 1}`],
    ["a list", `["${SECRET}"]`],
    ["a text", `"${SECRET}"`],
  ];
  const places = [
    "etc/cni/net.d/k.kubeconfig",
    "etc/cni/token",
    "etc/cni/cert",
    "etc/cni/net.d/.cni-node/record.json",
    "opt/cni/bin/.cni-node/record.json",
    "var/lib/cni/results/primary-c1-eth0",
    "var/lib/cni/c1",
    "var/lib/cni/networks/primary/10.22.0.2",
    "etc/cni/net.d/05-a.conf",
    "etc/cni/net.d/05-a",
  ];

  function prepared(): Node {
    const node = healthy();
    const contexts = [{ name: "c", context: { cluster: "local", user: "u" } }];
    const kubeconfigs = [{ tokenFile: "/etc/cni/token" }, { "client-certificate": "/etc/cni/cert" }].map(
      (user, index) => {
        const path = `etc/cni/${index}.kubeconfig`;
        node.write(path, { "current-context": "c", contexts, clusters: CLUSTERS, users: [{ name: "u", user }] });
        return `/${path}`;
      },
    );
    const plugins = [...kubeconfigs, "/etc/cni/net.d/k.kubeconfig"].map((path) => ({ ...BRIDGE, kubeconfig: path }));
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins });
    return node;
  }

  async function tellsNothing(node: Node): Promise<void> {
    has(await node.look(), "kubeconfig-invalid k.kubeconfig");
    const { stdout, stderr } = await endOf(node.begin());
    assert.doesNotMatch(stdout + stderr, /hunter2|defect/u);
  }

  for (const [what, text] of texts) {
    test(`${what}, in the place of each`, async () => {
      using node = prepared();
      for (const path of places) node.write(path, text);
      await tellsNothing(node);
    });
  }

  test("links to another file, on the node and as they would be followed from here", async () => {
    for (const target of ["/etc/shadow", undefined]) {
      using node = prepared();
      const path = node.write("etc/shadow", shadow);
      for (const place of places) {
        fs.rmSync(join(node.host, place), { force: true });
        node.link(target ?? path, place);
      }
      const looked = await node.look();
      if (target === undefined) assert.ok(!codes(looked).includes("kubeconfig-invalid k.kubeconfig"));
      else has(looked, "kubeconfig-invalid k.kubeconfig");
      assert.doesNotMatch((await endOf(node.begin())).stdout, /hunter2|defect/u);
    }
  });

  test("a catalogue of the image that is broken", async () => {
    using node = healthy();
    fs.writeFileSync(join(node.plugins, ".catalogue.json"), `{"${SECRET}`);
    await node.look();
  });
});

describe("12.10 nothing keeps it waiting, and a signal ends it", () => {
  test("FIFOs and sockets wherever it looks", async () => {
    using node = healthy();
    const paths = [
      "etc/cni/net.d/99-a.conf",
      "etc/cni/net.d/99-a",
      "etc/cni/net.d/other/a.conf",
      "etc/cni/net.d/.cni-node/record.json",
      "etc/cni/net.d/.cni-node/objects",
      "opt/cni/bin/.cni-node",
      "opt/cni/bin/fifo",
      "var/lib/cni/results/primary-c1-eth0",
      "var/lib/cni/multus",
      "var/lib/cni/c2",
      "var/lib/cni/networks/primary/10.22.0.9",
      "etc/cni/net.d/k.kubeconfig",
      "etc/cni/token",
      "run/crio/crio.sock",
      "etc/containerd/config.toml",
      "etc/crio/crio.conf",
    ];
    for (const path of paths) node.fifo(path);
    const plugins = [{ ...BRIDGE, kubeconfig: "/etc/cni/net.d/k.kubeconfig" }];
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins });
    tellsNetwork(await node.look());
    for (const path of paths) {
      fs.rmSync(join(node.host, path));
      await listen(join(node.host, path));
    }
    await node.look([`--cri-socket=${join(node.host, "etc/cni/token")}`]);
    for (const path of paths) fs.rmSync(join(node.host, path), { force: true });
  });

  test("a runtime that accepts and never answers is told as silent, with the rest", async () => {
    using node = healthy();
    const socket = join(node.host, "run/silent.sock");
    using server = await listen(socket);
    const looked = await node.look([`--cri-socket=${socket}`]);
    assert.ok(server.accepted() > 0);
    has(looked, "runtime-silent silent.sock");
    assert.equal(looked.networks.length, 2);
  });

  /** Ends it as soon as it is there. */
  async function ended(node: Node, isThere: () => boolean, words: readonly string[] = []): Promise<Ran> {
    const child = node.begin(words);
    const running = endOf(child);
    await until(() => isThere() || child.exitCode !== null);
    child.kill("SIGTERM");
    const limit = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    const ran = await running;
    clearTimeout(limit);
    return ran;
  }

  test("SIGTERM ends it while the runtime is silent", async () => {
    using node = healthy();
    const socket = join(node.host, "run/silent.sock");
    using server = await listen(socket);
    const { signal, stdout } = await ended(node, () => server.accepted() > 1, [`--cri-socket=${socket}`]);
    assert.deepEqual([signal, stdout], ["SIGTERM", ""]);
  });

  test("SIGTERM ends it while a plugin hangs, and the plugin with it", async () => {
    using node = healthy();
    const pids = join(node.root, "pids");
    fs.rmSync(join(node.host, "usr"), { recursive: true });
    node.write("opt/cni/bin/bridge", `#!/bin/sh\necho $$ >> ${pids}\nexec sleep 100\n`, 0o755);
    const { signal } = await ended(node, () => fs.existsSync(pids) && fs.readFileSync(pids, "utf8").endsWith("\n"));
    assert.equal(signal, "SIGTERM");
    for (const pid of fs.readFileSync(pids, "utf8").trim().split("\n")) {
      await until(() => !fs.existsSync(`/proc/${pid}`));
    }
  });

  test("SIGTERM ends it while it reads very many files", async () => {
    using node = healthy();
    const store = join(node.host, "var/lib/cni/networks/primary");
    fs.mkdirSync(store, { recursive: true });
    for (let one = 0; one < 50_000; one++) fs.writeFileSync(join(store, `10.22.${one >> 8}.${one & 255}`), "c1\n");
    const child = node.begin();
    const running = endOf(child);
    await until(() => opens(child, store) || child.exitCode !== null);
    child.kill("SIGTERM");
    const { signal, stdout } = await running;
    assert.deepEqual([signal, stdout], ["SIGTERM", ""]);
  });

  test("what became too large to be read is told so, also where its record says that size", async () => {
    using node = healthy();
    node.plugin("vlan");
    assert.equal((await node.run(["install", "--plugins=vlan"])).exitCode, 0);
    // With --checksum it would have to be read.
    const path = join(node.bin, ".cni-node/record.json");
    const size = 64 * 1024 * MIB;
    fs.writeFileSync(path, fs.readFileSync(path, "utf8").replace(/"size": "\d+"/u, `"size": "${size}"`));
    fs.truncateSync(join(node.bin, "vlan"), size);
    const looked = await node.look(["--checksum"]);
    assert.ok(looked.stdout.includes('"state":"unproved"'), looked.stdout);
  });
});

/** Has a process this file or directory open? */
function opens({ pid }: ChildProcess, path: string): boolean {
  try {
    const fds = `/proc/${pid}/fd`;
    return fs.readdirSync(fds).some((fd) => fs.readlinkSync(join(fds, fd)) === path);
  } catch {
    return false;
  }
}

/** Listens, and says nothing. */
async function listen(path: string): Promise<Disposable & { accepted(): number }> {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    socket.on("error", () => undefined);
  });
  server.unref();
  fs.mkdirSync(dirname(path), { recursive: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { accepted: () => accepted, [Symbol.dispose]: () => server.close() };
}

describe("12.11 names that the system does not take are findings like others", () => {
  const LONG = "x".repeat(300);
  const cases: [what: string, plugin: object][] = [
    ["a type of more than 255 bytes", { type: LONG }],
    ["a type with a NUL", { type: "a\0b" }],
    ["an IPAM plugin of more than 255 bytes", { type: "bridge", ipam: { type: LONG } }],
    ["a delegate of more than 255 bytes", { type: "multus", delegates: [{ ...PRIMARY, plugins: [{ type: LONG }] }] }],
    ["a kubeconfig", { type: "bridge", kubeconfig: `/etc/cni/${LONG}` }],
    ["a kubeconfig of too many names", { type: "bridge", kubeconfig: `/${"a/".repeat(3000)}` }],
    ["a kubeconfig with a NUL", { type: "bridge", kubeconfig: "/etc/\0" }],
    [
      "files of Multus",
      { type: "multus", clusterNetwork: `/etc/cni/net.d/${LONG}`, readinessindicatorfile: `/${LONG}` },
    ],
    ["a cache of Multus", { type: "multus", cniDir: `/${LONG}` }],
    ["a cache of Multus with a NUL", { type: "multus", cniDir: "/a\0b" }],
    ["a store of host-local", { type: "bridge", ipam: { type: "host-local", dataDir: `/${LONG}` } }],
    ["a store of host-local with a NUL", { type: "bridge", ipam: { type: "host-local", dataDir: "/a\0" } }],
  ];
  test("in configurations", async () => {
    using node = healthy();
    node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins: cases.map(([, plugin]) => plugin) });
    has(await node.look(), "plugin-missing 10-primary.conflist");
    for (const [index, [, plugin]] of cases.entries()) {
      node.write(`etc/cni/net.d/05-${index}.conflist`, { ...PRIMARY, name: `odd${index}`, plugins: [plugin] });
    }
    has(await node.look(), "plugin-missing 05-0.conflist");
  });

  for (const name of [LONG, "a\0b", "../../../etc/passwd", "a/b", "..", ""]) {
    test(`in a record and in a cache: ${JSON.stringify(name.slice(0, 20))}`, async () => {
      using node = healthy();
      const asset = { name, kind: "config", owners: ["cni-node"], digest: "sha256:0", before: name };
      const directories = [{ id: name, path: name }];
      const changes = [{ name, phase: "add", before: name, after: name }];
      const pending = { run: name, directories, changes, assets: [asset] };
      for (const path of ["etc/cni/net.d", "opt/cni/bin"]) {
        const state = join(node.host, path, ".cni-node");
        fs.mkdirSync(state, { mode: 0o700 });
        node.write(join(path, ".cni-node/record.json"), { version: 1, directory: name, assets: [asset], pending });
      }
      const value = { ...ATTACHMENT, containerId: name, ifName: name, networkName: name, netns: `/run/netns/${name}` };
      node.write("var/lib/cni/results/a-b-c", value);
      node.write("var/lib/cni/results/primary-c1-eth0", { ...ATTACHMENT, netns: name });
      node.write("var/lib/cni/results/primary-c2-eth0", { ...ATTACHMENT, containerId: "c2", netns: `/proc/1/${name}` });
      tellsNetwork(await node.look(["--checksum"]));
    });
  }
});

describe(
  "14.R9 as another user than root, what may not be read is not looked at, and the rest is told",
  needsRoot,
  () => {
    const NOBODY = 65_534;

    function opened(): Node {
      const node = healthy();
      fs.chmodSync(node.root, 0o755);
      return node;
    }

    test("a configuration", async () => {
      using node = opened();
      const looked = await node.look([], NOBODY);
      assert.ok(
        looked.unseen.some((one) => /10-primary\.conflist: .*permission denied/u.test(one)),
        looked.stdout,
      );
      assert.deepEqual(
        looked.findings.filter(({ severity }) => severity === "error"),
        [],
      );
      assert.equal(looked.exitCode, 3, "it may be that the node has no network");
    });

    const others: [what: string, path: string, unseen: RegExp][] = [
      ["the directory of configurations", "etc/cni/net.d", /net\.d/u],
      ["a directory above it", "etc/cni", /net\.d/u],
      ["a directory of dropped-in plugins", "etc/cni/net.d/primary", /10-primary\.conflist/u],
      ["the directory of plugins", "opt/cni/bin", /opt\/cni\/bin/u],
      ["the caches", "var/lib/cni", /var\/lib\/cni/u],
      ["one cache", "var/lib/cni/results", /var\/lib\/cni\/results/u],
      ["the addresses", "var/lib/cni/networks", /var\/lib\/cni\/networks/u],
      ["one lease", "var/lib/cni/networks/primary/10.22.0.2", /var\/lib\/cni\/networks/u],
      ["one attachment", "var/lib/cni/results/primary-c1-eth0", /var\/lib\/cni\/results/u],
      ["the record of plugins", "opt/cni/bin/.cni-node", /opt\/cni\/bin/u],
      ["a kubeconfig", "etc/cni/k.kubeconfig", /k\.kubeconfig/u],
      ["the directory of a kubeconfig", "etc/kube", /kube/u],
      ["the network namespaces", "run/netns", /./u],
    ];
    for (const [what, path, unseen] of others) {
      test(what, async () => {
        using node = opened();
        const kubeconfigs = ["/etc/cni/k.kubeconfig", "/etc/kube/k"].map((one) => ({ ...BRIDGE, kubeconfig: one }));
        node.write("etc/cni/net.d/10-primary.conflist", { ...PRIMARY, plugins: kubeconfigs }, 0o644);
        node.write("etc/cni/net.d/primary/a.conf", { type: "bridge", x: 1 }, 0o644);
        node.write("var/lib/cni/results/primary-c1-eth0", { ...ATTACHMENT, netns: "/run/netns/n" }, 0o644);
        node.write("var/lib/cni/networks/primary/10.22.0.2", "c1\n", 0o644);
        node.write("run/netns/n", "");
        node.write("etc/cni/k.kubeconfig", kubeconfig(), 0o644);
        node.write("etc/kube/k", kubeconfig(), 0o644);
        node.plugin("vlan");
        assert.equal((await node.run(["install", "--plugins=vlan"])).exitCode, 0);
        fs.chmodSync(join(node.bin, ".cni-node"), 0o755);
        fs.chmodSync(join(node.bin, ".cni-node/record.json"), 0o644);
        fs.chmodSync(join(node.host, path), 0o600);
        const looked = await node.look([], NOBODY);
        // The record is another user's: that may be an error by itself.
        const errors = looked.findings.filter(
          ({ severity, code }) => severity === "error" && code !== "state-untrusted",
        );
        assert.deepEqual(errors, []);
        assert.ok(what === "the network namespaces" || looked.unseen.some((one) => unseen.test(one)), looked.stdout);
      });
    }
  },
);

const CLUSTERS = [{ name: "local", cluster: { server: "https://10.96.0.1:443", "insecure-skip-tls-verify": true } }];

function kubeconfig(): object {
  const contexts = [{ name: "c", context: { cluster: "local", user: "u" } }];
  return { "current-context": "c", contexts, clusters: CLUSTERS, users: [{ name: "u", user: { token: SECRET } }] };
}

describe("a hostile node", () => {
  /** Everything below a directory, with what would tell of a change. */
  function picture(directory: Buffer): string[] {
    return fs.readdirSync(directory, { withFileTypes: true, encoding: "buffer" }).flatMap((entry) => {
      const path = Buffer.concat([directory, Buffer.from("/"), entry.name]);
      const { mode, uid, ino, size, mtimeMs, ctimeMs, nlink } = fs.lstatSync(path);
      const own = [path.toString("latin1"), mode, uid, ino, size, mtimeMs, ctimeMs, nlink].join(" ");
      return [own, ...(entry.isDirectory() ? picture(path) : [])];
    });
  }

  const VALUES: unknown[] = [null, true, 0, -1, 1e308, "", SECRET.slice(0, 3), [], {}, [null], [[]], { a: null }];
  const KEYS = [
    "cniVersion cniVersions name type plugins ipam delegate delegates kubeconfig kubernetes clusterNetwork cniDir",
    "readinessindicatorfile capabilities disableCheck disableGC loadOnlyInlinedPlugins args runtimeConfig prevResult",
    "dataDir subnet ranges rangeStart rangeEnd gateway routes dns",
  ].flatMap((words) => words.split(" "));

  function makeHostile(node: Node): void {
    const { host } = node;
    const outside = join(node.root, "outside");
    fs.mkdirSync(outside);
    fs.writeFileSync(join(outside, "secret"), SECRET);
    // Links: loops, out of the host root, to directories, to devices, to themselves.
    for (const directory of ["etc/cni/net.d", "opt/cni/bin", "var/lib/cni/results", "var/lib/cni/networks/primary"]) {
      node.link("loop-b.conf", `${directory}/loop-a.conf`);
      node.link("loop-a.conf", `${directory}/loop-b.conf`);
      node.link(join(outside, "secret"), `${directory}/out.conf`);
      node.link("../../../../../../../../etc/passwd", `${directory}/up.conf`);
      node.link("/dev/zero", `${directory}/zero.conf`);
      node.link("/proc/self/environ", `${directory}/proc.conf`);
      node.link("/", `${directory}/root.conf`);
      node.link(".", `${directory}/self`);
      node.fifo(`${directory}/fifo.conf`);
      node.sparse(`${directory}/sparse.conf`, 1024 ** 4);
      fs.mkdirSync(join(host, directory, "directory.conf/deep"), { recursive: true });
      for (const name of [
        "line\nbreak.conf",
        "\u202egnp.conf",
        "\u001b[31m.conf",
        " .conf",
        "'; rm -rf $(x).conf",
        "-rf",
      ]) {
        fs.writeFileSync(join(host, directory, name), SECRET);
      }
      fs.writeFileSync(Buffer.concat([Buffer.from(`${join(host, directory)}/`), Buffer.from([0xff, 0xfe])]), SECRET);
      fs.writeFileSync(join(host, directory, "unreadable.conf"), SECRET, { mode: 0 });
      fs.writeFileSync(join(host, directory, "x".repeat(255)), SECRET);
      for (let one = 0; one < 1250; one++) fs.writeFileSync(join(host, directory, `${one}.conf`), "{}");
      for (const [name, kind] of [
        ["block", "b"],
        ["char", "c"],
      ] as const) {
        if (isRoot) spawnQuietly("mknod", [join(host, directory, `${name}.conf`), kind, "1", "5"]);
      }
    }
    // A very deep directory.
    execFileSync("sh", [
      "-c",
      'cd "$1" && for i in $(seq 150); do mkdir deep-deep-deep-deep && cd deep-deep-deep-deep; done',
      "-",
      join(host, "etc/cni/net.d"),
    ]);
    // JSON of wrong types in every key that is known, and nested without end.
    let number = 0;
    for (const key of KEYS) {
      for (const value of VALUES) {
        const plugin = { type: "bridge", ipam: { type: "host-local", [key]: value }, [key]: value };
        const list = { cniVersion: "1.0.0", name: `n${number}`, plugins: [plugin], [key]: value };
        node.write(`etc/cni/net.d/30-${number++}.conflist`, list);
        node.write(`etc/cni/net.d/30-${number++}.conf`, { ...plugin, name: `n${number}` });
      }
    }
    for (const [open, close] of [
      ["[", "]"],
      ['{"a":', "}"],
      ['{"plugins":[', "]}"],
      ['{"delegates":[', "]}"],
    ] as const) {
      const text = `${open.repeat(20_000)}1${close.repeat(20_000)}`;
      for (const path of ["etc/cni/net.d/31-", "var/lib/cni/results/", "var/lib/cni/"])
        node.write(`${path}${number++}.conf`, text);
      node.write(`var/lib/cni/results/deep-${number}-eth0`, {
        ...ATTACHMENT,
        config: Buffer.from(text).toString("base64"),
        networkName: "deep",
        containerId: `${number}`,
      });
    }
    // Caches that were made up.
    for (const key of [
      "kind",
      "containerId",
      "config",
      "ifName",
      "networkName",
      "netns",
      "cniArgs",
      "capabilityArgs",
      "result",
    ]) {
      for (const value of [...VALUES, "../../../..", "/", SECRET.slice(1, 4)]) {
        node.write(`var/lib/cni/results/odd-${number++}`, { ...ATTACHMENT, [key]: value });
      }
    }
    for (const value of VALUES) node.write(`var/lib/cni/multus-${number++}`, [{ Conf: value, ConfList: value }, value]);
    // Records of wrong types.
    const record = { version: 1, directory: "a", assets: [{ name: "x", kind: "config", owners: [] }], pending: {} };
    node.write("etc/cni/net.d/.cni-node/record.json", { ...record, assets: [{ ...record.assets[0], seen: SECRET }] });
    node.write("opt/cni/bin/.cni-node/record.json", "[".repeat(100_000));
    // Plugins that are none, and that do not what they should.
    node.write("opt/cni/bin/bridge", `#!/bin/sh\ncat /dev/zero | head -c 20000000\n`, 0o755);
    node.write("opt/cni/bin/host-local", `#!/bin/sh\nexec sleep 100\n`, 0o755);
    node.write("opt/cni/bin/loopback", SECRET, 0o755);
  }

  test("is reported, with exit code 3, untouched, without content, without a defect", async () => {
    using node = healthy();
    makeHostile(node);
    const before = picture(Buffer.from(node.root));
    const looked = await node.look();
    assert.equal(looked.exitCode, 3);
    await node.look(["--checksum"]);
    const { stdout, stderr } = await endOf(node.begin());
    assert.doesNotMatch(stdout + stderr, /hunter2|defect|(?!\n)\p{Cc}|\p{Cf}/u);
    assert.deepEqual(picture(Buffer.from(node.root)), before);
  });

  test("the same as another user", needsRoot, async () => {
    using node = healthy();
    makeHostile(node);
    fs.chmodSync(node.root, 0o755);
    await node.look([], 65_534);
  });

  for (const path of [
    "etc/cni/net.d",
    "opt/cni/bin",
    "var/lib/cni",
    "var/lib/cni/networks",
    "run",
    "var/lib/cni/results",
  ]) {
    test(`something else in the place of the directory ${path}`, async () => {
      const makes: [what: string, make: (node: Node) => void][] = [
        ["a file", (node) => node.write(path, SECRET)],
        ["a FIFO", (node) => node.fifo(path)],
        ["a link to itself", (node) => node.link(path.split("/").at(-1) ?? "", path)],
        ["a link that leads nowhere", (node) => node.link("/nowhere/at/all", path)],
        ["a link out of the host root", (node) => node.link("../".repeat(30), path)],
        ["a link to a file", (node) => node.link("/etc/file", path)],
      ];
      for (const [what, make] of makes) {
        using node = healthy();
        node.write("etc/file", SECRET);
        fs.rmSync(join(node.host, path), { recursive: true, force: true });
        make(node);
        await assert.doesNotReject(node.look(), what);
      }
    });
  }
});

function spawnQuietly(file: string, words: readonly string[]): void {
  try {
    execFileSync(file, words, { stdio: "ignore" });
  } catch {
    // Where that may not be made, it cannot lie there either.
  }
}
