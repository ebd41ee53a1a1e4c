/** Which attachments are ours, and whether what they were added to is still there. */
import * as fs from "node:fs";

import type { CachedAttachment } from "../cni/cache.ts";
import type { Result } from "../cni/result.ts";
import { isSystemError } from "../errors.ts";
import { readLinkIfPossible, readText, SIZE_LIMITS } from "../system/read.ts";
import { hardwareIn, identityOf, identityOfHost, sinceWhen } from "./namespace.ts";
import { pathHere, type Host } from "../node/host.ts";
import type { NetworkTarget } from "./target.ts";

/** What is remembered with an attachment that we have added. */
export interface Mark {
  /** TARGET as it was given. */
  target: string;
  /** The kernel's number of the network namespace. */
  identity: string;
  /** What tells it from a later one of the same number behind the same path. */
  since: string;
  /** The boot that the number is of. */
  boot: string;
}

/** Is a network namespace there? Unknown: nothing that can be seen says so. */
export type Presence = "alive" | "gone" | "unknown";

/** What is said of an attachment that is not surely gone. */
export const PRESENCES: Readonly<Record<Exclude<Presence, "gone">, string>> = {
  alive: "its network namespace is there",
  unknown: "it cannot be known whether its network namespace is gone",
};

export function markOf({ text, netns }: NetworkTarget, identity: string, host: Host): Mark {
  return { target: text, identity, since: sinceWhen(pathHere(host, netns)) ?? "", boot: bootId() };
}

/** Undefined: others have added it. */
export function readMark({ note }: CachedAttachment): Mark | undefined {
  const { target, identity, since, boot } = (note ?? {}) as Partial<Record<keyof Mark, unknown>>;
  if (typeof target !== "string" || typeof identity !== "string") return undefined;
  if (typeof since !== "string" || typeof boot !== "string") return undefined;
  return { target, identity, since, boot };
}

/** Where the network namespace of an attachment was; libcni before 1.1 tells it in the result only. Empty: nowhere. */
export function netnsOf({ netns, result }: CachedAttachment): string {
  const { interfaces = [] } = (result ?? {}) as Partial<Result>;
  return netns || (interfaces.find(({ sandbox }) => sandbox !== undefined)?.sandbox ?? "");
}

/**
 * Is the namespace of an attachment there? Only of those that we have added it can be known that it is not: an equal
 * path may lead to another namespace by now, and one without a path may be held by processes.
 *
 * @param there the namespaces that are there; where several are asked about, they are looked for once.
 */
export async function findPresence(
  attachment: CachedAttachment,
  host: Host,
  there: () => Namespaces = lookForNamespaces,
): Promise<Presence> {
  if (isReachable(attachment, host)) return "alive";
  const mark = readMark(attachment);
  if (mark === undefined) return "unknown";
  if (mark.boot !== bootId()) return "gone";
  const { paths, isWhole } = there();
  const path = paths.get(mark.identity);
  if (path !== undefined) return (await hasInterface(path, attachment)) === false ? "gone" : "alive";
  return isWhole ? "gone" : "unknown";
}

/** An attachment with no more than what `findPresence` asks for: a cache may be large. */
export function abridge(attachment: CachedAttachment): CachedAttachment {
  const { ifName, result } = attachment;
  const { interfaces = [] } = (result ?? {}) as Partial<Result>;
  const own = interfaces.filter(({ name, sandbox }) => name === ifName && sandbox !== undefined).slice(0, 1);
  const brief = { netns: netnsOf(attachment), config: "", args: [], capabilityArgs: {} };
  return { ...attachment, ...brief, result: result && { cniVersion: result.cniVersion, interfaces: own } };
}

/**
 * A path to the network namespace that an attachment was added to; undefined: there is none that surely is the same.
 * The one that was given need not lead there any more: its process has ended, and others are in the namespace.
 *
 * @param pathTo finds a namespace by its number.
 */
export async function presentPath(
  attachment: CachedAttachment,
  host: Host,
  pathTo = (identity: string): string | undefined => lookForNamespaces().paths.get(identity),
): Promise<string | undefined> {
  if (isReachable(attachment, host)) return netnsOf(attachment);
  const mark = readMark(attachment);
  if (mark === undefined || mark.boot !== bootId()) return undefined;
  const path = pathTo(mark.identity);
  return path !== undefined && (await hasInterface(path, attachment)) === true ? path : undefined;
}

/** The same, if a process is in it: where no more is asked, not all that processes hold open has to be looked at. */
export async function inhabitedPath(attachment: CachedAttachment, host: Host): Promise<string | undefined> {
  return presentPath(attachment, host, (identity) => {
    const pids = fs.readdirSync("/proc").filter((name) => /^\d+$/u.test(name));
    return pids.map((pid) => `/proc/${pid}/ns/net`).find((one) => numberIn(readLinkIfPossible(one) ?? "") === identity);
  });
}

/**
 * Does the path of an attachment lead to the namespace that it was added to? Of others' attachments: to any but the
 * host's, which is not a container's.
 */
export function isReachable(attachment: CachedAttachment, host: Host): boolean {
  const mark = readMark(attachment);
  const netns = netnsOf(attachment);
  const path = pathHere(host, netns);
  const present = netns === "" ? undefined : identityOf(path);
  if (present === undefined || present === identityOfHost(host)) return false;
  if (mark === undefined) return true;
  return mark.boot === bootId() && mark.identity === present && mark.since === sinceWhen(path);
}

/**
 * Another namespace may have got the number of one that is gone: it does not have the interface with the hardware
 * address that the result tells. Undefined where that cannot be told.
 */
async function hasInterface(path: string, { ifName, result }: CachedAttachment): Promise<boolean | undefined> {
  const { interfaces = [] } = (result ?? {}) as Partial<Result>;
  const mac = interfaces.find(({ name, sandbox }) => name === ifName && sandbox !== undefined)?.mac;
  const hardware = mac === undefined ? undefined : await hardwareIn(path);
  return hardware === undefined ? undefined : hardware.get(ifName)?.toLowerCase() === mac?.toLowerCase();
}

/** The network namespaces that processes are in, hold open or have mounted. */
export interface Namespaces {
  /** By their numbers, a path to each. */
  paths: ReadonlyMap<string, string>;
  /** Could all processes be looked at? */
  isWhole: boolean;
}

/** A namespace lives as long as a thread is in it, a process has it open, or it is mounted somewhere. */
export function lookForNamespaces(): Namespaces {
  const paths = new Map<string, string>();
  let isWhole = true;
  for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/u.test(name))) {
    try {
      for (const [identity, path] of namespacesOf(`/proc/${pid}`)) paths.set(identity, path);
    } catch (error) {
      isWhole &&= hasEnded(error);
    }
  }
  return { paths, isWhole };
}

/** How a process has namespaces, by their numbers. Throws when that may not be known. */
function* namespacesOf(process: string): Generator<[identity: string, path: string]> {
  // A thread may be in another one than its process, and outlive the first one, which stands for the process.
  for (const id of fs.readdirSync(`${process}/task`)) {
    const path = `${process}/task/${id}/ns/net`;
    const identity = numberIn(readLinkOfThread(path));
    if (identity !== undefined) yield [identity, path];
  }
  for (const line of readText(`${process}/mountinfo`, SIZE_LIMITS.proc).split("\n")) {
    const [, , , root = "", mountPoint = ""] = line.split(" ");
    const identity = numberIn(root);
    if (identity !== undefined) yield [identity, `${process}/root${mountPoint}`];
  }
  for (const name of fs.readdirSync(`${process}/fd`)) {
    const path = `${process}/fd/${name}`;
    const link = readLinkIfPossible(path) ?? "";
    // What was opened by a path that is not mounted any more is called "/".
    const identity = link === "/" ? identityOf(path) : numberIn(link);
    if (identity !== undefined) yield [identity, path];
  }
}

/** The number of the network namespace that a link of a process leads to; undefined: it leads elsewhere. */
function numberIn(link: string): string | undefined {
  return /^net:\[(\d+)\]$/u.exec(link)?.[1];
}

/** Empty when it has ended. */
function readLinkOfThread(path: string): string {
  try {
    return fs.readlinkSync(path);
  } catch (error) {
    if (hasEnded(error)) return "";
    throw error;
  }
}

/** Meanwhile, or before, and it is not waited for. */
function hasEnded(error: unknown): boolean {
  return isSystemError(error, "ENOENT", "ESRCH", "EINVAL");
}

function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id", SIZE_LIMITS.proc).trim();
}
