import { parse as parseTolerantly, printParseErrorCode, type ParseError } from "jsonc-parser";

/** Something in a network configuration that a runtime or plugin will object to. */
export interface Objection {
  message: string;
  /** Where in the text, for syntax errors. */
  offset?: number;
}

/** What a network configuration says of itself, as far as it can be read. */
export interface NetworkConfig {
  name: string;
  cniVersion?: string;
  /** The types of its plugins, in the order of the chain. */
  types: string[];
}

/** Runtimes load these and nothing else from their configuration directory (libcni `ConfFiles`, go-cni `opts.go`). */
const CONFIG_EXTENSIONS = [".conf", ".conflist", ".json"] as const;

/** Does a container runtime load a file of this name as a network configuration? */
export function isConfigName(fileName: string): boolean {
  return CONFIG_EXTENSIONS.some((extension) => fileName.endsWith(extension));
}

/**
 * Reads a network configuration: a list (`.conflist`: non-empty `plugins`) or a single plugin (`.conf`, `.json`:
 * `type`), by section 1 of the CNI specification.
 */
export function readConfig(fileName: string, text: string): { config: NetworkConfig } | { objection: Objection } {
  const parsed = parseJson(text);
  if ("objection" in parsed) return parsed;
  if (!isObject(parsed.value)) return { objection: { message: "is no JSON object" } };
  const value = parsed.value;
  const message =
    objectionToName(value["name"]) ??
    objectionToVersion(value["cniVersion"], "cniVersion") ??
    objectionToVersions(value["cniVersions"]) ??
    (fileName.endsWith(".conflist") ? objectionToList(value) : objectionToSingle(value));
  if (message !== undefined) return { objection: { message } };
  const plugins = (fileName.endsWith(".conflist") ? (value["plugins"] ?? []) : [value]) as { type: string }[];
  const cniVersion = value["cniVersion"] as string | undefined;
  return {
    config: {
      name: value["name"] as string,
      ...(cniVersion === undefined ? {} : { cniVersion }),
      types: plugins.map((plugin) => plugin.type),
    },
  };
}

/** `JSON.parse` decides; it does not always say where, so that the tolerant parser finds the place. */
function parseJson(text: string): { value: unknown } | { objection: Objection } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    if (text.trim() === "") return { objection: { message: "is empty" } };
    const first = firstError(text);
    if (first === undefined) return { objection: { message: `is no JSON: ${(error as Error).message}` } };
    const words = printParseErrorCode(first.error).replace(/([a-z])([A-Z])/gu, "$1 $2");
    const message = `is no JSON: ${words.toLowerCase()}${invisibleAt(text, first.offset)}`;
    return { objection: { message, offset: first.offset } };
  }
}

/** Undefined: the tolerant parser has no objection, or the text is nested too deep for it. */
function firstError(text: string): ParseError | undefined {
  const errors: ParseError[] = [];
  try {
    parseTolerantly(text, errors, { disallowComments: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return errors[0];
}

/** Names a character that people would not see: a byte order mark, a no-break space. */
function invisibleAt(text: string, offset: number): string {
  const code = text.codePointAt(offset) ?? 0x20;
  const isSeen = (code >= 0x20 && code < 0x7f) || code === 0x0a || code === 0x0d || code === 0x09;
  return isSeen ? "" : ` U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function objectionToName(name: unknown): string | undefined {
  if (name === undefined) return "has no network name (key name)";
  if (typeof name !== "string" || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u.test(name)) {
    return `has the network name ${JSON.stringify(name)}, not a string of letters, digits, _ . - that begins with a letter or digit`;
  }
  return undefined;
}

function objectionToVersion(version: unknown, key: string): string | undefined {
  if (version === undefined || version === "") return undefined;
  return typeof version === "string" && /^\d+(?:\.\d+){0,2}$/u.test(version)
    ? undefined
    : `has the ${key} ${JSON.stringify(version)}, not a version like "1.0.0"`;
}

function objectionToVersions(versions: unknown): string | undefined {
  if (versions === undefined) return undefined;
  if (!Array.isArray(versions)) return `has cniVersions ${JSON.stringify(versions)}, not a list`;
  return versions
    .map((version) => objectionToVersion(version, "cniVersions entry"))
    .find((found) => found !== undefined);
}

function objectionToList(config: Record<string, unknown>): string | undefined {
  const { plugins } = config as { plugins?: unknown };
  if (plugins === undefined) return "is a network configuration list (.conflist) without plugins";
  if (!Array.isArray(plugins)) return "has a key plugins that is no list";
  if (plugins.length === 0) return "has an empty list of plugins";
  return plugins
    .map((plugin, index) => objectionToType(plugin, `plugins[${index}]`))
    .find((objection) => objection !== undefined);
}

function objectionToSingle(config: Record<string, unknown>): string | undefined {
  return config["type"] === undefined && config["plugins"] !== undefined
    ? "has plugins, which runtimes read in a .conflist file only"
    : objectionToType(config, "the configuration");
}

function objectionToType(plugin: unknown, where: string): string | undefined {
  if (!isObject(plugin)) return `has ${where} that is no object`;
  const type = plugin["type"];
  if (type === undefined || type === "") return `has no plugin type in ${where} (key type)`;
  return typeof type === "string" && !type.includes("/")
    ? undefined
    : `has the plugin type ${JSON.stringify(type)} in ${where}, not the file name of a plugin`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
