/** The health and the status page of a process that watches. */
import { shownTime } from "../cluster/token.ts";
import type { Check } from "../serve/listen.ts";
import { alignRows, shorten, visible } from "../system/text.ts";
import type { Followed, Reconcile, Watching } from "./reconcile.ts";
import { isRunningOut } from "./tokens.ts";

const MOST_SHOWN = 50;

/** Is the node as desired? That the API is away says nothing against a node that was reconciled. */
export function readiness(watching: () => Watching): readonly Check[] {
  return [
    { name: "desired-known", isOk: () => watching().desired !== undefined },
    { name: "followed", isOk: () => isFollowed(watching()) },
    { name: "reconciled", isOk: () => isReconciled(watching()) },
    { name: "credentials", isOk: () => !watching().tokens.some((one) => isRunningOut(one, Date.now())) },
    { name: "in-charge", isOk: () => watching().standsDown === undefined },
  ];
}

/** Directories are polled if they cannot be watched; an object counts if it is live or the node was reconciled once. */
function isFollowed({ follows, lastSuccess }: Watching): boolean {
  return lastSuccess !== undefined || follows.every(({ source, isLive }) => source === "directory" || isLive);
}

function isReconciled({ last }: Watching): boolean {
  return last !== undefined && last.failure === undefined;
}

/** For people. Names, codes and times only. */
export function statusPage(watching: Watching, now: Date): string {
  const { owner, since, follows, desired, last, lastSuccess, lastChange, next, fights, standsDown, requests, tokens } =
    watching;
  const rows = [
    ["owner", owner],
    ["since", since.toISOString()],
    ["now", now.toISOString()],
    ...(standsDown === undefined ? [] : [["stands down", standsDown]]),
    ...(desired === undefined ? [["desired", "not known yet"]] : []),
    ...Object.entries(desired ?? {}).map(([kind, names]) => [`desired ${kind}s`, listed(names)]),
    ["last success", lastSuccess?.toISOString() ?? "none"],
    ["last change", lastChange?.begin.toISOString() ?? "none"],
    ["next", next === undefined ? "now" : `${next.at.toISOString()}${next.isRetry ? " (retry)" : ""}`],
    ["API requests", String(requests)],
    ...tokens.slice(0, MOST_SHOWN).map(({ name, account, facts: { expires } }) => {
      return [`token in ${name}`, `${account}, until ${shownTime(expires)}`];
    }),
  ];
  const lines = [
    "cni-node watch",
    "",
    ...alignRows(rows),
    "",
    "follows",
    ...alignRows(follows.slice(0, MOST_SHOWN).map(rowOf)),
    ...(last === undefined ? [] : ["", ...lastLines(last)]),
    ...fights.slice(0, MOST_SHOWN).map(({ asset, repairs }) => visible(`fought over: ${asset}, ${repairs} repairs`)),
  ];
  return `${lines.join("\n")}\n`;
}

function rowOf({ name, isLive, source, restarts, trouble }: Followed): string[] {
  const how = isLive ? "live" : source === "directory" ? "polled" : "not live";
  return [name, how, restarts > 0 ? `${restarts} restarts` : "", trouble ?? ""];
}

function lastLines({ begin, duration, causes, changed, findings, failure }: Reconcile): string[] {
  const result = failure === undefined ? "done" : `failed: ${failure.code}: ${failure.subject}`;
  return [
    `last reconcile: ${result} (${begin.toISOString()}, ${Math.round(duration)} ms, for ${causes.join(", ")})`,
    ...changed.slice(0, MOST_SHOWN).map((step) => `  ${step.outcome} ${step.kind} ${step.name} ${step.object ?? ""}`),
    ...findings.slice(0, MOST_SHOWN).map(({ code, severity, path }) => `  ${severity} ${code}: ${path}`),
  ].map((line) => visible(line).trimEnd());
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : shorten(names.join(", "));
}
