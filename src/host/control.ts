/**
 * How a process that keeps a node is found by others: it listens on a socket in the state of each directory that it
 * keeps, as long as there is one. A request is a line of JSON, and so is its answer.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as net from "node:net";
import { join } from "node:path";

import { Failure, isAbsence, isSystemError, reasonOf } from "../errors.ts";
import { removeDirectoryIfEmpty } from "../system/disk.ts";
import { OWNER } from "../system/name.ts";
import { statePaths, Target } from "./target.ts";

/** Why a process is asked to keep its hands off: its owner's assets are removed, or a newer process keeps them. */
export type StandDownReason = "uninstall" | "newer";

/** What a process that keeps a node answers with. */
export interface Keeper {
  /** How it is, as a value of JSON. */
  describe(): unknown;
  /** Ends what goes on, and begins nothing until `resume`. Resolves when nothing goes on any more. */
  standDown(reason: StandDownReason): Promise<void>;
  resume(): void;
}

/** Bytes of a request, of an answer; milliseconds; connections at a time. */
const LIMITS = { request: 1024, answer: 256 * 1024, patience: 2000, standDown: 10_000, connections: 16 };

/** The names of sockets: `watch.OWNER.sock`. */
const PREFIX = "watch.";
const SUFFIX = ".sock";

/** More owners than these keep no node. */
const MOST_OWNERS = 20;

type Request = { request: "describe" } | { request: "stand-down"; reason: StandDownReason };

/** The sockets of a process that keeps the assets of an owner in some directories. The newest process has the place. */
export class ControlSockets implements Disposable {
  readonly #owner: string;
  readonly #keeper: Keeper;
  readonly #open = new Map<string, OwnSocket>();
  readonly #holds: Hold[] = [];
  /** Connections of those that want this process to stand down. */
  readonly #standing = new Set<net.Socket>();
  #isKept = false;

  constructor(owner: string, keeper: Keeper) {
    this.#owner = owner;
    this.#keeper = keeper;
  }

  /**
   * Listens in those of the directories that have a state, if it does not already. A process that has the place is
   * asked to stand down as long as this one lives.
   *
   * @returns why it cannot listen in some: that is worth a warning, and nothing else.
   */
  async claim(directories: readonly string[]): Promise<{ directory: string; reason: string }[]> {
    const troubles: { directory: string; reason: string }[] = [];
    for (const directory of directories) {
      try {
        await this.#claim(directory);
      } catch (error) {
        troubles.push({ directory, reason: reasonOf(error) });
      }
    }
    return troubles;
  }

  async #claim(directory: string): Promise<void> {
    if (this.#open.get(directory)?.isInPlace() === true) return;
    this.#open.get(directory)?.[Symbol.dispose]();
    this.#open.delete(directory);
    const target = openIfPossible(directory);
    if (target === undefined) return;
    try {
      const hold = await askToStandDown(target, this.#owner, "newer");
      if (hold !== undefined) this.#holds.push(hold);
      this.#open.set(directory, await OwnSocket.listen(target, this.#owner, (socket) => this.#serve(socket)));
    } catch (error) {
      target[Symbol.dispose]();
      throw error;
    }
  }

  #serve(socket: net.Socket): void {
    socket.setTimeout(LIMITS.patience, () => socket.destroy());
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (this.#standing.delete(socket) && this.#standing.size === 0 && !this.#isKept) this.#keeper.resume();
    });
    const onLine = (line: string): void => {
      this.#answer(socket, line).catch(() => socket.destroy());
    };
    readLines(socket, LIMITS.request, onLine);
  }

  async #answer(socket: net.Socket, line: string): Promise<void> {
    if (this.#standing.has(socket)) {
      this.#isKept ||= line === KEEP;
      return;
    }
    const request = JSON.parse(line) as Partial<Request>;
    if (request.request === "describe") return void socket.end(`${JSON.stringify(this.#keeper.describe())}\n`);
    if (request.request !== "stand-down") return void socket.destroy();
    const reason = request.reason === "newer" ? "newer" : "uninstall";
    socket.setTimeout(0);
    socket.unref();
    this.#standing.add(socket);
    await this.#keeper.standDown(reason);
    socket.write("{}\n");
  }

  [Symbol.dispose](): void {
    for (const one of [...this.#open.values(), ...this.#holds]) one[Symbol.dispose]();
    for (const socket of this.#standing) socket.destroy();
    this.#open.clear();
  }
}

const KEEP = "keep";

/** A socket that listens in the state of a directory. */
class OwnSocket implements Disposable {
  readonly #target: Target;
  readonly #path: string;
  readonly #server: net.Server;
  readonly #inode: bigint;

  private constructor(target: Target, path: string, server: net.Server) {
    this.#target = target;
    this.#path = path;
    this.#server = server;
    this.#inode = fs.lstatSync(path, { bigint: true }).ino;
  }

  /** The server removes the name that it was made by; the one that it goes on with is ours to remove. */
  static async listen(target: Target, owner: string, serve: (socket: net.Socket) => void): Promise<OwnSocket> {
    const { state } = target.lockedState;
    const path = socketIn(state, owner);
    const temporary = join(state, `${randomBytes(8).toString("hex")}.tmp`);
    const server = net.createServer(serve);
    server.maxConnections = LIMITS.connections;
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    server.once("error", reject);
    server.listen(temporary, () => resolve(undefined));
    await promise;
    server.on("error", () => undefined);
    server.unref();
    try {
      fs.renameSync(temporary, path);
      return new OwnSocket(target, path, server);
    } catch (error) {
      server.close();
      throw error;
    }
  }

  /** Is it still what others find? The directory may have been removed, or a newer process may have the place. */
  isInPlace(): boolean {
    return this.#isOurs(this.#path) && this.#target.isInPlace() && this.#target.hasState();
  }

  #isOurs(path: string): boolean {
    return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode;
  }

  [Symbol.dispose](): void {
    try {
      if (this.#isOurs(this.#path)) fs.unlinkSync(this.#path);
      // A run that removed the last asset left it to the socket.
      if (this.#target.hasState()) removeDirectoryIfEmpty(statePaths(this.#target.here).state);
    } catch {
      // The next process that keeps this directory takes the place.
    }
    this.#server.close();
    this.#target[Symbol.dispose]();
  }
}

/** Keeps others from repairing what is being removed. Until it is disposed of, unless it is kept. */
export interface Hold extends Disposable {
  /** They do not begin again. */
  keep(): void;
}

/**
 * Asks the processes that keep an owner's assets in these directories to stand down, and waits until they have.
 *
 * @throws Failure `watch-unanswered`: one goes on; nothing has changed.
 */
export async function standDown(directories: readonly string[], owner: string): Promise<Hold> {
  const holds: Hold[] = [];
  const dispose = (): void => {
    for (const hold of holds) hold[Symbol.dispose]();
  };
  try {
    for (const directory of directories) {
      using target = openIfPossible(directory);
      const hold = target && (await askToStandDown(target, owner, "uninstall"));
      if (hold !== undefined) holds.push(hold);
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    keep: () => {
      for (const hold of holds) hold.keep();
    },
    [Symbol.dispose]: dispose,
  };
}

/** Undefined: no process listens. A socket that a process left is removed. @throws Failure `watch-unanswered`. */
async function askToStandDown(target: Target, owner: string, reason: StandDownReason): Promise<Hold | undefined> {
  const path = socketIn(target.state?.state ?? "", owner);
  const shown = socketIn(statePaths(target.path).state, owner);
  const socket = await connectTo(path);
  if (socket === undefined) return removeIfPossible(path);
  try {
    await exchange(socket, { request: "stand-down", reason }, LIMITS.standDown);
  } catch (error) {
    socket.destroy();
    throw new Failure({
      code: "watch-unanswered",
      subject: shown,
      problem: `the cni-node watch of owner ${owner} does not stand down: ${reasonOf(error)}`,
      hint: "end that process first; cni-node status shows what it waits for",
    });
  }
  socket.unref();
  return {
    keep: () => socket.write(`${KEEP}\n`),
    [Symbol.dispose]: () => socket.end(),
  };
}

function removeIfPossible(path: string): undefined {
  try {
    fs.rmSync(path, { force: true });
  } catch {
    // Nobody listens there, which is all that counts.
  }
}

/** How the processes are that keep a directory, as they say themselves: by owner, a value or why there is none. */
export async function describeKeepers(
  directory: string,
): Promise<{ owner: string; said?: unknown; trouble?: string }[]> {
  using target = openIfPossible(directory);
  const state = target?.state?.state;
  if (state === undefined) return [];
  const names = fs.readdirSync(state).filter((name) => name.startsWith(PREFIX) && name.endsWith(SUFFIX));
  const owners = names.map((name) => name.slice(PREFIX.length, -SUFFIX.length)).filter((owner) => OWNER.test(owner));
  const found = await Promise.all(
    owners.slice(0, MOST_OWNERS).map(async (owner) => {
      try {
        const socket = await connectTo(socketIn(state, owner));
        if (socket === undefined) return undefined;
        const answer = await exchange(socket, { request: "describe" }, LIMITS.patience).finally(() => socket.destroy());
        return { owner, said: JSON.parse(answer) as unknown };
      } catch (error) {
        return { owner, trouble: reasonOf(error) };
      }
    }),
  );
  return found.filter((one) => one !== undefined);
}

function socketIn(state: string, owner: string): string {
  return join(state, `${PREFIX}${owner}${SUFFIX}`);
}

/** Undefined: the directory is missing, or has no state. @throws Failure `state-untrusted`. */
function openIfPossible(directory: string): Target | undefined {
  try {
    const target = Target.open(directory);
    if (target.state !== undefined) return target;
    target[Symbol.dispose]();
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
  return undefined;
}

/** Undefined: nobody listens. */
async function connectTo(path: string): Promise<net.Socket | undefined> {
  if (fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return undefined;
  const socket = net.connect(path);
  try {
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.on("error", () => undefined);
    return socket;
  } catch (error) {
    if (isSystemError(error, "ECONNREFUSED", "ENOENT")) return undefined;
    throw error;
  }
}

/** Sends a request, and returns the first line of the answer. */
async function exchange(socket: net.Socket, request: Request, patience: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error("it does not answer")), patience);
  socket.once("close", () => reject(new Error("it ended without an answer")));
  readLines(socket, LIMITS.answer, resolve);
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Calls for each line. A line that is too long ends the connection. */
function readLines(socket: net.Socket, limit: number, call: (line: string) => void): void {
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = `${text}${chunk}`.split("\n");
    text = lines.pop() ?? "";
    if (text.length > limit) socket.destroy();
    else for (const line of lines) call(line);
  });
}
