/** Which routes a node needs, as tables. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { findAccess } from "../../src/cluster/access.ts";
import { Channel } from "../../src/cluster/channel.ts";
import { ListWatch } from "../../src/cluster/list-watch.ts";
import { ALL_NODES, type FoundNode } from "../../src/cluster/node.ts";
import {
  ipCommandOf,
  nameServersIn,
  neededRoutes,
  stepsFor,
  type PresentRoute,
  type NodeNetwork,
} from "../../src/routes/plan.ts";
import { merged, overlaps, readAddress, readNetwork, readNetworkOf } from "../../src/routes/prefix.ts";
import { until } from "../helpers/node.ts";
import { NodesApi } from "../helpers/nodes-api.ts";

const HERE: NodeNetwork = {
  nodeName: undefined,
  addresses: [
    { ifName: "eth0", cidr: "192.0.2.1/24" },
    { ifName: "eth1", cidr: "198.51.100.1/25" },
    { ifName: "eth0", cidr: "2001:db8::1/64" },
    { ifName: "cni0", cidr: "10.244.1.1/24" },
  ],
  podNetworks: [],
  others: [{ address: "203.0.113.10", what: "the address of the API" }],
  present: [],
};
const OWN = found("own", ["10.244.1.0/24", "fd00:1::/64"], ["192.0.2.1", "2001:db8::1"]);

function found(name: string, podCidrs: string[], addresses: string[], created = ""): FoundNode {
  return { name, podCidrs, addresses, created };
}

/** The routes as text, and the codes of findings. */
function planned(nodes: readonly FoundNode[], here: NodeNetwork = HERE): { routes: string[]; codes: string[] } {
  const { routes, findings } = neededRoutes([OWN, ...nodes], here);
  return {
    routes: routes.map(({ destination, gateway, ifName }) => `${destination} ${gateway} ${ifName}`),
    codes: findings.map(({ code }) => code),
  };
}

suite("the routes that a node needs", () => {
  const cases: [what: string, nodes: FoundNode[], routes: string[], codes: string[]][] = [
    ["none alone", [], [], []],
    [
      "one of each family",
      [found("b", ["10.244.2.0/24", "fd00:2::/64"], ["192.0.2.2", "2001:db8::2"])],
      ["10.244.2.0/24 192.0.2.2 eth0", "fd00:2::/64 2001:db8::2 eth0"],
      [],
    ],
    [
      "by the InternalIP that is on a link",
      [found("b", ["10.244.2.0/24"], ["203.0.113.5", "198.51.100.9"])],
      ["10.244.2.0/24 198.51.100.9 eth1"],
      [],
    ],
    ["in canonical form", [found("b", ["FD00:2:0::/64"], ["2001:DB8:0::2"])], ["fd00:2::/64 2001:db8::2 eth0"], []],
    ["not to a Node off the link", [found("b", ["10.244.2.0/24"], ["198.51.100.200"])], [], ["node-off-link"]],
    [
      "not without an address of the family",
      [found("b", ["fd00:2::/64"], ["192.0.2.2"])],
      [],
      ["node-address-missing"],
    ],
    ["not without a podCIDR", [found("b", [], ["192.0.2.2"])], [], ["node-without-cidr"]],
  ];
  for (const [what, nodes, routes, codes] of cases) {
    test(what, () => {
      assert.deepEqual(planned(nodes), { routes, codes });
    });
  }

  const refused: [cidr: string, code: string][] = [
    ["0.0.0.0/0", "pod-cidr-refused"],
    ["::/0", "pod-cidr-refused"],
    ["128.0.0.0/1", "pod-cidr-refused"],
    ["192.0.2.0/24", "pod-cidr-refused"],
    ["192.0.2.128/25", "pod-cidr-refused"],
    ["192.0.0.0/16", "pod-cidr-refused"],
    ["10.244.0.0/16", "pod-cidr-refused"],
    ["10.244.1.64/26", "pod-cidr-refused"],
    ["fd00:1::/64", "pod-cidr-refused"],
    ["203.0.113.0/24", "pod-cidr-refused"],
    ["127.0.0.0/24", "pod-cidr-refused"],
    ["169.254.0.0/16", "pod-cidr-refused"],
    ["fe80::/64", "pod-cidr-refused"],
    ["10.244.2.1/24", "pod-cidr-invalid"],
    ["10.244.2.0", "pod-cidr-invalid"],
    ["10.244.2.0/33", "pod-cidr-invalid"],
    ["::ffff:10.244.2.0/120", "pod-cidr-invalid"],
    ["10.244.2.0/24 dev lo", "pod-cidr-invalid"],
    ["", "pod-cidr-invalid"],
  ];
  for (const [cidr, code] of refused) {
    test(`never one to '${cidr}', and other Nodes keep theirs`, () => {
      const nodes = [found("b", [cidr], ["192.0.2.2", "2001:db8::2"]), found("c", ["10.244.3.0/24"], ["192.0.2.3"])];
      assert.deepEqual(planned(nodes), { routes: ["10.244.3.0/24 192.0.2.3 eth0"], codes: [code] });
    });
  }

  /** Nodes whose podCIDRs overlap: b2 .. b5, in the order of their names. */
  function overlapping(...created: string[]): FoundNode[] {
    return ["10.8.0.0/16", "10.8.1.0/24", "10.8.2.0/24", "10.9.0.0/24"].map((cidr, index) =>
      found(`b${index + 2}`, [cidr], [`192.0.2.${index + 2}`], created[index]),
    );
  }
  const SMALL = ["10.8.1.0/24 192.0.2.3 eth0", "10.8.2.0/24 192.0.2.4 eth0", "10.9.0.0/24 192.0.2.5 eth0"];
  const WIDE = ["10.8.0.0/16 192.0.2.2 eth0", "10.9.0.0/24 192.0.2.5 eth0"];
  const [OLD, YOUNG] = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"];
  const contests: [what: string, created: string[], routes: string[]][] = [
    ["the older Node of several", [YOUNG, OLD, OLD, YOUNG], SMALL],
    ["the older Node, however many there are within its podCIDR", [OLD, YOUNG, YOUNG, YOUNG], WIDE],
    ["what is older than the Node that loses, too", [YOUNG, OLD, "", ""], SMALL],
    ["the first by name, if they are of the same age", [OLD, OLD, OLD, OLD], WIDE],
  ];
  for (const [what, created, routes] of contests) {
    test(`of podCIDRs that overlap, one goes to ${what}`, () => {
      for (const nodes of [overlapping(...created), overlapping(...created).toReversed()]) {
        const all = planned(nodes);
        assert.deepEqual(all.routes, routes);
        assert.deepEqual(new Set(all.codes), new Set(["pod-cidr-overlap"]));
        assert.equal(all.codes.length, 4 - routes.length, "each that gets none is said");
      }
    });
  }

  test("none of an older Node takes the place of one that is there, unless its own Node has lost it", () => {
    const nodes = overlapping(OLD, YOUNG, YOUNG, YOUNG);
    const there = { destination: "10.8.1.0/24", gateway: "192.0.2.3", ifName: "eth0", isOurs: true };
    assert.deepEqual(planned(nodes, { ...HERE, present: [there] }).routes, SMALL);
    for (const other of [{ gateway: "192.0.2.77" }, { gateway: undefined }, { isOurs: false }]) {
      assert.deepEqual(planned(nodes, { ...HERE, present: [{ ...there, ...other }] }).routes, WIDE);
    }
  });

  test("no Node takes the route to another one by an address in its podCIDR, unless that is younger and has none", () => {
    const b = found("b", ["10.244.2.0/24"], ["192.0.2.2"], OLD);
    const c = found("c", ["10.244.3.0/24"], ["192.0.2.3", "10.244.2.9"], YOUNG);
    const [toB, toC] = ["10.244.2.0/24 192.0.2.2 eth0", "10.244.3.0/24 192.0.2.3 eth0"];
    const ofSameAge = [b, c].map((node) => ({ ...node, created: "" }));
    for (const nodes of [[b, c], ofSameAge]) assert.deepEqual(planned(nodes), { routes: [toB, toC], codes: [] });
    const younger = [
      { ...b, created: YOUNG },
      { ...c, created: OLD },
    ];
    assert.deepEqual(planned(younger), { routes: [toC], codes: ["pod-cidr-refused"] });
    const there = ["2", "3"].map((number) => {
      return { destination: `10.244.${number}.0/24`, gateway: `192.0.2.${number}`, ifName: "eth0", isOurs: true };
    });
    assert.deepEqual(planned(younger, { ...HERE, present: there }), { routes: [toB, toC], codes: [] });
    assert.deepEqual(planned([b, c], { ...HERE, present: there.slice(1) }), { routes: [toB, toC], codes: [] });
  });

  test("none outside of the networks of pods, if these are known; then addresses of Nodes count for nothing", () => {
    const podNetworks = ["10.244.0.0/16", "fd00::/16"].flatMap((text) => readNetwork(text) ?? []);
    const here = { ...HERE, podNetworks };
    const b = found("b", ["10.244.2.0/24", "fd00:2::/64"], ["192.0.2.2", "2001:db8::2"], YOUNG);
    const routes = ["10.244.2.0/24 192.0.2.2 eth0", "fd00:2::/64 2001:db8::2 eth0"];
    for (const cidr of ["8.8.8.0/24", "10.245.0.0/24", "10.244.0.0/15", "2001:db8:1::/64"]) {
      const other = found("c", [cidr], ["192.0.2.3", "2001:db8::3"]);
      assert.deepEqual(planned([b, other], here), { routes, codes: ["pod-cidr-refused"] }, cidr);
    }
    const c = found("c", ["10.244.3.0/24"], ["192.0.2.3", "10.244.2.9"], OLD);
    assert.deepEqual(planned([b, c], here), { routes: [...routes, "10.244.3.0/24 192.0.2.3 eth0"], codes: [] });
  });

  test("none within a route of another program, unless that is a default route or leads to all networks of pods", () => {
    const nodes = [found("b", ["10.8.1.0/24"], ["192.0.2.2"])];
    const withRoute = (destination: string, podNetworks = HERE.podNetworks, isOurs = false): string[] => {
      const there = { destination, gateway: "192.0.2.77", ifName: "eth0", isOurs };
      return planned(nodes, { ...HERE, podNetworks, present: [there] }).codes;
    };
    for (const destination of ["10.0.0.0/8", "10.8.0.0/23"]) {
      assert.deepEqual(withRoute(destination), ["pod-cidr-refused"], destination);
    }
    for (const destination of ["default", "0.0.0.0/1", "10.9.0.0/16", "10.8.1.0/24", "10.8.1.7/32"]) {
      assert.deepEqual(withRoute(destination), [], destination);
    }
    const two = ["10.8.1.0/24", "10.0.0.0/8", "10.7.0.0/16"].map((destination) => {
      return { destination, gateway: "192.0.2.77", ifName: "eth0", isOurs: false };
    });
    assert.deepEqual(planned(nodes, { ...HERE, present: two }).codes, ["pod-cidr-refused"]);
    const podNetworks = ["10.8.0.0/16"].flatMap((text) => readNetwork(text) ?? []);
    assert.deepEqual(withRoute("10.0.0.0/8", podNetworks), []);
    assert.deepEqual(withRoute("10.8.0.0/16", podNetworks), []);
    assert.deepEqual(withRoute("10.8.0.0/17", podNetworks), ["pod-cidr-refused"]);
    assert.deepEqual(withRoute("10.8.0.0/16", [], true), [], "what is our own is not another program's");
  });

  test("none around a name server", () => {
    const others = nameServersIn(
      "# nameserver 10.8.9.9\nsearch example\nnameserver 10.8.1.53\nnameserver\tfd00:2::53%eth0\n",
    );
    assert.deepEqual(
      others.map(({ address }) => address),
      ["10.8.1.53", "fd00:2::53"],
    );
    const b = found("b", ["10.8.1.0/24", "fd00:2::/64", "10.8.9.0/24"], ["192.0.2.2", "2001:db8::2"]);
    const { routes, codes } = planned([b], { ...HERE, others });
    assert.deepEqual(routes, ["10.8.9.0/24 192.0.2.2 eth0"]);
    assert.deepEqual(codes, ["pod-cidr-refused", "pod-cidr-refused"]);
  });

  test("pods of this node and of others are what is masqueraded and what is not; nothing that is refused is", () => {
    const nodes = [
      found("b", ["10.244.2.0/24"], ["192.0.2.2"]),
      found("c", ["10.244.3.0/24"], ["198.51.100.200"]),
      found("d", ["0.0.0.0/0"], ["192.0.2.4"]),
    ];
    const { own, others } = neededRoutes([OWN, ...nodes], HERE).pods;
    assert.deepEqual(own, ["10.244.1.0/24", "fd00:1::/64"]);
    assert.deepEqual(others, ["10.244.2.0/24", "10.244.3.0/24"]);
    const wrong = { ...OWN, podCidrs: ["10.244.1.0/24", "0.0.0.0/0", "127.0.0.0/8", "x"] };
    assert.deepEqual(neededRoutes([wrong, ...nodes], HERE).pods.own, ["10.244.1.0/24"]);
  });

  test("none, nor anything to remove, if this node is not among the Nodes", () => {
    const other = found("b", ["10.244.2.0/24"], ["192.0.2.2"]);
    assert.equal(neededRoutes([other], HERE).own, undefined);
    assert.equal(neededRoutes([OWN, other], { ...HERE, nodeName: "c" }).own, undefined);
    assert.equal(neededRoutes([OWN, other], { ...HERE, nodeName: "b" }).own, undefined, "its address is not here");
    assert.equal(neededRoutes([OWN, other], { ...HERE, nodeName: "own" }).own, OWN);
  });

  test("none, nor anything to remove, if several Nodes have addresses of this host and none is named", () => {
    const other = found("b", ["10.244.2.0/24"], ["192.0.2.2", "192.0.2.1"]);
    const { own, here, routes } = neededRoutes([OWN, other], HERE);
    assert.deepEqual([own, here, routes], [undefined, [other, OWN], []]);
    const named = neededRoutes([OWN, other], { ...HERE, nodeName: "own" });
    assert.equal(named.own, OWN);
    assert.deepEqual(
      named.routes.map(({ gateway }) => gateway),
      ["192.0.2.2"],
    );
  });
});

suite("the steps to these routes", () => {
  const needed = [{ destination: "10.244.2.0/24", gateway: "192.0.2.2", ifName: "eth0", node: "b" }];
  const present = (gateway: string, isOurs: boolean, destination = "10.244.2.0/24"): PresentRoute => {
    return { destination, gateway, ifName: "eth0", isOurs };
  };
  const cases: [what: string, present: PresentRoute[], commands: string[]][] = [
    ["add one that is missing", [], ["route add 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 75"]],
    ["leave one that is right", [present("192.0.2.2", true)], []],
    ["replace our own", [present("192.0.2.9", true)], ["route replace 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 75"]],
    ["leave that of others, even if it is right", [present("192.0.2.2", false)], []],
    [
      "remove our own beside that of others",
      [present("192.0.2.2", true), present("192.0.2.9", false)],
      ["route del 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 75"],
    ],
    [
      "remove what is not needed, if it is our own",
      [present("192.0.2.2", true), present("192.0.2.3", true, "10.9.0.0/24"), present("192.0.2.3", false, "default")],
      ["route del 10.9.0.0/24 via 192.0.2.3 dev eth0 proto 75"],
    ],
  ];
  for (const [what, routes, commands] of cases) {
    test(what, () => {
      assert.deepEqual(
        stepsFor(needed, routes).steps.flatMap((step) => ipCommandOf(step) ?? []),
        commands,
      );
    });
  }
});

test("ranges of addresses", () => {
  assert.equal(readNetworkOf("192.0.2.7/24")?.text, "192.0.2.0/24");
  assert.equal(readNetworkOf("2001:db8:0:0:1::7/64")?.text, "2001:db8::/64");
  assert.equal(readNetwork("0.0.0.0/0")?.last, 2n ** 32n - 1n);
  assert.equal(readNetwork("::/0")?.last, 2n ** 128n - 1n);
  assert.equal(readAddress("::1")?.first, 1n);
  const [a, b] = [readNetwork("10.0.0.0/8"), readNetwork("10.1.0.0/16")];
  assert.ok(a !== undefined && b !== undefined && overlaps(a, b) && overlaps(b, a));
  const few = (...texts: string[]): string[] =>
    merged(texts.flatMap((text) => readNetwork(text) ?? readAddress(text) ?? [])).map(({ text }) => text);
  assert.deepEqual(few("10.1.3.0/24", "10.1.1.0/24", "10.1.2.0/24", "10.1.0.0/24"), ["10.1.0.0/22"]);
  assert.deepEqual(few("10.1.1.0/24", "10.1.2.0/24", "10.1.2.7"), ["10.1.1.0/24", "10.1.2.0/24"]);
  assert.deepEqual(few("192.0.2.2", "192.0.2.3", "192.0.2.5"), ["192.0.2.2/31", "192.0.2.5"]);
  assert.deepEqual(few("fd00:1::/64", "fd00:0:0:1::/64", "fd00::/64", "10.0.0.0/8"), [
    "10.0.0.0/8",
    "fd00::/63",
    "fd00:1::/64",
  ]);
});

suite("5,000 Nodes", () => {
  const nodes = Array.from({ length: 5000 }, (_, index) => ({
    name: `n${index}`,
    podCidrs: [`10.${128 + (index >> 8)}.${index & 255}.0/24`],
    addresses: [`172.16.${index >> 8}.${index & 255}`],
    created: "",
  }));

  test("come as the beginning of one watch; a change of one costs no request", async () => {
    await using api = await NodesApi.start();
    await using following = followNodes(api, nodes);
    const { watch } = following;
    await until(() => watch.isLive);
    assert.deepEqual([watch.items?.size, api.requests.length, watch.begun], [5000, 1, 1]);
    assert.deepEqual(watch.items?.get("n7"), found("n7", ["10.128.7.0/24"], ["172.16.0.7"]), "nothing else is kept");
    api.delete("n1");
    await until(() => watch.items?.size === 4999);
    assert.equal(api.requests.length, 1);
    api.expire();
    api.delete("n2");
    await until(() => watch.items?.size === 4998);
  });

  for (const [streams, how, begun, asked] of [
    ["no", "refuses a list as a watch", 1, 1],
    ["ignored", "does not know a list as a watch", 2, 2],
    ["broken", "closes it before it is whole", 2, 2],
  ] as const) {
    test(`are listed in 50 pages by a server that ${how}, and followed by one watch`, async () => {
      await using api = await NodesApi.start();
      api.streams = streams;
      await using following = followNodes(api, nodes);
      const { watch } = following;
      await until(() => watch.isLive);
      assert.deepEqual([watch.items?.size, api.requests.length, watch.begun], [5000, 52, begun]);
      api.delete("n1");
      await until(() => watch.items?.size === 4999);
      assert.equal(api.requests.length, 52);
      api.expire();
      api.delete("n2");
      await until(() => watch.items?.size === 4998);
      const count = api.requests.filter((url) => url.includes("sendInitialEvents")).length;
      assert.equal(count, asked, "what a server refuses is not asked again; what only failed is");
      const items = await watch.list(new AbortController().signal);
      assert.equal(items.size, 4998);
    });
  }

  test("get a route each", () => {
    const here = { ...HERE, addresses: [{ ifName: "eth0", cidr: "172.16.0.0/12" }] };
    const { routes, findings } = neededRoutes(nodes, here);
    assert.deepEqual([routes.length, findings.length], [4999, 0]);
  });
});

/** Follows Nodes that are there already, until it is disposed of. */
function followNodes(api: NodesApi, nodes: readonly FoundNode[]): AsyncDisposable & { watch: ListWatch<FoundNode> } {
  for (const node of nodes) api.put(node);
  const access = findAccess({ kubeconfig: api.kubeconfig, env: {} });
  const channel = new Channel(() => access);
  const end = new AbortController();
  const watch = new ListWatch(channel, ALL_NODES, () => undefined, { firstPause: 10, listSilence: 300 });
  const following = watch.follow(end.signal);
  return {
    watch,
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await following;
      channel[Symbol.dispose]();
    },
  };
}
