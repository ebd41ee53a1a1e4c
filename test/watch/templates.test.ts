import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { COMMANDS } from "../../src/commands.ts";
import { Failure, Objections } from "../../src/errors.ts";
import { configs } from "../../src/kinds/configs.ts";
import type { Desired, Wanted } from "../../src/kinds/kind.ts";
import { prepareManifest } from "../../src/kinds/manifest-plan.ts";
import { valuesOf, type Values } from "../../src/options.ts";
import { templatesIn } from "../../src/watch/templates.ts";
import { conflist, TestNode } from "../helpers/node.ts";

const ONE = "ConfigMap kube-system/one";
const TWO = "ConfigMap kube-system/two";

function mapOf(data: unknown, more: object = {}): object {
  return { apiVersion: "v1", kind: "ConfigMap", data, ...more };
}

describe("templates in ConfigMaps", () => {
  test("have the names of their keys", () => {
    const { texts, findings } = templatesIn([
      { name: ONE, object: mapOf({ "a.conf": "A", "b.conf": "" }) },
      { name: TWO, object: mapOf({ "c.conf": "C" }) },
      { name: "ConfigMap a/empty", object: mapOf(undefined) },
      { name: "ConfigMap a/null", object: mapOf(null) },
    ]);
    assert.deepEqual(
      [...texts.byName],
      [
        ["a.conf", { text: "A", from: ONE }],
        ["b.conf", { text: "", from: ONE }],
        ["c.conf", { text: "C", from: TWO }],
      ],
    );
    assert.deepEqual([texts.from.length, findings], [4, []]);
  });

  test("that cannot be used are named", () => {
    const object = mapOf(
      { ".hidden": "A", "..": "B", "a/b": "C", "line\nbreak": "D", ok: "E" },
      { binaryData: { x: "AA==" } },
    );
    const { texts, findings } = templatesIn([{ name: ONE, object }]);
    assert.deepEqual([...texts.byName.keys()], ["ok"]);
    assert.deepEqual(
      findings.map(({ code, path }) => [code, path]),
      [
        ["templates-ignored", ONE],
        ["templates-ignored", ONE],
      ],
    );
    assert.match(findings[0]?.message ?? "", /^has keys that cannot be file names: \.hidden, \.\., a\/b, /u);
    assert.equal(
      findings.some(({ message }) => message.includes("\n")),
      false,
    );
    assert.equal(findings[1]?.message, "has binaryData, which is not supported: x");
  });

  const refusals: [what: string, objects: { name: string; object: unknown }[], code: string, message: RegExp][] = [
    ["a ConfigMap that does not exist", [{ name: ONE, object: undefined }], "templates-missing", /kube-system\/one/u],
    [
      "a name in two ConfigMaps",
      [
        { name: ONE, object: mapOf({ a: "1" }) },
        { name: TWO, object: mapOf({ a: "1" }) },
      ],
      "templates-duplicate",
      /^a: is in ConfigMap kube-system\/one and in ConfigMap kube-system\/two/u,
    ],
    ["a number", [{ name: ONE, object: mapOf({ a: 1 }) }], "templates-invalid", /one: a: is not a text/u],
    ["half a character", [{ name: ONE, object: mapOf({ a: "\ud800" }) }], "templates-invalid", /is not UTF-8 text/u],
    ["a list", [{ name: ONE, object: mapOf([]) }], "templates-invalid", /its data is not an object/u],
  ];
  for (const [what, objects, code, message] of refusals) {
    test(`are refused: ${what}`, () => {
      assert.throws(
        () => templatesIn(objects),
        (error) => error instanceof Failure && error.code === code && message.test(error.message),
      );
    });
  }
});

describe("a source with texts of ConfigMaps", () => {
  const texts = (data: Record<string, string>): NonNullable<Wanted["configTexts"]> => {
    return templatesIn([{ name: ONE, object: mapOf(data) }]).texts;
  };

  async function read(
    node: TestNode,
    names: string[],
    data: Record<string, string>,
  ): Promise<Desired & { objections: Failure | undefined }> {
    const objections = new Objections();
    const wanted = {
      validate: "strict",
      sources: { plugin: node.plugins, config: node.templates },
      configTexts: texts(data),
      manifests: { env: {} },
    } as unknown as Wanted;
    const directory = { path: node.netd, record: undefined, objects: "" };
    const desired = await configs.read(names, wanted, directory, objections, new AbortController().signal);
    try {
      objections.throwIfAny();
      return { ...desired, objections: undefined };
    } catch (error) {
      return { ...desired, objections: error as Failure };
    }
  }

  test("takes what a ConfigMap has before a file of the directory, and pointers work", async () => {
    using node = new TestNode();
    node.template("a.conflist", conflist("file", "bridge"));
    node.template("b.conflist", conflist("other", "bridge"));
    fs.writeFileSync(join(node.netd, "one"), '{"type": "ptp"}');
    const data = { "a.conflist": '{"cniVersion": "1.0.0", "name": "map", "plugins": [__one__]}' };
    const { contents, objections } = await read(node, ["a.conflist", "b.conflist"], data);
    assert.equal(objections, undefined);
    assert.equal(
      contents.get("a.conflist")?.text,
      '{"cniVersion": "1.0.0", "name": "map", "plugins": [{"type": "ptp"}]}\n',
    );
    assert.equal(contents.get("b.conflist")?.text, conflist("other", "bridge"));
  });

  test("names the ConfigMap in objections", async () => {
    using node = new TestNode();
    const data = { "a.conflist": "{", "b.conf": "__gone__", "c.conf": "x".repeat(16 * 1024 * 1024 + 1) };
    const { objections } = await read(node, Object.keys(data), data);
    const messages = [objections, ...(objections?.others ?? [])].map((one) => one?.message).join("\n");
    assert.match(messages, /ConfigMap kube-system\/one: a\.conflist: the rendered configuration is not JSON/u);
    assert.match(messages, /ConfigMap kube-system\/one: b\.conf: line 1, column 1: the pointer __gone__/u);
    assert.match(messages, /ConfigMap kube-system\/one: c\.conf: it is larger than 16 MiB/u);
  });

  test("says of a missing name what the ConfigMaps and the directory have", async () => {
    using node = new TestNode();
    node.template("file.conf", "{}");
    const { objections } = await read(node, ["fil.conf"], { "map.conf": "{}" });
    assert.equal(objections?.code, "source-missing");
    const hint = [objections.hint ?? []].flat().join(" ");
    assert.ok(hint.includes(`did you mean file.conf? ${ONE} has map.conf, ${node.templates} has file.conf`), hint);
  });

  test("is the same for manifests", () => {
    using node = new TestNode();
    node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: file}\n");
    const manifests = {
      source: node.manifests,
      texts: texts({ "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $NAME, namespace: test}\n" }),
      env: { NAME: "map", KUBERNETES_SERVICE_HOST: "localhost" },
      allowUnset: false,
      nodeName: undefined,
      kubeconfig: join(node.root, "kubeconfig"),
      context: undefined,
      forceConflicts: false,
      timeout: 1000,
    };
    const cluster = { server: "https://127.0.0.1:1" };
    fs.writeFileSync(
      manifests.kubeconfig,
      JSON.stringify({
        "current-context": "c",
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        clusters: [{ name: "c", cluster }],
        users: [{ name: "u", user: { token: "t" } }],
      }),
    );
    const wanted = { owner: "o", takeOver: false, prune: false, manifests };
    const step = { action: "install", kind: "manifest", name: "a.yaml" } as const;
    const [object] = prepareManifest(step, undefined, [], wanted).desired;
    assert.deepEqual([object?.name, object?.file], ["map", `${ONE}: a.yaml`]);
    assert.throws(
      () => prepareManifest({ ...step, name: "b.yaml" }, undefined, [], wanted),
      (error) =>
        error instanceof Failure && error.code === "source-missing" && String(error.hint).includes(`${ONE} has a.yaml`),
    );
  });
});

describe("the options that name ConfigMaps", () => {
  const given = (name: string, ...all: string[]): Values<typeof COMMANDS.watch.options> => {
    return valuesOf(
      COMMANDS.watch.options,
      all.map((text) => ({ name, text })),
      {},
    );
  };

  test("are lists of names, with or without a namespace", () => {
    assert.deepEqual(given("config-templates", "a, kube-system/b.c-d\n", "a").configTemplates, [
      { name: "a" },
      { namespace: "kube-system", name: "b.c-d" },
    ]);
    assert.deepEqual(given("manifest-templates", "").manifestTemplates, []);
    assert.deepEqual(given("configmap", "ns/a.b").configmap, { namespace: "ns", name: "a.b" });
    assert.equal(
      given("config-templates", Array.from({ length: 16 }, (_, i) => `m${i}`).join()).configTemplates?.length,
      16,
    );
  });

  for (const name of ["configmap", "config-templates", "manifest-templates"]) {
    test(`--${name} refuses what cannot be the name of a ConfigMap`, () => {
      const long = "a".repeat(64);
      const bad = [
        "a/b/c",
        "/a",
        "a/",
        "A",
        "a_b",
        "-a",
        "a-",
        "a..b",
        ".a",
        "n.s/a",
        `${long}/a`,
        "..",
        `a.${"b.".repeat(126)}cc`,
      ];
      for (const text of bad) {
        assert.throws(
          () => given(name, text),
          (error) => error instanceof Failure && error.code === "usage" && error.exitCode === 2,
          text,
        );
      }
    });
  }

  test("are at most 16 in a list", () => {
    assert.throws(
      () => given("manifest-templates", Array.from({ length: 17 }, (_, i) => `m${i}`).join()),
      /more than 16/u,
    );
  });
});
