/** What an attachment was added with is used for it as long as it lives: section 2, CHECK; section 3, Lifecycle. */
import {
  findOccupant,
  isWhole,
  readAttachment,
  removeAttachment,
  writeAttachment,
  type AttachmentKey,
} from "./cache.ts";
import { parseNetworkList, type NetworkList } from "./config.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import { convertResult, type AnyResult } from "./result.ts";
import { cacheDirOf, type RuntimeConf } from "./runtime.ts";
import { isUntrusted } from "./trust.ts";
import { compareVersions, isVersion } from "./version.ts";

/** An attachment as it was added; as it is given, where nothing is remembered. */
export interface Recalled {
  network: NetworkList;
  conf: RuntimeConf;
  /** Of ADD, in its own version. Absent when nothing is remembered. */
  result?: AnyResult | undefined;
}

/**
 * "A runtime should not call ADD twice (without an intervening DEL)": the plugin would refuse, and taking that back
 * would delete the interface that is in use.
 *
 * @throws CniError when the container has that interface from an attachment that is remembered.
 */
export function refuseSecondAdd(conf: RuntimeConf, key: AttachmentKey): void {
  const path = findOccupant(cacheDirOf(conf), key);
  if (path === undefined) return;
  throw new CniError({
    code: ERROR_CODES.invalidEnvironment,
    msg: `CNI_CONTAINERID ${key.containerId} with CNI_IFNAME ${key.ifName} is in use`,
    details: `${path} is of an attachment that has not been deleted`,
  });
}

/** Remembers an attachment; one without a result is begun. Throws `CniError` when it cannot be written. */
export function remember(
  network: NetworkList,
  conf: RuntimeConf,
  key: AttachmentKey,
  result: AnyResult | undefined,
): void {
  const { netns = "", args = [], capabilityArgs = {}, note } = conf;
  writeAttachment(cacheDirOf(conf), { ...key, config: textOf(network), netns, args, capabilityArgs, result, note });
}

/** Throws `CniError` when what is remembered cannot be read. */
export function recall(network: NetworkList, conf: RuntimeConf, key: AttachmentKey): Recalled {
  const cached = readAttachment(cacheDirOf(conf), key);
  if (cached === undefined || !isWhole(cached)) return { network, conf, result: cached?.result };
  const { config, netns, args, capabilityArgs, result } = cached;
  const remembered = { ...conf, args, capabilityArgs, ...(netns === "" ? {} : { netns }) };
  return { network: networkOf(config, network), conf: remembered, result };
}

/**
 * For DEL: what is remembered and cannot be read is forgotten, as libcni does; but not what others may have written. The
 * result is in the version of the network; before 0.4.0 there is none.
 */
export function recallForDelete(network: NetworkList, conf: RuntimeConf, key: AttachmentKey): Recalled {
  try {
    const recalled = recall(network, conf, key);
    const { network: recalledNetwork, result } = recalled;
    const isGiven = result !== undefined && isGivenResult(recalledNetwork);
    return { ...recalled, result: isGiven ? convertResult(result, recalledNetwork.cniVersion) : undefined };
  } catch (error) {
    if (!(error instanceof CniError) || isUntrusted(error)) throw error;
    if (isGivenResult(network)) forget(conf, key);
    return { network, conf };
  }
}

/** Is DEL given the result of ADD in this network's version? */
function isGivenResult({ cniVersion }: NetworkList): boolean {
  return compareVersions(cniVersion, "0.4.0") >= 0;
}

/** Throws `CniError` when it cannot be removed. */
export function forget(conf: RuntimeConf, key: AttachmentKey): void {
  removeAttachment(cacheDirOf(conf), key);
}

/** The given network if it is unchanged: libcni's text of it lacks the plugins that were dropped in beside it. */
function networkOf(config: string, given: NetworkList): NetworkList {
  if (config === given.text) return given;
  const parsed = parseNetworkList("cached.conflist", config);
  if (!("list" in parsed)) return given;
  const { list } = parsed;
  return list.name === given.name && isVersion(list.cniVersion) && list.plugins.length > 0 ? list : given;
}

/** The text of a list, with all of its plugins in it. */
function textOf({ text, name, cniVersion, disableCheck, disableGC, plugins }: NetworkList): string {
  const parsed = parseNetworkList("given.conflist", text);
  if ("list" in parsed && parsed.list.plugins.length === plugins.length) return text;
  return JSON.stringify({ cniVersion, name, disableCheck, disableGC, loadOnlyInlinedPlugins: true, plugins });
}
