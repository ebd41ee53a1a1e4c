/** Decides when to reconcile: calm, one run at a time, and always at the newest state in the end. */
import { SUPERSEDED } from "../errors.ts";

/** What made somebody look again: another desired state, or something else on the node. */
export type Cause = "desired" | "node";

/** Everything of time and chance. */
export interface Clock {
  /** Milliseconds; never goes back. */
  now(): number;
  /** Calls once after a time. Returns what cancels it. */
  after(milliseconds: number, call: () => void): () => void;
  /** From 0 to 1. */
  random(): number;
}

/** What came of a run. */
export type RunOutcome =
  /**
   * @param changed the assets that it changed, each by the same name every time.
   * @param repaired those of them that somebody else had changed.
   */
  | { result: "done"; changed: readonly string[]; repaired: readonly string[] }
  /** It is tried again. */
  | { result: "failed" }
  /** It was ended by its signal before anything had changed. */
  | { result: "superseded" };

/**
 * Brings the node to the newest desired state, which it reads when it begins. Never rejects.
 *
 * @param signal aborted with `superseded` when there is a newer desired state, or with what `stop` was given: a run that
 *   has not come to its commit point ends then.
 * @param isReached the desired state had been reached before: what is changed now is a repair.
 */
export type Run = (signal: AbortSignal, causes: readonly string[], isReached: boolean) => Promise<RunOutcome>;

/** Milliseconds. */
export const TIMING = {
  /** A burst is over when nothing has come for so long; it is not waited for longer than the most. */
  quiet: 20,
  most: 200,
  /** A desired state that came as a whole, and not after another one, is waited for so long only: for its siblings. */
  lead: 2,
  /** Everything is looked at again after this, give or take a tenth. */
  resync: 600_000,
  /** The pause after a failed run; each further one doubles it, up to the longest. */
  firstRetry: 1_000,
  longestRetry: 300_000,
  /** Runs for changes on the node: so many at once, then one in each interval. */
  burst: 10,
  interval: 1_000,
  /** A file that was repaired so often, each time within a while of the last one, is fought over. */
  fight: 3,
  memory: 60_000,
  longestTruce: 300_000,
  /** A run that was superseded for so long is let finish. */
  patience: 5_000,
};

/** A file that somebody else changes each time that it was repaired. */
export interface Fight {
  asset: string;
  repairs: number;
}

/** More causes are not told. */
const MOST_CAUSES = 10;

/** When something came first and last that no run has answered, and how long it is waited for more. */
interface Wake {
  first: number;
  last: number;
  pause: number;
}

/** Runs when it must. Nothing happens before the first `wake`. */
export class Driver {
  readonly #run: Run;
  readonly #clock: Clock;
  readonly #timing: typeof TIMING;
  /** When a wake that has not been answered came first and last; of a desired state and of the node. */
  readonly #wakes: Partial<Record<Cause, Wake>> = {};
  /** When a desired state changed last, answered or not. */
  #desiredAt = Number.NEGATIVE_INFINITY;
  #causes = new Set<string>();
  #cancel: (() => void) | undefined;
  #running: { end: AbortController; promise: Promise<void> } | undefined;
  #stopped = false;
  #paused = false;
  #resyncAt = Number.POSITIVE_INFINITY;
  #retryAt = Number.POSITIVE_INFINITY;
  #failures = 0;
  /** Since when no run for a newer desired state has finished. */
  #supersededSince: number | undefined;
  /** The newest desired state has been reached once: what is changed from now on is a repair. */
  #isReached = false;
  /** Runs for the node that may follow at once. */
  #tokens: number;
  #tokensAt: number;
  /** The last run changed something, so the next one looks once more: that is no change of others. */
  #isCheckDue = false;
  readonly #repairs = new Map<string, { count: number; last: number }>();
  #truceUntil = 0;

  constructor(run: Run, clock: Clock = SYSTEM_CLOCK, timing: Partial<typeof TIMING> = {}) {
    this.#run = run;
    this.#clock = clock;
    this.#timing = { ...TIMING, ...timing };
    this.#tokens = this.#timing.burst;
    this.#tokensAt = clock.now();
  }

  /**
   * Something may have changed.
   *
   * @param about for people: what.
   * @param isWhole it is known to be complete, such as an object of the API: the first of a burst is not waited for.
   */
  wake(cause: Cause, about: string, isWhole = false): void {
    if (this.#stopped) return;
    const now = this.#clock.now();
    const { quiet, lead } = this.#timing;
    const before = this.#wakes[cause];
    const isFirst = before === undefined ? now - this.#desiredAt > quiet : before.pause === lead;
    const pause = cause === "desired" && isWhole && isFirst ? lead : quiet;
    this.#wakes[cause] = { first: before?.first ?? now, last: now, pause };
    if (this.#causes.size < MOST_CAUSES) this.#causes.add(about);
    if (cause === "desired") {
      this.#desiredAt = now;
      this.#supersede(now);
    }
    this.#schedule();
  }

  /** In how many milliseconds the next run begins if nothing changes until then; undefined: one runs, or none is due. */
  get nextIn(): number | undefined {
    const isIdle = this.#running === undefined && !this.#paused;
    const due = isIdle ? this.#dueAt() : Number.POSITIVE_INFINITY;
    return Number.isFinite(due) ? Math.max(0, due - this.#clock.now()) : undefined;
  }

  /** Files that somebody else changes again and again. */
  get fights(): Fight[] {
    const fought = Array.from(this.#repairs, ([asset, { count }]) => ({ asset, repairs: count }));
    return fought.filter(({ repairs }) => repairs >= this.#timing.fight);
  }

  /** Ends the run that goes on, if it has not come to its commit point, and begins none until `resume`. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#isReached = false;
    this.#cancel?.();
    this.#running?.end.abort(SUPERSEDED);
    await this.#running?.promise;
  }

  /** Begins again, at the newest state. */
  resume(): void {
    this.#paused = false;
    this.wake("node", "resume");
  }

  /** Ends the run that is going on, before its commit point, and begins no other. */
  async stop(reason: unknown): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    this.#running?.end.abort(reason);
    await this.#running?.promise;
  }

  /** The run that goes on is for a state that is no longer desired. */
  #supersede(now: number): void {
    this.#isReached = false;
    if (this.#running === undefined) return;
    this.#supersededSince ??= now;
    if (now - this.#supersededSince < this.#timing.patience) this.#running.end.abort(SUPERSEDED);
  }

  #schedule(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#stopped || this.#paused || this.#running !== undefined) return;
    const due = this.#dueAt();
    if (!Number.isFinite(due)) return;
    this.#cancel = this.#clock.after(Math.max(0, due - this.#clock.now()), () => {
      this.#begin();
    });
  }

  /** A newer desired state waits for its burst only; everything else for what keeps the node calm, too. */
  #dueAt(): number {
    const { desired, node } = this.#wakes;
    const calm = Math.min(this.#settledAt(node), this.#resyncAt, this.#retryAt);
    return Math.min(this.#settledAt(desired), Math.max(calm, this.#truceUntil, this.#tokenAt()));
  }

  #settledAt(wake: Wake | undefined): number {
    if (wake === undefined) return Number.POSITIVE_INFINITY;
    return Math.min(wake.first + this.#timing.most, wake.last + wake.pause);
  }

  /** When a run for the node may begin. */
  #tokenAt(): number {
    const { burst, interval } = this.#timing;
    const now = this.#clock.now();
    const more = Math.floor((now - this.#tokensAt) / interval);
    this.#tokens = Math.min(burst, this.#tokens + more);
    this.#tokensAt += more * interval;
    return this.#tokens > 0 ? 0 : this.#tokensAt + interval;
  }

  #begin(): void {
    this.#cancel = undefined;
    const causes = [...this.#causes];
    if (this.#wakes.desired === undefined) {
      this.#tokens--;
      if (causes.length === 0) causes.push(this.#retryAt <= this.#resyncAt ? "retry" : "resync");
    }
    delete this.#wakes.desired;
    delete this.#wakes.node;
    this.#causes = new Set();
    this.#resyncAt = this.#retryAt = Number.POSITIVE_INFINITY;
    const end = new AbortController();
    const wasReached = this.#isReached;
    // What is desired from here on is noticed as a wake.
    this.#isReached = true;
    const promise = this.#finish(this.#run(end.signal, causes, wasReached), wasReached);
    this.#running = { end, promise };
  }

  async #finish(run: Promise<RunOutcome>, wasReached: boolean): Promise<void> {
    const outcome = await run;
    this.#running = undefined;
    this.#note(outcome, wasReached);
    this.#schedule();
  }

  #note(outcome: RunOutcome, wasReached: boolean): void {
    const now = this.#clock.now();
    const { resync, firstRetry, longestRetry } = this.#timing;
    if (outcome.result === "superseded") {
      this.#isReached = false;
      // Nothing else might wake it.
      if (this.#wakes.desired === undefined) this.#retryAt = now;
      return;
    }
    this.#supersededSince = undefined;
    if (outcome.result === "failed") {
      this.#isReached &&= wasReached;
      this.#retryAt = now + this.#jittered(Math.min(longestRetry, firstRetry * 2 ** this.#failures++));
      return;
    }
    this.#failures = 0;
    this.#resyncAt = now + resync * (0.9 + 0.2 * this.#clock.random());
    if (this.#isCheckDue && outcome.changed.length === 0) this.#tokens = Math.min(this.#timing.burst, this.#tokens + 1);
    this.#isCheckDue = outcome.changed.length > 0;
    if (outcome.changed.length > 0) {
      // It is looked at once more: what others did while it ran cannot be told from what it did itself.
      this.#wakes.node ??= { first: now, last: now, pause: this.#timing.quiet };
      this.#causes.add("check");
    }
    this.#noteRepairs(outcome.repaired, now);
  }

  /** A file that is repaired again soon after it was is fought over: each further round lasts twice as long. */
  #noteRepairs(repaired: readonly string[], now: number): void {
    const { memory, fight, interval, longestTruce } = this.#timing;
    for (const [asset, { last }] of this.#repairs) {
      if (now - last > memory + (this.#truceUntil > last ? this.#truceUntil - last : 0)) this.#repairs.delete(asset);
    }
    for (const asset of repaired) {
      const count = (this.#repairs.get(asset)?.count ?? 0) + 1;
      this.#repairs.set(asset, { count, last: now });
      if (count < fight) continue;
      const truce = this.#jittered(Math.min(longestTruce, interval * 2 ** (count - fight)));
      this.#truceUntil = Math.max(this.#truceUntil, now + truce);
    }
  }

  #jittered(milliseconds: number): number {
    return milliseconds * (0.5 + this.#clock.random());
  }
}

/** The time of this process. A timer ends with what cancels it. */
const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  after: (milliseconds, call) => {
    const timer = setTimeout(call, milliseconds);
    return () => {
      clearTimeout(timer);
    };
  },
  random: Math.random,
};
