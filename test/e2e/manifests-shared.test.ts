/** M9: an undo takes nothing away that others have come to rely on. On a real API server. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { startProxy, type FaultProxy } from "../cluster/proxy.ts";
import { TestNode, until, type Ran } from "../helpers/node.ts";

let cluster: Cluster;

const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };

function definition(plural: string): object {
  const names = { plural, singular: plural.slice(0, -1), kind: `Kind${plural}` };
  const versions = [{ name: "v1", served: true, storage: true, schema }];
  const spec = { group: "m9.cni-node.io", scope: "Namespaced", names, versions };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.m9.cni-node.io` },
    spec,
  };
}

function role(name: string): object {
  const rules = [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }];
  return { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name }, rules };
}

function namespace(name: string): object {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}

function configMap(name: string, at = "default"): object {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: at }, data: { a: "b" } };
}

async function get(path: string): Promise<{ status: number; text: string; isGoing: boolean }> {
  const { status, text, body } = await cluster.request("GET", path);
  return { status, text, isGoing: status === 404 || body.metadata?.["deletionTimestamp"] !== undefined };
}

suite(
  "M9: what a run has made and others rely on by now stays when the run is undone",
  { skip: cannotStart, concurrency: 2 },
  () => {
    before(async () => {
      cluster = await startCluster();
    });
    after(async () => cluster.stop());

    /** A node that makes these objects and then fails with a last one; `meanwhile` happens before that. */
    async function failLate(
      objects: object[],
      late: string,
      meanwhile: (proxy: FaultProxy) => Promise<void>,
    ): Promise<Ran> {
      await using proxy = await startProxy(cluster);
      using node = new TestNode();
      node.manifest("a.yaml", [...objects, configMap(late)].map((object) => JSON.stringify(object)).join("\n"));
      const isLate = { method: "PATCH", path: new RegExp(`/${late}\\?(?!.*dryRun)`, "u") };
      const wait = proxy.onRequest({ ...isLate, times: 1000 }, { kind: "answer", status: 503, retryAfter: 1 });
      const running = node.run([
        "install",
        "--manifests=a.yaml",
        "--timeout=8s",
        `--kubeconfig=${proxy.kubeconfig(cluster.adminKubeconfig)}`,
      ]);
      await until(() => wait.hits > 0);
      await meanwhile(proxy);
      return await running;
    }

    async function other(objects: object[], more: string[] = [], kubeconfig = cluster.adminKubeconfig): Promise<Ran> {
      using node = new TestNode();
      node.manifest("b.yaml", objects.map((object) => JSON.stringify(object)).join("\n"));
      const ran = await node.run(["install", "--manifests=b.yaml", `--kubeconfig=${kubeconfig}`, ...more]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      return ran;
    }

    test("a Namespace into which another node has installed", async () => {
      const ran = await failLate(
        [namespace("m9-used"), configMap("own", "m9-used")],
        "m9-late-1",
        async () => void (await other([configMap("theirs", "m9-used")])),
      );
      assert.equal(ran.exitCode, 4, ran.stderr);
      assert.match(ran.stderr, /Namespace m9-used: made by this run, it stays: ConfigMap theirs is in it/u);
      assert.equal((await get("/api/v1/namespaces/m9-used")).isGoing, false);
      assert.equal((await get("/api/v1/namespaces/m9-used/configmaps/theirs")).status, 200);
      assert.equal((await get("/api/v1/namespaces/m9-used/configmaps/own")).status, 404);
    });

    test("a definition of which somebody has made an object", async () => {
      const ran = await failLate([definition("useds")], "m9-late-2", async () => {
        const path = "/apis/m9.cni-node.io/v1/namespaces/default/useds";
        const { status, text } = await cluster.request("POST", path, {
          apiVersion: "m9.cni-node.io/v1",
          kind: "Kinduseds",
          metadata: { name: "o" },
        });
        assert.equal(status, 201, text);
      });
      assert.equal(ran.exitCode, 4, ran.stderr);
      assert.match(
        ran.stderr,
        /CustomResourceDefinition useds\.m9\.cni-node\.io: made by this run, it stays: Kinduseds o is in it/u,
      );
      assert.equal((await get("/apis/m9.cni-node.io/v1/namespaces/default/useds/o")).status, 200);
    });

    for (const [who, more] of [
      ["another node", []],
      ["another owner", ["--owner=other"]],
    ] as const) {
      test(`a ClusterRole that ${who} has found as it wants it`, async () => {
        const name = `m9-${who.replace(" ", "-")}`;
        const ran = await failLate(
          [role(name)],
          `${name}-late`,
          async () => void (await other([role(name)], [...more])),
        );
        assert.equal(ran.exitCode, 4, ran.stderr);
        assert.match(
          ran.stderr,
          new RegExp(`ClusterRole ${name}: made by this run, it stays: .*applied it as well`, "u"),
        );
        const { status, text } = await get(`/apis/rbac.authorization.k8s.io/v1/clusterroles/${name}`);
        assert.equal(status, 200);
        if (who === "another node") assert.doesNotMatch(text, /unsettled/u);
        assert.match((await other([role(name)], [...more])).stdout, /^unchanged/u);
      });
    }

    test("but what nobody else relies on goes, with its Namespace and its definition", async () => {
      const objects = [namespace("m9-unused"), definition("unuseds"), role("m9-unused"), configMap("own", "m9-unused")];
      const ran = await failLate(objects, "m9-late-3", async () => Promise.resolve());
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /undone/u);
      assert.ok((await get("/api/v1/namespaces/m9-unused")).isGoing);
      assert.equal(
        (await get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/unuseds.m9.cni-node.io")).status,
        404,
      );
      assert.equal((await get("/apis/rbac.authorization.k8s.io/v1/clusterroles/m9-unused")).status, 404);
    });

    test("a Namespace of which it cannot be seen whether it is empty", async () => {
      const clusterRules = [
        { verbs: ["get", "create", "patch", "delete"], apiGroups: [""], resources: ["namespaces", "configmaps"] },
      ];
      const kubeconfig = await cluster.kubeconfigFor({ name: "blind", clusterRules });
      await using proxy = await startProxy(cluster);
      using node = new TestNode();
      node.manifest(
        "a.yaml",
        [namespace("m9-blind"), configMap("m9-late-4")].map((object) => JSON.stringify(object)).join("\n"),
      );
      proxy.onRequest({ method: "PATCH", path: /m9-late-4\?(?!.*dryRun)/u }, { kind: "answer", status: 422 });
      const ran = await node.run(["install", "--manifests=a.yaml", `--kubeconfig=${proxy.kubeconfig(kubeconfig)}`]);
      assert.equal(ran.exitCode, 4, ran.stderr);
      assert.match(
        ran.stderr,
        /Namespace m9-blind: made by this run, it stays: it cannot be seen whether it is empty/u,
      );
      assert.equal((await get("/api/v1/namespaces/m9-blind")).isGoing, false);
    });

    test("after a run that succeeds no object says any more that it may be taken back", async () => {
      const objects = [namespace("m9-done"), definition("dones"), role("m9-done"), configMap("own", "m9-done")];
      await other(objects);
      for (const path of [
        "/api/v1/namespaces/m9-done",
        "/api/v1/namespaces/m9-done/configmaps/own",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/m9-done",
      ]) {
        assert.doesNotMatch((await get(path)).text, /unsettled/u);
      }
      assert.match((await other(objects)).stdout, /^(?:unchanged .*\n)+$/u);
    });

    test("an object of this node only is undone without more ado", async () => {
      await using proxy = await startProxy(cluster);
      using node = new TestNode();
      node.manifest(
        "a.yaml",
        [configMap("m9-of-n1"), configMap("m9-late-5")].map((object) => JSON.stringify(object)).join("\n"),
      );
      proxy.onRequest({ method: "PATCH", path: /m9-late-5\?(?!.*dryRun)/u }, { kind: "answer", status: 422 });
      const argv = [
        "install",
        "--manifests=a.yaml",
        "--node-name=n1",
        `--kubeconfig=${proxy.kubeconfig(cluster.adminKubeconfig)}`,
      ];
      const ran = await node.run(argv);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.equal((await get("/api/v1/namespaces/default/configmaps/m9-of-n1")).status, 404);
    });
  },
);
