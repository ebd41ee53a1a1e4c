/** Calls of the Container Runtime Interface, version v1: gRPC over the Unix socket of a container runtime. */
import * as fs from "node:fs";
import { connect } from "node:net";
import { resolve } from "node:path";

import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import protobuf from "protobufjs/light.js";

import { cancellationOf, Failure, Interrupted, isSystemError, reasonOf, throwIfInterrupted } from "../errors.ts";

/** How long a call may take, in milliseconds, and what ends it before. */
export interface CallLimits {
  timeout: number;
  signal: AbortSignal;
}

/** What crictl and the kubelet accept. */
const MAX_MESSAGE_SIZE = 16 * 1024 * 1024;

/** A connection to the RuntimeService of a container runtime. */
export class RuntimeService implements Disposable {
  readonly #socket: string;
  readonly #messages: protobuf.Root;
  readonly #client: Client;

  /**
   * Does not connect yet.
   *
   * @param socket its path; `unix://PATH`, as the kubelet's configuration has it, will do.
   * @param messages the request and the response of each method that will be called: `StatusRequest`, …
   */
  constructor(socket: string, messages: protobuf.Root) {
    this.#socket = socketPath(socket);
    this.#messages = messages;
    this.#client = new Client(`unix:${this.#socket}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE_SIZE,
      "grpc.enable_retries": 0,
    });
  }

  /**
   * Calls a method. The response has a default for each field that was not sent.
   *
   * @throws Failure `cri-socket-missing`, `cri-socket-invalid`, `cri-socket-denied`, `cri-refused`, `cri-timeout`,
   *   `cri-unavailable`, `cri-unsupported`, `cri-failed`; Interrupted.
   */
  async call<Response>(method: string, request: object, limits: CallLimits): Promise<Response> {
    throwIfInterrupted(limits.signal);
    // Not gRPC's own deadline: it is a time of the clock, which may jump.
    const timeout = AbortSignal.timeout(Math.ceil(limits.timeout));
    await reach(this.#socket, limits);
    throwIfInterrupted(limits.signal);
    const over = AbortSignal.any([limits.signal, timeout]);
    return new Promise((fulfil, reject) => {
      const call = this.#client.makeUnaryRequest(
        `/runtime.v1.RuntimeService/${method}`,
        (message: object) => this.#encode(`${method}Request`, message),
        (bytes: Buffer) => this.#messages.lookupType(`${method}Response`).decode(bytes) as Response,
        request,
        new Metadata(),
        (error, response) => {
          over.removeEventListener("abort", cancel);
          if (error === null) return fulfil(response as Response);
          if (limits.signal.aborted) return reject(new Interrupted(cancellationOf(limits.signal)));
          reject(timeout.aborted ? timedOut(this.#socket) : callFailure(this.#socket, error));
        },
      );
      const cancel = (): void => call.cancel();
      over.addEventListener("abort", cancel, { once: true });
      if (over.aborted) cancel();
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #encode(type: string, message: object): Buffer {
    const found = this.#messages.lookupType(type);
    return Buffer.from(found.encode(found.fromObject(message)).finish());
  }
}

/** The path of a socket that may be given as `unix://PATH`. */
export function socketPath(socket: string): string {
  return resolve(socket.replace(/^unix:(?:\/\/(?=\/))?/u, ""));
}

/** Connects once: what gRPC makes of the system's errors is one error for all. */
async function reach(socket: string, { timeout, signal }: CallLimits): Promise<void> {
  try {
    if (!fs.statSync(socket).isSocket()) throw notASocket(socket);
    await new Promise<void>((fulfil, reject) => {
      const connection = connect({ path: socket, signal });
      connection.setTimeout(timeout, () => connection.destroy(timedOut(socket)));
      connection.on("error", reject);
      connection.on("connect", () => {
        connection.destroy();
        fulfil();
      });
    });
  } catch (error) {
    throwIfInterrupted(signal);
    throw error instanceof Failure ? error : socketFailure(socket, error);
  }
}

function notASocket(socket: string): Failure {
  return new Failure({
    code: "cri-socket-invalid",
    subject: socket,
    problem: "is not a socket",
    hint: "name the container runtime's socket itself, such as /run/containerd/containerd.sock",
  });
}

function timedOut(socket: string): Failure {
  return new Failure({
    code: "cri-timeout",
    subject: socket,
    problem: "the container runtime has not answered in time",
    hint: "look at the runtime's log (journalctl -u containerd, or crio) and at the load of the node",
  });
}

function socketFailure(socket: string, error: unknown): Failure {
  if (isSystemError(error, "ENOENT", "ENOTDIR")) {
    return new Failure({
      code: "cri-socket-missing",
      subject: socket,
      problem: "there is no such socket",
      hint: "mount the directory that the container runtime's socket is in, and name the socket as it is seen from here",
      cause: error,
    });
  }
  if (isSystemError(error, "EACCES", "EPERM")) {
    return new Failure({
      code: "cri-socket-denied",
      subject: socket,
      problem: `cannot be connected to: ${reasonOf(error)}`,
      hint: "run as root; where SELinux is enforcing, the container needs a type that may use the socket (spc_t)",
      cause: error,
    });
  }
  if (isSystemError(error, "ECONNREFUSED")) {
    return new Failure({
      code: "cri-refused",
      subject: socket,
      problem: "no container runtime listens there",
      hint: "is it running? a runtime that restarts makes a new socket: mount the directory of the socket, not the socket",
      cause: error,
    });
  }
  return new Failure({
    code: "cri-socket-invalid",
    subject: socket,
    problem: `cannot be connected to: ${reasonOf(error)}`,
    hint: "name the container runtime's socket, such as /run/containerd/containerd.sock",
    cause: error,
  });
}

function callFailure(socket: string, error: ServiceError): Failure {
  if (error.code === status.DEADLINE_EXCEEDED) return timedOut(socket);
  if (error.code === status.UNIMPLEMENTED) {
    return new Failure({
      code: "cri-unsupported",
      subject: socket,
      problem: `what listens there does not serve CRI v1: ${error.details}`,
      hint: "containerd 1.6 and CRI-O 1.23 do, and newer ones; disabled_plugins in containerd's config.toml must not name cri, as it does in Docker's packages",
      cause: error,
    });
  }
  if (error.code === status.UNAVAILABLE) {
    return new Failure({
      code: "cri-unavailable",
      subject: socket,
      problem: `what listens there does not answer calls: ${reasonIn(error.details)}`,
      hint: "is it the socket of a container runtime (not Docker's), and has the runtime started? /run/containerd/containerd.sock and /run/crio/crio.sock are usual",
      cause: error,
    });
  }
  return new Failure({
    code: "cri-failed",
    subject: socket,
    problem: `the container runtime answers with an error: ${error.details}`,
    hint: "look at the runtime's log (journalctl -u containerd, or crio)",
    cause: error,
  });
}

/** The library puts words and the time around the error of a connection. */
function reasonIn(details: string): string {
  return /Last error: (.*?) \(\d{4}-/su.exec(details)?.[1] ?? details;
}
