/** What speaks against adding a network, before any plugin is called. Pure. */
import type { CachedAttachment } from "../cni/cache.ts";
import type { NetworkList, PluginConfig } from "../cni/config.ts";
import type { Args } from "../cni/invoke.ts";
import { parseCidr, parseIp } from "../cni/ip.ts";
import { isObject } from "../cni/json.ts";
import { upgradeResult, type AnyResult, type IPConfig } from "../cni/result.ts";
import { Failure } from "../errors.ts";
import { networkSubject } from "./failure.ts";
import type { Interior } from "./namespace.ts";

/** An attachment that is to be made, and what is there already. */
export interface Intent {
  network: NetworkList;
  ifName: string;
  args: Args;
  capabilityArgs: Readonly<Record<string, unknown>>;
  allowDefaultRoute: boolean;
  /** In the network namespace that it is added to. */
  inside: Interior;
  /** On the host. */
  outside: Interior;
  /** The attachments to the same network that are alive. */
  others: readonly CachedAttachment[];
}

/** The next `ethN` that is free. */
export function nextInterface({ interfaces }: Interior): string {
  for (let index = 0; ; index++) {
    if (!interfaces.includes(`eth${index}`)) return `eth${index}`;
  }
}

/**
 * Refuses an attachment that would take something from what is there.
 *
 * @throws Failure `interface-taken`, `default-route-taken`, `address-taken`.
 */
export function refuseConflicts(intent: Intent): void {
  const { ifName, inside } = intent;
  // No plugin makes that one: it is there, and one brings it up.
  if (ifName !== "lo" && inside.interfaces.includes(ifName)) {
    throw new Failure({
      code: "interface-taken",
      subject: ifName,
      problem: "the network namespace has an interface of that name already",
      hint: `choose another one with --ifname; ${nextInterface(inside)} is free`,
    });
  }
  if (!intent.allowDefaultRoute) refuseSecondDefaultRoute(intent);
  for (const address of requestedAddresses(intent)) refuseUsedAddress(address, intent);
}

function refuseSecondDefaultRoute({ network, inside }: Intent): void {
  const taken = defaultRoutesOf(network, inside).find((version) => inside.defaultRoutes[version] !== undefined);
  if (taken === undefined) return;
  throw new Failure({
    code: "default-route-taken",
    subject: networkSubject(network.name),
    problem: `it brings a default route, and the network namespace has one on ${inside.defaultRoutes[taken] ?? ""} already`,
    hint: "use a configuration without one (no isDefaultGateway, no route to 0.0.0.0/0), or add it anyway with --allow-default-route",
  });
}

/** The versions of IP that a network's configuration brings a default route for, in the place of the present one. */
function defaultRoutesOf({ plugins }: NetworkList, inside: Interior): ("4" | "6")[] {
  const parts = plugins.flatMap((plugin) => [plugin, plugin["delegate"]]);
  return [...new Set(parts.flatMap((part) => defaultRoutesOfPlugin(part, inside)))];
}

/** Of the main table (ip-route(8)). */
const MAIN_TABLE = 254;

function defaultRoutesOfPlugin(plugin: unknown, { defaultMetrics }: Interior): ("4" | "6")[] {
  if (!isObject(plugin)) return [];
  const { isDefaultGateway, ipam } = plugin as Partial<Record<string, unknown>>;
  const routes = isObject(ipam) && Array.isArray(ipam["routes"]) ? ipam["routes"].filter(isObject) : [];
  const versions = routes.flatMap(({ dst, table = MAIN_TABLE, priority = 0 }) => {
    const network = typeof dst === "string" ? parseCidr(dst) : undefined;
    if (network?.text.endsWith("/0") !== true || table !== MAIN_TABLE) return [];
    // The present one is preferred to one with a worse metric.
    return Number(priority) > (defaultMetrics[network.version] ?? Infinity) ? [] : [network.version];
  });
  return isDefaultGateway === true ? [...versionsOfIpam(ipam), ...versions] : versions;
}

/** The versions of IP that addresses are of, as far as the configuration tells; IPv4 where it does not. */
function versionsOfIpam(ipam: unknown): ("4" | "6")[] {
  const { subnet, ranges, addresses } = (isObject(ipam) ? ipam : {}) as Partial<Record<string, unknown>>;
  const parts = [{ subnet }, ranges, addresses].flat(2).filter(isObject);
  const versions = parts.flatMap((part) => {
    const { [part["subnet"] === undefined ? "address" : "subnet"]: text } = part;
    return typeof text === "string" ? (parseCidr(text)?.version ?? []) : [];
  });
  return versions.length === 0 ? ["4"] : versions;
}

function refuseUsedAddress(address: string, { network, inside, outside, others }: Intent): void {
  const user =
    (inside.addresses.includes(address) ? "the network namespace itself" : undefined) ??
    (outside.addresses.includes(address) ? "the host" : undefined) ??
    others
      .filter(({ result }) => addressesOf(result).includes(address))
      .map(({ containerId, ifName }) => `container ${containerId} on ${ifName}`)[0];
  if (user === undefined) return;
  throw new Failure({
    code: "address-taken",
    subject: address,
    problem: `it is asked for on network ${network.name}, and ${user} has it already`,
    hint: "choose another address; cni-node network list --attachments shows those of containers",
  });
}

/** The addresses that are asked for by name: an IPAM plugin that chooses for itself knows those that it has given. */
function requestedAddresses({ network, args, capabilityArgs }: Intent): string[] {
  const { ips } = capabilityArgs as { ips?: unknown };
  const byArgs = args.flatMap(([key, value]) => (key === "IP" ? value.split(",") : []));
  const byCapability = textsOf(ips);
  const own = network.plugins.flatMap((plugin) => staticAddresses(plugin, byCapability));
  const texts = [...own, ...byArgs, ...byCapability];
  return texts.flatMap((text) => parseIp(text.trim().split("/")[0] ?? "")?.text ?? []);
}

/** Those of the configuration count only where none are given by the capability or by `args.cni.ips`; static 1.9. */
function staticAddresses({ ipam, capabilities, args }: PluginConfig, byCapability: readonly string[]): string[] {
  const { type, addresses } = (isObject(ipam) ? ipam : {}) as { type?: unknown; addresses?: unknown };
  if (type !== "static") return [];
  if (byCapability.length > 0 && isObject(capabilities) && capabilities["ips"] === true) return [];
  const { cni } = (isObject(args) ? args : {}) as { cni?: unknown };
  const byConfig = textsOf(isObject(cni) ? cni["ips"] : undefined);
  if (byConfig.length > 0) return byConfig;
  const listed = Array.isArray(addresses) ? addresses.filter(isObject) : [];
  return listed.flatMap(({ address }) => (typeof address === "string" ? [address] : []));
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

/** The gateways of a result, each once. */
export function gatewaysOf(result: AnyResult): string[] {
  return [...new Set(ipsOf(result).flatMap(({ gateway }) => gateway ?? []))];
}

/** The addresses of a result, without the lengths of their prefixes. */
export function addressesOf(result: AnyResult | undefined): string[] {
  return result === undefined ? [] : ipsOf(result).map(({ address }) => address.split("/")[0] ?? "");
}

function ipsOf(result: AnyResult): IPConfig[] {
  return upgradeResult(result).ips ?? [];
}

/** The capabilities that are given, and that no plugin of the network declares: nobody is told them. */
export function undeclaredOf(
  { plugins }: NetworkList,
  capabilityArgs: Readonly<Record<string, unknown>>,
): { undeclared: string[]; declared: string[] } {
  const declared = plugins.flatMap(({ capabilities }) => {
    return isObject(capabilities) ? Object.keys(capabilities).filter((name) => capabilities[name] === true) : [];
  });
  const undeclared = Object.keys(capabilityArgs).filter((name) => !declared.includes(name));
  return { undeclared, declared: [...new Set(declared)] };
}
