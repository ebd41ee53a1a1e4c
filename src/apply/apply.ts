/** The story of a run: look, plan, lock, recover, look again, change. Every verb that changes files goes this way. */
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Failure, Interrupted, isAbsence, reasonOf, systemFailure, throwIfInterrupted } from "../errors.ts";
import { findDirectory, isSameDirectory, isWritable, type DirectoryRequest } from "../host/directory.ts";
import { makeDirectory, removeDirectoryIfEmpty } from "../host/disk.ts";
import { lockDirectory, type Lock } from "../host/lock.ts";
import { isLeftUntidy, readRecord, recordOf, sweep } from "../host/record.ts";
import { statePaths, Target } from "../host/target.ts";
import { recover, transact, type DirectorySteps, type TargetSteps } from "../host/transaction.ts";
import { watchDirectory } from "../host/watch.ts";
import type { Kind } from "./asset.ts";
import { warnOfElsewhere } from "./elsewhere.ts";
import type { CheckedManifests } from "./manifest.ts";
import type { StepResult } from "./plan.ts";
import type { Probed, ProbeLinks, ProbeOptions } from "./probe.ts";
import {
  asItStands,
  prepare,
  type Directory,
  type FileKind,
  type Prepared,
  type Surroundings,
  type Wanted,
} from "./prepare.ts";
import { prove } from "./proof.ts";
import { Runtime, type RuntimeOptions } from "./runtime.ts";
import { NodeView, type Places } from "./view.ts";

/** A run that changes, or would change, what is on the node. */
export interface ApplyRequest extends Wanted {
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
  /** Is told what is waited for, when that begins. */
  onWait: (what: string) => void;
  directories: Record<FileKind, DirectoryRequest>;
}

/** What a run did, or would do. */
export interface ApplyResult {
  steps: StepResult[];
  /** The networks that were tried. */
  probes: Probed[];
  warnings: string[];
}

const FILE_KINDS = ["plugin", "config"] as const satisfies readonly FileKind[];

/** A file that others change while we look is looked at again, so many times. */
const ATTEMPTS = 5;

/** How often to look whether containers have ended, milliseconds. */
const DRAIN_INTERVAL = 1000;

/**
 * Brings the node to what is desired, whole or not at all.
 *
 * @throws Failure: nothing has changed, unless its exit code is 4. Interrupted: nothing has changed.
 */
export async function apply(request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult> {
  const drainedBy = performance.now() + request.drain;
  let { isDraining, ...result } = await applyOnce(request, signal);
  if (isDraining && !request.dryRun && request.drain > 0) request.onWait("containers that need a plugin (--drain)");
  while (isDraining && !request.dryRun && performance.now() < drainedBy && !signal.aborted) {
    await sleep(Math.min(DRAIN_INTERVAL, drainedBy - performance.now()));
    const next = await applyAgain(request, result.warnings, signal);
    if (next === undefined) break;
    ({ isDraining } = next);
    result = {
      steps: merge(result.steps, next.steps),
      probes: [...result.probes, ...next.probes],
      warnings: [...new Set([...result.warnings, ...next.warnings])],
    };
  }
  return result;
}

/** What an earlier run has done is done and is told, whatever ends this one. Undefined: it has changed nothing. */
async function applyAgain(
  request: ApplyRequest,
  warnings: string[],
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof applyOnce>> | undefined> {
  try {
    return await applyOnce(request, signal);
  } catch (error) {
    const isHarmless = error instanceof Failure && error.exitCode === 1;
    if (!isHarmless && !(error instanceof Interrupted)) throw error;
    if (isHarmless) warnings.push(`the wait for containers (--drain) was given up: ${error.message}`);
    return undefined;
  }
}

function keyOf({ kind, name, object }: StepResult): string {
  return JSON.stringify([kind, name, object]);
}

/** What the first of several runs has done, but for the plugins that it had to keep. */
function merge(first: readonly StepResult[], next: readonly StepResult[]): StepResult[] {
  const later = new Map(next.map((step) => [keyOf(step), step]));
  return first.map((step) => (step.outcome === "kept" ? (later.get(keyOf(step)) ?? step) : step));
}

async function applyOnce(request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult & { isDraining: boolean }> {
  const run = new Run(request, signal);
  let finished = false;
  try {
    const result = await carryOut(run, request, signal);
    finished = true;
    return { ...result, warnings: [...run.notes, ...result.warnings, ...run.tidyUp()] };
  } finally {
    if (!finished) run.abandon();
  }
}

async function carryOut(
  run: Run,
  request: ApplyRequest,
  signal: AbortSignal,
): Promise<ApplyResult & { isDraining: boolean }> {
  const waitUntil = performance.now() + request.wait;
  let awaited = "";
  for (let attempt = 1; ; attempt++) {
    throwIfInterrupted(signal);
    // Made before looking: a change between the look and the wait is not lost.
    using watch = run.watch();
    try {
      const view = new NodeView(run.places(), signal);
      const prepared = withoutUnwritable(await prepare(request, run.look(), run.surroundings(), view));
      const needed = run.needed(prepared);
      if (!request.dryRun && !run.holds(needed)) {
        await run.lock(needed);
        continue;
      }
      const manifests = await checkManifests(prepared, request, signal);
      const steps = prepared.steps.flatMap((step) => ("outcome" in step ? step : (manifests?.resultsOf(step) ?? [])));
      const { isDraining } = prepared;
      const runtime = await askRuntime(prepared, request, signal);
      const told = new NodeView({ ...run.places(), runtimePluginDirs: runtime?.pluginDirs }, signal);
      if (request.dryRun) {
        const warnings = await prove(prepared.changes, told, request);
        return { steps, probes: [], warnings: [...run.warnings(prepared), ...warnings], isDraining };
      }
      const { probes, warnings } = await change(prepared, { manifests, request, view: told, runtime, run }, signal);
      return { steps, probes, warnings: [...run.warnings(prepared), ...warnings], isDraining };
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (error.code === "changed-meanwhile" && attempt < ATTEMPTS) continue;
      if (performance.now() >= waitUntil) throw error;
      if (error.message !== awaited)
        request.onWait(`the node to change (--wait): ${error.message.split("\n", 1).join("")}`);
      awaited = error.message;
      run.tidyUp();
      await watch.changed(waitUntil, signal);
    }
  }
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
    return `${directory}: cannot be written to, so that the record there does not say what became of ${names}; an uninstall does not know what was there before`;
  });
  return {
    ...prepared,
    parts: prepared.parts.filter((part) => !isLost(part)),
    afterwards: prepared.afterwards.filter((part) => !isLost(part)),
    warnings: [...prepared.warnings, ...warnings],
  };
}

/** Could a record be written there? */
function isStateWritable(directory: string): boolean {
  const { state } = statePaths(directory);
  return isWritable(fs.existsSync(state) ? state : directory);
}

/** Asks the API about all objects, once everything else has been decided. Undefined: there are no manifests. */
async function checkManifests(
  { steps }: Prepared,
  { manifests: options, owner }: ApplyRequest,
  signal: AbortSignal,
): Promise<CheckedManifests | undefined> {
  const manifests = steps.flatMap((step) => ("outcome" in step ? [] : [step]));
  if (manifests.length === 0) return undefined;
  const { CheckedManifests } = await import("./manifest.ts");
  return CheckedManifests.check(manifests, options, owner, signal);
}

/** A run that changes nothing asks nobody. */
async function askRuntime(
  { changes }: Prepared,
  { runtime }: ApplyRequest,
  signal: AbortSignal,
): Promise<Runtime | undefined> {
  const isIdle = changes.plugins.size === 0 && changes.configs === undefined;
  return isIdle || runtime === undefined ? undefined : Runtime.ask(runtime, signal);
}

/** Objects are applied before the files' commit point, and deleted when the files that needed them are gone. */
async function change(
  prepared: Prepared,
  around: {
    manifests: CheckedManifests | undefined;
    request: ApplyRequest;
    view: NodeView;
    runtime: Runtime | undefined;
    run: Run;
  },
  signal: AbortSignal,
): Promise<Pick<ApplyResult, "probes" | "warnings">> {
  const { parts, afterwards, changes } = prepared;
  const { manifests, request, view, runtime, run } = around;
  const warnings: string[] = [];
  let probes: Probed[] = [];
  if (parts.length === 0 && manifests === undefined) return { probes, warnings };
  try {
    const transacted = await transact(run.opened(parts), signal, {
      prove: async (stagedAs) => {
        const { pluginDirectory } = changes;
        const plugins = Array.from(changes.plugins.keys(), (name) => {
          const path = stagedAs("plugin", name);
          return [name, path && asItStands(path, join(pluginDirectory, name), view.places.hostRoot)] as const;
        });
        const staged = { ...changes, plugins: new Map(plugins) };
        warnings.push(...(await prove(staged, view, request)));
        if (request.probe !== undefined) {
          const { probeNetworks } = await import("./probe.ts");
          const tried = await probeNetworks(staged, view, request.probe, {
            isStrict: request.validate === "strict",
            links: run.probeLinks(),
          });
          ({ probes } = tried);
          warnings.push(...tried.warnings);
        }
      },
      outside: manifests,
      confirm: runtime?.confirmation(prepared, view.places, warnings),
    });
    warnings.push(...transacted);
  } catch (error) {
    if (runtime !== undefined && error instanceof Failure && error.code === "network-lost") {
      const warning = await runtime.afterUndoing();
      if (warning !== undefined) error.message += `; ${warning}`;
    }
    throw error;
  }
  await manifests?.remove(parts.length > 0 || manifests.hasApplied);
  if (afterwards.length > 0) warnings.push(...(await transact(run.opened(afterwards), new AbortController().signal)));
  return { probes, warnings };
}

function isPassing(error: unknown): error is Failure {
  return error instanceof Failure && error.passing;
}

/** The directories of a run and the locks that it holds on them. */
class Run {
  /** What was found and finished of earlier runs. */
  readonly notes: string[] = [];
  readonly #request: ApplyRequest;
  readonly #signal: AbortSignal;
  /** The directories that are asked for. */
  #targets: Partial<Record<FileKind, string>>;
  readonly #locks = new Map<string, Lock>();
  /** Directories that were looked at without a lock, held open as long as what was seen counts. */
  readonly #looked: Target[] = [];
  readonly #made: string[] = [];

  constructor(request: ApplyRequest, signal: AbortSignal) {
    this.#request = request;
    this.#signal = signal;
    const asked = FILE_KINDS.filter((kind) => isAsked(request, kind));
    this.#targets = Object.fromEntries(asked.map((kind) => [kind, findDirectory(request.directories[kind])]));
    // What was applied from a manifest is recorded beside the configurations, where that directory is mounted.
    const [config] = isAsked(request, "manifest") ? this.#visibleOf("config") : [];
    if (config !== undefined) this.#targets.config = config;
    refuseSameDirectory(Object.values(this.#targets));
  }

  watch(): Disposable & { changed(deadline: number, signal: AbortSignal): Promise<boolean> } {
    const watch = this.#request.wait > 0 ? watchDirectory(this.#request.directories.config.path) : undefined;
    return {
      changed: async (deadline, signal) => (await watch?.changed(deadline, signal)) ?? false,
      [Symbol.dispose]: () => watch?.close(),
    };
  }

  look(): Parameters<typeof prepare>[1] {
    this.#closeLooked();
    return Object.fromEntries(Object.entries(this.#targets).map(([kind, path]) => [kind, this.#lookAt(path)]));
  }

  /** @throws Failure `state-untrusted`. */
  #lookAt(path: string): Directory {
    const target = this.#locks.get(path)?.target ?? this.#open(path);
    return { path, record: target && recordOf(target), objects: target?.state?.objects ?? statePaths(path).objects };
  }

  /** Undefined: it is not there yet. */
  #open(path: string): Target | undefined {
    try {
      const target = Target.open(path);
      this.#looked.push(target);
      return target;
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw systemFailure(path, "cannot be opened", error);
    }
  }

  #closeLooked(): void {
    for (const target of this.#looked.splice(0)) target[Symbol.dispose]();
  }

  /** What is to be written, with its directories, which are locked. */
  opened(parts: readonly DirectorySteps[]): TargetSteps[] {
    return parts.map(({ directory, steps }) => {
      const lock = this.#locks.get(directory);
      if (lock === undefined) throw new Error(`${directory} is to be written and not locked`);
      return { target: lock.target, steps };
    });
  }

  places(): Places {
    const [pluginDirectory] = this.#visibleOf("plugin");
    const [configDirectory] = this.#visibleOf("config");
    const { versionLimit } = this.#request;
    return { hostRoot: realHostRoot(this.#request), pluginDirectory, configDirectory, versionLimit };
  }

  surroundings(): Surroundings {
    const [configDirectory] = this.#visibleOf("config");
    return { hostRoot: realHostRoot(this.#request), configDirectory };
  }

  /**
   * The directories that must be locked, in kind order: those to be written, and those of runs to be finished. A run
   * that changes nothing finishes nothing where it cannot write.
   */
  needed(prepared: Prepared): string[] {
    const asked = Object.values(this.#targets);
    const written = [...prepared.parts, ...prepared.afterwards].map(({ directory }) => directory);
    const untidy = asked.filter((path) => isLeftUntidy(path) && (written.includes(path) || isStateWritable(path)));
    const ids = new Set(untidy.flatMap((path) => readRecord(path)?.pending?.directories.map(({ id }) => id) ?? []));
    const members = this.#visible().filter((path) => ids.has(readRecord(path)?.directory ?? ""));
    if (written.length === 0 && !members.every(isStateWritable)) return [];
    return this.#inKindOrder(new Set([...written, ...untidy, ...members]));
  }

  holds(directories: readonly string[]): boolean {
    return directories.every((directory) => this.#locks.has(directory));
  }

  /** Locks these directories and those that were locked before, and finishes what earlier runs left in them. */
  async lock(directories: readonly string[]): Promise<void> {
    const wanted = this.#inKindOrder(new Set([...this.#locks.keys(), ...directories]));
    this.#release();
    const deadline = performance.now() + this.#request.lockTimeout;
    for (const directory of wanted) {
      try {
        this.#made.push(...makeDirectory(directory, 0o755));
      } catch (error) {
        throw systemFailure(directory, "cannot be made", error);
      }
      this.#locks.set(
        directory,
        await lockDirectory(directory, deadline, this.#signal, () => {
          this.#request.onWait(`another run in ${directory} (--lock-timeout)`);
        }),
      );
    }
    const targets = Array.from(this.#locks.values(), ({ target }) => target);
    this.notes.push(...(await recover(targets, this.#visible())));
  }

  /** Undefined: no plugin is written. */
  probeLinks(): ProbeLinks | undefined {
    const target = this.#locks.get(this.#targets.plugin ?? "")?.target;
    return target && { here: target.lockedState.probe, path: statePaths(target.path).probe };
  }

  /** What is to be said of the node and of what was prepared. */
  warnings(prepared: Prepared): string[] {
    const { runtime, directories } = this.#request;
    const isInstalled = (kind: FileKind): boolean =>
      prepared.steps.some((step) => "outcome" in step && step.kind === kind && step.action === "install");
    // A runtime that is asked tells by itself.
    const kinds = runtime === undefined ? FILE_KINDS.filter(isInstalled) : [];
    const elsewhere = kinds.flatMap((kind) => {
      return warnOfElsewhere(kind, directories[kind], this.#targets[kind] ?? "", realHostRoot(this.#request));
    });
    return [...this.#unfinished(), ...prepared.warnings, ...elsewhere];
  }

  /** What an earlier run left to be finished, for a run that finishes nothing. */
  #unfinished(): string[] {
    return Object.values(this.#targets)
      .filter((path) => !this.#locks.has(path) && readRecord(path)?.pending !== undefined)
      .map(
        (path) => `${path}: an earlier run was ended half way; the next run that changes something finishes it first`,
      );
  }

  /** Removes what is no longer needed, and frees the locks. Returns warnings. */
  tidyUp(): string[] {
    const warnings: string[] = [];
    for (const [directory, { target }] of this.#locks) {
      try {
        sweep(target, this.#visible());
      } catch (error) {
        warnings.push(
          `${directory}: left-over files of this run could not be removed: ${reasonOf(error)}; the next run does it`,
        );
      }
    }
    this.#release();
    this.#closeLooked();
    return warnings;
  }

  /** The same for a run that failed: its own failure is what is told. */
  abandon(): void {
    this.tidyUp();
    try {
      for (const directory of this.#made.toReversed()) removeDirectoryIfEmpty(directory);
    } catch {
      // An empty directory more does no harm.
    }
  }

  #release(): void {
    for (const lock of this.#locks.values()) lock.release();
    this.#locks.clear();
  }

  /** All runs lock in one order, so that no two wait for each other. */
  #inKindOrder(directories: ReadonlySet<string>): string[] {
    const known = FILE_KINDS.flatMap((kind) => this.#targets[kind] ?? this.#visibleOf(kind));
    return known.filter((path) => directories.has(path));
  }

  /** The directories of the node that can be seen from here, asked for or not, in kind order. */
  #visible(): string[] {
    return FILE_KINDS.flatMap((kind) => this.#visibleOf(kind));
  }

  #visibleOf(kind: FileKind): string[] {
    try {
      const path = this.#targets[kind] ?? findDirectory(this.#request.directories[kind]);
      return fs.existsSync(path) ? [path] : [];
    } catch {
      return [];
    }
  }
}

/** The directories are real paths; below a root that is a link they would not be recognised. */
function realHostRoot({ directories: { config } }: ApplyRequest): string {
  return fs.existsSync(config.hostRoot) ? fs.realpathSync(config.hostRoot) : config.hostRoot;
}

function isAsked({ lists, prune }: ApplyRequest, kind: Kind): boolean {
  const { desired = [], current = [] } = lists[kind] ?? {};
  return desired.length > 0 || current.length > 0 || (prune && lists[kind] !== undefined);
}

/** Two records in one place would contradict each other, and its lock would wait for itself. */
function refuseSameDirectory([first, second]: readonly string[]): void {
  if (first === undefined || second === undefined) return;
  if (first !== second && !isSameDirectory(first, second)) return;
  throw new Failure({
    code: "usage",
    subject: first,
    problem: "is named for plugins and for configs",
    hint: "give each its own with --plugin-dir and --config-dir",
    exitCode: 2,
  });
}
