/** Where networks, plugins and attachments are for the commands that act on networks. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { Failure } from "../errors.ts";
import { askWhere } from "../node/directory.ts";
import { pathOnHost, pathHere, type Host } from "../node/host.ts";
import { runtimeDirectories, runtimeUnknown, USUAL, type RuntimeDirectories } from "../node/runtime.ts";
import { hostPath, seenBelow, shownAs, type HostPath } from "../system/below.ts";
import { isSameFile } from "../system/inode.ts";
import { searchPath } from "../system/path.ts";
import { shellWord } from "../system/text.ts";

/** What is named by who calls, in absolute paths. */
export interface NamedDirectories {
  hostRoot: string;
  /** The host root was given, and what is not named is below it. */
  isRootNamed: boolean;
  /** `auto`: those of the container runtime. */
  pluginDir: readonly string[] | "auto" | undefined;
  /** A directory, or `auto`. */
  configDir: string | undefined;
  cacheDir: string | undefined;
  /** Where the host has what is not named, if it is not in the usual place. */
  usual: UsualDirectories | undefined;
  /** The socket of the container runtime, if it may be asked. */
  criSocket: string | undefined;
}

/** Where the host has them. */
interface UsualDirectories {
  configDir: HostPath;
  cacheDir: HostPath;
  pluginDirs: readonly HostPath[];
}

/** Where the commands find them. */
export interface NetworkDirectories {
  /** Read by this process. */
  configDir: string;
  /** Read and written by this process. */
  cacheDir: string;
  /** Run by the host. */
  pluginDirs: HostPath[];
}

/** Where they are on every node. */
const ON_EVERY_NODE: UsualDirectories = {
  configDir: USUAL.config,
  cacheDir: hostPath("/var/lib/cni"),
  pluginDirs: [USUAL.plugin],
};

/**
 * Finds the directories. The runtime is asked only if its directories are to be taken, as by a run that installs.
 *
 * @param host undefined: the host cannot be reached, and what is mounted of it has to do.
 * @throws Failure `runtime-directory-unknown`, those of a runtime that does not answer; Interrupted.
 */
export async function networkDirectories(
  named: NamedDirectories,
  host: Host | undefined,
  signal: AbortSignal,
): Promise<NetworkDirectories> {
  const { hostRoot, isRootNamed, pluginDir, configDir, cacheDir, usual = ON_EVERY_NODE } = named;
  // Links are followed as on the host; plugins are looked up there, where links lead as they do for the host.
  const mounted = (path: HostPath): string => seenBelow(hostRoot, path) ?? join(hostRoot, path);
  const isBelowRoot = isRootNamed || host === undefined;
  const here = (path: HostPath): string => (isBelowRoot ? mounted(path) : pathHere(host, path));
  const called = (path: HostPath): string => (isBelowRoot ? mounted(path) : path);
  const isAuto = pluginDir === "auto" || configDir === "auto";
  const said = isAuto ? await askWhere(named.criSocket, signal) : undefined;
  const looks = isAuto ? await runtimeDirectories(isBelowRoot ? hostRoot : host.root || "/", said) : {};
  const plugins =
    pluginDir === "auto" ? pathsOf(looks, "plugin", hostRoot).map(called) : (pluginDir ?? usual.pluginDirs.map(called));
  const configs = configDir === "auto" ? pathsOf(looks, "config", hostRoot) : [usual.configDir];
  const config = configs.find((path) => existsSync(here(path))) ?? configs[0] ?? usual.configDir;
  return {
    configDir: configDir === "auto" || configDir === undefined ? here(config) : configDir,
    cacheDir: cacheDir ?? mountedCache(usual.cacheDir, hostRoot, host) ?? here(usual.cacheDir),
    pluginDirs: plugins.map((directory) => pathOnHost(host, hostRoot, directory)),
  };
}

/** @throws Failure `runtime-directory-unknown` */
function pathsOf(looks: RuntimeDirectories, kind: keyof typeof USUAL, hostRoot: string): readonly HostPath[] {
  const { [kind]: looked } = looks;
  if (looked === undefined) throw runtimeUnknown(`--${kind}-dir`, `${kind}s`, hostRoot);
  return looked.paths;
}

/** The host's cache where it is mounted in this container; undefined on the host itself. */
function mountedCache(cacheDir: HostPath, hostRoot: string, host: Host | undefined): string | undefined {
  if (host === undefined || host.root === "") return undefined;
  const mounted = seenBelow(hostRoot, cacheDir) ?? "";
  return isSameFile(mounted, pathHere(host, cacheDir)) ? mounted : undefined;
}

/**
 * SQLite, which locks the cache, follows the links of a path itself, and would come out in this container.
 *
 * @throws Failure `mount-missing`.
 */
export function requireLockable(cacheDir: string, { root }: Host, hostRoot: string): void {
  if (root === "" || !cacheDir.startsWith("/proc/")) return;
  const onHost = shownAs(root, cacheDir);
  throw new Failure({
    code: "mount-missing",
    subject: onHost,
    problem: "the host's directory of attachments is not mounted in this container",
    hint: `mount it: docker run -v ${shellWord(`${onHost}:${join(hostRoot, onHost)}`)}`,
  });
}

/** The environment of plugins. */
export function environmentOfPlugins({
  PATH,
  ...env
}: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return { ...env, PATH: searchPath(PATH).join(":") };
}
