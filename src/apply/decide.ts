/** Compares one asset of files with what is held and live, and decides its step. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { KINDS } from "../asset.ts";
import { isSystemError, systemFailure } from "../errors.ts";
import { warning } from "../finding.ts";
import { digestOfLive, inspect, seenAs, type Live } from "../host/inspect.ts";
import type { HeldAsset } from "../host/record.ts";
import { statePaths } from "../host/target.ts";
import { changedMeanwhile, type FileStep } from "../host/transaction.ts";
import type { Content } from "../kinds/content.ts";
import { heldAs, type Decided, type Directory, type StepOfFile, type StepResult, type Wanted } from "../kinds/kind.ts";
import { asItWillStand } from "../kinds/restore.ts";
import { notEditable } from "../kinds/chained.ts";
import { contentWithout } from "../kinds/configs.ts";
import { FILES } from "../kinds/table.ts";
import { editChain } from "../node/chain-edit.ts";
import type { NodeView } from "../node/view.ts";
import { followBelow } from "../system/below.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { decideChained, decideInstall, decideUnchained, decideUninstall, type Decision } from "./plan.ts";

/**
 * Decides a step.
 *
 * @param content the new one; undefined: it is to be removed.
 * @throws Failure `not-a-file`, `held-by-other`, `changed-meanwhile`, and errors of the system.
 */
export async function decide(
  step: StepOfFile,
  wanted: Wanted,
  directory: Directory,
  content: Content | undefined,
  view: NodeView,
): Promise<Decided> {
  const { action, kind, name } = step;
  if (action === "leave") return leave(step, directory, view);
  const held = heldAs(directory.record?.assets ?? [], step);
  const live = inspect(directory.path, name);
  const { made = content, ...decision } = await decideStep(step, wanted, directory, live, content, view);
  const { outcome, reason, effect, keepLive, restores, liveDigest, asset, isRepair = false } = decision;
  const common = { action, kind, name, outcome };
  const result: StepResult = { ...common, ...(reason !== undefined && { reason }), ...(isRepair && { isRepair }) };
  if (FILES[kind].isShown) Object.assign(result, textsOf(decision, directory, name, live, made, view));
  if (effect === "none" && !keepLive && asset === held) return { step, result, ...newlySeen(live, liveDigest, held) };
  const file: FileStep = {
    kind,
    name,
    phase: action === "install" ? "add" : "remove",
    live,
    effect,
    keepLive,
    asset: asset === undefined || asset === held ? asset : { ...asset, ...made?.recorded?.() },
    ...(restores === undefined ? {} : { restores }),
    ...(liveDigest === undefined ? {} : { liveDigest }),
    ...(made === undefined ? {} : stagingOf(made, live)),
  };
  return { step, result, file };
}

function stagingOf(content: Content, live: Live): Pick<FileStep, "stage" | "isLate"> {
  return { stage: async (path) => content.stage(path, live), isLate: content.isLate ?? false };
}

/** What the record does not say yet of a file that was read. */
function newlySeen(live: Live, digest: string | undefined, held: HeldAsset | undefined): Pick<Decided, "seen"> {
  const seen = digest === undefined ? undefined : seenAs(live, digest);
  return seen === undefined || isDeepStrictEqual(seen, held?.seen) ? {} : { seen };
}

/** Warns of an asset that the caller says is there, and that is missing: no other step looks at it. */
function leave(step: StepOfFile, directory: Directory, view: NodeView): Decided {
  const { action, kind, name } = step;
  const instead = lackOf(directory.path, name, view.paths.hostRoot);
  if (instead === undefined) {
    return { step, result: { action, kind, name, outcome: "unchanged", reason: "in both lists, not compared" } };
  }
  const hint = "name it on the left of the colon only, or add --refresh, to have it installed";
  const message = `is in both lists of --${KINDS[kind].option}, so nothing is done, but ${instead}`;
  return {
    step,
    result: { action, kind, name, outcome: "absent", reason: `in both lists, but ${instead}` },
    warning: warning("not-on-node", join(directory.path, name), message, hint),
  };
}

/** Why an asset counts as absent; undefined: it is there, as far as can be seen. */
function lackOf(directory: string, name: string, hostRoot: string): string | undefined {
  const { type } = inspect(directory, name);
  if (type === "file") return undefined;
  if (type === "absent") return "not on the node";
  if (type !== "link") return `${type === "directory" ? "a directory" : "a special file"} is in its place`;
  const target = followBelow(hostRoot, join(directory, name));
  const isHidden = hostRoot !== "/" && target !== undefined && !fs.existsSync(dirname(target));
  const isThere = target !== undefined && fs.existsSync(target);
  return isThere || isHidden ? undefined : "a link that leads nowhere is in its place";
}

/** What was noticed on the way: the digest of a file that is right, or that it is not what was written to it. */
interface Noticed {
  liveDigest?: string;
  isRepair?: boolean;
  /** What a removal leaves of the file. */
  made?: Content;
}

async function decideStep(
  step: StepOfFile,
  wanted: Wanted,
  directory: Directory,
  live: Live,
  content: Content | undefined,
  view: NodeView,
): Promise<Decision & Noticed> {
  const held = heldAs(directory.record?.assets ?? [], step);
  try {
    const isOfOthers = held?.chained !== undefined && held.chained.copyOf === undefined;
    if (content === undefined && isOfOthers) return removeChained(step, wanted, directory, held, live);
    return content === undefined
      ? await decideRemoval(step, wanted, directory, held, live, view)
      : await decideAddition(step, wanted, directory, held, live, content);
  } catch (error) {
    const path = join(directory.path, step.name);
    // It was there a moment ago.
    if (isSystemError(error, "ENOENT") && error.path === path) throw changedMeanwhile(path);
    throw systemFailure((error as NodeJS.ErrnoException).path ?? path, "cannot be read", error);
  }
}

async function decideAddition(
  { kind, name }: StepOfFile,
  { owner, takeOver, checksum }: Wanted,
  { path: directory }: Directory,
  held: HeldAsset | undefined,
  live: Live,
  content: Content,
): Promise<Decision & Noticed> {
  const path = join(directory, name);
  const sameContent = await content.isCurrent(path, live, checksum ? undefined : held?.seen);
  const digest = held === undefined && !sameContent ? undefined : await content.digest();
  const isHeld = isHeldContent(content, held, digest);
  const renewal = sameContent ? undefined : content.renewal?.();
  if (content.entries !== undefined) {
    const decision = decideChained({ path, kind, name, held, live, sameContent, isHeld, entries: content.entries });
    return { ...decision, isRepair: isHeld && decision.effect !== "none" };
  }
  const decision = decideInstall({
    path,
    kind,
    name,
    owner,
    takeOver,
    held,
    live,
    mode: content.mode(live),
    sameContent,
    sameAsHeld: held?.digest === undefined ? sameContent : isHeld,
    digest,
    renewal,
  });
  const isSeen = decision.effect === "none" && sameContent && (decision.asset?.digest ?? digest) === digest;
  const isRepair = isHeld && decision.effect !== "none" && renewal === undefined;
  return { ...decision, ...(isSeen && digest !== undefined && { liveDigest: digest }), ...(isRepair && { isRepair }) };
}

/** Of a file of somebody else's only what was chained into it by this owner goes. */
function removeChained(
  { kind, name }: StepOfFile,
  { owner }: Wanted,
  { path: directory }: Directory,
  held: HeldAsset,
  live: Live,
): Decision & Noticed {
  const path = join(directory, name);
  const entries = held.chained?.entries ?? [];
  const text = live.type === "file" ? readShown(path) : undefined;
  const edited = text === undefined ? undefined : editChain(text, entries, [], (entry) => entry.owner !== owner);
  // Whoever writes it may keep our plugins: nothing is forgotten before that is known.
  if (edited === undefined && live.type !== "absent") throw notEditable(directory, name);
  const decision = decideUnchained({ path, kind, name, owner, held, live, before: text, after: edited });
  return edited === undefined ? decision : { ...decision, made: contentWithout(name, edited.text, live) };
}

function isHeldContent(content: Content, held: HeldAsset | undefined, digest: string | undefined): boolean {
  if (content.entries !== undefined) return held !== undefined && content.isHeld?.(held) === true;
  return held?.digest !== undefined && (held.digest === digest || content.isHeld?.(held) === true);
}

async function decideRemoval(
  { kind, name, pruned = false }: StepOfFile,
  { owner, validate, checksum }: Wanted,
  directory: Directory,
  held: HeldAsset | undefined,
  live: Live,
  view: NodeView,
): Promise<Decision> {
  const path = join(directory.path, name);
  const { hostRoot } = view.paths;
  const backup = held?.before === undefined ? undefined : asItWillStand(directory, held.before, name, hostRoot);
  const expected = held?.digest ?? (await digestOfBackup(directory, held?.before));
  const ours =
    expected !== undefined && expected === (await digestOfLive(path, live, checksum ? undefined : held?.seen));
  const isProved = backup !== undefined && validate !== "off";
  const objection = isProved ? await FILES[kind].objectionTo?.(name, backup, directory.path, view) : undefined;
  return decideUninstall({
    path,
    owner,
    pruned,
    held,
    live,
    ours,
    ...(held?.before === undefined
      ? {}
      : {
          backup: {
            path: join(statePaths(directory.path).objects, held.before),
            ...(objection === undefined ? {} : { objection }),
          },
        }),
  });
}

/** Of a file that was there before and right: it is what is ours as long as it is what it was. */
async function digestOfBackup({ objects }: Directory, object: string | undefined): Promise<string | undefined> {
  if (object === undefined) return undefined;
  return digestOfLive(join(objects, object), inspect(objects, object), undefined);
}

function textsOf(
  { effect, restores }: Decision,
  directory: Directory,
  name: string,
  live: Live,
  content: Content | undefined,
  { paths: { hostRoot } }: NodeView,
): Pick<StepResult, "texts"> {
  if (effect === "none") return {};
  const before = live.type === "file" ? (readShown(join(directory.path, name)) ?? "") : "";
  const kept = restores === undefined ? undefined : asItWillStand(directory, restores, name, hostRoot);
  const restored = kept === undefined ? "" : (readShown(kept) ?? "");
  return { texts: { before, after: content?.text ?? restored } };
}

function readShown(path: string): string | undefined {
  return readTextIfPossible(path, SIZE_LIMITS.config);
}
