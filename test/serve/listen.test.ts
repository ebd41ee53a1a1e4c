/** What a process that watches answers over HTTP. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { suite, test } from "node:test";

import { ADDRESS } from "../../src/option-types.ts";
import { Failure } from "../../src/errors.ts";
import { isReady, listen, liveness, type Pages } from "../../src/serve/listen.ts";
import { Metrics } from "../../src/watch/metrics.ts";
import { readiness, statusPage } from "../../src/watch/pages.ts";
import type { Watching } from "../../src/watch/reconcile.ts";
import { readExposition } from "../helpers/exposition.ts";
import { TOKEN, reconcile, watching } from "../helpers/watching.ts";

const LOOPBACK = { host: "127.0.0.1", port: 0 };
const refusal = new Failure({ code: "pointer-missing", subject: "a\u001B[2J", problem: "secret text" });

function pagesOf(state: () => Watching, runningSince?: number): Pages {
  const readyz = readiness(state);
  return {
    livez: liveness("driver", () => runningSince),
    readyz,
    metrics: new Metrics(state, () => isReady({ readyz }), { version: "1.0.0", revision: "abc" }),
    statusz: () => statusPage(state(), new Date()),
  };
}

suite("the listener", () => {
  const ask = async (pages: Pages, path: string, method = "GET"): Promise<[number, string]> => {
    await using listener = await listen(LOOPBACK, pages);
    const answer = await fetch(`http://${listener.address}${path}`, { method });
    return [answer.status, await answer.text()];
  };

  test("health checks answer as those of Kubernetes' components", async () => {
    const pages = pagesOf(() => watching());
    assert.deepEqual(await ask(pages, "/livez"), [200, "ok"]);
    assert.deepEqual(await ask(pages, "/livez?verbose"), [200, "[+]ping ok\n[+]driver ok\nlivez check passed\n"]);
    assert.deepEqual(await ask(pages, "/livez/ping"), [200, "ok"]);
    assert.deepEqual(await ask(pages, "/livez/other"), [404, "not found\n"]);
    const stuck = pagesOf(() => watching(), performance.now() - 601_000);
    const text = "[+]ping ok\n[-]driver failed: reason withheld\nlivez check failed\n";
    assert.deepEqual(await ask(stuck, "/livez"), [500, text]);
    assert.deepEqual(await ask(stuck, "/livez/driver"), [500, "internal server error: reason withheld\n"]);
    assert.deepEqual(await ask(stuck, "/livez?exclude=driver"), [200, "ok"]);
  });

  test("a process is not stuck because the clock of the node is set forward", (t) => {
    const { livez } = pagesOf(() => watching(), performance.now());
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 3_600_000 });
    assert.ok(livez.every(({ isOk }) => isOk()));
  });

  test("ready: desired is known, the last reconcile succeeded, and nobody else is in charge", () => {
    const away = { name: "ConfigMap default/cni", source: "object", isLive: false, restarts: 9 } as const;
    const ready = (more: Partial<Watching>): boolean => isReady(pagesOf(() => watching(more)));
    assert.equal(ready({}), true);
    assert.equal(ready({ follows: [away] }), true, "an API server that is away makes no pod unready");
    assert.equal(ready({ follows: [away], lastSuccess: undefined }), false);
    assert.equal(ready({ desired: undefined }), false);
    assert.equal(ready({ last: reconcile({ failure: refusal }) }), false);
    assert.equal(ready({ last: undefined }), false);
    assert.equal(ready({ standsDown: "uninstall" }), false);
    const left = (part: number): Partial<Watching> => {
      const facts = { issued: Date.now() - (1 - part) * 86_400_000, expires: Date.now() + part * 86_400_000 };
      return { tokens: [TOKEN, { ...TOKEN, facts }] };
    };
    assert.deepEqual(
      [0.5, 0.11, 0.09, -1].map((part) => ready(left(part))),
      [true, true, false, false],
    );
  });

  test("the status page shows names, codes and times, and nothing that steers a terminal", async () => {
    const state = watching({ last: reconcile({ steps: [], changed: [], failure: refusal }) });
    const [status, text] = await ask(
      pagesOf(() => state),
      "/statusz",
    );
    assert.equal(status, 200);
    assert.match(text, /owner +team-a/u);
    assert.match(text, /ConfigMap default\/cni +live +2 restarts/u);
    assert.match(text, /last reconcile: failed: pointer-missing: a\\u001b\[2J/u);
    assert.ok(!text.includes("secret") && !text.includes("\u001B"));
  });

  test("other methods and paths are refused", async () => {
    const pages = pagesOf(() => watching());
    assert.deepEqual(await ask(pages, "/metrics", "POST"), [405, "method not allowed\n"]);
    assert.deepEqual(await ask(pages, "/livez", "HEAD"), [200, ""]);
    for (const path of ["/", "/metrics/x", "/livez/ping/x", "/constructor", "/etc/passwd"]) {
      assert.equal((await ask(pages, path))[0], 404, path);
    }
    const [status, text] = await ask(pages, "/metrics");
    assert.equal(status, 200);
    assert.equal(readExposition(text).get("cni_node_ready")?.samples[0]?.value, 1);
  });

  test("a request that is too large is refused, one that never ends is closed, and the end comes at once", async () => {
    const listener = await listen(
      LOOPBACK,
      pagesOf(() => watching()),
    );
    const port = Number(listener.address.split(":")[1]);
    assert.equal((await fetch(`http://${listener.address}/${"a".repeat(9000)}`)).status, 431);
    const slow = connect(port, "127.0.0.1").on("error", () => undefined);
    await once(slow, "connect");
    slow.write("GET /livez HTTP/1.1\r\nHost: a\r\n");
    const closed = once(slow.resume(), "close");
    const begin = performance.now();
    await listener[Symbol.asyncDispose]();
    assert.ok(performance.now() - begin < 1000);
    await closed;
  });

  test("an address that is in use is a failure", async () => {
    const pages = pagesOf(() => watching());
    await using listener = await listen(LOOPBACK, pages);
    const address = ADDRESS.read(listener.address, "--listen");
    await assert.rejects(listen(address, pages), { code: "listen-failed", problem: "is in use" });
  });

  test("an address is an IP address and a port; without an address it is loopback", () => {
    assert.deepEqual(ADDRESS.read(":9153", ""), { host: "127.0.0.1", port: 9153 });
    assert.deepEqual(ADDRESS.read("[::1]:0", ""), { host: "::1", port: 0 });
    for (const wrong of ["9153", "localhost:1", "::1:9153", "1.2.3.4:65536", "[1.2.3.4]:1", "1.2.3.4", "[]:1"]) {
      assert.throws(() => ADDRESS.read(wrong, "--listen"), { code: "usage" }, wrong);
    }
  });
});
