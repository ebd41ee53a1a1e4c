/** Connections to the API, directly or by a proxy. Whatever they wait for ends with the signal. */
import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import * as tls from "node:tls";

import { SocksClient } from "socks";

import { hostOf, portOf } from "./proxy.ts";

/** How a server is reached and known. */
export interface ServerRoute {
  proxy: URL | undefined;
  /** Undefined: a server without TLS. */
  tls: { context: tls.SecureContext; insecure: boolean; name: string | undefined } | undefined;
}

/**
 * Opens a connection on which requests can be sent. Rejects with the signal's reason once that is aborted.
 *
 * @param protocols those that the client speaks (ALPN), the preferred one first.
 */
export async function connect(
  server: URL,
  { proxy, tls: security }: ServerRoute,
  signal: AbortSignal,
  protocols: readonly string[] = ["http/1.1"],
): Promise<net.Socket> {
  const raw = await (proxy === undefined ? connectTcp(server, signal) : connectThrough(proxy, server, signal));
  if (security === undefined) return raw;
  const host = hostOf(server);
  const name = security.name ?? host;
  const socket = tls.connect({
    socket: raw,
    secureContext: security.context,
    rejectUnauthorized: !security.insecure,
    ALPNProtocols: [...protocols],
    // Names only may be sent (RFC 6066), addresses are in certificates all the same.
    ...(net.isIP(name) === 0 ? { servername: name } : {}),
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
  });
  return ready(socket, "secureConnect", signal);
}

async function connectTcp(to: URL, signal: AbortSignal): Promise<net.Socket> {
  const keepAlive = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
  return ready(net.connect({ host: hostOf(to), port: portOf(to), ...keepAlive }), "connect", signal);
}

async function connectThrough(proxy: URL, server: URL, signal: AbortSignal): Promise<net.Socket> {
  return proxy.protocol.startsWith("socks")
    ? connectSocks(proxy, server, signal)
    : connectTunnel(proxy, server, signal);
}

/** How long a connection may be silent before the kernel asks the other side whether it is still there. */
const KEEP_ALIVE_MS = 15_000;

/** A proxy of HTTP opens the connection with CONNECT. */
async function connectTunnel(proxy: URL, server: URL, signal: AbortSignal): Promise<net.Socket> {
  const host = hostOf(server);
  const target = `${net.isIPv6(host) ? `[${host}]` : host}:${portOf(server)}`;
  const user = decodeURIComponent(proxy.username);
  const credentials = Buffer.from(`${user}:${decodeURIComponent(proxy.password)}`).toString("base64");
  const headers = { Host: target, ...(user === "" ? {} : { "Proxy-Authorization": `Basic ${credentials}` }) };
  const { request } = proxy.protocol === "https:" ? https : http;
  const options = { host: hostOf(proxy), port: portOf(proxy), method: "CONNECT", path: target, agent: false, headers };
  const sent = request({ ...options, signal });
  return new Promise((resolve, reject) => {
    sent.once("connect", ({ statusCode }, socket: net.Socket) => {
      if (statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new Error(`the proxy ${proxy.host} refuses the connection: HTTP status ${statusCode}`));
    });
    sent.once("response", ({ statusCode }) => {
      sent.destroy();
      reject(new Error(`the proxy ${proxy.host} refuses the connection: HTTP status ${statusCode}`));
    });
    sent.on("error", (error) => {
      reject(signal.aborted ? (signal.reason as Error) : error);
    });
    sent.end();
  });
}

async function connectSocks(proxy: URL, server: URL, signal: AbortSignal): Promise<net.Socket> {
  const socket = await connectTcp(proxy, signal);
  const onAbort = (): void => {
    socket.destroy();
  };
  signal.addEventListener("abort", onAbort);
  try {
    const user = decodeURIComponent(proxy.username);
    await SocksClient.createConnection({
      command: "connect",
      proxy: {
        host: hostOf(proxy),
        port: portOf(proxy),
        type: 5,
        ...(user === "" ? {} : { userId: user, password: decodeURIComponent(proxy.password) }),
      },
      destination: { host: hostOf(server), port: portOf(server) },
      existing_socket: socket,
    });
    return socket;
  } catch (error) {
    socket.destroy();
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function ready<Kind extends net.Socket>(socket: Kind, event: string, signal: AbortSignal): Promise<Kind> {
  try {
    await once(socket, event, { signal });
    return socket;
  } catch (error) {
    // What else befalls it is of no interest.
    socket.on("error", () => undefined).destroy();
    throw signal.aborted ? signal.reason : error;
  }
}
