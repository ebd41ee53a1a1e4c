/** The control plane that other tests use: it is real, stands alone, can be disturbed, and leaves nothing behind. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { connect } from "node:net";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { decode, parseExactly } from "../cluster/decode.ts";
import { startProxy, type FaultProxy, type RequestFault } from "../cluster/proxy.ts";
import { send, type Answer } from "../cluster/request.ts";
import { until } from "../helpers/node.ts";

const CONFIG_MAPS = "/api/v1/namespaces/default/configmaps";
const ANY_CONFIG_MAP = [{ verbs: ["*"], apiGroups: [""], resources: ["configmaps"] }];

const CRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: networks.example.io }
spec:
  group: example.io
  scope: Namespaced
  names: { plural: networks, singular: network, kind: Network }
  versions:
    - name: v1
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
`;

/** Documents that YAML readers make different things of. */
const MANIFESTS = {
  scalars: `
kind: ConfigMap
apiVersion: v1
metadata: {name: scalars}
data:
  truths: [yes, No, on, OFF, y, n, true, "yes"]
  numbers: [017, 0o17, 0x1F, 1_000, 1e3, .5, 1.0, 1:30, 9007199254740993, 18446744073709551615, -0]
  others: [~, null, "", 2001-12-14, =, .inf2, 'it''s', "\\u00e9", <<]
`,
  structure: `
kind: ConfigMap
apiVersion: v1
metadata: &m {name: structure, labels: &l {a: b}}
data: {<<: *l, 1: one, true: two, ? three
 : 3, list: [a, b,], nested: {<<: [{a: 1}, {b: 2}], b: 3}}
`,
  text: `
kind: ConfigMap
apiVersion: v1
metadata:
  name: text
data:
  kept: |+
    ---
    a: b

  folded: >-
    one
    two
  plain: one
    two   # comment
`,
  documents: `# only a comment
---
---   # a comment here
kind: ConfigMap
apiVersion: v1
metadata: {name: one}
--- 
null
---
kind: List
apiVersion: v1
items:
- {kind: ConfigMap, apiVersion: v1, metadata: {name: two}}
- {kind: ConfigMap, apiVersion: v1, metadata: {name: three}}
---
`,
  mark: '\uFEFF{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "mark"}}',
  json: '{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}}\n{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "b"}}',
  windows:
    "kind: ConfigMap\r\napiVersion: v1\r\nmetadata: {name: one}\r\n---\r\nkind: ConfigMap\r\napiVersion: v1\r\nmetadata: {name: two}\r\n",
  duplicate: "kind: ConfigMap\napiVersion: v1\nmetadata: {name: one}\ndata: {a: b}\ndata: {c: d}\n",
};

describe("a cluster for tests", { skip: cannotStart }, () => {
  let cluster: Cluster;
  let other: Cluster;

  before(async () => {
    [cluster, other] = await Promise.all([
      startCluster(),
      startCluster({
        controllers: ["namespace-controller", "serviceaccount-controller"],
        apiserver: ["--anonymous-auth=false"],
      }),
    ]);
  });

  after(async () => {
    await Promise.all([cluster.stop(), other.stop()]);
  });

  const exists = async (name: string): Promise<boolean> =>
    (await cluster.request("GET", `${CONFIG_MAPS}/${name}`)).status === 200;

  test("what kubectl creates is seen by a raw request, and in no other cluster", async () => {
    const created = await cluster.kubectl(["create", "-f", "-"], JSON.stringify(configMap("seen")));
    assert.equal(created.stdout, "configmap/seen created\n");
    const { status, body } = await cluster.request("GET", `${CONFIG_MAPS}/seen`);
    assert.deepEqual([status, body.metadata?.["name"]], [200, "seen"]);
    assert.equal((await other.request("GET", `${CONFIG_MAPS}/seen`)).body["reason"], "NotFound");
  });

  for (const kind of ["ServiceAccount", "User"] as const) {
    test(`a ${kind} may do what its rules say, at once, and nothing else`, async () => {
      const only = { verbs: ["get"], apiGroups: [""], resources: ["configmaps"], resourceNames: ["allowed"] };
      const nodes = { verbs: ["list"], apiGroups: [""], resources: ["nodes"] };
      const kubeconfig = await cluster.kubeconfigFor({
        name: `restricted-${kind.toLowerCase()}`,
        kind,
        namespace: "kube-public",
        rules: [only],
        clusterRules: [nodes],
      });
      const may = async (...args: string[]): Promise<string> =>
        (await cluster.kubectl([`--kubeconfig=${kubeconfig}`, ...args])).stderr;
      assert.match(await may("get", "configmap", "allowed"), /\(NotFound\)/u);
      assert.match(await may("get", "nodes"), /No resources found/u);
      assert.match(await may("get", "configmaps"), /\(Forbidden\).*cannot list resource "configmaps"/u);
      assert.match(await may("get", "configmap", "allowed", "--namespace=default"), /\(Forbidden\)/u);
      assert.match(await may("delete", "configmap", "allowed"), /\(Forbidden\)/u);
    });
  }

  test("who does not say who it is may read the version, unless the API server is told otherwise", async () => {
    const statuses = [cluster, other].map(async ({ ca, server }) => {
      const agent = new Agent({ ca: fs.readFileSync(ca) });
      return (await send({ agent, method: "GET", url: `${server}/version` })).status;
    });
    assert.deepEqual(await Promise.all(statuses), [200, 401]);
  });

  test("a CustomResourceDefinition is established and served", async () => {
    await cluster.kubectl(["create", "-f", "-"], CRD);
    const waited = await cluster.kubectl(["wait", "--for=condition=Established", "crd/networks.example.io"]);
    assert.equal(waited.exitCode, 0, waited.stderr);
    const path = "/apis/example.io/v1/namespaces/default/networks";
    const network = { apiVersion: "example.io/v1", kind: "Network", metadata: { name: "one" }, spec: { any: [1] } };
    assert.equal((await cluster.request("POST", path, network)).status, 201);
    assert.deepEqual((await cluster.request("GET", `${path}/one`)).body["spec"], { any: [1] });
  });

  test("with its controllers a namespace has a ServiceAccount and can be deleted with all in it", async () => {
    await other.kubectl(["create", "namespace", "short"]);
    const account = await other.kubectl(["wait", "--for=create", "--namespace=short", "serviceaccount/default"]);
    assert.equal(account.exitCode, 0, account.stderr);
    await other.kubectl(["create", "--namespace=short", "-f", "-"], JSON.stringify(configMap("inside")));
    const deleted = await other.kubectl(["delete", "namespace", "short"]);
    assert.equal(deleted.exitCode, 0, deleted.stderr);
    assert.equal((await other.request("GET", "/api/v1/namespaces/short")).status, 404);
  });

  test("controllers that there are not are refused", async () => {
    await assert.rejects(startCluster({ controllers: ["none"] }), /kube-controller-manager ended: .*none/su);
  });

  for (const [name, manifest] of Object.entries(MANIFESTS)) {
    test(`decoded manifests are what kubectl makes of them: ${name}`, async () => {
      const printed = await cluster.kubectl(
        ["create", "--dry-run=client", "--validate=false", "--output=json", "-f", "-"],
        manifest,
      );
      assert.equal(printed.exitCode, 0, printed.stderr);
      const expected = printed.stdout.split(/(?<=^\}\n)/mu).map(parseExactly);
      const [decoded] = await decode([manifest]);
      assert.deepEqual(decoded, { objects: expected.map(withoutNamespace) });
    });
  }

  test("decoding goes on after an object that is none, and tells of every one", async () => {
    const [first, second] = await decode(["a: 1\n---\nkind: K\napiVersion: v1\n", "kind: [", ""]);
    assert.deepEqual(first?.objects, [{ kind: "K", apiVersion: "v1" }]);
    assert.match(first.error ?? "", /Object 'Kind' is missing/u);
    assert.match(second?.error ?? "", /error converting YAML to JSON/u);
  });

  describe("behind a proxy", () => {
    let proxy: FaultProxy;
    let token: string;
    let agent: Agent;

    before(async () => {
      proxy = await startProxy(cluster);
      await cluster.kubeconfigFor({ name: "client", rules: ANY_CONFIG_MAP });
      token = await cluster.tokenFor("client");
    });

    beforeEach(() => {
      agent = new Agent({ ca: fs.readFileSync(cluster.ca), keepAlive: true });
    });

    afterEach(() => {
      agent.destroy();
      proxy.clear();
      proxy.requests.length = 0;
    });

    after(async () => {
      await proxy.stop();
    });

    const ask = async (method: string, path: string, body?: object): Promise<Answer> =>
      send({ agent, method, url: proxy.server + path, body, token });

    /** Asks, and gives the answer as soon as it has begun, with what is seen of it until it has ended. */
    const begin = async (
      path: string,
    ): Promise<{ ended: Promise<unknown>; seen: { text: string; errors: string[] } }> => {
      const seen = { text: "", errors: [] as string[] };
      const fails = (error: Error): unknown => seen.errors.push(error.message);
      const asked = request(proxy.server + path, { agent, headers: { authorization: `Bearer ${token}` } });
      asked.on("error", fails).end();
      const [response] = (await once(asked, "response")) as [IncomingMessage];
      response.setEncoding("utf8").on("error", fails);
      response.on("data", (text: string) => (seen.text += text));
      return { ended: new Promise((resolve) => response.on("close", resolve)), seen };
    };

    test("requests are passed on and recorded, in the words of Kubernetes", async () => {
      const created = await ask("POST", `${CONFIG_MAPS}?fieldManager=me`, configMap("recorded"));
      assert.equal(created.status, 201);
      await ask("PATCH", `${CONFIG_MAPS}/recorded`, { data: { a: "b" } });
      await ask("GET", `${CONFIG_MAPS}?limit=1`);
      await ask("GET", `${CONFIG_MAPS}?watch=1&timeoutSeconds=1`);
      await ask("DELETE", CONFIG_MAPS);
      await ask("GET", "/api/v1/namespaces/default");
      await ask("PUT", "/api/v1/namespaces/default/finalize", {});
      await ask("GET", "/apis/apps/v1/daemonsets");
      await ask("GET", "/version");
      assert.deepEqual(
        proxy.requests.map(({ verb, resource, namespace, name, subresource, contentType, status }) =>
          [verb, resource, namespace, name, subresource, contentType, status].join(" "),
        ),
        [
          "create configmaps default   application/json 201",
          "patch configmaps default recorded  application/merge-patch+json 200",
          "list configmaps default    200",
          "watch configmaps default    200",
          "deletecollection configmaps default    200",
          "get namespaces  default   403",
          "update namespaces  default finalize application/json 403",
          "list daemonsets     403",
          "get      200",
        ],
      );
      const [first] = proxy.requests;
      assert.deepEqual([first?.method, first?.path, first?.query.get("fieldManager")], ["POST", CONFIG_MAPS, "me"]);
      assert.equal(first?.headers.authorization, `Bearer ${token}`);
    });

    test("who has a client certificate is known by it", async () => {
      const kubeconfigs = [
        cluster.adminKubeconfig,
        await cluster.kubeconfigFor({ name: "known", kind: "User", rules: ANY_CONFIG_MAP }),
      ].map((path) => proxy.kubeconfig(path));
      const names = await Promise.all(
        kubeconfigs.map(async (path) => cluster.kubectl([`--kubeconfig=${path}`, "auth", "whoami", "--output=json"])),
      );
      const users = names.map(({ stdout }) => (JSON.parse(stdout) as { status: { userInfo: object } }).status.userInfo);
      const groups = ["system:masters", "system:authenticated"];
      assert.deepEqual(users, [
        { username: "admin", groups },
        { username: "known", groups: ["system:authenticated"] },
      ]);
      assert.ok(proxy.requests.length >= 2);
    });

    test("a watch is passed on event by event, until its connection breaks", async () => {
      const { ended, seen } = await begin(`${CONFIG_MAPS}?watch=1`);
      await cluster.request("POST", CONFIG_MAPS, configMap("watched"));
      await until(() => seen.text.includes('"name":"watched"'));
      proxy.breakConnections("reset");
      await ended;
      assert.deepEqual(seen.errors, ["read ECONNRESET", "aborted"]);
    });

    for (const kind of ["close", "reset"] as const) {
      const message = kind === "close" ? /socket hang up/u : /read ECONNRESET/u;

      test(`${kind} before: the API server is not asked`, async () => {
        const rule = proxy.onRequest({ verb: "create" }, { kind, when: "before" });
        const name = `${kind}-before`;
        await assert.rejects(ask("POST", CONFIG_MAPS, configMap(name)), message);
        assert.equal(await exists(name), false);
        assert.deepEqual([rule.hits, proxy.requests.length, proxy.requests[0]?.status], [1, 1, undefined]);
        assert.equal((await ask("POST", CONFIG_MAPS, configMap(name))).status, 201);
      });

      test(`${kind} after: the API server has done it, and its answer is lost`, async () => {
        proxy.onRequest({ method: "POST" }, { kind, when: "after" });
        const name = `${kind}-after`;
        await assert.rejects(ask("POST", CONFIG_MAPS, configMap(name)), message);
        assert.equal(await exists(name), true);
        assert.equal(proxy.requests[0]?.status, 201);
      });

      test(`a body is cut, and the connection ends: ${kind}`, async () => {
        proxy.onRequest({ path: CONFIG_MAPS }, { kind: "cut", bytes: 20, by: kind });
        const { ended, seen } = await begin(CONFIG_MAPS);
        await ended;
        assert.equal(seen.text, '{"kind":"ConfigMapLi');
        assert.deepEqual(seen.errors, kind === "close" ? ["aborted"] : ["read ECONNRESET", "aborted"]);
      });
    }

    test("hang: no answer comes, and others are served", async () => {
      proxy.onRequest({ verb: "create" }, { kind: "hang", when: "before" });
      let isSettled = false;
      const hanging = ask("POST", CONFIG_MAPS, configMap("hanging")).finally(() => (isSettled = true));
      hanging.catch(() => undefined);
      await until(() => proxy.requests.length === 1);
      assert.equal((await ask("GET", CONFIG_MAPS)).status, 200);
      assert.equal(await exists("hanging"), false);
      assert.equal(isSettled, false);
      proxy.breakConnections("close");
      await assert.rejects(hanging, /socket hang up/u);
    });

    test("429 says when to come again", async () => {
      proxy.onRequest({}, { kind: "answer", status: 429, retryAfter: 7 });
      const { status, headers, body } = await ask("GET", CONFIG_MAPS);
      assert.deepEqual([status, headers["retry-after"], body["reason"]], [429, "7", "TooManyRequests"]);
      assert.deepEqual(body["details"], { retryAfterSeconds: 7 });
      assert.equal((await ask("GET", CONFIG_MAPS)).status, 200);
    });

    for (const [status, reason] of [
      [401, "Unauthorized"],
      [410, "Expired"],
      [500, "InternalError"],
      [502, undefined],
      [503, "ServiceUnavailable"],
      [504, "Timeout"],
    ] as const) {
      test(`${status} is answered as the API server would`, async () => {
        proxy.onRequest({}, { kind: "answer", status, message: "so it is" });
        const answer = await ask("GET", CONFIG_MAPS);
        assert.equal(answer.status, status);
        assert.deepEqual(
          [answer.body.kind, answer.body.status, answer.body["code"], answer.body["reason"], answer.body["message"]],
          ["Status", "Failure", status, reason, "so it is"],
        );
        assert.equal(proxy.requests[0]?.status, undefined);
      });
    }

    test("an answer can be what a load balancer says", async () => {
      const fault: RequestFault = { kind: "answer", status: 502, text: "<html>", contentType: "text/html" };
      proxy.onRequest({}, fault);
      const { status, text, headers } = await ask("GET", CONFIG_MAPS);
      assert.deepEqual([status, text, headers["content-type"]], [502, "<html>", "text/html"]);
    });

    test("a slow body is whole in the end", async () => {
      const whole = await ask("GET", CONFIG_MAPS);
      proxy.onRequest({}, { kind: "slow", bytes: 100, pause: 1 });
      assert.equal((await ask("GET", CONFIG_MAPS)).text, whole.text);
    });

    test("a fault befalls whom it is for, as often as it is asked for", async () => {
      const rule = proxy.onRequest(
        { method: "GET", path: /configmaps\/.*limit/u, skip: 1, times: 2 },
        { kind: "answer", status: 500 },
      );
      const statuses: number[] = [];
      for (const path of ["/kube-root-ca.crt", "/a?limit=1", "/a", "/a?limit=1", "/b?limit=2", "/c?limit=3"]) {
        statuses.push((await ask("GET", CONFIG_MAPS + path)).status);
      }
      assert.deepEqual(statuses, [404, 404, 404, 500, 500, 404]);
      assert.equal(rule.hits, 2);
      proxy.onRequest({ times: Infinity }, { kind: "answer", status: 503 });
      assert.deepEqual([(await ask("GET", "/a")).status, (await ask("GET", "/a")).status], [503, 503]);
      proxy.clear();
      assert.equal((await ask("GET", "/version")).status, 200);
    });

    test("a connection is closed, reset, or kept without a word", async () => {
      const { port } = new URL(proxy.server);
      const outcomes: string[] = [];
      for (const kind of ["close", "reset"] as const) {
        proxy.onConnection({}, { kind });
        const socket = connect(Number(port), "127.0.0.1").on("error", () => undefined);
        socket.write("anything");
        const ended = once(socket.resume(), "end").then(() => "end");
        const failed = once(socket, "error").then(([error]) => (error as NodeJS.ErrnoException).code);
        ended.catch(() => undefined);
        outcomes.push(String(await Promise.race([ended.catch(async () => failed), failed])));
        socket.destroy();
      }
      assert.deepEqual(outcomes, ["end", "ECONNRESET"]);

      const known = proxy.connections;
      proxy.onConnection({}, { kind: "hang" });
      const hanging = ask("GET", "/version");
      hanging.catch(() => undefined);
      await until(() => proxy.connections > known);
      assert.equal((await ask("GET", "/version")).status, 200);
      assert.equal(proxy.requests.length, 1);
      proxy.breakConnections("close");
      await assert.rejects(hanging);
    });
  });

  test("a cluster whose test is killed is gone with it", async () => {
    const script = `
      import { startCluster } from ${JSON.stringify(new URL("../cluster/cluster.ts", import.meta.url).href)};
      console.log((await startCluster()).directory);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const directory = line.toString().trim();
    assert.equal(processesIn(directory).length, 2);
    child.kill("SIGKILL");
    await until(() => processesIn(directory).length === 0 && !fs.existsSync(directory));
  });

  test("a stopped cluster leaves no process and no directory", async () => {
    const { directory } = other;
    assert.equal(processesIn(directory).length, 3);
    await other.stop();
    assert.deepEqual(processesIn(directory), []);
    assert.equal(fs.existsSync(directory), false);
    await other.stop();
  });
});

function configMap(name: string): object {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name } };
}

/** kubectl adds the namespace to what it is about to send. */
function withoutNamespace(object: unknown): unknown {
  const { metadata, ...rest } = object as { metadata: Record<string, unknown> };
  const { namespace: _, ...others } = metadata;
  return { ...rest, metadata: others };
}

/** Processes that work in a directory. */
function processesIn(directory: string): string[] {
  return fs.readdirSync("/proc").filter((name) => {
    if (!/^\d+$/u.test(name)) return false;
    try {
      return fs.readlinkSync(`/proc/${name}/cwd`).startsWith(directory);
    } catch {
      return false; // it has just ended
    }
  });
}
