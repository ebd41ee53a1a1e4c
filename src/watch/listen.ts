/** Health, metrics and a status page over HTTP, as the components of Kubernetes answer. */
import * as http from "node:http";
import { isIPv6, type AddressInfo } from "node:net";

import { Failure } from "../errors.ts";
import { alignRows, shorten, visible } from "../system/text.ts";
import type { Address } from "../option-types.ts";
import { shownTime } from "../cluster/token.ts";
import type { Followed, Reconcile, Watching } from "./reconcile.ts";
import { isRunningOut } from "./tokens.ts";

/** Milliseconds: a reconcile that takes longer is stuck. */
const STUCK_MS = 600_000;
/** Requests are short, and those who ask are few. */
const LIMITS = { maxHeaderSize: 8192, headersTimeout: 5000, requestTimeout: 5000, keepAliveTimeout: 5000 };
const CHECK_EVERY_MS = 1000;
const MOST_CONNECTIONS = 64;
const MOST_SHOWN = 50;
const CLOSE_MS = 500;

/** Where the pages come from. */
export interface Pages {
  watching: () => Watching;
  /** Since when a reconcile has been running; undefined: none is. */
  runningSince: () => Date | undefined;
  metrics: { contentType: string; text: () => Promise<string> };
}

interface Check {
  name: string;
  isOk: (pages: Pages) => boolean;
}

/** Is the process alive? If not, a restart helps. */
const LIVE: readonly Check[] = [
  { name: "ping", isOk: () => true },
  {
    name: "driver",
    isOk: ({ runningSince }) => Date.now() - (runningSince()?.getTime() ?? Number.POSITIVE_INFINITY) < STUCK_MS,
  },
];

/** Is the node as desired? That the API is away says nothing against a node that was reconciled. */
const READY: readonly Check[] = [
  { name: "desired-known", isOk: ({ watching }) => watching().desired !== undefined },
  { name: "followed", isOk: ({ watching }) => isFollowed(watching()) },
  { name: "reconciled", isOk: ({ watching }) => isReconciled(watching()) },
  { name: "credentials", isOk: ({ watching }) => !watching().tokens.some((one) => isRunningOut(one, Date.now())) },
  { name: "in-charge", isOk: ({ watching }) => watching().standsDown === undefined },
];

const CHECKS: Readonly<Record<string, readonly Check[]>> = { livez: LIVE, readyz: READY };

/** Directories are polled if they cannot be watched; an object counts if it is live or the node was reconciled once. */
function isFollowed({ follows, lastSuccess }: Watching): boolean {
  return lastSuccess !== undefined || follows.every(({ source, isLive }) => source === "directory" || isLive);
}

function isReconciled({ last }: Watching): boolean {
  return last !== undefined && last.failure === undefined;
}

/** What `/readyz` says. */
export function isReady(pages: Pages): boolean {
  return READY.every(({ isOk }) => isOk(pages));
}

/**
 * Serves the pages until it is disposed of.
 *
 * @throws Failure `listen-failed`.
 */
export async function listen({ host, port }: Address, pages: Pages): Promise<Listener> {
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

function shownAddress({ host, port }: Address): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function listenFailure(address: Address, { code = "" }: NodeJS.ErrnoException): Failure {
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
  const checks = Object.hasOwn(CHECKS, page) ? CHECKS[page] : undefined;
  if (url === null || more.length > 0) return send(answer, 404, "not found\n");
  if (checks !== undefined) return sendChecks(answer, page, name, checks, url.searchParams, pages);
  if (name !== undefined) return send(answer, 404, "not found\n");
  if (page === "metrics") return send(answer, 200, await pages.metrics.text(), pages.metrics.contentType);
  if (page === "statusz") return send(answer, 200, statusPage(pages.watching(), new Date()));
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
  pages: Pages,
): void {
  if (name !== undefined && name !== "") {
    const check = checks.find((one) => one.name === name);
    if (check === undefined) return send(answer, 404, "not found\n");
    return check.isOk(pages) ? send(answer, 200, "ok") : send(answer, 500, "internal server error: reason withheld\n");
  }
  const excluded = query.getAll("exclude");
  const lines: string[] = [];
  let isOk = true;
  for (const check of checks) {
    if (excluded.includes(check.name)) lines.push(`[+]${check.name} excluded: ok`);
    else if (check.isOk(pages)) lines.push(`[+]${check.name} ok`);
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

/** For people. Names, codes and times only. */
function statusPage(watching: Watching, now: Date): string {
  const { owner, since, follows, desired, last, lastSuccess, lastChange, next, fights, standsDown, requests, tokens } =
    watching;
  const rows = [
    ["owner", owner],
    ["since", since.toISOString()],
    ["now", now.toISOString()],
    ...(standsDown === undefined ? [] : [["stands down", standsDown]]),
    ...(desired === undefined ? [["desired", "not known yet"]] : []),
    ...Object.entries(desired ?? {}).map(([kind, names]) => [`desired ${kind}s`, listed(names)]),
    ["last success", lastSuccess?.toISOString() ?? "none"],
    ["last change", lastChange?.begin.toISOString() ?? "none"],
    ["next", next === undefined ? "now" : `${next.at.toISOString()}${next.isRetry ? " (retry)" : ""}`],
    ["API requests", String(requests)],
    ...tokens.slice(0, MOST_SHOWN).map(({ name, account, facts: { expires } }) => {
      return [`token in ${name}`, `${account}, until ${shownTime(expires)}`];
    }),
  ];
  const lines = [
    "cni-node watch",
    "",
    ...alignRows(rows),
    "",
    "follows",
    ...alignRows(follows.slice(0, MOST_SHOWN).map(rowOf)),
    ...(last === undefined ? [] : ["", ...lastLines(last)]),
    ...fights.slice(0, MOST_SHOWN).map(({ asset, repairs }) => visible(`fought over: ${asset}, ${repairs} repairs`)),
  ];
  return `${lines.join("\n")}\n`;
}

function rowOf({ name, isLive, source, restarts, trouble }: Followed): string[] {
  const how = isLive ? "live" : source === "directory" ? "polled" : "not live";
  return [name, how, restarts > 0 ? `${restarts} restarts` : "", trouble ?? ""];
}

function lastLines({ begin, duration, causes, changed, findings, failure }: Reconcile): string[] {
  const result = failure === undefined ? "done" : `failed: ${failure.code}: ${failure.subject}`;
  return [
    `last reconcile: ${result} (${begin.toISOString()}, ${Math.round(duration)} ms, for ${causes.join(", ")})`,
    ...changed.slice(0, MOST_SHOWN).map((step) => `  ${step.outcome} ${step.kind} ${step.name} ${step.object ?? ""}`),
    ...findings.slice(0, MOST_SHOWN).map(({ code, severity, path }) => `  ${severity} ${code}: ${path}`),
  ].map((line) => visible(line).trimEnd());
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : shorten(names.join(", "));
}
