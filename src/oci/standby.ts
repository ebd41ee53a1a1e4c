/**
 * The program as it stands by for the hooks of a container. The front (scripts/oci.sh) starts it beside the runtime, so
 * that the time that Node.js needs to start passes while that works; it stays for a moment, for many containers do not
 * run long. Hooks hand themselves on through two FIFOs in the bundle, one at a time: the number of its process goes into
 * the one, and how it has to end comes out of the other. All the rest of it is read from /proc, as if this process had
 * been started in its place.
 */
import * as fs from "node:fs";
import { Socket } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { addAbortSignal } from "node:stream";
import { text } from "node:stream/consumers";

import { preparePipes } from "../cni/pipes.ts";
import { usage } from "../errors.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { visibleLines } from "../system/text.ts";
import type { Ending, World } from "../world.ts";

/** So long it waits for a hook, or for the next one: it takes as much memory as any program of Node.js. */
const IDLE_MS = 5000;
/** So often it looks whether the hook and the bundle are still there. */
const LOOK_MS = 100;
/** The descriptors at which the front has the standard output and input of a hook, and the FIFOs. */
const [STDOUT, STDIN, ASK, ANSWER] = [5, 6, 8, 9];

/**
 * Stands by until nothing has been asked for a while, or the bundle is gone.
 *
 * @param serve does the work of a hook.
 */
export async function standBy(
  world: World,
  serve: (argv: readonly string[], world: World) => Promise<Ending>,
): Promise<Ending> {
  if (![0, 1].every((descriptor) => fs.fstatSync(descriptor).isFIFO())) {
    throw usage("standby", "is called by oci.sh only, with a FIFO as its input and another one as its output");
  }
  const calls = new Socket({ fd: 0, writable: false }).setEncoding("utf8");
  addAbortSignal(world.signal, calls);
  prepare();
  let asked = process.uptime();
  let isBusy = false;
  const timer = setInterval(() => {
    const isIdle = !isBusy && (process.uptime() - asked) * 1000 > IDLE_MS;
    if (isIdle || fs.fstatSync(0).nlink === 0) calls.destroy();
  }, LOOK_MS);
  try {
    for await (const lines of calls as AsyncIterable<string>) {
      isBusy = true;
      for (const pid of lines.match(/\d+/gu) ?? []) {
        fs.writeSync(1, `${pid} ${await serveHook(pid, world, serve)}\n`);
      }
      isBusy = false;
      asked = process.uptime();
    }
  } catch (error) {
    if (!calls.destroyed) throw error;
  } finally {
    clearInterval(timer);
  }
  return { exitCode: 0 };
}

/** Loads what hooks load when they first need it. */
function prepare(): void {
  preparePipes();
  new DatabaseSync(":memory:").close();
}

/** @returns its exit code; empty: nothing is done, and the hook has to do it itself. */
async function serveHook(
  pid: string,
  world: World,
  serve: (argv: readonly string[], world: World) => Promise<Ending>,
): Promise<string> {
  const hook = `/proc/${pid}`;
  const opened: number[] = [];
  const ended = new AbortController();
  const timer = setInterval(() => {
    if (!fs.existsSync(hook)) ended.abort("SIGTERM");
  }, LOOK_MS);
  try {
    const { O_RDONLY, O_WRONLY, O_APPEND, O_NONBLOCK } = fs.constants;
    const open = (descriptor: number, flags: number): number => {
      const file = fs.openSync(`${hook}/fd/${descriptor}`, flags | O_NONBLOCK);
      opened.push(file);
      return file;
    };
    if (fs.statSync(hook).uid !== process.getuid?.()) return "";
    if (!isOurs(hook) || ![STDIN, STDOUT, 2].every((descriptor) => canBeOpened(`${hook}/fd/${descriptor}`))) return "";
    // The words of the shell, the front and `cni` come first.
    const [, , command, ...words] = textsIn(`${hook}/cmdline`);
    if (command !== "cni") return "";
    const [stdout, stderr] = [open(STDOUT, O_WRONLY | O_APPEND), open(2, O_WRONLY | O_APPEND)];
    process.chdir(`${hook}/cwd`);
    replaceEnvironment(textsIn(`${hook}/environ`));
    const signal = AbortSignal.any([world.signal, ended.signal]);
    const stdin = new Socket({ fd: fs.openSync(`${hook}/fd/${STDIN}`, O_RDONLY | O_NONBLOCK), writable: false });
    // It has not ended meanwhile, and given its number to another one.
    if (!isOurs(hook)) return "";
    fs.writeSync(1, `${pid} taken\n`);
    const { exitCode } = await serve(words, {
      ...world,
      signal,
      stdin: async () => text(addAbortSignal(signal, stdin)),
      stdout: (said) => print(stdout, said),
      stderr: (said) => print(stderr, said),
      terminals: () => ({ stderr: false }),
    });
    return String(exitCode);
  } catch {
    // What it is given cannot be opened by name, or it has ended.
    return "";
  } finally {
    clearInterval(timer);
    for (const file of opened) fs.closeSync(file);
  }
}

/** Has this process the two FIFOs open, as a hook has that waits for its answer? */
function isOurs(hook: string): boolean {
  return [
    [0, ASK],
    [1, ANSWER],
  ].every(([own = 0, descriptor = 0]) => {
    const [a, b] = [fs.fstatSync(own), fs.statSync(`${hook}/fd/${descriptor}`)];
    return a.ino === b.ino && a.dev === b.dev;
  });
}

/** A pipe, or nothing, as runtimes give them: others may wait when they are opened, or have a place where they go on. */
function canBeOpened(path: string): boolean {
  const target = fs.readlinkSync(path);
  return target.startsWith("pipe:[") || target === "/dev/null";
}

function textsIn(path: string): string[] {
  return readText(path, SIZE_LIMITS.proc).split("\0").slice(0, -1);
}

/** What the front takes out of it is left out. */
function replaceEnvironment(variables: readonly string[]): void {
  for (const name of Object.keys(process.env)) Reflect.deleteProperty(process.env, name);
  for (const variable of variables) {
    const [, name = "", value = ""] = /^([^=]+)=(.*)$/su.exec(variable) ?? [];
    if (!["", "CNI_NODE_BUNDLE", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS"].includes(name)) process.env[name] = value;
  }
}

/** A reader that has gone away is not a failure. */
function print(descriptor: number, said: string): void {
  try {
    fs.writeSync(descriptor, visibleLines(said));
  } catch {
    // As for every hook: its end says more.
  }
}
