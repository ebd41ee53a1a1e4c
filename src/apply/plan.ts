/** The planner: desired, held, live → steps. Pure. */
import type { Live } from "../host/inspect.ts";
import { modeOf } from "../host/inspect.ts";
import type { HeldAsset } from "../host/record.ts";
import type { ChainEntry, EditedChain } from "../node/chain-edit.ts";
import { Failure } from "../errors.ts";
import { ALL_KINDS, type Kind } from "../asset.ts";
import type { Outcome, Step } from "../kinds/kind.ts";
import type { Lists } from "../kinds/lists.ts";
import { heldReason, ownersAfter, type OwnerFacts } from "../kinds/owners.ts";
import { shellWord } from "../system/text.ts";

interface Options {
  owner: string;
  /** Compare contents also of what is in both lists. */
  refresh: boolean;
  /** Remove also what the owner holds and no longer desires. */
  prune: boolean;
}

/**
 * The ordered steps towards what is desired. First all additions, each kind after those it needs, in the given order;
 * then the removals, backwards.
 *
 * @param held what the records say, of all kinds.
 */
export function planSteps(
  lists: Partial<Record<Kind, Lists>>,
  held: readonly HeldAsset[],
  { owner, refresh, prune }: Options,
): Step[] {
  const additions = ALL_KINDS.flatMap((kind) => {
    const { desired = [], current = [] } = lists[kind] ?? {};
    return desired.map((name): Step => {
      return { action: current.includes(name) && !refresh ? "leave" : "install", kind, name };
    });
  });
  const removals = ALL_KINDS.toReversed().flatMap((kind) => {
    const { desired = [], current = [] } = lists[kind] ?? {};
    const named = current.filter((name) => !desired.includes(name)).toReversed();
    const own = held.filter((asset) => asset.kind === kind && asset.owners.includes(owner));
    const obsolete = prune && lists[kind] !== undefined ? own : [];
    const pruned = obsolete
      .map((asset) => asset.name)
      .filter((name) => !desired.includes(name) && !named.includes(name));
    return [
      ...named.map((name): Step => ({ action: "uninstall", kind, name })),
      ...pruned.toReversed().map((name): Step => ({ action: "uninstall", kind, name, pruned: true })),
    ];
  });
  return [...additions, ...removals];
}

/** What a step comes to: the outcome, what happens to the live file, and what the record says afterwards. */
export interface Decision {
  outcome: Outcome;
  reason?: string;
  effect: "write" | "remove" | "restore" | "none";
  /** The live file is somebody else's: keep it as what was there before. */
  keepLive: boolean;
  restores?: string;
  /** Undefined: the record does not name it. */
  asset: HeldAsset | undefined;
}

/** What an installation is decided upon. */
export interface InstallFacts extends OwnerFacts {
  kind: Kind;
  name: string;
  live: Live;
  /** The mode that the file is to have. */
  mode: number;
  /** The live file is a regular one with the wanted content. */
  sameContent: boolean;
  /** Of the wanted content; known whenever something is held. */
  digest?: string | undefined;
  /** Why the wanted content is another one now, although nobody else has changed the file. */
  renewal?: string | undefined;
}

/** @throws Failure `not-a-file`, `held-by-other`. */
export function decideInstall(facts: InstallFacts): Decision {
  const { path, kind, name, live } = facts;
  refuseUnlessFile(path, live);
  const owners = ownersAfter(facts);
  const isHeld = facts.held !== undefined && facts.held.owners.length > 0;
  const keepLive = !isHeld && live.type !== "absent";
  const { givenBack: _given, ...known } = facts.held ?? {};
  const asset: HeldAsset = { ...known, name, kind, owners };
  if (facts.sameContent && modeOf(live) === facts.mode) {
    const reason = isHeld ? {} : { reason: "was there already" };
    return {
      outcome: "unchanged",
      ...reason,
      effect: "none",
      keepLive,
      asset: isHeld ? confirmed(facts, asset) : asset,
    };
  }
  const outcome = live.type === "absent" ? "created" : "configured";
  return { outcome, ...reasonFor(facts, isHeld), effect: "write", keepLive, asset };
}

/** What we hold is live: the very same record where nothing about it has changed, so that nothing is written. */
function confirmed({ held, sameAsHeld, digest }: InstallFacts, asset: HeldAsset): HeldAsset {
  if (held !== undefined && sameAsHeld && held.owners.join() === asset.owners.join()) return held;
  // Somebody else brought the wanted content: from now on that is what is ours.
  return digest === undefined || sameAsHeld ? asset : { ...asset, digest };
}

function reasonFor({ live, sameContent, sameAsHeld, renewal }: InstallFacts, isHeld: boolean): { reason?: string } {
  if (live.type === "absent") return isHeld ? { reason: "it had been removed" } : {};
  if (sameContent) return { reason: "the mode was different" };
  if (live.type === "link") return { reason: "a link was in its place" };
  if (!isHeld) return { reason: "replaces a file that was there before; uninstall restores it" };
  if (renewal !== undefined) return { reason: renewal };
  return sameAsHeld ? { reason: "it had been changed" } : {};
}

/** What a removal is decided upon. */
export interface UninstallFacts {
  path: string;
  owner: string;
  pruned: boolean;
  held: HeldAsset | undefined;
  live: Live;
  /** The live file is what we wrote, or what was there before and we found right. */
  ours: boolean;
  /** Where `held.before` is kept, and why it must not come back, where it must not. */
  backup?: { path: string; objection?: string };
}

/** @throws Failure `not-a-file`. */
export function decideUninstall(facts: UninstallFacts): Decision {
  const { path, owner, held, live, ours } = facts;
  const none = { effect: "none", keepLive: false } as const;
  refuseUnlessFile(path, live);
  if (held === undefined) {
    return live.type === "absent"
      ? { outcome: "absent", ...none, asset: undefined }
      : { outcome: "deleted", effect: "remove", keepLive: false, asset: undefined };
  }
  if (held.owners.length === 0) return decideAbandoned(facts, held);
  const others = held.owners.filter((other) => other !== owner);
  if (others.length > 0) {
    const asset = others.length === held.owners.length ? held : { ...held, owners: others };
    return { outcome: "kept", reason: heldReason(held, others), ...none, asset };
  }
  if (facts.backup !== undefined && held.before !== undefined)
    return decideRestore(facts, held, facts.backup, held.before);
  if (live.type === "absent") return { outcome: "absent", ...none, asset: undefined };
  if (facts.pruned && !ours) {
    return { outcome: "kept", reason: "it was changed after cni-node wrote it", ...none, asset: held };
  }
  return { outcome: "deleted", effect: "remove", keepLive: false, asset: undefined };
}

/** Nobody holds it: an earlier uninstall gave it back, or could not put back what was there before. */
function decideAbandoned({ live, backup }: UninstallFacts, held: HeldAsset): Decision {
  const none = { effect: "none", keepLive: false } as const;
  if (live.type === "absent") {
    return backup === undefined
      ? { outcome: "absent", ...none, asset: undefined }
      : { outcome: "absent", reason: `what was there before is kept at ${backup.path}`, ...none, asset: held };
  }
  const reason = held.givenBack === true ? "an earlier uninstall gave it back" : "it is not cni-node's";
  return { outcome: "kept", reason, ...none, asset: held };
}

/** What was there before comes back, but never over a file that somebody else has put there since. */
function decideRestore(
  { live, ours }: UninstallFacts,
  held: HeldAsset,
  backup: { path: string; objection?: string },
  before: string,
): Decision {
  const none = { effect: "none", keepLive: false } as const;
  const { before: _before, digest: _digest, chain: _chain, seen: _seen, ...rest } = held;
  const abandoned: HeldAsset = { ...rest, before, owners: [] };
  const keptAt = `what was there before is kept at ${backup.path}`;
  if (live.type === "absent")
    return { outcome: "absent", reason: `it had been removed; ${keptAt}`, ...none, asset: abandoned };
  if (!ours) return { outcome: "kept", reason: `it was changed since; ${keptAt}`, ...none, asset: abandoned };
  const given: HeldAsset = { ...rest, owners: [], givenBack: true };
  if (held.digest === undefined)
    return { outcome: "kept", reason: "it was there before cni-node", ...none, asset: given };
  if (backup.objection !== undefined) {
    return {
      outcome: "deleted",
      reason: `${keptAt}: it ${backup.objection}`,
      effect: "remove",
      keepLive: false,
      asset: abandoned,
    };
  }
  return {
    outcome: "deleted",
    reason: "what was there before comes back",
    effect: "restore",
    keepLive: false,
    restores: before,
    asset: given,
  };
}

/** What is decided of a file of somebody else's into which plugins of ours are chained. */
interface ChainedFacts {
  path: string;
  kind: Kind;
  name: string;
  held: HeldAsset | undefined;
  live: Live;
}

/**
 * Chains plugins into it. Nobody owns the file, so the record has no owners and keeps no backup: what goes later are the
 * plugins.
 *
 * @throws Failure `not-a-file`.
 */
export function decideChained({
  path,
  kind,
  name,
  held,
  live,
  sameContent,
  isHeld,
  entries,
}: ChainedFacts & { sameContent: boolean; isHeld: boolean; entries: readonly ChainEntry[] }): Decision {
  refuseUnlessFile(path, live);
  const asset: HeldAsset = isHeld && held !== undefined && sameContent ? held : { ...held, name, kind, owners: [] };
  const reason = `${isHeld && !sameContent ? "it had been removed: " : ""}${typesOf(entries)} at the end of its chain`;
  return sameContent
    ? { outcome: "unchanged", reason: `has ${typesOf(entries)} in its chain`, effect: "none", keepLive: false, asset }
    : { outcome: "configured", reason, effect: "write", keepLive: false, asset };
}

/**
 * Takes an owner's plugins out of it again; those of other owners stay.
 *
 * @param facts.before the text of the file, and `after` it is edited; undefined: there is no file.
 */
export function decideUnchained({
  path,
  owner,
  held,
  live,
  before,
  after,
}: ChainedFacts & {
  held: HeldAsset;
  owner: string;
  before: string | undefined;
  after: EditedChain | undefined;
}): Decision {
  refuseUnlessFile(path, live);
  const entries = held.chained?.entries ?? [];
  const left = entries.filter((entry) => entry.owner !== owner);
  const types = typesOf(entries.filter((entry) => entry.owner === owner));
  const asset = left.length === 0 ? undefined : { ...held, chained: { ...held.chained, entries: left } };
  const none = { effect: "none", keepLive: false } as const;
  if (left.length === entries.length) {
    return { outcome: "kept", reason: "it is not cni-node's", ...none, asset: held };
  }
  if (live.type === "absent" || after === undefined) return { outcome: "absent", ...none, asset };
  if (after.text === before) {
    return { outcome: "unchanged", reason: `${types} of cni-node is not in its chain any more`, ...none, asset };
  }
  return { outcome: "configured", reason: `without ${types} of cni-node`, effect: "write", keepLive: false, asset };
}

function typesOf(entries: readonly ChainEntry[]): string {
  return [...new Set(entries.map(({ type }) => type))].join(", ");
}

function refuseUnlessFile(path: string, live: Live): void {
  if (live.type !== "directory" && live.type !== "special") return;
  throw new Failure({
    code: "not-a-file",
    subject: path,
    problem: `is ${live.type === "directory" ? "a directory" : "a special file"}, not a file of cni-node's`,
    hint: `see what it is (ls -ld ${shellWord(path)}); cni-node neither replaces nor removes it`,
  });
}
