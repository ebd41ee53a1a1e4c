/** What stays although a run was to remove it: the last configuration, and plugins that are still needed. */
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { warning } from "../finding.ts";
import type { Decided, Kept, Surroundings, Wanted } from "./kind.ts";
import { isTokenFile, tokenFileOf } from "./lists.ts";
import { configsAfter, lookAtNeeds } from "./removal.ts";

/** Removals that nobody asked for by name do not take the last configuration; the others say what it means. */
export function keepNetwork(decided: Decided[], { allowNoNetwork }: Wanted, { configDirectory }: Surroundings): Kept {
  const asDecided = { decided, warnings: [], isDraining: false };
  if (configDirectory === undefined || !decided.some(isConfigRemoved)) return asDecided;
  const left = [...configsIn(configDirectory, decided).keys()];
  if (left.some((name) => !name.includes("/"))) return asDecided;
  const isKept = (one: Decided): boolean => isConfigRemoved(one) && one.step.pruned === true && !allowNoNetwork;
  if (decided.some(isKept)) {
    const reason = "the node would be left without a CNI configuration; --allow-no-network removes it";
    return { ...asDecided, decided: decided.map((one) => (isKept(one) ? keep(one, reason) : one)) };
  }
  const meaning =
    "no CNI configuration is left: the node becomes NotReady, new pods do not start, and containerd cannot remove the network of pods that end, until there is one again";
  return { ...asDecided, warnings: [warning("no-network", configDirectory, meaning)] };
}

/** Plugins stay as long as something needs them (docs/reliability.md, 5). */
export function keepNeeded(decided: Decided[], { force }: Wanted, { configDirectory, hostRoot }: Surroundings): Kept {
  if (force || !decided.some(isPluginRemoved)) return { decided, warnings: [], isDraining: false };
  const configs = configDirectory === undefined ? undefined : configsIn(configDirectory, decided);
  const needs = lookAtNeeds(configs, hostRoot);
  let isDraining = false;
  const kept = decided.map((one) => {
    const need = isPluginRemoved(one) ? needs.of(one.result.name) : undefined;
    if (need?.passing === true) isDraining = true;
    return need === undefined ? one : keep(one, need.reason);
  });
  const warnings = kept.some(isPluginRemoved)
    ? needs.unseen.map((what) => warning("needs-unseen", "plugins", `are removed without knowing ${what}`))
    : [];
  return { decided: kept, warnings, isDraining };
}

/** Credentials stay as long as something names them: pods that end need them as well. */
export function keepNamed(decided: Decided[], wanted: Wanted, { configDirectory, hostRoot }: Surroundings): Kept {
  const { force, credentials } = wanted;
  const asDecided = { decided, warnings: [], isDraining: false };
  if (force || !decided.some(isCredentialRemoved)) return asDecided;
  const configs = configDirectory === undefined ? undefined : configsIn(configDirectory, decided);
  const needs = lookAtNeeds(configs, hostRoot);
  const removed = decided.filter(isCredentialRemoved).map(({ result: { name } }) => name);
  const needOf = new Map(removed.map((name) => [name, needs.ofFile(join(credentials.directory, name))]));
  let isDraining = false;
  const kept = decided.map((one) => {
    if (!isCredentialRemoved(one)) return one;
    const { name } = one.result;
    // A kubeconfig that stays needs its token.
    const user = isTokenFile(name) ? removed.find((other) => other !== name && tokenFileOf(other) === name) : undefined;
    const need = needOf.get(name) ?? needOf.get(user ?? "");
    if (need?.passing === true) isDraining = true;
    return need === undefined ? one : keep(one, need.reason);
  });
  const warnings = kept.some(isCredentialRemoved)
    ? needs.unseen.map((what) => warning("needs-unseen", "credentials", `are removed without knowing ${what}`))
    : [];
  return { decided: kept, warnings, isDraining };
}

function isCredentialRemoved({ result, file }: Decided): boolean {
  return result.kind === "credentials" && file?.effect === "remove";
}

function isConfigRemoved({ result, file }: Decided): boolean {
  return result.kind === "config" && file?.effect === "remove" && isConfigName(result.name);
}

function isPluginRemoved({ result, file }: Decided): boolean {
  return result.kind === "plugin" && file?.effect === "remove";
}

function keep({ step, result: { texts: _texts, ...result } }: Decided, reason: string): Decided {
  return { step, result: { ...result, outcome: "kept", reason } };
}

/** The configurations as they will be after this run. */
function configsIn(directory: string, decided: readonly Decided[]): Map<string, string> {
  const configs = decided.filter(({ result, file }) => result.kind === "config" && file !== undefined);
  const removed = configs.filter(({ file }) => file?.effect === "remove").map(({ result }) => result.name);
  const written = configs.flatMap(({ result, file }): [string, string][] =>
    file?.effect === "write" || file?.effect === "restore" ? [[result.name, result.texts?.after ?? ""]] : [],
  );
  return configsAfter(directory, new Map(written), new Set(removed));
}
