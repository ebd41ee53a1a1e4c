/** The numbers of a process that keeps routes: all are read when they are asked for. */
import { ProcessMetrics, type Build } from "../serve/metrics.ts";
import type { Keeping } from "./keep.ts";
import type { SyncResult } from "./sync.ts";

export class Metrics extends ProcessMetrics {
  /** @param isReady what `/readyz` says. */
  constructor(keeping: () => Keeping, isReady: () => boolean, build: Build) {
    super(build);
    this.totals(
      "cni_node_routes_syncs_total",
      "Comparisons of the routes with the Nodes, by result.",
      "result",
      () => keeping().passes,
    );
    this.totals("cni_node_routes_changes_total", "Changes of routes.", "action", () => keeping().changes);
    this.gauge("cni_node_routes", "Routes of cni-node that are set.", () => countSet(keeping().last));
    this.gauge("cni_node_routes_nodes", "Nodes of the cluster that are known.", () => keeping().nodes ?? 0);
    this.gauges("cni_node_routes_findings", "What is wrong with routes at present, by code.", "code", () =>
      countCodes(keeping().last),
    );
    this.gauge(
      "cni_node_last_success_timestamp_seconds",
      "When all routes were set last; 0: they never were.",
      () => (keeping().lastSuccess?.getTime() ?? 0) / 1000,
    );
    this.total(
      "cni_node_watch_restarts_total",
      "How often the watch of Nodes was begun again.",
      () => keeping().restarts,
    );
    this.total("cni_node_api_requests_total", "Requests to the Kubernetes API.", () => keeping().requests);
    this.gauge("cni_node_ready", "1 if /readyz says ok.", () => (isReady() ? 1 : 0));
  }
}

function countSet(result: SyncResult | undefined): number {
  return (result?.steps ?? []).filter(({ action }) => action !== "remove" && action !== "leave").length;
}

function countCodes(result: SyncResult | undefined): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { code } of result?.findings ?? []) counts.set(code, (counts.get(code) ?? 0) + 1);
  return counts;
}
