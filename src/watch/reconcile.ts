/** What `watch` does and how it is: the log, Events, metrics, health and `status` are made of these. Pure. */
import type { Kind } from "../asset.ts";
import type { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { StepResult } from "../kinds/kind.ts";
import type { Fight } from "./driver.ts";
import type { LiveToken } from "./tokens.ts";

/** One run of apply, for one or several causes. One that is superseded is not reported: the next one is. */
export interface Reconcile {
  begin: Date;
  /** Milliseconds. */
  duration: number;
  /** For people: what woke it. */
  causes: readonly string[];
  /** Everything that was done or would stay; none if it failed. */
  steps: readonly StepResult[];
  /** Those of them that changed something. */
  changed: readonly StepResult[];
  /** Those of them that somebody else had changed. */
  repaired: readonly StepResult[];
  /** Warnings of the run, fights, and what cannot be followed. */
  findings: readonly Finding[];
  /** Why it failed: nothing has changed, unless its exit code is 4. */
  failure?: Failure;
}

/** What is followed: a directory, or an object of the API. */
export interface Followed {
  /** `/etc/cni/net.d`, `ConfigMap kube-system/cni`. */
  name: string;
  source: "directory" | "object";
  /** Is a change noticed at once? */
  isLive: boolean;
  /** Of an object: how often its watch was begun again after the first time. */
  restarts: number;
  /** Why it cannot be followed, or not at once. */
  trouble?: string;
}

/** How a process that watches is right now. Times are of the clock of this node. */
export interface Watching {
  owner: string;
  since: Date;
  follows: readonly Followed[];
  /** The newest desired state that is known: the names by kind; undefined: none is known yet. */
  desired: Partial<Record<Kind, readonly string[]>> | undefined;
  last: Reconcile | undefined;
  /** The last one that changed something. */
  lastChange: Reconcile | undefined;
  /** When the last one that succeeded ended. */
  lastSuccess: Date | undefined;
  /** When everything is looked at again, or a failed reconcile is tried again, if nothing changes until then. */
  next: { at: Date; isRetry: boolean } | undefined;
  fights: readonly Fight[];
  /** The tokens of credentials that are live. */
  tokens: readonly LiveToken[];
  /** Why this process keeps its hands off the node: an uninstall, or a newer process of the same owner. */
  standsDown?: string;
  /** Requests to the API since the start. */
  requests: number;
}

/** Is told of each reconcile, in order. Must not throw; what takes time goes on behind. */
export interface Observer {
  reconciled(reconcile: Reconcile): void;
  /** Something cannot be followed for now. */
  troubled(failure: Failure): void;
}
