/** What is shown to nobody. */
import { parseTree, type Node } from "jsonc-parser";

/** Keys whose values are shown to nobody. */
const SECRET = /token|secret|password|key|cert/iu;
const SECRET_PEM = /(-----BEGIN [^-]+-----)[^-]*(-----END)/gu;

/** Does a key of that name have a value that is shown to nobody? */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
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
    const value = secretIn(node);
    if (value !== undefined) ranges.push({ from: value.offset, to: value.offset + value.length });
    else node?.children?.forEach(visit);
  };
  visit(parseTree(text));
  return ranges.reduceRight((masked, { from, to }) => `${masked.slice(0, from)}"***"${masked.slice(to)}`, text);
}

/** The value of a property whose key says what it is; also of `{"name": "DB_PASSWORD", "value": …}`, as Kubernetes has it. */
function secretIn(node: Node | undefined): Node | undefined {
  const [key, value] = node?.children ?? [];
  if (node?.type !== "property") return undefined;
  if (SECRET.test(String(key?.value))) return value;
  if (key?.value !== "value") return undefined;
  const name = node.parent?.children?.find(({ children }) => children?.[0]?.value === "name")?.children?.[1];
  return SECRET.test(String(name?.value ?? "")) ? value : undefined;
}

/** A key in a text in JSON, and its value, also where that is cut off; of a list or an object all that follows. */
const QUOTED = new RegExp(
  String.raw`("[^"\\]*(?:${SECRET.source})[^"\\]*"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[{[][^]*|[^\s,}\]]+)`,
  "giu",
);
/** The same in a text that is a string in JSON itself. */
const ESCAPED = new RegExp(
  String.raw`(\\"[^"\\]*(?:${SECRET.source})[^"\\]*\\"\s*:\s*)\\"(?:[^"\\]|\\(?!"))*(?:\\")?`,
  "giu",
);

/** More than anybody reads of a message. */
const MOST = 64 * 1024;

/** Masks what looks like a secret in the JSON that a message quotes. */
export function maskQuoted(message: string): string {
  const text = message.length > MOST ? `${message.slice(0, MOST)}…` : message;
  return text
    .replace(QUOTED, '$1"***"')
    .replace(ESCAPED, String.raw`$1\"***\"`)
    .replace(SECRET_PEM, "$1***$2");
}
