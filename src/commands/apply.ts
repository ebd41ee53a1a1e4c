/** install, uninstall, apply and plan: one path, four ways to say what is desired and what is there. */
import { setImmediate } from "node:timers/promises";

import { apply, type ApplyRequest, type ApplyResult } from "../apply/apply.ts";
import { parseLists, parseNames, type Kind, type Lists } from "../apply/asset.ts";
import type { StepResult } from "../apply/plan.ts";
import type { Probed } from "../apply/probe.ts";
import { Failure } from "../errors.ts";
import { resolveDirectories, type NodeDirectories } from "../node/directory.ts";
import { durationOf, isSet, textOf, type OptionTexts } from "../options.ts";
import {
  describedFailure,
  formatSteps,
  printFailure,
  printJson,
  printMessage,
  printWarnings,
  signalEnding,
} from "../report.ts";
import { visibleLines } from "../system/text.ts";
import type { Ending, World } from "../world.ts";
import { directoriesOf, pathOf } from "./directories.ts";

type Verb = "install" | "uninstall" | "apply" | "plan";

/** Runs one of the four: request → call → result. */
export async function runApply(verb: Verb, texts: OptionTexts, world: World): Promise<Ending> {
  const node = await resolveDirectories(directoriesOf(texts), texts["cri-socket"], world.signal);
  const request = { ...requestOf(verb, texts, world, node), ...(await probeOf(texts, world, node)) };
  const result = await apply(request, world.signal);
  // A signal that came while files were changed is delivered with the next turn of the event loop.
  await setImmediate();
  await setImmediate();
  const ending = endingOf(world.signal, isSet(texts, "exit-code") && wouldChange(result) ? 3 : 0);
  await print(verb, request, result, ending.exitCode, texts.output === "json", world);
  if (result.refusal !== undefined) return { exitCode: result.refusal.exitCode };
  if (ending.signal === undefined && isSet(texts, "pause")) await aborted(world.signal);
  return ending;
}

function endingOf({ aborted: isAborted, reason }: AbortSignal, exitCode: number): Ending {
  return isAborted ? signalEnding(reason as NodeJS.Signals) : { exitCode };
}

/** @throws Failure `usage`. */
function requestOf(verb: Verb, texts: OptionTexts, world: World, node: NodeDirectories): ApplyRequest {
  const lists: Partial<Record<Kind, Lists>> = {};
  for (const kind of ["plugin", "config", "manifest"] as const) {
    const text = texts[`${kind}s`];
    const list = text === undefined ? undefined : listsOf(verb, `--${kind}s`, text);
    // An empty value is as good as none, also with --prune: a variable that is not set must not empty a node.
    if (list !== undefined && (list.desired.length > 0 || list.current !== undefined)) lists[kind] = list;
  }
  const { "config-mode": mode, "cri-socket": socket } = texts;
  const request: ApplyRequest = {
    lists,
    owner: textOf(texts, "owner"),
    refresh: isSet(texts, "refresh"),
    prune: isSet(texts, "prune"),
    takeOver: isSet(texts, "take-over"),
    checksum: isSet(texts, "checksum"),
    force: isSet(texts, "force"),
    allowNoNetwork: isSet(texts, "allow-no-network"),
    drain: durationOf(texts, "drain"),
    validate: textOf(texts, "validate") as ApplyRequest["validate"],
    ...(mode === undefined ? {} : { configMode: Number.parseInt(mode, 8) }),
    sources: {
      plugin: pathOf(texts, "plugin-source"),
      config: pathOf(texts, "config-source"),
    },
    manifests: manifestOptions(texts, world.env),
    dryRun: verb === "plan" || isSet(texts, "dry-run"),
    wait: durationOf(texts, "wait"),
    onWait: (what) => {
      printMessage(world, `waiting for ${what}`);
    },
    lockTimeout: durationOf(texts, "lock-timeout"),
    versionLimit: world.versionLimit,
    ...(socket === undefined || socket === "" ? {} : { runtime: { socket, confirm: !isSet(texts, "no-confirm") } }),
    ...node,
  };
  refuseContradictions(texts, request);
  return request;
}

/** What finds the host is loaded where plugins are to act on it. */
async function probeOf(
  texts: OptionTexts,
  world: World,
  { directories: { plugin, config } }: NodeDirectories,
): Promise<Pick<ApplyRequest, "probe">> {
  if (!wantsProbe(texts)) return {};
  const { operatorOf } = await import("./network-options.ts");
  const operator = await operatorOf({ ...texts, "plugin-dir": plugin.path, "config-dir": config.path }, world);
  return { probe: { operator, addAnyway: isSet(texts, "probe-add") } };
}

function wantsProbe(texts: OptionTexts): boolean {
  return isSet(texts, "probe") || isSet(texts, "probe-add");
}

function manifestOptions(texts: OptionTexts, env: World["env"]): ApplyRequest["manifests"] {
  const { variables } = texts;
  return {
    source: pathOf(texts, "manifest-source"),
    env,
    ...(variables === undefined ? {} : { variables }),
    allowUnset: isSet(texts, "allow-unset"),
    nodeName: texts["node-name"] || env["NODE_NAME"] || env["NODE_HOSTNAME"] || undefined,
    kubeconfig: texts.kubeconfig || env["KUBECONFIG"] || undefined,
    context: texts.context,
    forceConflicts: isSet(texts, "force-conflicts"),
    timeout: durationOf(texts, "timeout"),
  };
}

function listsOf(verb: Verb, option: string, text: string): Lists {
  if (verb === "apply" || verb === "plan") return parseLists(option, text);
  if (text.includes(":")) {
    throw usage(option, `${verb} takes one list, without a colon`, "cni-node apply takes DESIRED:CURRENT");
  }
  const names = parseNames(option, text);
  return verb === "install" ? { desired: names } : { desired: [], current: names };
}

function refuseContradictions(texts: OptionTexts, { lists, prune, dryRun }: ApplyRequest): void {
  if (prune && texts.owner === undefined) {
    throw usage("--prune", "needs --owner: it removes what that owner holds and no longer desires");
  }
  if (prune && Object.values(lists).some(({ current }) => current !== undefined)) {
    throw usage("--prune", "goes with DESIRED, not with DESIRED:CURRENT, which says what to remove");
  }
  if (wantsProbe(texts) && dryRun) throw usage("--probe", "goes with a run that changes something, not with --dry-run");
  if (isSet(texts, "trace") && !wantsProbe(texts)) throw usage("--trace", "goes with --probe");
  if (isSet(texts, "exit-code") && !dryRun) throw usage("--exit-code", "goes with plan or --dry-run");
}

function usage(subject: string, problem: string, hint?: string): Failure {
  return new Failure({ code: "usage", subject, problem, exitCode: 2, ...(hint === undefined ? {} : { hint }) });
}

function wouldChange({ steps }: ApplyResult): boolean {
  return steps.some(({ outcome }) => ["created", "configured", "deleted"].includes(outcome));
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
      `${formatSteps([...steps, ...probes.map(probedRow)])}${diffs.map((diff) => (diff === "" ? "" : `\n${visibleLines(diff)}`)).join("")}`,
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

/** Waits for the signal, holding no lock; the timer is what keeps the process. */
async function aborted(signal: AbortSignal): Promise<void> {
  const keepAlive = setInterval(() => undefined, 2 ** 31 - 1);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  clearInterval(keepAlive);
}
