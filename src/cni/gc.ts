/** Garbage collection: sections 2 (GC) and 3 (Garbage-collecting a network) of the CNI specification. */
import { listAttachments, type CachedAttachment } from "./cache.ts";
import { hasCommand } from "./command.ts";
import type { NetworkList } from "./config.ts";
import { CniError } from "./error.ts";
import { delLocked } from "./network.ts";
import { callGc } from "./plugin.ts";
import type { ValidAttachment } from "./request.ts";
import { cacheDirOf, checkNetwork, lockOf, type Runtime } from "./runtime.ts";

/** What a garbage collection has done. */
export interface GcReport {
  /** The attachments that were in the cache and not valid, and have been deleted. */
  deleted: CachedAttachment[];
  /** In the order in which they occurred; none of them has ended it. */
  errors: CniError[];
}

/**
 * Deletes the attachments to a network that are in the cache and not valid any more; then GC to every plugin, so that
 * it cleans up what it keeps for others than the valid ones. With `disableGC` it does nothing. No attachment is added,
 * checked or deleted at the same time.
 *
 * @param valid all attachments to the network that still exist, whoever has added them; twice is no harm. It is read
 * when the others have ended: a generator that lists them then misses none that was just added.
 * @throws CniError when the network cannot be used, or the cache cannot be locked or read.
 */
export async function gc(network: NetworkList, valid: Iterable<ValidAttachment>, runtime: Runtime): Promise<GcReport> {
  checkNetwork(network);
  const report: GcReport = { deleted: [], errors: [] };
  if (network.disableGC) return report;
  using _ = await lockOf(runtime).all(runtime.signal);

  const union = new Map(
    Array.from(valid, ({ containerID, ifname }) => [`${containerID}/${ifname}`, { containerID, ifname }]),
  );
  const cached = listAttachments(cacheDirOf(runtime), {
    isMeant: ({ networkName }) => networkName === network.name,
  });
  for (const attachment of cached) {
    const { containerId, ifName, netns, args, capabilityArgs } = attachment;
    if (union.has(`${containerId}/${ifName}`)) continue;
    await goOn(report, async () => {
      await delLocked(network, { ...runtime, containerId, ifName, netns, args, capabilityArgs });
      report.deleted.push(attachment);
    });
  }

  if (!hasCommand("GC", network.cniVersion)) return report;
  for (const plugin of network.plugins) {
    await goOn(report, async () => callGc(network, plugin, [...union.values()], runtime));
  }
  return report;
}

async function goOn({ errors }: GcReport, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    errors.push(error);
  }
}
