/** The configuration of the OCI wrapper and its hooks: a file as docker-cni has it, with defaults for all keys. */
import { resolve } from "node:path";

import { parseDocument } from "yaml";

import { isObject } from "../cni/json.ts";
import { IF_NAME_RULE, isIfName } from "../cni/names.ts";
import { Failure, isAbsence, systemFailure } from "../errors.ts";
import { hostPath, type HostPath } from "../system/below.ts";
import { nearestTo } from "../system/nearest.ts";
import { positionOf } from "../system/text-position.ts";
import { readText, readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { AS_WRITTEN } from "../system/yaml.ts";

/** It is read if no other is named, and need not be there. */
export const DEFAULT_CONFIG_FILE = "/etc/docker/cni.yaml";

/** The levels of `log_level`, the gravest first: those of logrus, which docker-cni uses. */
const LEVELS = ["panic", "fatal", "error", "warning", "info", "debug", "trace"] as const;
export type Level = (typeof LEVELS)[number];

/** What the file says, with defaults for what it does not say. Paths are absolute. */
export interface OciConfig {
  /** The file; undefined: there is none, and everything is default. */
  file: string | undefined;
  /** `oci_bin`: a path, or a name that is looked up; undefined: the first of `RUNTIMES` that is there. */
  ociBin: string | undefined;
  /** `cni_conf_dir` */
  confDir: HostPath;
  /** `cni_bin_dir` */
  pluginDirs: HostPath[];
  /** `cni_ifname` */
  ifName: string;
  /** `cni_cache_dir`, which docker-cni does not have: where attachments are remembered. */
  cacheDir: HostPath;
  /** `cni_env`: may the environment of a container, which its image has made, ask for more than a free address? */
  isEnvTrusted: boolean;
  /** `cni_annotations`: may annotations ask for anything? Undefined: those of an engine that takes none from images. */
  isAnnotationTrusted: boolean | undefined;
  /** `cni_log`: a file for what the hooks print; undefined: none. */
  hookLog: string | undefined;
  /** The path of `log_driver`; undefined: none. */
  log: string | undefined;
  /** `log_level` */
  level: Level;
}

const KEYS = [
  "oci_bin",
  "cni_conf_dir",
  "cni_bin_dir",
  "cni_ifname",
  "cni_cache_dir",
  "cni_env",
  "cni_annotations",
  "cni_log",
  "log_driver",
  "log_level",
] as const;
type Key = (typeof KEYS)[number];

/**
 * Reads the configuration.
 *
 * @param path undefined: the default file, if it is there.
 * @throws Failure `oci-config-invalid`; others when the file cannot be read.
 */
export function readOciConfig(path: string | undefined): OciConfig {
  const file = path ?? DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readText(file, SIZE_LIMITS.config, { attempt: "the configuration cannot be read" });
  } catch (error) {
    if (path === undefined && isAbsence(error)) return configOf(new Map(), undefined);
    throw systemFailure(file, "the configuration cannot be read", error);
  }
  return parseOciConfig(text, file);
}

/**
 * The same for what must be done even if the file is wrong or gone: to stop a container, and to release what it has.
 * Of a file that cannot be read as a whole, the lines count that can be.
 *
 * @param complain is told what is wrong.
 */
export function readOciConfigAnyway(path: string | undefined, complain: (problem: string) => void): OciConfig {
  try {
    return readOciConfig(path);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    complain(error.message);
  }
  const text = readTextIfPossible(path ?? DEFAULT_CONFIG_FILE, SIZE_LIMITS.config) ?? "";
  const values = new Map<Key, string>();
  for (const key of KEYS) {
    const line = new RegExp(`^${key}:[ \\t]*["']?([\\w/.][\\w/.:+@-]*)["']?[ \\t]*$`, "mu");
    const [, value] = line.exec(text) ?? [];
    if (value !== undefined && isGood(key, value)) values.set(key, value);
  }
  return configOf(values, undefined);
}

function isGood(key: Key, value: string): boolean {
  try {
    configOf(new Map([[key, value]]), undefined);
    return true;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}

/** @param file its path, for messages. @throws Failure `oci-config-invalid` */
export function parseOciConfig(text: string, file: string): OciConfig {
  return configOf(flatValues(text) ?? yamlValues(text, file), file);
}

/** The values, if it has nothing but lines of `key: value`, as nearly all have: YAML takes longer than all the rest. */
function flatValues(text: string): Map<string, string> | undefined {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^(?:([a-z_]+):[ \t]+([\w/.][\w/.:+@-]*))?[ \t]*(?:(?<![^ \t])#.*)?$/u.exec(line) ?? [];
    if (key !== undefined && value !== undefined && !values.has(key) && !value.endsWith(":"))
      values.set(key, isNull(value) ? "" : value);
    else if (!/^[ \t]*(?:#[^\r]*)?$/u.test(line)) return undefined;
  }
  return values;
}

function yamlValues(text: string, file: string): Map<string, string> {
  const document = parseDocument(text, { ...AS_WRITTEN, uniqueKeys: true, stringKeys: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const { line, column } = positionOf(text, error.pos[0]);
    throw invalid(
      file,
      `is not YAML: ${error.code.toLowerCase().replaceAll("_", " ")} at line ${line}, column ${column}`,
    );
  }
  const value: unknown = document.toJS({ maxAliasCount: 10 }) ?? {};
  if (value === "") return new Map();
  if (!isObject(value)) throw invalid(file, "is not a list of keys and values");
  return new Map(
    Object.entries(value).map(([key, one]) => {
      if (typeof one !== "string" && one !== null) throw invalid(file, `has a key ${shown(key)} that is not a text`);
      return [key, isNull(one) ? "" : one];
    }),
  );
}

/** As it is written, null is a text. */
function isNull(value: unknown): value is null | "~" | "null" {
  return value === null || value === "~" || value === "null";
}

function configOf(values: ReadonlyMap<string, string>, file: string | undefined): OciConfig {
  const name = file ?? DEFAULT_CONFIG_FILE;
  for (const key of values.keys()) {
    if ((KEYS as readonly string[]).includes(key)) continue;
    const nearest = nearestTo(key, KEYS);
    throw invalid(name, `has an unknown key ${shown(key)}`, nearest && `did you mean ${nearest}?`);
  }
  const valueOf = (key: Key): string | undefined => values.get(key) || undefined;
  const pathOf = (key: Key, text = valueOf(key)): string | undefined => {
    if (text === undefined || (text.startsWith("/") && !text.includes("\0"))) return text && resolve(text);
    throw invalid(name, `has the ${key} ${shown(text)}, which is not an absolute path`);
  };
  const ifName = valueOf("cni_ifname") ?? "eth0";
  if (!isIfName(ifName)) throw invalid(name, `has the cni_ifname ${shown(ifName)}: ${IF_NAME_RULE}`);
  const ociBin = valueOf("oci_bin");
  const directories = (valueOf("cni_bin_dir") ?? "/opt/cni/bin").split(":").filter((one) => one !== "");
  const [, log] = /^file:\/\/(.*)$/su.exec(valueOf("log_driver") ?? "") ?? [];
  return {
    file,
    ociBin: ociBin?.includes("/") === true ? pathOf("oci_bin") : ociBin,
    confDir: hostPath(pathOf("cni_conf_dir") ?? "/etc/cni/net.d"),
    pluginDirs: directories.map((one) => hostPath(pathOf("cni_bin_dir", one) ?? one)),
    ifName,
    cacheDir: hostPath(pathOf("cni_cache_dir") ?? "/var/lib/cni"),
    isEnvTrusted: truthOf("cni_env", valueOf("cni_env"), name) ?? false,
    isAnnotationTrusted: truthOf("cni_annotations", valueOf("cni_annotations"), name),
    hookLog: pathOf("cni_log"),
    log: log && pathOf("log_driver", log),
    level: levelOf(valueOf("log_level") ?? "info", name),
  };
}

function truthOf(key: Key, text: string | undefined, file: string): boolean | undefined {
  if (text === undefined || text === "true" || text === "false") return text && text === "true";
  throw invalid(file, `has the ${key} ${shown(text)}`, "use true or false");
}

function levelOf(text: string, file: string): Level {
  const given = text.toLowerCase();
  const level = LEVELS.find((one) => one === given || (one === "warning" && given === "warn"));
  if (level !== undefined) return level;
  throw invalid(file, `has the log_level ${shown(text)}`, `use one of ${LEVELS.join(", ")}`);
}

/** Is a line of that level written to a log of the other one? */
export function isLogged(level: Level, limit: Level): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(limit);
}

function shown(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

function invalid(file: string, problem: string, hint?: string): Failure {
  return new Failure({
    code: "oci-config-invalid",
    subject: file,
    problem: `the configuration ${problem}`,
    hint: hint ?? `it has lines of KEY: VALUE; the keys are ${KEYS.join(", ")}`,
  });
}
