/** The addresses that host-local keeps for containers that are gone: when all are, no pod starts. */
import * as fs from "node:fs";
import { join } from "node:path";

import { seenBelow } from "../cni/invoke.ts";
import { isObject } from "../cni/json.ts";
import type { Network } from "../cni/listing.ts";
import type { Finding } from "../finding.ts";

/** Where host-local keeps its addresses, unless `dataDir` says otherwise. */
const STORE = "/var/lib/cni/networks";

/**
 * Looks at the addresses of these networks.
 *
 * @param gone the ids of the containers that are surely gone.
 * @param hostRoot where the node's file system is.
 */
export function lookAtAddresses(networks: readonly Network[], gone: ReadonlySet<string>, hostRoot: string): Finding[] {
  const stores = new Set(networks.flatMap(({ list }) => storesOf({ plugins: list.plugins }, list.name)));
  return [...stores].flatMap((path): Finding[] => {
    const owners = ownersOf(seenBelow(hostRoot, path));
    const stale = owners.filter((id) => gone.has(id)).length;
    if (stale === 0) return [];
    const message = `keeps ${stale} of ${owners.length} addresses for containers that are gone: when the range is used up, no pod starts (no IP addresses available in range set)`;
    const hint =
      "remove the files there whose first line is the id of such a container; a runtime that deletes its sandboxes does it itself";
    return [{ code: "addresses-stale", severity: "warning", path, message, hint }];
  });
}

/** The directories of the networks whose addresses come from host-local, those of delegates included. */
function storesOf(config: unknown, network: string): string[] {
  if (!isObject(config)) return [];
  const { ipam, plugins, delegates } = config;
  const { type, dataDir = STORE } = (isObject(ipam) ? ipam : {}) as { type?: unknown; dataDir?: unknown };
  return [
    ...(type === "host-local" && typeof dataDir === "string" ? [join(dataDir, network)] : []),
    ...listOf(plugins).flatMap((one) => storesOf(one, network)),
    ...listOf(delegates).flatMap((one) => storesOf(one, nameOf(one) ?? network)),
  ];
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function nameOf(value: unknown): string | undefined {
  const name = isObject(value) ? value["name"] : undefined;
  return typeof name === "string" ? name : undefined;
}

/** A file for each address, with the id of its container in the first line (host-local's backend/disk). */
function ownersOf(directory: string | undefined): string[] {
  if (directory === undefined) return [];
  try {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() && /^[0-9a-f.:_]+$/iu.test(entry.name));
    return files.map(({ name }) => fs.readFileSync(join(directory, name), "utf8").split(/\r?\n/u)[0] ?? "");
  } catch {
    return [];
  }
}
