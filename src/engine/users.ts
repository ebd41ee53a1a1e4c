/** The containers that have a runtime which is about to be taken away. Changes nothing. */
import * as fs from "node:fs";
import { join } from "node:path";

import { isObject, parseIfJson } from "../cni/json.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { firstNamesIn } from "../system/entries.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { isVisible } from "../system/text.ts";
import { containersWith } from "./docker-api.ts";
import { configOf, containersDirectory, daemonOf, hasTraces, isOfConfig } from "./dockerd.ts";
import type { EnginePaths } from "./paths.ts";
import { runOnHost, saidBy } from "./program.ts";

/** A container that has the runtime. */
export interface User {
  name: string;
  isRunning: boolean;
}

/** The containers that have a runtime, as far as that is known. */
export interface Users {
  containers: readonly User[];
  /** Why there may be others. */
  doubt?: string;
}

/** How many containers an engine may have. */
const MAX_CONTAINERS = 10_000;

/** Asks dockerd, or looks at what it has stored. @throws Failure where its configuration cannot be read. */
export async function dockerUsers(paths: EnginePaths, name: string, signal: AbortSignal): Promise<Users> {
  const config = configOf(paths);
  const daemon = daemonOf(paths, config);
  if (daemon !== undefined && isOfConfig(daemon, paths)) {
    try {
      return { containers: await containersWith({ socket: daemon.socket, signal }, name) };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }
  return storedUsers(containersDirectory(paths, config), name, hasTraces(paths));
}

function storedUsers(directory: string, name: string, mayBeElsewhere: boolean): Users {
  const unasked = "dockerd cannot be asked";
  if (!fs.existsSync(directory)) return { containers: [], ...(mayBeElsewhere ? { doubt: unasked } : {}) };
  const ids = firstNamesIn(directory, MAX_CONTAINERS + 1);
  if (ids.length > MAX_CONTAINERS)
    return { containers: [], doubt: `${unasked}, and ${directory} has too many entries` };
  const containers: User[] = [];
  for (const id of ids) {
    const [host, own] = ["hostconfig.json", "config.v2.json"].map((file) => {
      return parseIfJson(readTextIfPossible(join(directory, id, file), SIZE_LIMITS.state) ?? "");
    });
    if (!isObject(host)) return { containers, doubt: `${unasked}, and what it has stored of ${id} cannot be read` };
    if (host["Runtime"] !== name) continue;
    const { Name, State } = isObject(own) ? own : {};
    const isStopped = isObject(State) && State["Running"] === false;
    containers.push({ name: typeof Name === "string" ? Name.replace(/^\//u, "") : id, isRunning: !isStopped });
  }
  return { containers };
}

/** Where root's Podman keeps containers, and what may name another place. */
const PODMAN_TRACES = ["/var/lib/containers/storage", "/etc/containers/storage.conf"];

/** Asks Podman. @param runtimes the runtime by its name, and by its path. Interrupted. */
export async function podmanUsers(
  paths: EnginePaths,
  runtimes: readonly string[],
  signal: AbortSignal,
): Promise<Users> {
  const listed = await runOnHost(paths, ["podman", "ps", "--all", "--quiet", "--no-trunc"], signal);
  if (listed === undefined) {
    const isPossible = PODMAN_TRACES.some((path) => fs.existsSync(paths.pathHere(path)));
    return { containers: [], ...(isPossible ? { doubt: "Podman cannot be called from here" } : {}) };
  }
  // A host without Podman.
  if (listed.systemCode === "ENOENT" || listed.exitCode === 127) return { containers: [] };
  if (listed.exitCode !== 0) return { containers: [], doubt: `Podman does not answer: ${saidBy(listed)}` };
  const ids = listed.stdout.split("\n").filter(Boolean);
  if (ids.length === 0) return { containers: [] };
  const format = "{{.OCIRuntime}} {{.State.Running}} {{.Name}}";
  const end = await runOnHost(paths, ["podman", "inspect", "--type", "container", "--format", format, ...ids], signal);
  if (end?.exitCode !== 0) return { containers: [], doubt: `Podman does not answer: ${end ? saidBy(end) : ""}` };
  const lines = end.stdout.split("\n").filter(Boolean);
  const users = lines.flatMap((line) => {
    const [, runtime = "", isRunning = "", name = ""] = /^(.*) (true|false) (\S+)$/u.exec(line) ?? [];
    return runtimes.includes(runtime) ? [{ name, isRunning: isRunning === "true" }] : [];
  });
  return { containers: users };
}

/** @param need what they need it to do. @throws Failure `runtime-in-use` if there are any. */
export function refuseUsers(name: string, users: readonly User[], need: string, hint: string): void {
  if (users.length === 0) return;
  throw new Failure({
    code: "runtime-in-use",
    subject: name,
    problem: `is needed to ${need} ${counted(users.length, "container")}: ${namesOf(users)}`,
    hint: `${hint}; --force leaves them as they are`,
  });
}

/** `1 container`, `2 containers`. */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

/** The first names of containers. */
export function namesOf(users: readonly User[]): string {
  const names = users.map(({ name }) => name).filter(isVisible);
  return [...names.slice(0, 5), ...(names.length > 5 ? ["…"] : [])].join(", ");
}

/** Says why the program stays, though nothing is known to need it. */
export function doubtOf({ doubt }: Users, name: string): Finding[] {
  if (doubt === undefined) return [];
  const message = `it is not known which containers have this runtime, so the program stays: ${doubt}`;
  return [warning("engine-containers", name, message, "run engine disable again when it can be asked (--pid=host)")];
}

/** Why the program has to stay for these. Undefined: nothing of them needs it. */
export function needOf({ doubt }: Users, using: readonly User[]): string | undefined {
  if (using.length > 0) return "containers that have the runtime need it";
  return doubt === undefined ? undefined : "it is not known whether containers need it";
}
