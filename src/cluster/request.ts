/** One request to the Kubernetes API, raw: nothing of an object is lost or reshaped on our side. */
import * as http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { Failure, Interrupted, reasonOf, throwIfInterrupted } from "../errors.ts";
import type { Access, Credentials } from "./access.ts";
import { connect } from "./connection.ts";
import { isTooDeep, parseJsonExactly, stringifyJson, type JsonValue } from "./json.ts";
import type { Deadline } from "../system/deadline.ts";

export interface ApiRequest {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  query?: Record<string, string>;
  body?: JsonValue;
  contentType?: string;
  /** How large the answer may be, bytes; that of an object if not given. */
  limit?: number;
  /** Nothing is left of it that anybody must know about: it may be interrupted although it is no GET. */
  isHarmless?: boolean;
}

export interface ApiResponse {
  status: number;
  /** A Status object where it failed; text that is not JSON as it is. */
  body: JsonValue;
  /** What the server warns of: deprecations, Pod Security. */
  warnings: string[];
}

interface Answer extends ApiResponse {
  /** Seconds. */
  retryAfter?: number | undefined;
}

const MIB = 1024 * 1024;

/** How large an answer may be, in bytes. */
export const ANSWER_LIMITS = {
  /** etcd takes 1.5 MiB, most of which may be characters that are six times as long in JSON. */
  object: 8 * MIB,
  /** The kinds of a group: 7 KiB are the most of Kubernetes itself, ten thousand have some 2 MiB. */
  discovery: 16 * MIB,
  /** A page of 500 Nodes: some 16 KiB each, with the images that they have. */
  page: 32 * MIB,
} as const;

/** An attempt that is not answered is given up after this, so that a connection which is half open is noticed. */
const READ_MS = 15_000;
/** The same for what goes by admission webhooks, one of which may take 30 seconds before it is ignored. */
const WRITE_MS = 40_000;
/** What every attempt may take, even if the run's time is over: undoing is tried at least once. */
const SHORTEST_ATTEMPT_MS = 2_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
/** The longest time that a timer takes; beyond it would end at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** More warnings, and longer ones, nobody reads. */
const MOST_WARNINGS = 10;
const LONGEST_WARNING = 1000;
/** What is shorter than any secret stands in every message. */
const SHORTEST_SECRET = 4;

/** The API for the time of one run. */
export class Api {
  readonly access: Access;
  readonly #deadline: Deadline;
  #signal: AbortSignal;
  readonly #redaction = new Redaction();

  /** @param deadline until then, what may pass is tried again. */
  constructor(access: Access, deadline: Deadline, signal: AbortSignal) {
    this.access = access;
    this.#deadline = deadline;
    this.#signal = signal;
  }

  /** Is there no time left? */
  get expired(): boolean {
    return this.#deadline.isOver;
  }

  throwIfInterrupted(): void {
    throwIfInterrupted(this.#signal);
  }

  /** From here on the run is carried through, or undone, whatever signal comes. */
  ignoreSignal(): void {
    this.#signal = new AbortController().signal;
  }

  /** What the API says, without the credentials that it may repeat. */
  redact(text: string): string {
    return this.#redaction.text(text);
  }

  /**
   * Sends a request until it is answered. Connection errors, 429 and 5xx are tried again, at growing and jittered
   * intervals or when the server says; every request of ours may be repeated. One that changes something is not
   * interrupted once it has been sent: what became of it must be known.
   *
   * @throws Failure `api-unreachable`, `answer-too-large`, `kubeconfig-invalid`, `credentials-failed`; Interrupted.
   */
  async request(request: ApiRequest): Promise<ApiResponse> {
    this.throwIfInterrupted();
    const signal = isChange(request) ? new AbortController().signal : this.#signal;
    let refreshed = false;
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#attempt(request, signal);
      throwIfInterrupted(signal);
      if (answer instanceof Error) {
        if (this.expired || isLasting(answer)) {
          throw unreachable(this.access.server, answer, this.#redaction, "; --timeout gives it more time");
        }
      } else if (answer.status === 401 && !refreshed) {
        // The token may just have been replaced; credentials are read for each attempt.
        refreshed = true;
        this.access.refused();
      } else if (!isPassing(answer) || this.expired) return answer;
      await this.#pause(signal, attempt, answer instanceof Error ? undefined : answer.retryAfter);
    }
  }

  /** Waits before the next attempt: longer each time, never the same for two nodes, not beyond the deadline. */
  async pause(attempt: number): Promise<void> {
    await this.#pause(this.#signal, attempt);
  }

  /** @param seconds what the server asks for: it may ask for more patience, not for less. */
  async #pause(signal: AbortSignal, attempt: number, seconds = 0): Promise<void> {
    const backoff = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt) * (0.5 + Math.random());
    const wanted = Math.max(backoff, seconds * 1000 + Math.random() * FIRST_PAUSE_MS);
    await sleep(Math.min(wanted, this.#deadline.left, LONGEST_TIMER_MS), undefined, { signal }).catch(() => undefined);
    throwIfInterrupted(signal);
  }

  async #attempt(request: ApiRequest, signal: AbortSignal): Promise<Answer | Error> {
    const longest = request.method === "GET" ? READ_MS : WRITE_MS;
    const left = Math.min(LONGEST_TIMER_MS, Math.max(SHORTEST_ATTEMPT_MS, this.#deadline.left));
    try {
      using patience = deadlineIn(left, this.#signal);
      const credentials = await this.access.credentials(patience.signal);
      this.#redaction.learn(credentials.secrets);
      using attempt = deadlineIn(Math.min(longest, Math.max(SHORTEST_ATTEMPT_MS, this.#deadline.left)), signal);
      const answer = await send(this.access.server, credentials, request, attempt.signal);
      const warnings = answer.warnings.map((warning) => this.redact(warning));
      return { ...answer, warnings, body: answer.status < 300 ? answer.body : this.#redaction.json(answer.body) };
    } catch (error) {
      if (error instanceof Failure || error instanceof Interrupted) throw error;
      // The reason of the run's signal is a name.
      if (!(error instanceof Error)) throwIfInterrupted(this.#signal);
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

/** Removes credentials from what the API says: it may repeat them. */
export class Redaction {
  readonly #secrets = new Set<string>();

  /** From now on, these are not shown. */
  learn(secrets: readonly string[]): void {
    for (const secret of secrets) if (secret.length >= SHORTEST_SECRET) this.#secrets.add(secret);
  }

  text(text: string): string {
    return Array.from(this.#secrets).reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
  }

  json(value: JsonValue): JsonValue {
    if (typeof value === "string") return this.text(value);
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.json(item));
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, this.json(part)]));
  }
}

/**
 * A connection that failed, or a request that was not answered.
 *
 * @param more the end of the hint.
 */
export function unreachable(server: URL, error: Error, redaction: Redaction, more = ""): Failure {
  return new Failure({
    code: "api-unreachable",
    subject: server.origin,
    problem: `the Kubernetes API cannot be reached: ${redaction.text(reasonOfConnection(error))}`,
    hint: `look at the address and the certificate in the kubeconfig, and at the network between here and there${more}`,
    cause: error,
  });
}

/** A signal that is aborted after a time, or with another; its timer ends with the block. */
export function deadlineIn(milliseconds: number, signal: AbortSignal): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new DOMException("no answer in time", "TimeoutError"));
  }, milliseconds);
  const onAbort = (): void => {
    controller.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    },
  };
}

/** Node's own words for a certificate that is not trusted end with advice for Node.js. */
function reasonOfConnection(error: Error): string {
  const [first] = error instanceof AggregateError ? (error.errors as Error[]) : [error];
  const { code = "" } = first as NodeJS.ErrnoException;
  const known = TLS_REASONS.find(([codes]) => codes.test(code))?.[1];
  return known ?? reasonOf(first ?? error);
}

const TLS_REASONS: readonly [codes: RegExp, reason: string][] = [
  [
    /^(?:UNABLE_TO_(?:VERIFY|GET_ISSUER)|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED)/u,
    "its certificate is signed by an authority that is not trusted: the kubeconfig's certificate-authority, or the system's where it names none",
  ],
  [/^CERT_HAS_EXPIRED$/u, "its certificate has expired"],
  [/^CERT_NOT_YET_VALID$/u, "its certificate is not valid yet: look at the clock"],
];

function isChange({ method, query, isHarmless = false }: ApiRequest): boolean {
  return method !== "GET" && query?.["dryRun"] === undefined && !isHarmless;
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
  server: URL,
  credentials: Credentials,
  { method, path, query = {}, body, contentType = "application/json", limit = ANSWER_LIMITS.object }: ApiRequest,
  signal: AbortSignal,
): Promise<Answer> {
  const url = urlOf(server, path, query);
  const payload = body === undefined ? undefined : stringifyJson(body);
  const headers = {
    ...credentials.headers,
    Accept: "application/json",
    "User-Agent": "cni-node",
    ...(payload === undefined ? {} : { "Content-Type": contentType, "Content-Length": Buffer.byteLength(payload) }),
  };
  const socket = await connect(server, credentials.route, signal);
  try {
    const options = { host: url.hostname, path: `${url.pathname}${url.search}`, method };
    const sent = http.request({ ...options, headers: { Host: url.host, ...headers }, createConnection: () => socket });
    const response = await responseTo(sent, payload, signal);
    const text = await readBody(response, limit, `${method} ${url.origin}${url.pathname}`);
    const status = response.statusCode ?? 0;
    const answer = parsed(text);
    if (status < 300 && (typeof answer !== "object" || answer === null)) {
      throw new Error("the answer is not a Kubernetes object");
    }
    const { "retry-after": retryAfter, warning = "" } = response.headers;
    return { status, body: answer, warnings: warningsIn(warning), retryAfter: secondsOf(retryAfter) };
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    socket.destroy();
  }
}

/** The address of a path of the API: the server's own may have one, too. */
export function urlOf(server: URL, path: string, query: Record<string, string>): URL {
  const url = new URL(server);
  url.pathname = `${url.pathname.replace(/\/$/u, "")}${path}`;
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
}

/** The connection ends with the signal, and with it the answer that comes on it. */
export async function responseTo(
  sent: http.ClientRequest,
  payload: string | undefined,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => sent.destroy(new Error("given up")), { once: true });
    if (signal.aborted) sent.destroy();
    sent.on("error", reject);
    sent.on("upgrade", (_, socket) => {
      socket.destroy();
      reject(new Error("the answer is not a Kubernetes object"));
    });
    sent.on("response", (response) => {
      response.on("error", reject);
      resolve(response);
    });
    sent.end(payload);
  });
}

/** The whole answer, unless it is larger than it may be. */
export async function readBody(
  response: AsyncIterable<Buffer> & { complete?: boolean },
  limit: number,
  subject: string,
): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    if (size > limit) throw tooLarge(subject, limit);
    chunks.push(chunk);
  }
  if (response.complete === false) throw new Error("the answer was cut off");
  return Buffer.concat(chunks).toString("utf8");
}

export function tooLarge(subject: string, limit: number): Failure {
  return new Failure({
    code: "answer-too-large",
    subject,
    problem: `the answer is larger than ${limit / MIB} MiB`,
    hint: "a Kubernetes API server does not answer like this: see which server has this address, and look at the object with kubectl",
  });
}

/** The texts of `299 - "text"`, of which there may be several with commas between. */
function warningsIn(header: string): string[] {
  return Array.from(header.matchAll(/\b299 \S+ "((?:[^"\\]|\\.)*)"/gu), ([, text = ""]) =>
    text.replaceAll(/\\(.)/gu, "$1"),
  )
    .slice(0, MOST_WARNINGS)
    .map((text) => text.slice(0, LONGEST_WARNING));
}

/** Whole seconds, as the API server says it; anything else is as good as nothing. */
export function secondsOf(retryAfter: string | undefined): number | undefined {
  return retryAfter !== undefined && /^\d{1,9}$/u.test(retryAfter) ? Number(retryAfter) : undefined;
}

/** Text that is not JSON, or nested deeper than anything of Kubernetes, as it is. */
export function parsed(text: string): JsonValue {
  try {
    return isTooDeep(text) ? text : parseJsonExactly(text);
  } catch {
    return text;
  }
}
