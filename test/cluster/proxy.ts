/** A proxy in front of an API server that records the requests, and does to some what a test asks for. */
import { once } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer as createTlsServer, request, type Server as TlsServer } from "node:https";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";

import type { Cluster } from "./cluster.ts";
import { copyKubeconfig } from "./kubeconfig.ts";
import { describe, type Seen } from "./seen.ts";

/** What befalls a connection: closed, reset, or kept open with never a word. */
export interface ConnectionFault {
  kind: "close" | "reset" | "hang";
}

/** What befalls a request. */
export type RequestFault =
  /** `before`: the API server is not asked. `after`: it has done what was asked, but its answer is lost. */
  | (ConnectionFault & { when: "before" | "after" })
  /** The API server is not asked. The body is a Status if no text is given. */
  | { kind: "answer"; status: number; message?: string; retryAfter?: number; text?: string; contentType?: string }
  | Shaping;

/** What befalls the body of an answer. */
type Shaping =
  /** So many bytes come, and then the end of the connection. */
  | { kind: "cut"; bytes: number; by?: "close" | "reset" }
  /** It comes in pieces of so many bytes, with a pause of so many milliseconds before each. */
  | { kind: "slow"; bytes: number; pause: number };

/** Whom a fault befalls. What is not given is not looked at. */
export interface Selection {
  method?: string;
  /** As in {@link Seen}. */
  verb?: string;
  /** Text: the path without the query. An expression: looked for in path and query. */
  path?: string | RegExp;
  /** How many are let through first. */
  skip?: number;
  /** How many it befalls; once if not given. */
  times?: number;
}

/** A fault that has been asked for. */
export interface Injected {
  /** How often it has happened. */
  hits: number;
}

interface Rule<Fault> extends Injected {
  selection: Selection;
  fault: Fault;
  skipped: number;
}

const REASONS: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** These speak of one connection, not of the message. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "transfer-encoding"]);

/**
 * Starts a proxy. It opens TLS with the certificate of the cluster's API server; whom a client's certificate names it
 * tells the API server, which believes it. What changes the protocol (exec, port-forward) is not passed on.
 */
export async function startProxy(cluster: Cluster): Promise<FaultProxy> {
  const proxy = new FaultProxy(cluster);
  await proxy.listen();
  return proxy;
}

export class FaultProxy implements AsyncDisposable {
  /** What has arrived, in its order. */
  readonly requests: Seen[] = [];
  /** How many connections have been made. */
  connections = 0;
  readonly #target: string;
  readonly #directAgent: Agent;
  /** For clients with a certificate. */
  readonly #frontProxyAgent: Agent;
  readonly #tls: TlsServer;
  readonly #tcp: Server;
  /** The open connections, by the client's port. */
  readonly #sockets = new Map<number, Socket>();
  readonly #requestRules: Rule<RequestFault>[] = [];
  readonly #connectionRules: Rule<ConnectionFault>[] = [];

  constructor(cluster: Cluster) {
    const { server, frontProxy } = cluster.proxyIdentities;
    this.#target = cluster.server;
    this.#directAgent = new Agent({ ca: server.ca, keepAlive: true });
    this.#frontProxyAgent = new Agent({ ...frontProxy, keepAlive: true });
    // Whether a client's certificate is any good is for the API server to say.
    const options = { ...server, requestCert: true, rejectUnauthorized: false };
    this.#tls = createTlsServer(options, (incoming, outgoing) => {
      this.#serve(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
    this.#tls.keepAliveTimeout = 0;
    // What has been written is sent, also when the connection is reset right after.
    this.#tcp = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    // A test that forgets to stop it ends nevertheless.
    this.#tcp.unref();
  }

  /** `https://127.0.0.1:PORT` */
  get server(): string {
    return `https://127.0.0.1:${(this.#tcp.address() as AddressInfo).port}`;
  }

  /** Copies a kubeconfig, with this proxy as the server. */
  kubeconfig(path: string): string {
    const copy = `${path}.${(this.#tcp.address() as AddressInfo).port}`;
    copyKubeconfig(path, copy, this.server);
    return copy;
  }

  /** Lets this befall requests. Of several faults for a request, the one that was asked for first happens. */
  onRequest(selection: Selection, fault: RequestFault): Injected {
    const rule = { selection, fault, hits: 0, skipped: 0 };
    this.#requestRules.push(rule);
    return rule;
  }

  /** Lets this befall new connections, before a byte of TLS. */
  onConnection(selection: Pick<Selection, "skip" | "times">, fault: ConnectionFault): Injected {
    const rule = { selection, fault, hits: 0, skipped: 0 };
    this.#connectionRules.push(rule);
    return rule;
  }

  /** From now on nothing befalls anybody any more. */
  clear(): void {
    this.#requestRules.length = 0;
    this.#connectionRules.length = 0;
  }

  /** Ends all connections that are open, also those that hang. */
  breakConnections(how: "close" | "reset"): void {
    for (const socket of this.#sockets.values()) end(socket, how);
  }

  async listen(): Promise<void> {
    this.#tcp.listen(0, "127.0.0.1");
    await once(this.#tcp, "listening");
  }

  /** Ends its connections and listens no longer. */
  async stop(): Promise<void> {
    if (!this.#tcp.listening) return;
    const closed = once(this.#tcp, "close");
    this.#tcp.close();
    this.breakConnections("close");
    this.#directAgent.destroy();
    this.#frontProxyAgent.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #accept(socket: Socket): void {
    this.connections++;
    const port = socket.remotePort ?? 0;
    this.#sockets.set(port, socket);
    socket.on("close", () => this.#sockets.delete(port));
    // Clients may go at any time.
    socket.on("error", () => undefined);
    const fault = take(this.#connectionRules, () => true);
    if (fault === undefined) this.#tls.emit("connection", socket);
    else if (fault.kind === "reset") socket.resetAndDestroy();
    // Unread bytes would make a reset of it.
    else if (fault.kind === "close") socket.resume().end();
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = incoming;
    const seen = describe(method, url, headers);
    this.requests.push(seen);
    const fault = take(this.#requestRules, (selection) => isSelected(seen, url, selection));
    const gone = new AbortController();
    outgoing.on("close", () => gone.abort());
    const body = Buffer.concat((await incoming.toArray()) as Buffer[]);
    if (fault?.kind === "answer") return sendFault(outgoing, fault);

    const socket = this.#sockets.get(incoming.socket.remotePort ?? 0);
    const isEnd = fault !== undefined && "when" in fault;
    if (isEnd && fault.when === "before") return end(socket, fault.kind);
    const answer = await this.#forward(incoming, body, gone.signal);
    seen.status = answer.statusCode;
    if (isEnd) {
      answer.destroy();
      return end(socket, fault.kind);
    }
    await deliver(answer, outgoing, fault, gone.signal);
    if (fault?.kind === "cut") end(socket, fault.by ?? "close");
    else outgoing.end();
  }

  async #forward(incoming: IncomingMessage, body: Buffer, signal: AbortSignal): Promise<IncomingMessage> {
    const { method, url = "" } = incoming;
    const client = incoming.socket as TLSSocket;
    const user = client.authorized ? client.getPeerCertificate().subject : undefined;
    const agent = user === undefined ? this.#directAgent : this.#frontProxyAgent;
    const asWhom = user === undefined ? {} : { "x-remote-user": user.CN, "x-remote-group": user.O ?? [] };
    const headers = { ...ofMessage(incoming.headers), ...asWhom };
    const asked = request(this.#target + url, { agent, method, headers, signal });
    asked.end(body);
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    return answer;
  }
}

function end(socket: Socket | undefined, how: ConnectionFault["kind"]): void {
  if (how === "reset") socket?.resetAndDestroy();
  else if (how === "close") socket?.destroy();
}

/** The fault of the first rule that is for it and not used up. */
function take<Fault>(rules: readonly Rule<Fault>[], isFor: (selection: Selection) => boolean): Fault | undefined {
  for (const rule of rules) {
    const { skip = 0, times = 1 } = rule.selection;
    if (rule.hits >= times || !isFor(rule.selection)) continue;
    if (rule.skipped < skip) {
      rule.skipped++;
      continue;
    }
    rule.hits++;
    return rule.fault;
  }
  return undefined;
}

function isSelected(seen: Seen, url: string, { method, verb, path }: Selection): boolean {
  if (method !== undefined && method !== seen.method) return false;
  if (verb !== undefined && verb !== seen.verb) return false;
  return path === undefined || (typeof path === "string" ? path === seen.path : url.search(path) >= 0);
}

function sendFault(outgoing: ServerResponse, fault: Extract<RequestFault, { kind: "answer" }>): void {
  const { status, retryAfter, message = "a fault that a test asked for", contentType = "application/json" } = fault;
  const details = retryAfter === undefined ? {} : { details: { retryAfterSeconds: retryAfter } };
  const object = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    code: status,
    ...details,
  };
  const headers = {
    "content-type": contentType,
    ...(retryAfter !== undefined && { "retry-after": String(retryAfter) }),
  };
  outgoing.writeHead(status, headers).end(fault.text ?? JSON.stringify({ ...object, reason: REASONS[status] }));
}

/** Headers without those of the connection. */
function ofMessage(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name)));
}

/** Passes on an answer, but for its end. */
async function deliver(
  answer: IncomingMessage,
  outgoing: ServerResponse,
  fault: Shaping | undefined,
  signal: AbortSignal,
): Promise<void> {
  outgoing.writeHead(answer.statusCode ?? 0, ofMessage(answer.headers));
  if (fault?.kind !== "slow") outgoing.flushHeaders();
  for await (const piece of shaped(answer, fault, signal)) await write(outgoing, piece);
}

/** A body as a fault lets it through. */
async function* shaped(
  body: AsyncIterable<Buffer>,
  fault: Shaping | undefined,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let left = fault?.kind === "cut" ? fault.bytes : Infinity;
  for await (const chunk of body) {
    if (fault?.kind === "slow") {
      for (let at = 0; at < chunk.length; at += fault.bytes) {
        await sleep(fault.pause, undefined, { signal });
        yield chunk.subarray(at, at + fault.bytes);
      }
    } else yield chunk.subarray(0, left);
    left -= chunk.length;
    if (left <= 0) return;
  }
}

async function write(outgoing: ServerResponse, piece: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    outgoing.write(piece, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
