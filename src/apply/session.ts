/** The directories of a run: found, looked at, locked, recovered, tidied up. */
import * as fs from "node:fs";

import { usage } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { ALL_KINDS, FILE_KINDS, isFileKind, KINDS, type FileKind, type Kind } from "../asset.ts";
import {
  findDirectory,
  findDirectoryIfUsable,
  isWritable,
  realHostRoot,
  type DirectoryRequest,
} from "../node/directory.ts";
import { lockDirectory, type DirectoryLock } from "../host/lock.ts";
import { LockedDirectories } from "../host/locked.ts";
import { isLeftUntidy, readRecord, recordOf } from "../host/record.ts";
import { noteSeen } from "../host/remember.ts";
import { statePaths } from "../host/target.ts";
import type { DirectorySteps, TargetSteps } from "../host/transaction.ts";
import type { ApplyRequest } from "./apply.ts";
import { warnOfElsewhere } from "../node/elsewhere.ts";
import { pathsInView } from "../node/runtime.ts";
import { shownAs } from "../system/below.ts";
import { Deadline } from "../system/deadline.ts";
import { isSameFile } from "../system/inode.ts";
import type { NodePaths } from "../node/view.ts";
import type { Runtime } from "./runtime.ts";
import type { Directories, Directory, Surroundings } from "../kinds/kind.ts";
import { FILES } from "../kinds/table.ts";
import type { Prepared } from "./prepare.ts";
import type { ProbeLinks } from "./probe.ts";

/** The directories of a run and the locks that it holds on them. */
export class Session {
  readonly #request: ApplyRequest;
  readonly #signal: AbortSignal;
  /** The directories of the node; without those that are not asked for and cannot be used. */
  readonly #found: Partial<Record<FileKind, string>>;
  /** The directories that are asked for. */
  readonly #targets: Partial<Record<FileKind, string>>;
  readonly #directories: LockedDirectories;

  constructor(request: ApplyRequest, signal: AbortSignal) {
    this.#request = request;
    this.#signal = signal;
    const found = FILE_KINDS.map((kind) => [kind, findIfPossible(request, kind)] as const);
    this.#found = Object.fromEntries(found.filter(([, path]) => path !== undefined));
    const { lockTimeout, onWait } = request;
    const modeOf = (directory: string): number => this.#modeOf(directory);
    const known = found.flatMap(([, path]) => path ?? []);
    this.#directories = new LockedDirectories(known, { signal, lockTimeout, onWait, modeOf });
    const asked = ALL_KINDS.filter((kind) => isAsked(request, kind));
    // What has no files on the node is recorded beside those of another kind, where that directory is mounted.
    const recording = asked.map((kind) => KINDS[kind].recordedIn).filter((kind) => this.#visibleOf(kind).length > 0);
    const targets = new Set<string>([...asked, ...recording]);
    this.#targets = Object.fromEntries(Object.entries(this.#found).filter(([kind]) => targets.has(kind)));
    refuseSameDirectory(this.#targets, this.#found, request.directories);
    const hostRoot = realHostRoot(request.directories);
    for (const kind of FILE_KINDS) {
      const path = this.#targets[kind];
      if (path !== undefined)
        FILES[kind].refuseDirectory?.(path, shownAs(hostRoot, path), request.directories[kind].option);
    }
  }

  /** What was found and finished of earlier runs. */
  get notes(): Finding[] {
    return this.#directories.notes;
  }

  /** The directories that are asked for, as they are now. @throws Failure `state-untrusted`. */
  look(): Directories {
    this.#directories.lookAnew();
    return Object.fromEntries(Object.entries(this.#targets).map(([kind, path]) => [kind, this.#lookAt(path)]));
  }

  /** @throws Failure `state-untrusted`. */
  #lookAt(path: string): Directory {
    const target = this.#directories.look(path);
    return { path, record: target && recordOf(target), objects: target?.state?.objects ?? statePaths(path).objects };
  }

  /** What is to be written, with its directories, which are locked. */
  opened(parts: readonly DirectorySteps[]): TargetSteps[] {
    return parts.map(({ directory, steps }) => ({ target: this.#directories.targetOf(directory), steps }));
  }

  /** What of the node can be seen, asked for or not. */
  nodePaths(): NodePaths {
    const [pluginDirectory] = this.#visibleOf("plugin");
    const [configDirectory] = this.#visibleOf("config");
    const hostRoot = realHostRoot(this.#request.directories);
    const runtimePluginDirs = pathsInView(hostRoot, this.#request.looks.plugin);
    const { versionLimit } = this.#request;
    return { hostRoot, pluginDirectory, configDirectory, runtimePluginDirs, versionLimit };
  }

  /** The same, as policies need it. */
  surroundings(): Surroundings {
    const [configDirectory] = this.#visibleOf("config");
    return { hostRoot: realHostRoot(this.#request.directories), configDirectory };
  }

  /**
   * The directories that must be locked, in kind order: those to be written, and those of runs to be finished. A run
   * that changes nothing finishes nothing where it cannot write.
   */
  needed(prepared: Prepared): string[] {
    const asked = Object.values(this.#targets);
    const written = [...prepared.parts, ...prepared.afterwards].map(({ directory }) => directory);
    const untidy = asked.filter((path) => isLeftUntidy(path) && (written.includes(path) || isStateWritable(path)));
    const members = this.#directories.ofSameRuns(untidy);
    if (written.length === 0 && !members.every(isStateWritable)) return [];
    return this.#directories.inOrder(new Set([...written, ...untidy, ...members]));
  }

  /** Are these locked? */
  holds(directories: readonly string[]): boolean {
    return this.#directories.holds(directories);
  }

  /** Locks these directories and those that were locked before, and finishes what earlier runs left in them. */
  async lock(directories: readonly string[]): Promise<void> {
    await this.#directories.lock(directories);
  }

  /** The mode of a directory that is made. */
  #modeOf(directory: string): number {
    const kind = FILE_KINDS.find((one) => this.#found[one] === directory);
    return kind === undefined ? 0o755 : KINDS[kind].mode;
  }

  /** Notes what was read, for the next run not to read it again, where that is possible without waiting. */
  async remember(seen: Prepared["seen"]): Promise<void> {
    for (const [directory, files] of seen) {
      let lock: DirectoryLock | undefined;
      try {
        lock = await lockDirectory(directory, new Deadline(0), this.#signal);
        noteSeen(lock.target, files);
      } catch {
        // Another run works there, or nothing can be written: the next run reads the files again.
      } finally {
        lock?.release();
      }
    }
  }

  /** Undefined: no plugin is written. */
  probeLinks(): ProbeLinks | undefined {
    const target = this.#directories.locked(this.#targets.plugin ?? "");
    return target && { here: target.lockedState.probe, path: statePaths(target.path).probe };
  }

  /** What is to be said of the node and of what was prepared. */
  warnings(prepared: Prepared, runtime: Runtime | undefined): Finding[] {
    const { directories } = this.#request;
    const { looks } = runtime ?? this.#request;
    const isInstalled = (kind: FileKind): boolean =>
      prepared.steps.some((step) => "outcome" in step && step.kind === kind && step.action === "install");
    const elsewhere = FILE_KINDS.filter(isInstalled).flatMap((kind) => {
      return warnOfElsewhere(
        kind,
        directories[kind],
        this.#targets[kind] ?? "",
        realHostRoot(this.#request.directories),
        looks[kind],
      );
    });
    return [...this.#unfinished(), ...prepared.warnings, ...elsewhere];
  }

  /** What an earlier run left to be finished, for a run that finishes nothing. */
  #unfinished(): Finding[] {
    return Object.values(this.#targets)
      .filter((path) => !this.#directories.holds([path]) && readRecord(path)?.pending !== undefined)
      .map((path) => {
        const hint = "the next run that changes something finishes it first";
        return warning("run-unfinished", path, "an earlier run was interrupted", hint);
      });
  }

  /** Removes what is no longer needed, and frees the locks. Returns warnings. */
  tidyUp(): Finding[] {
    return this.#directories.tidyUp();
  }

  /** The same for a run that failed. */
  abandon(): Finding[] {
    return this.#directories.abandon();
  }

  #visibleOf(kind: FileKind): string[] {
    const { [kind]: path } = this.#found;
    return path !== undefined && fs.existsSync(path) ? [path] : [];
  }
}

/** Undefined: it cannot be used, and is not asked for. @throws Failure if it is. */
function findIfPossible(request: ApplyRequest, kind: FileKind): string | undefined {
  const { [kind]: directory } = request.directories;
  return isAsked(request, kind) ? findDirectory(directory) : findDirectoryIfUsable(directory);
}

/** Could a record be written there? */
export function isStateWritable(directory: string): boolean {
  const { state } = statePaths(directory);
  return isWritable(fs.existsSync(state) ? state : directory);
}

function isAsked(request: ApplyRequest, kind: Kind): boolean {
  const { lists, prune } = request;
  const { desired = [], current = [] } = lists[kind] ?? {};
  if (isFileKind(kind) && FILES[kind].isAsked?.(request) === true) return true;
  return desired.length > 0 || current.length > 0 || (prune && lists[kind] !== undefined);
}

/** Two records in one place would contradict each other, and its lock would wait for itself. */
function refuseSameDirectory(
  targets: Partial<Record<FileKind, string>>,
  all: Partial<Record<FileKind, string>>,
  requests: Record<FileKind, DirectoryRequest>,
): void {
  const named = FILE_KINDS.flatMap((kind) => {
    const path = all[kind];
    return path === undefined ? [] : [{ ...requests[kind], path, isTarget: targets[kind] !== undefined }];
  });
  for (const [index, first] of named.entries()) {
    const second = named.slice(index + 1).find(({ path }) => path === first.path || isSameFile(path, first.path));
    if (second === undefined || !(first.isTarget || second.isTarget)) continue;
    const problem = `is named for ${first.holds} and for ${second.holds}`;
    throw usage(first.path, problem, `give each its own with ${first.option} and ${second.option}`);
  }
}
