/** Does the container runtime of a node look elsewhere than in the usual directories? */
import * as fs from "node:fs";
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import type { DirectoryRequest } from "./directory.ts";
import { seenBelow } from "../system/below.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import type { FileKind } from "../apply/prepare.ts";

/** Where a runtime looks, as the node sees it; none: nothing says so. */
type Told = Record<FileKind, readonly string[]>;

/** Distributions with directories that nobody else makes (src/status/places.ts knows the same). */
const DISTRIBUTIONS: readonly ({ name: string } & Told)[] = [
  {
    name: "k3s",
    config: ["/var/lib/rancher/k3s/agent/etc/cni/net.d"],
    plugin: ["/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/data/current/bin"],
  },
  {
    name: "MicroK8s",
    config: ["/var/snap/microk8s/current/args/cni-network"],
    plugin: ["/var/snap/microk8s/current/opt/cni/bin"],
  },
  { name: "OpenShift", config: ["/etc/kubernetes/cni/net.d"], plugin: ["/var/lib/cni/bin", "/usr/libexec/cni"] },
  { name: "GKE", config: [], plugin: ["/home/kubernetes/bin"] },
];

/** The files in which runtimes are told their directories, and the keys. */
const CONFIGURATIONS: readonly { name: string; files: readonly string[]; more?: string; keys: Told }[] = [
  {
    name: "containerd",
    files: ["/etc/containerd/config.toml"],
    keys: { config: ["conf_dir"], plugin: ["bin_dirs", "bin_dir"] },
  },
  {
    name: "CRI-O",
    files: ["/etc/crio/crio.conf"],
    more: "/etc/crio/crio.conf.d",
    keys: { config: ["network_dir"], plugin: ["plugin_dirs"] },
  },
];

/** So many files are read of a directory. */
const MOST_FILES = 50;

/**
 * Warns where files of a kind go to a directory that nobody named and that the runtime does not read.
 *
 * @param target where they go, its real path. @param hostRoot its real path.
 */
export function warnOfElsewhere(kind: FileKind, request: DirectoryRequest, target: string, hostRoot: string): string[] {
  if (request.named) return [];
  const found = [...distributions(hostRoot), ...configurations(hostRoot)].find((one) => one[kind].length > 0);
  const seen = found?.[kind].map((path) => ({ path, here: seenBelow(hostRoot, path) ?? "" })) ?? [];
  if (found === undefined || seen.some(({ here }) => here === target)) return [];
  const [first] = [...seen.filter(({ here }) => fs.existsSync(here)), ...seen];
  if (first === undefined) return [];
  const named = shellWord(`${request.option}=${join(request.hostRoot, first.path)}`);
  const mount = fs.existsSync(first.here) ? "" : `mount ${first.path} and `;
  return [
    `${target}: ${found.name} looks for ${request.holds} in ${first.path}; ${mount}give ${named} to install there`,
  ];
}

/** k3s without flannel and others that bring their own network may leave theirs empty, and use the usual ones. */
function distributions(hostRoot: string): ({ name: string } & Told)[] {
  const hasNames = (path: string, isMeant: (name: string) => boolean): boolean =>
    namesIn(hostRoot, path).some((name) => isMeant(name));
  return DISTRIBUTIONS.filter(({ config, plugin }) =>
    config.length > 0
      ? config.some((path) => hasNames(path, isConfigName))
      : plugin.some((path) => hasNames(path, () => true)),
  );
}

/** Of several files the last word counts. */
function configurations(hostRoot: string): ({ name: string } & Told)[] {
  return CONFIGURATIONS.map(({ name, files, more = "", keys }) => {
    const dropIns = namesIn(hostRoot, more).map((file) => join(more, file));
    const texts = [...files, ...dropIns].map((path) => {
      return readTextIfPossible(seenBelow(hostRoot, path) ?? "", SIZE_LIMITS.config) ?? "";
    });
    const told = (kind: FileKind): string[] => {
      return texts.flatMap((text) => keys[kind].map((key) => pathsOf(text, key))).findLast(isFull) ?? [];
    };
    return { name, config: told("config"), plugin: told("plugin") };
  });
}

function isFull(paths: readonly string[]): boolean {
  return paths.length > 0;
}

/** The absolute paths that a key has in a text of TOML: `key = "/a"`, `key = ["/a", "/b"]`. Nothing else is told. */
function pathsOf(text: string, key: string): string[] {
  const [, value = ""] = new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*(\\[[^\\]]*\\]|.*)`, "mu").exec(text) ?? [];
  return Array.from(value.matchAll(/(["'])(\/[\w./+@-]+)\1/gu), ([, , path = ""]) => path.replace(/\/+$/u, ""));
}

function namesIn(hostRoot: string, path: string): string[] {
  if (path === "") return [];
  try {
    return fs
      .readdirSync(seenBelow(hostRoot, path) ?? "")
      .toSorted()
      .slice(0, MOST_FILES);
  } catch {
    return [];
  }
}
