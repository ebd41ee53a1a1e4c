import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Ajv2020 } from "ajv/dist/2020.js";

import {
  documentedChoice,
  documentedCodes,
  documentedReference,
  documentedScreens,
  documentedTemplates,
} from "../scripts/docs.ts";
import { parseNetworkList } from "../src/cni/config.ts";
import { objectionsToReference } from "../src/cni/reference-plugins.ts";
import { FAILURE_CODES, FINDING_CODES } from "../src/codes.ts";
import { COMMANDS, type CommandSpec } from "../src/commands.ts";
import type { Option } from "../src/options.ts";
import { blocksOf } from "./helpers/documents.ts";
import { conflist, TestNode, until } from "./helpers/node.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const readme = fs.readFileSync(join(root, "README.md"), "utf8");

test("the variables in docs/templates.md, docs/reference.md and the manual page are what the tables say (else: node scripts/docs.ts)", () => {
  assert.equal(textOf("docs/templates.md"), documentedTemplates());
  const { reference, manual } = documentedReference();
  assert.equal(textOf("docs/reference.md"), reference);
  assert.equal(textOf("docs/cni-node.8"), manual);
});

test("the manual page is one without a fault", (context) => {
  const { error, stdout } = spawnSync("mandoc", ["-T", "lint", "-W", "error", "docs/cni-node.8"], {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined) return context.skip("needs mandoc");
  assert.equal(stdout, "");
});

test("what docs/how-cni-config-is-chosen.md says of its directories is what selection says (else: node scripts/docs.ts)", () => {
  const document = fs.readFileSync(join(root, "docs/how-cni-config-is-chosen.md"), "utf8");
  assert.equal(document, documentedChoice());
  const directories = [...document.matchAll(/^```net\.d/gmu)].length;
  assert.ok(directories >= 10);
  assert.equal([...document.matchAll(/^\| \*\*pods get\*\* \|/gmu)].length, directories);
});

test("docs/troubleshooting.md explains every code of a finding or an error, sorted and once (else: node scripts/docs.ts)", () => {
  const document = fs.readFileSync(join(root, "docs/troubleshooting.md"), "utf8");
  assert.equal(document, documentedCodes());
  const codes = Object.keys(FINDING_CODES);
  assert.deepEqual(codes, codes.toSorted());
  const ofErrors = Object.keys(FAILURE_CODES);
  assert.deepEqual(ofErrors, ofErrors.toSorted());
  assert.deepEqual(
    ofErrors.filter((code) => codes.includes(code)),
    [],
  );
  const mentioned = Array.from(document.matchAll(/`\[([a-z-]+)\]`/gu), ([, code]) => code ?? "");
  assert.deepEqual(
    mentioned.filter((code) => !codes.includes(code)),
    [],
  );
  assert.ok(mentioned.length > 40);
});

test("the terminals that README.md, docs/install.md and docs/troubleshooting.md show are what the program prints (else: node scripts/docs.ts)", async () => {
  const { readme: shown, install, troubleshooting } = await documentedScreens();
  assert.match(shown, /^\$ cni-node status\n1 error\n\nerror /mu);
  assert.equal(readme, shown);
  assert.match(install, /^\$ cni-node plan .*\n(?:\w+ .*\n)+\n--- 10-mynet\.conflist/mu);
  assert.equal(textOf("docs/install.md"), install);
  assert.equal(textOf("docs/troubleshooting.md"), troubleshooting);
});

test("the picture of a run in docs/architecture.md has the steps of a transaction that its table has, in order", () => {
  const text = textOf("docs/architecture.md");
  const [, picture = ""] = /^ {2}subgraph transaction\n([^]*?)^ {2}end$/mu.exec(text) ?? [];
  const [, table = ""] = /^ {3}\| step \| action \|.*\n.*\n((?: {3}\|.*\n)+)/mu.exec(text) ?? [];
  const steps = Array.from(picture.matchAll(/"(.*?)"/gu), ([, step]) => step);
  assert.ok(steps.length >= 10);
  assert.deepEqual(
    steps,
    Array.from(table.matchAll(/^ {3}\| \**([a-z ]+?)\** \|/gmu), ([, step]) => step),
  );
});

test("the README answers who it is for and how to begin within two screens", () => {
  assert.ok(readme.split("\n").indexOf("## Documents") <= 110);
});

test("each code of a finding or an error is one that the program can give", () => {
  const sources = fs
    .globSync("src/**/*.ts", { cwd: root })
    .filter((file) => file !== "src/codes.ts")
    .map((file) => fs.readFileSync(join(root, file), "utf8"))
    .join("\n");
  assert.deepEqual(
    Object.keys({ ...FINDING_CODES, ...FAILURE_CODES }).filter((code) => {
      return !sources.includes(code.endsWith("-*") ? `\`${code.slice(0, -1)}\${` : `"${code}"`);
    }),
    [],
  );
});

const DOCUMENTS = ["README.md", "docs/install.md", "docs/manifests.md", "docs/troubleshooting.md"];
const EXAMPLES = DOCUMENTS.map((name) => blocksOf(textOf(name))).join("");

test("N5: every example of cni-node in README, docs/install.md, docs/manifests.md and docs/troubleshooting.md works, one after the other", async () => {
  using node = new TestNode();
  for (const name of ["bridge", "flannel", "host-device", "ipvlan", "macvlan", "multus-cni"]) node.plugin(name);
  node.template(
    "05-multus.conf",
    '{"cniVersion":"1.0.0","name":"multus","type":"multus-cni","delegates":[\n__10-calico.conflist__\n]}\n',
  );
  node.template("10-ipvlan.conf", '{"cniVersion":"1.0.0","name":"ipvlan","type":"ipvlan"}\n');
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("calico", "calico"));
  const examples = [...EXAMPLES.matchAll(/^cni-node (.*)$/gmu)].map(([, words = ""]) => words.split(" "));
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

test("N5: the example in docs/watch.md keeps what it names until a signal comes", async () => {
  using node = new TestNode();
  const [, words = ""] = /^ {2}cni-node (watch .*)$/mu.exec(textOf("docs/watch.md")) ?? [];
  const argv = words.split(" ");
  const names =
    argv
      .find((word) => word.startsWith("--plugins="))
      ?.slice("--plugins=".length)
      .split(",") ?? [];
  for (const name of names) node.plugin(name);
  const end = new AbortController();
  const running = node.run(argv, { signal: end.signal });
  await until(() => names.length > 0 && names.every((name) => fs.existsSync(join(node.bin, name))));
  end.abort("SIGTERM");
  assert.equal((await running).signal, "SIGTERM");
});

test("N5: the template in docs/templates.md is rendered with the node's own file", async () => {
  using node = new TestNode();
  node.plugin("multus-cni");
  const [, template = ""] = /```json\n([^]*?)```/u.exec(textOf("docs/templates.md")) ?? [];
  node.template("05-multus.conf", template);
  fs.writeFileSync(join(node.netd, "10-calico.conflist"), conflist("calico", "calico"));
  fs.mkdirSync(join(node.host, "etc/kubernetes"));
  const kubeconfig = {
    clusters: [{ name: "a", cluster: { server: "https://127.0.0.1:1" } }],
    contexts: [{ name: "a", context: { cluster: "a" } }],
    "current-context": "a",
  };
  fs.writeFileSync(join(node.host, "etc/kubernetes/kubelet.conf"), JSON.stringify(kubeconfig));
  const ran = await node.run(["install", "--plugins=multus-cni", "--configs=05-multus.conf"]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  const { delegates } = JSON.parse(fs.readFileSync(join(node.netd, "05-multus.conf"), "utf8")) as {
    delegates: unknown[];
  };
  assert.deepEqual(delegates, [JSON.parse(conflist("calico", "calico"))]);
});

test("N5: what the README installs with one command is a network, and is installed", async () => {
  using node = new TestNode();
  for (const name of ["bridge", "host-local"]) node.plugin(name);
  const [, template = "", words = "", printed] =
    /<<END\n([^]*?)^END$[^]*?^ {2}cni-node (install .*)$[^]*?```text\n([^]*?)```/mu.exec(readme) ?? [];
  node.template("10-mynet.conflist", template);
  const ran = await node.run(words.split(" "));
  assert.deepEqual([ran.exitCode, ran.stderr, ran.stdout], [0, "", printed]);
  const read = parseNetworkList("10-mynet.conflist", template);
  assert.ok("list" in read, JSON.stringify(read));
  assert.deepEqual(read.list.plugins.flatMap(objectionsToReference), []);
});

test("N5: the JSON examples in docs/reference.md and docs/how-cni-config-is-chosen.md are what they are said to be", () => {
  const isReport = new Ajv2020({ strict: true }).compile(JSON.parse(textOf("docs/schemas/report.json")) as object);
  const [report = ""] = jsonOf(textOf("docs/reference.md"));
  assert.ok(isReport(JSON.parse(report)), JSON.stringify(isReport.errors));
  const [single = "", list = "", ...more] = jsonOf(textOf("docs/how-cni-config-is-chosen.md"));
  assert.deepEqual(more, []);
  for (const [name, text] of [
    ["a.conf", single],
    ["a.conflist", list],
  ] as const) {
    const read = parseNetworkList(name, text);
    assert.ok("list" in read, JSON.stringify(read));
    assert.deepEqual(read.list.plugins.flatMap(objectionsToReference), []);
  }
});

test("N5: every example that stands in a block of its own is run by a test", () => {
  const run = new Set([
    ...DOCUMENTS.map((name) => `${name} sh`), // Here, and docker.
    "docs/templates.md json", // Here.
    "docs/how-cni-config-is-chosen.md json", // Here.
    "docs/how-cni-config-is-chosen.md net.d", // scripts/docs.ts, which a test above compares.
    "docs/by-hand.md sh", // test/e2e/by-hand.test.ts.
    "docs/by-hand.md json", // The same.
    "docs/chaining.md sh", // test/chain.test.ts.
    "docs/chaining.md json", // The same.
    "docs/kube-watch.md sh", // test/kube-watch.test.ts.
    "docs/library.md json", // test/library.test.ts.
    "docs/library.md ts", // The same.
    "docs/image.md dockerfile", // test/e2e/docker.test.ts.
    "docs/docker.md sh", // test/e2e/docker-docs.test.ts.
    "docs/network.md yaml", // test/install-probe.test.ts.
    "docs/manifests.md yaml", // test/e2e/ancestor-manifests.test.ts.
    "docs/reference.md json", // Here.
    "docs/reference.md sh", // test/options.test.ts.
    "docs/multus.md sh", // test/e2e/node.test.ts.
    "docs/operations.md sh", // The same.
    "docs/pod-network.md sh", // The same, and test/e2e/pod-network.test.ts.
    "docs/watch.md sh", // Here; examples/watch/cni.yaml: test/e2e/watch.test.ts.
  ]);
  // What an example prints.
  const kinds = new Set(["text", "error", ""]);
  const documents = ["README.md", ...fs.globSync("docs/*.md", { cwd: root })].filter(
    (name) => name !== "docs/architecture.md",
  );
  const found = documents.flatMap((name) =>
    Array.from(textOf(name).matchAll(/^```(\S*)[^\n]*\n[^]*?^```$/gmu), ([, kind = ""]) =>
      kinds.has(kind) ? [] : [`${name} ${kind}`],
    ).flat(),
  );
  assert.deepEqual(new Set(found), run);
});

test("every kubectl command of README.md and docs/install.md is one of a document whose commands a real node runs", () => {
  const commands = (name: string): string[] =>
    blocksOf(textOf(name))
      .split("\n")
      .filter((line) => line.startsWith("kubectl "));
  const run = new Set(["docs/multus.md", "docs/troubleshooting.md", "docs/operations.md"].flatMap(commands));
  // test/e2e/node.test.ts does it by itself.
  run.add("kubectl apply -f examples/watch/cni.yaml");
  assert.ok(commands("README.md").length >= 8);
  assert.deepEqual(
    ["README.md", "docs/install.md"].flatMap(commands).filter((line) => !run.has(line)),
    [],
  );
});

/** Options of other programs, whose commands are examples, too; and `--name=value`, which stands for any. */
const OTHERS =
  "cap-drop cascade cluster-cidr field-selector for from-file handler image jsonpath mount name net network network-plugin patch-file pid platform profile security-opt semi-space-growth-factor target".split(
    " ",
  );

test("N5: every example of an option, in hints, help and documents, has a value that the option takes", () => {
  const types = new Map<string, Option["type"][]>();
  for (const { options } of Object.values<CommandSpec>(COMMANDS)) {
    for (const [name, { type }] of Object.entries(options)) types.set(name, [...(types.get(name) ?? []), type]);
  }
  const files = fs.globSync(["src/**/*.ts", "docs/*.md", "README.md"], { cwd: root });
  const isTaken = (name: string, value: string): boolean =>
    types.get(name)?.some(({ read }) => {
      try {
        read(value, name);
        return true;
      } catch {
        return false;
      }
    }) ?? false;
  let count = 0;
  const wrong = files.flatMap((file) =>
    Array.from(
      textOf(file).matchAll(/--([a-z][a-z-]*)=('[^'\n]*'|[^\s`'");|\\]+)/gu),
      ([example, name = "", word = ""]) => {
        const value = word.replaceAll(/^'|'$|[.:,]+$/gu, "");
        // Made when it is shown, or a word for any value.
        if (value.includes("${") || value.includes("…") || /^[A-Z_:/<>$&]+$/u.test(value) || OTHERS.includes(name))
          return [];
        count++;
        return isTaken(name, value) ? [] : [`${file}: ${example}`];
      },
    ).flat(),
  );
  assert.deepEqual(wrong, []);
  assert.ok(count > 50, String(count));
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
  const texts = ["README.md", "CONTRIBUTING.md", "docs/by-hand.md", "docs/reliability.md"].map((name) =>
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

function textOf(name: string): string {
  return fs.readFileSync(join(root, name), "utf8");
}

function jsonOf(text: string): string[] {
  return Array.from(text.matchAll(/```json\n([^]*?)```/gu), ([, block = ""]) => block);
}
