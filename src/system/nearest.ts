/** The known name that somebody may have meant; undefined: none is near. */
export function nearestTo(name: string, known: readonly string[]): string | undefined {
  const given = name.slice(0, LONGEST);
  const most = Math.min(3, Math.floor(given.length / 2));
  const [nearest] = known
    .filter((one) => one !== name)
    .map((one) => ({ one, distance: distanceOf(given, one.slice(0, LONGEST)) }))
    .filter(({ one, distance }) => distance <= most || isBeginning(one, given) || isBeginning(given, one))
    .toSorted((a, b) => a.distance - b.distance);
  return nearest?.one;
}

/** Comparing takes the product of both lengths. */
const LONGEST = 100;

/** Of a few letters, everything is the beginning. */
function isBeginning(part: string, of: string): boolean {
  return part.length >= 3 && of.startsWith(part);
}

/** How many characters must be put in, taken out or replaced. */
function distanceOf(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [index, character] of from.split("").entries()) {
    const next = [index + 1];
    for (const [column, other] of to.split("").entries()) {
      const replaced = (row[column] ?? 0) + (character === other ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
