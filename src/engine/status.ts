/** What engines on the host know of the program. Changes nothing. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { isExecutable } from "../system/read.ts";
import type { DockerRuntime } from "./daemon-config.ts";
import { dockerInfo } from "./docker-api.ts";
import { dockerRuntime, isLoaded, whyNotReady } from "./docker.ts";
import { configOf, daemonOf, textIfThere } from "./dockerd.ts";
import { CDI_FILE, cdiSpecification, HOOK_FILES, hookFiles } from "./hooks.ts";
import type { EnginePaths } from "./paths.ts";
import { podmanState } from "./podman.ts";
import { deviceNames } from "./devices.ts";

/** One way in which an engine calls the program. */
export interface WayStatus {
  way: "docker" | "podman" | "cdi" | "hooks";
  state: "enabled" | "disabled" | "outdated" | "foreign";
  /** The file that says so, as the host calls it. */
  path: string;
  detail?: string;
}

/** What was found. */
export interface EngineStatus {
  ways: WayStatus[];
  findings: Finding[];
}

/** @param engines of which. @throws Failure */
export async function lookAtEngines(
  paths: EnginePaths,
  engines: readonly ("docker" | "podman")[],
  name: string,
  signal: AbortSignal,
): Promise<EngineStatus> {
  const findings: Finding[] = [];
  const attempt = <T>(look: () => T): T | undefined => {
    try {
      return look();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      findings.push(error.asWarning("engine-unconfigured"));
      return undefined;
    }
  };
  const docker = engines.includes("docker") ? await lookAtDocker(paths, name, signal, findings) : undefined;
  const podman = engines.includes("podman") ? attempt(() => lookAtPodman(paths, name)) : undefined;
  const ways = [docker, podman, attempt(() => lookAtCdi(paths)), attempt(() => lookAtHooks(paths))].filter(
    (way) => way !== undefined,
  );
  if (ways.some(({ state }) => state === "enabled" || state === "outdated")) {
    attempt(() => {
      const front = paths.pathHere(paths.front);
      if (!isExecutable(front)) {
        findings.push(
          warning("engine-program-missing", paths.front, "is called by engines and is not an executable file"),
        );
      } else {
        const why = whyNotReady(paths);
        if (why !== undefined)
          findings.push(warning("engine-unconfigured", paths.front, `containers get no network: ${why}`));
      }
    });
  }
  return { ways, findings };
}

async function lookAtDocker(
  paths: EnginePaths,
  name: string,
  signal: AbortSignal,
  findings: Finding[],
): Promise<WayStatus | undefined> {
  try {
    const config = configOf(paths);
    const daemon = daemonOf(paths, config);
    const { [name]: found } = config.runtimes;
    const wanted = dockerRuntime(paths);
    const path = paths.daemonConfigOnHost;
    const isOurs = (found as { path?: unknown } | undefined)?.path === wanted.path;
    const state =
      found === undefined
        ? "disabled"
        : !isOurs
          ? "foreign"
          : isDeepStrictEqual(found, wanted)
            ? "enabled"
            : "outdated";
    const common = { way: "docker", state, path } as const;
    if (daemon === undefined) return { ...common, detail: "dockerd does not run, or cannot be reached from here" };
    const { version, runtimes, cdiDirs } = await dockerInfo({ socket: daemon.socket, signal });
    const isThere = runtimes.has(name);
    const isRight = found === undefined ? !isThere : isLoaded(runtimes, name, found as Partial<DockerRuntime>);
    if (!isRight) {
      const other = isThere ? "another runtime" : "no runtime";
      const message =
        found === undefined
          ? `dockerd runs with the runtime ${name}, which its file does not have`
          : `dockerd runs with ${other} ${name} than its file has`;
      findings.push(warning("engine-not-loaded", path, message, "systemctl reload docker"));
    }
    const cdi = cdiDirs === undefined || cdiDirs.length === 0 ? "no CDI" : `CDI from ${cdiDirs.join(", ")}`;
    return { ...common, detail: `dockerd ${version}, runtime ${name} ${isThere ? "loaded" : "not loaded"}, ${cdi}` };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    findings.push(error.asWarning("engine-not-loaded"));
    return undefined;
  }
}

function lookAtPodman(paths: EnginePaths, name: string): WayStatus {
  const { path, isThere, runtime } = podmanState(paths, name);
  return {
    way: "podman",
    state: isThere ? "enabled" : "disabled",
    path: paths.onHost(path),
    ...(isThere ? { detail: `runtime ${name}: ${runtime}` } : {}),
  };
}

function lookAtCdi(paths: EnginePaths): WayStatus {
  const path = join(paths.directory("cdi"), CDI_FILE);
  const common = { way: "cdi", path: paths.onHost(path) } as const;
  const text = textIfThere(path);
  if (text === undefined) return { ...common, state: "disabled" };
  const { names } = deviceNames(paths);
  if (text === cdiSpecification(paths.call, names)) return { ...common, state: "enabled", detail: names.join(", ") };
  return { ...common, state: "outdated", detail: "networks or the program have changed: run engine cdi again" };
}

function lookAtHooks(paths: EnginePaths): WayStatus {
  const directory = paths.directory("hooks");
  const wanted = hookFiles(paths.call);
  const texts = Object.values(HOOK_FILES).map(
    (name) => [textIfThere(join(directory, name)), wanted.get(name)] as const,
  );
  const common = { way: "hooks", path: paths.onHost(directory) } as const;
  if (texts.every(([text]) => text === undefined)) return { ...common, state: "disabled" };
  return { ...common, state: texts.every(([text, right]) => text === right) ? "enabled" : "outdated" };
}
