/** Templates and manifests straight from ConfigMaps. Pure. */
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Texts } from "../kinds/source.ts";
import { objectionToName } from "../system/name.ts";
import { visible } from "../system/text.ts";

/** More names are not listed in a message. */
const MOST_NAMES = 10;

/**
 * The texts in the `data` of ConfigMaps, by the names of assets.
 *
 * For `--config-templates` and `--manifest-templates`. What this throws is the failure of the reconcile, so the last
 * good state stays.
 *
 * @param objects `name` for people, `ConfigMap kube-system/templates`; `object` undefined: there is no such ConfigMap.
 * @returns also what is ignored.
 * @throws Failure `templates-missing`, `templates-invalid`, `templates-duplicate`.
 */
export function templatesIn(objects: readonly { name: string; object: unknown }[]): {
  texts: Texts;
  findings: Finding[];
} {
  const byName = new Map<string, { text: string; from: string }>();
  const findings: Finding[] = [];
  for (const { name: from, object } of objects) {
    if (object === undefined) throw missing(from);
    const { data = {}, binaryData = {} } = object as { data?: unknown; binaryData?: unknown };
    const entries = entriesOf(data, from);
    for (const [name, text] of entries.filter(isAsset)) {
      const other = byName.get(name)?.from;
      if (other !== undefined) throw duplicate(name, other, from);
      byName.set(name, { text: checked(text, `${from}: ${name}`), from });
    }
    const ignored = entries.filter((entry) => !isAsset(entry)).map(([key]) => key);
    if (ignored.length > 0)
      findings.push(warning("templates-ignored", from, `has keys that cannot be file names: ${named(ignored)}`));
    const binary = Object.keys(binaryData ?? {});
    if (binary.length > 0)
      findings.push(warning("templates-ignored", from, `has binaryData, which is not supported: ${named(binary)}`));
  }
  return { texts: { byName, from: objects.map(({ name }) => name) }, findings };
}

function isAsset([key]: [string, unknown]): boolean {
  return objectionToName(key) === undefined;
}

function entriesOf(data: unknown, subject: string): [string, unknown][] {
  if (data === null) return [];
  if (typeof data === "object" && !Array.isArray(data)) return Object.entries(data);
  throw invalid(subject, "its data is not an object");
}

/** JSON can hold half of a character, which no file of UTF-8 text can. */
function checked(text: unknown, subject: string): string {
  if (typeof text !== "string") throw invalid(subject, "is not a text");
  if (!text.isWellFormed()) throw invalid(subject, "is not UTF-8 text");
  return text;
}

function named(keys: readonly string[]): string {
  return keys.slice(0, MOST_NAMES).map(visible).join(", ");
}

function missing(subject: string): Failure {
  return new Failure({
    code: "templates-missing",
    subject,
    problem: "does not exist: what is installed stays as it is",
    hint: "create it, or remove it from --config-templates or --manifest-templates",
  });
}

function invalid(subject: string, problem: string): Failure {
  return new Failure({
    code: "templates-invalid",
    subject,
    problem: `${problem}: what is installed stays as it is`,
    hint: "fix the ConfigMap",
  });
}

function duplicate(name: string, one: string, other: string): Failure {
  return new Failure({
    code: "templates-duplicate",
    subject: name,
    problem: `is in ${one} and in ${other}: what is installed stays as it is`,
    hint: "remove it from one of them",
  });
}
