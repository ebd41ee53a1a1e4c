/** The pod network of manifests/pod-network: three nodes, their Nodes in a real API server, pods by the real plugins. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { cannotStart } from "../cluster/cluster.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { until } from "../helpers/node.ts";
import { type Machine, type Pod, PodNetwork, podCidrsOf } from "../helpers/pod-network.ts";
import { inside, seenAs } from "../helpers/traffic.ts";

suite("a pod network of several nodes", { skip: cannotMount || cannotStart }, () => {
  let network: PodNetwork;
  before(async () => {
    network = await PodNetwork.start();
  });
  after(async () => network[Symbol.asyncDispose]());

  async function member(number: number): Promise<{ machine: Machine; pod: Pod }> {
    const machine = await network.startMachine(number);
    machine.begin();
    await network.createNode(number);
    await machine.configured();
    return { machine, pod: await machine.pod(`pod-${number}`) };
  }

  async function reachEachOther(...pods: Pod[]): Promise<void> {
    for (const from of pods) for (const to of pods) await until(() => from.reaches(to));
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
    one.machine.namespace.sh("ip route del 10.244.2.0/24\nnft flush ruleset");
    two.machine.namespace.sh("ip -6 route del fd00:244:3::/64\nnft flush ruleset");
    await until(() => two.pod.reaches(three.pod));
    await network.cluster.startServer();
    one.machine.begin();
    await reachEachOther(one.pod, two.pod, three.pod);
    await until(() => inside(one.pod, "ping", "-c1", "-W1", "198.51.100.1").status === 0);

    // A node gets other networks: the Node is created anew.
    await network.deleteNode(3);
    const routes = (): string => inside(one.machine.namespace, "ip", "route", "show", "proto", "75").stdout;
    await until(() => !routes().includes("10.244.3.0/24"));
    await network.createNode(3, podCidrsOf(33));
    await three.machine.configured(podCidrsOf(33));
    const other = await three.machine.pod("pod-33");
    assert.match(other.addresses.join(), /^10\.244\.33\.\d+,fd00:244:33::\w+$/u);
    await reachEachOther(one.pod, two.pod, other);

    // A Node that claims the pods of others gets no traffic of theirs.
    await network.createNode(99, podCidrsOf(2));
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
});
