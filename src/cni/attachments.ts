/** What container runtimes and Multus keep of the containers that they attached (libcni's cache, Multus' `cniDir`). */
import { join } from "node:path";

import { readTextIfPossible } from "../system/read.ts";
import { pickAttachments, type CachedAttachment } from "./cache.ts";
import { CniError } from "./error.ts";
import { hasTooManyValues, isObject } from "./json.ts";
import { namesIn } from "./names-in.ts";
import { referencesOf } from "./references.ts";

/** One network on one container, as it was remembered when it was added. */
export interface Attachment {
  containerId: string;
  /** The network namespace as the host's processes see it; undefined where it is not told. */
  netns: string | undefined;
  /** The plugins that its deletion will call. */
  plugins: string[];
}

/** So many files of Multus are read. */
const MAX_FILES = 20_000;
/** So large each may be, in bytes: it has the configurations of the delegates. */
const MAX_SIZE = 1024 * 1024;

/**
 * Reads the attachments below a cache directory: what libcni has remembered, and one file a container as Multus writes
 * them, which tells no namespace. What cannot be read is left out: nobody can be asked to delete by it either. What
 * others may have written is not: it keeps plugins, and nothing is done by it.
 */
export function readAttachments(directory: string): Attachment[] {
  const delegated = filesIn(directory).flatMap((name) => multusAttachment(name, readJson(join(directory, name))));
  return [...cachedAttachments(directory), ...delegated];
}

function filesIn(directory: string): string[] {
  try {
    return namesIn(directory, MAX_FILES, (entry) => entry.isFile()) ?? [];
  } catch {
    return [];
  }
}

function readJson(path: string): unknown {
  return parse(readTextIfPossible(path, MAX_SIZE) ?? "");
}

function cachedAttachments(directory: string): Attachment[] {
  try {
    return pickAttachments(directory, attachmentOf, { trustAll: true });
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return [];
  }
}

function attachmentOf({ containerId, netns, config }: CachedAttachment): Attachment {
  return { containerId, netns: netns === "" ? undefined : netns, plugins: referencesOf(parse(config)) };
}

/** Multus keeps its delegates in a file that is named like the container. */
function multusAttachment(containerId: string, value: unknown): Attachment[] {
  if (!Array.isArray(value)) return [];
  const plugins = value.flatMap((delegate: unknown) => {
    if (!isObject(delegate)) return [];
    return [...referencesOf(delegate["Conf"]), ...referencesOf(delegate["ConfList"])];
  });
  return [{ containerId, netns: undefined, plugins: ["multus", ...new Set(plugins)] }];
}

function parse(json: string): unknown {
  if (hasTooManyValues(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
