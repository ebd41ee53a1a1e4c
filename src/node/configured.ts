/** Where container runtimes look, as the texts of their own configuration files say. */
import { dirname, isAbsolute, resolve } from "node:path";

import { parse } from "smol-toml";
import * as v from "valibot";

import { hostPath, type HostPath } from "../system/below.ts";
import { countValues } from "../system/json.ts";
import { USUAL, type Configuration, type Rule } from "./runtime.ts";

interface ConfiguredDirectories {
  configDir?: HostPath | undefined;
  pluginDirs?: readonly HostPath[] | undefined;
}

/** A configuration has some hundreds, and one import. */
const MAX_VALUES = 10_000;
const MOST_IMPORTS = 20;

/** The tables of its versions 3, 2 and 1. What is not in them is as usual; with CRI-O it is compiled in. */
const CONTAINERD_TABLES = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"];

const Path = v.pipe(
  v.string(),
  v.check(isAbsolute),
  v.transform((path) => hostPath(resolve(path))),
);
const Containerd = v.object({
  bin_dir: v.optional(v.union([Path, v.literal("")]), ""),
  bin_dirs: v.optional(v.array(Path), []),
  conf_dir: v.optional(Path),
});
const Crio = v.object({
  crio: v.object({ network: v.object({ network_dir: v.optional(Path), plugin_dirs: v.optional(v.array(Path)) }) }),
});
const Plugins = v.object({
  imports: v.optional(v.pipe(v.array(v.string()), v.maxLength(MOST_IMPORTS)), []),
  disabled_plugins: v.optional(v.array(v.string()), []),
  plugins: v.optional(v.record(v.string(), v.looseObject({ cni: v.optional(v.unknown()) })), {}),
});

/** The files of a pattern; undefined: not all of them can be told. */
type Import = (pattern: HostPath) => readonly Configuration[] | undefined;

/** What these files configure; undefined: they do not say. There are registries' passwords in them: nothing is quoted. */
export function configuredDirectories(
  rule: Rule,
  files: readonly Configuration[],
  imported: Import,
): ConfiguredDirectories | undefined {
  const [first] = files;
  if (rule === "CRI-O") return crios(files.map(({ text }) => parseIfToml(text)));
  return first && containerds(first, imported);
}

/** Docker's containerd serves no Kubernetes. */
function containerds({ path, text }: Configuration, imported: Import): ConfiguredDirectories | undefined {
  const file = v.safeParse(Plugins, parseIfToml(text));
  if (!file.success) return undefined;
  const { plugins, imports, disabled_plugins: disabled } = file.output;
  if (disabled.some((name) => CONTAINERD_TABLES.includes(name))) return undefined;
  // How imported tables are merged depends on the version of containerd.
  const isSaidElsewhere = imports.some((pattern) => {
    const others = imported(hostPath(resolve(dirname(path), pattern)));
    return others === undefined || others.some((other) => saysOfCni(other.text));
  });
  if (isSaidElsewhere) return undefined;
  const cni = v.safeParse(Containerd, tableOf(plugins) ?? {});
  if (!cni.success) return undefined;
  const { bin_dir: one, bin_dirs: several, conf_dir: configDir = USUAL.config } = cni.output;
  return { configDir, pluginDirs: several.length > 0 ? several : [one === "" ? USUAL.plugin : one] };
}

/** Also where that cannot be told. */
function saysOfCni(text: string): boolean {
  const file = v.safeParse(Plugins, parseIfToml(text));
  return !file.success || file.output.imports.length > 0 || tableOf(file.output.plugins) !== undefined;
}

function tableOf(plugins: v.InferOutput<typeof Plugins>["plugins"]): unknown {
  return CONTAINERD_TABLES.map((name) => plugins[name]?.cni).find((table) => table !== undefined);
}

/** Of several files the last word counts. */
function crios(values: readonly unknown[]): ConfiguredDirectories | undefined {
  let found: ConfiguredDirectories | undefined;
  for (const value of values) {
    const network = v.safeParse(Crio, value);
    if (!network.success) continue;
    const { network_dir: configDir, plugin_dirs: pluginDirs } = network.output.crio.network;
    found = { configDir: configDir ?? found?.configDir, pluginDirs: pluginDirs ?? found?.pluginDirs };
  }
  return found;
}

/** The value of a text; undefined: it is not TOML, or has too many values. */
export function parseIfToml(text: string): unknown {
  try {
    return countValues(text) > MAX_VALUES ? undefined : parse(text);
  } catch {
    return undefined;
  }
}
