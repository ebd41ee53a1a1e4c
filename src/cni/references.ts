/** Which plugins a network configuration needs on the node. Pure. */
import { isObject } from "./json.ts";

/** A plugin that a configuration needs. */
export interface PluginUse {
  /** Its file name. */
  type: string;
  /** The version of the specification that it is called with, where the configuration says so. */
  cniVersion?: string;
}

/**
 * The plugins that a configuration names, itself first: `type`, `ipam.type`, `delegate.type` and `delegates`, which are
 * configurations or lists themselves; of flannel also what it calls when it is not told (flannel_linux.go). Other keys
 * called type (Calico's `policy.type`) name no plugin.
 *
 * @param config of a plugin, or a list.
 * @param cniVersion the version that it is used with: a plugin's is its list's. Delegates say their own.
 */
export function usesOf(config: unknown, cniVersion?: string): PluginUse[] {
  if (!isObject(config)) return [];
  const { type, ipam, delegate, delegates, plugins } = config;
  const version = cniVersion === undefined ? {} : { cniVersion };
  const [byDefault, ipamByDefault] = type === "flannel" ? ["bridge", "host-local"] : [];
  return [
    ...[type, typeOf(ipam)].filter(isName).map((name) => ({ type: name, ...version })),
    ...[typeOf(delegate) ?? byDefault, typeOf(ipam) === undefined ? ipamByDefault : undefined]
      .filter(isName)
      .map((name) => ({ type: name })),
    ...listOf(delegates).flatMap((one) => usesOf(one, versionOf(one))),
    ...listOf(plugins).flatMap((one) => usesOf(one, cniVersion)),
  ];
}

/** The names of these plugins, each once. */
export function referencesOf(config: unknown): string[] {
  return [...new Set(usesOf(config).map(({ type }) => type))];
}

/** The kubeconfigs that a plugin's configuration names, those of its delegates included. */
export function kubeconfigsOf(config: unknown): string[] {
  if (!isObject(config)) return [];
  const { kubeconfig, kubernetes, ipam, delegate, delegates, plugins } = config;
  const nested = [kubernetes, ipam, delegate, ...listOf(delegates), ...listOf(plugins)];
  return [...(isName(kubeconfig) ? [kubeconfig] : []), ...nested.flatMap(kubeconfigsOf)];
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function typeOf(value: unknown): unknown {
  return isObject(value) ? value["type"] : undefined;
}

function versionOf(value: unknown): string | undefined {
  const version = isObject(value) ? value["cniVersion"] : undefined;
  return isName(version) ? version : undefined;
}
