/** How the text of an option becomes its value. */
import { resolve } from "node:path";

import { parseLists, parseNames, type Lists } from "./apply/asset.ts";
import type { Args } from "./cni/invoke.ts";
import type { ValidAttachment } from "./cni/request.ts";
import { usage } from "./errors.ts";
import { OWNER as OWNER_NAME } from "./system/name.ts";

/** A type of options. */
export interface Type<Value> {
  /** What stands for the value in `--help`: `<DIR>`. */
  shown: string;
  /** A `flag` may stand without a value. A `list` that is given twice is one list; of anything else the last counts. */
  form?: "flag" | "list";
  /**
   * @param from the option or environment variable that has the text.
   * @throws Failure `usage`.
   */
  read(this: void, text: string, from: string): Value;
}

/** Any text but the empty one. */
export function text(shown: string): Type<string> {
  return { shown, read: (given, from) => fitting(given, from, given !== "", "is empty") };
}

/** A path, made absolute: a name alone would be looked for in PATH where it is run. */
export function path(shown: string): Type<string> {
  return { shown, read: (given, from) => resolve(text(shown).read(given, from)) };
}

/** Paths of directories, joined by colons. */
export const SEARCH_PATH: Type<string[]> = {
  shown: "<DIR:DIR>",
  read: (given, from) => {
    const directories = text("").read(given, from).split(":");
    return directories.filter((directory) => directory !== "").map((directory) => resolve(directory));
  },
};

/** One of several words. */
export function choice<const Word extends string>(...words: readonly Word[]): Type<Word> {
  const shown = `<${words.join("|")}>`;
  return {
    shown,
    read: (given, from) =>
      fitting(given as Word, from, words.includes(given as Word), `is none of ${words.join(", ")}`),
  };
}

export const FLAG: Type<boolean> & { form: "flag" } = {
  shown: "[BOOL]",
  form: "flag",
  read: (given, from) =>
    ["true", "1"].includes(fitting(given, from, isTruthValue(given), "is none of true, false, 1, 0")),
};

/** May this be the value of a flag? */
export function isTruthValue(given: string | undefined): boolean {
  return ["true", "false", "1", "0"].includes(given ?? "");
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `2m`, `1m30s`; milliseconds. */
export const DURATION: Type<number> = {
  shown: "<TIME>",
  read: (given, from) => {
    fitting(given, from, /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/u.test(given), "is no duration such as 500ms, 30s or 2m");
    const parts = given.matchAll(/([\d.]+)(ms|s|m|h)/gu);
    return parts.reduce((sum, [, number, unit = ""]) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
  },
};

/** A file mode, octal. */
export const MODE: Type<number> = {
  shown: "<MODE>",
  read: (given, from) =>
    Number.parseInt(fitting(given, from, /^0?[0-7]{3}$/u.test(given), "is no file mode such as 0600"), 8),
};

export const OWNER: Type<string> = {
  shown: "<NAME>",
  read: (given, from) =>
    fitting(
      given,
      from,
      OWNER_NAME.test(given),
      "is no owner: up to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
    ),
};

/** GNU's SHELL-FORMAT. */
export const VARIABLES: Type<string> = {
  shown: "<NAMES>",
  read: (given, from) =>
    fitting(
      given,
      from,
      given.trim() === "" || /\$\{?[A-Za-z_]/u.test(given),
      "names no variable: each begins with $, as in '$A $B'",
    ),
};

/** `DESIRED`, or `DESIRED:CURRENT`. */
export const LISTS: Type<Lists> = { shown: "<LIST>", form: "list", read: (given, from) => parseLists(from, given) };

/** The names of a verb that knows what is desired, or what is there, by itself. */
export function listOf(verb: "install" | "uninstall"): Type<Lists> {
  const read = (given: string, from: string): Lists => {
    if (given.includes(":")) {
      throw usage(from, `${verb} takes one list, without a colon`, "cni-node apply takes DESIRED:CURRENT");
    }
    const names = parseNames(from, given);
    return verb === "install" ? { desired: names } : { desired: [], current: names };
  };
  return { ...LISTS, read };
}

/** `K=V;K=V`, as in CNI_ARGS. */
export const ARGS: Type<Args> = {
  shown: "<K=V;K=V>",
  read: (given, from) =>
    given
      .split(";")
      .filter((pair) => pair !== "")
      .map((pair) => {
        const [, key, value = ""] = /^([^=]+)=(.*)$/su.exec(pair) ?? [];
        if (key !== undefined) return [key, value] as const;
        throw usage(from, `${JSON.stringify(pair)} is no KEY=VALUE`, "pairs are joined by ;");
      }),
};

/** A JSON object. */
export const JSON_OBJECT: Type<Record<string, unknown>> = {
  shown: "<JSON>",
  read: (given, from) => {
    try {
      const value = JSON.parse(given) as unknown;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
    } catch {
      // Said below.
    }
    const example = '{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}';
    throw usage(from, "is no JSON object", `an object by capability: ${example}`);
  },
};

/** `ID/IFNAME,…` */
export const ATTACHMENTS: Type<ValidAttachment[]> = {
  shown: "<LIST>",
  form: "list",
  read: (given, from) =>
    given
      .split(/[\s,]+/u)
      .filter((item) => item !== "")
      .map((item) => {
        const [, containerID, ifname] = /^([^/]+)\/([^/]+)$/u.exec(item) ?? [];
        if (containerID !== undefined && ifname !== undefined) return { containerID, ifname };
        const hint = "the container's ID, a slash, the interface's name";
        throw usage(from, `${JSON.stringify(item)} is no ID/IFNAME`, hint);
      }),
};

function fitting<Text extends string>(given: Text, from: string, fits: boolean, problem: string): Text {
  if (fits) return given;
  throw usage(from, `${JSON.stringify(given)} ${problem}`);
}
