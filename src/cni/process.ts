/** Runs a program as Go's os/exec would, which is what plugins are used to: real pipes, no help from a shell. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { programFormatOf } from "../system/elf.ts";
import { endWhole, marked } from "./leftovers.ts";

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
  const id = randomUUID();
  const started = await start({ ...program, env: marked(program.env, id) });
  if ("systemCode" in started) return { stdout: "", stderr: "", ...started };
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

/** Our ends of a program's standard streams. */
interface Streams {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
}

async function start({ file, argv0, words, env, stdin }: Program): Promise<Started | { systemCode: string }> {
  const pipes = await openPipes();
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

interface Pipes {
  /** The program's ends. */
  stdio: [stdin: number, stdout: number, stderr: number];
  streams: Streams;
}

const { O_RDONLY, O_WRONLY } = fs.constants;

/** Holds three pipes as its descriptors 5 to 7, says its process number, and ends with its input. */
const HOLD_PIPES = `exec 3<&0; : | { exec 5<&0; : | { exec 6<&0; : | { exec 7<&0 <&3
read -r pid _ </proc/self/stat; echo "$pid"; read -r _; }; }; }`;

/**
 * Makes pipes for a program. Node itself would connect it to sockets, and those cannot be opened by name: a script that
 * reads `/dev/stdin` or writes to `/dev/stderr` would fail with "No such device or address", though it works with every
 * runtime that is written in Go. Node cannot make a pipe; a shell does it, and we open what it has. They are nowhere in
 * the file system: a pipe with a name would stay when we are killed, and whoever opens it for reading once more, after
 * we have written, would wait for a writer for ever.
 *
 * @returns undefined where there is no `sh`, or no `/proc`: then it is sockets.
 */
async function openPipes(): Promise<Pipes | undefined> {
  let holder: ChildProcess | undefined;
  const opened: number[] = [];
  try {
    // Out of the reach of Ctrl-C, as the program is.
    holder = spawn("sh", ["-c", HOLD_PIPES], { detached: true, stdio: ["pipe", "pipe", "ignore"] });
    const ended = endOf(holder);
    const [said] = await Promise.race([once(holder.stdout as Readable, "data"), ended.then(() => [])]);
    const open = (descriptor: number, flags: number): number => {
      const ours = fs.openSync(`/proc/${Number(said)}/fd/${descriptor}`, flags);
      opened.push(ours);
      return ours;
    };
    const stdio: Pipes["stdio"] = [open(5, O_RDONLY), open(6, O_WRONLY), open(7, O_WRONLY)];
    const [input, output, errors] = [open(5, O_WRONLY), open(6, O_RDONLY), open(7, O_RDONLY)];
    const stdin = new Socket({ fd: input, readable: false });
    const [stdout, stderr] = [output, errors].map((fd) => new Socket({ fd, writable: false })) as [Socket, Socket];
    return { stdio, streams: { stdin, stdout, stderr } };
  } catch {
    for (const descriptor of opened) fs.closeSync(descriptor);
    return undefined;
  } finally {
    holder?.stdin?.destroy();
    holder?.stdout?.destroy();
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
