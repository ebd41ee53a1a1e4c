/** The podCIDRs of the node in a configuration that has no variables for them, as kube-router puts them there. Pure. */
import { isListName } from "../cni/config.ts";
import { isEqualJson, parseJsonExactly, stringifyJson, type JsonObject, type JsonValue } from "../cluster/json.ts";

/** The keys of host-local that are about one subnet: `ranges` says all of it (host-local, "Network configuration reference"). */
const OF_SUBNET = ["subnet", "rangeStart", "rangeEnd", "gateway"];

/**
 * Puts the podCIDRs into the ranges of the plugin `bridge`, which has `host-local` or no IPAM yet. Other CIDRs go; a
 * range that has one of them already stays as it is.
 *
 * @param podCidrs `10.244.3.0/24`, one of each family at most.
 * @returns the text itself if it says so already; undefined: no plugin of it takes them, or it is not JSON.
 */
export function withPodCidrs(fileName: string, text: string, podCidrs: readonly string[]): string | undefined {
  const config = parsed(text);
  if (config === undefined) return undefined;
  const { plugins } = config;
  const chain = (isListName(fileName) ? (Array.isArray(plugins) ? plugins : []) : [config]).filter(isJsonObject);
  const plugin = chain.find(({ type }) => type === "bridge");
  const { ipam = { type: "host-local" } } = plugin ?? {};
  if (plugin === undefined || !isHostLocal(ipam)) return undefined;
  const present = (Array.isArray(ipam["ranges"]) ? ipam["ranges"] : []).filter((set) => Array.isArray(set));
  const ranges = podCidrs.map((subnet) => present.find((set) => isOf(set, subnet)) ?? [{ subnet }]);
  const isRight =
    ipam["ranges"] !== undefined &&
    isEqualJson(ranges, ipam["ranges"]) &&
    OF_SUBNET.every((key) => !Object.hasOwn(ipam, key));
  if (isRight) return text;
  for (const key of OF_SUBNET) delete ipam[key];
  ipam["ranges"] = ranges;
  plugin["ipam"] = ipam;
  return `${stringifyJson(config, 2)}\n`;
}

function parsed(text: string): JsonObject | undefined {
  try {
    const value = parseJsonExactly(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isHostLocal(ipam: JsonValue | undefined): ipam is JsonObject {
  return isJsonObject(ipam) && ipam["type"] === "host-local";
}

/** Is each range of the set one of this subnet? */
function isOf(set: readonly JsonValue[], subnet: string): boolean {
  return set.length > 0 && set.every((range) => isJsonObject(range) && range["subnet"] === subnet);
}
