/** Namespaces of a test's own: what is mounted or started there ends with them and is never seen elsewhere. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { once } from "node:events";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";

import { BUNDLE, endOf, type Ran } from "./node.ts";

/** Why tests that mount cannot run here; false: they can. */
export const cannotMount: string | false = whyNotMount();

function whyNotMount(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  const tried = spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/tmp"]);
  return tried.status === 0 ? false : "needs to be allowed to mount";
}

interface NamespaceOptions {
  /** Where its processes find their root. */
  chroot?: string;
  /** Its processes have their own process numbers, too. */
  pid?: boolean;
  /** It has a network of its own, too: a loopback interface. */
  net?: boolean;
}

/** A mount namespace that is kept by a process that ends with this one, and does not keep this one. */
export class Namespace implements AsyncDisposable {
  readonly #keeper: ChildProcess;
  /** The words of nsenter that lead into it. */
  readonly entrance: readonly string[];
  /** Its files as this process can reach them. */
  readonly root: string;

  private constructor(keeper: ChildProcess, inner: number, { chroot, ...options }: NamespaceOptions) {
    this.#keeper = keeper;
    const kinds = ["--mount", ...(["pid", "net"] as const).filter((kind) => options[kind]).map((kind) => `--${kind}`)];
    this.entrance = [...kinds, `--target=${inner}`, "--", ...(chroot === undefined ? [] : ["chroot", chroot])];
    this.root = `/proc/${inner}/root${chroot ?? ""}`;
  }

  /**
   * Makes a namespace.
   *
   * @param script what a shell does in it first: its mounts.
   */
  static async make(script: string, options: NamespaceOptions = {}): Promise<Namespace> {
    const pid = options.pid === true ? ["--pid", "--fork", "--kill-child", "--mount-proc"] : [];
    const net = options.net === true ? ["--net"] : [];
    const up = options.net === true ? "ip link set lo up\n" : "";
    // As process 1 it must not keep the processes that its descendants leave to it.
    const shell = ["sh", "-ec", `${up}${script}\necho made\nexec env --ignore-signal=CHLD cat`];
    const words = ["--mount", "--propagation=private", ...net, ...pid, ...shell];
    const keeper = spawn("unshare", words, { stdio: ["pipe", "pipe", "inherit"] });
    const [made] = (await Promise.race([once(keeper.stdout, "data"), once(keeper, "exit")])) as [unknown];
    if (String(made) !== "made\n") throw new Error(`the namespace was not made: ${script}`);
    // A test that fails before it can dispose of this must end its file all the same.
    for (const one of [keeper, keeper.stdin as Socket, keeper.stdout as Socket]) one.unref();
    const outer = keeper.pid ?? 0;
    return new Namespace(keeper, options.pid === true ? (childrenOf(outer)[0] ?? 0) : outer, options);
  }

  /** Runs a shell script in it. */
  sh(script: string): void {
    const { status, stderr } = spawnSync("nsenter", [...this.entrance, "sh", "-ec", script], { encoding: "utf8" });
    if (status !== 0) throw new Error(`${script}: ${stderr}`);
  }

  /** Starts a command in it. */
  spawn(command: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return spawn("nsenter", [...this.entrance, ...command], { env: { PATH: process.env["PATH"], ...env } });
  }

  /** Starts the bundle in it. */
  start(argv: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return this.spawn([process.execPath, BUNDLE, ...argv], env);
  }

  /** Runs the bundle in it, to its end. */
  async bundle(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return endOf(this.start(argv, env));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#keeper, "exit");
    this.#keeper.ref();
    this.#keeper.kill("SIGKILL");
    await ended;
  }
}

/**
 * A root file system as a container has it: this machine's own, read-only, below an empty layer in memory.
 *
 * @param at an empty directory. @returns the script that mounts it, and the directory that is its root.
 */
export function containerRoot(at: string): { script: string; root: string } {
  const root = `${at}/root`;
  const layers = `lowerdir=${tmpdir()},upperdir=${at}/upper-t,workdir=${at}/work-t`;
  const temporary = `mount -t overlay overlay -o ${layers} ${root}${tmpdir()}`;
  const script = [
    `mount -t tmpfs none ${at}`,
    `mkdir ${at}/upper ${at}/work ${root}`,
    `mount -t overlay overlay -o lowerdir=/,upperdir=${at}/upper,workdir=${at}/work ${root}`,
    ...(isOnRoot(tmpdir()) ? [] : [`mkdir ${at}/upper-t ${at}/work-t`, `mkdir -p ${root}${tmpdir()}`, temporary]),
    `mount -t proc proc ${root}/proc`,
  ].join("\n");
  return { script, root };
}

function isOnRoot(path: string): boolean {
  return fs.statSync(path).dev === fs.statSync("/").dev;
}

/** The processes that a process has started. */
export function childrenOf(pid: number): number[] {
  const text = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").filter(Boolean).map(Number);
}
