/** Section 3, Deriving request configuration from plugin configuration. */
import type { NetworkList, PluginConfig } from "./config.ts";
import { isObject } from "./json.ts";
import type { AnyResult } from "./result.ts";

/** What an operation adds to the configuration of a plugin. */
export interface RequestParameters {
  /** Absent for the first ADD of a chain. */
  prevResult?: AnyResult | undefined;
  /** What the runtime offers, by capability; the plugin gets what it has declared. */
  capabilityArgs?: Readonly<Record<string, unknown>> | undefined;
}

/** An attachment to a network that still exists, as GC tells of it. */
export interface ValidAttachment {
  containerID: string;
  ifname: string;
}

/** The request of ADD, DEL and CHECK, as JSON. */
export function attachmentRequest(
  network: NetworkList,
  plugin: PluginConfig,
  { prevResult, capabilityArgs = {} }: RequestParameters,
): string {
  const { capabilities, prevResult: _ofNoAdd, ...rest } = baseRequest(network, plugin);
  const declared = isObject(capabilities) ? capabilities : {};
  const offered = Object.entries(capabilityArgs).filter(([capability]) => own(declared, capability) === true);
  return JSON.stringify({
    ...rest,
    ...(offered.length === 0 ? {} : { runtimeConfig: Object.fromEntries(offered) }),
    ...(prevResult === undefined ? {} : { prevResult }),
  });
}

/** The request of STATUS, as JSON. */
export function statusRequest(network: NetworkList, plugin: PluginConfig): string {
  return JSON.stringify(baseRequest(network, plugin));
}

/** The request of GC, as JSON. */
export function gcRequest(network: NetworkList, plugin: PluginConfig, valid: readonly ValidAttachment[]): string {
  return JSON.stringify({ ...baseRequest(network, plugin), "cni.dev/valid-attachments": valid });
}

/** What is always inserted, and all other keys unaltered, but for those that only the runtime may set. */
function baseRequest({ name, cniVersion }: NetworkList, plugin: PluginConfig): Record<string, unknown> {
  const passed = Object.entries(plugin).filter(([key]) => !key.startsWith("cni.dev/"));
  return { ...Object.fromEntries(passed), cniVersion, name };
}

function own(value: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}
