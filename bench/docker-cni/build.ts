/** Builds what projecteru2/docker-cni does, retold, with which `make bench` compares. */
import { buildPrograms, findPrograms, type GoPrograms } from "../../test/helpers/go-programs.ts";

const PROGRAMS: GoPrograms = {
  name: "docker-cni",
  directory: import.meta.dirname,
  packages: { "docker-cni": "./docker-cni" },
  sources: ["docker-cni/main.go"],
};

/** The directory of docker-cni; an error says why there is none. */
export function findDockerCni(): string {
  return findPrograms(PROGRAMS);
}

if (import.meta.main) buildPrograms(PROGRAMS);
