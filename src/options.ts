/** The options of all commands, as data, and how a command gets their values. */
import { PLUGIN_SOURCE } from "./asset.ts";
import { usage } from "./errors.ts";
import {
  ADDRESS,
  ARGS,
  ATTACHMENTS,
  CHAIN,
  choice,
  CIDRS,
  CONFIG_MAPS,
  CREDENTIALS,
  DELEGATE,
  DIRECTORY,
  DURATION,
  FILE_NAME,
  FLAG,
  JSON_OBJECT,
  LISTS,
  MODE,
  NODE_DIRECTORIES,
  NODE_DIRECTORY,
  objectName,
  OWNER,
  SERVER,
  text,
  VARIABLES,
  type Type,
} from "./option-types.ts";
import { nearestTo } from "./system/nearest.ts";

/** An option. Its environment variable is `CNI_NODE_` and its name in capitals. */
export interface Option {
  type: Type<unknown>;
  help: string;
  /** Other variables that are read where neither the option nor its own variable is given. */
  env?: readonly string[];
  /** The text that counts where nothing is given. */
  default?: string;
  /** The default in words, where it is not a text. */
  otherwise?: string;
  /** One of these must be given, too, where the command has one of them; else the problem is said. */
  needs?: { options: readonly string[]; problem: string };
  /** None of these may be given. */
  excludes?: { options: readonly string[]; problem: string };
}

/** Where the node's file system is looked for, if `--host-root` does not say it. */
export const HOST_ROOT = "/host";

const NAME = text("<NAME>");
const NO_CHANGE = { options: ["dry-run"], problem: "cannot be used with --dry-run, which changes nothing" };

const WITH_DELEGATE = { options: ["delegate"], problem: "requires --delegate" };

/** Every option by its name, as most commands have it. */
export const OPTIONS = {
  plugins: { type: LISTS, help: "plugin binaries" },
  configs: { type: LISTS, help: "CNI configurations, rendered from templates" },
  manifests: { type: LISTS, help: "Kubernetes manifests, with variables substituted" },
  credentials: { type: CREDENTIALS, help: "kubeconfigs with tokens: FILE[=[NAMESPACE/]ACCOUNT],…" },
  delegate: {
    type: DELEGATE,
    help: "install a configuration of Multus that wraps the first one in net.d (that matches)",
  },
  "delegate-form": {
    type: choice("inline", "path"),
    default: "inline",
    needs: WITH_DELEGATE,
    help: "put the primary's content or its path into it",
  },
  "delegate-keys": {
    type: FILE_NAME,
    needs: WITH_DELEGATE,
    help: "template with more keys of Multus: kubeconfig, logLevel, …",
  },
  "host-config-path": {
    type: text("<DIR>"),
    needs: WITH_DELEGATE,
    otherwise: "--config-dir",
    help: "path of the node's CNI configs on the node",
  },
  chain: {
    type: CHAIN,
    help: "append plugins to networks of others: PLUGIN.json[@NETWORK],… (@primary if none)",
  },
  configmap: {
    type: objectName("ConfigMap"),
    help: "[NAMESPACE/]NAME of the ConfigMap that has these lists",
  },
  spread: {
    type: DURATION,
    default: "0s",
    help: "delay changes of ConfigMaps by 0 to TIME, which differs by node",
  },
  "config-templates": {
    type: CONFIG_MAPS,
    help: "[NAMESPACE/]NAME,… of ConfigMaps with templates; they win over files",
  },
  "manifest-templates": {
    type: CONFIG_MAPS,
    help: "[NAMESPACE/]NAME,… of ConfigMaps with manifests; they win over files",
  },
  "plugin-source": { type: DIRECTORY, default: PLUGIN_SOURCE, help: "directory of the plugin binaries to install" },
  "config-source": { type: DIRECTORY, default: "/etc/cni/net.d", help: "directory of the templates" },
  "manifest-source": { type: DIRECTORY, default: "/etc/kubernetes/manifests", help: "directory of the manifests" },
  "host-root": { type: DIRECTORY, otherwise: HOST_ROOT, help: "where the node's root file system is mounted" },
  "plugin-dir": {
    type: NODE_DIRECTORIES,
    otherwise: "HOST_ROOT/opt/cni/bin",
    help: "the node's plugin directories; auto: its runtime's",
  },
  "config-dir": {
    type: NODE_DIRECTORY,
    otherwise: "HOST_ROOT/etc/cni/net.d",
    help: "the node's CNI configs; auto: its runtime's",
  },
  "credentials-dir": {
    type: DIRECTORY,
    otherwise: "HOST_ROOT/etc/cni/credentials",
    help: "the node's kubeconfigs for plugins",
  },
  "credentials-form": {
    type: { ...choice("inline", "token-file"), shown: "<FORM>" },
    default: "inline",
    help: "inline: the token is in the kubeconfig; token-file: in FILE.token",
  },
  "credentials-server": {
    type: SERVER,
    otherwise: "the one that cni-node uses",
    help: "address of the API for plugins",
  },
  "credentials-lifetime": { type: DURATION, default: "24h", help: "how long tokens are to be valid" },
  owner: { type: OWNER, default: "cni-node", help: "owner of the assets; what other owners hold is kept" },
  "take-over": { type: FLAG, help: "replace assets that another owner holds with different content" },
  refresh: { type: FLAG, help: "also compare the contents of assets that are in both lists" },
  checksum: { type: FLAG, help: "compare file contents even if size, times and inode are unchanged" },
  prune: {
    type: FLAG,
    needs: { options: ["owner"], problem: "needs --owner: it removes what that owner holds and no longer desires" },
    help: "also remove assets that the owner holds and no longer desires",
  },
  validate: {
    type: choice("strict", "warn", "off"),
    default: "strict",
    help: "what to do when a check fails: refuse, warn, or skip the checks",
  },
  "cri-socket": {
    type: text("<PATH>"),
    help: "ask the container runtime at this socket; undo a change that breaks its network",
  },
  "no-confirm": { type: FLAG, help: "do not wait for the container runtime's answer after a change" },
  probe: {
    type: FLAG,
    excludes: NO_CHANGE,
    help: "first try each network with a container, if its plugins are known to be safe to try",
  },
  "probe-add": {
    type: FLAG,
    excludes: NO_CHANGE,
    help: "like --probe, but also for plugins not known to be safe to try",
  },
  force: { type: FLAG, help: "remove plugins and credentials even if configurations or containers need them" },
  drain: { type: DURATION, default: "0s", help: "how long to wait for containers that need a plugin to be removed" },
  "allow-no-network": { type: FLAG, help: "also remove the node's last configuration" },
  "config-mode": { type: MODE, otherwise: "0600; existing files keep theirs", help: "file mode of configurations" },
  "inject-pod-cidr": { type: FLAG, help: "put the podCIDRs of the Node into the ranges of the bridge plugin" },
  variables: {
    type: VARIABLES,
    help: "only these variables in manifests, and __A__ in templates: '$A $B'; '' for none",
  },
  "allow-unset": { type: FLAG, help: "substitute an empty text for variables that are not set" },
  "node-name": { type: NAME, env: ["NODE_NAME", "NODE_HOSTNAME"], help: "name of this node" },
  kubeconfig: {
    type: text("<FILE>"),
    env: ["KUBECONFIG"],
    otherwise: "the pod's service account",
    help: "kubeconfig for the Kubernetes API",
  },
  context: { type: NAME, otherwise: "its current context", help: "context of the kubeconfig" },
  "force-conflicts": { type: FLAG, help: "take over fields of objects that others manage" },
  timeout: { type: DURATION, default: "60s", help: "how long the Kubernetes API may take" },
  wait: {
    type: DURATION,
    default: "0s",
    help: "how long to wait for what is missing: files that pointers name, the primary, values",
  },
  "lock-timeout": { type: DURATION, default: "2m", help: "how long to wait for other runs on the same node" },
  "dry-run": { type: FLAG, help: "print what would be done, and do nothing" },
  "exit-code": {
    type: FLAG,
    needs: { options: ["dry-run"], problem: "requires plan or --dry-run" },
    help: "exit with 3 if anything would change",
  },
  pause: { type: FLAG, help: "after success, wait for SIGTERM or SIGINT" },
  "on-stop": {
    type: choice("keep", "uninstall", "auto"),
    default: "keep",
    needs: { options: ["pause"], problem: "requires --pause" },
    help: "what a signal does to what is installed; auto: uninstall if the DaemonSet is deleted",
  },
  daemonset: {
    type: objectName("DaemonSet"),
    needs: { options: ["on-stop"], problem: "requires --on-stop=auto" },
    help: "[NAMESPACE/]NAME of the DaemonSet that runs this container",
  },
  file: {
    type: text("<FILE>"),
    help: "read the network configuration from FILE (- for stdin) instead of naming NETWORK",
  },
  ifname: { type: NAME, env: ["CNI_IFNAME"], otherwise: "the one attached", help: "name of the interface" },
  "container-id": { type: text("<ID>"), otherwise: "made from TARGET", help: "container ID" },
  args: { type: ARGS, env: ["CNI_ARGS"], help: "CNI_ARGS for the plugins" },
  "capability-args": {
    type: JSON_OBJECT,
    env: ["CAP_ARGS"],
    help: "runtimeConfig for the plugins that declare the capability",
  },
  new: { type: FLAG, help: "create the network namespace; TARGET must be a name" },
  "delete-netns": { type: FLAG, help: "afterwards delete the named network namespace" },
  "allow-default-route": { type: FLAG, help: "allow a second default route" },
  "cache-dir": { type: DIRECTORY, otherwise: "/var/lib/cni", help: "the node's cache of attachments" },
  "plugin-timeout": { type: DURATION, default: "2m", help: "how long each plugin call may take" },
  trace: {
    type: FLAG,
    needs: { options: ["probe", "probe-add"], problem: "requires --probe" },
    help: "print each plugin call on stderr, with secrets masked",
  },
  "pod-cidrs": { type: CIDRS, help: "the networks of pods in the cluster; a podCIDR outside of them gets no route" },
  follow: { type: FLAG, help: "keep the routes as the Nodes of the cluster change, until a signal ends it" },
  masquerade: { type: FLAG, help: "masquerade what pods of this node send to addresses outside the cluster" },
  "non-masquerade-cidrs": {
    type: CIDRS,
    needs: { options: ["masquerade"], problem: "requires --masquerade" },
    help: "more networks that pods reach with their own addresses",
  },
  attachments: { type: FLAG, help: "list attachments instead of networks" },
  valid: {
    type: ATTACHMENTS,
    help: "delete all attachments to NETWORK except these (ID/IFNAME), and call GC of the plugins",
  },
  all: {
    type: FLAG,
    needs: { options: ["valid"], problem: "requires --valid; --valid= says that none is valid" },
    help: "also delete attachments that others have added",
  },
  add: { type: FLAG, help: "add a container even if the plugins are not known to be safe to try" },
  "program-dir": {
    type: DIRECTORY,
    otherwise: "/opt/cni-node if the host's root is mounted",
    help: "put the program there, on the host",
  },
  "oci-config": {
    type: { ...DIRECTORY, shown: "<FILE>" },
    otherwise: "/etc/docker/cni.yaml",
    help: "configuration of the runtime and hooks, on the host",
  },
  "runtime-name": { type: NAME, default: "barrel-cni", help: "name of the OCI runtime: docker run --runtime NAME" },
  "daemon-config": {
    type: text("<FILE>"),
    otherwise: "HOST_ROOT/etc/docker/daemon.json",
    help: "configuration of dockerd",
  },
  "podman-config-dir": {
    type: DIRECTORY,
    otherwise: "HOST_ROOT/etc/containers/containers.conf.d",
    help: "directory of Podman's configurations",
  },
  "cdi-dir": { type: DIRECTORY, otherwise: "HOST_ROOT/etc/cdi", help: "directory of CDI specifications" },
  "hooks-dir": {
    type: DIRECTORY,
    otherwise: "HOST_ROOT/etc/containers/oci/hooks.d",
    help: "directory of OCI hooks",
  },
  remove: { type: FLAG, help: "remove what an earlier run has written" },
  prove: { type: FLAG, default: "true", help: "try the runtime with a temporary container; if it fails, undo all" },
  "probe-image": { type: NAME, otherwise: "the smallest one there", help: "image of that container, which has `true`" },
  listen: {
    type: ADDRESS,
    otherwise: "none",
    help: "serve /livez, /readyz, /metrics, /statusz; default ADDRESS: 127.0.0.1",
  },
  "log-format": { type: choice("text", "json"), default: "text", help: "format of the log on stderr" },
  events: {
    type: FLAG,
    default: "true",
    help: "write Kubernetes Events on the node and the pod; --events=false does not",
  },
  output: { type: choice("text", "json", "yaml"), default: "text", help: "format of the report" },
  color: {
    type: choice("auto", "always", "never"),
    default: "auto",
    help: "colours; auto: on a terminal, without NO_COLOR",
  },
  quiet: { type: FLAG, help: "print no report, only warnings and errors" },
  verbose: { type: FLAG, help: "print each asset, even if many are unchanged" },
} as const satisfies Record<string, Option>;

/** Options in one letter. */
export const SHORT_OPTIONS: Readonly<Record<string, string>> = { o: "output", q: "quiet", v: "verbose" };

/** What the options are for, and which: as `--help`, the reference and the manual page show them. */
const OPTION_GROUPS: Readonly<Record<string, readonly (keyof typeof OPTIONS)[]>> = {
  Common: [
    ...(["plugins", "configs", "manifests", "credentials", "configmap"] as const),
    ...(["file", "ifname", "new", "delete-netns", "attachments", "valid", "all", "add"] as const),
    ...(["dry-run", "exit-code", "pause", "wait", "owner", "output"] as const),
  ],
  Where: [
    ...(["host-root", "plugin-dir", "config-dir", "credentials-dir", "cache-dir"] as const),
    ...(["plugin-source", "config-source", "manifest-source", "config-templates", "manifest-templates"] as const),
  ],
  Attachment: ["container-id", "args", "capability-args", "allow-default-route"],
  "Owners and removal": ["take-over", "refresh", "prune", "force", "drain", "allow-no-network", "on-stop", "daemonset"],
  Checks: ["validate", "probe", "probe-add", "checksum", "cri-socket", "no-confirm"],
  Templates: ["chain", "config-mode", "variables", "allow-unset", "inject-pod-cidr"],
  Multus: ["delegate", "delegate-form", "delegate-keys", "host-config-path"],
  Credentials: ["credentials-form", "credentials-server", "credentials-lifetime"],
  Cluster: ["node-name", "kubeconfig", "context", "force-conflicts", "spread"],
  "Plugin calls": ["trace", "plugin-timeout"],
  "Time limits": ["timeout", "lock-timeout"],
  Routes: ["pod-cidrs", "follow", "masquerade", "non-masquerade-cidrs"],
  "Container engines": [
    ...(["program-dir", "oci-config", "runtime-name", "daemon-config", "podman-config-dir"] as const),
    ...(["cdi-dir", "hooks-dir", "remove", "prove", "probe-image"] as const),
  ],
  "Health and logs": ["listen", "log-format", "events"],
};

/** The options of a command in their groups, the common ones first; groups of which it has none are left out. */
export function groupOptions(options: Readonly<Record<string, Option>>): [title: string, [string, Option][]][] {
  const groups = Object.entries(OPTION_GROUPS).map(([title, names]): [string, [string, Option][]] => {
    const found = names.flatMap((name): [string, Option][] => {
      const { [name]: option } = options;
      return option === undefined ? [] : [[name, option]];
    });
    return [title, found];
  });
  return groups.filter(([, found]) => found.length > 0);
}

/** The options as the `network` commands have them. */
export const NETWORK_OPTIONS = {
  ...OPTIONS,
  "host-root": { ...OPTIONS["host-root"], help: "where the node's root file system is mounted; / on the node itself" },
  "plugin-dir": { ...OPTIONS["plugin-dir"], env: ["CNI_PATH"], otherwise: "/opt/cni/bin" },
  "config-dir": { ...OPTIONS["config-dir"], env: ["NETCONFPATH"], otherwise: "/etc/cni/net.d" },
  "cri-socket": {
    ...OPTIONS["cri-socket"],
    help: "ask the container runtime at this socket for the directories that are auto",
  },
  "lock-timeout": { ...OPTIONS["lock-timeout"], help: "how long to wait for other operations on the same container" },
  "oci-config": { type: OPTIONS["oci-config"].type, help: "use the directories that this cni.yaml names, on the node" },
} as const satisfies Record<string, Option>;

/** The same, as the `engine` commands have them. */
export const ENGINE_OPTIONS = {
  ...OPTIONS,
  "host-root": {
    ...OPTIONS["host-root"],
    otherwise: `${HOST_ROOT}; / on the host itself`,
    help: "where the host's root file system is mounted",
  },
  "take-over": { ...OPTIONS["take-over"], help: "replace a runtime of that name; disable brings it back" },
  force: { ...OPTIONS.force, help: "disable the runtime even if containers have it" },
  "lock-timeout": { ...OPTIONS["lock-timeout"], help: "how long to wait for other runs on the same host" },
} as const satisfies Record<string, Option>;

/** Some options of a table, in that order. */
export function pick<Table, Name extends keyof Table>(table: Table, ...names: Name[]): Pick<Table, Name> {
  return Object.fromEntries(names.map((name) => [name, table[name]])) as Pick<Table, Name>;
}

/** The options that every command has. */
export const GLOBAL_OPTIONS = pick(OPTIONS, "quiet", "verbose", "color");

/** The values that a command with these options gets: of `plugin-source` as `pluginSource`. */
export type Values<Options> = {
  [Name in keyof Options as CamelCase<Name>]: ValueOf<Options[Name]>;
};

type CamelCase<Name> = Name extends `${infer First}-${infer Rest}` ? `${First}${Capitalize<CamelCase<Rest>>}` : Name;

type ValueOf<One> = One extends { type: Type<infer Value> }
  ? One extends { default: string } | { type: { form: "flag" } }
    ? Value
    : Value | undefined
  : never;

type Environment = Readonly<Record<string, string | undefined>>;

/** The options of a command line, in its order. */
export type OptionTexts = readonly { name: string; text: string | undefined }[];

/**
 * The values of options: as given, else from the environment, else the default.
 *
 * @throws Failure `usage`.
 */
export function valuesOf<Options extends Readonly<Record<string, Option>>>(
  options: Options,
  given: OptionTexts,
  env: Environment,
): Values<Options> {
  const set = new Set<string>();
  const values = Object.entries(options).map(([name, option]) => {
    const { text: found, from } = textOf(name, option, given, env) ?? { text: option.default, from: undefined };
    const value = found === undefined ? undefined : option.type.read(found, from ?? "");
    if (from !== undefined && value !== false) set.add(name);
    return [camelCase(name), value ?? (option.type.form === "flag" ? false : undefined)];
  });
  for (const [name, { needs, excludes }] of Object.entries(options).filter(([one]) => set.has(one))) {
    const needed = needs?.options.filter((one) => Object.hasOwn(options, one)) ?? [];
    if (needed.length > 0 && !needed.some((one) => set.has(one))) throw usage(`--${name}`, needs?.problem ?? "");
    if (excludes?.options.some((one) => set.has(one))) throw usage(`--${name}`, excludes.problem);
  }
  return Object.fromEntries(values) as Values<Options>;
}

/** The text of an option, and what has it; an empty variable is as good as none. */
function textOf(
  name: string,
  { type, env: others = [] }: Option,
  given: OptionTexts,
  env: Environment,
): { text: string; from: string } | undefined {
  const from = `--${name}`;
  const texts = given.filter((one) => one.name === name).map((one) => one.text ?? "");
  const last = texts.at(-1);
  if (last === undefined) {
    const variable = [environmentName(name), ...others].find((one) => env[one]);
    return variable === undefined ? undefined : { text: env[variable] ?? "", from: variable };
  }
  // What is behind the colon of one is removed: it must not get there from the other.
  if (type.form === "list" && texts.length > 1 && texts.some((one) => one.includes(":"))) {
    throw usage(from, "is given twice, and one of the lists has a colon", `write ${from}=DESIRED:CURRENT once`);
  }
  return { text: type.form === "list" ? texts.join(",") : last, from };
}

function camelCase(name: string): string {
  return name.replaceAll(/-(.)/gu, (_, letter: string) => letter.toUpperCase());
}

/** `CNI_NODE_PLUGIN_SOURCE` for `plugin-source`. */
export function environmentName(name: string): string {
  return `CNI_NODE_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Kubernetes sets these for a Service whose name begins with `cni-node`. */
const OF_SERVICE =
  /^CNI_NODE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/u;

/** What is wrong with the variables of an environment that look like those of options. */
export function objectionsToEnvironment(env: Environment): string[] {
  const known = Object.keys(OPTIONS).map(environmentName);
  return Object.keys(env)
    .filter((name) => name.startsWith("CNI_NODE_") && !known.includes(name) && !OF_SERVICE.test(name))
    .map((name) => {
      const nearest = nearestTo(name, known);
      return `${name}: no option has this variable${nearest === undefined ? "" : `: did you mean ${nearest}?`}`;
    });
}
