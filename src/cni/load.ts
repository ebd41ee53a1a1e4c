/** Reads network configurations from a directory. */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, reasonOf, systemFailure, isExhaustion } from "../errors.ts";
import { isConfigName, isListName, parseNetworkList, type NetworkList } from "./config.ts";
import { firstEntriesIn, type DirectoryEntry as Found } from "../system/entries.ts";
import { countValues } from "../system/json.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import {
  configFiles,
  loadFile,
  type DirectoryListing,
  type ListingEntry,
  type Loaded,
  type Unreadable,
} from "./listing.ts";
import { selectByName } from "./selection.ts";

/** A configuration has a few KiB. What is larger is not read: it would fill the memory. */
export const MAX_SIZE = SIZE_LIMITS.config;

/** A configuration has some dozens. */
const MAX_VALUES = 5000;

/** So many names of a directory are looked at: of those that runtimes read, and of others. */
const MAX_NAMES = 2000;

/** What may be read of one directory and those in it before the rest is left: it would fill the memory. */
interface Budget {
  bytes: number;
  files: number;
  values: number;
}

/**
 * Reads all of a directory that decides which network a runtime takes. One that does not exist is empty.
 *
 * @param changes texts of files that will be there, by name; `undefined`: the file will be gone.
 * @throws Failure when the directory cannot be read; `directory-too-large`.
 */
export function readDirectoryListing(
  directory: string,
  changes: ReadonlyMap<string, string | undefined> = new Map(),
): DirectoryListing {
  const entries = new Map<string, ListingEntry>();
  const budget: Budget = { bytes: 4 * MAX_SIZE, files: MAX_NAMES, values: 4 * MAX_VALUES };
  let isCut = false;
  try {
    isCut = readEntries(directory, isConfigName, entries, budget);
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) {
      throw systemFailure(directory, "the network configurations cannot be read", error);
    }
  }
  for (const [name, text] of changes) {
    if (text === undefined) entries.delete(name);
    else entries.set(name, isConfigName(name) ? entryOf(text) : { type: "other" });
  }
  const dropIns = new Map<string, Map<string, ListingEntry> | Unreadable>();
  for (const name of networksWithDropIns(entries)) {
    try {
      const found = new Map<string, ListingEntry>();
      isCut = readEntries(join(directory, name), (file) => file.endsWith(".conf"), found, budget) || isCut;
      dropIns.set(name, found);
    } catch (error) {
      if (isExhaustion(error)) throw systemFailure(directory, "the network configurations cannot be read", error);
      if (!isSystemError(error, "ENOENT")) dropIns.set(name, cannotBeRead(error));
    }
  }
  return { entries, dropIns, ...(isCut ? { isCut } : {}) };
}

/**
 * Loads a network by its name, as libcni's `LoadNetworkConf` does for cnitool: the first list of that name, else the
 * first single.
 *
 * @throws Failure `network-missing`, `config-invalid` when a file that comes before it cannot be loaded.
 */
export function loadNetwork(directory: string, name: string): NetworkList {
  const selected = selectByName(readDirectoryListing(directory), name);
  if (selected !== undefined && "network" in selected) return selected.network.list;
  const isThere = fs.existsSync(directory);
  throw selected === undefined
    ? new Failure({
        code: "network-missing",
        subject: directory,
        problem: `there is no ${isThere ? "" : "such directory, and no "}network configuration with the name ${JSON.stringify(name)}`,
        hint: isThere
          ? "the name of a network is the key name in its configuration, not the name of the file"
          : "name the directory with --config-dir or NETCONFPATH, or the file with --file",
      })
    : new Failure({
        code: "config-invalid",
        subject: join(directory, selected.file),
        problem: selected.objection.message,
        hint: "fix it or move it away: files are read in the order of their names, and a broken one ends the search",
      });
}

/**
 * Loads every network configuration in a directory, each for itself, in the order in which runtimes read them.
 *
 * @throws Failure when the directory cannot be read.
 */
export function listNetworks(directory: string): ({ file: string } & Loaded)[] {
  const listing = readDirectoryListing(directory);
  return configFiles(listing).map((file) => ({ file, ...loadFile(file, listing) }));
}

function networksWithDropIns(entries: ReadonlyMap<string, ListingEntry>): Set<string> {
  const names = Array.from(entries, ([file, entry]) => {
    if (!isListName(file) || entry.type !== "file") return undefined;
    const parsed = parseNetworkList(file, entry.text);
    return "list" in parsed && !parsed.list.loadOnlyInlinedPlugins ? parsed.list.name : undefined;
  });
  return new Set(names.filter((name) => name !== undefined));
}

/** @returns whether there is more than was looked at. */
function readEntries(
  directory: string,
  isRead: (name: string) => boolean,
  into: Map<string, ListingEntry>,
  budget: Budget,
): boolean {
  const isConfig = ({ name }: Found): boolean => isRead(name.toString());
  const configs = firstEntriesIn(directory, MAX_NAMES, isConfig);
  const others = firstEntriesIn(directory, MAX_NAMES, (entry) => !isConfig(entry));
  for (const entry of [...configs.entries, ...others.entries]) {
    const name = entry.name.toString();
    // A name need not be text: it is opened by its bytes.
    const path = Buffer.concat([Buffer.from(`${directory}/`), entry.name]);
    if (entry.isDirectory()) into.set(name, { type: "directory" });
    else into.set(name, isRead(name) ? readWithin(budget, path) : { type: "other" });
  }
  return configs.isCut || others.isCut;
}

function readWithin(budget: Budget, path: Buffer): ListingEntry {
  if (Math.min(budget.bytes, budget.files, budget.values) <= 0) return LEFT;
  budget.files--;
  return readEntry(path, budget);
}

function entryOf(text: string): ListingEntry {
  if (Buffer.byteLength(text) > MAX_SIZE) return TOO_LARGE;
  return countValues(text) > MAX_VALUES ? TOO_MANY : { type: "file", text };
}

function readEntry(path: Buffer, budget: Budget): ListingEntry {
  try {
    const stat = fs.statSync(path);
    if (stat.isDirectory()) return unreadable("is a link to a directory");
    if (!stat.isFile()) return unreadable("is not a regular file");
    // Go, too, puts U+FFFD in the place of what is not UTF-8, and does not take a byte order mark for nothing.
    const text = readText(path, MAX_SIZE);
    budget.bytes -= text.length;
    const entry = entryOf(text);
    if (entry.type === "file") budget.values -= countValues(text);
    return entry;
  } catch (error) {
    if (isExhaustion(error)) throw error;
    if (error instanceof Failure)
      return error.code === "file-too-large" ? TOO_LARGE : unreadable("is not a regular file");
    if (isSystemError(error, "ENOENT") && fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
      return unreadable("is a link that leads nowhere");
    }
    return cannotBeRead(error);
  }
}

function cannotBeRead(error: unknown): Unreadable {
  const entry = unreadable(`cannot be read: ${reasonOf(error)}`);
  return isSystemError(error, "EACCES", "EPERM") ? { ...entry, isDenied: true } : entry;
}

function unreadable(reason: string): Unreadable {
  return { type: "unreadable", reason };
}

const TOO_LARGE = unreadable(`is larger than ${MAX_SIZE / 1024 / 1024} MiB`);
const TOO_MANY = unreadable(`has more than ${MAX_VALUES} values`);
const LEFT = unreadable("was not read: this directory has more than any node needs");
