/** The numbers of a process that stays, in Prometheus' text format. Contents are never labels. */
import { readdirSync, readFileSync } from "node:fs";

// The package as a whole takes 17 MiB more.
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Registry from "prom-client/lib/registry.js";

/** Linux counts the time of processes in hundredths of a second for programs. */
const TICKS = 100;

/** What a build is. */
export interface Build {
  version: string;
  revision: string;
}

/** What every process that stays says of itself: its build, and what it uses. The rest is read when it is asked. */
export class ProcessMetrics {
  readonly contentType: string;
  protected readonly registry = new Registry();

  constructor(build: Build) {
    this.contentType = this.registry.contentType;
    this.#process();
    const help = "The version that runs; the value is always 1.";
    const labelNames = ["version", "revision"] as const;
    new Gauge({ registers: [this.registry], name: "cni_node_build_info", help, labelNames }).set({ ...build }, 1);
  }

  /** Everything, as Prometheus reads it. */
  async text(): Promise<string> {
    return this.registry.metrics();
  }

  protected counter<Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> {
    return new Counter({ registers: [this.registry], name, help, labelNames });
  }

  protected gauge(name: string, help: string, read: () => number): void {
    const collect = function (this: Gauge): void {
      this.set(read());
    };
    this.registry.registerMetric(new Gauge({ registers: [], name, help, collect }));
  }

  /** One for each value of a label. */
  protected gauges(name: string, help: string, label: string, read: () => Iterable<readonly [string, number]>): void {
    const collect = function (this: Gauge): void {
      this.reset();
      for (const [value, number] of read()) this.set({ [label]: value }, number);
    };
    this.registry.registerMetric(new Gauge({ registers: [], name, help, labelNames: [label], collect }));
  }

  /** A counter that somebody else counts. */
  protected total(name: string, help: string, read: () => number): void {
    const collect = function (this: Counter): void {
      this.reset();
      this.inc(read());
    };
    this.registry.registerMetric(new Counter({ registers: [], name, help, collect }));
  }

  /** The same for each value of a label. */
  protected totals(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void {
    const collect = function (this: Counter): void {
      this.reset();
      for (const [value, number] of Object.entries(read())) this.inc({ [label]: value }, number);
    };
    this.registry.registerMetric(new Counter({ registers: [], name, help, labelNames: [label], collect }));
  }

  /** Under the names of Prometheus' own clients. */
  #process(): void {
    this.total("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    this.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", () => process.memoryUsage.rss());
    this.gauge("process_open_fds", "Number of open file descriptors.", openFiles);
    const start = startTime();
    this.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", () => start);
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
