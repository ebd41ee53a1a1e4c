/** What cni-node installed on this node, and whether it is still so. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Kind } from "../apply/asset.ts";
import { chainOf, isExtended } from "../apply/chain.ts";
import { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { digestOf } from "../host/disk.ts";
import { digestOfLive, inspect } from "../host/inspect.ts";
import { isLeftUntidy, readRecord, type HeldAsset, type HostRecord } from "../host/record.ts";
import { statePaths } from "../host/target.ts";
import type { TargetDirectory } from "./places.ts";
import { isVisible, shellWord } from "../system/text.ts";

/** How an asset compares with the record. */
export type AssetState =
  /** It is what was installed. */
  | "unchanged"
  /** It is, and others have chained their plugins into it. */
  | "extended"
  | "changed"
  | "missing"
  /** Nobody holds it any more: what lies there is not cni-node's. */
  | "released"
  /** It cannot be told from here. */
  | "unproved";

/** One asset of a record. */
export interface AssetStatus {
  kind: Kind;
  name: string;
  owners: string[];
  /** Of a plugin that the image's catalogue knows. */
  version?: string;
  state: AssetState;
  reason?: string;
}

/** A file of others that was replaced, and waits to come back. */
export interface Backup {
  /** What took its place. */
  name: string;
  /** Where it is kept. */
  path: string;
}

/** What the records say, compared with what is there. */
export interface Assets {
  assets: AssetStatus[];
  backups: Backup[];
  /** Runs that were ended half way: what the next run will do, by directory. */
  unfinished: { directory: string; next: string }[];
  findings: Finding[];
}

/**
 * Compares the records of these directories with what is there.
 *
 * @param versions of plugins, by the digest of their binaries.
 * @param checksum read also what has not changed by its size, times and inode.
 */
export async function lookAtAssets(
  directories: readonly TargetDirectory[],
  versions: ReadonlyMap<string, string>,
  checksum: boolean,
): Promise<Assets> {
  const all: Assets = { assets: [], backups: [], unfinished: [], findings: [] };
  const seen = directories.map((directory) => ({ directory, record: recordOf(directory, all.findings) }));
  for (const { directory, record } of seen) {
    lookAtRun(directory, record, seen, all);
    for (const asset of record?.assets ?? []) {
      const { state, reason } = await compare(directory.path, asset, record, checksum);
      const version = versions.get(asset.digest ?? "");
      all.assets.push({
        kind: asset.kind,
        name: asset.name,
        owners: asset.owners,
        ...(version === undefined ? {} : { version }),
        state,
        ...(reason === undefined ? {} : { reason }),
      });
      all.findings.push(...driftOf(directory, asset, state), ...lookAtBackup(directory, asset, all.backups));
    }
  }
  return all;
}

function recordOf({ path, shown }: TargetDirectory, findings: Finding[]): HostRecord | undefined {
  try {
    return readRecord(path);
  } catch (error) {
    if (!(error instanceof Failure) || !error.code.startsWith("record-")) throw error;
    findings.push({
      code: error.code,
      severity: "error",
      path: statePaths(shown).record,
      message: `${error.message.slice(statePaths(path).record.length + 2)}; what cni-node installed here is not known, and every run will fail`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return undefined;
  }
}

/** What a run left that was ended, or is doing just now: no lock is taken to find out which. */
function lookAtRun(
  { path, shown }: TargetDirectory,
  record: HostRecord | undefined,
  all: readonly { record: HostRecord | undefined }[],
  { unfinished, findings }: Assets,
): void {
  if (record?.pending === undefined) {
    if (isLeftUntidy(path)) unfinished.push({ directory: shown, next: "remove left-over files" });
    return;
  }
  const { run, directories } = record.pending;
  const deciding = directories.at(-1)?.id;
  const isHere = all.some(({ record: other }) => other?.directory === deciding);
  const isCommitted = all.some((other) => other.record?.directory === deciding && other.record?.pending?.run === run);
  const next = isHere
    ? isCommitted
      ? "finish it"
      : "forget it, for it had not changed anything yet"
    : "fail, until the other directory of that run is mounted";
  unfinished.push({ directory: shown, next });
  findings.push({
    code: "run-unfinished",
    severity: isHere ? "warning" : "error",
    path: shown,
    message: `has a run that was ended half way, unless it is at work just now; the next run will ${next}`,
    hint: isHere
      ? "run the same cni-node command again"
      : `run it again with both directories mounted; the other one was at ${directories.at(-1)?.path ?? ""}`,
  });
}

interface Comparison {
  state: AssetState;
  reason?: string;
}

async function compare(
  directory: string,
  asset: HeldAsset,
  record: HostRecord | undefined,
  checksum: boolean,
): Promise<Comparison> {
  if (asset.kind === "manifest") return { state: "unproved", reason: "the cluster is not asked" };
  if (asset.owners.length === 0) return { state: "released" };
  if (record?.pending?.changes.some(({ name }) => name === asset.name) === true) {
    return { state: "unproved", reason: "a run is changing it" };
  }
  const live = inspect(directory, asset.name);
  if (live.type === "absent") return { state: "missing" };
  if (live.type !== "file") return { state: "changed", reason: `is a ${live.type} now` };
  const path = join(directory, asset.name);
  const before = asset.before === undefined ? undefined : join(statePaths(directory).objects, asset.before);
  const wanted = asset.digest ?? (before !== undefined && existsSync(before) ? await digestOf(before) : undefined);
  const digest = await digestOfLive(path, live, checksum ? undefined : asset.seen);
  if (wanted === undefined || digest === wanted) return { state: "unchanged" };
  const chain = asset.chain === undefined ? undefined : chainOf(asset.name, readFileSync(path, "utf8"));
  if (asset.chain === undefined || chain === undefined || !isExtended(asset.chain, chain)) return { state: "changed" };
  const count = chain.plugins.length - asset.chain.plugins.length;
  return { state: "extended", reason: `others have chained ${count === 1 ? "a plugin" : `${count} plugins`} into it` };
}

function driftOf({ shown }: TargetDirectory, { name, kind, owners }: HeldAsset, state: AssetState): Finding[] {
  const path = join(shown, name);
  const owner = owners.join(", ");
  const command = `cni-node install --${kind}s=${shellWord(name)} --owner=${shellWord(owners[0] ?? "")}`;
  const hint = `install it again${isVisible(command) ? `: ${command}` : ""}`;
  const effect = kind === "config" ? "pods get another network, or none" : "pods that need it do not start, nor end";
  if (state === "missing") {
    const message = `was installed by ${owner} and is gone: ${effect}`;
    return [{ code: "asset-missing", severity: "error", path, message, hint }];
  }
  if (state === "changed") {
    const message = `was installed by ${owner}, and somebody has changed it since`;
    return [{ code: "asset-changed", severity: "warning", path, message, hint }];
  }
  return [];
}

function lookAtBackup({ path, shown }: TargetDirectory, { name, before }: HeldAsset, backups: Backup[]): Finding[] {
  if (before === undefined) return [];
  backups.push({ name, path: join(statePaths(shown).objects, before) });
  if (existsSync(join(statePaths(path).objects, before))) return [];
  return [
    {
      code: "backup-missing",
      severity: "warning",
      path: join(statePaths(shown).objects, before),
      message: `is gone: it kept the ${name} that was there before cni-node, which can no longer come back`,
      hint: `keep a copy of ${join(shown, name)} before it is uninstalled; nobody but cni-node should write to .cni-node`,
    },
  ];
}
