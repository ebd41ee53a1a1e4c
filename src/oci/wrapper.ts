/**
 * Stands in the place of an OCI runtime: puts the hooks into config.json before a container is made, and hands on
 * everything else as it is.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { constants } from "node:os";
import { basename, delimiter, dirname, join, resolve } from "node:path";

import { Failure, isSystemError, reasonOf, systemFailure } from "../errors.ts";
import { createFile, remove } from "../system/disk.ts";
import { searchPath, SYSTEM_PATH } from "../system/path.ts";
import { isExecutable, readText, SIZE_LIMITS } from "../system/read.ts";
import type { Ending, World } from "../world.ts";
import { MAKERS, type Grammar, type RuntimeCall } from "./call.ts";
import { DEFAULT_CONFIG_FILE, type OciConfig } from "./config.ts";
import { hookOf, readSpec, spliceHooks, type Hooks } from "./spec.ts";

/** The runtimes that are looked for, in this order, if the configuration names none. */
const RUNTIMES = ["runc", "crun"];

/** Where the shell script is that stands before this program: beside it. */
export const FRONT = "oci.sh";

/**
 * The runtime that the configuration names.
 *
 * @throws Failure `oci-runtime-missing` when it is not there, or cannot be run.
 */
export function findRuntime({ ociBin, file }: OciConfig, { PATH }: World["env"]): string {
  const names = ociBin === undefined ? RUNTIMES : [ociBin];
  const paths = names.flatMap((name) => {
    return name.includes("/") ? [name] : searchPath(PATH).map((directory) => join(directory, name));
  });
  const found = paths.find((path) => isExecutable(path) && !isFront(path));
  if (found !== undefined) return found;
  const absent = "there is no such program";
  throw new Failure({
    code: "oci-runtime-missing",
    subject: ociBin ?? RUNTIMES.join(", "),
    problem: paths.some(isExecutable)
      ? "it is cni-node itself, which would call itself for ever"
      : ociBin?.startsWith("/") === true
        ? absent
        : `${absent} in ${searchPath(PATH).join(":")}`,
    hint: `name the OCI runtime with oci_bin in ${file ?? DEFAULT_CONFIG_FILE}`,
  });
}

function isFront(path: string): boolean {
  return fs.realpathSync(path) === ownFront();
}

/** Does a runtime of that path parse its options as crun does? */
export function grammarOf(runtime: string): Grammar {
  return basename(runtime).includes("crun") ? "argp" : "go";
}

/** Where the front is: beside this program. */
function ownFront(): string {
  return join(dirname(fs.realpathSync(process.argv[1] ?? "")), FRONT);
}

/** The front, which the hooks are to call: its absolute path, without links. @throws Failure `oci-front-missing` */
export function frontPath(): string {
  const path = ownFront();
  if (isExecutable(path)) return path;
  throw new Failure({
    code: "oci-front-missing",
    subject: path,
    problem: "there is no such program, and the hooks of a container would call it",
    hint: "install the whole directory of cni-node.cjs",
  });
}

/** The hooks of a container. @param config the configuration that they are given; undefined: the default one. */
export function hooksOf(front: string, config: string | undefined, env: World["env"]): Hooks {
  const call = { front, config, path: env["PATH"] || SYSTEM_PATH.join(delimiter) };
  return { createRuntime: hookOf(call, "add"), poststop: hookOf(call, "del") };
}

/**
 * Makes a container ready that a call is about to make. What has no network namespace of its own is left as it is.
 *
 * @returns `right`: the hooks were there.
 */
export async function prepareBundle(call: RuntimeCall, hooks: () => Hooks): Promise<"spliced" | "right" | "untouched"> {
  if (!MAKERS.includes(call.command ?? "")) return "untouched";
  const path = resolve(call.bundle ?? ".", call.configFile === undefined ? "config.json" : resolve(call.configFile));
  try {
    const text = readText(path, SIZE_LIMITS.state);
    if (readSpec(text, path).network !== "own") return "untouched";
    const spliced = spliceHooks(text, hooks(), path);
    if (spliced === text) return "right";
    await replaceKeeping(path, spliced);
    return "spliced";
  } catch (error) {
    // The runtime says it better.
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return "untouched";
    throw systemFailure(path, "the hooks cannot be put into it", error);
  }
}

/** Mode and owner stay. */
async function replaceKeeping(path: string, text: string): Promise<void> {
  const { mode, uid, gid } = fs.statSync(path);
  const temporary = `${path}.cni-node`;
  remove(temporary);
  try {
    await createFile(temporary, Buffer.from(text), { mode: mode & 0o7777, uid, gid });
    fs.renameSync(temporary, path);
  } catch (error) {
    remove(temporary);
    throw error;
  }
}

/** Runs the runtime in the place of this process: its words, descriptors, signals and end are those of the runtime. */
export async function runRuntime(
  runtime: string,
  words: readonly string[],
  { preservedFds }: RuntimeCall,
): Promise<Ending> {
  // LISTEN_FDS are handed on by runtimes without being asked.
  const count = Math.max(preservedFds, Number(process.env["LISTEN_FDS"] ?? 0) || 0);
  const others = Array.from({ length: count }, (_, index) => index + 3).filter((fd) => isOpen(fd));
  const child = spawn(runtime, words, { stdio: [0, 1, 2, ...others], argv0: runtime });
  const signals = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const;
  for (const name of signals) process.on(name, () => child.kill(name));
  return new Promise((settle, reject) => {
    child.on("error", (error) => {
      reject(
        new Failure({ code: "oci-runtime-failed", subject: runtime, problem: `it cannot be run: ${reasonOf(error)}` }),
      );
    });
    child.on("exit", (code, signal) => {
      for (const name of signals) process.removeAllListeners(name);
      if (signal === null) settle({ exitCode: code ?? 1 });
      else settle({ exitCode: 128 + constants.signals[signal], signal });
    });
  });
}

function isOpen(fd: number): boolean {
  try {
    fs.fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
