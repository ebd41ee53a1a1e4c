/** Manifests and what can go wrong: on the node, on the way to the API, and with the credentials. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createServer } from "node:http";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { findAccess } from "../../src/cluster/access.ts";
import { Api } from "../../src/cluster/request.ts";
import { Deadline } from "../../src/system/deadline.ts";
import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { startProxy, type FaultProxy, type RequestFault } from "../cluster/proxy.ts";
import { withFaults, type FaultPolicy } from "../helpers/faults.ts";
import { conflist, contentsOf, TestNode, until, type Ran } from "../helpers/node.ts";

let cluster: Cluster;

/** A node with a plugin and a config to install, a namespace of that name, and a proxy before the API. */
class Scene implements AsyncDisposable {
  readonly node = new TestNode();
  readonly name: string;
  readonly proxy: FaultProxy;

  constructor(name: string, proxy: FaultProxy) {
    this.name = name;
    this.proxy = proxy;
    this.node.plugin("bridge");
    this.node.template("10-net.conflist", conflist("net", "bridge"));
  }

  async run(argv: readonly string[], signal?: AbortSignal): Promise<Ran> {
    const words = [...argv, `--kubeconfig=${this.proxy.kubeconfig(cluster.adminKubeconfig)}`];
    return this.node.run(words, signal === undefined ? {} : { signal });
  }

  path(name: string): string {
    return `/api/v1/namespaces/${this.name}/configmaps/${name}`;
  }

  configMap(name: string, data: Record<string, string>): string {
    const metadata = { name, namespace: this.name };
    return `${JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data })}\n`;
  }

  async create(name: string, data: Record<string, string>): Promise<void> {
    const path = `/api/v1/namespaces/${this.name}/configmaps?fieldManager=somebody`;
    const { status, text } = await cluster.request("POST", path, { metadata: { name }, data });
    assert.equal(status, 201, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy.stop();
    this.node[Symbol.dispose]();
  }
}

async function scene(name: string): Promise<Scene> {
  await cluster.request("POST", "/api/v1/namespaces", { metadata: { name } });
  return new Scene(name, await startProxy(cluster));
}

/** An object without its version and the times of its managed fields; undefined: it is not there. */
async function stateOf(path: string): Promise<unknown> {
  const { status, body } = await cluster.request("GET", path);
  if (status === 404) return undefined;
  const { resourceVersion: _, managedFields = [], ...metadata } = body.metadata as Record<string, unknown>;
  const managed = (managedFields as { time: string }[]).map(({ time: _time, ...entry }) => entry);
  return { ...body, metadata: { ...metadata, managed } };
}

async function dataOf(path: string): Promise<unknown> {
  return (await cluster.request("GET", path)).body["data"];
}

suite("manifests when something goes wrong", { skip: cannotStart }, () => {
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => {
    await cluster.stop();
  });

  suite("transaction", () => {
    const ALL = ["--plugins=bridge", "--configs=10-net.conflist", "--manifests=a.yaml"];
    const INSTALL = ["install", "--force-conflicts", ...ALL];

    /** A manifest of an object to be created and one to be changed, which somebody else made. */
    async function toInstall(name: string): Promise<Scene> {
      const at = await scene(name);
      await at.create("changed", { theirs: "1", both: "theirs" });
      at.node.manifest(
        "a.yaml",
        `${at.configMap("made", { a: "1" })}---\n${at.configMap("changed", { both: "ours" })}`,
      );
      return at;
    }

    function isApplied(at: Scene): boolean {
      return at.proxy.requests.some(
        ({ method, name, query, status }) =>
          method === "PATCH" && name === "changed" && query.get("dryRun") === null && status === 200,
      );
    }

    /** Calls this when the last object has been applied and before anything is live on the node. */
    function afterApply(at: Scene, act: () => void): void {
      const timer = setInterval(() => {
        if (!isApplied(at)) return;
        clearInterval(timer);
        act();
      }, 1);
    }

    test("objects are applied before a config goes live", async () => {
      await using at = await toInstall("ordered");
      const applied = new Promise<void>((resolve) => afterApply(at, resolve));
      at.proxy.onRequest({ method: "PATCH", path: /changed\?(?!.*dryRun)/u }, { kind: "slow", bytes: 200, pause: 20 });
      const running = at.run(INSTALL);
      await applied;
      assert.deepEqual(contentsOf(at.node.netd), {});
      const ran = await running;
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(Object.keys(contentsOf(at.node.netd)), ["10-net.conflist"]);
    });

    test("where the files' part fails, what was created is deleted and what was changed is as before", async () => {
      await using at = await toInstall("undone");
      const earlier = await stateOf(at.path("changed"));
      for (let number = 1; ; number++) {
        let ran: Ran | undefined;
        let count = 0;
        at.proxy.requests.length = 0;
        const policy: FaultPolicy = {
          before({ name, path }) {
            const isDue = name === "renameSync" && isApplied(at) && ++count === number;
            if (isDue) throw Object.assign(new Error(`EIO: ${path}`), { code: "EIO", errno: -5 });
          },
        };
        await withFaults(policy, async () => {
          ran = await at.run(INSTALL);
        });
        ran = ran as unknown as Ran;
        if (ran.exitCode === 0) {
          assert.ok(number > 3, "renames have failed: of records and of live files");
          break;
        }
        assert.equal(ran.exitCode, 1, ran.stderr);
        assert.match(ran.stderr, /undone/u);
        assert.equal(await stateOf(at.path("made")), undefined);
        assert.deepEqual(await stateOf(at.path("changed")), earlier);
        assert.deepEqual(contentsOf(at.node.host), {});
      }
      assert.deepEqual(Object.keys(contentsOf(at.node.netd)), ["10-net.conflist"]);
    });

    test("where a directory has come in the config's way, nothing is left of the objects", async () => {
      await using at = await toInstall("in-the-way");
      const earlier = await stateOf(at.path("changed"));
      afterApply(at, () => fs.mkdirSync(join(at.node.netd, "10-net.conflist")));
      at.proxy.onRequest({ method: "PATCH", path: /changed\?(?!.*dryRun)/u }, { kind: "slow", bytes: 100, pause: 20 });
      const ran = await at.run(INSTALL);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /10-net\.conflist: is a directory/u);
      assert.equal(await stateOf(at.path("made")), undefined);
      assert.deepEqual(await stateOf(at.path("changed")), earlier);
      assert.deepEqual(contentsOf(at.node.bin), {});
    });

    test("where a later object is refused, the earlier ones are undone", async () => {
      await using at = await toInstall("undone-later");
      const earlier = await stateOf(at.path("changed"));
      at.node.manifest("b.yaml", at.configMap("refused", {}));
      at.proxy.onRequest(
        { method: "PATCH", path: /refused\?(?!.*dryRun)/u },
        { kind: "answer", status: 422, message: "refused by a webhook" },
      );
      const ran = await at.run(
        [...INSTALL, "--manifests=a.yaml,b.yaml"].filter((word) => word !== "--manifests=a.yaml"),
      );
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /ConfigMap undone-later\/refused: .*refused by a webhook.*undone/u);
      assert.equal(await stateOf(at.path("made")), undefined);
      assert.deepEqual(await stateOf(at.path("changed")), earlier);
      assert.deepEqual(contentsOf(at.node.host), {});
    });

    test("what somebody changed in between is left, named, and ends with 4", async () => {
      await using at = await toInstall("stuck");
      at.node.manifest("b.yaml", at.configMap("refused", {}));
      // The pause of the second attempt gives somebody the time.
      at.proxy.onRequest(
        { method: "PATCH", path: /refused\?(?!.*dryRun)/u },
        { kind: "answer", status: 503, retryAfter: 1 },
      );
      at.proxy.onRequest({ method: "PATCH", path: /refused\?(?!.*dryRun)/u }, { kind: "answer", status: 422 });
      const words = INSTALL.map((word) => (word === "--manifests=a.yaml" ? "--manifests=a.yaml,b.yaml" : word));
      const running = at.run(words);
      while (((await dataOf(at.path("changed"))) as { both: string }).both !== "ours") await Promise.resolve();
      await cluster.request("PATCH", at.path("changed"), { data: { more: "theirs" } });
      const ran = await running;
      assert.equal(ran.exitCode, 4, ran.stderr);
      assert.match(ran.stderr, /ConfigMap stuck\/changed/u);
      assert.deepEqual(await dataOf(at.path("changed")), { theirs: "1", both: "ours", more: "theirs" });
      assert.equal(await stateOf(at.path("made")), undefined);
    });

    test("a signal before the commit point undoes, also of the object that is just being applied", async () => {
      await using at = await toInstall("signal");
      const earlier = await stateOf(at.path("changed"));
      const stop = new AbortController();
      at.proxy.onRequest({ method: "PATCH", path: /changed\?(?!.*dryRun)/u }, { kind: "slow", bytes: 100, pause: 20 });
      afterApply(at, () => stop.abort("SIGTERM"));
      const ran = await at.run(INSTALL, stop.signal);
      assert.equal(ran.exitCode, 143, ran.stderr);
      assert.equal(ran.signal, "SIGTERM");
      assert.equal(await stateOf(at.path("made")), undefined);
      assert.deepEqual(await stateOf(at.path("changed")), earlier);
      assert.deepEqual(contentsOf(at.node.host), {});
    });

    test("an object is undone also where the answer to its apply never came", async () => {
      await using at = await toInstall("answer-lost");
      const earlier = await stateOf(at.path("changed"));
      at.proxy.onRequest(
        { method: "PATCH", path: /changed\?(?!.*dryRun)/u, times: 1 },
        { kind: "close", when: "after" },
      );
      at.proxy.onRequest(
        { method: "PATCH", path: /changed\?(?!.*dryRun)/u, times: 1 },
        { kind: "answer", status: 422, message: "not any more" },
      );
      const ran = await at.run(INSTALL);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.equal(await stateOf(at.path("made")), undefined);
      assert.deepEqual(await stateOf(at.path("changed")), earlier);
    });
  });

  test("where the API is gone after an apply, the object that may be there is named, with 4", async () => {
    await using at = await scene("gone");
    at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
    at.proxy.onRequest({ method: "PATCH", path: /\?(?!.*dryRun)/u }, { kind: "close", when: "after" });
    at.proxy.onRequest({ path: /\/a(?:\?(?!.*dryRun)|$)/u, skip: 1, times: 1000 }, { kind: "close", when: "before" });
    const ran = await at.run(["install", "--manifests=a.yaml", "--timeout=1s"]);
    assert.equal(ran.exitCode, 4, ran.stderr);
    assert.match(ran.stderr, /ConfigMap gone\/a/u);
  });

  test("a shared object that many nodes install at once is there once, and every run succeeds", async () => {
    const scenes = await Promise.all(Array.from({ length: 8 }, async () => scene("together")));
    const rules = [{ verbs: ["get", "create"], apiGroups: [""], resources: ["configmaps"] }];
    const ancestor = await cluster.kubeconfigFor({ name: "together", namespace: "together", rules });
    for (const at of scenes) {
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      at.node.manifest("b.yaml", at.configMap("b", { b: "1" }));
    }
    const runs = await Promise.all([
      ...scenes.map(async (at) => at.run(["install", "--manifests=a.yaml"])),
      ...scenes.map(async (at) =>
        at.node.run(["install", "--manifests=b.yaml", "--owner=b", `--kubeconfig=${ancestor}`]),
      ),
    ]);
    for (const ran of runs) assert.equal(ran.exitCode, 0, ran.stderr);
    for (const at of scenes) await at[Symbol.asyncDispose]();
  });

  suite(
    "faults on the way, once at each kind of request: the run succeeds, with each object once",
    { concurrency: 4 },
    () => {
      const FAULTS: Record<string, RequestFault> = {
        "dropped-before": { kind: "close", when: "before" },
        "dropped-after": { kind: "close", when: "after" },
        "reset-before": { kind: "reset", when: "before" },
        "reset-after": { kind: "reset", when: "after" },
        "retry-after": { kind: "answer", status: 429, retryAfter: 1 },
        "status-500": { kind: "answer", status: 500 },
        "status-502": { kind: "answer", status: 502, text: "<html>Bad Gateway</html>", contentType: "text/html" },
        "status-503": { kind: "answer", status: 503 },
        "status-504": { kind: "answer", status: 504 },
        "status-401": { kind: "answer", status: 401 },
        "cut-close": { kind: "cut", bytes: 20 },
        "cut-reset": { kind: "cut", bytes: 20, by: "reset" },
        slow: { kind: "slow", bytes: 100, pause: 5 },
        "not-json": { kind: "answer", status: 200, text: "<html>Log in</html>", contentType: "text/html" },
      };
      for (const [name, fault] of Object.entries(FAULTS)) {
        test(name, async () => {
          await using at = await scene(`way-${name}`);
          at.node.manifest("a.yaml", `${at.configMap("a", { a: "1" })}---\n${at.configMap("b", { a: "1" })}`);
          const [ofGet, ofTry, ofApply] = [
            at.proxy.onRequest({ method: "GET", path: at.path("a") }, fault),
            at.proxy.onRequest({ method: "PATCH", path: /dryRun/u }, fault),
            at.proxy.onRequest({ method: "PATCH", path: /\?(?!.*dryRun)/u }, fault),
          ];
          const ran = await at.run(["install", "--manifests=a.yaml", "--timeout=2m"]);
          assert.equal(ran.exitCode, 0, ran.stderr);
          assert.deepEqual([ofGet.hits, ofTry.hits, ofApply.hits], [1, 1, 1]);
          assert.deepEqual(await dataOf(at.path("a")), { a: "1" });
          assert.deepEqual(await dataOf(at.path("b")), { a: "1" });
          const ofDelete = at.proxy.onRequest({ method: "DELETE" }, fault);
          const gone = await at.run(["uninstall", "--manifests=a.yaml", "--timeout=2m"]);
          assert.equal(gone.exitCode, 0, gone.stderr);
          assert.equal(ofDelete.hits, 1);
          assert.equal(await stateOf(at.path("a")), undefined);
          assert.equal(await stateOf(at.path("b")), undefined);
        });
      }

      test("admission that takes long is waited for, not asked again", async () => {
        await using at = await scene("way-admission");
        at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
        at.proxy.onRequest({ method: "PATCH", path: /dryRun/u }, { kind: "slow", bytes: 100, pause: 4000 });
        const ran = await at.run(["install", "--manifests=a.yaml", "--timeout=2m"]);
        assert.equal(ran.exitCode, 0, ran.stderr);
        const tried = at.proxy.requests.filter(
          ({ method, query }) => method === "PATCH" && query.get("dryRun") !== null,
        );
        assert.equal(tried.length, 1);
      });

      test("half-open", async () => {
        await using at = await scene("way-half-open");
        at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
        at.proxy.onRequest({ method: "PATCH", path: /\?(?!.*dryRun)/u }, { kind: "hang", when: "before" });
        const ran = await at.run(["install", "--manifests=a.yaml", "--timeout=2m"]);
        assert.equal(ran.exitCode, 0, ran.stderr);
        assert.deepEqual(await dataOf(at.path("a")), { a: "1" });
      });
    },
  );

  suite("an API that is of no use ends the run with 1 and the reason:", { concurrency: 4 }, () => {
    /** @param timeout short where cni-node tries until it is over. */
    async function fails(
      name: string,
      prepare: (at: Scene) => string | undefined,
      message: RegExp,
      timeout = "1s",
    ): Promise<void> {
      await using at = await scene(`useless-${name}`);
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      const kubeconfig = prepare(at) ?? at.proxy.kubeconfig(cluster.adminKubeconfig);
      const argv = [
        "install",
        "--configs=10-net.conflist",
        "--plugins=bridge",
        "--manifests=a.yaml",
        `--timeout=${timeout}`,
      ];
      const ran = await at.node.run([...argv, `--kubeconfig=${kubeconfig}`]);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, message);
      assert.deepEqual(contentsOf(at.node.host), {});
      assert.equal(await stateOf(at.path("a")), undefined);
    }

    /** A copy of the administrator's kubeconfig, changed. */
    function changed(name: string, change: (text: string) => string): string {
      const path = join(cluster.directory, `${name}.kubeconfig`);
      fs.writeFileSync(path, change(fs.readFileSync(cluster.adminKubeconfig, "utf8")));
      return path;
    }

    test("nobody listens", async () => {
      await fails(
        "dead",
        () => changed("dead", (text) => text.replace(/"server": ".*?"/u, '"server": "https://127.0.0.1:1"')),
        /https:\/\/127\.0\.0\.1:1: .*cannot be reached: .*refused/u,
      );
    });

    test("it never answers", async () => {
      await fails(
        "mute",
        (at) => void at.proxy.onRequest({ times: 1000 }, { kind: "hang", when: "before" }),
        /https:\/\/127\.0\.0\.1:\d+: .*no answer in time/u,
      );
    });

    test("its certificate is of another authority", async () => {
      await fails(
        "authority",
        () =>
          changed("authority", (text) =>
            text.replace(/\s*"certificate-authority-data": ".*?",?/u, "").replace(/,(\s*\})/gu, "$1"),
          ),
        /https:\/\/127\.0\.0\.1:\d+: .*certificate/u,
      );
    });

    test("the credentials are not valid", async () => {
      await fails(
        "expired",
        (at) => void at.proxy.onRequest({ times: 1000 }, { kind: "answer", status: 401, message: "Unauthorized" }),
        /Unauthorized\n {2}hint: .*credentials.*expired/u,
        "60s",
      );
    });

    test("it answers something else than JSON", async () => {
      await fails(
        "html",
        (at) =>
          void at.proxy.onRequest(
            { times: 1000 },
            { kind: "answer", status: 200, text: "<html>", contentType: "text/html" },
          ),
        /https:\/\/127\.0\.0\.1:\d+: .*not a Kubernetes object/u,
        "60s",
      );
    });

    test("nothing is known where the address leads: what is to be deleted is not called absent", async () => {
      await using at = await scene("nothing-known");
      at.node.manifest("a.yaml", at.configMap("a", { a: "1" }));
      assert.equal((await at.run(["install", "--manifests=a.yaml"])).exitCode, 0);
      const text = "404 page not found\n";
      for (const path of [/./u, /configmaps/u]) {
        at.proxy.onRequest({ method: "GET", path }, { kind: "answer", status: 404, text, contentType: "text/plain" });
        const ran = await at.run(["uninstall", "--manifests=a.yaml"]);
        assert.equal(ran.exitCode, 1, ran.stdout);
        assert.match(ran.stderr, /HTTP status 404\n {2}hint: .*address/u);
      }
      assert.deepEqual(await dataOf(at.path("a")), { a: "1" });
      assert.equal((await at.run(["uninstall", "--manifests=a.yaml"])).exitCode, 0);
      assert.equal(await stateOf(at.path("a")), undefined);
    });

    test("there is no such kubeconfig", async () => {
      await fails("no-file", () => "/nowhere/kubeconfig", /\/nowhere\/kubeconfig: cannot be used as kubeconfig/u);
    });

    test("the kubeconfig is broken", async () => {
      await fails(
        "broken-file",
        () => changed("broken", (text) => text.slice(0, 100)),
        /broken\.kubeconfig: line \d+, column \d+: is not YAML/u,
      );
    });
  });

  suite("access", () => {
    async function statusOf(access: ReturnType<typeof findAccess>): Promise<number> {
      const api = new Api(access, new Deadline(5000), new AbortController().signal);
      return (await api.request({ method: "GET", path: "/apis/rbac.authorization.k8s.io/v1" })).status;
    }

    test("the service account of a pod, whose token is read anew", async () => {
      const directory = fs.mkdtempSync(join(cluster.directory, "pod-"));
      await cluster.kubeconfigFor({ name: "pod" });
      fs.copyFileSync(cluster.ca, join(directory, "ca.crt"));
      fs.writeFileSync(join(directory, "namespace"), "kube-system");
      fs.writeFileSync(join(directory, "token"), "expired");
      const { hostname, port } = new URL(cluster.server);
      const env = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port };
      const access = findAccess({ kubeconfig: undefined, env, serviceAccount: directory });
      assert.equal(access.namespace, "kube-system");
      const asked = statusOf(access);
      fs.writeFileSync(join(directory, "token"), await cluster.tokenFor("pod"));
      assert.equal(await asked, 200);
    });

    test("an IPv6 address is in brackets", () => {
      const directory = fs.mkdtempSync(join(cluster.directory, "pod-"));
      fs.copyFileSync(cluster.ca, join(directory, "ca.crt"));
      fs.writeFileSync(join(directory, "token"), "t");
      const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" };
      const { server, namespace } = findAccess({ kubeconfig: undefined, env, serviceAccount: directory });
      assert.equal(server.href, "https://[fd00::1]:6443/");
      assert.equal(namespace, "default");
    });

    test("neither a kubeconfig nor a pod: the message says so", () => {
      const none = { kubeconfig: undefined, env: {}, serviceAccount: "/nowhere" };
      assert.throws(() => findAccess(none), { code: "no-cluster" });
    });

    test("a plain http server needs no credentials", async () => {
      const token = await tokenOfAdmin();
      const server = createServer((incoming, outgoing) => {
        const headers = { ...incoming.headers, authorization: `Bearer ${token}` };
        const options = { method: incoming.method, headers, ca: fs.readFileSync(cluster.ca) };
        const asked = request(cluster.server + (incoming.url ?? ""), options, (answer) => {
          outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
          answer.pipe(outgoing);
        });
        incoming.pipe(asked);
      }).listen(0, "127.0.0.1");
      await until(() => server.listening);
      try {
        const path = join(cluster.directory, "plain.kubeconfig");
        const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        const config = {
          clusters: [{ name: "c", cluster: { server: address } }],
          contexts: [{ name: "c", context: { cluster: "c", user: "" } }],
        };
        fs.writeFileSync(
          path,
          JSON.stringify({ apiVersion: "v1", kind: "Config", users: [], "current-context": "c", ...config }),
        );
        assert.equal(await statusOf(findAccess({ kubeconfig: path, env: {} })), 200);
      } finally {
        server.closeAllConnections();
        server.close();
      }
    });

    async function tokenOfAdmin(): Promise<string> {
      await cluster.kubeconfigFor({ name: "plain" });
      return cluster.tokenFor("plain");
    }
  });
});
