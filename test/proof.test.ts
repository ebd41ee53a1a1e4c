/** Promise 5: nothing unproved goes live. The stories are those that other installers' users have told. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join, relative } from "node:path";
import { describe, test } from "node:test";

import { cannotMount, Namespace } from "./helpers/namespace.ts";
import { BUNDLE, conflist, contentsOf, TestNode, until, type Ran } from "./helpers/node.ts";
import { REFERENCE_PLUGINS } from "./helpers/network.ts";
import { reportOf } from "./helpers/report.ts";

/** A node with a plugin `good` in the image, and one that is as the test says. */
function nodeWith(script?: string | Buffer): TestNode {
  const node = new TestNode();
  node.plugin("good");
  if (script !== undefined) fs.writeFileSync(join(node.plugins, "odd"), script);
  return node;
}

function versions(...supportedVersions: string[]): string {
  return `#!/bin/sh\necho '${JSON.stringify({ cniVersion: "1.0.0", supportedVersions })}'\n`;
}

function elf(machine: number, bits: 1 | 2 = 2): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF");
  header[4] = bits;
  header[5] = 1;
  header.writeUInt16LE(machine, 18);
  return header;
}

/** A static program of this machine's that the system does not run: it has a segment, and nothing in it. */
function silentElf(): Buffer {
  const program = Buffer.concat([elf(process.arch === "x64" ? 62 : 183), Buffer.alloc(56)]);
  program.writeUInt16LE(2, 16);
  program.writeUInt8(64, 32);
  program.writeUInt16LE(56, 54);
  program.writeUInt16LE(1, 56);
  program.writeUInt32LE(1, 64);
  return program;
}

/** It was refused for this reason, and the node is as it was. */
function assertRefused(node: TestNode, before: unknown, ran: Ran, message: RegExp): void {
  assert.match(ran.stderr, message);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /\n {2}hint: .*--validate=warn installs it anyway\n$/u);
  assert.deepEqual(contentsOf(node.host), before);
}

describe("a plugin is run where it is about to live, and refused before anything changes", () => {
  const refused: [what: string, script: string | Buffer, message: RegExp][] = [
    [
      "is for another processor",
      elf(243),
      /opt\/cni\/bin\/odd: is built for another processor \(riscv; this node has /u,
    ],
    ["is not a program", "hello\n", /odd: is not a program: neither ELF nor a script/u],
    ["is an ELF file that was cut after its header", elf(process.arch === "x64" ? 62 : 183), /odd: is not a program/u],
    ["is empty, as after a lost write (story 1: istio#44167)", "", /odd: is not a program/u],
    ["fails", "#!/bin/sh\necho wrong >&2\nexit 3\n", /odd: does not answer VERSION: wrong/u],
    ["is killed by the processor", "#!/bin/sh\nkill -ILL $$\n", /SIGILL, so it is built for a newer processor/u],
    ["answers nonsense", "#!/bin/sh\necho hello\n", /odd: does not answer VERSION: its answer is not a JSON object/u],
  ];
  for (const [what, script, message] of refused) {
    test(`one that ${what}`, async () => {
      using node = nodeWith(script);
      node.template("10-a.conflist", conflist("a", "good"));
      const before = contentsOf(node.host);
      assertRefused(
        node,
        before,
        await node.run(["install", "--plugins=good,odd", "--configs=10-a.conflist"]),
        message,
      );
      const planned = await node.run(["plan", "--plugins=good,odd", "--configs=10-a.conflist"]);
      // A source need not be executable, and is not run then.
      if (Buffer.isBuffer(script)) assert.match(planned.stderr, message);
    });
  }

  for (const [seconds, versionLimit] of Object.entries({ 5: undefined, 0.3: 300 })) {
    test(`one that says nothing for too long: ${seconds} seconds`, async () => {
      using node = nodeWith("#!/bin/sh\nexec sleep 60\n");
      const before = contentsOf(node.host);
      const ran = await node.run(["install", "--plugins=odd"], { versionLimit });
      assertRefused(
        node,
        before,
        ran,
        new RegExp(`odd: does not answer VERSION within ${RegExp.escape(seconds)} seconds`, "u"),
      );
    });
  }

  test("--validate=warn installs it and says what is wrong, --validate=off does not look", async () => {
    using node = nodeWith("#!/bin/sh\nexit 3\n");
    const warned = await node.run(["install", "--plugins=odd", "--validate=warn"]);
    assert.equal(warned.exitCode, 0);
    assert.match(warned.stderr, /^cni-node: warning: .*\/odd: does not answer VERSION: /u);
    const touched = join(node.root, "touched");
    fs.writeFileSync(join(node.plugins, "odd"), `#!/bin/sh\ntouch ${touched}\nexit 4\n`);
    const silent = await node.run(["install", "--plugins=odd", "--validate=off"]);
    assert.deepEqual([silent.exitCode, silent.stderr, fs.existsSync(touched)], [0, "", false]);
  });

  test("what needs a loader that this container does not have is unproved: a warning", async () => {
    using node = nodeWith("#!/nowhere/sh\n");
    const ran = await node.run(["install", "--plugins=odd"]);
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stderr, /^cni-node: warning: .*\/odd: cannot be run from here: the loader or interpreter/u);
  });

  test("what is there already is not run again", async () => {
    using node = nodeWith();
    await node.run(["install", "--plugins=good"]);
    const log = join(node.root, "log");
    const script = `#!/bin/sh\necho ran >>${log}\n${versions("1.0.0")}`;
    fs.writeFileSync(join(node.plugins, "good"), script);
    await node.run(["install", "--plugins=good"]);
    await node.run(["install", "--plugins=good"]);
    assert.equal(fs.readFileSync(log, "utf8"), "ran\n");
  });

  test("a static binary that the catalogue knows is not run where another one of its build runs", async () => {
    const module = { module: "example.com/plugins", version: "v1.0.0", cniVersions: ["0.4.0", "1.0.0"] };
    const speaker = fs.readFileSync(join(REFERENCE_PLUGINS, "loopback"));
    const install = async (
      silent: string | Buffer,
      knownOfSilent: object,
      knownOfSpeaker: object = module,
      version = "1.0.0",
    ): Promise<string> => {
      using node = nodeWith();
      const files = { asked: [speaker, knownOfSpeaker], known: [silent, knownOfSilent] } as const;
      const plugins = Object.entries(files).map(([name, [content, known]]) => {
        fs.writeFileSync(join(node.plugins, name), content);
        const sha256 = createHash("sha256").update(content).digest("hex");
        return { name, size: content.length, sha256, ...known };
      });
      fs.writeFileSync(join(node.plugins, ".catalogue.json"), JSON.stringify({ version: 1, plugins }));
      node.template("10-a.conflist", conflist("a", "known").replace("1.0.0", version));
      const { stderr } = await node.run(["install", "--plugins=asked,known", "--configs=10-a.conflist"]);
      assert.equal(fs.existsSync(join(node.bin, "known")), stderr === "", stderr);
      return stderr;
    };
    assert.equal(await install(silentElf(), module), "");
    const isRun = /known: does not answer VERSION/u;
    assert.match(await install(silentElf(), { ...module, version: "v1.0.1" }), isRun);
    assert.match(await install(silentElf(), { module: module.module, version: module.version }), isRun);
    assert.match(await install(silentElf(), module, {}), isRun);
    assert.match(await install("#!/bin/sh\nexit 3\n", module), isRun);
    assert.match(
      await install(silentElf(), module, module, "1.1.0"),
      /1\.1\.0, which the plugin known does not support/u,
    );
  });

  test("where one of a build does not run, each of it is named", async () => {
    using node = nodeWith();
    const entry = { module: "example.com/plugins", version: "v1.0.0", cniVersions: ["1.0.0"] };
    const program = silentElf();
    const sha256 = createHash("sha256").update(program).digest("hex");
    const plugins = ["a", "b", "c"].map((name) => {
      fs.writeFileSync(join(node.plugins, name), program);
      return { name, size: program.length, sha256, ...entry };
    });
    fs.writeFileSync(join(node.plugins, ".catalogue.json"), JSON.stringify({ version: 1, plugins }));
    const ran = await node.run(["install", "--plugins=a,b,c"]);
    assert.equal(ran.exitCode, 1);
    for (const { name } of plugins) assert.match(ran.stderr, new RegExp(`bin/${name}: does not answer VERSION`, "u"));
  });

  test("a file system that is mounted noexec is named", { skip: cannotMount }, async () => {
    using node = nodeWith();
    await using namespace = await Namespace.make(`mount -t tmpfs -o noexec none ${node.bin}`);
    const ran = await namespace.bundle(["install", "--plugins=good", ...node.places]);
    assert.equal(ran.exitCode, 1);
    assert.match(
      ran.stderr,
      /good: cannot be run: its file system is mounted noexec\n {2}hint: mount the file system/u,
    );
    assert.deepEqual(fs.readdirSync(join(namespace.root, node.bin)), []);
  });
});

describe("a configuration goes live only with what it names", () => {
  const refused: [what: string, name: string, config: object, message: RegExp][] = [
    [
      "a plugin that is not there",
      "10-a.conf",
      { name: "a", type: "gone" },
      /needs the plugin gone, which is not in \/opt\/cni\/bin/u,
    ],
    [
      "an IPAM plugin that is not there",
      "10-a.conf",
      { name: "a", type: "bridge", ipam: { type: "gone" } },
      /plugin gone/u,
    ],
    [
      "a delegate that is not there",
      "10-a.conf",
      { name: "a", type: "flannel", delegate: { type: "gone" } },
      /plugin gone/u,
    ],
    [
      "a plugin of a list among its delegates that is not there",
      "00-multus.conf",
      { name: "m", type: "multus", delegates: [{ name: "d", plugins: [{ type: "bridge" }, { type: "gone" }] }] },
      /00-multus\.conf: needs the plugin gone/u,
    ],
    [
      "a version that a plugin does not support",
      "10-a.conflist",
      { cniVersion: "1.0.0", name: "a", plugins: [{ type: "bridge" }, { type: "old" }] },
      /has cniVersion 1\.0\.0, which the plugin old does not support: it knows 0\.3\.1, 0\.4\.0/u,
    ],
    [
      "a plugin that does not run",
      "10-a.conf",
      { name: "a", type: "broken" },
      /needs the plugin broken, which does not answer VERSION: no error message, exit code 3/u,
    ],
    [
      "itself (story 12: multus-cni#1130)",
      "70-multus.conf",
      { name: "m", type: "multus", delegates: [{ name: "m", type: "multus", delegates: [] }] },
      /70-multus\.conf: has multus delegate to itself: every new pod would start plugins without end/u,
    ],
    [
      "a kubeconfig that is not there (story 10: bitnami/charts#25337)",
      "00-multus.conf",
      {
        name: "m",
        type: "multus",
        kubeconfig: "/etc/cni/net.d/multus.d/multus.kubeconfig",
        delegates: [{ type: "bridge" }],
      },
      /names the kubeconfig \/etc\/cni\/net\.d\/multus\.d\/multus\.kubeconfig, which is not there/u,
    ],
  ];
  for (const [what, name, config, message] of refused) {
    test(`and not with ${what}`, async () => {
      using node = new TestNode();
      fs.writeFileSync(join(node.bin, "old"), versions("0.3.1", "0.4.0"), { mode: 0o755 });
      fs.writeFileSync(join(node.bin, "broken"), "#!/bin/sh\nexit 3\n", { mode: 0o755 });
      node.template(name, JSON.stringify(config));
      const before = contentsOf(node.host);
      assertRefused(node, before, await node.run(["install", `--configs=${name}`]), message);
      assertRefused(node, before, await node.run(["plan", `--configs=${name}`]), message);
    });
  }

  test("and the hint names a command only if the image has the plugin that is missing", async () => {
    using node = new TestNode();
    node.template("10-a.conf", JSON.stringify({ cniVersion: "1.0.0", name: "a", type: "gone" }));
    const hint = async (): Promise<string> => (await node.run(["install", "--configs=10-a.conf"])).stderr;
    assert.ok(
      (await hint()).includes(`have its installer install it: restart its pod on this node; ${node.plugins} here`),
    );
    node.plugin("gone");
    assert.match(await hint(), /together with the configuration: cni-node install --plugins=gone; /u);
  });

  test("one that the same run brings is there; the last good one stays when it does not come (story 3: multus-cni#1155)", async () => {
    using node = nodeWith();
    node.template("10-a.conflist", conflist("a", "good"));
    assert.equal((await node.run(["install", "--configs=10-a.conflist"])).exitCode, 1);
    assert.equal((await node.run(["install", "--plugins=good", "--configs=10-a.conflist"])).exitCode, 0);
    const before = contentsOf(node.host);
    node.template("10-a.conflist", conflist("a", "good", "gone"));
    assertRefused(node, before, await node.run(["install", "--configs=10-a.conflist"]), /plugin gone/u);
  });

  test("one whose type is a path is told to be given a name, not to be installed", async () => {
    using node = nodeWith();
    node.template("10-a.conf", '{"cniVersion":"1.0.0","name":"a","type":"../../tmp/x"}\n');
    const { stderr } = await node.run(["install", "--configs=10-a.conf", "--validate=warn"]);
    assert.match(stderr, /needs the plugin \.\.\/\.\.\/tmp\/x, .*; give the file name of the plugin only$/mu);
  });

  test("R8: one whose type has a blank is told to be corrected, not to be installed", async () => {
    using node = nodeWith();
    node.plugin("bridge");
    node.template("10-a.conf", '{"cniVersion":"1.0.0","name":"a","type":"bridge "}\n');
    const { stderr } = await node.run(["install", "--configs=10-a.conf", "--validate=warn"]);
    assert.match(stderr, /needs the plugin "bridge ", .*; correct the type in the configuration, "bridge ": /u);
  });

  test("a configuration that is larger than what is read of a node is not one that was proved", async () => {
    using node = nodeWith();
    const large = { cniVersion: "1.0.0", name: "a", type: "bridge", text: "x".repeat(2 * 1024 * 1024) };
    node.template("10-a.conf", JSON.stringify(large));
    const before = contentsOf(node.host);
    const ran = await node.run(["install", "--configs=10-a.conf"]);
    assertRefused(node, before, ran, /10-a\.conf: .*is larger than 2 MiB/u);
  });

  test("a plugin older than the command VERSION supports 0.1.0", async () => {
    using node = new TestNode();
    const answer = '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}';
    fs.writeFileSync(join(node.bin, "ancient"), `#!/bin/sh\necho '${answer}'\nexit 1\n`, { mode: 0o755 });
    node.template("10-a.conf", '{"cniVersion":"0.1.0","name":"a","type":"ancient"}');
    const ran = await node.run(["install", "--configs=10-a.conf"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  test("a link to a plugin is followed as the node's processes do", async () => {
    using node = new TestNode();
    fs.mkdirSync(join(node.host, "usr/lib/other"), { recursive: true });
    fs.writeFileSync(join(node.host, "usr/lib/other/linked"), versions("1.0.0"), { mode: 0o755 });
    fs.symlinkSync("/usr/lib/other/linked", join(node.bin, "linked"));
    node.template("10-a.conflist", conflist("a", "linked"));
    const ran = await node.run(["install", "--configs=10-a.conflist"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });
});

test("a host root that is a link, or is named from the working directory, is the same host", async () => {
  using node = new TestNode();
  fs.symlinkSync("host", join(node.root, "link"));
  node.template("10-a.conflist", conflist("a", "bridge"));
  const places = node.places.filter((word) => !word.startsWith("--host-root"));
  for (const root of [join(node.root, "link"), relative(process.cwd(), node.host)]) {
    const words = [BUNDLE, "install", "--configs=10-a.conflist", ...places, `--host-root=${root}`];
    const { status, stderr } = spawnSync(process.execPath, words, { encoding: "utf8", env: {} });
    assert.deepEqual([status, stderr], [0, ""]);
  }
});

describe("what cannot be judged from here is a warning, not a refusal", () => {
  test("plugins, where their directory is not mounted", async () => {
    using node = new TestNode();
    for (const directory of ["opt", "usr"]) fs.rmSync(join(node.host, directory), { recursive: true });
    node.template("10-a.conflist", conflist("a", "gone"));
    const ran = await node.run(["install", "--configs=10-a.conflist"]);
    assert.equal(ran.exitCode, 0);
    assert.match(
      ran.stderr,
      /whether it is there cannot be seen: no directory of plugins is mounted; mount the node's/u,
    );
  });

  test("a plugin that is a link to what is not mounted", async () => {
    using node = new TestNode();
    fs.symlinkSync("/home/kubernetes/bin/gke", join(node.bin, "gke"));
    node.template("10-a.conflist", conflist("a", "gke"));
    const ran = await node.run(["install", "--configs=10-a.conflist"]);
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stderr, /gke is a link to \/home\/kubernetes\/bin\/gke, which is not mounted/u);
  });

  test("a kubeconfig in a directory that is not mounted", async () => {
    using node = new TestNode();
    node.template("10-a.conf", '{"name":"a","type":"calico","kubernetes":{"kubeconfig":"/var/lib/calico/kubeconfig"}}');
    const ran = await node.run(["install", "--configs=10-a.conf"]);
    assert.equal(ran.exitCode, 0);
    assert.match(
      ran.stderr,
      /names the kubeconfig \/var\/lib\/calico\/kubeconfig; whether it is there cannot be seen/u,
    );
  });

  const warned: [what: string, config: object, message: RegExp][] = [
    [
      "a key of the protocol",
      { name: "a", type: "x", runtimeConfig: {} },
      /sets runtimeConfig for x, which runtimes set/u,
    ],
    ["a placeholder that nobody has replaced", { name: "a", type: "x", mtu: "__CNI_MTU__" }, /still has __CNI_MTU__/u],
  ];
  for (const [what, config, message] of warned) {
    test(`${what}, in a file that a pointer names`, async () => {
      using node = new TestNode();
      fs.writeFileSync(join(node.netd, "20-b.conf"), JSON.stringify(config));
      node.template("10-a.conf", "__20-b.conf__");
      const ran = await node.run(["install", "--configs=10-a.conf"]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(ran.stderr, message);
    });
  }
});

describe("from valid to invalid is refused, also for configurations of others", () => {
  test("a plugin is not replaced by one that does not support the version of a configuration that names it", async () => {
    using node = nodeWith();
    await node.run(["install", "--plugins=good"]);
    fs.writeFileSync(join(node.netd, "10-foreign.conflist"), conflist("foreign", "good"));
    fs.writeFileSync(join(node.plugins, "good"), versions("0.3.1"));
    const before = contentsOf(node.host);
    const ran = await node.run(["install", "--plugins=good"]);
    assertRefused(node, before, ran, /10-foreign\.conflist: has cniVersion 1\.0\.0, which the plugin good does not/u);
  });

  test("what was invalid before for the same reason only warns", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("k8s-pod-network", "calico", "not-yet"));
    node.template(
      "00-multus.conf",
      '{"cniVersion":"1.0.0","name":"m","type":"multus","delegates":[__10-calico.conflist__]}',
    );
    const ran = await node.run(["install", "--configs=00-multus.conf"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /^cni-node: warning: .*00-multus\.conf: needs the plugin not-yet, which is not in /u);
  });

  const reasons: [what: string, config: object][] = [
    ["a plugin that is missing", { type: "absent" }],
    ["a kubeconfig that is missing", { type: "good", kubeconfig: "/etc/cni/net.d/absent.kubeconfig" }],
    ["a delegation to itself", { type: "multus", delegates: [{ type: "multus" }] }],
    ["a version that its plugin does not support", { type: "good", cniVersion: "1.1.0" }],
  ];
  for (const [what, config] of reasons) {
    const broken = JSON.stringify({ cniVersion: "1.0.0", name: "b", ...config });
    test(`A1: ${what} in a file that nobody uses does not excuse a new file that would be used`, async () => {
      using node = nodeWith();
      await node.run(["install", "--plugins=good"]);
      fs.writeFileSync(join(node.netd, "10-good.conflist"), conflist("good", "good"));
      fs.writeFileSync(join(node.netd, "99-old.conf"), broken);
      node.template("05-new.conf", broken);
      const before = contentsOf(node.host);
      assertRefused(node, before, await node.run(["install", "--configs=05-new.conf"]), /05-new\.conf: /u);
    });

    test(`A1: nor an update of a file that works to one with ${what}`, async () => {
      using node = nodeWith();
      await node.run(["install", "--plugins=good"]);
      fs.writeFileSync(join(node.netd, "05-good.conf"), '{"cniVersion":"1.0.0","name":"b","type":"good"}');
      fs.writeFileSync(join(node.netd, "99-old.conf"), broken);
      node.template("05-good.conf", broken);
      const before = contentsOf(node.host);
      assertRefused(node, before, await node.run(["install", "--configs=05-good.conf"]), /05-good\.conf: /u);
    });

    test(`A1: ${what} is a warning where the file that is replaced had it, or the one that pods get`, async () => {
      using node = nodeWith();
      await node.run(["install", "--plugins=good"]);
      fs.writeFileSync(join(node.netd, "10-old.conf"), broken);
      node.template("10-old.conf", broken.replace("{", '{"x":1,'));
      node.template("05-new.conf", broken);
      const ran = await node.run(["install", "--configs=10-old.conf,05-new.conf"]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(ran.stderr, /warning: .*05-new\.conf: /u);
    });
  }

  for (const version of ["1.0", "1", "0.5.0", "v1.0.0", "+1.0.0", "01.0.0", "latest"]) {
    test(`A2: cniVersion ${version} is refused with the versions that there are, and status says the same`, async () => {
      using node = new TestNode([]);
      node.plugin("good");
      node.template("10-a.conf", JSON.stringify({ cniVersion: version, name: "a", type: "good" }));
      const before = contentsOf(node.host);
      const ran = await node.run(["install", "--plugins=good", "--configs=10-a.conf"]);
      assert.deepEqual([ran.exitCode, contentsOf(node.host)], [1, before], ran.stderr);
      assert.match(ran.stderr, /10-a\.conf: .*cniVersion.*(?:0\.1\.0, 0\.2\.0, .*1\.1\.0|is no|not a)/su);
      assert.equal(
        /without (?:the|a) v$/mu.test(ran.stderr.replace("; --validate=warn installs it anyway", "")),
        version.startsWith("v"),
      );
      assert.equal((await node.run(["install", "--plugins=good"])).exitCode, 0);
      fs.writeFileSync(join(node.netd, "10-a.conf"), JSON.stringify({ cniVersion: version, name: "a", type: "good" }));
      const status = await node.run(["status", `--host-root=${node.host}`]);
      assert.equal(status.exitCode, 3);
      assert.match(status.stdout, /\[(?:version-unknown|config-invalid)\]/u);
    });
  }

  test("a foreign file that is broken already is not this run's affair", async () => {
    using node = nodeWith();
    fs.writeFileSync(join(node.netd, "99-broken.conflist"), "{");
    node.template("10-a.conflist", conflist("a", "good"));
    const ran = await node.run(["install", "--plugins=good", "--configs=10-a.conflist"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  test("a plugin that was there before comes back also if it is broken: a warning", async () => {
    using node = nodeWith();
    fs.writeFileSync(join(node.bin, "good"), "somebody's", { mode: 0o755 });
    await node.run(["install", "--plugins=good"]);
    const ran = await node.run(["uninstall", "--plugins=good"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /warning: .*\/good: is not a program/u);
    assert.equal(fs.readFileSync(join(node.bin, "good"), "utf8"), "somebody's");
  });

  test("what was there before does not come back if it names what is gone by now, and is kept", async () => {
    using node = nodeWith();
    node.plugin("former");
    await node.run(["install", "--plugins=good,former"]);
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("a", "former"));
    node.template("10-a.conflist", conflist("a", "good"));
    await node.run(["install", "--configs=10-a.conflist"]);
    await node.run(["uninstall", "--plugins=former", "--force"]);
    const ran = await node.run(["uninstall", "--configs=10-a.conflist"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /deleted .*what was there before is kept at .*: it needs the plugin former/u);
    assert.deepEqual(fs.readdirSync(node.netd), [".cni-node"]);
  });
});

describe("configurations of the field pass", () => {
  const calico = {
    name: "k8s-pod-network",
    cniVersion: "0.3.1",
    plugins: [
      {
        type: "calico",
        log_level: "info",
        datastore_type: "kubernetes",
        nodename: "node-1",
        mtu: 0,
        ipam: { type: "calico-ipam", assign_ipv4: "true" },
        policy: { type: "k8s" },
        kubernetes: { kubeconfig: "/etc/cni/net.d/calico-kubeconfig" },
      },
      { type: "portmap", snat: true, capabilities: { portMappings: true } },
      { type: "bandwidth", capabilities: { bandwidth: true } },
    ],
  };
  const field: [what: string, name: string, config: object][] = [
    ["Calico's, whose policy.type is not a plugin", "10-calico.conflist", calico],
    [
      "Multus around Calico, itself 0.1.0 and Calico 0.3.1 (story 22: calico#12965)",
      "00-multus.conf",
      {
        cniVersion: "0.1.0",
        name: "multus-cni-network",
        type: "multus",
        capabilities: { portMappings: true, bandwidth: true },
        delegates: [calico],
      },
    ],
    [
      "Cilium's",
      "05-cilium.conflist",
      {
        cniVersion: "0.3.1",
        name: "cilium",
        plugins: [{ type: "cilium-cni", "enable-debug": false, "log-file": "/var/run/cilium/cilium-cni.log" }],
      },
    ],
    [
      "kube-router's",
      "10-kuberouter.conflist",
      {
        cniVersion: "0.3.0",
        name: "mynet",
        plugins: [
          {
            name: "kubernetes",
            type: "bridge",
            bridge: "kube-bridge",
            isDefaultGateway: true,
            ipam: { type: "host-local" },
          },
          { type: "portmap", capabilities: { snat: true, portMappings: true } },
        ],
      },
    ],
    [
      "flannel's",
      "10-flannel.conflist",
      {
        name: "cbr0",
        cniVersion: "0.3.1",
        plugins: [
          { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
          { type: "portmap", capabilities: { portMappings: true } },
        ],
      },
    ],
    [
      "Istio's chained behind the primary",
      "10-calico.conflist",
      {
        ...calico,
        plugins: [
          ...calico.plugins,
          {
            type: "istio-cni",
            name: "istio-cni",
            log_level: "info",
            kubernetes: { kubeconfig: "/etc/cni/net.d/ZZZ-istio-cni-kubeconfig", exclude_namespaces: ["istio-system"] },
          },
        ],
      },
    ],
    [
      "one with keys of a vendor",
      "10-a.conf",
      { cniVersion: "0.1.0", name: "a", type: "bridge", "vendor.example/x": [1] },
    ],
  ];
  for (const [what, name, config] of field) {
    test(what, async () => {
      using node = new TestNode();
      for (const plugin of ["cilium-cni", "istio-cni"]) {
        fs.writeFileSync(join(node.bin, plugin), versions("0.1.0", "0.3.1"), { mode: 0o755 });
      }
      for (const file of ["calico-kubeconfig", "ZZZ-istio-cni-kubeconfig"]) {
        fs.writeFileSync(join(node.netd, file), kubeconfigOf());
      }
      node.template(name, JSON.stringify(config));
      const ran = await node.run(["install", `--configs=${name}`]);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    });
  }
});

test("a signal while plugins are run ends the run, and nothing has changed", async () => {
  using node = nodeWith();
  const begun = join(node.root, "begun");
  fs.writeFileSync(join(node.plugins, "odd"), `#!/bin/sh\n: >${begun}\nexec sleep 60\n`);
  const controller = new AbortController();
  const running = node.run(["install", "--plugins=good,odd"], { signal: controller.signal });
  await until(() => fs.existsSync(begun));
  controller.abort("SIGTERM");
  const ran = await running;
  assert.equal(ran.signal, "SIGTERM");
  assert.deepEqual(contentsOf(node.bin), {});
});

describe("U2: a run that is refused names all objections", () => {
  interface Refusal {
    error: { code: string; message: string; hint: string; objections: Record<string, string>[] };
  }

  /** Two configurations that cannot work, for three reasons, and a plugin that does not run. */
  function hopelessNode(): TestNode {
    const node = nodeWith("hello\n");
    node.template("10-a.conf", '{"cniVersion":"1.0.0","name":"a","type":"gone","kubeconfig":"/etc/cni/net.d/no"}');
    node.template("20-b.conf", '{"cniVersion":"0.5.0","name":"b","type":"good"}');
    return node;
  }

  for (const verb of ["install", "apply", "plan"]) {
    test(`U2: of the proof (${verb}): the first as ever, the others below, and what helps against all of them once`, async () => {
      using node = hopelessNode();
      fs.chmodSync(join(node.plugins, "odd"), 0o755);
      const before = contentsOf(node.host);
      const ran = await node.run([verb, "--plugins=good,odd", "--configs=10-a.conf,20-b.conf"]);
      const netd = RegExp.escape(node.netd);
      const lines = [
        `cni-node: .*/odd: is not a program: neither ELF nor a script`,
        `  hint: put the right file in its place`,
        `cni-node: ${netd}/10-a\\.conf: needs the plugin gone, which is not in .*`,
        `  hint: have its installer install it: .*`,
        `cni-node: ${netd}/10-a\\.conf: names the kubeconfig /etc/cni/net\\.d/no, which is not there.*`,
        `  hint: write the kubeconfig first`,
        `cni-node: ${netd}/20-b\\.conf: has cniVersion "0\\.5\\.0", which is not a version of the CNI specification`,
        `  hint: use one of .*`,
        `cni-node: 4 objections`,
        `  hint: --validate=warn installs it anyway`,
      ];
      assert.match(ran.stderr, new RegExp(`^${lines.join("\n")}\n$`, "u"));
      assert.equal(ran.exitCode, 1);
      assert.deepEqual(contentsOf(node.host), before);
    });
  }

  test("U2: of the sources: plugins, templates, pointers, rendered configurations, variables", async () => {
    using node = nodeWith();
    node.template("10-a.conf", "{\n");
    node.template("20-b.conf", '{"name":"b","type":"multus","delegates":[\n__x.conf__,\n__y.conf__,\n__x.conf__]}');
    node.template("30-c.conf", '{"name":"c","type":"good","a":"__x.conf__"}');
    node.template("40-d.conf", '{"name":"d","type":"good","delegates":[__20-b.conf__]}');
    node.manifest("a.yaml", "a: $ONE\nb: $TWO\nc: $ONE\n");
    const before = contentsOf(node.host);
    const configs = "10-a.conf,20-b.conf,30-c.conf,40-d.conf,no.conf";
    const words = ["install", "--plugins=good,no,none", `--configs=${configs}`, "--manifests=a.yaml,b.yaml"];
    const ran = await node.run([...words, "--output=json"]);
    const { error } = reportOf(ran) as unknown as Refusal;
    assert.deepEqual(
      error.objections.map(({ code, message = "" }) => [code, message.replaceAll(`${node.root}/`, "")]),
      [
        ["source-missing", "no, none: not among the plugins in image/opt/cni/bin"],
        ...[
          "line 2, column 1: the pointer __x.conf__ needs host/etc/cni/net.d/x.conf, which is not there",
          "line 3, column 1: the pointer __y.conf__ needs host/etc/cni/net.d/y.conf, which is not there",
        ].map((problem) => ["pointer-missing", `image/etc/cni/net.d/20-b.conf: ${problem}`]),
        [
          "pointer-in-string",
          "image/etc/cni/net.d/30-c.conf: line 1, column 32: the pointer __x.conf__ stands inside a JSON string, where no file can stand",
        ],
        ["source-missing", "image/etc/cni/net.d/no.conf: there is no such template"],
        [
          "config-invalid",
          "image/etc/cni/net.d/10-a.conf: the rendered configuration is not JSON: close brace expected at line 2, column 1, which is at line 2, column 1 of the template",
        ],
        ["variable-unset", "image/etc/kubernetes/manifests/a.yaml: line 1, column 4: the variable ONE is not set"],
        ["variable-unset", "image/etc/kubernetes/manifests/a.yaml: line 2, column 4: the variable TWO is not set"],
        [
          "source-missing",
          "image/etc/kubernetes/manifests/b.yaml: there is no such manifest, and no record of what was applied from it",
        ],
      ],
    );
    assert.deepEqual([error.code, error.message], [error.objections[0]?.["code"], error.objections[0]?.["message"]]);
    assert.deepEqual([ran.exitCode, contentsOf(node.host)], [1, before]);
  });

  test("U2: of the sources and of the proof together, without what only follows from another objection", async () => {
    using node = hopelessNode();
    node.template("30-c.conflist", conflist("c", "missing", "good"));
    const configs = "10-a.conf,20-b.conf,30-c.conflist,no.conf";
    const ran = await node.run(["install", "--plugins=good,missing", `--configs=${configs}`, "--output=json"]);
    const { error } = reportOf(ran) as unknown as Refusal;
    assert.deepEqual(
      error.objections.map(({ code, subject = "" }) => [code, subject.replaceAll(`${node.root}/`, "")]),
      [
        ["source-missing", "missing"],
        ["source-missing", "image/etc/cni/net.d/no.conf"],
        ["plugin-missing", "host/etc/cni/net.d/10-a.conf"],
        ["kubeconfig-missing", "host/etc/cni/net.d/10-a.conf"],
        ["version-unknown", "host/etc/cni/net.d/20-b.conf"],
      ],
    );
  });

  for (const argv of [["plan"], ["install", "--dry-run"]]) {
    test(`U2: ${argv.join(" ")} shows the steps that can be planned beside the objections`, async () => {
      using node = hopelessNode();
      node.template("30-c.conflist", conflist("c", "good"));
      const words = [...argv, "--plugins=good,missing", "--configs=20-b.conf,30-c.conflist"];
      const ran = await node.run(words);
      assert.deepEqual(
        Array.from(ran.stdout.matchAll(/^(would \w+) +(\w+) +(\S+)$/gmu), ([, ...cells]) => cells.join(" ")),
        ["would create plugin good", "would create config 20-b.conf", "would create config 30-c.conflist"],
      );
      assert.match(ran.stdout, /^\+.*"good"/mu);
      assert.match(ran.stderr, /^cni-node: missing: not among .*\n(?:.*\n)*cni-node: 2 objections\n$/u);
      assert.equal(ran.exitCode, 1);
      const report = reportOf(await node.run([...words, "--output=json"])) as Record<string, unknown> & Refusal;
      const { result, exitCode, dryRun, steps, error } = report;
      assert.deepEqual([result, exitCode, dryRun, (steps as unknown[]).length], ["failed", 1, true, 3]);
      assert.deepEqual(
        error.objections.map(({ code }) => code),
        ["source-missing", "version-unknown"],
      );
    });
  }

  test("warnings in JSON are findings: code, severity, path, message, hint", async () => {
    using node = nodeWith();
    node.template("10-a.conf", '{"name":"a","type":"good"}');
    const ran = await node.run(["install", "--plugins=good", "--configs=10-a.conf", "--output=json"]);
    const { warnings } = reportOf(ran);
    assert.deepEqual(warnings, [
      {
        code: "version-missing",
        severity: "warning",
        path: join(node.netd, "10-a.conf"),
        message: "has no cniVersion: runtimes take it for 0.1.0, the oldest, which newer plugins may not support",
        hint: 'add "cniVersion": "1.0.0", or "0.3.1" with old plugins',
      },
    ]);
  });

  test("U2: of what others hold", async () => {
    using node = nodeWith();
    node.template("10-a.conflist", conflist("a", "good"));
    await node.run(["install", "--plugins=good", "--configs=10-a.conflist", "--owner=other"]);
    node.plugin("good", "2");
    node.template("10-a.conflist", conflist("b", "good"));
    const ran = await node.run(["install", "--plugins=good", "--configs=10-a.conflist", "--output=json"]);
    const { error } = reportOf(ran) as unknown as Refusal;
    assert.deepEqual(
      error.objections.map(({ code, subject }) => [code, subject]),
      [
        ["held-by-other", join(node.bin, "good")],
        ["held-by-other", join(node.netd, "10-a.conflist")],
      ],
    );
  });

  test("U2: --wait waits if all of them may pass, and not if one cannot", async () => {
    using node = nodeWith();
    node.template("10-a.conf", '{"name":"a","type":"multus","delegates":[\n__x.conf__,\n__y.conf__]}');
    const words = ["install", "--plugins=good", "--configs=10-a.conf,20-b.conf", "--wait=1h"];
    const refused = await node.run(words);
    assert.deepEqual([refused.exitCode, /waiting/u.test(refused.stderr)], [1, false]);
    const waited = await node.run(["install", "--plugins=good", "--configs=10-a.conf", "--wait=1s"]);
    assert.match(waited.stderr, /^cni-node: waiting for .*\n(?:.*\n)*cni-node: 2 objections\n/u);
  });

  test("what --wait has seen is not said once it is no longer so", async () => {
    using node = nodeWith();
    node.template("10-a.conf", '{"cniVersion":"1.0.0","name":"a","type":"multus","delegates":[__05-b.conf__]}');
    node.template("20-c.conf", '{"cniVersion":"1.0.0","name":"c","type":"foo"}');
    let said = "";
    const words = ["install", "--configs=10-a.conf,20-c.conf", "--validate=warn", "--wait=60s"];
    const waiting = node.run(words, { onStderr: (text) => (said += text) });
    await until(() => said.includes("waiting for"));
    fs.copyFileSync(join(node.plugins, "good"), join(node.bin, "foo"));
    fs.chmodSync(join(node.bin, "foo"), 0o755);
    fs.writeFileSync(join(node.netd, "05-b.conf"), '{"cniVersion":"1.0.0","name":"b","type":"good"}');
    const { exitCode, stderr } = await waiting;
    assert.equal(exitCode, 0, stderr);
    assert.doesNotMatch(stderr, /plugin foo/u);
  });
});

describe("what will not work as it is meant is a warning, and status says the same", () => {
  const limits = { ingressRate: 1, ingressBurst: 1, egressRate: 1, egressBurst: 1 };
  const portMappings = { capabilities: { portMappings: true } };
  const chain = [{ type: "bridge" }, { type: "portmap", ...portMappings }];
  const warned: [what: string, config: object, message: RegExp | undefined, code?: string][] = [
    [
      "A14: no cniVersion",
      { cniVersion: undefined, plugins: chain },
      /has no cniVersion: runtimes take it for 0\.1\.0, the oldest, .*; add "cniVersion": "1\.0\.0", or/u,
      "version-missing",
    ],
    [
      "A14: cniversion",
      { cniVersion: undefined, cniversion: "1.0.0", plugins: chain },
      /has no cniVersion \(it has "cniversion", which is another key\): runtimes take it for 0\.1\.0/u,
      "version-missing",
    ],
    ["A14: an empty cniVersion", { cniVersion: "", plugins: chain }, /has no cniVersion: /u, "version-missing"],
    ["A14: cniVersions", { cniVersion: undefined, cniVersions: ["0.4.0", "1.0.0"], plugins: chain }, undefined],
    [
      "A17: portmap without the capability",
      { plugins: [{ type: "bridge" }, { type: "portmap" }] },
      /has portmap without the capability portMappings: the host ports of pods are lost without an error; add "capabilities":\{"portMappings":true\} to portmap/u,
      "capability-missing",
    ],
    [
      "A17: portmap with the capability false",
      { plugins: [{ type: "bridge" }, { type: "portmap", capabilities: { portMappings: false } }] },
      /has portmap without the capability/u,
      "capability-missing",
    ],
    [
      "A17: bandwidth without the capability and without limits",
      { plugins: [{ type: "bridge" }, { type: "bandwidth" }] },
      /has bandwidth without the capability bandwidth: the bandwidth annotations/u,
      "capability-missing",
    ],
    ["A17: bandwidth with limits", { plugins: [{ type: "bridge" }, { type: "bandwidth", ...limits }] }, undefined],
    [
      "A17: Multus without the capabilities of its primary network",
      { plugins: [{ type: "multus", delegates: [{ name: "d", plugins: chain }, { type: "bridge" }] }] },
      /has multus without the capability portMappings, which its primary network has: .* to multus/u,
      "capability-missing",
    ],
    [
      "A17: Multus without those of the file that it names",
      { plugins: [{ type: "multus", clusterNetwork: "/host/etc/cni/net.d/50-primary.conflist" }] },
      /has multus without the capability portMappings, which its primary network has: /u,
      "capability-missing",
    ],
    [
      "A17: Multus with them",
      { plugins: [{ type: "multus", ...portMappings, delegates: [{ name: "d", plugins: chain }] }] },
      undefined,
    ],
    [
      "A17: Multus, whose second delegate has some",
      { plugins: [{ type: "multus", delegates: [{ type: "bridge" }, { name: "d", plugins: chain }] }] },
      undefined,
    ],
    [
      "A17: portmap inside of a delegate",
      {
        plugins: [{ type: "multus", delegates: [{ name: "d", plugins: [{ type: "bridge" }, { type: "portmap" }] }] }],
      },
      /has portmap without the capability/u,
      "capability-missing",
    ],
    [
      "A15: a truth value in quotes",
      { plugins: [{ type: "bridge", isGateway: "true" }] },
      /has bridge fail for every new pod: isGateway is not true or false: remove the quotes/u,
      "plugin-config",
    ],
    [
      "A15: host-local without ranges, also below Multus",
      { plugins: [{ type: "multus", delegates: [{ type: "macvlan", ipam: { type: "host-local" } }] }] },
      /has macvlan fail for every new pod: ipam: host-local has neither subnet nor ranges/u,
      "plugin-config",
    ],
    [
      "A15: what flannel fills in",
      { plugins: [{ type: "flannel", delegate: { type: "bridge", isGateway: "x", ipam: { type: "host-local" } } }] },
      undefined,
    ],
    [
      "A15: what Calico and others fill in",
      {
        plugins: [
          { type: "calico", mtu: "1500", ipam: { type: "host-local", subnet: "usePodCidr" } },
          { type: "foreign", ipam: { type: "host-local" } },
        ],
      },
      undefined,
    ],
  ];
  for (const [what, config, message, code = ""] of warned) {
    test(`${what}${message === undefined ? ": no warning" : ""}`, async () => {
      using node = new TestNode("bandwidth bridge calico flannel foreign host-local macvlan multus portmap".split(" "));
      fs.writeFileSync(join(node.netd, "50-primary.conflist"), JSON.stringify({ name: "p", plugins: chain }));
      const name = "10-a.conflist";
      node.template(name, JSON.stringify({ cniVersion: "1.0.0", name: "a", ...config }));
      const ran = await node.run(["install", `--configs=${name}`]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      if (message === undefined) assert.equal(ran.stderr, "");
      else assert.match(ran.stderr, new RegExp(`^cni-node: warning: [^ ]*/${name}: ${message.source}[^\\n]*\\n$`, "u"));
      const status = await node.run(["status", `--host-root=${node.host}`]);
      const codes = /\[(?:version-missing|capability-missing|plugin-config)\]/u.exec(status.stdout)?.[0] ?? "";
      assert.equal(codes, message === undefined ? "" : `[${code}]`, status.stdout);
    });
  }
});

/** A kubeconfig as Multus writes it, one key a line. */
function kubeconfigOf(cluster = "server: https://[fd00:10:96::1]:443", user = "token: hunter2"): string {
  return [
    "# of a test's __INSTALLER_X__",
    "apiVersion: v1",
    "kind: Config",
    "clusters:",
    "- name: local",
    "  cluster:",
    `    ${cluster}`,
    "users:",
    "- name: multus",
    "  user:",
    `    ${user}`,
    "contexts:",
    "- name: multus-context",
    "  context: {cluster: local, user: multus}",
    "current-context: multus-context",
    "",
  ].join("\n");
}

describe("A8: a kubeconfig that cannot work is refused, with the line, and status says the same", () => {
  const server = (address: string): string => kubeconfigOf(`server: ${address}`);
  const invalid: [what: string, text: string, message: RegExp][] = [
    [
      "an IPv6 address without brackets",
      server("https://fd00:10:96::1:443"),
      /line 7, .*: the IPv6 address of the server needs brackets/u,
    ],
    ["a server without host", server("https://:443"), /line 7, .*: the server has no host/u],
    ["a server of nothing but a scheme", server("https://"), /line 7, .*: the server has no host/u],
    ["empty brackets", server('"https://[]:443"'), /line 7, .*: the server has no host/u],
    ["a server that is none", server("https://a b"), /line 7, .*: the server is not an address/u],
    ["a port that is none", server("https://10.96.0.1:http"), /line 7, .*: the server is not an address/u],
    ["no server", kubeconfigOf('server: ""'), /line \d+, .*: the cluster has no server/u],
    [
      "a placeholder for the server",
      server("https://__KUBERNETES_SERVICE_HOST__:443"),
      /line 7: a placeholder of its installer is left/u,
    ],
    ["a placeholder for a line", kubeconfigOf("__TLS_CFG__"), /line 7: a placeholder of its installer is left/u],
    [
      "a placeholder for the token",
      kubeconfigOf(undefined, "token: __SERVICEACCOUNT_TOKEN__"),
      /line 11: a placeholder/u,
    ],
    [
      "an authority that is not base64",
      kubeconfigOf("{server: h, certificate-authority-data: '-'}"),
      /line 7, .*: this is not base64/u,
    ],
    [
      "an authority that is not a certificate",
      kubeconfigOf(`{server: h, certificate-authority-data: ${btoa("hunter2")}}`),
      /line 7, .*: this holds no certificate as PEM/u,
    ],
    [
      "an authority that is not there",
      kubeconfigOf("{server: h, certificate-authority: /etc/cni/net.d/ca.crt}"),
      /line 7, .*: the file that this names is not there/u,
    ],
    [
      "a token that is not there",
      kubeconfigOf(undefined, "tokenFile: /etc/cni/net.d/t"),
      /line 11, .*: the file that this names/u,
    ],
    [
      "a context without its cluster",
      kubeconfigOf().replace("cluster: local,", "cluster: other,"),
      /line 14, .*: the context names a cluster that is not there/u,
    ],
    ["no context", kubeconfigOf().replace(/current-context: .*/u, ""), /line 1, .*: the current-context is missing/u],
    [
      "another context",
      kubeconfigOf().replace("name: multus-context", "name: x"),
      /line 15, .*: the current-context is not there/u,
    ],
    ["nothing", "", /line 1, .*: the current-context is missing/u],
    ["no YAML", kubeconfigOf("server: [hunter2"), /line \d+, .*: is not YAML/u],
  ];
  const config = {
    cniVersion: "1.0.0",
    name: "m",
    type: "multus",
    kubeconfig: "/etc/cni/net.d/multus.d/multus.kubeconfig",
    delegates: [{ type: "bridge" }],
  };
  function nodeWithKubeconfig(text: string): TestNode {
    const node = new TestNode(["bridge", "multus"]);
    fs.mkdirSync(join(node.netd, "multus.d"));
    fs.writeFileSync(join(node.netd, "multus.d/multus.kubeconfig"), text, { mode: 0o600 });
    node.template("00-multus.conf", JSON.stringify(config));
    return node;
  }

  for (const [what, text, message] of invalid) {
    test(`A8: ${what}`, async () => {
      using node = nodeWithKubeconfig(text);
      const before = contentsOf(node.host);
      const ran = await node.run(["install", "--configs=00-multus.conf"]);
      const prefix = "names the kubeconfig /etc/cni/net.d/multus.d/multus.kubeconfig, which its plugin cannot use: ";
      assertRefused(node, before, ran, new RegExp(`00-multus\\.conf: ${RegExp.escape(prefix)}${message.source}`, "u"));
      fs.writeFileSync(join(node.netd, "00-multus.conf"), JSON.stringify(config));
      const status = await node.run(["status", `--host-root=${node.host}`]);
      assert.match(status.stdout, new RegExp(`/multus\\.kubeconfig\\n +${message.source}`, "u"));
      assert.equal(status.stdout.match(/\[kubeconfig-invalid\]/gu)?.length, 1, status.stdout);
      assert.doesNotMatch(ran.stderr + status.stdout, /hunter2|INSTALLER/u);
      node.template("00-multus.conf", JSON.stringify({ ...config, logLevel: "debug" }));
      const again = await node.run(["install", "--configs=00-multus.conf"]);
      assert.equal(again.exitCode, 0, "it was wrong before");
      assert.match(again.stderr, /warning: .*which its plugin cannot use/u);
    });
  }

  const valid: [what: string, text: string][] = [
    ["as it should be", kubeconfigOf()],
    ["with a host and no scheme, which client-go takes", server("10.96.0.1:443")],
    [
      "with an authority that cannot be seen from here",
      kubeconfigOf("{server: h, certificate-authority: /var/lib/calico/ca.crt}"),
    ],
    ["with a user that is not there, who is nobody to client-go", kubeconfigOf().replace("user: multus}", "user: x}")],
    ["with a token that looks odd", kubeconfigOf(undefined, "token: eyJ__A__.b__C__d-__E__")],
  ];
  for (const [what, text] of valid) {
    test(`A8: one ${what} is fine`, async () => {
      using node = nodeWithKubeconfig(text);
      const ran = await node.run(["install", "--configs=00-multus.conf"]);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    });
  }
});
