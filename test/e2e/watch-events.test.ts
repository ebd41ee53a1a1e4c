/** Events of watch, as a real API server takes them. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { findAccess } from "../../src/cluster/access.ts";
import { Channel } from "../../src/cluster/channel.ts";
import { Events } from "../../src/watch/events.ts";
import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { until } from "../helpers/node.ts";
import { reconcile } from "../helpers/watching.ts";

const PATH = "/apis/events.k8s.io/v1/namespaces/default/events";
const POD = { name: "cni-x", namespace: "default", uid: "u-1" };

interface Written {
  reason: string;
  regarding: { kind: string };
  series?: { count: number };
}

suite("Events", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  const written = async (): Promise<Written[]> => {
    const { text } = await cluster.request("GET", PATH);
    const { items } = JSON.parse(text) as { items: (Written & { reportingController: string })[] };
    return items.filter(({ reportingController }) => reportingController === "cni-node.io/watch");
  };

  test("a Role with create and patch is enough; a series is patched", async () => {
    const rules = [{ verbs: ["create", "patch"], apiGroups: ["events.k8s.io"], resources: ["events"] }];
    const kubeconfig = await cluster.kubeconfigFor({ name: "teller", rules });
    using channel = new Channel(() => findAccess({ kubeconfig, env: {} }));
    const said: string[] = [];
    await using events = new Events({ channel, node: "node-1", pod: POD, say: (problem) => said.push(problem) });
    events.reconciled(reconcile());
    await until(() => events.isIdle && channel.requests === 2);
    assert.equal((await written()).length, 2);
    events.reconciled(reconcile());
    await until(() => events.isIdle && channel.requests === 4);
    assert.ok((await written()).every(({ series }) => series?.count === 2));
    assert.deepEqual((await written()).map(({ regarding }) => regarding.kind).toSorted(), ["Node", "Pod"]);
    assert.deepEqual([channel.connections, said], [1, []]);
  });

  test("without the right, it is said once", async () => {
    const kubeconfig = await cluster.kubeconfigFor({ name: "mute", rules: [] });
    using channel = new Channel(() => findAccess({ kubeconfig, env: {} }));
    const said: string[] = [];
    await using events = new Events({ channel, node: "node-2", say: (problem) => said.push(problem) });
    events.reconciled(reconcile());
    await until(() => said.length === 1);
    events.reconciled(reconcile());
    assert.match(said.join(), /Events of namespace default: cannot be written: .*forbidden/u);
    assert.equal(channel.requests, 1);
  });
});
