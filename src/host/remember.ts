/** Notes that files which somebody else has rewritten have the content that the record says, so they are read once. */
import { isDeepStrictEqual } from "node:util";

import { inspect, seenAs } from "./inspect.ts";
import { recordOf, writeRecord, type SeenFile } from "./record.ts";
import type { Target } from "./target.ts";

/** A file that was read, and what it was like before that. */
export interface SeenAsset {
  kind: string;
  name: string;
  seen: SeenFile;
}

/** A file that was written to so recently may be written to again without a change of its times. */
const SETTLED_MS = 100;

/**
 * Writes what was seen to the record of a locked directory. Leaves out what has changed since, in the record or on the
 * node, and does nothing in a directory where an interrupted run is to be finished.
 */
export function noteSeen(target: Target, files: readonly SeenAsset[]): void {
  const record = recordOf(target);
  if (record === undefined || record.pending !== undefined) return;
  const news = files.filter(({ name, seen }) => {
    const live = inspect(target.here, name);
    const isSettled = Date.now() - Number(live.stat?.ctimeMs ?? 0n) > SETTLED_MS;
    return isSettled && isDeepStrictEqual(seenAs(live, seen.digest), seen);
  });
  const assets = record.assets.map((asset) => {
    const { seen } = news.find(({ kind, name }) => kind === asset.kind && name === asset.name) ?? {};
    return seen !== undefined && seen.digest === asset.digest ? { ...asset, seen } : asset;
  });
  if (!isDeepStrictEqual(assets, record.assets)) writeRecord(target, { ...record, assets });
}
