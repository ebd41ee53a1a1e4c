/** Calls a handler with the newest data, until it has succeeded with it. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { randomBytes } from "node:crypto";
import { basename, dirname } from "node:path";
import type { Readable } from "node:stream";

import { endGently, marked } from "../cni/leftovers.ts";
import { isSystemError, reasonOf } from "../errors.ts";
import { mask } from "../secrets.ts";
import { makeDirectory, replaceDurably } from "../system/disk.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { World } from "../world.ts";
import type { HandlingOptions } from "./arguments.ts";

/** Milliseconds: the pause after a first failure, which doubles up to the longest; how long a stop may take. */
export const TIMING = { firstPause: 1000, longestPause: 300_000, grace: 5000 };

/** Calls the handler with the newest value. One that arrives while the handler runs, or before a retry, is next. */
export class Handling {
  readonly #options: HandlingOptions;
  readonly #world: World;
  readonly #timing: typeof TIMING;
  /** The data that a handler has succeeded with; the previous data of the next call. */
  #handled: string;
  /** What was handled before the start counts as the previous data, and is handled again: the node may have changed. */
  #isHandled = false;
  #current: string | undefined;
  /** What was printed last. */
  #printed: string | undefined;
  #wake: (() => void) | undefined;

  /** @param timing for tests. */
  constructor(options: HandlingOptions, world: World, timing: typeof TIMING = TIMING) {
    this.#options = options;
    this.#world = world;
    this.#timing = timing;
    this.#handled = readTextIfPossible(this.#previousFile, SIZE_LIMITS.config) ?? "";
  }

  /** Says what the data is now. */
  update(data: string): void {
    if (data === this.#current) return;
    this.#current = data;
    this.#wake?.();
  }

  /** Calls the handler whenever there is something new, until the signal comes. */
  async run(): Promise<void> {
    for (let failures = 0; !this.#isStopping();) {
      const data = this.#current;
      if (data === undefined || (this.#isHandled && data === this.#handled)) {
        await this.#changed(Infinity);
        continue;
      }
      const problem = await this.#handle(data, failures > 0);
      // Even if the signal has come meanwhile: what is handled is not forgotten.
      if (problem === undefined) {
        failures = 0;
        this.#remember(data);
        continue;
      }
      if (this.#isStopping()) return;
      const pause = Math.min(this.#timing.longestPause, this.#timing.firstPause * 2 ** failures++);
      this.#world.stderr(`kube-watch: ${this.#options.handler} ${problem}; it is called again in ${pause / 1000} s\n`);
      if (this.#current === data) await this.#changed(pause);
    }
  }

  #isStopping(): boolean {
    return this.#world.signal.aborted;
  }

  get #previousFile(): string {
    return `${this.#options.channel}.prev`;
  }

  /** @param isAgain it was printed already. @returns why it failed. */
  async #handle(data: string, isAgain: boolean): Promise<string | undefined> {
    const { channel, handler } = this.#options;
    if (data !== this.#printed || !isAgain) this.#world.stdout(await this.#shown(data));
    this.#printed = data;
    this.#world.stdout(`Handling channel data with ${handler}...\n`);
    try {
      makeDirectory(dirname(channel), 0o700);
      replaceDurably(channel, data, 0o600);
    } catch (error) {
      return `was not called, because ${channel} cannot be written: ${reasonOf(error)}`;
    }
    return this.#call([channel, data, this.#handled]);
  }

  /** What is printed of new data. Secrets are not. */
  async #shown(data: string): Promise<string> {
    const { isSecret } = this.#options;
    const [before, now] = isSecret ? ["", "(not shown: a Secret)"] : [mask(this.#handled), mask(data)];
    const diff = isSecret ? "" : await diffOf(before, now);
    return `### Channel data ###\n${now}\n###\n### Channel data diff ###\n${diff}\n###\n`;
  }

  /** @returns why it failed. */
  async #call(words: readonly string[]): Promise<string | undefined> {
    const { handler, timeout } = this.#options;
    const { signal, env } = this.#world;
    const id = randomBytes(8).toString("hex");
    const child = start(handler, words, marked(env, id));
    if (typeof child === "string") return `cannot be run: ${child}`;
    const prefix = `[${basename(handler)}] `;
    eachLine(child.stdout, (line) => this.#world.stdout(`${prefix}${line}\n`));
    eachLine(child.stderr, (line) => this.#world.stderr(`${prefix}${line}\n`));
    const ended = Promise.withResolvers<string | undefined>();
    child.on("error", (error) => ended.resolve(`cannot be run: ${reasonOf(error)}`));
    child.on("exit", (code, by) => {
      ended.resolve(code === 0 ? undefined : by === null ? `failed with exit code ${code}` : `was ended by ${by}`);
    });
    let late: string | undefined;
    let gone: Promise<void> | undefined;
    const end = (): void => {
      if (child.pid !== undefined) gone ??= endGently(child.pid, id, this.#timing.grace);
    };
    const timer = setTimeout(() => {
      late = `has not ended within ${timeout / 1000} s, and was killed`;
      end();
    }, timeout);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    try {
      const problem = await ended.promise;
      await gone;
      return late ?? problem;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  /** Data that was handled is remembered beside the channel: where that file stays, a restart forgets nothing. */
  #remember(data: string): void {
    this.#handled = data;
    this.#isHandled = true;
    try {
      replaceDurably(this.#previousFile, data, 0o600);
      replaceDurably(this.#options.channel, "", 0o600);
    } catch (error) {
      this.#world.stderr(`kube-watch: ${this.#previousFile} cannot be written: ${reasonOf(error)}\n`);
    }
  }

  /** Waits for other data, the signal, or until the time is over. */
  async #changed(milliseconds: number): Promise<void> {
    const { signal } = this.#world;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = (): void => resolve(undefined);
    this.#wake = wake;
    signal.addEventListener("abort", wake);
    const timer = milliseconds === Infinity ? undefined : setTimeout(wake, milliseconds);
    if (!signal.aborted) await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", wake);
    this.#wake = undefined;
  }
}

/** @returns why it cannot be started: an argument of Linux has at most 128 KiB, and no NUL. */
function start(
  handler: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv,
): ChildProcessByStdio<null, Readable, Readable> | string {
  try {
    return spawn(handler, words, { env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    return isSystemError(error, "E2BIG") ? "the data is longer than an argument can be, 128 KiB" : reasonOf(error);
  }
}

/** A longer line is given in parts. */
const LONGEST_LINE = 64 * 1024;

function eachLine(stream: Readable, give: (line: string) => void): void {
  let begun = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${begun}${text}`.split("\n");
    begun = lines.pop() ?? "";
    for (const line of lines) give(line);
    if (begun.length <= LONGEST_LINE) return;
    give(begun);
    begun = "";
  });
  stream.on("end", () => {
    if (begun !== "") give(begun);
  });
}

/** As `diff -u` prints it, without its two lines about files. */
async function diffOf(before: string, after: string): Promise<string> {
  const { unifiedDiff } = await import("../diff.ts");
  return unifiedDiff("data", `${before}\n`, `${after}\n`)
    .replace(/^--- .*\n\+\+\+ .*\n/u, "")
    .trimEnd();
}
