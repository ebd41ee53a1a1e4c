/** The options of all commands, as data, and how their texts are read. */
import { Failure } from "./errors.ts";
import { OWNER } from "./system/name.ts";
import { nearestTo } from "./system/nearest.ts";

/** How the text of an option is read. */
type Type = "list" | "text" | "variables" | "flag" | "duration" | "mode" | "owner" | readonly string[];

interface OptionSpec {
  type: Type;
  /** What the value is called in `--help`. */
  value?: string;
  /** Used when neither the option nor its environment variable is given. */
  default?: string;
  help: string;
}

/** Every option by its name; its environment variable is `CNI_NODE_` and the name in capitals. */
export const OPTIONS = {
  plugins: { type: "list", value: "LIST", help: "plugin binaries" },
  configs: { type: "list", value: "LIST", help: "CNI configurations, rendered from templates" },
  manifests: { type: "list", value: "LIST", help: "Kubernetes manifests, with variables substituted" },
  "plugin-source": {
    type: "text",
    value: "DIR",
    default: "/opt/cni/bin",
    help: "where plugin binaries are taken from",
  },
  "config-source": { type: "text", value: "DIR", default: "/etc/cni/net.d", help: "where templates are taken from" },
  "manifest-source": {
    type: "text",
    value: "DIR",
    default: "/etc/kubernetes/manifests",
    help: "where manifests are taken from",
  },
  "host-root": { type: "text", value: "DIR", default: "/host", help: "where the node's file system is mounted" },
  "plugin-dir": {
    type: "text",
    value: "DIR",
    help: "the node's plugins, several joined by colons; auto: where its runtime looks (default: HOST_ROOT/opt/cni/bin)",
  },
  "config-dir": {
    type: "text",
    value: "DIR",
    help: "the node's CNI configurations; auto: where its runtime looks (default: HOST_ROOT/etc/cni/net.d)",
  },
  owner: { type: "owner", value: "NAME", default: "cni-node", help: "whose assets these are" },
  "take-over": { type: "flag", help: "replace what another owner holds with other content" },
  refresh: { type: "flag", help: "compare contents also of what is in both lists" },
  checksum: { type: "flag", help: "read what is compared, also where nothing says that it has changed" },
  prune: { type: "flag", help: "also remove what the owner holds and no longer desires; needs --owner" },
  validate: {
    type: ["strict", "warn", "off"],
    default: "strict",
    help: "what to do about what does not pass the proof",
  },
  "cri-socket": {
    type: "text",
    value: "PATH",
    help: "ask the container runtime at this socket where it looks, and whether a change keeps its network",
  },
  "no-confirm": { type: "flag", help: "do not wait for the container runtime's word after a change" },
  probe: {
    type: "flag",
    help: "before anything changes, add a container to each network for a moment, where that is harmless",
  },
  "probe-add": { type: "flag", help: "the same, also where it is not known to be harmless" },
  force: { type: "flag", help: "remove plugins also while configurations or containers need them" },
  drain: {
    type: "duration",
    value: "TIME",
    default: "0s",
    help: "wait for containers that need a plugin which is to be removed",
  },
  "allow-no-network": { type: "flag", help: "let --prune remove the node's last configuration" },
  "config-mode": {
    type: "mode",
    value: "MODE",
    help: "mode of configurations (default: 0600, existing files keep theirs)",
  },
  variables: {
    type: "variables",
    value: "NAMES",
    help: "substitute only the variables that '$A $B' names, in manifests; with an empty text none",
  },
  "allow-unset": { type: "flag", help: "put empty text in the place of variables that are not set" },
  "node-name": { type: "text", value: "NAME", help: "this node's name (default: NODE_NAME, NODE_HOSTNAME)" },
  kubeconfig: {
    type: "text",
    value: "FILE",
    help: "how the Kubernetes API is reached (default: KUBECONFIG, or the pod's own)",
  },
  context: { type: "text", value: "NAME", help: "the context of the kubeconfig (default: its current one)" },
  "force-conflicts": { type: "flag", help: "take over the fields of objects that others manage" },
  timeout: { type: "duration", value: "TIME", default: "60s", help: "how long the Kubernetes API may take" },
  wait: { type: "duration", value: "TIME", default: "0s", help: "wait for files that pointers name" },
  "lock-timeout": { type: "duration", value: "TIME", default: "2m", help: "wait for other runs on the same node" },
  "dry-run": { type: "flag", help: "say what would be done and do nothing" },
  "exit-code": { type: "flag", help: "end with 3 if anything would change" },
  pause: { type: "flag", help: "after success, wait for SIGTERM or SIGINT" },
  file: { type: "text", value: "FILE", help: "the network is in this file, and NETWORK is left out; - is stdin" },
  ifname: { type: "text", value: "NAME", help: "the interface's name (default: for add the next free ethN)" },
  "container-id": { type: "text", value: "ID", help: "what the container is known by (default: made of TARGET)" },
  args: { type: "text", value: "K=V;K=V", help: "CNI_ARGS for the plugins" },
  "capability-args": { type: "text", value: "JSON", help: "runtimeConfig for the plugins that declare the capability" },
  new: { type: "flag", help: "make the namespace, which is a name then" },
  "delete-netns": { type: "flag", help: "then delete the namespace, which is a name then" },
  "allow-default-route": { type: "flag", help: "add also what brings a second default route" },
  "cache-dir": {
    type: "text",
    value: "DIR",
    help: "where attachments are remembered (default: the node's /var/lib/cni)",
  },
  "plugin-timeout": { type: "duration", value: "TIME", default: "2m", help: "how long each call of a plugin may take" },
  trace: { type: "flag", help: "say what each plugin was given and answered, on stderr, with secrets masked" },
  attachments: { type: "flag", help: "list attachments instead of networks" },
  valid: {
    type: "list",
    value: "LIST",
    help: "delete all attachments to the network but these, ID/IFNAME, and tell the plugins",
  },
  add: { type: "flag", help: "add a container also where it is not known to be harmless" },
  all: { type: "flag", help: "with --valid, delete also attachments that others have added" },
  output: { type: ["text", "json"], default: "text", help: "how the report is written" },
} as const satisfies Record<string, OptionSpec>;

/** The name of an option, without its dashes. */
export type OptionName = keyof typeof OPTIONS;

/** The texts of the options that were given, by option or environment variable. */
export type OptionTexts = Partial<Record<OptionName, string>>;

/** Is this one of our options? */
export function isOptionName(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name);
}

/** The specification of an option, without the literal types of its entry. */
export function specOf(name: OptionName): OptionSpec {
  return OPTIONS[name];
}

/** `CNI_NODE_PLUGIN_SOURCE` for `plugin-source`. */
export function environmentName(name: OptionName): string {
  return `CNI_NODE_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Kubernetes sets these for a Service whose name begins with `cni-node`. */
const OF_SERVICE =
  /^CNI_NODE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/u;

/** What is wrong with the variables of an environment that look like those of options. */
export function objectionsToEnvironment(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(OPTIONS).map((name) => environmentName(name as OptionName));
  return Object.keys(env)
    .filter((name) => name.startsWith("CNI_NODE_") && !known.includes(name) && !OF_SERVICE.test(name))
    .map((name) => {
      const nearest = nearestTo(name, known);
      return `${name}: no option has this variable${nearest === undefined ? "" : `: did you mean ${nearest}?`}`;
    });
}

/** The text of an option, or its default. */
export function textOf(texts: OptionTexts, name: OptionName): string {
  return texts[name] ?? specOf(name).default ?? "";
}

/** Is this flag set? */
export function isSet(texts: OptionTexts, name: OptionName): boolean {
  return ["true", "1"].includes(texts[name] ?? "false");
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads `500ms`, `2m`, `1m30s`; milliseconds. */
export function durationOf(texts: OptionTexts, name: OptionName): number {
  const parts = textOf(texts, name).matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/gu);
  return Array.from(parts, ([, number, unit = ""]) => Number(number) * (UNITS[unit] ?? 0)).reduce((a, b) => a + b, 0);
}

const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/u;

/**
 * Checks the text of an option.
 *
 * @throws Failure `usage`.
 */
export function checkOption(name: OptionName, text: string, from: string): void {
  const { type } = specOf(name);
  const problem = objectionTo(type, text);
  if (problem !== undefined) {
    throw new Failure({ code: "usage", subject: from, problem: `${JSON.stringify(text)} ${problem}`, exitCode: 2 });
  }
}

function objectionTo(type: Type, text: string): string | undefined {
  if (typeof type !== "string") return type.includes(text) ? undefined : `is none of ${type.join(", ")}`;
  switch (type) {
    case "flag":
      return /^(?:true|false|1|0)$/u.test(text) ? undefined : "is none of true, false, 1, 0";
    case "duration":
      return DURATION.test(text) ? undefined : "is no duration such as 500ms, 30s or 2m";
    case "mode":
      return /^0?[0-7]{3}$/u.test(text) ? undefined : "is no file mode such as 0600";
    case "owner":
      return OWNER.test(text)
        ? undefined
        : "is no owner: up to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit";
    case "variables":
      return text.trim() === "" || /\$\{?[A-Za-z_]/u.test(text)
        ? undefined
        : "names no variable: each begins with $, as in '$A $B'";
    case "text":
      return text === "" ? "is empty" : undefined;
    case "list":
      return undefined;
    default:
      return type satisfies never;
  }
}
