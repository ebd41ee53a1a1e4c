/** The host's dockerd: its configuration, its process, and the flags that it is started with. Changes nothing. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { Failure, systemFailure } from "../errors.ts";
import { isSameFile } from "../system/inode.ts";
import { readTextIfPossible, readTextIfThere, SIZE_LIMITS } from "../system/read.ts";
import { parseDaemonConfig, type DaemonConfig } from "./daemon-config.ts";
import type { EnginePaths } from "./paths.ts";
import { startWords } from "./unit.ts";

/** A dockerd that runs. */
export interface Daemon {
  pid: number;
  /** Its command line without the program. */
  words: readonly string[];
  /** As this process sees it. */
  socket: string;
}

const DEFAULT_PID_FILE = "/var/run/docker.pid";
const DEFAULT_SOCKET = "/var/run/docker.sock";
const DEFAULT_DATA_ROOT = "/var/lib/docker";

/** dockerd's configuration as its file has it. @throws Failure `daemon-config-invalid`, and where it cannot be read. */
export function configOf(paths: EnginePaths): DaemonConfig {
  const { directory, name } = paths.daemonConfig;
  const path = join(directory, name);
  return parseDaemonConfig(textIfThere(path), path);
}

/** The text of a file of an engine; undefined: there is none. @throws Failure where it cannot be read. */
export function textIfThere(path: string): string | undefined {
  try {
    return readTextIfThere(path, SIZE_LIMITS.config);
  } catch (error) {
    throw systemFailure(path, "cannot be read", error);
  }
}

/**
 * The dockerd that runs. Undefined: there is none, or its process cannot be seen. A process that is not dockerd may have
 * the number of one that is gone.
 */
export function daemonOf(paths: EnginePaths, { pidfile, hosts }: Record<string, unknown>): Daemon | undefined {
  if (paths.host.wrapper === undefined) return undefined;
  const named = typeof pidfile === "string" ? pidfile : valuesOf(startWords(paths) ?? [], "--pidfile", "-p").at(-1);
  const file = paths.pathHere(named ?? DEFAULT_PID_FILE);
  const pid = Number(/^\d{1,10}\s*$/u.exec(readTextIfPossible(file, SIZE_LIMITS.lease) ?? "")?.[0]);
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  const command = readTextIfPossible(`/proc/${pid}/cmdline`, SIZE_LIMITS.proc) ?? "";
  const [program = "", ...words] = command.split("\0");
  if (!basename(program).startsWith("dockerd")) return undefined;
  const listed = Array.isArray(hosts) ? hosts.filter((one) => typeof one === "string") : [];
  const flags = valuesOf(words, "--host", "-H");
  const unix = [...listed, ...flags].find((one) => one.startsWith("unix://"))?.slice("unix://".length);
  return { pid, words, socket: paths.pathHere(unix ?? DEFAULT_SOCKET) };
}

/** Does it read this file? */
export function isOfConfig({ words }: Daemon, paths: EnginePaths): boolean {
  const path = paths.pathHere(valuesOf(words, "--config-file").at(-1) ?? "/etc/docker/daemon.json");
  const { directory, name } = paths.daemonConfig;
  // The file need not be there: a host may have had none.
  const real = fs.existsSync(path) ? fs.realpathSync(path) : path;
  return basename(real) === name && isSameFile(dirname(real), directory);
}

/**
 * The flags that dockerd runs with, or will be started with. Undefined: nothing says. Of a dockerd that does not run, a
 * word with a dollar sign is not known.
 */
export function flagsOf(paths: EnginePaths, config: DaemonConfig): readonly string[] | undefined {
  const daemon = daemonOf(paths, config);
  return daemon !== undefined && isOfConfig(daemon, paths) ? daemon.words : startWords(paths);
}

/** What a flag is given, each time. */
function valuesOf(words: readonly string[], ...names: readonly string[]): string[] {
  return words.flatMap((word, at) => {
    const equals = word.indexOf("=");
    if (equals !== -1 && names.includes(word.slice(0, equals))) return [word.slice(equals + 1)];
    return names.includes(words[at - 1] ?? "") ? [word] : [];
  });
}

/** The runtimes that flags make the default. */
export function defaultRuntimesIn(flags: readonly string[] | undefined): string[] {
  return valuesOf(flags ?? [], "--default-runtime");
}

/**
 * dockerd neither starts nor reads its configuration again if a key of it is a flag, too.
 *
 * @throws Failure `daemon-flags`
 */
export function refuseFlags(flags: readonly string[] | undefined, config: Record<string, unknown>): void {
  const keys = { "--add-runtime": true, "--default-runtime": Object.hasOwn(config, "default-runtime") };
  const found = Object.entries(keys).find(([flag, isKey]) => isKey && valuesOf(flags ?? [], flag).length > 0);
  if (found === undefined) return;
  const [flag] = found;
  throw new Failure({
    code: "daemon-flags",
    subject: "dockerd",
    problem: `is started with ${flag}, and accepts that in its configuration or as a flag, not both; nothing was changed`,
    hint: `move ${flag} from the command line of dockerd (systemctl cat docker) to daemon.json`,
  });
}

/** Where dockerd keeps its containers, as this process sees it. */
export function containersDirectory(paths: EnginePaths, config: DaemonConfig): string {
  const { "data-root": dataRoot } = config;
  const flag = valuesOf(flagsOf(paths, config) ?? [], "--data-root", "-g", "--graph").at(-1);
  return paths.pathHere(join(typeof dataRoot === "string" ? dataRoot : (flag ?? DEFAULT_DATA_ROOT), "containers"));
}

/** Is there anything by which a dockerd would be reached, even if it cannot be reached from here? */
export function hasTraces(paths: EnginePaths): boolean {
  return [DEFAULT_PID_FILE, DEFAULT_SOCKET].some((path) => fs.existsSync(paths.pathHere(path)));
}
