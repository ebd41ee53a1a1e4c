/** The process: arguments, signals, exit. Nothing is imported before the signals are handled. */
import { constants as fileConstants, fstatSync, openSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";

import { paintedLines, visibleLines } from "./system/text.ts";
import type { Ending, World } from "./world.ts";

const { O_NONBLOCK, O_WRONLY } = fileConstants;

const controller = new AbortController();
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
for (const name of SIGNALS) process.on(name, () => controller.abort(name));

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

/**
 * A stream of Node.js takes longer to open than most commands have to write. It is opened only for what cannot be written
 * at once. Files report their errors by throwing, pipes by an event as well.
 */
function write(name: "stdout" | "stderr", text: string, isPainted = false): void {
  try {
    const bytes = Buffer.from(isPainted ? paintedLines(text) : visibleLines(text));
    const rest = output.opened.has(name) ? bytes : writeAtOnce(name === "stdout" ? 1 : 2, bytes);
    if (rest.length === 0) return;
    const { [name]: stream } = process;
    if (!output.opened.has(name)) stream.on("error", onOutputError);
    output.opened.add(name);
    stream.write(rest);
  } catch (error) {
    onOutputError(error as NodeJS.ErrnoException);
  }
}

/** The descriptors by which one can write at once; undefined: none. */
const atOnce = new Map<1 | 2, number | undefined>();

/** @returns what is left: a reader that has stopped reading must keep neither a run nor its signals waiting. */
function writeAtOnce(descriptor: 1 | 2, bytes: Buffer): Buffer {
  if (!atOnce.has(descriptor)) atOnce.set(descriptor, openAtOnce(descriptor));
  const file = atOnce.get(descriptor);
  if (file === undefined) return bytes;
  let rest = bytes;
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(file, rest));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
  }
  return rest;
}

/** A file takes all that is written; a pipe has to be opened once more, for others have the same one and may want to wait. */
function openAtOnce(descriptor: 1 | 2): number | undefined {
  try {
    const file = fstatSync(descriptor);
    if (file.isFile() || file.rdev === NULL_DEVICE) return descriptor;
    if (file.isFIFO()) return openSync(`/proc/self/fd/${descriptor}`, O_WRONLY | O_NONBLOCK);
  } catch {
    // It is closed, or the pipe of another user.
  }
  return undefined;
}

/** Linux' number of the device /dev/null. */
const NULL_DEVICE = 0x103;

/** Looks at the file first: the stream of what is not a terminal need not be opened. */
function isTerminal(descriptor: 1 | 2): boolean {
  try {
    const file = fstatSync(descriptor);
    if (!file.isCharacterDevice() || file.rdev === NULL_DEVICE) return false;
    return process[descriptor === 1 ? "stdout" : "stderr"].isTTY;
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
