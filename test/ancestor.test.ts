/**
 * The ancestor, openvnf/cni-node of 2019: what its users rely on is kept, what it got wrong is cured. Each test begins
 * with what was recorded of it; Kubernetes manifests are not in this version.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { lockDirectory } from "../src/host/lock.ts";
import { Deadline } from "../src/system/deadline.ts";
import { childrenOf } from "./helpers/namespace.ts";
import { BUNDLE, conflist, contentsOf, endOf, TestNode, until, withoutWaits, type Ran } from "./helpers/node.ts";

const PLUGINS = ["bridge", "host-device", "ipvlan", "macvlan", "ptp", "vlan"];

/** A node whose image has some plugins, and which has a configuration of Calico's. */
function calicoNode(): TestNode {
  const node = new TestNode();
  for (const name of PLUGINS) node.plugin(name);
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("calico", "calico"));
  return node;
}

/** What may be said of the ancestor's configurations, which had no version, and of the names of its tests. */
const EXPECTED =
  /^cni-node: warning: .*: (?:has no cniVersion: |is a network configuration that no runtime reads, ).*\n/gmu;

/** Runs what must succeed without another word on stderr. Returns the steps: outcome and name. */
async function outcomes(node: TestNode, ...argv: string[]): Promise<string[]> {
  const { exitCode, stdout, stderr } = await node.run([...argv, "--output=json"]);
  assert.deepEqual([exitCode, stderr.replaceAll(EXPECTED, "")], [0, ""]);
  const { steps } = JSON.parse(stdout) as { steps: { outcome: string; name: string }[] };
  return steps.map(({ outcome, name }) => `${outcome} ${name}`);
}

/** Runs what must fail and change nothing. Returns what it says. */
async function refusal(node: TestNode, exitCode: number, ...argv: string[]): Promise<string> {
  const before = contentsOf(node.host);
  const ran = await node.run(argv);
  assert.deepEqual([ran.exitCode, ran.stdout], [exitCode, ""]);
  assert.deepEqual(contentsOf(node.host), before);
  return ran.stderr;
}

/** The plugins on the node. */
function pluginsOn(node: TestNode): string {
  return Object.keys(contentsOf(node.bin)).join();
}

/** What an installed file holds. */
function installed(node: TestNode, name: string): string {
  return fs.readFileSync(join(node.netd, name), "utf8");
}

/** The files that come and go during a run, in the order in which the kernel saw them. */
async function changes(node: TestNode, ...argv: string[]): Promise<string[]> {
  const seen: string[] = [];
  // One inotify queue serves both.
  const watchers = [node.bin, node.netd].map((directory) =>
    fs.watch(directory, (event, name) => {
      if (event === "rename" && name?.startsWith(".") === false) seen.push(name);
    }),
  );
  await outcomes(node, ...argv);
  fs.writeFileSync(join(node.netd, "end"), "");
  await until(() => seen.includes("end"));
  for (const watcher of watchers) watcher.close();
  return seen.slice(0, seen.indexOf("end"));
}

/** Starts the bundle as process 1 of its own process namespace. */
async function asProcessOne(
  node: TestNode,
  { env = {} }: { env?: Record<string, string> },
  ...argv: string[]
): Promise<{ end: Promise<Ran>; outer: ChildProcess; kill: (signal: NodeJS.Signals) => void }> {
  const words = ["--pid", "--fork", "--kill-child", process.execPath, BUNDLE, ...argv, ...node.places];
  const outer = spawn("unshare", words, { env: { ...process.env, ...env } });
  const end = endOf(outer);
  const { pid = 0 } = outer;
  await until(() => outer.exitCode !== null || childrenOf(pid).length > 0);
  return { end, outer, kill: (signal) => void process.kill(childrenOf(pid)[0] ?? 0, signal) };
}

const asRoot = { skip: process.getuid?.() === 0 ? false : "needs root: makes a process namespace" };

describe("kept: 1, the commands", () => {
  test("install, uninstall, apply, list and version", async () => {
    using node = calicoNode();
    assert.deepEqual(await outcomes(node, "install", "--plugins=vlan,ptp"), ["created vlan", "created ptp"]);
    assert.deepEqual(await outcomes(node, "apply", "--plugins=ptp,bridge:vlan,ptp"), [
      "unchanged ptp",
      "created bridge",
      "deleted vlan",
    ]);
    assert.deepEqual(await outcomes(node, "uninstall", "--plugins=bridge,ptp"), ["deleted ptp", "deleted bridge"]);
    for (const argv of [["list", `--plugin-source=${node.plugins}`], ["version"]]) {
      assert.equal((await node.run(argv)).exitCode, 0);
    }
  });

  test("no command and an unknown command: usage on stderr, exit 2", async () => {
    using node = calicoNode();
    for (const argv of [[], ["nonsense"]]) {
      const { exitCode, stdout, stderr } = await node.run(argv);
      assert.deepEqual([exitCode, stdout], [2, ""]);
      assert.match(stderr, /^Usage: cni-node COMMAND/mu);
    }
  });

  test("an unknown option: exit 2 before anything is done", async () => {
    using node = calicoNode();
    assert.match(await refusal(node, 2, "install", "--plugins=vlan", "--nonsense=1"), /unknown option '--nonsense/u);
  });

  test("--option=value; and now --option value, too", async () => {
    using node = calicoNode();
    await outcomes(node, "install", "--plugins=vlan");
    await outcomes(node, "install", "--plugins", "ptp");
    assert.equal(pluginsOn(node), "ptp,vlan");
  });

  test("empty values are no-ops, uninstall without options does nothing", async () => {
    using node = calicoNode();
    const before = contentsOf(node.host);
    for (const argv of [
      ["install", "--plugins=", "--configs=", "--manifests="],
      ["uninstall"],
      ["apply", "--plugins=:"],
    ]) {
      assert.deepEqual(await outcomes(node, ...argv), []);
    }
    assert.deepEqual(contentsOf(node.host), before);
  });
});

test("kept: 2, list prints the image's plugins, one a line, byte-sorted", async () => {
  using node = calicoNode();
  node.plugin("Z");
  const { stdout } = await node.run(["list", `--plugin-source=${node.plugins}`]);
  assert.equal(stdout, ["Z", ...PLUGINS, ""].join("\n"));
});

test("kept: 3, lists are separated by commas or any white space, blanks, empty items and duplicates are harmless", async () => {
  using node = calicoNode();
  await outcomes(node, "install", "--plugins= vlan,,bridge\nptp\n\tvlan , macvlan,");
  assert.equal(pluginsOn(node), "bridge,macvlan,ptp,vlan");
});

describe("kept: 4, plugins", () => {
  test("are made executable, 0755, whatever the mode of the source", async () => {
    using node = calicoNode();
    for (const mode of [0o400, 0o644, 0o755, 0o777]) {
      fs.chmodSync(join(node.plugins, "vlan"), mode);
      await outcomes(node, "install", "--plugins=vlan");
      assert.equal(fs.statSync(join(node.bin, "vlan")).mode & 0o7777, 0o755);
      await outcomes(node, "uninstall", "--plugins=vlan");
    }
  });

  test("have their directory made", async () => {
    using node = calicoNode();
    fs.rmSync(join(node.host, "opt"), { recursive: true });
    await outcomes(node, "install", "--plugins=vlan");
    assert.equal(pluginsOn(node), "vlan");
  });

  test("are replaced even while the old one runs", async () => {
    using node = new TestNode();
    fs.copyFileSync("/bin/sleep", join(node.plugins, "sleep"));
    await outcomes(node, "install", "--plugins=sleep", "--validate=off");
    const running = spawn(join(node.bin, "sleep"), ["infinity"]);
    try {
      await once(running, "spawn");
      fs.appendFileSync(join(node.plugins, "sleep"), "new");
      assert.deepEqual(await outcomes(node, "install", "--plugins=sleep", "--validate=off"), ["configured sleep"]);
      assert.deepEqual([running.exitCode, running.signalCode], [null, null]);
      assert.deepEqual(fs.readFileSync(join(node.bin, "sleep")), fs.readFileSync(join(node.plugins, "sleep")));
    } finally {
      running.kill("SIGKILL");
    }
  });

  test("are taken from where a link at the source leads", async () => {
    using node = calicoNode();
    fs.symlinkSync("vlan", join(node.plugins, "linked"));
    await outcomes(node, "install", "--plugins=linked");
    assert.ok(fs.lstatSync(join(node.bin, "linked")).isFile());
  });

  test("replace a link at the destination, and not what it leads to", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.root, "elsewhere"), "untouched");
    fs.symlinkSync(join(node.root, "elsewhere"), join(node.bin, "vlan"));
    await outcomes(node, "install", "--plugins=vlan");
    assert.ok(fs.lstatSync(join(node.bin, "vlan")).isFile());
    assert.equal(fs.readFileSync(join(node.root, "elsewhere"), "utf8"), "untouched");
  });

  test("leave others untouched", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.bin, "other"), "other");
    const before = fs.statSync(join(node.bin, "other"), { bigint: true });
    await outcomes(node, "install", "--plugins=vlan");
    await outcomes(node, "uninstall", "--plugins=vlan");
    const { ino, mtimeNs, ctimeNs } = fs.statSync(join(node.bin, "other"), { bigint: true });
    assert.deepEqual([ino, mtimeNs, ctimeNs], [before.ino, before.mtimeNs, before.ctimeNs]);
  });

  test("of which one is missing fail, exit 1, and it is named", async () => {
    using node = calicoNode();
    assert.match(
      await refusal(node, 1, "install", "--plugins=missing"),
      /^cni-node: missing: not among the plugins in /u,
    );
  });
});

describe("kept: 5, configurations", () => {
  test("are read through the links of a ConfigMap's mount", async () => {
    using node = calicoNode();
    fs.mkdirSync(join(node.templates, "..2026_11_21"));
    fs.writeFileSync(join(node.templates, "..2026_11_21/05-a.conflist"), conflist("a", "vlan"));
    fs.symlinkSync("..2026_11_21", join(node.templates, "..data"));
    fs.symlinkSync("..data/05-a.conflist", join(node.templates, "05-a.conflist"));
    await outcomes(node, "install", "--configs=05-a.conflist");
    assert.ok(fs.lstatSync(join(node.netd, "05-a.conflist")).isFile());
    assert.equal(installed(node, "05-a.conflist"), conflist("a", "vlan"));
  });

  test("are verbatim, with no variables and one final newline", async () => {
    using node = calicoNode();
    const text = '{\r\n\t"name": "a",   "type": "x", "key": "$HOME ${HOME} $$ `id` \\\\ %s &"}';
    for (const end of ["", "\n", "\n\n\n"]) {
      node.template("05-a.conf", `${text}${end}`);
      await outcomes(node, "install", "--configs=05-a.conf");
      assert.equal(installed(node, "05-a.conf"), `${text}\n`);
    }
  });

  test("are 0600 instead of 0644, and of the mode that is asked for", async () => {
    using node = calicoNode();
    node.template("05-a.conflist", conflist("a", "vlan"));
    for (const [option, mode] of [
      ["--config-mode=0644", 0o644],
      [undefined, 0o600],
    ] as const) {
      await outcomes(node, "install", "--configs=05-a.conflist", ...(option === undefined ? [] : [option]));
      assert.equal(fs.statSync(join(node.netd, "05-a.conflist")).mode & 0o7777, mode);
      await outcomes(node, "uninstall", "--configs=05-a.conflist");
    }
  });

  test("whose template is missing fail and leave the installed file alone", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.netd, "05-a.conf"), "installed");
    assert.match(await refusal(node, 1, "install", "--configs=05-a.conf"), /\/05-a\.conf: there is no such template/u);
  });
});

/** A template whose delegates are these lines. */
function multus(...lines: string[]): string {
  return ['{"name": "multus", "type": "multus", "delegates": [', ...lines, "]}", ""].join("\n");
}

describe("kept: 6, pointers", () => {
  const calico = conflist("calico", "calico");
  const indented = '{\n  "name": "b",\n  "type": "b"\n}';
  const cases: [promise: string, lines: string[], rendered: string[]][] = [
    ["on a line of its own stand for the line", ["__10-calico.conflist__"], [calico.trim()]],
    ["that are indented stand for the line; the content is verbatim, not indented", ["    __b.conf__  "], [indented]],
    [
      "may be several and repeated",
      ["__b.conf__", ",", "__10-calico.conflist__", ",", "__b.conf__"],
      [indented, ",", calico.trim(), ",", indented],
    ],
  ];
  for (const [promise, lines, rendered] of cases) {
    for (const end of ["", "\n"]) {
      test(`${promise}; the target ends ${end === "" ? "without" : "with"} a newline`, async () => {
        using node = calicoNode();
        fs.writeFileSync(join(node.netd, "10-calico.conflist"), `${calico.trim()}${end}`);
        fs.writeFileSync(join(node.netd, "b.conf"), `${indented}${end}`);
        node.template("05-multus.conf", multus(...lines));
        await outcomes(node, "install", "--configs=05-multus.conf");
        assert.equal(installed(node, "05-multus.conf"), multus(...rendered));
      });
    }
  }

  test("are looked up on the node, where an earlier configuration of the same run counts", async () => {
    using node = calicoNode();
    node.template("10-calico.conflist", conflist("template", "bridge"));
    node.template("06-b.conf", '{"name": "b", "type": "bridge"}');
    node.template("05-multus.conf", multus("__06-b.conf__", ",", "__10-calico.conflist__"));
    await outcomes(node, "install", "--configs=06-b.conf,05-multus.conf");
    assert.equal(installed(node, "05-multus.conf"), multus('{"name": "b", "type": "bridge"}', ",", calico.trim()));
  });

  test("are not followed further: a content is put in as it is", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.netd, "b.conf"), '{"name": "__10-calico.conflist__"}\n');
    node.template("05-multus.conf", multus("__b.conf__"));
    const { stderr } = await node.run(["install", "--configs=05-multus.conf"]);
    assert.match(
      stderr,
      /^cni-node: warning: .*05-multus\.conf: still has __10-calico\.conflist__, which was not replaced/u,
    );
    assert.equal(installed(node, "05-multus.conf"), multus('{"name": "__10-calico.conflist__"}'));
  });
});

describe("kept: 8, the order", () => {
  test("plugins before configurations whatever the order of the options, items as given", async () => {
    using node = calicoNode();
    for (const name of ["b.conf", "a.conf"]) node.template(name, `{"name": "${name}", "type": "x"}`);
    const seen = await changes(node, "install", "--configs=b.conf,a.conf", "--plugins=vlan,bridge");
    assert.deepEqual(seen, ["vlan", "bridge", "b.conf", "a.conf"]);
  });

  test("uninstall goes backwards", async () => {
    using node = calicoNode();
    for (const name of ["b.conf", "a.conf"]) fs.writeFileSync(join(node.netd, name), "{}");
    await outcomes(node, "install", "--plugins=vlan,bridge");
    const seen = await changes(node, "uninstall", "--plugins=vlan,bridge", "--configs=b.conf,a.conf");
    assert.deepEqual(seen, ["a.conf", "b.conf", "bridge", "vlan"]);
  });

  test("apply adds before it removes, and removes in reverse order of current", async () => {
    using node = calicoNode();
    await outcomes(node, "install", "--plugins=host-device,ptp,ipvlan");
    const seen = await changes(node, "apply", "--plugins=ptp,macvlan,bridge:host-device,ptp,ipvlan");
    assert.deepEqual(seen, ["macvlan", "bridge", "ipvlan", "host-device"]);
  });

  test("what is in both lists is not touched, even if it is not what the image has", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.bin, "vlan"), "changed");
    node.template("10-calico.conflist", "changed");
    const stats = (): bigint[] =>
      [join(node.bin, "vlan"), join(node.netd, "10-calico.conflist")].flatMap((path) => {
        const { ino, ctimeNs } = fs.statSync(path, { bigint: true });
        return [ino, ctimeNs];
      });
    const before = stats();
    const lists = ["--plugins=vlan,ptp:vlan", "--configs=10-calico.conflist:10-calico.conflist"];
    assert.deepEqual(await outcomes(node, "apply", ...lists), [
      "unchanged vlan",
      "created ptp",
      "unchanged 10-calico.conflist",
    ]);
    assert.deepEqual(stats(), before);
  });

  test("a failure stops everything behind it, and now also what is before it", async () => {
    using node = calicoNode();
    assert.match(await refusal(node, 1, "install", "--plugins=vlan", "--configs=missing.conf"), /missing\.conf/u);
    assert.equal(pluginsOn(node), "");
  });
});

test("kept: 9, uninstall of absent files is a success", async () => {
  using node = calicoNode();
  assert.deepEqual(await outcomes(node, "uninstall", "--plugins=vlan", "--configs=a.conf"), [
    "absent a.conf",
    "absent vlan",
  ]);
});

describe("kept: 10, --pause", () => {
  for (const argv of [
    ["--pause", "install", "--plugins=vlan"],
    ["install", "--pause", "--plugins=vlan"],
    ["install", "--plugins=vlan", "--pause"],
  ]) {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      test(
        `${argv.join(" ")}: stays after the action as process 1, until ${signal}: exit code 0, nothing removed`,
        asRoot,
        async () => {
          using node = calicoNode();
          const { end, outer, kill } = await asProcessOne(node, {}, ...argv);
          await Promise.race([once(outer.stdout as Readable, "data"), end]);
          assert.equal(outer.exitCode, null);
          kill(signal);
          assert.deepEqual(await end, { exitCode: 0, stdout: "created     plugin    vlan\n", stderr: "" });
          assert.equal(pluginsOn(node), "vlan");
        },
      );
    }
  }

  test("does not come after a failure", asRoot, async () => {
    using node = calicoNode();
    const { end } = await asProcessOne(node, {}, "install", "--plugins=missing", "--pause");
    assert.equal((await end).exitCode, 1);
  });
});

describe("cured: apply compares whole names as sets", () => {
  /** What is on the node at first, what is asked for, and what is there then. */
  const cases: [label: string, promise: string, before: string, list: string, after: string][] = [
    ["apply-vlan-macvlan", "vlan, which is desired, stays", "macvlan,vlan", "vlan:vlan,macvlan", "vlan"],
    [
      "apply-name-is-substring-of-removed",
      "bridge stays when bridge2 goes",
      "bridge,bridge2",
      "bridge:bridge,bridge2",
      "bridge",
    ],
    ["apply-name-is-substring-of-added", "bridge goes when bridge2 comes", "bridge", "bridge2:bridge", "bridge2"],
    ["apply-duplicates-in-current", "bridge stays", "bridge", "bridge:bridge,bridge", "bridge"],
    [
      "apply-name-is-regex",
      "host-device stays when host.device goes",
      "host-device,host.device",
      "host-device:host-device,host.device",
      "host-device",
    ],
    ["apply-name-with-plus", "a+b comes", "aab", "a+b,aab:aab", "a+b,aab"],
    ["apply-no-colon", "what is desired comes, nothing goes", "ptp", "bridge,vlan", "bridge,ptp,vlan"],
  ];
  for (const [label, promise, before, list, after] of cases) {
    test(`${label}: ${promise}`, async () => {
      using node = calicoNode();
      for (const name of ["a+b", "aab", "bridge2", "host.device"]) node.plugin(name);
      await outcomes(node, "install", `--plugins=${before}`);
      await outcomes(node, "apply", `--plugins=${list}`);
      assert.equal(pluginsOn(node), after);
    });
  }

  test("apply-config-dot-regex, apply-name-with-plus: 10-a.conf stays when 10-aXconf goes, 10-a+b.conf comes", async () => {
    using node = calicoNode();
    const names = ["10-a.conf", "10-aXconf", "10-a+b.conf"];
    for (const name of names) node.template(name, `{"name": "n${names.indexOf(name)}", "type": "vlan"}`);
    await outcomes(node, "install", "--configs=10-a.conf,10-aXconf");
    await outcomes(node, "apply", "--configs=10-a.conf,10-a+b.conf:10-a.conf,10-aXconf");
    assert.deepEqual(Object.keys(contentsOf(node.netd)), ["10-a+b.conf", "10-a.conf", "10-calico.conflist"]);
  });

  const refusals: [label: string, promise: string, list: string, exitCode: number, message: RegExp][] = [
    [
      "apply-name-with-quote",
      "it is not a plugin, and bridge stays",
      "it's:bridge",
      1,
      /^cni-node: it's: not among the plugins/u,
    ],
    [
      "apply-name-bad-regex",
      "it is not a plugin, and bridge stays",
      "a[b*(:bridge",
      1,
      /^cni-node: a\[b\*\(: not among the plugins/u,
    ],
    ["apply-two-colons", "is a mistake", "vlan:bridge:ptp", 2, /^cni-node: --plugins: has two colons/u],
  ];
  for (const [label, promise, list, exitCode, message] of refusals) {
    test(`${label}: ${promise}`, async () => {
      using node = calicoNode();
      await outcomes(node, "install", "--plugins=bridge");
      assert.match(await refusal(node, exitCode, "apply", `--plugins=${list}`), message);
    });
  }
});

describe("cured: pointers", () => {
  const missing =
    /05-multus\.conf: line 2, column 1: the pointer __missing\.conf__ needs .*\/net\.d\/missing\.conf, which is not there/u;

  test("pointer-missing: the run fails, names template, line and file, and writes nothing", async () => {
    using node = calicoNode();
    node.template("05-multus.conf", multus("__missing.conf__"));
    assert.match(await refusal(node, 1, "install", "--plugins=vlan", "--configs=05-multus.conf"), missing);
  });

  test("pointer-missing-keeps-installed: the good file that is there stays", async () => {
    using node = calicoNode();
    node.template("05-multus.conf", multus("__10-calico.conflist__"));
    await outcomes(node, "install", "--configs=05-multus.conf");
    node.template("05-multus.conf", multus("__missing.conf__"));
    assert.match(await refusal(node, 1, "install", "--configs=05-multus.conf"), missing);
  });

  const calico = conflist("calico", "calico").trim();
  const cases: [label: string, promise: string, line: string, rendered: string][] = [
    ["pointer-inline", "stands for itself, not for the line", "  __10-calico.conflist__ , {}", `  ${calico} , {}`],
    [
      "pointer-followed-by-comma",
      "the comma stays",
      "__10-calico.conflist__,\n__10-calico.conflist__",
      `${calico},\n${calico}`,
    ],
    ["pointer-two-on-a-line", "both are there", "__10-calico.conflist__, __b.conf__", `${calico}, {"b": 1}`],
    ["pointer-name-is-regex", "a dot is a dot", '__b.conf__, "b-conf"', '{"b": 1}, "b-conf"'],
  ];
  for (const [label, promise, line, rendered] of cases) {
    test(`${label}: ${promise}`, async () => {
      using node = calicoNode();
      fs.writeFileSync(join(node.netd, "b.conf"), '{"b": 1}');
      fs.writeFileSync(join(node.netd, "b-conf"), "wrong");
      node.template("05-multus.conf", multus(line));
      await outcomes(node, "install", "--configs=05-multus.conf");
      assert.equal(installed(node, "05-multus.conf"), multus(rendered));
    });
  }

  test("pointer-name-is-regex: __b.conf__ leaves __b-conf__, which is another pointer, alone", async () => {
    using node = calicoNode();
    fs.writeFileSync(join(node.netd, "b.conf"), "{}");
    node.template("05-multus.conf", multus("__b.conf__,", "__b-conf__"));
    assert.match(await refusal(node, 1, "install", "--configs=05-multus.conf"), /line 3, .* __b-conf__ needs/u);
  });

  test("pointer-not-a-pointer: a line __word__ is an error, not dropped", async () => {
    using node = calicoNode();
    node.template("05-multus.conf", multus("__word__"));
    assert.match(await refusal(node, 1, "install", "--configs=05-multus.conf"), /the pointer __word__ needs/u);
  });

  const none: [label: string, promise: string, line: string][] = [
    ["pointer-not-a-pointer", "what is none stays", '"__", "_a_", "a__b__", "__a"'],
    ["pointer-name-with-double-underscore", "is none and stays", '"__a__b__"'],
    [
      "pointer-with-slash",
      "is none and stays, nothing outside the directory is read",
      '"__../10-calico.conflist__", "__/etc/passwd__"',
    ],
  ];
  for (const [label, promise, line] of none) {
    test(`${label}: ${promise}`, async () => {
      using node = calicoNode();
      fs.writeFileSync(join(node.netd, "a__b"), "{}");
      fs.writeFileSync(join(node.netd, "../10-calico.conflist"), "{}");
      node.template("05-multus.conf", multus(line));
      await outcomes(node, "install", "--configs=05-multus.conf");
      assert.equal(installed(node, "05-multus.conf"), multus(line));
      node.template("05-multus.conf", multus(line.replaceAll('"', "")));
      assert.match(
        await refusal(node, 1, "install", "--configs=05-multus.conf"),
        /05-multus\.conf: line 2, column \d+: \S+ is not a pointer\n/u,
      );
    });
  }
});

describe("cured: names", () => {
  const path = "../../../etc/cni/net.d/10-calico.conflist";
  const cases: [label: string, argv: string[]][] = [
    ["plugins-install-path-traversal", ["install", `--plugins=${path}`]],
    ["plugins-uninstall-path-traversal", ["uninstall", `--plugins=${path}`]],
    ["configs-uninstall-path-traversal", ["uninstall", "--configs=../../../opt/cni/bin/vlan"]],
  ];
  for (const [label, argv] of cases) {
    test(`${label}: a path is not a name, exit 2`, async () => {
      using node = calicoNode();
      await outcomes(node, "install", "--plugins=vlan");
      assert.match(
        await refusal(node, 2, ...argv),
        /is not an asset name: it contains a slash\n {2}hint: give file names, not paths/u,
      );
    });
  }
});

describe("cured: half-done work", () => {
  test("plugins-install-missing-partial: those before the missing one are not installed either; all that miss are named", async () => {
    using node = calicoNode();
    assert.match(
      await refusal(node, 1, "install", "--plugins=vlan,missing,ptp,gone"),
      /^cni-node: missing, gone: not among/u,
    );
  });

  test("together-uninstall-order-of-kinds: the configuration goes before the plugin that it names", async () => {
    using node = calicoNode();
    node.template("a.conflist", conflist("a", "vlan"));
    await outcomes(node, "install", "--plugins=vlan", "--configs=a.conflist");
    assert.deepEqual(await changes(node, "uninstall", "--plugins=vlan", "--configs=a.conflist"), [
      "a.conflist",
      "vlan",
    ]);
  });

  test("together-apply-order-of-kinds: plugins come, configurations come, configurations go, plugins go", async () => {
    using node = calicoNode();
    for (const [name, type] of [
      ["a", "vlan"],
      ["b", "ptp"],
    ] as const)
      node.template(`${name}.conflist`, conflist(name, type));
    await outcomes(node, "install", "--plugins=vlan", "--configs=a.conflist");
    const seen = await changes(node, "apply", "--plugins=ptp:vlan", "--configs=b.conflist:a.conflist");
    assert.deepEqual(seen, ["ptp", "b.conflist", "a.conflist", "vlan"]);
  });

  test(
    "pid1-sigterm-during-action: process 1 ends with 143, nothing has happened and it does not pause",
    asRoot,
    async () => {
      using node = calicoNode();
      node.template("a.conflist", conflist("a", "vlan"));
      const lock = await lockDirectory(node.netd, new Deadline(0), new AbortController().signal);
      try {
        const { end, outer, kill } = await asProcessOne(
          node,
          {},
          "install",
          "--plugins=vlan",
          "--configs=a.conflist",
          "--pause",
        );
        // It has one lock and waits for the other.
        await until(() => outer.exitCode !== null || fs.existsSync(join(node.bin, ".cni-node/lock")));
        kill("SIGTERM");
        assert.deepEqual(await end, {
          exitCode: 143,
          stdout: "",
          stderr: "cni-node: ended by SIGTERM before anything was changed\n",
        });
      } finally {
        lock.release();
      }
      assert.deepEqual([fs.readdirSync(node.bin), Object.keys(contentsOf(node.netd))], [[], ["10-calico.conflist"]]);
    },
  );

  test(
    "pid1-sigterm-during-action: after the commit point process 1 completes, and does not pause for ever",
    asRoot,
    async () => {
      using node = calicoNode();
      const preload = fileURLToPath(new URL("helpers/signal-at.mjs", import.meta.url));
      const env = { NODE_OPTIONS: `--import=${preload}`, TEST_SIGNAL: "SIGTERM", TEST_AT: "1", TEST_TO: "/vlan$" };
      for (const [option, exitCodes] of [
        ["--pause", [0, 143]],
        ["--pause=false", [143]],
      ] as const) {
        const { end } = await asProcessOne(node, { env }, "install", "--plugins=vlan,ptp", option);
        const { exitCode, stderr } = await end;
        assert.deepEqual([stderr, pluginsOn(node)], ["", "ptp,vlan"]);
        assert.ok((exitCodes as readonly number[]).includes(exitCode), String(exitCode));
        await outcomes(node, "uninstall", "--plugins=vlan,ptp");
      }
    },
  );

  test("pause-stops-at-once: the signal alone ends the pause", asRoot, async () => {
    using node = calicoNode();
    const { end, outer, kill } = await asProcessOne(node, {}, "install", "--plugins=vlan", "--pause");
    await Promise.race([once(outer.stdout as Readable, "data"), end]);
    kill("SIGTERM");
    assert.equal((await end).exitCode, 0);
  });
});

describe("cured: the command line", () => {
  test("cli-help-flag: --help prints help on stdout, exit 0", async () => {
    using node = calicoNode();
    for (const argv of [["--help"], ["install", "--help"], ["install", "--plugins=vlan", "-h"]]) {
      const { exitCode, stdout, stderr } = await node.run(argv);
      assert.deepEqual([exitCode, stderr, pluginsOn(node)], [0, "", ""]);
      assert.match(stdout, /^Usage: cni-node /u);
    }
  });

  test("cli-environment-leaks-into-options: only variables that begin with CNI_NODE_ are read", async () => {
    using node = calicoNode();
    const words = [
      "plugins",
      "configs",
      "manifests",
      "pause",
      "plugin",
      "config",
      "manifest",
      "command",
      "action",
      "desired",
      "current",
    ];
    const spellings = words.flatMap((word) => [word, word.toUpperCase(), `${word[0]?.toUpperCase()}${word.slice(1)}`]);
    const env = Object.fromEntries(spellings.map((name) => [name, "vlan"]));
    assert.deepEqual(await node.bundle(["install"], env), { exitCode: 0, stdout: "nothing to do\n", stderr: "" });
    assert.equal(pluginsOn(node), "");
  });
});

describe("cured: what is at the destination", () => {
  test("plugins-install-destination-is-directory: is refused, the plugin is not put into it", async () => {
    using node = calicoNode();
    fs.mkdirSync(join(node.bin, "vlan"));
    assert.match(
      await refusal(node, 1, "install", "--plugins=ptp,vlan"),
      /\/vlan: is a directory, not a file of cni-node's/u,
    );
    assert.deepEqual(fs.readdirSync(join(node.bin, "vlan")), []);
  });

  test("configs-install-destination-is-symlink: the link is replaced, what it leads to is untouched, uninstall puts it back", async () => {
    using node = calicoNode();
    node.template("a.conflist", conflist("a", "vlan"));
    fs.writeFileSync(join(node.root, "elsewhere"), "untouched");
    fs.symlinkSync("../../../../elsewhere", join(node.netd, "a.conflist"));
    await outcomes(node, "install", "--configs=a.conflist");
    assert.equal(contentsOf(node.netd)["a.conflist"], conflist("a", "vlan"));
    await outcomes(node, "uninstall", "--configs=a.conflist", "--validate=off");
    assert.equal(contentsOf(node.netd)["a.conflist"], "-> ../../../../elsewhere");
    assert.equal(fs.readFileSync(join(node.root, "elsewhere"), "utf8"), "untouched");
  });
});

describe("cured: beside the cases", () => {
  test("contents of configurations are not printed", async () => {
    using node = calicoNode();
    node.template("a.conf", '{"name": "a", "type": "vlan", "x": "CONTENT"}');
    const { stdout, stderr } = await node.run(["install", "--configs=a.conf"]);
    assert.doesNotMatch(stdout + stderr, /CONTENT/u);
  });

  test("files are replaced whole, not written in place: who has the old one open goes on reading it", async () => {
    using node = calicoNode();
    node.template("10-calico.conflist", conflist("new", "vlan"));
    const descriptor = fs.openSync(join(node.netd, "10-calico.conflist"), "r");
    try {
      await outcomes(node, "install", "--configs=10-calico.conflist");
      assert.equal(fs.readFileSync(descriptor, "utf8"), conflist("calico", "calico"));
      assert.equal(installed(node, "10-calico.conflist"), conflist("new", "vlan"));
    } finally {
      fs.closeSync(descriptor);
    }
  });

  test("two runs at the same time come one after the other", async () => {
    using node = calicoNode();
    const runs = PLUGINS.map(async (name) => node.bundle(["install", `--plugins=${name}`]));
    for (const { exitCode, stderr } of await Promise.all(runs)) {
      assert.deepEqual([exitCode, withoutWaits(stderr)], [0, ""]);
    }
    const record = JSON.parse(fs.readFileSync(join(node.bin, ".cni-node/record.json"), "utf8")) as {
      assets: { name: string }[];
    };
    assert.deepEqual(
      record.assets.map(({ name }) => name),
      PLUGINS,
    );
  });

  test("apply without a colon installs an edited template again, and with --refresh also what is in both lists", async () => {
    using node = calicoNode();
    for (const [type, list] of [
      ["vlan", "a.conflist"],
      ["ptp", "a.conflist"],
    ] as const) {
      node.template("a.conflist", conflist("a", type));
      await outcomes(node, "apply", `--configs=${list}`);
      assert.equal(installed(node, "a.conflist"), conflist("a", type));
    }
    node.template("a.conflist", conflist("a", "bridge"));
    assert.deepEqual(await outcomes(node, "apply", "--configs=a.conflist:a.conflist"), ["unchanged a.conflist"]);
    assert.deepEqual(await outcomes(node, "apply", "--refresh", "--configs=a.conflist:a.conflist"), [
      "configured a.conflist",
    ]);
    assert.equal(installed(node, "a.conflist"), conflist("a", "bridge"));
  });
});
