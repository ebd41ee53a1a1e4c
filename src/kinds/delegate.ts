/** The configuration of Multus around the primary (`--delegate`), which needs no template. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { readDirectoryListing } from "../cni/load.ts";
import { loadFile, type DirectoryListing } from "../cni/listing.ts";
import { isObject, parseIfJson, parseJson } from "../cni/json.ts";
import { isConfigName, type PluginConfig } from "../cni/config.ts";
import { compareVersions, isVersion } from "../cni/version.ts";
import { Failure, throwIfInterrupted, type Objections } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { assetsOf } from "../host/record.ts";
import { findPrimary, type NoPrimary, type Primary } from "../node/primary.ts";
import { pathOnNode } from "../system/below.ts";
import { nearestTo } from "../system/nearest.ts";
import { visible } from "../system/text.ts";
import type { Directory, Wanted } from "./kind.ts";
import { isTokenFile, type Lists } from "./lists.ts";
import { readTemplate, Source } from "./source.ts";

/** What is asked for of Multus. */
export interface DelegateOptions {
  /** Only files whose names it matches can be the primary. */
  glob?: string | undefined;
  /** Multus gets the primary's content, or the path of its file (`clusterNetwork`). */
  form: "inline" | "path";
  /** The template that has more keys of Multus. */
  keys?: string | undefined;
  /** The directory of configurations as the host's processes see it, where its place does not say it. */
  hostPath?: string | undefined;
}

/** The names of Multus' configuration, which come first in net.d: for a single plugin, and for a list. */
export const DELEGATE_NAMES = ["00-multus.conf", "00-multus.conflist"] as const;

/** Is it the name of the configuration that is made here? */
export function isDelegateName(name: string): boolean {
  return DELEGATE_NAMES.some((one) => one === name);
}

/**
 * Adds the configuration of Multus to what is desired, as if it had a template: around the primary, in its version. The
 * name depends on that version, so that the file of the other name goes.
 *
 * @param textsOf renders other configurations of the same run: one of them can be the primary.
 * @param objections receives `primary-missing`, `primary-invalid`, `delegate-keys-invalid`, `delegate-kubeconfig`,
 * and what a template has.
 */
export async function withDelegate(
  wanted: Wanted,
  target: Directory | undefined,
  hostRoot: string,
  textsOf: (names: readonly string[]) => Promise<ReadonlyMap<string, string>>,
  objections: Objections,
  signal: AbortSignal,
): Promise<{ wanted: Wanted; warnings: Finding[] }> {
  const { delegate } = wanted;
  if (delegate === undefined || target === undefined) return { wanted, warnings: [] };
  const lists = { ...wanted.lists, config: listsBeside(wanted, target) };
  const changes = await changesBeside(lists.config, wanted, target, textsOf);
  const looked = readDirectoryListing(target.path, changes);
  const hasSettled = await waitToSettle(target.path, delegate, looked, signal);
  const listing = hasSettled ? looked : readDirectoryListing(target.path, changes);
  const made = objections.catch(() => make(wanted, delegate, listing, target, hostRoot));
  if (made === undefined) return { wanted: { ...wanted, lists }, warnings: [] };
  const twin = DELEGATE_NAMES.find((name) => name !== made.name) ?? "";
  const isTwinOurs = heldConfigs(target.record, wanted.owner).includes(twin);
  const { desired, current } = lists.config;
  const removed = isTwinOurs && !wanted.prune ? { current: [...(current ?? []), twin] } : {};
  return {
    wanted: {
      ...wanted,
      lists: { ...lists, config: { ...lists.config, ...removed, desired: [...desired, made.name] } },
      configTexts: {
        from: wanted.configTexts?.from ?? [],
        byName: new Map([
          ...(wanted.configTexts?.byName ?? []),
          [made.name, { text: made.text, from: "--delegate", isFinal: true }],
        ]),
      },
    },
    warnings: [...made.warnings, ...(isTwinOurs ? [] : warnOfTwin(twin, made.name, listing, target.path))],
  };
}

/** When a node starts, its agents write to net.d one after the other, the one that comes first not always first. */
const SETTLE_MS = 1000;

/**
 * Before Multus is there for the first time, waits until the primary's file is not quite new. A pinned one is as meant.
 *
 * @returns false: it has waited, so others may have written meanwhile.
 */
async function waitToSettle(
  directory: string,
  { glob }: DelegateOptions,
  listing: DirectoryListing,
  signal: AbortSignal,
): Promise<boolean> {
  if (glob !== undefined || DELEGATE_NAMES.some((name) => existsSync(join(directory, name)))) return true;
  const found = findPrimary(listing, { except: new Set(DELEGATE_NAMES) });
  const stat = "text" in found ? statSync(join(directory, found.file), { throwIfNoEntry: false }) : undefined;
  const age = stat === undefined ? SETTLE_MS : Date.now() - stat.mtimeMs;
  if (age < 0 || age >= SETTLE_MS) return true;
  await sleep(SETTLE_MS - age, undefined, { signal }).catch(() => undefined);
  throwIfInterrupted(signal);
  return false;
}

/** Who prunes and names no other configurations leaves those that are held as they are. */
function listsBeside({ lists, prune, owner }: Wanted, { record }: Directory): Lists {
  const left = prune ? heldConfigs(record, owner) : [];
  const { desired, current } = lists.config ?? { desired: left, current: left };
  return { desired: others(desired), ...(current !== undefined && { current: others(current) }) };
}

function others(names: readonly string[]): string[] {
  return names.filter((name) => !isDelegateName(name));
}

/** What a run makes of net.d, by the names of these lists: new texts, and undefined for what goes. */
export async function changesBeside(
  { desired, current = [] }: Lists,
  { prune, owner }: Wanted,
  { record }: Directory,
  textsOf: (names: readonly string[]) => Promise<ReadonlyMap<string, string>>,
): Promise<Map<string, string | undefined>> {
  const held = (prune ? heldConfigs(record, owner) : []).filter((name) => !isDelegateName(name));
  const removed = [...current, ...held].filter((name) => !desired.includes(name));
  const texts = desired.length === 0 ? [] : await textsOf(desired.filter((name) => !current.includes(name)));
  return new Map<string, string | undefined>([...removed.map((name) => [name, undefined] as const), ...texts]);
}

/** The names of the configurations that an owner holds, but for those that `--chain` makes. */
export function heldConfigs(record: Directory["record"], owner: string): string[] {
  const held = assetsOf(record, "config").filter(({ owners }) => owners.includes(owner));
  return held.filter(({ chained }) => chained === undefined).map(({ name }) => name);
}

interface Made {
  name: string;
  text: string;
  warnings: Finding[];
}

function make(
  wanted: Wanted,
  delegate: DelegateOptions,
  listing: DirectoryListing,
  { path: directory, record }: Directory,
  hostRoot: string,
): Made {
  const { glob } = delegate;
  const found = findPrimary(listing, { glob, except: new Set(DELEGATE_NAMES) });
  if (!("text" in found)) throw noPrimary(found, directory, "--delegate", glob);
  const { keys, warnings } = readKeys(wanted, delegate);
  const before = keysOf(listing, heldConfigs(record, wanted.owner));
  const { kubeconfig = ownKubeconfig(wanted) ?? before.kubeconfig } = keys;
  if (kubeconfig === undefined) {
    throw new Failure({
      code: "delegate-kubeconfig",
      subject: "--delegate",
      problem: "Multus needs a kubeconfig to find the networks that pods ask for, and none is named",
      hint: 'have one made with --credentials, or name one with --delegate-keys=FILE, a template such as {"kubeconfig": "/etc/kubernetes/kubelet.conf"}',
    });
  }
  const around = delegate.form === "inline" ? undefined : pathOf(found, delegate, directory, hostRoot);
  const made = multusAround(found, { type: multusOf(wanted) ?? before.type ?? "multus", ...keys, kubeconfig }, around);
  return { ...made, warnings: [...warnings, ...warnOfOrder(found.file, made.name, directory)] };
}

/** Of our own configuration that is live: what is not asked for now stays. */
function keysOf(listing: DirectoryListing, held: readonly string[]): { kubeconfig?: string; type?: string } {
  const name = DELEGATE_NAMES.find((one) => held.includes(one) && listing.entries.get(one)?.type === "file");
  const loaded = name === undefined ? undefined : loadFile(name, listing);
  const plugin = loaded !== undefined && "network" in loaded ? loaded.network.list.plugins[0] : undefined;
  const kubeconfig = plugin?.["kubeconfig"];
  const type = plugin?.type;
  return {
    ...(typeof kubeconfig === "string" && { kubeconfig }),
    ...(type !== undefined && { type }),
  };
}

/**
 * Warns if runtimes read the primary before what is put around it.
 *
 * @param name of the configuration that is put around it.
 */
export function warnOfOrder(primary: string, name: string, directory: string): Finding[] {
  if (!isConfigName(name) || Buffer.compare(Buffer.from(primary), Buffer.from(name)) > 0) return [];
  const message = `comes after ${primary}, so container runtimes use that one without it`;
  const hint = "give it a name that comes first, such as 00-multus.conflist, or rename the other one";
  return [warning("delegate-shadowed", join(directory, name), message, hint)];
}

/** One of the same run, as the node sees it. The order of a list does not count: a record has another one. */
function ownKubeconfig({ lists, credentials: { directory } }: Wanted): string | undefined {
  const names = (lists.credentials?.desired ?? []).filter((name) => !isTokenFile(name)).toSorted();
  const name = names.find((one) => one.startsWith("multus")) ?? names[0];
  return name === undefined ? undefined : join(directory, name);
}

/** Multus goes by two names in the image. */
function multusOf({ lists: { plugin } }: Wanted): string | undefined {
  return ["multus", "multus-cni"].find((name) => plugin?.desired.includes(name));
}

/**
 * What Multus is configured with (its `NetConf`): as a list from CNI 1.0.0 on, which has no single plugins any more.
 *
 * @param keys more keys of Multus, which win. @param path of the primary's file, on the node; undefined: its content.
 */
function multusAround(
  { list, text }: Primary,
  keys: Readonly<Record<string, unknown>>,
  path?: string,
): { name: string; text: string } {
  const { name = "multus-cni-network", cniVersion = list.cniVersion, type, capabilities, ...rest } = keys;
  const united = { ...unitedCapabilities(list.plugins), ...(isObject(capabilities) ? capabilities : {}) };
  const plugin = {
    type,
    ...(Object.keys(united).length === 0 ? {} : { capabilities: united }),
    ...rest,
    ...(path === undefined ? { delegates: [parseIfJson(text)] } : { clusterNetwork: path }),
  };
  const isSingle = isVersion(String(cniVersion)) && compareVersions(String(cniVersion), "1.0.0") < 0;
  const config = isSingle ? { cniVersion, name, ...plugin } : { cniVersion, name, plugins: [plugin] };
  return { name: DELEGATE_NAMES[isSingle ? 0 : 1], text: `${JSON.stringify(config, undefined, 2)}\n` };
}

/** Runtimes pass to Multus what it declares, and Multus passes it on. */
function unitedCapabilities(plugins: readonly PluginConfig[]): Record<string, true> {
  const declared = plugins.flatMap(({ capabilities }) => (isObject(capabilities) ? Object.entries(capabilities) : []));
  return Object.fromEntries(declared.filter(([, isOn]) => isOn === true).map(([name]) => [name, true]));
}

function pathOf({ file }: Primary, { hostPath }: DelegateOptions, directory: string, hostRoot: string): string {
  const onNode = hostPath ?? pathOnNode(hostRoot, directory);
  if (onNode !== undefined) return join(onNode, file);
  throw new Failure({
    code: "delegate-path",
    subject: directory,
    problem: `is not below ${hostRoot}, so its path on the node is not known`,
    hint: "name it with --host-config-path, for example /etc/cni/net.d",
  });
}

/**
 * @param who needs it: an option, or a template and the place in it.
 * @param glob that its name must match.
 */
export function noPrimary({ broken }: NoPrimary, directory: string, who: string, glob: string | undefined): Failure {
  const which = glob === undefined ? "" : ` whose name matches ${glob}`;
  if (broken === undefined) {
    return new Failure({
      code: "primary-missing",
      subject: directory,
      problem: `has no network configuration${which} that ${who} could use as the primary`,
      hint: "install the cluster's primary CNI first, or wait for it with --wait=60s",
      passing: "configs",
    });
  }
  return new Failure({
    code: "primary-invalid",
    subject: join(directory, broken.file),
    problem: `comes first, and ${who} cannot use it: it ${broken.objection.message}`,
    hint: "fix or remove it, or name another one with --delegate=auto:GLOB; if it is being written, wait with --wait=60s",
    passing: "configs",
  });
}

// More keys of Multus.

const TEXT = "a text";
const TRUTH = "true or false";
const TEXTS = "a list of texts";
const OBJECT = "an object";
/** What Multus 4 reads of its configuration (`pkg/types/types.go`), but for what is made here. */
const KEYS: Readonly<Record<string, string>> = {
  cniVersion: TEXT,
  name: TEXT,
  type: TEXT,
  kubeconfig: TEXT,
  confDir: TEXT,
  cniDir: TEXT,
  binDir: TEXT,
  readinessindicatorfile: TEXT,
  namespaceIsolation: TRUTH,
  globalNamespaces: TEXT,
  systemNamespaces: TEXTS,
  multusNamespace: TEXT,
  defaultNetworks: TEXTS,
  auxiliaryCNIChainName: TEXT,
  logLevel: TEXT,
  logFile: TEXT,
  logToStderr: TRUTH,
  logOptions: OBJECT,
  capabilities: OBJECT,
  retryDeleteOnError: TRUTH,
  // Of the shim of Multus' daemon.
  daemonSocketDir: TEXT,
};

/** Keys that are made here, or that would not be what they seem. */
const REFUSED: Readonly<Record<string, string>> = {
  delegates: "it is made of the primary",
  clusterNetwork: "it is made of the primary, with --delegate-form=path",
  plugins: "the keys of Multus stand by themselves",
};

function readKeys(
  { sources, configTexts }: Wanted,
  { keys: name }: DelegateOptions,
): { keys: Record<string, unknown>; warnings: Finding[] } {
  if (name === undefined) return { keys: {}, warnings: [] };
  const source = new Source(sources.config, configTexts);
  const subject = source.nameOf(name);
  const text = readTemplate(source, name);
  const parsed = parseJson(text);
  const invalid = (problem: string): Failure => new Failure({ code: "delegate-keys-invalid", subject, problem });
  if ("objection" in parsed) throw invalid(parsed.objection.message);
  if (!isObject(parsed.value)) throw invalid("is not a JSON object");
  const keys = Object.entries(parsed.value);
  for (const [key, value] of keys) {
    const refusal = Object.hasOwn(REFUSED, key) ? REFUSED[key] : undefined;
    if (refusal !== undefined) throw invalid(`has the key ${key}: ${refusal}`);
    const kind = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (kind !== undefined && !isOf(kind, value)) throw invalid(`has the key ${key}, which is not ${kind}`);
  }
  const unknown = keys.map(([key]) => key).filter((key) => !Object.hasOwn(KEYS, key));
  return { keys: parsed.value, warnings: unknown.map((key) => unknownKey(key, subject)) };
}

function isOf(kind: string, value: unknown): boolean {
  if (kind === TEXT) return typeof value === "string";
  if (kind === TRUTH) return typeof value === "boolean";
  return kind === OBJECT ? isObject(value) : Array.isArray(value) && value.every((one) => typeof one === "string");
}

function unknownKey(key: string, subject: string): Finding {
  const meant = key === "cniConf" ? "confDir" : nearestTo(key, Object.keys(KEYS));
  const hint = meant === undefined ? undefined : `did you mean ${meant}?`;
  return warning("delegate-key-unknown", subject, `has the key ${visible(key)}, which Multus does not read`, hint);
}

/** Somebody else's configuration of Multus, of the name that ours does not have. */
function warnOfTwin(twin: string, name: string, { entries }: DirectoryListing, directory: string): Finding[] {
  if (entries.get(twin)?.type !== "file" || twin > name) return [];
  return [
    warning(
      "delegate-shadowed",
      join(directory, twin),
      `comes before ${name}, so container runtimes use it instead`,
      `cni-node did not install it; if it is of an earlier installation of Multus: cni-node uninstall --configs=${twin}`,
    ),
  ];
}
