/** Calls of the plugins of a network. */
import type { Command } from "./command.ts";
import type { NetworkList, PluginConfig } from "./config.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import { findPlugin, invoke, PluginError } from "./invoke.ts";
import { attachmentRequest, gcRequest, statusRequest, type ValidAttachment } from "./request.ts";
import { readResult, type AnyResult } from "./result.ts";
import type { Attachment, Runtime } from "./runtime.ts";

/** One attachment, and the result that a plugin is to be given. */
export interface Attached extends Runtime, Attachment {
  prevResult?: AnyResult | undefined;
}

/** The path of a plugin. Throws `CniError` when there is none. */
export function lookUp({ type }: PluginConfig, { pluginDirs, pluginRoot }: Runtime): string {
  const path = findPlugin(type, pluginDirs, pluginRoot);
  if (path !== undefined) return path;
  const msg = `plugin ${type}: not found in ${pluginDirs.join(", ") || "no directory"}`;
  throw new CniError({ code: ERROR_CODES.invalidNetworkConfig, msg });
}

/** ADD. Returns the plugin's result, in its own version. */
export async function callAdd(network: NetworkList, plugin: PluginConfig, attached: Attached): Promise<AnyResult> {
  const path = lookUp(plugin, attached);
  const invocation = { plugin: plugin.type, path, command: "ADD" } as const;
  const stdin = attachmentRequest(network, plugin, attached);
  const stdout = await invoke({ ...invocation, parameters: attached, stdin }, attached);
  try {
    return readResult(stdout, network.cniVersion);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    throw new PluginError("answer", { ...invocation, stdout, stderr: "", exitCode: 0 }, error);
  }
}

/** CHECK, or DEL. */
export async function callWithResult(
  command: "CHECK" | "DEL",
  network: NetworkList,
  plugin: PluginConfig,
  attached: Attached,
): Promise<void> {
  const path = lookUp(plugin, attached);
  const stdin = attachmentRequest(network, plugin, attached);
  await invoke({ plugin: plugin.type, path, command, parameters: attached, stdin }, attached);
}

/** STATUS. */
export async function callStatus(network: NetworkList, plugin: PluginConfig, runtime: Runtime): Promise<void> {
  await callForAll("STATUS", plugin, statusRequest(network, plugin), runtime);
}

/** GC. */
export async function callGc(
  network: NetworkList,
  plugin: PluginConfig,
  valid: readonly ValidAttachment[],
  runtime: Runtime,
): Promise<void> {
  await callForAll("GC", plugin, gcRequest(network, plugin, valid), runtime);
}

/** There are no attachment parameters. */
async function callForAll(command: Command, plugin: PluginConfig, stdin: string, runtime: Runtime): Promise<void> {
  const { pluginDirs } = runtime;
  const path = lookUp(plugin, runtime);
  await invoke({ plugin: plugin.type, path, command, parameters: { pluginDirs }, stdin }, runtime);
}
