import { createTwoFilesPatch } from "diff";

import { mask } from "./secrets.ts";
import { visible } from "./system/text.ts";

/** So many lines may be added and removed; the time to find them grows with the square. */
const MOST_CHANGES = 4000;

/** A unified diff of two texts, with the values of what looks like a secret masked. Empty where they are equal. */
export function unifiedDiff(file: string, before: string, after: string): string {
  if (before === after) return "";
  const name = visible(file);
  const [from, to] = [spread(mask(before)), spread(mask(after))];
  if (from === to) return `--- ${name}\n+++ ${name}\n(only masked values differ)\n`;
  const isOneSided = from === "" || to === "";
  const options = { context: 3, maxEditLength: isOneSided ? Infinity : MOST_CHANGES };
  const patch = createTwoFilesPatch(name, name, from, to, "now", "planned", options);
  if (patch === undefined) return `--- ${name}\n+++ ${name}\n(more differs than can be shown)\n`;
  return patch.replace(/^Index: .*\n=+\n/u, "");
}

/** Shows the texts of a ConfigMap line by line, as YAML does: of one that is long, only what differs is of interest. */
function spread(text: string): string {
  if (!text.includes(String.raw`\n`)) return text;
  return text
    .split("\n")
    .map((line) => spreadLine(line) ?? line)
    .join("\n");
}

/** Of `"key": "text",` or `"text",`. */
function spreadLine(line: string): string | undefined {
  const member = line.trim().replace(/,$/u, "");
  if (!member.startsWith('"') || !member.endsWith('"') || !member.includes(String.raw`\n`)) return undefined;
  const [found] = membersOf(`{${member}}`) ?? membersOf(`{"": ${member}}`) ?? [];
  if (found?.[1].includes("\n") !== true) return undefined;
  const [key, content] = found;
  const indent = line.slice(0, line.indexOf('"'));
  const endsLine = content.endsWith("\n");
  const lines = (endsLine ? content.slice(0, -1) : content).split("\n");
  const head = `${key === "" ? "" : `${JSON.stringify(key)}: `}${endsLine ? "|" : "|-"}`;
  return [`${indent}${head}`, ...lines.map((one) => (one === "" ? "" : `${indent}  ${one}`))].join("\n");
}

/** Undefined: it only looks like a line of JSON. */
function membersOf(json: string): [string, string][] | undefined {
  try {
    return Object.entries(JSON.parse(json) as Record<string, unknown>).map(([key, value]) => [key, String(value)]);
  } catch {
    return undefined;
  }
}
