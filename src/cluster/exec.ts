/** Programs that give credentials (client.authentication.k8s.io), as client-go runs them. What they print is not shown. */
import { spawn, type ChildProcess } from "node:child_process";
import { constants } from "node:os";

import * as v from "valibot";

import { type Failure, isSystemError, reasonOf, throwIfInterrupted } from "../errors.ts";
import { SIZE_LIMITS } from "../system/read.ts";
import { visible } from "../system/text.ts";
import type { KubeconfigEntry, ExecEntry } from "./kubeconfig.ts";

/** What a program gave. */
export interface ExecCredentials {
  token?: string | undefined;
  certificate?: string | undefined;
  key?: string | undefined;
}

type Env = Readonly<Record<string, string | undefined>>;

const VERSIONS = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
const HINT = "run the program of the kubeconfig by hand to see what it says";
/** So long after the end of the program its output is waited for, which a process outside the group may hold. */
const LATE_OUTPUT_MS = 2000;
/** More than any hint needs. */
const MAX_HINT = 1000;

const ExecCredential = v.object({
  kind: v.literal("ExecCredential"),
  apiVersion: v.string(),
  status: v.object({
    token: v.nullish(v.string()),
    clientCertificateData: v.nullish(v.string()),
    clientKeyData: v.nullish(v.string()),
    expirationTimestamp: v.nullish(v.string()),
  }),
});

/** The program of a user in a kubeconfig. What it gave is kept until it expires or is refused. */
export class CredentialProgram {
  readonly #exec: KubeconfigEntry<ExecEntry>;
  /** The cluster as the program is told of it, if it is. */
  readonly #cluster: () => object;
  readonly #env: Env;
  #given: { credentials: ExecCredentials; until: number } | undefined;

  /** @throws Failure `kubeconfig-invalid`. */
  constructor(exec: KubeconfigEntry<ExecEntry>, cluster: () => object, env: Env) {
    this.#exec = exec;
    this.#cluster = cluster;
    this.#env = env;
    const { apiVersion, command, interactiveMode } = exec.value;
    if (!VERSIONS.includes(apiVersion)) {
      throw this.#objection("this version is not supported", `use ${VERSIONS.join(" or ")}`, "apiVersion");
    }
    if (command === "") throw this.#objection("the command of the credential program is missing");
    if (interactiveMode === "Always") {
      const hint = "use credentials that need no input, or interactiveMode: IfAvailable";
      throw this.#objection("the credential program wants to ask a person, and there is none", hint, "interactiveMode");
    }
  }

  /** What was given is not accepted: the program is asked again. */
  forget(): void {
    this.#given = undefined;
  }

  /** @throws Failure `credentials-failed`; Interrupted. */
  async credentials(signal: AbortSignal): Promise<ExecCredentials> {
    if (this.#given !== undefined && Date.now() < this.#given.until) return this.#given.credentials;
    const { status } = this.#read(await this.#run(signal));
    const { token, clientCertificateData, clientKeyData, expirationTimestamp } = status;
    if (!clientCertificateData !== !clientKeyData)
      throw this.#failed("gave a certificate without key, or a key without");
    if (!token && !clientKeyData) throw this.#failed("gave neither a token nor a certificate");
    const credentials: ExecCredentials = {
      token: token || undefined,
      certificate: clientCertificateData || undefined,
      key: clientKeyData || undefined,
    };
    const until = expirationTimestamp ? Date.parse(expirationTimestamp) : Number.POSITIVE_INFINITY;
    if (Number.isNaN(until)) throw this.#failed("gave an expirationTimestamp that is not a time");
    this.#given = { credentials, until };
    return credentials;
  }

  #read(stdout: string): v.InferOutput<typeof ExecCredential> {
    let answer: unknown;
    try {
      answer = JSON.parse(stdout);
    } catch {
      throw this.#failed("did not print JSON");
    }
    const parsed = v.safeParse(ExecCredential, answer);
    if (!parsed.success) throw this.#failed("printed no ExecCredential with a status");
    if (parsed.output.apiVersion !== this.#exec.value.apiVersion) {
      throw this.#failed("answered in another version than the kubeconfig asks for");
    }
    return parsed.output;
  }

  async #run(signal: AbortSignal): Promise<string> {
    const { command, args, env, provideClusterInfo, apiVersion, installHint } = this.#exec.value;
    const spec = { ...(provideClusterInfo ? { cluster: this.#cluster() } : {}), interactive: false };
    const info = JSON.stringify({ kind: "ExecCredential", apiVersion, spec });
    const own = Object.fromEntries(env.map(({ name, value }) => [name, value]));
    // As client-go: a name is looked for in PATH, and a path starts at the file.
    const file = command.includes("/") ? this.#exec.from.resolve(command) : command;
    try {
      const end = await run(file, args, { ...this.#env, ...own, KUBERNETES_EXEC_INFO: info }, signal);
      if (end.stopped === "output") throw this.#failed("printed more than 1 MiB");
      if (end.stopped === "aborted") {
        if (typeof signal.reason === "string") throwIfInterrupted(signal);
        throw this.#failed(
          "did not answer in time",
          "--timeout gives it more time; run it by hand to see what it waits for",
        );
      }
      if (end.exitCode !== 0) {
        throw this.#failed(
          end.signal === undefined ? `failed with exit code ${end.exitCode}` : `was ended by ${end.signal}`,
        );
      }
      return end.stdout;
    } catch (error) {
      if (!(error instanceof Error) || !("code" in error) || error.name === "Failure") throw error;
      const hint = installHint === "" ? "install it, or correct the path" : visible(installHint.slice(0, MAX_HINT));
      if (isSystemError(error, "ENOENT")) throw this.#failed("cannot be started: there is no such program", hint);
      // Other messages quote the arguments.
      const reason = "errno" in error ? reasonOf(error) : "its command, arguments or environment cannot be passed on";
      throw this.#failed(`cannot be started: ${reason}`);
    }
  }

  #objection(problem: string, hint?: string, key = "command"): Failure {
    const { from, path } = this.#exec;
    return from.objection(problem, [...path, key], hint);
  }

  #failed(what: string, hint = HINT): Failure {
    const { from, path } = this.#exec;
    return from.objection(`the credential program ${what}`, [...path, "command"], hint, "credentials-failed");
  }
}

interface End {
  stdout: string;
  exitCode: number | undefined;
  signal: NodeJS.Signals | undefined;
  stopped?: "aborted" | "output";
}

/** Runs a program in a process group of its own, of which nothing is left. Rejects where it cannot be started. */
async function run(file: string, args: readonly string[], env: Env, signal: AbortSignal): Promise<End> {
  if (signal.aborted) return { stdout: "", exitCode: undefined, signal: undefined, stopped: "aborted" };
  const child = spawn(file, args, { env, detached: true, stdio: ["ignore", "pipe", "ignore"] });
  const chunks: Buffer[] = [];
  let size = 0;
  let stopped: End["stopped"];
  const stop = (why: NonNullable<End["stopped"]>): void => {
    stopped ??= why;
    killGroup(child);
    // A process that has left the group may hold the other end.
    child.stdout.destroy();
  };
  const onAbort = (): void => {
    stop("aborted");
  };
  signal.addEventListener("abort", onAbort);
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > SIZE_LIMITS.credentials) stop("output");
    else chunks.push(chunk);
  });
  child.stdout.on("error", () => undefined);
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => {
        killGroup(child);
        setTimeout(() => child.stdout.destroy(), LATE_OUTPUT_MS).unref();
      });
      child.once("close", (exitCode, endedBy) => {
        const stdout = Buffer.concat(chunks).toString("utf8");
        resolve({ stdout, exitCode: exitCode ?? undefined, signal: endedBy ?? undefined, ...(stopped && { stopped }) });
      });
    });
  } finally {
    signal.removeEventListener("abort", onAbort);
    child.stdout.destroy();
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, constants.signals.SIGKILL);
  } catch (error) {
    if (!isSystemError(error, "ESRCH", "EPERM")) throw error;
  }
}
