/** Links in a node's directories: followed as the node does, not as this container would. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import type { DirectoryListing, ListingEntry } from "../cni/listing.ts";
import { MAX_SIZE } from "../cni/load.ts";
import { isAbsence } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { firstEntriesIn } from "../system/entries.ts";
import { followBelow } from "../system/below.ts";
import { readLinkIfPossible, readText } from "../system/read.ts";
import type { TargetDirectory } from "./directories.ts";

/** What the links in a directory lead to. Followed from here, they would lead elsewhere in this container. */
export interface Links {
  /** The texts of the files that they lead to, by name. */
  texts: Map<string, string>;
  /** What those lead to that cannot be seen from here, by name. */
  hidden: Map<string, string>;
  /** The names of configurations that lead nowhere. */
  nowhere: Set<string>;
  /** Those that lead nowhere, and are no configurations: what is wrong with these is said otherwise. */
  dangling: Finding[];
}

/** So many links of a directory are followed; a node has a handful. */
const MOST_LINKS = 500;
/** So much of what they lead to is read, characters. */
const MOST_TEXT = 8 * 1024 * 1024;

/** Looks at the links in a directory; none where it cannot be looked into. */
export function linksOf(directory: TargetDirectory, hostRoot: string): Links {
  const { path, shown } = directory;
  const links: Links = { texts: new Map(), hidden: new Map(), nowhere: new Set(), dangling: [] };
  let left = MOST_TEXT;
  for (const name of linkNames(path)) {
    const target = followBelow(hostRoot, join(path, name));
    const leads = readLinkIfPossible(join(path, name)) ?? "";
    const state = stateOf(target);
    if (state === "there") {
      const text = isConfigName(name) && left > 0 ? read(target) : undefined;
      if (text !== undefined) links.texts.set(name, text);
      else if (left <= 0) links.hidden.set(name, leads);
      left -= text?.length ?? 0;
    } else if (state === "unknown" || (hostRoot !== "/" && target !== undefined && !fs.existsSync(dirname(target)))) {
      links.hidden.set(name, leads);
    } else if (isConfigName(name)) {
      links.nowhere.add(name);
    } else {
      const message = `is a link that leads nowhere (${leads})`;
      const hint = "remove it, or make what it leads to";
      links.dangling.push({ code: "link-dangling", severity: "warning", path: join(shown, name), message, hint });
    }
  }
  return links;
}

/** A name that is not text cannot be followed. */
function linkNames(directory: string): string[] {
  try {
    const { entries } = firstEntriesIn(directory, MOST_LINKS, (entry) => entry.isSymbolicLink());
    return entries.map(({ name }) => name.toString()).filter((name) => !name.includes("\uFFFD"));
  } catch {
    return [];
  }
}

function stateOf(target: string | undefined): "there" | "absent" | "unknown" {
  if (target === undefined) return "absent";
  try {
    fs.statSync(target);
    return "there";
  } catch (error) {
    return isAbsence(error) ? "absent" : "unknown";
  }
}

/** Undefined: what it is, or that it is too large, is said of the file that it leads to. */
function read(path: string | undefined): string | undefined {
  try {
    return readText(path ?? "", MAX_SIZE);
  } catch {
    return undefined;
  }
}

/** The same directory with links that lead nowhere on the node, whatever they lead to in this container. */
export function withoutNowhere(listing: DirectoryListing, { nowhere }: Links): DirectoryListing {
  const entry: ListingEntry = { type: "unreadable", reason: "is a link that leads nowhere" };
  return {
    ...listing,
    entries: new Map([...listing.entries, ...Array.from(nowhere, (name) => [name, entry] as const)]),
  };
}

/** What would be an error if a link led nowhere, or a file were broken, may be none if it only cannot be seen. */
export function doubted(finding: Finding, { hidden }: Links, shown: string): Finding {
  const leads = hidden.get(basename(finding.path));
  if (leads !== undefined && finding.code === "config-invalid") {
    return {
      code: "link-unseen",
      severity: "warning",
      path: finding.path,
      message: `is a link to ${leads}, which is not mounted: what it configures cannot be seen, and runtimes may take other files than is said here`,
      hint: "mount the directory that it leads to",
    };
  }
  return hidden.size > 0 && finding.path === shown ? { ...finding, severity: "warning" } : finding;
}
