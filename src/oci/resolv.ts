/** The DNS of a network's result, in resolv.conf(5) of a container. */
import * as fs from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import type { DNS } from "../cni/result.ts";
import { hostPath, isBelow, seenBelow } from "../system/below.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { Container } from "./container.ts";

const RESOLV_CONF = "/etc/resolv.conf";

/** Has a result anything for resolv.conf? */
export function hasDns({ nameservers = [], domain = "", search = [], options = [] }: DNS): boolean {
  return nameservers.length > 0 || domain !== "" || search.length > 0 || options.length > 0;
}

/** The text with what the result says in the place of its own lines of the same kind. Pure. */
export function mergeResolvConf(
  text: string,
  { nameservers = [], domain = "", search = [], options = [] }: DNS,
): string {
  const domains = search.length > 0 ? search : domain === "" ? [] : [domain];
  const replaced = new Map([
    ["nameserver", nameservers.map((address) => `nameserver ${address}`)],
    ["search", domains.length > 0 ? [`search ${domains.join(" ")}`] : []],
    ["options", options.length > 0 ? [`options ${options.join(" ")}`] : []],
  ]);
  const kept = text.split("\n").filter((line) => {
    const [word = ""] = line.trim().split(/\s/u);
    // The last one of these two counts.
    return line.trim() !== "" && (replaced.get(word === "domain" ? "search" : word) ?? []).length === 0;
  });
  return [...[...replaced.values()].flat(), ...kept].map((line) => `${line}\n`).join("");
}

/**
 * Writes it into the container's own file: what the engine has mounted there for this container, or that of its root
 * file system.
 *
 * @returns why it was not written; undefined: it was.
 */
export function writeResolvConf(container: Container, dns: DNS): string | undefined {
  if (
    Object.values(dns)
      .flat()
      .some((word) => typeof word !== "string" || !/^[^\s\0#;]+$/u.test(word))
  ) {
    return "the DNS of the result has words that resolv.conf cannot have";
  }
  const path = fileOf(container);
  if (path === undefined) return `${RESOLV_CONF} of the container is not its own`;
  // In place: it is mounted already. A link is not followed, for it would lead out of the container.
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const present = readTextIfPossible(path, SIZE_LIMITS.config) ?? "";
  const descriptor = fs.openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  try {
    const stat = fs.fstatSync(descriptor);
    if (!stat.isFile() || stat.nlink > 1) return `${path} is not a regular file with one name`;
    const text = Buffer.from(mergeResolvConf(present, dns));
    fs.writeSync(descriptor, text, 0, text.length, 0);
    fs.ftruncateSync(descriptor, text.length);
  } finally {
    fs.closeSync(descriptor);
  }
  return undefined;
}

/**
 * The file, as this process sees it; undefined: others may have the same one. Engines make it in a directory that has
 * the container's ID for a name. A root file system belongs to the container if it is in its bundle, or an overlay, which
 * writes to a layer of its own.
 */
function fileOf({ id, bundle, spec }: Container): string | undefined {
  const mounted = spec.mounts.get(RESOLV_CONF);
  if (mounted !== undefined) {
    const isOfContainer = basename(mounted) === "resolv.conf" && resolve(mounted).split("/").includes(id);
    return isOfContainer ? resolve(mounted) : undefined;
  }
  if (spec.root === undefined || spec.mounts.has("/etc")) return undefined;
  const root = fs.realpathSync(resolve(bundle, spec.root));
  if (!isBelow(root, fs.realpathSync(bundle)) && !isOverlay(root)) return undefined;
  const path = seenBelow(root, hostPath(RESOLV_CONF));
  // The image has made every link on the way, even those in its /proc: none may lead to a file of the host.
  const directory = path === undefined ? undefined : realDirectory(dirname(path));
  return directory !== undefined && isBelow(directory, root) ? join(directory, basename(path ?? "")) : undefined;
}

/** The directory without links; undefined: it is not there. */
function realDirectory(path: string): string | undefined {
  try {
    return fs.realpathSync(path);
  } catch {
    return undefined;
  }
}

/** Is an overlay mounted there that can be written to? */
function isOverlay(path: string): boolean {
  const mounts = readTextIfPossible("/proc/self/mountinfo", SIZE_LIMITS.proc) ?? "";
  const last = mounts.split("\n").findLast((line) => line.split(" ")[4] === path) ?? "";
  return / - (?:fuse\.fuse-)?overlay(?:fs)? /u.test(last) && /[ ,]upperdir=/u.test(last);
}
