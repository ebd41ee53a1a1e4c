/** How the text of an option becomes its value. */
import type { ListenAddress } from "./serve/listen.ts";
import { isIP } from "node:net";
import { resolve } from "node:path";

import { parseChain, parseCredentials, parseLists, type ChainItem, type Lists } from "./kinds/lists.ts";
import type { Args } from "./cni/invoke.ts";
import type { ValidAttachment } from "./cni/request.ts";
import { usage } from "./errors.ts";
import { objectionToName, OWNER as OWNER_NAME, parseObjectName, type ObjectName } from "./system/name.ts";

/** A type of options. */
export interface Type<Value> {
  /** What stands for the value in `--help`: `<DIR>`. */
  shown: string;
  /** A `flag` may stand without a value. A `list` that is given twice is one list; of anything else the last counts. */
  form?: "flag" | "list";
  /** All values that there are, for the completion of shells. */
  words?: readonly string[];
  /** @param source the option or environment variable that has the text. @throws Failure `usage`. */
  read(this: void, text: string, source: string): Value;
}

function matching(shown: string, pattern: RegExp, problem: string): Type<string> {
  const read = (given: string, source: string): string => {
    if (pattern.test(given)) return given;
    throw usage(source, `${JSON.stringify(given)} ${problem}`);
  };
  return { shown, read };
}

/** A type whose values are made of those of another one. */
function madeOf<Text, Value>({ read, ...type }: Type<Text>, convert: (text: Text) => Value): Type<Value> {
  return { ...type, read: (given, source) => convert(read(given, source)) };
}

/** Any text but the empty one. */
export function text(shown: string): Type<string> {
  return matching(shown, /./su, "is empty");
}

/** The name of a file in a directory that another option names. */
export const FILE_NAME: Type<string> = {
  shown: "<FILE>",
  read: (given, source) => {
    const objection = objectionToName(given);
    if (objection !== undefined) throw usage(source, `${JSON.stringify(given)} is not a file name: ${objection}`);
    return given;
  },
};

/** One of several words. */
export function choice<const Word extends string>(...words: readonly Word[]): Type<Word> {
  const pattern = new RegExp(`^(?:${words.join("|")})$`, "u");
  const type = matching(`<${words.join("|")}>`, pattern, `is not one of ${words.join(", ")}`) as Type<Word>;
  return { ...type, words };
}

const TRUTH = ["true", "false", "1", "0"];

/** May this word be the value of a flag? */
export function isTruthValue(word = ""): boolean {
  return TRUTH.includes(word);
}

export const FLAG: Type<boolean> & { form: "flag" } = {
  ...madeOf(choice(...TRUTH), (word) => word === "true" || word === "1"),
  shown: "[BOOL]",
  form: "flag",
};

/** A path, made absolute: a name alone would be looked for in PATH where it is run. */
export const DIRECTORY = madeOf(text("<DIR>"), (path) => resolve(path));

/** A directory of the node, or `auto`: the one in which its container runtime looks. */
export const NODE_DIRECTORY = madeOf(text("<DIR|auto>"), (path) => (path === "auto" ? path : resolve(path)));

/** The same of several, joined by colons. */
export const NODE_DIRECTORIES: Type<string[] | "auto"> = madeOf(text("<DIR:DIR|auto>"), (paths) => {
  const parts = partsOf(paths, ":");
  return parts.join(":") === "auto" ? "auto" : parts.map((path) => resolve(path));
});

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `2m`, `1m30s`; milliseconds. */
export const DURATION: Type<number> = madeOf(
  matching("<TIME>", /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/u, "is not a duration such as 500ms, 30s or 2m"),
  (given) => {
    const parts = given.matchAll(/([\d.]+)(ms|s|m|h)/gu);
    return parts.reduce((sum, [, number, unit = ""]) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
  },
);

export const MODE: Type<number> = madeOf(
  matching("<MODE>", /^0?[0-7]{3}$/u, "is not a file mode such as 0600"),
  (octal) => Number.parseInt(octal, 8),
);

/** `127.0.0.1:9153`, `[::1]:9153`; `:9153` is 127.0.0.1: who wants to be reached by others says so. */
export const ADDRESS: Type<ListenAddress> = {
  shown: "<[ADDRESS]:PORT>",
  read: (given, source) => {
    const [, bracketed, plain = "", port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/u.exec(given) ?? [];
    const host = bracketed ?? (plain || "127.0.0.1");
    if (port !== undefined && Number(port) <= 65_535 && isIP(host) === (bracketed === undefined ? 4 : 6)) {
      return { host, port: Number(port) };
    }
    const problem = `${JSON.stringify(given)} is not an IP address and a port`;
    throw usage(source, problem, "for example 127.0.0.1:9153, [::1]:9153, or :9153 for this node only");
  },
};

export const OWNER = matching(
  "<NAME>",
  OWNER_NAME,
  "is not an owner: up to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
);

/** GNU's SHELL-FORMAT. */
export const VARIABLES = matching(
  "<NAMES>",
  /^\s*$|\$\{?[A-Za-z_]/u,
  "names no variable: each begins with $, as in '$A $B'",
);

/** `auto` or `auto:GLOB`: which files can be the primary; all of them if there is no pattern. */
export const DELEGATE: Type<{ glob?: string }> = madeOf(
  matching("<auto[:GLOB]>", /^auto(?::[^/]+)?$/u, "is not auto, nor auto:GLOB with a pattern of file names"),
  (given) => (given === "auto" ? {} : { glob: given.slice("auto:".length) }),
);

/** A template list has so many at most: each is followed by a watch of its own. */
const MOST_CONFIG_MAPS = 16;

function readObjectName(given: string, source: string, kind: string): ObjectName {
  const name = parseObjectName(given);
  if (name !== undefined) return name;
  const hint = "lowercase letters, digits, dashes and, in NAME, dots, as in kube-system/cni-node";
  throw usage(source, `${JSON.stringify(given)} is not [NAMESPACE/]NAME of a ${kind}`, hint);
}

/** `[NAMESPACE/]NAME` of an object. @param kind for messages. */
export function objectName(kind: string): Type<ObjectName> {
  return { shown: "<NAME>", read: (given, source) => readObjectName(given, source, kind) };
}

/** `[NAMESPACE/]NAME,…` */
export const CONFIG_MAPS: Type<ObjectName[]> = {
  shown: "<LIST>",
  form: "list",
  read: (given, source) => {
    const names = [...new Set(partsOf(given, /[\s,]+/u))];
    if (names.length > MOST_CONFIG_MAPS) throw usage(source, `names more than ${MOST_CONFIG_MAPS} ConfigMaps`);
    return names.map((name) => readObjectName(name, source, "ConfigMap"));
  },
};

/** `DESIRED`, or `DESIRED:CURRENT`. */
export const LISTS: Type<Lists> = { shown: "<LIST>", form: "list", read: (given, source) => parseLists(source, given) };

/** The same of credentials, each `FILE[=[NAMESPACE/]ACCOUNT]`. */
export const CREDENTIALS: Type<Lists> = { ...LISTS, read: (given, source) => parseCredentials(source, given) };

/** The names of a verb that knows what is desired, or what is there, by itself. */
export function listOf(verb: "install" | "uninstall", type = LISTS): Type<Lists> {
  const read: Type<Lists>["read"] = (given, source) => {
    if (given.includes(":")) {
      throw usage(source, `${verb} takes one list, without a colon`, "cni-node apply takes DESIRED:CURRENT");
    }
    if (verb === "install") return type.read(given, source);
    const { current = [] } = type.read(`:${given}`, source);
    return { desired: [], current };
  };
  return { ...type, read };
}

/** `PLUGIN.json[@NETWORK],…` */
export const CHAIN: Type<ChainItem[]> = {
  shown: "<LIST>",
  form: "list",
  read: (given, source) => parseChain(source, given),
};

/** The address of an API server. */
export const SERVER: Type<string> = {
  shown: "<URL>",
  read: (given, source) => {
    const url = URL.parse(given);
    const isPlain = url?.username === "" && url.password === "" && url.search === "" && url.hash === "";
    if (url?.protocol === "https:" && isPlain) return url.href.replace(/\/$/u, "");
    throw usage(source, "is not an address that begins with https://", "for example https://[fd00::1]:6443");
  },
};

/** `K=V;K=V`, as in CNI_ARGS. */
export const ARGS: Type<Args> = {
  shown: "<K=V;K=V>",
  read: (given, source) =>
    partsOf(given, ";").map((pair) => {
      const [, key, value = ""] = /^([^=]+)=(.*)$/su.exec(pair) ?? [];
      if (key !== undefined) return [key, value];
      throw usage(source, `${JSON.stringify(pair)} is not KEY=VALUE`, "pairs are joined by ;");
    }),
};

export const JSON_OBJECT: Type<Record<string, unknown>> = {
  shown: "<JSON>",
  read: (given, source) => {
    try {
      const value = JSON.parse(given) as unknown;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
    } catch {
      // Said below.
    }
    const example = '{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}';
    throw usage(source, "is not a JSON object", `an object by capability: ${example}`);
  },
};

/** `ID/IFNAME,…` */
export const ATTACHMENTS: Type<ValidAttachment[]> = {
  shown: "<LIST>",
  form: "list",
  read: (given, source) =>
    partsOf(given, /[\s,]+/u).map((item) => {
      const [, containerID, ifname] = /^([^/]+)\/([^/]+)$/u.exec(item) ?? [];
      if (containerID !== undefined && ifname !== undefined) return { containerID, ifname };
      throw usage(source, `${JSON.stringify(item)} is not ID/IFNAME`, "container ID, a slash, interface name");
    }),
};

/** `10.0.0.0/8,fd00::/8` */
export const CIDRS: Type<string[]> = {
  shown: "<LIST>",
  form: "list",
  read: (given, source) =>
    partsOf(given, /[\s,]+/u).map((item) => {
      const [, address = "", length] = /^([^/]+)\/(\d{1,3})$/u.exec(item) ?? [];
      const family = isIP(address);
      if (family !== 0 && Number(length) <= (family === 4 ? 32 : 128)) return item;
      throw usage(source, `${JSON.stringify(item)} is not a network`, "for example 10.0.0.0/8 or fd00::/8");
    }),
};

function partsOf(given: string, separator: string | RegExp): string[] {
  return given.split(separator).filter((part) => part !== "");
}
