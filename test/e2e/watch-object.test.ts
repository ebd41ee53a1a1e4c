/** Following a ConfigMap of a real API server: restarted, far away, and with the rights of the ancestor's Role only. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { findAccess } from "../../src/cluster/access.ts";
import { Channel } from "../../src/cluster/channel.ts";
import { ObjectWatch, type Timing } from "../../src/cluster/watch.ts";
import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { startProxy } from "../cluster/proxy.ts";
import { until } from "../helpers/node.ts";

const CONFIG_MAPS = { group: "", name: "configmaps", namespaced: true };
const PATH = "/api/v1/namespaces/default/configmaps";
/** Failures are tried again soon. */
const SOON: Partial<Timing> = { firstPause: 50, longestPause: 500 };

/** A ConfigMap that is followed. */
class Followed implements AsyncDisposable {
  readonly channel: Channel;
  readonly watch: ObjectWatch;
  readonly values: unknown[] = [];
  readonly troubles: string[] = [];
  readonly #end = new AbortController();
  readonly #following: Promise<void>;

  constructor(name: string, kubeconfig: string, channel = new Channel(() => findAccess({ kubeconfig, env: {} }))) {
    this.channel = channel;
    const identity = { apiVersion: "v1", kind: "ConfigMap", namespace: "default", name };
    this.watch = new ObjectWatch(channel, identity, CONFIG_MAPS, () => this.#note(), SOON);
    this.#following = this.watch.follow(this.#end.signal);
  }

  get value(): unknown {
    const { known } = this.watch;
    if (known === undefined) return undefined;
    return known.object === undefined ? "absent" : (known.object["data"] as Record<string, unknown>)["k"];
  }

  async is(value: unknown): Promise<void> {
    await until(() => this.value === value && this.watch.isLive);
  }

  #note(): void {
    if (this.values.at(-1) !== this.value) this.values.push(this.value);
    if (this.watch.trouble !== undefined) this.troubles.push(this.watch.trouble.message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort("SIGTERM");
    await this.#following;
    this.channel[Symbol.dispose]();
  }
}

suite("a ConfigMap that is followed", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  const create = async (name: string, k: string): Promise<void> => {
    const { status, text } = await cluster.request("POST", PATH, { metadata: { name }, data: { k } });
    assert.equal(status, 201, text);
  };
  const set = async (name: string, k: string): Promise<void> => {
    assert.equal((await cluster.request("PATCH", `${PATH}/${name}`, { data: { k } })).status, 200);
  };
  const remove = async (name: string): Promise<void> => {
    assert.equal((await cluster.request("DELETE", `${PATH}/${name}`)).status, 200);
  };

  test("whoever may get and watch this one by its name follows it, over HTTP/2, by two requests", async () => {
    const rules = [{ verbs: ["get", "watch"], apiGroups: [""], resources: ["configmaps"], resourceNames: ["role"] }];
    const kubeconfig = await cluster.kubeconfigFor({ name: "watcher", rules });
    await using f = new Followed("role", kubeconfig);
    await f.is("absent");
    await create("role", "1");
    await f.is("1");
    await set("role", "2");
    await f.is("2");
    await remove("role");
    await f.is("absent");
    await create("role", "3");
    await f.is("3");
    assert.deepEqual(f.values, ["absent", "1", "2", "absent", "3"]);
    assert.deepEqual([f.channel.requests, f.channel.connections, f.troubles.length], [2, 1, 0]);
    await using other = new Followed("other", kubeconfig);
    await until(() => other.watch.trouble !== undefined);
    assert.match(other.troubles.join(), /cannot be (?:watched|read).*forbidden/u);
  });

  test("two hundred changes at once end at the newest", async () => {
    await create("burst", "0");
    await using f = new Followed("burst", cluster.adminKubeconfig);
    await f.is("0");
    for (let k = 1; k <= 200; k++) await set("burst", String(k));
    await f.is("200");
    assert.deepEqual([f.channel.requests, f.troubles.length], [2, 0]);
  });

  // A server takes 100 requests at a time on one connection.
  test("forty watches of one process share a connection, and sixty other processes have their own", async () => {
    await create("many", "1");
    await using stack = new AsyncDisposableStack();
    const one = stack.use(new Followed("many", cluster.adminKubeconfig));
    const shared = Array.from({ length: 39 }, () => stack.use(new Followed("many", "", one.channel)));
    const alone = Array.from({ length: 60 }, () => stack.use(new Followed("many", cluster.adminKubeconfig)));
    await Promise.all([one, ...shared, ...alone].map(async (f) => f.is("1")));
    await set("many", "2");
    await Promise.all([one, ...shared, ...alone].map(async (f) => f.is("2")));
    const told = [one, ...shared].flatMap(({ troubles }) => troubles);
    assert.equal(one.channel.connections, 1, told.join());
    assert.deepEqual(
      [...shared, ...alone].flatMap(({ troubles }) => troubles),
      [],
    );
  });

  test("through a proxy that speaks HTTP/1.1: resets, cuts, refusals and 410 lose nothing", async () => {
    await create("faults", "0");
    await using proxy = await startProxy(cluster);
    await using f = new Followed("faults", proxy.kubeconfig(cluster.adminKubeconfig));
    await f.is("0");
    const faults = [
      () => proxy.breakConnections("reset"),
      () => proxy.breakConnections("close"),
      ...[410, 429, 500, 503, 504, 401].map((status) => () => {
        proxy.onRequest({ verb: "watch" }, { kind: "answer", status });
        proxy.breakConnections("reset");
      }),
      () => {
        proxy.onRequest({ verb: "watch" }, { kind: "cut", bytes: 0 });
        proxy.breakConnections("close");
      },
      () => {
        proxy.onRequest({ verb: "watch" }, { kind: "answer", status: 410 });
        proxy.onRequest({ verb: "get" }, { kind: "reset", when: "after" });
        proxy.breakConnections("close");
      },
    ];
    for (const [index, fault] of faults.entries()) {
      fault();
      await set("faults", String(index + 1));
      await f.is(String(index + 1));
    }
  });

  test("an API server that is killed and started again: old objects are followed on, and what changed is known", async () => {
    await create("old", "1");
    await create("deleted", "1");
    await create("changed", "1");
    const all = ["old", "deleted", "changed", "missing"].map((name) => new Followed(name, cluster.adminKubeconfig));
    const [old, deleted, changed, missing] = all as [Followed, Followed, Followed, Followed];
    await Promise.all([old.is("1"), deleted.is("1"), changed.is("1"), missing.is("absent")]);
    for (let round = 0; round < 2; round++) {
      await cluster.killServer();
      await until(() => all.every(({ watch }) => !watch.isLive && watch.trouble !== undefined));
      assert.equal(old.value, "1", "what was known stays");
      await cluster.startServer();
      // The server has no event older than itself: the version of an object that nobody changes is too old for it.
      await Promise.all([old.is("1"), missing.is("absent")]);
      await set("changed", `after ${round}`);
      await changed.is(`after ${round}`);
    }
    await remove("deleted");
    await deleted.is("absent");
    const begun = all.map(({ watch }) => watch.begun);
    assert.ok(
      begun.every((count) => count <= 8),
      `no watch is begun again and again: ${begun.join()}`,
    );
    await Promise.all(all.map(async (f) => f[Symbol.asyncDispose]()));
  });
});
