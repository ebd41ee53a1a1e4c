/** What a ConfigMap asks for. Pure. */
import { ALL_KINDS, KINDS, type Kind } from "../asset.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { LIST_FORMS, type Lists } from "../kinds/lists.ts";
import { visible } from "../system/text.ts";

/** The keys of the ConfigMap, which are the options' names, and what their lists are of. */
const KEYS: ReadonlyMap<string, Kind> = new Map(ALL_KINDS.map((kind) => [KINDS[kind].option, kind]));

/** More unknown keys are not named. */
const MOST_KEYS = 10;

/** What is desired, and what to say about it. */
export interface DesiredLists {
  /** A kind that is not in it stays as it is; an empty list removes all of a kind. */
  lists: Partial<Record<Kind, Lists>>;
  findings: Finding[];
}

/**
 * Reads the lists of a ConfigMap: names separated by commas and any white space, so also block scalars.
 *
 * @param object undefined: there is no such ConfigMap.
 * @param subject its name, for people.
 * @throws Failure `desired-missing`, `desired-invalid`: what was desired before stays.
 */
export function desiredIn(object: unknown, subject: string): DesiredLists {
  if (object === undefined) {
    throw new Failure({
      code: "desired-missing",
      subject,
      problem: "does not exist: what is installed stays as it is",
      hint: "create it; empty lists in it remove what is installed",
    });
  }
  const { data } = object as { data?: unknown };
  const entries = typeof data === "object" && data !== null ? Object.entries(data) : [];
  const known = entries.flatMap(([key, text]) => {
    const kind = KEYS.get(key);
    return kind === undefined ? [] : [{ key, kind, text }];
  });
  if (known.length === 0) {
    throw new Failure({
      code: "desired-invalid",
      subject,
      problem: "has none of the keys plugins, credentials, configs and manifests: what is installed stays as it is",
      hint: "add the keys; an empty list removes what is installed",
    });
  }
  const lists = known.map(({ key, kind, text }) => [kind, listIn(text, `${subject}: ${key}`, kind)] as const);
  const unknown = entries.map(([key]) => key).filter((key) => !KEYS.has(key));
  const isMissing = (kind: Kind): boolean => !LIST_FORMS[kind].isOptional && known.every((one) => one.kind !== kind);
  const missing = [...KEYS].flatMap(([key, kind]) => (isMissing(kind) ? [key] : []));
  return {
    lists: Object.fromEntries(lists),
    findings: [
      ...(missing.length === 0
        ? []
        : [
            warning(
              "desired-key-missing",
              subject,
              `does not have ${named(missing)}: what is installed of these stays`,
            ),
          ]),
      ...(unknown.length === 0
        ? []
        : [warning("desired-key-unknown", subject, `has keys that are not known: ${named(unknown)}`)]),
    ],
  };
}

function named(keys: readonly string[]): string {
  return keys.slice(0, MOST_KEYS).map(visible).join(", ");
}

/** A name that cannot be one makes the whole list invalid. */
function listIn(text: unknown, subject: string, kind: Kind): Lists {
  try {
    if (typeof text === "string") return LIST_FORMS[kind].parse(subject, text);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { problem, hint } = error;
    throw new Failure({ code: "desired-invalid", subject, problem, ...(hint !== undefined && { hint }) });
  }
  throw new Failure({ code: "desired-invalid", subject, problem: "is not a text" });
}
