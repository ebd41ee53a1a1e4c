/** Who still needs a plugin that is to be removed: configurations, and containers that were attached with it. */
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { parseIfJson } from "../cni/json.ts";
import { referencesOf } from "../cni/references.ts";
import { Failure, isAbsence, isSystemError, reasonOf, systemFailure } from "../errors.ts";
import type { RememberedAttachment } from "../cni/attachments.ts";
import { kubeconfigsOf } from "../cni/references.ts";
import { lookAtAttachments } from "../node/attachments.ts";
import { firstEntriesIn, type DirectoryEntry } from "../system/entries.ts";
import { countValues } from "../system/json.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { finish } from "../system/turns.ts";

/** Why a plugin, or a file, stays. */
export interface Need {
  reason: string;
  /** It goes by itself: containers end. */
  passing: boolean;
}

/** What a plugin's removal is decided upon. */
export interface Needs {
  /** Why this plugin is still needed; undefined: it is not, as far as can be seen. */
  of: (plugin: string) => Need | undefined;
  /** The same of a kubeconfig or the file of a token, by its path on the node. */
  ofFile: (path: string) => Need | undefined;
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
  const values = Array.from(configs ?? [], ([file, text]) => ({ file, text, value: parseIfJson(text) }));
  const attachments = finish(lookAtAttachments(configs?.values() ?? [], hostRoot));
  const { living, directories, crowded, unseen } = attachments;
  const needFor = (
    what: string,
    namesOf: (value: unknown) => readonly string[],
    usedBy: (attachment: RememberedAttachment) => readonly string[],
  ): Need | undefined => {
    const naming = values.find((config) => mayName(config, what, namesOf));
    if (naming !== undefined) {
      const how = naming.text === UNREAD ? "is too large or cannot be read, and may name it" : "names it";
      return { reason: `${naming.file} ${how}`, passing: false };
    }
    const [most] = crowded;
    if (most !== undefined)
      return { reason: `${most} is too full to see whether a container needs it`, passing: false };
    const users = new Set(living.filter((one) => usedBy(one).includes(what)).map(({ containerId }) => containerId));
    if (users.size === 0) return undefined;
    const who = users.size === 1 ? "a container that was attached" : `${users.size} containers that were attached`;
    return { reason: `${who} with it may still be there`, passing: true };
  };
  return {
    of(plugin) {
      if (plugin === "loopback") return { reason: "container runtimes need it for every pod", passing: false };
      return needFor(plugin, referencesOf, ({ plugins }) => plugins);
    },
    ofFile: (path) => needFor(path, kubeconfigsOf, ({ kubeconfigs }) => kubeconfigs),
    unseen: [
      ...(configs === undefined ? ["whether a configuration still names them: net.d is not mounted"] : []),
      ...(directories.length > 0 || hostRoot === "/"
        ? []
        : [`whether containers still need them: ${join(hostRoot, "var/lib/cni")} is not there`]),
      ...unseen.map(
        ({ path, error }) => `whether containers still need them: ${path} cannot be read: ${reasonOf(error)}`,
      ),
    ],
  };
}

/** What could not be read may name it, and what is not JSON, if it has the word. */
function mayName(
  { text, value }: { text: string; value: unknown },
  what: string,
  namesOf: (value: unknown) => readonly string[],
): boolean {
  if (text === UNREAD) return true;
  return value === undefined ? text.includes(`"${what}"`) : namesOf(value).includes(what);
}

/** Stands for the text of a configuration that is there and was not read. */
const UNREAD = "\0";

/** So many configurations are read, and so much of them together, bytes: no node has more. */
const MOST_CONFIGS = 2000;
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * The configurations of a directory as they will be: by file name, those of the networks' own directories as well. One
 * that cannot be read may name every plugin.
 *
 * @throws Failure when a directory cannot be listed.
 */
export function configsAfter(
  directory: string,
  written: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): Map<string, string> {
  const configs = new Map<string, string>();
  let bytes = 0;
  for (const name of configNames(directory)) {
    if (removed.has(name)) continue;
    const isLeft = configs.size >= MOST_CONFIGS || bytes > MOST_BYTES;
    const text = isLeft ? UNREAD : readConfig(join(directory, name));
    if (text !== undefined) configs.set(name, text);
    bytes += text?.length ?? 0;
    if (isLeft) break;
  }
  for (const [name, text] of written) if (isConfigName(name)) configs.set(name, text);
  return configs;
}

/** Undefined: nobody can read it, for it leads nowhere or is not a file. */
function readConfig(path: string): string | undefined {
  try {
    const text = readText(path, SIZE_LIMITS.config);
    return countValues(text) > MAX_VALUES ? UNREAD : text;
  } catch (error) {
    const isNone = isAbsence(error) || isSystemError(error, "ELOOP");
    return isNone || (error instanceof Failure && error.code === "not-a-file") ? undefined : UNREAD;
  }
}

/** More has no configuration, and each takes many times its own size in memory. */
const MAX_VALUES = 10_000;

/** One more of each kind than is looked at, so that the rest is noticed. */
function configNames(directory: string): string[] {
  const configs = namesIn(directory, ({ name }) => isConfigName(name.toString()));
  const networks = namesIn(directory, (entry) => entry.isDirectory() && !entry.name.toString().startsWith("."));
  const dropIns = networks.flatMap((network) => {
    const names = namesIn(join(directory, network), ({ name }) => name.toString().endsWith(".conf"));
    return names.map((name) => join(network, name));
  });
  return [...configs, ...dropIns];
}

function namesIn(directory: string, isMeant: (entry: DirectoryEntry) => boolean): string[] {
  try {
    return firstEntriesIn(directory, MOST_CONFIGS + 1, isMeant).entries.map(({ name }) => name.toString());
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return [];
    throw systemFailure(directory, "cannot be listed", error);
  }
}
