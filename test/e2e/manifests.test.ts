/** Manifests on a real API server: what is applied, in which order, and what is deleted. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster, type Rule } from "../cluster/cluster.ts";
import { startProxy, type FaultProxy } from "../cluster/proxy.ts";
import type { Seen } from "../cluster/seen.ts";
import { conflist, contentsOf, TestNode, until, type Ran } from "../helpers/node.ts";

let cluster: Cluster;

/** A node, a namespace of that name, and a proxy that sees what is asked of the API. */
class Scene implements AsyncDisposable {
  readonly node = new TestNode();
  readonly name: string;
  readonly proxy: FaultProxy;
  readonly kubeconfig: string;

  constructor(name: string, proxy: FaultProxy, kubeconfig: string) {
    this.name = name;
    this.proxy = proxy;
    this.kubeconfig = proxy.kubeconfig(kubeconfig);
  }

  async run(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.node.run([...argv, `--kubeconfig=${this.kubeconfig}`], { env });
  }

  async succeeds(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    const ran = await this.run(argv, env);
    assert.equal(ran.exitCode, 0, ran.stderr);
    return ran;
  }

  /** The run fails, with such a message, and has written nothing: not to the API, not on the node. */
  async failsUntouched(argv: readonly string[], message: RegExp, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    const files = contentsOf(this.node.host);
    const from = this.proxy.requests.length;
    const ran = await this.run(argv, env);
    assert.equal(ran.exitCode, 1, ran.stderr);
    assert.match(ran.stderr, message);
    assert.deepEqual(this.proxy.requests.slice(from).filter(isWrite).map(told), []);
    assert.deepEqual(contentsOf(this.node.host), files);
    return ran;
  }

  /** A ConfigMap of this namespace, as a manifest. */
  configMap(name: string, data: Record<string, string>, more: { labels?: Record<string, string> } = {}): string {
    const metadata = { name, namespace: this.name, ...more };
    return `${JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data })}\n`;
  }

  async configMapIs(name: string): Promise<Record<string, unknown> | undefined> {
    const { status, body } = await get(`/api/v1/namespaces/${this.name}/configmaps/${name}`);
    return status === 404 ? undefined : ((body["data"] ?? {}) as Record<string, unknown>);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy.stop();
    this.node[Symbol.dispose]();
  }
}

/** @param rules what cni-node may do in that namespace; everything, if not given. */
async function scene(name: string, rules?: readonly Rule[]): Promise<Scene> {
  await create("/api/v1/namespaces", { metadata: { name } });
  const kubeconfig =
    rules === undefined
      ? cluster.adminKubeconfig
      : await cluster.kubeconfigFor({ name: "installer", namespace: name, rules });
  return new Scene(name, await startProxy(cluster), kubeconfig);
}

async function get(path: string): ReturnType<Cluster["request"]> {
  return cluster.request("GET", path);
}

async function create(path: string, object: object): Promise<void> {
  const { status, text } = await cluster.request("POST", path, object);
  assert.equal(status, 201, text);
}

function isWrite({ method, query }: Seen): boolean {
  return method !== "GET" && query.get("dryRun") === null;
}

function told({ method, path }: Seen): string {
  return `${method} ${path}`;
}

/** The first words of each line of the report, and the object. */
function outcomesOf({ stdout }: Ran): string[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/ +/gu, " "));
}

interface Managed {
  manager: string;
  operation: string;
}

function managersOf(object: { metadata?: Record<string, unknown> }): string[] {
  return ((object.metadata?.["managedFields"] ?? []) as Managed[]).map(
    ({ manager, operation }) => `${manager} ${operation}`,
  );
}

function definition(plural: string, kind: string, more: object = {}): object {
  const schema = {
    openAPIV3Schema: {
      type: "object",
      properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      ...more,
    },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.e2e.cni-node.io` },
    spec: {
      group: "e2e.cni-node.io",
      scope: "Namespaced",
      names: { plural, singular: kind.toLowerCase(), kind },
      versions: [{ name: "v1", served: true, storage: true, schema }],
    },
  };
}

function definitionPath(plural: string): string {
  return `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.e2e.cni-node.io`;
}

suite("manifests", { skip: cannotStart }, () => {
  before(async () => {
    cluster = await startCluster({ controllers: ["namespace-controller"] });
  });
  after(async () => {
    await cluster.stop();
  });

  suite("install", () => {
    test("creates what is not there, changes what differs, and writes nothing where all is equal", async () => {
      await using at = await scene("outcomes");
      at.node.manifest("a.yaml", at.configMap("a", { text: "1" }));
      const first = await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(outcomesOf(first), ["created manifest a.yaml ConfigMap outcomes/a"]);
      const created = await get("/api/v1/namespaces/outcomes/configmaps/a");
      assert.deepEqual(managersOf(created.body), ["cni-node Apply"]);

      at.proxy.requests.length = 0;
      const files = contentsOf(at.node.host);
      const second = await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(outcomesOf(second), ["unchanged manifest a.yaml ConfigMap outcomes/a"]);
      const unchanged = await get("/api/v1/namespaces/outcomes/configmaps/a");
      assert.equal(unchanged.body.metadata?.resourceVersion, created.body.metadata?.resourceVersion);
      assert.deepEqual(at.proxy.requests.filter(isWrite).map(told), []);
      assert.deepEqual(at.proxy.requests.filter(({ verb }) => ["list", "watch"].includes(verb)).map(told), []);
      assert.deepEqual(contentsOf(at.node.host), files);

      at.node.manifest("a.yaml", at.configMap("a", { other: "2" }));
      const third = await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(outcomesOf(third), ["configured manifest a.yaml ConfigMap outcomes/a"]);
      assert.deepEqual(await at.configMapIs("a"), { other: "2" });
    });

    test("another owner has a field manager of its own, so that neither drops the other's fields", async () => {
      await using at = await scene("owners");
      at.node.manifest("a.yaml", at.configMap("shared", { a: "1" }));
      at.node.manifest("b.yaml", at.configMap("shared", { b: "2" }));
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=one"]);
      await at.succeeds(["install", "--manifests=b.yaml", "--owner=two"]);
      const { body } = await get("/api/v1/namespaces/owners/configmaps/shared");
      assert.deepEqual(managersOf(body).toSorted(), ["cni-node.one Apply", "cni-node.two Apply"]);
      assert.deepEqual(body["data"], { a: "1", b: "2" });
      at.node.manifest("a.yaml", at.configMap("shared", { c: "3" }));
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=one"]);
      assert.deepEqual(await at.configMapIs("shared"), { b: "2", c: "3" });
    });

    test("a manifest that two owners hold is deleted by the last of them", async () => {
      await using at = await scene("holders");
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=one"]);
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=two"]);
      const first = await at.succeeds(["uninstall", "--manifests=a.yaml", "--owner=one"]);
      assert.match(first.stdout, /^kept .*held by two/mu);
      assert.deepEqual(await at.configMapIs("a"), { a: "1" });
      await at.succeeds(["uninstall", "--manifests=a.yaml", "--owner=two"]);
      assert.equal(await at.configMapIs("a"), undefined);
    });

    test("every x-kubernetes-* key, unknown field and integer beyond 2^53 arrives", async () => {
      await using at = await scene("nothing-lost");
      const properties = {
        spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
        port: { "x-kubernetes-int-or-string": true },
        embedded: {
          type: "object",
          "x-kubernetes-embedded-resource": true,
          "x-kubernetes-preserve-unknown-fields": true,
        },
        set: { type: "array", "x-kubernetes-list-type": "set", items: { type: "string" } },
        map: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["key"],
          items: {
            type: "object",
            required: ["key"],
            properties: { key: { type: "string" } },
            "x-kubernetes-map-type": "atomic",
          },
        },
        checked: {
          type: "integer",
          format: "int64",
          "x-kubernetes-validations": [{ rule: "self >= 0", message: "no debts" }],
        },
      };
      const wanted = definition("wholes", "Whole", { properties });
      at.node.manifest("crd.yaml", JSON.stringify(wanted));
      at.node.manifest(
        "whole.yaml",
        `apiVersion: e2e.cni-node.io/v1
kind: Whole
metadata: {name: whole, namespace: nothing-lost}
port: 80
checked: 9223372036854775807
set: [b, a]
map: [{key: x}]
spec:
  big: 9007199254740993
  unknown: {Deep: [1, null, {"y": "1"}], "on": "off"}
  text: "0123"
`,
      );
      await at.succeeds(["install", "--manifests=crd.yaml,whole.yaml"]);
      const crd = await get(definitionPath("wholes"));
      const { versions } = crd.body["spec"] as { versions: { schema: { openAPIV3Schema: { properties: object } } }[] };
      assert.deepEqual(versions[0]?.schema.openAPIV3Schema.properties, properties);
      const { text, body } = await get("/apis/e2e.cni-node.io/v1/namespaces/nothing-lost/wholes/whole");
      assert.match(text, /"big":9007199254740993\b/u);
      assert.match(text, /"checked":9223372036854775807\b/u);
      const { spec } = body as { spec?: object };
      const expected = { Deep: [1, null, { y: "1" }], on: "off" };
      assert.deepEqual((spec as { unknown: object }).unknown, expected);
      assert.deepEqual(body["set"], ["b", "a"]);
      const again = await at.succeeds(["install", "--manifests=crd.yaml,whole.yaml"]);
      assert.deepEqual(
        outcomesOf(again).map((line) => line.split(" ")[0]),
        ["unchanged", "unchanged"],
      );
    });

    test("names with upper case and colons, and objects without a namespace", async () => {
      await using at = await scene("upper");
      const rules = [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }];
      const role = {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRole",
        metadata: { name: "system:Foo" },
        rules,
      };
      at.node.manifest("role.yaml", JSON.stringify(role));
      await at.succeeds(["install", "--manifests=role.yaml"]);
      const path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:Foo";
      assert.equal((await get(path)).status, 200);
      await at.succeeds(["uninstall", "--manifests=role.yaml"]);
      assert.equal((await get(path)).status, 404);
    });

    test("an object that names no namespace goes to that of the kubeconfig", async () => {
      await using at = await scene("defaulted", [
        { verbs: ["get", "create", "patch", "delete"], apiGroups: [""], resources: ["configmaps"] },
      ]);
      at.node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n");
      await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(await at.configMapIs("a"), { a: "b" });
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });
  });

  suite("order", () => {
    test("definitions and namespaces of the whole run come first, also those of a later file", async () => {
      await using at = await scene("order");
      const own = {
        apiVersion: "e2e.cni-node.io/v1",
        kind: "Ordered",
        metadata: { name: "o", namespace: "order-new" },
      };
      at.node.manifest("1-object.yaml", JSON.stringify({ ...own, spec: { a: 1 } }));
      at.node.manifest(
        "2-map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: order-new}\ndata: {a: b}\n",
      );
      at.node.manifest(
        "3-first.yaml",
        `${JSON.stringify(definition("ordereds", "Ordered"))}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: order-new}\n`,
      );
      const ran = await at.succeeds(["install", "--manifests=1-object.yaml,2-map.yaml,3-first.yaml"]);
      assert.deepEqual(
        outcomesOf(ran).map((line) => line.split(" ")[0]),
        ["created", "created", "created", "created"],
      );
      assert.deepEqual(
        at.proxy.requests.filter(isWrite).map(({ resource }) => resource),
        // Then each is said to be there to stay.
        Array.from({ length: 2 }, () => ["customresourcedefinitions", "namespaces", "ordereds", "configmaps"]).flat(),
      );
      const gone = await at.succeeds(["uninstall", "--manifests=1-object.yaml,2-map.yaml,3-first.yaml"]);
      assert.equal(outcomesOf(gone).length, 4);
      const deleted = at.proxy.requests
        .filter(({ method, query }) => method === "DELETE" && !query.has("dryRun"))
        .map(({ resource }) => resource);
      assert.deepEqual(deleted, ["configmaps", "ordereds", "namespaces", "customresourcedefinitions"]);
      assert.equal((await get("/api/v1/namespaces/order-new")).status, 404);
      assert.equal((await get(definitionPath("ordereds"))).status, 404);
    });

    test("what is only accepted once another object of the run is there", async () => {
      const role = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "later-role" };
      const rules = [
        {
          verbs: ["get", "create", "patch", "delete"],
          apiGroups: [role.apiGroup],
          resources: ["roles", "rolebindings"],
        },
        { verbs: ["get", "create", "patch"], apiGroups: [""], resources: ["serviceaccounts", "pods"] },
      ];
      await using at = await scene("later", rules);
      const apiVersion = `${role.apiGroup}/v1`;
      const pod = { containers: [{ name: "a", image: "a" }], serviceAccountName: "later-account" };
      const objects = [
        { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "later-account" } },
        { apiVersion: "v1", kind: "Pod", metadata: { name: "later-pod" }, spec: pod },
        { apiVersion, kind: "Role", metadata: { name: role.name }, rules: rules.slice(1) },
        { apiVersion, kind: "RoleBinding", metadata: { name: "later-binding" }, roleRef: role, subjects: [] },
      ];
      at.node.manifest("a.yaml", objects.map((object) => JSON.stringify(object)).join("\n"));
      const planned = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(planned.stdout, /^would create .*Pod later\/later-pod: not checked: .*later-account/mu);
      assert.match(planned.stdout, /^would create .*RoleBinding later\/later-binding: not checked: .*later-role/mu);
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const again = await at.succeeds(["plan", "--manifests=a.yaml", "--exit-code"]);
      assert.match(again.stdout, /^unchanged .*RoleBinding later\/later-binding$/mu);
    });

    test("a field can be used at once where it is added to the definition in the same run", async () => {
      await using at = await scene("growing");
      const grown = (...fields: string[]): string => {
        const properties = Object.fromEntries(fields.map((field) => [field, { type: "string" }]));
        const metadata = { name: "g", namespace: "growing" };
        const values = Object.fromEntries(fields.map((field) => [field, "x"]));
        return [
          definition("growings", "Growing", { properties: { spec: { type: "object", properties } } }),
          { apiVersion: "e2e.cni-node.io/v1", kind: "Growing", metadata, spec: values },
        ]
          .map((object) => JSON.stringify(object))
          .join("\n");
      };
      for (const fields of [["a"], ["a", "b"], ["a", "b", "c"]]) {
        at.node.manifest("a.yaml", grown(...fields));
        await at.succeeds(["install", "--manifests=a.yaml"]);
        const { body } = await get("/apis/e2e.cni-node.io/v1/namespaces/growing/growings/g");
        assert.deepEqual(Object.keys(body["spec"] as object), fields);
      }
      at.node.manifest("a.yaml", grown("a", "b", "c", "d").replace('"d":"x"', '"d":1'));
      const refused = await at.run(["install", "--manifests=a.yaml"]);
      assert.equal(refused.exitCode, 1);
      assert.match(refused.stderr, /Growing growing\/g: was refused: .*; what had been done was undone/u);
    });

    test("a kind can be used at once where its definition comes in the same run, again and again", async () => {
      await using at = await scene("at-once");
      for (let round = 0; round < 5; round++) {
        const own = {
          apiVersion: "e2e.cni-node.io/v1",
          kind: `Sudden${round}`,
          metadata: { name: "o", namespace: "at-once" },
        };
        at.node.manifest("object.yaml", JSON.stringify({ ...own, spec: {} }));
        at.node.manifest("crd.yaml", JSON.stringify(definition(`sudden${round}s`, `Sudden${round}`)));
        await at.succeeds(["install", "--manifests=object.yaml,crd.yaml"]);
      }
    });
  });

  suite("a run of which a part is wrong touches nothing:", () => {
    const good = ["--plugins=bridge", "--configs=10-net.conflist"];

    async function broken(name: string): Promise<Scene> {
      const at = await scene(name);
      at.node.plugin("bridge");
      at.node.template("10-net.conflist", conflist("net", "bridge"));
      at.node.manifest("good.yaml", at.configMap("good", { a: "1" }));
      return at;
    }

    async function refused(name: string, text: string | undefined, message: RegExp): Promise<void> {
      await using at = await broken(name);
      if (text !== undefined) at.node.manifest("bad.yaml", text);
      await at.failsUntouched(["install", ...good, "--manifests=good.yaml,bad.yaml"], message);
      assert.equal(await at.configMapIs("good"), undefined);
      assert.deepEqual(fs.readdirSync(at.node.netd), []);
      assert.deepEqual(fs.readdirSync(at.node.bin), []);
    }

    test("a kind that nobody knows and the run does not bring", async () => {
      const text = "apiVersion: nobody.example.com/v1\nkind: Nobody\nmetadata: {name: x, namespace: bad-kind}\n";
      await refused(
        "bad-kind",
        text,
        /bad\.yaml: Nobody bad-kind\/x: .*does not know Nobody of nobody\.example\.com\/v1/u,
      );
    });

    test("a kind that nobody knows, in a namespace that the run brings", async () => {
      const text = `apiVersion: v1
kind: Namespace
metadata: {name: bad-kind-new}
---
apiVersion: nobody.example.com/v1
kind: Nobody
metadata: {name: x, namespace: bad-kind-new}
`;
      await refused("bad-kind-2", text, /does not know Nobody of nobody\.example\.com\/v1/u);
    });

    test("a version that the definition of the run does not have", async () => {
      const own = {
        apiVersion: "e2e.cni-node.io/v7",
        kind: "Versioned",
        metadata: { name: "x", namespace: "bad-version" },
      };
      const text = `${JSON.stringify(definition("versioneds", "Versioned"))}\n---\n${JSON.stringify(own)}\n`;
      await refused("bad-version", text, /does not know Versioned of e2e\.cni-node\.io\/v7/u);
    });

    test("a namespace that is not there and that the run does not bring", async () => {
      const text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n";
      await refused("bad-namespace", text, /ConfigMap nowhere\/x: .*namespaces "nowhere" not found/u);
    });

    test("U2: all objects that are refused are named, with what is wrong with files, and plan shows the rest", async () => {
      await using at = await scene("all-refused");
      const map = (name: string, more: string): string =>
        `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: all-refused}\n${more}`;
      const texts = [map("fine", ""), map("Upper_Case", ""), map("typo", "datta: {a: b}\n")];
      at.node.manifest("a.yaml", texts.join("---\n"));
      at.node.template("10-a.conf", '{"cniVersion":"1.0.0","name":"a","type":"gone"}');
      const argv = ["--manifests=a.yaml", "--configs=10-a.conf"];
      const all =
        /a\.yaml: ConfigMap all-refused\/Upper_Case: (?:.*\n)*cni-node: .*a\.yaml: ConfigMap all-refused\/typo: (?:.*\n)*cni-node: .*10-a\.conf: needs the plugin gone(?:.*\n)*cni-node: 3 objections\n/u;
      await at.failsUntouched(["install", ...argv], all);
      const planned = await at.failsUntouched(["plan", ...argv], all);
      assert.match(planned.stdout, /^would create +manifest +a\.yaml +ConfigMap all-refused\/fine$/mu);
    });

    test("an object that two manifests want to be different", async () => {
      await using at = await scene("twice");
      at.node.manifest("a.yaml", at.configMap("a", { text: "one" }));
      at.node.manifest("b.yaml", at.configMap("a", { text: "two" }));
      const manifests = "--manifests=a.yaml,b.yaml";
      await at.failsUntouched(["install", manifests], /b\.yaml: ConfigMap twice\/a: is also in .*a\.yaml, and not/u);
      at.node.manifest("b.yaml", at.configMap("a", { text: "one" }));
      const ran = await at.succeeds(["install", manifests]);
      assert.deepEqual(
        outcomesOf(ran).map((line) => line.split(" ")[0]),
        ["created", "unchanged"],
      );
    });

    test("what admission refuses, which is not a matter of rights", async () => {
      const text =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: bad-pod}\nspec: {containers: [{name: a, image: a}], serviceAccountName: nobody}\n";
      await refused(
        "bad-pod",
        text,
        /bad\.yaml: Pod bad-pod\/x: .*serviceaccount "nobody" not found\n {2}hint: this is not a matter of rights/u,
      );
    });

    test("a namespace that is being deleted, which is said with what holds it", async () => {
      await using at = await scene("ending");
      const path = "/api/v1/namespaces/ending-1";
      await create("/api/v1/namespaces", { metadata: { name: "ending-1" } });
      await create(`${path}/configmaps`, { metadata: { name: "held", finalizers: ["example.com/hold"] } });
      await cluster.request("DELETE", path);
      at.node.manifest(
        "a.yaml",
        JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "ending-1" } }),
      );
      const argv = ["install", "--manifests=a.yaml", "--timeout=8s"];
      await at.failsUntouched(
        argv,
        /Namespace ending-1: is being deleted, but not gone in time: .*example\.com\/hold/u,
      );
      await cluster.request("PATCH", `${path}/configmaps/held`, { metadata: { finalizers: null } });
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const { body } = await get(path);
      assert.equal(body.metadata?.["deletionTimestamp"], undefined);
    });

    test("a field that the kind does not have", async () => {
      const text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: bad-field}\ndatta: {a: b}\n";
      await refused("bad-field", text, /bad\.yaml: ConfigMap bad-field\/x: .*datta/u);
    });

    test("a value that the kind does not allow", async () => {
      const text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Upper_Case, namespace: bad-value}\n";
      await refused("bad-value", text, /bad\.yaml: ConfigMap bad-value\/Upper_Case: .*lowercase/u);
    });

    test("a variable that is not set", async () => {
      const text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x-${NODE_HOSTNAME}\n  namespace: bad-variable\n";
      await refused("bad-variable", text, /bad\.yaml: line 4.*NODE_HOSTNAME is not set/u);
    });

    test("broken YAML", async () => {
      await refused("bad-yaml", "apiVersion: v1\nkind: [ConfigMap\nmetadata: {name: x}\n", /bad\.yaml.*line [23]/u);
    });

    test("a missing file", async () => {
      await refused("bad-file", undefined, /bad\.yaml: there is no such manifest/u);
    });

    test("no name", async () => {
      await refused(
        "bad-name",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n",
        /bad\.yaml.*[nN]ame/u,
      );
    });

    test("a config that runtimes would not load", async () => {
      await using at = await broken("bad-config");
      at.node.template("10-net.conflist", "{");
      await at.failsUntouched(["install", ...good, "--manifests=good.yaml"], /10-net\.conflist/u);
      assert.equal(await at.configMapIs("good"), undefined);
    });
  });

  suite("variables", () => {
    const TEXT = `apiVersion: v1
kind: ConfigMap
metadata:
  name: x-\${NODE_HOSTNAME}
  namespace: NAMESPACE
data:
  script: echo $HOME \${0##*/} $1
  value: "\${VALUE}"
`;

    test("come from the environment", async () => {
      await using at = await scene("variables");
      at.node.manifest("a.yaml", TEXT.replace("NAMESPACE", at.name));
      await at.succeeds(["install", "--manifests=a.yaml"], { NODE_HOSTNAME: "node-1", VALUE: "v: 1", HOME: "/h" });
      assert.deepEqual(await at.configMapIs("x-node-1"), { script: "echo /h ${0##*/} $1", value: "v: 1" });
    });

    test("become empty with --allow-unset", async () => {
      await using at = await scene("variables-unset");
      at.node.manifest("a.yaml", TEXT.replace("NAMESPACE", at.name));
      await at.succeeds(["install", "--manifests=a.yaml", "--allow-unset"], { NODE_HOSTNAME: "node-1" });
      assert.deepEqual(await at.configMapIs("x-node-1"), { script: "echo  ${0##*/} $1", value: "" });
    });

    test("that --variables does not name are left as they are", async () => {
      await using at = await scene("variables-named");
      at.node.manifest("a.yaml", TEXT.replace("NAMESPACE", at.name));
      const argv = ["install", "--manifests=a.yaml", "--variables=$NODE_HOSTNAME"];
      await at.succeeds(argv, { NODE_HOSTNAME: "node-1", HOME: "/h" });
      assert.deepEqual(await at.configMapIs("x-node-1"), { script: "echo $HOME ${0##*/} $1", value: "${VALUE}" });
    });
  });

  suite("fields of others", () => {
    test("are refused with their manager and name, and taken over with --force-conflicts", async () => {
      await using at = await scene("conflicts");
      at.node.manifest("a.yaml", at.configMap("a", { a: "ours" }));
      const path = "/api/v1/namespaces/conflicts/configmaps/a?fieldManager=somebody";
      await create("/api/v1/namespaces/conflicts/configmaps?fieldManager=somebody", {
        metadata: { name: "a" },
        data: { a: "theirs" },
      });
      await at.failsUntouched(["install", "--manifests=a.yaml"], /ConfigMap conflicts\/a: .*\.data\.a: .*"somebody"/u);
      await at.succeeds(["install", "--manifests=a.yaml", "--force-conflicts"]);
      assert.deepEqual(await at.configMapIs("a"), { a: "ours" });
      await cluster.request("PATCH", path, { data: { b: "theirs" } });
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });

    test("of kubectl apply become ours as with kubectl apply --server-side: what the manifest drops goes", async () => {
      await using at = await scene("migrated");
      const given = (name: string): string => at.configMap(name, { dropped: "1", kept: "1", changed: "1" });
      const wanted = (name: string): string => at.configMap(name, { kept: "1", changed: "2" });
      for (const name of ["twin", "ours"]) {
        const made = await cluster.kubectl(["apply", "-f", "-"], given(name));
        assert.equal(made.exitCode, 0, made.stderr);
      }
      const twin = await cluster.kubectl(["apply", "--server-side", "-f", "-"], wanted("twin"));
      assert.equal(twin.exitCode, 0, twin.stderr);
      at.node.manifest("a.yaml", wanted("ours"));
      await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(await at.configMapIs("ours"), await at.configMapIs("twin"));
      assert.deepEqual(await at.configMapIs("ours"), { kept: "1", changed: "2" });
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });

    test("of kubectl apply go also where nothing else differs", async () => {
      await using at = await scene("migrated-drop");
      const made = await cluster.kubectl(["apply", "-f", "-"], at.configMap("a", { dropped: "1", kept: "1" }));
      assert.equal(made.exitCode, 0, made.stderr);
      at.node.manifest("a.yaml", at.configMap("a", { kept: "1" }));
      const plan = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(plan.stdout, /^-.*dropped/mu);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^configured/u);
      assert.deepEqual(await at.configMapIs("a"), { kept: "1" });
    });

    test("of kubectl apply in lists go as with kubectl, and those of others stay", async () => {
      await using at = await scene("migrated-lists");
      const service = (name: string, ports: number[], labels: Record<string, string>): string => {
        const spec = { selector: { a: "b" }, ports: ports.map((port) => ({ name: `p${port}`, port })) };
        return JSON.stringify({
          apiVersion: "v1",
          kind: "Service",
          metadata: { name, namespace: at.name, labels },
          spec,
        });
      };
      const path = (name: string): string => `/api/v1/namespaces/${at.name}/services/${name}`;
      const portsOf = async (name: string): Promise<unknown> =>
        ((await get(path(name))).body["spec"] as { ports: { name: string }[] }).ports.map((port) => port.name);
      for (const name of ["twin", "ours"]) {
        const made = await cluster.kubectl(["apply", "-f", "-"], service(name, [1, 2, 3], { x: "1", y: "1" }));
        assert.equal(made.exitCode, 0, made.stderr);
        const more = { metadata: { labels: { z: "theirs" } } };
        await cluster.request("PATCH", `${path(name)}?fieldManager=somebody`, more);
      }
      const twin = await cluster.kubectl(["apply", "--server-side", "-f", "-"], service("twin", [1, 3], { x: "1" }));
      assert.equal(twin.exitCode, 0, twin.stderr);
      at.node.manifest("a.yaml", service("ours", [1, 3], { x: "1" }));
      const plan = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.deepEqual(
        plan.stdout
          .split("\n")
          .filter((line) => /^[-+] .*"(?:name|x|y|z)":/u.test(line))
          .map((line) => line.trim()),
        ['-      "y": "1",', '-        "name": "p2",'],
      );
      await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(await portsOf("ours"), await portsOf("twin"));
      assert.deepEqual(await portsOf("ours"), ["p1", "p3"]);
      assert.deepEqual((await get(path("ours"))).body.metadata?.["labels"], { x: "1", z: "theirs" });
    });

    test("of kubectl apply that are defaults are no difference, and go with what they belong to", async () => {
      await using at = await scene("migrated-defaults");
      const set = (...containers: string[]): string => {
        const labels = { app: "a" };
        const ports = [{ containerPort: 80 }];
        const spec = { containers: containers.map((name) => ({ name, image: "a", ports })) };
        return JSON.stringify({
          apiVersion: "apps/v1",
          kind: "DaemonSet",
          metadata: { name: "a", namespace: "migrated-defaults" },
          spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
        });
      };
      const { exitCode, stderr } = await cluster.kubectl(["apply", "-f", "-"], set("one", "two"));
      assert.equal(exitCode, 0, stderr);
      at.node.manifest("a.yaml", set("one", "two"));
      assert.match((await at.succeeds(["plan", "--manifests=a.yaml"])).stdout, /^unchanged/u);
      at.node.manifest("a.yaml", set("one"));
      const { stdout } = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(stdout, /^-.*"name": "two"/mu);
      assert.doesNotMatch(stdout, /^-.*(?:restartPolicy|maxSurge)/mu);
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const { body } = await get("/apis/apps/v1/namespaces/migrated-defaults/daemonsets/a");
      const { template } = body["spec"] as { template: { spec: { containers: { name: string }[] } } };
      assert.deepEqual(
        template.spec.containers.map(({ name }) => name),
        ["one"],
      );
      assert.match((await at.succeeds(["plan", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });

    test("of kubectl apply stay kubectl's where the manifest says the same", async () => {
      await using at = await scene("migrated-equal");
      const labels = { a: "b" };
      const made = await cluster.kubectl(["apply", "-f", "-"], at.configMap("a", { kept: "1" }, { labels }));
      assert.equal(made.exitCode, 0, made.stderr);
      at.node.manifest("a.yaml", at.configMap("a", { kept: "1" }, { labels }));
      at.proxy.requests.length = 0;
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
      assert.deepEqual(at.proxy.requests.filter(isWrite).map(told), []);
    });

    test("of kubectl apply do not hide a conflict with somebody else, and nothing is migrated then", async () => {
      await using at = await scene("migrated-conflict");
      const made = await cluster.kubectl(["apply", "-f", "-"], at.configMap("a", { kept: "1", other: "1" }));
      assert.equal(made.exitCode, 0, made.stderr);
      const path = "/api/v1/namespaces/migrated-conflict/configmaps/a";
      await cluster.request("PATCH", `${path}?fieldManager=somebody`, { data: { other: "theirs" } });
      const managers = managersOf((await get(path)).body);
      at.node.manifest("a.yaml", at.configMap("a", { kept: "2", other: "2" }));
      await at.failsUntouched(["install", "--manifests=a.yaml"], /\.data\.other: .*"somebody"/u);
      assert.deepEqual(managersOf((await get(path)).body), managers);
    });
  });

  suite("[M8] what kubectl apply holds and could not stand beside what is wanted", () => {
    /** A Deployment with a volume, as a manifest. */
    function deployment(namespace: string, name: string, ...volumes: object[]): string {
      const labels = { app: name };
      const containers = [{ name: "c", image: "a", volumeMounts: [{ name: "v", mountPath: "/v" }] }];
      return JSON.stringify({
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name, namespace },
        spec: {
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: { containers, volumes: [Object.assign({ name: "v" }, ...volumes) as object] },
          },
        },
      });
    }
    const EMPTY = { emptyDir: {} };
    const HOST = { hostPath: { path: "/opt/cni/bin", type: "" } };

    function pathOf(namespace: string, name: string): string {
      return `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
    }

    async function volumesOf(namespace: string, name: string): Promise<unknown> {
      const { spec } = (await get(pathOf(namespace, name))).body as {
        spec: { template: { spec: { volumes: unknown } } };
      };
      return spec.template.spec.volumes;
    }

    async function applyByKubectl(manifest: string): Promise<void> {
      const { exitCode, stderr } = await cluster.kubectl(["apply", "-f", "-"], manifest);
      assert.equal(exitCode, 0, stderr);
    }

    /** The object, without what every write changes. */
    async function stateOf(path: string): Promise<object> {
      const { metadata, ...rest } = (await get(path)).body as { metadata: Record<string, unknown> };
      const { resourceVersion: _, generation: _generation, managedFields, ...others } = metadata;
      const fields = ((managedFields ?? []) as Record<string, unknown>[]).map(({ time: _time, ...entry }) => entry);
      return { ...rest, metadata: { ...others, managedFields: fields } };
    }

    test("changes: a volume's type", async () => {
      await using at = await scene("m8-volume");
      await applyByKubectl(deployment(at.name, "ours", EMPTY));
      at.node.manifest("a.yaml", deployment(at.name, "ours", HOST));
      at.proxy.requests.length = 0;
      const plan = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(plan.stdout, /^would configure +manifest +a\.yaml +Deployment m8-volume\/ours: .*kubectl apply/mu);
      assert.deepEqual(at.proxy.requests.filter(isWrite).map(told), []);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^configured/mu);
      assert.deepEqual(await volumesOf(at.name, "ours"), [{ name: "v", ...HOST }]);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });

    test("changes, with --force-conflicts, too: the protocol of a port", async () => {
      await using at = await scene("m8-port");
      const service = (protocol: string): string =>
        JSON.stringify({
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "a", namespace: at.name },
          spec: { selector: { a: "b" }, ports: [{ name: "p", port: 53, protocol }] },
        });
      const path = `/api/v1/namespaces/${at.name}/services/a`;
      await applyByKubectl(service("TCP"));
      at.node.manifest("a.yaml", service("UDP"));
      await at.succeeds(["install", "--manifests=a.yaml", "--force-conflicts"]);
      const { ports } = (await get(path)).body["spec"] as { ports: { protocol: string }[] };
      assert.deepEqual(
        ports.map(({ protocol }) => protocol),
        ["UDP"],
      );
    });

    test("and is as it was, whosever fields it were, where the server or a later object says no", async () => {
      await using at = await scene("m8-undone");
      const path = pathOf(at.name, "a");
      await applyByKubectl(deployment(at.name, "a", EMPTY));
      await applyByKubectl(at.configMap("b", { a: "1" }));
      const earlier = await stateOf(path);
      at.node.manifest("a.yaml", deployment(at.name, "a", HOST));
      at.node.manifest("b.yaml", at.configMap("b", { a: "2" }));
      for (const name of ["deployments/a", "configmaps/b"]) {
        const isApply = new RegExp(`${name}\\?(?=.*fieldValidation)(?!.*dryRun)`, "u");
        at.proxy.onRequest(
          { method: "PATCH", path: isApply },
          { kind: "answer", status: 422, message: "no, says a webhook" },
        );
        const ran = await at.run(["install", "--manifests=a.yaml,b.yaml"]);
        assert.equal(ran.exitCode, 1, ran.stderr);
        assert.match(ran.stderr, /no, says a webhook/u);
        assert.deepEqual(await stateOf(path), earlier);
        assert.deepEqual(contentsOf(at.node.host), {});
      }
      // Done, but the answer never comes.
      const isApply = /deployments\/a\?(?=.*fieldValidation)(?!.*dryRun)/u;
      at.proxy.onRequest({ method: "PATCH", path: isApply }, { kind: "reset", when: "after" });
      at.proxy.onRequest({ method: "PATCH", path: isApply }, { kind: "answer", status: 422, message: "no more" });
      const ran = await at.run(["install", "--manifests=a.yaml,b.yaml"]);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.deepEqual(await stateOf(path), earlier);
      await at.succeeds(["install", "--manifests=a.yaml,b.yaml"]);
    });

    test("is not touched where the manifest itself is wrong, or what cannot be changed differs", async () => {
      await using at = await scene("m8-wrong");
      await applyByKubectl(deployment(at.name, "a", EMPTY));
      at.node.manifest("a.yaml", deployment(at.name, "a", EMPTY, HOST));
      await at.failsUntouched(["install", "--manifests=a.yaml"], /may not specify more than 1 volume type/u);
      const other = deployment(at.name, "a", HOST).replaceAll('{"app":"a"}', '{"app":"b"}');
      at.node.manifest("a.yaml", other);
      await at.failsUntouched(["install", "--manifests=a.yaml"], /field is immutable/u);
      // Without kubectl's own fields the server's word counts.
      await cluster.request("PATCH", `${pathOf(at.name, "a")}?fieldManager=somebody`, {
        metadata: { managedFields: [{}] },
      });
      at.node.manifest("a.yaml", deployment(at.name, "a", HOST));
      await at.failsUntouched(["install", "--manifests=a.yaml"], /may not specify more than 1 volume type/u);
    });
  });

  suite("a role with get, create and delete only", () => {
    const RULES = [{ verbs: ["get", "create", "delete"], apiGroups: [""], resources: ["configmaps"] }];

    test("creates what is absent, accepts what is equal, and names the rule to add where it differs", async () => {
      await using at = await scene("ancestor", RULES);
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^created/u);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
      at.node.manifest("a.yaml", at.configMap("a", { a: "2" }));
      await at.failsUntouched(
        ["install", "--manifests=a.yaml"],
        /ConfigMap ancestor\/a: .*\n {2}hint: .*\{apiGroups: \[""\], resources: \["configmaps"\], resourceNames: \["a"\], verbs: \["patch"\]\}/u,
      );
      assert.deepEqual(at.proxy.requests.filter(({ verb }) => ["list", "watch"].includes(verb)).map(told), []);
      await at.succeeds(["uninstall", "--manifests=a.yaml"]);
      assert.equal(await at.configMapIs("a"), undefined);
    });

    test("accepts what kubectl writes into manifests and the server does not keep", async () => {
      await using at = await scene("ancestor-nulls", RULES);
      const text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  creationTimestamp: null\n  name: a\n  labels: null\n";
      at.node.manifest("a.yaml", text);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^created/u);
      assert.match((await at.succeeds(["install", "--manifests=a.yaml"])).stdout, /^unchanged/u);
    });

    test("that may not even read: the rule for it is named", async () => {
      await using at = await scene("no-rights", [{ verbs: ["get"], apiGroups: [""], resources: ["secrets"] }]);
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      await at.failsUntouched(
        ["install", "--manifests=a.yaml"],
        /ConfigMap no-rights\/a: cannot be read: .*system:serviceaccount:no-rights:installer.*\n {2}hint: .*"configmaps".*verbs: \["get"/u,
      );
    });
  });

  suite("uninstall", () => {
    test("deletes in reverse, and what is absent is fine", async () => {
      await using at = await scene("reverse");
      at.node.manifest("1.yaml", `${at.configMap("a", {})}---\n${at.configMap("b", {})}`);
      at.node.manifest("2.yaml", at.configMap("c", {}));
      await at.succeeds(["install", "--manifests=1.yaml,2.yaml"]);
      at.proxy.requests.length = 0;
      await at.succeeds(["uninstall", "--manifests=1.yaml,2.yaml"]);
      assert.deepEqual(
        at.proxy.requests.filter(isWrite).map(({ method, name }) => `${method} ${name}`),
        ["DELETE c", "DELETE b", "DELETE a"],
      );
      const again = await at.succeeds(["uninstall", "--manifests=1.yaml,2.yaml"]);
      assert.deepEqual(
        outcomesOf(again).map((line) => line.split(" ")[0]),
        ["absent", "absent", "absent"],
      );
      assert.equal(fs.existsSync(join(at.node.netd, ".cni-node")), false);
    });

    test("an object that another installed manifest has as well stays until that one goes", async () => {
      await using at = await scene("in-two");
      const shared = at.configMap("shared", { a: "1" });
      at.node.manifest("1.yaml", `${shared}---\n${at.configMap("a", {})}`);
      at.node.manifest("2.yaml", `${shared}---\n${at.configMap("b", {})}`);
      await at.succeeds(["install", "--manifests=1.yaml"]);
      await at.succeeds(["install", "--manifests=2.yaml", "--owner=other"]);
      const first = await at.succeeds(["uninstall", "--manifests=1.yaml"]);
      assert.match(first.stdout, /^deleted .*\/a$\nkept .*\/shared: manifest 2\.yaml also has it$/mu);
      assert.deepEqual(await at.configMapIs("shared"), { a: "1" });
      await at.succeeds(["uninstall", "--manifests=2.yaml", "--owner=other"]);
      assert.equal(await at.configMapIs("shared"), undefined);
      await at.succeeds(["install", "--manifests=1.yaml,2.yaml"]);
      await at.succeeds(["uninstall", "--manifests=1.yaml,2.yaml"]);
      assert.equal(await at.configMapIs("shared"), undefined, "with both of them at once it goes, too");
    });

    test("a kind or namespace that is not there is fine", async () => {
      await using at = await scene("absent");
      at.node.manifest(
        "a.yaml",
        "apiVersion: nobody.example.com/v1\nkind: Nobody\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n",
      );
      const ran = await at.succeeds(["uninstall", "--manifests=a.yaml"]);
      assert.deepEqual(
        outcomesOf(ran).map((line) => line.split(" ")[0]),
        ["absent", "absent"],
      );
    });

    for (const [name, namespace] of [
      [".", "dots"],
      ["..", "dots"],
      ["others/x", "dots"],
      ["others%2Fx", "dots"],
      ["others", "."],
      ["dots", ".."],
    ] as const) {
      test(`reaches nothing else by the name ${name} in the namespace ${namespace}`, async () => {
        await cluster.request("POST", "/api/v1/namespaces", { metadata: { name: "dots" } });
        await using at = new Scene("dots", await startProxy(cluster), cluster.adminKubeconfig);
        await cluster.request("POST", "/api/v1/namespaces/dots/configmaps", { metadata: { name: "others" } });
        const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace } };
        at.node.manifest("a.yaml", JSON.stringify(object));
        await at.failsUntouched(["uninstall", "--manifests=a.yaml", "--timeout=5s"], /cannot be a name in Kubernetes/u);
        await at.failsUntouched(["install", "--manifests=a.yaml", "--timeout=5s"], /cannot be a name in Kubernetes/u);
        assert.notEqual(await at.configMapIs("others"), undefined);
      });
    }

    test("names the finalizer that holds an object, and goes on when it is gone", async () => {
      await using at = await scene("finalizer");
      at.node.manifest("a.yaml", at.configMap("a", {}));
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const path = "/api/v1/namespaces/finalizer/configmaps/a";
      await cluster.request("PATCH", path, { metadata: { finalizers: ["example.com/hold"] } });
      const ran = await at.run(["uninstall", "--manifests=a.yaml", "--timeout=2s"]);
      assert.equal(ran.exitCode, 4, ran.stderr);
      assert.match(ran.stderr, /ConfigMap finalizer\/a: .*example\.com\/hold/u);
      assert.ok(fs.existsSync(join(at.node.netd, ".cni-node/record.json")));
      await cluster.request("PATCH", path, { metadata: { finalizers: null } });
      await at.succeeds(["uninstall", "--manifests=a.yaml"]);
      assert.equal((await get(path)).status, 404);
      assert.equal(fs.existsSync(join(at.node.netd, ".cni-node")), false);
    });

    test("waits for an object that somebody else's finalizer holds for a while", async () => {
      await using at = await scene("finalizer-while");
      at.node.manifest("a.yaml", at.configMap("a", {}));
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const path = "/api/v1/namespaces/finalizer-while/configmaps/a";
      await cluster.request("PATCH", path, { metadata: { finalizers: ["example.com/hold"] } });
      at.proxy.requests.length = 0;
      const running = at.run(["uninstall", "--manifests=a.yaml"]);
      await until(() => at.proxy.requests.some((request) => isWrite(request) && request.status !== undefined));
      await cluster.request("PATCH", path, { metadata: { finalizers: null } });
      const ran = await running;
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.equal((await get(path)).status, 404);
    });

    test("leaves an object that somebody made anew in between", async () => {
      await using at = await scene("anew");
      at.node.manifest("a.yaml", at.configMap("a", { a: "ours" }));
      await at.succeeds(["install", "--manifests=a.yaml"]);
      const path = "/api/v1/namespaces/anew/configmaps/a";
      // The first DELETE that is meant is let go only when the object is another one.
      at.proxy.onRequest({ method: "DELETE", skip: 1 }, { kind: "answer", status: 503 });
      at.proxy.requests.length = 0;
      const running = at.run(["uninstall", "--manifests=a.yaml"]);
      await until(() => at.proxy.requests.some(isWrite));
      await cluster.request("DELETE", path);
      await create("/api/v1/namespaces/anew/configmaps", { metadata: { name: "a" }, data: { a: "theirs" } });
      const ran = await running;
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(await at.configMapIs("a"), { a: "theirs" });
    });

    test("a manifest whose file is gone is deleted by its record, after which there is none", async () => {
      await using at = await scene("recorded");
      at.node.manifest("a.yaml", `${at.configMap("a", {})}---\n${at.configMap("b", {})}`);
      await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.ok(fs.existsSync(join(at.node.netd, ".cni-node/record.json")));
      fs.rmSync(join(at.node.manifests, "a.yaml"));
      await at.succeeds(["uninstall", "--manifests=a.yaml"]);
      assert.equal(await at.configMapIs("a"), undefined);
      assert.equal(await at.configMapIs("b"), undefined);
      assert.equal(fs.existsSync(join(at.node.netd, ".cni-node")), false);
    });

    for (const isFileGone of [false, true]) {
      const file = isFileGone ? "whose file is gone" : "whose file is there";
      test(`a manifest ${file} is deleted where it was applied, whatever the kubeconfig's namespace is by then`, async () => {
        const name = isFileGone ? "applied-gone" : "applied-there";
        const rules = [{ verbs: ["get", "create", "patch", "delete"], apiGroups: [""], resources: ["configmaps"] }];
        await using at = await scene(name, rules);
        const elsewhere = at.proxy.kubeconfig(cluster.adminKubeconfig);
        await create("/api/v1/namespaces/default/configmaps", { metadata: { name } });
        at.node.manifest("a.yaml", JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } }));
        await at.succeeds(["install", "--manifests=a.yaml"]);
        assert.notEqual(await at.configMapIs(name), undefined);
        if (isFileGone) fs.rmSync(join(at.node.manifests, "a.yaml"));
        const ran = await at.node.run(["uninstall", "--manifests=a.yaml", `--kubeconfig=${elsewhere}`]);
        assert.equal(ran.exitCode, 0, ran.stderr);
        assert.equal(await at.configMapIs(name), undefined);
        assert.equal((await get(`/api/v1/namespaces/default/configmaps/${name}`)).status, 200);
      });
    }

    test("also deletes what an earlier version of the manifest applied", async () => {
      await using at = await scene("earlier");
      at.node.manifest("a.yaml", `${at.configMap("a", {})}---\n${at.configMap("b", {})}`);
      await at.succeeds(["install", "--manifests=a.yaml"]);
      at.node.manifest("a.yaml", at.configMap("a", {}));
      await at.succeeds(["install", "--manifests=a.yaml"]);
      assert.deepEqual(await at.configMapIs("b"), {});
      await at.succeeds(["uninstall", "--manifests=a.yaml"]);
      assert.equal(await at.configMapIs("b"), undefined);
    });

    test("without the file and without a record: an error", async () => {
      await using at = await scene("no-record");
      await at.failsUntouched(["uninstall", "--manifests=a.yaml"], /a\.yaml: there is no such manifest/u);
    });
  });

  suite("prune", () => {
    const PRUNE = ["apply", "--prune", "--owner=x", "--node-name=node-1"];

    test("deletes only objects of this node, and says why it keeps others", async () => {
      await using at = await scene("prune");
      at.node.manifest("keep.yaml", at.configMap("wanted", {}));
      const labels = { "cni-node.io/node": "node-1" };
      const others = { "cni-node.io/node": "node-2" };
      at.node.manifest(
        "old.yaml",
        [
          at.configMap("of-node-1", {}),
          at.configMap("labelled", {}, { labels }),
          at.configMap("of-another", {}, { labels: others }),
          at.configMap("shared", {}),
          JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "prune-node-1" } }),
          JSON.stringify(definition("prunes", "Prune")),
        ].join("\n---\n"),
      );
      await at.succeeds(["install", "--manifests=keep.yaml,old.yaml", "--owner=x"]);
      at.proxy.requests.length = 0;
      const ran = await at.succeeds([...PRUNE, "--manifests=keep.yaml"]);
      const outcomes: Record<string, string> = Object.fromEntries(
        outcomesOf(ran).map((line) => [line.split(" ").slice(3).join(" ").split(":")[0], line]),
      );
      const startsWith = Object.entries(outcomes).map(([object, line]) => `${object} ${line.split(" ")[0]}`);
      assert.deepEqual(startsWith.toSorted(), [
        "ConfigMap prune/labelled deleted",
        "ConfigMap prune/of-another kept",
        "ConfigMap prune/of-node-1 deleted",
        "ConfigMap prune/shared kept",
        "ConfigMap prune/wanted unchanged",
        "CustomResourceDefinition prunes.e2e.cni-node.io kept",
        "Namespace prune-node-1 kept",
      ]);
      assert.match(outcomes["ConfigMap prune/shared"] ?? "", /not of node node-1/u);
      assert.match(outcomes["Namespace prune-node-1"] ?? "", /explicit uninstall/u);
      const deleted = at.proxy.requests.filter(isWrite).map(({ method, name }) => `${method} ${name}`);
      assert.deepEqual(deleted, ["DELETE labelled", "DELETE of-node-1"]);
    });

    test("of objects that a manifest no longer has, they go with --prune and stay without", async () => {
      await using at = await scene("dropped");
      at.node.manifest("a.yaml", `${at.configMap("a-node-1", {})}---\n${at.configMap("b-node-1", {})}`);
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=x"]);
      at.node.manifest("a.yaml", at.configMap("a-node-1", {}));
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=x"]);
      assert.deepEqual(await at.configMapIs("b-node-1"), {});
      const ran = await at.succeeds([...PRUNE, "--manifests=a.yaml"]);
      assert.match(ran.stdout, /^deleted .*b-node-1$/mu);
      assert.equal(await at.configMapIs("b-node-1"), undefined);
      assert.deepEqual(await at.configMapIs("a-node-1"), {});
    });

    test("keeps everything where the node's name is not known", async () => {
      await using at = await scene("nameless");
      at.node.manifest("a.yaml", at.configMap("a-node-1", {}));
      at.node.manifest("b.yaml", at.configMap("b-node-1", {}));
      await at.succeeds(["install", "--manifests=a.yaml,b.yaml", "--owner=x"]);
      const ran = await at.succeeds(["apply", "--prune", "--owner=x", "--manifests=a.yaml"]);
      assert.match(ran.stdout, /^kept .*b-node-1.*--node-name/mu);
      assert.deepEqual(await at.configMapIs("b-node-1"), {});
    });

    test("leaves an object that has moved to another manifest, also under another version of its kind", async () => {
      await using at = await scene("moved");
      const flow = (version: string): string =>
        JSON.stringify({
          apiVersion: `autoscaling/${version}`,
          kind: "HorizontalPodAutoscaler",
          metadata: { name: "h-node-1", namespace: "moved" },
          spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "d" } },
        });
      at.node.manifest("a.yaml", flow("v1"));
      await at.succeeds(["install", "--manifests=a.yaml", "--owner=x"]);
      at.node.manifest("b.yaml", flow("v2"));
      const ran = await at.succeeds([...PRUNE, "--manifests=b.yaml", "--force-conflicts"]);
      const path = "/apis/autoscaling/v2/namespaces/moved/horizontalpodautoscalers/h-node-1";
      assert.equal((await get(path)).status, 200, ran.stdout);
    });
  });

  suite("plan", () => {
    test("writes nothing and shows the difference", async () => {
      await using at = await scene("plan");
      at.node.manifest("a.yaml", at.configMap("a", { text: "old" }));
      const first = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(first.stdout, /^would create/u);
      assert.match(first.stdout, /^\+.*"text": "old"/mu);
      assert.equal(await at.configMapIs("a"), undefined);
      await at.succeeds(["install", "--manifests=a.yaml"]);
      at.proxy.requests.length = 0;
      at.node.manifest("a.yaml", at.configMap("a", { text: "new" }));
      const ran = await at.run(["plan", "--manifests=a.yaml", "--exit-code"]);
      assert.equal(ran.exitCode, 3, ran.stderr);
      assert.match(ran.stdout, /^-.*"text": "old"/mu);
      assert.match(ran.stdout, /^\+.*"text": "new"/mu);
      assert.doesNotMatch(ran.stdout, /managedFields|resourceVersion/u);
      await at.succeeds(["install", "--manifests=a.yaml", "--dry-run"]);
      await at.succeeds(["uninstall", "--manifests=a.yaml", "--dry-run"]);
      assert.deepEqual(at.proxy.requests.filter(isWrite).map(told), []);
      assert.deepEqual(await at.configMapIs("a"), { text: "old" });
      at.node.manifest("a.yaml", at.configMap("a", { text: "old" }));
      const equal = await at.run(["plan", "--manifests=a.yaml", "--exit-code"]);
      assert.equal(equal.exitCode, 0, equal.stderr);
    });

    test("marks what cannot be checked yet", async () => {
      await using at = await scene("plan-new");
      const own = { apiVersion: "e2e.cni-node.io/v1", kind: "Planned", metadata: { name: "o", namespace: "plan-new" } };
      at.node.manifest(
        "a.yaml",
        `${JSON.stringify(definition("planneds", "Planned"))}\n---\n${JSON.stringify(own)}\n---\n${JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "plan-newer" } })}\n---\n${JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "c", namespace: "plan-newer" } })}\n`,
      );
      const ran = await at.succeeds(["plan", "--manifests=a.yaml"]);
      assert.match(ran.stdout, /^would create .*Planned .*o: not checked: /mu);
      assert.match(ran.stdout, /^would create .*ConfigMap plan-newer\/c: not checked: /mu);
      assert.equal((await get(definitionPath("planneds"))).status, 404);
    });

    test("never shows what a Secret holds", async () => {
      await using at = await scene("plan-secret");
      const secret = (value: string, field = "data"): string =>
        JSON.stringify({
          apiVersion: "v1",
          kind: "Secret",
          metadata: { name: "s", namespace: "plan-secret" },
          [field]: { token: value },
        });
      const [first, second, third] = ["Zmlyc3Q=", "c2Vjb25k", "third-value"] as const;
      at.node.manifest("a.yaml", secret(second));
      const made = await at.succeeds(["plan", "--manifests=a.yaml"]);
      // kubectl keeps a copy of everything in an annotation.
      const applied = await cluster.kubectl(["apply", "-f", "-"], secret(first));
      assert.equal(applied.exitCode, 0, applied.stderr);
      const changed = await at.succeeds(["plan", "--manifests=a.yaml", "--output=json"]);
      at.node.manifest("a.yaml", secret(third, "stringData"));
      const text = await at.succeeds(["plan", "--manifests=a.yaml"]);
      const removed = await at.succeeds(["uninstall", "--dry-run", "--manifests=a.yaml"]);
      assert.match(changed.stdout, /"outcome":"configured"/u);
      for (const { stdout, stderr } of [made, changed, text, removed]) {
        for (const value of [first, second, third, Buffer.from(third).toString("base64")]) {
          assert.ok(!`${stdout}${stderr}`.includes(value), stdout);
        }
      }
    });

    test("never shows a secret that is of the wrong type", async () => {
      await using at = await scene("plan-digits");
      const metadata = { name: "s", namespace: "plan-digits" };
      const data = { "a-password": 987654321, another: ["987654321", "987654321"] };
      for (const object of [
        { apiVersion: "v1", kind: "Secret", metadata, stringData: data },
        { apiVersion: "v1", kind: "Secret", metadata, data: 987654321 },
        { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "a-password": 987654321 } },
      ]) {
        at.node.manifest("a.yaml", JSON.stringify(object));
        const ran = await at.failsUntouched(["plan", "--manifests=a.yaml"], /data.*: expected /iu);
        assert.doesNotMatch(`${ran.stdout}${ran.stderr}`, /987654321/u);
      }
    });
  });
});
