/** A node, and `cni-node watch` on it as a process. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";

import { conflist, endOf, TestNode, until, type Ran } from "./node.ts";

/** A node that is watched. */
export class Watched implements AsyncDisposable {
  readonly node: TestNode;
  stdout = "";
  stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<Ran> | undefined;
  readonly #isOwn: boolean;

  /** @param node that of another process. */
  constructor(node?: TestNode) {
    this.#isOwn = node === undefined;
    this.node = node ?? new TestNode();
  }

  start(...argv: string[]): void {
    this.startWith(["--owner=w", ...argv]);
  }

  /** Starts it with these variables, for an owner of its own. */
  startWith(argv: readonly string[], env: NodeJS.ProcessEnv = {}): void {
    this.#child = this.node.start(["watch", ...argv], env);
    this.#child.stdout?.on("data", (text: Buffer) => (this.stdout += text.toString()));
    this.#child.stderr?.on("data", (text: Buffer) => (this.stderr += text.toString()));
    this.#ended = endOf(this.#child);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Ran> {
    this.#child?.kill(signal);
    return (await this.#ended) ?? assert.fail("not started");
  }

  /** Resident memory, KiB. */
  get memory(): number {
    const status = fs.readFileSync(`/proc/${this.#child?.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/mu.exec(status)?.[1]);
  }

  config(name: string): string | undefined {
    return textOf(join(this.node.netd, name));
  }

  plugin(name: string): string | undefined {
    return textOf(join(this.node.bin, name));
  }

  /** The lines of the log. */
  get lines(): string[] {
    return this.stdout.split("\n").slice(0, -1);
  }

  /** What the log says was done, without when, for how long and why. */
  get done(): string[] {
    return this.lines.map((line) => line.replace(/^\S+ (.*) \(.*\)$/u, "$1"));
  }

  /**
   * Removes plugins that are kept, each when the one before is back, and waits until the last one is. A run may be going on at the
   * beginning, and bring the first one back; the one that brings the second one back has seen all that was done before.
   */
  async repairs(...plugins: readonly [string, string, ...string[]]): Promise<void> {
    for (const name of plugins) {
      fs.unlinkSync(join(this.node.bin, name));
      await until(() => this.plugin(name) !== undefined);
    }
  }

  /** The lines of the log in JSON. */
  get log(): { level: string; msg: string; repair?: boolean }[] {
    const lines = this.stderr.split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as { level: string; msg: string; repair?: boolean });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
    if (this.#isOwn) this.node[Symbol.dispose]();
  }
}

/** Undefined: there is no such file. */
export function textOf(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A file that is replaced as others do it. */
export function replace(path: string, text: string): void {
  fs.writeFileSync(`${path}.new`, text);
  fs.renameSync(`${path}.new`, path);
}

/** A node with plugins and a template that wraps the primary. */
export function prepared(): Watched {
  const w = new Watched();
  w.node.plugin("bridge", "1");
  w.node.plugin("vlan", "1");
  w.node.template(
    "05-multus.conflist",
    `{"cniVersion":"1.0.0","name":"m","plugins":[{"type":"multus","delegates":[__10-primary.conflist__]}]}\n`,
  );
  fs.writeFileSync(join(w.node.netd, "10-primary.conflist"), conflist("one", "bridge"));
  return w;
}
