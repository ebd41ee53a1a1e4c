/** What the map of a node is made from: network namespaces, what is in them, and the attachments that are remembered. */
import { setImmediate } from "node:timers/promises";

import type { CachedAttachment } from "../cni/cache.ts";
import { parseIfJson } from "../cni/json.ts";
import { Failure, reasonOf, throwIfInterrupted } from "../errors.ts";
import { isNamespaceGone } from "../node/attachments.ts";
import { pathHere, type Host } from "../node/host.ts";
import { firstNamesIn } from "../system/entries.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { mapOf, MOST, type NodeMap, type ReadAttachment, type ReadNamespace } from "./map.ts";
import { abridge, isReachable, lookForNamespaces, netnsOf, findPresence, readMark, type Namespaces } from "./mark.ts";
import { identityOf, identityOfHost, ipJson, NAMED, netnsOfHost } from "./namespace.ts";
import { addressesOf } from "./precheck.ts";
import { pickRemembered } from "./remembered.ts";

/** So many namespaces are looked into at a time. */
const AT_ONCE = 4;

/**
 * Looks at the node and makes its map.
 *
 * @param onProblem is told of every file of the cache that was left out.
 * @throws Failure `netns-unreadable` where the node's own interfaces cannot be read; as `remembered`.
 */
export async function readMap(
  host: Host,
  cacheDir: string,
  signal: AbortSignal,
  onProblem: (problem: Failure) => void,
): Promise<NodeMap> {
  const there = lookForNamespaces();
  let unread = 0;
  const picked: { brief: CachedAttachment; addresses: string[]; container: string | undefined }[] = [];
  pickRemembered(
    cacheDir,
    (one) => {
      if (picked.length >= MOST.attachments) unread++;
      else picked.push({ brief: abridge(one), addresses: addressesOf(one.result), container: containerOf(one) });
    },
    onProblem,
  );
  const attachments: ReadAttachment[] = [];
  for (const one of picked) {
    // Signals are heard of in between only.
    await setImmediate();
    throwIfInterrupted(signal);
    attachments.push(await attachmentOf(one, host, there));
  }
  const { found, hidden } = namespacesOf(host, there, attachments);
  const namespaces: ReadNamespace[] = [];
  for (let start = 0; start < Math.min(found.length, MOST.namespaces); start += AT_ONCE) {
    throwIfInterrupted(signal);
    const some = found.slice(start, Math.min(start + AT_ONCE, MOST.namespaces));
    namespaces.push(...(await Promise.all(some.map(async (one) => lookAt(one, host)))));
  }
  namespaces.sort((one, other) => ((one.names[0] ?? "") < (other.names[0] ?? "") ? -1 : 1));
  return mapOf(namespaces, attachments, {
    namespaces: hidden + Math.max(0, found.length - MOST.namespaces),
    attachments: unread,
  });
}

/** The pod that a runtime has named, or what TARGET was. */
function containerOf(one: CachedAttachment): string | undefined {
  const args = new Map(one.args);
  const [namespace, name] = [args.get("K8S_POD_NAMESPACE"), args.get("K8S_POD_NAME")];
  return namespace !== undefined && name !== undefined ? `${namespace}/${name}` : readMark(one)?.target;
}

async function attachmentOf(
  { brief, addresses, container }: { brief: CachedAttachment; addresses: string[]; container: string | undefined },
  host: Host,
  there: Namespaces,
): Promise<ReadAttachment> {
  const { networkName: network, containerId, ifName } = brief;
  const mark = readMark(brief);
  const netns = netnsOf(brief);
  const known = await findPresence(brief, host, () => there);
  const isGone = mark === undefined && known === "unknown" && netns !== "" && isNamespaceGone(netns, host.root || "/");
  const identity = isReachable(brief, host) ? identityOf(pathHere(host, netns)) : mark?.identity;
  return {
    network,
    containerId,
    ifName,
    addresses,
    addedBy: mark === undefined ? "others" : "cni-node",
    presence: isGone ? "gone" : known,
    ...(container === undefined ? {} : { container }),
    ...(known === "alive" && identity !== undefined ? { identity } : {}),
  };
}

interface Found {
  identity: string;
  path: string;
  names: string[];
  isHost: boolean;
}

/** The node's own first, then those with attachments, named ones, and those that processes are in. */
function namespacesOf(
  host: Host,
  there: Namespaces,
  attachments: readonly ReadAttachment[],
): { found: Found[]; hidden: number } {
  // What is mounted where something else is mounted by now cannot be entered.
  const paths = new Map(Array.from(there.paths).filter(([identity, path]) => identityOf(path) === identity));
  const own = identityOfHost(host) ?? "";
  const all = new Map<string, Found>([[own, { identity: own, path: netnsOfHost(host), names: [], isHost: true }]]);
  const add = (identity: string, path: string | undefined, name?: string): void => {
    const known = all.get(identity);
    if (known === undefined && path !== undefined) {
      all.set(identity, { identity, path, names: name === undefined ? [] : [name], isHost: false });
    } else if (name !== undefined && known?.isHost === false) known.names.push(name);
  };
  for (const { identity } of attachments) if (identity !== undefined) add(identity, paths.get(identity));
  const directory = pathHere(host, NAMED);
  for (const name of firstNamesIn(directory, MOST.namespaces * 4)) {
    const identity = identityOf(`${directory}/${name}`);
    if (identity !== undefined) add(identity, paths.get(identity) ?? `${directory}/${name}`, name);
  }
  for (const [identity, path] of paths) add(identity, path);
  for (const one of all.values()) if (one.names.length === 0 && !one.isHost) one.names.push(...processOf(one.path));
  const hidden = Array.from(there.paths.keys()).filter((identity) => !all.has(identity)).length;
  return { found: [...all.values()], hidden };
}

/** A namespace without a name is known by a process that is in it. */
function processOf(path: string): string[] {
  const [, pid = ""] = /^\/proc\/(\d+)\//u.exec(path) ?? [];
  try {
    return [`process ${pid}, ${readText(`/proc/${pid}/comm`, SIZE_LIMITS.proc).trim()}`];
  } catch {
    return [];
  }
}

async function lookAt({ identity, path, names, isHost }: Found, host: Host): Promise<ReadNamespace> {
  try {
    const print = async (...words: string[]): Promise<unknown> => parseIfJson(await ipJson(path, host, words));
    const links = await print("-details", "address");
    const [four, six] = [await print("-4", "route"), await print("-6", "route")];
    if (!Array.isArray(links)) throw new Error("ip printed no JSON");
    const routes = [four, six].flatMap((some): unknown[] => (Array.isArray(some) ? some : []));
    return { identity, names, isHost, links, routes };
  } catch (error) {
    const problem = `the network namespace cannot be looked into: ${reasonOf(error)}`;
    if (!isHost) return { identity, names, isHost, problem };
    throw new Failure({
      code: "netns-unreadable",
      subject: path,
      problem,
      hint: "run as root, with nsenter (util-linux) and ip (iproute2) on the host",
    });
  }
}
