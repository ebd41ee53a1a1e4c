/** Where plugins act: on the host, also from a container that sees the host's processes; else nowhere. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cannotMount, containerRoot } from "./helpers/namespace.ts";
import { NetworkHost, REFERENCE_PLUGINS } from "./helpers/network.ts";
import { BUNDLE, endOf, type Ran } from "./helpers/node.ts";

const skip = cannotMount;

/** A host whose /opt, /etc and /var/lib/cni are its own, with the network "net". */
async function makeHost(): Promise<NetworkHost> {
  const host = await NetworkHost.make();
  host.sh("mount -t tmpfs none /opt; mount -t tmpfs none /var/lib; mkdir -p /opt/cni/bin /var/lib/cni");
  host.sh(`cp ${REFERENCE_PLUGINS}/bridge ${REFERENCE_PLUGINS}/host-local /opt/cni/bin/`);
  const ipam = { type: "host-local", subnet: "10.7.0.0/24" };
  host.network("net", { type: "bridge", bridge: "cni7", isGateway: true, ipam });
  host.target("a");
  return host;
}

/** Runs the bundle in a container on the host, with a root, a network and mounts of its own. */
async function inContainer(
  host: NetworkHost,
  words: readonly string[],
  { pid = false, net = true, prefix = "", isMounted = true } = {},
): Promise<Ran> {
  const at = fs.mkdtempSync(join(host.plugins.root, "container-"));
  const { script, root } = containerRoot(at);
  const mount = isMounted ? `mount --bind /var/lib/cni ${root}/host/var/lib/cni` : "";
  // What a container engine does for a container with the host's processes, or with its own.
  const run = `${prefix} chroot ${root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin CNI_NODE_CONFIG_DIR=${host.netd} ${process.execPath} ${BUNDLE} network ${words.join(" ")}`;
  const shell = [
    "sh",
    "-ec",
    `${script}\nmkdir -p ${root}/host/var/lib/cni\n${mount}\ntouch ${root}/.dockerenv\n${run}`,
  ];
  const own = ["unshare", "--mount", ...(net ? ["--net"] : []), ...(pid ? ["--pid", "--fork"] : []), ...shell];
  const child = spawn("nsenter", [...host.namespace.entrance, ...own]);
  child.stdin.end();
  return endOf(child);
}

describe("from a container that sees the host's processes", { skip }, () => {
  test("plugins act on the host: its network, its files, its processes", async () => {
    await using host = await makeHost();
    const added = await inContainer(host, ["add", "net", "a"]);
    assert.equal(added.exitCode, 0, added.stderr);
    assert.match(host.sh("ip -o link show type bridge"), /cni7/u);
    assert.match(host.sh("ip -n a -o addr show dev eth0"), /10\.7\.0\.2\/24/u);
    assert.match(host.sh("ls /var/lib/cni/networks/net"), /10\.7\.0\.2/u);
    assert.match(host.sh("ls /var/lib/cni/results"), /^net-cnitool-\w+-eth0$/mu);
    assert.equal((await inContainer(host, ["check", "net", "a"])).exitCode, 0);
    assert.match(
      (await inContainer(host, ["list", "--attachments"])).stdout,
      /^net {2}eth0 {2}alive {2}10\.7\.0\.2 {2}cni-node/u,
    );

    const keeper = host.namespace.spawn(["unshare", "--net", "sh", "-c", "echo $$; cat"]);
    const [pid] = (await new Promise((resolve) =>
      keeper.stdout?.once("data", (data: Buffer) => resolve([String(data)])),
    )) as [string];
    const second = await inContainer(host, ["add", "net", `pid:${pid.trim()}`, "--output=text"]);
    assert.equal(second.exitCode, 0, second.stderr);
    const ended = endOf(keeper);
    keeper.stdin?.end();
    await ended;
    host.sh("ip netns delete a");
    // A network of the container's own could get the number of one that is gone.
    const collected = await inContainer(host, ["gc"], { net: false });
    assert.deepEqual(collected.stdout.match(/^deleted/gmu)?.length, 2, collected.stdout + collected.stderr);
    assert.doesNotMatch(host.sh("ls /var/lib/cni/networks/net"), /10\.7/u);
  });

  test("a path below --host-root is taken for the host's", async () => {
    await using host = await makeHost();
    const options = ["--host-root=/mnt", "--plugin-dir=/mnt/opt/cni/bin"];
    const { exitCode, stderr } = await inContainer(host, ["version", "net", ...options]);
    assert.equal(exitCode, 0, stderr);
  });

  test("it needs the directory of attachments, to add, and not to look", async () => {
    await using host = await makeHost();
    const { exitCode, stderr } = await inContainer(host, ["add", "net", "a"], { isMounted: false });
    assert.equal(exitCode, 1);
    assert.match(stderr, /^cni-node: \/var\/lib\/cni: .* is not mounted in this container\n {2}hint: mount it/u);
    const listed = await inContainer(host, ["list", "--attachments"], { isMounted: false });
    assert.equal(listed.stdout, "/proc/1/root/var/lib/cni has no attachment\n");
  });

  test("the host's own network is refused", async () => {
    await using host = await makeHost();
    assert.match((await inContainer(host, ["add", "net", "pid:1"])).stderr, /this is the network of the host itself/u);
  });

  test("what it may not do is said", async () => {
    await using host = await makeHost();
    const prefix = "setpriv --bounding-set=-sys_admin,-sys_ptrace --inh-caps=-all";
    const { exitCode, stderr } = await inContainer(host, ["add", "net", "a"], { prefix });
    assert.equal(exitCode, 1);
    assert.match(stderr, /^cni-node: host: .*lacks CAP_SYS_PTRACE, CAP_SYS_ADMIN\n {2}hint: /u);
  });
});

describe("from a container that does not see them", { skip }, () => {
  test("no plugin is run, and it says what is missing; what is configured can be listed", async () => {
    await using host = await makeHost();
    for (const words of [["add", "net", "a"], ["gc"], ["status", "net"]]) {
      const { exitCode, stdout, stderr } = await inContainer(host, words, { pid: true });
      assert.deepEqual([exitCode, stdout], [1, ""]);
      assert.match(stderr, /^cni-node: host: plugins would act on this container: .*\n {2}hint: .*--pid=host/u);
    }
    assert.match((await inContainer(host, ["list"], { pid: true })).stdout, /^net {2}1\.1\.0/u);
    assert.equal(host.sh("ip -o link show type bridge"), "");
  });
});

test("a named namespace that is made from a container is the host's", { skip }, async () => {
  await using host = await makeHost();
  const { exitCode, stderr } = await inContainer(host, ["add", "net", "new", "--new"]);
  assert.equal(exitCode, 0, stderr);
  assert.match(host.sh("ip -n new -o addr show dev eth0"), /10\.7\.0\./u);
});
