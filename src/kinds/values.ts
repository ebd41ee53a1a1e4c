/** What stands for the variables of templates on this node. */
import type { FoundNode } from "../cluster/node.ts";
import { Failure, type Waker } from "../errors.ts";
import { sourceOf, VARIABLES, written, writtenText, type Variable, type Written } from "../template/values.ts";
import { parseShellFormat } from "../template/variables.ts";
import type { Wanted } from "./kind.ts";
import { isTokenFile } from "./lists.ts";

/** Why a variable has no value, for the message about the place where it stands. */
export class NoValue {
  readonly problem: string;
  readonly hint: string | readonly string[];
  /** It may have one soon, from there. */
  readonly passing: Waker | undefined;
  /** What could not be asked. */
  readonly cause: Failure | undefined;

  constructor(problem: string, hint: string | readonly string[], passing?: Waker, cause?: Failure) {
    this.problem = problem;
    this.hint = hint;
    this.passing = passing;
    this.cause = cause;
  }
}

/** What values are made of. */
type About = Pick<Wanted, "lists" | "manifests" | "credentials" | "facts">;

/**
 * Finds the values of those names that are variables. The API is asked only for what needs it.
 *
 * @throws Interrupted
 */
export async function findValues(
  names: Iterable<string>,
  about: About,
  signal: AbortSignal,
): Promise<Map<string, Written | NoValue>> {
  const { variables = "", env } = about.manifests;
  const given = parseShellFormat(variables);
  const values = new Map<string, Written | NoValue>();
  for (const name of new Set(names)) {
    const source = sourceOf(name, given);
    if (source === undefined) continue;
    if ("environment" in source) values.set(name, ofEnvironment(env[source.environment]));
    else if ("text" in source) values.set(name, writtenText(source.text));
    else values.set(name, await orNoValue(FINDERS[source.variable](about, signal, source.ifName)));
  }
  return values;
}

/** Which variables there are, for hints. */
export const KNOWN = `the variables are ${Object.keys(VARIABLES).join(", ")}, PRIMARY, and environment variables that --variables names`;

function ofEnvironment(text: string | undefined): Written | NoValue {
  if (text !== undefined && text !== "") return writtenText(text);
  const problem = `the environment variable is ${text === undefined ? "not set" : "empty"}`;
  return new NoValue(problem, "set it in the environment of cni-node");
}

type Finder = (about: About, signal: AbortSignal, ifName?: string) => Promise<Written | NoValue>;

const FINDERS: Record<Variable, Finder> = {
  NODE_NAME: async ({ facts: { nodeName } }) => Promise.resolve(nodeName === undefined ? UNNAMED : written(nodeName)),
  NODE_IP: ofNode(({ addresses: [first], name }) => {
    if (first !== undefined) return written(first);
    return new NoValue(`Node ${name} has no InternalIP yet`, "the kubelet or the cloud controller sets it", "poll");
  }),
  POD_CIDR: ofNode(({ podCidrs: [first], name }) => (first === undefined ? noPodCidr(name) : written(first))),
  POD_CIDRS: ofNode(({ podCidrs, name }) => (podCidrs.length === 0 ? noPodCidr(name) : written(podCidrs))),
  POD_CIDR_V4: ofNode((node) => podCidrOf(node, "IPv4")),
  POD_CIDR_V6: ofNode((node) => podCidrOf(node, "IPv6")),
  CLUSTER_CIDR: async ({ facts }, signal) => {
    const cidrs = await facts.clusterCidrs(signal);
    if (cidrs !== undefined) return written(cidrs.length === 1 ? (cidrs[0] ?? "") : cidrs);
    const hint = "give it: set CLUSTER_CIDR in the environment, and name it with --variables='$CLUSTER_CIDR'";
    return new NoValue("the cluster has no ConfigMap kube-system/kubeadm-config that names it", hint);
  },
  SERVICE_HOST: async (about) => written((await findServer(about)).hostname.replace(/^\[|\]$/gu, "")),
  SERVICE_PORT: async (about) => {
    const { port, protocol } = await findServer(about);
    return written(Number(port === "" ? (protocol === "http:" ? "80" : "443") : port));
  },
  MTU: async ({ facts }, signal, ifName) => {
    const mtu = await facts.mtu(signal, ifName);
    if (typeof mtu === "number") return written(mtu);
    if (mtu === "unseen") return UNSEEN;
    const problem = ifName === undefined ? "the node has no default route" : `the node has no interface ${ifName}`;
    return new NoValue(problem, "__MTU.eth1__ names another interface", "poll");
  },
  KUBECONFIG: async ({ lists, credentials: { directory } }) => {
    const names = (lists.credentials?.desired ?? []).filter((name) => !isTokenFile(name));
    const [name] = names;
    if (name !== undefined && names.length === 1) return Promise.resolve(written(`${directory}/${name}`));
    const problem = name === undefined ? "this run installs no kubeconfig" : `this run installs ${names.join(", ")}`;
    return Promise.resolve(new NoValue(problem, "name one with --credentials in the same run, or write its path"));
  },
};

const UNNAMED = new NoValue(
  "the name of this node is not known",
  "give it with --node-name, or as NODE_NAME from the field spec.nodeName of the pod; the name of the host may be another one",
);

const UNSEEN = new NoValue("nothing tells that the network that cni-node sees is the node's", [
  "run it with hostPID and privileged, or with hostNetwork, --node-name and the right to get nodes",
  "on the node itself --host-root=/ says so",
  "or give the value: --variables='$MTU'",
]);

function ofNode(value: (node: FoundNode) => Written | NoValue): Finder {
  return async ({ facts }, signal) => {
    const { nodeName } = facts;
    return nodeName === undefined ? UNNAMED : value(await facts.node(nodeName, signal));
  };
}

function noPodCidr(node: string): NoValue {
  const hint =
    "wait for it with --wait=60s; it never comes if kube-controller-manager runs without --allocate-node-cidrs and --cluster-cidr";
  return new NoValue(`Node ${node} has no podCIDR`, hint, "poll");
}

function podCidrOf({ podCidrs, name }: FoundNode, family: "IPv4" | "IPv6"): Written | NoValue {
  if (podCidrs.length === 0) return noPodCidr(name);
  const found = podCidrs.find((cidr) => cidr.includes(":") === (family === "IPv6"));
  if (found !== undefined) return written(found);
  return new NoValue(
    `Node ${name} has no podCIDR of ${family}, only ${podCidrs.join(", ")}`,
    "the cluster is single-stack",
  );
}

async function findServer({ facts, credentials }: About): Promise<URL> {
  return credentials.server === undefined ? facts.server() : new URL(credentials.server);
}

/** What the API refuses, or where it is not, is the reason. */
async function orNoValue(found: Promise<Written | NoValue>): Promise<Written | NoValue> {
  try {
    return await found;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const isPassing = error.passing || error.code === "api-unreachable";
    return new NoValue(error.message, error.hints, isPassing ? "poll" : undefined, error);
  }
}
