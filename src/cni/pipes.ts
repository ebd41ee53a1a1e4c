/**
 * Real pipes for programs. Node connects a program to sockets, and those cannot be opened by name: a script that reads
 * `/dev/stdin` or writes to `/dev/stderr` would fail with "No such device or address", though it works with every
 * runtime that is written in Go.
 *
 * Node cannot make a pipe. A shell makes three, this process opens them, and uses each again for later programs once no
 * other process has an end of it. They are not in the file system: a named pipe would remain if this process is killed.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

import { isSystemError } from "../errors.ts";

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;

/** Our ends of a program's standard streams. */
export interface Streams {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
}

/** The pipes of one program's standard streams. */
export interface Pipes {
  /** The program's ends, which the caller closes once it is started. */
  stdio: [stdin: number, stdout: number, stderr: number];
  /** Our ends, which the caller destroys. */
  streams: Streams;
  /** To be called when the program has ended and our ends are destroyed. */
  release(): void;
}

/**
 * Opens pipes for a program.
 *
 * @returns undefined if there is no `sh`, no `/proc`, or no descriptor left.
 */
export async function openPipes(): Promise<Pipes | undefined> {
  const pipes = free.length < 3 ? await (takePrepared() ?? makePipes()) : free.splice(-3);
  const [stdin, stdout, stderr] = pipes;
  if (!stdin || !stdout || !stderr) return undefined;
  const opened: number[] = [];
  const open = (pipe: Pipe, flags: number): number => {
    const end = pipe.open(flags);
    opened.push(end);
    return end;
  };
  try {
    const stdio: Pipes["stdio"] = [open(stdin, O_RDONLY), open(stdout, O_WRONLY), open(stderr, O_WRONLY)];
    const input = open(stdin, O_WRONLY | O_NONBLOCK);
    const [output, errors] = [open(stdout, O_RDONLY | O_NONBLOCK), open(stderr, O_RDONLY | O_NONBLOCK)];
    const streams = {
      stdin: new Socket({ fd: input, readable: false }),
      stdout: new Socket({ fd: output, writable: false }),
      stderr: new Socket({ fd: errors, writable: false }),
    };
    const release = (): void => {
      for (const pipe of pipes) pipe.release();
    };
    return { stdio, streams, release };
  } catch {
    for (const end of opened) fs.closeSync(end);
    for (const pipe of pipes) pipe.close();
    return undefined;
  }
}

/** Pipes that are being made before a program needs them. */
let prepared: Promise<Pipe[]> | undefined;

/** Begins to make the pipes of the first program, which takes a while. */
export function preparePipes(): void {
  if (free.length < 3) prepared ??= makePipes();
}

function takePrepared(): Promise<Pipe[]> | undefined {
  const taken = prepared;
  prepared = undefined;
  return taken;
}

/** What a pipe holds unless a program makes it larger is 64 KiB; more than this is not read to empty it. */
const MOST_REST = 1 << 20;

/** For a few programs that run at once. */
const MAX_FREE = 12;
const free: Pipe[] = [];

/** A pipe, by a read end that this process keeps. It reads from it only to empty the pipe. */
class Pipe {
  /** Undefined: closed. */
  #end: number | undefined;

  /** @param end of a pipe that no other process has an end of, for reading, not blocking. */
  constructor(end: number) {
    this.#end = end;
  }

  /** Opens another end, with flags of its own. Throws the system's error. */
  open(flags: number): number {
    return fs.openSync(pathOf(this.#end), flags);
  }

  /** Keeps it for the next program, or closes it if another process may still have an end: a daemon of the program. */
  release(): void {
    try {
      if (free.length < MAX_FREE && this.#isEmptied() && this.#isUnshared()) free.push(this);
      else this.close();
    } catch {
      // This process has no descriptors left.
      this.close();
    }
  }

  close(): void {
    if (this.#end !== undefined) fs.closeSync(this.#end);
    this.#end = undefined;
  }

  /** Reads what is left. Returns false if somebody can still write. */
  #isEmptied(): boolean {
    const buffer = Buffer.allocUnsafe(1 << 16);
    for (let rest = 0; rest <= MOST_REST;) {
      const read = readIfPossible(this.#end ?? -1, buffer);
      if (read === 0) return true;
      if (read === undefined) return false;
      rest += read;
    }
    return false;
  }

  /** Closes the read end for a moment. If a write fails meanwhile, no other process has a read end. */
  #isUnshared(): boolean {
    const writer = this.open(O_WRONLY | O_NONBLOCK);
    try {
      this.close();
      if (canWrite(writer)) return false;
      this.#end = fs.openSync(pathOf(writer), O_RDONLY | O_NONBLOCK);
      return true;
    } finally {
      fs.closeSync(writer);
    }
  }
}

function pathOf(descriptor = -1): string {
  return `/proc/self/fd/${descriptor}`;
}

/** Undefined: there is nothing now, and somebody may write more. */
function readIfPossible(descriptor: number, buffer: Buffer): number | undefined {
  try {
    return fs.readSync(descriptor, buffer);
  } catch (error) {
    if (isSystemError(error, "EAGAIN")) return undefined;
    throw error;
  }
}

function canWrite(descriptor: number): boolean {
  try {
    fs.writeSync(descriptor, "\0");
    return true;
  } catch (error) {
    if (isSystemError(error, "EPIPE")) return false;
    throw error;
  }
}

/** Holds three pipes as its descriptors 5 to 7, says its process number, and ends with its input. */
const HOLD_PIPES = `exec 3<&0; : | { exec 5<&0; : | { exec 6<&0; : | { exec 7<&0 <&3
read -r pid _ </proc/self/stat; echo "$pid"; read -r _; }; }; }`;

/** Makes three pipes. Returns none if that fails. */
async function makePipes(): Promise<Pipe[]> {
  let holder: ChildProcess | undefined;
  const ends: number[] = [];
  try {
    // Out of the reach of Ctrl-C, as the program is.
    holder = spawn("sh", ["-c", HOLD_PIPES], { detached: true, stdio: ["pipe", "pipe", "ignore"] });
    const ended = once(holder, "exit").catch(() => []);
    const [said] = await Promise.race([once(holder.stdout as Readable, "data"), ended.then(() => [])]);
    for (const descriptor of [5, 6, 7]) {
      ends.push(fs.openSync(`/proc/${Number(said)}/fd/${descriptor}`, O_RDONLY | O_NONBLOCK));
    }
    return ends.map((end) => new Pipe(end));
  } catch {
    for (const end of ends) fs.closeSync(end);
    return [];
  } finally {
    holder?.stdin?.destroy();
    holder?.stdout?.destroy();
  }
}
