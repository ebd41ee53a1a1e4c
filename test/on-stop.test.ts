/** `--on-stop`: what becomes of the node when the process that keeps it is asked to stop. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";

import { cannotSign } from "./cluster/pki.ts";
import { statusOf } from "./cluster/hostile.ts";
import { WatchServer, type Trick } from "./cluster/watch-server.ts";
import { conflist, contentsOf, endOf, TestNode, until } from "./helpers/node.ts";
import { Watched } from "./helpers/watched.ts";

const PRIMARY = conflist("primary", "bridge");
const DAEMON_SET = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: { name: "ds" },
  spec: { template: { spec: {} } },
};

/** A node with a primary, and something to put on it. */
function nodeToWatch(): TestNode {
  const node = new TestNode();
  fs.writeFileSync(join(node.netd, "10-primary.conflist"), PRIMARY);
  node.template("20-ours.conflist", conflist("ours", "vlan"));
  node.plugin("vlan");
  return node;
}

const WANTED = ["--plugins=vlan", "--configs=20-ours.conflist"];

/** The words that ask for it, beside an API. */
function auto(server: WatchServer): string[] {
  const own = ["--on-stop=auto", "--daemonset=default/ds", "--node-name=n1"];
  return [...WANTED, ...own, `--kubeconfig=${server.kubeconfig()}`];
}

/** Answers for the DaemonSet `default/ds`, and counts the answers that have been sent. */
function daemonSet(answer: () => [status: number, body: object] | undefined, answers = { ended: 0 }): Trick {
  return ({ resource, name }, response) => {
    if (resource !== "daemonsets") return false;
    assert.equal(name, "ds");
    const given = answer();
    response.once("close", () => answers.ended++);
    if (given === undefined) return (response.destroy(), true);
    response.writeHead(given[0], { "content-type": "application/json" }).end(JSON.stringify(given[1]));
    return true;
  };
}

suite("--on-stop", { skip: cannotSign }, () => {
  const cases: [what: string, answer: [number, object] | undefined, isKept: boolean, said: RegExp][] = [
    [
      "keeps everything while its DaemonSet is there",
      [200, DAEMON_SET],
      true,
      /keeps what is installed: DaemonSet default\/ds is there/u,
    ],
    [
      "uninstalls when its DaemonSet is deleted",
      [404, statusOf(404, "not found")],
      false,
      /uninstalls: DaemonSet default\/ds is deleted/u,
    ],
    [
      "uninstalls when its account is deleted",
      [401, statusOf(401, "Unauthorized")],
      false,
      /does not know this pod's account/u,
    ],
    [
      "uninstalls when its rights are deleted",
      [403, statusOf(403, "daemonsets is forbidden")],
      false,
      /the right to get/u,
    ],
    [
      "keeps everything when the API fails, and says how to uninstall",
      [503, statusOf(503, "later")],
      true,
      /not known .*\n {2}hint: .*uninstall --all/u,
    ],
    ["keeps everything when the API does not answer", undefined, true, /keeps what is installed: it is not known/u],
  ];
  for (const [what, answer, isKept, said] of cases) {
    test(`auto ${what}`, async () => {
      await using server = await WatchServer.start("h2");
      let current: [number, object] | undefined = [200, DAEMON_SET];
      const answers = { ended: 0 };
      server.trick = daemonSet(() => current, answers);
      using node = nodeToWatch();
      await using w = new Watched(node);
      w.start(...auto(server), "--events=false");
      await until(() => w.config("20-ours.conflist") !== undefined && answers.ended > 0);
      const before = contentsOf(node.host);
      await server.isRead();
      current = answer;
      const { signal } = await w.stop();
      assert.equal(signal, "SIGTERM");
      assert.match(w.stderr, said);
      if (isKept) assert.deepEqual(contentsOf(node.host), before);
      else assert.deepEqual(contentsOf(node.host), { "etc/cni/net.d/10-primary.conflist": PRIMARY });
    });
  }

  test("auto says at once that it may not read its DaemonSet, and keeps everything then", async () => {
    await using server = await WatchServer.start("http/1.1");
    server.trick = daemonSet(() => [403, statusOf(403, "daemonsets is forbidden")]);
    using node = nodeToWatch();
    await using w = new Watched(node);
    w.start(...auto(server));
    await until(() => /cannot be read/u.test(w.stderr) && w.config("20-ours.conflist") !== undefined);
    assert.match(
      w.stderr,
      /hint: add to its Role or ClusterRole the rule .*"daemonsets".*resourceNames: \["ds"\].*"get"/u,
    );
    await w.stop();
    assert.notEqual(w.config("20-ours.conflist"), undefined);
  });

  test("auto of --pause is the same, and a second signal does not interrupt it", async () => {
    await using server = await WatchServer.start("h2");
    let current: [number, object] = [200, DAEMON_SET];
    const answers = { ended: 0 };
    server.trick = daemonSet(() => current, answers);
    using node = nodeToWatch();
    const child = node.start(["install", "--pause", ...auto(server)]);
    const ended = endOf(child);
    await until(() => fs.existsSync(join(node.netd, "20-ours.conflist")) && answers.ended > 0);
    await server.isRead();
    current = [404, statusOf(404, "not found")];
    child.kill("SIGTERM");
    child.kill("SIGTERM");
    const { exitCode, stderr } = await ended;
    assert.equal(exitCode, 0);
    assert.match(
      stderr,
      /uninstalls: DaemonSet default\/ds is deleted\ndeleted +config +20-ours\.conflist\ndeleted +plugin +vlan\n/u,
    );
    assert.deepEqual(contentsOf(node.host), { "etc/cni/net.d/10-primary.conflist": PRIMARY });
  });
});

suite("--on-stop without an API", () => {
  test("uninstall removes what this owner holds, and nothing of others; keep is the default", async () => {
    using node = nodeToWatch();
    node.plugin("tuning");
    await node.run(["install", "--owner=other", "--plugins=tuning,vlan"]);
    await using w = new Watched(node);
    w.start(...WANTED, "--on-stop=uninstall");
    await until(() => w.config("20-ours.conflist") !== undefined);
    await w.stop();
    assert.match(w.stdout, /Z deleted config 20-ours\.conflist \(\d+ ms, for stop\)$/mu);
    assert.deepEqual(Object.keys(contentsOf(node.host)), [
      "etc/cni/net.d/10-primary.conflist",
      "opt/cni/bin/tuning",
      "opt/cni/bin/vlan",
    ]);
    await using kept = new Watched(node);
    kept.start(...WANTED);
    await until(() => kept.config("20-ours.conflist") !== undefined);
    await kept.stop();
    assert.notEqual(kept.config("20-ours.conflist"), undefined);
  });

  test("never leaves the node without a configuration, unless that is allowed", async () => {
    for (const [option, isKept] of [
      ["--allow-no-network=false", true],
      ["--allow-no-network", false],
    ] as const) {
      using node = nodeToWatch();
      fs.unlinkSync(join(node.netd, "10-primary.conflist"));
      await using w = new Watched(node);
      w.start(...WANTED, "--on-stop=uninstall", option);
      await until(() => w.config("20-ours.conflist") !== undefined);
      await w.stop();
      assert.equal(w.config("20-ours.conflist") !== undefined, isKept, option);
      assert.equal(w.plugin("vlan") !== undefined, isKept, "a plugin that a configuration needs stays with it");
    }
  });

  test("an older process keeps what a newer one has taken over", async () => {
    using node = nodeToWatch();
    await using older = new Watched(node);
    older.start(...WANTED, "--on-stop=uninstall");
    await until(() => older.config("20-ours.conflist") !== undefined);
    await using newer = new Watched(node);
    newer.start(...WANTED);
    await until(() => newer.stdout.includes("nothing to do"));
    await older.stop();
    assert.notEqual(older.config("20-ours.conflist"), undefined);
    await newer.stop();
  });

  test("auto needs to know its DaemonSet and its node", async () => {
    using node = new TestNode();
    for (const [argv, message] of [
      [["watch", "--owner=w", "--plugins=a", "--on-stop=auto"], /--on-stop: auto needs --daemonset/u],
      [["watch", "--owner=w", "--plugins=a", "--on-stop=auto", "--daemonset=a"], /--on-stop: auto needs --node-name/u],
      [["install", "--plugins=a", "--pause", "--on-stop=auto"], /--on-stop: auto needs --daemonset/u],
      [["install", "--plugins=a", "--on-stop=keep"], /--on-stop: requires --pause/u],
      [["watch", "--owner=w", "--plugins=a", "--daemonset=A"], /is not \[NAMESPACE\/\]NAME of a DaemonSet/u],
    ] as const) {
      const ran = await node.run(argv);
      assert.equal(ran.exitCode, 2, argv.join(" "));
      assert.match(ran.stderr, message);
    }
  });
});

suite("uninstall --all", () => {
  test("removes everything that the owner holds, with what is named besides, and nothing else", async () => {
    using node = nodeToWatch();
    fs.writeFileSync(join(node.netd, "30-foreign.conflist"), conflist("foreign", "bridge"));
    await node.run(["install", "--owner=a", ...WANTED]);
    await node.run(["install", "--owner=b", "--plugins=vlan"]);
    const ran = await node.run(["uninstall", "--all", "--owner=a", "--configs=30-foreign.conflist"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(Object.keys(contentsOf(node.host)), ["etc/cni/net.d/10-primary.conflist", "opt/cni/bin/vlan"]);
    assert.equal((await node.run(["uninstall", "--all", "--owner=a"])).exitCode, 0, "what is gone is gone");
  });

  test("asks nothing of a directory that is not mounted, for nothing is held there", async () => {
    using node = nodeToWatch();
    await node.run(["install", "--owner=a", ...WANTED]);
    const ran = await node.run(["uninstall", "--all", "--owner=a", `--credentials-dir=${node.root}/not/mounted`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(Object.keys(contentsOf(node.host)), ["etc/cni/net.d/10-primary.conflist"]);
    await using w = new Watched(node);
    w.start(...WANTED, "--on-stop=uninstall", `--credentials-dir=${node.root}/not/mounted`);
    await until(() => w.config("20-ours.conflist") !== undefined);
    await w.stop();
    assert.equal(w.config("20-ours.conflist"), undefined, w.stderr);
  });

  test("needs an owner, for the default one may be somebody else's", async () => {
    using node = new TestNode();
    const ran = await node.run(["uninstall", "--all"]);
    assert.deepEqual([ran.exitCode, /--all: needs --owner/u.test(ran.stderr)], [2, true]);
  });
});
