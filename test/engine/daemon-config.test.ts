import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { parseDaemonConfig, withNoRuntimes, withoutRuntime, withRuntime } from "../../src/engine/daemon-config.ts";
import { SEED } from "../helpers/random.ts";

const FILE = "/etc/docker/daemon.json";
const OURS = { path: "/opt/cni-node/oci.sh", runtimeArgs: ["oci", "--config", "/etc/docker/cni.yaml", "--"] };

const add = (text: string | undefined): string => withRuntime(text, "ours", OURS, FILE);
const remove = (text: string, before: string | undefined): string | undefined =>
  withoutRuntime(text, "ours", before, FILE);

/** What dockerd takes, in every form that people and programs write. */
const SHAPES: Record<string, string> = {
  "an empty file": "",
  "blanks only": "\n  \n",
  "an empty object": "{}",
  "an empty object with a blank line": "{\n\n}\n",
  "one line": '{"debug":true}',
  "one line with runtimes": '{"runtimes":{"a":{"path":"/a"}},"debug":true}',
  "two blanks": '{\n  "debug": true,\n  "hosts": ["unix:///run/a"]\n}\n',
  "four blanks": '{\n    "debug": true\n}\n',
  tabs: '{\n\t"debug": true,\n\t"runtimes": {\n\t\t"a": {\n\t\t\t"path": "/a"\n\t\t}\n\t}\n}\n',
  "no newline at the end": '{\n  "debug": true\n}',
  "lines of Windows": '{\r\n  "debug": true\r\n}\r\n',
  "a byte order mark": '\ufeff{\n  "debug": true\n}\n',
  "runtimes that are null": '{"runtimes": null, "debug": true}',
  "no runtimes": '{\n  "runtimes": {},\n  "debug": true\n}\n',
  "the brace on a line of its own": '{ "debug": true\n, "labels": [ "a=1" ]\n}\n',
  "numbers that JavaScript does not hold": '{"max-download-attempts": 18446744073709551615, "x": 1e400, "y": 0.10}',
  "escapes, and keys of the same name deeper": String.raw`{"labels": ["\u0061=\"runtimes\": {}"], "x": {"runtimes": 1, "ours": 2}}`,
  "a key with two values": '{"debug": false, "debug": true}',
};

describe("daemon.json", () => {
  for (const [title, text] of Object.entries(SHAPES)) {
    test(`the runtime is added and removed, and the text is as it was: ${title}`, () => {
      const added = add(text);
      const config = parseDaemonConfig(added, FILE);
      assert.deepEqual(config.runtimes["ours"], OURS);
      assert.deepEqual({ ...config, runtimes: undefined }, { ...parseDaemonConfig(text, FILE), runtimes: undefined });
      assert.equal(add(added), added, "again it is the very same text");
      assert.equal(remove(added, text), text);
    });

    test(`what others add meanwhile stays: ${title}`, () => {
      const changed = withRuntime(add(text), "theirs", { path: "/theirs" }, FILE);
      const removed = remove(changed, text) ?? "";
      const { theirs, ours } = parseDaemonConfig(removed, FILE).runtimes;
      assert.deepEqual([theirs, ours], [{ path: "/theirs" }, undefined]);
    });
  }

  test("the form of the text is kept", () => {
    assert.equal(
      add('{\n\t"debug": true\n}\n'),
      `{\n\t"debug": true,\n\t"runtimes": {\n\t\t"ours": {\n\t\t\t"path": "/opt/cni-node/oci.sh",\n\t\t\t"runtimeArgs": [\n\t\t\t\t"oci",\n\t\t\t\t"--config",\n\t\t\t\t"/etc/docker/cni.yaml",\n\t\t\t\t"--"\n\t\t\t]\n\t\t}\n\t}\n}\n`,
    );
    assert.ok(!/[^\r]\n/u.test(add('{\r\n  "debug": true\r\n}\r\n')), "lines end as they did");
    assert.ok(add('\ufeff{"debug": true}').startsWith('\ufeff{"debug": true, "runtimes": {'));
  });

  test("a file that was made goes, and one with other keys stays", () => {
    const made = add(undefined);
    assert.equal(remove(made, undefined), undefined);
    const more = made.replace("{", '{\n  "debug": true,');
    assert.deepEqual(JSON.parse(remove(more, undefined) ?? ""), { debug: true });
  });

  test("a runtime that was replaced comes back, even if others have changed the file", () => {
    const before = '{"runtimes": {"ours": {"path": "/usr/bin/eru-barrel-cni"}}}';
    assert.equal(remove(add(before), before), before);
    const changed = add(before).replace("{", '{"debug": true, ');
    assert.deepEqual(JSON.parse(remove(changed, before) ?? ""), { debug: true, ...(JSON.parse(before) as object) });
  });

  test("dockerd is told that there are no runtimes where its file does not speak of them", () => {
    assert.deepEqual(JSON.parse(withNoRuntimes('{"debug": true}', FILE) ?? ""), { debug: true, runtimes: {} });
    assert.deepEqual(JSON.parse(withNoRuntimes(undefined, FILE) ?? ""), { runtimes: {} });
    assert.equal(withNoRuntimes('{"runtimes": {"a": {"path": "/a"}}}', FILE), undefined);
  });

  for (const [title, text, problem] of [
    ["no JSON", '{"debug": tru}', /is not JSON: .* at line 1, column \d+/u],
    ["comments", '{ # "hosts": ..\n"debug": true}', /is not JSON/u],
    ["a list", "[]", /is not a JSON object/u],
    ["null", "null", /is not a JSON object/u],
    ["runtimes that are a list", '{"runtimes": []}', /has a key runtimes that is not an object/u],
    ["runtimes twice", '{"runtimes": {}, "runtimes": {"a": {}}}', /has the key runtimes twice/u],
    ["a runtime twice", '{"runtimes": {"ours": {}, "ours": {}}}', /two runtimes of one name/u],
    ["bytes that are no text", '{"labels": ["\ufffd"]}', /is not UTF-8/u],
    ["nested too deep", "[".repeat(200), /is too large/u],
    ["a trailing comma", '{"debug": true,}', /is not JSON/u],
  ] as const) {
    test(`is refused: ${title}`, () => {
      assert.throws(() => add(text), { code: "daemon-config-invalid", message: problem });
    });
  }

  test("no content is in a message", () => {
    assert.throws(
      () => add('{"registry-password": hunter2}'),
      (error: Error) => !error.message.includes("hunter"),
    );
  });

  test("whatever else is in it stays as it is written", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })),
        fc.constantFrom(0, 1, 2, 4, "\t"),
        (value, indent) => {
          const { runtimes: _, ...rest } = value;
          const text = JSON.stringify(rest, undefined, indent);
          const added = add(text);
          assert.deepEqual(JSON.parse(added), { ...(JSON.parse(text) as object), runtimes: { ours: OURS } });
          assert.equal(remove(added, text), text);
        },
      ),
      { seed: SEED },
    );
  });
});
