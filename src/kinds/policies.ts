/** What stays although a run was to remove it: the last configuration, plugins and credentials that are still needed. */
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { warning } from "../finding.ts";
import type { Decided, Kept, Surroundings, Wanted } from "./kind.ts";
import { isTokenFile, tokenFileOf } from "./lists.ts";
import { configsAfter, lookAtNeeds, type Need, type Needs } from "./removal.ts";

/** Removals that nobody asked for by name do not take the last configuration; the others say what it means. */
export function keepNetwork(decided: Decided[], { allowNoNetwork }: Wanted, { configDirectory }: Surroundings): Kept {
  if (configDirectory === undefined || !decided.some(isConfigRemoved)) return asDecided(decided);
  const left = [...configsIn(configDirectory, decided).keys()];
  if (left.some((name) => !name.includes("/"))) return asDecided(decided);
  const isKept = (one: Decided): boolean => isConfigRemoved(one) && one.step.pruned === true && !allowNoNetwork;
  if (decided.some(isKept)) {
    const reason = "the node would be left without a CNI configuration; --allow-no-network removes it";
    return { ...asDecided(decided), decided: decided.map((one) => (isKept(one) ? keep(one, reason) : one)) };
  }
  const meaning =
    "no CNI configuration is left: the node becomes NotReady, new pods do not start, and containerd cannot remove the network of pods that end, until there is one again";
  return { ...asDecided(decided), warnings: [warning("no-network", configDirectory, meaning)] };
}

/** Plugins stay as long as something needs them (docs/reliability.md, 5). */
export function keepNeeded(decided: Decided[], { force }: Wanted, surroundings: Surroundings): Kept {
  const needs = { what: "plugins", isRemoved: isPluginRemoved, needOf: ({ of }: Needs, name: string) => of(name) };
  return force ? asDecided(decided) : keepFor(decided, needs, surroundings);
}

/** Credentials stay as long as something names them: pods that end need them as well. */
export function keepNamed(decided: Decided[], { force, credentials }: Wanted, surroundings: Surroundings): Kept {
  const names = decided.filter(isCredentialRemoved).map(({ result: { name } }) => name);
  const needOf = ({ ofFile }: Needs, name: string): Need | undefined => {
    // A kubeconfig that stays needs its token.
    const users = isTokenFile(name) ? names.filter((other) => tokenFileOf(other) === name) : [name];
    return users.map((user) => ofFile(join(credentials.directory, user))).find((need) => need !== undefined);
  };
  const needs = { what: "credentials", isRemoved: isCredentialRemoved, needOf };
  return force ? asDecided(decided) : keepFor(decided, needs, surroundings);
}

/** What a kind of assets is kept for. */
interface KeptFor {
  /** In the plural. */
  what: string;
  isRemoved: (one: Decided) => boolean;
  needOf: (needs: Needs, name: string) => Need | undefined;
}

function keepFor(
  decided: Decided[],
  { what, isRemoved, needOf }: KeptFor,
  { configDirectory, hostRoot }: Surroundings,
): Kept {
  if (!decided.some(isRemoved)) return asDecided(decided);
  const configs = configDirectory === undefined ? undefined : configsIn(configDirectory, decided);
  const needs = lookAtNeeds(configs, hostRoot);
  let isDraining = false;
  const kept = decided.map((one) => {
    const need = isRemoved(one) ? needOf(needs, one.result.name) : undefined;
    if (need?.passing === true) isDraining = true;
    return need === undefined ? one : keep(one, need.reason);
  });
  const warnings = kept.some(isRemoved)
    ? needs.unseen.map((unseen) => warning("needs-unseen", what, `are removed without knowing ${unseen}`))
    : [];
  return { decided: kept, warnings, isDraining };
}

function asDecided(decided: Decided[]): Kept {
  return { decided, warnings: [], isDraining: false };
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
