/** Kubeconfigs. They hold all that they speak of, so that they may be moved. */
import * as fs from "node:fs";

import type { Identity } from "./pki.ts";

interface Kubeconfig {
  server: string;
  /** The path of the certificate authority's certificate. */
  ca: string;
  /** A ServiceAccount's token or a client certificate. */
  credentials: { token: string } | Identity;
  namespace?: string;
}

/** Writes a kubeconfig, as JSON. */
export function writeKubeconfig(path: string, { server, ca, credentials, namespace }: Kubeconfig): void {
  const user =
    "token" in credentials
      ? credentials
      : { "client-certificate-data": base64(credentials.certificate), "client-key-data": base64(credentials.key) };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority-data": base64(ca) } }],
    users: [{ name: "test", user }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test", ...(namespace && { namespace }) } }],
    "current-context": "test",
  };
  fs.writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

/** Copies a kubeconfig that was written here, with another server in it. */
export function copyKubeconfig(from: string, to: string, server: string): void {
  const config = JSON.parse(fs.readFileSync(from, "utf8")) as { clusters: { cluster: object }[] };
  const clusters = config.clusters.map((entry) => ({ ...entry, cluster: { ...entry.cluster, server } }));
  fs.writeFileSync(to, `${JSON.stringify({ ...config, clusters }, null, 2)}\n`, { mode: 0o600 });
}

function base64(path: string): string {
  return fs.readFileSync(path).toString("base64");
}
