/** What a container asks for: by its annotations, else by the environment of its process. Pure. */
import type { NetworkList, PluginConfig } from "../cni/config.ts";
import type { Args } from "../cni/invoke.ts";
import { parseIp } from "../cni/ip.ts";
import { isObject, writeJson } from "../cni/json.ts";
import { IF_NAME_RULE, isIfName, isName, NAME_RULE } from "../cni/names.ts";
import { Failure } from "../errors.ts";
import type { Spec } from "./spec.ts";

/** A port of the host that leads to one of the container: the capability `portMappings`. */
export interface PortMapping {
  hostPort: number;
  containerPort: number;
  protocol: string;
  hostIP?: string;
}

/** A network that is asked for. */
export interface AskedNetwork {
  name: string;
  ifName?: string;
}

/** What a container asks for. */
export interface Request {
  /** Undefined: the first one of the directory. */
  networks: readonly AskedNetwork[] | undefined;
  /** For the first network, as they are written: with or without the length of a prefix. */
  ips: readonly string[];
  /** The addresses are asked for by the environment, which is not trusted. */
  isIpOfImage: boolean;
  pools: readonly string[];
  mac: string | undefined;
  ports: readonly PortMapping[];
  aliases: readonly string[];
}

/** Where each setting is looked for: an annotation, else a variable of the container's process. */
export const SETTINGS = {
  network: ["io.cni-node.network", "CNI_NETWORK"],
  ip: ["io.cni-node.ip", "IPV4"],
  ippool: ["io.cni-node.ippool", "IPPOOL"],
  mac: ["io.cni-node.mac", "CNI_MAC"],
  aliases: ["io.cni-node.aliases", "CNI_ALIASES"],
  ports: ["io.cni-node.ports", "CNI_PORTS"],
} as const;
type Setting = keyof typeof SETTINGS;

/** What docker-cni takes from the environment, which an image can set. */
const OF_ENVIRONMENT: ReadonlySet<Setting> = new Set(["ip", "ippool"] as const);

/** IPAM plugins that know which addresses are taken. `static` gives any address, even the router's. */
const DECIDING = ["host-local", "calico-ipam", "whereabouts"];

/**
 * Reads what a container asks for.
 *
 * @param networks those that the hook names.
 * @param isEnvTrusted false: the environment, which an image makes, counts for addresses only, and only where the IPAM
 * plugin decides on them: it must not choose another network, or take a port of the host or an address of others.
 * @throws Failure `oci-request-invalid`
 */
export function readRequest(
  { env, annotations }: Pick<Spec, "env" | "annotations">,
  networks: string[],
  isEnvTrusted: boolean,
): Request {
  const list = (setting: Setting): string[] => settingOf(setting, { env, annotations }, isEnvTrusted);
  const named = namedNetworks({ env, annotations }, networks, isEnvTrusted);
  const [mac, secondMac] = list("mac");
  if (mac !== undefined && (secondMac !== undefined || !/^[\da-f]{2}(?::[\da-f]{2}){5}$/iu.test(mac))) {
    throw invalid("mac", list("mac").join(","), "it is not a hardware address such as 02:42:0a:d5:07:02");
  }
  return {
    networks: named.length === 0 ? undefined : readNetworks(named),
    isIpOfImage: !isEnvTrusted && itemsOf(annotations.get(SETTINGS.ip[0]) ?? "").length === 0 && list("ip").length > 0,
    ips: list("ip").map((text) => checked("ip", text, isAddress, "it is not an IP address")),
    pools: list("ippool").map((text) =>
      checked(
        "ippool",
        text,
        (one) => /^[\w.:/-]+$/u.test(one),
        "it is not the name of an IP pool or a network in CIDR notation",
      ),
    ),
    mac,
    ports: list("ports").map(readPort),
    aliases: list("aliases").map((text) => checked("aliases", text, isAlias, "it is not a host name")),
  };
}

/** The annotations by which a container asks for something. */
export function askingAnnotations({ annotations }: Pick<Spec, "annotations">): string[] {
  return Object.values(SETTINGS)
    .map(([annotation]) => annotation)
    .filter((annotation) => itemsOf(annotations.get(annotation) ?? "").length > 0);
}

/** The networks that a container asks for by name, as they are written. The parameters are those of `readRequest`. */
export function namedNetworks(
  spec: Pick<Spec, "env" | "annotations">,
  networks: string[],
  isEnvTrusted: boolean,
): string[] {
  return networks.length > 0 ? networks : settingOf("network", spec, isEnvTrusted);
}

function settingOf(
  setting: Setting,
  { env, annotations }: Pick<Spec, "env" | "annotations">,
  isEnvTrusted: boolean,
): string[] {
  const [annotation, variable] = SETTINGS[setting];
  const asked = isEnvTrusted || OF_ENVIRONMENT.has(setting) ? env.get(variable) : undefined;
  return itemsOf(annotations.get(annotation) || asked || "");
}

function itemsOf(text: string): string[] {
  return text.split(/[,\s]+/u).filter((one) => one !== "");
}

function readNetworks(texts: readonly string[]): AskedNetwork[] {
  const networks = texts.map((text) => {
    const [, name = "", ifName] = /^([^@]*)(?:@(.*))?$/su.exec(text) ?? [];
    if (!isName(name)) throw invalid("network", text, `the name of a network has ${NAME_RULE}`);
    if (ifName === undefined) return { name };
    return { name, ifName: checked("network", ifName, isIfName, `the name of an interface has ${IF_NAME_RULE}`) };
  });
  const taken = networks.flatMap(({ ifName }) => ifName ?? []);
  const twice = taken.find((ifName, index) => taken.indexOf(ifName) !== index);
  if (twice !== undefined) throw invalid("network", twice, "two networks have the same interface");
  return networks;
}

function isAddress(text: string): boolean {
  const [, address = "", length = "0"] = /^([^/]*)(?:\/(\d{1,3}))?$/u.exec(text) ?? [];
  const ip = parseIp(address);
  return ip !== undefined && Number(length) <= (ip.version === "4" ? 32 : 128);
}

function isAlias(text: string): boolean {
  return text.length <= 253 && /^[\da-z_]([\w-]*[\da-z_])?(\.[\da-z_]([\w-]*[\da-z_])?)*$/iu.test(text);
}

/** `[HOSTIP:]HOSTPORT:PORT[/PROTOCOL]`, with an IPv6 address in brackets. */
function readPort(text: string): PortMapping {
  const [, bracketed, plain, host = "", container = "", protocol = "tcp"] =
    /^(?:(?:\[([^\]]*)\]|([^:]*)):)?(\d+):(\d+)(?:\/(tcp|udp|sctp))?$/u.exec(text) ?? [];
  const [hostPort, containerPort] = [Number(host), Number(container)];
  const hostIP = bracketed ?? plain;
  const isPort = [hostPort, containerPort].every((port) => port > 0 && port <= 65_535);
  if (!isPort || (hostIP !== undefined && parseIp(hostIP) === undefined)) {
    throw invalid("ports", text, "it is not [HOSTIP:]HOSTPORT:PORT[/tcp|udp|sctp]");
  }
  return { hostPort, containerPort, protocol, ...(hostIP === undefined ? {} : { hostIP }) };
}

function checked(setting: Setting, text: string, isGood: (text: string) => boolean, problem: string): string {
  if (!isGood(text)) throw invalid(setting, text, problem);
  return text;
}

function invalid(setting: Setting, text: string, problem: string): Failure {
  const [annotation, variable] = SETTINGS[setting];
  const shown = JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
  return new Failure({
    code: "oci-request-invalid",
    subject: `${annotation} (${variable})`,
    problem: `${shown}: ${problem}`,
    hint: `the container asks for it: by its annotation ${annotation} or the variable ${variable} of its environment`,
  });
}

/** How one network is added: the configuration, and what its plugins are told. */
export interface NetworkRequest {
  network: NetworkList;
  args: Args;
  capabilityArgs: Readonly<Record<string, unknown>>;
}

/**
 * What the plugins of each network are told of a request. The address, the hardware address and the pools are for the
 * first network, ports for the first one that has `portMappings`, aliases for all that have `aliases`.
 *
 * @throws Failure `oci-request-unsupported` when no plugin could do what is asked for.
 */
export function divideRequest(networks: readonly NetworkList[], request: Request): NetworkRequest[] {
  const { ips, pools, mac, ports, aliases } = request;
  const mapping = networks.findIndex((one) => declares(one, "portMappings"));
  if (ports.length > 0 && mapping < 0) throw unsupported("ports", networks, "the capability portMappings");
  if (aliases.length > 0 && !networks.some((one) => declares(one, "aliases"))) {
    throw unsupported("aliases", networks, "the capability aliases");
  }
  return networks.map((network, index) => {
    const isFirst = index === 0;
    const capabilityArgs: Record<string, unknown> = {
      ...(isFirst && ips.length > 0 && declares(network, "ips") ? { ips } : {}),
      ...(isFirst && mac !== undefined && declares(network, "mac") ? { mac } : {}),
      ...(index === mapping && ports.length > 0 ? { portMappings: ports } : {}),
      ...(aliases.length > 0 && declares(network, "aliases") ? { aliases } : {}),
    };
    const args: [string, string][] = [
      ...(isFirst && ips.length > 0 ? [["IP", ips.join(",")] as [string, string]] : []),
      ...(isFirst && mac !== undefined ? [["MAC", mac] as [string, string]] : []),
    ];
    return {
      network: isFirst && pools.length > 0 ? withPools(network, pools) : network,
      // Plugins refuse arguments that they do not know, unless this one comes first.
      args: args.length === 0 ? [] : [["IgnoreUnknown", "1"], ...args],
      capabilityArgs,
    };
  });
}

/** Does the network have IPAM plugins, and do all of them give addresses only that are free? */
export function decidesOnAddresses({ plugins }: NetworkList): boolean {
  const types = plugins.flatMap(({ ipam }) => (isObject(ipam) ? [ipam["type"]] : []));
  return types.length > 0 && types.every((type) => DECIDING.some((one) => one === type));
}

/** Does a plugin of the network ask to be told that? */
export function declares({ plugins }: NetworkList, capability: string): boolean {
  return plugins.some(({ capabilities }) => isObject(capabilities) && capabilities[capability] === true);
}

/**
 * The network with its addresses from these pools. Calico takes them from its configuration only: as CNI_ARGS it would
 * pass over them.
 */
function withPools(network: NetworkList, pools: readonly string[]): NetworkList {
  if (!network.plugins.some(isPooled)) throw unsupported("ippool", [network], "the IPAM plugin calico-ipam");
  const plugins = network.plugins.map((plugin) => {
    return isPooled(plugin) ? { ...plugin, ipam: { ...(plugin["ipam"] as object), ipv4_pools: pools } } : plugin;
  });
  const { cniVersion, name, disableCheck, disableGC } = network;
  const text = writeJson({ cniVersion, name, disableCheck, disableGC, loadOnlyInlinedPlugins: true, plugins });
  return { ...network, plugins, text };
}

function isPooled({ ipam }: PluginConfig): boolean {
  return isObject(ipam) && ipam["type"] === "calico-ipam";
}

function unsupported(setting: Setting, networks: readonly NetworkList[], needed: string): Failure {
  const [annotation, variable] = SETTINGS[setting];
  const names = networks.map(({ name }) => name).join(", ");
  return new Failure({
    code: "oci-request-unsupported",
    subject: `${annotation} (${variable})`,
    problem: `the container asks for it, and no plugin of network ${names} has ${needed}`,
    hint: "leave it out, or choose a network whose plugins can do it",
  });
}
