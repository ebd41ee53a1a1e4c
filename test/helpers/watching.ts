/** Reconciles and states of a process that watches, as tests make them up. */
import type { Reconcile, Watching } from "../../src/watch/reconcile.ts";
import type { LiveToken } from "../../src/watch/tokens.ts";

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

/** One that does not expire. */
export const TOKEN: LiveToken = {
  name: "multus.kubeconfig",
  account: "kube-system/multus",
  facts: { issued: BEGIN.getTime(), expires: 8.64e15 },
  renewal: 8e15,
};

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
    tokens: [TOKEN],
    requests: 3,
    ...more,
  };
}
