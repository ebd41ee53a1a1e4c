/** The commands that fix findings, as people run them. Pure. */
import { KINDS } from "../asset.ts";
import type { Cure, CureOfAsset, Finding } from "../finding.ts";
import { isVisible, shellWord } from "../system/text.ts";

/** The command of a cure. Undefined: a name in it cannot be part of a list, or people must not paste it. */
export function commandOf(cure: Cure, options: readonly string[] = []): string | undefined {
  const names = cure.kind === "network" ? [cure.name] : [cure.name, cure.owner ?? ""];
  if (!names.every(isVisible)) return undefined;
  if (cure.kind === "network") return `cni-node network gc ${shellWord(cure.name)}`;
  if (cure.kind === "chain") return `cni-node install --chain=${shellWord(cure.name)} --owner=${shellWord(cure.owner)}`;
  // These separate the names in a list.
  if (/[\s,:]/u.test(cure.name)) return undefined;
  const owner = cure.owner === undefined ? [] : [`--owner=${shellWord(cure.owner)}`];
  return [...installationOf(cure), ...options, ...owner].join(" ");
}

function installationOf({ kind, name, account, form }: CureOfAsset): string[] {
  const item = account === undefined ? name : `${name}=${account}`;
  return [
    `cni-node ${KINDS[kind].command}${shellWord(item)}`,
    ...(form === undefined ? [] : [`--credentials-form=${form}`]),
  ];
}

/** The finding with the command of its cure at the end of its hint. */
export function withCommand(
  { cure, ...finding }: Finding,
  command = cure === undefined ? undefined : commandOf(cure),
): Finding {
  const words = [finding.hint ?? [], command ?? []].flat();
  return words.length === 0 ? finding : { ...finding, hint: words.join(": ") };
}
