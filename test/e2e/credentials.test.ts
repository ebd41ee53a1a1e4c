/** Kubeconfigs with tokens of service accounts, against a real API server. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { factsOf } from "../../src/cluster/token.ts";
import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { TestNode, type Ran } from "../helpers/node.ts";

const TOKEN = /[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}/u;
const ACCOUNTS = "/api/v1/namespaces/kube-system/serviceaccounts";

/** What the installer needs for one account, in its namespace and in the cluster. */
function rulesFor(account: string): { rules: object[]; clusterRules: object[] } {
  const verbs = ["create"];
  return {
    rules: [{ verbs, apiGroups: [""], resources: ["serviceaccounts/token"], resourceNames: [account] }],
    clusterRules: [{ verbs: ["get"], apiGroups: [""], resources: ["nodes"], resourceNames: ["node-1"] }],
  };
}

suite("credentials", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
    assert.equal((await cluster.request("POST", "/api/v1/nodes", { metadata: { name: "node-1" } })).status, 201);
    await makeAccount("multus");
  });
  after(async () => cluster.stop());

  async function makeAccount(name: string): Promise<void> {
    assert.equal((await cluster.request("POST", ACCOUNTS, { metadata: { name } })).status, 201);
  }

  const directoryOf = (node: TestNode): string => join(node.host, "etc/cni/credentials");
  const fileOf = (node: TestNode, name = "multus.kubeconfig"): string => join(directoryOf(node), name);
  const tokenOf = (path: string): string => TOKEN.exec(fs.readFileSync(path, "utf8"))?.[0] ?? "";

  /** Runs it as the administrator, who may do everything. */
  async function run(node: TestNode, argv: string[], kubeconfig = cluster.adminKubeconfig): Promise<Ran> {
    const [verb = ""] = argv;
    const place = verb === "credentials" || verb === "status" ? [`--host-root=${node.host}`] : [];
    const api = verb === "status" ? [] : [`--kubeconfig=${kubeconfig}`, "--node-name=node-1"];
    return node.run([...argv, ...place, ...api]);
  }

  async function whoIs(path: string): Promise<string> {
    const ran = await cluster.kubectl([
      "--kubeconfig",
      path,
      "auth",
      "whoami",
      "-o",
      "jsonpath={.status.userInfo.username}",
    ]);
    return ran.stdout || ran.stderr;
  }

  /** Nothing that cni-node printed or keeps beside the credentials has a token. */
  function refuseTokens(node: TestNode, ...printed: Ran[]): void {
    const tokens = fs
      .readdirSync(directoryOf(node))
      .filter((name) => !name.startsWith("."))
      .map((name) => tokenOf(fileOf(node, name)));
    const records = [node.netd, node.bin, directoryOf(node)]
      .map((directory) => join(directory, ".cni-node/record.json"))
      .filter((path) => fs.existsSync(path))
      .map((path) => fs.readFileSync(path, "utf8"));
    const texts = [...records, ...printed.flatMap(({ stdout, stderr }) => [stdout, stderr])];
    for (const text of texts) {
      assert.doesNotMatch(text, TOKEN);
      for (const token of tokens)
        if (token !== "") assert.ok(!text.includes(token) && !text.includes(token.split(".")[2] ?? ""));
    }
  }

  test("a kubeconfig is made that kubectl can use, bound to the Node, for root only; twice changes nothing", async () => {
    using node = new TestNode();
    const kubeconfig = await cluster.kubeconfigFor({
      name: "installer",
      namespace: "kube-system",
      ...rulesFor("multus"),
    } as never);
    const plan = await run(node, ["plan", "--credentials=multus.kubeconfig=kube-system/multus"], kubeconfig);
    assert.equal(plan.exitCode, 0, plan.stderr);
    assert.match(plan.stdout, /^would create +credentials +multus.kubeconfig/mu);
    assert.ok(!fs.existsSync(directoryOf(node)));
    const ran = await run(node, ["credentials", "multus.kubeconfig=kube-system/multus"], kubeconfig);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(ran.stderr, "");
    assert.equal(await whoIs(fileOf(node)), "system:serviceaccount:kube-system:multus");
    const [file, directory] = [fileOf(node), directoryOf(node)].map((path) => fs.statSync(path).mode & 0o777);
    assert.deepEqual([file, directory], [0o600, 0o700]);
    const facts = factsOf(tokenOf(fileOf(node)));
    assert.equal(facts?.node?.name, "node-1");
    assert.equal(Math.round((facts.expires - (facts.issued ?? 0)) / 3_600_000), 24);
    const first = fs.statSync(fileOf(node), { bigint: true });
    const again = await run(
      node,
      ["install", "--credentials=multus.kubeconfig=kube-system/multus", "--output=json"],
      kubeconfig,
    );
    assert.match(again.stdout, /"outcome": ?"unchanged"/u);
    const now = fs.statSync(fileOf(node), { bigint: true });
    assert.deepEqual([now.ino, now.mtimeNs], [first.ino, first.mtimeNs]);
    const status = await run(node, ["status"]);
    assert.match(status.stdout, /multus\.kubeconfig/u);
    refuseTokens(node, plan, ran, again, status);
  });

  test("the form with a file for the token, and back; an uninstall removes both", async () => {
    using node = new TestNode();
    const words = ["credentials", "multus.kubeconfig=kube-system/multus"];
    const ran = await run(node, [...words, "--credentials-form=token-file"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    const text = fs.readFileSync(fileOf(node), "utf8");
    assert.match(text, /tokenFile: "\/etc\/cni\/credentials\/multus\.token"/u);
    assert.equal(factsOf(tokenOf(fileOf(node, "multus.token")))?.subject, "system:serviceaccount:kube-system:multus");
    const again = await run(node, [...words, "--credentials-form=token-file"]);
    assert.doesNotMatch(again.stdout, /created|configured/u);
    fs.rmSync(fileOf(node, "multus.token"));
    const repaired = await run(node, [...words, "--credentials-form=token-file"]);
    assert.match(repaired.stdout, /created +credentials +multus\.token .*it had been removed/u);
    assert.match(repaired.stdout, /unchanged +credentials +multus\.kubeconfig/u);
    const inline = await run(node, words);
    assert.match(inline.stdout, /configured +credentials +multus\.kubeconfig .*the form/u);
    assert.match(inline.stdout, /deleted +credentials +multus\.token/u);
    await run(node, [...words, "--credentials-form=token-file"]);
    const removed = await run(node, ["uninstall", "--credentials=multus.kubeconfig"]);
    assert.equal(removed.exitCode, 0, removed.stderr);
    assert.deepEqual(fs.readdirSync(directoryOf(node)), []);
  });

  test("the account, a Role and a configuration come in one run, and leave in one", async () => {
    using node = new TestNode();
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "fresh", namespace: "kube-system" } };
    node.manifest("rbac.yaml", JSON.stringify(account));
    const plugin = {
      type: "multus",
      kubeconfig: "/etc/cni/credentials/fresh.kubeconfig",
      delegates: [{ name: "a", type: "a" }],
    };
    node.template("00-multus.conflist", JSON.stringify({ cniVersion: "1.0.0", name: "m", plugins: [plugin] }));
    const words = ["--manifests=rbac.yaml", "--configs=00-multus.conflist"];
    const all = [...words, "--credentials=fresh.kubeconfig=kube-system/fresh"];
    const plan = await run(node, ["plan", ...all]);
    assert.equal(plan.exitCode, 0, plan.stderr);
    const ran = await run(node, ["install", ...all]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(plan.stderr + ran.stderr, "cni-node: nothing has been changed, this is the plan\n");
    const kinds = Array.from(ran.stdout.matchAll(/^created +(\w+)/gmu), ([, kind]) => kind);
    assert.deepEqual(kinds, ["manifest", "credentials", "config"]);
    assert.equal(await whoIs(fileOf(node, "fresh.kubeconfig")), "system:serviceaccount:kube-system:fresh");
    const kept = await run(node, ["uninstall", "--credentials=fresh.kubeconfig"]);
    assert.match(kept.stdout, /kept +credentials +fresh\.kubeconfig .*00-multus\.conflist names it/u);
    const json = await run(node, [
      "uninstall",
      "--manifests=rbac.yaml",
      "--configs=00-multus.conflist",
      "--credentials=fresh.kubeconfig=kube-system/fresh",
    ]);
    const removed = Array.from(json.stdout.matchAll(/^deleted +(\w+)/gmu), ([, kind]) => kind);
    assert.deepEqual(removed, ["config", "credentials", "manifest"]);
    refuseTokens(node, plan, ran, kept, json);
  });

  test("a token that is refused undoes the manifests of the run, and says which rule is missing", async () => {
    using node = new TestNode();
    node.manifest(
      "a.yaml",
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"undone","namespace":"default"}}',
    );
    const missing = await run(node, ["install", "--manifests=a.yaml", "--credentials=x.kubeconfig=kube-system/nobody"]);
    assert.equal(missing.exitCode, 1);
    assert.match(missing.stderr, /ServiceAccount kube-system\/nobody: does not exist/u);
    assert.equal((await cluster.request("GET", "/api/v1/namespaces/default/configmaps/undone")).status, 404);
    assert.ok(!fs.existsSync(fileOf(node, "x.kubeconfig")));
    assert.deepEqual(fs.existsSync(directoryOf(node)) ? fs.readdirSync(directoryOf(node)) : [], []);
    const poor = await cluster.kubeconfigFor({ name: "poor", namespace: "kube-system" });
    const refused = await run(node, ["credentials", "multus.kubeconfig=kube-system/multus"], poor);
    assert.equal(refused.exitCode, 1);
    assert.match(
      refused.stderr,
      /\{apiGroups: \[""\], resources: \["serviceaccounts\/token"\], resourceNames: \["multus"\], verbs: \["create"\]\} in the namespace kube-system/u,
    );
  });

  test("without the right to read the Node, the token is not bound, which is said", async () => {
    using node = new TestNode();
    const { rules } = rulesFor("multus");
    const kubeconfig = await cluster.kubeconfigFor({ name: "unbound", namespace: "kube-system", rules } as never);
    const ran = await run(node, ["credentials", "multus.kubeconfig=kube-system/multus"], kubeconfig);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stderr, /warning: multus\.kubeconfig: its token is not bound to this node/u);
    assert.equal(factsOf(tokenOf(fileOf(node)))?.node, undefined);
    const again = await run(node, ["credentials", "multus.kubeconfig=kube-system/multus"], kubeconfig);
    assert.match(again.stdout, /unchanged/u);
  });

  test("an account that was made again, another account, another server and an edited file each bring a new token", async () => {
    using node = new TestNode();
    await makeAccount("again");
    const words = ["credentials", "k.kubeconfig=kube-system/again"];
    const path = fileOf(node, "k.kubeconfig");
    await run(node, words);
    const first = tokenOf(path);
    assert.equal((await cluster.request("DELETE", `${ACCOUNTS}/again`)).status, 200);
    await makeAccount("again");
    // The API server believes a token that it has just seen for 10 seconds, unless it is asked about the account.
    let ran = await run(node, words);
    for (let tries = 0; /unchanged/u.test(ran.stdout) && tries < 30; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ran = await run(node, words);
    }
    assert.match(ran.stdout, /configured .*the API no longer accepts its token/u);
    assert.notEqual(tokenOf(path), first);
    assert.equal(await whoIs(path), "system:serviceaccount:kube-system:again");
    const other = await run(node, ["credentials", "k.kubeconfig=kube-system/multus"]);
    assert.match(other.stdout, /configured .*the account .*differs/u);
    const server = await run(node, [
      "credentials",
      "k.kubeconfig=kube-system/multus",
      "--credentials-server=https://[fd00::1]:6443",
    ]);
    assert.match(server.stdout, /configured .*the server/u);
    assert.match(fs.readFileSync(path, "utf8"), /server: "https:\/\/\[fd00::1\]:6443"/u);
    fs.appendFileSync(path, "# edited\n");
    const status = await run(node, ["status"]);
    assert.match(status.stdout, /was changed since[^]*cni-node credentials k\.kubeconfig=kube-system\/multus/u);
    const edited = await run(node, [
      "credentials",
      "k.kubeconfig=kube-system/multus",
      "--credentials-server=https://[fd00::1]:6443",
    ]);
    assert.match(edited.stdout, /configured .*it had been changed/u);
    refuseTokens(node, ran, other, server, status, edited);
  });

  test("a token that is bound to a Node ends with it: the next run brings one for the new Node", async () => {
    using node = new TestNode();
    const words = ["credentials", "multus.kubeconfig=kube-system/multus"];
    await run(node, words);
    const first = factsOf(tokenOf(fileOf(node)))?.node?.uid;
    assert.equal((await cluster.request("DELETE", "/api/v1/nodes/node-1")).status, 200);
    assert.equal((await cluster.request("POST", "/api/v1/nodes", { metadata: { name: "node-1" } })).status, 201);
    let ran = await run(node, words);
    for (let tries = 0; /unchanged/u.test(ran.stdout) && tries < 30; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ran = await run(node, words);
    }
    assert.match(ran.stdout, /configured .*the API no longer accepts its token/u);
    const second = factsOf(tokenOf(fileOf(node)))?.node?.uid;
    assert.ok(first !== undefined && second !== undefined && first !== second);
  });

  test("docs/credentials.md: its objects, its command and the path in its template are enough", async () => {
    using node = new TestNode();
    const text = fs.readFileSync(join(import.meta.dirname, "../../docs/credentials.md"), "utf8");
    const [, yaml = ""] = /```yaml\n([^]*?)```/u.exec(text) ?? [];
    const [, words = ""] = /^ *cni-node (credentials .*)$/mu.exec(text) ?? [];
    const [, path = ""] = /"kubeconfig": "([^"]*)"/u.exec(text) ?? [];
    const kubeconfig = await cluster.kubeconfigFor({ name: "cni-node", namespace: "kube-system" });
    assert.equal((await cluster.kubectl(["apply", "-f", "-"], yaml.replaceAll(/^ {3}/gmu, ""))).exitCode, 0);
    let ran = await run(node, words.split(" "), kubeconfig);
    // The API server goes by new roles a moment later.
    for (let tries = 0; ran.exitCode !== 0 && tries < 50; tries++) ran = await run(node, words.split(" "), kubeconfig);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(await whoIs(join(node.host, path)), "system:serviceaccount:kube-system:multus");
    const bound = await run(node, words.split(" "), kubeconfig);
    assert.equal(bound.stderr, "");
  });

  test("directories that are lost at boot or that runtimes read are refused, and one's own kubeconfig", async () => {
    using node = new TestNode();
    fs.mkdirSync(join(node.host, "run/cni"), { recursive: true });
    const item = "multus.kubeconfig=kube-system/multus";
    const volatile = await run(node, ["credentials", item, `--credentials-dir=${join(node.host, "run/cni")}`]);
    assert.match(volatile.stderr, /is emptied when the node starts/u);
    const same = await run(node, ["credentials", item, `--credentials-dir=${node.netd}`]);
    assert.match(same.stderr, /is named for credentials and for configs/u);
    assert.equal(same.exitCode, 2);
    await run(node, ["credentials", item]);
    const own = await run(node, ["credentials", item], fileOf(node));
    assert.match(own.stderr, /its own token would be asked for/u);
  });
});
