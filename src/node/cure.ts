/** The commands that fix findings, as people run them. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { KINDS, type Kind } from "../asset.ts";
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

/** The directories from which assets of some kinds are copied. */
export type Sources = Partial<Record<Kind, string>>;

/**
 * The finding with the command of its cure at the end of its hint. The command is one that works when it is followed to
 * the letter: what is not in the image can only come from another installer.
 */
export function withCommand(
  { cure, ...finding }: Finding,
  sources: Sources,
  command = cure === undefined ? undefined : commandOf(cure),
): Finding {
  const lacking = cure && sourceWithout(cure, sources);
  if (lacking !== undefined) {
    const hint = `have its installer install it: restart its pod on this node; ${lacking} here does not have it`;
    return { ...finding, hint };
  }
  const words = [finding.hint ?? [], command ?? []].flat();
  return words.length === 0 ? finding : { ...finding, hint: words.join(": ") };
}

/** The source that lacks what a cure installs. What has an owner came from an image that has it. */
function sourceWithout(cure: Cure, sources: Sources): string | undefined {
  if (!isOfAsset(cure) || cure.owner !== undefined) return undefined;
  const { [cure.kind]: source } = sources;
  return source === undefined || existsSync(join(source, cure.name)) ? undefined : source;
}

function isOfAsset(cure: Cure): cure is CureOfAsset {
  return Object.hasOwn(KINDS, cure.kind);
}
