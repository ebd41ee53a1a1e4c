/** The command line of kube-watch, as the image of 2019 has it: `-x=VALUE` or `--long=VALUE`, never a blank. Pure. */
import { usage } from "../errors.ts";
import { DURATION } from "../option-types.ts";
import { nearestTo } from "../system/nearest.ts";

/** What is watched, and what is done with it. */
export interface Arguments extends HandlingOptions {
  source: { object: ObjectSource } | { file: string };
}

/** An object of the cluster. */
export interface ObjectSource {
  /** As kubectl takes it: `configmap`, `cm`, `deployments.apps`. */
  type: string;
  namespace?: string;
  name: string;
  /** A template of `kubectl get -o jsonpath`. */
  jsonpath: string;
}

/** How data is handed on. */
export interface HandlingOptions {
  /** The file that has the data while a handler runs. */
  channel: string;
  /** A program, found by PATH. */
  handler: string;
  /** How long it may run, milliseconds. */
  timeout: number;
  /** The data is not for eyes. */
  isSecret: boolean;
}

const NAMES: Readonly<Record<string, string>> = {
  l: "label",
  j: "jsonpath",
  c: "channel",
  h: "handler",
  a: "all-namespaces",
};
/** The longest time that a timer takes, milliseconds. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;
const OF_FILES = ["channel", "handler", "timeout"];
const OF_OBJECTS = [...OF_FILES, "jsonpath", "label", "all-namespaces"];

/** What kube-watch prints if it does not understand. */
export const USAGE = `Usage: kube-watch object TYPE [NAMESPACE/]NAME [OPTIONS]
       kube-watch file FILE [OPTIONS]
       kube-watch version

Calls a handler with the channel file, the current data and the previous data, at the start and after each change.

  -j=TEMPLATE, --jsonpath=TEMPLATE  of an object, as in kubectl get -o jsonpath (default: {})
  -h=PROGRAM, --handler=PROGRAM     found by PATH (default: /usr/share/kube-watch/handler)
  -c=FILE, --channel=FILE           has the data while the handler runs (default: /var/run/kube-watch/channel)
  --timeout=TIME                    how long the handler may run (default: 10m)
`;

/** @throws Failure `usage`. */
export function readArguments(argv: readonly string[]): Arguments | "version" | "help" {
  const [verb = "", ...words] = argv;
  if (argv.includes("--help") || verb === "help") return "help";
  const operands = words.filter((word) => !word.startsWith("-"));
  const options = readOptions(words.filter((word) => word.startsWith("-")));
  if (verb === "version") return "version";
  if (verb === "file") {
    const [file] = operands;
    refuseMore(operands, 1);
    for (const name of options.keys())
      if (!OF_FILES.includes(name)) throw usage(`--${name}`, "requires kube-watch object");
    if (file === undefined) throw usage("FILE", "is missing", "kube-watch file FILE");
    return { source: { file }, ...handlingOf(options), isSecret: false };
  }
  if (verb !== "object") {
    throw usage("kube-watch", verb === "" ? "no command is given" : `unknown command ${JSON.stringify(verb)}`);
  }
  const [type, name] = operands;
  refuseMore(operands, 2);
  // kubectl refuses both beside a name, so that nobody can have relied on them.
  if (options.has("label")) throw usage("--label", "cannot be given beside the name of an object");
  if (options.has("all-namespaces")) {
    throw usage("--all-namespaces", "cannot be given beside the name of an object, which is in one namespace");
  }
  if (type === undefined || name === undefined)
    throw usage("TYPE and NAME", "are missing", "kube-watch object TYPE NAME");
  return {
    source: { object: { type, ...nameOf(name), jsonpath: options.get("jsonpath") ?? "{}" } },
    ...handlingOf(options),
    isSecret: /^secrets?(?:\.|$)/iu.test(type),
  };
}

function refuseMore(operands: readonly string[], most: number): void {
  const more = operands[most];
  if (more !== undefined) throw usage(JSON.stringify(more), "unexpected argument", "write options as --name=value");
}

function readOptions(words: readonly string[]): Map<string, string> {
  return new Map(
    words.map((word) => {
      const [, given = "", value] = /^--?([^=]*)(?:=(.*))?$/su.exec(word) ?? [];
      const name = word.startsWith("--") ? given : (NAMES[given] ?? "");
      if (!OF_OBJECTS.includes(name)) {
        const nearest = nearestTo(given, OF_OBJECTS);
        throw usage(
          word,
          "is not an option of kube-watch",
          nearest === undefined ? undefined : `did you mean --${nearest}?`,
        );
      }
      if (name === "all-namespaces") return [name, value ?? "true"];
      if (value === undefined) throw usage(word, "needs a value", `write ${word}=VALUE`);
      return [name, value];
    }),
  );
}

function nameOf(text: string): { namespace?: string; name: string } {
  const [name = "", namespace, ...more] = text.split("/").toReversed();
  if (name === "" || namespace === "" || more.length > 0) {
    throw usage(JSON.stringify(text), "is not [NAMESPACE/]NAME");
  }
  return namespace === undefined ? { name } : { namespace, name };
}

function handlingOf(options: ReadonlyMap<string, string>): Omit<HandlingOptions, "isSecret"> {
  const timeout = DURATION.read(options.get("timeout") ?? "10m", "--timeout");
  if (timeout === 0 || timeout > LONGEST_TIMEOUT) throw usage("--timeout", "is not between 1ms and 24 days");
  return {
    channel: options.get("channel") ?? "/var/run/kube-watch/channel",
    handler: options.get("handler") ?? "/usr/share/kube-watch/handler",
    timeout,
  };
}
