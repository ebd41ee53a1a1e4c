/** `--delegate` and `__PRIMARY__`: a configuration around the node's primary, found as the container runtime finds it. */
import assert from "node:assert/strict";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { describe, suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotSign } from "./cluster/pki.ts";
import { WatchServer } from "./cluster/watch-server.ts";
import { ShortLived } from "./cluster/token-server.ts";
import { conflist, TestNode, until } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";
import { replace, Watched } from "./helpers/watched.ts";

const INSTALL = ["install", "--delegate=auto", "--delegate-keys=multus.json"];

function nodeWith(files: Record<string, string>, keys = '{"kubeconfig": "/etc/kubernetes/kubelet.conf"}'): TestNode {
  const node = new TestNode();
  node.template("multus.json", keys);
  for (const [name, text] of Object.entries(files)) {
    fs.writeFileSync(join(node.netd, name), text);
    // They have been there for a while.
    fs.utimesSync(join(node.netd, name), 1, 1);
  }
  return node;
}

/** Resolves as soon as this process asks how old a file is; it is new then. */
async function isAgeAsked(path: string): Promise<void> {
  const { statSync } = fs;
  const asked = Promise.withResolvers<undefined>();
  const patch = (replacement: unknown): void => {
    Object.assign(fs, { statSync: replacement });
    syncBuiltinESMExports();
  };
  patch((...values: Parameters<typeof statSync>) => {
    if (values[0] === path) {
      patch(statSync);
      fs.utimesSync(path, new Date(), new Date());
      asked.resolve(undefined);
    }
    return statSync(...values);
  });
  const patience = setTimeout(() => asked.reject(new Error(`nobody asks how old ${path} is`)), 60_000);
  try {
    await asked.promise;
  } finally {
    clearTimeout(patience);
    patch(statSync);
  }
}

function installed(node: TestNode, name: string): unknown {
  return JSON.parse(fs.readFileSync(join(node.netd, name), "utf8")) as unknown;
}

function primaryOf(node: TestNode): string {
  const { plugins } = installed(node, "00-multus.conflist") as { plugins: { delegates: { name: string }[] }[] };
  return plugins[0]?.delegates[0]?.name ?? "";
}

describe("--delegate=auto", () => {
  test("installs Multus around the first configuration, whole, in its version, with its capabilities", async () => {
    using node = nodeWith({ "10-calico.conflist": conflist("calico", "calico", "bandwidth", "portmap") });
    assert.equal((await node.run(INSTALL)).exitCode, 0);
    assert.deepEqual(installed(node, "00-multus.conflist"), {
      cniVersion: "1.0.0",
      name: "multus-cni-network",
      plugins: [
        {
          type: "multus",
          capabilities: { bandwidth: true, portMappings: true },
          kubeconfig: "/etc/kubernetes/kubelet.conf",
          delegates: [JSON.parse(conflist("calico", "calico", "bandwidth", "portmap"))],
        },
      ],
    });
    const again = reportOf(await node.run([...INSTALL, "--output=json"]));
    assert.match(JSON.stringify(again["steps"]), /^\[\{[^{]*"outcome":"unchanged"\}\]$/u);
  });

  test("writes a single plugin's configuration below CNI 1.0.0, and the other name goes with the version", async () => {
    using node = nodeWith({ "10-a.conf": '{"cniVersion": "0.3.1", "name": "old", "type": "bridge"}' });
    await node.run(INSTALL);
    const single = installed(node, "00-multus.conf") as { type: string; delegates: unknown[] };
    assert.deepEqual([single.type, single.delegates.length], ["multus", 1]);
    // Calico went from 0.3.1 to 1.0.0: the file that comes first must not stay (peers' stale twin).
    fs.rmSync(join(node.netd, "10-a.conf"));
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("new", "bridge"));
    assert.equal((await node.run(INSTALL)).exitCode, 0);
    assert.deepEqual(fs.readdirSync(node.netd).toSorted(), [".cni-node", "00-multus.conflist", "10-a.conflist"]);
    assert.equal(primaryOf(node), "new");
  });

  test("keeps numbers, unknown keys and the plugins that were dropped into the primary's directory", async () => {
    const text =
      '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","big":12345678901234567890,"x":{"y":[1.0]}}]}';
    using node = nodeWith({ "10-a.conflist": text });
    fs.mkdirSync(join(node.netd, "n"));
    fs.writeFileSync(join(node.netd, "n/50-tuning.conf"), '{"type": "tuning", "sysctl": {}}');
    await node.run(INSTALL);
    const written = fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8");
    assert.match(written, /"big": 12345678901234567890,/u);
    assert.match(written, /"type": "tuning"/u);
  });

  const passedOver: [what: string, name: string, text: string][] = [
    [
      "Multus under another name (story 12)",
      "05-multus.conf",
      '{"cniVersion":"0.3.1","name":"m","type":"multus-cni","delegates":[]}',
    ],
    [
      "a meta plugin that nobody knows",
      "05-meta.conflist",
      '{"cniVersion":"1.0.0","name":"m","plugins":[{"type":"genie","delegates":[{"type":"bridge"}]}]}',
    ],
    ["its own file after a power loss (story 1)", "00-multus.conflist", ""],
  ];
  for (const [what, name, text] of passedOver) {
    test(`does not take ${what} for the primary`, async () => {
      using node = nodeWith({ [name]: text, "10-calico.conflist": conflist("calico", "calico") });
      assert.equal((await node.run([...INSTALL, "--validate=warn"])).exitCode, 0);
      assert.equal(primaryOf(node), "calico");
    });
  }

  test("takes the file that a pattern names, or a configuration of the same run", async () => {
    using node = nodeWith({
      "05-kube-ovn.conflist": conflist("ovn", "bridge"),
      "10-calico.conflist": conflist("calico", "calico"),
    });
    await node.run(["install", "--delegate=auto:*calico*", "--delegate-keys=multus.json"]);
    assert.equal(primaryOf(node), "calico", "story 13: the wrong one must not win for its name");
    node.template("01-ours.conflist", conflist("ours", "ptp"));
    await node.run([...INSTALL, "--configs=01-ours.conflist"]);
    assert.equal(primaryOf(node), "ours");
  });

  test("with --delegate-form=path names the primary's file as the node sees it", async () => {
    using node = nodeWith({ "10-calico.conflist": conflist("calico", "calico") });
    await node.run([...INSTALL, "--delegate-form=path"]);
    const { plugins } = installed(node, "00-multus.conflist") as { plugins: Record<string, unknown>[] };
    assert.deepEqual(plugins, [
      {
        type: "multus",
        kubeconfig: "/etc/kubernetes/kubelet.conf",
        clusterNetwork: "/etc/cni/net.d/10-calico.conflist",
      },
    ]);
    await node.run([...INSTALL, "--delegate-form=path", "--host-config-path=/var/lib/net.d"]);
    assert.match(fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8"), /"\/var\/lib\/net\.d\/10-calico/u);
  });

  test("takes more keys of Multus from a template, names those that Multus does not read, and refuses its own", async () => {
    const keys = {
      kubeconfig: "/etc/kubernetes/k",
      logLevel: "verbose",
      globalNamespaces: "default,a",
      cniConf: "/x",
      readinessIndicatorFile: "/y",
    };
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") }, JSON.stringify(keys));
    const ran = await node.run(INSTALL);
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stderr, /has the key cniConf, which Multus does not read; did you mean confDir\?/u);
    assert.match(
      ran.stderr,
      /readinessIndicatorFile, which Multus does not read; did you mean readinessindicatorfile\?/u,
    );
    assert.match(fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8"), /"logLevel": "verbose"/u);
    for (const [text, message] of [
      [
        '{"kubeconfig": "/etc/kubernetes/k", "delegates": []}',
        /multus\.json: has the key delegates: it is made of the primary/u,
      ],
      ['{"kubeconfig": 5}', /has the key kubeconfig, which is not a text/u],
      ["[]", /multus\.json: is not a JSON object/u],
      ["{", /multus\.json: is not JSON/u],
    ] as const) {
      node.template("multus.json", text);
      const refused = await node.run(INSTALL);
      assert.deepEqual([refused.exitCode, refused.stdout], [1, ""]);
      assert.match(refused.stderr, message);
    }
  });

  test("says if container runtimes go on using the primary, because its name comes first", async () => {
    using node = nodeWith({ "00-a.conflist": conflist("a", "bridge") });
    const ran = await node.run(INSTALL);
    assert.match(ran.stderr, /00-multus\.conflist: comes after 00-a\.conflist, so container runtimes use that one/u);
  });

  test("keeps the kubeconfig that is there if none is named, and refuses to do without any", async () => {
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") });
    const refused = await node.run(["install", "--delegate=auto"]);
    assert.equal(refused.exitCode, 1);
    assert.match(
      refused.stderr,
      /--delegate: Multus needs a kubeconfig .*\n {2}hint: have one made with --credentials/u,
    );
    await node.run(INSTALL);
    const before = fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8");
    assert.equal((await node.run(["install", "--delegate=auto"])).exitCode, 0);
    assert.equal(fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8"), before);
  });

  test("calls Multus by the name that it is installed by", async () => {
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") });
    node.plugin("multus-cni");
    assert.equal((await node.run([...INSTALL, "--plugins=multus-cni"])).exitCode, 0);
    assert.match(fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8"), /"type": "multus-cni"/u);
  });

  test("without a primary changes nothing, and says what to do; a broken first file is not stepped over", async () => {
    using node = nodeWith({});
    const missing = await node.run(INSTALL);
    assert.equal(missing.exitCode, 1);
    assert.match(
      missing.stderr,
      /net\.d: has no network configuration that --delegate could use as the primary\n {2}hint: .*--wait=60s/u,
    );
    fs.writeFileSync(join(node.netd, "05-broken.conflist"), "{");
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("a", "bridge"));
    const broken = await node.run(INSTALL);
    assert.match(broken.stderr, /05-broken\.conflist: comes first, and --delegate cannot use it: it is not JSON/u);
    assert.deepEqual(fs.readdirSync(node.netd).toSorted(), ["05-broken.conflist", "10-a.conflist"]);
  });

  test("takes the file that comes first even if it is written a moment after another one, at boot (story 13)", async () => {
    using node = nodeWith({});
    const first = join(node.netd, "10-kube-ovn.conflist");
    fs.writeFileSync(first, conflist("ovn", "bridge"));
    const asked = isAgeAsked(first);
    let isOver = false;
    const running = node.run(INSTALL).finally(() => (isOver = true));
    await asked;
    // It has looked. A run that does not wait would be over by then; one that does waits twice as long.
    await sleep(500);
    assert.equal(isOver, false);
    replace(join(node.netd, "05-cilium.conflist"), conflist("cilium", "bridge"));
    assert.equal((await running).exitCode, 0);
    assert.equal(primaryOf(node), "cilium");
  });

  test("waits for the primary at boot with --wait", async () => {
    using node = nodeWith({});
    let said = "";
    const running = node.run([...INSTALL, "--wait=60s"], { onStderr: (text) => (said += text) });
    await until(() => /waiting for the node to change \(--wait\): .*no network configuration/u.test(said));
    replace(join(node.netd, "10-late.conflist"), conflist("late", "bridge"));
    assert.equal((await running).exitCode, 0);
    assert.equal(primaryOf(node), "late");
  });

  test("names another's configuration of Multus that container runtimes would read before its own", async () => {
    using node = nodeWith({
      "00-multus.conf":
        '{"cniVersion":"0.3.1","name":"m","type":"multus","kubeconfig":"/etc/kubernetes/k","delegates":[{"type":"bridge"}]}',
      "10-a.conflist": conflist("a", "bridge"),
    });
    const ran = await node.run(INSTALL);
    assert.match(
      ran.stderr,
      /00-multus\.conf: comes before 00-multus\.conflist, .*; .*uninstall --configs=00-multus\.conf/u,
    );
    assert.equal(fs.existsSync(join(node.netd, "00-multus.conf")), true, "what is not ours stays");
  });

  test("plan shows what it would install, and words around --delegate that make no sense are refused", async () => {
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") });
    assert.match(
      (await node.run(["plan", "--delegate=auto", "--delegate-keys=multus.json"])).stdout,
      /would create +config +00-multus\.conflist/u,
    );
    assert.equal(fs.existsSync(join(node.netd, "00-multus.conflist")), false);
    for (const words of [
      ["--delegate=yes"],
      ["--delegate=auto:a/b"],
      ["--delegate-form=path"],
      ["--delegate-keys=a"],
      ["--delegate=auto", "--delegate-keys=../a"],
    ]) {
      assert.equal((await node.run(["install", ...words])).exitCode, 2, words.join(" "));
    }
  });
});

describe("__PRIMARY__ in a template", () => {
  const TEMPLATE =
    '{"cniVersion":"1.0.0","name":"m","type":"multus","kubeconfig":"/etc/kubernetes/k","delegates":[ __PRIMARY__ ]}';
  const namesIn = (node: TestNode): string[] =>
    (installed(node, "05-multus.conf") as { delegates: { name: string }[] }).delegates.map(({ name }) => name);

  test("stands for the primary, beside a pointer that names a file", async () => {
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge"), "20-b.conflist": conflist("b", "bridge") });
    node.template("05-multus.conf", TEMPLATE.replace("__PRIMARY__", "__PRIMARY__, __20-b.conflist__"));
    assert.equal((await node.run(["install", "--configs=05-multus.conf", "--validate=warn"])).exitCode, 0);
    assert.deepEqual(namesIn(node), ["a", "b"]);
    // A second run does not take its own output for the primary, even if it is broken.
    fs.writeFileSync(join(node.netd, "05-multus.conf"), "");
    await node.run(["install", "--configs=05-multus.conf", "--validate=warn"]);
    assert.deepEqual(namesIn(node), ["a", "b"]);
  });

  test("can be a configuration of the same run, in any order, and says where it stands if there is none", async () => {
    using node = nodeWith({});
    node.template("05-multus.conf", TEMPLATE);
    const missing = await node.run(["install", "--configs=05-multus.conf"]);
    assert.match(
      missing.stderr,
      /has no network configuration that .*05-multus\.conf \(line 1, column 97: __PRIMARY__\)/u,
    );
    node.template("10-ours.conflist", conflist("ours", "bridge"));
    assert.equal((await node.run(["install", "--configs=05-multus.conf,10-ours.conflist"])).exitCode, 0);
    assert.deepEqual(namesIn(node), ["ours"]);
  });
});

suite("--delegate with --credentials", { skip: cannotSign }, () => {
  test("names the kubeconfig of Multus, whatever the order of the list, and never a token", async () => {
    await using api = await ShortLived.start();
    api.life = 3_600_000;
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") });
    const items = ["whereabouts.kubeconfig=kube-system/multus", "multus.kubeconfig=kube-system/multus"];
    const outcomes: unknown[] = [];
    for (const list of [items, items.toReversed()]) {
      const ran = await node.run([
        "install",
        "--delegate=auto",
        `--credentials=${list.join()}`,
        "--credentials-form=token-file",
        `--kubeconfig=${api.kubeconfig}`,
        "--output=json",
      ]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      outcomes.push((reportOf(ran)["steps"] as { outcome: string }[]).map(({ outcome }) => outcome));
      assert.match(
        fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8"),
        /"kubeconfig": "\/etc\/cni\/credentials\/multus\.kubeconfig"/u,
      );
    }
    assert.deepEqual(outcomes, [Array(5).fill("created"), Array(5).fill("unchanged")]);
  });
});

suite("watch with --delegate and --credentials", { skip: cannotSign }, () => {
  test("follows the primary while tokens cannot be renewed, and renews them again as soon as they can be", async () => {
    await using api = await ShortLived.start();
    api.life = 6000;
    await using w = new Watched();
    w.node.plugin("vlan");
    const primary = join(w.node.netd, "10-primary.conflist");
    fs.writeFileSync(primary, conflist("one", "bridge"));
    const credentials = "--credentials=multus.kubeconfig=kube-system/multus";
    w.start("--delegate=auto", credentials, "--plugins=vlan", `--kubeconfig=${api.kubeconfig}`, "--timeout=1s");
    await until(() => w.config("00-multus.conflist")?.includes('"one"') === true);
    api.isAway = true;
    await until(() => /kube-system\/multus|API/u.test(w.stderr));
    replace(primary, conflist("two", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"two"') === true);
    assert.match(w.config("00-multus.conflist") ?? "", /credentials\/multus\.kubeconfig/u);
    fs.rmSync(join(w.node.bin, "vlan"));
    await until(() => w.plugin("vlan") !== undefined);
    api.isAway = false;
    const before = api.given.length;
    await until(() => api.given.length > before);
  });

  test("repairs plugins and renews tokens while there is no primary; the last configuration stays", async () => {
    await using api = await ShortLived.start();
    await using w = new Watched();
    w.node.plugin("vlan");
    const primary = join(w.node.netd, "10-primary.conflist");
    fs.writeFileSync(primary, conflist("one", "bridge"));
    const credentials = "--credentials=multus.kubeconfig=kube-system/multus";
    w.start("--delegate=auto", credentials, "--plugins=vlan", `--kubeconfig=${api.kubeconfig}`);
    await until(() => w.config("00-multus.conflist")?.includes('"one"') === true);
    fs.unlinkSync(primary);
    await until(() => w.stderr.includes("has no network configuration that --delegate could use"));
    fs.rmSync(join(w.node.bin, "vlan"));
    await until(() => w.plugin("vlan") !== undefined);
    const before = api.given.length;
    await until(() => api.given.length > before);
    assert.match(w.config("00-multus.conflist") ?? "", /"one"/u);
  });
});

suite("watch with --delegate and ConfigMaps", { skip: cannotSign }, () => {
  test("leaves Multus as it is while its keys or the lists are not known, and repairs plugins", async () => {
    await using server = await WatchServer.start("h2");
    server.put("cni", { plugins: "vlan" });
    server.put("keys", { "multus.json": '{"kubeconfig": "/etc/kubernetes/k", "logLevel": "error"}' });
    using node = new TestNode();
    node.plugin("vlan");
    fs.writeFileSync(join(node.netd, "10-primary.conflist"), conflist("one", "bridge"));
    const argv = [
      "--configmap=default/cni",
      "--config-templates=default/keys",
      "--delegate=auto",
      "--delegate-keys=multus.json",
      `--kubeconfig=${server.kubeconfig()}`,
    ];
    {
      await using w = new Watched(node);
      w.start(...argv);
      await until(() => w.config("00-multus.conflist")?.includes('"logLevel": "error"') === true);
      await w.stop();
    }
    const right = fs.readFileSync(join(node.netd, "00-multus.conflist"), "utf8");
    const { port } = server;
    await server.close();
    fs.rmSync(join(node.bin, "vlan"));
    await using w = new Watched(node);
    w.start(...argv);
    await until(() => w.plugin("vlan") !== undefined);
    assert.equal(w.config("00-multus.conflist"), right);
    await server.listen(port);
    replace(join(node.netd, "10-primary.conflist"), conflist("two", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"two"') === true);
  });

  test("a configuration whose template is gone is left alone when --delegate takes its place", async () => {
    using node = nodeWith({ "10-a.conflist": conflist("a", "bridge") });
    node.template("05-ours.conf", '{"cniVersion":"0.3.1","name":"ours","type":"bridge"}');
    await node.run(["install", "--owner=w", "--configs=05-ours.conf"]);
    fs.unlinkSync(join(node.templates, "05-ours.conf"));
    const ran = await node.run([
      "apply",
      "--prune",
      "--owner=w",
      "--delegate=auto:10-*",
      "--delegate-keys=multus.json",
    ]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(fs.existsSync(join(node.netd, "05-ours.conf")), true);
    assert.equal(primaryOf(node), "a");
  });
});

suite("watch with --delegate", () => {
  test("follows the primary: replaced, written in place, of another version, gone for a while, one that comes first (stories 3, 13)", async () => {
    await using w = new Watched();
    w.node.template("multus.json", '{"kubeconfig": "/etc/kubernetes/k"}');
    w.start("--delegate=auto", "--delegate-keys=multus.json");
    await until(() => w.stderr.includes("has no network configuration that --delegate could use"));
    const primary = join(w.node.netd, "10-primary.conflist");
    replace(primary, conflist("one", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"one"') === true);
    fs.writeFileSync(primary, conflist("two", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"two"') === true);
    replace(primary, conflist("three", "bridge").replace("1.0.0", "0.3.1"));
    await until(() => w.config("00-multus.conf")?.includes('"three"') === true);
    await until(() => w.config("00-multus.conflist") === undefined);
    fs.unlinkSync(primary);
    await until(() => w.stderr.split("has no network configuration that --delegate could use").length > 2);
    assert.match(w.config("00-multus.conf") ?? "", /"three"/u, "the last good one stays");
    replace(primary, conflist("four", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"four"') === true);
    replace(join(w.node.netd, "05-cilium.conflist"), conflist("five", "bridge"));
    await until(() => w.config("00-multus.conflist")?.includes('"five"') === true);
  });
});
