/** How the JavaScript engine uses memory. */

/**
 * The memory of a node counts for more than the speed of long computations: the space for new objects stays at its first
 * size, and code is not optimized (10 MiB less; status with 10,000 networks takes a tenth longer). Takes some milliseconds,
 * so what ends at once leaves it out.
 *
 * @param more flags of V8.
 */
export function saveMemory(...more: string[]): void {
  const { setFlagsFromString } = process.getBuiltinModule("node:v8");
  for (const flag of ["--semi-space-growth-factor=1", "--no-opt", "--no-maglev", ...more]) setFlagsFromString(flag);
}
