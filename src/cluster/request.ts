/** One request to the Kubernetes API, raw: nothing of an object is lost or reshaped on our side. */
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

import { Failure, Interrupted, reasonOf, throwIfInterrupted } from "../errors.ts";
import type { Access } from "./access.ts";
import { parseJson, stringifyJson, type JsonValue } from "./json.ts";

export interface ApiRequest {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  query?: Record<string, string>;
  body?: JsonValue;
  contentType?: string;
}

export interface ApiResponse {
  status: number;
  /** A Status object where it failed; text that is no JSON as it is. */
  body: JsonValue;
}

/** An attempt that is not answered is given up after this, so that a connection which is half open is noticed. */
const READ_MS = 15_000;
/** The same for what goes by admission webhooks, one of which may take 30 seconds before it is ignored. */
const WRITE_MS = 40_000;
/** What every attempt may take, also when the run's time is over: undoing is tried at least once. */
const SHORTEST_ATTEMPT_MS = 2_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/** The API for the time of one run. */
export class Api {
  readonly access: Access;
  readonly #deadline: number;
  #signal: AbortSignal;

  /** @param deadline milliseconds since the epoch; until then, what may pass is tried again. */
  constructor(access: Access, deadline: number, signal: AbortSignal) {
    this.access = access;
    this.#deadline = deadline;
    this.#signal = signal;
  }

  /** Is there no time left? */
  get expired(): boolean {
    return Date.now() >= this.#deadline;
  }

  throwIfInterrupted(): void {
    throwIfInterrupted(this.#signal);
  }

  /** From here on the run is carried through, or undone, whatever signal comes. */
  ignoreSignal(): void {
    this.#signal = new AbortController().signal;
  }

  /**
   * Sends a request until it is answered. Connection errors, 429 and 5xx are tried again, at growing and jittered
   * intervals or when the server says; every request of ours may be repeated. One that changes something is not
   * interrupted once it has been sent: what became of it must be known.
   *
   * @throws Failure `api-unreachable`; Interrupted.
   */
  async request(request: ApiRequest): Promise<ApiResponse> {
    this.throwIfInterrupted();
    const signal = isChange(request) ? new AbortController().signal : this.#signal;
    let refreshed = false;
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#attempt(request, signal);
      throwIfInterrupted(signal);
      if (answer instanceof Error) {
        if (this.expired || isLasting(answer)) throw this.#unreachable(answer);
      } else if (answer.status === 401 && !refreshed) {
        // The token may just have been replaced; credentials are read for each attempt.
        refreshed = true;
      } else if (!isPassing(answer) || this.expired) return answer;
      await this.#pause(signal, attempt, answer instanceof Error ? undefined : answer.retryAfter);
    }
  }

  /** Waits before the next attempt: longer each time, never the same for two nodes, not beyond the deadline. */
  async pause(attempt: number): Promise<void> {
    await this.#pause(this.#signal, attempt);
  }

  async #pause(signal: AbortSignal, attempt: number, seconds?: number): Promise<void> {
    const backoff = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt) * (0.5 + Math.random());
    const wanted = seconds === undefined ? backoff : seconds * 1000 + Math.random() * FIRST_PAUSE_MS;
    const left = Math.max(0, this.#deadline - Date.now());
    await sleep(Math.min(wanted, left), undefined, { signal }).catch(() => undefined);
    throwIfInterrupted(signal);
  }

  async #attempt(request: ApiRequest, signal: AbortSignal): Promise<(ApiResponse & { retryAfter?: number }) | Error> {
    const longest = request.method === "GET" ? READ_MS : WRITE_MS;
    const patience = Math.max(SHORTEST_ATTEMPT_MS, Math.min(longest, this.#deadline - Date.now()));
    try {
      return await send(this.access, request, AbortSignal.any([signal, AbortSignal.timeout(patience)]));
    } catch (error) {
      if (error instanceof Failure || error instanceof Interrupted) throw error;
      return error as Error;
    }
  }

  #unreachable(error: Error): Failure {
    const why = error.name === "TimeoutError" ? "no answer in time" : reasonOf(error);
    return new Failure({
      code: "api-unreachable",
      subject: this.access.server.origin,
      problem: `the Kubernetes API cannot be reached: ${why}`,
      hint: "look at the address and the certificate in the kubeconfig, and at the network between here and there; --timeout gives it more time",
      cause: error,
    });
  }
}

function isChange({ method, query }: ApiRequest): boolean {
  return method !== "GET" && query?.["dryRun"] === undefined;
}

/** A certificate that is not trusted or for another name, or a key that is none, will be the same the next time. */
function isLasting(error: Error): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return /CERT|UNABLE_TO_VERIFY|SELF_SIGNED|OSSL|INVALID_CHAR/u.test(code);
}

/** Is it worth another attempt? Server-side apply answers 500 also to fields that a kind does not have. */
function isPassing({ status, body }: ApiResponse): boolean {
  if (status === 500 && stringifyJson(body).includes("failed to create typed patch object")) return false;
  return status === 429 || (status >= 500 && status <= 504 && status !== 501);
}

async function send(
  access: Access,
  { method, path, query = {}, body, contentType = "application/json" }: ApiRequest,
  signal: AbortSignal,
): Promise<ApiResponse & { retryAfter?: number }> {
  const url = new URL(access.server);
  url.pathname = `${url.pathname.replace(/\/$/u, "")}${path}`;
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const options = await access.options();
  const payload = body === undefined ? undefined : stringifyJson(body);
  const headers = {
    ...(options.headers as http.OutgoingHttpHeaders),
    Accept: "application/json",
    "User-Agent": "cni-node",
    ...(payload === undefined ? {} : { "Content-Type": contentType, "Content-Length": Buffer.byteLength(payload) }),
  };
  return new Promise((resolve, reject) => {
    const client = url.protocol === "http:" ? http : https;
    const sent = client.request(url, { ...options, method, headers, signal }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        if (!response.complete) return reject(new Error("the answer was cut off"));
        const retryAfter = Number(response.headers["retry-after"]);
        const status = response.statusCode ?? 0;
        const answer = parsed(Buffer.concat(chunks).toString("utf8"));
        if (status < 300 && (typeof answer !== "object" || answer === null)) {
          return reject(new Error("the answer is no Kubernetes object"));
        }
        resolve({
          status,
          body: answer,
          ...(Number.isFinite(retryAfter) && response.headers["retry-after"] !== undefined ? { retryAfter } : {}),
        });
      });
    });
    sent.on("error", (error) => reject(signal.aborted ? (signal.reason as Error) : error));
    sent.end(payload);
  });
}

function parsed(text: string): JsonValue {
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}
