/** Nodes of a fleet do not answer the same change at the same time. Pure. */
import { createHash } from "node:crypto";

/**
 * How long a node waits with its answer to a change: always the same part of `spread`, another one for each node.
 *
 * @param node what tells it from others. @returns milliseconds.
 */
export function delayOf(node: string, spread: number): number {
  const number = createHash("sha256").update(node).digest().readUInt32BE();
  return Math.floor((number / 2 ** 32) * spread);
}
