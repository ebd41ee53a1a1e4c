/** Who still needs a plugin that is to be removed: configurations, and containers that were attached with it. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { readAttachments, type Attachment } from "../cni/attachments.ts";
import { isConfigName } from "../cni/config.ts";
import { referencesOf } from "../cni/references.ts";
import { isSystemError, systemFailure } from "../errors.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";

/** Where attachments are remembered, as the host's processes see it: by container runtimes and by Multus. */
const CACHES = ["/var/lib/cni", "/var/lib/cni/multus"];

/** Why a plugin stays. */
export interface Need {
  reason: string;
  /** It goes by itself: containers end. */
  passing: boolean;
}

/** What a plugin's removal is decided upon. */
export interface Needs {
  /** Why this plugin is still needed; undefined: it is not, as far as can be seen. */
  of(plugin: string): Need | undefined;
  /** What could not be looked at, a sentence each. */
  unseen: string[];
}

/**
 * Looks at what needs plugins.
 *
 * @param configs the configurations that stay or will be there, by file name; undefined: they cannot be seen.
 * @param hostRoot where the node's file system is.
 */
export function lookAtNeeds(configs: ReadonlyMap<string, string> | undefined, hostRoot: string): Needs {
  const values = Array.from(configs ?? [], ([file, text]) => ({ file, text, value: parse(text) }));
  const { living, directories } = lookAtAttachments(configs, hostRoot);
  return {
    of(plugin) {
      if (plugin === "loopback") return { reason: "container runtimes need it for every pod", passing: false };
      const naming = values.find((config) => names(config, plugin))?.file;
      if (naming !== undefined) return { reason: `${naming} names it`, passing: false };
      const users = new Set(
        living.filter(({ plugins }) => plugins.includes(plugin)).map(({ containerId }) => containerId),
      );
      if (users.size === 0) return undefined;
      const what = users.size === 1 ? "a container that was attached" : `${users.size} containers that were attached`;
      return { reason: `${what} with it may still be there`, passing: true };
    },
    unseen: [
      ...(configs === undefined ? ["whether a configuration still names them: net.d is not mounted"] : []),
      ...(directories.length > 0 || hostRoot === "/"
        ? []
        : [`whether containers still need them: ${join(hostRoot, "var/lib/cni")} is not there`]),
    ],
  };
}

/** The containers that were attached, as far as they are remembered. */
export interface Attachments {
  /** Those that may still be there. */
  living: Attachment[];
  /** Those that are surely gone, and that nobody has deleted. */
  gone: Attachment[];
  /** Where they are remembered, of what can be seen. */
  directories: string[];
}

/**
 * Looks at the containers that were attached.
 *
 * @param configs by file name: Multus says in its configuration where it remembers its own.
 * @param hostRoot where the node's file system is.
 */
export function lookAtAttachments(configs: ReadonlyMap<string, string> | undefined, hostRoot: string): Attachments {
  const caches = [...CACHES, ...Array.from(configs?.values() ?? [], parse).flatMap(cacheOf)];
  const directories = [...new Set(caches)].map((path) => join(hostRoot, path)).filter((path) => fs.existsSync(path));
  const attachments = directories.flatMap(readAttachments);
  const { living = [], gone = [] } = Object.groupBy(attachments, (one) =>
    isGone(one, attachments, hostRoot) ? "gone" : "living",
  );
  return { living, gone, directories };
}

/** What cannot be read may name it, if it has the word. */
function names({ text, value }: { text: string; value: unknown }, plugin: string): boolean {
  return value === undefined ? text.includes(`"${plugin}"`) : referencesOf(value).includes(plugin);
}

/** Multus' `cniDir`, at the top or in a plugin of a list. */
function cacheOf(value: unknown): string[] {
  const { cniDir, plugins } = (value ?? {}) as { cniDir?: unknown; plugins?: unknown };
  const nested = Array.isArray(plugins) ? plugins.flatMap(cacheOf) : [];
  return typeof cniDir === "string" && cniDir.startsWith("/") ? [cniDir, ...nested] : nested;
}

/** Only what is surely gone counts as gone. */
function isGone({ containerId, netns }: Attachment, all: readonly Attachment[], hostRoot: string): boolean {
  if (netns !== undefined) return isNamespaceGone(netns, hostRoot);
  const known = all.filter((other) => other.containerId === containerId).flatMap((other) => other.netns ?? []);
  return known.length > 0 && known.every((path) => isNamespaceGone(path, hostRoot));
}

/** A namespace is gone where the directory that would hold it can be seen, and does not. */
function isNamespaceGone(netns: string, hostRoot: string): boolean {
  const process = /^\/proc\/(\d+)\//u.exec(netns)?.[1];
  if (process !== undefined) {
    return fs.existsSync(join(hostRoot, "proc/1")) && !fs.existsSync(join(hostRoot, "proc", process));
  }
  const path = join(hostRoot, netns.replace(/^\/var\/run\//u, isLink(join(hostRoot, "var/run")) ? "/run/" : "$&"));
  return fs.existsSync(dirname(path)) && !fs.existsSync(path);
}

/** On most hosts /var/run is a link to /run, which from here would lead to our own. */
function isLink(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? true;
}

/**
 * The configurations of a directory as they will be: by file name, those of the networks' own directories as well.
 *
 * @throws Failure when a directory cannot be listed.
 */
export function configsAfter(
  directory: string,
  written: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): Map<string, string> {
  const left = configNames(directory).filter((name) => !removed.has(name));
  const texts = left.map((name) => [name, readTextIfPossible(join(directory, name), SIZE_LIMITS.config)] as const);
  const own = Array.from(written).filter(([name]) => isConfigName(name));
  return new Map([...texts.filter((entry): entry is [string, string] => entry[1] !== undefined), ...own]);
}

function configNames(directory: string): string[] {
  const entries = entriesOf(directory);
  const dropIns = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .flatMap((entry) => entriesOf(join(directory, entry.name)).map(({ name }) => join(entry.name, name)))
    .filter((name) => name.endsWith(".conf"));
  return [...entries.map(({ name }) => name).filter(isConfigName), ...dropIns];
}

function entriesOf(directory: string): fs.Dirent[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return [];
    throw systemFailure(directory, "cannot be listed", error);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
