/** Kubeconfigs, read as kubectl reads them. What they hold is shown to nobody: objections name a place. */
import { dirname, resolve } from "node:path";

import * as v from "valibot";
import { isNode, LineCounter, parse, parseDocument, type Document } from "yaml";

import type { FailureCode } from "../codes.ts";
import { Failure, isSystemError, reasonOf } from "../errors.ts";
import { countValues } from "../system/json.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";

/** Every scalar is read as a text. */
const Text = v.optional(v.string(), "");
const Flag = v.optional(
  v.pipe(
    v.picklist(["true", "True", "TRUE", "false", "False", "FALSE"]),
    v.transform((text) => text.toLowerCase() === "true"),
  ),
  "false",
);
const Texts = v.optional(v.array(v.string()), []);

const Exec = v.object({
  apiVersion: Text,
  command: Text,
  args: Texts,
  env: v.optional(v.array(v.object({ name: v.string(), value: Text })), []),
  installHint: Text,
  provideClusterInfo: Flag,
  interactiveMode: Text,
});

const Cluster = v.object({
  server: Text,
  "tls-server-name": Text,
  "insecure-skip-tls-verify": Flag,
  "certificate-authority": Text,
  "certificate-authority-data": Text,
  "proxy-url": Text,
  "disable-compression": Flag,
});

const User = v.object({
  "client-certificate": Text,
  "client-certificate-data": Text,
  "client-key": Text,
  "client-key-data": Text,
  token: Text,
  tokenFile: Text,
  username: Text,
  password: Text,
  as: Text,
  "as-uid": Text,
  "as-groups": Texts,
  "as-user-extra": v.optional(v.record(v.string(), v.array(v.string())), {}),
  "auth-provider": v.optional(v.object({ name: Text, config: v.optional(v.record(v.string(), Text), {}) })),
  exec: v.optional(Exec),
});

const Context = v.object({ cluster: Text, user: Text, namespace: Text });

const Content = v.object({
  "current-context": Text,
  clusters: v.optional(v.array(v.object({ name: Text, cluster: v.optional(Cluster, {}) })), []),
  users: v.optional(v.array(v.object({ name: Text, user: v.optional(User, {}) })), []),
  contexts: v.optional(v.array(v.object({ name: Text, context: v.optional(Context, {}) })), []),
});

export type ClusterEntry = v.InferOutput<typeof Cluster>;
export type UserEntry = v.InferOutput<typeof User>;
export type ExecEntry = v.InferOutput<typeof Exec>;
export type ContextEntry = v.InferOutput<typeof Context>;

type Path = readonly (string | number)[];

/** One file. */
export class Kubeconfig {
  readonly file: string;
  readonly content: v.InferOutput<typeof Content>;
  readonly #text: string;
  readonly #document: Document;
  readonly #lines = new LineCounter();

  /** @throws Failure `kubeconfig-invalid`, `not-a-file`, `file-too-large`. */
  constructor(file: string) {
    this.file = file;
    this.#text = readKubeconfig(file);
    if (countValues(this.#text) > MAX_VALUES) throw this.#invalid(`there are more than ${MAX_VALUES} values`, 0);
    try {
      const options = { schema: "failsafe", prettyErrors: false, logLevel: "silent" } as const;
      this.#document = parseDocument(this.#text, { ...options, lineCounter: this.#lines });
    } catch {
      throw this.#invalid("is nested too deeply", 0);
    }
    const [error] = [...this.#document.errors, ...this.#document.warnings];
    if (error !== undefined) {
      throw this.#invalid(error.code === "DUPLICATE_KEY" ? "this key is there already" : "is not YAML", error.pos[0]);
    }
    const parsed = v.safeParse(Content, this.#data());
    if (!parsed.success) {
      throw this.objection(
        "this value has the wrong type",
        parsed.issues[0].path?.map(({ key }) => key as string) ?? [],
      );
    }
    this.content = parsed.output;
  }

  /** A path in the file is from the file's directory. */
  resolve(path: string): string {
    return resolve(dirname(this.file), path);
  }

  /** What is wrong with the value at that place, in words without the value. */
  objection(problem: string, path: Path, hint?: string, code?: FailureCode): Failure {
    return this.#invalid(problem, this.#offsetOf(path), hint, code);
  }

  /** What stands below a path, with the types of YAML. */
  dataAt(path: Path): unknown {
    const data: unknown = parse(this.#text, { logLevel: "silent" });
    return path.reduce<unknown>((value, key) => (value as Record<string | number, unknown> | undefined)?.[key], data);
  }

  #data(): unknown {
    try {
      return withoutNothing(this.#document.contents === null ? {} : this.#document.toJS());
    } catch {
      // An alias of nothing, or too many of them.
      throw this.#invalid("its aliases cannot be followed", 0);
    }
  }

  #offsetOf(path: Path): number {
    for (let length = path.length; length > 0; length--) {
      const node = this.#document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return node.range[0];
    }
    return 0;
  }

  #invalid(problem: string, offset: number, hint?: string, code?: FailureCode): Failure {
    const { line, col } = this.#lines.linePos(offset);
    const place = `line ${Math.max(1, line)}, column ${Math.max(1, col)}`;
    return kubeconfigFailure(this.file, `${place}: ${problem}`, hint, code);
  }
}

const NOTHING = new Set<unknown>(["", "~", "null"]);

/** Without the keys whose value stands for nothing. */
function withoutNothing(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNothing);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, part]) => !NOTHING.has(part));
  return Object.fromEntries(entries.map(([key, part]) => [key, withoutNothing(part)]));
}

function readKubeconfig(file: string): string {
  try {
    return readText(file, SIZE_LIMITS.credentials, { attempt: "cannot be used as kubeconfig" }).replace(/^\uFEFF/u, "");
  } catch (error) {
    if (error instanceof Failure) throw error;
    const reason = isSystemError(error, "ENOENT") ? "no such file or directory" : reasonOf(error);
    throw kubeconfigFailure(file, `cannot be used as kubeconfig: ${reason}`);
  }
}

/** The parser of YAML takes a KiB for each; a kubeconfig of many clusters has some thousands. */
const MAX_VALUES = 20_000;

/** A kubeconfig, or something that it names, is of no use. */
export function kubeconfigFailure(
  subject: string,
  problem: string,
  hint?: string,
  code: FailureCode = "kubeconfig-invalid",
): Failure {
  return new Failure({
    code,
    subject,
    problem,
    hint: hint ?? "name a kubeconfig with --kubeconfig or KUBECONFIG",
  });
}

/** Is it an IPv6 address as no URL has it, `fd00::1:443`? @param host with its port. */
export function lacksBrackets(host: string): boolean {
  return /^[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*$/iu.test(host);
}

/** An entry, and where it stands. */
export interface KubeconfigEntry<Value> {
  value: Value;
  from: Kubeconfig;
  path: Path;
}

/** Several files as one: of entries with one name the first counts, as with kubectl. */
export class Kubeconfigs {
  readonly files: readonly Kubeconfig[];

  constructor(files: readonly Kubeconfig[]) {
    this.files = files;
  }

  get currentContext(): KubeconfigEntry<string> | undefined {
    return this.#first((from) => {
      const value = from.content["current-context"];
      return value === "" ? undefined : { value, from, path: ["current-context"] };
    });
  }

  get contextNames(): string[] {
    return [...new Set(this.files.flatMap(({ content }) => content.contexts.map(({ name }) => name)))];
  }

  context(name: string): KubeconfigEntry<ContextEntry> | undefined {
    return this.#find("contexts", "context", name) as KubeconfigEntry<ContextEntry> | undefined;
  }

  cluster(name: string): KubeconfigEntry<ClusterEntry> | undefined {
    return this.#find("clusters", "cluster", name) as KubeconfigEntry<ClusterEntry> | undefined;
  }

  user(name: string): KubeconfigEntry<UserEntry> | undefined {
    return this.#find("users", "user", name) as KubeconfigEntry<UserEntry> | undefined;
  }

  #find(list: "contexts" | "clusters" | "users", key: string, name: string): KubeconfigEntry<unknown> | undefined {
    return this.#first((from) => {
      const entries = from.content[list] as { name: string; [key: string]: unknown }[];
      const index = entries.findIndex((entry) => entry.name === name);
      return index < 0 ? undefined : { value: entries[index]?.[key], from, path: [list, index, key] };
    });
  }

  #first<Found>(find: (file: Kubeconfig) => Found | undefined): Found | undefined {
    for (const file of this.files) {
      const found = find(file);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
