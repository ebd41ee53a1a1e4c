/** Containers of real runtimes are found in the state that these keep on the disk. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

import { BUNDLE, endOf, type Ran } from "../helpers/node.ts";
import { Recorder } from "../helpers/recorder.ts";
import { cannotStart, startDocker, startPodman, type Engine } from "../image/engines.ts";
import { cannotStart as cannotStartPods, startContainerd, type Containerd, type Pod } from "../runtime/containerd.ts";

/** A network of a recording plugin, in files that the namespaces of an engine share with this process. */
class Network implements Disposable {
  readonly plugins: Recorder = new Recorder(["first"]);
  readonly command: string;

  constructor() {
    const file = join(this.plugins.root, "net.conflist");
    fs.writeFileSync(file, JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "first" }] }));
    const options = [`--plugin-dir=${this.plugins.bin}`, `--cache-dir=${this.plugins.cacheDir}`, "--host-root=/"];
    this.command = `${process.execPath} ${BUNDLE} network VERB --file=${file} ${options.join(" ")}`;
  }

  async run(engine: Engine, verb: string, target: string): Promise<Ran> {
    const command = verb === "gc" ? this.command.replace(/--file=\S+/u, "") : this.command;
    return engine.sh(`${command.replace("VERB", verb)} ${target}`);
  }

  [Symbol.dispose](): void {
    this.plugins[Symbol.dispose]();
  }
}

/** Adds, checks and deletes by all names that the container has, and after its end. */
async function followContainer(engine: Engine, kind: "docker" | "podman"): Promise<void> {
  using network = new Network();
  // Podman's wrapper says so itself.
  const none = kind === "docker" ? "--network=none" : "";
  const run = `docker run --detach ${none} --name web --entrypoint /usr/bin/busybox cni-node sleep 1000`;
  const started = await engine.sh(run);
  assert.equal(started.exitCode, 0, started.stderr);
  const id = started.stdout.trim();
  const { stdout: pid } = await engine.sh("docker inspect --format '{{.State.Pid}}' web");
  for (const name of ["web", id, id.slice(0, 12)]) {
    const { exitCode, stderr } = await network.run(engine, "add", `${kind}:${name}`);
    assert.equal(exitCode, 0, stderr);
    const [call] = network.plugins.take();
    assert.deepEqual([call?.containerId, call?.netns, call?.ifName], [id, `/proc/${pid.trim()}/ns/net`, "eth0"]);
    assert.equal((await network.run(engine, "del", `${kind}:${name}`)).exitCode, 0);
    network.plugins.take();
  }
  for (const name of ["we", "other", ""]) {
    const { exitCode, stderr } = await network.run(engine, "add", `${kind}:${name}`);
    assert.equal(exitCode, 1);
    assert.match(stderr, /there is no such container/u);
  }

  assert.equal((await network.run(engine, "add", `${kind}:web`)).exitCode, 0);
  if (kind === "docker") {
    const host = await engine.sh(run.replace("--network=none --name web", "--network=host --name host"));
    assert.equal(host.exitCode, 0, host.stderr);
    assert.match((await network.run(engine, "add", "docker:host")).stderr, /this is the network of the host itself/u);
  }
  network.plugins.take();

  // Gone, it is found by what was remembered; plugins are not told where it was.
  assert.equal((await engine.sh("docker rm --force web")).exitCode, 0);
  assert.match((await network.run(engine, "add", `${kind}:web`)).stderr, /there is no such container/u);
  const deleted = await network.run(engine, "del", `${kind}:web`);
  assert.equal(deleted.exitCode, 0, deleted.stderr);
  assert.deepEqual(
    network.plugins.take().map((call) => [call.command, call.containerId, call.netns]),
    [["DEL", id, ""]],
  );
  assert.equal((await network.run(engine, "del", `${kind}:web`)).exitCode, 1);
}

describe("a container", { skip: cannotStart }, () => {
  test("of Docker is found by its name and its ID", async () => {
    await using engine = await startDocker();
    const settings = JSON.stringify({ "data-root": join(dirname(engine.work), "data") });
    await engine.sh(`mkdir -p /etc/docker; printf '%s' '${settings}' > /etc/docker/daemon.json`);
    await followContainer(engine, "docker");
  });

  test("of Podman is found by its name and its ID", async () => {
    await using engine = await startPodman();
    const directory = dirname(engine.work);
    const places = [
      [join(directory, "images"), "/var/lib/containers/storage"],
      [join(directory, "run"), "/run/containers/storage"],
    ];
    const mounts = places.map(([from, to]) => `mkdir -p ${to}; mount --bind ${from} ${to}`);
    const { exitCode, stderr } = await engine.sh(["mount -t tmpfs none /var/lib", ...mounts].join("; "));
    assert.equal(exitCode, 0, stderr);
    await followContainer(engine, "podman");
  });
});

describe("a pod", { skip: cannotStartPods }, () => {
  for (const release of ["debian", "2"] as const) {
    test(`of containerd (${release}) gets a second interface, and what it had is released when it is gone`, async () => {
      await using containerd = await startContainerd({ release });
      const ipam = (subnet: string): object => ({ type: "host-local", subnet, routes: [{ dst: "10.0.0.0/8" }] });
      const network = (name: string, bridge: string, subnet: string): string => {
        const plugin = { type: "bridge", bridge, isGateway: true, ipam: ipam(subnet) };
        return JSON.stringify({ cniVersion: "1.0.0", name, plugins: [plugin] });
      };
      containerd.configure("10-pods.conflist", network("pods", "cni0", "10.3.0.0/24"));
      const pod = await untilPod(containerd);
      containerd.configure("20-second.conflist", network("second", "cni1", "10.4.0.0/24"));
      const run = async (...words: string[]): Promise<Ran> => {
        return endOf(containerd.spawn([process.execPath, BUNDLE, "network", ...words, "--host-root=/"]));
      };

      const added = await run("add", "second", `pod:default/${pod.name}`, "--output=json");
      assert.equal(added.exitCode, 0, added.stderr);
      const { attachment } = JSON.parse(added.stdout) as { attachment: Record<string, string> };
      assert.deepEqual([attachment["containerId"], attachment["ifName"]], [pod.id, "eth1"]);
      const shown = await endOf(
        containerd.spawn(["nsenter", `--net=${attachment["netns"]}`, "ip", "-brief", "-4", "address"]),
      );
      assert.match(shown.stdout, new RegExp(`^eth0.* ${pod.ip}/24[^]*^eth1.* 10\\.4\\.0\\.2/24`, "mu"));
      assert.match(
        (await run("list", "--attachments")).stdout,
        /^pods +eth0 .* others .*\nsecond +eth1 .* cni-node .*pod:default\/pod-\d+$/mu,
      );
      assert.match((await run("gc")).stdout, /^kept /u);
      for (const target of ["pod:default/pod-9", `pod:other/${pod.name}`]) {
        assert.match((await run("add", "second", target)).stderr, /has no attachment of such a pod that is running/u);
      }

      await containerd.removePod(pod);
      assert.match((await run("gc")).stdout, /^deleted {5}second {2}\S+ {2}eth1\n$/u);
      assert.equal((await run("gc")).stdout, "nothing to do\n");
      assert.doesNotMatch(fs.readdirSync(join(containerd.host, "var/lib/cni/networks/second")).join(), /10\.4/u);
    });
  }
});

/** The runtime has to see its configuration first. Returns the pod, and its name. */
async function untilPod(containerd: Containerd): Promise<Pod & { name: string }> {
  for (let tries = 1; ; tries++) {
    try {
      return { ...(await containerd.runPod()), name: `pod-${tries}` };
    } catch (error) {
      if (!String(error).includes("cni plugin not initialized")) throw error;
    }
  }
}
