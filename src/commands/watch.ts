/** watch: keeps the node as desired until a signal ends it. Every reconcile is a run of `apply` that prunes. */
import { apply, type ApplyRequest, type ApplyResult } from "../apply/apply.ts";
import type { Channel } from "../cluster/channel.ts";
import type { ObjectWatch } from "../cluster/watch.ts";
import { COMMANDS, type Given } from "../commands.ts";
import { Failure, Interrupted, usage } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { resolveDirectories } from "../node/directory.ts";
import { valuesOf } from "../options.ts";
import { describedFailure, endingOfDone, printFailure, printJson, printMessage, printWarnings } from "../report.ts";
import type { Desired } from "../watch/desired.ts";
import { desiredIn } from "../watch/desired.ts";
import { DirectoryWatch } from "../watch/directory.ts";
import { Driver, SUPERSEDED, type Outcome } from "../watch/driver.ts";
import type { Ending, World } from "../world.ts";
import { requestOf } from "./apply.ts";
import { directoriesOf } from "./directories.ts";

type Options = Given<"watch">;

/** More different failures in a row are said again. */
const MOST_SAID = 100;

/** Keeps the node as desired; ends by the signal. */
export async function runWatch(options: Options, world: World): Promise<Ending> {
  if (options.owner === undefined) {
    throw usage("--owner", "is missing: watch removes what that owner holds and no longer desires");
  }
  const base = await baseRequest(options, world);
  const isGiven = Object.keys(base.lists).length > 0;
  if (isGiven === (options.configmap !== undefined)) {
    const problem = isGiven
      ? "says what is desired, and so do --plugins, --configs and --manifests"
      : "is missing, or one of --plugins, --configs and --manifests";
    throw usage("--configmap", problem, "give one of both");
  }
  using resources = new DisposableStack();
  const watch = new Watch(base, options, world);
  await watch.follow(resources);
  return endingOfDone(world.signal, 0);
}

/** What apply would do with the same options, but that it prunes and does not wait. */
async function baseRequest(options: Options, world: World): Promise<ApplyRequest> {
  const all = { ...valuesOf(COMMANDS.apply.options, [], {}), ...options, owner: options.owner ?? "", prune: true };
  const node = await resolveDirectories(directoriesOf(all), all.criSocket, world.signal);
  return requestOf("apply", all, world, node);
}

/** What is followed, and what was said about it. */
class Watch {
  readonly #base: ApplyRequest;
  readonly #options: Options;
  readonly #world: World;
  readonly #driver: Driver;
  readonly #directories: DirectoryWatch[] = [];
  #configMap: { watch: ObjectWatch; name: string } | undefined;
  /** What is wrong now, and was said already. */
  #said = new Set<string>();
  /** The last run succeeded, and said so. */
  #isSettled = false;

  constructor(base: ApplyRequest, options: Options, world: World) {
    this.#base = base;
    this.#options = options;
    this.#world = world;
    this.#driver = new Driver(async (signal, causes) => this.#reconcile(signal, causes));
  }

  /** Follows everything until the world's signal comes. Watches come before the first look. */
  async follow(resources: DisposableStack): Promise<void> {
    const { sources, manifests, directories } = this.#base;
    const wanted = [sources.plugin, sources.config, manifests.source];
    const onNode = Object.values(directories).flatMap(({ path, more }) => [path, ...more]);
    for (const path of new Set(wanted)) this.#watchDirectory(path, "desired", resources);
    for (const path of new Set(onNode)) this.#watchDirectory(path, "node", resources);
    const following = this.#options.configmap === undefined ? undefined : this.#followConfigMap(resources);
    if (following === undefined) this.#driver.wake("desired", "start");
    const ended = new Promise<void>((resolve) => {
      if (this.#world.signal.aborted) resolve();
      this.#world.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    // Nothing else need keep the process.
    const alive = setInterval(() => undefined, 2 ** 31 - 1);
    try {
      await Promise.race([ended, following ?? ended]);
    } finally {
      clearInterval(alive);
      await this.#driver.stop(this.#world.signal.reason);
    }
    await following;
  }

  #watchDirectory(path: string, cause: "desired" | "node", resources: DisposableStack): void {
    this.#directories.push(resources.use(new DirectoryWatch(path, () => this.#driver.wake(cause, path))));
  }

  async #followConfigMap(resources: DisposableStack): Promise<void> {
    const [{ findAccess }, { Channel }, { ObjectWatch, CONFIG_MAPS }] = await Promise.all([
      import("../cluster/access.ts"),
      import("../cluster/channel.ts"),
      import("../cluster/watch.ts"),
    ]);
    const { kubeconfig, context, configmap = "" } = this.#options;
    const find = (): ReturnType<typeof findAccess> => findAccess({ kubeconfig, context, env: this.#world.env });
    const channel: Channel = resources.use(new Channel(find));
    const [name = "", namespace = find().namespace] = configmap.split("/").toReversed();
    const identity = { apiVersion: "v1", kind: "ConfigMap", namespace, name };
    const subject = `ConfigMap ${namespace}/${name}`;
    const watch = new ObjectWatch(channel, identity, CONFIG_MAPS, () => {
      if (watch.trouble !== undefined) this.#sayOnce(watch.trouble);
      if (watch.known !== undefined) this.#driver.wake("desired", subject);
    });
    this.#configMap = { watch, name: subject };
    await watch.follow(this.#world.signal);
  }

  /** One line for each that changes something or fails, and for the first one that succeeds. */
  async #reconcile(signal: AbortSignal, causes: readonly string[]): Promise<Outcome> {
    const begin = performance.now();
    const after = (): string => `${Math.round(performance.now() - begin)} ms, for ${causes.join(", ")}`;
    try {
      const { lists, notes } = this.#desired();
      const result = await apply({ ...this.#base, lists }, signal);
      const changed = result.steps.filter(({ outcome }) => ["created", "configured", "deleted"].includes(outcome));
      this.#report(result, changed, after());
      this.#sayAnew([...result.warnings, ...this.#findings()], notes);
      return { result: "done", changed: changed.map(({ kind, name, object }) => [kind, name, object].join(" ")) };
    } catch (error) {
      if (error instanceof Interrupted) {
        return { result: signal.reason === SUPERSEDED ? "superseded" : "failed" };
      }
      if (!(error instanceof Failure)) throw error;
      this.#isSettled = false;
      this.#sayOnce(error, after());
      return { result: "failed" };
    }
  }

  /** @throws Failure `desired-missing`, `desired-invalid`. */
  #desired(): Desired {
    if (this.#configMap === undefined) return { lists: this.#base.lists, notes: [] };
    return desiredIn(this.#configMap.watch.known?.object, this.#configMap.name);
  }

  #findings(): Finding[] {
    const fights = this.#driver.fights.map(({ asset, repairs }) =>
      warning(
        "asset-fought-over",
        asset,
        `was repaired ${repairs} times, and changed again each time: it is repaired more rarely now`,
        "find who changes it; Cilium renames the configurations of others unless its cni.exclusive is false",
      ),
    );
    return [...fights, ...this.#directories.flatMap(({ finding }) => finding ?? [])];
  }

  #report({ steps, warnings }: ApplyResult, changed: ApplyResult["steps"], how: string): void {
    if (changed.length === 0 && this.#isSettled) return;
    this.#isSettled = true;
    if (this.#options.output === "json") {
      const shown = steps.map(({ action, kind, name, object, outcome, reason }) => {
        return { action, kind, name, object, outcome, reason };
      });
      return printJson(this.#world, { command: "watch", result: "done", exitCode: 0, steps: shown, warnings });
    }
    const done = changed.map(({ outcome, kind, name, object }) =>
      [outcome, kind, name, object].filter(Boolean).join(" "),
    );
    this.#world.stdout(`${new Date().toISOString()} ${done.join(", ") || "nothing to do"} (${how})\n`);
  }

  /** Says what was not said the last time; what has gone may be said again. */
  #sayAnew(findings: readonly Finding[], notes: readonly string[]): void {
    const said = this.#said;
    this.#said = new Set([...findings.map(({ path, code }) => `${code} ${path}`), ...notes]);
    printWarnings(
      this.#world,
      findings.filter(({ path, code }) => !said.has(`${code} ${path}`)),
    );
    for (const note of notes) if (!said.has(note)) printMessage(this.#world, note);
  }

  /** The same failure again and again is said once. */
  #sayOnce(failure: Failure, how?: string): void {
    if (this.#said.has(failure.message)) return;
    if (this.#said.size >= MOST_SAID) this.#said.clear();
    this.#said.add(failure.message);
    printFailure(failure, this.#world);
    if (this.#options.output === "json") {
      const error = describedFailure(failure);
      printJson(this.#world, { command: "watch", result: "failed", exitCode: failure.exitCode, steps: [], error });
    } else if (how !== undefined) this.#world.stdout(`${new Date().toISOString()} failed (${how})\n`);
  }
}
