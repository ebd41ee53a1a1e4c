/** Where a node's directories are seen from here. */
import * as fs from "node:fs";
import { join, relative } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { seenBelow } from "../cni/invoke.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import type { Finding } from "../finding.ts";
import { Failure, isAbsence } from "../errors.ts";
import { findDirectory, isBelow, type DirectoryRequest } from "./directory.ts";
import { firstNamesIn } from "../system/entries.ts";
import { configuredDirectories } from "./configured.ts";
import { rulesOf } from "../status/network.ts";
import { note, type Notes } from "./notes.ts";

/** More entries than these say nothing more. */
const MOST_NAMES = 100;

/** A directory of the node that assets are installed to. */
export interface TargetDirectory {
  /** Where it is seen from here. */
  path: string;
  /** Its path on the node, as far as that is known. */
  shown: string;
}

/** Where a node is seen from here. */
export interface FoundPlaces {
  hostRoot: string;
  /** Where the runtime looks for plugins, as the node sees it; undefined: that is not known. */
  runtimePluginDirs: readonly string[] | undefined;
  plugins: TargetDirectory | undefined;
  configs: TargetDirectory | undefined;
}

/** A distribution of Kubernetes whose runtime looks elsewhere than others. */
interface Distribution {
  name: string;
  configDir?: string;
  pluginDirs: readonly string[];
}

/** Nobody else makes these directories. */
const DISTRIBUTIONS: readonly Distribution[] = [
  {
    name: "k3s",
    configDir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    pluginDirs: ["/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/data/current/bin"],
  },
  {
    name: "MicroK8s",
    configDir: "/var/snap/microk8s/current/args/cni-network",
    pluginDirs: ["/var/snap/microk8s/current/opt/cni/bin"],
  },
  {
    name: "OpenShift",
    configDir: "/etc/kubernetes/cni/net.d",
    pluginDirs: ["/var/lib/cni/bin", "/usr/libexec/cni"],
  },
  { name: "GKE", pluginDirs: ["/home/kubernetes/bin"] },
];

/** k3s without flannel and others that bring their own network may leave theirs empty, and use the usual ones. */
function distributionOf(hostRoot: string): Distribution | undefined {
  const hasPlugins = (path: string): boolean => namesIn(hostRoot, path).length > 0;
  const found = DISTRIBUTIONS.find(({ configDir, pluginDirs }) =>
    configDir === undefined ? pluginDirs.some(hasPlugins) : namesIn(hostRoot, configDir, isConfigName).length > 0,
  );
  // Some have one or the other; where none can be seen, that is said of the first.
  const there = found?.pluginDirs.filter(hasPlugins) ?? [];
  return found === undefined || there.length === 0 ? found : { ...found, pluginDirs: there };
}

/** Some names in a directory of the node. */
function namesIn(hostRoot: string, path: string, isMeant?: (name: string) => boolean): string[] {
  return firstNamesIn(seenBelow(hostRoot, path) ?? "", MOST_NAMES, isMeant);
}

/**
 * Finds the directories of a node.
 *
 * @param word what the runtime says: where it reads its configurations, unless another directory is asked for. Where it
 *   does not, its distribution may tell.
 * @param notes is told what is not mounted, and what is no directory.
 * @throws Failure `mount-missing` where there is nothing at all.
 */
export function findPlaces(
  directories: Record<"plugin" | "config", DirectoryRequest>,
  word: RuntimeStatus | undefined,
  notes: Notes,
): FoundPlaces {
  const { unseen } = notes;
  const hostRoot = seenBelow("/", directories.config.hostRoot) ?? directories.config.hostRoot;
  const failures: string[] = [];
  const broken: string[] = [];
  const find = (request: DirectoryRequest): TargetDirectory | undefined => {
    try {
      const found = linkedDirectory(request, hostRoot) ?? inView(findDirectory(request), hostRoot);
      refuseUnreadable(found.path);
      return found;
    } catch (error) {
      if (error instanceof Failure && error.code === "mount-missing") {
        failures.push(`${request.path}: the ${request.holds}, for nothing of the node is mounted there`);
        return undefined;
      }
      const path = shownAs(request.path, hostRoot);
      broken.push(path);
      note(error, path, notes, (problem) => unusable(path, request.holds, problem));
      return undefined;
    }
  };
  const distribution = word?.configDir === undefined ? distributionOf(hostRoot) : undefined;
  const configured =
    word?.pluginDirs === undefined ? configuredDirectories(hostRoot, rulesOf(word, hostRoot)) : undefined;
  const { configDir, pluginDirs } = distribution ?? configured ?? word ?? {};
  const plugins = find(ofRuntime(directories.plugin, hostRoot, pluginDirs));
  const configs = find(ofRuntime(directories.config, hostRoot, configDir === undefined ? undefined : [configDir]));
  if (plugins === undefined && configs === undefined && broken.length === 0) {
    throw new Failure({
      code: "mount-missing",
      subject: hostRoot,
      problem: "there is nothing to look at: neither plugins nor configurations of a node are mounted below it",
      hint: "on the node itself say --host-root=/; in a container mount the node's directories, for example with docker run -v /:/host:ro",
    });
  }
  unseen.push(...failures);
  if (plugins !== undefined && pluginDirs === undefined && !directories.plugin.named) {
    unseen.push(
      "where the runtime looks for plugins: neither its configuration can be read nor was it asked (--cri-socket); plugins in any of the usual directories count",
    );
  }
  const usual = shownAs(directories.config.path, hostRoot);
  if (distribution?.configDir !== undefined && !directories.config.named && namesIn(hostRoot, usual).length > 0) {
    unseen.push(`${usual}: ${distribution.name} reads ${distribution.configDir}; name the other with --config-dir`);
  }
  return { hostRoot, plugins, configs, runtimePluginDirs: pluginDirs };
}

/** What is there may not be looked into. @throws errors of the system */
function refuseUnreadable(path: string): void {
  try {
    fs.accessSync(path, fs.constants.R_OK | fs.constants.X_OK);
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}

function unusable(path: string, holds: string, problem: string): Finding {
  return {
    code: "directory-unusable",
    severity: "error",
    path,
    message: `${problem}: runtimes find no ${holds} there, and nothing can be installed`,
    hint: "look at what it is and who made it, and put a directory in its place; if the runtime uses another one, name it (--plugin-dir, --config-dir)",
  };
}

/** A directory that a link leads to: the link is followed as the node does. */
function linkedDirectory(
  { named, path, hostRoot: asked }: DirectoryRequest,
  hostRoot: string,
): TargetDirectory | undefined {
  const shown = join("/", relative(asked, path));
  const target = named || hostRoot === "/" ? undefined : seenBelow(hostRoot, shown);
  const isLinked = target !== undefined && target !== join(hostRoot, shown);
  return isLinked && isDirectory(target) ? { path: target, shown } : undefined;
}

function isDirectory(path: string): boolean {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Where a name in a directory is seen from here, its links followed as the node does; undefined: it leads nowhere. */
export function seenIn({ path, shown }: TargetDirectory, name: string, hostRoot: string): string | undefined {
  return isBelow(path, hostRoot) ? seenBelow(hostRoot, join(shown, name)) : seenBelow("/", join(path, name));
}

function inView(path: string, hostRoot: string): TargetDirectory {
  return { path, shown: shownAs(path, hostRoot) };
}

/** The path as the node sees it, as far as that is known. */
export function shownAs(path: string, hostRoot: string): string {
  return isBelow(path, hostRoot) ? join("/", relative(hostRoot, path)) : path;
}

/** Where the runtime itself says that it looks, unless another directory is asked for. */
function ofRuntime(request: DirectoryRequest, hostRoot: string, told: readonly string[] = []): DirectoryRequest {
  const paths = told.map((path) => join(request.hostRoot, path));
  if (request.named || paths.includes(request.path)) return request;
  const found = told.findIndex((path) => fs.existsSync(seenBelow(hostRoot, path) ?? ""));
  return { ...request, path: paths[found] ?? request.path };
}

/** Is this another directory than those that the runtime says it uses? Not where that cannot be told from here. */
export function isForeign({ path }: TargetDirectory, hostRoot: string, told: readonly string[] | undefined): boolean {
  const seen = told?.map((one) => seenBelow(hostRoot, one) ?? "") ?? [path];
  return !seen.includes(path) && (isBelow(path, hostRoot) || seen.some((one) => fs.existsSync(one)));
}

/** Undefined: it would have to be made first. */
export function existing(directory: TargetDirectory | undefined): string | undefined {
  return directory !== undefined && fs.existsSync(directory.path) ? directory.path : undefined;
}
