/** routes, routes sync, routes remove. */
import type { Channel } from "../cluster/channel.ts";
import type { FoundNode } from "../cluster/node.ts";
import type { Given } from "../commands.ts";
import { throwIfInterrupted, type Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import {
  endingOfDone,
  formatOutcomes,
  formatRows,
  printFailure,
  printJson,
  printMessage,
  printWarnings,
} from "../report.ts";
import { Kernel } from "../routes/kernel.ts";
import { Masquerade } from "../routes/masquerade.ts";
import { ipCommandOf, PROTOCOL, type RouteStep } from "../routes/plan.ts";
import { readNetworkOf } from "../routes/prefix.ts";
import { RouteKeeper, readiness } from "../routes/keep.ts";
import { isCarriedOut, look, removeAll, sync, type SyncResult, type Self } from "../routes/sync.ts";
import type { ListenAddress } from "../serve/listen.ts";
import type { Ending, World } from "../world.ts";

type Options = Pick<Given<"routes">, "nodeName" | "podCidrs" | "kubeconfig" | "context" | "timeout">;

/** What has become of a route, by what was done about it. */
const OUTCOMES = {
  add: "created",
  replace: "configured",
  remove: "deleted",
  keep: "unchanged",
  leave: "kept",
} as const;
/** The same of what is only looked at. */
const STATES = { add: "missing", replace: "different", remove: "unneeded", keep: "set", leave: "foreign" } as const;

/** More findings are not said, only counted. */
const MOST_SAID = 100;

/** Prints the routes that this node needs. */
export async function runRoutes(options: Given<"routes">, world: World): Promise<Ending> {
  const { channel, self } = await openAll(options, world);
  using _ = channel;
  const result = await look(await listNodes(channel, options, world), self, world.signal);
  const { steps, findings } = result;
  if (options.output === "commands") {
    // All that are needed, but those of other programs: what is printed sets them on a node that has none.
    const needed = steps.flatMap((step) =>
      step.action === "remove" || step.action === "leave" ? [] : (ipCommandOf({ ...step, action: "replace" }) ?? []),
    );
    world.stdout(needed.map((command) => `ip ${command}\n`).join(""));
  } else report("routes", result, STATES, options.output, world);
  if (options.output !== "json") printFindings(findings, world);
  return endingOfDone(world.signal, 0);
}

/** Sets the routes; with `--follow` it keeps them. */
export async function runSync(options: Given<"routes sync">, world: World): Promise<Ending> {
  const { channel, self: known } = await openAll(options, world);
  using _ = channel;
  const kept = options.nonMasqueradeCidrs ?? [];
  const masquerade = options.masquerade ? { rules: new Masquerade(world.env, world.signal), kept } : undefined;
  const self = { ...known, masquerade };
  if (options.follow) return await follow(channel, self, options, world);
  const result = await sync(await listNodes(channel, options, world), self, world.signal);
  report("routes sync", result, OUTCOMES, options.output, world);
  if (options.output !== "json") printFindings(result.findings, world);
  return endingOfDone(world.signal, exitCodeOf(result));
}

/** Removes what `routes sync` has set. */
export async function runRemove({ output }: Given<"routes remove">, world: World): Promise<Ending> {
  const { env, signal } = world;
  const result = await removeAll(new Kernel(env, signal), new Masquerade(env, signal));
  report("routes remove", result, OUTCOMES, output, world);
  if (output !== "json") printFindings(result.findings, world);
  return endingOfDone(signal, exitCodeOf(result));
}

async function follow(channel: Channel, self: Self, options: Given<"routes sync">, world: World): Promise<Ending> {
  const { output, listen: address } = options;
  let isFirst = true;
  let said = new Set<string>();
  let trouble = "";
  const say = {
    result: (result: SyncResult): void => {
      const changed = result.steps.filter(({ action }) => action !== "keep" && action !== "leave");
      const masqueraded = result.masqueraded.filter(({ state }) => state !== "unchanged");
      if (changed.length > 0 || masqueraded.length > 0 || isFirst) {
        const news = isFirst ? result : { ...result, steps: changed, masqueraded };
        report("routes sync", news, OUTCOMES, output, world);
      }
      isFirst = false;
      // What is wrong is said once, and again only if it was over meanwhile.
      const news = result.findings.filter((finding) => !said.has(textOf(finding)));
      said = new Set(result.findings.map(textOf));
      printFindings(news, world);
    },
    trouble: (failure: Failure | undefined): void => {
      if (failure !== undefined && failure.message !== trouble) printFailure(failure, world);
      trouble = failure?.message ?? "";
    },
  };
  const keeper = new RouteKeeper(channel, self);
  await using _ = address === undefined ? undefined : await listenFor(keeper, address, world);
  await keeper.keep(say, world.signal);
  return endingOfDone(world.signal, 0);
}

/** Serves health and metrics. @throws Failure `listen-failed`. */
async function listenFor(keeper: RouteKeeper, address: ListenAddress, world: World): Promise<AsyncDisposable> {
  const [{ isReady, listen, liveness }, { Metrics }, { BUILD }] = await Promise.all([
    import("../serve/listen.ts"),
    import("../routes/metrics.ts"),
    import("./version.ts"),
  ]);
  const keeping = (): RouteKeeper["keeping"] => keeper.keeping;
  const readyz = readiness(keeping);
  const metrics = new Metrics(keeping, () => isReady({ readyz }), BUILD);
  const listener = await listen(address, { livez: liveness("sync", () => keeping().runningSince), readyz, metrics });
  printMessage(world, `listening on ${listener.address}`);
  return listener;
}

function textOf({ code, path, message }: Finding): string {
  return `${code} ${path} ${message}`;
}

/** The API, and what is known of this node. @throws Failure `kubeconfig-invalid`, `no-cluster`. */
async function openAll(
  { kubeconfig, context, nodeName, podCidrs = [] }: Options,
  world: World,
): Promise<{ channel: Channel; self: Self }> {
  const [{ findAccess }, { Channel: Way }] = await Promise.all([
    import("../cluster/access.ts"),
    import("../cluster/channel.ts"),
  ]);
  const { env, signal } = world;
  const find = (): ReturnType<typeof findAccess> => findAccess({ kubeconfig, context, env });
  const { hostname } = find().server;
  const others = [{ address: hostname.replace(/^\[(.*)\]$/u, "$1"), what: "the address of the API" }];
  const podNetworks = podCidrs.flatMap((cidr) => readNetworkOf(cidr) ?? []);
  return {
    channel: new Way(find),
    self: { nodeName, podNetworks, others, kernel: new Kernel(env, signal), masquerade: undefined, env },
  };
}

/** @throws Failure as `ListWatch.list`; `api-unreachable` also if it takes too long. */
async function listNodes(channel: Channel, { timeout }: Options, { signal }: World): Promise<Iterable<FoundNode>> {
  const [{ ListWatch }, { ALL_NODES }] = await Promise.all([
    import("../cluster/list-watch.ts"),
    import("../cluster/node.ts"),
  ]);
  const limit = AbortSignal.timeout(timeout);
  try {
    const nodes = await new ListWatch(channel, ALL_NODES).list(AbortSignal.any([signal, limit]));
    return nodes.values();
  } catch (error) {
    throwIfInterrupted(signal);
    throw limit.aborted ? channel.lost(new Error(`the Nodes were not listed within ${timeout / 1000} s`)) : error;
  }
}

function exitCodeOf(result: SyncResult): number {
  return isCarriedOut(result) ? 0 : 4;
}

function report(
  command: "routes" | "routes sync" | "routes remove",
  result: SyncResult,
  words: Readonly<Record<RouteStep["action"], string>>,
  output: string,
  world: World,
): void {
  const { steps, masqueraded, findings } = result;
  const rows = steps.map(({ action, route, node }) => ({
    state: words[action],
    destination: route.destination,
    gateway: route.gateway,
    interface: route.ifName,
    node,
  }));
  if (output === "json") {
    const exitCode = command === "routes" ? 0 : exitCodeOf(result);
    const how = exitCode === 0 ? "done" : "partial";
    const rules = command === "routes" ? {} : { masquerade: masqueraded };
    printJson(world, { command, result: how, exitCode, protocol: PROTOCOL, routes: rows, ...rules, findings });
  } else if (rows.length === 0 && masqueraded.length === 0) {
    const none = command === "routes remove" ? "cni-node has set no routes" : noRoutes(result);
    world.stdout(formatRows([[none]], world.view));
  } else {
    world.stdout(
      formatOutcomes(
        [
          ...rows.map(({ state, destination, gateway = "-", interface: name = "-", node = "" }) => {
            return [state, destination, `via ${gateway}`, `dev ${name}`, node] as const;
          }),
          ...masqueraded.map(({ state, family, sources }) => {
            return [state, sources.join(",") || family, "masquerade"] as const;
          }),
        ],
        world.view,
      ),
    );
  }
}

function noRoutes({ isAlone, findings }: SyncResult): string {
  if (isAlone) return "this node needs no routes: there is no other Node";
  const count = findings.length;
  return `no route can be set: see the ${count === 1 ? "warning" : `${count} warnings`}`;
}

function printFindings(findings: readonly Finding[], world: World): void {
  printWarnings(world, findings.slice(0, MOST_SAID));
  if (findings.length > MOST_SAID) printMessage(world, `${findings.length - MOST_SAID} more warnings`);
}
