import { createTwoFilesPatch } from "diff";

import { mask } from "./secrets.ts";

/** A unified diff of two texts, with the values of what looks like a secret masked. Empty where they are equal. */
export function unifiedDiff(name: string, before: string, after: string): string {
  if (before === after) return "";
  const [from, to] = [mask(before), mask(after)];
  if (from === to) return `--- ${name}\n+++ ${name}\n(only masked values differ)\n`;
  const patch = createTwoFilesPatch(name, name, from, to, "now", "planned", { context: 3 });
  return patch.replace(/^Index: .*\n=+\n/u, "");
}
