/** Plays README.md from its first command on: in a clean copy of the clone, on a machine with Docker. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { endOf, type Ran } from "../helpers/node.ts";
import { cannotStart, startDocker } from "../image/engines.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What a clone does not have. */
const MADE = new Set(["node_modules", "dist", "build", "node", ".git"]);
/** A command, and what it prints where the document shows that. */
const BLOCKS = /^```sh\n([^]*?)^```$(?:\n\n```text\n([^]*?)^```$)?/gmu;
/** These are run on the nodes of a real cluster: test/e2e/node.test.ts, by what test/docs.test.ts holds. */
const ON_CLUSTER = /^kubectl .*\n/gmu;

test(
  "the commands of README.md work in their order, beginning with a clean directory",
  { skip: cannotStart },
  async (context) => {
    const readme = fs.readFileSync(join(ROOT, "README.md"), "utf8");
    // `make image` stands in a sentence: here is what test/image/build.ts has made of the same Dockerfile.
    await using engine = await startDocker();
    const clone = join(engine.work, "clone");
    fs.cpSync(ROOT, clone, { recursive: true, filter: (path) => !MADE.has(relative(ROOT, path)) });
    let count = 0;
    for (const [, block = "", shown] of readme.matchAll(BLOCKS)) {
      for (const [left] of block.matchAll(ON_CLUSTER))
        context.diagnostic(`left to test/e2e/node.test.ts: ${left.trim()}`);
      const script = block.replaceAll(ON_CLUSTER, "");
      if (script === "") continue;
      count++;
      // The machine has no way to registries, which make needs.
      const ran = script.startsWith("make ")
        ? await runHere(script, clone)
        : await engine.sh(`cd ${clone}\nPATH=$PWD/bin:$PATH\nset -e\n${script}`);
      const said = `${script}${ran.stdout}${ran.stderr}`;
      // status says by 3 that something is wrong with a machine.
      assert.ok(ran.exitCode === 0 || (ran.exitCode === 3 && script.endsWith(" status\n")), said);
      if (shown !== undefined) assert.equal(ran.stdout, shown);
      context.diagnostic(`worked:\n${script}`);
    }
    assert.ok(count >= 4, String(count));
    // The way back has been taken: what the node had before is there, and names the plugins that are kept.
    const netd = join(clone, "node/etc/cni/net.d");
    assert.ok(!fs.existsSync(join(netd, "05-bridge-portmap.conflist")));
    assert.deepEqual(
      fs.readFileSync(join(netd, "10-bridge.conf")),
      fs.readFileSync(join(clone, "examples/node/10-bridge.conf")),
    );
  },
);

/** Runs a script as somebody does who has just cloned: nothing of this run is in the environment. */
async function runHere(script: string, directory: string): Promise<Ran> {
  const { HOME, PATH = "" } = process.env;
  const path = PATH.split(":").filter((one) => !one.startsWith(ROOT));
  const env = { HOME, PATH: path.join(":") };
  return endOf(spawn("sh", ["-ec", script], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] }));
}
