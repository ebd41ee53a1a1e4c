/** The command line of an OCI runtime, as runc (Go's flag) and crun (argp) parse it. Pure. */

/** What the wrapper has to know of a call. */
export interface RuntimeCall {
  /** `create`, `start`, `--version` has none. */
  command: string | undefined;
  /** Of create and run: the ID of the container. */
  id: string | undefined;
  /** Of create and run: the directory of the bundle, as it is given; undefined: the working directory. */
  bundle: string | undefined;
  /** crun's `--config`: another name for config.json. */
  configFile: string | undefined;
  /** Where the runtime says errors, and how; undefined: on stderr. */
  log: string | undefined;
  logFormat: string | undefined;
  /** So many descriptors from 3 on are the container's. */
  preservedFds: number;
}

/** The commands that make a container. */
export const MAKERS: readonly string[] = ["create", "run"];

/** Commands of runc and crun: what stands behind an option that is not known is its value, unless it is one of these. */
const COMMANDS = new Set(
  (
    "checkpoint create delete events exec features init kill list mounts pause ps restore resume run spec start state " +
    "update help"
  ).split(" "),
);

/** Options that have a value. The others are flags. */
const GLOBAL = ["root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager"];
const OF_MAKERS = ["bundle", "b", "console-socket", "pid-file", "preserve-fds", "pidfd-socket", "config", "f"];
/** Flags whose names begin like those: they matter for abbreviations only. */
const FLAGS = [
  "debug",
  "systemd-cgroup",
  "help",
  "version",
  "no-pivot",
  "no-new-keyring",
  "no-subreaper",
  "keep",
  "detach",
];

/** How a runtime parses: Go's flag or the C library's argp. */
export type Grammar = "go" | "argp";

/** Takes the command line of a runtime apart. What it does not know is left to the runtime. */
export function readRuntimeCall(words: readonly string[], grammar: Grammar = "go"): RuntimeCall {
  const rest = [...words];
  const global = readOptions(rest, GLOBAL, grammar, (next) => !COMMANDS.has(next));
  const command = rest.shift();
  const isMaker = command !== undefined && MAKERS.includes(command);
  const own = new Map<string, string>();
  const operands: string[] = [];
  const more = isMaker ? rest : [];
  while (more.length > 0) {
    for (const [name, value] of readOptions(more, OF_MAKERS, grammar, () => false)) own.set(name, value);
    // Both take options behind the container's ID, or refuse them.
    const next = more.shift();
    operands.push(...(next === "--" ? more.splice(0) : next === undefined ? [] : [next]));
  }
  return {
    command,
    id: operands[0],
    bundle: own.get("bundle") ?? own.get("b"),
    configFile: own.get("config") ?? own.get("f"),
    log: global.get("log"),
    logFormat: global.get("log-format"),
    preservedFds: Number(own.get("preserve-fds") ?? 0) || 0,
  };
}

/**
 * Takes the options off the beginning.
 *
 * @param isValue of what stands behind an option that is not known.
 */
function readOptions(
  rest: string[],
  known: readonly string[],
  grammar: Grammar,
  isValue: (next: string) => boolean,
): Map<string, string> {
  const values = new Map<string, string>();
  for (let [word = ""] = rest; /^-./u.test(word) && word !== "--"; [word = ""] = rest) {
    rest.shift();
    const { name, value } = split(word, known, grammar);
    if (value !== undefined) values.set(name, value);
    else if (known.includes(name)) values.set(name, rest.shift() ?? "");
    else if (!FLAGS.includes(name) && rest[0]?.startsWith("-") === false && isValue(rest[0])) rest.shift();
  }
  return values;
}

function split(word: string, known: readonly string[], grammar: Grammar): { name: string; value?: string } {
  const [, dashes = "", name = "", value] = /^(--?)([^=]*)(?:=(.*))?$/su.exec(word) ?? [];
  const given = value === undefined ? {} : { value };
  if (grammar === "go") return { name, ...given };
  if (dashes === "-" && known.includes(name.charAt(0))) {
    const attached = word.slice(2);
    return attached === "" ? { name } : { name: name.charAt(0), value: attached };
  }
  const all = [...known, ...FLAGS].filter((one) => one.startsWith(name) && one.length > 1);
  const [only = name, another] = all.includes(name) ? [name] : all;
  return { name: dashes === "-" || another !== undefined ? name : only, ...given };
}
