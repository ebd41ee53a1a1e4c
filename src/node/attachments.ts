/** The containers that were attached to networks, as runtimes and Multus remember them on a node. */
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";

import { readAttachments, type RememberedAttachment, type Remembered } from "../cni/attachments.ts";
import { isObject, parseIfJson } from "../cni/json.ts";
import { isAbsence, isSystemError } from "../errors.ts";
import { hostPath, seenBelow } from "../system/below.ts";
import type { Steps } from "../system/turns.ts";

/** Where attachments are remembered, as the host's processes see it: by container runtimes and by Multus. */
const CACHES = ["/var/lib/cni", "/var/lib/cni/multus"].map(hostPath);

/** The containers that were attached, as far as they are remembered; paths are the node's. */
export interface Attachments extends Omit<Remembered, "attachments"> {
  /** Those that may still be there. */
  living: RememberedAttachment[];
  /** Those that are surely gone, and that nobody has deleted. */
  gone: RememberedAttachment[];
  /** Where they are remembered, of what can be seen. */
  directories: string[];
}

/** More places than these no configuration of a node names. */
const MOST_CACHES = 16;

/**
 * Looks at the containers that were attached.
 *
 * @param configs the texts of configurations: Multus says in its own where it remembers its attachments.
 * @param hostRoot where the node's file system is.
 */
export function* lookAtAttachments(configs: Iterable<string>, hostRoot: string): Steps<Attachments> {
  const named = Array.from(configs, (text) => cacheOf(parseIfJson(text)).map(hostPath)).flat();
  const places = [...new Set([...CACHES, ...named])];
  const found: Remembered = {
    attachments: [],
    damaged: [],
    untrusted: [],
    crowded: places.slice(MOST_CACHES),
    unseen: [],
  };
  const directories: string[] = [];
  for (const place of places.slice(0, MOST_CACHES)) {
    const directory = seenBelow(hostRoot, place);
    if (directory === undefined || !mayBeThere(directory)) continue;
    directories.push(place);
    const { attachments, damaged, untrusted, crowded, unseen } = yield* readAttachments(directory);
    const onNode = (path: string): string => join(place, relative(directory, path));
    for (const attachment of attachments) found.attachments.push(attachment);
    found.damaged.push(...damaged.map(({ path, problem }) => ({ path: onNode(path), problem })));
    found.untrusted.push(...untrusted.map(({ path, objection }) => ({ path: onNode(path), objection })));
    found.crowded.push(...crowded.map(onNode));
    found.unseen.push(...unseen.map(({ path, error }) => ({ path: onNode(path), error })));
  }
  const { attachments, ...rest } = found;
  const namespaces = new Namespaces(attachments, hostRoot);
  const [living, gone]: [RememberedAttachment[], RememberedAttachment[]] = [[], []];
  for (const attachment of attachments) {
    (namespaces.isGone(attachment) ? gone : living).push(attachment);
    yield;
  }
  return { living, gone, directories, ...rest };
}

function mayBeThere(path: string): boolean {
  try {
    fs.statSync(path);
    return true;
  } catch (error) {
    return !isAbsence(error);
  }
}

/** Multus' `cniDir`, at the top or in a plugin of a list. */
function cacheOf(value: unknown): string[] {
  if (!isObject(value)) return [];
  const { cniDir, plugins } = value;
  const nested = Array.isArray(plugins) ? plugins.flatMap(cacheOf) : [];
  return typeof cniDir === "string" && cniDir.startsWith("/") ? [cniDir, ...nested] : nested;
}

/** The network namespaces of attachments. Only what is surely gone counts as gone. */
class Namespaces {
  readonly #hostRoot: string;
  readonly #byContainer: ReadonlyMap<string, string[]>;
  readonly #known = new Map<string, boolean>();

  constructor(attachments: readonly RememberedAttachment[], hostRoot: string) {
    this.#hostRoot = hostRoot;
    const byContainer = new Map<string, string[]>();
    for (const { containerId, netns } of attachments) {
      if (netns === undefined) continue;
      const others = byContainer.get(containerId);
      if (others === undefined) byContainer.set(containerId, [netns]);
      else others.push(netns);
    }
    this.#byContainer = byContainer;
  }

  isGone({ containerId, netns }: RememberedAttachment): boolean {
    if (netns !== undefined) return this.#lacks(netns);
    const known = this.#byContainer.get(containerId) ?? [];
    return known.length > 0 && known.every((path) => this.#lacks(path));
  }

  #lacks(netns: string): boolean {
    const known = this.#known.get(netns) ?? isNamespaceGone(netns, this.#hostRoot);
    this.#known.set(netns, known);
    return known;
  }
}

/** A namespace is gone where the directory that would hold it can be seen, and does not. */
export function isNamespaceGone(netns: string, hostRoot: string): boolean {
  const process = /^\/proc\/(\d+)\//u.exec(netns)?.[1];
  if (process !== undefined) {
    return fs.existsSync(join(hostRoot, "proc/1")) && isAbsent(join(hostRoot, "proc", process));
  }
  const path = seenBelow(hostRoot, hostPath(netns));
  return path !== undefined && fs.existsSync(dirname(path)) && isAbsent(path);
}

function isAbsent(path: string): boolean {
  try {
    fs.lstatSync(path);
    return false;
  } catch (error) {
    return isSystemError(error, "ENOENT");
  }
}
