import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { withPodCidrs } from "../../src/kinds/pod-cidr.ts";

const [V4, V6] = ["10.244.3.0/24", "fd00:10:244:3::/64"];

/** What becomes of a list with this plugin. */
function edited(plugin: object, cidrs = [V4]): unknown {
  const list = { cniVersion: "1.0.0", name: "n", plugins: [plugin, { type: "portmap" }] };
  const text = withPodCidrs("a.conflist", JSON.stringify(list), cidrs);
  return text === undefined ? undefined : (JSON.parse(text) as { plugins: unknown[] }).plugins[0];
}

describe("the podCIDRs of a node", () => {
  test("come into the ranges of the bridge, one set of each family", () => {
    assert.deepEqual(edited({ type: "bridge", ipam: { type: "host-local" } }, [V4, V6]), {
      type: "bridge",
      ipam: { type: "host-local", ranges: [[{ subnet: V4 }], [{ subnet: V6 }]] },
    });
    assert.deepEqual(edited({ type: "bridge" }), {
      type: "bridge",
      ipam: { type: "host-local", ranges: [[{ subnet: V4 }]] },
    });
  });

  test("replace the old subnet and ranges, and keep everything else", () => {
    const ipam = {
      type: "host-local",
      subnet: "10.1.0.0/16",
      gateway: "10.1.0.1",
      rangeStart: "10.1.0.9",
      routes: [{ dst: "0.0.0.0/0" }],
      dataDir: "/x",
    };
    assert.deepEqual(edited({ type: "bridge", mtu: 1400, ipam }), {
      type: "bridge",
      mtu: 1400,
      ipam: { type: "host-local", routes: [{ dst: "0.0.0.0/0" }], dataDir: "/x", ranges: [[{ subnet: V4 }]] },
    });
    const old = {
      type: "host-local",
      ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: V6, rangeStart: "fd00:10:244:3::9" }]],
    };
    assert.deepEqual(edited({ type: "bridge", ipam: old }, [V4, V6]), {
      type: "bridge",
      ipam: { type: "host-local", ranges: [[{ subnet: V4 }], [{ subnet: V6, rangeStart: "fd00:10:244:3::9" }]] },
    });
  });

  test("that are there already leave the text as it is, byte for byte", () => {
    const text = `{"name":"n","plugins":[ {"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"${V4}"}]]}} ] }`;
    assert.equal(withPodCidrs("a.conflist", text, [V4]), text);
  });

  test("go to the bridge of a single configuration as well", () => {
    const single = withPodCidrs("a.conf", '{"name":"n","type":"bridge","ipam":{"type":"host-local"}}', [V4]) ?? "";
    assert.deepEqual(JSON.parse(single), {
      name: "n",
      type: "bridge",
      ipam: { type: "host-local", ranges: [[{ subnet: V4 }]] },
    });
  });

  test("have no place in other plugins, other IPAM and what is not JSON", () => {
    assert.equal(edited({ type: "ptp", ipam: { type: "host-local" } }), undefined);
    assert.equal(edited({ type: "calico", ipam: { type: "calico-ipam" } }), undefined);
    assert.equal(edited({ type: "bridge", ipam: { type: "dhcp" } }), undefined);
    for (const text of ["", "[]", "{", '{"plugins":3}'])
      assert.equal(withPodCidrs("a.conflist", text, [V4]), undefined);
  });

  test("change no number", () => {
    const text = '{"name":"n","type":"bridge","x":18446744073709551615,"y":1.0,"ipam":{"type":"host-local"}}';
    assert.match(withPodCidrs("a.conf", text, [V4]) ?? "", /"x": 18446744073709551615/u);
    const large = `{"name":"n","type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"${V4}","x":18446744073709551615}]]}}`;
    assert.equal(withPodCidrs("a.conf", large, [V4]), large);
  });
});
