/** The image by Podman: what the README shows for Docker, as far as an engine could make a difference. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { problemsOf } from "../helpers/state.ts";
import { assertStops, cannotStart, startPodman, type Engine } from "../image/engines.ts";

const MOUNTS = ["-v", "/opt/cni/bin:/host/opt/cni/bin", "-v", "/etc/cni/net.d:/host/etc/cni/net.d"];

suite("the image, run by Podman", { skip: cannotStart }, () => {
  let engine: Engine;
  let bin: string;
  let netd: string;

  before(async () => {
    engine = await startPodman();
    bin = join(engine.host, "opt/cni/bin");
    netd = join(engine.host, "etc/cni/net.d");
    for (const directory of [bin, netd]) fs.mkdirSync(directory, { recursive: true });
  });
  after(async () => engine[Symbol.asyncDispose]());

  test("prints its usage, and lists its plugins", async () => {
    assert.equal((await engine.run([])).exitCode, 2);
    const { exitCode, stdout } = await engine.run([], "list");
    assert.equal(exitCode, 0);
    assert.ok(stdout.split("\n").includes("multus-cni"));
  });

  test("installs and uninstalls, with a root file system that is read-only and no capability", async () => {
    const bare = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", ...MOUNTS];
    fs.writeFileSync(join(engine.work, "05-a.conf"), '{"cniVersion":"1.0.0","name":"a","type":"bridge"}\n');
    const options = [...bare, "-v", `${engine.work}:/etc/cni/net.d:ro`];
    const words = ["--plugins=bridge,multus-cni", "--configs=05-a.conf"];
    const installed = await engine.run(options, "install", ...words);
    assert.deepEqual([installed.exitCode, installed.stderr], [0, ""]);
    assert.deepEqual(fs.readdirSync(bin), [".cni-node", "bridge", "multus-cni"]);
    assert.deepEqual(fs.readdirSync(netd), [".cni-node", "05-a.conf"]);
    assert.deepEqual(problemsOf(bin), []);
    const away = await engine.run(options, "uninstall", ...words);
    assert.equal(away.exitCode, 0, away.stderr);
    assert.deepEqual([fs.readdirSync(bin), fs.readdirSync(netd)], [[], []]);
  });

  test("names the directory that is not mounted", async () => {
    const ran = await engine.run([], "install", "--plugins=bridge");
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /\/host\/opt\/cni\/bin: .*no directory of the node is mounted/u);
  });

  test("with --pause stays, and ends with 0 when it is stopped", async () => {
    const words = `${MOUNTS.join(" ")} cni-node install --plugins=vlan --pause`;
    const started = await engine.sh(`docker run --detach --name stays ${words}`);
    assert.equal(started.exitCode, 0, started.stderr);
    await engine.logged("stays", /created {5}plugin {4}vlan/u);
    assert.equal((await engine.sh("docker stop stays")).exitCode, 0);
    assert.equal((await engine.sh("docker inspect --format '{{.State.ExitCode}}' stays")).stdout, "0\n");
    assert.deepEqual(fs.readdirSync(bin), [".cni-node", "vlan"]);
  });

  test("[R2] stopped at once, before Node.js has started, it ends by the signal", async () => {
    await assertStops(engine, ["cni-node", "--entrypoint=cni-node cni-node"], ["0", "0.02", "0.05", "0.1"]);
  });
});
