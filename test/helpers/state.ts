/** What lies in a target directory, to the last bit, and whether cni-node's own state there is consistent. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";

import { readRecord } from "../../src/host/record.ts";
import { statePaths } from "../../src/host/target.ts";

/**
 * Everything below a directory, `.cni-node` included, one line a file by its name: type, mode, owner, inode, mtime,
 * content. Two equal snapshots: nothing was changed, replaced or left over. Directories come without their mtime.
 */
export function snapshotOf(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (at: Buffer, shown: string): void => {
    const stat = fs.lstatSync(at, { bigint: true });
    const mode = stat.mode.toString(8);
    const times = stat.isDirectory() ? "" : ` mtime=${stat.mtimeNs} links=${stat.nlink} ${contentOf(at, stat)}`;
    found[shown] = `${mode} ${stat.uid}:${stat.gid} inode=${stat.ino}${times}`;
    if (!stat.isDirectory()) return;
    for (const name of fs.readdirSync(at, { encoding: "buffer" })) {
      visit(Buffer.concat([at, Buffer.from("/"), name]), `${shown}/${name.toString("latin1")}`);
    }
  };
  visit(Buffer.from(directory), ".");
  return found;
}

/** What has become different from one snapshot to the other, a line each. Empty: nothing. */
export function differencesOf(before: Record<string, string>, after: Record<string, string>): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (name) => before[name] !== after[name],
  );
  return names.map((name) => `${name}: ${before[name] ?? "absent"} → ${after[name] ?? "absent"}`);
}

function contentOf(path: Buffer, stat: fs.BigIntStats): string {
  if (stat.isSymbolicLink()) return `-> ${fs.readlinkSync(path)}`;
  return stat.isFile() ? digestOf(fs.readFileSync(path)) : "";
}

/** `sha256:…`, as records have it. */
function digestOf(content: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

/**
 * What is wrong with a directory when no run is at work there: left-over files, journals, a state that should be gone,
 * backups that are not there, files that are not what the record says. Empty: all is well.
 */
export function problemsOf(target: string): string[] {
  // Not of every path: what leads through /proc/PID/root has no other one here.
  const directory = fs.lstatSync(target).isSymbolicLink() ? fs.realpathSync(target) : target;
  const { state, objects } = statePaths(directory);
  const stray = fs.readdirSync(directory).filter((name) => name.startsWith(".") && name !== ".cni-node");
  const problems = stray.map((name) => `${name} is left over`);
  if (!fs.existsSync(state)) return problems;
  const record = readRecord(directory);
  if (record === undefined || record.assets.length === 0) return [...problems, ".cni-node is there and holds nothing"];
  if (record.pending !== undefined) problems.push("the journal of a run is left over");
  const unknown = fs.readdirSync(state).filter((name) => !["record.json", "objects", "lock"].includes(name));
  problems.push(...unknown.map((name) => `.cni-node/${name} is left over`));
  const needed = new Set(record.assets.flatMap(({ before }) => before ?? []));
  const kept = new Set(fs.readdirSync(objects));
  problems.push(...[...kept.difference(needed)].map((id) => `the object ${id} is left over`));
  problems.push(...[...needed.difference(kept)].map((id) => `the backup ${id} is gone`));
  for (const { kind, name, owners, digest, seen } of record.assets) {
    if (kind === "manifest" || digest === undefined || owners.length === 0) continue;
    const path = join(directory, name);
    if (!fs.existsSync(path)) problems.push(`${name} is held by ${owners.join()} and not there`);
    else if (digestOf(fs.readFileSync(path)) !== digest) problems.push(`${name} is not what the record says`);
    else if (seen?.inode !== inodeOf(path)) problems.push(`${name} was not seen`);
  }
  return problems;
}

/** Of what nobody else may write to; that of others is not noted. */
function inodeOf(path: string): string | undefined {
  const { ino, uid, mode } = fs.lstatSync(path, { bigint: true });
  return uid === BigInt(process.getuid?.() ?? 0) && (mode & 0o022n) === 0n ? String(ino) : undefined;
}
