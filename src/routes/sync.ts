/** Looks at the routes of this node, sets them, or removes them. */
import type { FoundNode } from "../cluster/node.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { forwardingFindings } from "./checks.ts";
import type { Kernel } from "./kernel.ts";
import type { Masquerade, Masqueraded, MasqueradeResult } from "./masquerade.ts";
import {
  ipCommandOf,
  nameServersIn,
  neededRoutes,
  stepsFor,
  type Needed,
  type RouteStep,
  type NodeNetwork,
} from "./plan.ts";
import { readNetworkOf } from "./prefix.ts";

/** More Nodes are not named, only counted. */
const MOST_NAMED = 5;

/** What is known of this node besides its addresses, and how its system is asked. */
export interface Self extends Omit<NodeNetwork, "addresses" | "present"> {
  kernel: Kernel;
  /** Undefined: nothing is masqueraded, nor is what was set earlier removed. */
  masquerade: { rules: Masquerade; kept: readonly string[] } | undefined;
  env: Readonly<Record<string, string | undefined>>;
}

/** What is to be done, or was done. */
export interface SyncResult {
  steps: readonly RouteStep[];
  masqueraded: readonly Masqueraded[];
  findings: readonly Finding[];
  /** There is no other Node. */
  isAlone: boolean;
}

/** Was all done that was to be done? */
export function isCarriedOut({ findings }: Pick<SyncResult, "findings">): boolean {
  return findings.every(({ severity }) => severity !== "error");
}

/**
 * Compares the routes that are needed with those that are there.
 *
 * @throws Failure `own-node-unknown`, `iproute-missing`, `iproute-failed`.
 */
export async function look(
  nodes: Iterable<FoundNode>,
  self: Self,
  signal: AbortSignal,
): Promise<SyncResult & { needed: Needed }> {
  const addresses = await self.kernel.addresses();
  const present = await self.kernel.routes();
  const others = [...self.others, ...nameServersIn(readTextIfPossible("/etc/resolv.conf", SIZE_LIMITS.config) ?? "")];
  const needed = neededRoutes(nodes, { ...self, others, addresses, present });
  if (needed.own === undefined) throw ownUnknown(self.nodeName, needed.here);
  const { steps, findings: foreign } = stepsFor(needed.routes, present);
  const forwarding = await forwardingFindings(needed.routes, self.env, signal);
  const findings = [...needed.findings, ...foreign, ...forwarding];
  return { needed, steps, masqueraded: [], findings, isAlone: needed.isAlone };
}

/** Does what is to be done. What is refused does not keep the rest from being done. @throws as `look`. */
export async function sync(nodes: Iterable<FoundNode>, self: Self, signal: AbortSignal): Promise<SyncResult> {
  const { needed, steps, findings } = await look(nodes, self, signal);
  const { done, failures } = await carryOut(steps, self.kernel);
  const rules = await masquerade(needed, self);
  const problems = [...failures, ...rules.failures.map(findingOf)];
  return { steps: done, masqueraded: rules.done, findings: [...problems, ...findings], isAlone: needed.isAlone };
}

/** Pods reach the pods of all nodes, and the addresses that the routes lead by, with their own addresses. */
async function masquerade({ routes, pods }: Needed, self: Self): Promise<MasqueradeResult> {
  // A Node that has no podCIDR yet, such as one that was created anew, does not take the rules away.
  if (self.masquerade === undefined || pods.own.length === 0) return { done: [], failures: [] };
  const { rules, kept } = self.masquerade;
  const given = kept.flatMap((cidr) => readNetworkOf(cidr)?.text ?? []);
  return rules.set({ sources: pods.own, kept: [...pods.others, ...routes.map(({ gateway }) => gateway), ...given] });
}

/** Removes the routes and the rules of cni-node. @throws Failure `iproute-missing`, `iproute-failed`. */
export async function removeAll(kernel: Kernel, rules: Masquerade): Promise<SyncResult> {
  const { steps } = stepsFor([], await kernel.routes());
  const { done, failures } = await carryOut(steps, kernel);
  const removed = await rules.remove();
  const findings = [...failures, ...removed.failures.map(findingOf)];
  return { steps: done, masqueraded: removed.done, findings, isAlone: false };
}

function findingOf({ subject, problem, hint }: Failure): Finding {
  return failureOf("masquerade-failed", subject, problem, hint);
}

/** Changes routes. @returns the steps that are done, and what the kernel has refused. */
async function carryOut(
  steps: readonly RouteStep[],
  kernel: Kernel,
): Promise<{ done: readonly RouteStep[]; failures: Finding[] }> {
  const changes = steps.flatMap((step) => {
    const command = ipCommandOf(step);
    return command === undefined ? [] : [{ step, command }];
  });
  // Routes are removed first: one that is needed may be where another was.
  const ordered = changes.toSorted((a, b) => Number(b.step.action === "remove") - Number(a.step.action === "remove"));
  const refusals = await kernel.change(ordered.map(({ command }) => command));
  const refused = refusals.flatMap(({ index, reason }) => {
    const step = ordered[index]?.step;
    return step === undefined ? [] : [{ step, reason }];
  });
  const failed = new Set(refused.map(({ step }) => step));
  const failures = refused.map(({ step, reason }) => {
    const what = step.action === "remove" ? "cannot be removed" : "cannot be set";
    return failureOf("route-failed", step.route.destination, `${what}: ${reason}`);
  });
  return { done: steps.filter((step) => !failed.has(step)), failures };
}

function failureOf(...given: Parameters<typeof warning>): Finding {
  return { ...warning(...given), severity: "error" };
}

function ownUnknown(name: string | undefined, here: readonly FoundNode[]): Failure {
  const names = here.slice(0, MOST_NAMED).map((node) => node.name);
  const more = here.length > MOST_NAMED ? ` and ${here.length - MOST_NAMED} more` : "";
  const problem =
    names.length > 0
      ? `several Nodes have an InternalIP that is an address of this network: ${names.join(", ")}${more}`
      : name === undefined
        ? "no Node has an InternalIP that is an address of this network"
        : "there is no such Node with an InternalIP that is an address of this network";
  return new Failure({
    code: "own-node-unknown",
    subject: name === undefined ? "this node" : `Node ${name}`,
    problem: `${problem}; no route was changed`,
    hint:
      names.length > 0
        ? "name the Node with --node-name"
        : "run it in the node's network (hostNetwork: true); --node-name names the Node",
  });
}
