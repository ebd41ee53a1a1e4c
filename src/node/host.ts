/**
 * Where plugins act: as the host would run them. Their stores, sockets, kubeconfigs and firewall are the host's, and so
 * are the paths of network namespaces and process numbers that they are given.
 */
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import { hostPath, seenBelow, shownAs, type HostPath } from "../system/below.ts";
import { Failure, reasonOf } from "../errors.ts";
import { readLinkIfPossible, readText, SIZE_LIMITS } from "../system/read.ts";

/** The host as this process reaches it. */
export interface Host {
  /** Where this process sees the host's files: empty on the host itself, else `/proc/1/root`. */
  root: string;
  /** The words before a program that is to run on the host. */
  wrapper: readonly string[];
}

/** A process that is on the host. */
const ON_HOST: Host = { root: "", wrapper: [] };

/** A process in a container that sees the host's processes. */
const BESIDE_HOST: Host = {
  root: "/proc/1/root",
  // The network, too: a bridge in the container's own would be of no use.
  wrapper: ["nsenter", "--mount=/proc/1/ns/mnt", "--net=/proc/1/ns/net", "--"],
};

/** The kernel's number of the first PID namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h). */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
/** What marks a container, where the process numbers do not. */
const MARKS = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"];
/** What a container needs to enter the host's namespaces, by their numbers. */
const CAPABILITIES = { CAP_SYS_CHROOT: 18, CAP_SYS_PTRACE: 19, CAP_SYS_ADMIN: 21 };

/**
 * Finds the host.
 *
 * @param hostRoot `--host-root`: `/` says that this process is on the host.
 * @param named was it given?
 * @throws Failure `host-unreachable` when this process is in a container that cannot act on the host.
 */
export function findHost(hostRoot: string, named: boolean): Host {
  if (named && resolve(hostRoot) === "/") return ON_HOST;
  const isFirst = readLinkIfPossible("/proc/self/ns/pid") === FIRST_PID_NAMESPACE;
  const first = readLinkIfPossible("/proc/1/ns/mnt");
  if (first === undefined) {
    if (isFirst && !isContainer(hostRoot)) return ON_HOST;
    throw unreachable("the host's first process cannot be examined", lackingCapabilities());
  }
  if (first === readLinkIfPossible("/proc/self/ns/mnt")) {
    if (isFirst || !isContainer(hostRoot)) return ON_HOST;
    throw unreachable("plugins would act on this container", "it does not see the host's processes");
  }
  // With a PID namespace that the containers of a pod share, process 1 is the pod's.
  if (!isFirst && !["opt/cni", "etc/cni"].some((path) => fs.existsSync(`/proc/1/root/${path}`))) {
    throw unreachable("plugins would act on this container", "process 1 that it sees is not a node's");
  }
  const lacking = lackingCapabilities();
  if (lacking !== "") throw unreachable("the host's namespaces cannot be entered", lacking);
  return BESIDE_HOST;
}

/** Where this process sees a file of the host; links are followed as on the host. */
export function pathHere({ root }: Host, path: string): string {
  if (root === "") return path;
  const found = seenBelow(root, hostPath(path)) ?? join(root, path);
  // The links of processes lead to no path, and whoever sees the host's processes sees them here.
  return found.startsWith(`${root}/proc/`) ? found.slice(root.length) : found;
}

/**
 * The host's path of a file, from how it is called in a container with the host's files at `hostRoot`.
 *
 * @param host undefined: the host cannot be reached from the container.
 */
export function pathOnHost(host: Host | undefined, hostRoot: string, path: string): HostPath {
  return hostPath(host?.root === "" ? path : shownAs(resolve(hostRoot), path));
}

function isContainer(hostRoot: string): boolean {
  return [...MARKS, hostRoot].some((path) => fs.existsSync(path));
}

function lackingCapabilities(): string {
  let status: string;
  try {
    status = readText("/proc/self/status", SIZE_LIMITS.proc);
  } catch (error) {
    return reasonOf(error);
  }
  const [, effective = "0"] = /^CapEff:\t(\w+)$/mu.exec(status) ?? [];
  const lacking = Object.entries(CAPABILITIES).filter(
    ([, bit]) => (BigInt(`0x${effective}`) & (1n << BigInt(bit))) === 0n,
  );
  return lacking.length === 0 ? "" : `it lacks ${lacking.map(([name]) => name).join(", ")}`;
}

function unreachable(problem: string, why: string): Failure {
  return new Failure({
    code: "host-unreachable",
    subject: "host",
    problem: why === "" ? problem : `${problem}: ${why}`,
    hint: "run it on the host, or in a privileged container that sees the host's processes (docker run --privileged --pid=host; privileged and hostPID: true in a pod); on the host itself --host-root=/ says so",
  });
}
