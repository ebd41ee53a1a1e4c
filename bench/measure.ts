/** Runs of several programs in turn, so that a busy moment of the machine meets all of them. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";

/** A program with its arguments. */
export type Command = readonly string[];

/** One way of doing some work. */
export interface Way {
  name: string;
  /** What is done before each run, and not measured. */
  prepare?: () => void | Promise<void>;
  /** Run one after the other; or what measures by itself. */
  run: readonly Command[] | (() => number | Promise<number>);
  env?: Readonly<Record<string, string>>;
  /** What its exit code may be beside 0. */
  exitCode?: number;
}

/** Some work, done in several ways: ours first, then the baselines. */
export interface Row {
  name: string;
  work: string;
  ways: () => readonly Way[] | Promise<readonly Way[]>;
  /** What the time of ours consists of. */
  limit: string;
  unit?: "ms" | "MiB" | "requests";
  /** The way that does the same without: what the others add to it is shown, too. */
  over?: string;
  /** What is done when all runs are over. */
  end?: () => Promise<void>;
  /** Most runs of each way; for long ones. */
  runs?: number;
}

/** Of the runs of one way. */
export interface Measured {
  name: string;
  median: number;
  /** The lower and the upper quartile. */
  low: number;
  high: number;
}

/** Measures the ways of a row, after one run of each that does not count. */
export async function measure(row: Row, runs: number): Promise<Measured[]> {
  const ways = await row.ways();
  const values = new Map<Way, number[]>(ways.map((way) => [way, []]));
  for (let round = 0; round <= runs; round++) {
    for (const way of ways) {
      await way.prepare?.();
      const value = await valueOf(way);
      if (round > 0) values.get(way)?.push(value);
    }
  }
  await row.end?.();
  return ways.map((way) => summary(way.name, values.get(way) ?? []));
}

async function valueOf({ run, env = {}, exitCode = 0 }: Way): Promise<number> {
  if (typeof run === "function") return run();
  const begin = performance.now();
  for (const command of run) await execute(command, env, exitCode);
  return performance.now() - begin;
}

/** @throws if it ends by another exit code. */
export async function execute(
  [program = "", ...words]: Command,
  env: Readonly<Record<string, string>> = {},
  exitCode = 0,
): Promise<void> {
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0 && code !== exitCode) {
    throw new Error(`${[program, ...words].join(" ").slice(0, 300)} ended with ${code}: ${stderr}`);
  }
}

const PRINT_PEAK = `process.on("exit", () => {
  const status = process.getBuiltinModule("fs").readFileSync("/proc/self/status", "utf8");
  console.error("\\n" + /VmHWM:\\s+(\\d+)/u.exec(status)[1]);
})`;
/**
 * Words of Node.js that make a program print the most memory that it has used as its last line on stderr, KiB. The
 * kernel's maxRSS counts that of the process before exec, too, which is ours.
 */
export const WITH_PEAK = ["--import", `data:text/javascript,${encodeURIComponent(PRINT_PEAK)}`];

/** The most memory that a program of Node.js used, MiB. */
export function peakOf(words: Command, exitCode = 0): number {
  const node = [...WITH_PEAK, ...words];
  const { status, stderr } = spawnSync(process.execPath, node, { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0 && status !== exitCode) throw new Error(`${words.join(" ").slice(0, 300)}: ${stderr}`);
  return Number(stderr.trim().split("\n").at(-1)) / 1024;
}

function summary(name: string, values: readonly number[]): Measured {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { name, median: at(0.5), low: at(0.25), high: at(0.75) };
}

/** A directory that is removed when the process ends, even by a signal. */
export function scratch(base: string): string {
  const directory = fs.mkdtempSync(join(base, "cni-node-bench-"));
  process.on("exit", () => {
    fs.rmSync(directory, { recursive: true, force: true });
  });
  for (const [signal, exitCode] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => process.exit(exitCode));
  }
  return directory;
}
