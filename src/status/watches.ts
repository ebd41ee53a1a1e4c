/** The processes that keep a node, as they say themselves. */
import * as v from "valibot";

import { ALL_KINDS } from "../asset.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { describeKeepers } from "../host/control.ts";
import { nameOfStep } from "../kinds/kind.ts";
import type { TargetDirectory } from "./directories.ts";

/** What others say is bounded before it is shown. */
const Text = v.pipe(v.string(), v.maxLength(4096));
const Time = v.pipe(v.string(), v.isoTimestamp());
const Count = v.pipe(v.number(), v.minValue(0));
const List = <Item extends v.GenericSchema>(item: Item): v.ArraySchema<Item, undefined> => v.array(item);

const Reconcile = v.object({
  begin: Time,
  /** Milliseconds. */
  duration: Count,
  causes: List(Text),
  changed: List(v.object({ outcome: Text, kind: Text, name: Text, object: v.exactOptional(Text) })),
  error: v.exactOptional(v.object({ code: Text, message: Text, hint: v.exactOptional(Text) })),
});

const WatchStatus = v.object({
  /** The same in every directory of a process. */
  id: Text,
  owner: Text,
  since: Time,
  follows: List(v.object({ name: Text, isLive: v.boolean(), trouble: v.exactOptional(Text) })),
  /** The names by kind. */
  desired: v.exactOptional(v.record(v.picklist(ALL_KINDS), List(Text))),
  last: v.exactOptional(Reconcile),
  /** The last one that changed something. */
  lastChange: v.exactOptional(Reconcile),
  lastSuccess: v.exactOptional(Time),
  next: v.exactOptional(v.object({ at: Time, isRetry: v.boolean() })),
  /** Of credentials; earlier versions do not say it. */
  tokens: v.exactOptional(List(v.object({ name: Text, account: Text, expires: Time }))),
  fights: List(v.object({ asset: Text, repairs: Count })),
  standsDown: v.exactOptional(Text),
});

/** A process that keeps a node (`cni-node watch`). */
export type WatchStatus = v.InferOutput<typeof WatchStatus>;

/** Asks the processes that keep these directories. @returns one a process, and what is wrong with them. */
export async function lookAtWatches(
  targets: readonly TargetDirectory[],
): Promise<{ watches: WatchStatus[]; findings: Finding[] }> {
  const watches = new Map<string, WatchStatus>();
  const findings: Finding[] = [];
  for (const { path, shown } of targets) {
    for (const { owner, said, trouble } of await findKeepers(path)) {
      const watch = v.safeParse(WatchStatus, said);
      if (watch.success) watches.set(watch.output.id, watch.output);
      else findings.push(unanswered(shown, owner, trouble ?? "its answer is not one of cni-node"));
    }
  }
  const all = [...watches.values()];
  return { watches: all, findings: [...findings, ...all.flatMap(findingsOf)] };
}

/** A state that cannot be trusted is a finding of its own. */
async function findKeepers(directory: string): ReturnType<typeof describeKeepers> {
  try {
    return await describeKeepers(directory);
  } catch (error) {
    if (error instanceof Failure) return [];
    throw error;
  }
}

function unanswered(directory: string, owner: string, reason: string): Finding {
  const message = `has the socket of the cni-node watch of owner ${owner}, which does not say how it is: ${reason}`;
  return warning("watch-unanswered", directory, message, "look at the log of that process, or start it again");
}

function findingsOf({ owner, last, standsDown, fights }: WatchStatus): Finding[] {
  const name = `watch of owner ${owner}`;
  const found = fights.map(({ asset, repairs }) =>
    warning("asset-fought-over", asset, `was repaired ${repairs} times by the ${name}, and changed again each time`),
  );
  if (last?.error !== undefined) {
    const { message, hint } = last.error;
    found.push(warning("watch-failing", name, `failed the last time: ${message}`, hint));
  }
  if (standsDown !== undefined) {
    found.push({ code: "watch-stands-down", severity: "note", path: name, message: `stands down for ${standsDown}` });
  }
  return found;
}

/** For people: a line for each thing. */
export function formatWatch(watch: WatchStatus): string[] {
  const { owner, since, follows, last, lastChange, lastSuccess, next, standsDown, tokens = [] } = watch;
  const lines = [
    `owner ${owner}, since ${since}${standsDown === undefined ? "" : `, stands down for ${standsDown}`}`,
    ...follows.map(({ name, isLive, trouble }) => {
      return `  follows ${name}${isLive ? "" : `, not at once${trouble === undefined ? "" : `: ${trouble}`}`}`;
    }),
  ];
  for (const { name, account, expires } of tokens) lines.push(`  token in ${name} of ${account}, until ${expires}`);
  if (lastChange !== undefined) lines.push(`  last change ${formatReconcile(lastChange)}`);
  if (last !== undefined) lines.push(`  last reconcile ${formatReconcile(last)}`);
  if (last?.error !== undefined) lines.push(`  last success ${lastSuccess ?? "never"}`);
  if (next !== undefined) lines.push(`  next ${next.at}, ${next.isRetry ? "a retry" : "to look at everything again"}`);
  return lines;
}

function formatReconcile({ begin, duration, causes, changed, error }: NonNullable<WatchStatus["last"]>): string {
  const done = changed.map((step) => `${step.outcome} ${nameOfStep(step)}`);
  const result = error === undefined ? done.join(", ") || "nothing to do" : `failed: ${error.message}`;
  return `${begin}: ${result} (${Math.round(duration)} ms, for ${causes.join(", ")})`;
}
