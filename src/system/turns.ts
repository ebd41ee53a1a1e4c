/** Long work in small steps: signals are heard between them. */
import { setImmediate } from "node:timers/promises";

import { throwIfInterrupted } from "../errors.ts";

/** Work that can pause wherever it yields. */
export type Steps<Result> = Generator<undefined, Result>;

/** So long nobody else has a turn, milliseconds. */
const TURN = 20;

/** Does all of it at once. */
export function finish<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** Gives others their turn when it has worked for a while. */
export class Turns {
  readonly #signal: AbortSignal;
  #since = performance.now();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** To be called between small steps. @throws Interrupted */
  async pause(): Promise<void> {
    if (performance.now() - this.#since < TURN) return;
    await setImmediate();
    throwIfInterrupted(this.#signal);
    this.#since = performance.now();
  }

  /** Does steps to their end. @throws Interrupted */
  async all<Result>(steps: Steps<Result>): Promise<Result> {
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
      await this.pause();
    }
  }
}
