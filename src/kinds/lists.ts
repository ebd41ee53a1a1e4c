/** What the options of the kinds list. */
import { usage } from "../errors.ts";
import { objectionToName } from "../system/name.ts";

/**
 * What an option asks for: the desired names and, when the caller says what is there (`desired:current`), the current
 * ones. Both in the given order, without duplicates.
 */
export interface Lists {
  desired: string[];
  current?: string[];
}

/**
 * Reads `desired[:current]`: names split on commas and any white space, empties and duplicates harmless.
 *
 * @throws Failure `usage` for two colons and for a name that is not a file name.
 */
export function parseLists(option: string, text: string): Lists {
  const [desired = "", current, ...more] = text.split(":");
  if (more.length > 0) {
    throw usage(option, "has two colons, one may separate desired from current", `write ${option}=DESIRED:CURRENT`);
  }
  return current === undefined
    ? { desired: parseNames(option, desired) }
    : { desired: parseNames(option, desired), current: parseNames(option, current) };
}

/** Reads a list of names, as `parseLists` without a colon. */
export function parseNames(option: string, text: string): string[] {
  const names = text.split(/[,\s]+/u).filter((name) => name !== "");
  for (const name of names) checkName(option, name);
  return [...new Set(names)];
}

/** Asset names are one path component, so that no list can reach outside the target directories. */
function checkName(option: string, name: string): void {
  const objection = objectionToName(name);
  if (objection !== undefined) {
    throw usage(option, `${JSON.stringify(name)} is not an asset name: ${objection}`, "give file names, not paths");
  }
}
