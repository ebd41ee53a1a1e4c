/** Adds, checks and deletes attachments for people: with a look at what is there before. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import type { CachedAttachment } from "../cni/cache.ts";
import { leftBehind } from "../cni/cleanup.ts";
import { parseNetworkList, type NetworkList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { findPlugin, type Args } from "../cni/invoke.ts";
import { loadNetwork } from "../cni/load.ts";
import { add, check, del } from "../cni/network.ts";
import { referencesOf } from "../cni/references.ts";
import type { AnyResult } from "../cni/result.ts";
import type { RuntimeConf } from "../cni/runtime.ts";
import { cancellationOf, Failure, Interrupted, throwIfInterrupted } from "../errors.ts";
import { hostPath, seenBelow } from "../system/below.ts";
import { isIdOf, isVisible, shellWord } from "../system/text.ts";
import { networkSubject, operationFailure } from "./failure.ts";
import { isReachable, markOf, netnsOf, findPresence, PRESENCES, presentPath, readMark } from "./mark.ts";
import { identityOf, identityOfHost, lookInto, netnsOfHost, type Interior } from "./namespace.ts";
import { HELD, cacheLock, type Operator } from "./operator.ts";
import { pathHere, type Host } from "../node/host.ts";
import { nextInterface, refuseConflicts } from "./precheck.ts";
import { attachmentsOf, remembered } from "./remembered.ts";
import { requireNamespace, type NetworkTarget } from "./target.ts";

/** What is to be attached. */
export interface WantedAttachment {
  target: NetworkTarget;
  /** If not given: for add the next free `ethN`; else the one that is attached, or `eth0`. */
  ifName?: string | undefined;
  args: Args;
  capabilityArgs: Readonly<Record<string, unknown>>;
  allowDefaultRoute?: boolean;
  /** The container ID was given beside TARGET: nothing else is meant. */
  isIdGiven?: boolean;
}

/** What an operation was about. */
export interface AttachmentResult {
  network: string;
  target: NetworkTarget;
  ifName: string;
}

/**
 * Adds a container to a network.
 *
 * @throws Failure when it cannot be, and nothing has changed; with exit code 4, something has. Interrupted.
 */
export async function attach(
  network: NetworkList,
  wanted: WantedAttachment,
  operator: Operator,
): Promise<AttachmentResult & { result: AnyResult }> {
  const { host, caller, signal } = operator;
  const { target, args, capabilityArgs, allowDefaultRoute = false } = wanted;
  const identity = requireNamespace(target, host);
  refuseHost(identity, target, host);
  requirePlugins(network, operator);
  using _ = await lockContainer(target.containerId, network.name, operator);
  const [inside, outside] = await lookAround(pathHere(host, target.netns), netnsOfHost(host), signal);
  const ifName = wanted.ifName ?? nextInterface(inside);
  const others = remembered(caller.cacheDir, (one) => {
    return one.networkName === network.name && isReachable(one, host);
  });
  refuseConflicts({ network, ifName, args, capabilityArgs, allowDefaultRoute, inside, outside, others });
  throwIfInterrupted(signal);

  const note = { ...markOf(target, identity, host) };
  const { containerId, netns } = target;
  const conf = { ...caller, containerId, netns, ifName, args, capabilityArgs, note, lock: HELD, signal };
  try {
    return { network: network.name, target, ifName, result: await add(network, conf) };
  } catch (error) {
    const isClean = error instanceof CniError && leftBehind(error).length === 0;
    if (signal.aborted && isClean)
      throw new Interrupted(cancellationOf(signal), "; what had been begun was taken back");
    throw asFailure(error, network.name, `container ${containerId} cannot be added as ${ifName}`);
  }
}

/**
 * Checks an attachment.
 *
 * @returns `isChecked` is false if the configuration sets disableCheck.
 * @throws Failure with exit code 3 when a plugin objects. Interrupted.
 */
export async function checkAttached(
  network: NetworkList,
  wanted: WantedAttachment,
  operator: Operator,
): Promise<AttachmentResult & { isChecked: boolean }> {
  const { host, signal } = operator;
  const target = attachedTarget(network.name, wanted, operator);
  using _ = await lockContainer(target.containerId, network.name, operator);
  const { ifName, conf, attachment } = await recallConf(network, { ...wanted, target }, operator);
  if (conf.netns === "") await refuseWithoutNamespace(attachment, target, host);
  try {
    return { network: network.name, target, ifName, isChecked: (await check(network, conf)) === "checked" };
  } catch (error) {
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), " before all plugins had been asked");
    throw asFailure(error, network.name, `container ${target.containerId} does not have ${ifName} as it should`, true);
  }
}

/**
 * Deletes an attachment; one that is gone already is not an error. The plugins are not told a network namespace that is
 * another than the one that it was added to.
 *
 * @returns `wasThere` is false when nothing of it was remembered; the plugins have been called all the same. `left` is
 * what plugins are known to leave without a namespace.
 * @throws Failure, Interrupted.
 */
export async function detach(
  network: NetworkList,
  wanted: WantedAttachment,
  operator: Operator,
): Promise<AttachmentResult & { wasThere: boolean; left: string[] }> {
  const { signal } = operator;
  const target = attachedTarget(network.name, wanted, operator);
  using _ = await lockContainer(target.containerId, network.name, operator);
  const { ifName, conf, attachment } = await recallConf(network, { ...wanted, target }, operator);
  const wasThere = attachment !== undefined;
  try {
    await del(network, conf);
    return {
      network: network.name,
      target,
      ifName,
      wasThere,
      left: wasThere && conf.netns === "" ? leftOf(network) : [],
    };
  } catch (error) {
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), " while it was being deleted: delete it again");
    throw asFailure(error, network.name, `container ${target.containerId} cannot be deleted`);
  }
}

/** What the reference plugins find by what is in the namespace, and leave where that is gone. */
function leftOf({ plugins }: NetworkList): string[] {
  return plugins.flatMap(({ type, ipMasq }) => {
    if (type === "host-device") return ["host-device does not release the address"];
    return ipMasq === true ? [`${type} leaves its masquerading rules`] : [];
  });
}

/**
 * A container that its runtime does not know any more, as we have added it; undefined when nothing is remembered.
 *
 * @throws Failure `target-ambiguous`.
 */
export function recallTarget(network: string, text: string, cacheDir: string): NetworkTarget | undefined {
  const alike = remembered(cacheDir, (one) => {
    const mark = readMark(one);
    return one.networkName === network && mark !== undefined && isIdOf(text, mark.target);
  });
  const exact = alike.filter((one) => readMark(one)?.target === text);
  const found = exact.length > 0 ? exact : alike;
  const ids = [...new Set(found.map(({ containerId }) => containerId))];
  if (ids.length > 1) {
    throw new Failure({
      code: "target-ambiguous",
      subject: text,
      problem: `more than one container of that name has been added to network ${network}: ${ids.join(", ")}`,
      hint: "choose one with --container-id; cni-node network gc releases those that are gone",
    });
  }
  const [{ containerId, netns } = { containerId: "", netns: "" }] = found;
  return containerId === "" ? undefined : { text, netns, containerId };
}

/**
 * The network of that name: as it is configured, else as it was when a container was added.
 *
 * @param memory what a network of that name was, if anything. @param onRecalled is told why it is taken.
 * @throws Failure.
 */
export function networkNamed(
  name: string,
  configDir: string,
  memory: (name: string) => CachedAttachment | undefined,
  onRecalled: (why: Failure) => void,
): NetworkList {
  try {
    return loadNetwork(configDir, name);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const recalled = recallNetwork(memory(name));
    if (recalled === undefined) throw error;
    onRecalled(error);
    return recalled;
  }
}

/** The network as it was when a container was added to it; undefined when that is not remembered. */
export function recallNetwork(attachment: CachedAttachment | undefined): NetworkList | undefined {
  const parsed = attachment && parseNetworkList("cached.conflist", attachment.config);
  return parsed !== undefined && "list" in parsed && parsed.list.plugins.length > 0 ? parsed.list : undefined;
}

/** Waits for others that work on the same container. @throws Failure, Interrupted. */
export async function lockContainer(containerId: string, network: string, operator: Operator): Promise<Disposable> {
  try {
    return await cacheLock(operator).container(containerId);
  } catch (error) {
    throw asFailure(error, network, `container ${containerId} cannot be worked on`);
  }
}

/** Ctrl-C may end what looks before it has a process group of its own. */
async function lookAround(inside: string, outside: string, signal: AbortSignal): Promise<[Interior, Interior]> {
  try {
    return await Promise.all([lookInto(inside), lookInto(outside)]);
  } catch (error) {
    throwIfInterrupted(signal);
    throw error;
  }
}

/**
 * For check and del: the container that was attached. Its namespace may have been called by another name then, or by
 * another program, which makes another container ID of it.
 *
 * @throws Failure `attachment-ambiguous`.
 */
function attachedTarget(
  network: string,
  { target, isIdGiven = false }: WantedAttachment,
  { host, caller }: Operator,
): NetworkTarget {
  if (isIdGiven || attachmentsOf(network, target.containerId, caller.cacheDir).length > 0) return target;
  const identity = identityOf(pathHere(host, target.netns));
  const leadsTo = (path: string): string | undefined => seenBelow(host.root, hostPath(path));
  const found = remembered(caller.cacheDir, (one) => {
    if (one.networkName !== network) return false;
    const netns = netnsOf(one);
    if (identity === undefined) return netns !== "" && leadsTo(netns) === leadsTo(target.netns);
    return isReachable(one, host) && identityOf(pathHere(host, netns)) === identity;
  });
  const [containerId = target.containerId, another] = new Set(found.map((one) => one.containerId));
  if (another === undefined) return { ...target, containerId };
  throw new Failure({
    code: "attachment-ambiguous",
    subject: target.text,
    problem: `it is attached to network ${network} as more than one container: ${found.map((one) => `${one.containerId} (${one.ifName})`).join(", ")}`,
    hint: "choose one with --container-id",
  });
}

/** For check and del: which attachment it is, and how it is told to the plugins. */
async function recallConf(
  network: NetworkList,
  { target, args, capabilityArgs, ifName }: WantedAttachment,
  { host, caller, signal, onProblem }: Operator,
): Promise<{ ifName: string; conf: RuntimeConf; attachment: CachedAttachment | undefined }> {
  const { containerId } = target;
  const known = attachmentsOf(network.name, containerId, caller.cacheDir, onProblem);
  const [only, another] = known;
  if (ifName === undefined && another !== undefined) {
    throw new Failure({
      code: "attachment-ambiguous",
      subject: target.text,
      problem: `it is attached to network ${network.name} more than once: ${known.map((one) => one.ifName).join(", ")}`,
      hint: "choose one with --ifname",
    });
  }
  const name = ifName ?? only?.ifName ?? "eth0";
  const attachment = known.find((one) => one.ifName === name);
  const netns = await presentNetns(attachment, target, host);
  if (netns !== "") refuseHost(identityOf(pathHere(host, netns)), target, host);
  return {
    ifName: name,
    conf: { ...caller, containerId, netns, ifName: name, args, capabilityArgs, lock: HELD, signal },
    attachment,
  };
}

/** Empty when it is gone, or another has its place. Others need not have noted where it was. */
async function presentNetns(
  attachment: CachedAttachment | undefined,
  { netns }: Pick<NetworkTarget, "netns">,
  host: Host,
): Promise<string> {
  if (attachment !== undefined && netnsOf(attachment) !== "") return (await presentPath(attachment, host)) ?? "";
  return identityOf(pathHere(host, netns)) === undefined ? "" : netns;
}

/** Says of it what garbage collection says. */
async function refuseWithoutNamespace(
  attachment: CachedAttachment | undefined,
  target: NetworkTarget,
  host: Host,
): Promise<void> {
  const presence = attachment === undefined ? "gone" : await findPresence(attachment, host);
  if (presence !== "gone") {
    throw new Failure({
      code: "netns-unknown",
      subject: target.text,
      problem: `${PRESENCES[presence]}, and no path is known that surely leads to it`,
      hint: "cni-node network gc keeps the attachment; cni-node network del deletes it",
    });
  }
  requireNamespace(target, host);
  throw new Failure({
    code: "netns-missing",
    subject: target.text,
    problem: "the network namespace that was added is gone, and another one has its place",
    hint: "cni-node network gc releases what it had",
  });
}

/** The host's own network is not a container's: plugins would change and delete its interfaces. */
function refuseHost(identity: string | undefined, { text }: NetworkTarget, host: Host): void {
  if (identity === undefined || identity !== identityOfHost(host)) return;
  throw new Failure({
    code: "netns-of-host",
    subject: text,
    problem: "this is the network of the host itself",
    hint: "a container with a network of its own is needed (no --network=host, no hostNetwork)",
  });
}

/** Throws `Failure`, `plugin-missing`, when a plugin that the network names is not there. */
export function requirePlugins(
  { name, plugins }: NetworkList,
  { caller: { pluginDirs, pluginRoot }, pluginSource }: Pick<Operator, "caller" | "pluginSource">,
): void {
  const types = [...new Set(plugins.flatMap(referencesOf))];
  const missing = types.filter((type) => !type.includes("/") && findPlugin(type, pluginDirs, pluginRoot) === undefined);
  if (missing.length === 0) return;
  throw new Failure({
    code: "plugin-missing",
    subject: networkSubject(name),
    problem: `${pluginDirs.join(", ") || "an empty --plugin-dir"} has no ${few(missing)}`,
    hint: `${howToInstall(missing, pluginSource)}; --plugin-dir names other directories`,
  });
}

function howToInstall(missing: readonly string[], source: string): string {
  const here = missing.filter((type) => isVisible(type) && !/[\s,:]/u.test(type) && existsSync(join(source, type)));
  if (here.length === 0) return `have their installer install them: ${source} here does not have them`;
  const rest = here.length < missing.length ? `; ${source} here does not have the others` : "";
  return `install them: cni-node install --plugins=${shellWord(here.slice(0, FEW).join(","))}${rest}`;
}

const FEW = 10;

/** As many as anybody reads, quoted where that could be something else. */
function few(types: readonly string[]): string {
  const shown = types.slice(0, FEW).map((type) => {
    const start = type.length > 100 ? `${type.slice(0, 100)}…` : type;
    return /^[\w.+-]+…?$/u.test(start) ? start : JSON.stringify(start);
  });
  return types.length > FEW ? `${shown.join(", ")} and ${types.length - FEW} more` : shown.join(", ");
}

function asFailure(error: unknown, network: string, attempt: string, isFinding = false): unknown {
  if (!(error instanceof CniError)) return error;
  const exitCode = isFinding && "reason" in error && error.reason === "exit" ? 3 : 1;
  return operationFailure(network, attempt, error, exitCode);
}
