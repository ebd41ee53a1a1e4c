/**
 * A simulated container runtime: it answers CRI's Version and Status, and HTTP requests on the same socket, with what a
 * test says. For runtimes that cannot be had here, and for what a real one does rarely; see test/runtime for real ones.
 */
import * as fs from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";

import { Server, ServerCredentials, type sendUnaryData, type ServiceDefinition } from "@grpc/grpc-js";
import protobuf from "protobufjs/light.js";

import { until } from "./node.ts";

/** What it answers. */
export interface Answers {
  name: string;
  version: string;
  /** The condition NetworkReady: `true`, or the message of why not. */
  network: true | string;
  info?: Record<string, string>;
  /** The text for each path that is asked for by HTTP. */
  http?: Record<string, string>;
}

const INFO: protobuf.IMapField = { keyType: "string", type: "string", id: 2 };
/** Of k8s.io/cri-api v0.36.3, pkg/apis/runtime/v1/api.proto. */
const MESSAGES = protobuf.Root.fromJSON({
  nested: {
    VersionRequest: { fields: { version: { type: "string", id: 1 } } },
    VersionResponse: {
      fields: {
        version: { type: "string", id: 1 },
        runtimeName: { type: "string", id: 2 },
        runtimeVersion: { type: "string", id: 3 },
        runtimeApiVersion: { type: "string", id: 4 },
      },
    },
    StatusRequest: { fields: { verbose: { type: "bool", id: 1 } } },
    StatusResponse: { fields: { status: { type: "RuntimeStatus", id: 1 }, info: INFO } },
    RuntimeStatus: { fields: { conditions: { rule: "repeated", type: "RuntimeCondition", id: 1 } } },
    RuntimeCondition: {
      fields: {
        type: { type: "string", id: 1 },
        status: { type: "bool", id: 2 },
        reason: { type: "string", id: 3 },
        message: { type: "string", id: 4 },
      },
    },
  },
});

/** Listens on sockets in one directory. */
export class SimulatedRuntime implements AsyncDisposable {
  readonly socket: string;
  /** What it answers from now on. */
  answers: Answers;
  /** How often it has been asked for its status. */
  asked = 0;
  #stop: (() => Promise<void>) | undefined;

  private constructor(socket: string, answers: Answers) {
    this.socket = socket;
    this.answers = answers;
  }

  static async start(directory: string, answers: Answers): Promise<SimulatedRuntime> {
    const runtime = new SimulatedRuntime(join(directory, "runtime.sock"), answers);
    await runtime.listen();
    return runtime;
  }

  /** Makes its socket anew, as one that is started again does. */
  async listen(): Promise<void> {
    const grpc = new Server();
    grpc.addService(service(), {
      Version: (_: unknown, send: sendUnaryData<object>) => send(null, this.#version()),
      Status: ({ request }: { request: { verbose: boolean } }, send: sendUnaryData<object>) =>
        send(null, this.#status(request.verbose)),
    });
    const inner = `${this.socket}.grpc`;
    await new Promise((resolve, reject) => {
      const bound = (error: Error | null): void => (error === null ? resolve(undefined) : reject(error));
      grpc.bindAsync(`unix:${inner}`, ServerCredentials.createInsecure(), bound);
    });
    const http = createHttpServer(({ url = "" }, response) => {
      const text = this.answers.http?.[url];
      response.writeHead(text === undefined ? 404 : 200).end(text);
    });
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => undefined);
      socket.once("data", (data) => {
        socket.pause();
        socket.unshift(data);
        // HTTP/2, which gRPC uses, begins with words of its own.
        if (!data.subarray(0, 3).equals(Buffer.from("PRI"))) {
          http.emit("connection", socket);
          socket.resume();
          return;
        }
        const call = connect(inner);
        call.on("error", () => socket.destroy());
        socket.on("close", () => call.destroy());
        call.pipe(socket).pipe(call);
      });
    });
    await new Promise<void>((resolve) => server.listen(this.socket, resolve));
    this.#stop = async () => {
      grpc.forceShutdown();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      fs.rmSync(inner, { force: true });
    };
  }

  /** Waits until it has been asked once more. */
  async isAsked(): Promise<void> {
    const { asked } = this;
    await until(() => this.asked > asked);
  }

  /** Ends, and leaves nothing behind. */
  async stop(): Promise<void> {
    await this.#stop?.();
    this.#stop = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #version(): object {
    const { name, version } = this.answers;
    return { version: "0.1.0", runtimeName: name, runtimeVersion: version, runtimeApiVersion: "v1" };
  }

  #status(isVerbose: boolean): object {
    this.asked++;
    const { network, info } = this.answers;
    const why = { reason: "NetworkPluginNotReady", message: `Network plugin returns error: ${network}` };
    const conditions = [
      { type: "RuntimeReady", status: true },
      { type: "NetworkReady", ...(network === true ? { status: true } : { status: false, ...why }) },
    ];
    return { status: { conditions }, ...(isVerbose ? { info } : {}) };
  }
}

function service(): ServiceDefinition {
  const methods = ["Version", "Status"].map((name) => {
    const request = MESSAGES.lookupType(`${name}Request`);
    const response = MESSAGES.lookupType(`${name}Response`);
    const method = {
      path: `/runtime.v1.RuntimeService/${name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: object) => Buffer.from(request.encode(message).finish()),
      requestDeserialize: (bytes: Buffer) => request.decode(bytes),
      responseSerialize: (message: object) => Buffer.from(response.encode(response.fromObject(message)).finish()),
      responseDeserialize: (bytes: Buffer) => response.decode(bytes),
    };
    return [name, method] as const;
  });
  return Object.fromEntries(methods);
}
