/** Reconciles and states of a process that watches, as tests make them up. */
import type { Reconcile, Watching } from "../../src/watch/reconcile.ts";

const BEGIN = new Date("2026-11-28T12:00:00Z");

/** One that installed a plugin. */
export function reconcile(more: Partial<Reconcile> = {}): Reconcile {
  const steps = [{ kind: "plugin", name: "bridge", action: "install", outcome: "created" }] as const;
  const common = { begin: BEGIN, duration: 12.4, causes: ["start"], repaired: [], findings: [] };
  return { ...common, steps, changed: steps, ...more };
}

/** One that installed a plugin again, which somebody had removed. */
export function repair(more: Partial<Reconcile> = {}): Reconcile {
  const { changed } = reconcile();
  return reconcile({ repaired: changed, changed, ...more });
}

/** One that is live and has reconciled. */
export function watching(more: Partial<Watching> = {}): Watching {
  return {
    owner: "team-a",
    since: BEGIN,
    follows: [{ name: "ConfigMap default/cni", source: "object", isLive: true, restarts: 2 }],
    desired: { plugin: ["bridge"], config: [] },
    last: reconcile(),
    lastSuccess: BEGIN,
    lastChange: reconcile(),
    next: { at: BEGIN, isRetry: false },
    fights: [],
    tokens: [],
    requests: 3,
    ...more,
  };
}
