/** The pod network of manifests/pod-network: three nodes, their Nodes in a real API server, pods by the real plugins. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotStart } from "../cluster/cluster.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { until } from "../helpers/node.ts";
import { type Machine, type Pod, PodNetwork, podCidrsOf } from "../helpers/pod-network.ts";
import { inside, seenAs } from "../helpers/traffic.ts";

async function createNode(network: PodNetwork, number: number, podCidrs = podCidrsOf(number)): Promise<void> {
  await network.createNode(`n${number}`, podCidrs, [`192.0.2.${number}`, `2001:db8::${number}`]);
}

suite("a pod network of several nodes", { skip: cannotMount || cannotStart }, () => {
  let network: PodNetwork;
  before(async () => {
    network = await PodNetwork.start();
  });
  after(async () => network[Symbol.asyncDispose]());

  async function member(number: number): Promise<{ machine: Machine; pod: Pod }> {
    const machine = await network.startMachine(number);
    machine.begin();
    await createNode(network, number);
    await machine.configured();
    return { machine, pod: await machine.pod(`pod-${number}`) };
  }

  async function reachEachOther(...pods: Pod[]): Promise<void> {
    for (const from of pods) for (const to of pods) if (from !== to) await until(() => from.reaches(to));
  }

  test("pods reach each other, and are seen as themselves by each other and as their node outside, whatever happens to nodes", async () => {
    const [one, two] = [await member(1), await member(2)];
    assert.deepEqual(
      one.pod.addresses.map((address) => address.replace(/[^.:]*$/u, "")),
      ["10.244.1.", "fd00:244:1::"],
    );
    await reachEachOther(one.pod, two.pod);
    for (const address of two.pod.addresses) {
      const own = one.pod.addresses.find((other) => other.includes(":") === address.includes(":"));
      assert.equal(await seenAs(one.pod, two.pod, address), own);
    }
    assert.equal(await seenAs(one.pod, network.outside, "198.51.100.1"), "192.0.2.1");
    assert.equal(await seenAs(one.pod, network.outside, "2001:db8:ffff::1"), "2001:db8::1");
    assert.equal(await seenAs(one.pod, two.machine.namespace, "192.0.2.2"), one.pod.addresses[0]);

    // A node is added.
    const three = await member(3);
    await reachEachOther(one.pod, two.pod, three.pod);

    // What keeps the network is killed, the API is away: pods go on, and what is broken meanwhile is repaired.
    await one.machine.end("SIGKILL");
    await network.cluster.killServer();
    await reachEachOther(one.pod, two.pod, three.pod);
    one.machine.namespace.sh("ip route del 10.244.2.0/24\niptables -t nat -F");
    two.machine.namespace.sh("ip -6 route del fd00:244:3::/64\niptables -t nat -F");
    await until(() => two.pod.reaches(three.pod));
    await network.cluster.startServer();
    one.machine.begin();
    await reachEachOther(one.pod, two.pod, three.pod);
    await until(() => inside(one.pod, "ping", "-c1", "-W1", "198.51.100.1").status === 0);

    // A node gets other networks: the Node is created anew, and so are the pods of DaemonSets on it.
    await network.deleteNode("n3");
    const routes = (): string => inside(one.machine.namespace, "ip", "route", "show", "proto", "75").stdout;
    await until(() => !routes().includes("10.244.3.0/24"));
    await three.machine.end();
    await createNode(network, 3, podCidrsOf(33));
    three.machine.begin();
    await three.machine.configured(podCidrsOf(33));
    const other = await three.machine.pod("pod-33");
    assert.match(other.addresses.join(), /^10\.244\.33\.\d+,fd00:244:33::\w+$/u);
    await reachEachOther(one.pod, two.pod, other);

    // A Node that claims the pods of others gets no traffic of theirs.
    await createNode(network, 99, podCidrsOf(2));
    await until(() => routes().includes("10.244.33.0/24"));
    assert.match(routes(), /^10\.244\.2\.0\/24 via 192\.0\.2\.2 /mu);
    await reachEachOther(one.pod, two.pod, other);

    // A machine restarts: its routes, rules and pods are gone, its disk is there.
    await two.machine[Symbol.asyncDispose]();
    const again = await network.startMachine(2);
    again.begin();
    const next = await again.pod("pod-2-again");
    await reachEachOther(one.pod, next, other);
    assert.equal(await seenAs(next, network.outside, "198.51.100.1"), "192.0.2.2");
  });

  test("the commands of docs/pod-network.md do by hand what it says", async () => {
    await using lab = await PodNetwork.start();
    const machines: Machine[] = [];
    for (const number of [1, 2, 3]) {
      await createNode(lab, number, podCidrsOf(number).slice(0, 1));
      machines.push(await lab.startMachine(number));
    }
    const document = fs.readFileSync(new URL("../../docs/pod-network.md", import.meta.url), "utf8");
    const blocks = Array.from(document.matchAll(/^```(\w+)\n([^]*?)^```$/gmu), ([, kind, text = ""]) => ({
      kind,
      text,
    }));
    const steps = blocks.flatMap(({ kind, text }, index) => {
      const [, where] = kind === "sh" ? (/^# on (every node|n1)\n/u.exec(text) ?? []) : [];
      const next = blocks[index + 1];
      return where === undefined ? [] : [{ where, text, output: next?.kind === "text" ? next.text : undefined }];
    });
    assert.ok(steps.length >= 6);
    for (const { where, text, output } of steps) {
      for (const [index, machine] of machines.slice(0, where === "n1" ? 1 : 3).entries()) {
        const cwd = join(lab.cluster.directory, `work-${index}`);
        fs.mkdirSync(cwd, { recursive: true });
        const { exitCode, stdout, stderr } = await machine.sh(text, cwd);
        assert.equal(exitCode, 0, `${text}\n${stdout}${stderr}`);
        if (output !== undefined) assert.ok(stdout.startsWith(output.replace(/(?:, time \d+ms\n)?…\n$/u, "")), stdout);
      }
    }
    const [first] = machines;
    const left = first?.namespace.root ?? "";
    assert.deepEqual(fs.readdirSync(join(left, "etc/cni/net.d")), []);
    assert.deepEqual(fs.readdirSync(join(left, "opt/cni/bin")), [".cni-node", "loopback"]);
  });
});
