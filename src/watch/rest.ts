/** What a process that watches does when it has nothing to do. */
import { releaseMemory } from "../system/memory.ts";
import type { Observer } from "./reconcile.ts";

/** So long after the last reconcile there is probably no other one soon. */
const REST_MS = 5000;

/** Gives memory back after a reconcile, or after many. */
export class Rest implements Observer, Disposable {
  #timer: NodeJS.Timeout | undefined;

  reconciled(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(releaseMemory, REST_MS);
  }

  troubled(): void {
    // A reconcile comes when it is over.
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
