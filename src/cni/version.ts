/** Versions of the CNI specification. */

/** The newest version of the specification that libcni 1.3 and cni-node know. */
export const NEWEST_VERSION = "1.1.0";

/** All versions of the specification that there are, the oldest first. */
export const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", NEWEST_VERSION];

/** What a configuration conforms to that does not say (CNI specification, section 1). */
const OLDEST_VERSION = "0.1.0";

/** Has the text the form of a version: `1.0.0`, also `1.0` and `1`; the empty one counts as 0.1.0? */
export function isVersion(text: string): boolean {
  return numbersOf(text) !== undefined;
}

/** Why a value is not a version, as the rest of a sentence that has named it. */
export function notVersion(value: unknown): string {
  const hasV = typeof value === "string" && value.startsWith("v") && VERSIONS.includes(value.slice(1));
  return `not a version like "1.0.0"${hasV ? ", without the v" : ""}`;
}

/**
 * Compares two versions by their numbers; missing ones are 0.
 *
 * @returns less than 0, 0, or greater than 0, for `Array.sort`.
 * @throws RangeError when one is not a version.
 */
export function compareVersions(a: string, b: string): number {
  const [first, second] = [numbersOf(a), numbersOf(b)];
  if (first === undefined || second === undefined) throw new RangeError(`${a} or ${b} is not a version`);
  return first.map((number, index) => number - (second[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

/**
 * The version that a configuration is used with: the newest of `cniVersions` and `cniVersion` that is not newer than
 * `NEWEST_VERSION`. `cniVersion` alone is used whatever it is, as libcni does.
 */
export function negotiateVersion(cniVersion: string, cniVersions: readonly string[] = []): string {
  const known = (cniVersions.length === 0 || cniVersion === "" ? cniVersions : [...cniVersions, cniVersion]).filter(
    (version) => compareVersions(version, NEWEST_VERSION) <= 0,
  );
  const first = known[0] ?? cniVersion;
  return (
    known.reduce((best, version) => (compareVersions(version, best) > 0 ? version : best), first) || OLDEST_VERSION
  );
}

/** Major, minor and patch, as libcni's `ParseVersion` reads them. */
function numbersOf(version: string): number[] | undefined {
  if (version === "") return numbersOf(OLDEST_VERSION);
  if (!/^[+-]?\d+(?:\.[+-]?\d+){0,2}$/u.test(version)) return undefined;
  const numbers = version.split(".").map(Number);
  return numbers.every((number) => Math.abs(number) < 2 ** 63) ? [...numbers, 0, 0].slice(0, 3) : undefined;
}

/** Several versions for people: `0.1.0 … 1.1.0`. */
export function rangeOf(versions: readonly string[]): string {
  const [first = "", ...more] = versions;
  return more.length === 0 ? first : `${first} … ${more.at(-1) ?? ""}`;
}
