/** The networks in a directory of configurations, as libcni 1.3 loads them. A listing → values. */
import {
  isConfigName,
  isListName,
  MAX_PLUGINS,
  parsePlugin,
  parseNetworkList,
  tooManyPlugins,
  type NetworkList,
  type Objection,
  type PluginConfig,
} from "./config.ts";

/** What a name in a directory stands for. */
export type ListingEntry =
  | { type: "file"; text: string }
  /** A directory itself, not a link to one. */
  | { type: "directory" }
  | Unreadable
  /** It has no name of a configuration, so that nobody reads it. */
  | { type: "other" };

/** Whoever reads it fails, or waits for ever. */
export interface Unreadable {
  type: "unreadable";
  /** A sentence without its subject: `leads nowhere`. */
  reason: string;
  /** This user may not read it. */
  isDenied?: boolean;
}

/** What is in a directory of configurations. */
export interface DirectoryListing {
  /** By file name. */
  entries: ReadonlyMap<string, ListingEntry>;
  /**
   * By network name, what is in the directory of that name beside the configurations: the plugins that are dropped in
   * there. A directory that does not exist has no entry.
   */
  dropIns: ReadonlyMap<string, ReadonlyMap<string, ListingEntry> | Unreadable>;
  /** There are more names than were looked at: those that come first are here. */
  isCut?: boolean;
}

/** A network that a file configures. */
export interface Network {
  /** The name of the file. */
  file: string;
  /** With all its plugins. */
  list: NetworkList;
  /** The files of the plugins that were dropped in, in the order of the chain: `NETWORK/10-tuning.conf`. */
  dropIns: string[];
}

/** What comes of loading one file. */
export type Loaded = { network: Network } | { objection: Objection };

/** The names of the files that runtimes load, in the order in which they do: by their bytes. */
export function configFiles({ entries }: DirectoryListing): string[] {
  const names = Array.from(entries)
    .filter(([name, { type }]) => isConfigName(name) && type !== "directory")
    .map(([name]) => name);
  return sortBytes(names);
}

/** Sorts names as `sort.Strings` of Go does. */
export function sortBytes(names: Iterable<string>): string[] {
  return [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Loads the network of one file, with the plugins that are dropped in. */
export function loadFile(file: string, listing: DirectoryListing): Loaded {
  const read = textOf(listing.entries.get(file));
  if ("objection" in read) return read;
  const parsed = parseNetworkList(file, read.text);
  if ("objection" in parsed) return parsed;
  const { list } = parsed;
  const found = isListName(file) && !list.loadOnlyInlinedPlugins ? loadDropIns(list.name, listing) : [];
  if ("objection" in found) return found;
  const plugins = [...list.plugins, ...found.map(({ plugin }) => plugin)];
  if (plugins.length > MAX_PLUGINS) return { objection: { message: tooManyPlugins(plugins.length) } };
  return plugins.length === 0
    ? {
        objection: {
          message: `is a network configuration list (.conflist) without plugins, and ${list.name}/ has none`,
        },
      }
    : { network: { file, list: { ...list, plugins }, dropIns: found.map(({ path }) => path) } };
}

function textOf(entry: ListingEntry | undefined): { text: string } | { objection: Objection } {
  if (entry?.type === "file") return entry;
  return { objection: entry?.type === "unreadable" ? objectionOf(entry, "") : { message: "is not there" } };
}

/** @param begin of the sentence. */
function objectionOf({ reason, isDenied }: Unreadable, begin: string): Objection {
  return { message: `${begin}${reason}`, ...(isDenied === true && { isDenied }) };
}

/** The plugins in the directory that is named like the network; one broken file there spoils the network. */
function loadDropIns(
  network: string,
  { dropIns }: DirectoryListing,
): { path: string; plugin: PluginConfig }[] | { objection: Objection } {
  const entries = dropIns.get(network) ?? new Map<string, ListingEntry>();
  if ("reason" in entries) {
    return { objection: objectionOf(entries, `has more plugins in the directory ${network}/, which `) };
  }
  const found: { path: string; plugin: PluginConfig }[] = [];
  for (const name of sortBytes(entries.keys())) {
    const entry = entries.get(name);
    if (!name.endsWith(".conf") || entry?.type === "directory") continue;
    const path = `${network}/${name}`;
    const read = textOf(entry);
    const parsed = "text" in read ? parsePlugin(read.text) : read;
    if ("objection" in parsed) {
      const { message, isDenied } = parsed.objection;
      const begun = `has the plugin file ${path}, which ${message}`;
      return { objection: { message: begun, ...(isDenied === true && { isDenied }) } };
    }
    found.push({ path, plugin: parsed.plugin });
  }
  return found;
}
