/** Measures the bundle against programs that do less, interleaved in one run, and prints ratios. */
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";

import { BUNDLE, TestNode } from "../helpers/node.ts";

const ROUNDS = 15;
const COUNT = 16;
const SIZE = 2_860_000;
const NAMES = Array.from({ length: COUNT }, (_, index) => `plugin-${index}`);

interface Way {
  name: string;
  prepare?(): void;
  run(): void;
}

using node = new TestNode();
for (const name of NAMES) node.plugin(name, "1", SIZE);
const sources = NAMES.map((name) => join(node.plugins, name));
const install = [BUNDLE, "install", `--plugins=${NAMES.join()}`, ...node.places];

function emptied(): void {
  fs.rmSync(node.bin, { recursive: true });
  fs.mkdirSync(node.bin);
}

function execute(program: string, ...argv: string[]): void {
  execFileSync(program, argv, { stdio: "ignore" });
}

compare(`starting (median of ${ROUNDS})`, [
  { name: "node -e 0", run: () => execute(process.execPath, "-e", "0") },
  { name: "cni-node version", run: () => execute(process.execPath, BUNDLE, "version") },
  { name: "cni-node list", run: () => execute(process.execPath, BUNDLE, "list", `--plugin-source=${node.plugins}`) },
]);
compare(`${COUNT} plugins of ${SIZE / 1e6} MB onto an empty node (median of ${ROUNDS})`, [
  { name: "cp, sync -f (durable, in place)", prepare: emptied, run: copyAndSync },
  { name: "cni-node install, first", prepare: emptied, run: () => execute(process.execPath, ...install) },
  { name: "cni-node install, again", run: () => execute(process.execPath, ...install) },
]);
memory();

function copyAndSync(): void {
  execute("cp", ...sources, node.bin);
  execute("sync", "-f", node.bin);
}

/** Interleaved, so that a busy moment of the machine meets all of them. */
function compare(title: string, ways: readonly Way[]): void {
  const times = new Map<Way, number[]>(ways.map((way) => [way, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of ways) {
      way.prepare?.();
      const begin = performance.now();
      way.run();
      times.get(way)?.push(performance.now() - begin);
    }
  }
  console.log(`\n${title}`);
  const medians = ways.map((way) => median(times.get(way) ?? []));
  for (const [index, way] of ways.entries()) {
    const ratio = (medians[index] ?? 0) / (medians[0] ?? 1);
    console.log(`  ${way.name.padEnd(34)} ${(medians[index] ?? 0).toFixed(0).padStart(5)} ms  × ${ratio.toFixed(2)}`);
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** MiB */
function peak(argv: readonly string[]): number {
  const script = "process.on('exit', () => console.error(process.resourceUsage().maxRSS))";
  const { stderr } = spawnSync(process.execPath, ["--import", `data:text/javascript,${script}`, ...argv]);
  return Number(stderr.toString().trim().split("\n").at(-1)) / 1024;
}

function memory(): void {
  const floor = peak(["-e", "0"]);
  console.log("\npeak memory");
  for (const [name, argv] of [
    ["node -e 0", ["-e", "0"]],
    ["cni-node install, again", install],
  ] as const) {
    const used = peak(argv);
    console.log(`  ${name.padEnd(34)} ${used.toFixed(0).padStart(5)} MiB × ${(used / floor).toFixed(2)}`);
  }
}
