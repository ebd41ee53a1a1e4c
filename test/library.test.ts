/** The package as others get it: `cni-node/cni` unpacked, type-checked and run, by the examples of docs/library.md. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotMount, containerRoot, Namespace } from "./helpers/namespace.ts";
import { endOf } from "./helpers/node.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const document = fs.readFileSync(join(root, "docs/library.md"), "utf8");
const [, config = ""] = /```json\n([^]*?)```/u.exec(document) ?? [];
const examples = Array.from(
  document.matchAll(/## (.*)\n(?:(?!## )[^])*?```ts\n([^]*?)```\n\n```text\n([^]*?)```/gu),
  ([, title = "", program = "", prints = ""]) => ({ title, program, prints }),
);

let directory = "";
/** A project that has installed the package. */
let project = "";
/** What that brought. */
let installed: string[] = [];

before(() => {
  directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
  project = join(directory, "project");
  fs.mkdirSync(project);
  fs.writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  run(project, "npm", "install", "--offline", "--ignore-scripts", pack(join(directory, "source")));
  installed = fs.readdirSync(join(project, "node_modules"));
  fs.mkdirSync(join(project, "node_modules/@types"));
  for (const name of ["node", "../undici-types"]) {
    fs.symlinkSync(join(root, "node_modules/@types", name), join(project, "node_modules/@types", name));
  }
  for (const [index, { program }] of examples.entries()) fs.writeFileSync(join(project, `${index}.ts`), program);
});

after(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

/** Packs a copy, for the tests beside this one use the bundle. @returns the package. */
function pack(copy: string): string {
  const { files } = JSON.parse(fs.readFileSync(join(root, "package.json"), "utf8")) as { files: string[] };
  assert.deepEqual(files, ["dist", "docs/cni-node.8", "docs/library.md"]);
  for (const name of [
    "src",
    "docs/cni-node.8",
    "docs/library.md",
    "LICENSE",
    "README.md",
    "scripts",
    "package.json",
    "tsconfig.json",
    "tsconfig.types.json",
  ]) {
    fs.cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  fs.symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  run(copy, "npm", "pack", "--offline", `--pack-destination=${directory}`);
  return join(directory, fs.readdirSync(directory).find((file) => file.endsWith(".tgz")) ?? "");
}

function run(cwd: string, command: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { cwd, encoding: "utf8" });
  assert.equal(status, 0, `${command}: ${stdout}${stderr}`);
  return stdout;
}

test("the package has the library's types: with them the examples are right, and wrong use is not", () => {
  const options = ["--strict", "--exactOptionalPropertyTypes", "--module", "nodenext", "--types", "node", "--noEmit"];
  const check = (...files: string[]): string => {
    const words = [...options, "--target", "es2024", ...files];
    return spawnSync(join(root, "node_modules/.bin/tsc"), words, { cwd: project, encoding: "utf8" }).stdout;
  };
  assert.equal(check(...Array.from(examples.keys(), (index) => `${index}.ts`)), "");
  fs.writeFileSync(join(project, "wrong.ts"), 'import { del } from "cni-node/cni";\nawait del("net", {});\n');
  assert.match(check("wrong.ts"), /^wrong\.ts\(2,11\): error TS/u);
});

test("it brings no other package and no Node.js, and has the library's document", () => {
  assert.deepEqual(installed.toSorted(), [".bin", ".package-lock.json", "cni-node"]);
  const own = join(project, "node_modules/cni-node");
  assert.deepEqual(fs.readdirSync(own).toSorted(), ["LICENSE", "README.md", "dist", "docs", "package.json"]);
  assert.equal(fs.readFileSync(join(own, "docs/library.md"), "utf8"), document);
  assert.match(fs.readFileSync(join(own, "dist/cni.js"), "utf8"), /^async function add\(network, conf\) \{$/mu);
});

test("npx runs its programs", () => {
  assert.match(run(project, "npx", "--offline", "cni-node", "version"), /^1\./u);
  assert.match(run(project, "npx", "--offline", "kube-watch", "--help"), /^usage: kube-watch/imu);
});

test("nothing but the library can be imported", () => {
  fs.writeFileSync(join(project, "other.ts"), 'import "cni-node/dist/cni-node.cjs";\n');
  const { stderr } = spawnSync(process.execPath, [join(project, "other.ts")], { encoding: "utf8" });
  assert.match(stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/u);
});

describe("every example of docs/library.md prints what the document says", { skip: cannotMount }, () => {
  test("there are some", () => {
    assert.equal(examples.length, [...document.matchAll(/^```ts$/gmu)].length);
    assert.ok(examples.length >= 8);
  });

  for (const [index, { title, prints }] of examples.entries()) {
    test(title, async () => {
      await using host = await makeHost(join(directory, `host-${index}`));
      const ran = await endOf(host.spawn([process.execPath, join(project, `${index}.ts`)]));
      assert.deepEqual(ran, { exitCode: 0, stdout: prints, stderr: "" });
    });
  }
});

/** A machine with the plugins, the document's network and its namespace; its process 1 sees nothing else. */
async function makeHost(at: string): Promise<Namespace> {
  fs.mkdirSync(at);
  const { script, root: host } = containerRoot(at);
  const plugins = join(root, "build/plugins", process.arch === "x64" ? "linux-amd64" : "linux-arm64");
  fs.writeFileSync(`${at}.conflist`, config);
  const seen = [root, project, dirname(process.execPath)].map((path) => [
    `mkdir -p ${host}${path}`,
    `mount --bind ${path} ${host}${path}`,
  ]);
  const steps = [
    script,
    ...seen.flat(),
    `rm -rf ${host}/etc/cni ${host}/opt/cni ${host}/var/lib/cni ${host}/run/netns`,
    `mkdir -p ${host}/etc/cni/net.d ${host}/opt/cni/bin ${host}/run/netns ${host}/old`,
    `cp ${at}.conflist ${host}/etc/cni/net.d/10-blue.conflist`,
    `cp ${["bridge", "host-local", "tuning"].map((name) => join(plugins, name)).join(" ")} ${host}/opt/cni/bin`,
    `cd ${host}`,
    "pivot_root . old",
    "umount --lazy /old",
    "touch /run/netns/blue",
    "unshare --net=/run/netns/blue true",
  ];
  return Namespace.make(steps.join("\n"), { net: true, pid: true });
}
