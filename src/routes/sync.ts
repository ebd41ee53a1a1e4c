/** Looks at the routes of this node, sets them once, or keeps them as the Nodes change. */
import { setTimeout as sleep } from "node:timers/promises";

import type { Channel } from "../cluster/channel.ts";
import { ListWatch } from "../cluster/list-watch.ts";
import { ALL_NODES, type FoundNode } from "../cluster/node.ts";
import { Failure, Interrupted } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { forwardingFindings } from "./checks.ts";
import type { Kernel } from "./kernel.ts";
import { commandOf, neededRoutes, stepsFor, type Step, type Surroundings } from "./plan.ts";

/** Routes that somebody has removed come back after this, milliseconds. */
const RESYNC_MS = 10_000;
/** Changes that come within this are one, milliseconds. */
const BURST_MS = 250;

/** What is known of this node besides its addresses, and how its system is asked. */
export interface Self extends Omit<Surroundings, "addresses"> {
  kernel: Kernel;
  env: Readonly<Record<string, string | undefined>>;
}

/** What is to be done, or was done. */
export interface Result {
  steps: readonly Step[];
  findings: readonly Finding[];
}

/**
 * Compares the routes that are needed with those that are there.
 *
 * @throws Failure `own-node-unknown`, `iproute-missing`, `iproute-failed`.
 */
export async function look(nodes: Iterable<FoundNode>, self: Self, signal: AbortSignal): Promise<Result> {
  const addresses = await self.kernel.addresses();
  const { own, routes, findings } = neededRoutes(nodes, { ...self, addresses });
  if (own === undefined) throw ownUnknown(self.nodeName);
  const { steps, findings: foreign } = stepsFor(routes, await self.kernel.routes());
  return { steps, findings: [...findings, ...foreign, ...(await forwardingFindings(routes, self.env, signal))] };
}

/** Does what is to be done. A route that the kernel refuses does not keep others from being set. @throws as `look`. */
export async function sync(nodes: Iterable<FoundNode>, self: Self, signal: AbortSignal): Promise<Result> {
  const { steps, findings } = await look(nodes, self, signal);
  const changes = steps.flatMap((step) => {
    const command = commandOf(step);
    return command === undefined ? [] : [{ step, command }];
  });
  // Routes are removed first: one that is needed may be where another was.
  const ordered = changes.toSorted((a, b) => Number(b.step.action === "remove") - Number(a.step.action === "remove"));
  const refusals = await self.kernel.change(ordered.map(({ command }) => command));
  const refused = refusals.flatMap(({ index, reason }) => {
    const step = ordered[index]?.step;
    return step === undefined ? [] : [{ step, reason }];
  });
  const failed = new Set(refused.map(({ step }) => step));
  const failures = refused.map(({ step, reason }) => {
    const what = step.action === "remove" ? "cannot be removed" : "cannot be set";
    return { ...warning("route-failed", step.route.destination, `${what}: ${reason}`), severity: "error" as const };
  });
  return { steps: steps.filter((step) => !failed.has(step)), findings: [...failures, ...findings] };
}

function ownUnknown(name: string | undefined): Failure {
  return new Failure({
    code: "own-node-unknown",
    subject: name === undefined ? "this node" : `Node ${name}`,
    problem:
      name === undefined
        ? "no Node has an InternalIP that is an address of this network; no route was changed"
        : "there is no such Node with an InternalIP that is an address of this network; no route was changed",
    hint: "run it in the node's network (hostNetwork: true); --node-name names the Node",
  });
}

/** What a process that keeps the routes says. */
export interface Sayings {
  result: (result: Result) => void;
  /** Undefined: what was wrong is over. */
  trouble: (failure: Failure | undefined) => void;
}

/** Keeps the routes until the signal comes. They stay afterwards, and while the API is away. */
export async function keep(channel: Channel, self: Self, say: Sayings, signal: AbortSignal): Promise<void> {
  let changed = Promise.withResolvers<undefined>();
  const watch = new ListWatch(channel, ALL_NODES, () => {
    changed.resolve(undefined);
  });
  const following = watch.follow(signal);
  while (!signal.aborted) {
    const waited = new AbortController();
    await Promise.race([changed.promise, pause(RESYNC_MS, AbortSignal.any([signal, waited.signal])), following]);
    waited.abort();
    await pause(BURST_MS, signal);
    // oxlint-disable-next-line typescript/no-unnecessary-condition -- it may have been aborted meanwhile
    if (signal.aborted) break;
    changed = Promise.withResolvers();
    let trouble = watch.trouble;
    try {
      if (watch.items !== undefined) say.result(await sync(watch.items.values(), self, signal));
    } catch (error) {
      if (error instanceof Interrupted) break;
      if (!(error instanceof Failure)) throw error;
      trouble = error;
    }
    say.trouble(trouble);
  }
  await following;
}

/** @returns early if the signal comes. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
