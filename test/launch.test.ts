/** The program is started by a Node.js that may not be the one it needs. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

import { BUNDLE, endOf, until } from "./helpers/node.ts";

/** Makes Node.js say that it is of that version, as the first thing that it does. */
function pretending(version: string): string[] {
  const code = `const { execPath, versions } = process;
    if (execPath === ${JSON.stringify(process.execPath)})
      Object.defineProperty(process, "versions", { value: { ...versions, node: ${JSON.stringify(version)} } });`;
  return ["--import", `data:text/javascript,${encodeURIComponent(code)}`];
}

/** The bundle in a directory of its own, with or without a Node.js beside it or in its project. */
function installed(nodeAt?: string): { program: string } & Disposable {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-launch-"));
  fs.cpSync(dirname(BUNDLE), join(root, "dist"), { recursive: true });
  fs.writeFileSync(join(root, "package.json"), '{"type": "module"}');
  if (nodeAt !== undefined) {
    fs.mkdirSync(dirname(join(root, nodeAt)), { recursive: true });
    fs.writeFileSync(join(root, nodeAt), `#!/bin/sh\nexec ${process.execPath} "$@"\n`, { mode: 0o755 });
  }
  return {
    program: join(root, "dist/cni-node.cjs"),
    [Symbol.dispose]: () => {
      fs.rmSync(root, { recursive: true });
    },
  };
}

const SENTENCE = /^cni-node: Node\.js 20\.1\.0 is too old: version \d+\.\d+ or newer is needed\n$/u;

describe("R5: on a Node.js that is too old", () => {
  test("it is said in one sentence", () => {
    using copy = installed();
    const { status, stdout, stderr } = spawnSync(process.execPath, [...pretending("20.1.0"), copy.program, "version"], {
      encoding: "utf8",
    });
    assert.deepEqual([status, stdout], [1, ""]);
    assert.match(stderr, SENTENCE);
  });

  for (const nodeAt of ["node_modules/.bin/node", "dist/node"]) {
    test(`the one at ${nodeAt} is used, with its output, exit code and input`, () => {
      using copy = installed(nodeAt);
      const old = [...pretending("20.1.0"), copy.program];
      const { status, stdout } = spawnSync(process.execPath, [...old, "version"], { encoding: "utf8" });
      assert.equal(status, 0);
      assert.match(stdout, /^\S+ \(\S+\)\n$/u);
      const failed = spawnSync(process.execPath, [...old, "instal"], { encoding: "utf8" });
      assert.equal(failed.status, 2);
      assert.match(failed.stderr, /unknown command 'instal'/u);
      const network = ["network", "show", "--file=-", "--host-root=/"];
      const shown = spawnSync(process.execPath, [...old, ...network], {
        encoding: "utf8",
        input: '{"cniVersion":"1.0.0","name":"a","type":"b"}',
      });
      assert.match(shown.stdout, /"name": "a"/u);
    });
  }

  test("a signal reaches the one that is used", async () => {
    using copy = installed("dist/node");
    const child = spawn(process.execPath, [...pretending("20.1.0"), copy.program, "install", "--pause"]);
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    const ended = endOf(child);
    await until(() => stdout.includes("nothing to do"));
    child.kill("SIGTERM");
    const { exitCode, signal } = await ended;
    assert.deepEqual([exitCode, signal], [0, undefined], "as --pause ends");
  });

  test("one that is too old itself is not used again and again", () => {
    using copy = installed();
    fs.symlinkSync(process.execPath, join(dirname(copy.program), "node"));
    const { stderr } = spawnSync(process.execPath, [...pretending("20.1.0"), copy.program, "version"], {
      encoding: "utf8",
    });
    assert.match(stderr, SENTENCE);
  });

  test("the first file has no words that it cannot read", (context) => {
    const old = spawnSync("/usr/bin/node", [BUNDLE, "version"], { encoding: "utf8" });
    if (old.error !== undefined) return context.skip("there is no other Node.js here");
    assert.doesNotMatch(old.stderr, /SyntaxError/u);
  });
});

test("bin/cni-node runs the clone that it is in, with its plugins, from wherever it is linked", () => {
  using copy = installed("node_modules/.bin/node");
  const root = dirname(dirname(copy.program));
  fs.cpSync(new URL("../bin", import.meta.url), join(root, "bin"), { recursive: true });
  fs.symlinkSync(join(root, "bin/cni-node"), join(root, "linked"));
  const run = (...words: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(join(root, "linked"), words, { cwd: "/", encoding: "utf8" });
  assert.deepEqual(run("list").stdout, "");
  const platform = `linux-${process.arch === "x64" ? "amd64" : process.arch}`;
  fs.mkdirSync(join(root, "build/plugins", platform), { recursive: true });
  fs.writeFileSync(join(root, "build/plugins", platform, "vlan"), "");
  assert.equal(run("list").stdout, "vlan\n");
  fs.rmSync(join(root, "dist"), { recursive: true });
  const { status, stderr } = run("list");
  assert.deepEqual([status, stderr], [1, "cni-node: this clone is not built: run make build\n"]);
});

test("the image starts what stays on the node so that it takes less memory, and everything else as it is", () => {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-start-"));
  try {
    const text = fs.readFileSync(new URL("../scripts/start.sh", import.meta.url), "utf8");
    fs.writeFileSync(join(root, "node"), '#!/bin/sh\necho "$MALLOC_MMAP_THRESHOLD_:$@"\n', { mode: 0o755 });
    const script = text.replaceAll("/usr/lib/cni-node/node", join(root, "node"));
    const started = (...words: string[]): string =>
      spawnSync("sh", ["-c", script, "start", "cni-node.cjs", ...words], { encoding: "utf8" }).stdout;
    assert.equal(started("watch", "a  b"), "32768:--no-opt --no-maglev --no-sparkplug cni-node.cjs watch a  b\n");
    assert.equal(started("install", "watch"), ":cni-node.cjs install watch\n");
    assert.equal(started(), ":cni-node.cjs\n");
  } finally {
    fs.rmSync(root, { recursive: true });
  }
});
