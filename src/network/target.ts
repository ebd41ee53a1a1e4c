/** What a network is added to: a network namespace, and what its container is known by. */
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import { hasTooManyValues, isObject } from "../cni/json.ts";
import { Failure, systemFailure, isExhaustion } from "../errors.ts";
import { firstEntriesIn } from "../system/entries.ts";
import { readText as read, SIZE_LIMITS } from "../system/read.ts";
import { isIdOf, shellWord } from "../system/text.ts";
import { netnsOf } from "./mark.ts";
import { identityOf, NAMED, sinceWhen } from "./namespace.ts";
import { pathHere, type Host } from "../node/host.ts";
import { remembered } from "./remembered.ts";

/** A network namespace that is there, or was. */
export interface NetworkTarget {
  /** As it was given: `docker:web`. */
  text: string;
  /** Its path as the host's processes see it. */
  netns: string;
  containerId: string;
  /** Its name in /run/netns, if it was given by it. */
  name?: string;
}

/** What TARGET can be, for messages. */
const FORMS =
  "TARGET is the path of a network namespace, its name in /run/netns, pid:N, runc:ID, docker:ID, podman:ID or pod:NAMESPACE/NAME";

/**
 * Finds the network namespace. Those of containers are found in the state that their runtimes keep on the disk; a path,
 * a name and a process number need not be there.
 *
 * @throws Failure `usage`; `target-missing` when there is no such container, or it is not running.
 */
export function resolveTarget(text: string, host: Host, cacheDir: string): NetworkTarget {
  if (text.includes("\0")) throw usage(text, "has a NUL in it");
  if (/^\.{0,2}\//u.test(text)) return ofPath(text, resolve(text));
  const [, kind = "", id = ""] = /^([a-z]+):(.*)$/u.exec(text) ?? [];
  switch (kind) {
    case "":
      break;
    case "pid":
      if (!/^[1-9]\d*$/u.test(id)) throw usage(text, "is not a process number");
      return ofPath(text, `/proc/${id}/ns/net`);
    case "runc":
      return ofOci(text, id, host);
    case "docker":
      return ofDocker(text, id, host);
    case "podman":
      return ofPodman(text, id, host);
    case "pod":
      return ofPod(text, id, host, cacheDir);
    default:
      throw usage(text, `is not a known target: ${kind}`);
  }
  if (text.includes("/") || text.startsWith(".") || text === "") throw usage(text, "is not a name in /run/netns");
  return { ...ofPath(text, join(NAMED, text)), name: text };
}

/** The namespace of that target, which must be there. Throws `Failure`, `netns-missing`. */
export function requireNamespace({ text, netns, name }: NetworkTarget, host: Host): string {
  const identity = identityOf(pathHere(host, netns));
  if (identity !== undefined) return identity;
  throw new Failure({
    code: "netns-missing",
    subject: text,
    problem: `${netns} is not a network namespace`,
    hint: hintFor(name, pathHere(host, netns)),
  });
}

/** A file of that name, which ip-netns(8) mounts the namespace on, may be all that a reboot has left of it. */
function hintFor(name: string | undefined, path: string): string {
  if (name === undefined) return `${FORMS}; cnitool takes paths only`;
  return fs.existsSync(path)
    ? `it is a file, not a namespace: remove it with ip netns delete ${shellWord(name)}, then --new makes one`
    : "--new makes it; ip netns list shows those that are there";
}

/** libcni's cnitool makes the same of it, so that each of the two finds what the other has added. */
function ofPath(text: string, netns: string): NetworkTarget {
  const digest = hash("sha512", netns).slice(0, 20);
  return { text, netns, containerId: `cnitool-${digest}` };
}

function ofProcess(text: string, containerId: string, pid: number | undefined): NetworkTarget {
  if (pid === undefined) {
    throw missing(text, "there is no such container, or it is not running", "give its ID, and run as root");
  }
  return { text, netns: `/proc/${pid}/ns/net`, containerId };
}

/** The state of runc is a directory a container, that of crun as well; both may be asked for by the same ID. */
function ofOci(text: string, given: string, host: Host): NetworkTarget {
  const ids = new Set(["/run/runc", "/run/crun"].flatMap((directory) => filesIn(host, directory)));
  const known = [...ids].filter((id) => isIdOf(given, id)).map((id) => ({ id, names: [] }));
  const id = known.length === 0 ? given : choose(text, given, known).id;
  return ofProcess(text, id, pidOfOci(id, host));
}

function pidOfOci(id: string, host: Host): number | undefined {
  if (!isName(id)) return undefined;
  const runc = readObject(host, `/run/runc/${id}/state.json`);
  const crun = readObject(host, `/run/crun/${id}/status`);
  return (
    pidSince(runc?.["init_process_pid"], runc?.["init_process_start"]) ??
    pidSince(crun?.["pid"], crun?.["process-start-time"])
  );
}

/** The state of a container that has ended stays until it is deleted, and another process may have got its number. */
function pidSince(value: unknown, since: unknown): number | undefined {
  const pid = pidOf(value);
  const present = pid === undefined ? undefined : sinceWhen(`/proc/${pid}/ns/net`);
  return since === undefined || present === undefined || Number(present) === since ? pid : undefined;
}

function ofDocker(text: string, id: string, host: Host): NetworkTarget {
  const { "data-root": root } = readObject(host, "/etc/docker/daemon.json") ?? {};
  const directory = join(isPath(root) ? root : "/var/lib/docker", "containers");
  const known = filesIn(host, directory).map((name) => {
    const state = readObject(host, join(directory, name, "config.v2.json")) ?? {};
    const { Name, State } = state as { Name?: unknown; State?: unknown };
    const { Running, Pid } = (isObject(State) ? State : {}) as { Running?: unknown; Pid?: unknown };
    const names = typeof Name === "string" ? [Name.replace(/^\//u, "")] : [];
    return { id: name, names, pid: Running === true ? pidOf(Pid) : undefined };
  });
  const found = choose(text, id, known);
  return ofProcess(text, found.id, pidIn(found.pid, found.id));
}

/** An entry of another form is passed over: the others are found all the same. */
function ofPodman(text: string, id: string, host: Host): NetworkTarget {
  const stores = "/var/lib/containers/storage";
  const known = filesIn(host, stores)
    .filter((name) => name.endsWith("-containers"))
    .flatMap((store) => {
      const listed = readJson(host, join(stores, store, "containers.json"));
      return (Array.isArray(listed) ? listed.filter(isObject) : []).flatMap((one) => {
        const { id: listedId, names } = one as { id?: unknown; names?: unknown };
        if (typeof listedId !== "string" || !isName(listedId)) return [];
        return [
          { id: listedId, names: Array.isArray(names) ? names.filter((name) => typeof name === "string") : [], store },
        ];
      });
    });
  const { id: containerId, store } = choose(text, id, known);
  const pidFile = `/run/containers/storage/${store}/${containerId}/userdata/pidfile`;
  return ofProcess(text, containerId, pidIn(pidOf(Number(readText(host, pidFile) ?? "")), containerId));
}

/** What the kernel says; empty where it does not. */
function readKernelText(path: string): string {
  return unlessExhausted(path, () => read(path, SIZE_LIMITS.proc)) ?? "";
}

/**
 * The process, if it is one of that container: what a runtime has written of one that was killed with it stays, and
 * another process gets the number. Its group names the container, or its parent was started for it.
 */
function pidIn(pid: number | undefined, id: string): number | undefined {
  if (pid === undefined) return undefined;
  // The 4th field; the second one is a name in brackets, which may have anything in it.
  const [, parent = ""] = readKernelText(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? [];
  const names =
    readKernelText(`/proc/${pid}/cgroup`).includes(id) || readKernelText(`/proc/${parent}/cmdline`).includes(id);
  return names ? pid : undefined;
}

/** Every runtime that uses libcni notes the pod's name among the arguments of its attachments. */
function ofPod(text: string, id: string, host: Host, cacheDir: string): NetworkTarget {
  const [, namespace, name] = /^([^/]+)\/([^/]+)$/u.exec(id) ?? [];
  if (namespace === undefined) throw usage(text, "is not pod:NAMESPACE/NAME");
  const sandboxes = remembered(cacheDir, ({ args }) => {
    const given = new Map(args);
    return given.get("K8S_POD_NAMESPACE") === namespace && given.get("K8S_POD_NAME") === name;
  })
    .map((attachment) => ({ containerId: attachment.containerId, netns: netnsOf(attachment) }))
    .filter(({ netns }) => netns !== "" && identityOf(pathHere(host, netns)) !== undefined);
  const [sandbox, another] = [...new Map(sandboxes.map((one) => [one.netns, one])).values()];
  if (sandbox === undefined) {
    throw missing(
      text,
      `${cacheDir} has no attachment of such a pod that is running`,
      "the pod must run on this node, with a network of its own (no hostNetwork)",
    );
  }
  if (another !== undefined) {
    const paths = [sandbox, another].map(({ netns }) => netns).join(", ");
    throw missing(text, `there is more than one: ${paths}`, "give the path of the network namespace");
  }
  return { text, ...sandbox };
}

function choose<T extends { id: string; names: string[] }>(text: string, id: string, known: readonly T[]): T {
  const exact = known.filter((one) => one.id === id || one.names.includes(id));
  const [found, another] = exact.length > 0 ? exact : known.filter((one) => isIdOf(id, one.id));
  if (found === undefined) throw missing(text, "there is no such container on this host", "give its ID or its name");
  if (another !== undefined) throw missing(text, "there is more than one such container", "give more of its ID");
  return found;
}

/** Is it the name of a file? */
function isName(id: string): boolean {
  const isWord = id !== "" && id !== "." && id !== "..";
  return isWord && Buffer.byteLength(id) <= 255 && !/[/\0]/u.test(id);
}

function isPath(value: unknown): value is string {
  return typeof value === "string" && value.startsWith("/") && !value.includes("\0");
}

function pidOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && Number(value) > 0 ? Number(value) : undefined;
}

/** What cannot be read, and what might never end, is as good as absent. */
function readText(host: Host, path: string): string | undefined {
  return unlessExhausted(path, () => read(pathHere(host, path), SIZE_LIMITS.state));
}

/** Undefined: it does not work. Throws `Failure` where nothing would, for want of descriptors. */
function unlessExhausted<T>(path: string, attempt: () => T): T | undefined {
  try {
    return attempt();
  } catch (error) {
    if (isExhaustion(error)) throw systemFailure(path, "cannot be read", error);
    return undefined;
  }
}

function readJson(host: Host, path: string): unknown {
  const text = readText(host, path) ?? "";
  if (hasTooManyValues(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readObject(host: Host, path: string): Record<string, unknown> | undefined {
  const value = readJson(host, path);
  return isObject(value) ? value : undefined;
}

/** So many containers are looked at. */
const MAX_CONTAINERS = 10_000;

/** None where there is no such directory, and where there are too many to be of containers. */
function filesIn(host: Host, directory: string): string[] {
  const found = unlessExhausted(directory, () => firstEntriesIn(pathHere(host, directory), MAX_CONTAINERS));
  return found === undefined || found.isCut ? [] : found.entries.map(({ name }) => name.toString());
}

function usage(text: string, problem: string): Failure {
  return new Failure({ code: "usage", subject: JSON.stringify(text), problem, hint: FORMS, exitCode: 2 });
}

function missing(text: string, problem: string, hint: string): Failure {
  return new Failure({ code: "target-missing", subject: text, problem, hint });
}
