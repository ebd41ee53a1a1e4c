import assert from "node:assert/strict";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { documented, documentedChoice, documentedCodes, documentedNetwork } from "../scripts/docs.ts";
import { FINDING_CODES } from "../src/codes.ts";
import { conflist, TestNode } from "./helpers/node.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const readme = fs.readFileSync(join(root, "README.md"), "utf8");

test("the README's tables of commands and options are what --help says (else: node scripts/docs.ts)", async () => {
  assert.equal(readme, await documented());
  assert.equal(fs.readFileSync(join(root, "docs/network.md"), "utf8"), await documentedNetwork());
});

test("what docs/how-cni-config-is-chosen.md says of its directories is what selection says (else: node scripts/docs.ts)", () => {
  const document = fs.readFileSync(join(root, "docs/how-cni-config-is-chosen.md"), "utf8");
  assert.equal(document, documentedChoice());
  const directories = [...document.matchAll(/^```net\.d/gmu)].length;
  assert.ok(directories >= 10);
  assert.equal([...document.matchAll(/^\| \*\*pods get\*\* \|/gmu)].length, directories);
});

test("docs/troubleshooting.md explains every code of a finding, sorted (else: node scripts/docs.ts)", () => {
  const document = fs.readFileSync(join(root, "docs/troubleshooting.md"), "utf8");
  assert.equal(document, documentedCodes());
  const codes = Object.keys(FINDING_CODES);
  assert.deepEqual(codes, codes.toSorted());
  const mentioned = Array.from(document.matchAll(/`\[([a-z-]+)\]`/gu), ([, code]) => code ?? "");
  assert.deepEqual(
    mentioned.filter((code) => !codes.includes(code)),
    [],
  );
  assert.ok(mentioned.length > 40);
});

test("each code of a finding is one that the program can give", () => {
  const sources = fs
    .globSync("src/**/*.ts", { cwd: root })
    .filter((file) => file !== "src/codes.ts")
    .map((file) => fs.readFileSync(join(root, file), "utf8"))
    .join("\n");
  assert.deepEqual(
    Object.keys(FINDING_CODES).filter((code) => !sources.includes(`"${code}"`)),
    [],
  );
});

test("every example of cni-node in the README works, one after the other, on a node that fits them", async () => {
  using node = new TestNode();
  for (const name of ["bridge", "flannel", "host-device", "ipvlan", "macvlan", "multus-cni"]) node.plugin(name);
  node.template(
    "05-multus.conf",
    '{"cniVersion":"1.0.0","name":"multus","type":"multus-cni","delegates":[\n__10-calico.conflist__\n]}\n',
  );
  node.template("10-ipvlan.conf", '{"cniVersion":"1.0.0","name":"ipvlan","type":"ipvlan"}\n');
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("calico", "calico"));
  const examples = [...blocksOf(readme).matchAll(/^cni-node (.*)$/gmu)].map(([, words = ""]) => words.split(" "));
  assert.ok(examples.length >= 10);
  for (const name of ["crb.yaml", "sa.yaml"])
    node.manifest(name, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");
  for (const argv of examples) {
    const places =
      { list: [`--plugin-source=${node.plugins}`], status: [`--host-root=${node.host}`] }[argv[0] ?? ""] ?? [];
    const paused = AbortSignal.timeout(1000);
    const ran = await node.run([...argv, ...places], argv.includes("--pause") ? { signal: paused } : {});
    if (argv.some((word) => word.startsWith("--manifests"))) {
      // test/e2e/manifests.test.ts has an API server.
      assert.match(ran.stderr, /^cni-node: Kubernetes API: /u);
      continue;
    }
    assert.equal(ran.exitCode, 0, `cni-node ${argv.join(" ")}: ${ran.stderr}`);
    assert.notEqual(ran.stdout, "");
  }
});

test("every file that a document links to or names exists", () => {
  const documents = fs
    .readdirSync(root, { encoding: "utf8" })
    .concat(
      fs.readdirSync(join(root, "docs")).map((name) => `docs/${name}`),
      "plugins/README.md",
    )
    .filter((name) => name.endsWith(".md"));
  const missing = documents.flatMap((document) => {
    const text = fs.readFileSync(join(root, document), "utf8");
    const links = Array.from(text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/gu), ([, link = ""]) =>
      join(dirname(document), link),
    );
    const named = Array.from(
      text.matchAll(/`((?:src|test|scripts|docs|plugins)\/[\w./-]+\.\w+)`/gu),
      ([, path = ""]) => path,
    );
    return [...links, ...named]
      .filter((path) => !fs.existsSync(join(root, path)))
      .map((path) => `${document}: ${path}`);
  });
  assert.deepEqual(missing, []);
});

test("every target that the documents tell to make is in the Makefile", () => {
  const makefile = fs.readFileSync(join(root, "Makefile"), "utf8");
  const texts = ["README.md", "CONTRIBUTING.md", "docs/reliability.md"].map((name) =>
    fs.readFileSync(join(root, name), "utf8"),
  );
  const named = texts.flatMap((text) => [
    ...text.matchAll(/`make ([a-z0-9]+)/gu),
    ...blocksOf(text).matchAll(/^make ([a-z0-9]+)/gmu),
  ]);
  const targets = new Set(named.map(([, target]) => target));
  assert.ok(targets.has("run") && targets.has("test"));
  assert.deepEqual(
    [...targets].filter((target) => !new RegExp(`^${target}:`, "mu").test(makefile)),
    [],
  );
});

/** The shell examples of a document. */
function blocksOf(text: string): string {
  return Array.from(text.matchAll(/```sh\n([^]*?)```/gu), ([, block]) => block).join("");
}
