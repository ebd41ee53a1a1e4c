/** The numbers of a process that watches. */
import type Counter from "prom-client/lib/counter.js";
import Histogram from "prom-client/lib/histogram.js";

import { ALL_KINDS } from "../asset.ts";
import { CHANGES, type Outcome } from "../kinds/kind.ts";
import { ProcessMetrics, type Build } from "../serve/metrics.ts";
import type { Observer, Reconcile, Watching } from "./reconcile.ts";

/** More different codes are counted as `other`. */
const MOST_CODES = 100;
/** A node has one for each plugin that asks the API. */
const MOST_TOKENS = 100;
/** Seconds: a reconcile that changes nothing, up to one that waits for the container runtime. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const OUTCOMES: readonly Outcome[] = [...CHANGES, "unchanged", "absent", "kept"];

/** Counts reconciles, and reads everything else when it is asked. Nothing happens at rest. */
export class Metrics extends ProcessMetrics implements Observer {
  readonly #codes = new Set<string>();
  readonly #reconciles: Counter<"result">;
  readonly #duration: Histogram;
  readonly #steps: Counter<"kind" | "outcome">;
  readonly #repairs: Counter<"kind">;
  readonly #refusals: Counter<"code">;

  /** @param isReady what `/readyz` says. */
  constructor(watching: () => Watching, isReady: () => boolean, build: Build) {
    super(build);
    this.#reconciles = this.counter("cni_node_reconciles_total", "Reconciles by result.", "result");
    this.#duration = new Histogram({
      registers: [this.registry],
      name: "cni_node_reconcile_duration_seconds",
      help: "How long reconciles took.",
      buckets: BUCKETS,
    });
    this.#steps = this.counter("cni_node_steps_total", "Assets by kind and by what became of them.", "kind", "outcome");
    this.#repairs = this.counter(
      "cni_node_repairs_total",
      "Assets that others had changed and that were repaired.",
      "kind",
    );
    this.#refusals = this.counter("cni_node_refusals_total", "Reasons for which reconciles failed, by code.", "code");
    for (const result of ["done", "failed"]) this.#reconciles.inc({ result }, 0);
    for (const kind of ALL_KINDS) {
      this.#repairs.inc({ kind }, 0);
      for (const outcome of OUTCOMES) this.#steps.inc({ kind, outcome }, 0);
    }
    this.#readLater(watching, isReady);
  }

  reconciled({ duration, steps, repaired, failure }: Reconcile): void {
    this.#reconciles.inc({ result: failure === undefined ? "done" : "failed" });
    this.#duration.observe(duration / 1000);
    for (const { kind, outcome } of steps) this.#steps.inc({ kind, outcome });
    for (const { kind } of repaired) this.#repairs.inc({ kind });
    for (const { code } of failure === undefined ? [] : [failure, ...failure.others]) {
      this.#refusals.inc({ code: this.#bounded(code) });
    }
  }

  troubled(): void {
    // The restarts of watches count it.
  }

  #bounded(code: string): string {
    if (this.#codes.size >= MOST_CODES && !this.#codes.has(code)) return "other";
    this.#codes.add(code);
    return code;
  }

  #readLater(watching: () => Watching, isReady: () => boolean): void {
    this.total("cni_node_watch_restarts_total", "How often watches of objects were begun again.", () =>
      watching().follows.reduce((sum, { restarts }) => sum + restarts, 0),
    );
    this.total("cni_node_api_requests_total", "Requests to the Kubernetes API.", () => watching().requests);
    this.gauge(
      "cni_node_last_success_timestamp_seconds",
      "When a reconcile succeeded last; 0: none has.",
      () => (watching().lastSuccess?.getTime() ?? 0) / 1000,
    );
    this.gauges(
      "cni_node_credentials_expiry_timestamp_seconds",
      "When the token of a kubeconfig expires.",
      "name",
      () =>
        watching()
          .tokens.slice(0, MOST_TOKENS)
          .map(({ name, facts }) => [name, facts.expires / 1000]),
    );
    this.gauge("cni_node_fights", "Files that another agent changes again and again.", () => watching().fights.length);
    this.gauge("cni_node_ready", "1 if /readyz says ok.", () => (isReady() ? 1 : 0));
  }
}
