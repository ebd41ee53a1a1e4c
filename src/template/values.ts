/** The variables of configuration templates: which there are, and how a value is written. Pure. */
import { isJson } from "../system/json.ts";

/** What a variable stands for, by name; in documents and hints. */
export const VARIABLES = {
  NODE_NAME: "the name of the node (`--node-name`)",
  NODE_IP: "the first InternalIP of the Node",
  POD_CIDR: "the first podCIDR of the Node",
  POD_CIDRS: "all podCIDRs of the Node: a list, or in a string separated by commas",
  POD_CIDR_V4: "the first podCIDR of IPv4",
  POD_CIDR_V6: "the first podCIDR of IPv6",
  CLUSTER_CIDR: "the pod network of the cluster, from the ConfigMap kubeadm-config in kube-system",
  SERVICE_HOST: "the host of the Kubernetes API, or of `--credentials-server`",
  SERVICE_PORT: "its port",
  MTU: "the MTU of the interface of the default route; `__MTU.eth1__`: that of eth1",
  KUBECONFIG: "the path of the kubeconfig that `--credentials` of the same run installs",
} as const;

/** The name of one of them. */
export type Variable = keyof typeof VARIABLES;

/** What the installers of others call the same. */
const ALIASES: Readonly<Record<string, Variable>> = {
  // Calico
  KUBERNETES_NODE_NAME: "NODE_NAME",
  KUBERNETES_SERVICE_HOST: "SERVICE_HOST",
  KUBERNETES_SERVICE_PORT: "SERVICE_PORT",
  CNI_MTU: "MTU",
  // Calico, Linkerd
  KUBECONFIG_FILEPATH: "KUBECONFIG",
  // AWS VPC CNI
  NODEIP: "NODE_IP",
};

/** What the installers of others put in these places, unless their environment says otherwise. */
const DEFAULTS: Readonly<Record<string, string>> = {
  // Calico
  LOG_LEVEL: "info",
  LOG_FILE_PATH: "/var/log/calico/cni/cni.log",
  LOG_FILE_MAX_SIZE: "100",
  LOG_FILE_MAX_AGE: "30",
  LOG_FILE_MAX_COUNT: "10",
  DATASTORE_TYPE: "kubernetes",
  CALICO_API_GROUP: "crd.projectcalico.org/v1",
  REQUIRE_MTU_FILE: "false",
  // AWS VPC CNI
  VETHPREFIX: "eni",
  PODSGENFORCINGMODE: "strict",
  RANDOMIZESNAT: "prng",
  PLUGINLOGFILE: "/var/log/aws-routed-eni/plugin.log",
  PLUGINLOGLEVEL: "Debug",
  // In a cluster of IPv4, where pods have no IPv6.
  EGRESSPLUGINENABLED: "false",
  EGRESSPLUGINLOGFILE: "/var/log/aws-routed-eni/egress-v6-plugin.log",
  EGRESSPLUGINIPAMSUBNET: "fd00::ac:00/118",
  EGRESSPLUGINIPAMDST: "::/0",
  EGRESSPLUGINIPAMDATADIR: "/run/cni/v4pd/egress-v6-ipam",
};

/** Where the value of a variable comes from: an environment variable, a text, or the node and its cluster. */
export type ValueSource = { environment: string } | { text: string } | { variable: Variable; ifName?: string };

/**
 * Undefined: the name is not a variable, so it is the name of a file.
 *
 * @param given the environment variables that can be used (`--variables`); they win over everything else.
 */
export function sourceOf(name: string, given: ReadonlySet<string>): ValueSource | undefined {
  if (given.has(name)) return { environment: name };
  // MTU.conf is a file.
  const [, ifName] = /^MTU\.(?!(?:conf|conflist|json)$)(.+)$/u.exec(name) ?? [];
  if (ifName !== undefined) return { variable: "MTU", ifName };
  if (Object.hasOwn(VARIABLES, name)) return { variable: name as Variable };
  if (Object.hasOwn(ALIASES, name)) return { variable: ALIASES[name] as Variable };
  return Object.hasOwn(DEFAULTS, name) ? { text: DEFAULTS[name] as string } : undefined;
}

/** A value as it is written: inside a JSON string, and standing alone. */
export interface Written {
  inString: string;
  alone: string;
}

/** Alone, a value is JSON; in a string, lists are separated by commas. */
export function written(value: string | number | readonly string[]): Written {
  const text = typeof value === "object" ? value.join(",") : String(value);
  return { inString: JSON.stringify(text).slice(1, -1), alone: JSON.stringify(value) };
}

/** A text of an environment is what it says alone, if that is JSON (a number, a list, an object), else a string. */
export function writtenText(text: string): Written {
  return { ...written(text), ...(isJson(text) && { alone: text }) };
}
