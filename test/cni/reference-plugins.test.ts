/** What is known of the reference plugins, held against them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { KEYS, objectionsToReference } from "../../src/cni/reference-plugins.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { NetworkHost, REFERENCE_PLUGINS } from "../helpers/network.ts";

const skip = fs.existsSync(join(REFERENCE_PLUGINS, "bridge")) ? false : "needs the reference plugins: make plugins";

/** The words of the error that a plugin answers with; undefined: it did what was asked. */
function refusalOf(plugin: string, command: string, config: object): string | undefined {
  const { status, stdout } = spawnSync(join(REFERENCE_PLUGINS, plugin), {
    input: JSON.stringify(config),
    encoding: "utf8",
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: "none",
      CNI_NETNS: "/nonexistent",
      CNI_IFNAME: "eth0",
      CNI_PATH: REFERENCE_PLUGINS,
    },
  });
  return status === 0 ? undefined : (JSON.parse(stdout) as { msg: string }).msg;
}

describe("A15: a key of the wrong type is refused by the real plugin, and by us", { skip }, () => {
  for (const [type, { booleans, integers }] of Object.entries(KEYS)) {
    test(`A15: of ${type}`, () => {
      const prevResult = { cniVersion: "1.0.0", interfaces: [], ips: [] };
      for (const [keys, value] of [
        [booleans, "true"],
        [booleans, 1],
        [integers, "1"],
        [integers, true],
        [integers, 1.5],
      ] as const) {
        for (const key of keys) {
          const config = { cniVersion: "1.0.0", name: "a", type, prevResult, [key]: value };
          assert.match(refusalOf(type, "ADD", config) ?? "", /cannot unmarshal/u, key);
          assert.equal(objectionsToReference(config).length, 1, key);
        }
      }
    });
  }
});

test("A15: keys in another case, null, values of the right type, and plugins that nobody knows", () => {
  assert.deepEqual(objectionsToReference({ type: "bridge", ISGATEWAY: "true" }), [
    "ISGATEWAY is not true or false: remove the quotes",
  ]);
  const right = { type: "bridge", isGateway: true, mtu: 1500, vlan: null, promiscMode: null };
  assert.deepEqual(objectionsToReference(right), []);
  for (const type of ["calico", "flannel", "antrea", "constructor", 7]) {
    assert.deepEqual(objectionsToReference({ type, isGateway: "true", mtu: "1", ipam: { type: "host-local" } }), []);
  }
});

const wrong: [what: string, ipam: object, message: RegExp][] = [
  ["without a subnet", {}, /^ipam: host-local has neither subnet nor ranges$/u],
  ["with an empty list of ranges", { ranges: [] }, /neither subnet nor ranges$/u],
  ["with an empty set", { ranges: [[]] }, /ranges\[0\] is empty$/u],
  ["with ranges that overlap", { ranges: [[{ subnet: "10.1.0.0/16" }, { subnet: "10.1.2.0/24" }]] }, /overlap$/u],
  ["with sets that overlap", { ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "10.1.0.0/24" }]] }, /overlap$/u],
  ["with a range as its subnet has", { subnet: "10.1.0.0/24", ranges: [[{ subnet: "10.1.0.0/24" }]] }, /overlap$/u],
  ["with IPv6 that overlaps", { ranges: [[{ subnet: "fd00::/64" }], [{ subnet: "fd00:0:0:0::/80" }]] }, /overlap$/u],
  ["with both families in one set", { ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "fd00::/64" }]] }, /mixes/u],
  [
    "whose range begins outside",
    { subnet: "10.1.0.0/24", rangeStart: "10.2.0.1" },
    /rangeStart 10\.2\.0\.1 is outside/u,
  ],
  [
    "whose range ends outside",
    { ranges: [[{ subnet: "fd00::/64", rangeEnd: "fd01::1" }]] },
    /rangeEnd fd01::1 is outside/u,
  ],
  ["whose range ends first", { subnet: "10.1.0.0/24", rangeStart: "10.1.0.9", rangeEnd: "10.1.0.3" }, /is before/u],
  ["whose start is none", { subnet: "10.1.0.0/24", rangeStart: "10.1.0.300" }, /rangeStart is not an address$/u],
  ["whose subnet is an address", { subnet: "10.1.0.0" }, /subnet is not a network/u],
  ["whose subnet is a word", { subnet: "usePodCidr" }, /subnet is not a network/u],
  ["whose subnet is an address in it", { subnet: "10.1.0.1/24" }, /has bits behind its prefix$/u],
  ["whose subnet is too small", { subnet: "10.1.0.0/31" }, /too small/u],
  ["whose ranges are no sets", { ranges: [{ subnet: "10.1.0.0/24" }] }, /ranges\[0\] is not a list of ranges/u],
];
const right: [what: string, ipam: object][] = [
  ["with a subnet", { subnet: "10.1.0.0/24", gateway: "10.1.0.1" }],
  ["with both families", { ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00::/64", gateway: "fd00::1" }]] }],
  [
    "with two ranges of a subnet",
    {
      ranges: [
        [
          { subnet: "10.1.0.0/24", rangeEnd: "10.1.0.9" },
          { subnet: "10.1.0.0/24", rangeStart: "10.1.0.10" },
        ],
      ],
    },
  ],
  ["with an empty start", { subnet: "10.1.0.0/24", rangeStart: "" }],
  ["with the smallest subnet", { subnet: "10.1.0.4/30" }],
  ["with IPv4 in IPv6 form", { subnet: "10.1.0.0/24", rangeStart: "::ffff:10.1.0.9" }],
  ["with no ranges but a subnet", { subnet: "10.1.0.0/24", ranges: null }],
];

describe("A15: host-local", { skip }, () => {
  for (const [what, ipam, message] of wrong) {
    test(`A15: ${what} is refused by the real plugin, and by us`, () => {
      const config = { cniVersion: "1.0.0", name: "a", type: "bridge", ipam: { type: "host-local", ...ipam } };
      assert.notEqual(refused(config), undefined);
      const [found = "", ...others] = objectionsToReference(config);
      assert.match(found, message);
      assert.deepEqual(others, []);
    });
  }
  for (const [what, ipam] of right) {
    test(`A15: ${what} is accepted by the real plugin, and by us`, () => {
      const config = { cniVersion: "1.0.0", name: "a", type: "bridge", ipam: { type: "host-local", ...ipam } };
      assert.equal(refused(config), undefined);
      assert.deepEqual(objectionsToReference(config), []);
    });
  }
});

/** Why host-local gives no address. */
function refused(config: { ipam: object }): string | undefined {
  const dataDir = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
  try {
    return refusalOf("host-local", "ADD", { ...config, ipam: { ...config.ipam, dataDir } });
  } finally {
    fs.rmSync(dataDir, { recursive: true });
  }
}

test("A15: ranges that others give are not missed", () => {
  const ipam = { type: "host-local" };
  assert.deepEqual(objectionsToReference({ type: "bridge", ipam, capabilities: { ipRanges: true } }), []);
  assert.deepEqual(objectionsToReference({ type: "bridge", ipam, bridge: "kube-bridge" }), []);
});

describe("A15: a gateway outside of its subnet", { skip: skip || cannotMount }, () => {
  const cases: [what: string, type: string, more: object, ipam: object, isRefused: boolean][] = [
    ["that a route of bridge uses", "bridge", {}, { routes: [{ dst: "0.0.0.0/0" }] }, true],
    ["that a route of ptp uses", "ptp", {}, { routes: [{ dst: "10.3.0.0/16" }] }, true],
    ["that is the default gateway", "bridge", { isDefaultGateway: true }, {}, true],
    ["that nothing uses", "bridge", { isGateway: true }, {}, false],
    ["beside a route with a gateway of its own", "ptp", {}, { routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }] }, false],
  ];
  for (const [what, type, more, ipam, isRefused] of cases) {
    test(`A15: ${what} is ${isRefused ? "refused" : "accepted"} by the real plugin, and by us`, async () => {
      await using host = await NetworkHost.make();
      const store = { type: "host-local", subnet: "10.1.0.0/24", gateway: "10.2.0.1", dataDir: join(host.netd, "x") };
      const config = { cniVersion: "1.0.0", name: "a", type, ...more, ipam: { ...store, ...ipam } };
      fs.writeFileSync(join(host.netd, "config"), JSON.stringify(config));
      host.target("c");
      const answer = host.sh(
        `CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/run/netns/c CNI_IFNAME=eth0 CNI_PATH=${REFERENCE_PLUGINS} ${REFERENCE_PLUGINS}/${type} <${host.netd}/config || true`,
      );
      assert.equal(/network is unreachable/u.test(answer), isRefused, answer);
      const message = "ipam: gateway 10.2.0.1 is outside of the subnet 10.1.0.0/24";
      assert.deepEqual(objectionsToReference(config), isRefused ? [message] : []);
    });
  }
});
