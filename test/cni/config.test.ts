import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { isConfigName, readConfig } from "../../src/cni/config.ts";

/** As their projects' manifests install them. */
const CALICO = {
  name: "k8s-pod-network",
  cniVersion: "0.3.1",
  plugins: [
    {
      type: "calico",
      log_level: "info",
      log_file_path: "/var/log/calico/cni/cni.log",
      datastore_type: "kubernetes",
      nodename: "node-1",
      mtu: 0,
      ipam: { type: "calico-ipam" },
      policy: { type: "k8s" },
      kubernetes: { kubeconfig: "/etc/cni/net.d/calico-kubeconfig" },
    },
    { type: "portmap", snat: true, capabilities: { portMappings: true } },
    { type: "bandwidth", capabilities: { bandwidth: true } },
  ],
};

describe("a configuration of the real world is valid", () => {
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const delegates = [CALICO];
  const kubeconfig = "/etc/kubernetes/kubelet.conf";
  const cases: [file: string, value: Record<string, unknown>, types: string][] = [
    ["10-calico.conflist", CALICO, "calico portmap bandwidth"],
    [
      "10-flannel.conflist",
      {
        name: "cbr0",
        cniVersion: "0.3.1",
        plugins: [{ type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } }, portmap],
      },
      "flannel portmap",
    ],
    [
      "10-kuberouter.conflist",
      {
        cniVersion: "0.3.0",
        name: "mynet",
        plugins: [
          {
            name: "kubernetes",
            type: "bridge",
            bridge: "kube-bridge",
            isDefaultGateway: true,
            ipam: { type: "host-local", subnet: "10.1.0.0/24" },
          },
          portmap,
        ],
      },
      "bridge portmap",
    ],
    [
      "05-cilium.conflist",
      {
        cniVersion: "0.3.1",
        name: "cilium",
        plugins: [{ type: "cilium-cni", "enable-debug": false, "log-file": "/var/run/cilium/cilium-cni.log" }],
      },
      "cilium-cni",
    ],
    ["05-cilium.conf", { name: "cilium", type: "cilium-cni", "enable-debug": false }, "cilium-cni"],
    ["05-multus.conf", { name: "multus-cni-network", type: "multus", kubeconfig, delegates }, "multus"],
    [
      "05-multus-cni.conf",
      { cniVersion: "0.1.0", name: "multus-cni-network", type: "multus-cni", kubeconfig, delegates },
      "multus-cni",
    ],
    [
      "10-kindnet.conflist",
      {
        cniVersion: "0.3.1",
        name: "kindnet",
        plugins: [
          { type: "ptp", ipMasq: false, ipam: { type: "host-local", ranges: [[{ subnet: "10.244.0.0/24" }]] } },
        ],
      },
      "ptp",
    ],
    ["200-loopback.conf", { cniVersion: "1.0.0", name: "loopback", type: "loopback" }, "loopback"],
    ["87-podman.json", { cniVersion: "", name: "podman", type: "bridge" }, "bridge"],
    [
      "10-versions.conflist",
      { cniVersion: "1.1.0", cniVersions: ["0.4.0", "1.0.0", "1.1.0"], name: "a.b_c-1", plugins: [{ type: "ptp" }] },
      "ptp",
    ],
  ];
  for (const [file, value, types] of cases) {
    test(`${file} of ${types}`, () => {
      const { name, cniVersion } = value as { name: string; cniVersion?: string };
      const config = { name, ...(cniVersion === undefined ? {} : { cniVersion }), types: types.split(" ") };
      assert.deepEqual(readConfig(file, JSON.stringify(value, undefined, 2)), { config });
    });
  }
});

describe("a configuration is refused with one reason", () => {
  const list = { name: "a", cniVersion: "1.0.0", plugins: [{ type: "bridge" }] };
  const single = { name: "a", type: "bridge" };
  const cases: [file: string, value: unknown, message: string][] = [
    ["a.conflist", [], "is no JSON object"],
    ["a.conflist", null, "is no JSON object"],
    ["a.conflist", "text", "is no JSON object"],
    ["a.conflist", { ...list, name: undefined }, "has no network name (key name)"],
    ["a.conf", { type: "bridge" }, "has no network name (key name)"],
    ...["", "-a", ".a", "a b", "a/b", "ä", 1, null, ["a"]].map((name): [string, unknown, string] => [
      "a.conflist",
      { ...list, name },
      `has the network name ${JSON.stringify(name)}, not a string of letters, digits, _ . - that begins with a letter or digit`,
    ]),
    ...["v1", "1.x", "1.0.0.0", "1.", 1, null].map((cniVersion): [string, unknown, string] => [
      "a.conf",
      { ...single, cniVersion },
      `has the cniVersion ${JSON.stringify(cniVersion)}, not a version like "1.0.0"`,
    ]),
    ["a.conflist", { ...list, cniVersions: "1.0.0" }, 'has cniVersions "1.0.0", not a list'],
    [
      "a.conflist",
      { ...list, cniVersions: ["1.0.0", "x"] },
      'has the cniVersions entry "x", not a version like "1.0.0"',
    ],
    ["a.conflist", single, "is a network configuration list (.conflist) without plugins"],
    ["a.conflist", { ...list, plugins: {} }, "has a key plugins that is no list"],
    ["a.conflist", { ...list, plugins: [] }, "has an empty list of plugins"],
    ["a.conflist", { ...list, plugins: [{ type: "a" }, "b"] }, "has plugins[1] that is no object"],
    ["a.conflist", { ...list, plugins: [{}] }, "has no plugin type in plugins[0] (key type)"],
    ["a.conflist", { ...list, plugins: [{ type: "" }] }, "has no plugin type in plugins[0] (key type)"],
    [
      "a.conflist",
      { ...list, plugins: [{ type: 1 }] },
      "has the plugin type 1 in plugins[0], not the file name of a plugin",
    ],
    [
      "a.conflist",
      { ...list, plugins: [{ type: "/bin/sh" }] },
      'has the plugin type "/bin/sh" in plugins[0], not the file name of a plugin',
    ],
    ["a.conf", list, "has plugins, which runtimes read in a .conflist file only"],
    ["a.json", list, "has plugins, which runtimes read in a .conflist file only"],
    ["a.conf", { name: "a" }, "has no plugin type in the configuration (key type)"],
  ];
  for (const [file, value, message] of cases) {
    const text = JSON.stringify(value);
    test(`${file} ${text} ${message}`, () => assert.deepEqual(readConfig(file, text), { objection: { message } }));
  }
});

describe("a text that is no JSON is refused, with the place", () => {
  const cases: [text: string, message: string, offset?: number][] = [
    ["", "is empty"],
    [" \n\t", "is empty"],
    ['{"name": "a",}', "is no JSON: property name expected", 13],
    ['{"name": "a"', "is no JSON: close brace expected", 12],
    ['{"delegates": [ ,{}]}', "is no JSON: value expected", 16],
    ['{"delegates": [ __x__ ]}', "is no JSON: invalid symbol", 16],
    ["{} {}", "is no JSON: end of file expected", 3],
    ["{// comment\n}", "is no JSON: invalid comment token", 1],
    ["{'name': 'a'}", "is no JSON: invalid symbol", 1],
    ['\ufeff{"name": "a"}', "is no JSON: invalid symbol U+FEFF", 0],
  ];
  for (const [text, message, offset] of cases) {
    test(`${JSON.stringify(text)} ${message}`, () => {
      const objection = offset === undefined ? { message } : { message, offset };
      assert.deepEqual(readConfig("a.conflist", text), { objection });
    });
  }
});

test("an objection to the syntax never repeats what stands in the file", () => {
  const text = JSON.stringify({ name: "a", token: "S3CRET", plugins: [{ type: "a", list: [1, -1.5e3, true, null] }] });
  const character = fc.oneof(
    fc.constantFrom(...'"\\{}[]:,-.e0 \n\u00a0\ufeff/*'.split("")),
    fc.string({ minLength: 1 }),
  );
  fc.assert(
    fc.property(fc.nat(text.length), fc.nat(3), character, (offset, removed, inserted) => {
      const result = readConfig("a.conflist", `${text.slice(0, offset)}${inserted}${text.slice(offset + removed)}`);
      if (!("objection" in result)) return;
      assert.doesNotMatch(result.objection.message, /S3C|CRET|"token/u);
    }),
    { numRuns: 2000 },
  );
});

test("every text is either a configuration or objected to", () => {
  const values = fc.json({ maxDepth: 3 });
  const near = fc.record(
    { name: fc.jsonValue(), cniVersion: fc.jsonValue(), type: fc.jsonValue(), plugins: fc.jsonValue() },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        values,
        near.map((value) => JSON.stringify(value)),
      ),
      (text) => {
        for (const file of ["a.conf", "a.conflist", "a.json"]) {
          const result = readConfig(file, text);
          assert.ok("config" in result || result.objection.message !== "");
        }
      },
    ),
  );
});

test("a runtime loads .conf, .conflist and .json, and nothing else", () => {
  const names = ["a.conf", "a.conflist", "a.json", ".conf", "a.b.conf"];
  const others = ["a", "conf", "a.conf.tmp", "a.conf~", "a.CONF", "a.yaml", "calico-kubeconfig", "a.conflists"];
  assert.deepEqual([...names, ...others].filter(isConfigName), names);
});
