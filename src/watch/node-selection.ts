/** Whether a DaemonSet has a pod on a node, as Kubernetes decides it by the labels of the node. Pure. */
import { isObject } from "../cni/json.ts";

/**
 * Does a DaemonSet select a node? `nodeSelector` and the node affinity that is required count; taints do not.
 *
 * @param spec of the DaemonSet. @param name of the node. @param node the object; undefined: it is not known.
 * @returns undefined: it depends on the node, which is not known.
 */
export function selects(spec: unknown, name: string, node: unknown): boolean | undefined {
  const pod = at(spec, "template", "spec");
  const pinned = at(pod, "nodeName");
  if (typeof pinned === "string" && pinned !== "" && pinned !== name) return false;
  const selector = at(pod, "nodeSelector");
  const terms = at(
    pod,
    "affinity",
    "nodeAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
  );
  const wanted = isObject(selector) ? Object.entries(selector) : [];
  if (wanted.length === 0 && !Array.isArray(terms)) return true;
  if (node === undefined) return undefined;
  const found = at(node, "metadata", "labels");
  const labels = new Map(isObject(found) ? Object.entries(found) : []);
  if (wanted.some(([key, value]) => labels.get(key) !== value)) return false;
  return !Array.isArray(terms) || terms.some((term) => matches(term, labels, name));
}

/** A term without any requirement matches nothing. */
function matches(term: unknown, labels: ReadonlyMap<string, unknown>, name: string): boolean {
  const expressions = listAt(term, "matchExpressions");
  const fields = listAt(term, "matchFields");
  const ofNode = new Map([["metadata.name", name]]);
  return (
    expressions.length + fields.length > 0 &&
    expressions.every((one) => meets(one, labels)) &&
    fields.every((one) => meets(one, ofNode))
  );
}

/** The operators of Kubernetes' NodeSelectorRequirement; of an unknown one nothing is taken for granted. */
function meets(requirement: unknown, labels: ReadonlyMap<string, unknown>): boolean {
  const key = at(requirement, "key");
  const value = typeof key === "string" ? labels.get(key) : undefined;
  const values = listAt(requirement, "values");
  switch (at(requirement, "operator")) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return true;
  }
}

function listAt(value: unknown, key: string): unknown[] {
  const found = at(value, key);
  return Array.isArray(found) ? found : [];
}

function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((part, key) => (isObject(part) ? part[key] : undefined), value);
}
