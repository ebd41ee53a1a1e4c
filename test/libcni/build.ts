/** Builds the program that does with libcni what src/cni does. Run it before the test that compares the two. */
import { buildPrograms, findPrograms, type GoPrograms } from "../helpers/go-programs.ts";

const PROGRAMS: GoPrograms = {
  name: "libcni",
  directory: import.meta.dirname,
  packages: { libcni: "./libcni" },
  sources: ["libcni/main.go"],
};

/** The directory of the program; an error says why there is none. */
export function findLibcniPrograms(): string {
  return findPrograms(PROGRAMS);
}

if (import.meta.main) buildPrograms(PROGRAMS);
