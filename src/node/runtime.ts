/** The container runtime of a node: which one it is, and where it looks for plugins and configurations. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { KINDS, type FileKind } from "../asset.ts";
import { isConfigName } from "../cni/config.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure } from "../errors.ts";
import { hostPath, seenBelow, type HostPath } from "../system/below.ts";
import { firstNamesIn } from "../system/entries.ts";
import { readTextIfPossible } from "../system/read.ts";
import { shellWord } from "../system/text.ts";

/** The rules by which runtimes choose a network. */
export const RULES = ["containerd", "CRI-O"] as const;
/** One of them. */
export type Rule = (typeof RULES)[number];

/** Where runtimes look on every node that is not configured otherwise. */
export const USUAL = {
  plugin: hostPath(KINDS.plugin.directory),
  config: hostPath(KINDS.config.directory),
};

/** The directories of one kind that a runtime looks into, in its order. */
export interface LookedInto {
  /** Who does: `k3s`, `containerd`. */
  by: string;
  paths: readonly HostPath[];
}

/** Where a runtime looks, as far as that is known. */
export type RuntimeDirectories = Partial<Record<FileKind, LookedInto>>;

/** What a runtime says of itself that is of use here. */
type Said = Pick<RuntimeStatus, "name" | "configDir" | "pluginDirs">;

/** Where runtimes listen, those of k3s and MicroK8s included. */
const SOCKETS: Record<Rule, readonly HostPath[]> = {
  containerd: [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
  ].map(hostPath),
  "CRI-O": ["/run/crio/crio.sock"].map(hostPath),
};

/** A distribution of Kubernetes whose runtime looks elsewhere than others. Nobody else makes these directories. */
interface Distribution {
  name: string;
  config?: HostPath;
  plugins: readonly HostPath[];
}

const DISTRIBUTIONS: readonly Distribution[] = [
  {
    name: "k3s",
    config: hostPath("/var/lib/rancher/k3s/agent/etc/cni/net.d"),
    plugins: ["/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/data/current/bin"].map(hostPath),
  },
  {
    name: "MicroK8s",
    config: hostPath("/var/snap/microk8s/current/args/cni-network"),
    plugins: [hostPath("/var/snap/microk8s/current/opt/cni/bin")],
  },
  {
    name: "OpenShift",
    config: hostPath("/etc/kubernetes/cni/net.d"),
    plugins: ["/var/lib/cni/bin", "/usr/libexec/cni"].map(hostPath),
  },
  { name: "GKE", plugins: [hostPath("/home/kubernetes/bin")] },
];

/** The files in which runtimes are configured: the first that is there, and the files of a directory after it. */
const CONFIGURATIONS: Record<Rule, { files: readonly HostPath[]; more?: HostPath }> = {
  containerd: {
    files: [
      "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
      "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
      "/etc/containerd/config.toml",
    ].map(hostPath),
  },
  "CRI-O": { files: [hostPath("/etc/crio/crio.conf")], more: hostPath("/etc/crio/crio.conf.d") },
};

/** The text of a file in which a runtime is configured. */
export interface Configuration {
  path: HostPath;
  text: string;
}

/** A configuration has some KiB, and a node a handful of files. */
const MAX_SIZE = 256 * 1024;
const MOST_FILES = 50;
/** More entries of a directory than these say nothing more. */
const MOST_NAMES = 100;

/** All that {@link runtimeDirectories} looks at beside the word of the runtime. */
const LOOKED_AT: readonly HostPath[] = [
  ...Object.values(CONFIGURATIONS).flatMap(({ files, more = [] }) => [files, more].flat()),
  ...DISTRIBUTIONS.flatMap(({ config, plugins }) => config ?? plugins),
];

/** Says that a directory cannot be the runtime's own, for that is not known. */
export function runtimeUnknown(option: string, holds: string, hostRoot: string, ...hints: string[]): Failure {
  const path = join(hostRoot, "etc/containerd");
  return new Failure({
    code: "runtime-directory-unknown",
    subject: `${option}=auto`,
    problem: `where the container runtime looks for ${holds} is not known: below ${hostRoot}, none of ${LOOKED_AT.join(", ")} says so`,
    hint: [
      `mount the configuration of the runtime, for example with docker run -v ${shellWord(`/etc/containerd:${path}`)}`,
      ...hints,
      `name the directory with ${option}`,
    ],
  });
}

/** The rule of the runtime that is on this node, by its own word or its socket; both where that cannot be told. */
export function rulesOf(said: Pick<Said, "name"> | undefined, hostRoot: string): readonly Rule[] {
  if (said?.name === "containerd") return ["containerd"];
  if (said?.name === "cri-o") return ["CRI-O"];
  const listening = RULES.filter((rule) => SOCKETS[rule].some((path) => isSocket(seenBelow(hostRoot, path))));
  return listening.length === 0 ? RULES : listening;
}

function isSocket(path: string | undefined): boolean {
  try {
    return path !== undefined && fs.statSync(path).isSocket();
  } catch {
    return false;
  }
}

/**
 * Where the runtime of a node looks: by its own word, by the directories of its distribution, by its configuration.
 *
 * @param said what it says of itself, if it was asked.
 */
export async function runtimeDirectories(hostRoot: string, said?: Said): Promise<RuntimeDirectories> {
  const { config, plugin } = said === undefined ? {} : ofWord(said);
  // Whoever has asked it knows better than what its distribution has left.
  const distribution = config === undefined ? ofDistribution(hostRoot) : {};
  const known = { ...distribution, ...(config && { config }), ...(plugin && { plugin }) };
  if (known.config !== undefined && known.plugin !== undefined) return known;
  return { ...(await ofConfiguration(hostRoot, rulesOf(said, hostRoot))), ...known };
}

/** Where a runtime looks, if some of it can be seen from here: else nothing can be held against what is elsewhere. */
export function pathsInView(hostRoot: string, looked: LookedInto | undefined): readonly HostPath[] | undefined {
  return looked?.paths.some((path) => fs.existsSync(seenBelow(hostRoot, path) ?? "")) === true
    ? looked.paths
    : undefined;
}

function ofWord({ name, configDir, pluginDirs }: Said): RuntimeDirectories {
  const by = name === "cri-o" ? "CRI-O" : name;
  return {
    ...(configDir === undefined ? {} : { config: { by, paths: [configDir] } }),
    ...(pluginDirs === undefined ? {} : { plugin: { by, paths: pluginDirs } }),
  };
}

/** k3s without flannel and others that bring their own network may leave theirs empty, and use the usual ones. */
function ofDistribution(hostRoot: string): RuntimeDirectories {
  const hasPlugins = (path: HostPath): boolean => namesIn(hostRoot, path).length > 0;
  const found = DISTRIBUTIONS.find(({ config, plugins }) =>
    config === undefined ? plugins.some(hasPlugins) : namesIn(hostRoot, config, isConfigName).length > 0,
  );
  if (found === undefined) return {};
  // Some have one or the other; where none can be seen, that is said of the first.
  const there = found.plugins.filter(hasPlugins);
  return {
    ...(found.config === undefined ? {} : { config: { by: found.name, paths: [found.config] } }),
    plugin: { by: found.name, paths: there.length === 0 ? found.plugins : there },
  };
}

function namesIn(hostRoot: string, path: HostPath, isMeant?: (name: string) => boolean): string[] {
  return firstNamesIn(seenBelow(hostRoot, path) ?? "", MOST_NAMES, isMeant);
}

/** Where both runtimes are configured and neither listens, nothing is known. What reads TOML is loaded if there is some. */
async function ofConfiguration(hostRoot: string, rules: readonly Rule[]): Promise<RuntimeDirectories> {
  const found: RuntimeDirectories[] = [];
  for (const rule of rules) {
    const files = configurationsOf(hostRoot, rule);
    if (files.length === 0) continue;
    const { configuredDirectories } = await import("./configured.ts");
    const { configDir, pluginDirs } =
      configuredDirectories(rule, files, (pattern) => importedFrom(hostRoot, pattern)) ?? {};
    if (configDir === undefined && pluginDirs === undefined) continue;
    found.push({
      ...(configDir === undefined ? {} : { config: { by: rule, paths: [configDir] } }),
      ...(pluginDirs === undefined ? {} : { plugin: { by: rule, paths: pluginDirs } }),
    });
  }
  return found.length === 1 ? (found[0] ?? {}) : {};
}

/** Those that can be read, in the order in which they count. */
function configurationsOf(hostRoot: string, rule: Rule): Configuration[] {
  const { files, more } = CONFIGURATIONS[rule];
  const first = files.map((path) => read(hostRoot, path)).find((file) => file !== undefined);
  const names = more === undefined ? [] : firstNamesIn(seenBelow(hostRoot, more) ?? "", MOST_FILES);
  const dropIns = names.map((name) => read(hostRoot, hostPath(join(more ?? "", name))));
  return [first, ...dropIns].filter((file) => file !== undefined);
}

function read(hostRoot: string, path: HostPath): Configuration | undefined {
  const text = readTextIfPossible(seenBelow(hostRoot, path) ?? "", MAX_SIZE);
  return text === undefined ? undefined : { path, text };
}

/** The files of a pattern such as `/etc/containerd/conf.d/*.toml`; undefined: not all of them can be told. */
function importedFrom(hostRoot: string, pattern: HostPath): Configuration[] | undefined {
  const [directory, name] = [dirname(pattern), basename(pattern)];
  const [begin = "", end, ...more] = name.split("*");
  if (/[?[\\]/u.test(pattern) || directory.includes("*") || more.length > 0) return undefined;
  const isMeant = (one: string): boolean => {
    if (end === undefined) return one === begin;
    return one.length >= begin.length + end.length && one.startsWith(begin) && one.endsWith(end);
  };
  const names = firstNamesIn(seenBelow(hostRoot, hostPath(directory)) ?? "", MOST_FILES + 1, isMeant);
  const files = names.map((one) => read(hostRoot, hostPath(join(directory, one))));
  return names.length > MOST_FILES || files.includes(undefined)
    ? undefined
    : files.filter((file) => file !== undefined);
}
