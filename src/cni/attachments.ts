/** What container runtimes and Multus keep of the containers that they attached (libcni's cache, Multus' `cniDir`). */
import { join } from "node:path";

import { isAbsence } from "../errors.ts";
import { entriesIn } from "../system/entries.ts";
import { countValues } from "../system/json.ts";
import { readText } from "../system/read.ts";
import type { Steps } from "../system/turns.ts";
import { scanCache, type CachedAttachment } from "./cache.ts";
import { CniError } from "./error.ts";
import { isObject, parseIfJson } from "./json.ts";
import { kubeconfigsOf, referencesOf } from "./references.ts";
import { untrustedDirectory, type Untrusted } from "./trust.ts";

/** One network on one container, as it was remembered when it was added. */
export interface RememberedAttachment {
  containerId: string;
  /** The network namespace as the host's processes see it; undefined where it is not told. */
  netns: string | undefined;
  /** The plugins that its deletion will call. */
  plugins: string[];
  /** The kubeconfigs that they will use. */
  kubeconfigs: string[];
  /** Its caller has noted something with it: no runtime does. */
  isOurs: boolean;
}

/** What is remembered in one directory. */
export interface Remembered {
  attachments: RememberedAttachment[];
  /** Files of libcni's cache that nobody can delete by, and why not. */
  damaged: { path: string; problem: string }[];
  /** The directory of libcni's cache and files in it that others may have written, and why. */
  untrusted: Untrusted[];
  /** Directories with so many entries that not all were looked at. */
  crowded: string[];
  /** What could not be looked at, with the system's error. */
  unseen: { path: string; error: unknown }[];
}

/** A node has some hundreds. */
const MOST = 20_000;
/** The largest file of Multus that is known has a few KiB. */
const MAX_SIZE = 256 * 1024;
const MAX_VALUES = 10_000;

/**
 * Reads the attachments below a cache directory: what libcni has remembered, and one file a container as Multus writes
 * them, which tells no namespace. Pauses after each file.
 */
export function* readAttachments(directory: string): Steps<Remembered> {
  const found: Remembered = { attachments: [], damaged: [], untrusted: [], crowded: [], unseen: [] };
  const same = sharing();
  pushSome(found.untrusted, untrustedIn(directory));
  yield* within(join(directory, "results"), scanCache(directory), found, (file) => {
    if ("attachment" in file) found.attachments.push(attachmentOf(file.attachment, same));
    else if ("objection" in file) pushSome(found.untrusted, file);
    else if ("error" in file) pushSome(found.unseen, file);
    else pushSome(found.damaged, file);
  });
  yield* within(directory, entriesIn(directory), found, (entry) => {
    if (!entry.isFile()) return;
    const name = entry.name.toString();
    found.attachments.push(...multusAttachment(name, readList(join(directory, name)), same));
  });
  return found;
}

/** Undefined also where it cannot be looked at: that is said of what is in it. */
function untrustedIn(directory: string): Untrusted | undefined {
  try {
    return untrustedDirectory(directory);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return undefined;
  }
}

/** Nobody reads more. */
function pushSome<One>(some: One[], one: One | undefined): void {
  if (one !== undefined && some.length < 100) some.push(one);
}

/** Looks at what is in a directory, one after the other, as far as that can be done. */
function* within<One>(
  directory: string,
  all: Iterable<One>,
  { crowded, unseen }: Remembered,
  look: (one: One) => void,
): Steps<void> {
  let count = 0;
  try {
    for (const one of all) {
      if (++count > MOST) {
        crowded.push(directory);
        return;
      }
      look(one);
      yield;
    }
  } catch (error) {
    if (isAbsence(error)) return;
    if ((error as NodeJS.ErrnoException).errno === undefined) throw error;
    unseen.push({ path: directory, error });
  }
}

/** Of many equal texts only one is kept in memory. */
function sharing(): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    const same = known.get(text);
    if (same === undefined) known.set(text, text);
    return same ?? text;
  };
}

function readList(path: string): unknown {
  try {
    const text = readText(path, MAX_SIZE, { follow: false });
    return text.trimStart().startsWith("[") && countValues(text) <= MAX_VALUES ? parseIfJson(text) : undefined;
  } catch {
    return undefined;
  }
}

function attachmentOf(
  { containerId, netns, config, note }: CachedAttachment,
  same: (text: string) => string,
): RememberedAttachment {
  const value = countValues(config) <= MAX_VALUES ? parseIfJson(config) : undefined;
  return {
    containerId: same(containerId),
    netns: netns === "" ? undefined : netns,
    plugins: referencesOf(value).map(same),
    kubeconfigs: kubeconfigsOf(value).map(same),
    isOurs: note !== undefined,
  };
}

/** Multus keeps its delegates in a file that is named like the container. */
function multusAttachment(containerId: string, value: unknown, same: (text: string) => string): RememberedAttachment[] {
  if (!Array.isArray(value)) return [];
  const plugins = value.flatMap((delegate: unknown) => {
    if (!isObject(delegate)) return [];
    return [...referencesOf(delegate["Conf"]), ...referencesOf(delegate["ConfList"])];
  });
  const kubeconfigs = value.flatMap((delegate: unknown) => {
    return isObject(delegate) ? [delegate["Conf"], delegate["ConfList"]].flatMap(kubeconfigsOf) : [];
  });
  return [
    {
      containerId: same(containerId),
      netns: undefined,
      plugins: ["multus", ...new Set(plugins)].map(same),
      kubeconfigs: kubeconfigs.map(same),
      isOurs: false,
    },
  ];
}
