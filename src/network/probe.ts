/** Does a network work? Its plugins are asked, and where that is harmless, a container is added for a moment. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import type { NetworkList, PluginConfig } from "../cni/config.ts";
import { hasCommand } from "../cni/command.ts";
import { CniError } from "../cni/error.ts";
import { PluginError } from "../cni/invoke.ts";
import { isObject } from "../cni/json.ts";
import { status, version } from "../cni/network.ts";
import type { AnyResult } from "../cni/result.ts";
import { cancellationOf, Failure, Interrupted } from "../errors.ts";
import { attach, checkAttached, detach, requirePlugins, type WantedAttachment } from "./attach.ts";
import { collectGone } from "./collect.ts";
import { explain } from "./failure.ts";
import { explainEnd, lookInto, netnsOfHost, removeIdleBridge, runQuietly, HeldNamespace } from "./namespace.ts";
import type { Operator } from "./operator.ts";
import { addressesOf, gatewaysOf } from "./precheck.ts";

/** What was tried, and what came of it. */
export interface ProbeStep {
  step: "version" | "status" | "add" | "check" | "ping" | "del";
  outcome: "done" | "failed" | "skipped";
  /** The plugin that failed. */
  plugin?: string;
  /** What was found, or why not. */
  reason: string;
  /** Something is left that could not be taken back. */
  isLeft?: true;
}

/** Plugins that make an interface in the container, and on the host nothing but what DEL takes away again. */
const HARMLESS = new Set(["bridge", "ptp", "macvlan", "loopback"]);
/** Behind one of those they do nothing without being asked. */
const HARMLESS_BEHIND = new Set(["portmap"]);
const HARMLESS_IPAM = new Set(["host-local", "static"]);

/** What the container IDs of probes begin with. */
const PROBE = "cni-node-probe-";

/**
 * Probes a network: VERSION, STATUS, and ADD, CHECK, a ping of the gateway and DEL in a network namespace that is made
 * for it. After a step that failed nothing more is tried, but for DEL. Nothing of it is left; what earlier probes left
 * that were killed is released first.
 *
 * @param addAnyway ADD also where it is not known to be harmless.
 * @throws Failure when the network cannot be tried at all. Interrupted.
 */
export async function probe(network: NetworkList, addAnyway: boolean, operator: Operator): Promise<ProbeStep[]> {
  const steps: ProbeStep[] = [];
  const isRight = await probePlugins(network, operator, steps);
  refuseSignal(operator);
  if (!isRight) return steps;
  const doubt = addAnyway ? undefined : doubtOf(network);
  if (doubt !== undefined) return [...steps, { step: "add", outcome: "skipped", reason: doubt }];
  await collectGone((one) => one.networkName === network.name && one.containerId.startsWith(PROBE), operator);
  await probeAdd(network, operator, steps);
  if (!steps.some(({ isLeft }) => isLeft)) refuseSignal(operator);
  return steps;
}

/** Asks the plugins. Returns: do all of them answer? */
async function probePlugins(network: NetworkList, operator: Operator, steps: ProbeStep[]): Promise<boolean> {
  const { caller } = operator;
  requirePlugins(network, operator);
  for (const { plugin, supportsNetwork, supportedVersions, error } of await version(network, caller)) {
    if (supportsNetwork) continue;
    const reason =
      (error === undefined ? undefined : explain(error, error.message)) ??
      `it supports ${supportedVersions.join(", ")}, and the network is of ${network.cniVersion}`;
    steps.push({ step: "version", outcome: "failed", plugin, reason });
  }
  if (steps.length > 0) return false;
  steps.push({ step: "version", outcome: "done", reason: `all plugins support ${network.cniVersion}` });
  return attempt(
    "status",
    steps,
    async () => {
      return (await status(network, caller)) === "ready" ? "all plugins are ready" : undefined;
    },
    `STATUS needs CNI 1.1.0; this network is ${network.cniVersion}`,
  );
}

async function probeAdd(network: NetworkList, operator: Operator, steps: ProbeStep[]): Promise<void> {
  await using _ = await noteBridges(network, operator);
  await using scratch = await HeldNamespace.make();
  const containerId = `${PROBE}${randomUUID()}`;
  const target = { text: "probe", netns: scratch.path, containerId };
  const wanted: WantedAttachment = { target, args: [["IgnoreUnknown", "1"]], capabilityArgs: {} };
  let result: AnyResult | undefined;
  const isAdded = await attempt("add", steps, async () => {
    const added = await attach(network, wanted, operator);
    ({ result } = added);
    return [added.ifName, ...addressesOf(added.result)].join(" ");
  });
  if (!isAdded) return;
  try {
    const isChecked = await attempt(
      "check",
      steps,
      async () => check(network, wanted, operator),
      hasCommand("CHECK", network.cniVersion)
        ? "the configuration sets disableCheck"
        : `CHECK needs CNI 0.4.0; this network is ${network.cniVersion}`,
    );
    if (isChecked) await probeGateways(scratch.path, result, operator, steps);
  } finally {
    // Also when a signal has come: what was added is deleted.
    const patient = { ...operator, signal: new AbortController().signal };
    await attempt("del", steps, async () => {
      await detach(network, wanted, patient);
      return "nothing of it is left";
    });
  }
}

/**
 * Whoever is added first makes the bridges of a network. What a probe has made goes with it: a bridge that has lost its
 * last link has no hardware address, and the plugin cannot make a gateway of such a one.
 */
async function noteBridges({ plugins }: NetworkList, { host }: Operator): Promise<AsyncDisposable> {
  const path = netnsOfHost(host);
  const { interfaces } = await lookInto(path);
  const named = plugins.filter(({ type }) => type === "bridge").map(({ bridge }) => bridge || "cni0");
  const missing = named.filter((name) => typeof name === "string").filter((name) => !interfaces.includes(name));
  return {
    [Symbol.asyncDispose]: async () => {
      for (const name of missing) await removeIdleBridge(name, path);
    },
  };
}

async function check(network: NetworkList, wanted: WantedAttachment, operator: Operator): Promise<string | undefined> {
  if (!hasCommand("CHECK", network.cniVersion)) return undefined;
  const { isChecked } = await checkAttached(network, wanted, operator);
  return isChecked ? "all plugins find it as it should be" : undefined;
}

async function probeGateways(
  path: string,
  result: AnyResult | undefined,
  { signal }: Operator,
  steps: ProbeStep[],
): Promise<void> {
  const gateways = result === undefined ? [] : gatewaysOf(result);
  if (gateways.length === 0) steps.push({ step: "ping", outcome: "skipped", reason: "the network has no gateway" });
  for (const gateway of gateways) {
    if (signal.aborted) return;
    steps.push({ step: "ping", ...(await ping(path, gateway, signal)) });
  }
}

/** An address of IPv6 is of no use before it is known that nobody else has it. */
const PING_TRIES = 3;

async function ping(
  path: string,
  address: string,
  signal: AbortSignal,
): Promise<Pick<ProbeStep, "outcome" | "reason">> {
  const words = ["nsenter", `--net=${path}`, "--", "ping", "-c", "1", "-w", "2", address];
  for (let tries = 1; ; tries++) {
    const end = await runQuietly(words, signal);
    if (end.exitCode === 0) return { outcome: "done", reason: `${address} answers` };
    // 127: nsenter did not find it.
    if (end.exitCode === 127) return { outcome: "skipped", reason: "there is no ping in PATH" };
    if (tries === PING_TRIES || signal.aborted) {
      const why = end.exitCode === 1 && end.stderr === "" ? "no answer" : explainEnd("ping", end);
      return { outcome: "failed", reason: `${address} does not answer: ${why}` };
    }
    await sleep(500);
  }
}

/**
 * Does one step, and notes what came of it. Returns: may the next one be tried?
 *
 * @param step returns what was found; undefined: nothing was to be done, because of `skipped`.
 */
async function attempt(
  name: ProbeStep["step"],
  steps: ProbeStep[],
  step: () => Promise<string | undefined>,
  skipped = "",
): Promise<boolean> {
  try {
    const found = await step();
    steps.push({ step: name, outcome: found === undefined ? "skipped" : "done", reason: found ?? skipped });
    return true;
  } catch (error) {
    if (error instanceof Interrupted) return false;
    if (!(error instanceof CniError || error instanceof Failure)) throw error;
    const cause = error instanceof Failure ? error.cause : error;
    const explanation =
      cause instanceof PluginError
        ? { plugin: cause.plugin, reason: explain(cause, [cause.msg, cause.details ?? []].flat().join("; ")) }
        : { reason: error instanceof CniError ? explain(error, error.message) : error.message };
    const isLeft = name === "del" || (error instanceof Failure && error.exitCode === 4);
    steps.push({ step: name, outcome: "failed", ...explanation, ...(isLeft ? { isLeft } : {}) });
    return false;
  }
}

/** Why a real ADD is not known to be harmless. */
function doubtOf({ plugins }: NetworkList): string | undefined {
  const [first, ...behind] = plugins;
  const strange = [
    ...(first === undefined || HARMLESS.has(first.type) ? [] : [first.type]),
    ...behind.flatMap(({ type }) => (HARMLESS_BEHIND.has(type) || HARMLESS.has(type) ? [] : type)),
    ...plugins.flatMap(strangeIpam),
  ];
  return strange.length === 0 ? undefined : `it is not known what ADD does to the host: ${strange.join(", ")}`;
}

function strangeIpam({ ipam }: PluginConfig): string[] {
  const type = isObject(ipam) ? ipam["type"] : undefined;
  return typeof type !== "string" || type === "" || HARMLESS_IPAM.has(type) ? [] : [type];
}

function refuseSignal({ signal }: Operator): void {
  if (signal.aborted) throw new Interrupted(cancellationOf(signal), "; nothing of the probe is left");
}
