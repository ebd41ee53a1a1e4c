/** How a process that watches is, for others on the node. Pure. */
import type { WatchStatus } from "../status/watches.ts";
import { shorten } from "../system/text.ts";
import type { Reconcile, Watching } from "./reconcile.ts";

/** More of a kind is not said. */
const MOST = 200;

/** @param id of the process. */
export function describeWatching(id: string, watching: Watching): WatchStatus {
  const { owner, since, follows, desired, last, lastChange, lastSuccess, next, fights, standsDown, tokens } = watching;
  return {
    id,
    owner,
    since: since.toISOString(),
    follows: follows.slice(0, MOST).map(({ name, isLive, trouble }) => {
      return { name, isLive, ...(trouble !== undefined && { trouble: shorten(trouble) }) };
    }),
    ...(desired !== undefined && {
      desired: Object.fromEntries(Object.entries(desired).map(([kind, names]) => [kind, names.slice(0, MOST)])),
    }),
    ...(last !== undefined && { last: describeReconcile(last) }),
    ...(lastChange !== undefined && { lastChange: describeReconcile(lastChange) }),
    ...(lastSuccess !== undefined && { lastSuccess: lastSuccess.toISOString() }),
    ...(next !== undefined && { next: { at: next.at.toISOString(), isRetry: next.isRetry } }),
    tokens: tokens.slice(0, MOST).map(({ name, account, facts: { expires } }) => {
      return { name, account, expires: new Date(expires).toISOString() };
    }),
    fights: fights.slice(0, MOST).map(({ asset, repairs }) => ({ asset, repairs })),
    ...(standsDown !== undefined && { standsDown }),
  };
}

function describeReconcile(reconcile: Reconcile): NonNullable<WatchStatus["last"]> {
  const { begin, duration, causes, changed, failure } = reconcile;
  const error =
    failure === undefined
      ? {}
      : {
          error: {
            code: failure.code,
            message: shorten(failure.message),
            ...(failure.hint !== undefined && { hint: shorten(failure.hint) }),
          },
        };
  return {
    begin: begin.toISOString(),
    duration,
    causes: [...causes],
    changed: changed.slice(0, MOST).map(({ outcome, kind, name, object }) => {
      return { outcome, kind, name, ...(object !== undefined && { object }) };
    }),
    ...error,
  };
}
