/** A server in the API's place that answers as a test wants: what no real API server would do. */
import * as fs from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { describe, type Seen } from "./seen.ts";
import { CertificateAuthority } from "./pki.ts";

/** What a test does to a request; false: it is answered as ever. */
export type Hostility = (seen: Seen, answer: ServerResponse, incoming: IncomingMessage) => boolean | Promise<boolean>;

type Stored = Record<string, unknown> & { metadata: Record<string, unknown> };

/** Serves ConfigMaps, as far as cni-node needs it, where a test does not do otherwise. */
export class HostileApi implements AsyncDisposable {
  readonly directory: string;
  readonly requests: Seen[] = [];
  readonly objects = new Map<string, Stored>();
  /** Connections that have been ended. */
  closed = 0;
  hostility: Hostility = () => false;
  readonly #server: Server;
  readonly #ca: string;
  #versions = 0;

  private constructor(directory: string, ca: string, server: Server) {
    this.directory = directory;
    this.#ca = ca;
    this.#server = server;
    server.on("request", (incoming: IncomingMessage, answer: ServerResponse) => {
      this.#serve(incoming, answer).catch(() => incoming.socket.destroy());
    });
    server.on("secureConnection", (socket) => {
      socket.on("error", () => undefined);
      socket.on("close", () => this.closed++);
    });
  }

  static async start(): Promise<HostileApi> {
    const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-hostile-"));
    const authority = await CertificateAuthority.make(join(directory, "pki"));
    const { certificate, key } = await authority.server("server");
    const server = createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
    const api = new HostileApi(directory, fs.readFileSync(authority.certificate).toString("base64"), server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return api;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The path of a kubeconfig, with a user and more of the cluster. */
  kubeconfig(user: object, cluster: object = {}): string {
    const path = join(this.directory, `kubeconfig-${Math.random()}`);
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name: "c",
          cluster: { server: `https://127.0.0.1:${this.port}`, "certificate-authority-data": this.#ca, ...cluster },
        },
      ],
      users: [{ name: "u", user }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    fs.writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  async #serve(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method = "GET", url = "/", headers } = incoming;
    const seen = describe(method, url, headers);
    this.requests.push(seen);
    const body = await text(incoming);
    const isChange = method !== "GET" && !seen.query.has("dryRun");
    const before = this.objects.get(seen.path);
    const [status, object] = this.#answer(seen, body);
    if (!isChange && before === undefined) this.objects.delete(seen.path);
    else if (!isChange && before !== undefined) this.objects.set(seen.path, before);
    if (await this.hostility(seen, answer, incoming)) return;
    answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(object));
  }

  #answer({ method, path }: Seen, body: string): [status: number, object: unknown] {
    if (path === "/api/v1") {
      return [
        200,
        { kind: "APIResourceList", resources: [{ name: "configmaps", kind: "ConfigMap", namespaced: true }] },
      ];
    }
    const live = this.objects.get(path);
    if (method === "GET") return live === undefined ? [404, statusOf(404, "not found")] : [200, live];
    if (method === "DELETE") {
      this.objects.delete(path);
      return [200, statusOf(200, "deleted")];
    }
    const given = JSON.parse(body) as Stored;
    const metadata = {
      ...given.metadata,
      uid: "1",
      resourceVersion: String(++this.#versions),
      managedFields: [{ manager: "cni-node", operation: "Apply", fieldsV1: { "f:data": {} } }],
    };
    const object = { ...given, metadata };
    this.objects.set(path, object);
    return [live === undefined ? 201 : 200, object];
  }
}

/** A Status object. */
export function statusOf(code: number, message: string): object {
  return { kind: "Status", apiVersion: "v1", status: code < 300 ? "Success" : "Failure", message, code };
}
