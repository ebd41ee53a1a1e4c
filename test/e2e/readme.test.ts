/** Plays README.md from its first command on: in a clean copy of the clone, on a machine with Docker. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { endOf, type Ran } from "../helpers/node.ts";
import { buildahEnvironment, preparedBuilder } from "../image/build.ts";
import { cannotStart, startDocker, type Engine } from "../image/engines.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What a clone does not have. */
const MADE = new Set(["node_modules", "dist", "build", "node", ".git"]);
/** A command, and what it prints where the document shows that. */
const BLOCKS = /^```sh\n([^]*?)^```$(?:\n\n```text\n([^]*?)^```$)?/gmu;
/** These are run on the nodes of a real cluster: test/e2e/node.test.ts, by what test/docs.test.ts holds. */
const ON_CLUSTER = /^kubectl .*\n/gmu;

const MAKE_IMAGE = /^make image ARGS=(\S+)\n/u;
/** The image that the README has made, among those of the tests. */
const TAG = "localhost/cni-node-readme";

test(
  "the commands of README.md work in their order, beginning with a clean directory",
  { skip: cannotStart },
  async (context) => {
    const readme = fs.readFileSync(join(ROOT, "README.md"), "utf8");
    await using engine = await startDocker();
    const clone = join(engine.work, "clone");
    fs.cpSync(ROOT, clone, { recursive: true, filter: (path) => !MADE.has(relative(ROOT, path)) });
    let count = 0;
    let wait = 0;
    for (const [, block = "", shown] of readme.matchAll(BLOCKS)) {
      for (const [left] of block.matchAll(ON_CLUSTER))
        context.diagnostic(`left to test/e2e/node.test.ts: ${left.trim()}`);
      const script = block.replaceAll(ON_CLUSTER, "");
      if (script === "") continue;
      count++;
      const begin = performance.now();
      const made = await makeImage(script, clone, engine);
      const ran = made.exitCode === 0 ? await play(script.replace(MAKE_IMAGE, ""), clone, engine) : made;
      const seconds = (performance.now() - begin) / 1000;
      wait += seconds;
      const said = `${script}${ran.stdout}${ran.stderr}`;
      // status says by 3 that something is wrong with a machine.
      assert.ok(ran.exitCode === 0 || (ran.exitCode === 3 && script.endsWith(" status\n")), said);
      if (shown !== undefined) assert.equal(ran.stdout, shown);
      context.diagnostic(`worked in ${seconds.toFixed(0)} s:\n${script}`);
    }
    context.diagnostic(`all together: ${wait.toFixed(0)} s, with the caches that this machine has`);
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

/** Runs what make does here, for the engine's machine has no way to registries, and everything else there. */
async function play(script: string, clone: string, engine: Engine): Promise<Ran> {
  if (script.startsWith("make ")) return runHere(["sh", "-ec", script], clone);
  return engine.sh(`cd ${clone}\nPATH=$PWD/bin:$PATH\nset -e\n${script}`);
}

/** Makes the image if a script begins so: with buildah, which has the base images of the tests. The engine gets it. */
async function makeImage(script: string, clone: string, engine: Engine): Promise<Ran> {
  const [, options] = MAKE_IMAGE.exec(script) ?? [];
  if (options === undefined) return { exitCode: 0, stdout: "", stderr: "" };
  const builder = preparedBuilder();
  const words = ["make", "image", `ARGS=${options} --builder=buildah --tag=${TAG} --pull-never`];
  const made = await runHere(
    ["unshare", "--mount", "--propagation=private", ...words],
    clone,
    buildahEnvironment(builder),
  );
  if (made.exitCode !== 0) return made;
  const archive = join(engine.work, "image.tar");
  builder.buildah(["push", "--quiet", TAG, `docker-archive:${archive}:cni-node:latest`]);
  builder.buildah(["rmi", TAG]);
  const loaded = await engine.sh(`docker rmi cni-node && docker load --input ${archive}`);
  return loaded;
}

/** Runs a command as somebody does who has just cloned: nothing of this run is in the environment. */
async function runHere(words: readonly string[], directory: string, more: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const { HOME, PATH = "" } = process.env;
  const path = PATH.split(":").filter((one) => !one.startsWith(ROOT));
  const env = { HOME, PATH: path.join(":"), ...more };
  const [program = "", ...rest] = words;
  return endOf(spawn(program, rest, { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] }));
}
