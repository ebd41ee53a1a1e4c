/** Where networks, plugins and attachments are for the commands that act on networks. */
import * as fs from "node:fs";
import { join } from "node:path";

import { Failure } from "../errors.ts";
import { pathOnHost, seen, type Place } from "../node/host.ts";
import { runtimeDirectories, runtimeUnknown, USUAL, type RuntimeDirectories } from "../node/runtime.ts";
import { hostPath, seenBelow, type HostPath } from "../system/below.ts";
import { SYSTEM_PATH } from "../system/path.ts";
import { shellWord } from "../system/text.ts";

/** What is named by who calls, in absolute paths. */
export interface Named {
  hostRoot: string;
  /** The host root was given, and what is not named is below it. */
  isRootNamed: boolean;
  /** `auto`: those of the container runtime. */
  pluginDir: readonly string[] | "auto" | undefined;
  /** A directory, or `auto`. */
  configDir: string | undefined;
  cacheDir: string | undefined;
}

/** The directories as this process sees them; those of plugins as the host does, where it can be reached. */
export interface NetworkDirectories {
  configDir: string;
  cacheDir: string;
  pluginDirs: string[];
}

/** Where attachments are remembered on every node. */
const CACHE_DIR = hostPath("/var/lib/cni");

/**
 * Finds the directories.
 *
 * @param place undefined: the host cannot be reached, and what is mounted of it has to do.
 * @throws Failure `runtime-directory-unknown`.
 */
export async function networkDirectories(named: Named, place: Place | undefined): Promise<NetworkDirectories> {
  const { hostRoot, isRootNamed, pluginDir, configDir, cacheDir } = named;
  // Links are followed as on the host; plugins are looked up there, where links lead as they do for the host.
  const mounted = (path: HostPath): string => seenBelow(hostRoot, path) ?? join(hostRoot, path);
  const isBelowRoot = isRootNamed || place === undefined;
  const here = (path: HostPath): string => (isBelowRoot ? mounted(path) : seen(place, path));
  const called = (path: HostPath): string => (isBelowRoot ? mounted(path) : path);
  const isAuto = pluginDir === "auto" || configDir === "auto";
  const looks = isAuto ? await runtimeDirectories(isBelowRoot ? hostRoot : place.root || "/") : {};
  const plugins =
    pluginDir === "auto" ? pathsOf(looks, "plugin", hostRoot).map(called) : (pluginDir ?? [called(USUAL.plugin)]);
  const [config = USUAL.config] = configDir === "auto" ? pathsOf(looks, "config", hostRoot) : [];
  return {
    configDir: configDir === "auto" || configDir === undefined ? here(config) : configDir,
    cacheDir: cacheDir ?? mountedCache(hostRoot, place) ?? here(CACHE_DIR),
    pluginDirs: plugins.map((directory) => (place === undefined ? directory : pathOnHost(place, hostRoot, directory))),
  };
}

/** @throws Failure `runtime-directory-unknown` */
function pathsOf(looks: RuntimeDirectories, kind: keyof typeof USUAL, hostRoot: string): readonly HostPath[] {
  const { [kind]: looked } = looks;
  if (looked === undefined) throw runtimeUnknown(`--${kind}-dir`, `${kind}s`, hostRoot);
  return looked.paths;
}

/** The host's cache where it is mounted in this container; undefined on the host itself. */
function mountedCache(hostRoot: string, place: Place | undefined): string | undefined {
  if (place === undefined || place.root === "") return undefined;
  const mounted = seenBelow(hostRoot, CACHE_DIR) ?? "";
  const [here, there] = [mounted, seen(place, CACHE_DIR)].map((path) => {
    return fs.statSync(path, { throwIfNoEntry: false, bigint: true });
  });
  return here !== undefined && here.dev === there?.dev && here.ino === there.ino ? mounted : undefined;
}

/**
 * SQLite, which locks the cache, follows the links of a path itself, and would come out in this container.
 *
 * @throws Failure `mount-missing`.
 */
export function requireLockable(cacheDir: string, { root }: Place, hostRoot: string): void {
  if (root === "" || !cacheDir.startsWith("/proc/")) return;
  throw new Failure({
    code: "mount-missing",
    subject: CACHE_DIR,
    problem: "the host's directory of attachments is not mounted in this container",
    hint: `mount it: docker run -v ${shellWord(`${CACHE_DIR}:${join(hostRoot, CACHE_DIR)}`)}`,
  });
}

/** The environment of plugins. */
export function environmentOfPlugins({
  PATH = "",
  ...env
}: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const path = new Set([...PATH.split(":"), ...SYSTEM_PATH]);
  return { ...env, PATH: [...path].filter((directory) => directory !== "").join(":") };
}
