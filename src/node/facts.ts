/** What a node is: its object in the cluster, its interfaces, and where the API is. */
import { networkInterfaces } from "node:os";
import { join } from "node:path";

import type { Access } from "../cluster/access.ts";
import type { FoundNode } from "../cluster/node.ts";
import type { Api } from "../cluster/request.ts";
import type { FailureCode } from "../codes.ts";
import { Failure } from "../errors.ts";
import { Deadline } from "../system/deadline.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { findHost } from "./host.ts";

/** How the node is found. */
export interface FactsRequest {
  nodeName: string | undefined;
  kubeconfig: string | undefined;
  context: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  /** How long the API may take, milliseconds. */
  timeout: number;
  hostRoot: string;
  hostRootNamed: boolean;
}

/** What was found counts so long, milliseconds: a run looks several times. */
const FRESH_MS = 1000;

/** The API may take so long if its answer is known already, or if it was away, milliseconds: a repair must not wait. */
const PATIENCE_MS = 2000;
/** An API that was away is not asked again for so long, milliseconds. */
const AWAY_MS = 10_000;
/** The codes of failures that say nothing of what was asked. */
const AWAY: ReadonlySet<FailureCode> = new Set(["api-unreachable", "api-refused", "api-unauthorized"]);

/** The facts of one node. What was known stays known while the API is away. */
export class NodeFacts {
  readonly #request: FactsRequest;
  readonly #known = new Map<string, { at: number; value: unknown }>();
  #away: { at: number; failure: Failure } | undefined;
  #askedNode: string | undefined;

  constructor(request: FactsRequest) {
    this.#request = request;
  }

  /** Undefined: nobody has said it. The name of the host is often another one. */
  get nodeName(): string | undefined {
    return this.#request.nodeName;
  }

  /** The Node of this name, for a value that is made of it. @throws Failure as `readNode` and `findAccess`. */
  async node(name: string, signal: AbortSignal): Promise<FoundNode> {
    this.#askedNode = name;
    return this.#readNode(name, signal);
  }

  async #readNode(name: string, signal: AbortSignal): Promise<FoundNode> {
    return this.#ask(keyOf(name), signal, async (api) => (await import("../cluster/node.ts")).readNode(api, name));
  }

  /** The name of the Node that values are made of, or were to be; undefined: none is. */
  get askedNode(): string | undefined {
    return this.#askedNode;
  }

  /** What was found of the Node of this name, or was learned. */
  knownNode(name: string): FoundNode | undefined {
    return this.#known.get(keyOf(name))?.value as FoundNode | undefined;
  }

  /** What a watch says of the Node of this name; undefined: there is none. */
  learnNode(name: string, node: FoundNode | undefined): void {
    if (node === undefined) this.#known.delete(keyOf(name));
    else this.#known.set(keyOf(name), { at: performance.now(), value: node });
  }

  /** The pod network of the cluster. @throws Failure as `readClusterCidrs` and `findAccess`. */
  async clusterCidrs(signal: AbortSignal): Promise<readonly string[] | undefined> {
    return this.#ask("kubeadm", signal, async (api) => (await import("../cluster/node.ts")).readClusterCidrs(api));
  }

  /** The address of the API. @throws Failure as `findAccess`. */
  async server(): Promise<URL> {
    return (await this.#access()).server;
  }

  /**
   * The MTU of an interface of the node.
   *
   * @param ifName undefined: the interface of the default route.
   * @returns undefined: the interface, or the default route, is missing. `unseen`: this process may be in another network
   * than the node's.
   */
  async mtu(signal: AbortSignal, ifName?: string): Promise<number | "unseen" | undefined> {
    const process = this.#hostProcess() ?? ((await this.#isOnHostNetwork(signal)) ? "/proc/self" : undefined);
    if (process === undefined) return "unseen";
    const name = ifName ?? defaultInterface(process);
    const path = join(process, "root/sys/class/net", name ?? "", "mtu");
    const text = name === undefined || name.includes("/") ? undefined : readTextIfPossible(path, SIZE_LIMITS.proc);
    return text === undefined ? undefined : Number(text);
  }

  /** A process with the network of the host: this one on the host, the host's first one if it can be seen. */
  #hostProcess(): string | undefined {
    try {
      const { root } = findHost(this.#request.hostRoot, this.#request.hostRootNamed);
      return root === "" ? "/proc/self" : "/proc/1";
    } catch (error) {
      if (error instanceof Failure) return undefined;
      throw error;
    }
  }

  /** Is an address of the Node one of this process? */
  async #isOnHostNetwork(signal: AbortSignal): Promise<boolean> {
    if (this.nodeName === undefined) return false;
    try {
      const { addresses } = await this.#readNode(this.nodeName, signal);
      const own = Object.values(networkInterfaces()).flatMap((some = []) => some.map(({ address }) => address));
      return addresses.some((address) => own.includes(address));
    } catch (error) {
      if (error instanceof Failure) return false;
      throw error;
    }
  }

  async #access(): Promise<Access> {
    const { findAccess } = await import("../cluster/access.ts");
    return findAccess(this.#request);
  }

  async #ask<Value>(what: string, signal: AbortSignal, question: (api: Api) => Promise<Value>): Promise<Value> {
    const known = this.#known.get(what);
    if (known !== undefined && performance.now() < known.at + FRESH_MS) return known.value as Value;
    try {
      // One question that is not answered is enough for a run, even under its lock.
      if (this.#away !== undefined && performance.now() < this.#away.at + AWAY_MS) throw this.#away.failure;
      const { Api: Connection } = await import("../cluster/request.ts");
      const { timeout } = this.#request;
      const patience = known === undefined && this.#away === undefined ? timeout : Math.min(timeout, PATIENCE_MS);
      const api = new Connection(await this.#access(), new Deadline(patience), signal);
      const value = await question(api);
      this.#known.set(what, { at: performance.now(), value });
      this.#away = undefined;
      return value;
    } catch (error) {
      if (!(error instanceof Failure) || !AWAY.has(error.code)) throw error;
      if (this.#away?.failure !== error) this.#away = { at: performance.now(), failure: error };
      if (known !== undefined) return known.value as Value;
      throw error;
    }
  }
}

function keyOf(node: string): string {
  return `Node ${node}`;
}

/** Flags of routes (include/uapi/linux/route.h). */
const [RTF_UP, RTF_REJECT] = [0x1, 0x200];

/** @param process a directory of /proc. @returns the interface of the default route, that of IPv4 first. */
function defaultInterface(process: string): string | undefined {
  const linesOf = (name: string): string[][] => {
    const text = readTextIfPossible(join(process, "net", name), SIZE_LIMITS.proc) ?? "";
    return text.split("\n").map((line) => line.trim().split(/\s+/u));
  };
  const [v4] = linesOf("route")
    .filter(([, destination, , flags = "", , , , mask]) => {
      return /^0{8}$/u.test(destination ?? "") && mask === destination && has(flags, RTF_UP) && !has(flags, RTF_REJECT);
    })
    .toSorted((a, b) => Number(a[6]) - Number(b[6]));
  const [v6] = linesOf("ipv6_route")
    .filter(([destination = "", length, , , , , , , flags = ""]) => {
      return /^0{32}$/u.test(destination) && length === "00" && has(flags, RTF_UP) && !has(flags, RTF_REJECT);
    })
    .toSorted((a, b) => Number.parseInt(a[5] ?? "", 16) - Number.parseInt(b[5] ?? "", 16));
  return v4?.[0] ?? v6?.[9];
}

function has(flags: string, flag: number): boolean {
  return (Number.parseInt(flags, 16) & flag) !== 0;
}
