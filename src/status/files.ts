/** The files in a node's directories: who may read and write them, and which of them nobody reads. */
import * as fs from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { isConfigName, parseNetworkList } from "../cni/config.ts";
import { isObject } from "../cni/json.ts";
import { configFiles, loadFile, type DirectoryListing, type Network } from "../cni/listing.ts";
import type { Finding } from "../finding.ts";
import { mask } from "../secrets.ts";
import { countValues } from "../system/json.ts";
import { isWritableByOthers, shownMode } from "../system/owner.ts";
import { readTextIfPossible } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import type { Steps } from "../system/turns.ts";
import type { TargetDirectory } from "./directories.ts";
import { followBelow } from "../system/below.ts";

/** What may be read to see whether it is a configuration; those have a few KiB. */
const MAX_SIZE = 256 * 1024;
const MAX_VALUES = 10_000;

/**
 * What is wrong with the names in a directory of configurations. Pauses after each file.
 *
 * @param isMissed whether a configuration of this name would be used, or should be there, if it is not.
 */
export function* lookAtNames(
  listing: DirectoryListing,
  { path, shown }: TargetDirectory,
  isMissed: (name: string) => boolean,
): Steps<Finding[]> {
  const found = [...twinsOf(listing, shown), ...namesakesOf(listing, shown), ...directoriesOf(listing, shown)];
  for (const [file, { type }] of listing.entries) {
    if (type === "other") found.push(...unreadOf(file, listing, { path, shown }, isMissed));
    yield;
  }
  return found;
}

/** Where a file that is to be mounted does not exist, container engines and hostPath volumes make a directory. */
function directoriesOf({ entries }: DirectoryListing, shown: string): Finding[] {
  const names = Array.from(entries).filter(([file, { type }]) => type === "directory" && isConfigName(file));
  return names.map(([file]) => ({
    code: "config-directory",
    severity: "warning",
    path: join(shown, file),
    message: "is a directory in the place of a configuration: runtimes pass over it",
    hint: `see what is in it, and remove it: a mount of a file that was not there makes one (docker run -v, hostPath)`,
  }));
}

/** Files that differ in their extension only: somebody switched from one form to the other, and left the old one. */
function twinsOf(listing: DirectoryListing, shown: string): Finding[] {
  const byStem = Map.groupBy(configFiles(listing), stemOf);
  return [...byStem.values()].flatMap(([first = "", ...others]) =>
    others.map((other) => ({
      code: "stale-twin",
      severity: "warning",
      path: join(shown, first),
      message: `hides ${other}: runtimes read it first, for "${extensionOf(first)}" sorts before "${extensionOf(other)}"`,
      hint: `see which of the two is meant, and remove the other; an installer that changed from .conf to .conflist leaves the old one`,
    })),
  );
}

/**
 * The attachments of one would be taken for the other's (CNI specification, section 1). Of twins only one is meant. Of
 * those without a name, as the loopback of packages, nothing is remembered.
 */
function namesakesOf(listing: DirectoryListing, shown: string): Finding[] {
  const networks = configFiles(listing).flatMap((file) => {
    const loaded = loadFile(file, listing);
    return "network" in loaded && loaded.network.list.name !== "" ? [loaded.network] : [];
  });
  const byName = Map.groupBy(networks, ({ list }) => list.name);
  return [...byName.values()].flatMap(([first, ...others]) =>
    others
      .filter((other) => first !== undefined && stemOf(other.file) !== stemOf(first.file) && !isAround(first, other))
      .map(({ file, list }) => ({
        code: "network-name-shared",
        severity: "warning",
        path: join(shown, file),
        message: `has the network name ${JSON.stringify(list.name)}, as ${first?.file ?? ""} has: their addresses and attachments get mixed up`,
        hint: "give each network a name of its own",
      })),
  );
}

/** Multus and Cilium (`cni.chainingTarget`) make such of another agent's: its network with something around it. */
function isAround(outer: Network, inner: Network): boolean {
  const [interfaceMaker] = pluginsWithin(inner.list);
  return pluginsWithin(outer.list).some((plugin) => isDeepStrictEqual(plugin, interfaceMaker));
}

function pluginsWithin(list: { plugins: readonly object[] }): unknown[] {
  // What prototypes values have does not matter.
  return (JSON.parse(JSON.stringify(list.plugins)) as unknown[]).flatMap((plugin) => [
    plugin,
    ...delegatesWithin(plugin),
  ]);
}

function delegatesWithin(plugin: unknown): unknown[] {
  const delegates = isObject(plugin) ? plugin["delegates"] : undefined;
  return (Array.isArray(delegates) ? (delegates as unknown[]) : []).flatMap((one) => {
    const plugins = isObject(one) ? one["plugins"] : undefined;
    return Array.isArray(plugins) ? (plugins as unknown[]) : [one];
  });
}

function stemOf(file: string): string {
  return file.replace(/\.[^.]*$/u, "");
}

function extensionOf(file: string): string {
  return /\.[^.]*$/u.exec(file)?.[0] ?? "";
}

/** So packages call what they bring along and nobody has to use. */
const UNUSED_ON_PURPOSE = /\.(?:disabled|example|sample|template)$/u;

/** What was a configuration, or is one under a name that no runtime reads. */
function unreadOf(
  file: string,
  { entries }: DirectoryListing,
  { path, shown }: TargetDirectory,
  isMissed: (name: string) => boolean,
): Finding[] {
  if (file.startsWith(".") || UNUSED_ON_PURPOSE.test(file)) return [];
  const subject = { path: join(shown, file), severity: "warning" as const };
  const former = /^.+\.(?:conflist|conf|json)(?=[.~_-])/u.exec(file)?.[0];
  if (former !== undefined && (entries.has(former) || !isMissed(former))) return [];
  if (file.endsWith(".cilium_bak")) {
    return [
      {
        code: "set-aside-by-cilium",
        ...subject,
        message: "was renamed by Cilium, which renames all configurations but its own: no runtime reads it",
        hint: "set cni.exclusive=false in Cilium's values, and install the configuration again; or remove it for good",
      },
    ];
  }
  if (former !== undefined) {
    const hint = `give it its name back (${shellWord(former)}) if it is to be used, else move it out of this directory`;
    return [
      { code: "set-aside", ...subject, message: "is a configuration that was renamed: no runtime reads it", hint },
    ];
  }
  if (!isNetwork(join(path, file))) return [];
  return [
    {
      code: "name-unread",
      ...subject,
      message:
        "is a network configuration that no runtime reads, because its name does not end in .conf, .conflist or .json",
      hint: "name it .conflist if it has plugins, else .conf",
    },
  ];
}

function isNetwork(path: string): boolean {
  const text = readSmall(path);
  return ["a.conflist", "a.conf"].some((name) => text !== undefined && "list" in parseNetworkList(name, text));
}

function readSmall(path: string): string | undefined {
  const text = readTextIfPossible(path, MAX_SIZE);
  return text === undefined || countValues(text) > MAX_VALUES ? undefined : text;
}

/**
 * Who may read and write the configurations (CIS Kubernetes Benchmark 1.1.9 and 1.1.10: mode 600 or stricter, root).
 * Pauses after each file.
 */
export function* lookAtModes(files: readonly string[], directory: TargetDirectory, hostRoot: string): Steps<Finding[]> {
  const found: Finding[] = [];
  for (const file of files) {
    const here = followBelow(hostRoot, join(directory.path, file)) ?? "";
    const stat = statOf(here);
    if (stat?.isFile() === true) {
      const text = (stat.mode & READABLE) === 0 ? "" : (readSmall(here) ?? "");
      found.push(...modeFindings(stat, join(directory.shown, file), mask(text) === text ? "nothing" : "secret"));
    }
    yield;
  }
  return found;
}

/** By others than the owner. */
const READABLE = 0o044;

/** @param holds what must not be read: nothing, what looks like a secret, or a kubeconfig's credentials. */
export function modeFindings(stat: fs.Stats, path: string, holds: "nothing" | "secret" | "kubeconfig"): Finding[] {
  const mode = shownMode(stat);
  const found: Finding[] = [];
  if ((stat.mode & 0o177) !== 0) {
    const messages = {
      kubeconfig: `has mode ${mode}: anybody who reads it has the rights of the plugin in the cluster`,
      secret: `has mode ${mode}, and holds what looks like a secret: anybody who reads it has it (CIS Kubernetes Benchmark 1.1.9)`,
      nothing: `has mode ${mode}, and not 0600 or stricter (CIS Kubernetes Benchmark 1.1.9): configurations may hold credentials`,
    };
    const isHarmless = holds === "nothing" && !isWritableByOthers(stat);
    found.push({
      code: holds === "kubeconfig" ? "kubeconfig-mode" : "file-mode",
      severity: isHarmless ? "note" : "warning",
      path,
      message: messages[holds],
      hint: "chmod 600, and tell its installer: it may write it again",
    });
  }
  if (stat.uid !== 0 || stat.gid !== 0) {
    found.push({
      code: "file-owner",
      severity: "warning",
      path,
      message: `belongs to ${stat.uid}:${stat.gid}, and not to root:root (CIS Kubernetes Benchmark 1.1.10): who may write it decides what root runs`,
      hint: "chown root:root",
    });
  }
  return found;
}

/** A directory, or a plugin, that others than root may write to. */
export function writableFindings(here: string, path: string): Finding[] {
  const stat = statOf(here);
  if (stat === undefined || !isWritableByOthers(stat)) return [];
  const mode = shownMode(stat);
  const message = `has mode ${mode}: others than root may write there, and the container runtime runs it as root`;
  return [{ code: "writable-by-others", severity: "warning", path, message, hint: "chmod go-w" }];
}

function statOf(path: string): fs.Stats | undefined {
  try {
    return fs.statSync(path);
  } catch {
    // A link that leads nowhere, or round in circles.
    return undefined;
  }
}
