/** Requests to the API of a process that stays: all on one connection where the server speaks HTTP/2. */
import * as http from "node:http";
import * as http2 from "node:http2";
import type { Socket } from "node:net";
import { PassThrough, pipeline } from "node:stream";
import type { TLSSocket } from "node:tls";

import { Failure } from "../errors.ts";
import type { Access, Credentials } from "./access.ts";
import { connect } from "./connection.ts";
import { stringifyJson, type JsonValue } from "./json.ts";
import {
  ANSWER_LIMITS,
  deadlineIn,
  parsed,
  readBody,
  Redaction,
  responseTo,
  secondsOf,
  unreachable,
  urlOf,
  type ApiResponse,
} from "./request.ts";

/** An answer of which the body is still to come. */
export interface Opened extends Disposable {
  status: number;
  /** Seconds. */
  retryAfter: number | undefined;
  /** Fails when the connection does; ends when it is disposed of. */
  body: AsyncIterable<Buffer>;
}

/** A whole answer. */
export interface Answer extends ApiResponse {
  /** Seconds. */
  retryAfter: number | undefined;
}

/** What is sent of a request that is not a GET. */
export interface Sent {
  method: "POST" | "PATCH";
  body: JsonValue;
  contentType: string;
}

/** The server has so long to begin its answer: priority and fairness may keep a request in a queue. */
const ANSWER_MS = 30_000;
/** A connection of HTTP/2 is asked so often whether the server is still there, and may be silent for so long then. */
const PINGS = { interval: 30_000, answer: 15_000 };

/** What carries requests: a session of HTTP/2 any number, a connection of HTTP/1.1 one. */
type Carrier = http2.ClientHttp2Session | Socket;

/**
 * The way to the API, for a few watches at a time: servers take 100 requests on one connection. A connection that is
 * lost, or that the server wants to end, is replaced with the next request, for which addresses, certificates and
 * tokens are read again.
 */
export class Channel implements Disposable {
  /** How many requests were sent. */
  requests = 0;
  /** How many connections were opened. */
  connections = 0;
  readonly #find: () => Access;
  readonly #pings: typeof PINGS;
  readonly #redaction = new Redaction();
  readonly #end = new AbortController();
  #access: Access | undefined;
  #session: http2.ClientHttp2Session | undefined;
  #connecting: Promise<Carrier> | undefined;
  /** The server does not speak HTTP/2. */
  #isPlain = false;

  /** @param find finds the API; called again after a failure, for a kubeconfig may have been replaced. */
  constructor(find: () => Access, pings: typeof PINGS = PINGS) {
    this.#find = find;
    this.#pings = pings;
  }

  /**
   * Sends a request once, a GET unless something else is given, and returns as soon as its answer begins.
   *
   * @throws Failure `api-unreachable`, `kubeconfig-invalid`, `no-cluster`, `credentials-failed`; the signal's reason.
   */
  async open(path: string, query: Record<string, string>, signal: AbortSignal, sent?: Sent): Promise<Opened> {
    const { server } = this.#lookUp();
    try {
      using patience = deadlineIn(ANSWER_MS, signal);
      const credentials = await this.#credentials(patience.signal);
      const carrier = await orAborted(this.#carrierFor(server, credentials), patience.signal, destroyUnshared);
      this.requests++;
      const url = urlOf(server, path, query);
      const request = requestOf(url, credentials, sent);
      return isShared(carrier)
        ? await openShared(carrier, request, patience.signal)
        : await openAlone(carrier, request, patience.signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.lost(error);
    }
  }

  /**
   * Sends a GET once, and reads the whole answer.
   *
   * @throws the same, and Failure `answer-too-large`.
   */
  async get(path: string, signal: AbortSignal): Promise<Answer> {
    using opened = await this.open(path, {}, signal);
    return await this.finish(opened, `GET ${path}`, signal);
  }

  /** Sends a change once, and reads the whole answer. @throws the same as `get`. */
  async send(path: string, sent: Sent, signal: AbortSignal): Promise<Answer> {
    using opened = await this.open(path, {}, signal, sent);
    return await this.finish(opened, `${sent.method} ${path}`, signal);
  }

  /** Reads the rest of an answer that is not a stream. @throws the same. */
  async finish(
    opened: Opened,
    subject: string,
    signal: AbortSignal,
    limit: keyof typeof ANSWER_LIMITS = "object",
  ): Promise<Answer> {
    using patience = deadlineIn(ANSWER_MS, signal);
    patience.signal.addEventListener("abort", () => opened[Symbol.dispose](), { once: true });
    try {
      const { status, retryAfter } = opened;
      const body = parsed(await readBody(opened.body, ANSWER_LIMITS[limit], subject));
      if (patience.signal.aborted) throw patience.signal.reason;
      return { status, retryAfter, body: status < 300 ? body : this.redacted(body), warnings: [] };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.lost(patience.signal.aborted ? patience.signal.reason : error);
    }
  }

  /** The next request is sent on a new connection, with everything read anew. Requests on their way go on. */
  reset(): void {
    this.#session?.close();
    this.#session = undefined;
    this.#isPlain = false;
    this.#access = undefined;
  }

  /** The API does not accept the credentials: a program that gave them is asked again. */
  refused(): void {
    this.#access?.refused();
    const access = this.#access;
    this.reset();
    this.#access = access;
  }

  /** What the API says, without the credentials that it may repeat. */
  redacted(value: JsonValue): JsonValue {
    return this.#redaction.json(value);
  }

  /** Ends all connections, and all requests on them. */
  [Symbol.dispose](): void {
    this.#end.abort(new Error("the channel is closed"));
    this.#session?.destroy();
  }

  #lookUp(): Access {
    return (this.#access ??= this.#find());
  }

  /** Why a connection was lost, for people; the next request finds everything anew. */
  lost(error: unknown): Failure {
    const { server } = this.#lookUp();
    this.reset();
    if (error instanceof Failure) return error;
    return unreachable(server, error instanceof Error ? error : new Error(String(error)), this.#redaction);
  }

  async #credentials(signal: AbortSignal): Promise<Credentials> {
    const credentials = await this.#lookUp().credentials(signal);
    this.#redaction.learn(credentials.secrets);
    return credentials;
  }

  /** Of several requests that need a connection, one opens it and the others use it if it can be shared. */
  async #carrierFor(server: URL, credentials: Credentials): Promise<Carrier> {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) return this.#session;
    if (this.#isPlain) return this.#connect(server, credentials);
    if (this.#connecting !== undefined) {
      await this.#connecting.catch(() => undefined);
      return this.#carrierFor(server, credentials);
    }
    this.#connecting = this.#connect(server, credentials);
    try {
      return await this.#connecting;
    } finally {
      this.#connecting = undefined;
    }
  }

  async #connect(server: URL, { route }: Credentials): Promise<Carrier> {
    using patience = deadlineIn(ANSWER_MS, this.#end.signal);
    const socket = await connect(server, route, patience.signal, ["h2", "http/1.1"]);
    this.connections++;
    this.#isPlain = (socket as Partial<TLSSocket>).alpnProtocol !== "h2";
    if (this.#isPlain) return socket;
    const session = http2.connect(server.origin, { createConnection: () => socket });
    keepAlive(session, this.#pings);
    this.#session = session;
    return session;
  }
}

/** A request as either protocol sends it. */
interface Request {
  url: URL;
  method: string;
  headers: http.OutgoingHttpHeaders;
  payload: string | undefined;
}

function requestOf(url: URL, credentials: Credentials, sent: Sent | undefined): Request {
  const headers = { ...credentials.headers, Accept: "application/json", "User-Agent": "cni-node" };
  if (sent === undefined) return { url, method: "GET", headers, payload: undefined };
  const payload = stringifyJson(sent.body);
  const length = Buffer.byteLength(payload);
  const more = { "Content-Type": sent.contentType, "Content-Length": length };
  return { url, method: sent.method, headers: { ...headers, ...more }, payload };
}

function isShared(carrier: Carrier): carrier is http2.ClientHttp2Session {
  return "request" in carrier;
}

/** A connection for one request that nobody wants any more. */
function destroyUnshared(carrier: Carrier): void {
  if (!isShared(carrier)) carrier.destroy();
}

/** What befalls a session befalls its requests, which tell of it. One that no longer answers ends. */
function keepAlive(session: http2.ClientHttp2Session, { interval, answer }: typeof PINGS): void {
  session.on("error", () => undefined);
  let patience: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (session.destroyed) return;
    patience = setTimeout(() => session.destroy(new Error("the server does not answer any more")), answer);
    session.ping(() => {
      clearTimeout(patience);
    });
  }, interval);
  session.once("close", () => {
    clearInterval(timer);
    clearTimeout(patience);
  });
}

/** @param signal until the answer has begun. */
async function openShared(
  session: http2.ClientHttp2Session,
  { url, method, headers, payload }: Request,
  signal: AbortSignal,
): Promise<Opened> {
  const target = { ":method": method, ":path": `${url.pathname}${url.search}` };
  const stream = session.request({ ...target, ...headers }, { endStream: payload === undefined });
  if (payload !== undefined) stream.end(payload);
  // It is read from the start: an iterator over one that is whole, and so closed, fails with "Premature close".
  const body = new PassThrough().on("error", () => undefined);
  pipeline(stream, body, () => undefined);
  const dispose = (): void => stream.on("error", () => undefined).close(http2.constants.NGHTTP2_CANCEL);
  const answered = new Promise<http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader>((resolve, reject) => {
    stream.once("response", resolve);
    stream.once("error", reject);
    stream.once("close", () => {
      reject(new Error("the server ended the request without an answer"));
    });
  });
  try {
    const { ":status": status = 0, "retry-after": retryAfter } = await orAborted(answered, signal);
    return { status, retryAfter: secondsOf(retryAfter), body, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** @param signal until the answer has begun. */
async function openAlone(
  socket: Socket,
  { url, method, headers, payload }: Request,
  signal: AbortSignal,
): Promise<Opened> {
  const dispose = (): void => void socket.on("error", () => undefined).destroy();
  try {
    const options = { host: url.hostname, path: `${url.pathname}${url.search}`, method };
    const sent = http.request({ ...options, headers: { Host: url.host, ...headers }, createConnection: () => socket });
    const response = await responseTo(sent, payload, signal);
    const { statusCode: status = 0, headers: received } = response;
    return { status, retryAfter: secondsOf(received["retry-after"]), body: response, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/**
 * The result of what cannot be ended itself, unless the signal comes first.
 *
 * @param discard is given a result that comes too late.
 */
async function orAborted<Result>(
  result: Promise<Result>,
  signal: AbortSignal,
  discard: (late: Result) => void = () => undefined,
): Promise<Result> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(signal.reason as Error);
  };
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([result, aborted.promise]);
  } catch (error) {
    result.then(discard, () => undefined);
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
