/**
 * Builds a current Docker and a program that looks at its container from inside. Run it before the tests of containers
 * that get their network from CNI.
 */
import { buildPrograms, findPrograms, type GoPrograms } from "../helpers/go-programs.ts";

const VERSION = "28.2.2";

const PROGRAMS: GoPrograms = {
  name: "engine",
  directory: import.meta.dirname,
  packages: {
    docker: "github.com/docker/cli/cmd/docker",
    dockerd: "github.com/docker/docker/cmd/dockerd",
    probe: "./probe",
  },
  sources: ["probe/main.go", "rosetta/go.mod", "rosetta/rosetta.go"],
  ldflags: ["cli/cli/version", "docker/dockerversion"].map((path) => `-X github.com/docker/${path}.Version=${VERSION}`),
  tags: ["exclude_graphdriver_btrfs", "exclude_graphdriver_zfs"],
};

/** The directory of the programs; an error says why there are none. */
export function findEnginePrograms(): string {
  return findPrograms(PROGRAMS);
}

if (import.meta.main) buildPrograms(PROGRAMS);
