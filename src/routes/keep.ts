/** Keeps the routes of this node as the Nodes change. */
import { setTimeout as sleep } from "node:timers/promises";

import type { Channel } from "../cluster/channel.ts";
import { ListWatch } from "../cluster/list-watch.ts";
import { ALL_NODES, type FoundNode } from "../cluster/node.ts";
import { Failure, Interrupted } from "../errors.ts";
import type { Check } from "../serve/listen.ts";
import { isCarriedOut, sync, type SyncResult, type Self } from "./sync.ts";

/** Routes that somebody has removed come back after this, milliseconds. */
const RESYNC_MS = 10_000;
/** Changes that come within this are one, milliseconds. */
const BURST_MS = 250;

/** Hears of each pass. */
export interface Sayings {
  result: (result: SyncResult) => void;
  /** Undefined: what was wrong is over. */
  trouble: (failure: Failure | undefined) => void;
}

/** How it is right now. */
export interface Keeping {
  /** Since when a pass has been going on, as `performance.now()` counts; undefined: none does. */
  runningSince: number | undefined;
  /** Undefined: the Nodes are not known yet. */
  nodes: number | undefined;
  /** Of the last pass; undefined: none has ended, or the last one could not be carried out. */
  last: SyncResult | undefined;
  /** How many passes have ended: all was carried out, not all was, nothing could be. */
  passes: Readonly<Record<"done" | "partial" | "failed", number>>;
  /** How many routes were changed. */
  changes: Readonly<Record<"add" | "replace" | "remove", number>>;
  /** When the last pass ended of which everything was carried out. */
  lastSuccess: Date | undefined;
  /** How often the watch of Nodes was begun again after the first time. */
  restarts: number;
  /** To the API. */
  requests: number;
}

/** Keeps the routes until it is stopped. */
export class RouteKeeper {
  readonly #channel: Channel;
  readonly #self: Self;
  readonly #watch: ListWatch<FoundNode>;
  /** Ends the rest between two passes. */
  #wake = new AbortController();
  #runningSince: number | undefined;
  #last: SyncResult | undefined;
  #lastSuccess: Date | undefined;
  readonly #passes = { done: 0, partial: 0, failed: 0 };
  readonly #changes = { add: 0, replace: 0, remove: 0 };

  constructor(channel: Channel, self: Self) {
    this.#channel = channel;
    this.#self = self;
    this.#watch = new ListWatch(channel, ALL_NODES, () => this.#wake.abort());
  }

  get keeping(): Keeping {
    return {
      runningSince: this.#runningSince,
      nodes: this.#watch.items?.size,
      last: this.#last,
      lastSuccess: this.#lastSuccess,
      passes: this.#passes,
      changes: this.#changes,
      restarts: Math.max(0, this.#watch.begun - 1),
      requests: this.#channel.requests,
    };
  }

  /** Keeps them until the signal comes. What fails is said, and tried again. */
  async keep(say: Sayings, signal: AbortSignal): Promise<void> {
    const failed = new AbortController();
    const end = AbortSignal.any([signal, failed.signal]);
    const following = this.#watch.follow(signal).catch((error: unknown) => failed.abort(error));
    while (!end.aborted) {
      await pause(RESYNC_MS, AbortSignal.any([end, this.#wake.signal]));
      await pause(BURST_MS, end);
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- it may have been aborted meanwhile
      if (end.aborted) break;
      this.#wake = new AbortController();
      let { trouble } = this.#watch;
      try {
        const { items } = this.#watch;
        if (items !== undefined) say.result(await this.#pass(items.values(), signal));
      } catch (error) {
        if (error instanceof Interrupted) break;
        if (!(error instanceof Failure)) throw error;
        trouble = error;
      }
      say.trouble(trouble);
    }
    failed.signal.throwIfAborted();
    await following;
  }

  async #pass(nodes: Iterable<FoundNode>, signal: AbortSignal): Promise<SyncResult> {
    this.#runningSince = performance.now();
    try {
      const result = await sync(nodes, this.#self, signal);
      this.#last = result;
      for (const { action } of result.steps) if (action !== "keep" && action !== "leave") this.#changes[action]++;
      const isWhole = isCarriedOut(result);
      this.#passes[isWhole ? "done" : "partial"]++;
      if (isWhole) this.#lastSuccess = new Date();
      return result;
    } catch (error) {
      this.#last = undefined;
      this.#passes.failed++;
      throw error;
    } finally {
      this.#runningSince = undefined;
    }
  }
}

/** The checks of `/readyz`: an API server that is away makes no node unready whose routes are set. */
export function readiness(keeping: () => Keeping): readonly Check[] {
  return [
    { name: "nodes-known", isOk: () => keeping().nodes !== undefined },
    { name: "routes-set", isOk: () => isSet(keeping()) },
  ];
}

function isSet({ last }: Keeping): boolean {
  return last !== undefined && isCarriedOut(last);
}

/** @returns early if the signal comes. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
