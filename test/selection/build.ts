/** Builds the program that asks go-cni, ocicni and libcni. Run it before the tests that compare with them. */
import { buildPrograms, findPrograms, type GoPrograms } from "../helpers/go-programs.ts";

const PROGRAMS: GoPrograms = {
  name: "selection",
  directory: import.meta.dirname,
  packages: { runtimes: "./runtimes" },
  sources: ["runtimes/main.go"],
};

/** The directory of the program; an error says why there is none. */
export function findSelectionPrograms(): string {
  return findPrograms(PROGRAMS);
}

if (import.meta.main) buildPrograms(PROGRAMS);
