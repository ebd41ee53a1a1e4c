/** Routes between nodes that are network namespaces on one bridge, with pods in namespaces behind them. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { readExposition } from "./helpers/exposition.ts";
import { cannotMount, Namespace } from "./helpers/namespace.ts";
import { BUNDLE, endOf, TestNode, until, type Ran } from "./helpers/node.ts";
import { kubeconfigIn, type Command, type TestNodeObject } from "./helpers/nodes-api.ts";
import { reportOf } from "./helpers/report.ts";
import { assertApproved, cannotRunScript, onTerminal, shown } from "./helpers/terminal.ts";
import { inside, seenAs } from "./helpers/traffic.ts";

const API = fileURLToPath(new URL("helpers/nodes-api.ts", import.meta.url));

/** The Node with this number, of both families. */
function nodeObject(number: number, more: Partial<TestNodeObject> = {}): TestNodeObject {
  return {
    name: `n${number}`,
    podCidrs: [`10.244.${number}.0/24`, `fd00:244:${number}::/64`],
    addresses: [`192.0.2.${number}`, `2001:db8::${number}`],
    ...more,
  };
}

/** A node, and a pod on it. */
interface Member {
  node: Namespace;
  pod: Namespace;
}

/** A bridge with an API server, and nodes. */
class Lab implements AsyncDisposable {
  readonly #hub: Namespace;
  readonly #files = new TestNode();
  readonly #stack = new AsyncDisposableStack();
  #server: ChildProcess | undefined;

  private constructor(hub: Namespace) {
    this.#hub = this.#stack.use(hub);
  }

  static async make(): Promise<Lab> {
    const bridge = `ip link add br0 type bridge
      ip addr add 192.0.2.254/24 dev br0
      ip link set br0 up
      ip addr add 198.51.100.1/32 dev lo
      ip -6 addr add 2001:db8::fe/64 dev br0 nodad
      ip -6 addr add 2001:db8:ffff::1/128 dev lo nodad`;
    await using begun = new AsyncDisposableStack();
    const lab = begun.use(new Lab(await Namespace.make(bridge, { net: true })));
    await lab.serve([]);
    begun.move();
    return lab;
  }

  /** Starts the API server with these Nodes. */
  async serve(nodes: readonly TestNodeObject[]): Promise<void> {
    const server = this.#hub.spawn([process.execPath, API, "192.0.2.254", "8080"]);
    this.#server = server;
    await once(server.stdout ?? server, "data");
    for (const put of nodes) await this.api({ put });
  }

  async stopServing(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    const ended = once(server, "exit");
    server.stdin?.end();
    await ended;
    this.#server = undefined;
  }

  async api(command: Command): Promise<void> {
    this.#server?.stdin?.write(`${JSON.stringify(command)}\n`);
    if (this.#server?.stdout) await once(this.#server.stdout, "data");
  }

  /** What is outside the cluster: it knows no pods. */
  get outside(): Namespace {
    return this.#hub;
  }

  /** Adds a node with its pod. */
  async member(number: number): Promise<Member> {
    const node = this.#stack.use(await Namespace.make("", { net: true }));
    const pod = this.#stack.use(await Namespace.make("", { net: true }));
    this.#hub.sh(`ip link add v${number} type veth peer name eth0 netns ${pidOf(node)}
      ip link set v${number} master br0 up`);
    node.sh(`ip addr add 192.0.2.${number}/24 dev eth0
      ip link set eth0 up
      ip -6 addr add 2001:db8::${number}/64 dev eth0 nodad
      ip route add default via 192.0.2.254
      ip -6 route add default via 2001:db8::fe
      echo 1 >/proc/sys/net/ipv4/ip_forward
      echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
      ip link add pod0 type veth peer name eth0 netns ${pidOf(pod)}
      ip link set pod0 up
      ip addr add 10.244.${number}.1/24 dev pod0
      ip -6 addr add fd00:244:${number}::1/64 dev pod0 nodad`);
    pod.sh(`ip link set eth0 up
      ip addr add 10.244.${number}.2/24 dev eth0
      ip -6 addr add fd00:244:${number}::2/64 dev eth0 nodad
      ip route add default via 10.244.${number}.1
      ip -6 route add default via fd00:244:${number}::1`);
    return { node, pod };
  }

  get #words(): string[] {
    return [`--kubeconfig=${kubeconfigIn(this.#files.root, "http://192.0.2.254:8080")}`];
  }

  async routes({ node }: Member, ...words: string[]): Promise<Ran> {
    return node.bundle(["routes", ...words, ...this.#words]);
  }

  /** What a terminal on a node shows of it. */
  async screen({ node }: Member, columns: number, ...words: string[]): Promise<string> {
    const access = words[0] === "remove" ? [] : this.#words;
    const command = [process.execPath, BUNDLE, "routes", ...words, ...access];
    return shown(await onTerminal(["nsenter", ...node.entrance, ...command], columns));
  }

  /** Starts `routes sync --follow` on a node. */
  follow({ node }: Member, ...words: string[]): Follower {
    const follower = new Follower(node.start(["routes", "sync", "--follow", ...words, ...this.#words]));
    this.#stack.use(follower);
    return follower;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopServing();
    await this.#stack.disposeAsync();
    this.#files[Symbol.dispose]();
  }
}

class Follower implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #end: Promise<Ran>;

  constructor(process: ChildProcess) {
    this.#process = process;
    this.#end = endOf(process);
  }

  async stop(): Promise<Ran> {
    this.#process.kill("SIGTERM");
    return this.#end;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function pidOf({ entrance }: Namespace): string {
  return (/--target=(\d+)/u.exec(entrance.join(" ")) ?? [])[1] ?? "";
}

/** The routes of cni-node on a node, sorted. */
function ownRoutes({ node }: Member): string[] {
  return ["-4", "-6"]
    .flatMap((family) => inside(node, "ip", family, "route", "show", "proto", "75").stdout.split("\n"))
    .map((line) => line.split(" ").slice(0, 3).join(" "))
    .filter((line) => line !== "")
    .toSorted();
}

function routesTo(...numbers: number[]): string[] {
  return numbers
    .flatMap((number) => [
      `10.244.${number}.0/24 via 192.0.2.${number}`,
      `fd00:244:${number}::/64 via 2001:db8::${number}`,
    ])
    .toSorted();
}

async function hasRoutes(member: Member, expected: readonly string[]): Promise<void> {
  await until(() => ownRoutes(member).join() === expected.join());
}

/** What a process on a node answers; empty: nothing does. */
async function ask({ node }: Member, path: string): Promise<string> {
  const script = `fetch("http://127.0.0.1:9157${path}").then(async (answer) => process.stdout.write(await answer.text()))`;
  return (await endOf(node.spawn([process.execPath, "-e", script]))).stdout;
}

async function untilSo(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 1; !(await condition()); tries++) {
    if (tries > 300) throw new Error(`it is not so: ${String(condition)}`);
    await sleep(100);
  }
}

function assertPings({ pod }: Member, number: number): void {
  for (const address of [`10.244.${number}.2`, `fd00:244:${number}::2`]) {
    assert.equal(inside(pod, "ping", "-c1", "-W5", address).status, 0, `ping ${address}`);
  }
}

suite("routes between nodes", { skip: cannotMount, concurrency: 3 }, () => {
  test("pods reach each other both ways, of both families; a second run changes nothing", async () => {
    await using lab = await Lab.make();
    const [a, b] = [await lab.member(1), await lab.member(2)];
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    assert.notEqual(inside(a.pod, "ping", "-c1", "-W1", "10.244.2.2").status, 0);
    for (const member of [a, b]) {
      const ran = await lab.routes(member, "sync");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.equal(ran.stderr, "");
      assert.match(ran.stdout, /^created +10\.244\.\d\.0\/24 +via 192\.0\.2\.\d +dev eth0 +n\d$/mu);
    }
    assert.deepEqual([ownRoutes(a), ownRoutes(b)], [routesTo(2), routesTo(1)]);
    assertPings(a, 2);
    assertPings(b, 1);
    const again = reportOf(await lab.routes(a, "sync", "--output=json"));
    assert.deepEqual(
      (again["routes"] as { state: string }[]).map(({ state }) => state),
      ["unchanged", "unchanged"],
    );
  });

  test("have the approved screens, with no line that is wider", { skip: cannotRunScript }, async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    await lab.api({
      put: nodeObject(3, { name: "worker-in-another-rack.site-b.example.org", addresses: ["203.0.113.3"] }),
    });
    for (const columns of [60, 80, 120]) {
      for (const [name, words] of [
        ["routes", []],
        ["routes-sync", ["sync"]],
        ["routes-remove", ["remove"]],
      ] as const) {
        assertApproved(name, columns, await lab.screen(a, columns, ...words));
      }
    }
  });

  test("are printed and not set by routes; its commands set them", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    const ran = await lab.routes(a, "--output=commands");
    assert.equal(
      ran.stdout,
      "ip route replace 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 75\n" +
        "ip route replace fd00:244:2::/64 via 2001:db8::2 dev eth0 proto 75\n",
    );
    assert.deepEqual(ownRoutes(a), []);
    const report = reportOf(await lab.routes(a, "--output=json"));
    assert.deepEqual((report["routes"] as object[])[0], {
      state: "missing",
      destination: "10.244.2.0/24",
      gateway: "192.0.2.2",
      interface: "eth0",
      node: "n2",
    });
    a.node.sh(ran.stdout);
    assert.deepEqual(ownRoutes(a), routesTo(2));
    assert.match((await lab.routes(a)).stdout, /^set +10\.244\.2\.0\/24/mu);
  });

  test("follow Nodes that are added, change and are deleted; what is not ready stays", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    const follower = lab.follow(a);
    await hasRoutes(a, routesTo(2));
    const c = await lab.member(3);
    await lab.api({ put: nodeObject(3) });
    await hasRoutes(a, routesTo(2, 3));
    await lab.routes(c, "sync");
    assertPings(a, 3);
    await lab.api({ put: nodeObject(2, { ready: false }) });
    await lab.api({ put: nodeObject(3, { addresses: ["192.0.2.33", "2001:db8::3"] }) });
    const moved = routesTo(2, 3).map((line) => line.replace("via 192.0.2.3", "via 192.0.2.33"));
    await hasRoutes(a, moved);
    await lab.api({ put: nodeObject(3, { podCidrs: ["10.244.30.0/24"] }) });
    await hasRoutes(a, [...routesTo(2), "10.244.30.0/24 via 192.0.2.3"].toSorted());
    await lab.api({ delete: "n3" });
    await hasRoutes(a, routesTo(2));
    const { stderr } = await follower.stop();
    assert.equal(stderr, "");
    assert.deepEqual(ownRoutes(a), routesTo(2), "they stay afterwards");
  });

  test("come back if somebody removes them, stay while the API is away, and are taken over by the next process", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    const nodes = [1, 2, 3].map((number) => nodeObject(number));
    for (const put of nodes) await lab.api({ put });
    const follower = lab.follow(a);
    await hasRoutes(a, routesTo(2, 3));
    await lab.stopServing();
    a.node.sh("ip route del 10.244.2.0/24");
    await hasRoutes(a, routesTo(2, 3));
    await follower.stop();
    // n3 is deleted while nobody looks.
    await lab.serve(nodes.slice(0, 2));
    lab.follow(a);
    await hasRoutes(a, routesTo(2));
    await lab.api({ expire: true });
    await lab.api({ put: nodeObject(3) });
    await hasRoutes(a, routesTo(2, 3));
  });

  test("health and metrics say whether they are set; while the API is away they stay ready", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    await lab.stopServing();
    lab.follow(a, "--listen=127.0.0.1:9157");
    const ready = async (): Promise<string> => (await ask(a, "/readyz?verbose")).trim();
    await untilSo(async () => (await ask(a, "/livez")) === "ok");
    assert.match(await ready(), /^\[-\]nodes-known failed[^\n]*\n\[-\]routes-set failed[^\n]*\nreadyz check failed$/u);
    await lab.serve([nodeObject(1), nodeObject(2)]);
    await untilSo(async () => (await ask(a, "/readyz")) === "ok");
    const metrics = readExposition(await ask(a, "/metrics"));
    const value = (name: string, label?: string): number | undefined =>
      metrics.get(name)?.samples.find(({ labels }) => label === undefined || Object.values(labels).includes(label))
        ?.value;
    assert.deepEqual([value("cni_node_routes"), value("cni_node_routes_nodes"), value("cni_node_ready")], [2, 2, 1]);
    assert.deepEqual(
      ["add", "remove"].map((action) => value("cni_node_routes_changes_total", action)),
      [2, 0],
    );
    await lab.api({ delete: "n1" });
    await untilSo(async () => (await ready()).includes("[-]routes-set failed"));
    assert.equal(await ask(a, "/livez"), "ok");
    assert.deepEqual(ownRoutes(a), routesTo(2), "what was set stays if this node is not among the Nodes");
    await lab.api({ put: nodeObject(1) });
    await untilSo(async () => (await ask(a, "/readyz")) === "ok");
    await lab.stopServing();
    a.node.sh("ip route del 10.244.2.0/24");
    await hasRoutes(a, routesTo(2));
    assert.equal(await ask(a, "/readyz"), "ok");
  });

  test("of others are never changed, and are said", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    const foreign = ["10.244.2.0/24 via 192.0.2.99 dev eth0", "10.99.0.0/16 via 192.0.2.99 dev eth0"];
    for (const route of foreign) a.node.sh(`ip route add ${route}`);
    const ran = await lab.routes(a, "sync");
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stderr, /warning: 10\.244\.2\.0\/24: another program has set this route/u);
    const { stdout } = inside(a.node, "ip", "-4", "route", "show");
    for (const route of foreign) assert.ok(stdout.includes(route));
    assert.deepEqual(ownRoutes(a), ["fd00:244:2::/64 via 2001:db8::2"]);
    const { stdout: commands } = await lab.routes(a, "--output=commands");
    assert.equal(commands, "ip route replace fd00:244:2::/64 via 2001:db8::2 dev eth0 proto 75\n");
  });

  test("no Node takes the node's network down, whatever it claims", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    const bad = ["0.0.0.0/0", "::/0", "192.0.2.0/24", "10.244.0.0/16", "10.244.1.0/24", "127.0.0.0/8", "x; reboot"];
    for (const [index, cidr] of bad.entries()) {
      await lab.api({ put: nodeObject(50 + index, { podCidrs: [cidr] }) });
    }
    const ran = await lab.routes(a, "sync");
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(ownRoutes(a), routesTo(2));
    for (const [index] of bad.entries()) assert.match(ran.stderr, new RegExp(`warning: Node n${50 + index}: `, "u"));
    assert.doesNotMatch(ran.stderr, /reboot/u);
  });

  test("where there is none to set, the reason is said", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    await lab.api({ put: nodeObject(1) });
    for (const words of [[], ["sync"]]) {
      assert.equal((await lab.routes(a, ...words)).stdout, "this node needs no routes: there is no other Node\n");
    }
    await lab.api({ put: nodeObject(2, { podCidrs: [] }) });
    assert.equal((await lab.routes(a, "sync")).stdout, "no route can be set: see the warning\n");
    await lab.api({ put: nodeObject(2) });
    const ran = await lab.routes(a, "sync", "--pod-cidrs=10.98.0.0/16");
    assert.equal(ran.stdout, "no route can be set: see the 2 warnings\n");
    assert.match(ran.stderr, /10\.244\.2\.0\/24 gets no route: it is outside of --pod-cidrs/u);
    assert.deepEqual(ownRoutes(a), []);
  });

  test("what was not done when ip ended early is not reported as done", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    a.node.sh(`real=$(readlink -f "$(command -v ip)")
      mount -t tmpfs none /run
      cp "$real" /run/ip
      printf '%s\\n' '#!/bin/sh' 'case "$*" in *-batch*) ;; *) exec /run/ip "$@" ;; esac' \\
        'printf "RTNETLINK answers: File exists\\nCommand failed -:1\\n" >&2' 'kill -9 $$' >/run/script
      chmod +x /run/script
      mount --bind /run/script "$real"`);
    const ran = await lab.routes(a, "sync", "--output=json");
    assert.equal((reportOf(ran)["error"] as { code: string }).code, "iproute-failed");
    assert.deepEqual(reportOf(ran)["routes"], undefined);
  });

  test("nothing is removed where the node does not find itself among the Nodes", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    await lab.routes(a, "sync");
    await lab.api({ delete: "n1" });
    const ran = await lab.routes(a, "sync", "--output=json");
    assert.equal((reportOf(ran)["error"] as { code: string }).code, "own-node-unknown");
    assert.deepEqual(ownRoutes(a), routesTo(2));
    await lab.api({ put: nodeObject(1) });
    await lab.api({ put: nodeObject(3, { addresses: ["192.0.2.3", "2001:db8::3", "192.0.2.1"] }) });
    const several = await lab.routes(a, "sync");
    assert.match(several.stderr, /several Nodes .*: n1, n3; no route was changed.*--node-name/su);
    assert.deepEqual(ownRoutes(a), routesTo(2));
    assert.equal((await lab.routes(a, "sync", "--node-name=n1")).exitCode, 0);
    assert.deepEqual(ownRoutes(a), routesTo(2, 3));
  });

  test("pods have the node's address outside the cluster only; rules that somebody removes come back; remove takes all away", async () => {
    await using lab = await Lab.make();
    const [a, b] = [await lab.member(1), await lab.member(2)];
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    const outside = ["198.51.100.1", "2001:db8:ffff::1"];
    const nobody = await Promise.all(outside.map(async (address) => seenAs(a.pod, lab.outside, address)));
    assert.deepEqual(nobody, ["", ""], "nobody outside knows the way to pods");
    await lab.routes(b, "sync");
    const ran = await lab.routes(a, "sync", "--masquerade");
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /^created +10\.244\.1\.0\/24 +masquerade$/mu);
    const again = reportOf(await lab.routes(a, "sync", "--masquerade", "--output=json"));
    assert.deepEqual(again["masquerade"], [
      { family: "ipv4", state: "unchanged", sources: ["10.244.1.0/24"] },
      { family: "ipv6", state: "unchanged", sources: ["fd00:244:1::/64"] },
    ]);
    const hidden: [at: Namespace, address: string, seen: string][] = [
      [lab.outside, "198.51.100.1", "192.0.2.1"],
      [lab.outside, "2001:db8:ffff::1", "2001:db8::1"],
      [lab.outside, "192.0.2.254", "192.0.2.1"],
      [b.pod, "10.244.2.2", "10.244.1.2"],
      [b.pod, "fd00:244:2::2", "fd00:244:1::2"],
      [b.node, "192.0.2.2", "10.244.1.2"],
      [b.node, "2001:db8::2", "fd00:244:1::2"],
      [a.node, "192.0.2.1", "10.244.1.2"],
    ];
    for (const [at, address, seen] of hidden) assert.equal(await seenAs(a.pod, at, address), seen, address);
    assert.equal(await seenAs(a.node, lab.outside, "198.51.100.1"), "192.0.2.1");
    // What pods are to reach with their own addresses.
    await lab.routes(a, "sync", "--masquerade", "--non-masquerade-cidrs=198.51.100.7/24");
    assert.equal(await seenAs(a.pod, lab.outside, "198.51.100.1"), "");
    const follower = lab.follow(a, "--masquerade");
    await until(() => inside(a.pod, "ping", "-c1", "-W1", "198.51.100.1").status === 0);
    const rules = (program: string): string => inside(a.node, `${program}-save`, "-t", "nat").stdout;
    const whole = rules("iptables").replaceAll(/^#.*|\[.*\]$/gmu, "");
    for (const damage of ["-F", "-F POSTROUTING", "-F CNI-NODE-MASQUERADE", "-A CNI-NODE-MASQUERADE -j RETURN"]) {
      a.node.sh(`iptables -t nat ${damage}`);
      await until(() => rules("iptables").replaceAll(/^#.*|\[.*\]$/gmu, "") === whole);
    }
    await lab.api({ put: nodeObject(1, { podCidrs: ["10.244.1.0/24"] }) });
    await until(() => !rules("ip6tables").includes("CNI-NODE"));
    await follower.stop();
    assert.equal(await seenAs(a.pod, lab.outside, "198.51.100.1"), "192.0.2.1", "they stay afterwards");
    const other = "-A POSTROUTING -s 10.98.0.0/16 -j MASQUERADE";
    a.node.sh(`iptables -t nat ${other}\nip route add 10.99.0.0/16 via 192.0.2.99`);
    const removed = await a.node.bundle(["routes", "remove"]);
    assert.equal(removed.exitCode, 0, removed.stderr);
    assert.match(removed.stdout, /^deleted +ipv4 +masquerade$/mu);
    assert.deepEqual(ownRoutes(a), []);
    assert.doesNotMatch(rules("iptables"), /CNI-NODE/u);
    assert.ok(rules("iptables").includes(other));
    assert.match(inside(a.node, "ip", "route", "show").stdout, /10\.99\.0\.0\/16/u);
    const nothing = await a.node.bundle(["routes", "remove"]);
    assert.deepEqual([nothing.exitCode, nothing.stdout], [0, "cni-node has set no routes\n"]);
  });

  test("routes are set even if iptables does not work", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    a.node.sh("mount --bind /bin/false $(readlink -f $(command -v iptables))");
    const report = await lab.routes(a, "sync", "--masquerade", "--output=json");
    assert.equal(report.exitCode, 4);
    assert.equal((reportOf(report)["findings"] as { code: string }[])[0]?.code, "masquerade-failed");
    assert.deepEqual(ownRoutes(a), routesTo(2));
  });

  /** Puts a script in the place of the program that iptables and ip6tables are, which is at /run/xtables then. */
  const replaceIptables = ({ node }: Member, script: string): void => {
    node.sh(`real=$(readlink -f "$(command -v iptables)")
      mount -t tmpfs none /run
      cp "$real" /run/xtables
      printf '%s\\n' '#!/bin/bash' '${script}' >/run/script
      chmod +x /run/script
      mount --bind /run/script "$real"`);
  };

  test("rules of one family are set even if those of the other one cannot be", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    replaceIptables(a, `[[ $0 != *ip6tables* ]] || exit 3; exec -a "$(basename "$0")" /run/xtables "$@"`);
    for (const state of ["created", "unchanged"]) {
      const ran = await lab.routes(a, "sync", "--masquerade", "--output=json");
      assert.equal(ran.exitCode, 4, ran.stderr);
      const { masquerade, findings } = reportOf(ran);
      assert.deepEqual(masquerade, [{ family: "ipv4", state, sources: ["10.244.1.0/24"] }]);
      assert.deepEqual(
        (findings as { code: string; path: string }[]).map(({ code, path }) => `${code} ${path}`),
        ["masquerade-failed ip6tables"],
      );
    }
  });

  test("rules that somebody removes as soon as they are set come back", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    replaceIptables(
      a,
      `as() { (exec -a "$1" /run/xtables "\${@:2}"); }
       as "$(basename "$0")" "$@" || exit
       case $0 in *iptables-restore) [ -e /run/once ] || { touch /run/once; as iptables -t nat -F; } ;; esac`,
    );
    lab.follow(a, "--masquerade");
    const whole = ["-A POSTROUTING -s 10.244.1.0/24", "-A CNI-NODE-MASQUERADE -j MASQUERADE"];
    const rules = (): string => inside(a.node, "iptables-save", "-t", "nat").stdout;
    await until(() => fs.existsSync(join(a.node.root, "run/once")) && whole.every((rule) => rules().includes(rule)));
  });

  for (const [what, script] of [
    ["a node without iptables", ""],
    ["a kernel without the table", "echo iptables: Table does not exist >&2; exit 3"],
  ] as const) {
    test(`routes are removed from ${what}`, async () => {
      await using lab = await Lab.make();
      const a = await lab.member(1);
      for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
      await lab.routes(a, "sync");
      replaceIptables(a, script);
      if (script === "") a.node.sh("chmod -x /run/script");
      const ran = await a.node.bundle(["routes", "remove"]);
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
      assert.deepEqual(ownRoutes(a), []);
    });
  }

  test("what keeps packets from being forwarded is said", async () => {
    await using lab = await Lab.make();
    const a = await lab.member(1);
    for (const number of [1, 2]) await lab.api({ put: nodeObject(number) });
    a.node.sh("echo 0 >/proc/sys/net/ipv4/ip_forward\niptables -P FORWARD DROP");
    const report = reportOf(await lab.routes(a, "--output=json"));
    const codes = (report["findings"] as { code: string }[]).map(({ code }) => code);
    assert.deepEqual(codes, ["forwarding-off", "forward-policy-drop"]);
  });
});
