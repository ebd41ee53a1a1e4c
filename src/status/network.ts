/** The network of the pods: what the container runtimes take, and whether it can work. */
import { isDeepStrictEqual } from "node:util";
import { dirname, join } from "node:path";

import { examineConfigs, leftPointers } from "../node/checks.ts";
import type { NodeView, PluginView } from "../node/view.ts";
import { configFiles, loadFile, sortBytes, type DirectoryListing, type Network } from "../cni/listing.ts";
import { referencesOf } from "../cni/references.ts";
import {
  selectForContainerd,
  selectForCrio,
  type FileVerdict,
  type PluginAnswer,
  type Selection,
} from "../cni/selection.ts";
import { VERSIONS } from "../cni/version.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import type { Finding } from "../finding.ts";
import type { Rule } from "../node/runtime.ts";
import { shownAs } from "../system/below.ts";
import { positionOf } from "../system/text-position.ts";
import { isVisible, shellWord } from "../system/text.ts";
import { MOST_NOTES } from "./notes.ts";

/** What each of the runtimes makes of the directory. */
export type Choices = Record<Rule, Selection>;

/** One plugin that the pods' network needs. */
export interface PluginStatus {
  name: string;
  state: "runs" | "broken" | "missing" | "unproved";
  /** Its file, as it is seen from here. */
  path?: string;
  /** The directory that it lies in, as the node sees it. */
  directory?: string;
  /** The versions of the specification that it supports. */
  cniVersions?: readonly string[];
  /** Why it is not known to run. */
  reason?: string;
}

/**
 * What the runtimes take.
 *
 * @param runtime what the runtime that is on this node says of itself.
 */
export async function choose(
  listing: DirectoryListing,
  view: NodeView,
  runtime: RuntimeStatus | undefined,
): Promise<Choices> {
  const networks = configFiles(listing).flatMap((file) => {
    const loaded = loadFile(file, listing);
    return "network" in loaded ? loaded.network.list.plugins : [];
  });
  const types = new Set(networks.map(({ type }) => type).filter((type) => !type.includes("/")));
  const answers = new Map((await view.plugins([...types], AT_ONCE)).map(([type, plugin]) => [type, answerOf(plugin)]));
  return {
    containerd: selectForContainerd(
      listing,
      runtime?.maxConfigs === undefined ? {} : { maxConfNum: runtime.maxConfigs },
    ),
    "CRI-O": selectForCrio(listing, (type) => answers.get(type), { defaultNetwork: runtime?.defaultNetwork ?? "" }),
  };
}

/** So many plugins are asked at a time: one that hangs has 5 seconds to answer. */
const AT_ONCE = 8;

/** What cannot be seen from here is taken to support everything: nothing is held against it. */
function answerOf(plugin: PluginView): PluginAnswer | undefined {
  if ("missing" in plugin) return undefined;
  if ("versions" in plugin) return plugin;
  const isSure = "objection" in plugin && plugin.objection.severity === "error";
  return isSure ? { problem: plugin.objection.message } : { versions: VERSIONS };
}

/** The networks that pods get, each once. */
export function chosenNetworks(choices: Choices, rules: readonly Rule[]): Network[] {
  const chosen = rules.flatMap((rule) => choices[rule].chosen ?? []);
  return chosen.filter(({ file }, index) => chosen.findIndex((other) => other.file === file) === index);
}

/** Would a file of this name be taken instead, if it were there? */
export function comesFirst(name: string, choices: Choices, rules: readonly Rule[]): boolean {
  const chosen = rules.map((rule) => choices[rule].chosen?.file);
  return chosen.some((file) => file === undefined || sortBytes([name, file])[0] === name);
}

/** Every plugin that these networks need, and `loopback`, which runtimes call for each pod. */
export async function askPlugins(networks: readonly Network[], view: NodeView): Promise<PluginStatus[]> {
  const names = [...new Set([...networks.flatMap(({ list }) => referencesOf({ plugins: list.plugins })), "loopback"])];
  const asked = await view.plugins(
    names.filter((one) => !one.includes("/")),
    AT_ONCE,
  );
  const { hostRoot } = view.paths;
  return asked.map(([name, plugin]) => ({
    ...statusOf(name, plugin),
    ...("path" in plugin ? { directory: shownAs(hostRoot, dirname(plugin.path)) } : {}),
  }));
}

function statusOf(name: string, plugin: PluginView): PluginStatus {
  if ("missing" in plugin) return { name, state: "missing", reason: `is not in ${plugin.missing}` };
  if ("unseen" in plugin) return { name, state: "unproved", reason: plugin.unseen };
  const { path } = plugin;
  if ("versions" in plugin) return { name, state: "runs", path, cniVersions: plugin.versions };
  const { code, severity, message } = plugin.objection;
  const state = code === "plugin-missing" ? "missing" : severity === "error" ? "broken" : "unproved";
  return { name, state, path, reason: message };
}

/** What is wrong with the pods' network. @param shown the directory of configurations as the node sees it. */
export async function lookAtNetwork(
  listing: DirectoryListing,
  {
    choices,
    rules,
    plugins,
    shown,
  }: { choices: Choices; rules: readonly Rule[]; plugins: readonly PluginStatus[]; shown: string },
  view: NodeView,
): Promise<Finding[]> {
  const inUse = configFiles(listing).filter((file) =>
    rules.some((rule) => isInUse(file, choices[rule], rule === "containerd" || rules.length === 1)),
  );
  const networks = chosenNetworks(choices, rules);
  const used = [...new Set([...inUse, ...networks.flatMap((one) => behind(one, listing))])];
  const waiting = configFiles(listing).filter((file) => !used.includes(file) && "objection" in loadFile(file, listing));
  const examined = [];
  for (const file of used) {
    if (examined.length < MOST_NOTES) examined.push(...(await examineConfigs(listing, view, [file])));
  }
  return [
    ...withoutNetwork(choices, rules, shown),
    ...examined
      .filter(({ code }) => code !== "kubeconfig-invalid") // It is told of the kubeconfig itself.
      .filter(({ code, path }) => code !== "pointer-left" || isLeftByMistake(path, listing))
      .map(({ about: _about, path, ...finding }) => ({
        ...withPosition(finding, path, listing),
        path: join(shown, path),
      })),
    ...used.flatMap((file) => pointersOf(file, listing, shown)),
    ...waiting.map((file) => brokenUnused(file, listing, shown)),
    ...networks.flatMap((network) => lookAtChain(network, view, listing, shown)),
    ...rules.flatMap((rule) => warningsOf(choices[rule], shown)).filter(isFirst),
    ...withoutLoopback(plugins, rules),
  ];
}

/** Where in the file that is. */
function withPosition<Found extends Omit<Finding, "path">>(
  finding: Found,
  file: string,
  listing: DirectoryListing,
): Found {
  if (finding.code !== "config-invalid") return finding;
  return { ...finding, message: `${finding.message}${placeIn(file, listing)}` };
}

function placeIn(file: string, listing: DirectoryListing): string {
  const [loaded, entry] = [loadFile(file, listing), listing.entries.get(file)];
  const offset = "objection" in loaded ? loaded.objection.offset : undefined;
  if (offset === undefined || entry?.type !== "file") return "";
  const { line, column } = positionOf(entry.text, offset);
  return ` at line ${line}, column ${column}`;
}

/** @param countsBroken what the runtime passes over is told where it is surely this runtime, or ends the search. */
function isInUse(file: string, { files, chosen }: Selection, countsBroken: boolean): boolean {
  const order = files.map((one) => one.file);
  const isBefore = chosen === undefined || order.indexOf(file) <= order.indexOf(chosen.file);
  const verdict = files.find((one) => one.file === file)?.verdict;
  const isTried = verdict === "refused" || verdict === "loaded" || (verdict === "broken" && countsBroken);
  return verdict === "chosen" || (isBefore && isTried);
}

/** What to do where nothing is wrong with the files that are there. */
const WITHOUT_NETWORK: Record<string, string> = {
  "no-file":
    "the primary network's agent (Calico, Cilium, flannel …) writes one: see whether its pod runs on this node",
  "no-default":
    "have the agent of that network write its configuration, or take cni_default_network out of CRI-O's configuration and restart it",
};

function withoutNetwork(choices: Choices, rules: readonly Rule[], shown: string): Finding[] {
  const without = rules.filter((rule) => choices[rule].chosen === undefined);
  const [first] = without;
  if (first === undefined) return [];
  const reasons = new Set(without.map((rule) => choices[rule].error?.message));
  const { code = "" } = choices[first].error ?? {};
  return [
    {
      code: "no-network",
      // One of the two would have a network, and it is not known which of them is on this node.
      severity: without.length === rules.length ? "error" : "warning",
      path: shown,
      message: `${[...reasons].join("; ")}: with ${without.join(" and ")} the node is NotReady, and no pod starts`,
      hint: WITHOUT_NETWORK[code] ?? "fix the findings about these files; the runtime then loads them by itself",
    },
  ];
}

/** Linkerd's entry keeps these of its template in every chain; its plugin reads its kubeconfig instead. */
const LINKERDS = /__(?:KUBERNETES_SERVICE_(?:HOST|PORT)|SERVICEACCOUNT_TOKEN)__/gu;

function isLeftByMistake(file: string, listing: DirectoryListing): boolean {
  const [loaded, entry] = [loadFile(file, listing), listing.entries.get(file)];
  if (!("network" in loaded) || entry?.type !== "file") return true;
  const isLinkerds = loaded.network.list.plugins.some(({ type }) => type === "linkerd-cni");
  return !isLinkerds || leftPointers(entry.text.replaceAll(LINKERDS, "")).length > 0;
}

/** In what cannot be loaded; a pointer that nobody has replaced is mostly why. */
function pointersOf(file: string, listing: DirectoryListing, shown: string): Finding[] {
  const entry = listing.entries.get(file);
  if (entry?.type !== "file" || "network" in loadFile(file, listing)) return [];
  return leftPointers(entry.text).map(({ about: _about, ...finding }) => ({ ...finding, path: join(shown, file) }));
}

/** It comes after others, and does no harm as long as these are there. */
function brokenUnused(file: string, listing: DirectoryListing, shown: string): Finding {
  const loaded = loadFile(file, listing);
  return {
    code: "config-broken-unused",
    severity: "warning",
    path: join(shown, file),
    message: `${"objection" in loaded ? loaded.objection.message : ""}${placeIn(file, listing)}; no runtime uses it as long as others come before it, and containerd has no network if it comes first`,
    hint: "fix it or move it away",
  };
}

/** What selection says of a network that is loaded and cannot work, and the proof does not. */
function warningsOf({ chosen, warnings }: Selection, shown: string): Finding[] {
  const path = join(shown, chosen?.file ?? "");
  return warnings.flatMap(({ code, message }): Finding[] => {
    if (code === "name") {
      const hint = 'give it a "name" of letters, digits, _ . - that begins with a letter or digit';
      return [{ code: "network-name", severity: "error", path, message, hint }];
    }
    if (code === "type") {
      return [{ code: "plugin-type", severity: "error", path, message, hint: "give the file name of the plugin only" }];
    }
    if (code === "version") {
      const hint = 'use "cniVersion": "1.0.0", or "0.3.1" with old plugins';
      return [{ code: "version-unknown", severity: "error", path, message, hint }];
    }
    return [];
  });
}

function isFirst({ code, path }: Finding, index: number, all: readonly Finding[]): boolean {
  return all.findIndex((other) => other.code === code && other.path === path) === index;
}

/** Plugins that change an interface which another one has made. */
const CHAINED = new Set(["portmap", "bandwidth", "tuning", "firewall", "sbr", "istio-cni", "linkerd-cni"]);

function lookAtChain(network: Network, view: NodeView, listing: DirectoryListing, shown: string): Finding[] {
  const { file, list } = network;
  const path = join(shown, file);
  const found: Finding[] = [];
  const [first] = list.plugins;
  if (first !== undefined && CHAINED.has(first.type)) {
    const message = `begins with ${first.type}, which changes an interface that another plugin has made: there is none, and no pod starts`;
    const hint = "the primary network's plugin comes first in the chain: have its agent write its configuration again";
    found.push({ code: "chain-without-interface", severity: "error", path, message, hint });
  }
  const twice = list.plugins.find((one, index) =>
    list.plugins.slice(0, index).some((two) => isDeepStrictEqual(one, two)),
  );
  if (twice !== undefined) {
    const message = `has ${twice.type} twice with the same configuration: it is called twice for every pod`;
    found.push({ code: "chain-duplicate", severity: "warning", path, message, hint: "remove one of the two entries" });
  }
  for (const plugin of list.plugins) {
    const { readinessindicatorfile: indicator, clusterNetwork } = plugin;
    if (typeof indicator === "string" && indicator.startsWith("/") && view.hasFile(onNode(indicator)) === false) {
      const message = `has ${plugin.type} wait for ${indicator} (readinessindicatorfile), which is not there: each pod waits 45 seconds and fails`;
      const hint =
        "the primary network's agent writes that file when it is ready: see whether its pod runs on this node";
      found.push({ code: "readiness-file-missing", severity: "error", path, message, hint });
    }
    const target = typeof clusterNetwork === "string" ? fileBehind(clusterNetwork) : undefined;
    if (target !== undefined && !listing.entries.has(target)) {
      const message = `has ${plugin.type} take the pods' network from ${String(clusterNetwork)} (clusterNetwork), which is not there: no pod starts`;
      const hint = "name the file that the primary network's agent writes; if it was renamed, see who did it";
      found.push({ code: "cluster-network-missing", severity: "error", path, message, hint });
    }
  }
  return found;
}

/** The configurations in the same directory that Multus takes the pods' network from. */
function behind({ list }: Network, listing: DirectoryListing): string[] {
  return list.plugins
    .map(({ clusterNetwork }) => (typeof clusterNetwork === "string" ? fileBehind(clusterNetwork) : undefined))
    .filter((file) => file !== undefined && listing.entries.get(file)?.type === "file")
    .filter((file) => file !== undefined);
}

/** The networks that these delegate to by the path of a file. */
export function networksBehind(networks: readonly Network[], listing: DirectoryListing): Network[] {
  return networks
    .flatMap((network) => behind(network, listing))
    .flatMap((file) => {
      const loaded = loadFile(file, listing);
      return "network" in loaded ? [loaded.network] : [];
    });
}

function fileBehind(clusterNetwork: string): string | undefined {
  return /^\/etc\/cni\/net\.d\/([^/]+)$/u.exec(onNode(clusterNetwork))?.[1];
}

/** Multus' daemon, which reads what the shim's configuration names, has the node's files at /host. */
function onNode(path: string): string {
  return path.replace(/^\/host(?=\/)/u, "");
}

function withoutLoopback(plugins: readonly PluginStatus[], rules: readonly Rule[]): Finding[] {
  const loopback = plugins.find(({ name }) => name === "loopback");
  if (loopback?.state !== "missing" || !rules.includes("containerd")) return [];
  return [
    {
      code: "loopback-missing",
      severity: "warning",
      path: "loopback",
      message: `${loopback.reason ?? ""}: containerd calls it for every pod, unless its use_internal_loopback is set`,
      cure: { kind: "plugin", name: "loopback" },
    },
  ];
}

/**
 * What the runtime says of itself, compared with what its files say.
 *
 * @param options.rule by which it chooses. @param options.isOther it reads another directory than was looked at.
 */
export function lookAtRuntime(
  runtime: RuntimeStatus,
  choices: Choices,
  { rule, isOther, shown, socket }: { rule: Rule; isOther: boolean; shown: string; socket: string },
): Finding[] {
  const found: Finding[] = [];
  const { chosen } = choices[rule];
  const log = `journalctl -u ${runtime.name === "cri-o" ? "crio" : "containerd"}`;
  const file = join(shown, chosen?.file ?? "");
  const [quoted, copy] = [shellWord(file), shellWord(`${file}.new`)];
  const command = isVisible(file) ? ` (cp -p ${quoted} ${copy} && mv ${copy} ${quoted})` : "";
  const again = `by its files it has one: restart it, or write the file again${command}; if it still says so, see its log: ${log}`;
  if (!runtime.networkReady) {
    const why = runtime.message === "" ? runtime.reason : runtime.message;
    found.push({
      code: "runtime-not-ready",
      severity: "error",
      path: socket,
      message: `${runtime.name} ${runtime.version} says that its network is not ready: ${why}`,
      hint:
        chosen === undefined
          ? "it has no configuration that it can use, see there"
          : runtime.networks?.length === 0 && !isOther
            ? again
            : `see its log: ${log}`,
    });
  }
  if (isOther) {
    const message = `${runtime.name} reads its configurations from ${runtime.configDir ?? ""}, and not from ${shown}, which was examined`;
    const hint = `mount that directory and look there: --config-dir=auto`;
    found.push({ code: "runtime-directory", severity: "error", path: socket, message, hint });
    return found;
  }
  if (runtime.loadError !== undefined) {
    const message = `${runtime.name} could not load its configurations: ${runtime.loadError}`;
    found.push({
      code: "runtime-load-failed",
      severity: "error",
      path: socket,
      message,
      hint: chosen === undefined ? "fix the file that it names" : again,
    });
  }
  const loaded = runtime.networks?.[0];
  if (loaded !== undefined && chosen !== undefined && loaded.name !== chosen.list.name) {
    const message = `${runtime.name} uses the network ${loaded.name}, and would use ${chosen.list.name} of ${chosen.file} if it read its files again`;
    const hint = "restart it, or write that file again; a file that was moved in from another directory is not noticed";
    found.push({ code: "runtime-stale", severity: "warning", path: socket, message, hint });
  }
  return [...found, ...brokenHandlers(runtime, socket)];
}

function brokenHandlers({ name: runtime, handlers }: RuntimeStatus, socket: string): Finding[] {
  return handlers.flatMap(({ name, configDir, loadError }): Finding[] => {
    if (loadError === undefined) return [];
    const message = `${runtime} could not load the configurations of its runtime handler ${name} in ${configDir}: ${loadError}`;
    const hint = "pods whose RuntimeClass has that handler do not start: fix the file that it names";
    return [{ code: "handler-load-failed", severity: "warning", path: socket, message, hint }];
  });
}

/** What becomes of one file, for the report. */
export interface FileStatus {
  name: string;
  containerd: Pick<FileVerdict, "verdict" | "reason">;
  crio: Pick<FileVerdict, "verdict" | "reason">;
}

/** Every file of the directory by both rules, without what cni-node keeps there of its own. */
export function filesOf(choices: Choices): FileStatus[] {
  const { containerd, "CRI-O": crio } = choices;
  const own = ".cni-node";
  return containerd.files
    .map(({ file, verdict, reason }, index) => {
      const other = crio.files[index] ?? { verdict, reason };
      return {
        name: file,
        containerd: { verdict, reason },
        crio: { verdict: other.verdict, reason: other.reason },
      };
    })
    .filter(({ name }) => name !== own);
}
