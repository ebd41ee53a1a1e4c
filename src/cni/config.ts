/** Network configurations, by section 1 of the CNI specification and as libcni 1.3 reads them. Text → value. */
import { hasHugeNumber, isObject, parseJson, writeJson, type Objection } from "./json.ts";
import { objectionToShape, stringOf } from "./plugin-keys.ts";
import { isVersion, negotiateVersion, notVersion } from "./version.ts";

export type { Objection } from "./json.ts";

/** One plugin of a network, with all its keys as they stand in the configuration. */
export interface PluginConfig {
  /** The file name of the plugin. */
  type: string;
  [key: string]: unknown;
}

/** A network configuration list; a single plugin's configuration is made a list of one. */
export interface NetworkList {
  /** Empty where a single plugin's configuration has none: runtimes load that, and fail when they use it. */
  name: string;
  /** The version to use: negotiated from `cniVersion` and `cniVersions`, 0.1.0 where neither is given. */
  cniVersion: string;
  /** As they stand in the configuration. */
  cniVersions?: string[];
  disableCheck: boolean;
  disableGC: boolean;
  /** The plugins in the directory that is named like the network are left out. */
  loadOnlyInlinedPlugins: boolean;
  /** In the order of the chain. Empty only before those of the network's directory have been added. */
  plugins: PluginConfig[];
  /** What runtimes keep in their cache of attachments: the text of the file; for a single, the list made of it. */
  text: string;
}

/** Runtimes load these and nothing else from their configuration directory (libcni `ConfFiles`, go-cni `opts.go`). */
const CONFIG_EXTENSIONS = [".conf", ".conflist", ".json"] as const;

/** Does a container runtime load a file of this name as a network configuration? */
export function isConfigName(fileName: string): boolean {
  return CONFIG_EXTENSIONS.some((extension) => fileName.endsWith(extension));
}

/** Is a configuration of this file name a list; else it is a single plugin's. */
export function isListName(fileName: string): boolean {
  return fileName.endsWith(".conflist");
}

/**
 * Reads a network configuration with the rules of the CNI specification: a list (`.conflist`: non-empty `plugins`)
 * or a single plugin (`.conf`, `.json`: `type`). What libcni would not load is objected to as well.
 */
export function readConfig(fileName: string, text: string): { list: NetworkList } | { objection: Objection } {
  return read(text, (value) => {
    const message = objectionOfLibcni(fileName, value) ?? objectionOfSpecification(fileName, value);
    return message === undefined ? { list: toNetworkList(fileName, value, text) } : { objection: { message } };
  });
}

/**
 * Reads a network configuration as libcni 1.3 does, which is laxer than the specification: it takes any text for a
 * name, and any for a lone `cniVersion`. The plugins in the network's own directory (`parsePlugin`) are not in it yet;
 * a list without `plugins` relies on them.
 */
export function parseNetworkList(fileName: string, text: string): { list: NetworkList } | { objection: Objection } {
  return read(text, (value) => {
    const message = objectionOfLibcni(fileName, value);
    return message === undefined ? { list: toNetworkList(fileName, value, text) } : { objection: { message } };
  });
}

/** Reads a plugin's configuration in a file of its own, in the directory of its network, as libcni 1.3 does. */
export function parsePlugin(text: string): { plugin: PluginConfig } | { objection: Objection } {
  return read(text, (value) => {
    const message = objectionToPlugin(value, THE_SINGLE, Object.keys(value));
    return message === undefined ? { plugin: toPlugin(value, Object.keys(value)) } : { objection: { message } };
  });
}

function read<T>(text: string, use: (value: Record<string, unknown>) => T): T | { objection: Objection } {
  const parsed = parseJson(text);
  if ("objection" in parsed) return parsed;
  return isObject(parsed.value) ? use(parsed.value) : { objection: { message: "is not a JSON object" } };
}

function toNetworkList(fileName: string, value: Record<string, unknown>, text: string): NetworkList {
  if (isListName(fileName)) return listOf(value, text);
  const list = { cniVersion: stringOf(value, "cniVersion"), name: stringOf(value, "name"), plugins: [value] };
  return listOf(list, writeJson(list));
}

function listOf(value: Record<string, unknown>, text: string): NetworkList {
  const { name, cniVersion, cniVersions, plugins } = value as {
    name: string;
    cniVersion?: string;
    cniVersions?: string[];
    plugins?: Record<string, unknown>[];
  };
  return {
    name,
    cniVersion: negotiateVersion(cniVersion ?? "", cniVersions),
    ...(cniVersions === undefined ? {} : { cniVersions }),
    disableCheck: isTrue(value["disableCheck"]),
    disableGC: isTrue(value["disableGC"]),
    loadOnlyInlinedPlugins: isTrue(value["loadOnlyInlinedPlugins"]),
    plugins: (plugins ?? []).map((plugin) => toPlugin(plugin, sortedKeys(plugin))),
    text,
  };
}

/** libcni finds the type under any spelling of its key, the last in the order of the keys. */
function toPlugin(value: Record<string, unknown>, keys: readonly string[]): PluginConfig {
  return { ...value, type: stringOf(value, "type", keys) };
}

function sortedKeys(value: Record<string, unknown>): string[] {
  return Object.keys(value).sort();
}

function isTrue(value: unknown): boolean {
  return value === true || (typeof value === "string" && value.toLowerCase() === "true");
}

// What libcni objects to.

/** What messages call the top of a configuration of one plugin. */
const THE_SINGLE = "the configuration";

function objectionOfLibcni(fileName: string, value: Record<string, unknown>): string | undefined {
  return (
    (isListName(fileName) ? objectionToList(value) : objectionToSingle(value)) ??
    (hasHugeNumber(value) ? "has a number that is too large" : undefined)
  );
}

function objectionToList(value: Record<string, unknown>): string | undefined {
  const { name, cniVersion, cniVersions, plugins } = value as Partial<Record<string, unknown>>;
  return (
    (typeof name === "string" ? undefined : objectionToNetworkName(name)) ??
    (typeof cniVersion === "string" ? undefined : objectionToVersion(cniVersion, "cniVersion")) ??
    (cniVersions === undefined ? undefined : objectionToChoice(cniVersions, cniVersion ?? "")) ??
    objectionToBoolean(value, "disableCheck") ??
    objectionToBoolean(value, "disableGC") ??
    objectionToBoolean(value, "loadOnlyInlinedPlugins") ??
    (plugins === undefined && !isTrue(value["loadOnlyInlinedPlugins"]) ? undefined : objectionToPlugins(plugins))
  );
}

/** libcni looks at the form of versions only where it has a choice. */
function objectionToChoice(cniVersions: unknown, cniVersion: unknown): string | undefined {
  if (!Array.isArray(cniVersions)) return objectionToVersions(cniVersions);
  const wrong = cniVersions.find((version) => typeof version !== "string" || !isVersion(version)) as unknown;
  if (wrong !== undefined) return noVersion(wrong, "cniVersions entry");
  return isVersion(String(cniVersion)) ? undefined : noVersion(cniVersion, "cniVersion");
}

function objectionToBoolean(value: Record<string, unknown>, key: string): string | undefined {
  const { [key]: given } = value;
  const isBoolean = isTrue(given) || given === false || (typeof given === "string" && given.toLowerCase() === "false");
  return given === undefined || isBoolean ? undefined : `has a key ${key} that is neither true nor false`;
}

/** So many plugins a list may have: each is a process for every pod, and the longest that are known have ten. */
export const MAX_PLUGINS = 256;

/** What is wrong with so many. */
export function tooManyPlugins(count: number): string {
  return `has ${count} plugins, more than ${MAX_PLUGINS}`;
}

function objectionToPlugins(plugins: unknown): string | undefined {
  if (plugins === undefined) return "is a network configuration list (.conflist) without plugins";
  if (!Array.isArray(plugins)) return "has a key plugins that is not a list";
  if (plugins.length === 0) return "has an empty list of plugins";
  if (plugins.length > MAX_PLUGINS) return tooManyPlugins(plugins.length);
  return plugins
    .map((plugin, index) => objectionToPlugin(plugin, `plugins[${index}]`))
    .find((objection) => objection !== undefined);
}

function objectionToSingle(value: Record<string, unknown>): string | undefined {
  const { name, cniVersion, plugins } = value as Partial<Record<string, unknown>>;
  return (
    (isStringOrNone(name) ? undefined : objectionToNetworkName(name)) ??
    (isStringOrNone(cniVersion) ? undefined : objectionToVersion(cniVersion, "cniVersion")) ??
    (stringOf(value, "type") === "" && plugins !== undefined
      ? "has plugins, which runtimes read in a .conflist file only"
      : objectionToPlugin(value, THE_SINGLE, Object.keys(value))) ??
    objectionToPlugin(value, THE_SINGLE)
  );
}

/** In a plugin's configuration libcni takes null for absent. */
function isStringOrNone(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

/** @param keys in the order in which libcni reads them: sorted, unless the plugin has a file of its own. */
function objectionToPlugin(plugin: unknown, where: string, keys?: readonly string[]): string | undefined {
  if (!isObject(plugin)) return `has ${where} that is not an object`;
  const { type } = plugin as { type?: unknown };
  if (!isStringOrNone(type)) return noType(type, where);
  const objection = objectionToShape(plugin, where);
  if (objection !== undefined) return objection;
  return stringOf(plugin, "type", keys ?? sortedKeys(plugin)) === ""
    ? `has no plugin type in ${where} (key type)`
    : undefined;
}

// What the specification asks for, and libcni does not.

function objectionOfSpecification(fileName: string, value: Record<string, unknown>): string | undefined {
  return (
    objectionToNetworkName(value["name"]) ??
    objectionToVersion(value["cniVersion"], "cniVersion") ??
    objectionToVersions(value["cniVersions"]) ??
    (isListName(fileName) ? objectionToTypes(value["plugins"]) : objectionToType(value, THE_SINGLE))
  );
}

/** What the specification has against a network's name; libcni objects when it attaches, not when it loads. */
export function objectionToNetworkName(name: unknown): string | undefined {
  if (name === undefined) return "has no network name (key name)";
  return typeof name === "string" && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u.test(name)
    ? undefined
    : `has the network name ${JSON.stringify(name)}, not a string of letters, digits, _ . - that begins with a letter or digit`;
}

function objectionToVersion(version: unknown, key: string): string | undefined {
  if (version === undefined || version === "") return undefined;
  return typeof version === "string" && /^\d+(?:\.\d+){0,2}$/u.test(version) ? undefined : noVersion(version, key);
}

function noVersion(version: unknown, key: string): string {
  return `has the ${key} ${JSON.stringify(version)}, ${notVersion(version)}`;
}

function objectionToVersions(versions: unknown): string | undefined {
  if (versions === undefined) return undefined;
  if (!Array.isArray(versions)) return `has cniVersions ${JSON.stringify(versions)}, not a list`;
  return versions
    .map((version) => objectionToVersion(version, "cniVersions entry"))
    .find((found) => found !== undefined);
}

/** A list without plugins of its own would need others' files, which can come and go. */
function objectionToTypes(plugins: unknown): string | undefined {
  if (plugins === undefined) return objectionToPlugins(plugins);
  return (plugins as Record<string, unknown>[])
    .map((plugin, index) => objectionToType(plugin, `plugins[${index}]`))
    .find((objection) => objection !== undefined);
}

function objectionToType({ type }: { type?: unknown }, where: string): string | undefined {
  if (type === undefined || type === null) return `has no plugin type in ${where} (key type)`;
  return typeof type === "string" && !type.includes("/") ? undefined : noType(type, where);
}

function noType(type: unknown, where: string): string {
  return `has the plugin type ${JSON.stringify(type)} in ${where}, not the file name of a plugin`;
}
