/** Ranges of addresses. */
import { parseCidr, parseIp } from "../cni/ip.ts";

/** An address or a network. */
export interface Prefix {
  /** In its canonical form: `10.244.3.0/24`, `fd00::/64`; an address has no length in it. */
  text: string;
  family: "4" | "6";
  length: number;
  /** Its first and last address, as numbers. */
  first: bigint;
  last: bigint;
}

/** Reads an address; undefined: it is none. */
export function readAddress(text: string): Prefix | undefined {
  const address = parseIp(text);
  if (address === undefined) return undefined;
  const first = numberOf(address.text);
  return { text: address.text, family: address.version, length: bitsOf(address.version), first, last: first };
}

/** Reads a network. @returns undefined: it is none, or has bits of a host. */
export function readNetwork(text: string): Prefix | undefined {
  const around = readNetworkOf(text);
  return around !== undefined && numberOf(text.slice(0, text.indexOf("/"))) === around.first ? around : undefined;
}

/** The network of an address with the length of its prefix: of `10.244.3.7/24` the network `10.244.3.0/24`. */
export function readNetworkOf(text: string): Prefix | undefined {
  const cidr = parseCidr(text);
  // An address of IPv4 in the form of IPv6 is one that the kernel does not take for it.
  if (cidr === undefined || text.includes(":") !== (cidr.version === "6")) return undefined;
  const [address = "", digits] = cidr.text.split("/");
  const length = Number(digits);
  const free = BigInt(bitsOf(cidr.version) - length);
  const first = (numberOf(address) >> free) << free;
  const last = first + (1n << free) - 1n;
  return { text: `${textOf(first, cidr.version)}/${length}`, family: cidr.version, length, first, last };
}

/** Have they an address in common? */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Has the first all addresses of the second? */
export function containsPrefix(a: Prefix, b: Prefix): boolean {
  return a.family === b.family && a.first <= b.first && b.last <= a.last;
}

/** The order of networks by their first address, the wider one first. */
export function byFirst(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1;
  return a.first < b.first ? -1 : a.first > b.first ? 1 : b.length === a.length ? 0 : a.length - b.length;
}

/** The networks that are in no other one, in order. */
export function outermost(networks: readonly Prefix[]): Prefix[] {
  const found: Prefix[] = [];
  for (const network of networks.toSorted(byFirst)) {
    const last = found.at(-1);
    if (last === undefined || !overlaps(last, network)) found.push(network);
  }
  return found;
}

/** As few networks as have the same addresses together. */
export function merged(networks: readonly Prefix[]): Prefix[] {
  const found: Prefix[] = [];
  for (const network of networks.toSorted(byFirst)) {
    const last = found.at(-1);
    if (last !== undefined && overlaps(last, network)) continue;
    found.push(network);
    for (let both = parentOf(found); both !== undefined; both = parentOf(found)) found.splice(-2, 2, both);
  }
  return found;
}

/** The network that the last two are the halves of. */
function parentOf(networks: readonly Prefix[]): Prefix | undefined {
  const [low, high] = networks.slice(-2);
  if (high === undefined || low?.length !== high.length || low.last + 1n !== high.first) return undefined;
  const parent = readNetworkOf(`${low.text.replace(/\/.*/u, "")}/${low.length - 1}`);
  return parent?.first === low.first ? parent : undefined;
}

function bitsOf(family: "4" | "6"): number {
  return family === "4" ? 32 : 128;
}

function numberOf(address: string): bigint {
  if (!address.includes(":")) {
    return address.split(".").reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n);
  }
  const canonical = parseIp(address)?.text ?? "::";
  const [head = "", tail] = canonical.split("::");
  const [before, after] = [groupsOf(head), groupsOf(tail ?? "")];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return [...before, ...zeros, ...after].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function groupsOf(text: string): string[] {
  return text === "" ? [] : text.split(":");
}

function textOf(address: bigint, family: "4" | "6"): string {
  const [count, width] = family === "4" ? [4, 8] : [8, 16];
  const parts = Array.from({ length: count }, (_, index) => {
    return (address >> BigInt((count - 1 - index) * width)) & ((1n << BigInt(width)) - 1n);
  });
  if (family === "4") return parts.join(".");
  return parseIp(parts.map((part) => part.toString(16)).join(":"))?.text ?? "";
}
