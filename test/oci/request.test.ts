/** What a container asks for, and what plugins are told of it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseNetworkList, type NetworkList } from "../../src/cni/config.ts";
import { decidesOnAddresses, namedNetworks, readRequest, divideRequest, type Request } from "../../src/oci/request.ts";

const NOTHING: Request = {
  networks: undefined,
  ips: [],
  isIpOfImage: false,
  pools: [],
  mac: undefined,
  ports: [],
  aliases: [],
};

function read(env: Record<string, string>, annotations: Record<string, string> = {}, networks: string[] = []): Request {
  const maps = { env: new Map(Object.entries(env)), annotations: new Map(Object.entries(annotations)) };
  return readRequest(maps, networks, true);
}

function network(name: string, ...plugins: object[]): NetworkList {
  const parsed = parseNetworkList("x.conflist", JSON.stringify({ cniVersion: "1.0.0", name, plugins }));
  assert.ok("list" in parsed);
  return parsed.list;
}

describe("reads", () => {
  test("only addresses from the environment of a container, unless it is trusted", () => {
    const env = {
      CNI_NETWORK: "b",
      CNI_PORTS: "22:22",
      CNI_MAC: "02:42:0a:d5:07:02",
      CNI_ALIASES: "web",
      IPV4: "10.1.0.7",
    };
    const maps = { env: new Map(Object.entries(env)), annotations: new Map<string, string>() };
    assert.deepEqual(readRequest(maps, [], false), { ...NOTHING, ips: ["10.1.0.7"], isIpOfImage: true });
    const annotations = new Map([["io.cni-node.ip", "10.1.0.8"]]);
    assert.deepEqual(readRequest({ ...maps, annotations }, [], false), { ...NOTHING, ips: ["10.1.0.8"] });
    assert.equal(readRequest(maps, [], true).isIpOfImage, false);
  });

  test("nothing", () => {
    assert.deepEqual(read({ A: "b", IPV4: "", IPPOOL: "" }), NOTHING);
  });

  test("the variables of docker-cni", () => {
    const request = { ...NOTHING, ips: ["10.1.0.7"], pools: ["calico-pool-2"] };
    assert.deepEqual(read({ IPV4: "10.1.0.7", IPPOOL: "calico-pool-2" }), request);
  });

  test("networks, with their interfaces, and more settings", () => {
    const request = read({
      CNI_NETWORK: "a, b@net1",
      CNI_MAC: "02:42:0A:d5:07:02",
      CNI_ALIASES: "web,web.x",
      CNI_PORTS: "8080:80, 127.0.0.1:53:53/udp,[::1]:1:65535/sctp",
    });
    assert.deepEqual(request, {
      ...NOTHING,
      networks: [{ name: "a" }, { name: "b", ifName: "net1" }],
      mac: "02:42:0A:d5:07:02",
      aliases: ["web", "web.x"],
      ports: [
        { hostPort: 8080, containerPort: 80, protocol: "tcp" },
        { hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "127.0.0.1" },
        { hostPort: 1, containerPort: 65535, protocol: "sctp", hostIP: "::1" },
      ],
    });
  });

  test("annotations before variables, and the networks of the hook before both", () => {
    const [env, annotations] = [{ CNI_NETWORK: "a", IPV4: "10.1.0.7" }, { "io.cni-node.network": "b" }];
    assert.deepEqual(read(env, annotations), {
      ...NOTHING,
      networks: [{ name: "b" }],
      ips: ["10.1.0.7"],
    });
    assert.deepEqual(read(env, annotations, ["c"]).networks, [{ name: "c" }]);
    assert.deepEqual(namedNetworks({ env: new Map([["CNI_NETWORK", "a"]]), annotations: new Map() }, [], false), []);
  });
});

test("knows the IPAM plugins that give free addresses only", () => {
  const ipam = (...types: (string | undefined)[]): boolean =>
    decidesOnAddresses(network("x", ...types.map((type) => ({ type: "x", ...(type && { ipam: { type } }) }))));
  for (const type of ["host-local", "calico-ipam", "whereabouts"]) assert.equal(ipam(type, undefined), true, type);
  for (const types of [["static"], ["dhcp"], ["own"], [""], [undefined], ["host-local", "static"]]) {
    assert.equal(ipam(...types), false, String(types));
  }
});

describe("objects to", () => {
  const WRONG: [name: string, value: string, message: RegExp][] = [
    ["CNI_NETWORK", "../a", /io\.cni-node\.network \(CNI_NETWORK\): "\.\.\/a": the name of a network/u],
    ["CNI_NETWORK", "a@b/c", /the name of an interface/u],
    ["CNI_NETWORK", "a@x,b@x", /two networks have the same interface/u],
    ["IPV4", "10.1.0.7;A=b", /is not an IP address/u],
    ["IPV4", "10.1.0.7/33", /is not an IP address/u],
    ["IPPOOL", 'a"b', /is not the name of an IP pool/u],
    ["CNI_MAC", "02:42", /is not a hardware address/u],
    ["CNI_MAC", "02:42:0a:d5:07:02,02:42:0a:d5:07:03", /is not a hardware address/u],
    ["CNI_ALIASES", "a_-", /is not a host name/u],
    ["CNI_PORTS", "80", /is not \[HOSTIP:\]HOSTPORT:PORT/u],
    ["CNI_PORTS", "0:80", /is not \[HOSTIP:\]HOSTPORT:PORT/u],
    ["CNI_PORTS", "1.2.3:80:80", /is not \[HOSTIP:\]HOSTPORT:PORT/u],
    ["CNI_PORTS", "80:80/icmp", /is not \[HOSTIP:\]HOSTPORT:PORT/u],
  ];
  for (const [name, value, message] of WRONG) {
    test(`${name}=${value}`, () => {
      assert.throws(() => read({ [name]: value }), message);
    });
  }
});

describe("tells", () => {
  const plain = network("plain", { type: "bridge", ipam: { type: "host-local" } });
  const able = network(
    "able",
    { type: "bridge", capabilities: { ips: true, mac: true } },
    { type: "portmap", capabilities: { portMappings: true, aliases: true } },
  );

  test("nothing to plugins where nothing is asked for", () => {
    assert.deepEqual(divideRequest([plain, able], NOTHING), [
      { network: plain, args: [], capabilityArgs: {} },
      { network: able, args: [], capabilityArgs: {} },
    ]);
  });

  test("an address as an argument that plugins may ignore, and as a capability where it is declared", () => {
    const request = { ...NOTHING, ips: ["10.1.0.7"], mac: "02:42:0a:d5:07:02" };
    const args = [
      ["IgnoreUnknown", "1"],
      ["IP", "10.1.0.7"],
      ["MAC", "02:42:0a:d5:07:02"],
    ];
    assert.deepEqual(divideRequest([plain], request), [{ network: plain, args, capabilityArgs: {} }]);
    const [first, second] = divideRequest([able, plain], request);
    assert.deepEqual(first, { network: able, args, capabilityArgs: { ips: ["10.1.0.7"], mac: "02:42:0a:d5:07:02" } });
    assert.deepEqual(second?.args, []);
  });

  test("ports and aliases to the network that declares them", () => {
    const ports = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
    const parts = divideRequest([plain, able], { ...NOTHING, ports, aliases: ["web"] });
    assert.deepEqual(
      parts.map(({ capabilityArgs }) => capabilityArgs),
      [{}, { portMappings: ports, aliases: ["web"] }],
    );
    assert.throws(
      () => divideRequest([plain], { ...NOTHING, ports }),
      /no plugin of network plain has the capability portMappings/u,
    );
    assert.throws(() => divideRequest([plain], { ...NOTHING, aliases: ["web"] }), /the capability aliases/u);
  });

  test("pools in the configuration of calico-ipam, which has them also in what is remembered", () => {
    const calico = network("calico", {
      type: "calico",
      mtu: 1440,
      ipam: { type: "calico-ipam", ipv4_pools: ["other"], assign_ipv6: "false" },
    });
    const [part] = divideRequest([calico], { ...NOTHING, pools: ["calico-pool-2"] });
    const ipam = { type: "calico-ipam", ipv4_pools: ["calico-pool-2"], assign_ipv6: "false" };
    assert.deepEqual(part?.network.plugins, [{ type: "calico", mtu: 1440, ipam }]);
    const again = parseNetworkList("cached.conflist", part.network.text);
    assert.ok("list" in again);
    assert.deepEqual([again.list.name, again.list.plugins], ["calico", part.network.plugins]);
    assert.throws(
      () => divideRequest([plain], { ...NOTHING, pools: ["x"] }),
      /no plugin of network plain has the IPAM plugin calico-ipam/u,
    );
  });
});
