/** The numbers of a process that watches, in Prometheus' text format. Contents are never labels. */
import { readdirSync, readFileSync } from "node:fs";

// The package as a whole takes 17 MiB more.
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";

import { ALL_KINDS } from "../asset.ts";
import { CHANGES, type Outcome } from "../kinds/kind.ts";
import type { Observer, Reconcile, Watching } from "./reconcile.ts";

/** More different codes are counted as `other`. */
const MOST_CODES = 100;
/** A node has one for each plugin that asks the API. */
const MOST_TOKENS = 100;
/** Seconds: a reconcile that changes nothing, up to one that waits for the container runtime. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const OUTCOMES: readonly Outcome[] = [...CHANGES, "unchanged", "absent", "kept"];
/** Linux counts the time of processes in hundredths of a second for programs. */
const TICKS = 100;

/** What a build is. */
export interface Build {
  version: string;
  revision: string;
}

/** Counts reconciles, and reads everything else when it is asked. Nothing happens at rest. */
export class Metrics implements Observer {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #own = { registers: [this.#registry] };
  readonly #codes = new Set<string>();
  readonly #reconciles: Counter<"result">;
  readonly #duration: Histogram;
  readonly #steps: Counter<"kind" | "outcome">;
  readonly #repairs: Counter<"kind">;
  readonly #refusals: Counter<"code">;

  /** @param isReady what `/readyz` says. */
  constructor(watching: () => Watching, isReady: () => boolean, build: Build) {
    this.contentType = this.#registry.contentType;
    const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> =>
      new Counter({ ...this.#own, name, help, labelNames });
    this.#reconciles = counter("cni_node_reconciles_total", "Reconciles by result.", "result");
    this.#duration = new Histogram({
      ...this.#own,
      name: "cni_node_reconcile_duration_seconds",
      help: "How long reconciles took.",
      buckets: BUCKETS,
    });
    this.#steps = counter("cni_node_steps_total", "Assets by kind and by what became of them.", "kind", "outcome");
    this.#repairs = counter("cni_node_repairs_total", "Assets that others had changed and that were repaired.", "kind");
    this.#refusals = counter("cni_node_refusals_total", "Reasons for which reconciles failed, by code.", "code");
    for (const result of ["done", "failed"]) this.#reconciles.inc({ result }, 0);
    for (const kind of ALL_KINDS) {
      this.#repairs.inc({ kind }, 0);
      for (const outcome of OUTCOMES) this.#steps.inc({ kind, outcome }, 0);
    }
    this.#readLater(watching, isReady);
    this.#process();
    const info = new Gauge({
      ...this.#own,
      name: "cni_node_build_info",
      help: "The version that runs; the value is always 1.",
      labelNames: ["version", "revision"],
    });
    info.set({ ...build }, 1);
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

  /** Everything, as Prometheus reads it. */
  async text(): Promise<string> {
    return this.#registry.metrics();
  }

  #bounded(code: string): string {
    if (this.#codes.size >= MOST_CODES && !this.#codes.has(code)) return "other";
    this.#codes.add(code);
    return code;
  }

  #readLater(watching: () => Watching, isReady: () => boolean): void {
    this.#total("cni_node_watch_restarts_total", "How often watches of objects were begun again.", () =>
      watching().follows.reduce((sum, { restarts }) => sum + restarts, 0),
    );
    this.#total("cni_node_api_requests_total", "Requests to the Kubernetes API.", () => watching().requests);
    this.#gauge(
      "cni_node_last_success_timestamp_seconds",
      "When a reconcile succeeded last; 0: none has.",
      () => (watching().lastSuccess?.getTime() ?? 0) / 1000,
    );
    const expiry = new Gauge({
      registers: [],
      name: "cni_node_credentials_expiry_timestamp_seconds",
      help: "When the token of a kubeconfig expires.",
      labelNames: ["name"],
      collect() {
        this.reset();
        for (const { name, facts } of watching().tokens.slice(0, MOST_TOKENS)) this.set({ name }, facts.expires / 1000);
      },
    });
    this.#registry.registerMetric(expiry);
    this.#gauge("cni_node_fights", "Files that another agent changes again and again.", () => watching().fights.length);
    this.#gauge("cni_node_ready", "1 if /readyz says ok.", () => (isReady() ? 1 : 0));
  }

  /** Under the names of Prometheus' own clients. */
  #process(): void {
    this.#total("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    this.#gauge("process_resident_memory_bytes", "Resident memory size in bytes.", () => process.memoryUsage.rss());
    this.#gauge("process_open_fds", "Number of open file descriptors.", openFiles);
    const start = startTime();
    this.#gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", () => start);
  }

  #gauge(name: string, help: string, read: () => number): void {
    const collect = function (this: Gauge): void {
      this.set(read());
    };
    this.#registry.registerMetric(new Gauge({ registers: [], name, help, collect }));
  }

  /** A counter that somebody else counts. */
  #total(name: string, help: string, read: () => number): void {
    const collect = function (this: Counter): void {
      this.reset();
      this.inc(read());
    };
    this.#registry.registerMetric(new Counter({ registers: [], name, help, collect }));
  }
}

function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Seconds since the epoch; 0 without /proc. */
function startTime(): number {
  const boot = /^btime (\d+)$/mu.exec(readFileSync("/proc/stat", "utf8"))?.[1];
  // The name of the program, in parentheses, may have spaces.
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /su, "")
    .split(" ");
  return Number(boot) + Number(fields[19]) / TICKS;
}
