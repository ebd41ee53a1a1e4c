/** What CRI-O says of its configuration: it does so over HTTP on the socket that serves CRI, but not by CRI. */
import { get } from "node:http";
import { resolve } from "node:path";

import { parse } from "smol-toml";
import * as v from "valibot";

import { throwIfInterrupted } from "../errors.ts";
import { hostPath, type HostPath } from "../system/below.ts";
import { socketPath, type CallLimits } from "./service.ts";

/** Where CRI-O reads network configurations and finds plugins. */
export interface CrioConfig {
  configDir: HostPath;
  pluginDirs: HostPath[];
  /** The network that it uses, whichever comes first; none by default. */
  defaultNetwork: string | undefined;
}

/** The table `crio.network` of CRI-O's pkg/config/config.go. */
const Config = v.object({
  crio: v.object({
    network: v.object({
      network_dir: v.string(),
      plugin_dirs: v.array(v.string()),
      cni_default_network: v.optional(v.string(), ""),
    }),
  }),
});

/** It has a few KiB. */
const MAX_SIZE = 1024 * 1024;

/**
 * Asks CRI-O for its configuration (`/config` of server/inspect.go, what `crio status config` prints).
 *
 * @returns nothing where it does not tell. @throws Interrupted
 */
export async function readCrioConfig(socket: string, limits: CallLimits): Promise<CrioConfig | undefined> {
  try {
    const { crio } = v.parse(Config, parse(await read(socketPath(socket), "/config", limits)));
    return {
      configDir: hostPath(resolve(crio.network.network_dir)),
      pluginDirs: crio.network.plugin_dirs.map((directory) => hostPath(resolve(directory))),
      defaultNetwork: crio.network.cni_default_network || undefined,
    };
  } catch {
    throwIfInterrupted(limits.signal);
    return undefined;
  }
}

async function read(socket: string, path: string, { timeout, signal }: CallLimits): Promise<string> {
  return new Promise((fulfil, reject) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(timeout))]);
    const request = get({ socketPath: socket, path, agent: false, signal: limit }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if ((size += chunk.length) > MAX_SIZE) request.destroy(new Error("too much"));
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
        fulfil(Buffer.concat(chunks).toString("utf8"));
      });
    });
    request.on("error", reject);
  });
}
