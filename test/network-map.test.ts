/** network map: how a node is drawn, and a host of the test's own with the real bridge plugin. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { parse } from "yaml";

import { documentedMap } from "../scripts/docs.ts";
import { mapDot } from "../src/network/map-dot.ts";
import { mapSvg } from "../src/network/map-svg.ts";
import { mapText } from "../src/network/map-text.ts";
import { mapOf, MOST, type NodeMap } from "../src/network/map.ts";
import { shortId } from "../src/system/text.ts";
import { exampleMap } from "./helpers/map.ts";
import { cannotMount } from "./helpers/namespace.ts";
import { NetworkHost } from "./helpers/network.ts";
import { reportOf } from "./helpers/report.ts";

const TREE = `\
node
├── eth0  device  192.0.2.10/24  2001:db8::10/64
├── eth0.7  vlan  on eth0  VLAN 7
├── cni0  bridge  10.244.1.1/24
│   ├── veth1a  veth  to eth0 in shop/web (cni-1)
│   ├── veth2b  veth  to eth0 in shop/db (cni-2)
│   └── veth3c  veth
│       └── ! its other end is not in a known namespace
├── route default via 192.0.2.1 dev eth0
└── route 10.244.2.0/24 via 192.0.2.11 dev eth0
shop/web (cni-1)
├── eth0  veth  10.244.1.5/24  to veth1a in node
│   └── network cbr0
└── route default via 10.244.1.1 dev eth0
shop/db (cni-2)
├── eth0  veth  10.244.1.6/24  to veth2b in node
│   ├── network cbr0
│   └── ! lacks 10.244.1.60, which cbr0 gave it
└── route default via 10.244.1.1 dev eth0
plc
└── net1  macvlan  10.7.0.2/24  on eth0.7 in node
    └── network vlan7, added by cni-node
attachments without an interface
└── cbr0  eth0  shop/old  10.244.1.9
    └── ! its namespace is gone
`;

const EVIL = '</text><script>"\\\u001B[2J\u202E&';

/** A node whose names are meant to harm who looks at it, with more of everything than is drawn. */
function crowdedMap(): NodeMap {
  const links = Array.from({ length: MOST.interfaces + 3 }, (_, index) => {
    return { ifindex: index + 1, ifname: `${EVIL}${index}`, flags: [], addr_info: [], link_type: "ether" };
  });
  const routes = Array.from({ length: MOST.routes + 2 }, () => ({ dst: EVIL, gateway: EVIL, dev: EVIL }));
  const read = { identity: "1", names: [EVIL], isHost: true, links, routes };
  const others = Array.from({ length: MOST.namespaces }, (_, index) => {
    return { ...read, identity: `${index + 2}`, isHost: false, links: [], routes: [null, 1, { dst: {} }] };
  });
  return mapOf([read, ...others], [], { namespaces: 1, attachments: 5 });
}

interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

function rectsOf(svg: string): Rect[] {
  return Array.from(
    svg.matchAll(/<rect [^>]*x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/gu),
    ([, x, y, width, height]) => ({ x: Number(x), y: Number(y), width: Number(width), height: Number(height) }),
  );
}

/** Two boxes are apart, or one is within the other. */
function fit(one: Rect, two: Rect): boolean {
  const isApart =
    one.x + one.width <= two.x ||
    two.x + two.width <= one.x ||
    one.y + one.height <= two.y ||
    two.y + two.height <= one.y;
  return isApart || isWithin(one, two) || isWithin(two, one);
}

function isWithin(inner: Rect, outer: Rect): boolean {
  const isRight = inner.x >= outer.x && inner.x + inner.width <= outer.x + outer.width;
  return isRight && inner.y >= outer.y && inner.y + inner.height <= outer.y + outer.height;
}

function assertWellFormed(xml: string): void {
  const open: string[] = [];
  const rest = xml.replaceAll(
    /<(\/?)([A-Za-z]+)((?: [\w:-]+="[^"<]*")*)(\/?)>/gu,
    (_, end, name: string, _a, single) => {
      if (end === "/") assert.equal(open.pop(), name);
      else if (single === "") open.push(name);
      return "";
    },
  );
  assert.deepEqual(open, []);
  assert.doesNotMatch(rest, /[<>]|&(?!amp;|lt;|gt;)/u);
}

describe("the map of a node", () => {
  test("as a tree", () => {
    const tree = mapText(exampleMap());
    assert.equal(tree, TREE);
    assert.ok(tree.split("\n").every(({ length }) => length <= 80));
  });

  test("as a tree, long lines are broken between words on a terminal", () => {
    const addr_info = Array.from({ length: 9 }, (_, index) => ({ local: `2001:db8::${index}`, prefixlen: 64 }));
    const links = [{ ifindex: 2, ifname: "eth0", flags: ["UP"], addr_info }];
    const map = mapOf([{ identity: "1", names: [], isHost: true, links, routes: [] }], []);
    for (const columns of [60, 80, 120]) {
      const tree = mapText(map, columns);
      assert.ok(
        tree.split("\n").every(({ length }) => length <= columns),
        tree,
      );
      for (const { local } of addr_info) assert.ok(tree.includes(`${local}/64`));
    }
    assert.equal(mapText(map).split("\n").length, 3);
  });

  test("has container IDs whole, but in a tree on a terminal", () => {
    const [here, lost] = ["0123456789ab", "ba9876543210"].map((start) => start.padEnd(64, "0"));
    const links = [{ ifindex: 2, ifname: "eth0", flags: ["UP"], addr_info: [] }];
    const read = { identity: "2", names: [], isHost: false, links, routes: [] };
    const rest = { network: "net", ifName: "eth0", addresses: [], addedBy: "others", presence: "gone" } as const;
    const map = mapOf(
      [read],
      [
        { ...rest, containerId: here ?? "", identity: "2" },
        { ...rest, containerId: lost ?? "" },
      ],
    );
    const [tree, dot, short] = [mapText(map), mapDot(map), mapText(map, 80, shortId)];
    // In the picture, long titles are broken.
    const svg = mapSvg(map).replaceAll(/<\/text>\n<text class="title"[^>]*>/gu, "");
    for (const id of [here, lost]) {
      for (const drawn of [tree, dot, svg]) assert.ok(drawn.includes(id ?? ""), drawn);
      assert.ok(!short.includes(id ?? "") && short.includes(shortId(id ?? "")), short);
    }
  });

  test("as a graph", () => {
    const dot = mapDot(exampleMap());
    assert.match(dot, /^graph node \{\n/u);
    assert.match(dot, /^ {2}"node\/veth1a" -- "ns1\/eth0" \[style=bold\];$/mu);
    assert.match(dot, /^ {2}"ns3\/net1" -- "node\/eth0\.7" \[style=dashed\];$/mu);
    assert.match(dot, /^ {2}"node\/veth1a" -- "node\/cni0";$/mu);
    for (const map of [exampleMap(), crowdedMap()]) {
      const unquoted = mapDot(map).replaceAll(/"(?:[^"\\\n]|\\.)*"/gu, "Q");
      for (const line of unquoted.trimEnd().split("\n")) {
        assert.match(line, /^(?:graph node \{| *\}| *(?:subgraph \w+ \{|[\w= -]+(?: \[[\w=, ]+\])?;))$/u);
      }
      assert.equal(unquoted.split("{").length, unquoted.split("}").length);
    }
  });

  test("as a picture: XML, all text, nothing overlaps", () => {
    const map = exampleMap();
    const svg = mapSvg(map);
    assertWellFormed(svg);
    const text = Array.from(svg.matchAll(/<text[^>]*>([^<]*)</gu), ([, part = ""]) => part).join("\n");
    for (const { interfaces } of map.namespaces) {
      for (const { name, addresses } of interfaces)
        for (const one of [name, ...addresses]) assert.ok(text.includes(one));
    }
    for (const one of ["route default via 192.0.2.1", "shop/old", "its namespace is gone", "network vlan7"]) {
      assert.ok(text.includes(one), one);
    }
    assert.equal(svg.match(/<path/gu)?.length, 4, "two pairs, two parents");
    const rects = rectsOf(svg);
    assert.equal(rects.length, 15);
    rects.forEach((one, index) => {
      for (const two of rects.slice(index + 1)) assert.ok(fit(one, two), JSON.stringify([one, two]));
    });
    const [, width = "", height = ""] = /<svg [^>]*width="(\d+)" height="(\d+)"/u.exec(svg) ?? [];
    const page = { x: 0, y: 0, width: Number(width), height: Number(height) };
    assert.ok(rects.every((one) => isWithin(one, page)));
  });

  test("in the documents", () => {
    const read = (file: string): string => fs.readFileSync(new URL(`../docs/${file}`, import.meta.url), "utf8");
    assert.equal(read("images/map.svg"), documentedMap(), "run node scripts/docs.ts");
    assert.ok(read("network.md").includes(`\`\`\`text\n${TREE}\`\`\``));
  });

  test("names are data, and what is too much is counted", () => {
    const map = crowdedMap();
    assert.deepEqual(map.hidden, { namespaces: 2, attachments: 5 });
    for (const drawn of [mapText(map), mapDot(map), mapSvg(map)]) {
      for (const one of ["\u001B", "\u202E"]) assert.ok(!drawn.includes(one));
      for (const count of [
        "interfaces not shown: 3",
        "routes not shown: 2",
        "namespaces not shown: 2",
        "attachments not shown: 5",
      ]) {
        assert.ok(drawn.includes(count), count);
      }
    }
    const svg = mapSvg(map);
    assertWellFormed(svg);
    assert.doesNotMatch(svg, /<script/u);
    assert.match(svg, / width="1080"/u);
  });

  test("what is no list of interfaces is an empty namespace", () => {
    for (const links of [undefined, null, {}, [null, 1, { ifindex: "1" }]]) {
      const { namespaces } = mapOf([{ identity: "1", names: [], isHost: true, links, routes: links }], []);
      assert.deepEqual(namespaces[0]?.interfaces, []);
    }
  });
});

describe("network map on a host", { skip: cannotMount }, () => {
  test("with the bridge plugin: ends, attachments, and what does not fit", async () => {
    await using host = await NetworkHost.make();
    const ipam = { type: "host-local", subnet: "10.6.0.0/24", dataDir: join(host.plugins.root, "ipam") };
    host.network("net", { type: "bridge", bridge: "br9", isGateway: true, isDefaultGateway: true, ipam });
    for (const name of ["a", "b", "c"]) {
      const { exitCode, stderr } = await host.run("add", "net", name, "--new");
      assert.equal(exitCode, 0, stderr);
    }
    const before = (await host.run("map")).stdout;
    assert.match(before, /^node\n/u);
    assert.match(before, /^└── br9 {2}bridge {2}10\.6\.0\.1\/24\n {4}├── veth\w+ {2}veth {2}to eth0 in a\n/mu);
    assert.match(before, /^a\n├── eth0 {2}veth {2}10\.6\.0\.2\/24 {2}to veth\w+ in node\n/mu);
    assert.match(before, /network net, added by cni-node/u);
    assert.match(before, /^└── route default via 10\.6\.0\.1 dev eth0$/mu);
    assert.doesNotMatch(before, /!/u);

    host.sh("ip netns delete b");
    host.sh("ip -n c address flush dev eth0 && ip -n a link add x type veth peer name y");
    host.sh("ip link add v1 type veth peer name v2 && ip link set v1 master br9");
    const ran = await host.run("map", "--output=json");
    const { namespaces, lost } = reportOf(ran) as unknown as NodeMap;
    assert.deepEqual(
      lost.map(({ network, container, problem }) => [network, container, problem]),
      [["net", "b", "its namespace is gone"]],
    );
    const c = namespaces.find(({ containers }) => containers.includes("c"));
    assert.deepEqual(c?.interfaces.find(({ name }) => name === "eth0")?.problems, [
      "lacks 10.6.0.4, which net gave it",
    ]);
    const a = namespaces.find(({ containers }) => containers.includes("a"));
    assert.deepEqual(a?.interfaces.find(({ name }) => name === "x")?.peer, { namespace: a?.id, interface: "y" });
    const own = namespaces.find(({ isHost }) => isHost);
    assert.deepEqual(own?.interfaces.find(({ name }) => name === "v1")?.peer, { namespace: "node", interface: "v2" });
    const { stdout: yaml } = await host.run("map", "--output=yaml");
    assert.deepEqual(parse(yaml), JSON.parse(ran.stdout));
    const svg = await host.run("map", "--output=svg");
    assertWellFormed(svg.stdout);
    const dot = await host.run("map", "--output=dot");
    assert.match(dot.stdout, /^graph node \{/u);
  });

  test("a port whose other end is not in a known namespace, and another runtime's attachment", async () => {
    await using host = await NetworkHost.make();
    const results = join(host.cacheDir, "results");
    fs.mkdirSync(results, { recursive: true });
    const entry = { kind: "cniCacheV1", networkName: "net", containerId: "old", ifName: "eth0", config: "" };
    const cniArgs = [
      ["K8S_POD_NAMESPACE", "shop"],
      ["K8S_POD_NAME", "web"],
    ];
    const result = { cniVersion: "1.1.0", ips: [{ address: "10.6.0.9/24" }] };
    const netns = "/run/netns/none";
    fs.writeFileSync(join(results, "net-old-eth0"), JSON.stringify({ ...entry, netns, cniArgs, result }));
    host.target("z");
    host.sh("ip link add br9 type bridge && ip link add v1 master br9 type veth peer name v2 netns z");
    // It lives on below, where nobody can enter it.
    host.sh("mount -t tmpfs none /run/netns");
    const { exitCode, stdout, stderr } = await host.run("map");
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /v1 {2}veth {2}down\n +└── ! its other end is not in a namespace that was examined/u);
    assert.match(stdout, /^… namespaces not shown: \d+$/mu);
    assert.match(stdout, /net {2}eth0 {2}shop\/web {2}10\.6\.0\.9\n +└── ! its namespace is gone/u);
  });
});
