import { createTwoFilesPatch } from "diff";

import { mask } from "./secrets.ts";

/** So many lines may be added and removed; the time to find them grows with the square. */
const MOST_CHANGES = 4000;

/** A unified diff of two texts, with the values of what looks like a secret masked. Empty where they are equal. */
export function unifiedDiff(name: string, before: string, after: string): string {
  if (before === after) return "";
  const [from, to] = [mask(before), mask(after)];
  if (from === to) return `--- ${name}\n+++ ${name}\n(only masked values differ)\n`;
  const isOneSided = from === "" || to === "";
  const options = { context: 3, maxEditLength: isOneSided ? Infinity : MOST_CHANGES };
  const patch = createTwoFilesPatch(name, name, from, to, "now", "planned", options);
  if (patch === undefined) return `--- ${name}\n+++ ${name}\n(more differs than can be shown)\n`;
  return patch.replace(/^Index: .*\n=+\n/u, "");
}
