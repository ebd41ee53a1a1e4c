/** Garbage collection for people: of what we have added, and by the word of the specification. */
import { setImmediate } from "node:timers/promises";

import type { CachedAttachment } from "../cni/cache.ts";
import type { NetworkList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { gc, type GcReport } from "../cni/gc.ts";
import { del } from "../cni/network.ts";
import type { ValidAttachment } from "../cni/request.ts";
import { cancellationOf, Failure, Interrupted } from "../errors.ts";
import { recallNetwork } from "./attach.ts";
import { explain, operationFailure } from "./failure.ts";
import { isReachable, lookForNamespaces, netnsOf, findPresence, PRESENCES, readMark, type Namespaces } from "./mark.ts";
import { HELD, cacheLock, type Operator } from "./operator.ts";
import { identityOf } from "./namespace.ts";
import { pathHere, type Host } from "../node/host.ts";
import { remembered, rememberedAgain } from "./remembered.ts";

/** What became of an attachment. */
export interface Collected {
  attachment: CachedAttachment;
  outcome: "deleted" | "kept";
  /** Why it is kept. */
  reason?: string;
  failure?: Failure;
}

/**
 * Deletes the attachments that we have added and whose network namespace is gone. Others' are left alone, and so is
 * what cannot be known.
 *
 * @param isMeant only those.
 */
export async function collectGone(
  isMeant: (attachment: CachedAttachment) => boolean,
  operator: Operator,
): Promise<Collected[]> {
  const { caller, signal, onProblem } = operator;
  const ours = remembered(caller.cacheDir, (one) => readMark(one) !== undefined && isMeant(one), onProblem);
  const collected: Collected[] = [];
  const there = lookForNamespaces();
  for (const attachment of ours) {
    // Signals are heard of in between only.
    await setImmediate();
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), NOT_EVERYTHING);
    collected.push(...(await collect(attachment, there, operator)));
  }
  return collected;
}

const NOT_EVERYTHING = " before everything had been released";

/** Nothing: others have deleted it meanwhile. */
async function collect(found: CachedAttachment, there: Namespaces, operator: Operator): Promise<Collected[]> {
  const { host, caller, signal } = operator;
  const { networkName, containerId, ifName } = found;
  const kept = await keptIfThere(found, host, () => there);
  if (kept !== undefined) return [kept];
  try {
    using _ = await cacheLock(operator).container(containerId);
    const attachment = rememberedAgain({ networkName, containerId, ifName }, caller.cacheDir);
    if (attachment === undefined) return [];
    return [(await keptIfThere(attachment, host)) ?? (await release(attachment, operator))];
  } catch (error) {
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), NOT_EVERYTHING);
    if (!(error instanceof CniError)) throw error;
    const failure = operationFailure(networkName, `container ${containerId} cannot be deleted`, error);
    return [{ attachment: found, outcome: "kept", reason: failure.message, failure }];
  }
}

async function keptIfThere(
  attachment: CachedAttachment,
  host: Host,
  there?: () => Namespaces,
): Promise<Collected | undefined> {
  const presence = await findPresence(attachment, host, there);
  return presence === "gone" ? undefined : { attachment, outcome: "kept", reason: PRESENCES[presence] };
}

/** The plugins are not told where it was: another may be there. */
async function release(attachment: CachedAttachment, { caller }: Operator): Promise<Collected> {
  const { containerId, ifName } = attachment;
  const network = recallNetwork(attachment);
  if (network === undefined) return { attachment, outcome: "kept", reason: "its configuration cannot be read" };
  await del(network, { ...caller, lock: HELD, containerId, ifName, netns: "" });
  return { attachment, outcome: "deleted" };
}

/**
 * GC as the specification has it: deletes every attachment to the network that is remembered and not valid, whoever has
 * added it, and tells the plugins which ones are valid.
 *
 * @param all also if others have added some that would be deleted.
 * @throws Failure `attachments-of-others`; what plugins object to is told with exit code 4.
 */
export async function collectInvalid(
  network: NetworkList,
  valid: readonly ValidAttachment[],
  all: boolean,
  operator: Operator,
): Promise<Collected[]> {
  const { signal } = operator;
  try {
    using _ = await cacheLock(operator).all();
    return await collectLocked(network, valid, all, operator);
  } catch (error) {
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), " before everything had been collected");
    throw error instanceof CniError ? operationFailure(network.name, "nothing was collected", error) : error;
  }
}

async function collectLocked(
  network: NetworkList,
  valid: readonly ValidAttachment[],
  all: boolean,
  { host, caller, onProblem }: Operator,
): Promise<Collected[]> {
  const isValid = ({ containerId, ifName }: CachedAttachment): boolean => {
    return valid.some(({ containerID, ifname }) => containerID === containerId && ifname === ifName);
  };
  const invalid = remembered(caller.cacheDir, (one) => one.networkName === network.name && !isValid(one), onProblem);
  const foreign = invalid.filter((one) => readMark(one) === undefined);
  if (foreign.length > 0 && !all) {
    const names = foreign.map(({ containerId, ifName }) => `${containerId}/${ifName}`).join(", ");
    throw new Failure({
      code: "attachments-of-others",
      subject: `network ${network.name}`,
      problem: `others have added attachments that would be deleted: ${names}`,
      hint: "name those that are to stay with --valid; --all deletes them anyway, and their containers lose the network",
    });
  }
  const lost = network.disableGC ? [] : invalid.filter((one) => isLost(one, host));
  const held = { ...caller, lock: HELD };
  const released = await releaseLost(network, lost, held);
  // What could not be released, GC would delete where it was.
  const collected = released.errors.length > 0 ? NOTHING : await gc(network, valid, held);
  const deleted = [...released.deleted, ...collected.deleted];
  const [first, ...others] = [...released.errors, ...collected.errors];
  if (first === undefined) return deleted.map((attachment) => ({ attachment, outcome: "deleted" }));
  const names = deleted.map(({ containerId, ifName }) => `${containerId}/${ifName}`).join(", ") || "nothing";
  const failure = operationFailure(network.name, `${names} was deleted, and not everything was collected`, first, 4);
  throw others.reduce((whole, other) => whole.extendedBy(explain(other, other.message)), failure);
}

/** Its path leads to another namespace than its own; of others' attachments: to the host's. */
function isLost(attachment: CachedAttachment, host: Host): boolean {
  if (isReachable(attachment, host)) return false;
  return readMark(attachment) !== undefined || identityOf(pathHere(host, netnsOf(attachment))) !== undefined;
}

const NOTHING: GcReport = { deleted: [], errors: [] };

/** The plugins are not told where they were, as GC would: another may be there. */
async function releaseLost(
  network: NetworkList,
  lost: readonly CachedAttachment[],
  caller: Operator["caller"],
): Promise<GcReport> {
  const report: GcReport = { deleted: [], errors: [] };
  for (const attachment of lost) {
    const { containerId, ifName } = attachment;
    try {
      await del(network, { ...caller, containerId, ifName, netns: "" });
      report.deleted.push(attachment);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      report.errors.push(error);
    }
  }
  return report;
}
