/** Podman: a runtime in a drop-in of our own. It has no daemon, so that the change counts at once. */
import * as fs from "node:fs";
import { join } from "node:path";

import { isObject } from "../cni/json.ts";
import type { End } from "../cni/process.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Surrounding } from "../host/transaction.ts";
import { parseIfToml } from "../node/configured.ts";
import { firstNamesIn } from "../system/entries.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import { notRemoved, proofName, proofOptions, throwIfProofInterrupted } from "./docker-api.ts";
import { whyNotReady, type EngineResult, type EnableOptions } from "./docker.ts";
import { changeFiles, confirmed, fileToRemove, fileToWrite, type RunOptions, type WantedFile } from "./files.ts";
import type { EnginePaths } from "./paths.ts";
import {
  needOfAttachments,
  programFiles,
  proveProgram,
  runOnHost,
  saidBy,
  unlessNeeded,
  unneededProgram,
  type Own,
} from "./program.ts";
import { doubtOf, needOf, podmanUsers, refuseUsers } from "./users.ts";

/** The name of the drop-in in containers.conf.d. */
function dropInName(name: string): string {
  return `50-cni-node-${name}.conf`;
}

/** Podman has the paths of runtimes, without arguments: one with a configuration needs a launcher. */
function runtimePath(paths: EnginePaths, name: string): string {
  return paths.call.config === undefined ? paths.front : paths.launcher(name);
}

function dropIn(paths: EnginePaths, name: string): string {
  // The escapes of JSON are those of TOML's basic strings.
  const [key, path] = [name, runtimePath(paths, name)].map((text) => JSON.stringify(text));
  return `# Written by cni-node engine enable podman; disable removes it.\n[engine.runtimes]\n${key} = [${path}]\n`;
}

function launcherText({ call: { front, config = "" } }: EnginePaths): string {
  return `#!/bin/sh\nexec ${shellWord(front)} oci --config ${shellWord(config)} -- "$@"\n`;
}

/** Adds the runtime to Podman's configuration and tries it. @throws Failure */
export async function enablePodman(paths: EnginePaths, own: Own, options: EnableOptions): Promise<EngineResult> {
  const { name } = options;
  const owner = `podman.${name}`;
  const launcher = { directory: paths.directory("launchers"), name, kind: "plugin", owner } as const;
  const hasLauncher = paths.call.config !== undefined;
  const files: WantedFile[] = [
    ...programFiles(paths, own, owner),
    ...(hasLauncher ? [fileToWrite(launcher, { text: launcherText(paths), mode: 0o755 })] : []),
    fileToWrite(dropInFile(paths, name, owner), { text: dropIn(paths, name), mode: 0o644 }),
  ];
  const state = { isConfirmed: false };
  const confirm = async (): Promise<Finding[]> => {
    state.isConfirmed = true;
    return proved(paths, options);
  };
  const prove: Surrounding["prove"] = async (stagedAs) => proveProgram(paths, stagedAs, options.signal);
  const done = await changeFiles(files, paths.all, options, { prove, confirm });
  if (state.isConfirmed || options.dryRun) return done;
  return confirmed(done, confirm);
}

/** Takes it back. No container must have it, unless it is left without it (`force`). @throws Failure */
export async function disablePodman(
  paths: EnginePaths,
  { name, force, ...options }: RunOptions & { name: string; force: boolean },
): Promise<EngineResult> {
  const owner = `podman.${name}`;
  refuseDefault(paths, name);
  const users = await podmanUsers(paths, [name, runtimePath(paths, name)], options.signal);
  const { containers } = users;
  if (!force) refuseUsers(name, containers, "start, stop or remove", "remove them first (podman rm --force)");
  const need = needOf(users, containers) ?? needOfAttachments(paths);
  const launcher = { directory: paths.directory("launchers"), name, kind: "plugin", owner } as const;
  const files = [
    fileToRemove(dropInFile(paths, name, owner)),
    unlessNeeded(fileToRemove(launcher), need),
    ...unneededProgram(paths, owner, need),
  ];
  const done = await changeFiles(files, paths.all, options);
  if (!options.dryRun) paths.removeEmpty();
  return { results: done.results, findings: [...doubtOf(users, name), ...done.findings] };
}

/** Where root's Podman has its configuration. */
const CONFIG_DIRECTORIES = ["/usr/share/containers", "/etc/containers", "/root/.config/containers"];

/** The files of Podman's configuration that can be read, as the host calls them. */
export function podmanConfigs(paths: EnginePaths): { path: string; text: string }[] {
  const files = CONFIG_DIRECTORIES.flatMap((directory) => {
    const dropIns = `${directory}/containers.conf.d`;
    const names = firstNamesIn(paths.pathHere(dropIns), 1000, (one) => one.endsWith(".conf"));
    return [`${directory}/containers.conf`, ...names.map((one) => join(dropIns, one))];
  });
  return files.flatMap((path) => {
    const text = readTextIfPossible(paths.pathHere(path), SIZE_LIMITS.config);
    return text === undefined ? [] : [{ path, text }];
  });
}

/** @throws Failure `runtime-is-default` where Podman's configuration has our runtime as the one for all containers. */
function refuseDefault(paths: EnginePaths, name: string): void {
  const { isThere, runtime } = podmanState(paths, name);
  if (!isThere) return;
  for (const { path, text } of podmanConfigs(paths)) {
    const config = parseIfToml(text);
    const engine = isObject(config) && isObject(config["engine"]) ? config["engine"] : {};
    if (engine["runtime"] !== name && engine["runtime"] !== runtime) continue;
    throw new Failure({
      code: "runtime-is-default",
      subject: path,
      problem: `has ${name} as its runtime, and every command of Podman would fail without it`,
      hint: "set runtime in [engine] to another one first, for example crun",
    });
  }
}

function dropInFile(paths: EnginePaths, name: string, owner: string): Omit<WantedFile, "wish" | "isWanted"> {
  return { directory: paths.directory("podman"), name: dropInName(name), kind: "config", owner };
}

/** Tries a container, if there is anything to try it with. @throws Failure `engine-proof-failed`. */
async function proved(paths: EnginePaths, { name, prove, image, signal }: EnableOptions): Promise<Finding[]> {
  if (!prove) return [];
  const unproved = (why: string): Finding[] => {
    const hint = `try one: podman --runtime ${name} run --rm --network none IMAGE ip addr`;
    return [warning("engine-unproved", name, `no container was tried: ${why}`, hint)];
  };
  const why = whyNotReady(paths);
  if (why !== undefined) return unproved(why);
  const call = async (...words: string[]): Promise<End | undefined> => runOnHost(paths, ["podman", ...words], signal);
  const listed = await call("images", "--quiet", "--sort", "size");
  if (listed === undefined) return unproved("Podman cannot be called from here");
  if (listed.exitCode !== 0) return unproved(`Podman does not answer: ${saidBy(listed)}`);
  const chosen = image ?? listed.stdout.split("\n").find(Boolean);
  if (chosen === undefined) return unproved("Podman has no image; --probe-image names one");
  const container = proofName();
  // Not ended by a signal: its hooks would be killed with it, and what they have added would stay.
  const patient = new AbortController().signal;
  const words = ["podman", "--runtime", name, "run", ...proofOptions(container), chosen];
  const end = await runOnHost(paths, words, patient);
  const gone = await runOnHost(paths, ["podman", "rm", "--force", "--volumes", "--ignore", container], patient);
  if (gone !== undefined && gone.exitCode !== 0) throw notRemoved(container, saidBy(gone), "podman");
  throwIfProofInterrupted(signal);
  if (end === undefined || end.exitCode === 0) return [];
  if (end.exitCode === 127 && /"?true"?: executable file not found|`true` not found/u.test(end.stderr)) {
    return unproved("the image has no program `true`; --probe-image names another");
  }
  const problem = `a container cannot be run with it: ${saidBy(end)}`;
  throw new Failure({ code: "engine-proof-failed", subject: name, problem });
}

/** For status: the drop-in, if there is one. */
export function podmanState(paths: EnginePaths, name: string): { path: string; isThere: boolean; runtime: string } {
  const path = `${paths.directory("podman")}/${dropInName(name)}`;
  return { path, isThere: fs.existsSync(path), runtime: runtimePath(paths, name) };
}
