/**
 * config.json of an OCI bundle. It is never parsed and written again: numbers of 64 bits, unknown fields and the order
 * of keys would not survive. Hooks are put into its text. Text → text and values; pure.
 */
import { parseTree, type Node, type ParseError } from "jsonc-parser";

import { hasTooManyValues, isObject } from "../cni/json.ts";
import { Failure } from "../errors.ts";
import { describeJsonError, isDeeperThan } from "../system/json.ts";

/** A hook as the OCI runtime specification has it. */
export interface Hook {
  path: string;
  args: readonly string[];
  env: readonly string[];
}

/** The stage of a container at which each command is called. */
export const HOOK_STAGES = { add: "createRuntime", del: "poststop" } as const;

/** By its stage. */
export type Hooks = Readonly<Record<"createRuntime" | "poststop", Hook>>;

/** How hooks call the program: the front, the configuration unless it is the default one, and PATH. */
export interface HookCall {
  front: string;
  config: string | undefined;
  /** The environment of a hook is all that it has; without one, it has that of the engine, or none. */
  path: string;
}

/** The hook of a command. @param network the one that it names; undefined: the container asks for its own. */
export function hookOf({ front, config, path }: HookCall, command: "add" | "del", network?: string): Hook {
  const file = config === undefined ? [] : ["--config", config];
  const name = network === undefined ? [] : ["--network", network];
  return { path: front, args: [front, "cni", ...file, "--command", command, ...name], env: [`PATH=${path}`] };
}

/** What the hooks and the wrapper need to know of a container. */
export interface Spec {
  /** The variables of its process. */
  env: ReadonlyMap<string, string>;
  annotations: ReadonlyMap<string, string>;
  /** Its network namespace: a new one of its own, one that is there already, or that of whoever starts it. */
  network: "own" | "joined" | "none";
  /** What is mounted on a path in the container, by that path. */
  mounts: ReadonlyMap<string, string>;
  /** The networks that our hooks are called with before it starts, one by one; empty: it is called with none. */
  hooked: readonly string[];
  /** The path of its root file system, as it is written; undefined: none is given. */
  root: string | undefined;
}

/** Deeper than any engine's; a recursive parser still has the stack for it. */
const MAX_DEPTH = 200;

/** @param file its path, for messages. @throws Failure `oci-spec-invalid` */
export function readSpec(text: string, file: string): Spec {
  const value = parse(text, file);
  const { process, annotations, linux, mounts, hooks, root } = value as Partial<Record<string, unknown>>;
  const env = textsOf(isObject(process) ? process["env"] : undefined).map((one) => {
    const [, name = one, content = ""] = /^([^=]*)=(.*)$/su.exec(one) ?? [];
    return [name, content] as const;
  });
  const mounted = objectsOf(mounts).flatMap(({ destination, source }) => {
    return typeof destination === "string" && typeof source === "string" ? [[destination, source] as const] : [];
  });
  const path = isObject(root) ? root["path"] : undefined;
  return {
    env: new Map(env),
    annotations: annotationsOf(annotations),
    network: networkOf(isObject(linux) ? linux["namespaces"] : undefined),
    mounts: new Map(mounted),
    hooked: objectsOf(isObject(hooks) ? hooks["createRuntime"] : undefined).flatMap((hook) => {
      const { command, network = "" } = callOf(hook) ?? {};
      return command === "add" ? [network] : [];
    }),
    root: typeof path === "string" ? path : undefined,
  };
}

/** Annotations are texts; what is not is left out. */
export function annotationsOf(value: unknown): Map<string, string> {
  const entries = Object.entries(isObject(value) ? value : {});
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

function networkOf(namespaces: unknown): Spec["network"] {
  const found = objectsOf(namespaces).find(({ type }) => type === "network");
  if (found === undefined) return "none";
  return found["path"] === undefined || found["path"] === "" ? "own" : "joined";
}

/** @throws Failure `oci-spec-invalid` */
function parse(text: string, file: string): Record<string, unknown> {
  if (hasTooManyValues(text)) throw invalid(file, "has too many values");
  if (isDeeperThan(text, MAX_DEPTH)) throw invalid(file, `is nested deeper than ${MAX_DEPTH} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(file, describeJsonError(text));
  }
  if (!isObject(value)) throw invalid(file, "is not a JSON object");
  return value;
}

/**
 * The text with these hooks in it; the same text if they are there already. Earlier ones of ours, with another program
 * or configuration, are replaced.
 *
 * @param file its path, for messages.
 * @throws Failure `oci-spec-invalid`
 */
export function spliceHooks(text: string, hooks: Hooks, file: string): string {
  parse(text, file);
  const root = treeOf(text, file);
  const present = memberOf(root, "hooks", file);
  const isThere = present !== undefined && present.type !== "null";
  const prepared = isThere ? text : withValue(text, root, "hooks", "{}", present);
  return STAGES.reduce((edited, stage) => withHook(edited, stage, hooks[stage], file), prepared);
}

const STAGES = ["createRuntime", "poststop"] as const;

function withHook(text: string, stage: keyof Hooks, hook: Hook, file: string): string {
  const object = memberOf(treeOf(text, file), "hooks", file);
  if (object?.type !== "object") throw invalid(file, "has a key hooks that is not an object");
  const present = memberOf(object, stage, file);
  const written = JSON.stringify(hook);
  if (present === undefined || present.type === "null") return withValue(text, object, stage, `[${written}]`, present);
  if (present.type !== "array") throw invalid(file, `has a key hooks.${stage} that is not a list`);
  const texts = (present.children ?? []).map((one) => text.slice(one.offset, one.offset + one.length));
  const ours = texts.filter((one) => isOurs(JSON.parse(one), hook));
  const [only, another] = ours;
  if (another === undefined && only !== undefined && JSON.stringify(JSON.parse(only)) === written) return text;
  // Keeps the place of the first one, for hooks are run in their order.
  const index = only === undefined ? texts.length : texts.indexOf(only);
  const others = texts.map((one) => (ours.includes(one) ? undefined : one));
  const merged = [...others.slice(0, index), written, ...others.slice(index)].filter((one) => one !== undefined);
  return replaced(text, present, `[${merged.join(",")}]`);
}

/** @throws Failure `oci-spec-invalid` */
function treeOf(text: string, file: string): Node {
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { disallowComments: true });
  if (root === undefined || errors.length > 0) throw invalid(file, describeJsonError(text));
  return root;
}

/** Is it the wrapper's for that command, of whatever program? Those of devices and of hooks.d name a network. */
function isOurs(value: unknown, { args }: Hook): boolean {
  const call = callOf(value);
  return call !== undefined && call.command === args.at(-1) && call.network === undefined;
}

/** What a hook calls the program for; undefined: it is not ours. */
function callOf(hook: unknown): { command: string | undefined; network: string | undefined } | undefined {
  const [, ...words] = textsOf(isObject(hook) ? hook["args"] : undefined);
  const valueOf = (option: string): string | undefined => {
    const index = words.indexOf(option);
    return index < 0 ? undefined : words[index + 1];
  };
  return words[0] === "cni" ? { command: valueOf("--command"), network: valueOf("--network") } : undefined;
}

/** Puts a member into an object, behind those that it has, or a value in the place of null. */
function withValue(text: string, object: Node, key: string, value: string, present: Node | undefined): string {
  if (present !== undefined) return replaced(text, present, value);
  const member = `${JSON.stringify(key)}:${value}`;
  const last = object.children?.at(-1);
  const offset = last === undefined ? object.offset + 1 : last.offset + last.length;
  return replaced(text, { offset, length: 0 }, last === undefined ? member : `,${member}`);
}

function replaced(text: string, { offset, length }: Pick<Node, "offset" | "length">, by: string): string {
  return text.slice(0, offset) + by + text.slice(offset + length);
}

/** @throws Failure where runtimes could take another member for it: some do not tell upper from lower case. */
function memberOf(object: Node, key: string, file: string): Node | undefined {
  const found = (object.children ?? []).filter(({ children: [name] = [] }) => {
    return String(name?.value).toLowerCase() === key.toLowerCase();
  });
  const [member, another] = found;
  if (another !== undefined) throw invalid(file, `has the key ${key} twice`);
  if (member !== undefined && member.children?.[0]?.value !== key) {
    throw invalid(file, `has the key ${key} in another spelling`);
  }
  return member?.children?.[1];
}

function objectsOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

function invalid(file: string, problem: string): Failure {
  return new Failure({
    code: "oci-spec-invalid",
    subject: file,
    problem: `the configuration of the container ${problem}`,
    hint: "the container engine writes it: look at its log",
  });
}
