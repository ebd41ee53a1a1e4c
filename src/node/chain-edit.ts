/** Appends plugins to somebody else's configuration list, and takes exactly these out again (`--chain`). Pure. */
import { isObject, parseIfJson } from "../cni/json.ts";
import { digestOfValue, typeOf } from "./chain.ts";

/** A plugin of ours in the list. */
export interface ChainEntry {
  /** What asked for it: `tuning.json@primary`. */
  from: string;
  owner: string;
  type: string;
  /** Of the plugin's configuration. */
  digest: string;
  /** The list had this very plugin before: it stays when the entry goes. */
  wasThere?: true | undefined;
}

/** A plugin that is to be in the list. */
export interface ChainPlugin {
  from: string;
  owner: string;
  value: unknown;
}

/** The list as it is to be. */
export interface EditedChain {
  /** The text itself if it says so already. */
  text: string;
  entries: ChainEntry[];
}

/**
 * Edits the chain of a list. A plugin that is there already keeps its place, one that has changed takes the place of
 * its former self, a new one comes last.
 *
 * @param held what was recorded as ours when the list was last written.
 * @param wanted what is to be there for the owner besides what stays.
 * @param isLeft does an entry that is held and not wanted stay?
 * @returns undefined: the text is not a configuration list.
 */
export function editChain(
  text: string,
  held: readonly ChainEntry[],
  wanted: readonly ChainPlugin[],
  isLeft: (entry: ChainEntry) => boolean,
): EditedChain | undefined {
  const list = parseIfJson(text);
  const plugins: unknown = isObject(list) ? list["plugins"] : undefined;
  if (!isObject(list) || !Array.isArray(plugins)) return undefined;
  const isSame = (one: ChainEntry, other: { from: string; owner: string }): boolean => {
    return one.from === other.from && one.owner === other.owner;
  };
  const isWanted = (entry: ChainEntry): boolean => wanted.some((one) => isSame(entry, one));
  const staying = held.filter((entry) => !isWanted(entry) && isLeft(entry));
  const chain = plugins.map((value: unknown) => ({ value, digest: digestOfValue(value) }));
  const find = (digest: string): number => chain.findLastIndex((one) => one.digest === digest);
  const entries = [...staying];
  const leaving = held.filter((entry) => !staying.includes(entry));
  for (const { from, owner, value } of wanted) {
    const digest = digestOfValue(value);
    const before = leaving.find((entry) => isSame(entry, { from, owner }));
    const former = before === undefined || before.wasThere === true ? -1 : find(before.digest);
    const isShared = entries.some((entry) => entry.digest === before?.digest && entry.wasThere !== true);
    let wasThere: true | undefined;
    if (find(digest) !== -1) {
      wasThere = held.some((entry) => entry.digest === digest && entry.wasThere !== true) ? undefined : true;
    } else if (former !== -1 && !isShared) chain[former] = { value, digest };
    else chain.push({ value, digest });
    entries.push({ from, owner, type: typeOf(value), digest, ...(wasThere && { wasThere }) });
  }
  for (const { digest, wasThere } of leaving) {
    if (wasThere === true || entries.some((entry) => entry.digest === digest)) continue;
    const at = find(digest);
    if (at !== -1) chain.splice(at, 1);
  }
  const isUnchanged = chain.length === plugins.length && chain.every(({ value }, index) => value === plugins[index]);
  const values = chain.map(({ value }) => value);
  return {
    text: isUnchanged ? text : `${JSON.stringify({ ...list, plugins: values }, undefined, 2)}\n`,
    entries: entries.toSorted((a, b) => (`${a.owner} ${a.from}` < `${b.owner} ${b.from}` ? -1 : 1)),
  };
}

/** Is each of our plugins in this list? */
export function hasEntries(text: string, entries: readonly ChainEntry[]): boolean {
  const list = parseIfJson(text);
  const plugins: unknown = isObject(list) ? list["plugins"] : undefined;
  const digests = Array.isArray(plugins) ? plugins.map(digestOfValue) : [];
  return entries.every(({ digest }) => digests.includes(digest));
}

/** The list that a single plugin's configuration is, with the same name and version (CNI specification, section 1). */
export function listOfSingle(text: string): string | undefined {
  const config = parseIfJson(text);
  if (!isObject(config)) return undefined;
  const { cniVersion, name, ...plugin } = config;
  return `${JSON.stringify({ cniVersion, name, plugins: [plugin] }, undefined, 2)}\n`;
}
