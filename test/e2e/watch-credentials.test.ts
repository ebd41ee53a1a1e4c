/** `cni-node watch` keeps tokens fresh: beside a real API server, and one whose tokens live for seconds. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { factsOf } from "../../src/cluster/token.ts";
import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { cannotSign } from "../cluster/pki.ts";
import { ShortLived } from "../cluster/token-server.ts";
import { TestNode, until } from "../helpers/node.ts";
import { Watched } from "../helpers/watched.ts";

const TOKEN = /[\w-]{4,}\.[\w-]{4,}\.[\w-]{4,}/u;
const ITEM = "multus.kubeconfig=kube-system/multus";

const fileOf = (node: TestNode): string => join(node.host, "etc/cni/credentials/multus.kubeconfig");

function tokenOf(node: TestNode): string {
  return fs.existsSync(fileOf(node)) ? (TOKEN.exec(fs.readFileSync(fileOf(node), "utf8"))?.[0] ?? "") : "";
}

/** What a process says of itself. */
async function page(w: Watched, path: string): Promise<string> {
  await until(() => /listening on /u.test(w.stderr));
  const address = /listening on ([\d.:]+)/u.exec(w.stderr)?.[1] ?? "";
  const answer = await fetch(`http://${address}/${path}`);
  return answer.text();
}

suite("tokens of seconds", { skip: cannotSign }, () => {
  const start = (w: Watched, api: ShortLived, ...more: string[]): void => {
    w.start(`--credentials=${ITEM}`, `--kubeconfig=${api.kubeconfig}`, "--listen=127.0.0.1:0", "--timeout=1s", ...more);
  };

  test("each is replaced before it expires, and nothing that is said has one", async () => {
    await using api = await ShortLived.start();
    await using w = new Watched();
    start(w, api, "--log-format=json");
    await until(() => api.given.length >= 4);
    await until(() => tokenOf(w.node) === api.given.at(-1));
    const pages = await Promise.all(["metrics", "statusz", "readyz"].map(async (one) => page(w, one)));
    const status = await w.node.run(["status", `--host-root=${w.node.host}`, "--output=json"]);
    const { stderr, stdout } = await w.stop();
    const record = fs.readFileSync(join(w.node.host, "etc/cni/credentials/.cni-node/record.json"), "utf8");
    const texts = [...pages, status.stdout, status.stderr, stderr, stdout, record];
    for (const text of texts) assert.doesNotMatch(text, /secretsignature|installers\.own/u);
    assert.match(pages[0] ?? "", /^cni_node_credentials_expiry_timestamp_seconds\{name="multus\.kubeconfig"\} \d/mu);
    assert.match(pages[1] ?? "", /token in multus\.kubeconfig +kube-system\/multus, until \d{4}-/u);
    // Nobody else has changed it.
    assert.match(pages[0] ?? "", /^cni_node_repairs_total\{kind="credentials"\} 0$/mu);
    assert.match(status.stdout, /"tokens"/u);
  });

  test("an API that is away keeps the old one, other files are repaired, and readiness ends before the token does", async () => {
    await using api = await ShortLived.start();
    api.life = 20_000;
    await using w = new Watched();
    w.node.plugin("bridge");
    start(w, api, "--plugins=bridge");
    await until(() => tokenOf(w.node) !== "");
    const [first = ""] = api.given;
    await until(() => w.plugin("bridge") !== undefined);
    assert.equal(await page(w, "readyz"), "ok");
    api.isAway = true;
    fs.rmSync(join(w.node.bin, "bridge"));
    await until(() => w.plugin("bridge") !== undefined);
    assert.equal(tokenOf(w.node), first);
    for (let text = ""; !/\[-\]credentials failed/u.test(text);) {
      text = await page(w, "readyz?verbose");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(Date.now() < (factsOf(first)?.expires ?? 0), "not before it expired");
    assert.equal(tokenOf(w.node), first);
    fs.rmSync(join(w.node.bin, "bridge"));
    await until(() => w.plugin("bridge") !== undefined);
    api.isAway = false;
    await until(() => tokenOf(w.node) === api.given.at(-1) && api.given.length > 1);
  });

  test("a node that was off for longer than a token lives gets a new one first thing, and a new authority is followed", async () => {
    await using api = await ShortLived.start();
    await using w = new Watched();
    start(w, api);
    await until(() => tokenOf(w.node) !== "");
    await w.stop();
    const old = tokenOf(w.node);
    await until(() => Date.now() > (factsOf(old)?.expires ?? 0));
    api.life = 3_600_000;
    start(w, api);
    await until(() => tokenOf(w.node) !== old);
    // One that was revoked meanwhile is known by asking the API.
    await w.stop();
    const revoked = tokenOf(w.node);
    api.revoked = revoked;
    start(w, api);
    await until(() => tokenOf(w.node) !== revoked);
    const whole = fs.readFileSync(fileOf(w.node), "utf8");
    const config = fs.readFileSync(api.kubeconfig, "utf8").replace("https://127.0.0.1", "https://localhost");
    fs.writeFileSync(`${api.kubeconfig}.new`, config);
    fs.renameSync(`${api.kubeconfig}.new`, api.kubeconfig);
    await until(() => fs.readFileSync(fileOf(w.node), "utf8") !== whole);
    assert.match(fs.readFileSync(fileOf(w.node), "utf8"), /server: "https:\/\/localhost:/u);
  });
});

suite("watch of credentials beside a real API server", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
    const path = "/api/v1/namespaces/kube-system/serviceaccounts";
    assert.equal((await cluster.request("POST", path, { metadata: { name: "multus" } })).status, 201);
    const data = { credentials: ITEM, plugins: "", configs: "", manifests: "" };
    const maps = "/api/v1/namespaces/default/configmaps";
    assert.equal((await cluster.request("POST", maps, { metadata: { name: "cni" }, data })).status, 201);
  });
  after(async () => cluster.stop());

  test("a ConfigMap lists them; one that is removed or edited comes back; without the list they are kept by the record", async () => {
    await using w = new Watched();
    w.start("--configmap=default/cni", `--kubeconfig=${cluster.adminKubeconfig}`, "--node-name=node-1");
    await until(() => tokenOf(w.node) !== "");
    fs.rmSync(fileOf(w.node));
    await until(() => tokenOf(w.node) !== "");
    fs.appendFileSync(fileOf(w.node), "# edited\n");
    await until(() => !fs.readFileSync(fileOf(w.node), "utf8").includes("edited"));
    const { stderr } = await w.stop();
    const [, , signature = ""] = tokenOf(w.node).split(".");
    const { text } = await cluster.request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
    assert.ok(signature !== "" && !`${stderr}${w.stdout}${text}`.includes(signature));
    const empty = { data: { credentials: "" } };
    assert.equal((await cluster.request("PATCH", "/api/v1/namespaces/default/configmaps/cni", empty)).status, 200);
    await using again = new Watched(w.node);
    again.start("--configmap=default/cni", `--kubeconfig=${cluster.adminKubeconfig}`);
    await until(() => !fs.existsSync(fileOf(w.node)));
  });
});
