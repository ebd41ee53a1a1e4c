/** The planner: desired, held, live → steps. Pure. */
import type { Live } from "../host/inspect.ts";
import { modeOf } from "../host/inspect.ts";
import type { HeldAsset } from "../host/record.ts";
import { Failure } from "../errors.ts";
import { KINDS, type Asset, type Kind, type Lists } from "./asset.ts";

/** What became of an asset, in kubectl's words where it has them. */
export type Outcome = "created" | "configured" | "unchanged" | "deleted" | "absent" | "kept";

/** One thing to do. `leave`: the caller says that it is there, so that it is not even looked at. */
export interface Step extends Asset {
  action: "install" | "uninstall" | "leave";
  /** Nobody named this asset: it is removed because its owner no longer desires it. */
  pruned?: boolean;
}

/** What became of a step, or of one object of a manifest, for the report. */
export interface StepResult {
  action: Step["action"];
  kind: Kind;
  name: string;
  /** Of a manifest: the object, `ConfigMap kube-system/a`. */
  object?: string;
  outcome: Outcome;
  reason?: string;
  /** Both contents of a configuration or object that is or would be changed. */
  texts?: { before: string; after: string };
}

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
  const additions = KINDS.flatMap((kind) => {
    const { desired = [], current = [] } = lists[kind] ?? {};
    return desired.map((name): Step => {
      return { action: current.includes(name) && !refresh ? "leave" : "install", kind, name };
    });
  });
  const removals = KINDS.toReversed().flatMap((kind) => {
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

/** What the owners of an installed asset are decided upon. */
interface OwnerFacts {
  /** What is installed, for messages. */
  path: string;
  owner: string;
  takeOver: boolean;
  held: HeldAsset | undefined;
  /** What the record says is there is the wanted content. */
  sameAsHeld: boolean;
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
  digest?: string;
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

/** Who holds an asset once this owner has installed it. @throws Failure `held-by-other`. */
export function ownersAfter({ path, held, owner, sameAsHeld, takeOver }: OwnerFacts): string[] {
  const others = held?.owners.filter((other) => other !== owner) ?? [];
  if (others.length > 0 && !sameAsHeld && !takeOver) throw heldByOther(path, others);
  return [...(sameAsHeld ? others : []), owner].toSorted();
}

/** What we hold is live: the very same record where nothing about it has changed, so that nothing is written. */
function confirmed({ held, sameAsHeld, digest }: InstallFacts, asset: HeldAsset): HeldAsset {
  if (held !== undefined && sameAsHeld && held.owners.join() === asset.owners.join()) return held;
  // Somebody else brought the wanted content: from now on that is what is ours.
  return digest === undefined || sameAsHeld ? asset : { ...asset, digest };
}

function reasonFor({ live, sameContent, sameAsHeld }: InstallFacts, isHeld: boolean): { reason?: string } {
  if (live.type === "absent") return isHeld ? { reason: "somebody had removed it" } : {};
  if (sameContent) return { reason: "the mode was different" };
  if (live.type === "link") return { reason: "a link was in its place" };
  if (!isHeld) return { reason: "replaces a file that was there before, which is kept" };
  return sameAsHeld ? { reason: "somebody had changed it" } : {};
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
    return { outcome: "kept", reason: "somebody has changed it since cni-node wrote it", ...none, asset: held };
  }
  return { outcome: "deleted", effect: "remove", keepLive: false, asset: undefined };
}

/** Why an asset stays when this owner no longer wants it. */
export function heldReason({ owners }: HeldAsset, others: readonly string[]): string {
  return `${others.length === owners.length ? "held" : "also held"} by ${others.join(", ")}`;
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
    return { outcome: "absent", reason: `somebody had removed it; ${keptAt}`, ...none, asset: abandoned };
  if (!ours) return { outcome: "kept", reason: `somebody has changed it since; ${keptAt}`, ...none, asset: abandoned };
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
    reason: "what was there before is back",
    effect: "restore",
    keepLive: false,
    restores: before,
    asset: given,
  };
}

function refuseUnlessFile(path: string, live: Live): void {
  if (live.type !== "directory" && live.type !== "special") return;
  throw new Failure({
    code: "not-a-file",
    subject: path,
    problem: `is ${live.type === "directory" ? "a directory" : "a special file"}, not a file of cni-node's`,
    hint: "look at what it is; cni-node neither replaces nor removes it",
  });
}

function heldByOther(path: string, others: readonly string[]): Failure {
  return new Failure({
    code: "held-by-other",
    subject: path,
    problem: `cannot be installed: ${others.join(", ")} holds it with other content`,
    hint: "give the same version to both, or take it over with --take-over",
  });
}
