/** What the reference plugins (containernetworking/plugins 1.9.1) refuse when they are called, known beforehand. Pure. */
import { parseCidr, parseIp } from "./ip.ts";
import { isObject } from "./json.ts";

/** The keys of a plugin's configuration that are no texts. */
interface Keys {
  booleans: readonly string[];
  integers: readonly string[];
}

/** By plugin. */
export const KEYS: Readonly<Record<string, Keys>> = {
  bandwidth: { booleans: [], integers: ["ingressRate", "ingressBurst", "egressRate", "egressBurst"] },
  bridge: {
    booleans: [
      "isGateway",
      "isDefaultGateway",
      "forceAddress",
      "ipMasq",
      "hairpinMode",
      "promiscMode",
      "preserveDefaultVlan",
      "macspoofchk",
      "enabledad",
      "disableContainerInterface",
      "portIsolation",
    ],
    integers: ["mtu", "vlan"],
  },
  ipvlan: { booleans: ["linkInContainer"], integers: ["mtu"] },
  macvlan: { booleans: ["linkInContainer"], integers: ["mtu", "bcqueuelen"] },
  portmap: { booleans: ["snat", "masqAll"], integers: ["markMasqBit"] },
  ptp: { booleans: ["ipMasq"], integers: ["mtu"] },
  sbr: { booleans: [], integers: ["table"] },
  tap: { booleans: ["multiQueue"], integers: ["mtu", "owner", "group"] },
  tuning: { booleans: ["promisc", "allmulti"], integers: ["mtu", "txQLen"] },
  vlan: { booleans: ["linkInContainer"], integers: ["vlanId", "mtu"] },
  vrf: { booleans: [], integers: ["table"] },
};

/** Those that make an interface, and hand `ipam` on as it is. */
const INTERFACE_PLUGINS = new Set(["bridge", "dummy", "host-device", "ipvlan", "macvlan", "ptp", "tap", "vlan"]);

/** Why a reference plugin would refuse this configuration, each as the end of a sentence. Nothing is said of others. */
export function objectionsToReference(plugin: Record<string, unknown>): string[] {
  const { type, ipam } = plugin;
  if (typeof type !== "string") return [];
  const keys = Object.hasOwn(KEYS, type) ? KEYS[type] : undefined;
  const wrong = Object.entries(plugin).flatMap(([key, value]) => {
    // A placeholder that nobody has replaced is told as such.
    if (value === null || keys === undefined || (typeof value === "string" && /^__.*__$/u.test(value))) return [];
    const isIn = (names: readonly string[]): boolean => names.some((name) => name.toLowerCase() === key.toLowerCase());
    if (isIn(keys.booleans) && typeof value !== "boolean") return [`${key} is not true or false${quoted(value)}`];
    if (isIn(keys.integers) && !isInteger(value)) return [`${key} is not a whole number${quoted(value)}`];
    return [];
  });
  const isHandedOn = INTERFACE_PLUGINS.has(type) && isObject(ipam) && ipam["type"] === "host-local";
  return isHandedOn ? [...wrong, ...objectionsToHostLocal(ipam, plugin).map((one) => `ipam: ${one}`)] : wrong;
}

function quoted(value: unknown): string {
  return typeof value === "string" ? ": remove the quotes" : "";
}

/** One that is too large for a number is an object of its own, which plugins refuse as well. */
function isInteger(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value);
}

// host-local, as its allocator's Canonicalize and Overlaps.

interface Range {
  version: "4" | "6";
  network: string;
  first: bigint;
  last: bigint;
}

/** An objection is thrown to where one is said of all ranges. */
class Wrong extends Error {}

function objectionsToHostLocal(ipam: Record<string, unknown>, plugin: Record<string, unknown>): string[] {
  const { subnet, ranges } = ipam;
  const sets = [
    ...(subnet === undefined || subnet === null ? [] : [{ where: "", set: [ipam] as unknown }]),
    ...(Array.isArray(ranges) ? (ranges as unknown[]) : []).map((set, index) => ({ where: `ranges[${index}]`, set })),
  ];
  if (sets.length === 0) return areRangesGiven(plugin) ? [] : ["host-local has neither subnet nor ranges"];
  try {
    const read = sets.map(({ where, set }) => readSet(set, where, (version) => usesGateway(plugin, ipam, version)));
    const overlap = overlapIn(read.flat());
    return overlap === undefined ? [] : [overlap];
  } catch (error) {
    if (error instanceof Wrong) return [error.message];
    throw error;
  }
}

/** Is the gateway used by a route of that family? It must be near then; else it is only told. */
type IsUsed = (version: "4" | "6") => boolean;

function usesGateway(
  { isDefaultGateway }: Record<string, unknown>,
  { routes }: Record<string, unknown>,
  version: "4" | "6",
): boolean {
  const targets = (Array.isArray(routes) ? (routes as unknown[]) : []).filter(isObject).filter(({ gw }) => !gw);
  return (
    isDefaultGateway === true ||
    targets.some(({ dst }) => typeof dst === "string" && parseCidr(dst)?.version === version)
  );
}

/** By runtimes, or by kube-router, which writes them into its own configuration. */
function areRangesGiven({ capabilities, bridge }: Record<string, unknown>): boolean {
  return (isObject(capabilities) && capabilities["ipRanges"] === true) || bridge === "kube-bridge";
}

function readSet(set: unknown, where: string, isUsed: IsUsed): Range[] {
  if (!Array.isArray(set)) throw new Wrong(`${where} is not a list of ranges: [{"subnet": …}]`);
  if (set.length === 0) throw new Wrong(`${where} is empty`);
  const ranges = (set as unknown[]).map((one, index) =>
    readRange(one, where === "" ? "" : `${where}[${index}].`, isUsed),
  );
  if (ranges.some(({ version }) => version !== ranges[0]?.version)) throw new Wrong(`${where} mixes IPv4 and IPv6`);
  return ranges;
}

function readRange(range: unknown, where: string, isUsed: IsUsed): Range {
  if (!isObject(range)) throw new Wrong(`${where.slice(0, -1)} is not an object: {"subnet": …}`);
  const { subnet } = range;
  const network = typeof subnet === "string" ? parseCidr(subnet) : undefined;
  if (network === undefined) throw new Wrong(`${where}subnet is not a network: ADDRESS/BITS`);
  const { text, version } = network;
  const [host = "", digits = ""] = text.split("/");
  const free = BigInt((version === "4" ? 32 : 128) - Number(digits));
  const base = (numberOf(host) >> free) << free;
  if (free < 2n) throw new Wrong(`${where}subnet ${text} is too small: at least two bits must be free`);
  if (base !== numberOf(host)) throw new Wrong(`${where}subnet ${text} has bits behind its prefix`);
  const end = base + (1n << free) - 1n;
  const address = (key: string): bigint | undefined => {
    const { [key]: value } = range;
    if (value === undefined || value === null || value === "") return undefined;
    const ip = typeof value === "string" ? parseIp(value) : undefined;
    if (ip === undefined) throw new Wrong(`${where}${key} is not an address`);
    const number = numberOf(ip.text);
    const isOutside = ip.version !== version || number < base || number > end;
    if (isOutside && (key !== "gateway" || isUsed(version))) {
      throw new Wrong(`${where}${key} ${ip.text} is outside of the subnet ${text}`);
    }
    return number;
  };
  const first = address("rangeStart") ?? base + 1n;
  const last = address("rangeEnd") ?? (version === "4" ? end - 1n : end);
  if (last < first) throw new Wrong(`${where}rangeEnd is before rangeStart`);
  address("gateway");
  return { version, network: text, first, last };
}

function overlapIn(ranges: readonly Range[]): string | undefined {
  for (const [index, one] of ranges.entries()) {
    const other = ranges.slice(0, index).find((two) => {
      return two.version === one.version && two.first <= one.last && one.first <= two.last;
    });
    if (other !== undefined) return `the ranges in ${other.network} and ${one.network} overlap`;
  }
  return undefined;
}

/** Of an address in canonical form. */
function numberOf(text: string): bigint {
  if (text.includes(".")) return text.split(".").reduce((sum, octet) => (sum << 8n) + BigInt(octet), 0n);
  const [head = "", tail] = text.split("::");
  const [front, back] = [groupsOf(head), groupsOf(tail)];
  const zeros = Array<string>(8 - front.length - back.length).fill("0");
  return [...front, ...zeros, ...back].reduce((sum, group) => (sum << 16n) + BigInt(`0x${group}`), 0n);
}

function groupsOf(part = ""): string[] {
  return part === "" ? [] : part.split(":");
}
