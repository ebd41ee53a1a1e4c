/** How the components of a control plane are started. */
import { createServer } from "node:net";
import { join } from "node:path";

import type { Identity } from "./pki.ts";
import type { Processes } from "./processes.ts";

/** What a component is started with. */
export interface Place {
  /** The directory of the programs. */
  programs: string;
  processes: Processes;
}

/** What the API server knows its clients and itself by. */
export interface Trust {
  /** The path of the certificate authority's certificate. */
  ca: string;
  server: Identity;
  /** The user whom another proxy is believed when it says who asks. */
  frontProxy: string;
  tokens: { publicKey: string; privateKey: string };
}

/** A started component. */
export interface Component {
  /** Rejects as soon as it ends. */
  lost: Promise<never>;
  /** What it has printed so far. */
  printed: () => string;
  /** Kills it; nothing is lost but what only it knew. */
  kill: () => Promise<void>;
}

/** Names of sockets in the directory of the processes, in the form that etcd wants: no ports are needed. */
const CLIENTS = "unix://etcd:1";
const PEERS = "unix://etcd:2";

/** Below the ports that systems give to outgoing connections. */
const PORTS = { first: 20_000, count: 12_000 };

/** Starts etcd. What it holds need not survive the machine. */
export function startEtcd(place: Place): Component {
  return start(place, "etcd", {
    "data-dir": "etcd",
    "listen-client-urls": CLIENTS,
    "advertise-client-urls": CLIENTS,
    "listen-peer-urls": PEERS,
    "initial-advertise-peer-urls": PEERS,
    "initial-cluster": `default=${PEERS}`,
    "unsafe-no-fsync": "",
    "log-level": "warn",
  });
}

/** Starts kube-apiserver. It may end at once because another process was faster to take the port. */
export function startApiserver(place: Place, trust: Trust, port: number, more: readonly string[]): Component {
  const options = {
    "etcd-servers": CLIENTS,
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "secure-port": String(port),
    "endpoint-reconciler-type": "none",
    "tls-cert-file": trust.server.certificate,
    "tls-private-key-file": trust.server.key,
    "client-ca-file": trust.ca,
    "requestheader-client-ca-file": trust.ca,
    "requestheader-allowed-names": trust.frontProxy,
    "requestheader-username-headers": "X-Remote-User",
    "requestheader-group-headers": "X-Remote-Group",
    "service-account-issuer": "https://kubernetes.default.svc",
    "service-account-key-file": trust.tokens.publicKey,
    "service-account-signing-key-file": trust.tokens.privateKey,
    "service-cluster-ip-range": "10.96.0.0/16",
    "authorization-mode": "RBAC",
    "allow-privileged": "true",
  };
  return start(place, "kube-apiserver", options, more);
}

/** Starts kube-controller-manager with these controllers. */
export function startControllers(place: Place, trust: Trust, kubeconfig: string, names: readonly string[]): Component {
  return start(place, "kube-controller-manager", {
    controllers: names.join(),
    kubeconfig,
    "leader-elect": "false",
    "secure-port": "0",
    "root-ca-file": trust.ca,
    "service-account-private-key-file": trust.tokens.privateKey,
  });
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.on("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

function start(
  { programs, processes }: Place,
  name: string,
  options: Record<string, string>,
  more: readonly string[] = [],
): Component {
  const words = Object.entries(options).map(([option, value]) =>
    value === "" ? `--${option}` : `--${option}=${value}`,
  );
  const { pid, ended, printed } = processes.start(join(programs, name), [...words, ...more]);
  const lost = ended.then((): never => {
    throw new Error(`${name} ended: ${printed().slice(-4000)}`);
  });
  // Nobody may be waiting when it is killed at the end.
  lost.catch(() => undefined);
  const kill = async (): Promise<void> => {
    process.kill(pid, "SIGKILL");
    await ended;
  };
  return { lost, printed, kill };
}
