/** The commands, as data: what they are for, what they take, and which options they have. */
import type { Lists } from "./kinds/lists.ts";
import { choice, CREDENTIALS, listOf, type Type } from "./option-types.ts";
import { ENGINE_OPTIONS, NETWORK_OPTIONS, OPTIONS, pick, type Option, type Values } from "./options.ts";

/** A command. */
export interface CommandSpec {
  summary: string;
  /** What stands for the words that it takes beside options. */
  operands?: readonly string[];
  /** Two command lines, without the program. */
  examples: readonly [string, string];
  options: Readonly<Record<string, Option>>;
}

const LISTS = ["plugins", "credentials", "configs", "manifests"] as const;
const DELEGATE = ["delegate", "delegate-form", "delegate-keys", "host-config-path"] as const;
const CONFIGS = [...DELEGATE, "chain"] as const;
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

const WHERE = ["host-root", "config-dir", "plugin-dir", "cache-dir", "cri-socket"] as const;
const CALLS = ["plugin-timeout", "trace", "output"] as const;
/** With IDs as long as they are. */
const LISTED = {
  ...OPTIONS.output,
  type: choice("text", "wide", "json", "yaml"),
  help: "format of the report; wide prints whole container IDs",
} as const;
const ATTACHMENT = ["ifname", "container-id", "args", "capability-args"] as const;
const CONTAINER = ["NETWORK", "TARGET"] as const;

const PROGRAM = ["host-root", "program-dir", "oci-config"] as const;
const ENGINE_FILES = ["runtime-name", "daemon-config", "podman-config-dir"] as const;
const ENGINE_RUN = ["dry-run", "lock-timeout", "output"] as const;

/** What the operands of commands stand for. */
export const OPERANDS: Readonly<Record<string, string>> = {
  NETWORK: "name of a network, as cni-node network list prints it",
  TARGET:
    "network namespace: its path or name (web), pid:NUMBER, runc:ID, docker:NAME, podman:NAME, pod:NAMESPACE/NAME",
  ENGINE: "docker or podman",
  LIST: "kubeconfigs with tokens: FILE[=[NAMESPACE/]ACCOUNT],…",
  SHELL: "bash, zsh or fish",
};

/** What commands of two words begin with. */
export const GROUPS: Readonly<Record<string, string>> = {
  network: "act as the CNI runtime of a network namespace: add, check, delete, inspect",
  engine: "give the containers of Docker and Podman their network from CNI: enable, disable, inspect",
};

/** Every command by its name. */
export const COMMANDS = {
  install: {
    summary: "install plugins, credentials, configs and manifests; what is right already is left alone",
    examples: [
      "install --plugins=bridge,host-local --configs=10-bridge.conflist",
      "install --plugins=multus-cni --delegate=auto --wait=5m --pause",
    ],
    options: { ...listsOf("install"), ...pick(OPTIONS, ...CONFIGS, ...PLACES, ...ADDITION, ...CHANGE, ...STOP) },
  },
  uninstall: {
    summary:
      "remove plugins, credentials, configs and manifests in reverse order, and restore files that were there before",
    examples: [
      "uninstall --plugins=bridge,portmap --configs=10-bridge.conflist",
      "uninstall --all --owner=site-a --dry-run",
    ],
    options: {
      ...listsOf("uninstall"),
      all: {
        type: OPTIONS.all.type,
        needs: { options: ["owner"], problem: "needs --owner: it removes everything that this owner holds" },
        help: "remove everything that the owner holds",
      },
      chain: { ...OPTIONS.chain, help: "plugins that --chain appended to networks of others: PLUGIN.json[@NETWORK],…" },
      ...pick(OPTIONS, ...PLACES, ...REMOVAL, "allow-no-network", "validate", ...OBJECTS, ...CHANGE),
    },
  },
  credentials: {
    summary: "install kubeconfigs with tokens of service accounts: install --credentials=LIST",
    operands: ["LIST"],
    examples: [
      "credentials multus.kubeconfig=kube-system/multus",
      "credentials multus.kubeconfig=kube-system/multus --pause",
    ],
    options: {
      ...pick(OPTIONS, "host-root", "credentials-dir", ...TOKENS, "take-over", "node-name", "kubeconfig", "context"),
      ...pick(OPTIONS, "timeout", "wait", ...CHANGE),
    },
  },
  apply: {
    summary: "go from the current to the desired set: lists are DESIRED or DESIRED:CURRENT",
    examples: ["apply --plugins=bridge,vlan:macvlan", "apply --plugins=bridge --prune --owner=site-a"],
    options: pick(OPTIONS, ...LISTS, ...CONFIGS, ...PLACES, ...CHOICE, ...REMOVAL, ...ADDITION, ...CHANGE, ...STOP),
  },
  plan: {
    summary: "print what apply would do, with the differences of configs and objects",
    examples: ["plan --plugins=bridge --configs=10-bridge.conflist", "plan --plugins=bridge --exit-code --output=json"],
    options: {
      ...pick(OPTIONS, ...LISTS, ...CONFIGS, ...PLACES, ...CHOICE, "force"),
      ...pick(OPTIONS, ...RENDER, ...TOKENS, ...OBJECTS, "force-conflicts", "exit-code", ...RUN),
    },
  },
  watch: {
    summary: "keep plugins, credentials, configs and manifests as desired until a signal ends it",
    examples: [
      "watch --owner=site-a --plugins=bridge --configs=10-bridge.conflist",
      "watch --owner=site-a --configmap=kube-system/cni-node --on-stop=auto",
    ],
    options: {
      ...pick(
        OPTIONS,
        ...LISTS,
        ...CONFIGS,
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
    examples: ["status", "status --host-root=/ --output=json"],
    options: {
      ...pick(OPTIONS, "plugin-source", "host-root", "plugin-dir", "credentials-dir", "config-dir"),
      "cri-socket": { ...OPTIONS["cri-socket"], help: "also ask the container runtime at this socket" },
      ...pick(OPTIONS, "checksum", "output"),
    },
  },
  routes: {
    summary: "print the routes to the pods of all other nodes, which this node needs",
    examples: ["routes", "routes --output=commands"],
    options: {
      ...pick(OPTIONS, "pod-cidrs", "node-name", "kubeconfig", "context", "timeout"),
      output: {
        type: choice("text", "json", "yaml", "commands"),
        default: "text",
        help: "format of the report; commands: as ip route commands",
      },
    },
  },
  "routes sync": {
    summary: "set the routes to the pods of all other nodes, and remove those of cni-node that no node needs",
    examples: ["routes sync", "routes sync --follow --masquerade --pod-cidrs=10.244.0.0/16"],
    options: {
      ...pick(
        OPTIONS,
        "pod-cidrs",
        "follow",
        "masquerade",
        "non-masquerade-cidrs",
        "node-name",
        "kubeconfig",
        "context",
      ),
      ...pick(OPTIONS, "timeout"),
      listen: {
        ...OPTIONS.listen,
        needs: { options: ["follow"], problem: "requires --follow" },
        help: "serve /livez, /readyz, /metrics; default ADDRESS: 127.0.0.1",
      },
      ...pick(OPTIONS, "output"),
    },
  },
  "routes remove": {
    summary: "remove all routes that cni-node set, and its masquerade",
    examples: ["routes remove", "routes remove --output=json"],
    options: pick(OPTIONS, "output"),
  },
  "network add": {
    summary: "add a container to a network, and print the result",
    operands: CONTAINER,
    examples: ["network add mynet web --new", "network add mynet docker:web --output=text"],
    options: {
      ...pick(NETWORK_OPTIONS, "file"),
      ifname: { ...OPTIONS.ifname, otherwise: "the next free ethN" },
      ...pick(NETWORK_OPTIONS, "container-id", "args", "capability-args", "new", "allow-default-route", ...WHERE),
      ...pick(NETWORK_OPTIONS, "lock-timeout", "plugin-timeout", "trace"),
      output: { type: OPTIONS.output.type, otherwise: "the result of the plugins", help: OPTIONS.output.help },
    },
  },
  "network check": {
    summary: "ask the plugins whether an attachment is as it should be",
    operands: CONTAINER,
    examples: ["network check mynet web", "network check mynet pod:default/web"],
    options: pick(NETWORK_OPTIONS, "file", ...ATTACHMENT, ...WHERE, "lock-timeout", ...CALLS),
  },
  "network del": {
    summary: "delete a container's attachment; one that is gone already is not an error",
    operands: CONTAINER,
    examples: ["network del mynet web --delete-netns", "network del mynet docker:web"],
    options: pick(NETWORK_OPTIONS, "file", ...ATTACHMENT, "delete-netns", ...WHERE, "lock-timeout", ...CALLS),
  },
  "network gc": {
    summary: "release attachments that cni-node has added and whose namespace is gone",
    operands: ["[NETWORK]"],
    examples: ["network gc", "network gc mynet --valid=web/eth0"],
    options: {
      ...pick(NETWORK_OPTIONS, "valid", "all", ...WHERE, "oci-config", "lock-timeout", ...CALLS),
      output: LISTED,
    },
  },
  "network status": {
    summary: "ask the plugins of a network whether they are ready",
    operands: ["NETWORK"],
    examples: ["network status mynet", "network status --file=10-mynet.conflist"],
    options: pick(NETWORK_OPTIONS, "file", ...WHERE, ...CALLS),
  },
  "network version": {
    summary: "ask the plugins of a network which versions they support",
    operands: ["NETWORK"],
    examples: ["network version mynet", "network version mynet --output=json"],
    options: pick(NETWORK_OPTIONS, "file", ...WHERE, ...CALLS),
  },
  "network probe": {
    summary: "try whether a network works, by default the one of pods, and leave nothing behind",
    operands: ["[NETWORK]"],
    examples: ["network probe", "network probe mynet --trace"],
    options: pick(NETWORK_OPTIONS, "file", "add", ...WHERE, "lock-timeout", ...CALLS),
  },
  "network list": {
    summary: "list the networks of the node, or the attachments to them",
    examples: ["network list", "network list --attachments"],
    options: { ...pick(NETWORK_OPTIONS, "attachments", ...WHERE), output: LISTED },
  },
  "network show": {
    summary: "print the configuration of a network as it is used, with secrets masked",
    operands: ["NETWORK"],
    examples: ["network show mynet", "network show --file=10-mynet.conflist"],
    options: pick(NETWORK_OPTIONS, "file", "host-root", "config-dir", "cri-socket", "output"),
  },
  "network map": {
    summary: "draw the network of the node: namespaces, interfaces, attachments, and what is wrong",
    examples: ["network map", "network map --output=svg"],
    options: {
      ...pick(NETWORK_OPTIONS, "host-root", "cache-dir"),
      output: { type: choice("text", "json", "yaml", "dot", "svg"), default: "text", help: "format of the map" },
    },
  },
  "engine enable": {
    summary: "add the OCI runtime to docker or podman, and try it; nothing is restarted",
    operands: ["ENGINE"],
    examples: ["engine enable docker", "engine enable podman --prove=false"],
    options: pick(ENGINE_OPTIONS, ...PROGRAM, ...ENGINE_FILES, "take-over", "prove", "probe-image", ...ENGINE_RUN),
  },
  "engine disable": {
    summary: "remove the OCI runtime from docker or podman; all else stays as it is",
    operands: ["ENGINE"],
    examples: ["engine disable docker", "engine disable podman --dry-run"],
    options: pick(ENGINE_OPTIONS, ...PROGRAM, ...ENGINE_FILES, "force", ...ENGINE_RUN),
  },
  "engine status": {
    summary: "report in which ways engines call cni-node, and what is wrong",
    operands: ["[ENGINE]"],
    examples: ["engine status", "engine status docker --output=json"],
    options: pick(ENGINE_OPTIONS, ...PROGRAM, ...ENGINE_FILES, "cdi-dir", "hooks-dir", "output"),
  },
  "engine cdi": {
    summary: "write a CDI specification with a device for each network: --device cni-node.io/net=NAME",
    examples: ["engine cdi", "engine cdi --remove"],
    options: pick(ENGINE_OPTIONS, ...PROGRAM, "cdi-dir", "remove", ...ENGINE_RUN),
  },
  "engine hooks": {
    summary: "write OCI hooks for Podman: --annotation io.cni-node.network=NAME",
    examples: ["engine hooks", "engine hooks --remove"],
    options: pick(ENGINE_OPTIONS, ...PROGRAM, "hooks-dir", "remove", ...ENGINE_RUN),
  },
  list: {
    summary: "list the plugins that can be installed",
    examples: ["list", "list -o wide"],
    options: {
      ...pick(OPTIONS, "plugin-source"),
      output: {
        ...OPTIONS.output,
        type: choice("text", "wide", "json", "yaml"),
        help: "format; wide adds versions and sizes",
      },
    },
  },
  catalogue: {
    summary: "rebuild the plugin catalogue after adding plugins to an image",
    examples: ["catalogue", "catalogue --plugin-source=build/plugins"],
    options: pick(OPTIONS, "plugin-source", "output"),
  },
  completion: {
    summary: "print the completion script of bash, zsh or fish",
    operands: ["SHELL"],
    examples: ["completion bash >/etc/bash_completion.d/cni-node", "completion fish | source"],
    options: {},
  },
  version: {
    summary: "print the version",
    examples: ["version", "version --output=json"],
    options: pick(OPTIONS, "output"),
  },
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
