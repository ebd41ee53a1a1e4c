/** Builds cnitool, the command line of libcni, with which `make bench` compares. */
import { buildPrograms, findPrograms, type GoPrograms } from "../../test/helpers/go-programs.ts";

const PROGRAMS: GoPrograms = {
  name: "cnitool",
  directory: import.meta.dirname,
  packages: { cnitool: "github.com/containernetworking/cni/cnitool" },
  sources: [],
};

/** The directory of cnitool; an error says why there is none. */
export function findCnitool(): string {
  return findPrograms(PROGRAMS);
}

if (import.meta.main) buildPrograms(PROGRAMS);
