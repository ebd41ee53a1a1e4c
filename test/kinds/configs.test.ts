import assert from "node:assert/strict";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { Finding } from "../../src/finding.ts";
import { conflist, contentsOf, TestNode, until, withoutWaits } from "../helpers/node.ts";
import { reportOf } from "../helpers/report.ts";

const CALICO = conflist("calico", "calico", "portmap");

/** A Multus configuration whose delegates are these pointers, each on a line of its own. */
function multus(...delegates: string[]): string {
  return `{\n  "cniVersion": "1.0.0", "capabilities": {"portMappings": true}, "name": "multus",\n  "type": "multus",\n  "delegates": [\n    ${delegates.join(",\n    ")}\n  ]\n}\n`;
}

/** The names of the delegates of an installed configuration. */
function delegatesOf(node: TestNode, name: string): string[] {
  const { delegates } = JSON.parse(fs.readFileSync(join(node.netd, name), "utf8")) as { delegates: { name: string }[] };
  return delegates.map((delegate) => delegate.name);
}

function modeOf(path: string): string {
  return (fs.statSync(path).mode & 0o7777).toString(8);
}

describe("the mode of a configuration", () => {
  const cases: [promise: string, before: number | undefined, options: string[], mode: string][] = [
    ["is 0600 when it is new", undefined, [], "600"],
    ["stays what it is when the file exists", 0o644, [], "644"],
    ["is that of --config-mode when it is new", undefined, ["--config-mode=0640"], "640"],
    ["is that of --config-mode when the file exists", 0o644, ["--config-mode=600"], "600"],
  ];
  for (const [promise, before, options, mode] of cases) {
    test(promise, async () => {
      for (const same of [false, true]) {
        using node = new TestNode();
        node.template("a.conflist", conflist("a", "bridge"));
        const path = join(node.netd, "a.conflist");
        if (before !== undefined) fs.writeFileSync(path, conflist("a", same ? "bridge" : "ptp"));
        if (before !== undefined) fs.chmodSync(path, before);
        assert.equal((await node.run(["install", "--configs=a.conflist", ...options])).exitCode, 0);
        assert.equal(modeOf(path), mode);
        assert.equal(fs.readFileSync(path, "utf8"), conflist("a", "bridge"));
      }
    });
  }

  test("does not depend on the umask", async () => {
    using node = new TestNode();
    node.template("a.conflist", conflist("a", "bridge"));
    const umask = process.umask(0o077);
    try {
      await node.run(["install", "--configs=a.conflist", "--config-mode=0644"]);
    } finally {
      process.umask(umask);
    }
    assert.equal(modeOf(join(node.netd, "a.conflist")), "644");
  });

  const asRoot = { skip: process.getuid?.() === 0 ? false : "needs root: gives a file to another user" };
  test("and the owner stay what they are when the content changes", asRoot, async () => {
    using node = new TestNode();
    node.template("a.conflist", conflist("a", "bridge"));
    const path = join(node.netd, "a.conflist");
    fs.writeFileSync(path, conflist("a", "ptp"));
    fs.chownSync(path, 1234, 4321);
    await node.run(["install", "--configs=a.conflist"]);
    const { uid, gid } = fs.statSync(path);
    assert.deepEqual([uid, gid, fs.readFileSync(path, "utf8")], [1234, 4321, conflist("a", "bridge")]);
  });
});

describe("a pointer", () => {
  test("stands for the node's file, through a link too; several and repeated ones each", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "10-calico.conflist"), CALICO);
    fs.symlinkSync("10-calico.conflist", join(node.netd, "link"));
    fs.writeFileSync(join(node.netd, "20-b.conf"), '{"name": "b", "type": "bridge"}');
    node.template("05-multus.conf", multus("__10-calico.conflist__", "__20-b.conf__", "__link__", "__20-b.conf__"));
    assert.equal((await node.run(["install", "--configs=05-multus.conf"])).exitCode, 0);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["calico", "b", "calico", "b"]);
  });

  for (const configs of ["05-multus.conf,06-multus.conf,20-b.conf", "20-b.conf,06-multus.conf,05-multus.conf"]) {
    test(`stands for the new content of a configuration of the same run: ${configs}`, async () => {
      using node = new TestNode();
      fs.writeFileSync(join(node.netd, "20-b.conf"), '{"name": "old", "type": "bridge"}');
      node.template("05-multus.conf", multus("__06-multus.conf__"));
      node.template("06-multus.conf", multus("__20-b.conf__").replaceAll("multus", "x"));
      node.template("20-b.conf", '{"cniVersion": "1.0.0", "name": "new", "type": "bridge"}');
      const ran = await node.run(["install", `--configs=${configs}`]);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
      assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["x"]);
      assert.deepEqual(delegatesOf(node, "06-multus.conf"), ["new"]);
    });
  }

  test("stands for the content that is there of a configuration that is not in this run", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "20-b.conf"), '{"name": "old", "type": "bridge"}');
    node.template("20-b.conf", '{"name": "new", "type": "bridge"}');
    node.template("05-multus.conf", multus("__20-b.conf__"));
    await node.run(["apply", "--configs=05-multus.conf,20-b.conf:20-b.conf"]);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["old"]);
  });

  const refusals: [
    promise: string,
    templates: Record<string, string>,
    code: string,
    message: (node: TestNode) => string,
  ][] = [
    [
      "that needs a file which is not there names the template, the line and the file",
      { "05.conf": multus("__10-calico.conflist__") },
      "pointer-missing",
      ({ templates, netd }) =>
        `${templates}/05.conf: line 5, column 5: the pointer __10-calico.conflist__ needs ${netd}/10-calico.conflist, which is not there`,
    ],
    [
      "that needs a file which is empty says so",
      { "05.conf": `[ __empty__ ]` },
      "pointer-missing",
      ({ templates, netd }) =>
        `${templates}/05.conf: line 1, column 3: the pointer __empty__ needs ${netd}/empty, which is empty`,
    ],
    [
      "in a string is refused",
      { "05.conf": '{\n  "name": "a", "delegates": "__10-calico.conflist__"\n}' },
      "pointer-in-string",
      ({ templates }) =>
        `${templates}/05.conf: line 2, column 30: the pointer __10-calico.conflist__ stands inside a JSON string, where no file can stand`,
    ],
    [
      "to itself is refused",
      { "05.conf": multus("__05.conf__") },
      "pointer-cycle",
      ({ templates }) => `${templates}/05.conf: its pointers lead back to itself: 05.conf → 05.conf`,
    ],
    [
      "back to the template it comes from is refused, with the way",
      { "05.conf": multus("__06.conf__"), "06.conf": multus("__07.conf__"), "07.conf": multus("__06.conf__") },
      "pointer-cycle",
      ({ templates }) => `${templates}/06.conf: its pointers lead back to itself: 06.conf → 07.conf → 06.conf`,
    ],
    [
      "to a directory is refused",
      { "05.conf": multus("__directory__") },
      "not-a-file",
      ({ templates, netd }) =>
        `${netd}/directory: cannot be read for the pointer in ${templates}/05.conf, line 5: it is not a regular file`,
    ],
    [
      "to a file that is not text is refused",
      { "05.conf": multus("__binary__") },
      "not-text",
      ({ netd }) => `${netd}/binary: is not UTF-8 text`,
    ],
    [
      "to what makes the result invalid is named as the place of the fault",
      { "05.conf": multus("__broken__") },
      "config-invalid",
      ({ templates }) =>
        `${templates}/05.conf: the rendered configuration is not JSON: value expected at line 6, column 9, which is at line 2, column 9 of broken`,
    ],
  ];
  for (const [promise, templates, code, message] of refusals) {
    test(`${promise}; nothing is written`, async () => {
      using node = new TestNode();
      node.plugin("bridge");
      fs.mkdirSync(join(node.netd, "directory"));
      fs.writeFileSync(join(node.netd, "05.conf"), "what was there");
      fs.writeFileSync(join(node.netd, "empty"), " \n");
      fs.writeFileSync(join(node.netd, "binary"), Buffer.from([0xff, 0xfe, 0x00]));
      fs.writeFileSync(join(node.netd, "broken"), '{\n  "a" : ,\n}\n');
      for (const [name, text] of Object.entries(templates)) node.template(name, text);
      const before = contentsOf(node.host);
      const configs = Object.keys(templates).join();
      const ran = await node.run(["install", "--plugins=bridge", `--configs=${configs}`, "--output=json"]);
      const { error } = JSON.parse(ran.stdout) as { error: { code: string; message: string } };
      assert.deepEqual([ran.exitCode, error.code, error.message], [1, code, message(node)]);
      assert.deepEqual(contentsOf(node.host), before);
      assert.deepEqual([fs.readdirSync(node.bin), fs.existsSync(join(node.netd, ".cni-node"))], [[], false]);
    });
  }

  test("may stand in quotes where the file is not a configuration", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "name"), "x\n");
    node.template("notes.txt", 'the name is "__name__"');
    await node.run(["install", "--configs=notes.txt"]);
    assert.equal(fs.readFileSync(join(node.netd, "notes.txt"), "utf8"), 'the name is "x"\n');
  });

  test("is not looked at when its template is uninstalled", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "05.conf"), "{}");
    assert.equal((await node.run(["uninstall", "--configs=05.conf"])).exitCode, 0);
    assert.deepEqual(contentsOf(node.netd), {});
  });
});

describe("a word that looks like a pointer", () => {
  const words = [
    "__multus.d/x__",
    "__a__b.conf__",
    "__10-calico.conflist",
    "10-calico.conflist__",
    "___x.conf__",
    "__.hidden__",
    "__$X__",
    "__ä.conf__",
  ];
  for (const word of words) {
    test(`U4: and is none (${word}) is named, with the rule`, async () => {
      using node = new TestNode();
      node.template("05.conf", multus(`{"name":"__x/y__"}, ${word}`));
      const ran = await node.run(["install", "--configs=05.conf"]);
      assert.equal(
        ran.stderr,
        `cni-node: ${node.templates}/05.conf: line 5, column 25: ${word} is not a pointer\n  hint: a pointer is __NAME__, where NAME is a file in the directory of configurations itself: letters, digits, . + @ - and single underscores, the first one a letter or digit; --validate=warn installs it anyway\n`,
      );
      assert.deepEqual([ran.exitCode, contentsOf(node.netd)], [1, {}]);
    });
  }

  test("U4: in a string or in what is not a configuration is text", async () => {
    using node = new TestNode();
    node.template("05.conf", '{"cniVersion":"1.0.0","name":"a","type":"bridge","x":"__a/b__ \\" __a__b__"}');
    node.template("notes.txt", "__a/b__");
    const ran = await node.run(["install", "--configs=05.conf,notes.txt"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  const placeholders: [config: string, owner: string][] = [
    ['{"nodename": "__KUBERNETES_NODE_NAME__"}', "Calico's"],
    ['{"mtu": "__CNI_MTU__"}', "Calico's"],
    ['{"mtu": __CNI_MTU__}', "Calico's"],
    ['{"vethPrefix": "__VETHPREFIX__"}', "AWS VPC CNI's"],
    ['{"kubeconfig": "__KUBECONFIG_FILEPATH__"}', "Calico's or Linkerd's"],
    ['{"x": "__ETCD_ENDPOINTS__"}', "Calico's"],
    ['{"x": "__SOME_THING__"}', "another"],
  ];
  // The others are variables: test/variables.test.ts.
  for (const [config, owner] of placeholders.slice(-2)) {
    test(`A16: and is a placeholder of ${owner} installer is called that: ${config}`, async () => {
      using node = new TestNode();
      node.template("10.conf", config.replace("{", '{"name":"a","type":"calico",'));
      const ran = await node.run(["install", "--configs=10.conf"]);
      assert.match(
        ran.stderr,
        new RegExp(`\\n {2}hint: it looks like a placeholder of ${owner} installer, which `, "u"),
      );
      assert.doesNotMatch(ran.stderr, /quotes/u);
      assert.equal(ran.exitCode, 1);
    });
  }

  for (const [config, owner] of placeholders) {
    test(`A16: also in a file that a pointer names: ${config}`, async () => {
      using node = new TestNode();
      const text = config
        .replace("{", '{"name":"a","type":"calico",')
        .replace(": __", ': "__')
        .replace(/__\}/u, '__"}');
      fs.writeFileSync(join(node.netd, "20.conf"), text);
      node.template("10.conf", "__20.conf__");
      const ran = await node.run(["install", "--configs=10.conf"]);
      assert.match(ran.stderr, new RegExp(`was not replaced; it looks like a placeholder of ${owner} installer`, "u"));
      assert.equal(ran.exitCode, 0);
    });
  }
});

test("a template that is not text, or is a directory, is refused", async () => {
  using node = new TestNode();
  fs.writeFileSync(join(node.templates, "a.conf"), Buffer.from([0x7b, 0xc3, 0x28, 0x7d]));
  fs.mkdirSync(join(node.templates, "b.conf"));
  const [a, b] = [await node.run(["install", "--configs=a.conf"]), await node.run(["install", "--configs=b.conf"])];
  assert.deepEqual([a.exitCode, a.stderr], [1, `cni-node: ${node.templates}/a.conf: is not UTF-8 text\n`]);
  assert.equal(b.exitCode, 1);
  assert.match(b.stderr, /b\.conf: the template cannot be read: it is not a regular file\n {2}hint: .*docker run -v/u);
});

/** Starts an installation of a plugin and of a configuration whose pointer's file is not there, and lets it wait. */
async function waiting(node: TestNode, signal?: AbortSignal): Promise<() => ReturnType<TestNode["run"]>> {
  node.plugin("vlan");
  node.template("05-multus.conf", multus("__10-calico.conflist__"));
  const options = signal === undefined ? {} : { signal };
  const run = node.run(["install", "--plugins=vlan", "--configs=05-multus.conf", "--wait=1h"], options);
  await until(() => process.getActiveResourcesInfo().includes("FSEventWrap"));
  return async () => run;
}

/** Does something, and waits until this process opens a file to read it. */
async function isOpened(path: string, act: () => void): Promise<void> {
  const { openSync } = fs;
  act();
  let isSeen = false;
  fs.openSync = (...args) => {
    isSeen ||= args[0] === path;
    return openSync(...args);
  };
  syncBuiltinESMExports();
  try {
    await until(() => isSeen);
  } finally {
    fs.openSync = openSync;
    syncBuiltinESMExports();
  }
}

/** This process watches the directory. */
function isWatched(directory: string): boolean {
  const watch = new RegExp(`^inotify wd:\\d+ ino:${fs.statSync(directory).ino.toString(16)} `, "mu");
  const descriptors = fs.readdirSync("/proc/self/fdinfo").map((name) => `/proc/self/fdinfo/${name}`);
  return descriptors.some((path) => fs.existsSync(path) && watch.test(fs.readFileSync(path, "utf8")));
}

describe("--wait", () => {
  test("goes on as soon as the file is there", async () => {
    using node = new TestNode();
    const ended = await waiting(node);
    fs.writeFileSync(join(node.root, "new"), CALICO);
    fs.renameSync(join(node.root, "new"), join(node.netd, "10-calico.conflist"));
    assert.equal((await ended()).exitCode, 0);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["calico"]);
    assert.ok(fs.existsSync(join(node.bin, "vlan")));
  });

  test("holds no lock and has changed nothing: another run succeeds meanwhile", async () => {
    using node = new TestNode();
    const ended = await waiting(node);
    node.plugin("bridge");
    node.template("20-b.conflist", conflist("b", "bridge"));
    const other = await node.run(["install", "--plugins=bridge", "--configs=20-b.conflist", "--lock-timeout=0s"]);
    assert.deepEqual([other.exitCode, other.stderr], [0, ""]);
    assert.deepEqual(Object.keys(contentsOf(node.host)), ["etc/cni/net.d/20-b.conflist", "opt/cni/bin/bridge"]);
    node.template("10-calico.conflist", CALICO);
    assert.equal((await node.run(["install", "--configs=10-calico.conflist", "--lock-timeout=0s"])).exitCode, 0);
    assert.equal((await ended()).exitCode, 0);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["calico"]);
  });

  test("waits for a file that is written piece by piece until it is whole", async () => {
    using node = new TestNode();
    const ended = await waiting(node);
    const path = join(node.netd, "10-calico.conflist");
    const ends = [20, CALICO.indexOf("[") + 1, CALICO.indexOf("},") + 1];
    for (const end of ends) {
      await isOpened(path, () => fs.writeFileSync(path, CALICO.slice(0, end)));
    }
    fs.writeFileSync(path, CALICO);
    const { exitCode, stderr } = await ended();
    assert.deepEqual([exitCode, withoutWaits(stderr)], [0, ""]);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["calico"]);
  });

  test("waits for the directory too", async () => {
    using node = new TestNode();
    fs.rmSync(join(node.host, "etc"), { recursive: true });
    const ended = await waiting(node);
    fs.mkdirSync(node.netd, { recursive: true });
    await until(() => isWatched(node.netd));
    fs.writeFileSync(join(node.netd, "10-calico.conflist"), CALICO);
    assert.equal((await ended()).exitCode, 0);
    assert.deepEqual(delegatesOf(node, "05-multus.conf"), ["calico"]);
  });

  test("ends by a signal at once, and nothing has happened", async () => {
    using node = new TestNode();
    const controller = new AbortController();
    const ended = await waiting(node, controller.signal);
    controller.abort("SIGTERM");
    const ran = await ended();
    assert.deepEqual([ran.exitCode, ran.signal, ran.stdout], [143, "SIGTERM", ""]);
    assert.equal(withoutWaits(ran.stderr), "cni-node: ended by SIGTERM before anything was changed\n");
    assert.deepEqual([fs.readdirSync(node.bin), fs.readdirSync(node.netd)], [[], []]);
  });

  test("gives up when its time is over, and nothing has happened", async () => {
    using node = new TestNode();
    node.plugin("vlan");
    node.template("05-multus.conf", multus("__10-calico.conflist__"));
    const ran = await node.run(["install", "--plugins=vlan", "--configs=05-multus.conf", "--wait=50ms"]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /10-calico\.conflist, which is not there; waited 0\.05 s for it \(--wait\)\n/u);
    assert.deepEqual([fs.readdirSync(node.bin), fs.readdirSync(node.netd)], [[], []]);
  });

  test("does not wait for what waiting does not fix", async () => {
    using node = new TestNode();
    node.template("05.conf", "{");
    node.template("06.conf", "[ __05.conf__ ]");
    for (const [name, code] of [
      ["05.conf", "config-invalid"],
      ["05.conf,06.conf", "config-invalid"],
      ["nope.conf", "source-missing"],
    ]) {
      const ran = await node.run(["install", `--configs=${name}`, "--wait=1h", "--output=json"]);
      assert.match(ran.stdout, new RegExp(`"code":"${code}"`, "u"));
    }
  });
});

describe("a configuration that no runtime would load", () => {
  const problem = "the rendered configuration has no network name (key name)";
  const cases: [validate: string, exitCode: number, installed: boolean, said: boolean][] = [
    ["strict", 1, false, true],
    ["warn", 0, true, true],
    ["off", 0, true, false],
  ];
  for (const [validate, exitCode, installed, said] of cases) {
    test(`with --validate=${validate} is ${installed ? "installed" : "refused"}${said ? ", and said" : ""}`, async () => {
      using node = new TestNode();
      node.template("a.conf", '{"type": "bridge"}');
      const ran = await node.run(["install", "--configs=a.conf", `--validate=${validate}`, "--output=json"]);
      assert.deepEqual([ran.exitCode, fs.existsSync(join(node.netd, "a.conf"))], [exitCode, installed]);
      const path = `${node.templates}/a.conf`;
      assert.equal(ran.stderr.includes(`${path}: ${problem}`), said);
      const { warnings = [], error } = reportOf(ran) as { warnings?: Finding[]; error?: { message: string } };
      const reported = [...warnings.map((one) => `${one.path}: ${one.message}`), error?.message ?? ""];
      assert.equal(
        reported.some((text) => text.startsWith(`${path}: ${problem}`)),
        said,
      );
    });
  }

  test("is refused by default, and the one that is there stays", async () => {
    using node = new TestNode();
    const path = join(node.netd, "a.conf");
    fs.writeFileSync(path, '{"name": "a", "type": "bridge"}');
    const { ino, mtimeMs } = fs.statSync(path);
    for (const text of ["", "{", "[]", "text", '{"name": "a"}', '{"name": "a", "type": "bridge",}']) {
      node.template("a.conf", text);
      const ran = await node.run(["install", "--configs=a.conf"]);
      assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
      assert.match(
        ran.stderr,
        /^cni-node: .*a\.conf: the rendered configuration (?:is|has) .*\n(?: {4}.*\n)*? {2}hint: /u,
      );
    }
    assert.deepEqual([fs.statSync(path).ino, fs.statSync(path).mtimeMs], [ino, mtimeMs]);
  });

  test("is what its name says: other files are not looked at", async () => {
    using node = new TestNode();
    node.template("calico-kubeconfig", "apiVersion: v1");
    const ran = await node.run(["install", "--configs=calico-kubeconfig"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });
});

function duplicateWarning({ netd }: TestNode, ...names: string[]): string {
  return `cni-node: warning: ${netd}: the network name "net" is used by ${names.join(", ")}; names must be unique\n`;
}

describe("a network name that another configuration has too", () => {
  test("is warned of", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("net", "ptp"));
    node.template("20-b.conflist", conflist("net", "ptp"));
    const ran = await node.run(["install", "--configs=20-b.conflist"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, duplicateWarning(node, "10-a.conflist", "20-b.conflist")]);
  });

  test("is warned of between two of the same run", async () => {
    using node = new TestNode();
    node.template("10-a.conflist", conflist("net", "ptp"));
    node.template("20-b.conf", '{"cniVersion": "1.0.0", "name": "net", "type": "ptp"}');
    const ran = await node.run(["install", "--configs=20-b.conf,10-a.conflist"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, duplicateWarning(node, "20-b.conf", "10-a.conflist")]);
  });

  test("is fine when the other one is replaced or removed by the same run, or is not a configuration", async () => {
    using node = new TestNode();
    for (const name of ["10-a.conflist", "20-b.conflist", "c.bak", "d.conf"]) {
      fs.writeFileSync(join(node.netd, name), name === "d.conf" ? "{" : conflist("net", "ptp"));
    }
    node.template("20-b.conflist", conflist("net", "bridge"));
    const ran = await node.run(["apply", "--configs=20-b.conflist:10-a.conflist"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  test("is fine in a file that no runtime loads", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("net", "ptp"));
    node.template("20-b.conf.disabled", '{"cniVersion": "1.0.0", "name": "net", "type": "ptp"}');
    const ran = await node.run(["install", "--configs=20-b.conf.disabled"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });

  test("is nobody's business when nothing is written", async () => {
    using node = new TestNode();
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("net", "ptp"));
    node.template("20-b.conflist", conflist("net", "ptp"));
    await node.run(["install", "--configs=20-b.conflist"]);
    assert.equal((await node.run(["install", "--configs=20-b.conflist"])).stderr, "");
  });
});

test("contents are shown by plan only, with secrets masked", async () => {
  using node = new TestNode();
  node.template("a.conf", '{"name": "a", "type": "bridge", "token": "S3CRET", "visible": 1}');
  const installed = await node.run(["install", "--configs=a.conf"]);
  node.template("a.conf", '{"name": "a", "type": "bridge", "token": "S3CRET-2", "visible": 2}');
  const planned = await node.run(["plan", "--configs=a.conf"]);
  const json = await node.run(["install", "--dry-run", "--configs=a.conf", "--output=json"]);
  node.template("a.conf", '{"name": "a", "type": "bridge", "token": "S3CRET-2", "visible": 2');
  const refused = await node.run(["plan", "--configs=a.conf"]);
  for (const { stdout, stderr } of [installed, planned, json, refused]) assert.doesNotMatch(stdout + stderr, /S3CRET/u);
  for (const { stdout } of [planned, json]) assert.match(stdout, /-.*visible.*1.*\n.*|\+.*visible.*2/u);
  assert.doesNotMatch(installed.stdout + installed.stderr + refused.stdout + refused.stderr, /visible/u);
});

describe("a network configuration under a name that no runtime reads", () => {
  const network = '{"cniVersion":"1.0.0","name":"x","type":"bridge"}';
  const unread: [name: string, text: string][] = [
    ["10-x.cfg", network],
    ["10-x.conflist.new", conflist("x", "bridge")],
    ["10-x", network],
    ["10-x.cfg", '{"cniVersion":"1.0.0",'],
    ["10-x.yaml", network],
  ];
  for (const [name, text] of unread) {
    test(`U3: is told (${name})`, async () => {
      using node = new TestNode();
      node.template(name, text);
      const ran = await node.run(["install", `--configs=${name}`]);
      assert.equal(
        ran.stderr,
        `cni-node: warning: ${node.netd}/${name}: is a network configuration that no runtime reads, because its name does not end in .conf, .conflist or .json; name it .conflist if it has plugins, else .conf\n`,
      );
      assert.equal(ran.exitCode, 0);
      const again = await node.run(["install", `--configs=${name}`]);
      assert.equal(again.stderr, "", "what is there already is no news");
    });
  }

  const legitimate: [what: string, name: string, text: string, other?: string][] = [
    ["a kubeconfig", "calico-kubeconfig", "apiVersion: v1\nkind: Config\n"],
    ["a kubeconfig in JSON", "ZZZ-istio-cni-kubeconfig", '{"apiVersion":"v1","kind":"Config","users":[]}'],
    ["a note", "README", "cniVersion: see there\n"],
    ["what is called an example", "10-x.conflist.example", conflist("x", "bridge")],
    [
      "what a pointer of the run names",
      "x.delegate",
      network,
      '{"name":"a","type":"multus","delegates":[__x.delegate__]}',
    ],
    [
      "what a configuration of the run names",
      "x.delegate",
      network,
      '{"name":"a","type":"multus","clusterNetwork":"/etc/cni/net.d/x.delegate"}',
    ],
  ];
  for (const [what, name, text, other] of legitimate) {
    test(`U3: is not suspected in ${what}`, async () => {
      using node = new TestNode();
      node.template(name, text);
      if (other !== undefined) node.template("10-a.conf", other.replace("{", '{"cniVersion":"1.0.0",'));
      const ran = await node.run(["install", `--configs=${name}${other === undefined ? "" : ",10-a.conf"}`]);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
    });
  }

  test("U3: nor in what a configuration of the node names", async () => {
    using node = new TestNode();
    const outer = { cniVersion: "1.0.0", name: "a", type: "multus", clusterNetwork: "/etc/cni/net.d/x.delegate" };
    fs.writeFileSync(join(node.netd, "00-multus.conf"), JSON.stringify(outer));
    node.template("x.delegate", network);
    const ran = await node.run(["install", "--configs=x.delegate"]);
    assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  });
});
