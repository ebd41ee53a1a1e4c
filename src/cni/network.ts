/**
 * Section 3 of the CNI specification, Execution of Network Configurations: what a runtime does with a network and a
 * container. GC is in gc.ts.
 */
import { forget, recall, recallForDelete, refuseSecondAdd, remember } from "./attachment.ts";
import type { AttachmentKey } from "./cache.ts";
import { leftBehind } from "./cleanup.ts";
import { hasCommand } from "./command.ts";
import type { NetworkList, PluginConfig } from "./config.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import { askVersion } from "./invoke.ts";
import { callAdd, callStatus, callWithResult, lookUp } from "./plugin.ts";
import { convertResult, type AnyResult } from "./result.ts";
import { checkNetns, checkNetwork, keyOf, lockOf, type Runtime, type RuntimeConf } from "./runtime.ts";

/**
 * Adding an attachment: ADD to every plugin in the order of the list, each with the result of the one before; the
 * first error ends it. The last result is remembered. When it fails, what was begun is taken back by DEL. With a note,
 * the attachment is remembered before the first ADD, without a result, until there is one, or taking back
 * was tried (`keepFailed`: has succeeded).
 *
 * @returns the last plugin's result, in its own version.
 * @throws CniError, a `PluginError` if a plugin failed; its `cleanup` has what went wrong in taking back.
 */
export async function add(network: NetworkList, conf: RuntimeConf): Promise<AnyResult> {
  const key = keyOf(network, conf);
  checkNetns(conf);
  using _ = await lockOf(conf).container(conf.containerId, conf.signal);
  refuseSecondAdd(conf, key);
  // Who notes something wants to find it again, even if this process is killed before the end.
  const isNoted = conf.note !== undefined;
  if (isNoted) remember(network, conf, key, undefined);

  const begun: PluginConfig[] = [];
  try {
    let result: AnyResult | undefined;
    for (const plugin of network.plugins) {
      lookUp(plugin, conf);
      const prevResult = result && convertResult(result, network.cniVersion);
      begun.push(plugin);
      result = await callAdd(network, plugin, { ...conf, prevResult });
    }
    remember(network, conf, key, result);
    return result as AnyResult;
  } catch (error) {
    const errors = isToBeTakenBack(begun, error) ? await takeBack(network, conf) : [];
    if (!(error instanceof CniError)) throw error;
    error.cleanup.push(...errors);
    if (isNoted && (conf.keepFailed !== true || leftBehind(error).length === 0)) forgetAfter(error, conf, key);
    throw error;
  }
}

/** Nothing is left of what was begun. */
function forgetAfter(error: CniError, conf: RuntimeConf, key: AttachmentKey): void {
  try {
    forget(conf, key);
  } catch (other) {
    if (!(other instanceof CniError)) throw other;
    error.cleanup.push(other);
  }
}

/**
 * Checking an attachment: CHECK to every plugin in the order of the list, each with the result of ADD; the first error
 * ends it. It is checked with the configuration and the arguments that it was added with.
 *
 * @returns `disabled`: `disableCheck` is set, and no plugin was asked.
 * @throws CniError, a `PluginError` if a plugin objects.
 */
export async function check(given: NetworkList, givenConf: RuntimeConf): Promise<"checked" | "disabled"> {
  const key = keyOf(given, givenConf);
  using _ = await lockOf(givenConf).container(givenConf.containerId, givenConf.signal);
  if (!isToBeChecked(given)) return "disabled";
  const { network, conf, result } = recall(given, givenConf, key);
  if (!isToBeChecked(network)) return "disabled";
  if (result === undefined) {
    const msg = `container ${key.containerId} has not been added to network ${key.networkName} as ${key.ifName}`;
    throw new CniError({ code: ERROR_CODES.unknownContainer, msg });
  }
  checkNetns(conf);
  const prevResult = convertResult(result, network.cniVersion);
  for (const plugin of network.plugins) await callWithResult("CHECK", network, plugin, { ...conf, prevResult });
  return "checked";
}

/** Throws `CniError` when the version of the network does not have CHECK. */
function isToBeChecked({ name, cniVersion, disableCheck }: NetworkList): boolean {
  if (hasCommand("CHECK", cniVersion)) return !disableCheck;
  const msg = `network ${name} has cniVersion ${cniVersion}, and CHECK exists since 0.4.0`;
  throw new CniError({ code: ERROR_CODES.incompatibleVersion, msg });
}

/**
 * Deleting an attachment: DEL to every plugin in reverse order, each with the result of ADD; the first error ends it.
 * When all have succeeded, it is forgotten. It is deleted with the configuration and the arguments that it was added
 * with, or with the given ones if they are not remembered: to delete twice is not an error.
 *
 * @throws CniError, a `PluginError` if a plugin failed.
 */
export async function del(network: NetworkList, conf: RuntimeConf): Promise<void> {
  keyOf(network, conf);
  using _ = await lockOf(conf).container(conf.containerId, conf.signal);
  await delLocked(network, conf);
}

/** `del` for who has the lock. */
export async function delLocked(given: NetworkList, givenConf: RuntimeConf): Promise<void> {
  const key = keyOf(given, givenConf);
  const { network, conf, result } = recallForDelete(given, givenConf, key);
  const netns = givenConf.netns ?? conf.netns ?? "";
  for (const plugin of network.plugins.toReversed()) {
    await callWithResult("DEL", network, plugin, { ...conf, netns, prevResult: result });
  }
  forget(conf, key);
}

/**
 * STATUS to every plugin in the order of the list: are they ready for ADD? The first error ends it.
 *
 * @returns `unsupported`: the version of the network does not have STATUS, and no plugin was asked.
 * @throws CniError; a `PluginError` with code 50 or 51 says that a plugin is not available.
 */
export async function status(network: NetworkList, runtime: Runtime): Promise<"ready" | "unsupported"> {
  checkNetwork(network);
  if (!hasCommand("STATUS", network.cniVersion)) return "unsupported";
  for (const plugin of network.plugins) await callStatus(network, plugin, runtime);
  return "ready";
}

/** What a plugin of a network says of its versions. */
export interface PluginVersions {
  plugin: string;
  /** Absent when there is no such plugin. */
  path?: string;
  supportedVersions: string[];
  /** Does it support the version of the network? */
  supportsNetwork: boolean;
  /** Why there is no answer. */
  error?: CniError;
}

/** VERSION to every plugin in the order of the list, and further when one does not answer. */
export async function version(network: NetworkList, runtime: Runtime): Promise<PluginVersions[]> {
  const answers: PluginVersions[] = [];
  for (const plugin of network.plugins) {
    const answer: PluginVersions = { plugin: plugin.type, supportedVersions: [], supportsNetwork: false };
    try {
      answer.path = lookUp(plugin, runtime);
      const { env = process.env } = runtime;
      answer.supportedVersions = await askVersion({ plugin: plugin.type, path: answer.path }, { ...runtime, env });
      answer.supportsNetwork = answer.supportedVersions.includes(network.cniVersion);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      answer.error = error;
    }
    answers.push(answer);
  }
  return answers;
}

/** Not if the only plugin that was called says that there is nothing to be taken back. */
function isToBeTakenBack(begun: readonly PluginConfig[], error: unknown): boolean {
  const isUnknown = error instanceof CniError && error.code === ERROR_CODES.unknownContainer;
  return begun.length > (isUnknown ? 1 : 0);
}

/** So long each plugin has for it, if `timeoutMs` does not say otherwise: nobody is left who could give up. */
const TAKE_BACK_LIMIT_MS = 30_000;

/**
 * "A delete must still be executed even if the add fails." Nobody will ask for it again, so that it goes on after an
 * error; and whoever has given up ADD has not given up this.
 *
 * @returns what went wrong.
 */
async function takeBack(network: NetworkList, conf: RuntimeConf): Promise<CniError[]> {
  const { signal: _givenUp, timeoutMs = TAKE_BACK_LIMIT_MS, ...rest } = conf;
  const errors: CniError[] = [];
  for (const plugin of network.plugins.toReversed()) {
    try {
      await callWithResult("DEL", network, plugin, { ...rest, timeoutMs });
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      errors.push(error);
    }
  }
  return errors;
}
