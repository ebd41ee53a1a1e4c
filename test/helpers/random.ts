/** Random numbers that can be had again. */

/**
 * The seed of this run's random trials: that of the environment; in CI always the same, so that a change is judged by
 * what it changes; else another one each time. Tests print it.
 */
export const SEED = Number(process.env["CNI_NODE_TEST_SEED"] ?? (process.env["CI"] ? 1 : Date.now() % 2 ** 31));
/** What tests print, to be put before the command that repeats them. */
export const SEED_NOTE = `CNI_NODE_TEST_SEED=${SEED}`;

/** Numbers that look random, and are the same for the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 to `below`, without it. */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  /** From 0 to 1, without it. */
  fraction(): number {
    return this.int(2 ** 32) / 2 ** 32;
  }

  /** Is it so, once in `often` times? */
  once(often: number): boolean {
    return this.int(often) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.int(values.length)] as T;
  }

  some<T>(values: readonly T[]): T[] {
    return values.filter(() => this.once(2));
  }
}
