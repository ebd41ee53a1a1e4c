/** Docker: the runtime in dockerd's configuration, and dockerd that reads it again. It is never restarted. */
import * as fs from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { isObject } from "../cni/json.ts";
import { listNetworks } from "../cni/load.ts";
import { Failure, throwIfInterrupted } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { statePaths } from "../host/target.ts";
import { FRONT } from "../oci/wrapper.ts";
import { Deadline } from "../system/deadline.ts";
import { shellWord } from "../system/text.ts";
import { parseDaemonConfig, withNoRuntimes, withoutRuntime, withRuntime, type DockerRuntime } from "./daemon-config.ts";
import { dockerInfo, type DockerInfo, imageAtHand, tryContainer, type Docker } from "./docker-api.ts";
import {
  configOf,
  daemonOf,
  defaultRuntimesIn,
  flagsOf,
  isOfConfig,
  refuseFlags,
  textIfThere,
  type Daemon,
} from "./dockerd.ts";
import {
  changeFiles,
  confirmed,
  fileToRemove,
  fileToWrite,
  type FileResult,
  type Look,
  type RunOptions,
  type WantedFile,
  type Wish,
} from "./files.ts";
import type { EnginePaths } from "./paths.ts";
import { programFiles, proveProgram, runOnHost, unneededProgram, type Own } from "./program.ts";
import { counted, dockerUsers, doubtOf, namesOf, needOf, refuseUsers, type Users } from "./users.ts";

/** What an engine command did. */
export interface EngineResult {
  results: FileResult[];
  findings: Finding[];
}

/** How a runtime is enabled. */
export interface EnableOptions extends RunOptions {
  name: string;
  /** Replace a runtime of that name that is not ours. */
  takeOver: boolean;
  /** Try it with a container. */
  prove: boolean;
  /** Undefined: the smallest that is at hand. */
  image: string | undefined;
}

/** How long dockerd may take to read its configuration again, milliseconds. */
const RELOAD_MS = 15_000;

/** Names that dockerd keeps for its own: it does not start with a runtime of such a name. */
const RESERVED = /^(?:runc|io\.containerd\..*)$/u;

function runtimeReserved(name: string): Failure {
  return new Failure({
    code: "runtime-reserved",
    subject: "--runtime-name",
    problem: `dockerd does not start with a runtime of the name ${name}, which is its own`,
    hint: "choose another name",
  });
}

/** The runtime that is written. */
export function dockerRuntime({ call: { front, config } }: EnginePaths): DockerRuntime {
  if (config === undefined) return { path: front };
  const words = ["oci", "--config", config, "--"];
  // dockerd makes a shell script of such a runtime, and quotes nothing.
  for (const word of [front, config]) if (shellWord(word) !== word) throw unquotable(word);
  return { path: front, runtimeArgs: words };
}

function unquotable(path: string): Failure {
  return new Failure({
    code: "path-unsupported",
    subject: path,
    problem: "dockerd does not quote the path of a runtime or its arguments, and this one has characters of a shell",
    hint: "use paths of letters, digits, dots, dashes and underscores",
  });
}

/** Adds the runtime to dockerd's configuration, has dockerd read it again, and tries it. @throws Failure */
export async function enableDocker(paths: EnginePaths, own: Own, options: EnableOptions): Promise<EngineResult> {
  const { name, takeOver } = options;
  if (RESERVED.test(name)) throw runtimeReserved(name);
  const owner = `docker.${name}`;
  const runtime = dockerRuntime(paths);
  const { daemonConfig } = paths;
  const flags = flagsOf(paths, configOf(paths));
  const wish = ({ path, text, held, before }: Look): Wish => {
    const now = text();
    const { runtimes, ...config } = parseDaemonConfig(now, path);
    refuseFlags(flags, config);
    const { [name]: found } = runtimes;
    const isForeign = found !== undefined && !isOurs(found, paths, held?.owners.includes(owner) === true);
    const edited = withRuntime(now, name, runtime, path);
    if (edited === now) return { action: "leave" };
    if (isForeign && !takeOver) throw runtimeExists(path, name);
    const content = { text: edited };
    // What was kept when the file was changed for the first time need not have the runtime that is taken over now.
    return isForeign && held !== undefined
      ? { action: "write", content, keep: withRuntime(before(), name, found, path) }
      : { action: "write", content };
  };
  const file: WantedFile = { ...daemonConfig, kind: "config", owner, isWanted: true, wish };
  const state = { isConfirmed: false };
  const confirm = async (): Promise<Finding[]> => {
    state.isConfirmed = true;
    const daemon = runningDaemon(paths);
    if ("code" in daemon) return [daemon];
    await reload(paths, daemon, options.signal, (loaded) => isLoaded(loaded, name, runtime));
    return proved(paths, { socket: daemon.socket, signal: options.signal }, options);
  };
  try {
    const done = await changeConfig(paths, [...programFiles(paths, own, owner), file], options, confirm);
    if (state.isConfirmed || options.dryRun) return done;
    return await confirmed(done, confirm);
  } catch (error) {
    // The files are as they were.
    if (state.isConfirmed) await reloadFormer(paths, name, { ...options, signal: new AbortController().signal });
    throw error;
  }
}

/** Takes it back. Containers that have it must not run, unless they are left without it (`force`). @throws Failure */
export async function disableDocker(
  paths: EnginePaths,
  options: RunOptions & { name: string; force: boolean },
): Promise<EngineResult> {
  const { name, force } = options;
  const owner = `docker.${name}`;
  const { daemonConfig } = paths;
  const users = await dockerUsers(paths, name, options.signal);
  const running = users.containers.filter(({ isRunning }) => isRunning);
  if (!force) refuseUsers(name, running, "stop", "stop them first");
  const isDefault = defaultRuntimesIn(flagsOf(paths, configOf(paths))).includes(name);
  if (isDefault) throw runtimeIsDefault("dockerd", `the flag --default-runtime=${name}`);
  const wish = ({ path, text, held, before }: Look): Wish => {
    const now = text();
    if (now === undefined) return { action: "leave", reason: "there is no such file" };
    const config = parseDaemonConfig(now, path);
    const { [name]: found } = config.runtimes;
    if (found === undefined && held === undefined) return { action: "leave" };
    if (found === undefined) return { action: "write", content: { text: now } };
    if (config["default-runtime"] === name) throw runtimeIsDefault(path, `${name} as its default-runtime`);
    const isHeld = held?.owners.includes(owner) === true;
    // Somebody has put another one into its place: that one stays, and nothing of ours is needed any more.
    if (!isOurs(found, paths, isHeld)) {
      if (!isHeld) throw runtimeForeign(path, name);
      return {
        action: "write",
        content: { text: now },
        reason: "the runtime of that name now belongs to another program",
      };
    }
    const edited = withoutRuntime(now, name, before(), path);
    const isLast = held?.owners.every((one) => one === owner) === true;
    if (edited === undefined && isLast && held.before === undefined) return { action: "remove", evenIfChanged: true };
    return { action: "write", content: { text: edited ?? "{}\n" } };
  };
  const file: WantedFile = { ...daemonConfig, kind: "config", owner, isWanted: false, wish };
  const done = await changeConfig(paths, [file, ...unneededProgram(paths, owner, needOf(users, running))], options);
  if (!options.dryRun) paths.removeEmpty();
  const { results, findings } = await confirmed(done, async () => {
    return options.dryRun ? [] : reloadFormer(paths, name, options);
  });
  return { results, findings: [...stoppedUsers(users, name), ...doubtOf(users, name), ...findings] };
}

/** @param isHeld we have added a runtime of that name; the program may have been elsewhere then. */
function isOurs(runtime: unknown, { front }: EnginePaths, isHeld: boolean): boolean {
  const path = isObject(runtime) && typeof runtime["path"] === "string" ? runtime["path"] : "";
  return path === front || (isHeld && basename(path) === FRONT);
}

function stoppedUsers({ containers }: Users, name: string): Finding[] {
  const stopped = containers.filter(({ isRunning }) => !isRunning);
  if (stopped.length === 0) return [];
  const message = `is needed to start ${counted(stopped.length, "stopped container")}: ${namesOf(stopped)}`;
  return [warning("engine-containers", name, message, "create them again with another runtime")];
}

/** What runs before and after the change: dockerd looks at the new file, and reads it. */
async function changeConfig(
  paths: EnginePaths,
  files: readonly WantedFile[],
  options: RunOptions,
  confirm?: () => Promise<Finding[]>,
): Promise<EngineResult> {
  const { directory, name } = paths.daemonConfig;
  const prove = async (stagedAs: (kind: string, file: string) => string | undefined): Promise<Finding[]> => {
    await proveProgram(paths, stagedAs, options.signal);
    const staged = stagedAs("config", name);
    return staged === undefined ? [] : validate(paths, join(statePaths(directory).objects, basename(staged)), options);
  };
  return changeFiles(files, paths.all, options, { prove, confirm });
}

/** The dockerd that reads the configuration, or why there is none. */
function runningDaemon(paths: EnginePaths): Daemon | Finding {
  const daemon = daemonOf(paths, configOf(paths));
  if (daemon === undefined) {
    const words = flagsOf(paths, configOf(paths));
    const isKnown = words?.every((word) => !word.includes("$")) === true;
    const flags = isKnown ? "" : ", and its flags are not known (systemctl cat docker)";
    return notReloaded(paths, `dockerd does not run, or cannot be reached from here${flags}`);
  }
  return isOfConfig(daemon, paths) ? daemon : notReloaded(paths, "the dockerd that runs reads another file");
}

/** Has dockerd read its configuration, and waits until it has the runtimes that it should. @throws Failure */
async function reload(
  paths: EnginePaths,
  { pid, socket }: Daemon,
  signal: AbortSignal,
  isRight: (loaded: Loaded) => boolean,
): Promise<void> {
  const docker = { socket, signal };
  if (isRight((await dockerInfo(docker)).runtimes)) return;
  process.kill(pid, "SIGHUP");
  const deadline = new Deadline(RELOAD_MS);
  while (!isRight((await dockerInfo(docker)).runtimes)) {
    throwIfInterrupted(signal);
    if (deadline.isOver) throw notLoaded(paths);
    await sleep(100);
  }
}

/** What dockerd has loaded, by name. */
type Loaded = DockerInfo["runtimes"];

/** Does dockerd run what its configuration has? */
export function isLoaded(loaded: Loaded, name: string, { path, runtimeArgs = [] }: Partial<DockerRuntime>): boolean {
  const found = loaded.get(name);
  return found !== undefined && found.path === path && isDeepStrictEqual([...found.runtimeArgs], [...runtimeArgs]);
}

/** Has dockerd run the runtime that its configuration has by now under that name, or forget it. */
async function reloadFormer(paths: EnginePaths, name: string, options: RunOptions): Promise<Finding[]> {
  const { [name]: former } = configOf(paths).runtimes;
  if (typeof former !== "object" || former === null) return forget(paths, name, options);
  const daemon = runningDaemon(paths);
  if ("code" in daemon) return [daemon];
  try {
    await reload(paths, daemon, options.signal, (loaded) => isLoaded(loaded, name, former));
    return [];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [notReloaded(paths, `dockerd has another runtime ${name} until it is restarted (${error.message})`)];
  }
}

/**
 * Has dockerd forget a runtime that its configuration does not have any more. One that has no runtimes at all says
 * nothing of them, and dockerd keeps what it has: for a moment, it says that there are none.
 */
async function forget(paths: EnginePaths, name: string, options: RunOptions): Promise<Finding[]> {
  const daemon = runningDaemon(paths);
  if ("code" in daemon) return [daemon];
  const isRight = (loaded: Loaded): boolean => !loaded.has(name);
  try {
    const file = { ...paths.daemonConfig, kind: "config", owner: "docker.reload" } as const;
    const path = join(file.directory, file.name);
    const text = withNoRuntimes(textIfThere(path), path);
    const has = (await dockerInfo({ socket: daemon.socket, signal: options.signal })).runtimes.has(name);
    if (!has || text === undefined) {
      await reload(paths, daemon, options.signal, isRight);
      return [];
    }
    const confirm = async (): Promise<Finding[]> => {
      await reload(paths, daemon, options.signal, isRight);
      return [];
    };
    await changeConfig(paths, [fileToWrite(file, { text })], options, confirm);
    await changeFiles([fileToRemove(file)], paths.all, options);
    return [];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [notReloaded(paths, `dockerd has the runtime ${name} until it is restarted (${error.message})`)];
  }
}

/** Has dockerd itself look at the new file, if it is one that can. @throws Failure `daemon-config-refused`. */
async function validate(paths: EnginePaths, staged: string, { signal }: RunOptions): Promise<Finding[]> {
  const words = ["dockerd", "--validate", `--config-file=${paths.onHost(staged)}`];
  const end = await runOnHost(paths, words, signal);
  if (end === undefined) return [];
  const said = `${end.stdout}\n${end.stderr}`;
  // 20.10 has no such option; where there is no dockerd, it is still to come.
  if (end.exitCode === 0 || end.exitCode === undefined || /unknown flag: --validate/u.test(said)) return [];
  if (end.exitCode === 126 || end.exitCode === 127) return [];
  throw new Failure({
    code: "daemon-config-refused",
    subject: paths.daemonConfigOnHost,
    problem: `dockerd --validate refuses the new file: ${said.trim().slice(-1000).replaceAll("\n", "; ")}`,
    hint: "dockerd would not start with it; nothing was changed",
  });
}

/** Tries a container, if there is anything to try it with. @throws Failure `engine-proof-failed`. */
async function proved(paths: EnginePaths, docker: Docker, { name, prove, image }: EnableOptions): Promise<Finding[]> {
  if (!prove) return [];
  const unproved = (why: string): Finding[] => {
    const hint = `try one: docker run --rm --runtime ${name} --network none IMAGE ip addr`;
    return [warning("engine-unproved", name, `no container was tried: ${why}`, hint)];
  };
  const why = whyNotReady(paths);
  if (why !== undefined) return unproved(why);
  const chosen = image ?? (await imageAtHand(docker));
  if (chosen === undefined) return unproved("dockerd has no image; --probe-image names one");
  return (await tryContainer(docker, name, chosen))
    ? []
    : unproved("the image has no program `true`; --probe-image names another");
}

/** Why no container can get a network yet; undefined: it can. */
export function whyNotReady(paths: EnginePaths): string | undefined {
  if (!fs.existsSync(paths.pathHere(paths.front))) return `${paths.front} is missing`;
  try {
    const { confDir } = paths.ociConfig;
    const isAny = listNetworks(paths.pathHere(confDir)).some((loaded) => "network" in loaded);
    return isAny ? undefined : `${confDir} has no network`;
  } catch (error) {
    // An engine can be told of the runtime before there is a configuration.
    if (error instanceof Failure) return error.message;
    throw error;
  }
}

function notReloaded(paths: EnginePaths, why: string): Finding {
  return warning(
    "engine-not-reloaded",
    paths.daemonConfigOnHost,
    `${why}: the change takes effect when dockerd reads it`,
    "kill -HUP its process (systemctl reload docker), or start it",
  );
}

function notLoaded(paths: EnginePaths): Failure {
  return new Failure({
    code: "daemon-not-reloaded",
    subject: paths.daemonConfigOnHost,
    problem: "dockerd did not load the runtime after SIGHUP",
    hint: "its log says why (journalctl -u docker)",
  });
}

function runtimeExists(subject: string, name: string): Failure {
  return new Failure({
    code: "runtime-exists",
    subject,
    problem: `has a runtime ${name} that is not cni-node's`,
    hint: "--take-over replaces it, and disable brings it back; --runtime-name gives ours another name",
  });
}

function runtimeForeign(subject: string, name: string): Failure {
  return new Failure({
    code: "runtime-foreign",
    subject,
    problem: `has a runtime ${name} that is not cni-node's, so it stays`,
  });
}

function runtimeIsDefault(subject: string, what: string): Failure {
  return new Failure({
    code: "runtime-is-default",
    subject,
    problem: `has ${what}, and dockerd would not start without that runtime`,
    hint: "set the default runtime to another one first, for example runc",
  });
}
