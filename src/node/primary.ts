/** The primary of a node, as what is put around it finds it. A listing → a value. */
import { matchesGlob } from "node:path";

import { isListName, type NetworkList, type PluginConfig } from "../cni/config.ts";
import { isObject, parseIfJson, type Objection } from "../cni/json.ts";
import { configFiles, loadFile, type DirectoryListing, type Network } from "../cni/listing.ts";

/** The configuration that pods get their network from, if nothing is put around it. */
export interface Primary {
  /** The name of its file. */
  file: string;
  list: NetworkList;
  /** The text that can stand in another configuration: that of the file, with the plugins that were dropped in. */
  text: string;
}

/** Why there is none: the file that comes first cannot be loaded; undefined: there is no file. */
export interface NoPrimary {
  broken?: { file: string; objection: Objection };
}

/**
 * Finds the primary: the first file in the order of their names, as containerd takes it. What is itself put around
 * another network, such as a configuration of Multus, is passed over, whatever its name: it must not contain itself.
 *
 * @param glob only files whose names it matches count.
 * @param except the names of files that do not count, such as what is made of the primary.
 */
export function findPrimary(
  listing: DirectoryListing,
  { glob, except = new Set() }: { glob?: string | undefined; except?: ReadonlySet<string> } = {},
): Primary | NoPrimary {
  for (const file of configFiles(listing)) {
    if (except.has(file) || (glob !== undefined && !matchesGlob(file, glob))) continue;
    const loaded = loadFile(file, listing);
    if ("objection" in loaded) return { broken: { file, ...loaded } };
    const { network } = loaded;
    if (!network.list.plugins.some(isAround)) return { file, list: network.list, text: textOf(network, listing) };
  }
  return {};
}

/** Does a plugin call other networks, which its configuration names? */
function isAround({ type, delegates, clusterNetwork }: PluginConfig): boolean {
  return isMultus(type) || Array.isArray(delegates) || typeof clusterNetwork === "string";
}

/** Multus, under each name that it is installed by: `multus`, `multus-cni`, `multus-shim`. */
export function isMultus(type: string): boolean {
  return /^multus(?:-|$)/u.test(type);
}

/** Nobody looks for plugins that were dropped in where the text stands in another configuration. */
function textOf({ file, list, dropIns }: Network, { entries }: DirectoryListing): string {
  const entry = entries.get(file);
  const text = entry?.type === "file" ? entry.text : "";
  const whole = isListName(file) && dropIns.length > 0 ? parseIfJson(text) : undefined;
  return isObject(whole) ? JSON.stringify({ ...whole, plugins: list.plugins }, undefined, 2) : text;
}
