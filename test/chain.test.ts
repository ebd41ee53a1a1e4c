/** `--chain`: a plugin of ours in a network of somebody else's, and exactly this one out of it again. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, suite, test } from "node:test";

import { conflist, TestNode, until, type Ran } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";
import { replace, Watched } from "./helpers/watched.ts";

const CALICO = "10-calico.conflist";
const TUNING = { type: "tuning", sysctl: { "net.core.somaxconn": "500" } };
const INSTALL = ["install", "--chain=tuning.json"];
const UNINSTALL = ["uninstall", "--chain=tuning.json"];

function nodeWith(files: Record<string, string> = { [CALICO]: conflist("k8s", "calico", "portmap") }): TestNode {
  const node = new TestNode();
  node.template("tuning.json", JSON.stringify(TUNING));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(node.netd, name), text);
  return node;
}

function textOf(node: TestNode, name = CALICO): string {
  return fs.readFileSync(join(node.netd, name), "utf8");
}

function configOf(node: TestNode, name = CALICO): { plugins: { type: string }[] } {
  return JSON.parse(textOf(node, name)) as { plugins: { type: string }[] };
}

function typesOf(node: TestNode, name = CALICO): string[] {
  return configOf(node, name).plugins.map(({ type }) => type);
}

async function done(run: Promise<Ran>): Promise<string> {
  const ran = await run;
  assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
  return ran.stdout;
}

async function refused(run: Promise<Ran>): Promise<string> {
  const ran = await run;
  assert.equal(ran.exitCode, 1, ran.stderr);
  return ran.stderr;
}

describe("--chain", () => {
  test("appends the plugin to the network that pods use, keeps the rest and the mode, and takes out exactly it", async () => {
    const rest = '"disableCheck": true, "big": 12345678901234567890, "x-vendor": {"a": [1.5, null]}';
    const text = `{"cniVersion": "1.0.0", "name": "k8s", ${rest}, "plugins": [{"type": "calico"}]}`;
    using node = nodeWith({ [CALICO]: text });
    fs.chmodSync(join(node.netd, CALICO), 0o640);
    assert.match(
      await done(node.run(INSTALL)),
      /^configured +config +10-calico\.conflist +tuning at the end of its chain$/mu,
    );
    assert.deepEqual(configOf(node), { ...(JSON.parse(text) as object), plugins: [{ type: "calico" }, TUNING] });
    assert.match(textOf(node), /"big": 12345678901234567890,/u);
    assert.equal(fs.statSync(join(node.netd, CALICO)).mode & 0o777, 0o640);
    const inode = fs.statSync(join(node.netd, CALICO)).ino;
    assert.match(await done(node.run(INSTALL)), /^unchanged +config +10-calico\.conflist +has tuning in its chain$/mu);
    assert.equal(fs.statSync(join(node.netd, CALICO)).ino, inode);
    assert.match(
      await done(node.run(UNINSTALL)),
      /^configured +config +10-calico\.conflist +without tuning of cni-node$/mu,
    );
    assert.deepEqual(configOf(node), JSON.parse(text));
    assert.match(textOf(node), /"big": 12345678901234567890,/u);
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
  });

  test("finds the network by its name, and puts Multus' delegate around what comes of it", async () => {
    using node = nodeWith({ [CALICO]: conflist("k8s", "calico"), "20-other.conflist": conflist("other", "bridge") });
    await done(node.run(["install", "--chain=tuning.json@other"]));
    assert.deepEqual([typesOf(node), typesOf(node, "20-other.conflist")], [["calico"], ["bridge", "tuning"]]);
    node.template("multus.json", '{"kubeconfig": "/etc/kubernetes/kubelet.conf"}');
    const around = await node.run([...INSTALL, "--delegate=auto:10-*", "--delegate-keys=multus.json"]);
    assert.equal(around.exitCode, 0, around.stderr);
    assert.match(textOf(node, "00-multus.conflist"), /"type": "calico"\s*\},\s*\{\s*"type": "tuning"/u);
    assert.deepEqual(typesOf(node), ["calico", "tuning"]);
  });

  test("renders variables and pointers of the plugin's template", async () => {
    using node = nodeWith();
    node.template("tuning.json", '{"type": "tuning", "node": "__NODE_NAME__"}');
    await done(node.run([...INSTALL, "--node-name=n1"]));
    assert.deepEqual(configOf(node).plugins.at(-1), { type: "tuning", node: "n1" });
  });

  test("takes the place of its former self if the template changes, even behind a plugin that others chained later", async () => {
    using node = nodeWith();
    await done(node.run(INSTALL));
    const { plugins, ...list } = configOf(node);
    replace(join(node.netd, CALICO), JSON.stringify({ ...list, plugins: [...plugins, { type: "x" }] }));
    assert.match(await done(node.run(INSTALL)), /^unchanged/mu);
    node.template("tuning.json", '{"type": "tuning", "mtu": 1400}');
    await done(node.run(INSTALL));
    assert.deepEqual(configOf(node).plugins.slice(2), [{ type: "tuning", mtu: 1400 }, { type: "x" }]);
    await done(node.run(UNINSTALL));
    assert.deepEqual(typesOf(node), ["calico", "portmap", "x"]);
  });

  test("comes back if the network's installer writes its file again, and leaves a file alone that has lost it", async () => {
    using node = nodeWith();
    await done(node.run(INSTALL));
    replace(join(node.netd, CALICO), conflist("k8s", "calico"));
    assert.match(
      (await node.run(["status", `--host-root=${node.host}`])).stdout,
      /asset-changed[^]*cni-node install --chain=tuning\.json@primary/u,
    );
    assert.match(await done(node.run(INSTALL)), /it had been removed: tuning at the end of its chain/u);
    assert.deepEqual(typesOf(node), ["calico", "tuning"]);
    replace(join(node.netd, CALICO), conflist("k8s", "calico"));
    assert.match(
      await done(node.run(UNINSTALL)),
      /^unchanged +config +10-calico\.conflist +tuning of cni-node is not/mu,
    );
    assert.equal(textOf(node), conflist("k8s", "calico"));
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
  });

  test("is not forgotten while somebody writes the file of its network", async () => {
    using node = nodeWith();
    node.plugin("tuning");
    await done(node.run([...INSTALL, "--plugins=tuning"]));
    const whole = textOf(node);
    for (const text of ["", whole.slice(0, 40)]) {
      replace(join(node.netd, CALICO), text);
      const message = await refused(node.run([...UNINSTALL, "--plugins=tuning"]));
      assert.match(message, /10-calico\.conflist: is not a configuration list/u);
    }
    assert.ok(fs.existsSync(join(node.bin, "tuning")));
    replace(join(node.netd, CALICO), whole);
    await done(node.run(UNINSTALL));
    assert.deepEqual(typesOf(node), ["calico", "portmap"]);
  });

  test("does not take out a plugin that the network had before", async () => {
    using node = nodeWith();
    node.template("portmap.json", '{"capabilities": {"portMappings": true}, "type": "portmap"}');
    assert.match(await done(node.run(["install", "--chain=portmap.json"])), /^unchanged/mu);
    assert.match(await done(node.run(["uninstall", "--chain=portmap.json"])), /^unchanged/mu);
    assert.equal(textOf(node), conflist("k8s", "calico", "portmap"));
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
  });

  test("keeps the plugins of another owner, and one that two owners share until both are gone", async () => {
    using node = nodeWith({ [CALICO]: conflist("k8s", "calico") });
    node.template("x.json", '{"type": "x"}');
    await done(node.run([...INSTALL, "--owner=a"]));
    await done(node.run(["install", "--chain=tuning.json,x.json", "--owner=b"]));
    assert.deepEqual(typesOf(node), ["calico", "tuning", "x"]);
    await done(node.run(["uninstall", "--chain=x.json,tuning.json", "--owner=b"]));
    assert.deepEqual(typesOf(node), ["calico", "tuning"]);
    const status = await node.run(["status", `--host-root=${node.host}`]);
    assert.match(status.stdout, /unchanged +config +10-calico\.conflist +a +only tuning in its chain/u);
    await done(node.run(["uninstall", `--configs=${CALICO}`, "--owner=a"]));
    assert.deepEqual(typesOf(node), ["calico"]);
  });

  test("goes with --prune and --all, and follows the primary to another file", async () => {
    using node = nodeWith();
    await done(node.run(INSTALL));
    fs.writeFileSync(join(node.netd, "05-cilium.conflist"), conflist("cilium", "x"));
    await done(node.run(INSTALL));
    assert.deepEqual(
      [typesOf(node), typesOf(node, "05-cilium.conflist")],
      [
        ["calico", "portmap"],
        ["x", "tuning"],
      ],
    );
    node.template("y.json", '{"type": "y"}');
    await done(node.run(["apply", "--chain=y.json", "--prune", "--owner=cni-node"]));
    assert.deepEqual(typesOf(node, "05-cilium.conflist"), ["x", "y"]);
    await done(node.run(["uninstall", "--all", "--owner=cni-node"]));
    assert.deepEqual(typesOf(node, "05-cilium.conflist"), ["x"]);
    assert.deepEqual(fs.readdirSync(node.netd), ["05-cilium.conflist", CALICO]);
  });

  test("prunes nothing else of the owner", async () => {
    using node = nodeWith();
    node.template("30-own.conflist", conflist("own", "bridge"));
    await done(node.run(["install", "--configs=30-own.conflist"]));
    await done(node.run(["apply", "--chain=tuning.json", "--prune", "--owner=cni-node"]));
    assert.deepEqual(fs.readdirSync(node.netd), [".cni-node", CALICO, "30-own.conflist"]);
  });

  test("makes a list of a single plugin's configuration, with its name and version, and lets it come first", async () => {
    const text = '{"cniVersion": "0.3.1", "name": "old", "type": "bridge", "bridge": "b0"}';
    using node = nodeWith({ "10-old.conf": text });
    assert.match(await done(node.run(INSTALL)), /^created +config +10-old-chained\.conflist$/mu);
    const list = { cniVersion: "0.3.1", name: "old", plugins: [{ type: "bridge", bridge: "b0" }, TUNING] };
    assert.deepEqual(configOf(node, "10-old-chained.conflist"), list);
    assert.match(await done(node.run([...INSTALL, "--checksum"])), /^unchanged/mu);
    assert.match((await node.run(["status", `--host-root=${node.host}`])).stdout, /10-old-chained\.conflist +chosen/u);
    replace(join(node.netd, "10-old.conf"), text.replace("b0", "b1"));
    await done(node.run(INSTALL));
    assert.match(textOf(node, "10-old-chained.conflist"), /"b1"/u);
    // The rest of the copy is not known without its templates.
    node.template("x.json", '{"type": "x"}');
    const message = /10-old-chained\.conflist: is made of 10-old\.conf and tuning\.json@primary of the owner cni-node/u;
    assert.match(await refused(node.run(["install", "--chain=x.json"])), message);
    await done(node.run(["install", "--chain=tuning.json,x.json"]));
    assert.deepEqual(typesOf(node, "10-old-chained.conflist"), ["bridge", "tuning", "x"]);
    await done(node.run(["apply", "--chain=tuning.json", "--prune", "--owner=cni-node"]));
    fs.renameSync(join(node.netd, "10-old.conf"), join(node.netd, "old"));
    const status = await node.run(["status", `--host-root=${node.host}`]);
    const gone = /is a copy of 10-old\.conf, which is gone[^]*cni-node uninstall --chain=tuning\.json@primary/u;
    assert.match(status.stdout, gone);
    fs.renameSync(join(node.netd, "old"), join(node.netd, "10-old.conf"));
    // The installer comes to write a list.
    fs.rmSync(join(node.netd, "10-old.conf"));
    fs.writeFileSync(join(node.netd, "10-old.conflist"), conflist("old", "bridge"));
    await done(node.run(INSTALL));
    assert.deepEqual(fs.readdirSync(node.netd), [".cni-node", "10-old.conflist"]);
    assert.deepEqual(typesOf(node, "10-old.conflist"), ["bridge", "tuning"]);
    await done(node.run(UNINSTALL));
    assert.deepEqual(typesOf(node, "10-old.conflist"), ["bridge"]);
  });

  test("does what the examples of docs/chaining.md say, one after the other", async () => {
    using node = nodeWith();
    node.plugin("tuning");
    const document = fs.readFileSync(new URL("../docs/chaining.md", import.meta.url), "utf8");
    const [, plugin = ""] = /```json\n([^]*?)```/u.exec(document) ?? [];
    node.template("tuning.json", plugin);
    const examples = Array.from(document.matchAll(/^cni-node (.*)$/gmu), ([, words = ""]) => words.split(" "));
    assert.deepEqual(
      examples.map(([command]) => command),
      ["plan", "install", "uninstall"],
    );
    for (const argv of examples) {
      const ran = await node.run(argv);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.equal(typesOf(node).includes("tuning"), argv[0] === "install");
    }
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
  });

  test("is not even looked at by a run that is not about configurations", async () => {
    using node = nodeWith();
    node.plugin("a");
    node.template("30-own.conflist", conflist("own", "bridge"));
    await done(node.run([...INSTALL, "--configs=30-own.conflist"]));
    const ran = await done(node.run(["apply", "--plugins=a", "--prune", "--owner=cni-node"]));
    assert.equal(ran, "created     plugin    a\n");
    assert.deepEqual(typesOf(node), ["calico", "portmap", "tuning"]);
  });

  test("leaves the file to an earlier version of cni-node as one that is not its own", async () => {
    using node = nodeWith();
    await done(node.run(INSTALL));
    const record = JSON.parse(textOf(node, ".cni-node/record.json")) as { assets: { owners: string[] }[] };
    assert.deepEqual(
      record.assets.map(({ owners }) => owners),
      [[]],
    );
  });
});

describe("--chain refuses", () => {
  test("a network that is not there, or is ours already", async () => {
    using node = nodeWith();
    assert.match(
      await refused(node.run(["install", "--chain=tuning.json@none"])),
      /no configuration of the network "none"/u,
    );
    node.template("05-own.conflist", conflist("own", "bridge"));
    const both = ["install", "--configs=05-own.conflist", "--chain=tuning.json"];
    assert.match(await refused(node.run(both)), /05-own\.conflist: is installed by cni-node from a template/u);
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
    fs.rmSync(join(node.netd, CALICO));
    assert.match(await refused(node.run(INSTALL)), /no network configuration that --chain could use as the primary/u);
  });

  test("a template in the place of a file that has plugins of ours", async () => {
    using node = nodeWith();
    await done(node.run([...INSTALL, "--owner=a"]));
    node.template(CALICO, conflist("own", "bridge"));
    const message = /10-calico\.conflist: has plugins that --chain put there: tuning\.json@primary \(--owner=a\)/u;
    assert.match(await refused(node.run(["install", `--configs=${CALICO}`])), message);
    assert.deepEqual(typesOf(node), ["calico", "portmap", "tuning"]);
  });

  test("what is not one plugin, and a plugin that is not on the node", async () => {
    using node = nodeWith();
    for (const [text, problem] of [
      ["[]", /tuning\.json: is not a JSON object/u],
      ['{"sysctl": {}}', /tuning\.json: has no type/u],
      ['{"name": "a", "type": "x"}', /has the key name, which belongs to a network/u],
      ['{"type": "x"', /tuning\.json: is not JSON/u],
      ['{"type": "not-there"}', /not-there/u],
    ] as const) {
      node.template("tuning.json", text);
      assert.match(await refused(node.run(INSTALL)), problem);
    }
    assert.equal(textOf(node), conflist("k8s", "calico", "portmap"));
    assert.equal((await node.run(["install", "--chain=../a.json"])).exitCode, 2);
    assert.equal((await node.run(["install", "--chain=a.json@a/b"])).exitCode, 2);
  });

  test("a link, and a version of CNI without chains", async () => {
    using node = nodeWith({ "real.txt": conflist("k8s", "calico") });
    fs.symlinkSync("real.txt", join(node.netd, CALICO));
    assert.match(await refused(node.run(INSTALL)), /10-calico\.conflist: is a link, which --chain does not edit/u);
    fs.rmSync(join(node.netd, CALICO));
    fs.writeFileSync(join(node.netd, "10-a.conf"), '{"cniVersion": "0.2.0", "name": "a", "type": "bridge"}');
    assert.match(await refused(node.run(INSTALL)), /10-a\.conf: has the CNI version 0\.2\.0, which has no chains/u);
  });

  test("nothing, but warns of a second plugin of one type, and of one that was not chained", async () => {
    using node = nodeWith();
    node.template("portmap.json", '{"type": "portmap", "snat": false, "capabilities": {"portMappings": true}}');
    const twice = reportOf(await node.run(["install", "--chain=portmap.json", "--output=json"]));
    assert.match(JSON.stringify(twice["warnings"]), /"chain-type-twice"/u);
    const absent = reportOf(await node.run([...UNINSTALL, "--output=json"]));
    assert.match(JSON.stringify(absent["warnings"]), /"chain-absent"/u);
    assert.deepEqual(typesOf(node), ["calico", "portmap", "portmap"]);
  });
});

suite("watch with --chain", () => {
  test("puts the plugin back when the network's installer writes its file, and takes it out when it is stopped", async () => {
    await using w = new Watched(nodeWith());
    using node = w.node;
    node.plugin("a");
    w.start("--plugins=a", "--chain=tuning.json", "--on-stop=uninstall");
    await until(() => typesOf(node).includes("tuning") && fs.existsSync(join(node.bin, "a")));
    replace(join(node.netd, CALICO), conflist("k8s", "calico", "bandwidth"));
    await until(() => typesOf(node).join() === "calico,bandwidth,tuning");
    // A network that cannot be edited keeps nothing else from being repaired.
    const whole = textOf(node);
    replace(join(node.netd, CALICO), "{");
    fs.rmSync(join(node.bin, "a"));
    await until(() => fs.existsSync(join(node.bin, "a")));
    replace(join(node.netd, CALICO), whole);
    // The template is followed, too.
    replace(join(node.templates, "tuning.json"), '{"type": "tuning", "mtu": 1400}');
    await until(() => textOf(node).includes("1400"));
    await w.stop();
    assert.deepEqual(typesOf(node), ["calico", "bandwidth"]);
    assert.deepEqual(fs.readdirSync(node.netd), [CALICO]);
  });
});
