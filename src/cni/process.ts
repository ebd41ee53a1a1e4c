/** Runs a program as Go's os/exec would, which is what plugins are used to: real pipes, no help from a shell. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { isSystemError } from "../errors.ts";

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
  signal?: NodeJS.Signals;
  /** The system's reason not to start it: `ENOENT`. */
  systemCode?: string;
  stopped?: Stop;
}

/** A result of a plugin is a few KiB. */
export const MAX_OUTPUT = 8 * 1024 * 1024;
/** So long after the end of a program we wait for output of processes that it has left behind. */
const LATE_OUTPUT_MS = 2000;

/**
 * Runs a program to its end. It is in a process group of its own: what it has started is ended with it when it takes
 * too long, prints too much, or the signal is aborted.
 */
export async function runProgram(
  program: Program,
  { timeoutMs, signal }: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined },
): Promise<End> {
  if (isAborted(signal)) return { stdout: "", stderr: "", stopped: "aborted" };
  if (!isExecutableFormat(program.file)) return { stdout: "", stderr: "", systemCode: "ENOEXEC" };
  const started = await start(program);
  if ("systemCode" in started) return { stdout: "", stderr: "", ...started };
  const { child } = started;
  let stopped: Stop | undefined;
  const stop = (why: Stop): void => {
    stopped ??= why;
    killGroup(child);
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
    await Promise.race([
      Promise.all(outputs.map(async ({ ended }) => ended)),
      sleep(LATE_OUTPUT_MS, undefined, { ref: false }),
    ]);
    const [stdout = "", stderr = ""] = outputs.map((output) => output.text());
    return { ...end, stdout, stderr, ...(stopped === undefined ? {} : { stopped }) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    for (const { stream } of outputs) stream.destroy();
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/**
 * Will the kernel take it for a program: a script that names its interpreter, or an executable for this machine?
 * Asked here because the C library hands everything else to the shell, which may even "succeed".
 */
function isExecutableFormat(path: string): boolean {
  // A name is found in PATH by the system.
  if (!path.includes("/")) return true;
  const header = Buffer.alloc(20);
  try {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      fs.readSync(descriptor, header, 0, header.length, 0);
    } finally {
      fs.closeSync(descriptor);
    }
  } catch {
    // The system will say what is wrong with it.
    return true;
  }
  if (header.toString("latin1", 0, 2) === "#!") return true;
  const machine = header[5] === BIG_ENDIAN ? header.readUInt16BE(18) : header.readUInt16LE(18);
  return header.toString("latin1", 0, 4) === "\x7fELF" && (ELF_MACHINES[process.arch]?.includes(machine) ?? true);
}

const BIG_ENDIAN = 2;
/** What the kernel of a machine runs (Node's name of it): its own, and its 32-bit form. */
const ELF_MACHINES: Partial<Record<NodeJS.Architecture, readonly number[]>> = { x64: [62, 3], arm64: [183, 40] };

interface Started {
  child: ChildProcess;
  end: ReturnType<typeof endOf>;
  stdout: Readable;
  stderr: Readable;
}

async function start({ file, argv0, words, env, stdin }: Program): Promise<Started | { systemCode: string }> {
  const channels = await openChannels(stdin);
  try {
    const child = spawn(file, words, { argv0, env, detached: true, stdio: channels?.stdio ?? "pipe" });
    const end = endOf(child);
    if (channels !== undefined) return { child, end, ...channels };
    // It need not read what it is given.
    child.stdin?.on("error", () => undefined).end(stdin);
    return { child, end, stdout: child.stdout as Readable, stderr: child.stderr as Readable };
  } catch (error) {
    channels?.stdout.destroy();
    channels?.stderr.destroy();
    return { systemCode: systemCodeOf(error) };
  } finally {
    for (const descriptor of channels?.stdio ?? []) fs.closeSync(descriptor);
  }
}

interface Channels {
  /** The program's ends. */
  stdio: [stdin: number, stdout: number, stderr: number];
  stdout: Readable;
  stderr: Readable;
}

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;

/**
 * Makes a file of what a program is to read, and pipes for what it prints. Node itself would connect it to sockets,
 * and those cannot be opened by name: a script that reads `/dev/stdin` or writes to `/dev/stderr` would fail with
 * "No such device or address", though it works with every runtime that is written in Go. (The input is no pipe with a
 * name because that one, opened by name once more after we have written, would wait for a writer for ever.)
 *
 * @returns undefined where the temporary directory cannot be written, or there is no `mkfifo`: then it is sockets.
 */
async function openChannels(stdin: string): Promise<Channels | undefined> {
  let directory = "";
  const opened: number[] = [];
  const open = (name: string, flags: number): number => {
    const descriptor = fs.openSync(join(directory, name), flags);
    opened.push(descriptor);
    return descriptor;
  };
  try {
    directory = fs.mkdtempSync(join(tmpdir(), "cni-plugin-"));
    fs.writeFileSync(join(directory, "stdin"), stdin, { mode: 0o600 });
    await promisify(execFile)("mkfifo", [join(directory, "stdout"), join(directory, "stderr")]);
    // Readers come first: without one, opening a pipe for writing waits.
    const ours = ["stdout", "stderr"].map((name) => open(name, O_RDONLY | O_NONBLOCK));
    const stdio: Channels["stdio"] = [open("stdin", O_RDONLY), open("stdout", O_WRONLY), open("stderr", O_WRONLY)];
    const [stdout, stderr] = ours.map((fd) => new Socket({ fd, readable: true, writable: false })) as [Socket, Socket];
    return { stdio, stdout, stderr };
  } catch {
    for (const descriptor of opened) fs.closeSync(descriptor);
    return undefined;
  } finally {
    if (directory !== "") fs.rmSync(directory, { recursive: true, force: true });
  }
}

function killGroup({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // It has just ended.
    if (!isSystemError(error, "ESRCH")) throw error;
  }
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

/** Throws what is no error of the system. */
function systemCodeOf(error: unknown): string {
  const { code = "UNKNOWN", errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return code;
}

interface Output {
  stream: Readable;
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
  return { stream, ended, text: () => Buffer.concat(chunks).toString("utf8") };
}
