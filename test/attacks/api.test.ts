/** What stands in the API's place may answer anything: the run ends with a reason, and what was begun is undone. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotSign } from "../cluster/pki.ts";
import { HostileApi, statusOf } from "../cluster/hostile.ts";
import type { Seen } from "../cluster/seen.ts";
import { conflist, contentsOf, TestNode, type Ran } from "../helpers/node.ts";

const NAME = "/api/v1/namespaces/default/configmaps/a";
const TOKEN = "S3CRET-token-of-the-run";

function preparedNode(): TestNode {
  const node = new TestNode();
  node.plugin("bridge");
  node.template("10-net.conflist", conflist("net", "bridge"));
  node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n");
  return node;
}

async function install(
  node: TestNode,
  api: HostileApi,
  more: string[] = [],
  user: object = { token: TOKEN },
): Promise<Ran> {
  const lists = ["--plugins=bridge", "--configs=10-net.conflist", "--manifests=a.yaml"];
  return node.run(["install", ...lists, `--kubeconfig=${api.kubeconfig(user)}`, "--timeout=2s", ...more]);
}

/** The kinds of request of an install, in order. */
const STAGES: Record<string, (seen: Seen) => boolean> = {
  discovery: ({ path }) => path === "/api/v1",
  look: ({ method, path }) => method === "GET" && path === NAME,
  try: ({ method, query }) => method === "PATCH" && query.has("dryRun"),
  apply: ({ method, query }) => method === "PATCH" && !query.has("dryRun"),
};

/** An answer without end. */
async function endless(answer: ServerResponse, beginning: string): Promise<boolean> {
  answer.writeHead(200, { "content-type": "application/json" });
  answer.write(beginning);
  const chunk = Buffer.alloc(1024 * 1024, " ");
  for (let written = 0; written < 600 && !answer.destroyed; written++) {
    if (!answer.write(chunk)) await Promise.race([new Promise((resolve) => answer.once("drain", resolve)), sleep(100)]);
  }
  answer.destroy();
  return true;
}

suite("an API that answers anything", { skip: cannotSign, concurrency: 2 }, () => {
  for (const [stage, isStage] of Object.entries(STAGES)) {
    test(`an answer without end to the ${stage} is given up, said, and what was begun is undone`, async () => {
      await using api = await HostileApi.start();
      using node = preparedNode();
      let isDone = false;
      api.hostility = async (seen, answer) => {
        if (isDone || !isStage(seen)) return false;
        isDone = true;
        return endless(answer, '{"data":"');
      };
      const ran = await install(node, api, ["--timeout=1m"]);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /the answer is larger than (?:8|16) MiB/u);
      assert.doesNotMatch(ran.stderr, /defect/u);
      assert.deepEqual([...api.objects], []);
      assert.deepEqual(contentsOf(node.host), {});
    });

    test(`an answer to the ${stage} that has not the shape of Kubernetes is an error with a reason`, async () => {
      const deep = `${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`;
      const shapes = [
        ...'null|1|[]|{}|[null]|{"metadata":null}|{"metadata":[]}|{"metadata":{"managedFields":null}}'.split("|"),
        '{"metadata":{"managedFields":[{"fieldsV1":null}],"uid":1}}',
        '{"metadata":{"managedFields":[{"fieldsV1":{"f:a":null}}]}}',
        '{"metadata":{"finalizers":{}}}',
        '{"metadata":{"deletionTimestamp":true},"status":{"conditions":null}}',
        '{"resources":null}',
        '{"resources":[null]}',
        '{"resources":[{"name":"../../secrets","kind":"ConfigMap","namespaced":true}]}',
        '{"resources":[{"name":{},"kind":"ConfigMap"}]}',
        "<html>",
        "",
        '{"kind":"Status","details":{"causes":{}}}',
        '{"kind":"Status","message":{"a":1},"details":null}',
        '{"__proto__":{"metadata":{}}}',
        deep,
        `{"metadata":{},"data":${deep}}`,
        "[".repeat(100_000),
        '"\\ud800"',
        "1e999",
      ];
      await using api = await HostileApi.start();
      for (const status of stage === "try" ? [200, 409, 422] : [200]) {
        for (const shape of shapes) {
          using node = preparedNode();
          api.objects.clear();
          let isDone = false;
          api.hostility = (seen, answer) => {
            if (isDone || !isStage(seen)) return false;
            // What may pass is tried again, and would succeed.
            isDone = stage === "apply";
            answer.writeHead(status).end(shape);
            return true;
          };
          const ran = await install(node, api, ["--timeout=300ms"]);
          const about = `${status} ${shape.slice(0, 80)}: ${ran.stderr}`;
          assert.ok([0, 1, 4].includes(ran.exitCode), about);
          assert.doesNotMatch(ran.stderr, /defect|undefined|is not a function/u, about);
          if (ran.exitCode === 1) assert.deepEqual([...api.objects], [], about);
          if (ran.exitCode === 1) assert.deepEqual(contentsOf(node.host), {}, about);
        }
      }
    });
  }

  test("an undo that gets answers of no use names the object, with 4", async () => {
    await using api = await HostileApi.start();
    using node = preparedNode();
    let isApplied = false;
    api.hostility = async (seen, answer) => {
      if (STAGES["apply"]?.(seen)) isApplied = true;
      return isApplied ? endless(answer, '{"metadata":{},"data":"') : false;
    };
    const ran = await install(node, api);
    assert.equal(ran.exitCode, 4, ran.stderr);
    assert.match(ran.stderr, /ConfigMap default\/a/u);
    assert.doesNotMatch(ran.stderr, /defect/u);
  });

  test("a connection that changes its protocol, or ends within the headers, is an error with a reason", async () => {
    await using api = await HostileApi.start();
    for (const text of [
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Le",
      `HTTP/1.1 200 OK\r\n${"X-Long: y\r\n".repeat(10_000)}`,
      "SSH-2.0-x\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]) {
      using node = preparedNode();
      api.hostility = (_, answer) => {
        answer.socket?.end(text);
        return true;
      };
      const ran = await install(node, api, ["--timeout=300ms"]);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /cannot be reached/u);
      assert.doesNotMatch(ran.stderr, /defect/u);
    }
  });

  for (const retryAfter of [
    "-5",
    "0",
    "0.0001",
    "-1e9",
    "99999999999999999999",
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "x",
  ]) {
    test(`Retry-After: ${retryAfter} brings no more requests than a server that says nothing`, async () => {
      await using api = await HostileApi.start();
      using node = preparedNode();
      api.hostility = (_, answer) => {
        answer.writeHead(429, { "retry-after": retryAfter }).end(JSON.stringify(statusOf(429, "slowly")));
        return true;
      };
      const ran = await install(node, api);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /slowly/u);
      assert.ok(api.requests.length < 12, `${api.requests.length} requests`);
    });
  }

  test("a clock that jumps makes no time-out longer or shorter", async () => {
    await using api = await HostileApi.start();
    using node = preparedNode();
    const { now } = Date;
    let attempts = 0;
    api.hostility = (_, answer) => {
      if (++attempts > 3) return false;
      Date.now = () => now() + 3_600_000 * attempts;
      answer.writeHead(503).end(JSON.stringify(statusOf(503, "not yet")));
      return true;
    };
    try {
      const ran = await install(node, api, ["--timeout=1m"]);
      assert.equal(ran.exitCode, 0, ran.stderr);
    } finally {
      Date.now = now;
    }
  });

  for (const user of [{ token: TOKEN }, { username: "somebody", password: TOKEN }]) {
    const [what = ""] = Object.keys(user);
    const cases = Object.keys(STAGES).flatMap((stage) => [403, 409, 422].map((status) => ({ stage, status })));
    for (const { stage, status } of cases) {
      test(`an API that answers ${status} to the ${stage} and repeats our ${what} does not get it into the output`, async () => {
        await using api = await HostileApi.start();
        api.hostility = (seen, answer) => {
          if (STAGES[stage]?.(seen) !== true) return false;
          const message = `you said ${seen.headers.authorization}, cannot patch resource "${TOKEN}"`;
          const causes = [{ reason: "FieldManagerConflict", field: ".data", message: `by ${TOKEN}` }];
          answer.writeHead(status).end(JSON.stringify({ ...statusOf(status, message), details: { causes } }));
          return true;
        };
        for (const more of [[], ["--output=json"], ["--dry-run"]]) {
          using node = preparedNode();
          const ran = await install(node, api, more, user);
          const shown = ran.stdout + ran.stderr;
          assert.doesNotMatch(shown, new RegExp(`S3CRET|${Buffer.from(`somebody:${TOKEN}`).toString("base64")}`, "u"));
        }
      });
    }
  }
});
