/** Events, to a server in the API's place. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findAccess } from "../../src/cluster/access.ts";
import { Channel } from "../../src/cluster/channel.ts";
import { Failure } from "../../src/errors.ts";
import { warning } from "../../src/finding.ts";
import { Events, type EVENT_TIMING } from "../../src/watch/events.ts";
import { statusOf } from "../cluster/hostile.ts";
import { WatchServer } from "../cluster/watch-server.ts";
import { until } from "../helpers/node.ts";
import { reconcile, repair } from "../helpers/watching.ts";

const POD = { name: "cni-x", namespace: "team", uid: "u-1" };

interface Written {
  method: string;
  path: string;
  contentType: string;
  body: Record<string, unknown>;
}

/** A server that answers with the statuses that a test wants, and with 201 after them. */
class Scene implements AsyncDisposable {
  readonly server: WatchServer;
  readonly channel: Channel;
  readonly events: Events;
  readonly written: Written[] = [];
  readonly said: string[] = [];
  answers: number[] = [];
  isSilent = false;

  constructor(server: WatchServer, pod?: typeof POD, timing: Partial<typeof EVENT_TIMING> = {}) {
    this.server = server;
    server.kubeconfig({});
    server.trick = async ({ method, path, contentType }, answer) => {
      const body = JSON.parse(await text(answer.req)) as Record<string, unknown>;
      this.written.push({ method, path, contentType, body });
      if (this.isSilent) return true;
      const status = this.answers.shift() ?? 201;
      const forbidden = statusOf(403, 'User "u" cannot create resource "events" in API group "events.k8s.io"');
      answer.writeHead(status, { "content-type": "application/json" });
      answer.end(JSON.stringify(status === 403 ? forbidden : body));
      return true;
    };
    const kubeconfig = join(server.directory, "kubeconfig");
    this.channel = new Channel(() => findAccess({ kubeconfig, env: { PATH: process.env["PATH"] } }));
    const say = (problem: string, hint: string): void => void this.said.push(`${problem}; ${hint}`);
    this.events = new Events(
      { channel: this.channel, node: "node-1", pod, say },
      { firstPause: 5, jitter: 0, ...timing },
    );
  }

  /** The namespace and the note of each that was written. */
  get notes(): string[] {
    return this.written.map(({ path, body }) => `${path.split("/")[5]} ${String(body["note"])}`);
  }

  /** The nodes that they are about. */
  get nodes(): unknown[] {
    return this.written.map(({ body }) => (body["regarding"] as { name: unknown }).name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.events[Symbol.asyncDispose]();
    this.channel[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

const failed = (subject = "a"): ReturnType<typeof reconcile> => {
  const failure = new Failure({ code: "pointer-missing", subject, problem: "content of a file" });
  return reconcile({ steps: [], changed: [], failure });
};

for (const protocol of ["h2", "http/1.1"] as const) {
  test(`an Event goes to the node and the pod, and becomes a series that is told ever more rarely: ${protocol}`, async () => {
    await using s = new Scene(await WatchServer.start(protocol), POD);
    s.events.reconciled(reconcile());
    await until(() => s.written.length === 2);
    const [ofNode, ofPod] = s.written as [Written, Written];
    assert.equal(ofNode.path, "/apis/events.k8s.io/v1/namespaces/default/events");
    assert.deepEqual(ofNode.body["regarding"], { apiVersion: "v1", kind: "Node", name: "node-1", uid: "node-1" });
    assert.equal(ofNode.body["note"], "created plugin bridge");
    assert.equal(ofNode.body["reason"], "Installed");
    assert.equal(ofPod.path, "/apis/events.k8s.io/v1/namespaces/team/events");
    assert.deepEqual(ofPod.body["regarding"], { apiVersion: "v1", kind: "Pod", ...POD });
    for (let round = 1; round < 20; round++) {
      s.events.reconciled(reconcile());
      await sleep(15);
    }
    const patches = s.written.filter(({ method, path }) => method === "PATCH" && path.includes("/default/"));
    const counts = patches.map(({ body }) => (body["series"] as { count: number }).count);
    assert.ok(counts.length > 0, "a series is told");
    assert.ok(counts.length <= 5 && counts.every((count, index) => count >= 2 ** (index + 1)), counts.join());
    assert.equal(patches[0]?.contentType, "application/merge-patch+json");
    if (protocol === "h2") assert.equal(s.channel.connections, 1);
  });
}

test("repairs, refusals and fights have reasons of their own; no content is told", async () => {
  await using s = new Scene(await WatchServer.start("h2"));
  const fight = warning("asset-fought-over", "config a", "secret");
  s.events.reconciled(repair({ findings: [fight] }));
  s.events.reconciled(failed());
  await until(() => s.written.length === 3);
  const shown = s.written.map(({ body }) => [body["type"], body["reason"], body["note"]].join(" "));
  assert.deepEqual(shown, [
    "Warning Repaired created plugin bridge",
    "Warning FightingOverFile asset-fought-over: config a",
    "Warning RefusedToApply pointer-missing: a",
  ]);
});

test("a note is at most 1024 bytes", async () => {
  await using s = new Scene(await WatchServer.start("h2"));
  s.events.reconciled(failed("ä".repeat(2000)));
  await until(() => s.written.length === 1);
  const note = s.written[0]?.body["note"] as string;
  assert.ok(Buffer.byteLength(note) <= 1024 && note.endsWith("ä…"));
});

test("a missing right is said once, with the rule, and no more is tried where it is missing", async () => {
  await using s = new Scene(await WatchServer.start("h2"), POD);
  s.answers = [403];
  s.events.reconciled(failed("a"));
  await until(() => s.said.length === 1);
  s.events.reconciled(failed("b"));
  // That of the pod goes to another namespace, after the one of the node.
  await until(() => s.notes.some((note) => note === "team pointer-missing: b"));
  assert.deepEqual(s.notes, ["default pointer-missing: a", "team pointer-missing: a", "team pointer-missing: b"]);
  assert.equal(s.said.length, 1);
  assert.match(
    s.said.join(),
    /\{apiGroups: \["events.k8s.io"\], resources: \["events"\], verbs: \["create", "patch"\]\}/u,
  );
});

test("a server that is busy is asked again, and given up; an Event that has expired is made anew", async () => {
  await using s = new Scene(await WatchServer.start("h2"));
  s.answers = [503, 429, 201, 404, 201, ...Array.from({ length: 20 }, () => 500)];
  s.events.reconciled(failed("a"));
  await until(() => s.written.length === 3 && s.events.isIdle);
  s.events.reconciled(failed("a"));
  await until(() => s.written.length === 5);
  assert.deepEqual(
    s.written.map(({ method }) => method),
    ["POST", "POST", "POST", "PATCH", "POST"],
  );
  s.events.reconciled(failed("b"));
  await until(() => s.written.length === 10 && s.events.isIdle);
  s.answers = [];
  s.events.reconciled(failed("c"));
  await until(() => s.written.length > 10 && s.events.isIdle);
  assert.deepEqual(
    s.notes.slice(5),
    ["b", "b", "b", "b", "b", "c"].map((subject) => `default pointer-missing: ${subject}`),
  );
});

test("the number of Events is limited, for each object and of those that wait", async () => {
  await using s = new Scene(await WatchServer.start("h2"));
  for (let index = 0; index < 500; index++) s.events.reconciled(failed(`a${index}`));
  // What is sent one after the other has an end only if that is all.
  await until(() => s.written.length >= 25 && s.events.isIdle);
  assert.deepEqual(
    s.notes,
    Array.from({ length: 25 }, (_, index) => `default pointer-missing: a${index}`),
  );
});

test("Events go on if the clock of the node is set back", async (t) => {
  await using s = new Scene(await WatchServer.start("h2"), undefined, { burst: 2, interval: 20, forbidden: 20 });
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  s.answers = [201, 403];
  s.events.reconciled(failed("a"));
  s.events.reconciled(failed("b"));
  await until(() => s.said.length === 1);
  t.mock.timers.setTime(Date.now() - 3_600_000);
  await sleep(50);
  s.events.reconciled(failed("c"));
  await until(() => s.written.length === 3);
  assert.equal(s.written[2]?.body["eventTime"], new Date().toISOString().replace("Z", "000Z"));
});

test("a server that does not answer keeps nobody from the end", async () => {
  await using s = new Scene(await WatchServer.start("h2"));
  s.isSilent = true;
  s.events.reconciled(failed());
  await until(() => s.written.length === 1);
  const begin = performance.now();
  await s.events[Symbol.asyncDispose]();
  assert.ok(performance.now() - begin < 1000);
});

test("Events are sent a little later by chance, and at once when the process ends", async () => {
  await using s = new Scene(await WatchServer.start("h2"), undefined, { jitter: 3_600_000, flush: 60_000 });
  s.events.reconciled(reconcile());
  s.events.reconciled(failed());
  const say = (problem: string): void => assert.fail(problem);
  await using prompt = new Events({ channel: s.channel, node: "node-2", pod: undefined, say }, { jitter: 0 });
  prompt.reconciled(reconcile());
  await until(() => s.nodes.length > 0);
  assert.deepEqual(s.nodes, ["node-2"]);
  await s.events[Symbol.asyncDispose]();
  assert.deepEqual(s.nodes, ["node-2", "node-1", "node-1"]);
});
