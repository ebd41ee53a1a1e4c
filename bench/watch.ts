/** A node that `cni-node watch` keeps, as the bench changes it: what it takes from a change to the live file, and what it costs. */
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { WatchServer } from "../test/cluster/watch-server.ts";

/** A change that is not live after so long is lost, milliseconds. */
const LOST = 30_000;
/** The ticks of the processor time in /proc, milliseconds. */
const TICK = 10;

/** What starts Node.js in the image. */
const START = fileURLToPath(new URL("../scripts/start.sh", import.meta.url));

/** What `--delegate=auto` makes. */
const DELEGATE = "00-multus.conflist";
/** The template with the keys of Multus. */
const KEYS = "multus.json";
/** The options that make it. */
export const WITH_DELEGATE = ["--delegate=auto", `--delegate-keys=${KEYS}`];

/** Where a change is made, and where it is seen. */
export interface WatchPlace {
  netd: string;
}

/** A watch on a node of its own. Two things are followed: a ConfigMap with a template, and the target of a pointer. */
export class Watched implements Disposable {
  readonly #place: WatchPlace;
  readonly #server: WatchServer;
  readonly #child: ChildProcess;
  #count = 0;

  private constructor(place: WatchPlace, server: WatchServer, child: ChildProcess) {
    this.#place = place;
    this.#server = server;
    this.#child = child;
  }

  /**
   * Starts it by a command line without these options, and waits until everything is installed.
   *
   * @param more options: none, or `WITH_DELEGATE`.
   */
  static async start(
    place: WatchPlace,
    [program = "", ...words]: readonly string[],
    more: readonly string[],
  ): Promise<Watched> {
    const server = await WatchServer.start("h2");
    fs.writeFileSync(join(place.netd, "10-primary.conflist"), listOf("primary", "0"));
    server.put("lists", { plugins: "", configs: "05-derived.conflist,90-own.conflist", manifests: "" });
    server.put("templates", templates("0"));
    const options = ["--owner=bench", "--configmap=default/lists", "--config-templates=default/templates"];
    const argv = [...words, ...options, ...more, `--kubeconfig=${server.kubeconfig()}`];
    // As the image starts it.
    const start = fs.readFileSync(START, "utf8").replaceAll("/usr/lib/cni-node/node", program);
    const child = spawn("sh", ["-c", start, START, ...argv], { stdio: ["ignore", "ignore", "inherit"] });
    const made = new Watched(place, server, child);
    await made.#live("90-own.conflist", "0");
    if (more.length > 0) await made.#live(DELEGATE, "0");
    return made;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Requests so far. */
  get requests(): number {
    return this.#server.requests.length;
  }

  /** The API server sends a change: how long until the file has it, milliseconds. */
  async changeObject(): Promise<number> {
    const value = String(++this.#count);
    const live = this.#live("90-own.conflist", value);
    const begin = performance.now();
    this.#server.put("templates", templates(value));
    return (await live) - begin;
  }

  /** Another agent replaces the target of a pointer: how long until the derived file has it, milliseconds. */
  async changeTarget(): Promise<number> {
    return this.#changePrimary("05-derived.conflist");
  }

  /** The same of the primary, with `--delegate=auto`, and of the configuration of Multus around it. */
  async changeDelegate(): Promise<number> {
    return this.#changePrimary(DELEGATE);
  }

  async #changePrimary(derived: string): Promise<number> {
    const value = String(++this.#count);
    const path = join(this.#place.netd, "10-primary.conflist");
    fs.writeFileSync(`${path}.new`, listOf("primary", value));
    const live = this.#live(derived, value);
    const begin = performance.now();
    fs.renameSync(`${path}.new`, path);
    return (await live) - begin;
  }

  /** Others change so many files that mean nothing, and so many objects; the last one counts. */
  async events(count: number): Promise<void> {
    const path = join(this.#place.netd, "x.tmp");
    for (let index = 0; index < count / 2; index++) {
      fs.writeFileSync(path, String(index));
      this.#server.put("templates", templates(`e${index}`));
      if (index % 10 === 0) await sleep(5);
    }
    await this.changeObject();
  }

  /** Resident memory, MiB. */
  get memory(): number {
    const [, kilobytes = "0"] = /^VmRSS:\s+(\d+)/mu.exec(fs.readFileSync(`/proc/${this.pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) / 1024;
  }

  /** Processor time so far, milliseconds. */
  get processorTime(): number {
    const fields = fs.readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK;
  }

  /** When the file has the value. */
  async #live(name: string, value: string): Promise<number> {
    const path = join(this.#place.netd, name);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const look = (): void => {
      if (has(path, value)) resolve(performance.now());
    };
    const watcher = fs.watch(dirname(path), (_, changed) => {
      if (changed === basename(path)) look();
    });
    const timer = setTimeout(() => reject(new Error(`${path} does not become ${value}`)), LOST);
    look();
    return promise.finally(() => {
      watcher.close();
      clearTimeout(timer);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
    void this.#server.close();
  }
}

function listOf(name: string, value: string): string {
  return JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "bridge", value }] });
}

function templates(value: string): Record<string, string> {
  const derived = `{"cniVersion":"1.0.0","name":"m","plugins":[{"type":"multus","delegates":[__10-primary.conflist__]}]}\n`;
  const keys = '{"kubeconfig":"/etc/kubernetes/kubelet.conf"}';
  return { "05-derived.conflist": derived, "90-own.conflist": listOf("own", value), [KEYS]: keys };
}

function has(path: string, value: string): boolean {
  try {
    return new RegExp(`"value": ?"${value}"`, "u").test(fs.readFileSync(path, "utf8"));
  } catch {
    return false;
  }
}
