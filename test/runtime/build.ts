/** Builds containerd 2 and the pods' first program. Run it before tests that start a container runtime. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { buildPrograms, findPrograms, type GoPrograms } from "../helpers/go-programs.ts";

const HERE = import.meta.dirname;

const PROGRAMS: GoPrograms = {
  name: "runtime",
  directory: HERE,
  packages: {
    containerd: "github.com/containerd/containerd/v2/cmd/containerd",
    "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    pause: "./pause",
  },
  sources: ["pause/main.go"],
  ldflags: [`-X github.com/containerd/containerd/v2/version.Version=${containerdVersion()}`],
  // What needs a file system or a tracer that no test has is left out.
  tags: ["no_btrfs", "no_devmapper", "no_zfs", "no_tracing"],
};

/** The directory of the programs; an error says why there are none. */
export function findRuntimePrograms(): string {
  return findPrograms(PROGRAMS);
}

/** What containerd says of itself. */
function containerdVersion(): string {
  const requirement = /github\.com\/containerd\/containerd\/v2 (v\S+)/u;
  const [, version] = requirement.exec(readFileSync(join(HERE, "go.mod"), "utf8")) ?? [];
  if (version === undefined) throw new Error("go.mod does not require github.com/containerd/containerd/v2");
  return version;
}

if (import.meta.main) buildPrograms(PROGRAMS);
