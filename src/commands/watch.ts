/** watch: keeps the node as desired until a signal ends it. Every reconcile is a run of `apply` that prunes. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";

import type { ApplyRequest } from "../apply/apply.ts";
import { COMMANDS, type Given } from "../commands.ts";
import { usage } from "../errors.ts";
import { resolveDirectories } from "../node/directory.ts";
import { valuesOf } from "../options.ts";
import { endingOfDone } from "../report.ts";
import { openLog, type Log } from "../watch/log.ts";
import type { Observer } from "../watch/reconcile.ts";
import { Watcher, type Cluster } from "../watch/watch.ts";
import type { Ending, World } from "../world.ts";
import { requestOf } from "./apply.ts";
import { directoriesOf } from "./directories.ts";

type Options = Given<"watch">;

/** Keeps the node as desired; ends by the signal. */
export async function runWatch(options: Options, world: World): Promise<Ending> {
  if (options.owner === undefined) {
    throw usage("--owner", "is missing: watch removes what that owner holds and no longer desires");
  }
  // It computes little, and stays: what it runs often need not be compiled to machine code (2 MiB less).
  setFlagsFromString("--no-sparkplug");
  const base = await baseRequest(options, world);
  const isGiven = Object.keys(base.lists).length > 0;
  if (isGiven === (options.configmap !== undefined)) {
    const problem = isGiven
      ? "says what is desired, and so do --plugins, --credentials, --configs and --manifests"
      : "is missing, or one of --plugins, --credentials, --configs and --manifests";
    throw usage("--configmap", problem, "give one of both");
  }
  await using resources = new AsyncDisposableStack();
  const log = await openLog(world, { output: options.output, format: options.logFormat });
  const observers: Observer[] = [log];
  const cluster = await clusterOf(options, world, resources);
  const { configmap, configTemplates = [], manifestTemplates = [], spread, nodeName = hostname() } = options;
  const [name, namespace] = configmap?.split("/").toReversed() ?? [];
  const watcher = new Watcher(
    {
      base: { ...base, onWait: (what) => log.message(`waiting for ${what}`) },
      cluster,
      access: await accessOf(options, base),
      configMap: name === undefined ? undefined : { name, ...(namespace !== undefined && { namespace }) },
      configTemplates,
      manifestTemplates,
      spread,
      node: nodeName,
    },
    observers,
  );
  await listenIfAsked(options, watcher, observers, log, resources);
  await reportEvents(options, world, cluster, observers, log, resources);
  await watcher.keep(world.signal);
  return endingOfDone(world.signal, 0);
}

/** What apply would do with the same options, but that it prunes and does not wait. */
async function baseRequest(options: Options, world: World): Promise<ApplyRequest> {
  const all = { ...valuesOf(COMMANDS.apply.options, [], {}), ...options, owner: options.owner ?? "", prune: true };
  const node = await resolveDirectories(directoriesOf(all), all.criSocket, world.signal);
  const request = requestOf("apply", all, world, node);
  return { ...request, credentials: { ...request.credentials, isKept: true } };
}

/** Where the API's address and authority are, if credentials may have to follow them. */
async function accessOf({ kubeconfig, configmap }: Options, { lists }: ApplyRequest): Promise<string[]> {
  if (lists.credentials === undefined && configmap === undefined) return [];
  const { SERVICE_ACCOUNT } = await import("../cluster/access.ts");
  const files = kubeconfig === undefined ? [join(SERVICE_ACCOUNT, "ca.crt")] : kubeconfig.split(delimiter);
  return files.filter((file) => existsSync(file)).map((file) => dirname(resolve(file)));
}

/** The API, if something of it is followed, or if it is known that it is the one of this node. */
async function clusterOf(
  options: Options,
  world: World,
  resources: AsyncDisposableStack,
): Promise<Cluster | undefined> {
  const { kubeconfig, context, configmap, configTemplates, manifestTemplates, events, nodeName } = options;
  const isFollowed = (configmap ?? configTemplates ?? manifestTemplates) !== undefined;
  const isOfNode = world.env["KUBERNETES_SERVICE_HOST"] !== undefined;
  if (!isFollowed && !(events && isOfNode && nodeName !== undefined)) return undefined;
  const [{ findAccess }, { Channel }] = await Promise.all([
    import("../cluster/access.ts"),
    import("../cluster/channel.ts"),
  ]);
  const find = (): ReturnType<typeof findAccess> => findAccess({ kubeconfig, context, env: world.env });
  return { channel: resources.use(new Channel(find)), namespace: find().namespace };
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
  const [{ listen, isReady }, { Metrics }, { BUILD }] = await Promise.all([
    import("../watch/listen.ts"),
    import("../watch/metrics.ts"),
    import("./version.ts"),
  ]);
  const watching = (): Watcher["watching"] => watcher.watching;
  const metrics = new Metrics(watching, () => isReady(pages), BUILD);
  const pages = { watching, runningSince: () => watcher.runningSince, metrics };
  observers.push(metrics);
  const listener = resources.use(await listen(address, pages));
  log.message(`listening on ${listener.address}`);
}

/** Kubernetes Events on the node and, where POD_NAME and POD_NAMESPACE say it, on the pod. */
async function reportEvents(
  { events, nodeName: node }: Options,
  { env }: World,
  cluster: Cluster | undefined,
  observers: Observer[],
  log: Log,
  resources: AsyncDisposableStack,
): Promise<void> {
  if (!events || cluster === undefined || node === undefined) return;
  const { Events } = await import("../watch/events.ts");
  const { POD_NAME: name, POD_NAMESPACE: namespace, POD_UID: uid } = env;
  const pod = name && namespace ? { name, namespace, ...(uid !== undefined && { uid }) } : undefined;
  const say = (text: string, hint: string): void => log.message(text, hint);
  observers.push(resources.use(new Events({ channel: cluster.channel, node, pod, say })));
}
