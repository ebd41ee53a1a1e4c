/** Reads network configurations from a directory. */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, reasonOf, systemFailure } from "../errors.ts";
import { isConfigName, isListName, parseNetworkList, type NetworkList } from "./config.ts";
import { configFiles, loadFile, type DirectoryListing, type Entry, type Loaded } from "./listing.ts";
import { selectByName } from "./selection.ts";

/** A configuration has a few KiB. What is larger is not read: it would fill the memory. */
export const MAX_SIZE = 2 * 1024 * 1024;

/**
 * Reads all of a directory that decides which network a runtime takes. One that does not exist is empty.
 *
 * @param changes texts of files that will be there, by name; `undefined`: the file will be gone.
 * @throws Failure when the directory cannot be read.
 */
export function readDirectoryListing(
  directory: string,
  changes: ReadonlyMap<string, string | undefined> = new Map(),
): DirectoryListing {
  const entries = new Map<string, Entry>();
  try {
    for (const [name, entry] of readEntries(directory, isConfigName)) entries.set(name, entry);
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) {
      throw systemFailure(directory, "the network configurations cannot be read", error);
    }
  }
  for (const [name, text] of changes) {
    if (text === undefined) entries.delete(name);
    else entries.set(name, isConfigName(name) ? entryOf(text) : { type: "other" });
  }
  const dropIns = new Map<string, Map<string, Entry> | string>();
  for (const name of networksWithDropIns(entries)) {
    try {
      dropIns.set(
        name,
        readEntries(join(directory, name), (file) => file.endsWith(".conf")),
      );
    } catch (error) {
      if (!isSystemError(error, "ENOENT")) dropIns.set(name, `cannot be read: ${reasonOf(error)}`);
    }
  }
  return { entries, dropIns };
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
        hint: "mend it or move it away: files are read in the order of their names, and a broken one ends the search",
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

function networksWithDropIns(entries: ReadonlyMap<string, Entry>): Set<string> {
  const names = Array.from(entries, ([file, entry]) => {
    if (!isListName(file) || entry.type !== "file") return undefined;
    const parsed = parseNetworkList(file, entry.text);
    return "list" in parsed && !parsed.list.loadOnlyInlinedPlugins ? parsed.list.name : undefined;
  });
  return new Set(names.filter((name) => name !== undefined));
}

function readEntries(directory: string, isRead: (name: string) => boolean): Map<string, Entry> {
  // A name need not be text: it is opened by its bytes.
  const found = fs.readdirSync(directory, { withFileTypes: true, encoding: "buffer" });
  return new Map(
    found.map((entry) => {
      const name = entry.name.toString();
      if (entry.isDirectory()) return [name, { type: "directory" }];
      return [
        name,
        isRead(name) ? readEntry(Buffer.concat([Buffer.from(`${directory}/`), entry.name])) : { type: "other" },
      ];
    }),
  );
}

function entryOf(text: string): Entry {
  return Buffer.byteLength(text) > MAX_SIZE ? TOO_LARGE : { type: "file", text };
}

function readEntry(path: Buffer): Entry {
  try {
    const stat = fs.statSync(path);
    if (stat.isDirectory()) return unreadable("is a link to a directory");
    if (!stat.isFile()) return unreadable("is no regular file");
    if (stat.size > MAX_SIZE) return TOO_LARGE;
    // Go, too, puts U+FFFD in the place of what is no UTF-8, and does not take a byte order mark for nothing.
    return { type: "file", text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(fs.readFileSync(path)) };
  } catch (error) {
    if (isSystemError(error, "ENOENT") && fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
      return unreadable("is a link that leads nowhere");
    }
    return unreadable(`cannot be read: ${reasonOf(error)}`);
  }
}

function unreadable(reason: string): Entry {
  return { type: "unreadable", reason };
}

const TOO_LARGE = unreadable(`is larger than ${MAX_SIZE / 1024 / 1024} MiB`);
