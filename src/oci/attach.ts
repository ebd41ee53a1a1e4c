/** Adds, checks and deletes the attachments of a container, for the hooks of its runtime. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { PLUGIN_SOURCE } from "../asset.ts";
import type { CachedAttachment } from "../cni/cache.ts";
import { isListName, type NetworkList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { configFiles, loadFile } from "../cni/listing.ts";
import { loadNetwork, readDirectoryListing } from "../cni/load.ts";
import { add, check, del } from "../cni/network.ts";
import { parseIp } from "../cni/ip.ts";
import { upgradeResult, type Result } from "../cni/result.ts";
import { cancellationOf, Failure, Interrupted, reasonOf } from "../errors.ts";
import { lockContainer, recallNetwork, requirePlugins } from "../network/attach.ts";
import { environmentOfPlugins } from "../network/directories.ts";
import { explain, operationFailure } from "../network/failure.ts";
import { inhabitedPath, isReachable, markOf, readMark } from "../network/mark.ts";
import { identityOf, identityOfHost } from "../network/namespace.ts";
import { HELD, type Operator } from "../network/operator.ts";
import { attachmentsOfContainer } from "../network/remembered.ts";
import type { Host } from "../node/host.ts";
import { Deadline } from "../system/deadline.ts";
import { shellWord } from "../system/text.ts";
import type { World } from "../world.ts";
import { DEFAULT_CONFIG_FILE, type OciConfig } from "./config.ts";
import type { Container } from "./container.ts";
import { inWordsOfHooks } from "./hints.ts";
import type { OciLog } from "./log.ts";
import { hasDockersNetwork, isDockers, publishedPorts } from "./published.ts";
import {
  askingAnnotations,
  decidesOnAddresses,
  declares,
  namedNetworks,
  readRequest,
  divideRequest,
  type PortMapping,
  type Request,
  type NetworkRequest,
} from "./request.ts";
import { hasDns, writeResolvConf } from "./resolv.ts";

/** How the hooks operate on networks. */
export interface Hooked {
  config: OciConfig;
  operator: Operator;
  log: OciLog;
  /** Says what is not as it was asked for, and works all the same. */
  warn: (problem: string) => void;
}

/** Engines wait for a hook as long as it takes, and people for an engine. */
const PLUGIN_LIMIT_MS = 120_000;
const LOCK_LIMIT_MS = 300_000;

/** The hooks run where the engine does: that is the host to them. */
export function hookedBy(config: OciConfig, log: OciLog, world: World, warn: Hooked["warn"]): Hooked {
  const { pluginDirs, cacheDir } = config;
  const { signal } = world;
  const caller = { pluginDirs, cacheDir, env: environmentOfPlugins(world.env), timeoutMs: PLUGIN_LIMIT_MS, signal };
  return {
    config,
    log,
    warn: (problem) => {
      log.say("warning", problem);
      warn(problem);
    },
    operator: {
      host: { root: "", wrapper: [] },
      caller,
      pluginSource: PLUGIN_SOURCE,
      lockTimeoutMs: LOCK_LIMIT_MS,
      signal,
      onWait: (what) => {
        log.say("info", `waiting for ${inWordsOfHooks(what)}`);
      },
      onProblem: ({ message }) => {
        log.say("warning", message);
      },
    },
  };
}

/** An attachment that was made. */
interface Added {
  network: NetworkList;
  ifName: string;
  result: Result;
}

/**
 * Adds a container to the networks that it asks for, all or none. What is remembered of an earlier container with the
 * same ID is deleted first; a network that it has already is left as it is. A container that has another network is left
 * alone, unless it asks for one by name.
 *
 * @param names the networks that the hook names.
 * @throws Failure, Interrupted.
 */
export async function addContainer(container: Container, names: string[], hooked: Hooked): Promise<void> {
  const { operator, log, config } = hooked;
  const { host, caller, onProblem } = operator;
  const reason = otherNetworkOf(container);
  if (reason !== undefined) {
    if (namedNetworks(container.spec, names, config.isEnvTrusted).length > 0) throw hasOtherNetwork(container, reason);
    log.say("debug", `container ${container.id} is left alone: it ${reason}`);
    return;
  }
  refuseAnnotations(container, config);
  const request = readRequest(container.spec, names, config.isEnvTrusted);
  const netns = namespaceOf(container, host);
  using _ = await lockContainer(container.id, "", operator);
  const known = attachmentsOfContainer(container.id, caller.cacheDir, onProblem);
  const isAlive = (one: CachedAttachment): boolean => readMark(one) !== undefined && isReachable(one, host);
  const isInside = (one: CachedAttachment): boolean => isAlive(one) && identityOf(one.netns) === identityOf(netns);
  // One without a result was begun by a hook that was killed.
  const present = known.filter((one) => isInside(one) && one.result !== undefined);
  const stuck = new Map<string, Failure>();
  for (const one of known.filter((other) => !present.includes(other) && (!isAlive(other) || isInside(other)))) {
    const failure = await deleteStale(one, isInside(one) ? netns : "", hooked);
    if (failure !== undefined) stuck.set(one.ifName, failure);
  }

  const wanted = networksOf(request, config).filter(({ list, ifName }) => {
    return !present.some((one) => one.networkName === list.name && (ifName ?? one.ifName) === one.ifName);
  });
  const lists = wanted.map(({ list }) => list);
  for (const list of lists) requirePlugins(list, operator);
  const own = settingsFor(lists, request, { container, present, isNamed: names.length > 0 }, hooked);
  const ifNames = interfacesFor(wanted, present, config.ifName);
  const inTheWay = ifNames.map((ifName) => stuck.get(ifName)).find((failure) => failure !== undefined);
  if (inTheWay !== undefined) throw inTheWay;
  const added: Added[] = [];
  try {
    for (const [index, part] of divideRequest(lists, own).entries()) {
      const ifName = ifNames[index] ?? "";
      const result = await addOne(part, { container, netns, ifName }, hooked);
      added.push({ network: part.network, ifName, result });
      if (index === 0) requireGiven(own, added[0] as Added);
    }
  } catch (error) {
    const left: string[] = [];
    for (const { network, ifName } of added.toReversed()) {
      const why = await takeBack(network, { container, netns, ifName }, hooked);
      if (why !== undefined) left.push(`${ifName} of network ${network.name} could not be taken back: ${why}`);
    }
    for (const one of left) log.say("error", `container ${container.id}: ${one}`);
    throw error instanceof Failure && left.length > 0 ? error.extendedBy(left.join("; "), releaseHint(config)) : error;
  }
  for (const { network, ifName, result } of added) {
    const addresses = (result.ips ?? []).map(({ address }) => address).join(", ");
    log.say("info", `container ${container.id}: ${ifName} of network ${network.name} was added: ${addresses}`);
    log.print(JSON.stringify(result));
  }
  applyDns(container, added, log);
}

/** Why the container gets no network from CNI; undefined: it gets one. */
function otherNetworkOf(container: Container): string | undefined {
  if (container.spec.network !== "own") return "has no network namespace of its own";
  return hasDockersNetwork(container) ? "has a network of Docker's" : undefined;
}

function hasOtherNetwork({ id }: Container, why: string): Failure {
  return new Failure({
    code: "oci-request-unsupported",
    subject: `container ${id}`,
    problem: `it asks for a CNI network by name, and ${why}`,
    hint: "start it with --network none",
  });
}

/** Podman gives a container the annotations of its image, too, and nothing tells them from those of who starts it. */
function areAnnotationsTrusted(container: Container, { isAnnotationTrusted }: OciConfig): boolean {
  return askingAnnotations(container.spec).length === 0 || (isAnnotationTrusted ?? isDockers(container));
}

/** @throws Failure `oci-request-untrusted` */
function refuseAnnotations(container: Container, config: OciConfig): void {
  const asking = askingAnnotations(container.spec);
  if (areAnnotationsTrusted(container, config)) return;
  const { file } = config;
  throw new Failure({
    code: "oci-request-untrusted",
    subject: asking.join(", "),
    problem: "annotations do not count here: they may be those of the image",
    hint: `if all images are trusted, write cni_annotations: true into ${file ?? DEFAULT_CONFIG_FILE}; otherwise leave them out, or give them empty if they are the image's`,
  });
}

/** @throws Failure `netns-missing` */
function namespaceOf({ id, pid }: Container, host: Host): string {
  const netns = `/proc/${pid ?? 0}/ns/net`;
  const identity = identityOf(netns);
  if (identity !== undefined && identity !== identityOfHost(host)) return netns;
  throw new Failure({
    code: "netns-missing",
    subject: `container ${id}`,
    problem: "its process is not in a network namespace of its own",
    hint: "the hook belongs to the stage createRuntime",
  });
}

/**
 * After a reboot that nobody saw coming, an engine starts the same container again.
 *
 * @returns why it could not be deleted.
 */
async function deleteStale(attachment: CachedAttachment, netns: string, hooked: Hooked): Promise<Failure | undefined> {
  const { networkName, containerId, ifName } = attachment;
  try {
    await release(attachment, netns, hooked);
    hooked.log.say("info", `container ${containerId}: ${ifName} of network ${networkName} was stale, and is deleted`);
    return undefined;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    hooked.log.say("warning", error.message);
    return error;
  }
}

/** A network that is to be added, and its interface if it is asked for by name. */
interface Wanted {
  list: NetworkList;
  ifName?: string;
}

/** @throws Failure `network-missing`, `config-invalid`; those of a directory that cannot be read. */
function networksOf({ networks }: Pick<Request, "networks">, { confDir }: OciConfig): Wanted[] {
  if (networks === undefined) return [{ list: firstNetwork(confDir) }];
  return networks.map(({ name, ...rest }) => ({ list: loadNetwork(confDir, name), ...rest }));
}

/** The first list by the name of its file, else the first single, as docker-cni takes it. */
function firstNetwork(confDir: string): NetworkList {
  const listing = readDirectoryListing(confDir);
  const files = configFiles(listing);
  const file = files.find(isListName) ?? files[0];
  if (file === undefined) {
    throw new Failure({
      code: "network-missing",
      subject: confDir,
      problem: "there is no network configuration",
      hint: "put one there, or name the directory with cni_conf_dir",
    });
  }
  const loaded = loadFile(file, listing);
  if ("network" in loaded) return loaded.network.list;
  throw new Failure({
    code: "config-invalid",
    subject: join(confDir, file),
    problem: loaded.objection.message,
    hint: "it is the first one of its directory: fix it or move it away, or name another network",
  });
}

/**
 * What of a request is meant for these networks: a container can be added to others by more than one hook.
 *
 * @throws Failure `oci-request-unsupported`
 */
function settingsFor(
  lists: readonly NetworkList[],
  request: Request,
  whose: { container: Container; present: readonly CachedAttachment[]; isNamed: boolean },
  hooked: Hooked,
): Request {
  const { container, present, isNamed } = whose;
  const isOther = lists.length === 0 || present.length > 0;
  const ips = isOther ? [] : addressesOf(request, lists, container, hooked);
  const can = (capability: string): boolean => lists.some((list) => declares(list, capability));
  const isForOthers = (capability: string): boolean => {
    const hasIt = present.some(({ capabilityArgs }) => capability in capabilityArgs);
    return (
      hasIt || lists.length === 0 || (!can(capability) && isNamed && canOthers(capability, lists, container, hooked))
    );
  };
  const { ports, aliases } = request;
  return {
    ...request,
    ips,
    ...(isOther ? { pools: [], mac: undefined } : {}),
    ports: isForOthers("portMappings") ? [] : ports.length > 0 ? ports : portsOf(container, lists, hooked),
    aliases: isForOthers("aliases") ? [] : aliases,
  };
}

/** What a container asks for, unless an image does and the IPAM plugin of the first network would give it any address. */
function addressesOf(
  { ips, isIpOfImage }: Request,
  [first]: readonly NetworkList[],
  { id }: Container,
  { warn }: Hooked,
): readonly string[] {
  if (!isIpOfImage || first === undefined || decidesOnAddresses(first)) return ips;
  const why = `the IPAM plugin of network ${first.name} does not decide which addresses are free`;
  warn(
    `container ${id}: IPV4 of its environment does not count: ${why}; use the annotation io.cni-node.ip or cni_env: true`,
  );
  return [];
}

/** Does another hook add the container to a network that has the capability? */
function canOthers(
  capability: string,
  lists: readonly NetworkList[],
  { spec: { hooked: names } }: Container,
  { config: { confDir } }: Hooked,
): boolean {
  const others = names
    .flatMap((one) => one.split(","))
    .map(nameOf)
    .filter((name) => !lists.some((list) => list.name === name));
  // The one that is called with no network will say it.
  return others.some((name) => name === "" || declaresIfThere(name, confDir, capability));
}

function declaresIfThere(name: string, confDir: string, capability: string): boolean {
  try {
    return declares(loadNetwork(confDir, name), capability);
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}

/**
 * The ports that `docker run` publishes. A network that publishes none is as good as Docker's own `--net none`, which
 * says nothing of it.
 *
 * @throws Failure `oci-request-unsupported` when a network publishes ports, but not these.
 */
function portsOf(container: Container, lists: readonly NetworkList[], { warn }: Hooked): readonly PortMapping[] {
  const { ports, unchosen, isAll } = publishedPorts(container);
  const names = lists.map(({ name }) => name).join(", ");
  if (!lists.some((list) => declares(list, "portMappings"))) {
    const asked = [...ports.map(({ containerPort, protocol }) => `${containerPort}/${protocol}`), ...unchosen];
    if (asked.length > 0 || isAll) {
      const what = asked.join(", ") || "all ports";
      warn(
        `container ${container.id}: ${what} cannot be published: no plugin of network ${names} has the capability portMappings`,
      );
    }
    return [];
  }
  if (unchosen.length > 0) {
    throw new Failure({
      code: "oci-request-unsupported",
      subject: `--publish ${unchosen.join(", ")}`,
      problem: `Docker would choose the port of the host, and the plugins of network ${names} cannot`,
      hint: "publish it with a port of the host: --publish HOSTPORT:PORT",
    });
  }
  if (isAll) warn(`container ${container.id}: --publish-all publishes nothing here: use --publish HOSTPORT:PORT`);
  return ports;
}

/** The first one gets the usual name, the others the next `ethN`. */
function interfacesFor(wanted: readonly Wanted[], present: readonly CachedAttachment[], usual: string): string[] {
  const taken = new Set([...present.map(({ ifName }) => ifName), ...wanted.flatMap(({ ifName }) => ifName ?? [])]);
  return wanted.map((one, index) => {
    if (one.ifName !== undefined) return one.ifName;
    let ifName = usual;
    for (let number = index; taken.has(ifName); number++) ifName = `eth${number}`;
    taken.add(ifName);
    return ifName;
  });
}

/** An interface in a container. */
interface Inside {
  container: Container;
  netns: string;
  ifName: string;
}

async function addOne(
  { network, args, capabilityArgs }: NetworkRequest,
  inside: Inside,
  hooked: Hooked,
): Promise<Result> {
  const { host, caller, signal } = hooked.operator;
  const { container, netns, ifName } = inside;
  const { id: containerId } = container;
  const note = { ...markOf({ text: `oci:${containerId}`, netns, containerId }, identityOf(netns) ?? "", host) };
  const own = { containerId, netns, ifName, args, capabilityArgs, note, keepFailed: true };
  const conf = { ...caller, ...own, lock: HELD, signal };
  try {
    return upgradeResult(await add(network, conf));
  } catch (error) {
    throw asFailure(error, network.name, `container ${containerId} cannot be added as ${ifName}`, hooked);
  }
}

/** Some plugins pass over what they do not know. @throws Failure `oci-request-unsupported` */
function requireGiven({ ips, mac }: Request, { network, ifName, result }: Added): void {
  const given = (result.ips ?? []).map(({ address }) => parseIp(address.split("/")[0] ?? "")?.text);
  const missing = ips.find((ip) => !given.includes(parseIp(ip.split("/")[0] ?? "")?.text));
  const own = result.interfaces?.find(({ name, sandbox }) => name === ifName && sandbox !== undefined)?.mac;
  const isOther = mac !== undefined && own !== undefined && own.toLowerCase() !== mac.toLowerCase();
  if (missing === undefined && !isOther) return;
  throw new Failure({
    code: "oci-request-unsupported",
    subject: `network ${network.name}`,
    problem: `the container asks for ${missing ?? mac ?? ""}, and the plugins gave it ${(missing === undefined ? own : given.join(", ")) ?? "none"}`,
    hint: "choose a network whose plugins can do it (host-local and static can give an address), or leave it out",
  });
}

/** @returns why it could not be: it is still remembered then. */
async function takeBack(
  network: NetworkList,
  { container, netns, ifName }: Inside,
  { operator }: Hooked,
): Promise<string | undefined> {
  const { signal: _givenUp, ...caller } = operator.caller;
  try {
    await del(network, { ...caller, containerId: container.id, netns, ifName, lock: HELD });
    return undefined;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return explain(error, error.message);
  }
}

/** That of the first network that has any. A container without it has a network all the same. */
function applyDns(container: Container, added: readonly Added[], log: OciLog): void {
  const dns = added.map(({ result }) => result.dns ?? {}).find(hasDns);
  if (dns === undefined) return;
  try {
    const objection = writeResolvConf(container, dns);
    if (objection !== undefined) log.say("warning", `container ${container.id}: DNS is not set: ${objection}`);
  } catch (error) {
    log.say("warning", `container ${container.id}: DNS cannot be set: ${reasonOf(error)}`);
  }
}

/**
 * Deletes the attachments of a container as they were made, whatever has become of their configuration.
 *
 * @param names only those networks; empty: all.
 * @throws Failure the first one; the other attachments are deleted all the same. Interrupted.
 */
export async function deleteContainer(container: Container, names: string[], hooked: Hooked): Promise<void> {
  const { operator, log } = hooked;
  using _ = await lockContainer(container.id, "", operator);
  const known = attachmentsOfContainer(container.id, operator.caller.cacheDir, operator.onProblem);
  const meant = known.filter(({ networkName }) => isMeant(networkName, names));
  if (meant.length === 0 && otherNetworkOf(container) === undefined) await deleteForgotten(container, names, hooked);
  const failures: Failure[] = [];
  for (const one of meant.toReversed()) {
    try {
      await release(one, (await inhabitedPath(one, operator.host)) ?? "", hooked);
      log.say("info", `container ${container.id}: ${one.ifName} of network ${one.networkName} was deleted`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      failures.push(error);
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) return;
  first.others = others;
  throw first;
}

/**
 * Deletes the attachments of a container that could not be created, whose runtime has not run its poststop hooks. One of
 * the same ID that is there keeps its own.
 *
 * @throws Failure, Interrupted.
 */
export async function deleteFailed(container: Container, _names: string[], hooked: Hooked): Promise<void> {
  const { host, caller, onProblem } = hooked.operator;
  const known = (): CachedAttachment[] => attachmentsOfContainer(container.id, caller.cacheDir, onProblem);
  // The runtime has killed the container's process, and the kernel takes its time.
  const deadline = new Deadline(DYING_LIMIT_MS);
  while (!deadline.isOver && known().some((one) => isReachable(one, host))) await sleep(DYING_POLL_MS);
  using _ = await lockContainer(container.id, "", hooked.operator);
  for (const one of known()) {
    // Docker has the namespace mounted for a while longer.
    if ((await inhabitedPath(one, host)) === undefined) await release(one, "", hooked);
  }
}

/** So long a process may take to end that was killed. */
const DYING_LIMIT_MS = 2000;
const DYING_POLL_MS = 20;

/** An ADD that was killed may have left something that nothing is remembered of. */
async function deleteForgotten(container: Container, names: string[], hooked: Hooked): Promise<void> {
  const { operator, config, log } = hooked;
  const { id: containerId } = container;
  // It was not added to the networks that they name.
  if (!areAnnotationsTrusted(container, config)) return;
  try {
    const wanted = networksOf(readRequest(container.spec, names, config.isEnvTrusted), config);
    for (const [index, ifName] of interfacesFor(wanted, [], config.ifName).entries()) {
      const { list } = wanted[index] as Wanted;
      await del(list, { ...operator.caller, containerId, ifName, netns: "", lock: HELD });
    }
  } catch (error) {
    if (!(error instanceof CniError) && !(error instanceof Failure)) throw error;
    log.say("debug", `container ${containerId}: nothing is remembered of it: ${error.message}`);
  }
}

/** Deletes an attachment. @throws Failure, Interrupted. */
async function release(attachment: CachedAttachment, netns: string, hooked: Hooked): Promise<void> {
  const { operator, config } = hooked;
  const { networkName, containerId, ifName } = attachment;
  const network = recallNetwork(attachment) ?? loadNetwork(config.confDir, networkName);
  try {
    await del(network, { ...operator.caller, containerId, ifName, netns, lock: HELD });
  } catch (error) {
    throw asFailure(error, networkName, `${ifName} of container ${containerId} cannot be deleted`, hooked);
  }
}

/** Is the network one of those that a hook names, if it names any? */
function isMeant(networkName: string, names: readonly string[]): boolean {
  return names.length === 0 || names.map(nameOf).includes(networkName);
}

/** Without the interface. */
function nameOf(asked: string): string {
  return asked.replace(/@.*$/su, "");
}

/** Asks the plugins about all attachments of a container. @throws Failure, Interrupted. */
export async function checkContainer(container: Container, names: string[], hooked: Hooked): Promise<void> {
  const { operator } = hooked;
  const { id: containerId } = container;
  using _ = await lockContainer(container.id, "", operator);
  const known = attachmentsOfContainer(containerId, operator.caller.cacheDir, operator.onProblem);
  for (const one of known.filter(({ networkName }) => isMeant(networkName, names))) {
    const { networkName, ifName } = one;
    const network = recallNetwork(one) ?? loadNetwork(hooked.config.confDir, networkName);
    try {
      await check(network, { ...operator.caller, containerId, ifName, lock: HELD });
    } catch (error) {
      const attempt = `container ${containerId} does not have ${ifName} as it should`;
      throw asFailure(error, networkName, attempt, hooked);
    }
  }
}

function asFailure(error: unknown, network: string, attempt: string, { operator, config }: Hooked): unknown {
  if (!(error instanceof CniError)) return error;
  if (operator.signal.aborted) return new Interrupted(cancellationOf(operator.signal), "");
  const failure = operationFailure(network, attempt, error);
  return failure.exitCode === 4 ? failure.extendedBy("", releaseHint(config)) : failure;
}

/** What is remembered of an attachment is found by garbage collection. */
function releaseHint({ file }: OciConfig): string {
  const option = file === undefined ? "" : ` --oci-config=${shellWord(file)}`;
  return `fix it, then release what is left: cni-node network gc${option}`;
}
