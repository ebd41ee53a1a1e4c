/**
 * Another user, or root in a container, can write to a target directory: cni-node's state there is not trusted because
 * it is there, and nothing that it says reaches outside the directory.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { BUNDLE, conflist, endOf, TestNode, type Ran } from "../helpers/node.ts";
import { differencesOf, snapshotOf } from "../helpers/state.ts";

const isRoot = process.getuid?.() === 0;
const skip = isRoot ? false : "needs root, to be somebody else";
const INSTALL = ["install", "--plugins=bridge", "--configs=10-net.conflist"];
/** Every command that reads or changes a target directory. */
const RUNS = [
  INSTALL,
  ["uninstall", "--plugins=bridge", "--configs=10-net.conflist"],
  ["apply", "--plugins=bridge", "--configs=10-net.conflist", "--prune", "--owner=cni-node"],
  ["plan", "--plugins=bridge", "--configs=10-net.conflist"],
] as const;

/** A node, and what is outside its target directories and must stay as it is. */
class Attacked implements Disposable {
  readonly node = new TestNode();
  readonly outside = join(this.node.host, "etc/important");
  readonly #before: Record<string, string>;

  constructor() {
    const { node, outside } = this;
    node.plugin("bridge");
    node.template("10-net.conflist", conflist("net", "bridge"));
    fs.chmodSync(node.root, 0o755);
    fs.mkdirSync(outside);
    fs.mkdirSync(join(outside, "cron.d"));
    for (const name of ["shadow", "f", "0123456789abcdef", "a.tmp"]) {
      fs.writeFileSync(join(outside, name), `root:secret:${name}\n`, { mode: 0o600 });
    }
    this.#before = snapshotOf(outside);
  }

  /** As somebody who is not root. */
  asOther(script: string): void {
    const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-ec", script];
    execFileSync("setpriv", words, {
      cwd: "/",
      env: { PATH: process.env["PATH"], N: this.node.netd, B: this.node.bin, V: this.outside },
    });
  }

  /** Nothing outside was written, deleted, linked or given another mode; nothing of it was shown. */
  assertHarmless(ran: Ran): void {
    assert.deepEqual(differencesOf(this.#before, snapshotOf(this.outside)), []);
    assert.doesNotMatch(ran.stdout + ran.stderr, /secret|defect/u);
  }

  [Symbol.dispose](): void {
    this.node[Symbol.dispose]();
  }
}

describe(
  "a state directory that somebody else has made is refused, whatever is in it, by every command",
  { skip },
  () => {
    const layouts: [what: string, script: string][] = [
      ["a link to a directory of somebody else's choice", 'ln -s "$V" "$N/.cni-node"'],
      ["a directory of theirs whose objects are a link", 'mkdir "$N/.cni-node"; ln -s "$V" "$N/.cni-node/objects"'],
      [
        "a directory of theirs whose links for probes are one",
        'mkdir "$N/.cni-node"; ln -s "$V" "$N/.cni-node/probe.tmp"',
      ],
      [
        "a directory of theirs whose record is a link",
        'mkdir "$N/.cni-node"; ln -s "$V/shadow" "$N/.cni-node/record.json"',
      ],
      ["a directory of theirs whose lock is a link", 'mkdir "$N/.cni-node"; ln -s "$V/shadow" "$N/.cni-node/lock"'],
      ["a directory of theirs with a record of theirs", 'mkdir "$N/.cni-node"; echo "{}" > "$N/.cni-node/record.json"'],
      ["an empty directory of theirs", 'mkdir -m 777 "$N/.cni-node"'],
      ["a file", ': > "$N/.cni-node"'],
      ["a FIFO", 'mkfifo "$N/.cni-node"'],
    ];
    for (const [what, script] of layouts) {
      test(what, async () => {
        using attacked = new Attacked();
        const { node } = attacked;
        fs.chmodSync(node.netd, 0o1777);
        attacked.asOther(script);
        const before = snapshotOf(node.netd);
        for (const argv of RUNS) {
          const ran = await node.run([...argv]);
          attacked.assertHarmless(ran);
          assert.equal(ran.exitCode, 1, ran.stderr);
          assert.match(
            ran.stderr,
            /net\.d\/\.cni-node(?:\/[a-z.]+)?: (?:is a symbolic link|is not a directory|belongs to user 65534)/u,
          );
          assert.match(ran.stderr, /\n {2}hint: /u);
          assert.deepEqual(differencesOf(before, snapshotOf(node.netd)), []);
          assert.deepEqual(fs.readdirSync(node.bin), []);
        }
      });
    }

    test("one of root's that others can write to, or whose parts they can, is refused as well", async () => {
      for (const part of [".", "objects", "record.json", "lock"]) {
        using attacked = new Attacked();
        assert.equal((await attacked.node.run([...INSTALL])).exitCode, 0);
        fs.chmodSync(join(attacked.node.netd, ".cni-node", part), part === "." || part === "objects" ? 0o777 : 0o666);
        const ran = await attacked.node.run(["uninstall", "--configs=10-net.conflist"]);
        assert.deepEqual([ran.exitCode, /can be written to by others/u.test(ran.stderr)], [1, true], ran.stderr);
      }
    });
  },
);

describe("a record that root in a container has written reaches nothing outside its directory", { skip }, () => {
  const ID = "0123456789abcdef";
  const NESTED = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
  const base = { version: 1, directory: ID, assets: [] };
  const held = { name: "10-net.conflist", kind: "config", owners: ["cni-node"] };
  const pending = (changes: object[], assets: object[] = []): object => ({
    ...base,
    pending: { run: ID, directories: [{ id: ID, path: "/x" }], changes, assets },
  });
  const write = { phase: "add", before: null, after: ID };
  const records: [what: string, record: unknown][] = [
    ["a pending change that writes elsewhere", pending([{ ...write, name: "../important/cron.d/x" }])],
    [
      "a pending change that deletes elsewhere",
      pending([{ name: "../important/f", phase: "remove", before: ID, after: null }]),
    ],
    ["a pending change of an object elsewhere", pending([{ ...write, name: "x", after: "../../../important/shadow" }])],
    ["an asset elsewhere", { ...base, assets: [{ ...held, name: "../important/f" }] }],
    ["an asset that is a path", { ...base, assets: [{ ...held, name: "/etc/passwd" }] }],
    ["an asset with a NUL", { ...base, assets: [{ ...held, name: "a\0b" }] }],
    ["an asset that is the state itself", { ...base, assets: [{ ...held, name: ".cni-node" }] }],
    ["a backup elsewhere", { ...base, assets: [{ ...held, before: "../../../important/shadow" }] }],
    ["an asset of a kind that there is not", { ...base, assets: [{ ...held, kind: "shell" }] }],
    ["an owner with a line break", { ...base, assets: [{ ...held, owners: ["a\ncni-node: forged"] }] }],
    ["a digest that is none", { ...base, assets: [{ ...held, digest: "x" }] }],
    ["a journal without directories", { ...base, pending: { run: ID, directories: [], changes: [], assets: [] } }],
    ["numbers of the wrong type", { ...base, assets: [{ ...held, seen: { digest: 1, size: {} } }] }],
    ["nesting without end", `{"version":1,"directory":"${ID}","assets":${NESTED}}`],
    [
      "nesting without end in a field of a later version",
      `{"version":1,"directory":"${ID}","assets":[],"later":${NESTED}}`,
    ],
  ];
  for (const [what, record] of records) {
    test(`${what} makes it unreadable as a whole`, async () => {
      using attacked = new Attacked();
      const { node } = attacked;
      fs.mkdirSync(join(node.netd, ".cni-node/objects"), { recursive: true, mode: 0o700 });
      fs.writeFileSync(
        join(node.netd, ".cni-node/record.json"),
        typeof record === "string" ? record : JSON.stringify(record),
        { mode: 0o600 },
      );
      fs.writeFileSync(join(node.netd, ".cni-node/objects", ID), "x");
      for (const argv of RUNS) {
        const ran = await node.run([...argv]);
        attacked.assertHarmless(ran);
        assert.equal(ran.exitCode, 1, ran.stderr);
        assert.match(ran.stderr, /record\.json: is not a record of cni-node: [^\n]*\n {2}hint: /u);
      }
    });
  }

  test("an asset of the other directory is not removed by it, even with --prune", async () => {
    using attacked = new Attacked();
    const { node } = attacked;
    assert.equal((await node.run([...INSTALL])).exitCode, 0);
    fs.writeFileSync(join(node.bin, "victim"), "of somebody else");
    const path = join(node.netd, ".cni-node/record.json");
    const record = JSON.parse(fs.readFileSync(path, "utf8")) as { assets: object[] };
    record.assets.push({ ...held, kind: "plugin", name: "victim" });
    fs.writeFileSync(path, JSON.stringify(record));
    const ran = await node.run([
      "apply",
      "--plugins=bridge",
      "--configs=10-net.conflist",
      "--prune",
      "--owner=cni-node",
    ]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(fs.readFileSync(join(node.bin, "victim"), "utf8"), "of somebody else");
  });

  test("a record that is a link to a file of somebody else shows nothing of it", async () => {
    using attacked = new Attacked();
    const { node, outside } = attacked;
    fs.mkdirSync(join(node.netd, ".cni-node"), { mode: 0o700 });
    fs.symlinkSync(join(outside, "shadow"), join(node.netd, ".cni-node/record.json"));
    for (const argv of RUNS) {
      const ran = await node.run([...argv]);
      attacked.assertHarmless(ran);
      assert.equal(ran.exitCode, 1);
    }
  });

  test("one that is not JSON, too large, a FIFO or a directory is refused without showing any of it", async () => {
    const puts: ((path: string) => void)[] = [
      (path) => fs.writeFileSync(path, "root:secret:0:0", { mode: 0o600 }),
      (path) => fs.writeFileSync(path, '{"version":1,"secret', { mode: 0o600 }),
      (path) => (fs.writeFileSync(path, "", { mode: 0o600 }), fs.truncateSync(path, 100e9)),
      (path) => execFileSync("mkfifo", ["-m", "600", path]),
      (path) => fs.mkdirSync(path, { mode: 0o700 }),
    ];
    for (const put of puts) {
      using attacked = new Attacked();
      const { node } = attacked;
      fs.mkdirSync(join(node.netd, ".cni-node"), { mode: 0o700 });
      put(join(node.netd, ".cni-node/record.json"));
      const ran = await node.run([...INSTALL]);
      attacked.assertHarmless(ran);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, /record\.json: /u);
    }
  });
});

describe("what is swapped while a run is at work changes nothing outside", { skip }, () => {
  /** A plugin that does something when it is run, and answers VERSION. */
  function meddling(node: TestNode, script: string): void {
    const answer = '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}';
    fs.writeFileSync(join(node.plugins, "bridge"), `#!/bin/sh\n${script}\necho '${answer}'\n`, { mode: 0o755 });
  }

  async function runBundle(node: TestNode, argv: readonly string[]): Promise<Ran> {
    return endOf(node.start(argv));
  }

  test("a plugin that rewrites itself while it is proved does not go live", async () => {
    for (const script of [
      'printf "#!/bin/sh\\necho changed\\n" > "$0"',
      'printf "#!/bin/sh\\necho changed\\n" > "$0.new"; chmod 755 "$0.new"; mv "$0.new" "$0"',
      'chmod 4755 "$0"',
      'touch -d 2001-01-01 "$0"',
    ]) {
      using attacked = new Attacked();
      const { node } = attacked;
      meddling(node, script);
      const ran = await runBundle(node, ["install", "--plugins=bridge"]);
      assert.deepEqual([ran.exitCode, fs.readdirSync(node.bin)], [1, []], `${script}: ${ran.stderr}`);
      assert.match(ran.stderr, /bridge: its new file was changed while it was being tried/u);
    }
  });

  test("a state directory that its owner moves away meanwhile is not followed to what they put there", async () => {
    for (const swap of [
      'mv "$D/.cni-node" "$D/moved"; ln -s "$V" "$D/.cni-node"',
      'mv "$D/.cni-node" "$D/moved"; mkdir "$D/.cni-node"; ln -s "$V" "$D/.cni-node/objects"',
      'mv "$D/.cni-node" "$D/moved"; mkdir -p "$D/.cni-node/objects"; for f in "$D"/moved/objects/*; do printf "#!/bin/sh\\nevil\\n" > "$D/.cni-node/objects/${f##*/}"; done',
    ]) {
      using attacked = new Attacked();
      const { node, outside } = attacked;
      fs.chownSync(node.bin, 65534, 65534);
      meddling(node, `D='${node.bin}'; V='${outside}'; ${swap}`);
      const ran = await runBundle(node, INSTALL);
      attacked.assertHarmless(ran);
      const live = join(node.bin, "bridge");
      const image = fs.readFileSync(join(node.plugins, "bridge"), "utf8");
      if (fs.existsSync(live)) assert.equal(fs.readFileSync(live, "utf8"), image);
    }
  });

  test("a target directory that is replaced by a link meanwhile is written to where it was", async () => {
    using attacked = new Attacked();
    const { node, outside } = attacked;
    meddling(node, `mv '${node.netd}' '${node.netd}.moved'; ln -s '${outside}' '${node.netd}'`);
    const ran = await runBundle(node, INSTALL);
    attacked.assertHarmless(ran);
  });
});

test("pointers of pointers of pointers end in a refusal, not in a stack or a memory that is used up", async () => {
  using node = new TestNode();
  const levels = Array.from({ length: 10 }, (_, level) => `l${level}.conf`);
  for (const [level, name] of levels.entries()) {
    node.template(
      name,
      level === 9
        ? '{"a":1}'
        : `[${Array(10)
            .fill(`__l${level + 1}.conf__`)
            .join(",")}]`,
    );
  }
  const ran = await node.run(["install", `--configs=${levels.join()}`]);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /the rendered configuration would be larger than 16 MiB/u);
  const chain = Array.from({ length: 3000 }, (_, level) => `c${level}.conf`);
  for (const [level, name] of chain.entries()) node.template(name, `__c${level + 1}.conf__`);
  const deep = await node.run(["install", `--configs=${chain.join()}`]);
  assert.match(deep.stderr, /its template is reached through more than 16 others/u);
});

describe("a directory from which others can become root is told, and the run goes on", { skip }, () => {
  for (const [mode, owner, message] of [
    [0o777, 0, /opt\/cni\/bin: has mode 0777: everybody may write there, .*; chmod go-w/u],
    [0o1777, 0, /opt\/cni\/bin: has mode 1777: everybody may write there/u],
    [0o775, 0, /opt\/cni\/bin: has mode 0775: group 0 may write there/u],
    [0o755, 65534, /opt\/cni\/bin: belongs to user 65534, who may write there, .*; chown root:root/u],
  ] as const) {
    test(`mode ${mode.toString(8)}, owner ${owner}`, async () => {
      using attacked = new Attacked();
      const { node } = attacked;
      fs.chmodSync(node.bin, mode);
      fs.chownSync(node.bin, owner, owner);
      const ran = await node.run([...INSTALL]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(ran.stderr, message);
      const again = await node.run([...INSTALL]);
      assert.deepEqual([again.exitCode, again.stderr], [0, ""], "a run that writes nothing is quiet");
    });
  }
});

test("directories that a run makes have mode 0755 whatever the umask (A22)", async () => {
  using node = new TestNode();
  for (const directory of [node.bin, node.netd]) fs.rmSync(directory, { recursive: true });
  node.plugin("bridge");
  node.template("10-net.conflist", conflist("net", "bridge"));
  const before = process.umask(0o077);
  try {
    const ran = await node.run([...INSTALL]);
    assert.equal(ran.exitCode, 0, ran.stderr);
  } finally {
    process.umask(before);
  }
  const modes = [node.bin, node.netd, join(node.netd, ".cni-node")].map((path) => fs.statSync(path).mode & 0o7777);
  assert.deepEqual(modes, [0o755, 0o755, 0o700]);
});

test("a run with few file descriptors installs nothing that it could not try, and says why", { skip }, async () => {
  for (let limit = 21; limit <= 34; limit++) {
    using node = new TestNode();
    node.plugin("bridge");
    node.template("10-net.conflist", conflist("net", "bridge"));
    const argv = [process.execPath, BUNDLE, ...INSTALL, ...node.places, "--lock-timeout=2s"];
    const ran = await endOf(spawn("prlimit", [`--nofile=${limit}`, "--", ...argv]));
    const isDone = ran.exitCode === 0;
    assert.equal(fs.existsSync(join(node.bin, "bridge")), isDone, `${limit}: ${ran.stderr}`);
    if (isDone) assert.doesNotMatch(ran.stderr, /too many open files/u);
    else assert.match(ran.stderr, /EMFILE|too many open files|lock/iu, `${limit}`);
  }
});
