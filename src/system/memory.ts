/** How the JavaScript engine uses memory. */

/**
 * The memory of a node counts for more than the speed of long computations: the space for new objects stays at its first
 * size, and code is not optimized (10 MiB less; status with 10,000 networks takes a tenth longer). Takes some milliseconds,
 * so what ends at once leaves it out.
 */
export function saveMemory(): void {
  setFlags("--semi-space-growth-factor=1", "--no-opt", "--no-maglev");
}

/** For what computes little, and stays: code that runs often need not be compiled to machine code (2 MiB less). */
export function saveMemoryForGood(): void {
  setFlags("--no-sparkplug");
}

function setFlags(...flags: string[]): void {
  const { setFlagsFromString } = process.getBuiltinModule("node:v8");
  for (const flag of flags) setFlagsFromString(flag);
}
