import { createTwoFilesPatch } from "diff";
import { parseTree, type Node } from "jsonc-parser";

/** Keys whose values are shown to nobody. */
const SECRET = /token|secret|password|key|cert/iu;
const SECRET_PEM = /(-----BEGIN [^-]+-----)[^-]*(-----END)/gu;

/** Does a key of that name have a value that is shown to nobody? */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** A unified diff of two texts, with the values of what looks like a secret masked. Empty where they are equal. */
export function unifiedDiff(name: string, before: string, after: string): string {
  if (before === after) return "";
  const [from, to] = [mask(before), mask(after)];
  if (from === to) return `--- ${name}\n+++ ${name}\n(only masked values differ)\n`;
  const patch = createTwoFilesPatch(name, name, from, to, "now", "planned", { context: 3 });
  return patch.replace(/^Index: .*\n=+\n/u, "");
}

/**
 * Masks the values of keys that look like a token, secret, password, key or certificate, whole and at any depth.
 * A text that cannot be understood is not shown if it has such a word.
 */
export function mask(text: string): string {
  try {
    JSON.parse(text);
    return maskJson(text).replace(SECRET_PEM, "$1***$2");
  } catch {
    if (!SECRET.test(text) && !text.includes("-----BEGIN")) return text;
    return "(not shown: this is no JSON, and seems to hold a secret)\n";
  }
}

/** Leaves everything else as it is written. */
function maskJson(text: string): string {
  const ranges: { from: number; to: number }[] = [];
  const visit = (node: Node | undefined): void => {
    const [key, value] = node?.children ?? [];
    if (node?.type === "property" && value !== undefined && SECRET.test(String(key?.value))) {
      ranges.push({ from: value.offset, to: value.offset + value.length });
    } else node?.children?.forEach(visit);
  };
  visit(parseTree(text));
  return ranges.reduceRight((masked, { from, to }) => `${masked.slice(0, from)}"***"${masked.slice(to)}`, text);
}
