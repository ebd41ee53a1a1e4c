/**
 * The keys of a plugin's configuration that libcni reads itself (its `types.PluginConf`), with Go's rules: a key
 * counts in any case, null counts as absent, and any other type than the expected one spoils the whole file.
 */
import { isObject } from "./json.ts";

interface Misfit {
  key: string;
  problem: string;
}
/** What is wrong with a value, which is not null. */
type Shape = (value: unknown, key: string) => Misfit | undefined;

const string: Shape = (value, key) => (typeof value === "string" ? undefined : { key, problem: "not a string" });
const boolean: Shape = (value, key) =>
  typeof value === "boolean" ? undefined : { key, problem: "neither true nor false" };
const object: Shape = (value, key) => (isObject(value) ? undefined : { key, problem: "not an object" });

function listOf(shape: Shape): Shape {
  return (value, key) =>
    Array.isArray(value)
      ? firstMisfit(value.map((one, index) => [shape, one, `${key}[${index}]`]))
      : { key, problem: "not a list" };
}

function objectOf(shapeOf: (key: string) => Shape | undefined): Shape {
  return (value, key) =>
    isObject(value)
      ? firstMisfit(Object.entries(value).map(([name, one]) => [shapeOf(name), one, join(key, name)]))
      : { key, problem: "not an object" };
}

function members(shapes: Record<string, Shape>): Shape {
  const known = Object.keys(shapes);
  return objectOf((name) => shapes[known.find((one) => isSpelling(name, one)) ?? ""]);
}

function firstMisfit(values: [shape: Shape | undefined, value: unknown, key: string][]): Misfit | undefined {
  return values
    .map(([shape, value, key]) => (value === null ? undefined : shape?.(value, key)))
    .find((misfit) => misfit !== undefined);
}

function join(key: string, name: string): string {
  return key === "" ? name : `${key}.${name}`;
}

const PLUGIN = members({
  cniVersion: string,
  name: string,
  type: string,
  capabilities: objectOf(() => boolean),
  ipam: members({ type: string }),
  dns: members({ nameservers: listOf(string), domain: string, search: listOf(string), options: listOf(string) }),
  prevResult: object,
  "cni.dev/valid-attachments": listOf(members({ containerID: string, ifname: string })),
});

/** Why libcni does not take this for a plugin's configuration. @param where it stands in the file, for the message. */
export function objectionToShape(plugin: Record<string, unknown>, where: string): string | undefined {
  const misfit = PLUGIN(plugin, "");
  return misfit && `has a key ${misfit.key} in ${where} that is ${misfit.problem}`;
}

/** The value of a key that is a string: of its spellings the last that is not null, else empty. @param keys in order. */
export function stringOf(
  value: Record<string, unknown>,
  key: string,
  keys: readonly string[] = Object.keys(value),
): string {
  const last = keys.findLast((name) => isSpelling(name, key) && value[name] !== null);
  return last === undefined ? "" : String(value[last]);
}

/** Are they one key for Go, which takes upper and lower case for the same? */
function isSpelling(name: string, key: string): boolean {
  return name === key || (name.length === key.length && new RegExp(`^${RegExp.escape(key)}$`, "iu").test(name));
}
