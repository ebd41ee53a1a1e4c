/** What users of openvnf/cni-node have: its manifests, in today's API versions, on a real API server. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { conflist, TestNode } from "../helpers/node.ts";

const CRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: network-attachment-definitions.k8s.cni.cncf.io
spec:
  group: k8s.cni.cncf.io
  scope: Namespaced
  names:
    plural: network-attachment-definitions
    singular: network-attachment-definition
    kind: NetworkAttachmentDefinition
    shortNames: [nad]
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                config: {type: string}
`;
const RBAC = `apiVersion: v1
kind: ServiceAccount
metadata: {name: multus-cni, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: multus-cni-crd}
rules:
  - {apiGroups: [k8s.cni.cncf.io], resources: ["*"], verbs: ["*"]}
  - {apiGroups: [""], resources: [pods, pods/status], verbs: [get, update]}
`;
const BINDING = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: multus-cni-\${NODE_HOSTNAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: multus-cni-crd}
subjects:
  - {apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:node:\${NODE_HOSTNAME}"}
`;
const BINDING_PATH = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/multus-cni-node-1";
const LISTS = ["--plugins=multus-cni", "--configs=05-multus-cni.conf", "--manifests=rbac.yaml,crd.yaml,crb.yaml"];

suite("the ancestor's manifests", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  function preparedNode(): TestNode {
    const node = new TestNode();
    node.plugin("multus-cni");
    node.template("05-multus-cni.conf", '{"name":"m","type":"multus-cni","delegates":[\n__10-calico.conflist__\n]}\n');
    fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("calico", "calico"));
    for (const [name, text] of [
      ["rbac.yaml", RBAC],
      ["crd.yaml", CRD],
      ["crb.yaml", BINDING],
    ] as const)
      node.manifest(name, text);
    return node;
  }

  async function versionOf(path: string): Promise<string | undefined> {
    const { body } = await cluster.request("GET", path);
    return (body as { metadata?: { resourceVersion?: string } }).metadata?.resourceVersion;
  }

  test("are applied with the node's name, are unchanged the second time, change, and are deleted", async () => {
    using node = preparedNode();
    const env = { NODE_HOSTNAME: "node-1", KUBECONFIG: cluster.adminKubeconfig };
    const first = await node.run(["install", ...LISTS], { env });
    assert.equal(first.exitCode, 0, first.stderr);
    assert.match(first.stdout, /^created +manifest +crb\.yaml +ClusterRoleBinding multus-cni-node-1$/mu);
    const { body } = await cluster.request("GET", BINDING_PATH);
    assert.equal((body as { subjects: { name: string }[] }).subjects[0]?.name, "system:node:node-1");

    const version = await versionOf(BINDING_PATH);
    const second = await node.run(["install", ...LISTS], { env });
    assert.equal(second.exitCode, 0, second.stderr);
    assert.ok(
      second.stdout.split("\n").every((line) => line === "" || line.startsWith("unchanged")),
      second.stdout,
    );
    assert.equal(await versionOf(BINDING_PATH), version);

    node.manifest("crb.yaml", BINDING.replace("system:node:", "system:other:"));
    const third = await node.run(["install", ...LISTS], { env });
    assert.match(third.stdout, /^configured +manifest +crb\.yaml/mu);
    assert.notEqual(await versionOf(BINDING_PATH), version);

    const gone = await node.run(["uninstall", ...LISTS], { env });
    assert.equal(gone.exitCode, 0, gone.stderr);
    assert.equal((await cluster.request("GET", BINDING_PATH)).status, 404);
    assert.deepEqual(fs.readdirSync(node.netd), ["10-calico.conflist"]);
    assert.deepEqual(fs.readdirSync(node.bin), []);
    const again = await node.run(["uninstall", ...LISTS], { env });
    assert.equal(again.exitCode, 0, again.stderr);
  });

  test("of which the server refuses one leave files and cluster as they were", async () => {
    using node = preparedNode();
    const env = { NODE_HOSTNAME: "node-1", KUBECONFIG: cluster.adminKubeconfig };
    node.manifest("crb.yaml", BINDING.replace("kind: User", "kind: Nobody"));
    const ran = await node.run(["install", ...LISTS], { env });
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /crb\.yaml: ClusterRoleBinding multus-cni-node-1: was refused: .*Nobody/u);
    assert.equal(
      (await cluster.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/multus-cni-crd")).status,
      404,
    );
    assert.deepEqual([fs.readdirSync(node.netd), fs.readdirSync(node.bin)], [["10-calico.conflist"], []]);
  });

  test("N5: the example of docs/manifests.md needs no more rights than the role there gives", async () => {
    using node = preparedNode();
    const document = fs.readFileSync(new URL("../../docs/manifests.md", import.meta.url), "utf8");
    const [, role = ""] = /```yaml\n([^]*?)```/u.exec(document) ?? [];
    const [, example = ""] = /```sh\ncni-node (.*)\n```/u.exec(document) ?? [];
    node.manifest("role.yaml", role);
    const admin = { NODE_HOSTNAME: "node-1", KUBECONFIG: cluster.adminKubeconfig };
    const prepared = await node.run(["install", "--manifests=rbac.yaml,role.yaml"], { env: admin });
    assert.equal(prepared.exitCode, 0, prepared.stderr);
    const kubeconfig = await cluster.kubeconfigFor({ name: "documented", rules: [] });
    const subjects = [{ kind: "ServiceAccount", name: "documented", namespace: "default" }];
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cni-node" };
    const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    const bound = await cluster.request("POST", bindings, { metadata: { name: "documented" }, roleRef, subjects });
    assert.equal(bound.status, 201, bound.text);
    fs.copyFileSync(join(node.templates, "05-multus-cni.conf"), join(node.templates, "05-multus.conf"));
    const env = { ...admin, KUBECONFIG: kubeconfig };
    for (const words of [example, example, example.replace("install", "uninstall")]) {
      const ran = await node.run(words.split(" "), { env });
      assert.equal(ran.exitCode, 0, ran.stderr);
    }
    assert.equal((await cluster.request("GET", BINDING_PATH)).status, 404);
  });
});
