/** install, uninstall, apply and plan: one path, four ways to say what is desired and what is there. */
import { setImmediate } from "node:timers/promises";

import { ALL_KINDS, KINDS } from "../asset.ts";
import { apply, type ApplyRequest, type ApplyResult } from "../apply/apply.ts";
import { CHANGES, type StepResult } from "../kinds/kind.ts";
import type { Probed } from "../apply/probe.ts";
import { COMMANDS, type Given } from "../commands.ts";
import { aborted, usage } from "../errors.ts";
import { resolveDirectories, type NodeDirectories } from "../node/directory.ts";
import { NodeFacts } from "../node/facts.ts";
import { NETWORK_OPTIONS, pick, valuesOf } from "../options.ts";
import {
  describedFailure,
  endingOfDone,
  formatSteps,
  printFailure,
  printJson,
  printMessage,
  printWarnings,
  reportFailure,
} from "../report.ts";
import { shownAs } from "../system/below.ts";
import { plain } from "../system/style.ts";
import { visibleLines } from "../system/text.ts";
import type { Ending, World } from "../world.ts";
import { CREDENTIALS, listOf } from "../option-types.ts";
import { canBeHeld, directoriesOf } from "./directories.ts";

type Verb = "install" | "uninstall" | "apply" | "plan";

/** What apply is given, which is all that one of the four is. */
type Options = Given<"apply">;

/** Runs one of the four: request → call → result. What a verb has no option for is as if it were not given. */
export async function runApply(verb: Verb, given: Partial<Options> & { all?: boolean }, world: World): Promise<Ending> {
  const options = { ...valuesOf(COMMANDS.apply.options, [], {}), operands: [], ...given };
  if (options.onStop !== "keep") (await import("./on-stop.ts")).requireOwnDaemonSet(options);
  const node = await resolveDirectories(directoriesOf(options), options.criSocket, world.signal);
  const request = { ...requestOf(verb, options, world, node), ...(await prepareProbe(options, world, node)) };
  const result = await apply(request, world.signal);
  // A signal that came while files were changed is delivered with the next turn of the event loop.
  await setImmediate();
  await setImmediate();
  const ending = endingOfDone(world.signal, options.exitCode && wouldChange(result) ? 3 : 0);
  await print(verb, request, result, ending.exitCode, options.output === "json", world);
  if (result.refusal !== undefined) return { exitCode: result.refusal.exitCode };
  if (ending.signal !== undefined || !options.pause) return ending;
  return (await pause(request, options, world)) ?? ending;
}

/** Stays until the signal comes, and does then what is asked for. @returns how that ends, if it failed. */
async function pause(request: ApplyRequest, options: Options, world: World): Promise<Ending | undefined> {
  if (options.onStop === "keep") {
    await aborted(world.signal);
    return undefined;
  }
  const say = (text: string, hint?: string): void => printMessage(world, text, hint);
  const { decideOnStop, openGuard, openCluster, uninstallAll } = await import("./on-stop.ts");
  const cluster = options.onStop === "auto" ? await openCluster(options, world) : undefined;
  using resources = new DisposableStack();
  if (cluster !== undefined) resources.use(cluster.channel);
  const guard = await openGuard(options, cluster, world.signal, say);
  await aborted(world.signal);
  const { uninstall, because, hint } = await decideOnStop(options, guard);
  say(`${uninstall ? "uninstalls" : "keeps what is installed"}: ${because}`, hint);
  if (!uninstall) return undefined;
  try {
    const { steps, warnings } = await uninstallAll(request);
    printWarnings(world, warnings);
    world.stderr(formatSteps(steps));
    return undefined;
  } catch (error) {
    return reportFailure(error, "uninstall", false, world);
  }
}

/** The same of credentials only, which the operand lists. */
export async function runCredentials(given: Given<"credentials">, world: World): Promise<Ending> {
  const [list] = given.operands;
  if (list === undefined) throw usage("LIST", "is missing", "for example multus.kubeconfig=kube-system/multus");
  return runApply("install", { ...given, credentials: listOf("install", CREDENTIALS).read(list, "LIST") }, world);
}

/** What the options ask of apply. @throws Failure `usage`. */
export function requestOf(
  verb: Verb,
  options: Options & { all?: boolean },
  world: World,
  node: NodeDirectories,
): ApplyRequest {
  const { criSocket, all = false } = options;
  const prune = options.prune || all;
  const given = ALL_KINDS.map((kind) => [kind, options[KINDS[kind].option]] as const);
  // An empty value is as good as none, even with --prune: a variable that is not set must not empty a node.
  const lists = Object.fromEntries(
    given.filter(([, list]) => list !== undefined && (list.desired.length > 0 || list.current !== undefined)),
  ) as ApplyRequest["lists"];
  if (all) for (const kind of ALL_KINDS) if (canBeHeld(kind, node)) lists[kind] ??= { desired: [] };
  if (options.prune && Object.values(lists).some(({ current }) => current !== undefined)) {
    throw usage("--prune", "cannot be used with DESIRED:CURRENT, which says itself what to remove");
  }
  return {
    lists,
    prune,
    ...pick(options, "owner", "refresh", "takeOver", "checksum", "force", "allowNoNetwork", "drain", "validate"),
    ...pick(options, "configMode", "injectPodCidr", "wait", "lockTimeout"),
    ...(options.delegate !== undefined && {
      delegate: {
        ...options.delegate,
        form: options.delegateForm,
        keys: options.delegateKeys,
        hostPath: options.hostConfigPath,
      },
    }),
    ...(options.chain !== undefined && { [verb === "uninstall" ? "unchain" : "chain"]: options.chain }),
    sources: { plugin: options.pluginSource, config: options.configSource },
    manifests: {
      env: world.env,
      source: options.manifestSource,
      ...pick(options, "variables", "allowUnset", "nodeName", "kubeconfig", "context", "forceConflicts", "timeout"),
    },
    credentials: {
      form: options.credentialsForm,
      server: options.credentialsServer,
      lifetime: options.credentialsLifetime,
      directory: shownAs(node.directories.credentials.hostRoot, node.directories.credentials.path),
      isKept: false,
      reviews: new Map(),
    },
    facts: new NodeFacts({
      env: world.env,
      ...pick(options, "nodeName", "kubeconfig", "context", "timeout"),
      ...pick(node.directories.config, "hostRoot", "hostRootNamed"),
    }),
    dryRun: verb === "plan" || options.dryRun,
    standDown: verb === "uninstall",
    onWait: (what) => {
      printMessage(world, `waiting for ${what}`);
    },
    ...(criSocket !== undefined && { runtime: { socket: criSocket, confirm: !options.noConfirm } }),
    ...(world.view?.isSeen === true && { onSlow: (what: string) => printMessage(world, `${what} …`) }),
    versionLimit: world.versionLimit,
    ...node,
  };
}

/** What finds the host is loaded where plugins are to act on it. */
async function prepareProbe(
  options: Options,
  world: World,
  { directories: { plugin, config } }: NodeDirectories,
): Promise<Pick<ApplyRequest, "probe">> {
  if (!options.probe && !options.probeAdd) return {};
  const { prepareOperator } = await import("./network-options.ts");
  const calls = valuesOf(pick(NETWORK_OPTIONS, "plugin-timeout"), [], {});
  const named = { pluginDir: [plugin.path], configDir: config.path };
  return {
    probe: { operator: await prepareOperator({ ...options, ...calls, ...named }, world), addAnyway: options.probeAdd },
  };
}

function wouldChange({ steps }: ApplyResult): boolean {
  return steps.some(({ outcome }) => CHANGES.includes(outcome));
}

async function print(
  command: Verb,
  { dryRun }: ApplyRequest,
  { steps, probes, warnings, refusal }: ApplyResult,
  exitCode: number,
  json: boolean,
  world: World,
): Promise<void> {
  printWarnings(world, warnings);
  const diffs = dryRun ? await diffsOf(steps) : [];
  if (!json) {
    if (refusal !== undefined && steps.length === 0) return printFailure(refusal, world);
    world.stdout(
      `${formatSteps([...steps, ...probes.map(probedRow)], world.view, dryRun)}${diffs.map((diff) => shownDiff(diff, world)).join("")}`,
    );
    if (refusal !== undefined) printFailure(refusal, world);
    else if (dryRun) world.stderr("cni-node: nothing has been changed, this is the plan\n");
    return;
  }
  const shown = steps.map(({ action, kind, name, object, outcome, reason }, index) => {
    const diff = diffs[index] ?? "";
    return { action, kind, name, object, outcome, reason, ...(diff === "" ? {} : { diff }) };
  });
  if (refusal !== undefined) printFailure(refusal, world);
  printJson(world, {
    command,
    ...(refusal === undefined ? { result: "done", exitCode } : { result: "failed", exitCode: refusal.exitCode }),
    ...(dryRun ? { dryRun } : {}),
    steps: shown,
    ...(probes.length === 0 ? {} : { probes }),
    warnings,
    ...(refusal === undefined ? {} : { error: describedFailure(refusal) }),
  });
}

function shownDiff(diff: string, { view }: World): string {
  if (diff === "") return "";
  const paint = view?.paint.stdout ?? plain;
  const lines = visibleLines(diff).replaceAll(/^[+-].*$/gmu, (line) =>
    paint(line.startsWith("+") ? "good" : "bad", line),
  );
  return `\n${lines}`;
}

/** `probed  network  net  version, status, add eth0 10.1.0.2, check, ping 10.1.0.1 answers, del` */
function probedRow({ network, steps }: Probed): Parameters<typeof formatSteps>[0][number] {
  const texts = steps.map(({ step, outcome, reason }) => {
    if (outcome !== "done") return `${step} ${outcome} (${reason})`;
    return step === "add" || step === "ping" ? `${step} ${reason}` : step;
  });
  return { outcome: "probed", kind: "network", name: network, reason: texts.join(", ") };
}

async function diffsOf(steps: readonly StepResult[]): Promise<string[]> {
  if (!steps.some(({ texts }) => texts !== undefined)) return [];
  const { unifiedDiff } = await import("../diff.ts");
  return steps.map(({ name, object, texts }) => {
    return texts === undefined ? "" : unifiedDiff(object ?? name, texts.before, texts.after);
  });
}
