/** How networks are operated on for people: where, with what, and how long others are waited for. */
import { kernelLock, type Lock } from "../cni/lock.ts";
import type { Runtime } from "../cni/runtime.ts";
import { cancellationOf, Interrupted, type Failure } from "../errors.ts";
import type { Host } from "../node/host.ts";

export interface Operator {
  host: Host;
  /** How plugins are called. */
  caller: Runtime & { cacheDir: string };
  /** Where cni-node itself has plugins to install. */
  pluginSource: string;
  /** So long others may work on the same container. */
  lockTimeoutMs: number;
  /** Aborted by the first signal that ends the process; the reason is its name. */
  signal: AbortSignal;
  /** Is told what is waited for, when that takes long. */
  onWait: (what: string) => void;
  /** Is told of what is remembered and cannot be used. */
  onProblem: (problem: Failure) => void;
}

const UNSAID_MS = 3000;

/** The lock of the cache, which is waited for so long and no longer. It throws `Interrupted` when a signal comes. */
export function cacheLock({ caller, lockTimeoutMs, signal, onWait }: Operator): Lock {
  const lock = kernelLock(caller.cacheDir);
  const within = async (acquire: (limit: AbortSignal) => Promise<Disposable>): Promise<Disposable> => {
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort("--lock-timeout is over");
    }, lockTimeoutMs);
    const notice = setTimeout(onWait, UNSAID_MS, "others that work on the same container (--lock-timeout)");
    try {
      return await acquire(AbortSignal.any([signal, limit.signal]));
    } catch (error) {
      if (signal.aborted) throw new Interrupted(cancellationOf(signal));
      throw error;
    } finally {
      clearTimeout(timer);
      clearTimeout(notice);
    }
  };
  return {
    container: async (containerId) => within(async (limit) => lock.container(containerId, limit)),
    all: async () => within(async (limit) => lock.all(limit)),
  };
}

/** Who has the lock has it for the operations of the library, too. */
export const HELD: Lock = {
  container: async () => Promise.resolve({ [Symbol.dispose]: () => undefined }),
  all: async () => Promise.resolve({ [Symbol.dispose]: () => undefined }),
};
