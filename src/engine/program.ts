/** Puts the program, and the Node.js that runs it, where the host's engines call it. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { runProgram, type End } from "../cni/process.ts";
import { Failure, isAbsence, throwIfInterrupted } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { environmentOfPlugins } from "../network/directories.ts";
import { DEFAULT_CONFIG_FILE, parseOciConfig, type OciConfig } from "../oci/config.ts";
import { statePaths } from "../host/target.ts";
import { readRecord } from "../host/record.ts";
import { removed, written, type WantedFile } from "./files.ts";
import { FRONT, type Places } from "./places.ts";

/** What is copied from the directory of the program. */
const PARTS = /^(?:cni-node\.cjs|oci\.sh)$/u;
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
 * @throws Failure `program-missing` where this program has no front.
 */
export function programFiles(places: Places, { directory, node }: Own, owner: string): WantedFile[] {
  if (!fs.existsSync(join(directory, FRONT))) throw programMissing(directory);
  if (!places.isInstalled) {
    for (const path of [directory, join(directory, FRONT), join(directory, "lib"), node]) refuseOwner(path);
    return [];
  }
  const [lib, target] = [places.directory("lib"), places.directory("program")];
  const copy = (to: string, name: string, copyOf: string): WantedFile => {
    const mode = name.endsWith(".cjs") && to === lib ? 0o644 : 0o755;
    return written({ directory: to, name, kind: "plugin", owner }, { copyOf, mode });
  };
  const libNames = namesIn(join(directory, "lib"), LIB_PARTS);
  // Parts have a hash of their content in their names: those of another version go when nothing names them any more.
  const stale = heldNames(lib).filter((name) => !libNames.includes(name));
  return [
    ...libNames.map((name) => copy(lib, name, join(directory, "lib", name))),
    copy(target, "node", node),
    ...namesIn(directory, PARTS).map((name) => copy(target, name, join(directory, name))),
    ...stale.map((name) => ({ ...removed({ directory: lib, name, kind: "plugin", owner }), isStale: true })),
  ];
}

/**
 * Tries on the host whether its loader and libraries run the Node.js that is about to be put there.
 *
 * @param stagedAs as `transact` has it. @throws Failure `program-unusable`.
 */
export async function proveProgram(
  places: Places,
  stagedAs: (kind: string, name: string) => string | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const staged = stagedAs("plugin", "node");
  const { wrapper } = places.host;
  if (staged === undefined || wrapper === undefined || wrapper.length === 0) return [];
  const path = join(statePaths(places.directory("program")).objects, basename(staged));
  const end = await runOnHost(places, [places.onHost(path), "--version"], signal);
  if (end?.exitCode === 0) return [];
  const said = end?.stderr.trim().split("\n").slice(-3).join("; ") ?? "";
  throw new Failure({
    code: "program-unusable",
    subject: places.front,
    problem: `the host cannot run the Node.js of this image: ${said || (end?.systemCode ?? `exit code ${end?.exitCode}`)}`,
    hint: "it needs glibc and libstdc++ of the host; nothing was changed",
  });
}

/** Runs a program on the host. Undefined: the host's processes cannot be reached. Interrupted. */
export async function runOnHost(
  { host: { wrapper } }: Places,
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

/** The program is no longer needed for this. What containers may still need stays. */
export function unneededProgram(places: Places, owner: string): WantedFile[] {
  const reason = isInUse(places) ? "containers that are attached may still need it" : undefined;
  return (["lib", "program"] as const).flatMap((holder) => {
    const directory = places.directory(holder);
    return heldNames(directory).map((name) =>
      unlessNeeded(removed({ directory, name, kind: "plugin", owner }), reason),
    );
  });
}

/** @param reason why it stays; undefined: nothing needs it. */
export function unlessNeeded(file: WantedFile, reason: string | undefined): WantedFile {
  return reason === undefined ? file : { ...file, wish: () => ({ action: "leave", reason }) };
}

/** Is any attachment remembered? Its hook at the end of its container is the program. */
export function isInUse(places: Places): boolean {
  const { cacheDir } = ociConfigOf(places);
  return namesIn(join(places.seen(cacheDir), "results"), /^[^.]/u).length > 0;
}

/** Its defaults, if there is none that can be used: the program must be removable then, too. */
function ociConfigOf(places: Places): OciConfig {
  try {
    return places.ociConfig;
  } catch (error) {
    if (error instanceof Failure) return parseOciConfig("", DEFAULT_CONFIG_FILE);
    throw error;
  }
}

function heldNames(directory: string): string[] {
  return readRecord(directory)?.assets.flatMap(({ kind, name }) => (kind === "plugin" ? [name] : [])) ?? [];
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

/** Root runs it for each container: nobody else may write to it, or to a directory above it. @throws Failure */
function refuseOwner(file: string): void {
  for (let path = fs.realpathSync(file); ; path = dirname(path)) {
    const { uid, mode } = fs.statSync(path);
    const isOpen = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
    const who = uid !== 0 ? `belongs to user ${uid}` : isOpen ? "can be written to by others" : "";
    if (who !== "") {
      throw new Failure({
        code: "program-untrusted",
        subject: path,
        problem: `${who}, and root would run this program from there`,
        hint: "put the program into a directory of root, or have it copied: --program-dir=/opt/cni-node",
      });
    }
    if (path === "/") return;
  }
}

function programMissing(directory: string): Failure {
  return new Failure({
    code: "program-missing",
    subject: join(directory, FRONT),
    problem: "is missing: engines call this program through it",
    hint: "run the program that was built (dist/cni-node.cjs), from the image or the package",
  });
}
