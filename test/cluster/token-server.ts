/** A server in the API's place that gives tokens, which live as long as a test wants. */
import { once } from "node:events";
import * as fs from "node:fs";
import * as https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { CertificateAuthority } from "./pki.ts";

export class ShortLived implements AsyncDisposable {
  readonly directory: string;
  readonly given: string[] = [];
  readonly asked: string[] = [];
  /** Milliseconds. */
  life = 3000;
  isAway = false;
  revoked = "none";
  readonly #server: https.Server;

  constructor(server: https.Server, directory: string) {
    this.directory = directory;
    this.#server = server;
    server.on("request", (incoming, answer) => {
      incoming.resume();
      incoming.on("end", () => {
        const { url = "", method = "" } = incoming;
        this.asked.push(`${method} ${url}`);
        const [status, body] = this.#answer(url, incoming.headers.authorization ?? "");
        answer.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      });
    });
  }

  static async start(): Promise<ShortLived> {
    const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-tokens-"));
    const authority = await CertificateAuthority.make(join(directory, "pki"));
    const { certificate, key } = await authority.server("server");
    const server = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const made = new ShortLived(server, directory);
    const cluster = {
      server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
      "certificate-authority-data": fs.readFileSync(authority.certificate).toString("base64"),
    };
    const config = {
      clusters: [{ name: "c", cluster }],
      users: [{ name: "u", user: { token: "installers.own.token" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    fs.mkdirSync(join(directory, "access"));
    fs.writeFileSync(made.kubeconfig, JSON.stringify(config, null, 1));
    return made;
  }

  get kubeconfig(): string {
    return join(this.directory, "access/kubeconfig");
  }

  #answer(url: string, authorization: string): [status: number, body: object] {
    const status = (code: number): [number, object] => [code, { kind: "Status", code, message: `it is ${code}` }];
    if (this.isAway) return status(503);
    if (url.startsWith("/apis/authentication.k8s.io/")) {
      return authorization.includes(this.revoked) ? status(401) : [201, { kind: "SelfSubjectReview" }];
    }
    if (url.endsWith("/token")) {
      const now = Date.now() / 1000;
      const claims = {
        iat: now,
        exp: now + this.life / 1000,
        sub: "system:serviceaccount:kube-system:multus",
        n: this.given.length,
      };
      const token = `head.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.secretsignature${this.given.length}`;
      this.given.push(token);
      return [201, { kind: "TokenRequest", status: { token } }];
    }
    return status(404);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    fs.rmSync(this.directory, { recursive: true, force: true });
    await Promise.resolve();
  }
}
