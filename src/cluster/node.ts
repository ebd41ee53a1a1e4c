/** What the API says of a node and of the cluster's pod network. */
import { isDeepStrictEqual } from "node:util";

import * as v from "valibot";

import { Failure } from "../errors.ts";
import type { JsonObject } from "./json.ts";
import { Refusal } from "./refusal.ts";
import type { Api } from "./request.ts";
import { apiFailure, CONFIG_MAPS, isAbsent, NODES, pathOf, ruleFor, wrongShape } from "./resource.ts";
import { readYaml } from "./yaml.ts";
import type { Collection } from "./list-watch.ts";

/** The Node, as far as it matters to the node's network. */
export interface FoundNode {
  name: string;
  podCidrs: readonly string[];
  /** Its addresses of type InternalIP. */
  addresses: readonly string[];
  /** When the API server created it, as a timestamp; empty if it does not say. */
  created: string;
}

const KUBEADM = { apiVersion: "v1", kind: "ConfigMap", namespace: "kube-system", name: "kubeadm-config" };

const Node = v.object({
  metadata: v.optional(v.object({ creationTimestamp: v.optional(v.string(), "") }), {}),
  spec: v.optional(v.object({ podCIDR: v.optional(v.string()), podCIDRs: v.optional(v.array(v.string())) }), {}),
  status: v.optional(
    v.object({ addresses: v.optional(v.array(v.object({ type: v.string(), address: v.string() })), []) }),
    {},
  ),
});
const KubeadmConfig = v.object({ data: v.object({ ClusterConfiguration: v.string() }) });
const ClusterConfiguration = v.object({ networking: v.object({ podSubnet: v.string() }) });

/**
 * Reads a Node.
 *
 * @throws Failure `node-missing`, `api-forbidden`, `api-refused`, `answer-invalid` and those of `Api.request`.
 */
export async function readNode(api: Api, name: string): Promise<FoundNode> {
  const response = await api.request({ method: "GET", path: pathOf({ apiVersion: "v1", kind: "Node", name }, NODES) });
  const subject = `Node ${name}`;
  if (isAbsent(response)) {
    throw new Failure({
      code: "node-missing",
      subject,
      problem: "does not exist",
      hint: "the kubelet makes it when it starts; if the node has another name, give it with --node-name",
      passing: "poll",
    });
  }
  const hint = response.status === 403 ? ruleFor(["get"], NODES) : undefined;
  if (response.status !== 200) throw apiFailure(subject, "cannot be read", response, hint);
  const found = v.safeParse(Node, response.body);
  if (!found.success) throw wrongShape(subject, "a Node");
  return foundIn(name, found.output);
}

function foundIn(name: string, { metadata, spec, status }: v.InferOutput<typeof Node>): FoundNode {
  const podCidrs = spec.podCIDRs ?? (spec.podCIDR === undefined ? [] : [spec.podCIDR]);
  const addresses = status.addresses.flatMap(({ type, address }) => (type === "InternalIP" ? [address] : []));
  return {
    name,
    podCidrs: podCidrs.slice(0, MOST_OF_NODE),
    addresses: addresses.slice(0, MOST_OF_NODE),
    created: metadata.creationTimestamp,
  };
}

/** No Node has more networks or addresses than one of each family and some spare ones. */
const MOST_OF_NODE = 16;

/** The networks and addresses of a Node, and nothing else. What is not shaped as a Node has none. */
export function pickNode(name: string, object: JsonObject): FoundNode {
  const found = v.safeParse(Node, object);
  return foundIn(name, found.success ? found.output : v.parse(Node, {}));
}

/** Do they have the same networks and addresses? */
export function isSameNode(a: FoundNode | undefined, b: FoundNode | undefined): boolean {
  return isDeepStrictEqual(a, b);
}

/** All Nodes. */
export const ALL_NODES: Collection<FoundNode> = {
  apiVersion: "v1",
  kind: "Node",
  resource: NODES,
  pick: pickNode,
  isSame: isSameNode,
};

/**
 * The pod network of the cluster, as kubeadm has noted it: `10.244.0.0/16`, or one of each family. Undefined: kubeadm
 * has not.
 *
 * @throws Failure `api-forbidden`, `api-refused` and those of `Api.request`.
 */
export async function readClusterCidrs(api: Api): Promise<readonly string[] | undefined> {
  const response = await api.request({ method: "GET", path: pathOf(KUBEADM, CONFIG_MAPS) });
  if (isAbsent(response)) return undefined;
  const hint = response.status === 403 ? ruleFor(["get"], CONFIG_MAPS, KUBEADM.name) : undefined;
  const subject = "ConfigMap kube-system/kubeadm-config";
  if (response.status !== 200) throw apiFailure(subject, "cannot be read", response, hint);
  const config = v.safeParse(KubeadmConfig, response.body);
  const found = v.safeParse(
    ClusterConfiguration,
    config.success ? yamlOf(config.output.data.ClusterConfiguration) : {},
  );
  return found.success ? found.output.networking.podSubnet.split(",") : undefined;
}

function yamlOf(text: string): unknown {
  try {
    return readYaml(text);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}
