import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { Failure, Interrupted } from "../src/errors.ts";
import { formatSteps, reportFailure } from "../src/report.ts";
import { conflist, TestNode } from "./helpers/node.ts";
import { reportOf } from "./helpers/report.ts";

/** A node with two plugins and a configuration in the image, and one configuration on the node. */
function preparedNode(): TestNode {
  const node = new TestNode();
  node.plugin("bridge");
  node.plugin("vlan");
  node.template("10-a.conflist", conflist("a", "bridge"));
  node.template("20-b.conf", '{"name": "b", "type": "bridge", "delegates": [ __missing.conf__ ]}');
  fs.writeFileSync(join(node.netd, "99-a.conflist"), conflist("a", "ptp"));
  return node;
}

async function noInput(): Promise<string> {
  return Promise.resolve("");
}

describe("--output=json prints one object that docs/schemas/report.json describes", () => {
  const cases: [what: string, argv: string[], result: string, exitCode: number, code?: string][] = [
    ["of install, with a warning", ["install", "--plugins=bridge", "--configs=10-a.conflist"], "done", 0],
    ["of install with nothing to do", ["install"], "done", 0],
    ["of install --dry-run", ["install", "--plugins=bridge,vlan", "--dry-run", "--exit-code"], "done", 3],
    ["of uninstall", ["uninstall", "--plugins=bridge", "--configs=99-a.conflist"], "done", 0],
    ["of apply", ["apply", "--plugins=bridge,vlan:vlan,ptp"], "done", 0],
    ["of plan with differences", ["plan", "--configs=10-a.conflist:99-a.conflist", "--exit-code"], "done", 3],
    ["of plan without", ["plan", "--plugins=:ptp", "--exit-code"], "done", 0],
    ["of list", ["list"], "done", 0],
    ["of catalogue", ["catalogue"], "done", 0],
    ["of version", ["version"], "done", 0],
    ["of a missing plugin", ["install", "--plugins=nope"], "failed", 1, "source-missing"],
    ["of a missing template", ["plan", "--configs=nope.conf"], "failed", 1, "source-missing"],
    ["of a missing pointer", ["apply", "--configs=20-b.conf"], "failed", 1, "pointer-missing"],
    ["of a missing mount", ["uninstall", "--plugins=a", "--plugin-dir=/nowhere"], "failed", 1, "mount-missing"],
    ["of a manifest that is not there", ["install", "--manifests=a.yaml"], "failed", 1, "source-missing"],
    ["of status with nothing mounted", ["status", "--host-root=/nowhere"], "failed", 1, "mount-missing"],
    ["of list without its directory", ["list", "--plugin-source=/nowhere"], "failed", 1, "source-missing"],
    ["of a bad name", ["install", "--plugins=../a"], "failed", 2, "usage"],
    ["of a bad value", ["install", "--wait=5"], "failed", 2, "usage"],
    ["of an unknown option", ["version", "--nope"], "failed", 2, "usage"],
    ["of a stray operand", ["list", "stray"], "failed", 2, "usage"],
  ];
  for (const [what, argv, result, exitCode, code] of cases) {
    test(what, async () => {
      using node = preparedNode();
      const words = ["list", "catalogue"].includes(argv[0] ?? "")
        ? [...argv.slice(0, 1), `--plugin-source=${node.plugins}`, ...argv.slice(1)]
        : argv;
      const report = reportOf(await node.run([...words, "--output=json"]));
      const error = report["error"] as { code: string } | undefined;
      assert.deepEqual(
        [report["command"], report["result"], report["exitCode"], error?.code],
        [argv[0], result, exitCode, code],
      );
    });
  }

  test("of a command that does not exist", async () => {
    using node = preparedNode();
    const report = reportOf(await node.run(["instal", "--output=json"]));
    assert.deepEqual([report["command"], report["result"], report["exitCode"]], ["", "failed", 2]);
  });

  test("of no command", async () => {
    using node = preparedNode();
    const report = reportOf(await node.run([], { env: { CNI_NODE_OUTPUT: "json" } }));
    assert.deepEqual([report["command"], report["result"], report["exitCode"]], ["", "failed", 2]);
  });

  test("of list, with all that the image's catalogue knows", async () => {
    using node = preparedNode();
    const built = { module: "example.com/plugins", version: "v1.9.1", licence: "Apache-2.0", sha256: "0".repeat(64) };
    const known = { name: "bridge", ...built, size: 123, cniVersions: ["0.4.0", "1.0.0"] };
    fs.writeFileSync(join(node.plugins, ".catalogue.json"), JSON.stringify({ version: 1, plugins: [known] }));
    const { plugins } = reportOf(await node.run(["list", `--plugin-source=${node.plugins}`, "--output=json"]));
    assert.deepEqual(plugins, [known, { name: "vlan", size: fs.statSync(join(node.plugins, "vlan")).size }]);
  });

  test("of what another owner holds with other content", async () => {
    using node = preparedNode();
    await node.run(["install", "--plugins=bridge", "--owner=other"]);
    node.plugin("bridge", "2");
    const report = reportOf(await node.run(["install", "--plugins=bridge", "--output=json"]));
    assert.equal((report["error"] as { code: string }).code, "held-by-other");
  });

  test("of a run that failed half way and was undone", async () => {
    using node = preparedNode();
    fs.mkdirSync(join(node.netd, ".cni-node.tmp"));
    const report = reportOf(
      await node.run(["install", "--plugins=bridge", "--configs=10-a.conflist", "--output=json"]),
    );
    assert.deepEqual([report["result"], report["exitCode"]], ["undone", 1]);
    assert.deepEqual(
      fs.readdirSync(node.bin).filter((name) => !name.startsWith(".")),
      [],
    );
  });

  test("of a run that a signal ended", async () => {
    using node = preparedNode();
    for (const [name, exitCode] of [
      ["SIGTERM", 143],
      ["SIGINT", 130],
      ["SIGHUP", 129],
    ] as const) {
      const ran = await node.run(["install", "--plugins=bridge", "--output=json"], { signal: AbortSignal.abort(name) });
      const { result, error } = reportOf(ran) as { result: string; error: { code: string; message: string } };
      assert.deepEqual([ran.signal, ran.exitCode, result, error.code], [name, exitCode, "failed", "interrupted"]);
      assert.equal(error.message, `ended by ${name} before anything was changed`);
    }
  });
});

/** What is said of it: the exit code, stderr, and the object on stdout. */
function told(error: unknown, json = true): { exitCode: number; stderr: string; stdout: string } {
  let [stdout, stderr] = ["", ""];
  const { exitCode } = reportFailure(error, "install", json, {
    env: {},
    stdout: (text) => (stdout += text),
    stdin: noInput,
    stderr: (text) => (stderr += text),
    signal: new AbortController().signal,
  });
  if (json) reportOf({ stdout, stderr, exitCode });
  return { exitCode, stderr, stdout };
}

describe("a failure", () => {
  const details = { code: "not-a-file", subject: "/some/path", problem: "cannot be read: permission denied" } as const;

  test("is told as subject, what failed and why, with the hint on a line of its own", () => {
    assert.deepEqual(told(new Failure({ ...details, hint: "run as root" }), false), {
      exitCode: 1,
      stderr: "cni-node: /some/path: cannot be read: permission denied\n  hint: run as root\n",
      stdout: "",
    });
    assert.equal(told(new Failure(details)).stderr, "cni-node: /some/path: cannot be read: permission denied\n");
  });

  test("says in JSON what it says as text", () => {
    const { stdout } = told(new Failure({ ...details, hint: "run as root", exitCode: 2 }));
    const message = "/some/path: cannot be read: permission denied";
    const error = { code: "not-a-file", message, hint: "run as root" };
    const report = { version: 1, command: "install", result: "failed", exitCode: 2, steps: [], error };
    assert.deepEqual(JSON.parse(stdout), report);
  });

  test("that was undone says so", () => {
    const failure = new Failure(details);
    failure.undone = true;
    const { exitCode, stderr, stdout } = told(failure);
    assert.equal(exitCode, 1);
    assert.match(stderr, /; what had been done was undone\n$/u);
    assert.match(stdout, /"result":"undone"/u);
  });

  test("that could not be undone is partial, exit 4", () => {
    const { exitCode, stdout } = told(new Failure({ ...details, exitCode: 4 }));
    assert.equal(exitCode, 4);
    assert.match(stdout, /"result":"partial"/u);
  });

  test("by a signal has the exit code of the signal", () => {
    assert.equal(told(new Interrupted("SIGTERM")).exitCode, 143);
  });

  test("of cni-node itself is called a defect, with the place in the program", () => {
    const { exitCode, stderr } = told(new TypeError("x is not a function"));
    assert.equal(exitCode, 1);
    assert.match(stderr, /^cni-node: this is a defect of cni-node: TypeError: x is not a function\n +at /u);
    assert.match(told("text").stderr, /^cni-node: this is a defect of cni-node: text\n/u);
  });
});

test("the text report has one aligned line a step, with the reason where there is one", () => {
  const steps = [
    { action: "install", kind: "plugin", name: "bridge", outcome: "created" },
    { action: "install", kind: "config", name: "10-calico.conflist", outcome: "configured", reason: "why" },
    { action: "uninstall", kind: "plugin", name: "vlan", outcome: "kept", reason: "why not" },
  ] as const;
  assert.equal(
    formatSteps(steps),
    [
      "created     plugin    bridge\n",
      "configured  config    10-calico.conflist  why\n",
      "kept        plugin    vlan                why not\n",
    ].join(""),
  );
  assert.equal(formatSteps([]), "nothing to do\n");
});
