/** The addresses that host-local keeps: when the range is used up, no pod starts; those of containers that are gone stay. */
import { join } from "node:path";

import { hostPath, seenBelow } from "../system/below.ts";
import { parseCidr, parseIp } from "../cni/ip.ts";
import { isObject } from "../cni/json.ts";
import type { Network } from "../cni/listing.ts";
import { isAbsence } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { entriesIn } from "../system/entries.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import type { Steps } from "../system/turns.ts";
import { crowded, type Notes } from "./notes.ts";

/** Where host-local keeps its addresses, unless `dataDir` says otherwise. */
const STORE = "/var/lib/cni/networks";

/** So many leases of a network are read, and so many stores and range sets are looked at. */
const MOST_LEASES = 200_000;
const MOST_STORES = 100;
const MOST_SETS = 16;

/** What is known of the containers on the node. */
export interface Containers {
  living: ReadonlySet<string>;
  /** Those that are surely gone. */
  gone: ReadonlySet<string>;
  /** Those of `gone` that cni-node has attached: it can release them. */
  ours: ReadonlySet<string>;
  /** Every container is known that has an address. */
  areAll: boolean;
}

/** Whose an address is. */
type Owner = "living" | "gone" | "nobody" | "unknown";

/** Addresses of a range or of a store, by whose they are. */
type Counts = Record<Owner, number>;

/** A first and a last address, and the gateway, which is given to nobody. */
interface Range {
  version: string;
  first: bigint;
  last: bigint;
  gateway: bigint | undefined;
}

/** A directory of leases, and the range sets from which its network's containers get one address each. */
interface Store {
  path: string;
  network: string;
  sets: Range[][];
}

/**
 * Looks at the addresses of these networks. Pauses after each.
 *
 * @param hostRoot where the node's file system is.
 */
export function* lookAtAddresses(
  networks: readonly Network[],
  containers: Containers,
  hostRoot: string,
  notes: Notes,
): Steps<void> {
  const stores = new Map<string, Store>();
  for (const { list } of networks) {
    for (const store of storesOf({ plugins: list.plugins }, list.name)) {
      const known = stores.get(store.path);
      if (known !== undefined) known.sets = [...known.sets, ...store.sets].slice(0, MOST_SETS);
      else if (stores.size < MOST_STORES) stores.set(store.path, store);
    }
  }
  for (const store of stores.values()) {
    const directory = seenBelow(hostRoot, hostPath(store.path));
    if (directory === undefined) continue;
    try {
      notes.add(...(yield* lookAtStore(store, directory, containers, notes)));
    } catch (error) {
      if (!isAbsence(error)) notes.addFailure(error, store.path, (problem) => unreadable(store.path, problem));
    }
  }
}

function unreadable(path: string, problem: string): Finding {
  const message = `${problem}: host-local gives no pod an address`;
  const hint = `see what it is (ls -ld ${shellWord(path)}): host-local keeps a directory of addresses there`;
  return { code: "addresses-unreadable", severity: "error", path, message, hint };
}

/** A file for each address, with the id of its container in the first line (host-local's backend/disk). */
function* lookAtStore(store: Store, directory: string, containers: Containers, notes: Notes): Steps<Finding[]> {
  const all = new Tally();
  const sets = store.sets.map((ranges) => ({ capacity: capacityOf(ranges), ranges, tally: new Tally() }));
  let count = 0;
  for (const entry of entriesIn(directory)) {
    const name = entry.name.toString();
    const address = addressOf(name.replaceAll("_", ":"));
    if (address === undefined) continue;
    if (++count > MOST_LEASES) return [crowded(store.path)];
    const text = readLease(join(directory, name), join(store.path, name), notes);
    const id = text.split(/\r?\n/u, 1)[0]?.trim() ?? "";
    const owner = ownerOf(id, containers);
    all.add(owner, name, id);
    for (const { ranges, tally } of sets) if (ranges.some((range) => isIn(range, address))) tally.add(owner, name, id);
    yield;
  }
  const full = sets.filter(({ capacity, tally }) => BigInt(tally.total) >= capacity && tally.total > 0);
  if (full.length > 0) return full.map(({ tally }) => usedUp(store, tally, containers));
  const stale = all.counts.gone + all.counts.nobody;
  if (stale === 0) return [];
  const message = `keeps ${stale} of ${all.total} addresses for containers that are gone: when the range is used up, no pod starts (no IP addresses available in range set)`;
  const cured = cureOf(store, all, containers);
  return [{ code: "addresses-stale", severity: "warning", path: store.path, message, ...cured }];
}

/** Whatever has its name takes the address. */
function readLease(here: string, path: string, notes: Notes): string {
  try {
    return readText(here, SIZE_LIMITS.lease, { follow: false });
  } catch (error) {
    if (!isAbsence(error)) notes.addFailure(error, path, (problem) => unreadable(path, problem));
    return "";
  }
}

/** Counts addresses, and keeps an example of each owner. */
class Tally {
  readonly counts: Counts = { living: 0, gone: 0, nobody: 0, unknown: 0 };
  readonly examples: Partial<Record<Owner, { address: string; id: string }>> = {};

  add(owner: Owner, address: string, id: string): void {
    this.counts[owner]++;
    this.examples[owner] ??= { address, id };
  }

  get total(): number {
    const { living, gone, nobody, unknown } = this.counts;
    return living + gone + nobody + unknown;
  }
}

function ownerOf(id: string, { living, gone, areAll }: Containers): Owner {
  if (id === "") return "nobody";
  if (living.has(id)) return "living";
  if (gone.has(id)) return "gone";
  return areAll ? "unknown" : "living";
}

/** What is said of the addresses of an owner, with how many there are. */
const OWNERS: Record<Exclude<Owner, "living">, (count: number, id: string) => string> = {
  nobody: (count) => `${count} by empty files, which belong to no container`,
  gone: (count, id) => `${count} by containers that are gone (${id})`,
  unknown: (count, id) => `${count} by containers that no runtime remembers (${id})`,
};

function usedUp(store: Store, tally: Tally, containers: Containers): Finding {
  const { path } = store;
  const whose = (["nobody", "gone", "unknown"] as const)
    .filter((owner) => tally.counts[owner] > 0)
    .map((owner) => OWNERS[owner](tally.counts[owner], shortened(tally.examples[owner]?.id ?? "")));
  const message = `has no address left: all ${tally.total} of the range are taken`;
  const effect = "no pod starts (no IP addresses available in range set)";
  if (whose.length > 0) {
    return {
      code: "addresses-stale",
      severity: "error",
      path,
      message: `${message}, ${whose.join(", ")}: ${effect}`,
      ...cureOf(store, tally, containers),
    };
  }
  return {
    code: "addresses-used-up",
    severity: "error",
    path,
    message: `${message} by containers that may still be there: ${effect}`,
    hint: "give the network a larger range (subnet, ranges), or the node fewer pods",
  };
}

/** An id of the right length is shown as it is. */
function shortened(id: string): string {
  return id.length <= 64 ? id : `${id.slice(0, 64)}…`;
}

function cureOf(
  { path, network }: Store,
  { counts, examples }: Tally,
  { ours }: Containers,
): Pick<Finding, "hint" | "cure"> {
  const cures: string[] = [];
  if (counts.nobody > 0) {
    cures.push(`remove the empty files: find ${shellWord(path)} -type f -name '*[.:]*' -empty -delete`);
  }
  const { address } = examples.gone ?? examples.unknown ?? {};
  if (address !== undefined) {
    const file = shellWord(join(path, address));
    cures.push(
      `of containers that are surely gone remove the files, such as ${file}, whose first line is the container's ID; a runtime that deletes its sandboxes does it itself`,
    );
  }
  if (ours.size > 0) cures.push("release what cni-node has attached");
  return { hint: cures.join("; "), ...(ours.size > 0 && { cure: { kind: "network", name: network } }) };
}

/** The directories of the networks whose addresses come from host-local, those of delegates included. */
function storesOf(config: unknown, network: string): Store[] {
  if (!isObject(config)) return [];
  const { ipam, plugins, delegates } = config;
  const { type, dataDir = STORE } = (isObject(ipam) ? ipam : {}) as { type?: unknown; dataDir?: unknown };
  const isStore = type === "host-local" && typeof dataDir === "string";
  return [
    ...(isStore ? [{ path: join(dataDir || STORE, network), network, sets: setsOf(ipam) }] : []),
    ...listOf(plugins).flatMap((one) => storesOf(one, network)),
    ...listOf(delegates).flatMap((one) => storesOf(one, nameOf(one) ?? network)),
  ];
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function nameOf(value: unknown): string | undefined {
  const name = isObject(value) ? value["name"] : undefined;
  return typeof name === "string" ? name : undefined;
}

/** The range of the old form, and the sets of the new one; one that is wrong is none here: its plugin says so. */
function setsOf(ipam: unknown): Range[][] {
  const { ranges, subnet } = ipam as { ranges?: unknown; subnet?: unknown };
  const sets = [...(subnet === undefined ? [] : [[ipam]]), ...listOf(ranges).map(listOf)];
  return sets
    .map((set) => set.map(rangeOf))
    .filter((set): set is Range[] => set.length > 0 && set.every((range) => range !== undefined));
}

/** As host-local fills it in: from the second address of the subnet to the last but the broadcast; the gateway is the second. */
function rangeOf(value: unknown): Range | undefined {
  const { subnet, rangeStart, rangeEnd, gateway } = isObject(value) ? value : ({} as Record<string, unknown>);
  const cidr = typeof subnet === "string" ? parseCidr(subnet) : undefined;
  const [host = "", prefix = ""] = cidr?.text.split("/") ?? [];
  const base = addressOf(host);
  if (cidr === undefined || base === undefined) return undefined;
  const bits = cidr.version === "4" ? 32 : 128;
  const size = 1n << BigInt(bits - Number(prefix));
  const network = base.value - (base.value % size);
  const last = network + size - (cidr.version === "4" ? 2n : 1n);
  return {
    version: cidr.version,
    first: addressIn(rangeStart) ?? network + 1n,
    last: addressIn(rangeEnd) ?? last,
    gateway: addressIn(gateway) ?? network + 1n,
  };
}

function addressIn(value: unknown): bigint | undefined {
  return typeof value === "string" ? addressOf(value)?.value : undefined;
}

function addressOf(text: string): { version: string; value: bigint } | undefined {
  const address = parseIp(text);
  if (address === undefined) return undefined;
  if (address.version === "4") {
    return { version: "4", value: address.text.split(".").reduce((sum, octet) => sum * 256n + BigInt(octet), 0n) };
  }
  const [before = "", after] = address.text.split("::");
  const [head = [], tail = []] = [before, after ?? ""].map((part) => part.split(":").filter((group) => group !== ""));
  const all = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => "0"), ...tail];
  return { version: "6", value: all.reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n) };
}

function isIn({ version, first, last, gateway }: Range, address: { version: string; value: bigint }): boolean {
  const { value } = address;
  return version === address.version && value >= first && value <= last && value !== gateway;
}

function capacityOf(ranges: readonly Range[]): bigint {
  return ranges.reduce((sum, { first, last, gateway }) => {
    const isGatewayIn = gateway !== undefined && gateway >= first && gateway <= last;
    return sum + (last < first ? 0n : last - first + 1n) - (isGatewayIn ? 1n : 0n);
  }, 0n);
}
