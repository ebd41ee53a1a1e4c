/** Which attachments are ours, and whether what they were added to is still there. */
import * as fs from "node:fs";

import type { CachedAttachment } from "../cni/cache.ts";
import type { Result } from "../cni/result.ts";
import { isSystemError } from "../errors.ts";
import { hardwareIn, identityOf, sinceWhen } from "./namespace.ts";
import { seen, type Place } from "./place.ts";
import type { Target } from "./target.ts";

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

export function markOf({ text, netns }: Target, identity: string, place: Place): Mark {
  return { target: text, identity, since: sinceWhen(seen(place, netns)) ?? "", boot: bootId() };
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
 */
export async function presenceOf(attachment: CachedAttachment, place: Place): Promise<Presence> {
  const mark = readMark(attachment);
  if (isReachable(attachment, place)) return "alive";
  if (mark === undefined) return "unknown";
  if (mark.boot !== bootId()) return "gone";
  const { path, isWhole } = findNamespace(mark.identity);
  if (path !== undefined) return (await lacksInterface(path, attachment)) ? "gone" : "alive";
  return isWhole ? "gone" : "unknown";
}

/** Does the path of an attachment lead to the namespace that it was added to? Of others' attachments: to any. */
export function isReachable(attachment: CachedAttachment, place: Place): boolean {
  const mark = readMark(attachment);
  const netns = netnsOf(attachment);
  const path = seen(place, netns);
  const present = netns === "" ? undefined : identityOf(path);
  if (present === undefined || mark === undefined) return present !== undefined;
  return mark.boot === bootId() && mark.identity === present && mark.since === sinceWhen(path);
}

/**
 * Another namespace may have got the number of one that is gone: it does not have the interface with the hardware
 * address that the result tells. False where that cannot be told.
 */
async function lacksInterface(path: string, { ifName, result }: CachedAttachment): Promise<boolean> {
  const { interfaces = [] } = (result ?? {}) as Partial<Result>;
  const mac = interfaces.find(({ name, sandbox }) => name === ifName && sandbox !== undefined)?.mac;
  const hardware = mac === undefined ? undefined : await hardwareIn(path);
  return hardware !== undefined && hardware.get(ifName)?.toLowerCase() !== mac?.toLowerCase();
}

/** A namespace lives as long as a thread is in it, a process has it open, or it is mounted somewhere. */
function findNamespace(identity: string): { path?: string; isWhole: boolean } {
  let isWhole = true;
  for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/u.test(name))) {
    try {
      const path = pathOfProcess(`/proc/${pid}`, identity);
      if (path !== undefined) return { path, isWhole };
    } catch (error) {
      isWhole &&= hasEnded(error);
    }
  }
  return { isWhole };
}

/** How a process has the namespace; undefined: not at all. Throws when that may not be known. */
function pathOfProcess(process: string, identity: string): string | undefined {
  const link = `net:[${identity}]`;
  // A thread may be in another one than its process, and outlive the first one, which stands for the process.
  const threads = fs.readdirSync(`${process}/task`).map((id) => `${process}/task/${id}/ns/net`);
  const thread = threads.find((path) => readLinkOfThread(path) === link);
  if (thread !== undefined) return thread;
  const mounts = fs.readFileSync(`${process}/mountinfo`, "utf8").split("\n");
  const mountPoint = mounts.map((line) => line.split(" ")).find(([, , , root]) => root === link)?.[4];
  if (mountPoint !== undefined) return `${process}/root${mountPoint}`;
  // What was opened by a path that is not mounted any more is called "/".
  const fd = fs.readdirSync(`${process}/fd`).find((name) => {
    const path = `${process}/fd/${name}`;
    return [link, "/"].includes(readLink(path)) && identityOf(path) === identity;
  });
  return fd === undefined ? undefined : `${process}/fd/${fd}`;
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

function readLink(path: string): string {
  try {
    return fs.readlinkSync(path);
  } catch {
    return "";
  }
}

function bootId(): string {
  return fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
