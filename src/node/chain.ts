/** What of a network configuration is ours, so that the plugins that others chain into it can be told from a change. */
import { createHash } from "node:crypto";

import { isListName } from "../cni/config.ts";
import { isObject, parseJson, writeJson } from "../cni/json.ts";

/** A configuration list by its parts, whatever the order of keys and the blanks: `sha256:…` of each. */
export interface Chain {
  /** Everything but the plugins. */
  rest: string;
  /** In the order of the chain. */
  plugins: string[];
  /** Their types, if they are known. */
  types?: string[];
}

/** Undefined: it is not a configuration list. */
export function chainOf(fileName: string, text: string): Chain | undefined {
  const parsed = isListName(fileName) ? parseJson(text) : { objection: undefined };
  if (!("value" in parsed) || !isObject(parsed.value)) return undefined;
  const { plugins, ...rest } = parsed.value;
  if (!Array.isArray(plugins)) return undefined;
  return { rest: digestOfValue(rest), plugins: plugins.map(digestOfValue), types: plugins.map(typeOf) };
}

/** The type of a plugin; empty: it has none. */
export function typeOf(plugin: unknown): string {
  return isObject(plugin) && typeof plugin["type"] === "string" ? plugin["type"] : "";
}

/** Is this our list, with plugins of others before, between or behind ours? Istio, Linkerd and others do that. */
export function isExtended(ours: Chain, live: Chain): boolean {
  const theirs = live.plugins[Symbol.iterator]();
  return (
    ours.rest === live.rest &&
    live.plugins.length > ours.plugins.length &&
    ours.plugins.every((plugin) => isAmongRest(plugin, theirs))
  );
}

/** What comes before it has been looked at then. */
function isAmongRest(wanted: string, rest: Iterator<string>): boolean {
  for (let next = rest.next(); next.done !== true; next = rest.next()) {
    if (next.value === wanted) return true;
  }
  return false;
}

/** Of a value, whatever the order of its keys: `sha256:…`. */
export function digestOfValue(value: unknown): string {
  return `sha256:${createHash("sha256").update(writeJson(value)).digest("hex")}`;
}
