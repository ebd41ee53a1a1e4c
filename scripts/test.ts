/** Runs tests, several files at a time: `node scripts/test.ts unit|test|e2e`, or with the paths of some. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
const isCI = process.env["CI"] === "true";
const isSoak = process.env["CNI_NODE_TEST_LONG"] === "1";

/** No test takes so long, milliseconds: one that does hangs. CI's have more trials, on machines that may be slow. */
const TIMEOUT = (isCI ? 25 : 10) * 60 * 1000;
/** A file system in memory, and the bytes that it must have free. */
const MEMORY = "/dev/shm";
const ENOUGH = 2 ** 30;
/** These take longest: they are begun first, so that none of them runs alone at the end. */
const SLOW = ["crash", "routes", "attacks/status", "kills", "concurrency", "faults", "e2e/node", "e2e/image"];

const SETS: Record<string, () => string[]> = {
  unit: () => testsIn("test").filter(isUnit),
  test: () => testsIn("test").filter((path) => !path.startsWith("test/e2e/")),
  e2e: () => testsIn("test/e2e"),
};

process.chdir(ROOT);
const words = process.argv.slice(2);
const files = words.flatMap((word) => SETS[word]?.() ?? word).toSorted((a, b) => rankOf(a) - rankOf(b));
const temporary = placeForFiles();
const options = [
  "--test-reporter=spec",
  ...(isSoak ? [] : [`--test-timeout=${TIMEOUT}`]),
  // Those of e2e start whole clusters and engines, and wait for them more than they compute.
  `--test-concurrency=${words[0] === "e2e" ? availableParallelism() : availableParallelism() + 1}`,
];
// Compiling the sources takes as long as many of the files.
const env = { ...process.env, TMPDIR: temporary, NODE_COMPILE_CACHE: join(ROOT, "build/compiled") };
const runner = spawn(process.execPath, ["--test", ...options, ...files], { stdio: "inherit", env });
// It gets them from the terminal, too, and what is in memory must go.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => runner.kill(signal));
const [exitCode] = (await once(runner, "exit")) as [number | null];
fs.rmSync(temporary, { recursive: true, force: true });
process.exitCode = exitCode ?? 1;

function testsIn(directory: string): string[] {
  return fs.globSync(`${directory}/**/*.test.ts`).toSorted();
}

/** It lies at the path of a module, and takes neither a node nor plugins. */
function isUnit(path: string): boolean {
  const hasModule = fs.existsSync(path.replace(/^test\//u, "src/").replace(/\.test\.ts$/u, ".ts"));
  return hasModule && !/helpers\/(?:network|node|plugin)\.ts/u.test(fs.readFileSync(path, "utf8"));
}

function rankOf(path: string): number {
  const index = SLOW.findIndex((name) => path === `test/${name}.test.ts`);
  return index === -1 ? SLOW.length : index;
}

/**
 * A directory for all that the tests write and sync: a developer's is in memory, CI's on the disk, and that of e2e, too:
 * its machines have memory of their own in that place.
 */
function placeForFiles(): string {
  const isEndToEnd = files.some((path) => path.startsWith("test/e2e/"));
  const base = !isCI && !isEndToEnd && fs.existsSync(MEMORY) && isFit(MEMORY) ? MEMORY : tmpdir();
  // Short: Podman takes no directory whose path is longer than 50 characters.
  const directory = fs.mkdtempSync(join(base, "cni-node-"));
  fs.chmodSync(directory, 0o1777);
  return directory;
}

/** There is room in it, and programs can be run from it. */
function isFit(directory: string): boolean {
  const { bavail, bsize } = fs.statfsSync(directory);
  const program = join(directory, `cni-node-${process.pid}`);
  try {
    fs.writeFileSync(program, "#!/bin/sh\n", { mode: 0o700 });
    return bavail * bsize > ENOUGH && spawnSync(program).status === 0;
  } catch {
    return false;
  } finally {
    fs.rmSync(program, { force: true });
  }
}
