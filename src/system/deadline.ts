/** A time by which something is to be over. It follows the monotonic clock: the clock of a node may be set. */
export class Deadline {
  readonly #end: number;

  /** @param milliseconds from now; Infinity: never. */
  constructor(milliseconds: number) {
    this.#end = performance.now() + milliseconds;
  }

  /** Milliseconds until then, 0 once it is over. */
  get left(): number {
    return Math.max(0, this.#end - performance.now());
  }

  get isOver(): boolean {
    return this.left === 0;
  }
}
