/** Reads network configurations from a directory. */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, reasonOf, systemFailure } from "../errors.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { isExhaustion } from "./error.ts";
import { isConfigName, isListName, parseNetworkList, type NetworkList } from "./config.ts";
import { configFiles, loadFile, type DirectoryListing, type Entry, type Loaded } from "./listing.ts";
import { selectByName } from "./selection.ts";

/** A configuration has a few KiB. What is larger is not read: it would fill the memory. */
export const MAX_SIZE = SIZE_LIMITS.config;
/** So much is read of a directory in all, in bytes, and so many names. */
const MAX_TOTAL = 4 * 1024 * 1024;
const MAX_NAMES = 5000;

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
  const entries = new Map<string, Entry>();
  const read = reader();
  try {
    for (const [name, entry] of readEntries(directory, isConfigName, read)) entries.set(name, entry);
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
        readEntries(join(directory, name), (file) => file.endsWith(".conf"), read),
      );
    } catch (error) {
      if (isExhaustion(error)) throw systemFailure(directory, "the network configurations cannot be read", error);
      if (error instanceof Failure) dropIns.set(name, TOO_MANY);
      else if (!isSystemError(error, "ENOENT")) dropIns.set(name, `cannot be read: ${reasonOf(error)}`);
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

type Read = (path: Buffer) => Entry;

/** Reads files until there have been too many of them. */
function reader(): Read {
  let total = 0;
  return (path) => {
    const entry = readEntry(path);
    total += entry.type === "file" ? entry.text.length : 0;
    return total > MAX_TOTAL ? unreadable(`is not read: the files have more than ${shown(MAX_TOTAL)} in all`) : entry;
  };
}

/** In the order of their names. */
function readEntries(directory: string, isRead: (name: string) => boolean, read: Read): Map<string, Entry> {
  const found = new Map<string, Entry>();
  for (const entry of directoryEntries(directory).sort((a, b) => Buffer.compare(a.name, b.name))) {
    const name = entry.name.toString();
    if (entry.isDirectory()) found.set(name, { type: "directory" });
    else if (!isRead(name)) found.set(name, { type: "other" });
    else found.set(name, read(Buffer.concat([Buffer.from(`${directory}/`), entry.name])));
  }
  return found;
}

/** A name need not be text: it is opened by its bytes. */
function directoryEntries(directory: string): fs.Dirent<Buffer>[] {
  const found: fs.Dirent<Buffer>[] = [];
  using opened = fs.opendirSync(directory, { encoding: "buffer" as BufferEncoding });
  for (let entry = opened.readSync(); entry !== null; entry = opened.readSync()) {
    if (found.length === MAX_NAMES) throw tooManyNames(directory);
    found.push(entry as unknown as fs.Dirent<Buffer>);
  }
  return found;
}

const TOO_MANY = `has more than ${MAX_NAMES} files`;

function tooManyNames(subject: string): Failure {
  const hint = "look at who writes there; the directory of network configurations has a few files";
  return new Failure({ code: "directory-too-large", subject, problem: TOO_MANY, hint });
}

function entryOf(text: string): Entry {
  return Buffer.byteLength(text) > MAX_SIZE ? TOO_LARGE : { type: "file", text };
}

function readEntry(path: Buffer): Entry {
  try {
    // Go, too, puts U+FFFD in the place of what is no UTF-8, and does not take a byte order mark for nothing.
    return { type: "file", text: readText(path, MAX_SIZE) };
  } catch (error) {
    if (isExhaustion(error)) throw error;
    if (error instanceof Failure) return error.code === "file-too-large" ? TOO_LARGE : unreadable(whyNoFile(path));
    if (isSystemError(error, "ENOENT") && fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
      return unreadable("is a link that leads nowhere");
    }
    return unreadable(`cannot be read: ${reasonOf(error)}`);
  }
}

function whyNoFile(path: Buffer): string {
  const isDirectory = fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  return isDirectory ? "is a link to a directory" : "is no regular file";
}

function unreadable(reason: string): Entry {
  return { type: "unreadable", reason };
}

const TOO_LARGE = unreadable(`is larger than ${shown(MAX_SIZE)}`);

function shown(size: number): string {
  return `${size / 1024 / 1024} MiB`;
}
