/** Processes with a temporary directory, of which nothing outlives this process, however it ends. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** What the janitor does as soon as its standard input has ended. Dying processes may still write a file. */
const CLEAN_UP = 'cat; for try in 1 2 3 4 5 6 7 8 9 10; do { CLEAN_UP; } && rm -rf -- "$0" && exit; sleep 0.2; done';

/** Turns into a program that the kernel kills when the process that started it ends. Part of util-linux. */
const KEEPER = { program: "setpriv", options: ["--pdeathsig=KILL", "--"] };

interface Started {
  pid: number;
  /** Rejects if it could not be started. */
  ended: Promise<unknown>;
  /** What it has printed so far. */
  printed: () => string;
}

/** Started processes and the directory that they work in. */
export class Processes implements AsyncDisposable {
  readonly directory: string;
  /** Processes, and the end of each. */
  readonly #running = new Map<ChildProcess, Promise<unknown>>();
  /** Removes the directory, also when this process is killed. */
  readonly #janitor: ChildProcess;
  readonly #removed: Promise<unknown>;

  /**
   * @param prefix what the directory's name begins with.
   * @param cleanUp what else a shell does when all is over, as often as it takes: `$0` is the directory.
   * @param base where the directory is made.
   */
  constructor(prefix: string, cleanUp = "true", base: string = tmpdir()) {
    this.directory = fs.mkdtempSync(join(fs.realpathSync(base), prefix));
    this.#janitor = spawn("sh", ["-c", CLEAN_UP.replace("CLEAN_UP", cleanUp), this.directory], {
      cwd: "/",
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#removed = once(this.#janitor, "exit");
    this.#janitor.unref();
    (this.#janitor.stdin as Socket).unref();
  }

  /** Starts a program that is killed when this process ends. What it prints goes to NAME.log in the directory. */
  start(program: string, args: readonly string[]): Started {
    const log = join(this.directory, `${basename(program)}.log`);
    const output = fs.openSync(log, "w");
    const child = spawn(KEEPER.program, [...KEEPER.options, program, ...args], {
      cwd: this.directory,
      stdio: ["ignore", output, output],
    });
    fs.closeSync(output);
    // A test that forgets to stop them ends nevertheless.
    child.unref();
    const ended = once(child, "exit").finally(() => this.#running.delete(child));
    this.#running.set(child, ended);
    return { pid: child.pid ?? 0, ended, printed: () => (fs.existsSync(log) ? fs.readFileSync(log, "utf8") : "") };
  }

  /** Kills the processes and removes the directory. */
  async stop(): Promise<void> {
    for (const child of this.#running.keys()) {
      child.ref();
      child.kill("SIGKILL");
    }
    await Promise.allSettled(this.#running.values());
    this.#janitor.ref();
    this.#janitor.stdin?.end();
    await this.#removed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
