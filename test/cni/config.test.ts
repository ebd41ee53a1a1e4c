import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { isConfigName, isListName, parsePlugin, parseNetworkList, readConfig } from "../../src/cni/config.ts";

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
      const result = readConfig(file, JSON.stringify(value, undefined, 2));
      assert.ok("list" in result, JSON.stringify(result));
      assert.equal(result.list.name, value["name"]);
      assert.equal(result.list.cniVersion, value["cniVersion"] || "0.1.0");
      assert.deepEqual(
        result.list.plugins.map(({ type }) => type),
        types.split(" "),
      );
    });
  }
});

describe("a configuration is refused with one reason", () => {
  const list = { name: "a", cniVersion: "1.0.0", plugins: [{ type: "bridge" }] };
  const single = { name: "a", type: "bridge" };
  const cases: [file: string, value: unknown, message: string][] = [
    ["a.conflist", [], "is not a JSON object"],
    ["a.conflist", null, "is not a JSON object"],
    ["a.conflist", "text", "is not a JSON object"],
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
    ["a.conflist", { ...list, plugins: {} }, "has a key plugins that is not a list"],
    ["a.conflist", { ...list, plugins: [] }, "has an empty list of plugins"],
    ["a.conflist", { ...list, plugins: [{ type: "a" }, "b"] }, "has plugins[1] that is not an object"],
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

describe("what libcni loads is a list with the keys of the specification, whatever file it was in", () => {
  const plain = { disableCheck: false, disableGC: false, loadOnlyInlinedPlugins: false };

  function parsed(file: string, text: string): unknown {
    const result = parseNetworkList(file, text);
    assert.ok("list" in result, JSON.stringify(result));
    return result.list;
  }

  test("a list keeps unknown keys, nulls and its own text", () => {
    const plugin = { type: "a", x: null, nested: { deep: [1, null] }, ipam: null };
    const text = JSON.stringify({ name: "n", cniVersion: "1.0.0", other: 1, plugins: [plugin] }, undefined, 1);
    assert.deepEqual(parsed("a.conflist", text), {
      ...plain,
      name: "n",
      cniVersion: "1.0.0",
      plugins: [plugin],
      text,
    });
  });

  test("a single becomes a list of one; its text is the one that libcni makes of it", () => {
    const single =
      '{"type": "a", "name": "n", "b<": {"z": 1, "a": "\\u2028&"}, "10": null, "9": 1.50, "disableGC": true}';
    const text =
      '{"cniVersion":"","name":"n","plugins":[{"10":null,"9":1.5,"b\\u003c":{"a":"\\u2028\\u0026","z":1},' +
      '"disableGC":true,"name":"n","type":"a"}]}';
    const plugin = { type: "a", name: "n", "b<": { z: 1, a: "\u2028&" }, 10: null, 9: 1.5, disableGC: true };
    for (const file of ["a.conf", "a.json"]) {
      assert.deepEqual(parsed(file, single), { ...plain, name: "n", cniVersion: "0.1.0", plugins: [plugin], text });
    }
  });

  test("cniVersions and cniVersion are negotiated in a list, and not in a single", () => {
    const versions = { name: "n", cniVersion: "0.3.1", cniVersions: ["1.2.0", "1.0.0"] };
    const [list, single] = [
      parsed("a.conflist", JSON.stringify({ ...versions, plugins: [{ type: "a" }] })),
      parsed("a.conf", JSON.stringify({ ...versions, type: "a" })),
    ] as Record<string, unknown>[];
    assert.deepEqual([list?.["cniVersion"], list?.["cniVersions"]], ["1.0.0", ["1.2.0", "1.0.0"]]);
    assert.deepEqual([single?.["cniVersion"], single?.["cniVersions"]], ["0.3.1", undefined]);
  });

  test("true and false may be texts, in any case", () => {
    const text = '{"name":"n","disableCheck":"TRUE","disableGC":true,"loadOnlyInlinedPlugins":"False"}';
    const flags = { disableCheck: true, disableGC: true, loadOnlyInlinedPlugins: false };
    assert.deepEqual(parsed("a.conflist", text), { name: "n", cniVersion: "0.1.0", ...flags, plugins: [], text });
  });

  test("names and versions that the specification rules out are loaded", () => {
    const of = (file: string, value: Record<string, unknown>): unknown => parsed(file, JSON.stringify(value));
    const name = (value: unknown): unknown => (value as { name: string }).name;
    assert.equal(name(of("a.conflist", { name: "../a b", cniVersion: "x", plugins: [{ type: "a/b" }] })), "../a b");
    assert.equal(name(of("a.conf", { type: "a" })), "");
    assert.equal(name(of("a.conf", { type: "a", name: null, NAME: "n" })), "n");
  });

  test("the type is found under a key in another case, as Go finds it", () => {
    const plugins = [{ Type: "a" }, { type: null, TYPE: "b" }, { type: "c", tYpe: "d" }];
    const { plugins: read } = parsed("a.conflist", JSON.stringify({ name: "n", plugins })) as typeof plain & {
      plugins: { type: string }[];
    };
    assert.deepEqual(
      read.map(({ type }) => type),
      ["a", "b", "c"],
    );
  });
});

describe("a key of a type that Go does not take spoils the file", () => {
  const cases: [file: string, value: Record<string, unknown>, message: string][] = [
    ["a.conflist", { disableCheck: 1 }, "has a key disableCheck that is neither true nor false"],
    ["a.conflist", { disableGC: null }, "has a key disableGC that is neither true nor false"],
    [
      "a.conflist",
      { loadOnlyInlinedPlugins: ["true"] },
      "has a key loadOnlyInlinedPlugins that is neither true nor false",
    ],
    ["a.conflist", { cniVersions: ["0.4.0"], cniVersion: "x" }, 'has the cniVersion "x", not a version like "1.0.0"'],
    ["a.conf", { ipam: "host-local" }, "has a key ipam in the configuration that is not an object"],
    ["a.conf", { IPAM: { Type: 1 } }, "has a key IPAM.Type in the configuration that is not a string"],
    ["a.conf", { capabilities: ["mac"] }, "has a key capabilities in the configuration that is not an object"],
    [
      "a.conf",
      { capabilities: { a: null, mac: "true" } },
      "has a key capabilities.mac in the configuration that is neither true nor false",
    ],
    ["a.conf", { dns: { search: "a" } }, "has a key dns.search in the configuration that is not a list"],
    [
      "a.conf",
      { dns: { nameservers: ["a", 1] } },
      "has a key dns.nameservers[1] in the configuration that is not a string",
    ],
    ["a.conf", { prevResult: [] }, "has a key prevResult in the configuration that is not an object"],
    [
      "a.conf",
      { "cni.dev/valid-attachments": [{ ifname: 1 }] },
      "has a key cni.dev/valid-attachments[0].ifname in the configuration that is not a string",
    ],
  ];
  for (const [file, value, message] of cases) {
    const text = JSON.stringify({
      name: "n",
      ...(file.endsWith("t") ? { plugins: [{ type: "a" }] } : { type: "a" }),
      ...value,
    });
    test(`${file} ${text} ${message}`, () => {
      assert.deepEqual(parseNetworkList(file, text), { objection: { message } });
      assert.deepEqual(readConfig(file, text), { objection: { message } });
    });
  }

  test("no type under the last spelling of its key: the last by name, except in a plugin's own file", () => {
    const plugin = '{"type":"","Type":"a"}';
    const objection = { message: "has no plugin type in plugins[0] (key type)" };
    assert.deepEqual(parseNetworkList("a.conflist", `{"name":"n","plugins":[${plugin}]}`), { objection });
    assert.ok("objection" in parseNetworkList("a.conf", plugin));
    assert.deepEqual(parsePlugin(plugin), { plugin: { type: "a", Type: "a" } });
  });

  test("a number beyond the largest double, except in a plugin's own file, of which libcni reads its keys only", () => {
    const objection = { message: "has a number that is too large" };
    assert.deepEqual(parseNetworkList("a.conf", '{"type":"a","mtu":1e999}'), { objection });
    assert.deepEqual(parseNetworkList("a.conflist", '{"name":"n","x":[-1e999],"plugins":[{"type":"a"}]}'), {
      objection,
    });
    assert.ok("plugin" in parsePlugin('{"type":"a","mtu":1e999}'));
  });

  test("a nesting that no program needs", () => {
    const deep = (levels: number): string => `{"name":"n","type":"a","x":${"[".repeat(levels)}${"]".repeat(levels)}}`;
    assert.ok("list" in readConfig("a.conf", deep(900)));
    for (const levels of [1001, 100_000]) {
      assert.deepEqual(readConfig("a.conf", deep(levels)), {
        objection: { message: "is nested deeper than 1000 levels" },
      });
    }
  });
});

describe("a plugin in the directory of its network", () => {
  test("is read with all its keys", () => {
    const plugin = { type: "tuning", sysctl: { a: "1" }, x: null };
    assert.deepEqual(parsePlugin(JSON.stringify(plugin)), { plugin });
  });
  const cases: [text: string, message: string][] = [
    ["", "is empty"],
    ["[]", "is not a JSON object"],
    ["{}", "has no plugin type in the configuration (key type)"],
    ['{"name":"n","plugins":[]}', "has no plugin type in the configuration (key type)"],
    ['{"type":"a","ipam":1}', "has a key ipam in the configuration that is not an object"],
  ];
  for (const [text, message] of cases) {
    test(`${JSON.stringify(text)} ${message}`, () => assert.deepEqual(parsePlugin(text), { objection: { message } }));
  }
});

describe("a text that is not JSON is refused, with the place", () => {
  const cases: [text: string, message: string, offset?: number][] = [
    ["", "is empty"],
    [" \n\t", "is empty"],
    ['{"name": "a",}', "is not JSON: property name expected", 13],
    ['{"name": "a"', "is not JSON: close brace expected", 12],
    ['{"delegates": [ ,{}]}', "is not JSON: value expected", 16],
    ['{"delegates": [ __x__ ]}', "is not JSON: invalid symbol", 16],
    ["{} {}", "is not JSON: end of file expected", 3],
    ["{// comment\n}", "is not JSON: invalid comment token", 1],
    ["{'name': 'a'}", "is not JSON: invalid symbol", 1],
    ['\ufeff{"name": "a"}', "is not JSON: invalid symbol U+FEFF", 0],
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
          assert.ok("list" in result || result.objection.message !== "");
        }
      },
    ),
  );
});

test("a runtime loads .conf, .conflist and .json, and nothing else", () => {
  const names = ["a.conf", "a.conflist", "a.json", ".conf", "a.b.conf"];
  const others = ["a", "conf", "a.conf.tmp", "a.conf~", "a.CONF", "a.yaml", "calico-kubeconfig", "a.conflists"];
  assert.deepEqual([...names, ...others].filter(isConfigName), names);
  assert.deepEqual([...names, ...others].filter(isListName), ["a.conflist"]);
});
