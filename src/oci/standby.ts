/**
 * The program as it stands by for the hooks of containers. The front (scripts/oci.sh) starts it beside the runtime that
 * makes a container, so that the time that Node.js needs to start passes while that works; it stays for a while, for the
 * hooks of this container and of others. A hook hands itself on through FIFOs of a room: it takes a slot, says so with
 * the number of its process, and reads from the slot's FIFO how it has to end. All the rest of it is read from /proc, as
 * if this process had been started in its place.
 */
import * as fs from "node:fs";
import { Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { addAbortSignal } from "node:stream";
import { text } from "node:stream/consumers";

import { preparePipes } from "../cni/pipes.ts";
import { usage } from "../errors.ts";
import { remove, removeDirectoryIfEmpty } from "../system/disk.ts";
import { isSameInode } from "../system/inode.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { visibleLines } from "../system/text.ts";
import type { Ending, World } from "../world.ts";

/** So long it stays without a hook: it takes as much memory as any program of Node.js. */
const IDLE_MS = 60_000;
/** So often it looks whether hooks are still there. */
const LOOK_MS = 100;
/** So long a hook may take from its claim of a slot to its call. */
const CLAIM_MS = 10_000;
/** So many hooks are served at a time; others start Node.js. The front has the first ones open in its place until then. */
const SLOT_NAMES = Array.from({ length: 16 }, (_, index) => String(index + 1));
const NAMESPACES = ["mnt", "net", "pid", "user", "ipc", "uts"];
/** The descriptors at which the front has the standard output and input of a hook, the calls, and the FIFO of its slot. */
const [STDOUT, STDIN, CALLS, ANSWER] = [5, 6, 8, 9];
const { O_RDONLY, O_WRONLY, O_RDWR, O_APPEND, O_NONBLOCK, O_NOFOLLOW } = fs.constants;

type Serve = (argv: readonly string[], world: World) => Promise<Ending>;

/**
 * Stands by until nothing has been asked for a while.
 *
 * @param serve does the work of a hook.
 */
export async function standBy([directory = ""]: readonly string[], world: World, serve: Serve): Promise<Ending> {
  if (directory === "" || !fs.fstatSync(0).isFIFO()) {
    throw usage("standby", "is called by oci.sh only, with a FIFO as its input, and a room");
  }
  // What it was started in can be unmounted.
  process.chdir("/");
  const [, program = ""] = process.argv;
  const started = fs.statSync(program);
  const room = new Room(directory);
  const calls = new Socket({ fd: 0, writable: false }).setEncoding("utf8");
  addAbortSignal(world.signal, calls);
  prepare();
  let asked = process.uptime();
  const timer = setInterval(() => {
    room.sweep();
    if (room.isBusy) asked = process.uptime();
    else if ((process.uptime() - asked) * 1000 > IDLE_MS || !room.isFound || isOther(program, started)) calls.destroy();
  }, LOOK_MS);
  const served = new Set<Promise<void>>();
  let rest = "";
  try {
    for await (const chunk of calls as AsyncIterable<string>) {
      asked = process.uptime();
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const done = room.serve(line, world, serve).finally(() => served.delete(done));
        served.add(done);
      }
    }
  } catch (error) {
    if (!calls.destroyed) throw error;
  } finally {
    clearInterval(timer);
    await Promise.all(served);
    room.leave();
  }
  return { exitCode: 0 };
}

/** Has an upgrade replaced or changed the program? */
function isOther(program: string, started: fs.Stats): boolean {
  const now = fs.statSync(program, { throwIfNoEntry: false });
  return (
    now === undefined || !isSameInode(now, started) || now.mtimeMs !== started.mtimeMs || now.size !== started.size
  );
}

/** Loads what hooks load when they first need it. */
function prepare(): void {
  preparePipes();
  new DatabaseSync(":memory:").close();
}

/** The directory of the FIFOs. The front says in the file beside it, `standby`, who stands by where: the last one. */
class Room {
  readonly #directory: string;
  readonly #sign: string;
  readonly #slots: readonly Slot[];

  /** Removes what others have left that were killed. Throws the system's error. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#sign = join(dirname(directory), "standby");
    this.#slots = SLOT_NAMES.map((name) => new Slot(join(directory, name)));
    if (!this.isFound) return;
    const rooms = dirname(directory);
    for (const name of fs.readdirSync(rooms)) {
      const other = join(rooms, name);
      if (/^\d+$/u.test(name) && name !== basename(directory) && isOld(fs.lstatSync(other))) removeRoom(other);
    }
  }

  /** Do hooks come here, and not to one that was started at the same moment? */
  get isFound(): boolean {
    return fs.fstatSync(0).nlink > 0 && this.#isSigned;
  }

  get #isSigned(): boolean {
    if (!fs.existsSync(this.#sign)) return false;
    const [line] = readText(this.#sign, SIZE_LIMITS.proc).split("\n", 1);
    return line === `${process.pid} ${this.#directory}`;
  }

  get isBusy(): boolean {
    return this.#slots.some(({ isServing }) => isServing);
  }

  /** Does the work of a hook that has called by `SLOT PID`. */
  async serve(call: string, world: World, serve: Serve): Promise<void> {
    const [, name = "", pid = ""] = /^(\d+) (\d+)$/u.exec(call) ?? [];
    await this.#slots[SLOT_NAMES.indexOf(name)]?.serve(pid, world, serve);
  }

  /** Gives back the slots of hooks that have gone. */
  sweep(): void {
    for (const slot of this.#slots) slot.sweep();
  }

  leave(): void {
    if (this.#isSigned) remove(this.#sign);
    removeRoom(this.#directory);
  }
}

/** Nobody is still making it. */
function isOld({ mtimeMs }: fs.Stats): boolean {
  return Date.now() - mtimeMs > CLAIM_MS;
}

/** Removes what the front makes in a room, and nothing else. */
function removeRoom(directory: string): void {
  for (const name of ["calls", ...SLOT_NAMES.flatMap((slot) => [slot, `${slot}.lock`])]) remove(join(directory, name));
  removeDirectoryIfEmpty(directory);
}

/** What one hook at a time is answered by: it has made a file beside the FIFO, with the number of its process. */
class Slot {
  readonly #lock: string;
  readonly #fifo: number;
  /** The last hook that was answered. */
  #answered = "";
  isServing = false;

  constructor(path: string) {
    this.#lock = `${path}.lock`;
    this.#fifo = fs.openSync(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
    if (!fs.fstatSync(this.#fifo).isFIFO()) throw new Error(`${path} is not a FIFO`);
  }

  async serve(pid: string, world: World, serve: Serve): Promise<void> {
    this.isServing = true;
    try {
      this.#answer(pid, await serveHook(pid, this.#fifo, () => this.#answer(pid, "taken"), world, serve));
    } finally {
      this.#answered = pid;
      this.isServing = false;
    }
  }

  #answer(pid: string, words: string): void {
    fs.writeSync(this.#fifo, `${pid} ${words}\n`);
  }

  sweep(): void {
    try {
      const claimed = this.isServing ? undefined : fs.statSync(this.#lock, { throwIfNoEntry: false });
      if (claimed === undefined) return;
      const pid = readText(this.#lock, SIZE_LIMITS.proc).trim();
      const isThere = pid === "" || fs.existsSync(`/proc/${pid}`);
      if (isThere && pid !== this.#answered && !isOld(claimed)) return;
      if (isOurs(`/proc/${pid}`, this.#fifo)) return;
      // An answer that was not read must not be read by the next one.
      while (canRead(this.#fifo));
      this.#answered = "";
      remove(this.#lock);
    } catch {
      // Somebody removes it, or it cannot be removed: others are there.
    }
  }
}

function canRead(fifo: number): boolean {
  try {
    return fs.readSync(fifo, Buffer.alloc(4096)) > 0;
  } catch {
    return false;
  }
}

/**
 * @param fifo of its slot.
 * @param take says that it has been taken: it must not be done by another one from now on.
 * @returns its exit code; empty: nothing is done, and the hook has to do it itself.
 */
async function serveHook(pid: string, fifo: number, take: () => void, world: World, serve: Serve): Promise<string> {
  const hook = `/proc/${pid}`;
  const opened: number[] = [];
  const ended = new AbortController();
  let stdin: Socket | undefined;
  const timer = setInterval(() => {
    if (!fs.existsSync(hook)) ended.abort("SIGTERM");
  }, LOOK_MS);
  try {
    const open = (descriptor: number, flags: number): number => {
      const file = fs.openSync(`${hook}/fd/${descriptor}`, flags | O_NONBLOCK);
      opened.push(file);
      return file;
    };
    if (fs.statSync(hook).uid !== process.getuid?.() || !isHere(hook)) return "";
    if (!isOurs(hook, fifo) || !canBeOpened(`${hook}/fd/${STDIN}`)) return "";
    if (![STDOUT, 2].every((one) => canBeOpened(`${hook}/fd/${one}`, "/dev/null"))) return "";
    // The words of the shell, the front and `cni` come first.
    const [, , command, ...words] = textsIn(`${hook}/cmdline`);
    if (command !== "cni") return "";
    const env = environmentIn(textsIn(`${hook}/environ`));
    const [stdout, stderr] = [open(STDOUT, O_WRONLY | O_APPEND), open(2, O_WRONLY | O_APPEND)];
    const input = open(STDIN, O_RDONLY);
    const signal = AbortSignal.any([world.signal, ended.signal]);
    // It has not ended meanwhile, and given its number to another one.
    if (!isOurs(hook, fifo)) return "";
    take();
    const { exitCode } = await serve(words, {
      ...world,
      env,
      signal,
      stdin: async () => {
        // It closes it itself.
        opened.splice(opened.indexOf(input), 1);
        stdin = new Socket({ fd: input, writable: false });
        return text(addAbortSignal(signal, stdin));
      },
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
    stdin?.destroy();
    for (const file of opened) fs.closeSync(file);
  }
}

/** Has it the namespaces and the root directory of this process? Paths and plugins are the same then. */
function isHere(hook: string): boolean {
  const isShared = (name: string): boolean =>
    fs.readlinkSync(`${hook}/${name}`) === fs.readlinkSync(`/proc/self/${name}`);
  return (
    NAMESPACES.every((name) => isShared(`ns/${name}`)) && isSameInode(fs.statSync(`${hook}/root`), fs.statSync("/"))
  );
}

/** Has this process the FIFOs open, as a hook has that waits for its answer? */
function isOurs(hook: string, fifo: number): boolean {
  try {
    return [
      [0, CALLS],
      [fifo, ANSWER],
    ].every(([own = 0, descriptor = 0]) => isSameInode(fs.statSync(`${hook}/fd/${descriptor}`), fs.fstatSync(own)));
  } catch {
    return false;
  }
}

/** A pipe, as runtimes give them: others may wait when they are opened, or have a place where they go on. */
function canBeOpened(path: string, other?: string): boolean {
  const target = fs.readlinkSync(path);
  return target.startsWith("pipe:[") || target === other;
}

function textsIn(path: string): string[] {
  return readText(path, SIZE_LIMITS.proc).split("\0").slice(0, -1);
}

/** What the front takes out of it is left out. */
function environmentIn(variables: readonly string[]): Record<string, string> {
  const pairs = variables.map((variable) => /^([^=]+)=(.*)$/su.exec(variable)?.slice(1) ?? []);
  return Object.fromEntries(pairs.filter(([name = ""]) => !["", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS"].includes(name)));
}

/** A reader that has gone away is not a failure. */
function print(descriptor: number, said: string): void {
  try {
    fs.writeSync(descriptor, visibleLines(said));
  } catch {
    // As for every hook: its end says more.
  }
}
