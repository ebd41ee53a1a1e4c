/** The story of a run: look, plan, lock, recover, look again, change. Every verb that changes files goes this way. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { FILE_KINDS } from "../asset.ts";
import { Failure, Interrupted, Objections, throwIfInterrupted } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Changes, StepResult, Wanted } from "../kinds/kind.ts";
import type { CheckedManifests } from "../kinds/manifest-objects.ts";
import type { PreparedManifest } from "../kinds/manifest-plan.ts";
import { checkManifests } from "../kinds/manifests.ts";
import { asItStands } from "../kinds/restore.ts";
import { findDirectoryIfUsable, type NodeDirectories } from "../node/directory.ts";
import { NodeView } from "../node/view.ts";
import { standDown } from "../host/control.ts";
import { transact, type DirectorySteps } from "../host/transaction.ts";
import { NextChange } from "../system/watch.ts";
import { prepare, type Prepared } from "./prepare.ts";
import type { Probed, ProbeOptions } from "./probe.ts";
import { objectionsIn, prove } from "./prove.ts";
import { Runtime, type RuntimeOptions } from "./runtime.ts";
import { isStateWritable, Session } from "./session.ts";

/** A run that changes, or would change, what is on the node. */
export interface ApplyRequest extends Wanted, NodeDirectories {
  dryRun: boolean;
  /** How long to wait for files that pointers name, milliseconds. */
  wait: number;
  /** How long to wait for the containers that need a plugin which is to be removed, milliseconds. */
  drain: number;
  /** How long to wait for other runs in the same directories, milliseconds. */
  lockTimeout: number;
  /** How long a plugin may take to answer VERSION, milliseconds. */
  versionLimit?: number | undefined;
  /** The container runtime to be asked, if any. */
  runtime?: RuntimeOptions;
  /** Try the networks that change, before they do. */
  probe?: ProbeOptions;
  /** A process that keeps what this owner holds stands down until this run has ended, and for good if it succeeds. */
  standDown: boolean;
  /** Is told what is waited for, when that begins. */
  onWait: (what: string) => void;
}

/** What a run did, or would do. */
export interface ApplyResult {
  steps: StepResult[];
  /** The networks that were tried. */
  probes: Probed[];
  warnings: Finding[];
  /** Of a dry run: why the run would be refused. Steps that cannot even be planned are left out. */
  refusal?: Failure;
}

/** What came of one attempt. */
interface Attempt extends ApplyResult {
  /** Plugins stay because of containers that may end. */
  isDraining: boolean;
  /** Nothing was changed, and why: the node may change so that another attempt succeeds. */
  blockedBy?: Failure;
}

/** A file that others change while we look is looked at again, so many times. */
const ATTEMPTS = 5;

/** The pauses between questions to the API for values that are awaited, milliseconds: each twice the one before. */
const API_PAUSES = { first: 1000, longest: 8000 };

/** How often to look whether containers have ended, milliseconds. */
const DRAIN_INTERVAL = 1000;

/**
 * Brings the node to what is desired, whole or not at all; waits for what blocks it (`wait`, `drain`) and tries again.
 *
 * @throws Failure: nothing has changed, unless its exit code is 4. Interrupted: nothing has changed.
 */
export async function apply(request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult> {
  using hold =
    request.standDown && !request.dryRun ? await standDown(directoriesOf(request), request.owner) : undefined;
  const { isDraining, ...first } = await applyOrWait(request, signal);
  const isDrained = isDraining && !request.dryRun && request.drain > 0;
  const result = isDrained ? await drain(first, request, signal) : first;
  hold?.keep();
  return result;
}

function directoriesOf({ directories }: ApplyRequest): string[] {
  return FILE_KINDS.flatMap((kind) => findDirectoryIfUsable(directories[kind]) ?? []);
}

/** Tries until nothing blocks it that may pass, or until `wait` has passed since the first attempt. */
async function applyOrWait(request: ApplyRequest, signal: AbortSignal): Promise<Omit<Attempt, "blockedBy">> {
  let end: number | undefined;
  let awaited = "";
  let attempts = 0;
  for (;;) {
    // Made before looking: a change between the look and the wait is not lost.
    using watch = request.wait > 0 ? new NextChange(request.directories.config.path) : undefined;
    const { blockedBy, ...attempt } = await applyOnce(request, signal);
    end ??= performance.now() + request.wait;
    const isOver = watch === undefined || performance.now() >= end;
    if (blockedBy === undefined || (isOver && attempt.refusal === blockedBy)) return attempt;
    if (isOver) throw request.wait > 0 ? afterWait(blockedBy, request.wait) : blockedBy;
    if (blockedBy.message !== awaited) {
      request.onWait(`the node to change (--wait): ${blockedBy.message.split("\n", 1).join("")}`);
    }
    awaited = blockedBy.message;
    // No event tells of the API, and other nodes wait as well.
    const pause = Math.min(API_PAUSES.longest, API_PAUSES.first * 2 ** attempts++) * (0.5 + Math.random());
    const next = blockedBy.code === "value-missing" ? performance.now() + pause : end;
    await watch.changed(Math.min(end, next), signal);
  }
}

/** @param wait milliseconds. */
function afterWait(blockedBy: Failure, wait: number): Failure {
  // An excerpt of a template comes last.
  return blockedBy.problem.includes("\n") ? blockedBy : blockedBy.extendedBy(`waited ${wait / 1000} s for it (--wait)`);
}

/** Goes on removing plugins as the containers that need them end, until `drain` has passed. */
async function drain(first: ApplyResult, request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult> {
  const end = performance.now() + request.drain;
  let result = first;
  request.onWait("containers that need a plugin (--drain)");
  for (let isDraining = true; isDraining && performance.now() < end && !signal.aborted;) {
    await sleep(Math.min(DRAIN_INTERVAL, end - performance.now()));
    const next = await drainOnce(request, signal);
    if (next instanceof Failure) {
      const ended = warning("drain-ended", "--drain", `no longer waits for containers: ${next.message}`);
      return { ...result, warnings: [...result.warnings, ended] };
    }
    if (next === undefined) break;
    ({ isDraining } = next);
    result = {
      steps: merge(result.steps, next.steps),
      probes: [...result.probes, ...next.probes],
      warnings: union(result.warnings, next.warnings),
    };
  }
  return result;
}

/** What an earlier attempt has done is done and reported, whatever ends this one. Undefined: it was interrupted. */
async function drainOnce(request: ApplyRequest, signal: AbortSignal): Promise<Attempt | Failure | undefined> {
  try {
    const attempt = await applyOnce(request, signal);
    return attempt.blockedBy ?? attempt;
  } catch (error) {
    if (error instanceof Interrupted) return undefined;
    if (error instanceof Failure && error.exitCode === 1) return error;
    throw error;
  }
}

function keyOf({ kind, name, object }: StepResult): string {
  return JSON.stringify([kind, name, object]);
}

/** What the first of several attempts has done, but for the plugins that it had to keep. */
function merge(first: readonly StepResult[], next: readonly StepResult[]): StepResult[] {
  const later = new Map(next.map((step) => [keyOf(step), step]));
  return first.map((step) => (step.outcome === "kept" ? (later.get(keyOf(step)) ?? step) : step));
}

function union(first: readonly Finding[], next: readonly Finding[]): Finding[] {
  return [...new Map([...first, ...next].map((one) => [JSON.stringify(one), one])).values()];
}

/**
 * Tries once. Other runs in the same directories are waited for (`lockTimeout`).
 *
 * @throws Failure that waiting does not help against; Interrupted.
 */
async function applyOnce(request: ApplyRequest, signal: AbortSignal): Promise<Attempt> {
  const session = new Session(request, signal);
  let isDone = false;
  try {
    const attempt = await attemptIn(session, request, signal);
    isDone = true;
    return { ...attempt, warnings: [...session.notes, ...attempt.warnings, ...session.tidyUp()] };
  } catch (error) {
    if (!(error instanceof Failure) || !error.passing) throw error;
    return { steps: [], probes: [], warnings: session.notes, isDraining: false, blockedBy: error };
  } finally {
    if (!isDone) session.abandon();
  }
}

async function attemptIn(session: Session, request: ApplyRequest, signal: AbortSignal): Promise<Attempt> {
  for (let tries = 1; ; tries++) {
    throwIfInterrupted(signal);
    try {
      const objections = new Objections();
      const view = new NodeView(session.places(), signal);
      const looked = await prepare(request, session.look(), session.surroundings(), view, objections);
      const prepared = withoutUnwritable(looked);
      const needed = session.needed(prepared);
      if (!request.dryRun && !objections.any && !session.holds(needed)) {
        await session.lock(needed);
        continue;
      }
      return await carryOut(prepared, objections, session, request, signal);
    } catch (error) {
      const isOther = !(error instanceof Failure) || error.code !== "changed-meanwhile";
      if (isOther || tries >= ATTEMPTS) throw error;
    }
  }
}

/** Changes what was prepared; a dry run, and one that is refused already, collects what else there is to object. */
async function carryOut(
  prepared: Prepared,
  objections: Objections,
  session: Session,
  request: ApplyRequest,
  signal: AbortSignal,
): Promise<Attempt> {
  const { isDraining } = prepared;
  const unasked = prepared.steps.filter((step): step is PreparedManifest => !("outcome" in step));
  const manifests = await objections.catchLater(async () => checkManifests(unasked, request, signal, objections));
  const steps = prepared.steps.flatMap((step) => ("outcome" in step ? step : (manifests?.resultsOf(step) ?? [])));
  const runtime = await objections.catchLater(async () => askRuntime(prepared, request, signal));
  const places = session.places();
  const pluginDirs = runtime?.pluginDirs ?? places.runtimePluginDirs;
  const view = new NodeView({ ...places, runtimePluginDirs: pluginDirs }, signal);
  if (!request.dryRun && !objections.any) {
    const { probes, warnings } = await change({ prepared, manifests, request, view, runtime, session }, signal);
    return { steps, probes, warnings: [...session.warnings(prepared, runtime), ...warnings], isDraining };
  }
  const found = await objections.catchLater(async () => prove(prepared.changes, view, { ...request, dryRun: true }));
  for (const objection of objectionsIn(found ?? [])) objections.add(objection);
  if (!request.dryRun) objections.throwIfAny();
  const refusal = objections.failure;
  const told = (found ?? []).filter(({ severity }) => severity !== "error");
  return {
    steps,
    probes: [],
    warnings: [...session.warnings(prepared, runtime), ...told],
    isDraining,
    ...(refusal === undefined ? {} : { refusal }),
    ...(refusal?.passing === true ? { blockedBy: refusal } : {}),
  };
}

/** Nothing is to be done there but to note something that cannot be noted. */
function isLost({ directory, steps }: DirectorySteps): boolean {
  return steps.every(({ effect }) => effect === "none") && !isStateWritable(directory);
}

/**
 * Without what would only be noted in the record of a directory that cannot be written to: nothing else changes there,
 * so that the run need not fail for it.
 */
function withoutUnwritable(prepared: Prepared): Prepared {
  const all = [...prepared.parts, ...prepared.afterwards];
  const lost = Map.groupBy(all.filter(isLost), ({ directory }) => directory);
  const warnings = Array.from(lost, ([directory, parts]) => {
    const names = parts.flatMap(({ steps }) => steps.map(({ name }) => name)).join(", ");
    const message = `cannot be written to, so that the record there does not say what became of ${names}`;
    return warning("record-unwritable", directory, message, "an uninstall does not know what was there before");
  });
  return {
    ...prepared,
    parts: prepared.parts.filter((part) => !isLost(part)),
    afterwards: prepared.afterwards.filter((part) => !isLost(part)),
    warnings: [...prepared.warnings, ...warnings],
  };
}

/** A run that changes nothing asks nobody. */
async function askRuntime(
  { changes }: Prepared,
  { runtime }: ApplyRequest,
  signal: AbortSignal,
): Promise<Runtime | undefined> {
  const isIdle = changes.plugins.size === 0 && (changes.configs?.changed.length ?? 0) === 0;
  return isIdle || runtime === undefined ? undefined : Runtime.ask(runtime, signal);
}

/** What the steps of a change have in common. */
interface Change {
  prepared: Prepared;
  manifests: CheckedManifests | undefined;
  request: ApplyRequest;
  view: NodeView;
  runtime: Runtime | undefined;
  session: Session;
}

/** Objects are applied before the files' commit point, and deleted when the files that needed them are gone. */
async function change(about: Change, signal: AbortSignal): Promise<Pick<ApplyResult, "probes" | "warnings">> {
  const { prepared, manifests, view, runtime, session } = about;
  const { parts, afterwards } = prepared;
  if (parts.length === 0) await session.remember(prepared.seen);
  if (parts.length === 0 && manifests === undefined) return { probes: [], warnings: [] };
  const probes: Probed[] = [];
  const warnings = await transact(session.opened(parts), signal, {
    prove: async (stagedAs) => {
      const staged = changesStaged(prepared.changes, stagedAs, view);
      const found = await proveStaged(staged, about);
      const tried = await tryStaged(staged, about);
      probes.push(...tried.probes);
      return [...found, ...tried.warnings];
    },
    outside: manifests,
    confirm: runtime && (async () => runtime.confirm(prepared, view.places)),
  }).catch((error: unknown) => withNetworkBack(error, runtime));
  await manifests?.remove(parts.length > 0 || manifests.hasApplied);
  const recorded =
    afterwards.length === 0 ? [] : await transact(session.opened(afterwards), new AbortController().signal);
  return { probes, warnings: [...warnings, ...prepared.said(), ...recorded] };
}

/** The changes, with plugins where they are staged. */
function changesStaged(
  changes: Changes,
  stagedAs: (kind: string, name: string) => string | undefined,
  { places: { hostRoot } }: NodeView,
): Changes {
  const plugins = Array.from(changes.plugins.keys(), (name) => {
    const path = stagedAs("plugin", name);
    return [name, path && asItStands(path, join(changes.pluginDirectory, name), hostRoot)] as const;
  });
  return { ...changes, plugins: new Map(plugins) };
}

/** @throws Failure the first objection, which knows the others. */
async function proveStaged(staged: Changes, { view, request }: Change): Promise<Finding[]> {
  const found = await prove(staged, view, request);
  const objections = new Objections();
  for (const objection of objectionsIn(found)) objections.add(objection);
  objections.throwIfAny();
  return found;
}

/** Tries the networks that change, if that is asked for. */
async function tryStaged(
  staged: Changes,
  { request: { probe, validate }, view, session }: Change,
): Promise<Pick<ApplyResult, "probes" | "warnings">> {
  if (probe === undefined) return { probes: [], warnings: [] };
  const { probeNetworks } = await import("./probe.ts");
  return probeNetworks(staged, view, probe, { isStrict: validate === "strict", links: session.probeLinks() });
}

/** Everything was undone; the runtime may need its time to see it. @throws the error, which says so. */
async function withNetworkBack(error: unknown, runtime: Runtime | undefined): Promise<never> {
  if (!(error instanceof Failure) || error.code !== "network-lost") throw error;
  const more = await runtime?.afterUndoing();
  throw more === undefined ? error : error.extendedBy(more);
}
