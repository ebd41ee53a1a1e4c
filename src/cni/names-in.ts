import * as fs from "node:fs";

/**
 * The names in a directory, in no order. However many there are, no more than the most are held.
 *
 * @param isMeant only those.
 * @returns undefined when there are more than `most`. Errors of the system are thrown as they are.
 */
export function namesIn(
  directory: string,
  most: number,
  isMeant: (entry: fs.Dirent) => boolean = () => true,
): string[] | undefined {
  using entries = fs.opendirSync(directory, { bufferSize: 256 });
  const names: string[] = [];
  for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
    if (!isMeant(entry)) continue;
    if (names.length === most) return undefined;
    names.push(entry.name);
  }
  return names;
}
