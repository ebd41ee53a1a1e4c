/** `status` on nodes whose container runtime runs: what it says of them is what they say and do. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { run } from "../../src/cli.ts";
import type { Finding } from "../../src/finding.ts";
import { cannotStart, startContainerd, type Containerd } from "../runtime/containerd.ts";

/** What of the report is looked at here. */
interface Report {
  findings: Finding[];
  networks: { rule: string; file?: string }[];
  plugins: { name: string; state: string }[];
  attachments: { plugin: string; living: number; gone: number }[];
  runtime: { networkReady: boolean; networks: { name: string }[] };
}

const FIRST = {
  cniVersion: "1.0.0",
  name: "first",
  plugins: [{ type: "bridge", bridge: "test0", ipam: { type: "host-local", ranges: [[{ subnet: "10.213.0.0/24" }]] } }],
};

async function status({ host, socket }: Containerd): Promise<Report> {
  let stdout = "";
  await run(["status", `--host-root=${host}`, `--cri-socket=${socket}`, "--output=json"], {
    env: {},
    stdin: async () => Promise.resolve(""),
    stdout: (text) => (stdout += text),
    stderr: () => undefined,
    signal: new AbortController().signal,
  });
  return JSON.parse(stdout) as Report;
}

/** The errors, by code. */
function errors({ findings }: Report): string[] {
  return findings.filter(({ severity }) => severity === "error").map(({ code }) => code);
}

for (const release of ["debian", "2"] as const) {
  describe(`status with containerd, ${release}`, { skip: cannotStart }, () => {
    test("a node without a network, one that has it, and a pod on it", async () => {
      await using node = await startContainerd({ release });
      assert.deepEqual(errors(await status(node)), ["runtime-not-ready", "runtime-load-failed", "no-network"]);
      node.configure("10-first.conflist", JSON.stringify(FIRST));
      for (let ready = false; !ready; ready = (await status(node)).runtime.networkReady);
      const report = await status(node);
      assert.deepEqual(errors(report), []);
      assert.deepEqual(
        report.networks.map(({ rule, file }) => [rule, file]),
        [["containerd", "10-first.conflist"]],
      );
      assert.deepEqual(
        report.runtime.networks.map(({ name }) => name),
        ["first"],
      );
      assert.ok(
        report.plugins.every(({ state }) => state === "runs"),
        JSON.stringify(report.plugins),
      );
      const pod = await node.runPod();
      const [bridge] = (await status(node)).attachments;
      assert.deepEqual(bridge, { plugin: "bridge", living: 1, gone: 0 });
      await node.removePod(pod);
      assert.deepEqual((await status(node)).attachments, []);
    });

    test("a broken file that comes first costs it the network, and status names the file", async () => {
      await using node = await startContainerd({ release });
      node.configure("10-first.conflist", JSON.stringify(FIRST));
      for (let ready = false; !ready; ready = (await status(node)).runtime.networkReady);
      node.configure("05-broken.conflist", "{");
      for (let ready = true; ready; ready = (await status(node)).runtime.networkReady);
      const report = await status(node);
      assert.deepEqual(errors(report), ["runtime-not-ready", "runtime-load-failed", "no-network", "config-invalid"]);
      assert.equal(
        report.findings.find(({ code }) => code === "config-invalid")?.path,
        "/etc/cni/net.d/05-broken.conflist",
      );
    });

    test("a file that was moved in from another directory is not noticed by it, but by status", async () => {
      await using node = await startContainerd({ release });
      node.configure("10-first.conflist", JSON.stringify(FIRST));
      for (let ready = false; !ready; ready = (await status(node)).runtime.networkReady);
      const elsewhere = join(node.host, "etc/cni/second");
      fs.writeFileSync(elsewhere, JSON.stringify({ ...FIRST, name: "second" }));
      fs.renameSync(elsewhere, join(node.host, "etc/cni/net.d/05-second.conflist"));
      const { findings, networks } = await status(node);
      assert.equal(networks[0]?.file, "05-second.conflist");
      assert.ok(
        findings.some(({ code }) => code === "runtime-stale"),
        JSON.stringify(findings),
      );
    });
  });
}
