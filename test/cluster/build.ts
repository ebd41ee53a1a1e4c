/** Builds the programs of a Kubernetes control plane for tests. Run it before tests that start a cluster. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { buildPrograms, findPrograms, type GoPrograms } from "../helpers/go-programs.ts";

const HERE = import.meta.dirname;

const PROGRAMS: GoPrograms = {
  name: "cluster",
  directory: HERE,
  packages: {
    etcd: "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    kubelet: "k8s.io/kubernetes/cmd/kubelet",
    kubectl: "k8s.io/kubernetes/cmd/kubectl",
    decode: "./decode",
  },
  sources: ["decode/main.go"],
  ldflags: kubernetesVersion(),
};

/** The directory of the programs; an error says why there are none. */
export function findClusterPrograms(): string {
  return findPrograms(PROGRAMS);
}

/** What the programs say of themselves. */
function kubernetesVersion(): string[] {
  const requirement = /^\s*k8s\.io\/kubernetes (v(\d+)\.(\d+)\S+)/mu;
  const [, version, major, minor] = requirement.exec(readFileSync(join(HERE, "go.mod"), "utf8")) ?? [];
  if (version === undefined) throw new Error("go.mod does not require k8s.io/kubernetes");
  const stamp = { gitVersion: version, gitMajor: major, gitMinor: minor };
  return Object.entries(stamp).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
}

if (import.meta.main) buildPrograms(PROGRAMS);
