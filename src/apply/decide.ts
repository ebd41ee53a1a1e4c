/** Compares one asset of files with what is held and live, and decides its step. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { isConfigName, readConfig } from "../cni/config.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { isSystemError, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { digestOfLive, inspect, seenAs, type Live } from "../host/inspect.ts";
import type { HeldAsset, SeenFile } from "../host/record.ts";
import { statePaths } from "../host/target.ts";
import { changedMeanwhile, type FileStep } from "../host/transaction.ts";
import { examineConfigs } from "../node/checks.ts";
import { chainOf } from "../node/chain.ts";
import type { NodeView } from "../node/view.ts";
import { followBelow } from "../system/below.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { decideInstall, decideUninstall, type Decision, type Step, type StepResult } from "./plan.ts";
import type { Content } from "./plugin.ts";
import type { Directory, Wanted } from "./prepare.ts";
import { asItWillStand } from "./restore.ts";

/** What is to become of one asset. */
export interface Decided {
  step: Step;
  result: StepResult;
  warning?: Finding;
  /** What is to be written to the directory or its record; undefined: nothing. */
  file?: FileStep;
  /** The file was read and is right; the record does not say so yet. */
  seen?: SeenFile;
}

/**
 * Decides a step.
 *
 * @param content the new one; undefined: it is to be removed.
 * @throws Failure `not-a-file`, `held-by-other`, `changed-meanwhile`, and errors of the system.
 */
export async function decide(
  step: Step,
  wanted: Wanted,
  directory: Directory,
  content: Content | undefined,
  view: NodeView,
): Promise<Decided> {
  const { action, kind, name } = step;
  if (action === "leave") return leave(step, directory, view);
  const held = heldAs(directory.record?.assets ?? [], step);
  const live = inspect(directory.path, name);
  const decision = await decideStep(step, wanted, directory, live, content, view);
  const { outcome, reason, effect, keepLive, restores, seen, asset } = decision;
  const result: StepResult = { action, kind, name, outcome, ...(reason === undefined ? {} : { reason }) };
  if (kind === "config") Object.assign(result, textsOf(decision, directory, name, live, content, view));
  if (effect === "none" && !keepLive && asset === held) {
    const news = seen === undefined ? undefined : seenAs(live, seen);
    return { step, result, ...(news === undefined || isDeepStrictEqual(news, held?.seen) ? {} : { seen: news }) };
  }
  const file: FileStep = {
    kind,
    name,
    phase: action === "install" ? "add" : "remove",
    live,
    effect,
    keepLive,
    asset: asset === held ? held : withChain(asset, content),
    ...(restores === undefined ? {} : { restores }),
    ...(seen === undefined ? {} : { seen }),
    ...(content === undefined ? {} : { stage: async (path: string) => content.stage(path, live) }),
  };
  return { step, result, file };
}

/** Whoever says that an asset is there and is wrong is told so: nobody else looks. */
function leave(step: Step, directory: Directory, view: NodeView): Decided {
  const { action, kind, name } = step;
  const instead = lackOf(directory.path, name, view.places.hostRoot);
  if (instead === undefined) {
    return { step, result: { action, kind, name, outcome: "unchanged", reason: "in both lists, not compared" } };
  }
  const hint = "name it on the left of the colon only, or add --refresh, to have it installed";
  const message = `is in both lists of --${kind}s, so nothing is done, but ${instead}`;
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

function withChain(asset: HeldAsset | undefined, content: Content | undefined): HeldAsset | undefined {
  const chain = asset?.kind === "config" && content?.text !== undefined ? chainOf(asset.name, content.text) : undefined;
  return asset === undefined || chain === undefined ? asset : { ...asset, chain };
}

async function decideStep(
  step: Step,
  wanted: Wanted,
  directory: Directory,
  live: Live,
  content: Content | undefined,
  view: NodeView,
): Promise<Decision & { seen?: string }> {
  const held = heldAs(directory.record?.assets ?? [], step);
  try {
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
  { kind, name }: Step,
  { owner, takeOver, checksum }: Wanted,
  { path: directory }: Directory,
  held: HeldAsset | undefined,
  live: Live,
  content: Content,
): Promise<Decision & { seen?: string }> {
  const path = join(directory, name);
  const sameContent =
    live.stat?.size === BigInt(content.size) &&
    (await digestOfLive(path, live, checksum ? undefined : held?.seen)) === (await content.digest());
  const digest = held === undefined && !sameContent ? undefined : await content.digest();
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
    sameAsHeld: held?.digest === undefined ? sameContent : held.digest === digest,
    ...(digest === undefined ? {} : { digest }),
  });
  return decision.effect === "none" && sameContent && digest !== undefined ? { ...decision, seen: digest } : decision;
}

async function decideRemoval(
  { kind, name, pruned = false }: Step,
  { owner, validate, checksum }: Wanted,
  directory: Directory,
  held: HeldAsset | undefined,
  live: Live,
  view: NodeView,
): Promise<Decision> {
  const path = join(directory.path, name);
  const { hostRoot } = view.places;
  const backup = held?.before === undefined ? undefined : asItWillStand(directory, held.before, name, hostRoot);
  const expected = held?.digest ?? (await digestOfBackup(directory, held?.before));
  const ours =
    expected !== undefined && expected === (await digestOfLive(path, live, checksum ? undefined : held?.seen));
  const isProved = kind === "config" && backup !== undefined && validate !== "off";
  const objection = isProved ? await objectionTo(name, backup, directory.path, view) : undefined;
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

/** Why a configuration that was there before must not come back: one broken file spoils the whole directory. */
async function objectionTo(
  name: string,
  backup: string,
  directory: string,
  view: NodeView,
): Promise<string | undefined> {
  const text = readConfigText(backup);
  if (!isConfigName(name) || text === undefined) return undefined;
  const read = readConfig(name, text);
  if ("objection" in read) return read.objection.message;
  const found = await examineConfigs(readDirectoryListing(directory, new Map([[name, text]])), view, [name]);
  return found.find(({ severity }) => severity === "error")?.message;
}

function readConfigText(path: string): string | undefined {
  return readTextIfPossible(path, SIZE_LIMITS.config);
}

function textsOf(
  { effect, restores }: Decision,
  directory: Directory,
  name: string,
  live: Live,
  content: Content | undefined,
  { places: { hostRoot } }: NodeView,
): Pick<StepResult, "texts"> {
  if (effect === "none") return {};
  const before = live.type === "file" ? (readConfigText(join(directory.path, name)) ?? "") : "";
  const kept = restores === undefined ? undefined : asItWillStand(directory, restores, name, hostRoot);
  const restored = kept === undefined ? "" : (readConfigText(kept) ?? "");
  return { texts: { before, after: content?.text ?? restored } };
}

/** What the record says of the asset of a step. */
export function heldAs(held: readonly HeldAsset[], { kind, name }: Step): HeldAsset | undefined {
  return held.find((asset) => asset.kind === kind && asset.name === name);
}
