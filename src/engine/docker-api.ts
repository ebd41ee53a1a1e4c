/** What dockerd says of itself, and a throw-away container, by its API. */
import { randomBytes } from "node:crypto";
import { request } from "node:http";

import { cancellationOf, Failure, Interrupted, reasonOf, throwIfInterrupted } from "../errors.ts";
import { SETTINGS } from "../oci/request.ts";

/** An API call must end by then, milliseconds: the first container of an engine takes some seconds. */
const LIMIT_MS = 60_000;
const MAX_ANSWER = 16 * 1024 * 1024;

/** dockerd behind its socket. */
export interface Docker {
  socket: string;
  signal: AbortSignal;
}

interface Answer {
  status: number;
  body: unknown;
}

/** @throws Failure `docker-silent`. Interrupted. */
async function ask({ socket, signal }: Docker, method: string, path: string, sent?: unknown): Promise<Answer> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]);
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const headers = { host: "docker", ...(sent === undefined ? {} : { "content-type": "application/json" }) };
      const call = request({ socketPath: socket, method, path, headers, signal: limit, agent: false }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("error", reject);
        response.on("data", (part: string) => {
          text += part;
          if (text.length > MAX_ANSWER) response.destroy(new Error("the answer is too long"));
        });
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, body: parsed(text) });
        });
      });
      call.on("error", reject);
      call.end(sent === undefined ? undefined : JSON.stringify(sent));
    });
  } catch (error) {
    throwIfInterrupted(signal);
    throw new Failure({
      code: "docker-silent",
      subject: socket,
      problem: `dockerd does not answer: ${reasonOf(error)}`,
      hint: "is dockerd running? mount its socket, if this is a container",
      cause: error,
    });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What dockerd has loaded. */
export interface DockerInfo {
  version: string;
  /** By their names, as dockerd runs them. */
  runtimes: ReadonlyMap<string, { path: string; runtimeArgs: readonly string[] }>;
  /** Undefined: it knows nothing of CDI. */
  cdiDirs: string[] | undefined;
}

/** @throws Failure `docker-silent` */
export async function dockerInfo(docker: Docker): Promise<DockerInfo> {
  const { status, body } = await ask(docker, "GET", "/info");
  const { ServerVersion, Runtimes, CDISpecDirs } = (body ?? {}) as Record<string, unknown>;
  if (status !== 200 || typeof Runtimes !== "object" || Runtimes === null) throw refused(docker, "/info", body);
  return {
    version: typeof ServerVersion === "string" ? ServerVersion : "unknown",
    runtimes: new Map(Object.entries(Runtimes).map(([name, one]) => [name, loadedRuntime(one)])),
    cdiDirs: Array.isArray(CDISpecDirs) ? CDISpecDirs.map(String) : undefined,
  };
}

function loadedRuntime(value: unknown): { path: string; runtimeArgs: string[] } {
  const { path, runtimeArgs } = (value ?? {}) as Record<string, unknown>;
  return {
    path: typeof path === "string" ? path : "",
    runtimeArgs: Array.isArray(runtimeArgs) ? runtimeArgs.map(String) : [],
  };
}

/** The containers that have a runtime. @throws Failure `docker-silent` */
export async function containersWith(docker: Docker, runtime: string): Promise<{ name: string; isRunning: boolean }[]> {
  const { body } = await ask(docker, "GET", "/containers/json?all=1");
  const found = [];
  for (const { Id } of listOf(body)) {
    const { status, body: one } = await ask(docker, "GET", `/containers/${encodeURIComponent(String(Id))}/json`);
    const { Name, HostConfig, State } = (one ?? {}) as Record<string, unknown>;
    if (status !== 200 || fieldOf(HostConfig, "Runtime") !== runtime) continue;
    found.push({ name: String(Name).replace(/^\//u, ""), isRunning: fieldOf(State, "Running") === true });
  }
  return found;
}

/** The smallest image that is there; undefined: there is none. @throws Failure `docker-silent` */
export async function imageAtHand(docker: Docker): Promise<string | undefined> {
  const { body } = await ask(docker, "GET", "/images/json");
  const bySize = listOf(body).toSorted((a, b) => Number(a["Size"]) - Number(b["Size"]));
  return typeof bySize[0]?.["Id"] === "string" ? bySize[0]["Id"] : undefined;
}

/** What a container of the proof may take: the image is anybody's. */
const MEMORY = 128 * 1024 * 1024;
const PIDS = 64;
const NEVER = new AbortController().signal;

/**
 * Runs `true` in a container without a network of Docker's, and removes it, even if the signal comes.
 *
 * @returns false: the image has no such program.
 * @throws Failure `engine-proof-failed` with what dockerd says, `docker-silent`. Interrupted.
 */
export async function tryContainer(docker: Docker, runtime: string, image: string): Promise<boolean> {
  const name = proofName();
  // dockerd makes a container even if nobody waits for the answer.
  const patient = { ...docker, signal: NEVER };
  const [ran] = await Promise.allSettled([runProof(docker, patient, { name, runtime, image })]);
  await remove(patient, name);
  throwIfProofInterrupted(docker.signal);
  if (ran.status === "rejected") throw ran.reason;
  return ran.value;
}

async function remove(docker: Docker, name: string): Promise<void> {
  let why: string;
  try {
    const { status, body } = await ask(docker, "DELETE", `/containers/${name}?force=1&v=1`);
    if (status === 204 || status === 404) return;
    why = messageOf(body);
  } catch (error) {
    why = reasonOf(error);
  }
  throw notRemoved(name, why, "docker");
}

/** @param command what removes it. */
export function notRemoved(name: string, why: string, command: string): Failure {
  const problem = `the container of the proof cannot be removed: ${why}`;
  const hint = `remove it: ${command} rm --force ${name}`;
  return new Failure({ code: "engine-proof-failed", subject: name, problem, hint });
}

/** The name of a container that is tried. */
export function proofName(): string {
  return `cni-node-proof-${randomBytes(6).toString("hex")}`;
}

/** After the container is removed. */
export function throwIfProofInterrupted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const when = " while a container was tried: it is removed, and the runtime is as it was before this run";
  throw new Interrupted(cancellationOf(signal), when);
}

async function runProof(
  docker: Docker,
  patient: Docker,
  { name, runtime, image }: { name: string; runtime: string; image: string },
): Promise<boolean> {
  const { status, body } = await ask(patient, "POST", `/containers/create?name=${name}`, {
    Image: image,
    Entrypoint: ["true"],
    Cmd: [],
    // The image may ask for a network, an address or a port of the host.
    Env: Object.values(SETTINGS).map(([, variable]) => `${variable}=`),
    Labels: { "io.cni-node.proof": "true" },
    Healthcheck: { Test: ["NONE"] },
    HostConfig: {
      NetworkMode: "none",
      Runtime: runtime,
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Memory: MEMORY,
      PidsLimit: PIDS,
      LogConfig: { Type: "none" },
    },
  });
  if (status !== 201) throw refused(docker, "a container cannot be created", body);
  const started = await ask(docker, "POST", `/containers/${name}/start`);
  if (started.status === 204) return endsWell(docker, name);
  if (/exec: "true": executable file not found|exec: "true": stat true/u.test(messageOf(started.body))) return false;
  throw refused(docker, "a container cannot be started", started.body);
}

/** The options of `podman run` for the same. */
export function proofOptions(name: string): string[] {
  const harmless = Object.values(SETTINGS).flatMap(([annotation, variable]) => {
    return [`--annotation=${annotation}=`, `--env=${variable}=`];
  });
  const set = {
    "--name": name,
    "--network": "none",
    "--pull": "never",
    "--entrypoint": '["true"]',
    "--cap-drop": "all",
    "--security-opt": "no-new-privileges",
    "--memory": String(MEMORY),
    "--pids-limit": String(PIDS),
    "--log-driver": "none",
    "--image-volume": "ignore",
  };
  return [...Object.entries(set).flat(), ...harmless, "--read-only", "--no-healthcheck"];
}

async function endsWell(docker: Docker, id: string): Promise<true> {
  const { body } = await ask(docker, "POST", `/containers/${id}/wait`);
  if (fieldOf(body, "StatusCode") === 0) return true;
  throw refused(docker, "a container that runs `true` has failed", body);
}

function refused({ socket }: Docker, what: string, body: unknown): Failure {
  const problem = `${what}: ${messageOf(body)}`;
  return new Failure({ code: "engine-proof-failed", subject: socket, problem });
}

function messageOf(body: unknown): string {
  const message = fieldOf(body, "message");
  return typeof message === "string" ? message.slice(0, 2000) : "dockerd does not say why";
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function listOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : [];
}
