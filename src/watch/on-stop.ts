/** Whether a process that is asked to stop takes away what it installed (`--on-stop=auto`). Pure. */
import { ruleFor, type Resource } from "../cluster/resource.ts";
import { selects } from "./node-selection.ts";

/** What is to be done, and why, for people. */
export interface StopDecision {
  uninstall: boolean;
  because: string;
  /** What is to be looked at, if it is not known whether this is right. */
  hint?: string;
}

/** What was seen of the DaemonSet: the status of the answer, or why there is none. */
export interface DaemonSetLook {
  status: number | undefined;
  /** Why there is no answer. */
  reason?: string;
  /** A 404 is the word of the API, not that of a load balancer. */
  isAbsent?: boolean;
  object?: unknown;
  /** The node, if the DaemonSet selects nodes; undefined: it is not known. */
  node?: unknown;
}

/** In the paths of the API. */
export const DAEMON_SETS: Resource = { group: "apps", name: "daemonsets", namespaced: true };

/** The DaemonSet that runs this process, and where. */
export interface OwnDaemonSet {
  namespace: string;
  name: string;
  /** The name of this node. */
  node: string;
}

/**
 * What stopping means. In doubt, everything stays: pods would lose their network for nothing.
 *
 * @param wasSeen this process could read its DaemonSet before.
 */
export function decideStop(look: DaemonSetLook, own: OwnDaemonSet, wasSeen: boolean): StopDecision {
  const { status, reason = `HTTP status ${status}`, object, node } = look;
  const which = `DaemonSet ${own.namespace}/${own.name}`;
  if (status === 404 && look.isAbsent === true) {
    return wasSeen
      ? { uninstall: true, because: `${which} is deleted` }
      : keep(`${which} has never been there`, "look at the name and the namespace in --daemonset");
  }
  if (status === 401 && wasSeen) {
    return { uninstall: true, because: `the API does not know this pod's account any more, so ${which} is deleted` };
  }
  if (status === 403 && wasSeen) {
    return { uninstall: true, because: `the right to get ${which} is gone, so it is deleted` };
  }
  if (status === 403) {
    const hint = ruleFor(["get"], DAEMON_SETS, own.name);
    return keep(`${which} cannot be read, so it is not known whether it is deleted`, hint);
  }
  if (status !== 200 || typeof object !== "object" || object === null) {
    return keep(`it is not known whether ${which} is deleted: ${reason}`, UNINSTALL);
  }
  const { metadata, spec } = object as { metadata?: { deletionTimestamp?: unknown }; spec?: unknown };
  if (metadata?.deletionTimestamp !== undefined) return { uninstall: true, because: `${which} is being deleted` };
  const isSelected = selects(spec, own.node, node);
  if (isSelected === false) return { uninstall: true, because: `${which} no longer selects this node` };
  if (isSelected === undefined) return keep(`it is not known whether ${which} selects this node`, UNINSTALL);
  return keep(`${which} is there: another pod follows`);
}

function keep(because: string, hint?: string): StopDecision {
  return { uninstall: false, because, ...(hint !== undefined && { hint }) };
}

const UNINSTALL = "to remove it, run cni-node uninstall --all with this --owner";
