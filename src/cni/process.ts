/** Runs a program as Go's os/exec would, which is what plugins are used to: real pipes, no help from a shell. */
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { programFormatOf } from "../system/elf.ts";
import { endWhole, marked } from "./leftovers.ts";
import { openPipes, type Pipes, type Streams } from "./pipes.ts";

/** A program to run. */
export interface Program {
  /** The path, or a name to be found in the PATH of `env`. */
  file: string;
  argv0: string;
  words: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  stdin: string;
}

/** What ended a program before its time. */
export type Stop = "timeout" | "aborted" | "output";

/** How a program ended: by an exit code, by a signal, or the system did not start it. */
export interface End {
  stdout: string;
  stderr: string;
  exitCode?: number;
  /** It was ended by this signal. */
  signal?: NodeJS.Signals;
  /** It was not started: the system's reason, `ENOENT`. */
  systemCode?: string;
  /** Why we have ended it. */
  stopped?: Stop;
}

/** A result of a plugin is a few KiB. */
export const MAX_OUTPUT = 8 * 1024 * 1024;
/** So long after the end of a program we wait for output of processes that it has left behind. */
const LATE_OUTPUT_MS = 2000;

/**
 * Runs a program to its end. What it has started is ended with it when it takes too long, prints too much, or the signal
 * is aborted. When it ends by itself, what it has left lives on: plugins start daemons, which their DEL ends.
 */
export async function runProgram(
  program: Program,
  { timeoutMs, signal }: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined },
): Promise<End> {
  if (isAborted(signal)) return { stdout: "", stderr: "", stopped: "aborted" };
  if (!isExecutableFormat(program.file)) return { stdout: "", stderr: "", systemCode: "ENOEXEC" };
  // Of no other call since the machine was started. A random one would load node:crypto, which takes milliseconds.
  const id = `${process.pid}-${process.hrtime.bigint()}`;
  const pipes = await openPipes();
  const started = await start({ ...program, env: marked(program.env, id) }, pipes);
  if ("systemCode" in started) {
    pipes?.release();
    return { stdout: "", stderr: "", ...started };
  }
  const { child } = started;
  let stopped: Stop | undefined;
  let ending: Promise<void> | undefined;
  const stop = (why: Stop): void => {
    stopped ??= why;
    if (isThere(child)) ending ??= endWhole(child.pid, id);
  };
  const onAbort = (): void => {
    stop("aborted");
  };
  const timer = timeoutMs === undefined ? undefined : setTimeout(stop, timeoutMs, "timeout");
  signal?.addEventListener("abort", onAbort);
  const outputs = [started.stdout, started.stderr].map((stream) => {
    return collect(stream, () => {
      stop("output");
    });
  });
  try {
    if (isAborted(signal)) onAbort();
    const end = await started.end;
    clearTimeout(timer);
    await ending;
    await Promise.race([
      Promise.all(outputs.map(async ({ ended }) => ended)),
      sleep(LATE_OUTPUT_MS, undefined, { ref: false }),
    ]);
    const [stdout = "", stderr = ""] = outputs.map((output) => output.text());
    // It may have ended before that by itself, and only its output was waited for.
    const endedItself = end.exitCode !== undefined && stopped !== "output";
    return { ...end, stdout, stderr, ...(stopped === undefined || endedItself ? {} : { stopped }) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    for (const stream of [started.stdin, started.stdout, started.stderr]) stream.destroy();
    pipes?.release();
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/**
 * Will the kernel take it for a program? Asked here because the C library hands everything else to the shell, which may
 * even "succeed".
 */
function isExecutableFormat(path: string): boolean {
  // A name is found in PATH by the system.
  if (!path.includes("/")) return true;
  const format = programFormatOf(path);
  return format !== "none" && typeof format !== "object";
}

interface Started extends Streams {
  child: ChildProcess;
  end: ReturnType<typeof endOf>;
}

/** @param pipes undefined: it gets sockets. */
async function start(
  { file, argv0, words, env, stdin }: Program,
  pipes: Pipes | undefined,
): Promise<Started | { systemCode: string }> {
  try {
    const child = spawn(file, words, { argv0, env, detached: true, stdio: pipes?.stdio ?? "pipe" });
    const end = endOf(child);
    const { stdin: input, stdout, stderr } = pipes?.streams ?? child;
    // Node had not even descriptors for them.
    if (!input || !stdout || !stderr) return { systemCode: (await end).systemCode ?? "UNKNOWN" };
    // It need not read what it is given.
    input.on("error", () => undefined).end(stdin);
    return { child, end, stdin: input, stdout, stderr };
  } catch (error) {
    for (const stream of Object.values(pipes?.streams ?? {})) stream.destroy();
    return { systemCode: systemCodeOf(error) };
  } finally {
    for (const descriptor of pipes?.stdio ?? []) fs.closeSync(descriptor);
  }
}

function isThere(child: ChildProcess): child is ChildProcess & { pid: number } {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

async function endOf(child: ChildProcess): Promise<Omit<End, "stdout" | "stderr">> {
  return new Promise((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      resolve({ systemCode: error.code ?? "UNKNOWN" });
    });
    child.once("exit", (exitCode, signal) => {
      resolve(exitCode === null ? { signal: signal ?? "SIGKILL" } : { exitCode });
    });
  });
}

/** Throws what is not an error of the system. */
function systemCodeOf(error: unknown): string {
  const { code = "UNKNOWN", errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return code;
}

interface Output {
  ended: Promise<unknown>;
  text(): string;
}

/** @param onTooMuch is called when there is more than can be meant; what comes then is dropped. */
function collect(stream: Readable, onTooMuch: () => void): Output {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_OUTPUT) chunks.push(chunk);
    else onTooMuch();
  });
  const ended = new Promise((resolve) => {
    stream.once("close", resolve).once("error", resolve);
  });
  return { ended, text: () => Buffer.concat(chunks).toString("utf8") };
}
