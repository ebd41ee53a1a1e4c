/** watch: keeps the node as desired until a signal ends it. Every reconcile is a run of `apply` that prunes. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";

import type { ApplyRequest } from "../apply/apply.ts";
import { COMMANDS, type Given } from "../commands.ts";
import { Failure, usage } from "../errors.ts";
import { CHANGES } from "../kinds/kind.ts";
import { resolveDirectories } from "../node/directory.ts";
import { valuesOf } from "../options.ts";
import { endingOfDone } from "../report.ts";
import type { Events } from "../watch/events.ts";
import { openLog, type Log } from "../watch/log.ts";
import type { StopDecision } from "../watch/on-stop.ts";
import type { Observer, Reconcile } from "../watch/reconcile.ts";
import { Rest } from "../watch/rest.ts";
import { Watcher, type ClusterAccess } from "../watch/watch.ts";
import type { Ending, World } from "../world.ts";
import { requestOf } from "./apply.ts";
import { directoriesOf } from "./directories.ts";
import { decideOnStop, openGuard, openCluster, requireOwnDaemonSet, uninstallAll } from "./on-stop.ts";

type Options = Given<"watch">;

/** Keeps the node as desired; ends by the signal. */
export async function runWatch(options: Options, world: World): Promise<Ending> {
  if (options.owner === undefined) {
    throw usage("--owner", "is missing: watch removes what that owner holds and no longer desires");
  }
  requireOwnDaemonSet(options);
  const base = await baseRequest(options, world);
  const isGiven = Object.keys(base.lists).length > 0;
  if (
    isGiven ? options.configmap !== undefined : (options.configmap ?? options.delegate ?? options.chain) === undefined
  ) {
    const problem = isGiven
      ? "says what is desired, and so do --plugins, --credentials, --configs and --manifests"
      : "is missing, or one of --plugins, --credentials, --configs, --manifests, --delegate and --chain";
    throw usage("--configmap", problem, "give one of both");
  }
  await using resources = new AsyncDisposableStack();
  const log = await openLog(world, { output: options.output === "text" ? "text" : "json", format: options.logFormat });
  const observers: Observer[] = [log, resources.use(new Rest())];
  const cluster = await connectIfNeeded(options, world, resources);
  const { configmap, configTemplates = [], manifestTemplates = [], spread, nodeName = hostname() } = options;
  const watcher = new Watcher(
    {
      base: { ...base, onWait: (what) => log.message(`waiting for ${what}`) },
      cluster,
      connect: async () => cluster ?? (await connect(options, world, resources)),
      access: await findAccessDirectories(options, base),
      configMap: configmap,
      configTemplates,
      manifestTemplates,
      spread,
      node: nodeName,
    },
    observers,
  );
  await listenIfAsked(options, watcher, observers, log, resources);
  const events = await reportEvents(options, world, cluster, observers, log, resources);
  const guard = await openGuard(options, cluster, world.signal, (text, hint) => log.message(text, hint));
  await watcher.keep(world.signal);
  if (options.onStop === "keep" || watcher.isReplaced) return endingOfDone(world.signal, 0);
  // What listens and writes Events ends afterwards.
  return await stop(await decideOnStop(options, guard), base, { observers, log, events }, world);
}

/** Does what stopping means, and says it. */
async function stop(
  { uninstall, because, hint }: StopDecision,
  base: ApplyRequest,
  { observers, log, events }: { observers: readonly Observer[]; log: Log; events: Events | undefined },
  world: World,
): Promise<Ending> {
  const text = `${uninstall ? "uninstalls" : "keeps what is installed"}: ${because}`;
  log.message(text, hint);
  events?.note({
    type: hint === undefined ? "Normal" : "Warning",
    reason: uninstall ? "UninstallingOnStop" : "KeptOnStop",
    action: "Stop",
    note: text,
  });
  if (!uninstall) return endingOfDone(world.signal, 0);
  const begin = new Date();
  const from = performance.now();
  const report = (result: Omit<Reconcile, "begin" | "duration" | "causes" | "repaired">): void => {
    for (const observer of observers) {
      observer.reconciled({ begin, duration: performance.now() - from, causes: ["stop"], repaired: [], ...result });
    }
  };
  try {
    const { steps, warnings } = await uninstallAll(base);
    report({ steps, changed: steps.filter(({ outcome }) => CHANGES.includes(outcome)), findings: warnings });
    return endingOfDone(world.signal, 0);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    report({ steps: [], changed: [], findings: [...error.findings], failure: error });
    return { exitCode: error.exitCode };
  }
}

/** What apply would do with the same options, but that it prunes and does not wait. */
async function baseRequest(options: Options, world: World): Promise<ApplyRequest> {
  const all = { ...valuesOf(COMMANDS.apply.options, [], {}), ...options, owner: options.owner ?? "", prune: true };
  const node = await resolveDirectories(directoriesOf(all), all.criSocket, world.signal);
  const request = requestOf("apply", all, world, node);
  return { ...request, credentials: { ...request.credentials, isKept: true } };
}

/** Where the API's address and authority are, if credentials may have to follow them. */
async function findAccessDirectories({ kubeconfig, configmap }: Options, { lists }: ApplyRequest): Promise<string[]> {
  if (lists.credentials === undefined && configmap === undefined) return [];
  const { SERVICE_ACCOUNT } = await import("../cluster/access.ts");
  const files = kubeconfig === undefined ? [join(SERVICE_ACCOUNT, "ca.crt")] : kubeconfig.split(delimiter);
  return files.filter((file) => existsSync(file)).map((file) => dirname(resolve(file)));
}

/** The API, if something of it is followed, or if it is known that it is the one of this node. */
async function connectIfNeeded(
  options: Options,
  world: World,
  resources: AsyncDisposableStack,
): Promise<ClusterAccess | undefined> {
  const { configmap, configTemplates, manifestTemplates, events, nodeName, onStop } = options;
  const isFollowed = (configmap ?? configTemplates ?? manifestTemplates) !== undefined || onStop === "auto";
  const isOfNode = world.env["KUBERNETES_SERVICE_HOST"] !== undefined;
  if (!isFollowed && !(events && isOfNode && nodeName !== undefined)) return undefined;
  return connect(options, world, resources);
}

async function connect(options: Options, world: World, resources: AsyncDisposableStack): Promise<ClusterAccess> {
  const { channel, namespace } = await openCluster(options, world);
  return { channel: resources.use(channel), namespace };
}

/** Opens the listener before anything is done to the node. @throws Failure `listen-failed`. */
async function listenIfAsked(
  { listen: address }: Options,
  watcher: Watcher,
  observers: Observer[],
  log: Log,
  resources: AsyncDisposableStack,
): Promise<void> {
  if (address === undefined) return;
  const [{ listen, isReady, liveness }, { readiness, statusPage }, { Metrics }, { BUILD }] = await Promise.all([
    import("../serve/listen.ts"),
    import("../watch/pages.ts"),
    import("../watch/metrics.ts"),
    import("./version.ts"),
  ]);
  const watching = (): Watcher["watching"] => watcher.watching;
  const readyz = readiness(watching);
  const metrics = new Metrics(watching, () => isReady({ readyz }), BUILD);
  const pages = {
    livez: liveness("driver", () => watcher.runningSince),
    readyz,
    metrics,
    statusz: () => statusPage(watching(), new Date()),
  };
  observers.push(metrics);
  const listener = resources.use(await listen(address, pages));
  log.message(`listening on ${listener.address}`);
}

/** Kubernetes Events on the node and, where POD_NAME and POD_NAMESPACE say it, on the pod. */
async function reportEvents(
  { events, nodeName: node }: Options,
  { env }: World,
  cluster: ClusterAccess | undefined,
  observers: Observer[],
  log: Log,
  resources: AsyncDisposableStack,
): Promise<Events | undefined> {
  if (!events || cluster === undefined || node === undefined) return undefined;
  const { Events: Writer } = await import("../watch/events.ts");
  const { POD_NAME: name, POD_NAMESPACE: namespace, POD_UID: uid } = env;
  const pod = name && namespace ? { name, namespace, ...(uid !== undefined && { uid }) } : undefined;
  const say = (text: string, hint: string): void => log.message(text, hint);
  const written = resources.use(new Writer({ channel: cluster.channel, node, pod, say }));
  observers.push(written);
  return written;
}
