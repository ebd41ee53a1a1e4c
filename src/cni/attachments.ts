/** What container runtimes and Multus keep of the containers that they attached (libcni's cache, Multus' `cniDir`). */
import * as fs from "node:fs";
import { join } from "node:path";

import { listAttachments, type CachedAttachment } from "./cache.ts";
import { CniError } from "./error.ts";
import { isObject } from "./json.ts";
import { referencesOf } from "./references.ts";

/** One network on one container, as it was remembered when it was added. */
export interface Attachment {
  containerId: string;
  /** The network namespace as the host's processes see it; undefined where it is not told. */
  netns: string | undefined;
  /** The plugins that its deletion will call. */
  plugins: string[];
}

/**
 * Reads the attachments below a cache directory: what libcni has remembered, and one file a container as Multus writes
 * them, which tells no namespace. What cannot be read is left out: nobody can be asked to delete by it either.
 */
export function readAttachments(directory: string): Attachment[] {
  const delegated = entries(directory).flatMap((name) => multusAttachment(name, readJson(join(directory, name))));
  return [...cachedAttachments(directory), ...delegated];
}

function entries(directory: string): string[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? entry.name : []));
  } catch {
    return [];
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(fs.readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function cachedAttachments(directory: string): Attachment[] {
  try {
    return listAttachments(directory).map(attachmentOf);
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
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
