/** What the operations of a runtime are given, and the rules for it. */
import { DEFAULT_CACHE_DIR, type AttachmentKey } from "./cache.ts";
import type { NetworkList } from "./config.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import type { Args, InvokeOptions } from "./invoke.ts";
import { kernelLock, type Lock } from "./lock.ts";
import { excessOf, fileNameOf, IF_NAME_RULE, isIfName, isName, NAME_RULE } from "./names.ts";
import { isVersion, notVersion } from "./version.ts";

/** How networks are operated on here. `timeoutMs` is the time of each call of a plugin. */
export interface Runtime extends InvokeOptions {
  /** Where plugins are looked for, in this order; plugins get it as CNI_PATH. */
  pluginDirs: readonly string[];
  /** Where the file system of `pluginDirs` is seen here, if `wrapper` leads to another one: `/proc/1/root`. */
  pluginRoot?: string;
  /** Where attachments are remembered, as libcni does. Default: /var/lib/cni. */
  cacheDir?: string;
  /** Default: one of all processes that use this library on `cacheDir`. */
  lock?: Lock;
}

/** Section 3, Attachment Parameters. */
export interface Attachment {
  containerId: string;
  /** The path of the network namespace. For del: "" when it is gone; absent: the one that it was added with. */
  netns?: string;
  ifName: string;
  args?: Args;
  capabilityArgs?: Readonly<Record<string, unknown>>;
  /** For add: what is remembered with it, and found again by `listAttachments`. No plugin sees it. */
  note?: Readonly<Record<string, unknown>>;
  /** For add with a note: what could not be taken back stays remembered, until it is deleted. */
  keepFailed?: boolean;
}

/** An attachment, and how it is operated on here. */
export interface RuntimeConf extends Runtime, Attachment {}

/** What an attachment is known by. Throws `CniError` when the network or the attachment cannot be one. */
export function keyOf(network: NetworkList, { containerId, ifName }: Attachment): AttachmentKey {
  checkNetwork(network);
  checkContainerId(containerId);
  checkIfName(ifName);
  const key = { networkName: network.name, containerId, ifName };
  checkLength(key);
  return key;
}

export function cacheDirOf({ cacheDir = DEFAULT_CACHE_DIR }: Runtime): string {
  return cacheDir;
}

export function lockOf(runtime: Runtime): Lock {
  return runtime.lock ?? kernelLock(cacheDirOf(runtime));
}

/** Throws `CniError` when runtimes may not use the network: configurations are read more laxly. */
export function checkNetwork({ name, cniVersion, plugins }: NetworkList): void {
  const code = ERROR_CODES.invalidNetworkConfig;
  if (name === "") throw new CniError({ code, msg: "the network has no name" });
  if (!isName(name)) {
    throw new CniError({ code, msg: `the network has the name ${JSON.stringify(name)}`, details: NAME_RULE });
  }
  if (!isVersion(cniVersion)) {
    const msg = `network ${name} has the cniVersion ${JSON.stringify(cniVersion)}, ${notVersion(cniVersion)}`;
    throw new CniError({ code, msg });
  }
  if (plugins.length === 0) throw new CniError({ code, msg: `network ${name} has no plugins` });
}

function checkContainerId(containerId: string): void {
  if (containerId === "") throw new CniError({ code: ERROR_CODES.unknownContainer, msg: "CNI_CONTAINERID is empty" });
  if (!isName(containerId)) throw invalidVariable("CNI_CONTAINERID", containerId, NAME_RULE);
}

function checkIfName(ifName: string): void {
  if (!isIfName(ifName)) throw invalidVariable("CNI_IFNAME", ifName, IF_NAME_RULE);
}

/** What cannot be remembered could not be deleted either. */
function checkLength(key: AttachmentKey): void {
  const excess = excessOf(fileNameOf(key));
  if (excess === undefined) return;
  const msg = `CNI_CONTAINERID has ${key.containerId.length} characters, and the network's name ${key.networkName.length}`;
  const details = `with the interface's name they are to be the name of a file in the cache, of ${excess}`;
  throw new CniError({ code: ERROR_CODES.invalidEnvironment, msg, details });
}

/** Throws `CniError` when the network namespace is not given where an operation needs it. */
export function checkNetns({ netns }: Attachment): void {
  if (!netns) throw invalidVariable("CNI_NETNS", netns ?? "", "the path of a network namespace is needed");
}

function invalidVariable(variable: string, value: string, details: string): CniError {
  const msg = `${variable} is ${JSON.stringify(value)}`;
  return new CniError({ code: ERROR_CODES.invalidEnvironment, msg, details });
}
