/** Hooks in config.json, and nothing else of it changed. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { readSpec, spliceHooks, type Hook, type Hooks } from "../../src/oci/spec.ts";
import { SEED } from "../helpers/random.ts";

const FILE = "/b/config.json";

function hooksOf(front: string): Hooks {
  const hook = (command: string): Hook => ({
    path: front,
    args: [front, "cni", "--config", "/c.yaml", "--command", command],
    env: ["PATH=/bin"],
  });
  return { createRuntime: hook("add"), poststop: hook("del") };
}

const HOOKS = hooksOf("/opt/cni-node/oci.sh");
const ADD = JSON.stringify(HOOKS.createRuntime);
const DEL = JSON.stringify(HOOKS.poststop);
const BOTH = `"createRuntime":[${ADD}],"poststop":[${DEL}]`;
const OTHER = '{"path":"/other","args":["other", "x"],"timeout":18446744073709551615}';

const SHAPES: [name: string, text: string, spliced: string][] = [
  ["nothing", "{}", `{"hooks":{${BOTH}}}`],
  ["no hooks", '{"ociVersion":"1"}', `{"ociVersion":"1","hooks":{${BOTH}}}`],
  ["null", '{"hooks":null,"a":1}', `{"hooks":{${BOTH}},"a":1}`],
  ["an empty object", '{"hooks":{},"a":1}', `{"hooks":{${BOTH}},"a":1}`],
  ["an empty object of several lines", '{\n"hooks" : {\n}}', `{\n"hooks" : {${BOTH}\n}}`],
  ["empty lists", '{"hooks":{"createRuntime":[],"poststop":[ ]}}', `{"hooks":{${BOTH}}}`],
  [
    "lists that are null",
    '{"hooks":{"poststop":null,"createRuntime":null}}',
    `{"hooks":{"poststop":[${DEL}],"createRuntime":[${ADD}]}}`,
  ],
  ["hooks of another stage", `{"hooks":{"prestart":[${OTHER}]}}`, `{"hooks":{"prestart":[${OTHER}],${BOTH}}}`],
  [
    "hooks of others in the same stage",
    `{"hooks":{"createRuntime":[ ${OTHER} ],"poststop":[${OTHER},${OTHER}]},"a":1}`,
    `{"hooks":{"createRuntime":[${OTHER},${ADD}],"poststop":[${OTHER},${OTHER},${DEL}]},"a":1}`,
  ],
];

describe("puts the hooks into a text that has", () => {
  for (const [name, text, spliced] of SHAPES) {
    test(name, () => {
      assert.equal(spliceHooks(text, HOOKS, FILE), spliced);
      assert.equal(spliceHooks(spliced, HOOKS, FILE), spliced, "twice is once");
    });
  }

  test("those of an earlier program: they are replaced, in their place", () => {
    const { poststop } = hooksOf("/usr/bin/eru-barrel-cni");
    const text = `{"hooks":{"poststop":[${OTHER},${JSON.stringify(poststop)},${OTHER}]}}`;
    const spliced = `{"hooks":{"poststop":[${OTHER},${DEL},${OTHER}],"createRuntime":[${ADD}]}}`;
    assert.equal(spliceHooks(text, HOOKS, FILE), spliced);
  });

  test("those of docker-cni, which were put there twice: they become one", () => {
    const { poststop } = hooksOf("/usr/bin/eru-barrel-cni");
    const text = `{"hooks":{"poststop":[${JSON.stringify(poststop)},${OTHER},${JSON.stringify(poststop)}]}}`;
    assert.equal(spliceHooks(text, HOOKS, FILE), `{"hooks":{"poststop":[${DEL},${OTHER}],"createRuntime":[${ADD}]}}`);
  });

  test("that of a device, which names a network: it stays", () => {
    const device = JSON.stringify({ path: "/f", args: ["/f", "cni", "--command", "add", "--network", "a"] });
    const spliced = spliceHooks(`{"hooks":{"createRuntime":[${device}]}}`, HOOKS, FILE);
    assert.equal(spliced, `{"hooks":{"createRuntime":[${device},${ADD}],"poststop":[${DEL}]}}`);
  });
});

test("numbers, unknown fields, escapes, order and blanks stay byte for byte", () => {
  const start = '{ "z":18446744073709551615, "ociVersion":"1.2.1",\t"x":1e400,"a":"\\u0068ooks\\":{","-0":-0,';
  const end = '"linux":{"seccomp":{"syscalls":[{"errnoRet":38}]},"hooks":{"x":[]}}, "y" : [ 1.0 ] }\n';
  const spliced = spliceHooks(start + end, HOOKS, FILE);
  assert.equal(spliced, `${(start + end).slice(0, -3)},"hooks":{${BOTH}} }\n`);
});

test("random configurations keep all that they have", () => {
  const json = fc.jsonValue({ maxDepth: 3 });
  const lists = fc.option(fc.array(json, { maxLength: 3 }), { nil: null });
  const hooks = fc.record({ prestart: lists, createRuntime: lists, poststop: lists }, { requiredKeys: [] });
  const spec = fc.record({ hooks: fc.option(hooks, { nil: null }), process: json, linux: json }, { requiredKeys: [] });
  fc.assert(
    fc.property(spec, fc.nat(2), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent);
      const spliced = JSON.parse(spliceHooks(text, HOOKS, FILE)) as typeof value & { hooks: Record<string, unknown[]> };
      // What JSON makes of it: -0 is 0.
      const present = ((JSON.parse(text) as typeof value).hooks ?? {}) as Record<string, unknown[] | null | undefined>;
      for (const stage of ["createRuntime", "poststop"] as const) {
        assert.deepEqual(spliced.hooks[stage], [...(present[stage] ?? []), JSON.parse(JSON.stringify(HOOKS[stage]))]);
      }
      const { hooks: _hooks, ...rest } = spliced;
      const { hooks: _present, ...others } = JSON.parse(text) as typeof value;
      assert.deepEqual(rest, others);
    }),
    { seed: SEED },
  );
});

describe("refuses", () => {
  const WRONG: [text: string, message: RegExp][] = [
    ["", /is empty/u],
    ["[]", /is not a JSON object/u],
    ['{"a":', /is not JSON/u],
    ['{"hooks":[]}', /a key hooks that is not an object/u],
    ['{"hooks":{"poststop":{}}}', /a key hooks\.poststop that is not a list/u],
    ['{"hooks":{},"hooks":{}}', /the key hooks twice/u],
    ['{"Hooks":{}}', /the key hooks in another spelling/u],
    [`{"a":${"[".repeat(300)}${"]".repeat(300)}}`, /nested deeper/u],
  ];
  for (const [text, message] of WRONG) {
    test(text.slice(0, 40), () => {
      assert.throws(() => spliceHooks(text, HOOKS, FILE), message);
    });
  }
});

describe("reads of a container", () => {
  const networkOf = (namespaces: unknown): string => readSpec(JSON.stringify({ linux: { namespaces } }), FILE).network;

  test("whether it has a network namespace of its own", () => {
    assert.equal(networkOf([{ type: "pid" }, { type: "network" }]), "own");
    assert.equal(networkOf([{ type: "network", path: "" }]), "own");
    assert.equal(networkOf([{ type: "network", path: "/proc/7/ns/net" }]), "joined");
    assert.equal(networkOf([{ type: "pid" }]), "none");
    assert.equal(networkOf(undefined), "none");
    assert.equal(networkOf("network"), "none");
  });

  test("environment, annotations, mounts and root, and nothing that has another shape", () => {
    const text = JSON.stringify({
      process: { env: ["A=1", "B=x=y", "C", "A=2", 7] },
      annotations: { a: "1", b: 2 },
      mounts: [{ destination: "/etc/resolv.conf", source: "/r" }, { destination: "/proc" }, 7],
      hooks: {
        createRuntime: [
          { args: ["/f", "cni", "--command", "add", "--network", "a"] },
          { args: ["/f", "cni", "--config", "/c", "--command", "add"] },
          { args: ["/f", "cni", "--command", "del", "--network", "b"] },
          { args: ["/f", "x", "--command", "add"] },
          7,
        ],
      },
      root: { path: "rootfs" },
    });
    assert.deepEqual(readSpec(text, FILE), {
      env: new Map([
        ["A", "2"],
        ["B", "x=y"],
        ["C", ""],
      ]),
      annotations: new Map([["a", "1"]]),
      network: "none",
      mounts: new Map([["/etc/resolv.conf", "/r"]]),
      hooked: ["a", ""],
      root: "rootfs",
    });
    assert.deepEqual(readSpec("{}", FILE), {
      env: new Map(),
      annotations: new Map(),
      network: "none",
      mounts: new Map(),
      hooked: [],
      root: undefined,
    });
  });
});
