/** `cni-node watch`: the node stays as desired, whatever others do. The desired state is in options, or a ConfigMap. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Ajv2020 } from "ajv/dist/2020.js";

import { cannotSign } from "./cluster/pki.ts";
import { WatchServer } from "./cluster/watch-server.ts";
import { conflist, TestNode, until } from "./helpers/node.ts";
import { NodesApi, type TestNodeObject } from "./helpers/nodes-api.ts";
import { Random, SEED, SEED_NOTE } from "./helpers/random.ts";
import { prepared, replace, textOf, type Watched } from "./helpers/watched.ts";

const SCHEMA = join(import.meta.dirname, "../docs/schemas/report.json");

suite("watch with the desired state in options", () => {
  test("what others change, remove or wipe is repaired (stories 15, 25), and what a template or pointer becomes is followed (13, 16)", async () => {
    await using w = prepared();
    w.start("--plugins=bridge,vlan", "--configs=05-multus.conflist");
    await until(() => w.config("05-multus.conflist")?.includes('"one"') === true);
    const right = w.config("05-multus.conflist");
    // A package upgrade wipes the directory.
    for (const name of ["bridge", "vlan"]) fs.unlinkSync(join(w.node.bin, name));
    await until(() => w.plugin("bridge") !== undefined && w.plugin("vlan") !== undefined);
    fs.rmSync(w.node.bin, { recursive: true, force: true, maxRetries: 10 });
    fs.mkdirSync(w.node.bin, { recursive: true });
    await until(() => w.plugin("bridge") !== undefined && w.plugin("vlan") !== undefined);
    fs.writeFileSync(join(w.node.netd, "05-multus.conflist"), "");
    await until(() => w.config("05-multus.conflist") === right);
    // The primary: replaced, written in place, gone for a while, and here again.
    replace(join(w.node.netd, "10-primary.conflist"), conflist("two", "bridge"));
    await until(() => w.config("05-multus.conflist")?.includes('"two"') === true);
    fs.writeFileSync(join(w.node.netd, "10-primary.conflist"), conflist("three", "bridge"));
    await until(() => w.config("05-multus.conflist")?.includes('"three"') === true);
    fs.unlinkSync(join(w.node.netd, "10-primary.conflist"));
    await until(() => w.stderr.includes("10-primary.conflist"));
    assert.match(w.config("05-multus.conflist") ?? "", /"three"/u, "story 3: the last good one stays");
    replace(join(w.node.netd, "10-primary.conflist"), conflist("four", "bridge"));
    await until(() => w.config("05-multus.conflist")?.includes('"four"') === true);
    w.node.template(
      "05-multus.conflist",
      (textOf(join(w.node.templates, "05-multus.conflist")) ?? "").replace('"m"', '"n"'),
    );
    await until(() => w.config("05-multus.conflist")?.includes('"n"') === true);
    w.node.plugin("vlan", "2");
    await until(() => w.plugin("vlan")?.includes('"version":"2"') === true);
  });

  test("its own writes are no reason to write again, and nothing happens at rest", async () => {
    await using w = prepared();
    w.start("--plugins=bridge,vlan", "--configs=05-multus.conflist");
    await until(() => w.lines.length === 1);
    await w.repairs("bridge", "vlan");
    await until(() => w.lines.length >= 3);
    assert.match(
      w.lines[0] ?? "",
      /^\S+Z created plugin bridge, created plugin vlan, created config 05-multus\.conflist \(\d+ ms, for start\)$/u,
    );
    assert.deepEqual(w.done.slice(1), ["created plugin bridge", "created plugin vlan"]);
  });

  test("a signal ends it at once, without undoing anything; started again it removes what is no longer desired", async () => {
    await using w = prepared();
    w.start("--plugins=bridge,vlan");
    await until(() => w.plugin("vlan") !== undefined);
    const ended = await w.stop();
    assert.deepEqual([ended.signal, ended.stderr], ["SIGTERM", ""]);
    assert.notEqual(w.plugin("vlan"), undefined);
    w.start("--plugins=bridge");
    await until(() => w.plugin("vlan") === undefined);
    assert.notEqual(w.plugin("bridge"), undefined);
  });

  test("a pointer's target that its own agent changes again and again is followed, and is neither a repair nor a fight", async () => {
    await using w = prepared();
    w.start("--configs=05-multus.conflist", "--log-format=json");
    for (const name of ["one", "two", "three", "four", "five", "six"]) {
      replace(join(w.node.netd, "10-primary.conflist"), conflist(name, "bridge"));
      await until(() => w.config("05-multus.conflist")?.includes(`"${name}"`) === true);
    }
    fs.unlinkSync(join(w.node.netd, "05-multus.conflist"));
    await until(() => w.log.some(({ repair }) => repair === true));
    assert.equal(w.log.filter(({ repair }) => repair === true).length, 1, w.stderr);
    assert.doesNotMatch(w.stderr, /asset-fought-over/u);
  });

  test("a signal ends it wherever it is: the node is as before or as desired, whole", async () => {
    const random = new Random(SEED);
    for (let round = 0; round < 12; round++) {
      await using w = prepared();
      w.start("--plugins=bridge,vlan", "--configs=05-multus.conflist");
      await sleep(random.int(500));
      const { signal, exitCode, stderr } = await w.stop("SIGTERM");
      // One that comes before the program runs ends it, too.
      assert.deepEqual([signal, exitCode, stderr], ["SIGTERM", -1, ""], SEED_NOTE);
      const files = [w.plugin("bridge"), w.plugin("vlan"), w.config("05-multus.conflist")];
      const there = files.filter((text) => text !== undefined).length;
      assert.ok(there === 0 || there === 3, `${there} of 3 files, ${SEED_NOTE}`);
    }
  });

  test("story 14: a file that another agent renames away each time is named, and repaired ever more rarely", async () => {
    await using w = prepared();
    w.start("--configs=05-multus.conflist");
    await until(() => w.config("05-multus.conflist") !== undefined);
    using agent = new DisposableStack();
    let renames = 0;
    const watcher = fs.watch(w.node.netd, () => {
      try {
        fs.renameSync(join(w.node.netd, "05-multus.conflist"), join(w.node.netd, "05-multus.conflist.cilium_bak"));
        renames++;
      } catch {
        // It is not there.
      }
    });
    agent.defer(() => watcher.close());
    fs.writeFileSync(join(w.node.netd, "x"), "");
    await until(() => w.stderr.includes("set cni.exclusive=false in Cilium's Helm values"));
    const before = renames;
    await sleep(2000);
    assert.ok(renames - before <= 3, `${renames - before} repairs in two seconds`);
  });

  test("--output=json prints an object for each reconcile that changes something or fails", async () => {
    await using w = prepared();
    w.start("--plugins=bridge", "--configs=05-multus.conflist", "--output=json");
    await until(() => w.lines.length === 1);
    fs.unlinkSync(join(w.node.netd, "10-primary.conflist"));
    await until(() => w.lines.length === 2);
    const isReport = new Ajv2020({ strict: true }).compile(JSON.parse(fs.readFileSync(SCHEMA, "utf8")) as object);
    const reports = w.lines.map((line) => JSON.parse(line) as { result: string });
    for (const report of reports) assert.ok(isReport(report), JSON.stringify(isReport.errors));
    assert.deepEqual(
      reports.map(({ result }) => result),
      ["done", "failed"],
    );
  });

  test("what it cannot do without is said before anything is done", async () => {
    using node = new TestNode();
    for (const [argv, message] of [
      [["--plugins=a"], /--owner: is missing/u],
      [["--owner=w"], /--configmap: is missing/u],
      [["--owner=w", "--plugins=a", "--configmap=c"], /--configmap: says what is desired/u],
    ] as const) {
      const { exitCode, stderr } = await node.run(["watch", ...argv]);
      assert.equal(exitCode, 2);
      assert.match(stderr, message);
    }
  });
});

suite("watch with the desired state in a ConfigMap", { skip: cannotSign }, () => {
  test("the faults of the ancestor's kube-watch: glued and lost changes, a typo, an emptied field, a restart, an API that is away", async () => {
    await using server = await WatchServer.start("h2");
    await using w = prepared();
    for (const name of ["alpha", "beta", "delta", "gamma"]) w.node.plugin(name);
    const argv = ["--configmap=default/cni", `--kubeconfig=${server.kubeconfig()}`];
    const installed = (): string =>
      fs
        .readdirSync(w.node.bin)
        .filter((name) => !name.startsWith("."))
        .toSorted()
        .join();
    w.start(...argv);
    await until(() => w.stderr.includes("does not exist: what is installed stays as it is"));
    server.put("cni", { plugins: "alpha\nbeta\n", unknown: "x" });
    await until(() => installed() === "alpha,beta");
    await until(() => w.stderr.includes("has keys that are not known: unknown"));
    // 1, 3: changes at once, and while a run goes on.
    for (let round = 0; round < 30; round++) {
      server.put("cni", { plugins: round % 2 === 0 ? "alpha,beta,delta" : "alpha,beta,gamma" });
      if (round % 5 === 0) await sleep(30);
    }
    await until(() => installed() === "alpha,beta,gamma");
    // 2: a typo, corrected.
    server.put("cni", { plugins: "alpha,beta,typo" });
    await until(() => w.stderr.includes("typo"));
    assert.equal(installed(), "alpha,beta,gamma");
    server.put("cni", { plugins: "../x" });
    await until(() => w.stderr.includes("is not an asset name"));
    server.put("cni", { plugins: "alpha,delta" });
    await until(() => installed() === "alpha,delta");
    // A key or a ConfigMap that is gone says nothing.
    server.put("cni", { configs: "" });
    server.delete("cni");
    await until(() => w.stderr.split("does not exist").length > 2);
    assert.equal(installed(), "alpha,delta");
    // 7: the API is away; repairs go on.
    const { port } = server;
    server.put("cni", { plugins: "alpha,delta" });
    await until(() => server.watches.size === 1);
    await server.isRead();
    await server.close();
    await until(() => w.stderr.includes("the Kubernetes API cannot be reached"));
    fs.unlinkSync(join(w.node.bin, "delta"));
    await until(() => installed() === "alpha,delta");
    // 5: what changed while nobody watched.
    assert.equal((await w.stop()).signal, "SIGTERM");
    await server.listen(port);
    server.put("cni", { plugins: "alpha,gamma" });
    w.start(...argv);
    await until(() => installed() === "alpha,gamma");
    // 4: an emptied field.
    server.put("cni", { plugins: "" });
    await until(() => installed() === "");
    assert.doesNotMatch(w.stderr, /at .*\.js/u);
  });

  test("story 19: after a reboot with the API away, what the owner holds is repaired before the lists are known", async () => {
    await using server = await WatchServer.start("h2");
    await using w = prepared();
    const argv = ["--configmap=default/cni", `--kubeconfig=${server.kubeconfig()}`];
    server.put("cni", { plugins: "bridge,vlan", configs: "05-multus.conflist" });
    w.start(...argv);
    await until(() => w.config("05-multus.conflist") !== undefined);
    await w.stop("SIGKILL");
    const { port } = server;
    await server.close();
    for (const name of ["bridge", "vlan"]) fs.unlinkSync(join(w.node.bin, name));
    fs.unlinkSync(join(w.node.netd, "05-multus.conflist"));
    w.start(...argv);
    await until(() => w.plugin("vlan") !== undefined && w.config("05-multus.conflist") !== undefined);
    await until(() => w.stderr.includes("is not known yet"));
    // What is desired by now counts as soon as it is known.
    server.put("cni", { plugins: "bridge" });
    await server.listen(port);
    await until(() => w.plugin("vlan") === undefined);
    assert.notEqual(w.config("05-multus.conflist"), undefined);
  });

  test("--spread: a change waits for its time on this node, the first reading does not, and repairs go on as before", async () => {
    await using server = await WatchServer.start("h2");
    await using w = prepared();
    w.node.plugin("tuning");
    server.put("cni", { plugins: "vlan" });
    // Of an hour, this node waits 3 seconds.
    const node = "node-369";
    w.start("--configmap=default/cni", `--kubeconfig=${server.kubeconfig()}`, "--spread=1h", `--node-name=${node}`);
    await until(() => w.plugin("vlan") !== undefined && server.watches.size === 1);
    server.put("cni", { plugins: "vlan,tuning" });
    server.put("cni", { plugins: "tuning" });
    await server.isRead();
    fs.unlinkSync(join(w.node.bin, "vlan"));
    await until(() => w.plugin("vlan") !== undefined);
    assert.equal(w.plugin("tuning"), undefined);
    await until(() => w.plugin("tuning") !== undefined && w.plugin("vlan") === undefined);
  });

  test("templates and manifests come straight from ConfigMaps, before files, and their changes are followed", async () => {
    await using server = await WatchServer.start("h2");
    await using w = prepared();
    const template = (name: string): string =>
      `{"cniVersion":"1.0.0","name":"${name}","plugins":[{"type":"multus","delegates":[__10-primary.conflist__]}]}`;
    server.put("cni", { plugins: "vlan", configs: "05-multus.conflist,20-more.conflist" });
    server.put("templates", { "20-more.conflist": template("first"), "not/a/name": "x" });
    const argv = [
      "--configmap=default/cni",
      "--config-templates=default/templates",
      `--kubeconfig=${server.kubeconfig()}`,
    ];
    w.start(...argv);
    await until(() => w.config("20-more.conflist")?.includes('"first"') === true);
    assert.ok(w.config("05-multus.conflist")?.includes('"m"') === true, "a file of the directory");
    await until(() => w.stderr.includes("has keys that cannot be file names: not/a/name"));
    assert.match(w.lines[0] ?? "", /created plugin vlan, created config 05-multus\.conflist, created config 20-more/u);
    server.put("templates", { "20-more.conflist": template("second"), "05-multus.conflist": template("map") });
    await until(() => w.config("20-more.conflist")?.includes('"second"') === true);
    await until(() => w.config("05-multus.conflist")?.includes('"map"') === true);
    // What is broken or gone keeps the last good state, and is named.
    server.put("templates", { "20-more.conflist": "{", "05-multus.conflist": template("never") });
    await until(() => w.stderr.includes("templates: 20-more.conflist"));
    server.delete("templates");
    await until(() => w.stderr.includes("ConfigMap default/templates: does not exist"));
    assert.ok(w.config("05-multus.conflist")?.includes('"map"') === true);
    server.put("templates", { "20-more.conflist": template("third"), "05-multus.conflist": template("map") });
    await until(() => w.config("20-more.conflist")?.includes('"third"') === true);
    assert.equal(server.connections, 1, "all watches share a connection");
  });
});

/** A template that needs the podCIDR of the node. */
function prepareForPodCidr(w: Watched): { hasCidr: (cidr: string) => boolean; edit: (name: string) => void } {
  const edit = (name: string): void =>
    w.node.template(
      "20-pods.conflist",
      `{"cniVersion":"1.0.0","name":"${name}","plugins":[{"type":"bridge","cidr":"__POD_CIDR__"}]}`,
    );
  edit("pods");
  return { edit, hasCidr: (cidr) => w.config("20-pods.conflist")?.includes(`"${cidr}"`) === true };
}

const POD_CIDR_WORDS = ["--configs=20-pods.conflist", "--node-name=n1"];

test("values of the Node come when the API is found, even if there was no kubeconfig at the start", async () => {
  await using api = await NodesApi.start();
  await using w = prepared();
  const { hasCidr } = prepareForPodCidr(w);
  api.put({ name: "n1", podCidrs: ["10.244.1.0/24"], addresses: [] });
  const late = join(w.node.root, "late.kubeconfig");
  w.start(...POD_CIDR_WORDS, `--kubeconfig=${late}`, "--plugins=bridge");
  await until(() => w.stderr.includes("POD_CIDR"));
  // The Node is looked for after what that reconcile says, and before the next one.
  fs.unlinkSync(join(w.node.bin, "bridge"));
  await until(() => w.plugin("bridge") !== undefined);
  fs.copyFileSync(api.kubeconfig, late);
  await until(() => hasCidr("10.244.1.0/24"));
});

test("a watch of the Node that breaks does not bring back an older value than one that was read since", async () => {
  await using api = await NodesApi.start();
  await using w = prepared();
  const { hasCidr, edit } = prepareForPodCidr(w);
  const put = (cidr: string): void => api.put({ name: "n1", podCidrs: [cidr], addresses: [] });
  put("10.244.1.0/24");
  w.start(...POD_CIDR_WORDS, `--kubeconfig=${api.kubeconfig}`, "--plugins=bridge,vlan");
  await until(() => hasCidr("10.244.1.0/24") && api.requests.some((url) => url.includes("watch=1")));
  // What is known counts for a second.
  await sleep(1100);
  api.isSilent = true;
  put("10.244.2.0/24");
  edit("other");
  await until(() => hasCidr("10.244.2.0/24"));
  api.server.close();
  api.server.closeAllConnections();
  await until(() => w.stderr.includes("cannot be reached"));
  await w.repairs("bridge", "vlan", "bridge");
  assert.ok(hasCidr("10.244.2.0/24"), w.stdout);
});

test("a value of the Node is followed: it comes, changes, and stays while the Node is deleted, with one watch and no polling", async () => {
  await using api = await NodesApi.start();
  await using w = prepared();
  const pods = prepareForPodCidr(w);
  const node = (...podCidrs: string[]): TestNodeObject => ({ name: "n1", podCidrs, addresses: ["192.0.2.1"] });
  const hasCidr = async (cidr: string): Promise<void> => until(() => pods.hasCidr(cidr));
  api.put(node());
  w.start(...POD_CIDR_WORDS, `--kubeconfig=${api.kubeconfig}`, "--listen=127.0.0.1:0");
  await until(() => w.stderr.includes("Node n1 has no podCIDR"));
  await until(() => api.requests.some((url) => url.includes("watch=1")));
  api.put(node("10.244.1.0/24"));
  await hasCidr("10.244.1.0/24");
  const before = api.requests.length;
  api.put(node("10.244.2.0/24"));
  await hasCidr("10.244.2.0/24");
  // What does not count of it is no reason to look.
  api.put({ ...node("10.244.2.0/24"), ready: false });
  api.put({ ...node("10.244.9.0/24"), name: "n2" });
  api.put(node("10.244.3.0/24"));
  await hasCidr("10.244.3.0/24");
  assert.equal(api.requests.length, before, "the watch says all");
  const address = /listening on (\S+)/u.exec(w.stderr)?.[1];
  assert.match(await (await fetch(`http://${address}/statusz`)).text(), /Node n1 +live/u);
  api.delete("n1");
  await until(() => w.stderr.includes("Node n1: does not exist"));
  assert.match(w.config("20-pods.conflist") ?? "", /10\.244\.3\.0/u, "what is installed stays");
  api.put(node("10.244.4.0/24"));
  await hasCidr("10.244.4.0/24");
});

test(
  "--listen, --log-format=json and Events: health, numbers, log and the API say what was done",
  { skip: cannotSign },
  async () => {
    await using server = await WatchServer.start("h2");
    const events: { note: string; reason: string }[] = [];
    server.trick = async (seen, answer) => {
      if (seen.verb !== "create") return false;
      events.push((await json(answer.req)) as { note: string; reason: string });
      answer.writeHead(201, { "content-type": "application/json" }).end("{}");
      return true;
    };
    await using w = prepared();
    server.put("cni", { plugins: "vlan" });
    const argv = ["--configmap=default/cni", `--kubeconfig=${server.kubeconfig()}`, "--node-name=n1"];
    w.start(...argv, "--listen=127.0.0.1:0", "--log-format=json");
    await until(() => w.plugin("vlan") !== undefined && w.log.some(({ msg }) => msg === "created plugin vlan"));
    const address = /listening on (\S+)/u.exec(w.log.map(({ msg }) => msg).join("\n"))?.[1];
    const get = async (path: string): Promise<[number, string]> => {
      const response = await fetch(`http://${address}${path}`);
      return [response.status, await response.text()];
    };
    assert.deepEqual(await get("/livez"), [200, "ok"]);
    assert.equal((await get("/readyz"))[0], 200);
    assert.match((await get("/metrics"))[1], /^cni_node_steps_total\{kind="plugin",outcome="created"\} 1$/mu);
    assert.match((await get("/statusz"))[1], /ConfigMap default\/cni +live/u);
    server.put("cni", { plugins: "vlan,typo" });
    await until(() => w.log.some(({ level }) => level === "error"));
    assert.equal((await get("/readyz"))[0], 500);
    await until(() => events.length >= 2);
    assert.deepEqual(
      events.map(({ reason }) => reason),
      ["Installed", "RefusedToApply"],
    );
    assert.equal(events[0]?.note, "created plugin vlan");
  },
);
