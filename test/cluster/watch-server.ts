/** A server in the API's place for watches of ConfigMaps, over HTTP/2 or HTTP/1.1, that does what a test wants. */
import * as fs from "node:fs";
import { ServerResponse, type IncomingMessage } from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { statusOf } from "./hostile.ts";
import { CertificateAuthority } from "./pki.ts";
import { describe, type Seen } from "./seen.ts";

type Stored = { apiVersion: string; kind: string; metadata: Record<string, unknown>; data: Record<string, unknown> };

/** A watch that is open. */
export interface OpenWatch {
  seen: Seen;
  /** Sends bytes. */
  write(text: string | Buffer): void;
  /** Sends an event. */
  send(type: string, object: object): void;
  end(): void;
}

/** What a test does to a request; false: it is answered as ever. */
export type Trick = (seen: Seen, answer: ServerResponse) => boolean | Promise<boolean>;

export class WatchServer implements AsyncDisposable {
  readonly directory: string;
  readonly requests: Seen[] = [];
  /** The watches that are open. */
  readonly watches = new Set<OpenWatch>();
  /** The ConfigMaps of the namespace `default`. */
  readonly objects = new Map<string, Stored>();
  version = 100;
  /** How many connections were made. */
  connections = 0;
  trick: Trick = () => false;
  readonly #server: http2.Http2SecureServer | https.Server;
  readonly #ca: string;
  /** The last event of each object. */
  readonly #last = new Map<string, { type: string; object: Stored }>();
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();

  private constructor(directory: string, ca: string, server: http2.Http2SecureServer | https.Server) {
    this.directory = directory;
    this.#ca = ca;
    this.#server = server;
    // What both protocols have in common is all that is used of them.
    (server as https.Server).on("request", (incoming: IncomingMessage, answer: ServerResponse) => {
      void this.#serve(incoming, answer);
    });
    server.on("session", (session: http2.ServerHttp2Session) => {
      this.#sessions.add(session);
      session.on("error", () => undefined);
    });
    server.on("connection", (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(protocol: "h2" | "http/1.1"): Promise<WatchServer> {
    const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-watched-"));
    const authority = await CertificateAuthority.make(join(directory, "pki"));
    const { certificate, key } = await authority.server("server");
    const identity = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
    const server = protocol === "h2" ? http2.createSecureServer(identity) : https.createServer(identity);
    const made = new WatchServer(directory, fs.readFileSync(authority.certificate).toString("base64"), server);
    await made.listen();
    return made;
  }

  /** @param port the same again after a restart. */
  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Writes a kubeconfig with a user; returns its path. */
  kubeconfig(user: object = {}, port: number = this.port): string {
    const path = join(this.directory, "kubeconfig");
    const cluster = { server: `https://127.0.0.1:${port}`, "certificate-authority-data": this.#ca };
    const config = {
      clusters: [{ name: "c", cluster }],
      users: [{ name: "u", user }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    fs.writeFileSync(path, JSON.stringify(config, null, 1));
    return path;
  }

  /** Makes or changes a ConfigMap, and tells those that watch it. */
  put(name: string, data: Record<string, unknown>): Stored {
    const before = this.objects.get(name);
    const uid = before?.metadata["uid"] ?? `uid-${this.version}`;
    const object = this.configMap(name, data, { uid });
    this.objects.set(name, object);
    this.#tell(before === undefined ? "ADDED" : "MODIFIED", object);
    return object;
  }

  /** A ConfigMap of the next version that nobody is told of. */
  configMap(name: string, data: Record<string, unknown>, metadata: object = {}): Stored {
    const common = { name, namespace: "default", resourceVersion: String(++this.version), ...metadata };
    return { apiVersion: "v1", kind: "ConfigMap", metadata: common, data };
  }

  /** Deletes a ConfigMap. */
  delete(name: string): void {
    const object = this.objects.get(name);
    this.objects.delete(name);
    if (object !== undefined) {
      this.#tell("DELETED", { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.version) } });
    }
  }

  /** Waits until the clients of HTTP/2 have read all that they were sent. */
  async isRead(): Promise<void> {
    // A ping overtakes what still waits to be sent, but not the ping before it.
    for (const _ of ["first", "second"]) {
      const sessions = [...this.#sessions].filter(({ destroyed }) => !destroyed);
      await Promise.all(sessions.map(async (session) => promisify(session.ping.bind(session))()));
    }
  }

  /** Sends all watches a bookmark. */
  bookmark(): void {
    for (const watch of this.watches) watch.send("BOOKMARK", bookmarkOf(++this.version));
  }

  /** Ends all connections. */
  breakConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Asks the clients of HTTP/2 for other connections, as a server does that shuts down. */
  goAway(): void {
    for (const session of this.#sessions) if (!session.destroyed) session.goaway();
  }

  /** Ends all connections and listens no longer. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.breakConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  /** Requests for one object, or watches. */
  seen(verb: "get" | "watch"): Seen[] {
    return this.requests.filter((seen) => seen.verb === verb);
  }

  #tell(type: string, object: Stored): void {
    const name = object.metadata["name"] as string;
    this.#last.set(name, { type, object });
    for (const watch of this.watches) {
      if (watch.seen.query.get("fieldSelector") === `metadata.name=${name}`) watch.send(type, object);
    }
  }

  async #serve(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const seen = describe(incoming.method ?? "GET", incoming.url ?? "", incoming.headers);
    this.requests.push(seen);
    answer.on("error", () => undefined);
    if (await this.trick(seen, answer)) return;
    if (seen.verb === "watch") return this.#watch(seen, answer);
    const object = this.objects.get(seen.name);
    const [status, body] = object === undefined ? [404, statusOf(404, `"${seen.name}" not found`)] : [200, object];
    answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  #watch(seen: Seen, answer: ServerResponse): void {
    answer.writeHead(200, { "content-type": "application/json" });
    if (answer instanceof ServerResponse) answer.flushHeaders();
    const watch: OpenWatch = {
      seen,
      write: (text) => void answer.write(text),
      send: (type, object) => void answer.write(`${JSON.stringify({ type, object })}\n`),
      end: () => {
        this.watches.delete(watch);
        answer.end();
      },
    };
    this.watches.add(watch);
    answer.on("close", () => this.watches.delete(watch));
    const name = seen.query.get("fieldSelector")?.replace("metadata.name=", "") ?? "";
    const since = seen.query.get("resourceVersion");
    // The newest of what happened since then stands for all of it.
    const last = this.#last.get(name);
    if (since !== null && last !== undefined && Number(last.object.metadata["resourceVersion"]) > Number(since)) {
      watch.send(last.type, last.object);
    }
    const object = this.objects.get(name);
    if (since === null && object !== undefined) watch.send("ADDED", object);
  }
}

/** A bookmark's object. */
function bookmarkOf(version: number): object {
  return { kind: "ConfigMap", apiVersion: "v1", metadata: { resourceVersion: String(version) } };
}
