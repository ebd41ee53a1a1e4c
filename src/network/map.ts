/** The network of a node as a picture of it needs it: made from what was read, which is input. Nothing is read here. */
import { parseIp } from "../cni/ip.ts";
import { isObject } from "../cni/json.ts";
import { shorten, visible } from "../system/text.ts";

/** What was read of one network namespace. */
export interface ReadNamespace {
  identity: string;
  /** Names in /run/netns, or what else tells it to people. */
  names: readonly string[];
  isHost: boolean;
  /** What `ip -json` printed; undefined: the namespace cannot be looked into. */
  links?: unknown;
  routes?: unknown;
  problem?: string;
}

/** An attachment of the CNI cache. */
export interface ReadAttachment {
  network: string;
  containerId: string;
  ifName: string;
  addresses: readonly string[];
  addedBy: "cni-node" | "others";
  /** `namespace/name` of its pod, or TARGET. */
  container?: string;
  /** The number of its network namespace, if that is there. */
  identity?: string;
  presence: "alive" | "gone" | "unknown";
}

/** The other end of a veth, or what an interface is made on. */
export interface LinkEnd {
  /** The namespace's id in the map. */
  namespace: string;
  interface: string;
}

export interface MapInterface {
  name: string;
  kind: string;
  isUp: boolean;
  addresses: string[];
  /** The bridge that it is a port of. */
  master?: string;
  peer?: LinkEnd;
  parent?: LinkEnd;
  vlan?: number;
  attachments: { network: string; containerId: string; addedBy: "cni-node" | "others" }[];
  /** What is wrong. */
  problems: string[];
}

export interface MapRoute {
  destination: string;
  gateway?: string;
  interface?: string;
}

export interface MapNamespace {
  id: string;
  isHost: boolean;
  names: string[];
  containers: string[];
  interfaces: MapInterface[];
  /** Those that leave the namespace's own links: by default, or through a gateway. */
  routes: MapRoute[];
  hiddenInterfaces: number;
  hiddenRoutes: number;
  problems: string[];
}

/** An attachment that no interface of the map belongs to. */
export interface LostAttachment {
  network: string;
  containerId: string;
  interface: string;
  addresses: string[];
  container?: string;
  problem: string;
}

export interface NodeMap {
  /** The node's own first. */
  namespaces: MapNamespace[];
  lost: LostAttachment[];
  hidden: { namespaces: number; attachments: number };
}

/** So many are drawn; the rest is counted. */
export const MOST = { namespaces: 256, interfaces: 512, routes: 64, attachments: 4096, lost: 64, addresses: 16 };

interface Link extends MapInterface {
  index: number;
  linkIndex: number | undefined;
  linkName: string | undefined;
  isElsewhere: boolean;
}

type Draft = Omit<MapNamespace, "interfaces"> & { identity: string; interfaces: Link[] };

/** Makes the map. @param unread namespaces and attachments that there were besides. */
export function mapOf(
  namespaces: readonly ReadNamespace[],
  attachments: readonly ReadAttachment[],
  unread = { namespaces: 0, attachments: 0 },
): NodeMap {
  const shown = [...namespaces.filter(({ isHost }) => isHost), ...namespaces.filter(({ isHost }) => !isHost)];
  const drafts = shown.slice(0, MOST.namespaces).map(draftOf);
  const isWhole = unread.namespaces === 0 && shown.length <= MOST.namespaces && shown.every(({ links }) => links);
  for (const draft of drafts) for (const link of draft.interfaces) connect(link, draft, drafts, isWhole);
  const lost = attachments.slice(0, MOST.attachments).flatMap((one) => assign(one, drafts));
  const left = Math.max(0, attachments.length - MOST.attachments) + Math.max(0, lost.length - MOST.lost);
  return {
    namespaces: drafts.map(({ identity: _identity, interfaces, ...rest }) => ({
      ...rest,
      interfaces: interfaces
        .filter(saysSomething)
        .map(({ index: _index, linkIndex: _linkIndex, linkName: _linkName, isElsewhere: _isElsewhere, ...one }) => one),
    })),
    lost: lost.slice(0, MOST.lost),
    hidden: {
      namespaces: unread.namespaces + Math.max(0, shown.length - MOST.namespaces),
      attachments: unread.attachments + left,
    },
  };
}

/** Each namespace has a loopback interface. */
function saysSomething({ kind, addresses, attachments, problems }: MapInterface): boolean {
  const isUsual = addresses.every((one) => one === "127.0.0.1/8" || one === "::1/128");
  return kind !== "loopback" || !isUsual || attachments.length + problems.length > 0;
}

function draftOf({ identity, names, isHost, links, routes, problem }: ReadNamespace, index: number): Draft {
  const all = (Array.isArray(links) ? links : []).flatMap((one) => linkOf(one) ?? []);
  const leaving = (Array.isArray(routes) ? routes : []).flatMap(routesOf);
  return {
    identity,
    id: isHost ? "node" : `ns${index}`,
    isHost,
    names: names.map(nameOf),
    containers: [],
    interfaces: all.slice(0, MOST.interfaces),
    routes: leaving.slice(0, MOST.routes),
    hiddenInterfaces: Math.max(0, all.length - MOST.interfaces),
    hiddenRoutes: Math.max(0, leaving.length - MOST.routes),
    problems: problem === undefined ? [] : [shorten(visible(problem), 200)],
  };
}

function linkOf(value: unknown): Link | undefined {
  if (!isObject(value) || typeof value["ifindex"] !== "number" || typeof value["ifname"] !== "string") return undefined;
  const { ifindex, ifname, flags, master, link, link_index: linkIndex, link_netnsid: netns, link_type: type } = value;
  const info = isObject(value["linkinfo"]) ? value["linkinfo"] : {};
  const data = isObject(info["info_data"]) ? info["info_data"] : {};
  const kind = typeof info["info_kind"] === "string" ? info["info_kind"] : type === "loopback" ? "loopback" : "device";
  const addresses = (Array.isArray(value["addr_info"]) ? value["addr_info"] : []).flatMap(addressIn);
  return {
    index: ifindex,
    linkIndex: typeof linkIndex === "number" ? linkIndex : undefined,
    linkName: typeof link === "string" ? nameOf(link) : undefined,
    isElsewhere: netns !== undefined,
    name: nameOf(ifname),
    kind: nameOf(kind),
    isUp: Array.isArray(flags) && flags.includes("UP"),
    addresses: addresses.slice(0, MOST.addresses),
    ...(typeof master === "string" ? { master: nameOf(master) } : {}),
    ...(kind === "vlan" && typeof data["id"] === "number" ? { vlan: data["id"] } : {}),
    attachments: [],
    problems: addresses.length > MOST.addresses ? [`addresses not shown: ${addresses.length - MOST.addresses}`] : [],
  };
}

/** The kernel gives each interface a link-local one: it says nothing. */
function addressIn(value: unknown): string[] {
  if (!isObject(value)) return [];
  const { local, prefixlen, scope } = value;
  if (typeof local !== "string" || typeof prefixlen !== "number" || scope === "link") return [];
  return [`${nameOf(local)}/${prefixlen}`];
}

function routesOf(value: unknown): MapRoute[] {
  if (!isObject(value) || typeof value["dst"] !== "string") return [];
  const { dst, nexthops } = value;
  const hops = Array.isArray(nexthops) ? nexthops.filter(isObject) : [value];
  return hops.flatMap(({ gateway, via, dev }) => {
    const other = isObject(via) ? via["host"] : undefined;
    const hop = [gateway, other].find((one) => typeof one === "string");
    if (hop === undefined && dst !== "default") return [];
    return {
      destination: nameOf(dst),
      ...(typeof hop === "string" ? { gateway: nameOf(hop) } : {}),
      ...(typeof dev === "string" ? { interface: nameOf(dev) } : {}),
    };
  });
}

const ON_OTHERS = new Set(["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"]);

/** Finds the other end, or the parent. The kernel tells its number, and not in which namespace that is. */
function connect(link: Link, own: Draft, all: readonly Draft[], isWhole: boolean): void {
  const isVeth = link.kind === "veth";
  if (!isVeth && !ON_OTHERS.has(link.kind)) return;
  const ends = (link.isElsewhere ? all.filter((one) => one !== own) : [own])
    .flatMap((one) => one.interfaces.map((there) => ({ one, there })))
    .filter(({ there }) => there.index === link.linkIndex || (!link.isElsewhere && there.name === link.linkName))
    .filter(({ there }) => !isVeth || (there.kind === "veth" && (!link.isElsewhere || there.linkIndex === link.index)));
  // Parents are mostly the node's own; a number that two namespaces have says nothing else.
  const [end] = ends.length > 1 && !isVeth ? ends.filter(({ one }) => one.isHost) : ends;
  if (end !== undefined && (ends.length === 1 || !isVeth)) {
    link[isVeth ? "peer" : "parent"] = { namespace: end.one.id, interface: end.there.name };
  } else if (isVeth && ends.length === 0 && link.master !== undefined) {
    link.problems.push(
      isWhole ? "its other end is not in a known namespace" : "its other end is not in a namespace that was examined",
    );
  } else if (isVeth && ends.length > 1) {
    link.problems.push(`its other end is one of ${ends.length} interfaces`);
  }
}

/** Puts an attachment to its interface; what has none is lost. */
function assign(one: ReadAttachment, drafts: readonly Draft[]): LostAttachment[] {
  const container = nameOf(one.container ?? one.containerId);
  const owner = one.identity === undefined ? undefined : drafts.find(({ identity }) => identity === one.identity);
  if (owner !== undefined && !owner.containers.includes(container)) owner.containers.push(container);
  const link = owner?.interfaces.find(({ name }) => name === nameOf(one.ifName));
  if (link !== undefined) {
    const { addedBy } = one;
    link.attachments.push({ network: nameOf(one.network), containerId: nameOf(one.containerId), addedBy });
    const missing = one.addresses.filter((address) => !link.addresses.some((other) => isSame(address, other)));
    if (missing.length > 0 && link.addresses.length < MOST.addresses) {
      link.problems.push(`lacks ${missing.slice(0, 4).map(nameOf).join(", ")}, which ${nameOf(one.network)} gave it`);
    }
    return [];
  }
  return [
    {
      network: nameOf(one.network),
      containerId: nameOf(one.containerId),
      interface: nameOf(one.ifName),
      addresses: one.addresses.slice(0, MOST.addresses).map(nameOf),
      ...(one.container === undefined ? {} : { container }),
      problem: whyLost(one, owner),
    },
  ];
}

function whyLost({ presence, ifName }: ReadAttachment, owner: Draft | undefined): string {
  if (owner?.problems.length === 0) return `its namespace has no ${nameOf(ifName)}`;
  if (presence === "gone") return "its namespace is gone";
  return presence === "alive" ? "its namespace was not looked into" : "its namespace cannot be found";
}

/** The cache has addresses with a prefix or without. */
function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => parseIp(text.split("/")[0] ?? "")?.text);
  return a !== undefined && a === b;
}

function nameOf(text: string): string {
  return shorten(visible(text), 128);
}

/** How container IDs are shown. */
export type IdFormat = (id: string) => string;

/** What a namespace is called, in a line. */
export function titleOf({ isHost, names, containers, id }: MapNamespace, formatId: IdFormat = String): string {
  if (isHost) return "node";
  const [first = id, ...more] = [...new Set([...containers.map((one) => formatId(one)), ...names])];
  return more.length === 0 ? first : `${first} (${more.slice(0, 3).join(", ")}${more.length > 3 ? ", …" : ""})`;
}

/** What an interface is connected to, in words. */
export function connectionsOf(
  one: MapInterface,
  { namespaces }: NodeMap,
  own: MapNamespace,
  formatId?: IdFormat,
): string[] {
  const nameOfEnd = ({ namespace, interface: name }: LinkEnd): string => {
    const there = namespaces.find(({ id }) => id === namespace);
    return there === undefined || there === own ? name : `${name} in ${titleOf(there, formatId)}`;
  };
  return [
    ...(one.peer === undefined ? [] : [`to ${nameOfEnd(one.peer)}`]),
    ...(one.parent === undefined ? [] : [`on ${nameOfEnd(one.parent)}`]),
    ...(one.vlan === undefined ? [] : [`VLAN ${one.vlan}`]),
  ];
}

/** How many are not shown, in words. */
export function hiddenOf({ hidden }: NodeMap): string[] {
  return [
    ...(hidden.namespaces === 0 ? [] : [`namespaces not shown: ${hidden.namespaces}`]),
    ...(hidden.attachments === 0 ? [] : [`attachments not shown: ${hidden.attachments}`]),
  ];
}

/** The same of a namespace. */
export function hiddenIn({ hiddenInterfaces, hiddenRoutes }: MapNamespace): string[] {
  return [
    ...(hiddenInterfaces === 0 ? [] : [`interfaces not shown: ${hiddenInterfaces}`]),
    ...(hiddenRoutes === 0 ? [] : [`routes not shown: ${hiddenRoutes}`]),
  ];
}

/** A route, in words. */
export function routeText({ destination, gateway, interface: name }: MapRoute): string {
  return [
    destination,
    ...(gateway === undefined ? [] : ["via", gateway]),
    ...(name === undefined ? [] : ["dev", name]),
  ].join(" ");
}

/** An attachment that is lost, in words. */
export function lostText(
  { network, interface: name, container, containerId, addresses }: LostAttachment,
  formatId: IdFormat = String,
): string {
  return [network, name, formatId(container ?? containerId), ...addresses].join("  ");
}
