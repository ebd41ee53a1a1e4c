/** Which plugins a network configuration needs on the node. Pure. */
import { isObject } from "./json.ts";

/**
 * The plugins that a plugin's configuration names, itself first: `type`, `ipam.type`, `delegate.type` and `delegates`,
 * which are configurations or lists themselves. Other keys called type (Calico's `policy.type`) name no plugin.
 */
export function referencesOf(plugin: unknown): string[] {
  if (!isObject(plugin)) return [];
  const { type, ipam, delegate, delegates, plugins } = plugin;
  const named = [type, typeOf(ipam), typeOf(delegate)].filter((name) => typeof name === "string" && name !== "");
  const nested = [delegates, plugins].flatMap((list) => (Array.isArray(list) ? (list as unknown[]) : []));
  return [...new Set([...(named as string[]), ...nested.flatMap(referencesOf)])];
}

function typeOf(value: unknown): unknown {
  return isObject(value) ? value["type"] : undefined;
}
