/** Where engines and the program have their files on the host, and how the host is reached. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { DEFAULT_CONFIG_FILE, parseOciConfig, type OciConfig } from "../oci/config.ts";
import { FRONT } from "../oci/wrapper.ts";
import { Failure, isAbsence, systemFailure } from "../errors.ts";
import { findDirectory, findDirectoryIfUsable, type DirectoryRequest } from "../node/directory.ts";
import { findHost } from "../node/host.ts";
import { removeDirectoryIfEmpty } from "../system/disk.ts";
import { followBelow, hostPath, realPathOf, seenBelow, shownAs } from "../system/below.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import type { Call } from "./hooks.ts";

/** What is named by who calls. Paths are those of this process but for `programDir` and `ociConfig`, which are the host's. */
export interface NamedPaths {
  hostRoot: string | undefined;
  programDir: string | undefined;
  ociConfig: string | undefined;
  daemonConfig: string | undefined;
  podmanConfigDir: string | undefined;
  cdiDir: string | undefined;
  hooksDir: string | undefined;
}

/** The host as this process sees it. */
export interface EngineHost {
  root: string;
  /** The words before a program that is to run on the host; undefined: its processes cannot be reached. */
  wrapper: readonly string[] | undefined;
}

/** The directories that engine commands write to, in the order in which runs lock and change them. */
const DIRECTORIES = {
  lib: { holds: "parts of the program", option: "--program-dir" },
  launchers: { holds: "launchers", option: "--program-dir" },
  program: { holds: "the program", option: "--program-dir" },
  cdi: { holds: "CDI specifications", option: "--cdi-dir", path: "/etc/cdi" },
  hooks: { holds: "hooks", option: "--hooks-dir", path: "/etc/containers/oci/hooks.d" },
  podman: {
    holds: "configurations of Podman",
    option: "--podman-config-dir",
    path: "/etc/containers/containers.conf.d",
  },
  docker: { holds: "the configuration of dockerd", option: "--daemon-config", path: "/etc/docker" },
} as const;

type Holder = keyof typeof DIRECTORIES;
const HOLDERS = Object.keys(DIRECTORIES) as readonly Holder[];

/** Where a host has the program that hooks call, unless it is said. */
const PROGRAM_DIR = "/opt/cni-node";
const DAEMON_CONFIG = "/etc/docker/daemon.json";

/** Where everything is. */
export class EnginePaths {
  readonly host: EngineHost;
  /** The path of the front on the host. */
  readonly front: string;
  /** Is the program put on the host? Else the host runs it from where it is. */
  readonly isInstalled: boolean;
  readonly #named: NamedPaths;
  readonly #programDir: string;

  /**
   * @param ownDir the directory of this program, as this process sees it.
   * @throws Failure `mount-missing`, `host-unreachable`.
   */
  constructor(named: NamedPaths, ownDir: string, mount: string) {
    this.#named = named;
    this.host = findEngineHost(named.hostRoot, mount);
    this.#programDir = named.programDir ?? PROGRAM_DIR;
    this.isInstalled = named.programDir !== undefined || this.host.root !== "/";
    this.front = this.isInstalled ? join(this.#programDir, FRONT) : join(ownDir, FRONT);
  }

  /** How the host calls the program. */
  get call(): Call {
    return { front: this.front, config: this.#named.ociConfig };
  }

  /** The real path of a directory. @throws Failure `mount-missing`, … */
  directory(holder: Holder): string {
    const request = this.#request(holder);
    return findDirectory(request);
  }

  /** Those that can be used, in order. */
  get all(): string[] {
    const found = HOLDERS.flatMap((holder) => findDirectoryIfUsable(this.#request(holder)) ?? []);
    const { directory } = this.daemonConfig;
    return found.includes(directory) ? found : [...found, directory];
  }

  /** dockerd's configuration, links followed: it is changed where it is. @throws Failure */
  get daemonConfig(): { directory: string; name: string } {
    const path = this.#daemonPath;
    const real = followBelow(this.host.root, path) ?? path;
    if (real === path) return { directory: this.directory("docker"), name: basename(path) };
    const directory = dirname(real);
    return { directory: fs.existsSync(directory) ? realPathOf(directory) : directory, name: basename(real) };
  }

  /** The same as the host calls it. */
  get daemonConfigOnHost(): string {
    return this.onHost(this.#daemonPath);
  }

  get #daemonPath(): string {
    return this.#named.daemonConfig ?? join(this.host.root, DAEMON_CONFIG);
  }

  /** The path of a launcher on the host. */
  launcher(name: string): string {
    return join(this.#programDir, "runtimes", name);
  }

  /** Removes the directories of the program if nothing is in them. */
  removeEmpty(): void {
    for (const holder of ["lib", "launchers", "program"] as const) removeDirectoryIfEmpty(this.directory(holder));
  }

  /** Where this process sees a path of the host. */
  pathHere(path: string): string {
    return seenBelow(this.host.root, hostPath(path)) ?? join(this.host.root, path);
  }

  /** What the host calls a path that this process sees. */
  onHost(path: string): string {
    return shownAs(this.host.root, path);
  }

  /** The file of it, as this process sees it. It need not be there. */
  get ociConfigFile(): string {
    return this.pathHere(this.#named.ociConfig ?? DEFAULT_CONFIG_FILE);
  }

  /** The configuration of the wrapper and the hooks. @throws Failure `oci-config-invalid`, and if it is named and missing. */
  get ociConfig(): OciConfig {
    const { ociConfig: named } = this.#named;
    const path = this.ociConfigFile;
    try {
      return parseOciConfig(readText(path, SIZE_LIMITS.config), named ?? DEFAULT_CONFIG_FILE);
    } catch (error) {
      if (named === undefined && isAbsence(error))
        return { ...parseOciConfig("", DEFAULT_CONFIG_FILE), file: undefined };
      throw systemFailure(path, "the configuration of the wrapper cannot be read", error);
    }
  }

  #request(holder: Holder): DirectoryRequest {
    const { root } = this.host;
    const { holds, option } = DIRECTORIES[holder];
    const { named, path } = this.#pathOf(holder);
    const hostRootNamed = this.#named.hostRoot !== undefined || root === "/";
    return { holds, option, path, named, auto: false, more: [], hostRoot: root, hostRootNamed };
  }

  #pathOf(holder: Holder): { path: string; named: boolean } {
    const { daemonConfig, podmanConfigDir, cdiDir, hooksDir } = this.#named;
    const daemonDir = daemonConfig === undefined ? undefined : dirname(daemonConfig);
    const named = { cdi: cdiDir, hooks: hooksDir, podman: podmanConfigDir, docker: daemonDir };
    const { root } = this.host;
    if (holder === "program") return { path: join(root, this.#programDir), named: false };
    if (holder === "lib") return { path: join(root, this.#programDir, "lib"), named: false };
    if (holder === "launchers") return { path: join(root, this.#programDir, "runtimes"), named: false };
    const { [holder]: given } = named;
    return { path: given ?? join(root, DIRECTORIES[holder].path), named: given !== undefined };
  }
}

/** @param mount where the host's root is mounted, if it is not said. */
function findEngineHost(named: string | undefined, mount: string): EngineHost {
  if (named === undefined && !fs.existsSync(mount)) {
    const { root } = findHost(mount, false);
    if (root === "") return { root: "/", wrapper: [] };
    throw new Failure({
      code: "mount-missing",
      subject: mount,
      problem: "the host's root file system is not mounted in this container",
      hint: `mount it: docker run --privileged --pid=host -v /:${mount}; on the host itself --host-root=/ says so`,
    });
  }
  const given = named ?? mount;
  const root = fs.existsSync(given) ? realPathOf(given) : given;
  if (root === "/") return { root, wrapper: [] };
  try {
    const host = findHost(given, named !== undefined);
    // A directory that stands for a host has no processes of its own.
    return { root, wrapper: host.root === "" ? undefined : host.wrapper };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { root, wrapper: undefined };
  }
}
