/**
 * An API server that knows Nodes only, by plain HTTP: one, a list in pages or as a watch, and watches. As a program it listens at the address
 * that it is given and takes a command of JSON on each line of its standard input.
 */
import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import * as fs from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A Node, as far as routes are concerned. */
export interface TestNodeObject {
  name: string;
  podCidrs: readonly string[];
  addresses: readonly string[];
  ready?: boolean;
}

/** What the program takes: `{"put": NODE}`, `{"delete": NAME}`; `expire`: versions before now are no longer known. */
export interface Command {
  put?: TestNodeObject;
  delete?: string;
  expire?: true;
}

interface Change {
  version: number;
  name: string;
  type: string;
  object: object;
}

export class NodesApi implements AsyncDisposable {
  readonly server: Server;
  /** What becomes of a list that is asked for as a watch: it comes; it is refused; it does not, nor is it refused; it breaks off. */
  streams: "yes" | "no" | "ignored" | "broken" = "yes";
  readonly requests: string[] = [];
  /** The first watch that asks for a version before this is refused. */
  #oldest = 0;
  #version = 100;
  /** No watch hears of changes. */
  isSilent = false;
  readonly #nodes = new Map<string, object>();
  readonly #changes: Change[] = [];
  /** And the name of the one Node that is watched, if it is one. */
  readonly #watches = new Map<ServerResponse, string | undefined>();
  readonly #directory = fs.mkdtempSync(join(tmpdir(), "cni-node-nodes-"));

  constructor() {
    this.server = createServer(({ url = "" }, response) => {
      this.requests.push(url);
      const { pathname, searchParams } = new URL(url, "http://localhost");
      response.setHeader("Content-Type", "application/json");
      const [, name] = /^\/api\/v1\/nodes\/([^/]+)$/u.exec(pathname) ?? [];
      if (name !== undefined) this.#get(name, response);
      else if (pathname !== "/api/v1/nodes") response.writeHead(404).end(JSON.stringify(status(404, "not found")));
      else if (searchParams.get("watch") === "1") this.#watch(searchParams, response);
      else this.#list(Number(searchParams.get("limit")), Number(searchParams.get("continue") ?? 0), response);
    });
  }

  static async start(): Promise<NodesApi> {
    const api = new NodesApi();
    api.server.listen(0, "127.0.0.1");
    await once(api.server, "listening");
    return api;
  }

  /** The path of a kubeconfig for it. */
  get kubeconfig(): string {
    const { port } = this.server.address() as AddressInfo;
    return kubeconfigIn(this.#directory, `http://127.0.0.1:${port}`);
  }

  put({ name, podCidrs, addresses, ready = true }: TestNodeObject): void {
    const type = this.#nodes.has(name) ? "MODIFIED" : "ADDED";
    const object = {
      kind: "Node",
      apiVersion: "v1",
      metadata: { name, uid: `uid-${name}`, resourceVersion: String(++this.#version) },
      spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
      status: {
        addresses: addresses.map((address) => ({ type: "InternalIP", address })),
        conditions: [{ type: "Ready", status: ready ? "True" : "Unknown" }],
      },
    };
    this.#nodes.set(name, object);
    this.#tell({ version: this.#version, name, type, object });
  }

  delete(name: string): void {
    const object = this.#nodes.get(name) as { metadata: object } | undefined;
    this.#nodes.delete(name);
    const metadata = { ...object?.metadata, resourceVersion: String(++this.#version) };
    this.#tell({ version: this.#version, name, type: "DELETED", object: { ...object, metadata } });
  }

  /** Ends all watches; none can go on where it was. */
  expire(): void {
    this.#oldest = ++this.#version;
    for (const watch of this.#watches.keys()) watch.end();
    this.#watches.clear();
  }

  do({ put, delete: name, expire }: Command): void {
    if (put !== undefined) this.put(put);
    if (name !== undefined) this.delete(name);
    if (expire === true) this.expire();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    if (this.server.listening) await new Promise((resolve) => this.server.close(resolve));
    fs.rmSync(this.#directory, { recursive: true });
  }

  #tell(change: Change): void {
    this.#changes.push(change);
    if (this.isSilent) return;
    for (const [watch, name] of this.#watches) if ((name ?? change.name) === change.name) watch.write(lineOf(change));
  }

  #get(name: string, response: ServerResponse): void {
    const object = this.#nodes.get(name);
    response.writeHead(object === undefined ? 404 : 200).end(JSON.stringify(object ?? status(404, "not found")));
  }

  #list(limit: number, from: number, response: ServerResponse): void {
    const all = [...this.#nodes.values()];
    const items = all.slice(from, from + limit);
    const next = from + limit < all.length ? { continue: String(from + limit) } : {};
    const metadata = { resourceVersion: String(this.#version), ...next };
    response.end(JSON.stringify({ kind: "NodeList", apiVersion: "v1", metadata, items }));
  }

  #watch(asked: URLSearchParams, response: ServerResponse): void {
    const since = Number(asked.get("resourceVersion") ?? Infinity);
    const isList = asked.get("sendInitialEvents") === "true";
    if (since < this.#oldest) {
      response.writeHead(410).end(JSON.stringify(status(410, "too old resource version")));
      return;
    }
    if (isList && this.streams === "no") {
      const message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch";
      response.writeHead(422).end(JSON.stringify(status(422, message)));
      return;
    }
    response.writeHead(200).flushHeaders();
    if (isList && (this.streams === "yes" || this.streams === "broken")) {
      for (const object of this.#nodes.values()) response.write(lineOf({ type: "ADDED", object }));
      if (this.streams === "broken") return void response.end();
      const annotations = { "k8s.io/initial-events-end": "true" };
      const metadata = { resourceVersion: String(this.#version), annotations };
      response.write(lineOf({ type: "BOOKMARK", object: { kind: "Node", apiVersion: "v1", metadata } }));
    }
    const name = asked.get("fieldSelector")?.replace("metadata.name=", "");
    const missed = this.#changes.filter((change) => change.version > since && (name ?? change.name) === change.name);
    for (const change of missed) response.write(lineOf(change));
    this.#watches.set(response, name);
    response.once("close", () => this.#watches.delete(response));
  }
}

/** Writes a kubeconfig without credentials into a directory. @returns its path. */
export function kubeconfigIn(directory: string, server: string): string {
  const path = join(directory, "kubeconfig");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "a", cluster: { server } }],
    contexts: [{ name: "a", context: { cluster: "a" } }],
    "current-context": "a",
  };
  fs.writeFileSync(path, JSON.stringify(config));
  return path;
}

function lineOf({ type, object }: Pick<Change, "type" | "object">): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function status(code: number, message: string): object {
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, code };
}

if (import.meta.main) {
  const api = new NodesApi();
  const [, , address = "", port = ""] = process.argv;
  api.server.listen(Number(port), address, () => process.stdout.write("listening\n"));
  for await (const line of createInterface({ input: process.stdin })) {
    api.do(JSON.parse(line) as Command);
    process.stdout.write("done\n");
  }
  await api[Symbol.asyncDispose]();
}
