/** As much of a Kubernetes API server as server-side apply of ConfigMaps needs, which counts its requests. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

import { ABSENT, RESOURCES } from "../test/helpers/api-answers.ts";

/** Objects in memory. */
export class ApiServer implements Disposable {
  requests = 0;
  readonly objects = new Map<string, object>();
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request: IncomingMessage, response) => void this.#respond(request, response));
  }

  static async start(): Promise<ApiServer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new ApiServer(server);
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests++;
    const answer = await this.#answer(request);
    response.writeHead(answer === ABSENT ? 404 : 200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answer));
  }

  async #answer(request: IncomingMessage): Promise<object> {
    const { pathname, searchParams } = new URL(request.url ?? "", this.url);
    const body = await text(request);
    if (pathname === "/api/v1") return RESOURCES;
    if (request.method === "GET") return this.objects.get(pathname) ?? ABSENT;
    if (request.method !== "PATCH") return ABSENT;
    const { metadata, ...sent } = JSON.parse(body) as { metadata: object; data: object };
    const manager = searchParams.get("fieldManager");
    const fieldsV1 = { "f:data": Object.fromEntries(Object.keys(sent.data).map((key) => [`f:${key}`, {}])) };
    const managedFields = [{ manager, operation: "Apply", apiVersion: "v1", fieldsType: "FieldsV1", fieldsV1 }];
    const object = { ...sent, metadata: { ...metadata, uid: pathname, resourceVersion: "1", managedFields } };
    if (!searchParams.has("dryRun")) this.objects.set(pathname, object);
    return object;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
