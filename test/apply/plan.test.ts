import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import * as fc from "fast-check";

import type { Kind } from "../../src/asset.ts";
import type { Lists } from "../../src/kinds/lists.ts";
import {
  decideInstall,
  decideUninstall,
  planSteps,
  type Decision,
  type InstallFacts,
  type UninstallFacts,
} from "../../src/apply/plan.ts";
import { inspect } from "../../src/host/inspect.ts";
import type { HeldAsset } from "../../src/host/record.ts";

type KindLists = Partial<Record<Kind, Lists>>;

const OPTIONS = { owner: "me", refresh: false, prune: false };

/** What the record says of an asset. */
function heldBy(owners: string[], more: Partial<HeldAsset> = {}): HeldAsset {
  return { name: "a", kind: "plugin", owners, digest: "sha256:old", ...more };
}

/** Steps as text: the action, the kind's first letter, the name; `~` for what is pruned. */
function planned(lists: KindLists, held: HeldAsset[] = [], options: Partial<typeof OPTIONS> = {}): string {
  return planSteps(lists, held, { ...OPTIONS, ...options })
    .map(({ action, kind, name, pruned }) => `${action} ${kind[0]}:${name}${pruned === true ? "~" : ""}`)
    .join(", ");
}

describe("the plan", () => {
  const all = { desired: ["1", "2"] };
  const cases: [promise: string, lists: KindLists, plan: string][] = [
    ["of nothing has no steps", {}, ""],
    ["of empty lists has no steps", { plugin: { desired: [] }, config: { desired: [], current: [] } }, ""],
    [
      "installs manifests, then plugins, then configs, in the given order, whatever the order of the options",
      { config: all, manifest: all, plugin: all },
      "install m:1, install m:2, install p:1, install p:2, install c:1, install c:2",
    ],
    [
      "uninstalls configs, then plugins, then manifests, in reverse order",
      Object.fromEntries(["plugin", "config", "manifest"].map((kind) => [kind, { desired: [], current: ["1", "2"] }])),
      "uninstall c:2, uninstall c:1, uninstall p:2, uninstall p:1, uninstall m:2, uninstall m:1",
    ],
    [
      "adds everything before it removes anything",
      { plugin: { desired: ["n"], current: ["o"] }, config: { desired: ["n"], current: ["o"] } },
      "install p:n, install c:n, uninstall c:o, uninstall p:o",
    ],
    ["leaves what is in both lists", { plugin: { desired: ["a"], current: ["b", "a"] } }, "leave p:a, uninstall p:b"],
    [
      "compares whole names",
      { plugin: { desired: ["vlan"], current: ["vlan", "macvlan"] }, config: { desired: ["a.b"], current: ["a-b"] } },
      "leave p:vlan, install c:a.b, uninstall c:a-b, uninstall p:macvlan",
    ],
    ["compares with the host where no current list is given", { plugin: { desired: ["a"] } }, "install p:a"],
  ];
  for (const [promise, lists, plan] of cases) test(promise, () => assert.equal(planned(lists), plan));

  test("with --refresh also looks at what is in both lists", () => {
    assert.equal(planned({ plugin: { desired: ["a"], current: ["a"] } }, [], { refresh: true }), "install p:a");
  });

  test("with --prune removes what the owner holds and no longer desires, of the kinds that are given", () => {
    const held = ["a", "b", "c"].map((name) => ({ ...heldBy(["me"]), name }));
    const others = { ...heldBy(["other"]), name: "d" };
    const shared = { ...heldBy(["me", "other"]), name: "e" };
    const options = { prune: true };
    const pruned = "uninstall p:e~, uninstall p:c~, uninstall p:a~";
    assert.equal(planned({ plugin: { desired: ["b"] } }, [...held, others, shared], options), `install p:b, ${pruned}`);
    assert.equal(planned({ config: { desired: ["x"] } }, held, options), "install c:x");
    assert.equal(planned({ plugin: { desired: ["b"] } }, held), "install p:b");
  });

  test("never removes what is desired, and names everything once, whatever the lists", () => {
    const names = fc.uniqueArray(fc.constantFrom("a", "aa", "a.a", "a-a", "b", "constructor", "__proto__"));
    const record = names.map((list) => list.map((name) => ({ ...heldBy(["me"]), name })));
    fc.assert(
      fc.property(names, fc.option(names), record, fc.boolean(), (desired, current, held, prune) => {
        const lists = { plugin: current === null ? { desired } : { desired, current } };
        const steps = planSteps(lists, held, { ...OPTIONS, prune });
        const removals = steps.filter(({ action }) => action === "uninstall").map(({ name }) => name);
        const gone = [...(current ?? []), ...(prune ? held.map(({ name }) => name) : [])];
        assert.deepEqual(
          steps.map(({ name }) => name),
          [...desired, ...removals],
        );
        assert.deepEqual(new Set(removals), new Set<string>(gone.filter((name) => !desired.includes(name))));
        assert.equal(new Set(steps.map(({ name }) => name)).size, steps.length);
      }),
    );
  });
});

/** One of everything that a name can stand for. */
const place = fs.mkdtempSync(join(tmpdir(), "cni-node-plan-"));
fs.writeFileSync(join(place, "file"), "", { mode: 0o600 });
fs.writeFileSync(join(place, "program"), "");
fs.chmodSync(join(place, "program"), 0o755);
fs.symlinkSync("nowhere", join(place, "link"));
fs.mkdirSync(join(place, "directory"));
execFileSync("mkfifo", [join(place, "fifo")]);
const live = Object.fromEntries(
  ["absent", "file", "program", "link", "directory", "fifo"].map((name) => [name, inspect(place, name)] as const),
) as Record<"absent" | "file" | "program" | "link" | "directory" | "fifo", UninstallFacts["live"]>;
after(() => fs.rmSync(place, { recursive: true }));

/** A decision as text: outcome, effect, owners afterwards, and why. */
function shown({ outcome, effect, keepLive, asset, reason }: Decision): string {
  const holds = asset === undefined ? "forgotten" : `[${asset.owners.join()}]`;
  return `${outcome} ${effect}${keepLive ? "+keep" : ""} ${holds}${reason === undefined ? "" : ` ${reason}`}`;
}

describe("installing", () => {
  function decide(facts: Partial<InstallFacts>): Decision {
    const nothing = { path: "/bin/a", name: "a", owner: "me", takeOver: false, held: undefined, mode: 0o755 };
    const content = { sameContent: false, sameAsHeld: false, digest: "sha256:new" };
    return decideInstall({ ...nothing, ...content, kind: "plugin", live: live.absent, ...facts });
  }

  const same = { sameContent: true, sameAsHeld: true };
  const mine = heldBy(["me"]);
  const cases: [promise: string, facts: Partial<InstallFacts>, decision: string][] = [
    ["writes what is absent", {}, "created write [me]"],
    [
      "replaces a foreign file and keeps it",
      { live: live.program },
      "configured write+keep [me] replaces a file that was there before; uninstall restores it",
    ],
    ["replaces a link and keeps it", { live: live.link }, "configured write+keep [me] a link was in its place"],
    [
      "takes a foreign file that is right for what was there before",
      { live: live.program, ...same },
      "unchanged none+keep [me] was there already",
    ],
    ["leaves what is right", { live: live.program, held: mine, ...same }, "unchanged none [me]"],
    ["replaces what we wrote", { live: live.program, held: mine }, "configured write [me]"],
    ["fixes a wrong mode", { live: live.file, held: mine, ...same }, "configured write [me] the mode was different"],
    [
      "says that somebody changed the file",
      { live: live.program, held: mine, sameAsHeld: true },
      "configured write [me] it had been changed",
    ],
    ["says that somebody removed the file", { held: mine, sameAsHeld: true }, "created write [me] it had been removed"],
    [
      "joins another owner whose content is the same",
      { live: live.program, held: heldBy(["other"]), ...same },
      "unchanged none [me,other]",
    ],
    [
      "joins another owner whose file somebody has changed, and fixes it",
      { live: live.program, held: heldBy(["other"]), sameAsHeld: true },
      "configured write [me,other] it had been changed",
    ],
    [
      "with --take-over replaces another owner's content and drops that owner",
      { live: live.program, held: heldBy(["me", "other"]), takeOver: true },
      "configured write [me]",
    ],
    [
      "of what was given back keeps the file that is there now",
      { live: live.program, held: heldBy([], { givenBack: true }) },
      "configured write+keep [me] replaces a file that was there before; uninstall restores it",
    ],
  ];
  for (const [promise, facts, decision] of cases) test(promise, () => assert.equal(shown(decide(facts)), decision));

  test("forgets that the file was given back, and keeps fields of later versions", () => {
    const asset = decide({ held: heldBy([], { givenBack: true, later: 1 }) }).asset;
    assert.deepEqual([asset?.givenBack, asset?.["later"]], [undefined, 1]);
  });

  test("holds the new content where somebody else brought it", () => {
    const { asset } = decide({ live: live.program, held: mine, sameContent: true });
    assert.equal(asset?.digest, "sha256:new");
  });

  for (const owners of [["other"], ["me", "other"], ["a", "b", "me"]]) {
    test(`refuses other content than ${owners.filter((owner) => owner !== "me").join(" and ")} holds`, () => {
      assert.throws(() => decide({ live: live.program, held: heldBy(owners) }), {
        code: "held-by-other",
        exitCode: 1,
        message: `/bin/a: cannot be installed: ${owners.filter((owner) => owner !== "me").join(", ")} holds it with other content`,
        hint: "give the same version to both, or take it over with --take-over",
      });
    });
  }

  test("refuses where a directory or a special file is, held or not", () => {
    for (const [name, what] of [
      ["directory", "a directory"],
      ["fifo", "a special file"],
    ] as const) {
      for (const held of [undefined, mine]) {
        const failure = { code: "not-a-file", message: `/bin/a: is ${what}, not a file of cni-node's` };
        assert.throws(() => decide({ live: live[name], held, takeOver: true }), failure);
      }
    }
  });
});

describe("uninstalling", () => {
  function decide(facts: Partial<UninstallFacts>): Decision {
    const nothing = { path: "/bin/a", owner: "me", pruned: false, held: undefined, live: live.file, ours: false };
    return decideUninstall({ ...nothing, ...facts });
  }

  const mine = heldBy(["me"]);
  const kept = heldBy(["me"], { before: "1234" });
  const backup = { path: "/objects/1234" };
  const abandoned = heldBy([], { before: "1234" });
  const cases: [promise: string, facts: Partial<UninstallFacts>, decision: string][] = [
    ["of what is gone does nothing", { live: live.absent }, "absent none forgotten"],
    ["removes what was named even without a record", {}, "deleted remove forgotten"],
    ["removes a link, not what it leads to", { live: live.link }, "deleted remove forgotten"],
    ["removes what we wrote", { held: mine, ours: true }, "deleted remove forgotten"],
    ["removes what we wrote and somebody has changed, when it is named", { held: mine }, "deleted remove forgotten"],
    [
      "leaves what somebody has changed, when it is pruned",
      { held: mine, pruned: true },
      "kept none [me] it was changed after cni-node wrote it",
    ],
    ["forgets what we wrote and somebody has removed", { held: mine, live: live.absent }, "absent none forgotten"],
    [
      "leaves what another owner holds, which no longer is ours",
      { held: heldBy(["me", "other"]), ours: true },
      "kept none [other] also held by other",
    ],
    ["leaves what only others hold", { held: heldBy(["a", "b"]), ours: true }, "kept none [a,b] held by a, b"],
    [
      "puts back what was there before",
      { held: kept, ours: true, backup },
      "deleted restore [] what was there before comes back",
    ],
    [
      "does not put it back over what somebody has changed since",
      { held: kept, backup },
      "kept none [] it was changed since; what was there before is kept at /objects/1234",
    ],
    [
      "does not put it back where somebody has removed our file",
      { held: kept, live: live.absent, backup },
      "absent none [] it had been removed; what was there before is kept at /objects/1234",
    ],
    [
      "does not put back what no runtime would load, and says where it is kept",
      { held: kept, ours: true, backup: { ...backup, objection: "is empty" } },
      "deleted remove [] what was there before is kept at /objects/1234: it is empty",
    ],
    [
      "leaves what was there before and was right",
      { held: { name: "a", kind: "plugin", owners: ["me"], before: "1234" }, ours: true, backup },
      "kept none [] it was there before cni-node",
    ],
    [
      "leaves what an earlier uninstall gave back",
      { held: heldBy([], { givenBack: true }), ours: true },
      "kept none [] an earlier uninstall gave it back",
    ],
    [
      "forgets what an earlier uninstall gave back and somebody has removed",
      { held: heldBy([], { givenBack: true }), live: live.absent },
      "absent none forgotten",
    ],
    ["leaves what is not ours any more", { held: abandoned, backup }, "kept none [] it is not cni-node's"],
    [
      "says again where the file of before is kept",
      { held: abandoned, live: live.absent, backup },
      "absent none [] what was there before is kept at /objects/1234",
    ],
  ];
  for (const [promise, facts, decision] of cases) test(promise, () => assert.equal(shown(decide(facts)), decision));

  test("puts back the object that kept the file, and the record says that it was given back", () => {
    const decision = decide({ held: kept, ours: true, backup });
    const { restores, asset } = decision;
    assert.deepEqual([restores, asset], ["1234", { name: "a", kind: "plugin", owners: [], givenBack: true }]);
  });

  test("keeps the file of before in the record as long as it was not put back", () => {
    for (const facts of [{}, { live: live.absent }, { ours: true, backup: { ...backup, objection: "is empty" } }]) {
      assert.equal(decide({ held: kept, backup, ...facts }).asset?.before, "1234");
    }
  });

  test("refuses where a directory or a special file is", () => {
    for (const name of ["directory", "fifo"] as const) {
      assert.throws(() => decide({ live: live[name], held: mine }), { code: "not-a-file" });
    }
  });
});
