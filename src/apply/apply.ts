/** The story of a run: look, plan, lock, recover, look again, change. Every verb that changes files goes this way. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { FILE_KINDS } from "../asset.ts";
import { Failure, Interrupted, Objections, throwIfInterrupted, withDone, withFindings } from "../errors.ts";
import { allOf, warning, type Finding } from "../finding.ts";
import type { Changes, StepResult, Wanted } from "../kinds/kind.ts";
import type { CheckedManifests } from "../kinds/manifest-objects.ts";
import type { PreparedManifest } from "../kinds/manifest-plan.ts";
import { checkManifests } from "../kinds/manifests.ts";
import { asItStands } from "../kinds/restore.ts";
import { findDirectoryIfUsable, type NodeDirectories } from "../node/directory.ts";
import { NodeView } from "../node/view.ts";
import { standDown } from "../host/control.ts";
import { transact, type DirectorySteps } from "../host/transaction.ts";
import { Deadline } from "../system/deadline.ts";
import { NextChange } from "../system/watch.ts";
import { prepare, type Prepared } from "./prepare.ts";
import type { Probed, ProbeOptions } from "./probe.ts";
import { objectionsIn, prove, warningsIn } from "./prove.ts";
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
  /** Says what takes longer than people wait without wondering. */
  onSlow?: ((what: string) => void) | undefined;
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
  /** What was finished of an earlier run, and what could not be tidied up. */
  done: Finding[];
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
async function applyOrWait(request: ApplyRequest, signal: AbortSignal): Promise<Omit<Attempt, "blockedBy" | "done">> {
  let end: Deadline | undefined;
  let awaited = "";
  let attempts = 0;
  // What an attempt has seen, the next one sees again; what it has done is done.
  let done: Finding[] = [];
  try {
    for (;;) {
      // Made before looking: a change between the look and the wait is not lost.
      using watch = request.wait > 0 ? new NextChange(request.directories.config.path) : undefined;
      const { blockedBy, done: doneNow, ...attempt } = await applyOnce(request, signal);
      done = allOf(done, doneNow);
      end ??= new Deadline(request.wait);
      const isOver = watch === undefined || end.isOver;
      if (blockedBy === undefined || (isOver && attempt.refusal === blockedBy)) {
        return { ...attempt, warnings: [...done, ...attempt.warnings] };
      }
      if (isOver) throw request.wait > 0 ? afterWait(blockedBy, request.wait) : blockedBy;
      if (blockedBy.message !== awaited) request.onWait(`the node to change (--wait): ${blockedBy.summary}`);
      awaited = blockedBy.message;
      // No event tells of the API, and other nodes wait as well.
      const pause = Math.min(API_PAUSES.longest, API_PAUSES.first * 2 ** attempts++) * (0.5 + Math.random());
      await watch.changed(blockedBy.wakers.has("poll") ? Math.min(end.left, pause) : end.left, signal);
    }
  } catch (error) {
    throw withDone(error, done);
  }
}

/** @param wait milliseconds. */
function afterWait(blockedBy: Failure, wait: number): Failure {
  return blockedBy.extendedBy(`waited ${wait / 1000} s for it (--wait)`);
}

/** Goes on removing plugins as the containers that need them end, until `drain` has passed. */
async function drain(first: ApplyResult, request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult> {
  const end = new Deadline(request.drain);
  let { steps, warnings } = first;
  const probes = [...first.probes];
  request.onWait("containers that need a plugin (--drain)");
  for (let isDraining = true; isDraining && !end.isOver;) {
    await sleep(Math.min(DRAIN_INTERVAL, end.left), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    const { attempt, ended, done } = await drainOnce(request, warnings, signal);
    warnings = allOf(warnings, [...done, ...(attempt?.warnings ?? [])]);
    if (ended !== undefined) {
      warnings.push(warning("drain-ended", "--drain", `no longer waits for containers: ${ended.message}`));
    }
    if (attempt === undefined) break;
    ({ isDraining } = attempt);
    steps = merge(steps, attempt.steps);
    probes.push(...attempt.probes);
  }
  return { steps, probes, warnings };
}

/**
 * What an earlier attempt has done is done and reported, whatever ends this one. Neither an attempt nor why it ended: it
 * was interrupted.
 *
 * @param warnings of the attempts until then.
 */
async function drainOnce(
  request: ApplyRequest,
  warnings: readonly Finding[],
  signal: AbortSignal,
): Promise<{ attempt?: Attempt; ended?: Failure; done: readonly Finding[] }> {
  try {
    const attempt = await applyOnce(request, signal);
    const { blockedBy: ended, done } = attempt;
    return ended === undefined ? { attempt, done } : { ended, done };
  } catch (error) {
    if (error instanceof Interrupted) return { done: error.findings };
    if (error instanceof Failure && error.exitCode === 1) return { ended: error, done: error.findings };
    throw withFindings(error, warnings);
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

/**
 * Tries once. Other runs in the same directories are waited for (`lockTimeout`).
 *
 * @throws Failure that waiting does not help against; Interrupted.
 */
async function applyOnce(request: ApplyRequest, signal: AbortSignal): Promise<Attempt> {
  const session = new Session(request, signal);
  let tried: Omit<Attempt, "done">;
  try {
    tried = await attemptIn(session, request, signal);
  } catch (error) {
    const left = session.abandon();
    const done = [...session.notes, ...left];
    if (!(error instanceof Failure) || !error.passing) throw withDone(error, done);
    return { steps: [], probes: [], warnings: [], isDraining: false, blockedBy: error, done };
  }
  const left = session.tidyUp();
  return { ...tried, done: [...session.notes, ...left] };
}

async function attemptIn(session: Session, request: ApplyRequest, signal: AbortSignal): Promise<Omit<Attempt, "done">> {
  for (let tries = 1; ; tries++) {
    throwIfInterrupted(signal);
    try {
      const objections = new Objections();
      const view = new NodeView(session.nodePaths(), signal);
      const looked = await during("reads what is desired and what is there", request, async () => {
        return prepare(request, session.look(), session.surroundings(), view, objections);
      });
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
): Promise<Omit<Attempt, "done">> {
  const { isDraining } = prepared;
  const unasked = prepared.steps.filter((step): step is PreparedManifest => !("outcome" in step));
  const manifests = await objections.catchLater(async () => {
    return during("asks the Kubernetes API", request, async () => {
      return checkManifests(unasked, request, signal, objections);
    });
  });
  const steps = prepared.steps.flatMap((step) => ("outcome" in step ? step : (manifests?.resultsOf(step) ?? [])));
  const runtime = await objections.catchLater(async () => {
    return during("asks the container runtime", request, async () => askRuntime(prepared, request, signal));
  });
  const paths = session.nodePaths();
  const pluginDirs = runtime?.pluginDirs ?? paths.runtimePluginDirs;
  const view = new NodeView({ ...paths, runtimePluginDirs: pluginDirs }, signal);
  const known = session.warnings(prepared, runtime);
  if (!request.dryRun && !objections.any) {
    try {
      const { probes, warnings } = await change({ prepared, manifests, request, view, runtime, session }, signal);
      return { steps, probes, warnings: [...known, ...warnings], isDraining };
    } catch (error) {
      throw withFindings(error, known);
    }
  }
  const found = await objections.catchLater(async () => prove(prepared.changes, view, { ...request, dryRun: true }));
  for (const objection of objectionsIn(found ?? [])) objections.add(objection);
  const warnings = [...known, ...warningsIn(found ?? [])];
  const refusal = objections.failure;
  if (!request.dryRun && refusal !== undefined) throw withFindings(refusal, warnings);
  return {
    steps,
    probes: [],
    warnings,
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

/** So long people wait without wondering, milliseconds. */
const SLOW_MS = 1000;

/** Says what goes on, if it takes long. */
async function during<Result>(what: string, request: ApplyRequest, work: () => Promise<Result>): Promise<Result> {
  using _ = whileSlow(what, request);
  return await work();
}

function whileSlow(what: string, { onSlow }: ApplyRequest): Disposable {
  const timer = onSlow && setTimeout(onSlow, SLOW_MS, what);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** `19 plugins and 1 config` */
function describeCopies(parts: readonly DirectorySteps[]): string {
  const steps = parts.flatMap((part) => part.steps).filter(({ effect }) => effect === "write");
  const kinds = Map.groupBy(steps, ({ kind }) => kind);
  const counts = Array.from(
    kinds,
    ([kind, { length }]) => `${length} ${kind}${length === 1 || kind.endsWith("s") ? "" : "s"}`,
  );
  return counts.join(" and ") || "nothing";
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
  const { prepared, manifests, view, runtime, session, request } = about;
  const { parts, afterwards } = prepared;
  if (parts.length === 0) await session.remember(prepared.seen);
  if (parts.length === 0 && manifests === undefined) return { probes: [], warnings: [] };
  const probes: Probed[] = [];
  const copying = whileSlow(`copies ${describeCopies(parts)}`, request);
  const warnings = await transact(session.opened(parts), signal, {
    prove: async (stagedAs) => {
      copying[Symbol.dispose]();
      const staged = changesStaged(prepared.changes, stagedAs, view);
      const found = await during("proves what is to go live", request, async () => proveStaged(staged, about));
      try {
        const tried = await during("tries the networks", request, async () => tryStaged(staged, about));
        probes.push(...tried.probes);
        return [...found, ...tried.warnings];
      } catch (error) {
        throw withFindings(error, found);
      }
    },
    outside: manifests && {
      act: async () => during("applies the objects", request, async () => manifests.act()),
      undo: async () => manifests.undo(),
    },
    confirm:
      runtime &&
      (async () => {
        return during("waits for the container runtime", request, async () => runtime.confirm(prepared, view.paths));
      }),
  })
    .catch((error: unknown) => withNetworkBack(error, runtime))
    .finally(() => copying[Symbol.dispose]());
  try {
    await manifests?.remove(parts.length > 0 || manifests.hasApplied);
    const recorded =
      afterwards.length === 0 ? [] : await transact(session.opened(afterwards), new AbortController().signal);
    return { probes, warnings: [...warnings, ...prepared.said(), ...recorded] };
  } catch (error) {
    // The files are live.
    throw withFindings(error, [...warnings, ...prepared.said()]);
  }
}

/** The changes, with plugins where they are staged. */
function changesStaged(
  changes: Changes,
  stagedAs: (kind: string, name: string) => string | undefined,
  { paths: { hostRoot } }: NodeView,
): Changes {
  const plugins = Array.from(changes.plugins.keys(), (name) => {
    const path = stagedAs("plugin", name);
    return [name, path && asItStands(path, join(changes.pluginDirectory, name), hostRoot)] as const;
  });
  return { ...changes, plugins: new Map(plugins) };
}

/** Returns the warnings. @throws Failure the first objection, which knows the others. */
async function proveStaged(staged: Changes, { view, request }: Change): Promise<Finding[]> {
  const found = await prove(staged, view, request);
  const objections = new Objections();
  for (const objection of objectionsIn(found)) objections.add(objection);
  if (objections.failure !== undefined) throw withFindings(objections.failure, warningsIn(found));
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
