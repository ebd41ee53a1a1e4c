/** What people's manifests and objects are like, by the letters of the issue: on a real API server. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { TestNode, until, type Ran } from "../helpers/node.ts";

let cluster: Cluster;

const INSTALL = ["install", "--manifests=a.yaml"];

async function run(node: TestNode, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return node.run([...argv, `--kubeconfig=${cluster.adminKubeconfig}`], { env });
}

async function succeeds(node: TestNode, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const ran = await run(node, argv, env);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran;
}

async function fails(
  node: TestNode,
  argv: readonly string[],
  message: RegExp,
  env: NodeJS.ProcessEnv = {},
): Promise<Ran> {
  const ran = await run(node, argv, env);
  assert.equal(ran.exitCode, 1, ran.stdout + ran.stderr);
  assert.match(ran.stderr, message);
  return ran;
}

function configMap(name: string, metadata: object = {}, data: object = { a: "b" }): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: "default", ...metadata },
    data,
  });
}

suite("manifests as people have them", { skip: cannotStart }, () => {
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  test("M3: an exported object with metadata.selfLink is unchanged the second time", async () => {
    using node = new TestNode();
    node.manifest("a.yaml", configMap("m3", { selfLink: "/api/v1/namespaces/default/configmaps/m3" }));
    assert.match((await succeeds(node, INSTALL)).stdout, /^created/u);
    assert.match((await succeeds(node, INSTALL)).stdout, /^unchanged/u);
  });

  const definition = (served: Record<string, boolean>): string => {
    const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
    const versions = Object.entries(served).map(([name, is], index) => ({
      name,
      served: is,
      storage: index === 0,
      schema,
    }));
    const names = { plural: "fours", singular: "four", kind: "Four" };
    const spec = { group: "m4.cni-node.io", scope: "Namespaced", names, versions };
    return JSON.stringify({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "fours.m4.cni-node.io" },
      spec,
    });
  };

  test("M4: what was applied in a version that is no longer served is deleted in one that is", async () => {
    using node = new TestNode();
    node.manifest("crd.yaml", definition({ v1: true, v1beta1: true }));
    await succeeds(node, ["install", "--manifests=crd.yaml"]);
    node.manifest(
      "a.yaml",
      JSON.stringify({
        apiVersion: "m4.cni-node.io/v1beta1",
        kind: "Four",
        metadata: { name: "f", namespace: "default" },
      }),
    );
    await succeeds(node, INSTALL);
    node.manifest("crd.yaml", definition({ v1: true, v1beta1: false }));
    await succeeds(node, ["install", "--manifests=crd.yaml"]);
    const path = "/apis/m4.cni-node.io/v1/namespaces/default/fours/f";
    while ((await cluster.request("GET", path.replace("/v1/", "/v1beta1/"))).status === 200) await Promise.resolve();
    assert.equal((await cluster.request("GET", path)).status, 200);
    assert.match((await succeeds(node, ["uninstall", "--manifests=a.yaml"])).stdout, /^deleted .*Four default\/f/u);
    assert.equal((await cluster.request("GET", path)).status, 404);
    await succeeds(node, ["uninstall", "--manifests=crd.yaml"]);
    // With the definition the objects are gone.
    assert.match((await succeeds(node, ["uninstall", "--manifests=a.yaml"])).stdout, /^absent/u);
  });

  test("M18: a built-in kind in a version that is gone: the message names the one that is served", async () => {
    using node = new TestNode();
    for (const [apiVersion, kind, served] of [
      ["extensions/v1beta1", "DaemonSet", "apps/v1"],
      ["rbac.authorization.k8s.io/v1beta1", "ClusterRole", "rbac.authorization.k8s.io/v1"],
      ["apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", "apiextensions.k8s.io/v1"],
    ] as const) {
      node.manifest("a.yaml", JSON.stringify({ apiVersion, kind, metadata: { name: "a.b.c" } }));
      await fails(
        node,
        INSTALL,
        new RegExp(`does not know ${kind} of ${apiVersion}\\n  hint: the server serves it as ${served}:`, "u"),
      );
    }
  });

  test("M5: a key that a Secret's stringData no longer has is gone from the Secret", async () => {
    using node = new TestNode();
    const secret = (stringData: object): string =>
      JSON.stringify({
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "m5", namespace: "default" },
        data: { d: btoa("4"), b: btoa("0") },
        stringData,
      });
    node.manifest("a.yaml", secret({ a: "1", b: "é" }));
    await succeeds(node, INSTALL);
    const dataOf = async (): Promise<unknown> =>
      (await cluster.request("GET", "/api/v1/namespaces/default/secrets/m5")).body["data"];
    assert.deepEqual(await dataOf(), { a: btoa("1"), b: Buffer.from("é").toString("base64"), d: btoa("4") });
    assert.match((await succeeds(node, INSTALL)).stdout, /^unchanged/u);
    node.manifest("a.yaml", secret({ b: "3" }));
    await succeeds(node, INSTALL);
    assert.deepEqual(await dataOf(), { b: btoa("3"), d: btoa("4") });
  });

  test("M16: fields that only the server sets are named, with what to do", async () => {
    using node = new TestNode();
    node.manifest("a.yaml", configMap("m16"));
    await succeeds(node, INSTALL);
    for (const [field, value] of Object.entries({
      uid: "1",
      resourceVersion: "1",
      managedFields: [{ manager: "x", operation: "Apply", apiVersion: "v1", fieldsType: "FieldsV1", fieldsV1: {} }],
    })) {
      node.manifest("a.yaml", configMap("m16", { [field]: value }));
      await fails(node, INSTALL, new RegExp(`hint: leave out metadata\\.${field}: the object was exported`, "u"));
    }
  });

  test("M12: a field that cannot be changed: what to do, and what that interrupts", async () => {
    using node = new TestNode();
    const binding = (name: string): string =>
      JSON.stringify({
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRoleBinding",
        metadata: { name: "m12" },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
      });
    const selected = (app: string): string => {
      const template = { metadata: { labels: { app } }, spec: { containers: [{ name: "a", image: "a" }] } };
      return JSON.stringify({
        apiVersion: "apps/v1",
        kind: "DaemonSet",
        metadata: { name: "m12", namespace: "default" },
        spec: { selector: { matchLabels: { app } }, template },
      });
    };
    const set = (serviceName: string): string => {
      const { spec, ...rest } = JSON.parse(selected("m12")) as { spec: object };
      return JSON.stringify({ ...rest, kind: "StatefulSet", spec: { ...spec, serviceName } });
    };
    for (const [make, interrupted] of [
      [set, "all its pods are stopped"],
      [binding, "its subjects have no rights"],
      [selected, "its pods are stopped on every node"],
    ] as const) {
      node.manifest("a.yaml", make("one"));
      await succeeds(node, INSTALL);
      node.manifest("a.yaml", make("two"));
      await fails(
        node,
        INSTALL,
        new RegExp(`hint: such a field cannot be changed: uninstall .*\\(this interrupts: ${interrupted}`, "u"),
      );
    }
  });

  test("M13: what the server warns of is in the report", async () => {
    using node = new TestNode();
    await cluster.request("POST", "/api/v1/namespaces", {
      metadata: { name: "m13", labels: { "pod-security.kubernetes.io/warn": "restricted" } },
    });
    const template = {
      metadata: { labels: { app: "a" } },
      spec: { hostNetwork: true, containers: [{ name: "a", image: "a" }] },
    };
    node.manifest(
      "a.yaml",
      JSON.stringify({
        apiVersion: "apps/v1",
        kind: "DaemonSet",
        metadata: { name: "a", namespace: "m13" },
        spec: { selector: { matchLabels: { app: "a" } }, template },
      }),
    );
    assert.match(
      (await succeeds(node, INSTALL)).stdout,
      /^created .*the server warns: would violate PodSecurity "restricted:latest"/u,
    );
  });

  test("M14: a manifest of comments only is told as such, and --prune deletes nothing for it", async () => {
    using node = new TestNode();
    node.manifest("a.yaml", configMap("m14"));
    await succeeds(node, INSTALL);
    node.manifest("a.yaml", "# nothing\n---\n# $VAR\n");
    assert.match((await succeeds(node, INSTALL)).stdout, /^unchanged .*it holds no objects/u);
    await fails(
      node,
      ["apply", "--manifests=a.yaml", "--prune", "--owner=cni-node"],
      /holds no objects any more, and --prune would delete all/u,
    );
    assert.equal((await cluster.request("GET", "/api/v1/namespaces/default/configmaps/m14")).status, 200);
    await succeeds(node, ["uninstall", "--manifests=a.yaml"]);
    assert.equal((await cluster.request("GET", "/api/v1/namespaces/default/configmaps/m14")).status, 404);
  });

  test("M15: a definition that is stuck points at the objects that hold it", async () => {
    using node = new TestNode();
    const text = definition({ v1: true })
      .replaceAll("m4.cni", "m15.cni")
      .replaceAll("fours", "fives")
      .replaceAll("Four", "Five")
      .replaceAll("four", "five");
    node.manifest("crd.yaml", text);
    await succeeds(node, ["install", "--manifests=crd.yaml"]);
    const path = "/apis/m15.cni-node.io/v1/namespaces/default/fives";
    await cluster.request("POST", path, {
      apiVersion: "m15.cni-node.io/v1",
      kind: "Five",
      metadata: { name: "f", finalizers: ["x.io/x"] },
    });
    const ran = await run(node, ["uninstall", "--manifests=crd.yaml", "--timeout=3s"]);
    assert.match(
      ran.stderr,
      /its objects hold it: look at kubectl get fives\.m15\.cni-node\.io --all-namespaces for finalizers/u,
    );
    await cluster.request("PATCH", `${path}/f`, { metadata: { finalizers: null } });
  });

  test("M7: after a variable of several lines, errors name the lines of the file", async () => {
    using node = new TestNode();
    const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m7\n  annotations: {$MORE}\ndata:\n  a: b\n";
    const env = { MORE: 'x: "1",\n\n\n    y: "2"' };
    node.manifest("a.yaml", `${head}  a: c\n`);
    await fails(node, INSTALL, /a\.yaml: line 8, column 3: the key "a" is there already/u, env);
    node.manifest("a.yaml", `${head.replace("{$MORE}", "{}")}---\n$MORE\n---\nkind: X\n`);
    await fails(node, INSTALL, /a\.yaml: line 11: X has no apiVersion/u, { MORE: "# 1\n# 2\n# 3" });
    node.manifest("a.yaml", `${head}  c: $BROKEN # x\n`);
    await fails(node, INSTALL, /a\.yaml: line 8, column 6: /u, { ...env, BROKEN: '"\n\n' });
  });

  test("M10: a value without quotes that becomes a number: the message names the variable and its line", async () => {
    using node = new TestNode();
    node.manifest(
      "a.yaml",
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m10}\ndata:\n  name: $NAME\n  build: ${BUILD} # x\n",
    );
    await fails(
      node,
      INSTALL,
      /hint: the value of \$BUILD \(line 6\) is read as a number or a boolean: write it in double quotes/u,
      { BUILD: "0123456", NAME: "x" },
    );
    await fails(node, INSTALL, /\$NAME \(line 5\), \$BUILD \(line 6\)/u, { BUILD: "yes", NAME: "1e3" });
  });

  test("M11: --variables without a $ is an error of usage; with nothing it substitutes none", async () => {
    using node = new TestNode();
    node.manifest("a.yaml", configMap("m11", {}, { a: "$NODE" }));
    for (const variables of ["NODE", "NODE,OTHER"]) {
      const ran = await run(node, [...INSTALL, `--variables=${variables}`], { NODE: "n" });
      assert.equal(ran.exitCode, 2, ran.stderr);
      assert.match(ran.stderr, /--variables: "NODE.*" names no variable: each begins with \$, as in '\$A \$B'/u);
    }
    await succeeds(node, [...INSTALL, "--variables="], { NODE: "n" });
    assert.deepEqual((await cluster.request("GET", "/api/v1/namespaces/default/configmaps/m11")).body["data"], {
      a: "$NODE",
    });
  });

  test("small: a variable with a default is left as it is, with a warning that shows no default", async () => {
    using node = new TestNode();
    const data = '  a: ${MTU:-1500}\n  b: "${MTU}"\n  c: ${UNSET?hunter2}';
    node.manifest(
      "a.yaml",
      `# \${MTU:-1}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: with-default, namespace: default}\ndata:\n${data}\n`,
    );
    const { stderr } = await succeeds(node, INSTALL, { MTU: "9000" });
    assert.deepEqual(
      stderr
        .match(/^cni-node: warning: .*a\.yaml: line \d+, column \d+: \$\{\w+…\}/gmu)
        ?.map((line) => line.replace(/.*a\.yaml: /u, "")),
      ["line 6, column 6: ${MTU…}", "line 8, column 6: ${UNSET…}"],
    );
    assert.doesNotMatch(stderr, /1500|hunter2/u);
    const { body } = await cluster.request("GET", "/api/v1/namespaces/default/configmaps/with-default");
    assert.deepEqual(body["data"], { a: "${MTU:-1500}", b: "9000", c: "${UNSET?hunter2}" });
    const only = await succeeds(node, [...INSTALL, "--variables=$UNSET"], { UNSET: "x" });
    assert.deepEqual(only.stderr.match(/\$\{\w+…\}/gu), ["${UNSET…}"]);
  });

  test("small: an aggregated API that does not answer: the hint says where to look", async () => {
    using node = new TestNode();
    const service = { name: "none", namespace: "default" };
    const made = await cluster.request("POST", "/apis/apiregistration.k8s.io/v1/apiservices", {
      metadata: { name: "v1.away.cni-node.io" },
      spec: {
        group: "away.cni-node.io",
        version: "v1",
        service,
        groupPriorityMinimum: 100,
        versionPriority: 100,
        insecureSkipTLSVerify: true,
      },
    });
    assert.equal(made.status, 201, made.text);
    node.manifest("a.yaml", "apiVersion: away.cni-node.io/v1\nkind: Thing\nmetadata: {name: a, namespace: default}\n");
    await until(async () => (await cluster.request("GET", "/apis/away.cni-node.io/v1")).status === 503);
    const ran = await fails(node, [...INSTALL, "--timeout=2s"], /away\.cni-node\.io\/v1: cannot be looked up: /u);
    assert.match(ran.stderr, /\n {2}hint: .*kubectl get apiservices/u);
    await cluster.request("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.away.cni-node.io");
  });

  test("small: an object without a namespace is never shown with one", async () => {
    using node = new TestNode();
    const role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: wide}\nrules: []\n";
    const thing = "apiVersion: wide.cni-node.io/v1\nkind: Wide\nmetadata: {name: wide}\n";
    const names = { plural: "wides", singular: "wide", kind: "Wide" };
    const schema = { openAPIV3Schema: { type: "object" } };
    const versions = [{ name: "v1", served: true, storage: true, schema }];
    const crd = {
      metadata: { name: "wides.wide.cni-node.io" },
      spec: { group: "wide.cni-node.io", scope: "Cluster", names, versions },
    };
    const wides = JSON.stringify({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      ...crd,
    });
    const shown = async (argv: readonly string[]): Promise<string> => {
      const { stdout, stderr } = await run(node, argv);
      assert.doesNotMatch(stdout + stderr, /default\//u);
      return stdout;
    };
    node.manifest("a.yaml", `${role}---\n${thing}`);
    await shown(INSTALL);
    node.manifest("a.yaml", `${role}---\n${thing}---\n${wides}\n`);
    await shown(INSTALL);
    await cluster.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/wide");
    assert.match(await shown(["plan", "--exit-code", ...INSTALL.slice(1)]), /would create .*ClusterRole wide/u);
    await cluster.request("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/wides.wide.cni-node.io");
    while ((await cluster.request("GET", "/apis/wide.cni-node.io/v1")).status !== 404);
    const gone = await shown(["uninstall", "--manifests=a.yaml"]);
    assert.match(gone, /^absent .*ClusterRole wide$/mu);
    assert.match(gone, /^absent .*Wide wide$/mu);
  });

  test("small: a variable in a comment need not be set, one in a text with # must", async () => {
    using node = new TestNode();
    node.manifest(
      "a.yaml",
      "# $UNSET\napiVersion: v1 # $UNSET\nkind: ConfigMap\nmetadata: {name: small}\ndata:\n  a: |\n    # text\n",
    );
    await succeeds(node, INSTALL);
    node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: small}\ndata:\n  a: |\n    # $UNSET\n");
    await fails(node, INSTALL, /line 6, column 7: the variable UNSET is not set/u);
  });
});
