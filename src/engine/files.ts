/** Writes and removes files of ours in several directories of the host, whole or not at all, with the record of each. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { Failure, systemFailure, withDone } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { digestOfLive, inspect, modeOf, type Live } from "../host/inspect.ts";
import { LockedDirectories } from "../host/locked.ts";
import { isLeftUntidy, recordOf, type HeldAsset, type SeenFile } from "../host/record.ts";
import { statePaths, type Target } from "../host/target.ts";
import { transact, type FileStep, type Surrounding } from "../host/transaction.ts";
import { createCopy, createFile, digestOfFile } from "../system/disk.ts";
import { hasBytes } from "../kinds/content.ts";
import type { Outcome } from "../kinds/kind.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";

/** For the report. */
export interface FileResult {
  outcome: Outcome;
  /** As this process sees it. */
  path: string;
  reason?: string;
}

/** A file as it is now, and what is known of it. */
export interface Look {
  path: string;
  live: Live;
  held: HeldAsset | undefined;
  /** The content; undefined: there is none. @throws Failure */
  text(this: void): string | undefined;
  /** What was there before, if that was kept. @throws Failure */
  before(this: void): string | undefined;
}

/** New content of a file. */
export type NewContent = { text: string; mode?: number } | { copyOf: string; mode: number };

/**
 * What is to become of a file; `restore` brings back what was there before. `keep`: from now on, this counts as what was
 * there before.
 */
export type Wish =
  | { action: "write"; content: NewContent; reason?: string; keep?: string }
  | { action: "remove"; reason?: string; evenIfChanged?: boolean }
  | { action: "leave" | "restore"; reason?: string };

/** A file that is to be written or removed. */
export interface WantedFile {
  directory: string;
  name: string;
  /** How the record calls it: a program is a `plugin`, a text a `config`. */
  kind: "plugin" | "config";
  /** What needs it. A file that nothing needs any more goes. */
  owner: string;
  /** Is it to be there? */
  isWanted: boolean;
  /** It goes, whatever else has needed it. */
  isStale?: boolean;
  /** What is done. Asked again under the lock. */
  wish(look: Look): Wish;
}

/** How a run is done. */
export interface RunOptions {
  signal: AbortSignal;
  lockTimeoutMs: number;
  dryRun: boolean;
  onWait(this: void, what: string): void;
}

/** A file to write whole. */
export function fileToWrite(file: Omit<WantedFile, "wish" | "isWanted">, content: NewContent): WantedFile {
  return { ...file, isWanted: true, wish: () => ({ action: "write", content }) };
}

/** A file of ours to remove. What was there before comes back. */
export function fileToRemove(file: Omit<WantedFile, "wish" | "isWanted">): WantedFile {
  return {
    ...file,
    isWanted: false,
    wish: ({ held }) => ({ action: held?.before === undefined ? "remove" : "restore" }),
  };
}

interface Decided {
  directory: string;
  result: FileResult;
  step?: FileStep;
}

/**
 * Carries out what is wanted, directory by directory in the order of the files; removals go backwards.
 *
 * @param known all directories that engine commands write to on this host, in the order of all runs.
 * @throws Failure as `transact`. Interrupted.
 */
export async function changeFiles(
  files: readonly WantedFile[],
  known: readonly string[],
  options: RunOptions,
  surrounding: Surrounding = {},
): Promise<{ results: FileResult[]; findings: Finding[] }> {
  const { signal, lockTimeoutMs: lockTimeout, onWait } = options;
  using locks = new LockedDirectories(known, { signal, lockTimeout, onWait, modeOf: () => 0o755 });
  try {
    return await changeLocked(files, known, locks, options, surrounding);
  } catch (error) {
    const left = locks.abandon();
    throw withDone(error, [...locks.notes, ...left]);
  }
}

/** What was done, and what a look at it has found. @throws what the look throws; what was done is told with it. */
export async function confirmed(
  done: { results: FileResult[]; findings: Finding[] },
  confirm: () => Promise<Finding[]>,
): Promise<{ results: FileResult[]; findings: Finding[] }> {
  try {
    return { results: done.results, findings: [...done.findings, ...(await confirm())] };
  } catch (error) {
    throw withDone(error, done.findings);
  }
}

async function changeLocked(
  files: readonly WantedFile[],
  known: readonly string[],
  locks: LockedDirectories,
  { dryRun, signal }: RunOptions,
  surrounding: Surrounding,
): ReturnType<typeof changeFiles> {
  const needed = new Set(dryRun ? [] : leftUntidy(locks));
  for (;;) {
    locks.lookAnew();
    const decided = await decideAll(files, (directory) => locks.look(directory));
    const results = decided.map(({ result }) => result);
    const changed = decided.flatMap(({ directory, step }) => (step === undefined ? [] : [directory]));
    for (const directory of changed) needed.add(directory);
    if (dryRun || needed.size === 0) return { results, findings: [] };
    const unknown = [...needed].find((directory) => !known.includes(directory));
    if (unknown !== undefined) throw new Error(`${unknown} is to be written and is not known`);
    if (!locks.holds(needed)) {
      await locks.lock(needed);
      continue;
    }
    const parts = known
      .filter((directory) => changed.includes(directory))
      .map((directory) => {
        const steps = decided.flatMap(({ directory: of, step }) => (of === directory && step ? [step] : []));
        return { target: locks.targetOf(directory), steps };
      });
    const findings = await transact(parts, signal, surrounding);
    return { results, findings: [...locks.notes, ...findings, ...locks.tidyUp()] };
  }
}

/** The directories in which an earlier run left something, and those of that run. */
function leftUntidy(locks: LockedDirectories): string[] {
  const untidy = locks.visible.filter((path) => isLeftUntidy(path));
  return [...untidy, ...locks.ofSameRuns(untidy)];
}

async function decideAll(
  files: readonly WantedFile[],
  targetOf: (directory: string) => Target | undefined,
): Promise<Decided[]> {
  const decided: Decided[] = [];
  for (const file of files) decided.push(await decide(file, targetOf(file.directory)));
  return decided;
}

/** A file, what is there, and what it is to become. */
interface Facts {
  file: WantedFile;
  /** Where this process reads it. */
  here: string;
  live: Live;
  held: HeldAsset | undefined;
  /** What else needs it. */
  others: readonly string[];
  result(this: void, outcome: Outcome, reason?: string): Pick<Decided, "directory" | "result">;
}

async function decide(file: WantedFile, target: Target | undefined): Promise<Decided> {
  const { directory, name, kind, owner, isStale } = file;
  const path = join(directory, name);
  const here = join(target?.here ?? directory, name);
  const record = target && recordOf(target);
  const held = record?.assets.find((asset) => asset.kind === kind && asset.name === name);
  const live = inspect(target?.here ?? directory, name);
  if (live.type === "directory" || live.type === "special") throw notAFile(path);
  const objects = target?.state?.objects ?? statePaths(directory).objects;
  const wish = file.wish({
    path,
    live,
    held,
    text: () => (live.type === "absent" ? undefined : readPart(here, path)),
    before: () => (held?.before === undefined ? undefined : readPart(join(objects, held.before), path)),
  });
  const others = isStale === true ? [] : (held?.owners.filter((other) => other !== owner) ?? []);
  const result = (outcome: Outcome, reason = wish.reason): ReturnType<Facts["result"]> => {
    return { directory, result: { outcome, path, ...(reason === undefined ? {} : { reason }) } };
  };
  const facts: Facts = { file, here, live, held, others, result };
  if (wish.action === "write") return decideWrite(facts, wish.content, wish.keep);
  return wish.action === "leave" && file.isWanted ? result("unchanged") : decideRemoval(facts, wish);
}

async function decideWrite(
  { file, here, live, held, others, result }: Facts,
  given: NewContent,
  keep: string | undefined,
): Promise<Decided> {
  const { name, kind, owner, isWanted } = file;
  const isHeld = held !== undefined && held.owners.length > 0;
  const owners = isWanted ? [...others, owner].toSorted() : others;
  const content = contentOf(given, live);
  const isSame = content.hasAttributes(live) && (await content.isIn(here, live, held?.seen));
  const digest = isSame && !isHeld ? {} : { digest: await content.digest() };
  const asset = owners.length === 0 ? undefined : { ...held, name, kind, owners: [...owners], ...digest };
  const keepLive = isWanted && !isHeld && live.type !== "absent";
  const keeps = keep === undefined || keepLive ? undefined : contentOf({ text: keep }, live).stage;
  const phase = isWanted ? "add" : "remove";
  const step = { kind, name, live, keepLive, ...(keeps && { keeps }), asset, phase } as const;
  if (isSame) {
    const isKnown = isHeld && isDeepStrictEqual(held, asset);
    return isKnown ? result("unchanged") : { ...result("unchanged"), step: { ...step, effect: "none" } };
  }
  const outcome = live.type === "absent" ? "created" : "configured";
  const reason = keepLive ? "replaces a file that was there before, which is kept" : undefined;
  return { ...result(outcome, reason), step: { ...step, effect: "write", stage: content.stage } };
}

/** Of a file that is not ours, nothing is done. */
async function decideRemoval({ file, here, live, held, others, result }: Facts, wish: Wish): Promise<Decided> {
  const { name, kind } = file;
  if (held === undefined || held.owners.length === 0) return result("absent");
  const step = { kind, name, live, keepLive: false, phase: "remove", effect: "none", asset: undefined } as const;
  if (others.length > 0) {
    const asset = { ...held, owners: [...others] };
    const kept = result("kept", `needed by ${others.join(", ")}`);
    return others.length === held.owners.length ? kept : { ...kept, step: { ...step, asset } };
  }
  if (live.type === "absent") return { ...result("absent"), step };
  if (wish.action === "leave") return result("kept");
  if (held.digest === undefined) return { ...result("kept", "it was there before"), step };
  const isOurs = (await digestOfLive(here, live, held.seen)) === held.digest;
  const isToGo = isOurs || (wish.action === "remove" && wish.evenIfChanged === true);
  if (!isToGo) return { ...result("kept", "it was changed since"), step };
  if (wish.action !== "restore" || held.before === undefined) {
    return { ...result("deleted"), step: { ...step, effect: "remove" } };
  }
  const restored: FileStep = { ...step, effect: "restore", restores: held.before };
  return { ...result("deleted", "what was there before comes back"), step: restored };
}

function readPart(here: string, path: string): string {
  try {
    return readText(here, SIZE_LIMITS.config);
  } catch (error) {
    throw systemFailure(path, "cannot be read", error);
  }
}

interface ReadyContent {
  /** Is it a file with the mode, and of a user to whom a file with this content may belong? */
  hasAttributes(live: Live): boolean;
  digest(): Promise<string>;
  /** @param seen what the record says of the file. */
  isIn(path: string, live: Live, seen: SeenFile | undefined): Promise<boolean>;
  stage(this: void, path: string): Promise<string>;
}

const digests = new WeakMap<NewContent, Promise<string>>();

async function noted(content: NewContent, digest: Promise<string>): Promise<string> {
  digests.set(content, digest);
  return digest;
}

/** A file keeps its mode and owner if no mode is given. Otherwise root acts on it, and it belongs to nobody else. */
function contentOf(content: NewContent, live: Live): ReadyContent {
  const mode = content.mode ?? (live.type === "file" ? modeOf(live) : 0o644);
  const isKept = content.mode === undefined && live.type === "file";
  const owner = isKept ? { uid: Number(live.stat?.uid), gid: Number(live.stat?.gid) } : {};
  const hasAttributes = (now: Live): boolean => {
    const uid = Number(now.stat?.uid);
    const isOwner = content.mode === undefined || uid === 0 || uid === process.geteuid?.();
    return now.type === "file" && modeOf(now) === mode && isOwner;
  };
  if ("copyOf" in content) {
    const { copyOf } = content;
    // A run decides twice, and what it copies may be large.
    const digest = async (): Promise<string> => digests.get(content) ?? noted(content, digestOfFile(copyOf));
    return {
      hasAttributes,
      digest,
      isIn: async (path, now, seen) => hasBytes(digest, fs.statSync(copyOf).size, path, now, seen),
      stage: async (path) => createCopy(copyOf, path, { mode }),
    };
  }
  const bytes = Buffer.from(content.text);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  return {
    hasAttributes,
    digest: async () => Promise.resolve(digest),
    isIn: async (path, now) => hasBytes(async () => Promise.resolve(digest), bytes.length, path, now, undefined),
    stage: async (path) => {
      await createFile(path, bytes, { mode, ...owner });
      return digest;
    },
  };
}

function notAFile(path: string): Failure {
  return new Failure({
    code: "not-a-file",
    subject: path,
    problem: "is not a regular file; cni-node neither replaces nor removes it",
    hint: `see what it is: ls -ld ${shellWord(path)}`,
  });
}
