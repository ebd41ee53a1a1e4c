/** Finds a plugin and runs it once, by section 2 of the CNI specification. */
import * as fs from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { getSystemErrorMessage } from "node:util";

import { hostPath, seenBelow } from "../system/below.ts";
import type { Command } from "./command.ts";
import { CniError, ERROR_CODES, type ErrorObject } from "./error.ts";
import { MAX_OUTPUT, runProgram, type End } from "./process.ts";
import { NEWEST_VERSION } from "./version.ts";

/** The generic arguments of an attachment, as pairs of key and value. */
export type Args = readonly (readonly [key: string, value: string])[];

/** What a plugin is told in its environment, beside the command. */
export interface Parameters {
  /** CNI_CONTAINERID */
  containerId?: string;
  /** CNI_NETNS */
  netns?: string;
  /** CNI_IFNAME */
  ifName?: string;
  /** CNI_ARGS. */
  args?: Args;
  /** CNI_PATH: the directories in which plugins find each other. */
  pluginDirs?: readonly string[];
}

/** One call of one plugin. */
export interface Invocation {
  /** The plugin's name; it becomes its argument 0. */
  plugin: string;
  /** The executable, whatever its file name is. */
  path: string;
  command: Command;
  parameters: Parameters;
  /** What it reads: its request configuration, as JSON. */
  stdin: string;
}

/** How plugins are run. */
export interface InvokeOptions {
  /** The environment beside the parameters. Default: that of this process. */
  env?: Readonly<Record<string, string | undefined>>;
  /**
   * Words before the plugin's path, so that it runs elsewhere: `["nsenter", "--mount=/proc/1/ns/mnt", "--"]`.
   * Argument 0 is then the path.
   */
  wrapper?: readonly string[];
  /** The plugin and all that it has started are ended after so many milliseconds. Default: never. */
  timeoutMs?: number;
  /** Ends the plugin, and all that it has started, when it is aborted. */
  signal?: AbortSignal;
  /**
   * Is told of every call when it has ended, in their order, whether it succeeded or not: also of DEL after a failed
   * ADD, and of every try of a plugin that was busy. It must not throw.
   */
  trace?: (call: PluginCall) => void;
}

/**
 * A call of a plugin that has ended. Its texts are as the plugin saw and wrote them: they may have secrets in them.
 * It has one of `exitCode`, `signal` and `systemCode`, and none if its caller had given up before it was started.
 */
export interface PluginCall extends End {
  plugin: string;
  path: string;
  command: Command;
  /** The environment that was set for this call, all of it: CNI_COMMAND and the others of section 2. */
  env: Record<string, string>;
  stdin: string;
  /** From before its start to the end of its output. */
  durationMs: number;
}

/** Why a call of a plugin came to nothing. */
export type PluginFailure =
  /** The plugin ended with an exit code other than 0, or by a signal. */
  | "exit"
  /** The system did not start it; `systemCode` says why. */
  | "start"
  | "timeout"
  | "aborted"
  /** It printed without end. */
  | "output"
  /** It succeeded, and what it printed is not what the specification asks for. */
  | "answer";

/** A call of a plugin that came to nothing. */
export class PluginError extends CniError {
  override readonly name = "PluginError";
  readonly reason: PluginFailure;
  readonly plugin: string;
  readonly path: string;
  readonly command: Command;
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** The reason for which the system did not start it: `ENOENT`, `EACCES`, `ENOEXEC` … */
  readonly systemCode: string | undefined;
  readonly stdout: string;
  readonly stderr: string;

  constructor(reason: PluginFailure, call: Omit<PluginCall, "env" | "stdin" | "durationMs">, error: ErrorObject) {
    super(error, { prefix: `plugin ${call.plugin}: ${call.command} failed: ` });
    this.reason = reason;
    this.plugin = call.plugin;
    this.path = call.path;
    this.command = call.command;
    this.exitCode = call.exitCode;
    this.signal = call.signal;
    this.systemCode = call.systemCode;
    this.stdout = call.stdout;
    this.stderr = call.stderr;
  }
}

/** How long a plugin may take to answer VERSION, unless its caller says: it does nothing but answer. */
export const VERSION_LIMIT_MS = 5000;
/** As libcni: a plugin that somebody is just writing is tried so often, with a second between. */
const BUSY_TRIES = 6;

/**
 * The first regular file of the plugin's name in the directories, as libcni looks it up; undefined when there is none.
 *
 * @param root where the directories' file system is seen by this process, if it is not its own: `/proc/1/root`. It is
 * not part of the path that is returned.
 * @throws CniError when `type` is not a file name.
 */
export function findPlugin(type: string, directories: readonly string[], root = ""): string | undefined {
  if (type === "" || type.includes("/")) {
    const details = "type must be the file name of a plugin";
    throw new CniError({
      code: ERROR_CODES.invalidNetworkConfig,
      msg: `invalid plugin name ${JSON.stringify(type)}`,
      details,
    });
  }
  return directories.map((directory) => join(directory, type)).find((path) => isRegularFile(root, path));
}

function isRegularFile(root: string, path: string): boolean {
  try {
    return fs.statSync(root === "" ? path : (seenBelow(root, hostPath(path)) ?? "")).isFile();
  } catch {
    return false;
  }
}

/**
 * Runs a plugin once, to its end.
 *
 * @returns what it printed.
 * @throws PluginError when it did not succeed; CniError when no process can be given such parameters.
 */
export async function invoke(invocation: Invocation, options: InvokeOptions = {}): Promise<string> {
  refuseNul(invocation);
  for (let tries = 1; ; tries++) {
    const call = await run(invocation, options);
    options.trace?.(call);
    if (call.systemCode === "ETXTBSY" && tries < BUSY_TRIES) {
      await sleep(1000, undefined, { signal: options.signal }).catch(() => undefined);
    } else {
      const error = errorOf(call, options);
      if (error !== undefined) throw error;
      return call.stdout;
    }
  }
}

/**
 * Asks a plugin for the versions of the specification that it supports. It gets 5 seconds and an environment with
 * nothing but PATH in it, unless the options say otherwise.
 *
 * @returns one version or more.
 * @throws PluginError when it gives no such answer.
 */
export async function askVersion(
  plugin: Pick<Invocation, "plugin" | "path">,
  options: InvokeOptions = {},
): Promise<string[]> {
  const invocation: Invocation = {
    ...plugin,
    command: "VERSION",
    // Plugins that were built with an old version of libcni's skeleton insist on these.
    parameters: { netns: "dummy", ifName: "dummy", pluginDirs: ["dummy"] },
    stdin: JSON.stringify({ cniVersion: NEWEST_VERSION }),
  };
  try {
    const { timeoutMs = VERSION_LIMIT_MS, env = { PATH: process.env["PATH"] } } = options;
    return readVersions(invocation, await invoke(invocation, { ...options, timeoutMs, env }));
  } catch (error) {
    // What plugins answer that are older than the command.
    const isOlder = error instanceof PluginError && error.msg === "unknown CNI_COMMAND: VERSION" && !error.details;
    if (isOlder) return ["0.1.0"];
    throw error;
  }
}

function readVersions({ plugin, path, command }: Invocation, stdout: string): string[] {
  const answer: { cniVersion?: unknown; supportedVersions?: unknown } | undefined = parseObject(stdout);
  const refuse = (msg: string): PluginError => {
    const call = { plugin, path, command, stdout, stderr: "", exitCode: 0 };
    return new PluginError("answer", call, { code: ERROR_CODES.decodingFailure, msg });
  };
  if (answer === undefined) throw refuse(`its answer is not a JSON object: ${shorten(JSON.stringify(stdout))}`);
  const { cniVersion, supportedVersions } = answer;
  if (typeof cniVersion !== "string" || cniVersion === "") throw refuse("its answer has no cniVersion");
  const versions = supportedVersions ?? [];
  if (!Array.isArray(versions) || !versions.every((version) => typeof version === "string")) {
    throw refuse("supportedVersions in its answer is not a list of versions");
  }
  if (versions.length > 0) return versions;
  if (cniVersion === "0.2.0") return ["0.1.0", "0.2.0"];
  throw refuse("its answer has no supportedVersions");
}

async function run(invocation: Invocation, options: InvokeOptions): Promise<PluginCall> {
  const { plugin, path, command, stdin } = invocation;
  const { wrapper = [], timeoutMs, signal } = options;
  const started = process.uptime();
  const env = parametersAsEnv(invocation);
  const [file = path] = wrapper;
  const program = {
    file,
    argv0: wrapper.length === 0 ? plugin : file,
    words: [...wrapper, path].slice(1),
    env: { ...(options.env ?? process.env), ...env },
    stdin,
  };
  const end = await runProgram(program, { timeoutMs, signal });
  return { plugin, path, command, env, stdin, ...end, durationMs: Math.round((process.uptime() - started) * 1000) };
}

/** Section 2, Parameters. All of them are set, so that none is inherited. */
function parametersAsEnv({ command, parameters }: Invocation): Record<string, string> {
  const { containerId = "", netns = "", ifName = "", args = [], pluginDirs = [] } = parameters;
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
    CNI_ARGS: args.map(([key, value]) => `${key}=${value}`).join(";"),
    CNI_PATH: pluginDirs.join(":"),
  };
}

/** No environment can hold it. */
function refuseNul(invocation: Invocation): void {
  for (const [variable, value] of Object.entries({ path: invocation.path, ...parametersAsEnv(invocation) })) {
    if (!value.includes("\0")) continue;
    throw new CniError({ code: ERROR_CODES.invalidEnvironment, msg: `${variable} has a NUL in it` });
  }
}

function errorOf(call: PluginCall, options: InvokeOptions): PluginError | undefined {
  const { stopped } = call;
  if (stopped !== undefined) {
    const because = {
      timeout: `it took longer than ${options.timeoutMs ?? 0} ms`,
      aborted: String(options.signal?.reason),
      output: `it printed more than ${MAX_OUTPUT} bytes`,
    }[stopped];
    return new PluginError(stopped, call, { code: ERROR_CODES.unknown, msg: `it was ended: ${because}` });
  }
  if (call.systemCode !== undefined) return new PluginError("start", call, startError(call, call.systemCode, options));
  return call.exitCode === 0 ? undefined : new PluginError("exit", call, exitError(call));
}

function startError({ path }: PluginCall, systemCode: string, { wrapper = [] }: InvokeOptions): ErrorObject {
  const [file = path] = wrapper;
  const isThere = systemCode === "ENOENT" && file === path && fs.existsSync(path);
  return {
    code: ERROR_CODES.unknown,
    msg: `${file} cannot be run: ${systemMessage(systemCode)}`,
    ...(isThere ? { details: "the file is there; the interpreter or loader that it names is not" } : {}),
  };
}

/** What the system says of its code: `no such file or directory`. */
export function systemMessage(systemCode: string): string {
  const { [systemCode]: number = 0 } = constants.errno as Record<string, number>;
  return getSystemErrorMessage(-number);
}

/** Section 5, Error; where a plugin does not keep to it, what it printed, or else how it ended. */
function exitError({ stdout, stderr, exitCode, signal }: PluginCall): ErrorObject {
  const { code, msg, details } = (parseObject(stdout) ?? {}) as Partial<Record<keyof ErrorObject, unknown>>;
  const ending = signal === undefined ? `exit code ${exitCode ?? 0}` : `ended by ${signal}`;
  if (typeof msg === "string" && msg !== "") {
    return {
      code: Number.isSafeInteger(code) ? Number(code) : ERROR_CODES.unknown,
      msg,
      ...(details ? { details: typeof details === "string" ? details : JSON.stringify(details) } : {}),
    };
  }
  const printed = [stdout, stderr].map((text) => text.trim()).find((text) => text !== "");
  if (printed === undefined) return { code: ERROR_CODES.unknown, msg: `no error message, ${ending}` };
  return {
    code: Number.isSafeInteger(code) ? Number(code) : ERROR_CODES.unknown,
    msg: shorten(printed),
    details: ending,
  };
}

/** Undefined: the text is not a JSON object. */
function parseObject(text: string): object | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Enough to see what it is. */
function shorten(text: string): string {
  return text.length <= 2000 ? text : `${text.slice(0, 2000)}…`;
}
