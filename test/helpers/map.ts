/** A node's network as `ip -json` prints it: two pods on a bridge, a VLAN with a macvlan on it, and what does not fit. */
import { mapOf, type NodeMap, type ReadAttachment, type ReadNamespace } from "../../src/network/map.ts";

function link(ifindex: number, ifname: string, kind: string, more: object = {}): object {
  const linkinfo = kind === "" ? {} : { linkinfo: { info_kind: kind } };
  return { ifindex, ifname, flags: ["UP"], link_type: "ether", addr_info: [], ...linkinfo, ...more };
}

function addresses(...texts: string[]): object {
  const all = texts.map((text) => text.split("/"));
  return { addr_info: all.map(([local, prefix]) => ({ local, prefixlen: Number(prefix), scope: "global" })) };
}

function pod(identity: string, name: string, peer: number, address: string): ReadNamespace {
  return {
    identity,
    names: [name],
    isHost: false,
    links: [link(2, "eth0", "veth", { link_index: peer, link_netnsid: 0, ...addresses(address) })],
    routes: [{ dst: "default", gateway: "10.244.1.1", dev: "eth0" }],
  };
}

const NAMESPACES: ReadNamespace[] = [
  {
    identity: "1",
    names: [],
    isHost: true,
    links: [
      link(2, "eth0", "", addresses("192.0.2.10/24", "2001:db8::10/64")),
      link(3, "eth0.7", "vlan", { link: "eth0", linkinfo: { info_kind: "vlan", info_data: { id: 7 } } }),
      link(4, "cni0", "bridge", addresses("10.244.1.1/24")),
      link(5, "veth1a", "veth", { master: "cni0", link_index: 2, link_netnsid: 0 }),
      link(6, "veth2b", "veth", { master: "cni0", link_index: 2, link_netnsid: 1 }),
      link(7, "veth3c", "veth", { master: "cni0", link_index: 2, link_netnsid: 2 }),
    ],
    routes: [
      { dst: "default", gateway: "192.0.2.1", dev: "eth0" },
      { dst: "10.244.2.0/24", gateway: "192.0.2.11", dev: "eth0" },
      { dst: "10.244.1.0/24", dev: "cni0", scope: "link" },
    ],
  },
  pod("2", "cni-1", 5, "10.244.1.5/24"),
  pod("3", "cni-2", 6, "10.244.1.6/24"),
  {
    identity: "4",
    names: ["plc"],
    isHost: false,
    links: [link(8, "net1", "macvlan", { link_index: 3, link_netnsid: 0, ...addresses("10.7.0.2/24") })],
    routes: [],
  },
];

function attachment(network: string, identity: string | undefined, container: string, address: string): ReadAttachment {
  return {
    network,
    containerId: `id-${container.replace("/", "-")}`,
    ifName: network === "vlan7" ? "net1" : "eth0",
    addresses: [address],
    addedBy: network === "vlan7" ? "cni-node" : "others",
    container,
    presence: identity === undefined ? "gone" : "alive",
    ...(identity === undefined ? {} : { identity }),
  };
}

const ATTACHMENTS = [
  attachment("cbr0", "2", "shop/web", "10.244.1.5"),
  attachment("cbr0", "3", "shop/db", "10.244.1.60"),
  attachment("vlan7", "4", "plc", "10.7.0.2"),
  attachment("cbr0", undefined, "shop/old", "10.244.1.9"),
];

/** The map of that node. */
export function exampleMap(): NodeMap {
  return mapOf(NAMESPACES, ATTACHMENTS);
}
