/** Where container runtimes look, as their own configuration files on the node say. */
import { isAbsolute, join, resolve } from "node:path";

import { parse } from "smol-toml";
import * as v from "valibot";

import { seenBelow } from "../cni/invoke.ts";
import { firstNamesIn } from "../system/entries.ts";
import { countValues } from "../system/json.ts";
import { readText } from "../system/read.ts";
import type { Rule } from "../status/network.ts";

/** Directories as the node sees them. */
export interface ConfiguredDirectories {
  configDir: string | undefined;
  pluginDirs: readonly string[] | undefined;
}

/** A configuration has some KiB, and a node a handful of files. */
const MAX_SIZE = 256 * 1024;
const MAX_VALUES = 10_000;
const MOST_FILES = 50;

/** containerd's, what it is without them, and the tables of its versions 3, 2 and 1. */
const CONTAINERD = "/etc/containerd/config.toml";
const CONTAINERD_DIRECTORIES = { configDir: "/etc/cni/net.d", pluginDirs: ["/opt/cni/bin"] };
const CONTAINERD_TABLES = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"];
/** CRI-O's: what it is without them is compiled in, and not the same everywhere. */
const CRIO = "/etc/crio/crio.conf";
const CRIO_MORE = "/etc/crio/crio.conf.d";

const Path = v.pipe(
  v.string(),
  v.check(isAbsolute),
  v.transform((path) => resolve(path)),
);
const Containerd = v.object({
  bin_dir: v.optional(v.string(), ""),
  bin_dirs: v.optional(v.array(Path), []),
  conf_dir: v.optional(Path),
});
const Crio = v.object({
  crio: v.object({ network: v.object({ network_dir: v.optional(Path), plugin_dirs: v.optional(v.array(Path)) }) }),
});
const Plugins = v.object({ plugins: v.record(v.string(), v.looseObject({ cni: v.optional(v.unknown()) })) });

/** What the runtime of this node is configured to use; undefined: no file that can be read says so. */
export function configuredDirectories(hostRoot: string, rules: readonly Rule[]): ConfiguredDirectories | undefined {
  const found = rules.map((rule) => (rule === "containerd" ? containerds(hostRoot) : crios(hostRoot)));
  const told = found.filter((one) => one !== undefined);
  return told.length === 1 ? told[0] : undefined;
}

/** Its imports are not followed: where there are some, it is not known. */
function containerds(hostRoot: string): ConfiguredDirectories | undefined {
  const value = read(hostRoot, CONTAINERD) as { imports?: unknown } | undefined;
  if (value === undefined || value.imports !== undefined) return undefined;
  const plugins = v.safeParse(Plugins, { plugins: {}, ...value });
  if (!plugins.success) return undefined;
  const table = CONTAINERD_TABLES.map((name) => plugins.output.plugins[name]?.cni).find((one) => one !== undefined);
  const cni = v.safeParse(Containerd, table ?? {});
  if (!cni.success) return undefined;
  const { bin_dir: one, bin_dirs: several, conf_dir: configDir } = cni.output;
  const pluginDirs = several.length > 0 ? several : one === "" ? CONTAINERD_DIRECTORIES.pluginDirs : [one];
  return { configDir: configDir ?? CONTAINERD_DIRECTORIES.configDir, pluginDirs };
}

/** Of several files the last word counts. */
function crios(hostRoot: string): ConfiguredDirectories | undefined {
  const files = [
    CRIO,
    ...firstNamesIn(seenBelow(hostRoot, CRIO_MORE) ?? "", MOST_FILES).map((name) => join(CRIO_MORE, name)),
  ];
  let found: ConfiguredDirectories | undefined;
  for (const file of files) {
    const network = v.safeParse(Crio, read(hostRoot, file));
    if (!network.success) continue;
    const { network_dir: configDir, plugin_dirs: pluginDirs } = network.output.crio.network;
    found = { configDir: configDir ?? found?.configDir, pluginDirs: pluginDirs ?? found?.pluginDirs };
  }
  return found?.pluginDirs === undefined ? undefined : found;
}

/** There are registries' passwords in it: nothing of it is told. */
function read(hostRoot: string, path: string): unknown {
  try {
    const text = readText(seenBelow(hostRoot, path) ?? "", MAX_SIZE);
    return countValues(text) > MAX_VALUES ? undefined : parse(text);
  } catch {
    return undefined;
  }
}
