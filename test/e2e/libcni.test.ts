/** libcni 1.3.1 and src/cni run the same scripts with the same recording plugin: calls, results, cache, errors. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { parseNetworkList } from "../../src/cni/config.ts";
import type { CniError } from "../../src/cni/error.ts";
import { add } from "../../src/cni/network.ts";
import { convertResult, parseResult, type AnyResult } from "../../src/cni/result.ts";
import { Random } from "../helpers/random.ts";
import { Recorder, type RecordedCall } from "../helpers/recorder.ts";
import { convertWithLibcni, runLibcni, runOurs, type Attachment, type Outcome, type Step } from "../libcni/run.ts";
import { generateScript, PREV_RESULT_OF_CONFIG, resultText, VERSIONS, type Script } from "../libcni/scripts.ts";

const SCRIPTS = 300;
const MIXED = 40;
const CONVERSIONS = 3000;

describe("scripts that libcni and src/cni run alike, but for what the specification demands of requests", () => {
  test(`${SCRIPTS} generated scripts`, async () => {
    const scripts = Array.from({ length: SCRIPTS }, (_, seed) => generateScript(seed));
    const outcomes = await libcniOn(scripts);
    const seen = new Map<string, number>();
    for (const [seed, script] of scripts.entries()) {
      using recorder = new Recorder(script.plugins);
      for (const [index, step] of script.steps.entries()) {
        const theirs = outcomes[seed]?.[index] as Outcome;
        compare(
          await runOurs(recorder, step),
          theirs,
          step,
          recorder.bin,
          `script ${seed}, step ${index}: ${textOf(step)}`,
        );
        const kind = `${step.do} ${theirs.errors.length > 0 ? "fails" : "succeeds"}`;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
    // The generator is of use only if everything occurs.
    for (const operation of ["add", "check", "del", "gc", "status"]) {
      for (const end of ["succeeds", "fails"]) {
        assert.ok(
          (seen.get(`${operation} ${end}`) ?? 0) >= 10,
          `${operation} ${end}: ${seen.get(`${operation} ${end}`)}`,
        );
      }
    }
  });

  test(`${MIXED} of them, in which libcni and src/cni take turns on one cache`, async () => {
    const scripts = Array.from({ length: MIXED }, (_, seed) => generateScript(seed));
    const outcomes = await libcniOn(scripts);
    for (const [seed, script] of scripts.entries()) {
      using recorder = new Recorder(script.plugins);
      for (const [index, step] of script.steps.entries()) {
        const what = `script ${seed}, step ${index}: ${textOf(step)}`;
        const theirs = outcomes[seed]?.[index] as Outcome;
        if (index % 2 === seed % 2) {
          compare(await runOurs(recorder, step), theirs, step, recorder.bin, what);
        } else {
          const [[outcome]] = runLibcni([{ root: recorder.root, steps: [step] }]) as [[Outcome]];
          assert.deepEqual(withoutRoot(outcome, recorder.bin), theirs, what);
        }
      }
    }
  });
});

test(`${CONVERSIONS} conversions of results`, () => {
  const random = new Random(1);
  const conversions = Array.from({ length: CONVERSIONS }, () => ({
    result: resultText(random, random.pick(VERSIONS)),
    version: random.pick([...VERSIONS, "", "9.9.9"]),
  }));
  const theirs = convertWithLibcni(conversions);
  let converted = 0;
  for (const [index, { result, version }] of conversions.entries()) {
    assert.deepEqual(convertOurs(result, version), theirs[index], `${result} to ${version}`);
    if (theirs[index] !== null) converted++;
  }
  assert.ok(converted > CONVERSIONS / 2);
});

function convertOurs(text: string, version: string): unknown {
  try {
    return convertResult(parseResult(JSON.parse(text)), version);
  } catch {
    return null;
  }
}

/** What libcni does; the directories of the plugins have the same name in all outcomes. */
async function libcniOn(scripts: readonly Script[]): Promise<Outcome[][]> {
  using stack = new DisposableStack();
  const recorders = scripts.map(({ plugins }) => stack.use(new Recorder(plugins)));
  const roots = scripts.map(({ steps }, index) => ({ root: recorders[index]?.root ?? "", steps }));
  return runLibcni(roots).map((steps, index) =>
    steps.map((outcome) => withoutRoot(outcome, recorders[index]?.bin ?? "")),
  );
}

function withoutRoot(outcome: Outcome, bin: string): Outcome {
  return {
    ...outcome,
    errors: outcome.errors.map((error) => ({ ...error, text: "" })),
    calls: outcome.calls.map((call) => ({ ...call, path: call.path === bin ? "BIN" : call.path, stdin: "" })),
  };
}

function compare(given: Outcome, theirs: Outcome, step: Step, bin: string, what: string): void {
  const ours = withoutRoot(given, bin);
  const { calls, takenBack } = splitCalls(ours.calls, step);
  assert.deepEqual(
    calls,
    theirs.calls.map((call) => expectedOf(call)),
    what,
  );
  checkTakenBack(takenBack, theirs, step, what);
  assert.deepEqual(ours.result, theirs.result, what);
  assert.deepEqual(ours.versions, theirs.versions, what);
  assert.deepEqual(ours.errors, theirs.errors, `${what}: ${given.errors.map(({ text }) => text).join("; ")}`);
  assert.deepEqual(ours.cache, theirs.cache, what);
}

/** An ADD that fails is followed by DEL. */
function splitCalls(calls: RecordedCall[], step: Step): { calls: RecordedCall[]; takenBack: RecordedCall[] } {
  if (step.do !== "add") return { calls, takenBack: [] };
  const isDelete = ({ command }: RecordedCall): boolean => command === "DEL";
  return { calls: calls.filter((call) => !isDelete(call)), takenBack: calls.filter(isDelete) };
}

function checkTakenBack(takenBack: RecordedCall[], theirs: Outcome, step: Step, what: string): void {
  if (step.do !== "add") return;
  const [error] = theirs.errors;
  const isNothing = theirs.calls.length === 0 || (theirs.calls.length === 1 && error?.code === 3);
  const { plugins } = JSON.parse(step.list) as { plugins: { type: string }[] };
  const types = error === undefined || isNothing ? [] : plugins.map(({ type }) => type).toReversed();
  // The third plugin is missing in some scripts.
  const called = takenBack.map(({ plugin }) => plugin);
  assert.deepEqual(
    called,
    types.filter((type) => called.includes(type) || type !== "p2"),
    what,
  );
  for (const { request } of takenBack) assert.ok(!("prevResult" in request), what);
}

/** What the specification demands of a request where libcni does otherwise (docs/library.md). */
function expectedOf({ request, ...call }: RecordedCall): RecordedCall {
  const isForAll = call.command === "GC" || call.command === "STATUS";
  const kept = Object.entries(request).filter(([key]) => {
    if (key === "capabilities") return isForAll;
    return !key.startsWith("cni.dev/") || (call.command === "GC" && key === "cni.dev/valid-attachments");
  });
  const expected = Object.fromEntries(kept);
  const { prevResult, cniVersion } = expected as { prevResult?: AnyResult; cniVersion: string };
  if (prevResult === undefined || isForAll || call.command === "VERSION") return { ...call, request: expected };
  if (isDeepStrictEqual(prevResult, PREV_RESULT_OF_CONFIG)) delete expected["prevResult"];
  else expected["prevResult"] = convertResult(prevResult, cniVersion);
  return { ...call, request: expected };
}

function textOf(step: Step): string {
  return JSON.stringify(step).slice(0, 2000);
}

test("what is not a container ID, interface or network name is refused with the same code", async () => {
  const names: [keyof Names, values: string[]][] = [
    ["containerId", ["", "a", "A0._-", "-a", "_a", ".a", "a b", "a/b", "../a", "é", "a\n", "a:b", "a".repeat(200)]],
    ["ifName", ["", "a", ".", "..", "...", "a/b", "a:b", "a b", "a\t", "a\u00a0", "\u0085", "é", "é".repeat(8), "-"]],
    ["ifName", ["0123456789abcde", "0123456789abcdef"]],
    ["name", ["a", "A0._-", "-a", "_a", ".", "a b", "a/b", "é", "a\n"]],
  ];
  const attachments = names.flatMap(([key, values]) =>
    values.map((value) => ({ containerId: "c1", ifName: "eth0", name: "net", [key]: value })),
  );
  using stack = new DisposableStack();
  const runs = attachments.map(({ name, ...attachment }) => {
    const { root, bin, cacheDir } = stack.use(new Recorder(["p0"]));
    const list = JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "p0" }] });
    const conf = { ...attachment, netns: "/run/netns/a", args: [], capabilityArgs: {} };
    return { root, steps: [{ do: "add" as const, list, ...conf }], runtime: { ...conf, pluginDirs: [bin], cacheDir } };
  });
  const theirs = runLibcni(runs).map(([outcome]) => outcome?.errors[0]?.code);
  for (const [index, { steps, runtime, root }] of runs.entries()) {
    // What libcni has remembered is not to stand in the way.
    fs.rmSync(join(root, "cache"), { recursive: true, force: true });
    const read = parseNetworkList("a.conflist", steps[0]?.list ?? "");
    assert.ok("list" in read);
    const ours = await add(read.list, runtime).then(
      () => undefined,
      (error: CniError) => error.code,
    );
    assert.equal(ours, theirs[index], JSON.stringify(attachments[index]));
  }
  assert.deepEqual(new Set(theirs), new Set([undefined, 3, 4, 7]));
});

interface Names {
  containerId: string;
  ifName: string;
  name: string;
}

describe("where the specification demands other than libcni does (docs/library.md)", () => {
  const ADD: Attachment = { containerId: "c1", netns: "/run/netns/a", ifName: "eth0", args: [], capabilityArgs: {} };
  const list = (keys: object = {}, plugin: object = {}): string =>
    JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "p0", ...plugin }], ...keys });
  const step = (operation: "add" | "check" | "del", keys: Partial<Attachment & { list: string }> = {}): Step => ({
    do: operation,
    list: list(),
    ...ADD,
    ...keys,
  });

  test("an interface that the container has is not added once more (section 2, ADD)", async () => {
    const steps = [step("add"), step("add"), step("add", { list: list({ name: "other" }) })];
    assert.deepEqual(await both(steps, briefly), {
      libcni: ["p0 ADD", "p0 ADD", "p0 ADD"],
      ours: ["p0 ADD", "fails", "fails"],
    });
  });

  test("a result that is stored is not overwritten by another container's (section 3, Adding an attachment)", async () => {
    const steps = [
      step("add", { list: list({ name: "a-b" }), containerId: "c" }),
      step("add", { list: list({ name: "a" }), containerId: "b-c" }),
    ];
    const owner = ({ cache }: Outcome): unknown => (cache["a-b-c-eth0"] as { containerId: string }).containerId;
    assert.deepEqual(await both(steps, owner), { libcni: ["c", "b-c"], ours: ["c", "c"] });
  });

  test("what was not added is not checked (section 2, CHECK)", async () => {
    assert.deepEqual(await both([step("check")], briefly), { libcni: ["p0 CHECK"], ours: ["fails"] });
  });

  test("CHECK and DEL get the parameters of ADD (section 2, CHECK; section 3, Checking an attachment)", async () => {
    const declaring = { list: list({}, { capabilities: { mac: true } }) };
    const first: Partial<Attachment> = {
      ...declaring,
      args: [["A", "1"]],
      capabilityArgs: { mac: "00:11:22:33:44:55" },
    };
    const later: Partial<Attachment> = { ...declaring, args: [["B", "2"]], capabilityArgs: {}, netns: "/run/netns/b" };
    const parameters = ({ calls }: Outcome): unknown =>
      calls.map(({ netns, args, request }) => [netns, args, request["runtimeConfig"]]);
    const isAdded = ["/run/netns/a", "A=1", { mac: "00:11:22:33:44:55" }];
    const isGiven = ["/run/netns/b", "B=2", undefined];
    assert.deepEqual(await both([step("add", first), step("check", later), step("del", later)], parameters), {
      libcni: [[isAdded], [isGiven], [isGiven]],
      // A namespace may have got another name: DEL takes the one that it is given.
      ours: [[isAdded], [isAdded], [["/run/netns/b", "A=1", { mac: "00:11:22:33:44:55" }]]],
    });
  });

  test("CHECK, DEL and GC use the configuration of ADD (section 3, Lifecycle & Ordering)", async () => {
    const changed = { list: list({}, { bridge: "new" }) };
    const steps: Step[] = [
      step("add", { list: list({}, { bridge: "old" }) }),
      step("check", changed),
      { do: "gc", valid: [], ...changed },
    ];
    const bridges = ({ calls }: Outcome): unknown => calls.map(({ command, request }) => [command, request["bridge"]]);
    assert.deepEqual(await both(steps, bridges), {
      libcni: [
        [["ADD", "old"]],
        [["CHECK", "new"]],
        [
          ["DEL", "new"],
          ["GC", "new"],
        ],
      ],
      ours: [
        [["ADD", "old"]],
        [["CHECK", "old"]],
        [
          ["DEL", "old"],
          ["GC", "new"],
        ],
      ],
    });
  });

  test("the rules for names hold for every operation (section 2, Parameters)", async () => {
    const wrong = { containerId: "-c" };
    assert.deepEqual(await both([step("add", wrong), step("check", wrong), step("del", wrong)], briefly), {
      libcni: ["fails", "p0 CHECK", "p0 DEL"],
      ours: ["fails", "fails", "fails"],
    });
  });

  test("ADD needs a network namespace (section 2, ADD)", async () => {
    assert.deepEqual(await both([step("add", { netns: "" })], briefly), { libcni: ["p0 ADD"], ours: ["fails"] });
  });

  test("an integer of any size is passed through unchanged (section 1, Plugin configuration objects)", async () => {
    const adding = step("add", { list: list({}, { big: 1 }).replace('"big":1', '"big":12345678901234567890') });
    const big = ({ calls: [call] }: Outcome): unknown => /"big":[^,}]*/u.exec(call?.stdin ?? "")?.[0];
    assert.deepEqual(await both([adding], big), {
      libcni: ['"big":12345678901234567000'],
      ours: ['"big":12345678901234567890'],
    });
  });

  test("a result that the network's version cannot say is not a result of it (section 5, ADD Success)", async () => {
    const plugins = [{ type: "p0" }, { type: "p1" }];
    const steps = [
      { do: "write", path: "record/p0.ADD", text: `printf '{"cniVersion":"1.1.0"}'` } as const,
      step("add", { list: list({ cniVersion: "0.2.0", plugins }) }),
    ];
    assert.deepEqual(await both(steps, briefly), {
      libcni: ["", "p0 ADD, p1 ADD"],
      ours: ["", "p0 ADD, p1 DEL, p0 DEL, fails"],
    });
  });

  test("the valid attachments are a set (section 2, GC)", async () => {
    const valid = [
      { containerID: "c1", ifname: "eth0" },
      { containerID: "c1", ifname: "eth0" },
    ];
    const told = ({ calls: [call] }: Outcome): unknown => call?.request["cni.dev/valid-attachments"];
    assert.deepEqual(await both([{ do: "gc", list: list(), valid }], told), {
      libcni: [valid],
      ours: [valid.slice(1)],
    });
  });

  test("garbage collection does not succeed where it was not done (section 3, Garbage-collecting a network)", async () => {
    const steps = [
      { do: "write", path: "cache/results", text: "" },
      { do: "gc", list: list(), valid: [] },
    ] as const;
    assert.deepEqual(await both(steps, briefly), { libcni: ["", ""], ours: ["", "fails"] });
  });
});

/** What came of each step, by libcni and by us. */
async function both<T>(steps: readonly Step[], see: (outcome: Outcome) => T): Promise<{ libcni: T[]; ours: T[] }> {
  using theirs = new Recorder(["p0", "p1"]);
  using own = new Recorder(["p0", "p1"]);
  const [outcomes = []] = runLibcni([{ root: theirs.root, steps }]);
  const ours: T[] = [];
  for (const one of steps) ours.push(see(await runOurs(own, one)));
  return { libcni: outcomes.map(see), ours };
}

function briefly({ calls, errors }: Outcome): string {
  return [...calls.map(({ plugin, command }) => `${plugin} ${command}`), ...errors.map(() => "fails")].join(", ");
}
