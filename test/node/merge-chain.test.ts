import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { chainOf, type Chain } from "../../src/node/chain.ts";
import { keepChained } from "../../src/node/merge-chain.ts";

type Plugin = Record<string, unknown>;

const BRIDGE = { type: "bridge", mtu: 1500 };
const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
const TUNING = { type: "tuning", sysctl: { a: "1" } };
const ISTIO = { type: "istio-cni", log_level: "info" };
const LINKERD = { type: "linkerd-cni", policy: {} };

function listOf(...plugins: readonly unknown[]): string {
  return `${JSON.stringify({ cniVersion: "1.0.0", name: "ours", plugins }, undefined, 1)}\n`;
}

function recordOf(text: string): Chain {
  const chain = chainOf("a.conflist", text);
  assert.ok(chain !== undefined);
  return chain;
}

function merged(recorded: string, live: string, desired: string): string {
  return keepChained("a.conflist", desired, live, recordOf(recorded));
}

function pluginsOf(text: string): unknown[] {
  return (JSON.parse(text) as { plugins: unknown[] }).plugins;
}

describe("a list into which others have chained plugins", () => {
  const ours = [BRIDGE, PORTMAP];
  const cases: [promise: string, recorded: unknown[], live: unknown[], desired: unknown[], wanted: unknown[]][] = [
    ["keeps one behind all", ours, [...ours, ISTIO], ours, [...ours, ISTIO]],
    ["keeps one between two", ours, [BRIDGE, ISTIO, PORTMAP], ours, [BRIDGE, ISTIO, PORTMAP]],
    ["keeps one before all", ours, [ISTIO, ...ours], ours, [ISTIO, ...ours]],
    ["keeps several, in their order", ours, [BRIDGE, LINKERD, ISTIO, PORTMAP], ours, [BRIDGE, LINKERD, ISTIO, PORTMAP]],
    [
      "keeps one behind its neighbor that is changed",
      ours,
      [BRIDGE, ISTIO, PORTMAP],
      [{ ...BRIDGE, mtu: 9000 }, TUNING, PORTMAP],
      [{ ...BRIDGE, mtu: 9000 }, ISTIO, TUNING, PORTMAP],
    ],
    ["keeps one behind all that are new", ours, [...ours, ISTIO], [...ours, TUNING], [...ours, TUNING, ISTIO]],
    ["keeps one whose neighbor is removed", ours, [BRIDGE, PORTMAP, ISTIO], [BRIDGE], [BRIDGE, ISTIO]],
    ["keeps one if all of ours are replaced", ours, [...ours, ISTIO], [{ type: "ptp" }], [{ type: "ptp" }, ISTIO]],
    [
      "keeps one of the type of a new one of ours",
      [BRIDGE],
      [BRIDGE, TUNING],
      [BRIDGE, { type: "tuning" }],
      [BRIDGE, { type: "tuning" }, TUNING],
    ],
    ["does not have one twice that is desired now", [BRIDGE], [BRIDGE, PORTMAP], ours, ours],
    [
      "gets back one of ours that was changed",
      ours,
      [{ ...BRIDGE, mtu: 1400 }, PORTMAP, ISTIO],
      ours,
      [...ours, ISTIO],
    ],
    ["gets back one of ours that was removed", ours, [PORTMAP, ISTIO], ours, [...ours, ISTIO]],
    ["gets back the order of ours", ours, [PORTMAP, ISTIO, BRIDGE], ours, [BRIDGE, PORTMAP, ISTIO]],
    ["loses what no runtime loads", ours, [...ours, "text", null, { mtu: 1 }], ours, ours],
  ];
  for (const [promise, recorded, live, desired, wanted] of cases) {
    test(promise, () => {
      const text = merged(listOf(...recorded), listOf(...live), listOf(...desired));
      assert.deepEqual(pluginsOf(text), wanted);
      assert.equal(merged(listOf(...desired), text, listOf(...desired)), text);
    });
  }

  test("stays as it is, in whatever form others write it", () => {
    const live = JSON.stringify({ plugins: [BRIDGE, PORTMAP, ISTIO], name: "ours", cniVersion: "1.0.0" });
    assert.equal(merged(listOf(...ours), live, listOf(...ours)), live);
  });

  test("gets back what is not a plugin", () => {
    const live = listOf(...ours, ISTIO).replace('"ours"', '"theirs"');
    assert.equal(
      JSON.stringify(JSON.parse(merged(listOf(...ours), live, listOf(...ours)))),
      JSON.stringify(JSON.parse(listOf(...ours, ISTIO))),
    );
  });

  test("is replaced if it is not a list, and if it was recorded without types", () => {
    const text = listOf(...ours);
    for (const live of ["", "{", "[]", "null", '{"plugins": {}}', JSON.stringify({ name: "a", type: "bridge" })]) {
      assert.equal(merged(text, live, text), text);
    }
    const { rest, plugins } = recordOf(text);
    assert.equal(keepChained("a.conflist", text, listOf(...ours, ISTIO), { rest, plugins }), text);
    assert.equal(keepChained("a.conf", text, listOf(...ours, ISTIO), recordOf(text)), text);
  });

  test("keeps numbers that JavaScript cannot hold", () => {
    const [desired, live] = [
      listOf({ type: "bridge", mark: 1 }),
      listOf({ type: "bridge", mark: 2 }, { type: "x", id: 0 }),
    ];
    const [large, larger] = ["12345678901234567891", "98765432109876543219"];
    const text = merged(
      listOf({ type: "bridge", mark: 2 }),
      live.replace('"id": 0', `"id": ${large}`),
      desired.replace('"mark": 1', `"mark": ${larger}`),
    );
    assert.ok(text.includes(`"id": ${large}`) && text.includes(`"mark": ${larger}`), text);
  });
});

describe("any three lists", () => {
  const own = fc.record(
    { type: fc.constantFrom("a", "b", "c"), n: fc.integer({ min: 0, max: 2 }) },
    { noNullPrototype: true },
  );
  const plugins = fc.array<Plugin>(own, { minLength: 1, maxLength: 5 });
  const foreign = fc.record(
    { type: fc.constantFrom("x", "y", "z"), n: fc.integer({ min: 0, max: 9 }) },
    { noNullPrototype: true },
  );
  const insertions = fc.array(fc.tuple(fc.nat(8), foreign), { maxLength: 4 });

  function inserted(list: readonly Plugin[], added: readonly [number, Plugin][]): Plugin[] {
    return added.reduce((all, [at, one]) => all.toSpliced(Math.min(at, all.length), 0, one), [...list]);
  }
  const sorted = (list: readonly unknown[]): string[] => list.map((plugin) => JSON.stringify(plugin)).toSorted();
  const isForeign = (plugin: unknown): boolean => ["x", "y", "z"].includes((plugin as Plugin)["type"] as string);

  test("give the desired plugins in order, and all of others; once more changes nothing", () => {
    fc.assert(
      fc.property(plugins, plugins, plugins, insertions, (recorded, changed, desired, added) => {
        const live = inserted(changed, added);
        const text = merged(listOf(...recorded), listOf(...live), listOf(...desired));
        const result = pluginsOf(text);
        assert.deepEqual(sorted(result.filter(isForeign)), sorted(live.filter(isForeign)));
        const known = new Set([...recorded, ...desired].map((plugin) => JSON.stringify(plugin)));
        const rest = result.filter((plugin) => !isForeign(plugin));
        // What is neither recorded nor desired may be another's, too.
        const more = rest.filter((plugin) => !known.has(JSON.stringify(plugin)));
        assert.deepEqual(
          rest.filter((plugin) => !more.includes(plugin)),
          desired,
        );
        assert.equal(merged(listOf(...desired), text, listOf(...desired)), text);
      }),
    );
  });

  test("give the desired text itself if nobody has chained anything", () => {
    fc.assert(
      fc.property(plugins, plugins, (recorded, desired) => {
        const text = JSON.stringify(JSON.parse(listOf(...desired)), undefined, "\t");
        assert.equal(merged(listOf(...recorded), listOf(...recorded), text), text);
      }),
    );
  });

  test("keep the places of others if ours do not change", () => {
    fc.assert(
      fc.property(plugins, insertions, (ours, added) => {
        const live = listOf(...inserted(ours, added));
        const text = merged(listOf(...ours), live, listOf(...ours));
        assert.deepEqual(pluginsOf(text), pluginsOf(live));
      }),
    );
  });
});
