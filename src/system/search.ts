/** The index of the last of these growing numbers that is not above the limit; -1: all are. */
export function lastAtMost(growing: readonly number[], limit: number): number {
  let [low, high] = [0, growing.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((growing[middle] as number) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
