/** `cni-node watch` as a process beside a real API server, as examples/watch/cni.yaml has it run on each node. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { parseAllDocuments } from "yaml";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { writeKubeconfig } from "../cluster/kubeconfig.ts";
import { until } from "../helpers/node.ts";
import { Watched } from "../helpers/watched.ts";

const EXAMPLE = fs.readFileSync(join(import.meta.dirname, "../../examples/watch/cni.yaml"), "utf8");
const CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps";

interface Manifest {
  kind: string;
  spec?: {
    template: { spec: { serviceAccountName: string; containers: { args: string[]; env: { name: string }[] }[] } };
  };
}

const objects = parseAllDocuments(EXAMPLE).map((one) => one.toJS() as Manifest);
const pod = objects.find(({ kind }) => kind === "DaemonSet")?.spec?.template.spec;
const [container] = pod?.containers ?? [];

suite("watch beside a real API server", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  const patch = async (name: string, data: object): Promise<void> => {
    const { status, text } = await cluster.request("PATCH", `${CONFIG_MAPS}/${name}`, { data });
    assert.equal(status, 200, text);
  };
  /** Waits until there are Events with these reasons. */
  const reasonsIn = async (namespace: string, reasons: readonly string[]): Promise<void> => {
    for (let tries = 0; tries < 120; tries++) {
      const { text } = await cluster.request("GET", `/apis/events.k8s.io/v1/namespaces/${namespace}/events`);
      const { items } = JSON.parse(text) as { items: { reason: string; reportingController: string }[] };
      const ours = items.filter(({ reportingController }) => reportingController === "cni-node.io/watch");
      if (reasons.every((reason) => ours.some((one) => one.reason === reason))) return;
      await sleep(1000);
    }
    assert.fail(`there are no Events ${reasons.join()} in ${namespace}`);
  };
  const makeNode = (): Watched => {
    const w = new Watched();
    for (const name of ["bridge", "host-local", "macvlan", "vlan"]) w.node.plugin(name);
    return w;
  };

  test("the example as it is: its Roles are enough, and its ConfigMaps are followed, even through a restart of the API server", async () => {
    await using w = makeNode();
    w.node.manifest("cni.yaml", EXAMPLE);
    const installed = await w.node.run(["install", "--manifests=cni.yaml", `--kubeconfig=${cluster.adminKubeconfig}`]);
    assert.equal(installed.exitCode, 0, installed.stderr);
    const kubeconfig = join(w.node.root, "kubeconfig");
    const token = await cluster.tokenFor(pod?.serviceAccountName ?? "", "kube-system");
    const { server, ca } = cluster;
    writeKubeconfig(kubeconfig, { server, ca, credentials: { token }, namespace: "kube-system" });
    const argv = (container?.args ?? []).map((one) =>
      one.replace(":9153", ":0").replace("--spread=10s", "--spread=1ms"),
    );
    const [command = "", ...options] = argv;
    assert.equal(command, "watch");
    const env = { NODE_NAME: "node-1", POD_NAME: "cni-node-x", POD_NAMESPACE: "kube-system", POD_UID: "u-1" };
    assert.deepEqual(
      container?.env.map(({ name }) => name),
      Object.keys(env),
    );
    w.startWith([...options, `--kubeconfig=${kubeconfig}`], env);
    await until(() => w.config("20-macvlan.conflist")?.includes("10.88.0.0/16") === true);
    await patch("cni-templates", { "20-macvlan.conflist": w.config("20-macvlan.conflist")?.replace("10.88", "10.89") });
    await until(() => w.config("20-macvlan.conflist")?.includes("10.89.0.0/16") === true);
    await patch("cni", { plugins: "bridge\nhost-local\nmacvlan\nvlan\n" });
    await until(() => w.plugin("vlan") !== undefined);
    // A server that has just started knows no Roles for a moment, so this is the time to look.
    assert.doesNotMatch(w.stderr, /forbidden/u);
    // The API server is killed; the node is kept, and what is desired afterwards is reached.
    await cluster.killServer();
    fs.unlinkSync(join(w.node.bin, "vlan"));
    await until(() => w.plugin("vlan") !== undefined);
    await cluster.startServer();
    await patch("cni", { plugins: "host-local\nmacvlan\n" });
    await until(() => w.plugin("vlan") === undefined);
    // What could not be written while the API server was away is written a while later.
    for (const namespace of ["default", "kube-system"]) await reasonsIn(namespace, ["Installed", "Repaired"]);
    assert.equal((await w.stop()).signal, "SIGTERM");
  });

  test("manifests that were applied do not keep files from being repaired while the API server is away", async () => {
    await using w = makeNode();
    w.node.manifest(
      "map.yaml",
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine, namespace: default}\ndata: {a: b}\n",
    );
    w.start("--plugins=vlan", "--manifests=map.yaml", `--kubeconfig=${cluster.adminKubeconfig}`, "--timeout=2s");
    await until(() => w.lines.length === 1);
    await cluster.killServer();
    for (let round = 0; round < 2; round++) {
      fs.unlinkSync(join(w.node.bin, "vlan"));
      await until(() => w.plugin("vlan") !== undefined);
    }
    await until(() => w.stderr.includes("the Kubernetes API cannot be reached"));
    await cluster.startServer();
    w.node.manifest(
      "map.yaml",
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine, namespace: default}\ndata: {a: c}\n",
    );
    await until(() => w.stdout.includes("configured manifest map.yaml"));
    assert.match((await cluster.request("GET", "/api/v1/namespaces/default/configmaps/mine")).text, /"a":\s*"c"/u);
  });
});
