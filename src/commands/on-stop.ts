/** What a process does that is asked to stop: `--on-stop`, of `watch` and of `--pause`. */
import { apply, type ApplyRequest, type ApplyResult } from "../apply/apply.ts";
import { FILE_KINDS, OBJECT_KINDS, type Kind } from "../asset.ts";
import type { Channel } from "../cluster/channel.ts";
import { Failure, usage } from "../errors.ts";
import { warning } from "../finding.ts";
import type { ObjectName } from "../system/name.ts";
import type { StopDecision } from "../watch/on-stop.ts";
import type { StopGuard } from "../watch/stop-guard.ts";
import type { World } from "../world.ts";
import { canBeHeld } from "./directories.ts";

/** The options that say it. */
export interface OnStopOptions {
  onStop: "keep" | "uninstall" | "auto";
  daemonset: ObjectName | undefined;
  nodeName: string | undefined;
  kubeconfig: string | undefined;
  context: string | undefined;
}

/** The API, as a process that stays reaches it. @throws Failure `kubeconfig-invalid`, `no-cluster`. */
export async function openCluster(
  { kubeconfig, context }: Pick<OnStopOptions, "kubeconfig" | "context">,
  { env }: World,
): Promise<{ channel: Channel; namespace: string }> {
  const [{ findAccess }, { Channel: Way }] = await Promise.all([
    import("../cluster/access.ts"),
    import("../cluster/channel.ts"),
  ]);
  const find = (): ReturnType<typeof findAccess> => findAccess({ kubeconfig, context, env });
  return { channel: new Way(find), namespace: find().namespace };
}

/** The name of the DaemonSet and of this node, which `auto` needs. @throws Failure `usage`. */
export function requireOwnDaemonSet({
  onStop,
  daemonset,
  nodeName,
}: OnStopOptions): { object: ObjectName; node: string } | undefined {
  if (onStop !== "auto") return undefined;
  if (daemonset === undefined) throw usage("--on-stop", "auto needs --daemonset: what it looks at when it stops");
  if (nodeName === undefined)
    throw usage("--on-stop", "auto needs --node-name, from the field spec.nodeName of the pod");
  return { object: daemonset, node: nodeName };
}

/** Looks at the DaemonSet from now on, if that is asked for. */
export async function openGuard(
  options: OnStopOptions,
  cluster: { channel: Channel; namespace: string } | undefined,
  signal: AbortSignal,
  say: (text: string, hint: string) => void,
): Promise<StopGuard | undefined> {
  const own = requireOwnDaemonSet(options);
  if (own === undefined || cluster === undefined) return undefined;
  const { StopGuard: Guard } = await import("../watch/stop-guard.ts");
  const { namespace = cluster.namespace, name } = own.object;
  const guard = new Guard(cluster.channel, { namespace, name, node: own.node }, say);
  void guard.begin(signal);
  return guard;
}

/** What stopping means. */
export async function decideOnStop({ onStop }: OnStopOptions, guard: StopGuard | undefined): Promise<StopDecision> {
  if (onStop === "uninstall") return { uninstall: true, because: "--on-stop=uninstall" };
  return guard === undefined ? { uninstall: false, because: "--on-stop=keep" } : guard.decide();
}

/** The request that removes what the owner holds of these kinds. */
function withoutAll(request: ApplyRequest, kinds: readonly Kind[]): ApplyRequest {
  const lists = Object.fromEntries(
    kinds.filter((kind) => canBeHeld(kind, request)).map((kind) => [kind, { desired: [] }]),
  );
  return { ...request, lists, delegate: undefined, chain: undefined, prune: true, wait: 0, drain: 0, dryRun: false };
}

/**
 * Removes everything that the owner holds, the files of the node first: the API, which the objects of manifests need,
 * may be away or know this process no more.
 */
export async function uninstallAll(request: ApplyRequest): Promise<ApplyResult> {
  // The signal has come. What is done now is what it asks for.
  const { signal } = new AbortController();
  const files = await apply(withoutAll(request, FILE_KINDS), signal);
  try {
    const objects = await apply(withoutAll(request, OBJECT_KINDS), signal);
    return {
      steps: [...files.steps, ...objects.steps],
      probes: [],
      warnings: [...files.warnings, ...objects.warnings],
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const left = warning("objects-left", "manifests", `the objects stay in the cluster: ${error.message}`, error.hint);
    return { ...files, warnings: [...files.warnings, ...error.findings, left] };
  }
}
