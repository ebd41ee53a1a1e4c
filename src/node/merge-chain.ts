/** Keeps the plugins that others have chained into our configuration list when it is written again. Pure. */
import { isListName, readConfig } from "../cni/config.ts";
import { hasHugeNumber, isObject, parseIfJson, writeJson } from "../cni/json.ts";
import { chainOf, type Chain } from "./chain.ts";

/** A plugin in the live list, with what it is known by. */
interface Entry {
  value: unknown;
  digest: string;
  type: string;
}

/**
 * The desired text with the plugins that others have chained into the live list, each at its place among its
 * neighbours. It is the live text itself if that says the same, and the desired text itself if nobody has chained
 * anything, or if the result would not be a configuration that runtimes load.
 *
 * A plugin is somebody else's unless it was recorded or is desired. Instead of a recorded plugin that is not live any
 * more, the first unknown one of its type counts as changed, not as added: it is repaired.
 *
 * @param recorded what was ours when the list was last written.
 */
export function keepChained(fileName: string, desired: string, live: string, recorded: Chain): string {
  const list = listIn(fileName, desired);
  const entries = entriesOf(fileName, live);
  const ours = chainOf(fileName, desired);
  if (list === undefined || entries === undefined || ours === undefined || recorded.types === undefined) return desired;
  const foreign = new Set(foreignIn(entries, recorded, ours));
  if (foreign.size === 0) return desired;
  const merged = { ...list, plugins: placed(list.plugins, ours, entries, foreign) };
  const text = `${JSON.stringify(merged, undefined, 2)}\n`;
  if (!("list" in readConfig(fileName, text))) return desired;
  return writeJson(merged) === writeJson(parseIfJson(live)) ? live : text;
}

function listIn(fileName: string, text: string): { plugins: unknown[] } | undefined {
  const value = isListName(fileName) ? parseIfJson(text) : undefined;
  return isObject(value) && Array.isArray(value["plugins"]) ? (value as { plugins: unknown[] }) : undefined;
}

function entriesOf(fileName: string, text: string): Entry[] | undefined {
  const list = listIn(fileName, text);
  const chain = chainOf(fileName, text);
  return list?.plugins.map((value, index) => {
    return { value, digest: chain?.plugins[index] ?? "", type: chain?.types?.[index] ?? "" };
  });
}

/** Those that are neither ours nor ours and changed. What no runtime can load is not kept. */
function foreignIn(live: readonly Entry[], recorded: Chain, ours: Chain): Entry[] {
  const present = new Set(live.map(({ digest }) => digest));
  const known = new Set([...recorded.plugins, ...ours.plugins]);
  const lost = (recorded.types ?? []).filter((_, index) => !present.has(recorded.plugins[index] ?? ""));
  return live.filter(({ value, digest, type }) => {
    if (known.has(digest)) return false;
    const at = lost.indexOf(type);
    if (at !== -1) lost.splice(at, 1);
    return at === -1 && isObject(value) && !hasHugeNumber(value);
  });
}

/** One stays behind the plugin of ours that it follows; behind all of ours if it follows all of them. */
function placed(
  plugins: readonly unknown[],
  ours: Chain,
  live: readonly Entry[],
  foreign: ReadonlySet<Entry>,
): unknown[] {
  const places = placesOf(
    live.filter((entry) => !foreign.has(entry)),
    ours,
  );
  const last = live.findLastIndex((entry) => places.has(entry));
  // Behind which of ours; -1: before all of them.
  let after = -1;
  const slots = live.map((entry, index) => {
    after = index > last ? plugins.length - 1 : (places.get(entry) ?? after);
    return after;
  });
  const behind = (slot: number): unknown[] => {
    return live.filter((entry, index) => foreign.has(entry) && slots[index] === slot).map(({ value }) => value);
  };
  return [...behind(-1), ...plugins.flatMap((plugin, index) => [plugin, ...behind(index)])];
}

/** Which of the desired plugins each live one of ours is now: the same, else one of its type. */
function placesOf(live: readonly Entry[], { plugins, types = [] }: Chain): Map<Entry, number> {
  const places = new Map<Entry, number>();
  const free = new Set(plugins.keys());
  const place = (isIt: (entry: Entry, index: number) => boolean): void => {
    for (const entry of live.filter((one) => !places.has(one))) {
      const index = [...free].find((one) => isIt(entry, one));
      if (index === undefined) continue;
      free.delete(index);
      places.set(entry, index);
    }
  };
  place(({ digest }, index) => plugins[index] === digest);
  place(({ type }, index) => types[index] === type);
  return places;
}
