/** Which routes a node needs, and what is to be done for them. Nothing here looks at the system. */
import type { FoundNode } from "../cluster/node.ts";
import { warning, type Finding } from "../finding.ts";
import {
  byFirst,
  containsPrefix,
  outermost,
  overlaps,
  readAddress,
  readNetwork,
  readNetworkOf,
  type Prefix,
} from "./prefix.ts";

/** The routing protocol that marks cni-node's routes (`proto 75`); no other program is known to use this number. */
export const PROTOCOL = 75;

/** The networks of pods may not be wider, by family: what is wider is a part of the Internet, not of a cluster. */
const WIDEST = { "4": 8, "6": 32 } as const;

/** Networks that no pod can have. */
const NEVER = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/96",
  "::ffff:0:0/96",
  "fe80::/10",
  "ff00::/8",
].flatMap((text) => readNetworkOf(text) ?? []);

/** An address of an interface: `192.0.2.7/24` of `eth0`. */
export interface InterfaceAddress {
  ifName: string;
  /** With the length of its prefix. */
  cidr: string;
}

/** A route to the pods of a node. */
export interface Route {
  destination: string;
  gateway: string;
  ifName: string;
}

/** A route that a node needs. */
export interface NeededRoute extends Route {
  node: string;
}

/** A route in the kernel's main table. */
export interface PresentRoute {
  destination: string;
  gateway: string | undefined;
  ifName: string | undefined;
  /** cni-node has set it. */
  isOurs: boolean;
}

/** An address that must be reached as it is now: that of the API, or a name server. */
export interface OtherAddress {
  address: string;
  what: string;
}

/** The name servers in the text of a resolv.conf. */
export function nameServersIn(resolvConf: string): OtherAddress[] {
  return Array.from(resolvConf.matchAll(/^nameserver\s+([^\s%]+)/gmu), ([, address = ""]) => {
    return { address, what: "a name server in /etc/resolv.conf" };
  });
}

/** Where the node is in its network. */
export interface NodeNetwork {
  /** The name of the node, if it is known; else it is the one with an address of this host. */
  nodeName: string | undefined;
  addresses: readonly InterfaceAddress[];
  /** The networks of pods in the cluster; empty: they are not known. */
  podNetworks: readonly Prefix[];
  /** More addresses that must be reached as they are now. */
  others: readonly OtherAddress[];
  /** The routes that are there. */
  present: readonly PresentRoute[];
}

/** What is needed, and why something is not. */
export interface Needed {
  /** The Node of this host; undefined: it is not known, and then nothing is needed, nor anything to be removed. */
  own: FoundNode | undefined;
  /** All Nodes that may be it: those with an address of this host. */
  here: readonly FoundNode[];
  /** There is no other Node. */
  isAlone: boolean;
  routes: readonly NeededRoute[];
  /** The networks of pods, of this node first: what pods have their traffic from, and what they reach with their own address. */
  pods: { own: readonly string[]; others: readonly string[] };
  findings: readonly Finding[];
}

interface Link {
  ifName: string;
  address: Prefix;
  network: Prefix;
}

/** A network that a Node has for its pods, or an address that it has itself. */
interface Claim {
  node: FoundNode;
  network: Prefix;
}

/** The routes to the pods of all other nodes. */
export function neededRoutes(
  nodes: Iterable<FoundNode>,
  { nodeName, addresses, podNetworks, others, present }: NodeNetwork,
): Needed {
  const links = addresses.flatMap(linkOf);
  const all = [...nodes].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const here = all.filter((node) => (nodeName === undefined || node.name === nodeName) && isHere(node, links));
  const [own] = here;
  if (own === undefined || here.length > 1) {
    return { own: undefined, here, isAlone: false, routes: [], pods: { own: [], others: [] }, findings: [] };
  }
  const remote = all.filter((node) => node !== own);
  const findings: Finding[] = [];
  const foreign = present.flatMap((route) => foreignNetworkOf(route, podNetworks));
  const guard = new Guard(own, { links, podNetworks, others, foreign });
  // What is refused contests nothing: else one Node with a wide network would take the routes to all others.
  const claims = remote
    .flatMap((node) => claimsOf(node, findings))
    .filter((claim) => {
      const problem = guard.refusalOf(claim.network);
      if (problem !== undefined) findings.push(refused("pod-cidr-refused", claim, problem));
      return problem === undefined;
    });
  // Networks of pods hold no nodes, whatever addresses kubelets report.
  const elsewhere = podNetworks.length > 0 ? [] : remote.flatMap(addressesOf);
  const { accepted, losers } = contest(claims, elsewhere, present);
  for (const { claim, winner } of losers) {
    const { text } = winner.network;
    findings.push(
      isAddress(winner)
        ? refused("pod-cidr-refused", claim, `it contains ${text}, an address of ${subjectOf(winner.node)}`)
        : refused("pod-cidr-overlap", claim, `it overlaps ${text} of ${subjectOf(winner.node)}`),
    );
  }
  const routes = accepted.flatMap((claim) => routeOf(claim, links, findings));
  const pods = { own: own.podCidrs.flatMap(usable), others: accepted.map(({ network }) => network.text) };
  return { own, here, isAlone: remote.length === 0, routes, pods, findings };
}

/** A podCIDR of this node, unless it cannot be one. */
function usable(text: string): string[] {
  const network = readNetwork(text);
  const isUsable =
    network !== undefined &&
    network.length >= WIDEST[network.family] &&
    !NEVER.some((never) => overlaps(never, network));
  return isUsable ? [network.text] : [];
}

function linkOf({ ifName, cidr }: InterfaceAddress): Link[] {
  const address = readAddress(cidr.slice(0, cidr.indexOf("/")));
  const network = readNetworkOf(cidr);
  return address === undefined || network === undefined ? [] : [{ ifName, address, network }];
}

function isHere({ addresses }: FoundNode, links: readonly Link[]): boolean {
  return addresses.some((text) => {
    const address = readAddress(text);
    return address !== undefined && links.some((link) => overlaps(link.address, address));
  });
}

function claimsOf(node: FoundNode, findings: Finding[]): Claim[] {
  if (node.podCidrs.length === 0) {
    const message = "has no podCIDR, so there is no route to its pods";
    const hint = "the controller manager gives it one (--allocate-node-cidrs)";
    findings.push({ code: "node-without-cidr", severity: "note", path: subjectOf(node), message, hint });
  }
  return [...new Set(node.podCidrs)].flatMap((text) => {
    const network = readNetwork(text);
    if (network !== undefined) return [{ node, network }];
    findings.push(
      warning("pod-cidr-invalid", subjectOf(node), "has a podCIDR that is not a network, so it gets no route"),
    );
    return [];
  });
}

function addressesOf(node: FoundNode): Claim[] {
  return node.addresses.flatMap((text) => readAddress(text) ?? []).map((network) => ({ node, network }));
}

/** Where a route of another program leads. What is as wide as a default route is one, such as `0.0.0.0/1`. */
function foreignNetworkOf({ destination, isOurs }: PresentRoute, podNetworks: readonly Prefix[]): Prefix[] {
  const network = isOurs ? undefined : readNetwork(destination);
  if (network === undefined || network.length < WIDEST[network.family]) return [];
  // A network of pods may be a part of a wider one that routers know.
  return podNetworks.some((one) => containsPrefix(network, one)) ? [] : [network];
}

/** Networks and addresses to which no route may lead away. */
class Guard {
  readonly #podNetworks: readonly Prefix[];
  readonly #kept: readonly { network: Prefix; problem: string }[];
  /** In order, and none in another one. */
  readonly #foreign: readonly Prefix[];

  constructor(
    own: FoundNode,
    {
      links,
      podNetworks,
      others,
      foreign,
    }: Pick<NodeNetwork, "podNetworks" | "others"> & { links: readonly Link[]; foreign: readonly Prefix[] },
  ) {
    this.#podNetworks = podNetworks;
    this.#foreign = outermost(foreign);
    this.#kept = [
      ...NEVER.map((network) => ({ network, problem: "no pod can have such addresses" })),
      ...links.map(({ ifName, network }) => ({ network, problem: `this node is in ${network.text} with ${ifName}` })),
      ...own.podCidrs.flatMap((text) => {
        const network = readNetwork(text);
        return network === undefined ? [] : [{ network, problem: `this node has the podCIDR ${network.text}` }];
      }),
      ...others.flatMap(({ address, what }) => {
        const network = readAddress(address);
        return network === undefined ? [] : [{ network, problem: `it contains ${network.text}, ${what}` }];
      }),
    ];
  }

  /** Why there may be no route to a network; undefined: there may. */
  refusalOf(network: Prefix): string | undefined {
    const { family, length } = network;
    if (length < WIDEST[family]) return `it is wider than /${WIDEST[family]}`;
    if (this.#podNetworks.length > 0 && !this.#podNetworks.some((one) => containsPrefix(one, network))) {
      return "it is outside of --pod-cidrs";
    }
    const kept = this.#kept.find((one) => overlaps(one.network, network));
    if (kept !== undefined) return kept.problem;
    // A route to the same network is reported as such, and a narrower one goes before ours.
    const around = this.#foreign[indexFrom(this.#foreign, network) - 1];
    return around !== undefined && containsPrefix(around, network)
      ? `it is in ${around.text}, to which another program has set a route`
      : undefined;
  }
}

/** The index of the first of these, which are in order, that is not before a network. */
function indexFrom(sorted: readonly Prefix[], network: Prefix): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byFirst(sorted[middle] as Prefix, network) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Of claims that overlap, the first keeps its network: the one that has its route already, else that of the older Node.
 * The API server sets the time of creation, so no Node takes the traffic of an older one. An address keeps a
 * younger Node from a network around it, but takes no route that is set: a kubelet may give its Node any address.
 */
function contest(
  claims: readonly Claim[],
  addresses: readonly Claim[],
  present: readonly PresentRoute[],
): { accepted: Claim[]; losers: { claim: Claim; winner: Claim }[] } {
  const gateways = new Map(present.flatMap((one) => (one.isOurs ? [[one.destination, one.gateway]] : [])));
  const rankOf = ({ node, network }: Claim): string => {
    const gateway = gateways.get(network.text);
    const hasRoute = gateway !== undefined && node.addresses.some((text) => readAddress(text)?.text === gateway);
    return `${hasRoute ? "0" : "1"} ${node.created || "unknown"}`;
  };
  // Of the same rank, the name decides, and of the same Node the network.
  const ranked = [...claims, ...addresses].map((claim) => ({ claim, rank: rankOf(claim) }));
  ranked.sort((a, b) => compare(a.rank, b.rank) || compare(a.claim.node.name, b.claim.node.name));
  const winners = new Map<Prefix, Claim>();
  const taken: Prefix[] = [];
  const losers: { claim: Claim; winner: Claim }[] = [];
  for (const { claim } of ranked) {
    const { network } = claim;
    const index = indexFrom(taken, network);
    const over = taken.slice(Math.max(index - 1, 0), index + 1).find((one) => overlaps(one, network));
    const winner = over === undefined ? undefined : winners.get(over);
    if (winner === undefined) {
      taken.splice(index, 0, network);
      winners.set(network, claim);
    } else if (!isAddress(claim)) losers.push({ claim, winner });
  }
  const won = new Set(winners.values());
  return { accepted: claims.filter((claim) => won.has(claim)), losers };
}

function isAddress({ network }: Claim): boolean {
  return !network.text.includes("/");
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function refused(code: "pod-cidr-overlap" | "pod-cidr-refused", { node, network }: Claim, problem: string): Finding {
  return warning(
    code,
    subjectOf(node),
    `the podCIDR ${network.text} gets no route: ${problem}`,
    "look at spec.podCIDRs of the Nodes, and at the ranges of the cluster (--cluster-cidr of the controller manager)",
  );
}

function routeOf({ node, network }: Claim, links: readonly Link[], findings: Finding[]): NeededRoute[] {
  const gateways = node.addresses
    .flatMap((text) => readAddress(text) ?? [])
    .filter(({ family }) => family === network.family);
  if (gateways.length === 0) {
    const message = `is missing an IPv${network.family} InternalIP, so cni-node cannot set a route to its podCIDR ${network.text}`;
    findings.push(warning("node-address-missing", subjectOf(node), message, "give the kubelet one (--node-ip)"));
    return [];
  }
  for (const gateway of gateways) {
    if (links.some(({ address }) => overlaps(address, gateway))) continue;
    const [link] = links
      .filter((one) => overlaps(one.network, gateway))
      .toSorted((a, b) => b.network.length - a.network.length);
    if (link !== undefined) {
      return [{ destination: network.text, gateway: gateway.text, ifName: link.ifName, node: node.name }];
    }
  }
  findings.push(
    warning(
      "node-off-link",
      subjectOf(node),
      `its InternalIPs are outside the networks of this node, so cni-node cannot set a route to its podCIDR ${network.text}`,
      "routers between the nodes need these routes; else use a CNI plugin with an overlay, such as flannel",
    ),
  );
  return [];
}

function subjectOf({ name }: FoundNode): string {
  return `Node ${name}`;
}

/** What is to be done about a route. `keep`: it is right already; `leave`: it is somebody else's. */
export interface RouteStep {
  action: "add" | "replace" | "remove" | "keep" | "leave";
  route: PresentRoute | NeededRoute;
  /** The node that it leads to; undefined: that is gone. */
  node: string | undefined;
}

/** What is to be done for the routes that are needed. Routes that cni-node has not set are never changed. */
export function stepsFor(
  needed: readonly NeededRoute[],
  present: readonly PresentRoute[],
): { steps: RouteStep[]; findings: Finding[] } {
  const byDestination = Map.groupBy(present, ({ destination }) => destination);
  const findings: Finding[] = [];
  const wanted = needed.flatMap((route): RouteStep[] => {
    const there = byDestination.get(route.destination) ?? [];
    const { node } = route;
    if (there.some(({ isOurs }) => !isOurs)) {
      const message = "another program has set this route, so cni-node leaves it alone";
      const hint = `ip route show ${route.destination} shows it; if nothing needs it, remove it`;
      findings.push(warning("route-foreign", route.destination, message, hint));
      return [...there.filter(({ isOurs }) => isOurs).map(removal), { action: "leave", route, node }];
    }
    const right = there.find(({ gateway, ifName }) => gateway === route.gateway && ifName === route.ifName);
    const others = there.filter((one) => one !== right);
    if (right !== undefined) return [...others.map(removal), { action: "keep", route, node }];
    // What replaces one of several replaces the first.
    return [...others.slice(1).map(removal), { action: others.length > 0 ? "replace" : "add", route, node }];
  });
  const destinations = new Set(needed.map(({ destination }) => destination));
  const gone = present.filter(({ destination, isOurs }) => isOurs && !destinations.has(destination)).map(removal);
  return { steps: [...wanted, ...gone], findings };
}

function removal(route: PresentRoute): RouteStep {
  return { action: "remove", route, node: undefined };
}

/** The words of `ip` that do a step; undefined: nothing is to be done. */
export function ipCommandOf({ action, route }: RouteStep): string | undefined {
  if (action === "keep" || action === "leave") return undefined;
  const verb = action === "remove" ? "del" : action;
  const via = route.gateway === undefined ? [] : ["via", route.gateway];
  const dev = route.ifName === undefined ? [] : ["dev", route.ifName];
  return ["route", verb, route.destination, ...via, ...dev, "proto", String(PROTOCOL)].join(" ");
}
