/** Many runs at the same time: what is there in the end is what some order of them, one by one, would leave. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";

import { readRecord } from "../../src/host/record.ts";
import { BUNDLE, conflist, endOf, TestNode, withoutWaits, type Ran } from "../helpers/node.ts";
import { Random, SEED } from "../helpers/random.ts";
import { problemsOf } from "../helpers/state.ts";

/** What came of it. */
export interface RaceFigures {
  runs: number;
  /** Runs that another owner's other content stood in the way of. */
  refused: number;
  violations: string[];
}

const PAIRS = ["a", "b", "c", "d"] as const;
const OWNERS = ["one", "two", "three"] as const;
const VERSIONS = ["1", "2"] as const;
const AT_ONCE = 20;
/** An uninstall says so when the others have left it the last configuration to remove. */
const LAST_REMOVED = /^cni-node: warning: \S+: no CNI configuration is left: .*\n$/u;

/**
 * Starts 20 runs at once, so many times. Each installs or removes plugins together with the configurations that name
 * them, of one of two versions, for one of three owners, so that after any order of them the two belong together.
 */
export async function races(rounds: number): Promise<RaceFigures> {
  const figures: RaceFigures = { runs: 0, refused: 0, violations: [] };
  const random = new Random(SEED);
  using node = new TestNode();
  const images = VERSIONS.map((version) => makeImage(node, version));
  for (let round = 1; round <= rounds; round++) {
    const commands = Array.from({ length: AT_ONCE }, () => [...randomCommand(random), ...random.pick(images)]);
    const rans = await Promise.all(commands.map(async (argv) => start(node, argv)));
    figures.runs += rans.length;
    for (const [index, { exitCode, stderr }] of rans.entries()) {
      if (exitCode === 1 && stderr.includes("with other content")) figures.refused++;
      else if (exitCode !== 0 || withoutWaits(stderr).replace(LAST_REMOVED, "") !== "") {
        figures.violations.push(`round ${round}: ${commands[index]?.join(" ")}: ended with ${exitCode}: ${stderr}`);
      }
    }
    figures.violations.push(...problemsAfter(node).map((problem) => `round ${round}: ${problem}`));
  }
  return figures;
}

function makeImage(node: TestNode, version: string): string[] {
  for (const pair of PAIRS) {
    node.plugin(pair, version, 50_000);
    node.template(configOf(pair), conflist(`${pair}-${version}`, pair));
  }
  const image = join(node.root, `image-${version}`);
  fs.cpSync(join(node.root, "image"), image, { recursive: true });
  return [`--plugin-source=${join(image, "opt/cni/bin")}`, `--config-source=${join(image, "etc/cni/net.d")}`];
}

function configOf(pair: string): string {
  return `10-${pair}.conflist`;
}

function randomCommand(random: Random): string[] {
  const [desired, current] = [random.some(PAIRS), random.some(PAIRS)];
  const lists = (names: readonly string[], more = ""): string[] => [
    `--plugins=${names.join()}${more}`,
    `--configs=${names.map(configOf).join()}${more === "" ? "" : `:${current.map(configOf).join()}`}`,
  ];
  const owner = `--owner=${random.pick(OWNERS)}`;
  return random.pick([
    ["install", owner, ...lists(desired)],
    ["install", owner, ...lists(desired), "--take-over"],
    ["uninstall", owner, ...lists(desired)],
    ["apply", owner, ...lists(desired, `:${current.join()}`), "--refresh"],
    ["apply", owner, ...lists(desired), "--prune"],
  ]);
}

async function start(node: TestNode, argv: readonly string[]): Promise<Ran> {
  return endOf(spawn(process.execPath, [BUNDLE, ...argv, `--host-root=${node.host}`]));
}

function problemsAfter(node: TestNode): string[] {
  const problems = [node.bin, node.netd].flatMap(problemsOf);
  for (const pair of PAIRS) {
    const [plugin, config] = [describe(node.bin, pair), describe(node.netd, configOf(pair))];
    if (plugin !== config) problems.push(`${pair}: the plugin is ${plugin}, the configuration ${config}`);
  }
  return problems;
}

/** Version and owners of an asset, as `1 of one,two`. */
function describe(directory: string, name: string): string {
  const owners = readRecord(directory)?.assets.find((asset) => asset.name === name)?.owners ?? [];
  const path = join(directory, name);
  if (!fs.existsSync(path)) return owners.length === 0 ? "absent" : `absent, of ${owners.join()}`;
  const text = fs.readFileSync(path, "utf8");
  const [, version] = /"version":"(\d)"/u.exec(text) ?? /"name":"\w+-(\d)"/u.exec(text) ?? [];
  return `${version} of ${owners.join()}`;
}
