/** The commands, as data: what they are for, what they take, and which options they have. */
import type { Lists } from "./kinds/lists.ts";
import { choice, CREDENTIALS, listOf, type Type } from "./option-types.ts";
import { NETWORK_OPTIONS, OPTIONS, pick, type Option, type Values } from "./options.ts";

/** A command. */
export interface CommandSpec {
  summary: string;
  /** What stands for the words that it takes beside options. */
  operands?: readonly string[];
  options: Readonly<Record<string, Option>>;
}

const LISTS = ["plugins", "credentials", "configs", "manifests"] as const;
const DELEGATE = ["delegate", "delegate-form", "delegate-keys", "host-config-path"] as const;
const SOURCES = ["plugin-source", "config-source", "manifest-source"] as const;
const PLACES = [...SOURCES, "host-root", "plugin-dir", "credentials-dir", "config-dir"] as const;
const TOKENS = ["credentials-form", "credentials-server", "credentials-lifetime"] as const;
const RUN = ["owner", "checksum", "lock-timeout", "cri-socket", "output"] as const;
const RENDER = ["take-over", "validate", "config-mode", "inject-pod-cidr", "wait"] as const;
const PROBE = ["probe", "probe-add", "trace"] as const;
const OBJECTS = ["variables", "allow-unset", "node-name", "kubeconfig", "context", "timeout"] as const;
const CHOICE = ["refresh", "prune", "allow-no-network"] as const;
const REMOVAL = ["force", "drain"] as const;
const ADDITION = [...RENDER, ...PROBE, ...TOKENS, ...OBJECTS, "force-conflicts"] as const;
const STOP = ["on-stop", "daemonset"] as const;
const CHANGE = ["dry-run", "exit-code", "pause", "no-confirm", ...RUN] as const;

const WHERE = ["host-root", "config-dir", "plugin-dir", "cache-dir"] as const;
const CALLS = ["plugin-timeout", "trace", "output"] as const;
const ATTACHMENT = ["ifname", "container-id", "args", "capability-args"] as const;
const CONTAINER = ["NETWORK", "TARGET"] as const;

/** What commands of two words begin with. */
export const GROUPS: Readonly<Record<string, string>> = {
  network: "act as the CNI runtime of a network namespace: add, check, delete, inspect",
};

/** Every command by its name. */
export const COMMANDS = {
  install: {
    summary: "install plugins, credentials, configs and manifests; what is right already is left alone",
    options: { ...listsOf("install"), ...pick(OPTIONS, ...DELEGATE, ...PLACES, ...ADDITION, ...CHANGE, ...STOP) },
  },
  uninstall: {
    summary: "remove them, in reverse order; what was there before comes back",
    options: {
      ...listsOf("uninstall"),
      all: {
        type: OPTIONS.all.type,
        needs: { options: ["owner"], problem: "needs --owner: it removes everything that this owner holds" },
        help: "remove everything that the owner holds",
      },
      ...pick(OPTIONS, ...PLACES, ...REMOVAL, "allow-no-network", "validate", ...OBJECTS, ...CHANGE),
    },
  },
  credentials: {
    summary: "install kubeconfigs with tokens of service accounts: install --credentials=LIST",
    operands: ["LIST"],
    options: {
      ...pick(OPTIONS, "host-root", "credentials-dir", ...TOKENS, "take-over", "node-name", "kubeconfig", "context"),
      ...pick(OPTIONS, "timeout", "wait", ...CHANGE),
    },
  },
  apply: {
    summary: "go from the current to the desired set: lists are DESIRED or DESIRED:CURRENT",
    options: pick(OPTIONS, ...LISTS, ...DELEGATE, ...PLACES, ...CHOICE, ...REMOVAL, ...ADDITION, ...CHANGE, ...STOP),
  },
  plan: {
    summary: "print what apply would do, with the differences of configs and objects",
    options: {
      ...pick(OPTIONS, ...LISTS, ...DELEGATE, ...PLACES, ...CHOICE, "force"),
      ...pick(OPTIONS, ...RENDER, ...TOKENS, ...OBJECTS, "force-conflicts", "exit-code", ...RUN),
    },
  },
  watch: {
    summary: "keep plugins, credentials, configs and manifests as desired until a signal ends it",
    options: {
      ...pick(
        OPTIONS,
        ...LISTS,
        ...DELEGATE,
        "configmap",
        "config-templates",
        "manifest-templates",
        "spread",
        ...PLACES,
      ),
      owner: { type: OPTIONS.owner.type, help: "owner of the assets; what it holds and no longer desires is removed" },
      ...pick(
        OPTIONS,
        "take-over",
        "validate",
        "config-mode",
        "inject-pod-cidr",
        "checksum",
        "force",
        "allow-no-network",
        ...TOKENS,
      ),
      ...pick(OPTIONS, ...OBJECTS, "force-conflicts", "cri-socket", "no-confirm", "lock-timeout"),
      ...pick(OPTIONS, "on-stop", "daemonset", "listen", "log-format", "events", "output"),
    },
  },
  status: {
    summary: "report what is on the node, what the container runtime uses, and what is wrong",
    options: {
      ...pick(OPTIONS, "plugin-source", "host-root", "plugin-dir", "credentials-dir", "config-dir"),
      "cri-socket": { ...OPTIONS["cri-socket"], help: "also ask the container runtime at this socket" },
      ...pick(OPTIONS, "checksum", "output"),
    },
  },
  routes: {
    summary: "print the routes to the pods of all other nodes, which this node needs",
    options: {
      ...pick(OPTIONS, "node-name", "kubeconfig", "context", "timeout"),
      output: {
        type: choice("text", "json", "commands"),
        default: "text",
        help: "format of the report; commands: as ip route commands",
      },
    },
  },
  "routes sync": {
    summary: "set these routes, and remove those that cni-node set and no node needs",
    options: pick(
      OPTIONS,
      "follow",
      "masquerade",
      "non-masquerade-cidrs",
      "node-name",
      "kubeconfig",
      "context",
      "timeout",
      "output",
    ),
  },
  "routes remove": {
    summary: "remove all routes that cni-node set, and its masquerade",
    options: pick(OPTIONS, "output"),
  },
  "network add": {
    summary: "add a container to a network, and print the result",
    operands: CONTAINER,
    options: {
      ...pick(NETWORK_OPTIONS, "file"),
      ifname: { ...OPTIONS.ifname, otherwise: "the next free ethN" },
      ...pick(NETWORK_OPTIONS, "container-id", "args", "capability-args", "new", "allow-default-route", ...WHERE),
      ...pick(NETWORK_OPTIONS, "lock-timeout", "plugin-timeout", "trace"),
      output: { type: OPTIONS.output.type, otherwise: "the CNI result", help: OPTIONS.output.help },
    },
  },
  "network check": {
    summary: "ask the plugins whether an attachment is as it should be",
    operands: CONTAINER,
    options: pick(NETWORK_OPTIONS, "file", ...ATTACHMENT, ...WHERE, "lock-timeout", ...CALLS),
  },
  "network del": {
    summary: "delete a container's attachment; one that is gone already is not an error",
    operands: CONTAINER,
    options: pick(NETWORK_OPTIONS, "file", ...ATTACHMENT, "delete-netns", ...WHERE, "lock-timeout", ...CALLS),
  },
  "network gc": {
    summary: "release attachments that cni-node has added and whose namespace is gone",
    operands: ["[NETWORK]"],
    options: pick(NETWORK_OPTIONS, "valid", "all", ...WHERE, "lock-timeout", ...CALLS),
  },
  "network status": {
    summary: "ask the plugins of a network whether they are ready",
    operands: ["NETWORK"],
    options: pick(NETWORK_OPTIONS, "file", ...WHERE, ...CALLS),
  },
  "network version": {
    summary: "ask the plugins of a network which versions they support",
    operands: ["NETWORK"],
    options: pick(NETWORK_OPTIONS, "file", ...WHERE, ...CALLS),
  },
  "network probe": {
    summary: "try whether a network works, by default the one of pods, and leave nothing behind",
    operands: ["[NETWORK]"],
    options: pick(NETWORK_OPTIONS, "file", "add", ...WHERE, "lock-timeout", ...CALLS),
  },
  "network list": {
    summary: "list the networks of the node, or the attachments to them",
    options: pick(NETWORK_OPTIONS, "attachments", ...WHERE, "output"),
  },
  "network show": {
    summary: "print the configuration of a network as it is used, with secrets masked",
    operands: ["NETWORK"],
    options: pick(NETWORK_OPTIONS, "file", "host-root", "config-dir", "output"),
  },
  "network map": {
    summary: "draw the network of the node: namespaces, interfaces, attachments, and what is wrong",
    options: {
      ...pick(NETWORK_OPTIONS, "host-root", "cache-dir"),
      output: { type: choice("text", "json", "dot", "svg"), default: "text", help: "format of the map" },
    },
  },
  list: { summary: "list the plugins that can be installed", options: pick(OPTIONS, "plugin-source", "output") },
  catalogue: {
    summary: "rebuild the plugin catalogue after adding plugins to an image",
    options: pick(OPTIONS, "plugin-source", "output"),
  },
  version: { summary: "print the version", options: pick(OPTIONS, "output") },
} as const satisfies Readonly<Record<string, CommandSpec>>;

/** The name of a command: `install`, `network add`. */
export type CommandName = keyof typeof COMMANDS;

/** What a command is given: the values of the options that it has, and its operands. */
export type Given<Name extends CommandName> = Values<(typeof COMMANDS)[Name]["options"]> & {
  operands: readonly string[];
};

function listsOf(verb: "install" | "uninstall"): Record<(typeof LISTS)[number], { type: Type<Lists>; help: string }> {
  const type = listOf(verb);
  const { plugins, credentials, configs, manifests } = OPTIONS;
  return {
    plugins: { ...plugins, type },
    credentials: { ...credentials, type: listOf(verb, CREDENTIALS) },
    configs: { ...configs, type },
    manifests: { ...manifests, type },
  };
}
