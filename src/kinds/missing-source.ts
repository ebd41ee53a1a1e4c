/** Suggestions for a name that is not among the sources. Pure. */
import { nearestTo } from "../system/nearest.ts";

/** `did you mean bridge? `, or nothing. */
export function didYouMean(names: readonly string[], known: readonly string[]): string {
  const meant = names.flatMap((name) => nearestTo(name, known) ?? []);
  return meant.length === 0 ? "" : `did you mean ${[...new Set(meant)].join(", ")}? `;
}
