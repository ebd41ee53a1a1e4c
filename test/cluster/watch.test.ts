/** Following an object when the server, or the way to it, fails: what no real API server would do on request. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findAccess } from "../../src/cluster/access.ts";
import { Channel } from "../../src/cluster/channel.ts";
import { ObjectWatch, type Timing } from "../../src/cluster/watch.ts";
import { endOf, until } from "../helpers/node.ts";
import { statusOf } from "./hostile.ts";
import { cannotSign } from "./pki.ts";
import { WatchServer } from "./watch-server.ts";

/** A failure is tried again at once, and nothing else ends a watch. */
const FAST: Partial<Timing> = { firstPause: 5, longestPause: 40, healthy: 60_000 };
const CONFIG_MAPS = { group: "", name: "configmaps", namespaced: true };

/** A server and what follows an object of it. */
class Scene implements AsyncDisposable {
  readonly server: WatchServer;
  readonly channel: Channel;
  readonly watch: ObjectWatch;
  /** What was known each time that something changed: `undefined` for nothing, `absent`, or the value of `k`. */
  readonly states: unknown[] = [];
  readonly troubles: string[] = [];
  readonly end = new AbortController();
  readonly #following: Promise<void>;

  constructor(server: WatchServer, user: object = {}, timing: Partial<Timing> = FAST) {
    this.server = server;
    server.kubeconfig(user);
    const kubeconfig = join(server.directory, "kubeconfig");
    this.channel = new Channel(() => findAccess({ kubeconfig, env: { PATH: process.env["PATH"] } }));
    this.watch = this.follow("wanted", timing, () => this.#note());
    this.#following = this.watch.follow(this.end.signal);
  }

  follow(name: string, timing: Partial<Timing> = FAST, onChange: () => void = () => undefined): ObjectWatch {
    const identity = { apiVersion: "v1", kind: "ConfigMap", namespace: "default", name };
    return new ObjectWatch(this.channel, identity, CONFIG_MAPS, onChange, timing);
  }

  get state(): unknown {
    const { known } = this.watch;
    if (known === undefined) return undefined;
    return known.object === undefined ? "absent" : (known.object["data"] as Record<string, unknown>)["k"];
  }

  /** Waits until the newest state is this, and a change of it would be noticed. */
  async settled(state: unknown): Promise<void> {
    await until(() => this.state === state && this.watch.isLive && this.server.watches.size === 1);
  }

  #note(): void {
    if (this.states.at(-1) !== this.state || this.states.length === 0) this.states.push(this.state);
    const { trouble } = this.watch;
    if (trouble !== undefined) this.troubles.push(`${trouble.code}: ${trouble.message}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end.abort("SIGTERM");
    await this.#following;
    this.channel[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** A way to a server on which what is sent can get lost: the connection stays open at both ends. */
class Way implements AsyncDisposable {
  readonly #pairs: [Socket, Socket][] = [];
  readonly #server: Server;

  private constructor(target: number) {
    this.#server = createServer((client) => {
      const server = connect(target, "127.0.0.1");
      this.#pairs.push([client, server]);
      client.pipe(server).pipe(client);
      for (const [one, other] of [
        [client, server],
        [server, client],
      ] as const) {
        one.on("error", () => undefined).on("close", () => other.destroy());
      }
    });
  }

  static async start(target: number): Promise<Way> {
    const way = new Way(target);
    way.#server.listen(0, "127.0.0.1");
    await once(way.#server, "listening");
    return way;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on nothing passes on the connections that are open. */
  freeze(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.unpipe().pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

for (const protocol of ["h2", "http/1.1"] as const) {
  const scene = async (
    prepare: (server: WatchServer) => void = () => undefined,
    user = {},
    timing = FAST,
  ): Promise<Scene> => {
    const server = await WatchServer.start(protocol);
    prepare(server);
    return new Scene(server, user, timing);
  };

  suite(`a watch over ${protocol}`, { skip: cannotSign }, () => {
    test("the newest state is known: made, changed, deleted, and made again", async () => {
      await using s = await scene();
      await s.settled("absent");
      s.server.put("wanted", { k: "1" });
      await s.settled("1");
      s.server.put("wanted", { k: "2" });
      await s.settled("2");
      s.server.delete("wanted");
      await s.settled("absent");
      s.server.put("wanted", { k: "3" });
      await s.settled("3");
      assert.deepEqual(s.states, ["absent", "1", "2", "absent", "3"]);
      assert.equal(s.server.requests.length, 2, "one request begins the watch, one reads the object");
    });

    test("what happens between the beginning of the watch and the read is neither lost nor taken back", async () => {
      await using s = await scene((server) => {
        server.put("wanted", { k: "old" });
        server.trick = ({ verb }) => {
          if (verb === "get" && server.seen("get").length === 1) {
            server.put("wanted", { k: "newer" });
            server.put("wanted", { k: "newest" });
          }
          return false;
        };
      });
      await s.settled("newest");
      assert.deepEqual(s.states, ["newest"]);
    });

    test("an object that is deleted between the beginning of the watch and the read is absent", async () => {
      await using s = await scene((server) => {
        server.put("wanted", { k: "1" });
        server.trick = ({ verb }) => {
          if (verb === "get") server.delete("wanted");
          return false;
        };
      });
      await s.settled("absent");
    });

    test("an object whose version the server has forgotten is followed without asking for that version", async () => {
      await using s = await scene((server) => {
        server.put("wanted", { k: "1" });
        server.trick = ({ verb, query }, answer) => {
          if (verb !== "watch" || !query.has("resourceVersion")) return false;
          answer.writeHead(410).end(JSON.stringify(statusOf(410, "too old resource version")));
          return true;
        };
      });
      await s.settled("1");
      for (const round of [2, 3]) {
        for (const watch of s.server.watches) watch.end();
        s.server.put("wanted", { k: String(round) });
        await s.settled(String(round));
      }
      assert.deepEqual(s.troubles, []);
    });

    test("410 in the watch reads the object again, at once", async () => {
      await using s = await scene(
        (server) => server.put("wanted", { k: "1" }),
        {},
        { ...FAST, firstPause: 1e8, longestPause: 1e8 },
      );
      await s.settled("1");
      for (const watch of s.server.watches) {
        s.server.objects.set("wanted", s.server.configMap("wanted", { k: "2" }));
        watch.send("ERROR", statusOf(410, "too old resource version"));
        watch.end();
      }
      await s.settled("2");
      assert.equal(s.server.seen("get").length, 2);
    });

    test("a connection that is reset is made again, and the watch goes on where it was without a read", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }));
      await s.settled("1");
      s.server.bookmark();
      s.server.put("other", { k: "x" });
      await sleep(20);
      const { version } = s.server;
      s.server.put("wanted", { k: "2" });
      await s.settled("2");
      s.server.breakConnections();
      await until(() => s.server.seen("watch").length === 2);
      await s.settled("2");
      const { query } = s.server.seen("watch")[1] ?? assert.fail();
      assert.equal(query.get("resourceVersion"), String(version + 1));
      assert.equal(s.server.seen("get").length, 1);
      assert.match(s.troubles.join(), /api-unreachable/u);
      assert.equal(s.watch.trouble, undefined, "trouble ends when the watch is live again");
      s.server.put("wanted", { k: "3" });
      await s.settled("3");
    });

    test("a server that is restarted at another address is found by the kubeconfig that says so; what was known stays", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }));
      await s.settled("1");
      await s.server.close();
      await until(() => s.watch.trouble?.code === "api-unreachable");
      assert.equal(s.state, "1");
      assert.equal(s.watch.isLive, false);
      s.server.put("wanted", { k: "2" });
      await s.server.listen();
      s.server.kubeconfig();
      await until(() => s.watch.isLive);
      s.server.put("wanted", { k: "3" });
      await s.settled("3");
    });

    test("a server that is away, or ends every watch at once, is not asked all the time", async () => {
      await using s = await scene(
        (server) => {
          server.trick = ({ verb }, answer) => {
            if (verb !== "watch") return false;
            answer.writeHead(200).end();
            return true;
          };
        },
        {},
        { ...FAST, firstPause: 10, longestPause: 10_000 },
      );
      // Pauses of 10, 20, 40, … 10240 ms, of which each is at least half: 15 attempts take more than 5 seconds.
      const begin = performance.now();
      await until(() => s.server.seen("watch").length >= 6);
      assert.ok(performance.now() - begin > (10 + 20 + 40 + 80 + 160) / 2);
    });

    test("a server that has too much to do is asked again when it says, not before", async () => {
      for (const status of [429, 503]) {
        let refusedAt = 0;
        let askedAt = 0;
        await using s = await scene((server) => {
          server.put("wanted", { k: "1" });
          server.trick = ({ verb }, answer) => {
            if (verb !== "watch") return false;
            if (refusedAt > 0) {
              askedAt ||= performance.now();
              return false;
            }
            refusedAt = performance.now();
            answer.writeHead(status, { "retry-after": "1" }).end(JSON.stringify(statusOf(status, "busy")));
            return true;
          };
        });
        await s.settled("1");
        assert.ok(askedAt - refusedAt >= 1000);
        assert.match(s.troubles.join(), /api-refused: ConfigMap default\/wanted: cannot be watched: busy/u);
      }
    });

    test("a token that was replaced is read again after 401, and never shows", async () => {
      const tokens = ["first-token-0001", "second-token-0002"];
      await using s = await scene(
        (server) => {
          server.put("wanted", { k: "1" });
          const file = join(server.directory, "token");
          fs.writeFileSync(file, `${tokens[0]}\n`);
          server.trick = ({ headers }, answer) => {
            if (headers.authorization === `Bearer ${tokens[1]}`) return false;
            fs.writeFileSync(file, `${tokens[1]}\n`);
            answer.writeHead(401).end(JSON.stringify(statusOf(401, `not ${headers.authorization}`)));
            return true;
          };
        },
        { tokenFile: "token" },
        { ...FAST, firstPause: 1e8, longestPause: 1e8 },
      );
      await s.settled("1");
      assert.deepEqual(s.troubles, [], "the first 401 is no trouble: a token may just have been replaced");
      s.server.trick = (_, answer) => {
        answer.writeHead(401).end(JSON.stringify(statusOf(401, `not ${tokens[1]}`)));
        return true;
      };
      s.server.breakConnections();
      await until(() => s.watch.trouble !== undefined);
      assert.doesNotMatch(JSON.stringify(s.troubles), /token-000/u);
      assert.equal(s.state, "1");
    });

    test("who may not watch reads the object, rarely, and is told the rule", async () => {
      await using s = await scene((server) => {
        server.put("wanted", { k: "1" });
        server.trick = ({ verb }, answer) => {
          if (verb !== "watch") return false;
          answer.writeHead(403).end(JSON.stringify(statusOf(403, 'User "u" cannot watch resource "configmaps"')));
          return true;
        };
      });
      await until(() => s.state === "1" && s.watch.trouble?.code === "api-forbidden");
      assert.match(s.watch.trouble?.hint ?? "", /resourceNames: \["wanted"\], verbs: \["get", "watch"\]/u);
      s.server.objects.set("wanted", s.server.configMap("wanted", { k: "2" }));
      await until(() => s.state === "2");
    });

    test("a line that is too long, or is not an event, ends the watch and nothing more", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }));
      await s.settled("1");
      const piece = "x".repeat(1 << 20);
      for (const watch of s.server.watches) for (let i = 0; i < 9; i++) watch.write(piece);
      await until(() => s.troubles.some((trouble) => trouble.startsWith("answer-too-large")));
      await s.settled("1");
      const events = [
        "{}",
        "[]",
        '{"type":"ADDED"}',
        '{"type":"NEW","object":{}}',
        '{"type":"ADDED","object":[',
        "[".repeat(1e5),
      ];
      for (const [index, line] of events.entries()) {
        const begun = s.server.seen("watch").length;
        for (const watch of s.server.watches) watch.write(`${line}\n`);
        await until(() => s.server.seen("watch").length > begun);
        await s.settled("1");
        assert.equal(s.troubles.filter((trouble) => trouble.startsWith("answer-invalid")).length, index + 1);
      }
    });

    test("events come in any pieces, and nothing of an object is lost", async () => {
      await using s = await scene();
      await s.settled("absent");
      const object = s.server.configMap("wanted", { k: "ä€😀", big: "BIG" });
      const line = `${JSON.stringify({ type: "ADDED", object }).replace('"BIG"', "9007199254740993")}\n`;
      for (const watch of s.server.watches) {
        for (const byte of Buffer.from(line)) {
          watch.write(Buffer.of(byte));
          await new Promise(setImmediate);
        }
      }
      await s.settled("ä€😀");
      const { data } = s.watch.known?.object ?? assert.fail();
      assert.equal((data as Record<string, unknown>)["big"], 9007199254740993n);
    });

    test("objects of other names do not count", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }));
      await s.settled("1");
      for (const watch of s.server.watches) {
        watch.send("MODIFIED", s.server.configMap("other", { k: "x" }));
        watch.send("DELETED", s.server.configMap("other", { k: "x" }));
      }
      s.server.put("wanted", { k: "2" });
      await s.settled("2");
      assert.deepEqual(s.states, ["1", "2"]);
    });

    test("a watch on which nothing comes any more is begun anew on another connection; bookmarks keep it", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }), {}, { ...FAST, silence: 1000 });
      await s.settled("1");
      const bookmarks = setInterval(() => s.server.bookmark(), 50);
      await sleep(1500);
      clearInterval(bookmarks);
      assert.equal(s.server.seen("watch").length, 1);
      const { connections } = s.channel;
      await until(() => s.server.seen("watch").length >= 2);
      assert.ok(s.channel.connections > connections);
      await s.settled("1");
      assert.deepEqual(s.troubles, []);
    });

    test("the server is asked to end each watch after a time of its own, and it goes on at once", async () => {
      await using s = await scene((server) => server.put("wanted", { k: "1" }));
      await s.settled("1");
      const seconds = Number(s.server.seen("watch")[0]?.query.get("timeoutSeconds"));
      assert.ok(seconds >= 300 && seconds <= 600);
      await using quick = await scene(
        (server) => server.put("wanted", { k: "1" }),
        {},
        { firstPause: 1e8, longestPause: 1e8, healthy: 1, lifetime: 50 },
      );
      await quick.settled("1");
      for (let round = 0; round < 3; round++) {
        await sleep(100);
        for (const watch of quick.server.watches) watch.end();
        await until(() => quick.server.seen("watch").length === round + 2);
        await quick.settled("1");
      }
    });

    test("it ends wherever it is when it is told to, and nothing is left that keeps the process", async () => {
      const tricks: [name: string, trick: (server: WatchServer) => void][] = [
        ["live", (server) => server.put("wanted", { k: "1" })],
        ["the watch is not answered", (server) => (server.trick = ({ verb }) => verb === "watch")],
        ["the read is not answered", (server) => (server.trick = ({ verb }) => verb === "get")],
        [
          "a refusal without end",
          (server) => {
            server.trick = (_, answer) => {
              answer.writeHead(403).write("{");
              return true;
            };
          },
        ],
        [
          "pausing",
          (server) => {
            server.trick = (_, answer) => {
              answer.writeHead(503, { "retry-after": "300" }).end();
              return true;
            };
          },
        ],
      ];
      const ends = async ([name, prepare]: (typeof tricks)[number]): Promise<void> => {
        await using server = await WatchServer.start(protocol);
        prepare(server);
        const source = new URL("../../src/cluster/", import.meta.url).href;
        const script = `
          import { findAccess } from "${source}access.ts";
          import { Channel } from "${source}channel.ts";
          import { ObjectWatch } from "${source}watch.ts";
          const channel = new Channel(() => findAccess({ kubeconfig: process.argv[1], env: {} }));
          const identity = { apiVersion: "v1", kind: "ConfigMap", namespace: "default", name: "wanted" };
          const watch = new ObjectWatch(channel, identity, ${JSON.stringify(CONFIG_MAPS)}, () => undefined);
          const end = new AbortController();
          process.stdin.once("data", () => { process.stdin.destroy(); end.abort("SIGTERM"); });
          await watch.follow(end.signal);
          channel[Symbol.dispose]();
          console.log("ended");`;
        const child = spawn(process.execPath, ["--input-type=module", "-e", script, server.kubeconfig()]);
        const ended = endOf(child);
        await until(() => server.requests.length > (name.includes("read") ? 1 : 0));
        await sleep(100);
        child.stdin.write("end\n");
        // If something keeps it, it ends by the test's limit only.
        const killed = setTimeout(() => child.kill("SIGKILL"), 60_000);
        assert.deepEqual(await ended, { exitCode: 0, stdout: "ended\n", stderr: "" }, name);
        clearTimeout(killed);
      };
      await Promise.all(tricks.map(ends));
    });

    test("nothing is left behind by many connections and many watches", async () => {
      await using s = await scene(
        (server) => server.put("wanted", { k: "0" }),
        {},
        { ...FAST, firstPause: 1, longestPause: 1 },
      );
      const warned = once(process, "warning").then(([warning]) => assert.fail(String(warning)));
      await s.settled("0");
      for (let round = 1; round <= 40; round++) {
        if (round % 2 === 0) s.server.breakConnections();
        else for (const watch of s.server.watches) watch.end();
        await until(() => s.server.seen("watch").length > round);
        s.server.put("wanted", { k: String(round) });
        await s.settled(String(round));
      }
      await Promise.race([warned, sleep(20)]);
      await until(() => s.server.watches.size === 1);
    });
  });
}

suite("one connection", { skip: cannotSign }, () => {
  for (const protocol of ["h2", "http/1.1"] as const) {
    test(`an answer that is whole before it is read is read all the same: ${protocol}`, async () => {
      await using server = await WatchServer.start(protocol);
      server.put("one", { k: "1" });
      const kubeconfig = server.kubeconfig();
      using channel = new Channel(() => findAccess({ kubeconfig, env: {} }));
      const { signal } = new AbortController();
      using opened = await channel.open("/api/v1/namespaces/default/configmaps/one", {}, signal);
      await sleep(300);
      const { status, body } = await channel.finish(opened, "it", signal);
      assert.deepEqual([status, (body as { data: object }).data], [200, { k: "1" }]);
    });
  }

  test("all watches of a process share it where the server speaks HTTP/2, and find another when it is to end", async () => {
    await using s = new Scene(await WatchServer.start("h2"));
    const more = ["a", "b", "c", "d"].map((name) => s.follow(name));
    const all = more.map(async (watch) => watch.follow(s.end.signal));
    await until(() => s.server.watches.size === 5 && more.every(({ isLive }) => isLive));
    assert.equal(s.server.connections, 1);
    assert.equal(s.channel.requests, 10);
    s.server.goAway();
    for (const watch of s.server.watches) watch.end();
    await until(() => s.server.seen("watch").length === 10 && more.every(({ isLive }) => isLive));
    assert.equal(s.server.connections, 2);
    s.server.put("c", { k: "1" });
    await until(() => more[2]?.known?.object !== undefined);
    s.end.abort("SIGTERM");
    await Promise.all(all);
  });

  test("a server that no longer answers is left for a new connection, long before the silence would end it", async () => {
    await using server = await WatchServer.start("h2");
    server.put("wanted", { k: "1" });
    await using way = await Way.start(server.port);
    const kubeconfig = server.kubeconfig({}, way.port);
    using channel = new Channel(() => findAccess({ kubeconfig, env: {} }), { interval: 50, answer: 200 });
    const identity = { apiVersion: "v1", kind: "ConfigMap", namespace: "default", name: "wanted" };
    const watch = new ObjectWatch(channel, identity, CONFIG_MAPS, () => undefined, FAST);
    const end = new AbortController();
    const following = watch.follow(end.signal);
    await until(() => watch.isLive);
    await sleep(500);
    assert.equal(channel.connections, 1, "it answers pings, and stays");
    way.freeze();
    await until(() => watch.trouble !== undefined);
    await until(() => watch.isLive);
    assert.equal(channel.connections, 2);
    end.abort("SIGTERM");
    await following;
  });
});
