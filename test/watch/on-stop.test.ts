import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { selects } from "../../src/watch/node-selection.ts";
import { decideStop, type DaemonSetLook } from "../../src/watch/on-stop.ts";

const OWN = { namespace: "kube-system", name: "multus", node: "n1" };
const THERE = { metadata: { name: "multus" }, spec: { template: { spec: {} } } };

/** A DaemonSet whose pods have this specification. */
function withPod(spec: object): object {
  return { metadata: {}, spec: { template: { spec } } };
}

function affinity(...nodeSelectorTerms: object[]): object {
  return { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } } };
}

describe("--on-stop=auto", () => {
  const cases: [what: string, seen: DaemonSetLook, wasSeen: boolean, uninstall: boolean, because: RegExp][] = [
    ["deleted", { status: 404, isAbsent: true }, true, true, /is deleted/u],
    ["never there: its name is wrong", { status: 404, isAbsent: true }, false, false, /has never been there/u],
    ["a 404 of something else than the API", { status: 404, isAbsent: false }, true, false, /not known/u],
    [
      "being deleted",
      { status: 200, object: { ...THERE, metadata: { deletionTimestamp: "t" } } },
      true,
      true,
      /is being deleted/u,
    ],
    ["there: an upgrade, a drain, an eviction", { status: 200, object: THERE }, true, false, /another pod follows/u],
    ["the account is gone (story 7)", { status: 401 }, true, true, /account/u],
    ["the account was never known", { status: 401 }, false, false, /not known/u],
    ["the right is gone with it", { status: 403 }, true, true, /right to get .* is gone/u],
    ["the right was never there", { status: 403 }, false, false, /cannot be read/u],
    ["the API is away", { status: undefined, reason: "no answer" }, true, false, /not known .*: no answer/u],
    ["the API fails", { status: 500 }, true, false, /HTTP status 500/u],
    ["an answer that is no object", { status: 200, object: "x" }, true, false, /not known/u],
    [
      "a node that is no longer selected (story 11)",
      { status: 200, object: withPod({ nodeSelector: { a: "b" } }), node: { metadata: { labels: {} } } },
      true,
      true,
      /no longer selects/u,
    ],
    [
      "a node that cannot be read",
      { status: 200, object: withPod({ nodeSelector: { a: "b" } }) },
      true,
      false,
      /not known/u,
    ],
  ];
  for (const [what, seen, wasSeen, uninstall, because] of cases) {
    test(`${uninstall ? "uninstalls" : "keeps"}: ${what}`, () => {
      const decision = decideStop(seen, OWN, wasSeen);
      assert.equal(decision.uninstall, uninstall);
      assert.match(decision.because, because);
      const isDoubt = /not known|never been/u.test(decision.because);
      assert.equal(decision.hint !== undefined, isDoubt, "in doubt it says what to do");
    });
  }
});

describe("a DaemonSet selects a node", () => {
  const node = (labels: object): object => ({ metadata: { labels } });
  const cases: [what: string, pod: object, labels: object | undefined, expected: boolean | undefined][] = [
    ["without a selector, whatever the node", {}, undefined, true],
    ["with a label that the node has", { nodeSelector: { a: "b" } }, { a: "b" }, true],
    ["not with another value", { nodeSelector: { a: "b" } }, { a: "c" }, false],
    ["not by the name of another node", { nodeName: "n2" }, {}, false],
    ["by its own name", { nodeName: "n1" }, {}, true],
    ["perhaps, if the node is not known", { nodeSelector: { a: "b" } }, undefined, undefined],
    ["In", affinity({ matchExpressions: [{ key: "a", operator: "In", values: ["x", "b"] }] }), { a: "b" }, true],
    ["not In", affinity({ matchExpressions: [{ key: "a", operator: "In", values: ["x"] }] }), { a: "b" }, false],
    [
      "NotIn, and the label is missing",
      affinity({ matchExpressions: [{ key: "a", operator: "NotIn", values: ["x"] }] }),
      {},
      true,
    ],
    ["not NotIn", affinity({ matchExpressions: [{ key: "a", operator: "NotIn", values: ["b"] }] }), { a: "b" }, false],
    ["Exists", affinity({ matchExpressions: [{ key: "a", operator: "Exists" }] }), { a: "" }, true],
    ["not DoesNotExist", affinity({ matchExpressions: [{ key: "a", operator: "DoesNotExist" }] }), { a: "" }, false],
    ["Gt", affinity({ matchExpressions: [{ key: "a", operator: "Gt", values: ["3"] }] }), { a: "10" }, true],
    ["not Lt", affinity({ matchExpressions: [{ key: "a", operator: "Lt", values: ["3"] }] }), { a: "10" }, false],
    [
      "one term of several",
      affinity(
        { matchExpressions: [{ key: "x", operator: "Exists" }] },
        { matchExpressions: [{ key: "a", operator: "Exists" }] },
      ),
      { a: "" },
      true,
    ],
    [
      "all requirements of a term",
      affinity({
        matchExpressions: [
          { key: "x", operator: "Exists" },
          { key: "a", operator: "Exists" },
        ],
      }),
      { a: "" },
      false,
    ],
    [
      "by its name as a field",
      affinity({ matchFields: [{ key: "metadata.name", operator: "In", values: ["n1"] }] }),
      {},
      true,
    ],
    ["not by a term without requirements", affinity({}), {}, false],
    [
      "by an operator that is not known, for nothing is removed on a guess",
      affinity({ matchExpressions: [{ key: "a", operator: "Near", values: [] }] }),
      {},
      true,
    ],
  ];
  for (const [what, pod, labels, expected] of cases) {
    test(what, () => {
      const { spec } = withPod(pod) as { spec: object };
      assert.equal(selects(spec, "n1", labels && node(labels)), expected);
    });
  }

  test("whatever its shape", () => {
    for (const spec of [undefined, null, 5, [], { template: [] }, withPod({ nodeSelector: 5, affinity: "x" })]) {
      assert.equal(selects(spec, "n1", undefined), true);
    }
  });
});
