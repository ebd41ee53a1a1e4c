/** Health, metrics and a status page over HTTP, as the components of Kubernetes answer. */
import * as http from "node:http";
import { isIPv6, type AddressInfo } from "node:net";

import { Failure } from "../errors.ts";

/** Requests are short, and those who ask are few. */
const LIMITS = { maxHeaderSize: 8192, headersTimeout: 5000, requestTimeout: 5000, keepAliveTimeout: 5000 };
const CHECK_EVERY_MS = 1000;
const MOST_CONNECTIONS = 64;
const CLOSE_MS = 500;

/** Where a server listens. */
export interface ListenAddress {
  host: string;
  port: number;
}

/** One thing that is asked of health. */
export interface Check {
  name: string;
  isOk: () => boolean;
}

/** What is answered. */
export interface Pages {
  /** Is the process alive? If not, a restart helps. */
  livez: readonly Check[];
  /** Is what it keeps as desired? */
  readyz: readonly Check[];
  metrics: { contentType: string; text: () => Promise<string> };
  /** A page for people. */
  statusz?: () => string;
}

/** Milliseconds: what takes longer is stuck. */
const STUCK_MS = 600_000;

/**
 * The checks of `/livez`.
 *
 * @param name of the check that fails if work has been going on for too long.
 * @param runningSince since when it has, as `performance.now()` counts: the clock of a node may jump. Undefined: nothing
 *   is being done.
 */
export function liveness(name: string, runningSince: () => number | undefined): readonly Check[] {
  const begin = (): number => runningSince() ?? Number.POSITIVE_INFINITY;
  return [
    { name: "ping", isOk: () => true },
    { name, isOk: () => performance.now() - begin() < STUCK_MS },
  ];
}

/** What `/readyz` says. */
export function isReady({ readyz }: Pick<Pages, "readyz">): boolean {
  return readyz.every(({ isOk }) => isOk());
}

/**
 * Serves the pages until it is disposed of.
 *
 * @throws Failure `listen-failed`.
 */
export async function listen({ host, port }: ListenAddress, pages: Pages): Promise<Listener> {
  const server = http.createServer({ ...LIMITS, connectionsCheckingInterval: CHECK_EVERY_MS }, (asked, answer) => {
    respond(asked, answer, pages).catch(() => answer.destroy());
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.maxRequestsPerSocket = 1000;
  // Node gives the one who asks an answer of its own, and waits for the end of the connection.
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const status = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
    if (socket.writable) socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => resolve());
  }).catch((error: unknown) => {
    throw listenFailure({ host, port }, error as NodeJS.ErrnoException);
  });
  server.on("error", () => undefined);
  return new Listener(server);
}

/** A server that listens. */
export class Listener implements AsyncDisposable {
  readonly #server: http.Server;

  constructor(server: http.Server) {
    this.#server = server;
  }

  /** `127.0.0.1:9153`, `[::1]:9153` */
  get address(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return shownAddress({ host: address, port });
  }

  /** Answers that have begun may end for a moment; then every connection is closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_MS);
    await closed;
    clearTimeout(timer);
  }
}

function shownAddress({ host, port }: ListenAddress): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function listenFailure(address: ListenAddress, { code = "" }: NodeJS.ErrnoException): Failure {
  const reasons: Record<string, [problem: string, hint: string]> = {
    EADDRINUSE: ["is in use", "choose another port; with hostNetwork, another pod of the node may have it"],
    EADDRNOTAVAIL: ["is not an address of this node", "listen on 127.0.0.1, or on the pod's address"],
    EACCES: ["needs the right to listen on ports below 1024", "choose a port of 1024 or above"],
  };
  const [problem, hint] = reasons[code] ?? [`cannot be listened on: ${code}`, "look at the address and the port"];
  return new Failure({ code: "listen-failed", subject: `--listen ${shownAddress(address)}`, problem, hint });
}

async function respond(asked: http.IncomingMessage, answer: http.ServerResponse, pages: Pages): Promise<void> {
  // Nobody has a reason to send a body.
  asked.resume();
  if (asked.headers["content-length"] !== undefined || asked.headers["transfer-encoding"] !== undefined) {
    answer.shouldKeepAlive = false;
  }
  if (asked.method !== "GET" && asked.method !== "HEAD") {
    answer.setHeader("Allow", "GET, HEAD");
    return send(answer, 405, "method not allowed\n");
  }
  const url = URL.parse(asked.url ?? "", "http://localhost");
  const [page = "", name, ...more] = url?.pathname.slice(1).split("/") ?? [];
  const checks = page === "livez" || page === "readyz" ? pages[page] : undefined;
  if (url === null || more.length > 0) return send(answer, 404, "not found\n");
  if (checks !== undefined) return sendChecks(answer, page, name, checks, url.searchParams);
  if (name !== undefined) return send(answer, 404, "not found\n");
  if (page === "metrics") return send(answer, 200, await pages.metrics.text(), pages.metrics.contentType);
  if (page === "statusz" && pages.statusz !== undefined) return send(answer, 200, pages.statusz());
  return send(answer, 404, "not found\n");
}

function send(answer: http.ServerResponse, status: number, body: string, type = "text/plain; charset=utf-8"): void {
  answer.writeHead(status, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  answer.end(body);
}

/** As `k8s.io/apiserver/pkg/server/healthz` answers. */
function sendChecks(
  answer: http.ServerResponse,
  page: string,
  name: string | undefined,
  checks: readonly Check[],
  query: URLSearchParams,
): void {
  if (name !== undefined && name !== "") {
    const check = checks.find((one) => one.name === name);
    if (check === undefined) return send(answer, 404, "not found\n");
    return check.isOk() ? send(answer, 200, "ok") : send(answer, 500, "internal server error: reason withheld\n");
  }
  const excluded = query.getAll("exclude");
  const lines: string[] = [];
  let isOk = true;
  for (const check of checks) {
    if (excluded.includes(check.name)) lines.push(`[+]${check.name} excluded: ok`);
    else if (check.isOk()) lines.push(`[+]${check.name} ok`);
    else {
      isOk = false;
      lines.push(`[-]${check.name} failed: reason withheld`);
    }
  }
  if (excluded.some((one) => !checks.some((check) => check.name === one))) {
    lines.push("warn: some health checks cannot be excluded: no matches for what was given");
  }
  lines.push(`${page} check ${isOk ? "passed" : "failed"}`);
  return send(answer, isOk ? 200 : 500, isOk && !query.has("verbose") ? "ok" : `${lines.join("\n")}\n`);
}
