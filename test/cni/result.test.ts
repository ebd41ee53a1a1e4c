import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseCidr, parseIp } from "../../src/cni/ip.ts";
import { convertResult, parseResult, readResult, type AnyResult } from "../../src/cni/result.ts";

const dns = { nameservers: ["10.1.0.1"], domain: "example.com", search: ["a", "b"], options: ["ndots:2"] };

/** The same attachment in the three forms, without what only the newest can say. */
const LEGACY = {
  cniVersion: "0.2.0",
  ip4: {
    ip: "10.1.0.5/16",
    gateway: "10.1.0.1",
    routes: [{ dst: "0.0.0.0/0" }, { dst: "10.9.0.0/16", gw: "10.1.0.9" }],
  },
  ip6: { ip: "2001:db8::5/64", routes: [{ dst: "::/0", gw: "2001:db8::1" }] },
  dns,
};
const INTERFACES = [
  { name: "cni0", mac: "00:11:22:33:44:55" },
  { name: "eth0", sandbox: "/run/netns/a" },
];
const IPS = [
  { version: "4", interface: 1, address: "10.1.0.5/16", gateway: "10.1.0.1" },
  { version: "6", interface: 1, address: "2001:db8::5/64" },
];
const ROUTES = [{ dst: "0.0.0.0/0" }, { dst: "10.9.0.0/16", gw: "10.1.0.9" }, { dst: "::/0", gw: "2001:db8::1" }];
const MIDDLE = { cniVersion: "0.4.0", interfaces: INTERFACES, ips: IPS, routes: ROUTES, dns };
const NEWEST = { ...MIDDLE, cniVersion: "1.1.0", ips: IPS.map(({ version: _version, ...ip }) => ip) };

const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** What LEGACY, MIDDLE or NEWEST is in a version. */
function inVersion(cniVersion: string): AnyResult {
  const result = cniVersion < "0.3" ? LEGACY : cniVersion < "1" ? MIDDLE : NEWEST;
  return { ...result, cniVersion };
}

describe("a result is converted among all versions", () => {
  for (const from of VERSIONS) {
    for (const to of VERSIONS) {
      test(`from ${from} to ${to}`, () => {
        const converted = convertResult(parseResult(inVersion(from)), to);
        // The old form knows no interfaces.
        const expected = from < "0.3" && to >= "0.3" ? withoutInterfaces(inVersion(to)) : inVersion(to);
        assert.deepEqual(converted, expected);
      });
    }
  }

  function withoutInterfaces(result: AnyResult): object {
    const { interfaces: _, ips, ...rest } = result as typeof MIDDLE;
    return { ...rest, ips: ips.map(({ interface: _index, ...ip }) => ip) };
  }

  test("what only the newest form has is dropped for older ones", () => {
    const result = parseResult({
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", mtu: 1400, socketPath: "/run/s", pciID: "0000:00:1f.6" }],
      ips: [{ address: "10.1.0.5/16" }],
      routes: [{ dst: "0.0.0.0/0", mtu: 1400, advmss: 1360, priority: 5, table: 0, scope: 253 }],
    });
    const [route] = (result as typeof NEWEST).routes;
    assert.deepEqual(convertResult(result, "0.3.1"), {
      cniVersion: "0.3.1",
      interfaces: [{ name: "eth0" }],
      ips: [{ version: "4", address: "10.1.0.5/16" }],
      routes: [route],
      dns: {},
    });
    assert.deepEqual(convertResult(result, "0.2.0"), {
      cniVersion: "0.2.0",
      ip4: { ip: "10.1.0.5/16", routes: [{ dst: "0.0.0.0/0" }] },
      dns: {},
    });
  });

  test("of several addresses an old form has the first of each kind, and no route of the other kind", () => {
    const ips = ["2001:db8::1/64", "2001:db8::2/64"].map((address) => ({ address }));
    const result = parseResult({ cniVersion: "1.0.0", ips, routes: [{ dst: "0.0.0.0/0" }] });
    assert.deepEqual(convertResult(result, "0.1.0"), { cniVersion: "0.1.0", ip6: { ip: "2001:db8::1/64" }, dns: {} });
  });

  test("an old form needs an address", () => {
    const result = parseResult({ cniVersion: "0.3.1", interfaces: [{ name: "eth0" }] });
    assert.throws(() => convertResult(result, "0.2.0"), { code: 6, msg: /without addresses cannot be .* 0\.2\.0/u });
  });

  test("no version is 0.1.0, and one that is not known is refused", () => {
    assert.equal(convertResult(parseResult(LEGACY), "").cniVersion, "0.1.0");
    for (const version of ["1.2.0", "0.5.0", "1.0", "constructor"]) {
      assert.throws(() => convertResult(parseResult(LEGACY), version), { name: "CniError", code: 1 });
      assert.throws(() => parseResult({ cniVersion: version }), { name: "CniError", code: 1 });
    }
  });
});

describe("a result is read", () => {
  test("in its own version; without one it is of the request's", () => {
    assert.deepEqual(readResult('{"cniVersion":"0.4.0"}', "1.0.0"), { cniVersion: "0.4.0", dns: {} });
    for (const text of ["{}", "null", '{"cniVersion":""}', '{"cniVersion":null}', '{"cniVersion":1}', " \n{}\n"]) {
      assert.deepEqual(readResult(text, "1.0.0"), { cniVersion: "1.0.0" }, text);
    }
    assert.deepEqual(readResult("{}", ""), { cniVersion: "0.1.0", dns: {} });
  });

  test("in its normal form: what is empty is left out, addresses have one spelling, other keys are dropped", () => {
    const text = JSON.stringify({
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", mac: "", sandbox: null, mtu: 0, other: 1 }],
      ips: [{ interface: 0, address: "2001:DB8:0:0::0005/064", gateway: "::ffff:10.0.0.1" }],
      routes: [{ dst: "10.0.0.7/8", gw: "", table: 0, scope: 0, priority: 0 }],
      dns: { nameservers: [], domain: "" },
      other: {},
    });
    assert.deepEqual(readResult(text, ""), {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0" }],
      ips: [{ interface: 0, address: "2001:db8::5/64", gateway: "10.0.0.1" }],
      routes: [{ dst: "10.0.0.7/8", table: 0, scope: 0 }],
    });
  });

  const wrong: [text: string, why: string][] = [
    ["", "it is empty"],
    [" \n", "it is empty"],
    ["eth0", "it is not JSON: invalid symbol"],
    ["[]", "it is not a JSON object"],
    ["1", "it is not a JSON object"],
    ['{"interfaces":{}}', "interfaces is not a list"],
    ['{"interfaces":[null]}', "interfaces[0] is not a JSON object"],
    ['{"interfaces":[{"name":1}]}', "interfaces[0].name is not a string"],
    ['{"interfaces":[{"mtu":"1500"}]}', "interfaces[0].mtu is not an integer"],
    ['{"ips":[{}]}', 'ips[0].address is "", no address with a prefix length'],
    ['{"ips":[{"address":"10.0.0.1"}]}', 'ips[0].address is "10.0.0.1", no address with a prefix length'],
    ['{"ips":[{"address":"10.0.0.1/33"}]}', 'ips[0].address is "10.0.0.1/33", no address with a prefix length'],
    ['{"ips":[{"address":"10.0.0.1/8","gateway":"gw"}]}', 'ips[0].gateway is "gw", no IP address'],
    ['{"ips":[{"address":"10.0.0.1/8","interface":0.5}]}', "ips[0].interface is not an integer"],
    ['{"routes":[{"dst":"default"}]}', 'routes[0].dst is "default", no address with a prefix length'],
    ['{"dns":[]}', "dns is not a JSON object"],
    ['{"dns":{"search":"a"}}', "dns.search is not a list"],
    ['{"dns":{"search":["a",2]}}', "dns.search[1] is not a string"],
    ['{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8","routes":[{"dst":"x"}]}}', 'ip4.routes[0].dst is "x"'],
  ];
  for (const [text, why] of wrong) {
    test(`and refused when it is none: ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => readResult(text, "1.0.0"),
        (error: Error & { code?: number }) => error.code === 6 && error.message.includes(`cannot be read: ${why}`),
      );
    });
  }
});

test("addresses are written in one form, as Go does", () => {
  const cases: [text: string, canonical: string | undefined, version?: string][] = [
    ["10.0.0.1", "10.0.0.1", "4"],
    ["010.0.0.1", undefined],
    ["10.0.0", undefined],
    ["10.0.0.1.", undefined],
    ["256.0.0.1", undefined],
    ["::", "::", "6"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "6"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "6"],
    ["::1.2.3.4", "::102:304", "6"],
    ["::ffff:1.2.3.4", "1.2.3.4", "4"],
    ["::ffff:0102:0304", "1.2.3.4", "4"],
    ["fe80::1%eth0", undefined],
    ["[::1]", undefined],
    ["::1]/[", undefined],
    ["1::2::3", undefined],
    ["host", undefined],
  ];
  for (const [text, canonical, version] of cases) {
    assert.deepEqual(parseIp(text), canonical === undefined ? undefined : { text: canonical, version }, text);
  }
  assert.equal(parseCidr("::ffff:10.0.0.1/120")?.text, "10.0.0.1/24");
  assert.equal(parseCidr("::ffff:10.0.0.1/8")?.text, "10.0.0.1/0");
  for (const text of ["10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/8/8", "/8", "::/129", "10.0.0.1/8 "]) {
    assert.equal(parseCidr(text), undefined, text);
  }
});
