/** engine: has Docker and Podman call this program for the network of their containers. */
import * as fs from "node:fs";
import { basename, dirname, resolve } from "node:path";

import type { Given } from "../commands.ts";
import { usage } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { removeCdi, removeHooks, writeCdi, writeHooks } from "../engine/devices.ts";
import { disableDocker, enableDocker, type EngineResult } from "../engine/docker.ts";
import type { RunOptions } from "../engine/files.ts";
import { EnginePaths } from "../engine/paths.ts";
import { disablePodman, enablePodman } from "../engine/podman.ts";
import type { Own } from "../engine/program.ts";
import { lookAtEngines } from "../engine/status.ts";
import { FRONT } from "../oci/wrapper.ts";
import { HOST_ROOT } from "../options.ts";
import { endingOfDone, formatOutcomes, formatRows, printJson, printMessage, printWarnings } from "../report.ts";
import type { Ending, World } from "../world.ts";

const ENGINES = ["docker", "podman"] as const;
type Engine = (typeof ENGINES)[number];

/** Puts the runtime into an engine's configuration. */
export async function runEnable(options: Given<"engine enable">, world: World): Promise<Ending> {
  const { runtimeName: name, takeOver, prove, probeImage: image } = options;
  const own = ownProgram();
  const enabled = { ...runOptionsOf(options, world), name: checkedName(name), takeOver, prove, image };
  const enable = engineIn(options.operands) === "docker" ? enableDocker : enablePodman;
  const paths = pathsOf(options);
  return report("engine enable", paths, await enable(paths, own, enabled), options, world);
}

/** Takes it back. */
export async function runDisable(options: Given<"engine disable">, world: World): Promise<Ending> {
  const { runtimeName: name, force } = options;
  const disabled = { ...runOptionsOf(options, world), name: checkedName(name), force };
  const disable = engineIn(options.operands) === "docker" ? disableDocker : disablePodman;
  const paths = pathsOf(options);
  return report("engine disable", paths, await disable(paths, disabled), options, world);
}

/** Writes or removes the CDI specification. */
export async function runCdi(options: Given<"engine cdi">, world: World): Promise<Ending> {
  const [paths, run] = [pathsOf(options), runOptionsOf(options, world)];
  const done = options.remove ? await removeCdi(paths, run) : await writeCdi(paths, ownProgram(), run);
  return report("engine cdi", paths, done, options, world);
}

/** Writes or removes the files of hooks.d. */
export async function runHooks(options: Given<"engine hooks">, world: World): Promise<Ending> {
  const [paths, run] = [pathsOf(options), runOptionsOf(options, world)];
  const done = options.remove ? await removeHooks(paths, run) : await writeHooks(paths, ownProgram(), run);
  return report("engine hooks", paths, done, options, world);
}

/** Says what engines know of the program, and ends with 3 if something is wrong. */
export async function runEngineStatus(options: Given<"engine status">, world: World): Promise<Ending> {
  const engines = options.operands.length === 0 ? ENGINES : [engineIn(options.operands)];
  const name = checkedName(options.runtimeName);
  const { ways, findings } = await lookAtEngines(pathsOf(options), engines, name, world.signal);
  const exitCode = findings.length === 0 ? 0 : 3;
  if (options.output === "json") {
    printJson(world, { command: "engine status", result: "done", exitCode, ways, warnings: findings });
  } else {
    world.stdout(
      formatRows(
        ways.map(({ way, state, path, detail = "" }) => [way, state, path, detail]),
        world.view,
      ),
    );
    printWarnings(world, findings);
  }
  return { exitCode };
}

function engineIn([given]: readonly string[]): Engine {
  const engine = ENGINES.find((one) => one === given);
  if (engine !== undefined) return engine;
  throw usage(
    "engine",
    given === undefined ? "no engine is named" : `unknown engine ${JSON.stringify(given)}`,
    ENGINES.join(" or "),
  );
}

/** It becomes a name in files, of a file, and of an owner. */
function checkedName(name: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,49}$/u.test(name)) return name;
  throw usage(
    "--runtime-name",
    `${JSON.stringify(name)} is not a name of up to 50 letters, digits, dots, dashes and underscores`,
  );
}

type PathOptions = Pick<
  Given<"engine status">,
  "hostRoot" | "programDir" | "ociConfig" | "daemonConfig" | "podmanConfigDir" | "cdiDir" | "hooksDir"
>;

function pathsOf({ daemonConfig, ...options }: Partial<PathOptions>): EnginePaths {
  const { hostRoot, programDir, ociConfig, podmanConfigDir, cdiDir, hooksDir } = options;
  const config = daemonConfig === undefined ? undefined : resolve(daemonConfig);
  const named = { hostRoot, programDir, ociConfig, daemonConfig: config, podmanConfigDir, cdiDir, hooksDir };
  return new EnginePaths(named, ownProgram().directory, HOST_ROOT);
}

function ownProgram(): Own {
  const path = process.argv[1] ?? "";
  return { directory: dirname(fs.existsSync(path) ? fs.realpathSync(path) : resolve(path)), node: process.execPath };
}

function runOptionsOf({ dryRun, lockTimeout }: { dryRun: boolean; lockTimeout: number }, world: World): RunOptions {
  const onWait = (what: string): void => {
    printMessage(world, `waiting for ${what}`);
  };
  return { signal: world.signal, lockTimeoutMs: lockTimeout, dryRun, onWait };
}

/** A part of the program. */
const PART = /\/lib\/[^/]+\.cjs$/u;

function isProgram(path: string): boolean {
  return ["node", FRONT, "cni-node.cjs"].includes(basename(path));
}

/** Paths are printed as they are on the host. */
function report(
  command: string,
  paths: EnginePaths,
  { results, findings }: EngineResult,
  { output, dryRun }: { output: string; dryRun: boolean },
  world: World,
): Ending {
  const ending = endingOfDone(world.signal, 0);
  const files = results.map((one) => ({ ...one, path: paths.onHost(one.path) }));
  if (output === "json") {
    const warnings: readonly Finding[] = findings;
    printJson(world, { command, result: "done", exitCode: ending.exitCode, files, warnings });
    return ending;
  }
  // Of the many parts of the program nobody wants to read, nor of files that are right.
  const rows = files.flatMap(({ outcome, path, reason = "" }) => {
    const isShown = !PART.test(path) && !(outcome === "unchanged" && isProgram(path));
    return isShown ? [[outcome, path, reason] as const] : [];
  });
  world.stdout(rows.length === 0 ? "nothing to do\n" : formatOutcomes(rows, world.view, dryRun));
  printWarnings(world, findings);
  return ending;
}
