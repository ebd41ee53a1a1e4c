/** The process: arguments, signals, exit. Nothing is imported before the signals are handled. */
import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";
import { setFlagsFromString } from "node:v8";

import { paintedLines, visibleLines } from "./system/text.ts";
import type { Ending, World } from "./world.ts";

const controller = new AbortController();
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
for (const name of SIGNALS) process.on(name, () => controller.abort(name));

// The memory of a node counts for more than the speed of long computations: the space for new objects stays at its first
// size, and code is not optimized (10 MiB less; status with 10,000 networks takes a tenth longer).
for (const flag of ["--semi-space-growth-factor=1", "--no-opt", "--no-maglev"]) setFlagsFromString(flag);

const output = { isLost: false, opened: new Set<string>() };

const world: World = {
  env: process.env,
  stdin: async () => {
    const [{ addAbortSignal }, { text }] = await Promise.all([import("node:stream"), import("node:stream/consumers")]);
    return text(addAbortSignal(controller.signal, process.stdin));
  },
  stdout: (text, isPainted) => write("stdout", text, isPainted),
  stderr: (text, isPainted) => write("stderr", text, isPainted),
  terminals: () => {
    const { columns = 0, rows = 0 } = isTerminal(1) ? process.stdout : {};
    // One that does not say how large it is has none.
    const size = { columns: columns === 0 ? 80 : columns, rows: rows === 0 ? 24 : rows };
    return { stdout: isTerminal(1) ? size : undefined, stderr: isTerminal(2) };
  },
  signal: controller.signal,
};

/**
 * What takes its arguments as they are, by the name of the program or the first word behind it: nothing has looked at
 * them, and the tables of commands and options are not loaded.
 */
const RAW = new Map<string, () => Promise<{ run: (argv: readonly string[], world: World) => Promise<Ending> }>>([
  ["cnitool", async () => import("./cnitool.ts")],
  ["kube-watch", async () => import("./kube-watch.ts")],
  ["oci", async () => ({ run: (await import("./oci.ts")).runOci })],
  ["cni", async () => ({ run: (await import("./oci.ts")).runHook })],
  ["standby", async () => ({ run: (await import("./oci.ts")).runStandby })],
]);

void main();

/** Runs the command. Not awaited: CommonJS modules, which start faster, cannot wait (scripts/bundle.ts). */
async function main(): Promise<void> {
  const [, program = "", ...words] = process.argv;
  const called = basename(program, ".cjs");
  const [command = "", ...rest] = RAW.has(called) ? [called, ...words] : words;
  const load = RAW.get(command);
  const { exitCode, signal } =
    load === undefined ? await (await import("./cli.ts")).run(words, world) : await (await load()).run(rest, world);
  if (signal !== undefined) endBy(signal);
  else process.exitCode = output.isLost && exitCode === 0 ? 1 : exitCode;
}

/** Files report their errors by throwing, pipes by an event. Node.js opens a stream when it is first used. */
function write(name: "stdout" | "stderr", text: string, isPainted = false): void {
  try {
    const { [name]: stream } = process;
    if (!output.opened.has(name)) stream.on("error", onOutputError);
    output.opened.add(name);
    stream.write(isPainted ? paintedLines(text) : visibleLines(text));
  } catch (error) {
    onOutputError(error as NodeJS.ErrnoException);
  }
}

/** Looks at the file first: what is none is opened when it is written to. */
function isTerminal(descriptor: 1 | 2): boolean {
  try {
    return fstatSync(descriptor).isCharacterDevice() && process[descriptor === 1 ? "stdout" : "stderr"].isTTY;
  } catch {
    // It is closed.
    return false;
  }
}

/** A reader that goes away (cni-node list | head -1) is not a failure. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE" || output.isLost) return;
  output.isLost = true;
  process.exitCode = 1;
  write("stderr", `cni-node: output: cannot write the report (the run itself completed): ${error.message}\n`);
}

/** Whoever started the process sees the truth; process 1 cannot end itself by a signal. */
function endBy(name: NodeJS.Signals): void {
  process.exitCode = 128 + constants.signals[name];
  if (process.pid === 1) return;
  for (const handled of SIGNALS) process.removeAllListeners(handled);
  process.kill(process.pid, name);
}
