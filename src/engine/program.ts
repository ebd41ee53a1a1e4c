/** Puts the program, and the Node.js that runs it, where the host's engines call it. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { pickAttachments } from "../cni/cache.ts";
import { CniError } from "../cni/error.ts";
import { runProgram, type End } from "../cni/process.ts";
import type { FailureCode } from "../codes.ts";
import { Failure, isAbsence, systemFailure, throwIfInterrupted } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { environmentOfPlugins } from "../network/directories.ts";
import { readMark } from "../network/mark.ts";
import { readOciConfigAnyway } from "../oci/config.ts";
import { FRONT } from "../oci/wrapper.ts";
import { statePaths } from "../host/target.ts";
import { assetsOf, readRecord } from "../host/record.ts";
import { objectionToOwner } from "../system/owner.ts";
import { readFile, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import { fileToRemove, fileToWrite, type WantedFile } from "./files.ts";
import type { EnginePaths } from "./paths.ts";

/** What is copied from the directory of the program. */
const PARTS = /^(?:cni-node\.cjs|oci\.sh)$/u;
/** The part that names the others. */
const MAIN = "cni-node.cjs";
const LIB_PARTS = /\.cjs$/u;

/** This program. */
export interface Own {
  directory: string;
  /** The Node.js that runs it. */
  node: string;
}

/**
 * The files of the program on the host, for what needs it.
 *
 * @throws Failure `program-missing` where this program has no front; `program-untrusted`, `oci-config-untrusted`.
 */
export function programFiles(paths: EnginePaths, { directory, node }: Own, owner: string): WantedFile[] {
  if (!fs.existsSync(join(directory, FRONT))) throw programMissing(directory);
  refuseConfigOwner(paths);
  if (!paths.isInstalled) {
    for (const path of partsOf(directory, node)) refuseProgramOwner(path);
    return [];
  }
  refuseTargetOwner(paths);
  const [lib, target] = [paths.directory("lib"), paths.directory("program")];
  const copy = (to: string, name: string, copyOf: string): WantedFile => {
    const mode = name.endsWith(".cjs") && to === lib ? 0o644 : 0o755;
    return fileToWrite({ directory: to, name, kind: "plugin", owner }, { copyOf, mode });
  };
  const libNames = namesIn(join(directory, "lib"), LIB_PARTS);
  // Parts have a hash of their content in their names.
  const stale = heldNames(lib).filter((name) => !libNames.includes(name));
  const isKept = stale.length > 0 && isNew(join(target, MAIN), join(directory, MAIN));
  const reason = isKept ? "a hook of the former version that still runs may need it" : undefined;
  return [
    ...libNames.map((name) => copy(lib, name, join(directory, "lib", name))),
    copy(target, "node", node),
    ...namesIn(directory, PARTS).map((name) => copy(target, name, join(directory, name))),
    ...stale.map((name) => {
      const file = fileToRemove({ directory: lib, name, kind: "plugin", owner });
      return { ...unlessNeeded(file, reason), isStale: true };
    }),
  ];
}

/** All that root runs, where the program is called where it is. */
function partsOf(directory: string, node: string): string[] {
  const lib = join(directory, "lib");
  const parts = [...namesIn(directory, PARTS).map((name) => join(directory, name)), lib];
  return [...parts, ...namesIn(lib, LIB_PARTS).map((name) => join(lib, name)), node];
}

/** Nothing that engines call takes so long, milliseconds. */
const HOOK_MS = 10 * 60_000;

/** Is this version of the program still to be put there, or has it been there for a short time? */
function isNew(there: string, own: string): boolean {
  try {
    const isSame = readFile(there, SIZE_LIMITS.plugin).equals(readFile(own, SIZE_LIMITS.plugin));
    return !isSame || Math.abs(Date.now() - fs.statSync(there).mtimeMs) < HOOK_MS;
  } catch (error) {
    if (isAbsence(error)) return false;
    throw systemFailure(there, "cannot be read", error);
  }
}

/**
 * Tries on the host whether its loader and libraries run the Node.js that is about to be put there.
 *
 * @param stagedAs as `transact` has it. @throws Failure `program-unusable`.
 */
export async function proveProgram(
  paths: EnginePaths,
  stagedAs: (kind: string, name: string) => string | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const staged = stagedAs("plugin", "node");
  const { wrapper } = paths.host;
  if (staged === undefined || wrapper?.length === 0) return [];
  const path = join(statePaths(paths.directory("program")).objects, basename(staged));
  const end = await runOnHost(paths, [paths.onHost(path), "--version"], signal);
  if (end === undefined) return [untried(paths)];
  if (end.exitCode === 0) return [];
  const said = end.stderr.trim().split("\n").slice(-3).join("; ");
  throw new Failure({
    code: "program-unusable",
    subject: paths.front,
    problem: `the host cannot run the Node.js of this image: ${said || (end.systemCode ?? `exit code ${end.exitCode}`)}`,
    hint: "it needs glibc and libstdc++ of the host; nothing was changed",
  });
}

function untried(paths: EnginePaths): Finding {
  const node = join(paths.onHost(paths.directory("program")), "node");
  return warning(
    "engine-unproved",
    node,
    "was not tried: the host's processes cannot be reached from here, so it is not known whether the host can run it",
    `run with --pid=host and --privileged, or try it on the host: ${shellWord(node)} --version`,
  );
}

/** What a program says of its failure. */
export function saidBy({ stderr, exitCode, systemCode }: End): string {
  return stderr.trim().slice(-2000) || (systemCode ?? `exit code ${exitCode}`);
}

/** Runs a program on the host. Undefined: the host's processes cannot be reached. Interrupted. */
export async function runOnHost(
  { host: { wrapper } }: EnginePaths,
  words: readonly string[],
  signal: AbortSignal,
): Promise<End | undefined> {
  if (wrapper === undefined) return undefined;
  const [file = "", ...rest] = [...wrapper, ...words];
  const env = environmentOfPlugins(process.env);
  const end = await runProgram({ file, argv0: file, words: rest, env, stdin: "" }, { timeoutMs: LIMIT_MS, signal });
  throwIfInterrupted(signal);
  return end;
}

const LIMIT_MS = 60_000;

/**
 * The program is no longer needed for this. What containers may still need stays.
 *
 * @param need what else is known to need it.
 */
export function unneededProgram(paths: EnginePaths, owner: string, need?: string): WantedFile[] {
  const reason = need ?? needOfAttachments(paths);
  return (["lib", "program"] as const).flatMap((holder) => {
    const directory = paths.directory(holder);
    return heldNames(directory).map((name) =>
      unlessNeeded(fileToRemove({ directory, name, kind: "plugin", owner }), reason),
    );
  });
}

/** @param reason why it stays; undefined: nothing needs it. */
export function unlessNeeded(file: WantedFile, reason: string | undefined): WantedFile {
  return reason === undefined ? file : { ...file, wish: () => ({ action: "leave", reason }) };
}

/**
 * Why containers that are attached need the program: the hook at their end is it. Undefined: there are none. Attachments
 * that container runtimes have added are not ours.
 */
export function needOfAttachments(paths: EnginePaths): string | undefined {
  // The program must be removable even if the configuration is wrong or gone.
  const { cacheDir } = readOciConfigAnyway(paths.ociConfigFile, () => undefined);
  const problems: Failure[] = [];
  const onProblem = (problem: Failure): void => {
    problems.push(problem);
  };
  try {
    const ours = pickAttachments(paths.pathHere(cacheDir), (one) => readMark(one) && one.containerId, { onProblem });
    if (ours.length > 0) return "containers that are attached may still need it";
    const [problem] = problems;
    return problem && `containers may still need it: ${problem.message}`;
  } catch (error) {
    if (error instanceof CniError) return `containers may still need it: ${error.msg}`;
    throw error;
  }
}

function heldNames(directory: string): string[] {
  return assetsOf(readRecord(directory), "plugin").map(({ name }) => name);
}

function namesIn(directory: string, pattern: RegExp): string[] {
  try {
    return fs
      .readdirSync(directory)
      .filter((name) => pattern.test(name))
      .toSorted();
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

/** Root runs it for each container, or what it names: nobody else may write to it, or to a directory above it. */
function refuseOwner(file: string, root: string, refusal: { code: FailureCode; problem: string; hint: string }): void {
  for (let path = fs.realpathSync(file); ; path = dirname(path)) {
    // In a sticky directory, nobody can put another file into the place of root's.
    const objection = objectionToOwner(fs.statSync(path), { mayBeSticky: true });
    if (objection !== undefined) {
      const { code, problem, hint } = refusal;
      throw new Failure({ code, subject: path, problem: `${objection}, and ${problem}`, hint });
    }
    if (path === root || path === "/") return;
  }
}

/** @throws Failure `program-untrusted` */
function refuseProgramOwner(path: string): void {
  refuseOwner(path, "/", {
    code: "program-untrusted",
    problem: "root would run this program from there",
    hint: "put the program into a directory of root, or have it copied: --program-dir=/opt/cni-node",
  });
}

/** The directories that the program is copied to need not be there yet. @throws Failure `program-untrusted` */
function refuseTargetOwner(paths: EnginePaths): void {
  for (const holder of ["program", "lib", "launchers"] as const) {
    let path = paths.directory(holder);
    while (!fs.existsSync(path)) path = dirname(path);
    refuseOwner(path, paths.host.root, {
      code: "program-untrusted",
      problem: "root would run the program from there",
      hint: "chown root:root and chmod go-w, or choose another directory with --program-dir",
    });
  }
}

/** @throws Failure `oci-config-untrusted` */
function refuseConfigOwner({ host, ociConfigFile }: EnginePaths): void {
  if (!fs.existsSync(ociConfigFile)) return;
  refuseOwner(ociConfigFile, host.root, {
    code: "oci-config-untrusted",
    problem: "root runs the programs that this configuration names",
    hint: "chown root:root and chmod go-w, of the file and of the directories above it",
  });
}

function programMissing(directory: string): Failure {
  return new Failure({
    code: "program-missing",
    subject: join(directory, FRONT),
    problem: "is missing: engines call this program through it",
    hint: "run the program that was built (dist/cni-node.cjs), from the image or the package",
  });
}
