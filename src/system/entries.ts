/** Lists directories that anybody may have filled: one entry at a time, so that a bound can end it. */
import * as fs from "node:fs";

/** An entry whose name is bytes, for it need not be text. */
export type DirectoryEntry = fs.Dirent<Buffer>;

/**
 * The entries of a directory, in no order.
 *
 * @throws errors of the system as they are (`ENOENT`, `ENOTDIR`, `EACCES`).
 */
export function* entriesIn(directory: string): Generator<DirectoryEntry> {
  // What Node's types do not know: with this encoding the names are buffers.
  const encoding = "buffer" as BufferEncoding;
  const opened = fs.opendirSync(directory, { encoding, bufferSize: 256 });
  try {
    for (let entry = opened.readSync(); entry !== null; entry = opened.readSync())
      yield entry as unknown as DirectoryEntry;
  } finally {
    opened.closeSync();
  }
}

/** Of a directory with more entries than can be looked at, those that come first by the bytes of their names. */
export interface First {
  /** Sorted. */
  entries: DirectoryEntry[];
  /** There are others behind these. */
  isCut: boolean;
}

/**
 * The first entries of a directory by the bytes of their names, as runtimes sort them, without holding the others.
 *
 * @param isMeant which entries count; all if not given.
 * @throws errors of the system as they are.
 */
export function firstEntriesIn(
  directory: string,
  most: number,
  isMeant: (entry: DirectoryEntry) => boolean = () => true,
): First {
  let entries: DirectoryEntry[] = [];
  let isCut = false;
  const cut = (): void => {
    entries.sort((a, b) => Buffer.compare(a.name, b.name));
    isCut ||= entries.length > most;
    entries = entries.slice(0, most);
  };
  for (const entry of entriesIn(directory)) {
    if (!isMeant(entry)) continue;
    entries.push(entry);
    if (entries.length >= 2 * most) cut();
  }
  cut();
  return { entries, isCut };
}

/** The names of the first entries of a directory; none where it cannot be looked into. */
export function firstNamesIn(
  directory: string,
  most: number,
  isMeant: (name: string) => boolean = () => true,
): string[] {
  try {
    const { entries } = firstEntriesIn(directory, most, ({ name }) => isMeant(name.toString()));
    return entries.map(({ name }) => name.toString());
  } catch {
    return [];
  }
}
