/** watch: keeps the node as desired until a signal ends it. Every reconcile is a run of `apply` that prunes. */
import { hostname } from "node:os";

import type { ApplyRequest } from "../apply/apply.ts";
import { COMMANDS, type Given } from "../commands.ts";
import { usage, type Failure } from "../errors.ts";
import { resolveDirectories } from "../node/directory.ts";
import { valuesOf } from "../options.ts";
import { describedFailure, endingOfDone, printFailure, printJson, printWarnings } from "../report.ts";
import type { Observer, Reconcile } from "../watch/reconcile.ts";
import { Watcher } from "../watch/watch.ts";
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
  const { kubeconfig, context, spread, nodeName = hostname() } = options;
  const { findAccess } = await import("../cluster/access.ts");
  const [name, namespace] = options.configmap?.split("/").toReversed() ?? [];
  const watcher = new Watcher(
    {
      base,
      configMap: name === undefined ? undefined : { name, namespace },
      find: () => findAccess({ kubeconfig, context, env: world.env }),
      spread,
      node: nodeName,
    },
    [new Log(options, world)],
  );
  await watcher.keep(world.signal);
  return endingOfDone(world.signal, 0);
}

/** What apply would do with the same options, but that it prunes and does not wait. */
async function baseRequest(options: Options, world: World): Promise<ApplyRequest> {
  const all = { ...valuesOf(COMMANDS.apply.options, [], {}), ...options, owner: options.owner ?? "", prune: true };
  const node = await resolveDirectories(directoriesOf(all), all.criSocket, world.signal);
  return requestOf("apply", all, world, node);
}

/** Says what is done and what is wrong, each once. */
class Log implements Observer {
  readonly #options: Options;
  readonly #world: World;
  /** What is wrong now, and was said already. */
  #said = new Set<string>();
  /** The last run succeeded, and said so. */
  #isSettled = false;

  constructor(options: Options, world: World) {
    this.#options = options;
    this.#world = world;
  }

  reconciled(reconcile: Reconcile): void {
    const { failure, duration, causes } = reconcile;
    const how = `${Math.round(duration)} ms, for ${causes.join(", ")}`;
    if (failure === undefined) {
      this.#done(reconcile, how);
      this.#sayAnew(reconcile.findings);
    } else {
      this.#isSettled = false;
      this.troubled(failure, how);
    }
  }

  /** The same failure again and again is said once. */
  troubled(failure: Failure, how?: string): void {
    if (this.#said.has(failure.message)) return;
    if (this.#said.size >= MOST_SAID) this.#said.clear();
    this.#said.add(failure.message);
    printFailure(failure, this.#world);
    if (this.#options.output === "json") {
      const error = describedFailure(failure);
      printJson(this.#world, { command: "watch", result: "failed", exitCode: failure.exitCode, steps: [], error });
    } else if (how !== undefined) this.#world.stdout(`${new Date().toISOString()} failed (${how})\n`);
  }

  /** One line for each that changes something, and for the first one that succeeds. */
  #done({ steps, changed, findings }: Reconcile, how: string): void {
    if (changed.length === 0 && this.#isSettled) return;
    this.#isSettled = true;
    if (this.#options.output === "json") {
      const shown = steps.map(({ action, kind, name, object, outcome, reason }) => {
        return { action, kind, name, object, outcome, reason };
      });
      return printJson(this.#world, {
        command: "watch",
        result: "done",
        exitCode: 0,
        steps: shown,
        warnings: findings,
      });
    }
    const done = changed.map(({ outcome, kind, name, object }) =>
      [outcome, kind, name, object].filter(Boolean).join(" "),
    );
    this.#world.stdout(`${new Date().toISOString()} ${done.join(", ") || "nothing to do"} (${how})\n`);
  }

  /** Says what was not said the last time; what has gone may be said again. */
  #sayAnew(findings: Reconcile["findings"]): void {
    const said = this.#said;
    this.#said = new Set(findings.map(({ path, code }) => `${code} ${path}`));
    printWarnings(
      this.#world,
      findings.filter(({ path, code }) => !said.has(`${code} ${path}`)),
    );
  }
}
