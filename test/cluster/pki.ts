/** A certificate authority and what it signs, with openssl. */
import { execFile, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

const PROGRAM = "openssl";

/** Why nothing can be signed here; false: it can. Never a reason in CI. */
export const cannotSign: string | false =
  process.env["CI"] !== "true" && spawnSync(PROGRAM, ["version"]).error ? `${PROGRAM} is missing` : false;

/** The paths of a certificate and of its key. */
export interface Identity {
  certificate: string;
  key: string;
}

/** Whom a certificate is for. */
interface Holder {
  user: string;
  group?: string;
}

/** Files in a directory of its own. Everything is valid for a day. */
export class CertificateAuthority {
  readonly #directory: string;
  readonly #own: Identity;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#own = this.#paths("ca");
  }

  static async make(directory: string): Promise<CertificateAuthority> {
    fs.mkdirSync(directory);
    const made = new CertificateAuthority(directory);
    await made.#request("ca", "/CN=cni-node-test", ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    return made;
  }

  /** The certificate of the authority, as PEM. */
  get certificate(): string {
    return this.#own.certificate;
  }

  /** A certificate for a server on the loopback interface. @param more addresses. */
  async server(name: string, more: readonly string[] = []): Promise<Identity> {
    const addresses = ["127.0.0.1", ...more].map((address) => `IP:${address}`).join();
    const names = `subjectAltName=${addresses},DNS:localhost,DNS:kubernetes.default.svc`;
    return this.#sign(name, `/CN=${name}`, ["-addext", names, "-addext", "extendedKeyUsage=serverAuth"]);
  }

  /** A certificate that Kubernetes takes for a user. */
  async client(name: string, { user, group }: Holder): Promise<Identity> {
    const groups = group === undefined ? "" : `/O=${group}`;
    return this.#sign(name, `${groups}/CN=${user}`, ["-addext", "extendedKeyUsage=clientAuth"]);
  }

  /** A pair of keys that tokens are signed with. */
  keyPair(name: string): { publicKey: string; privateKey: string } {
    const paths = { publicKey: join(this.#directory, `${name}.pub`), privateKey: join(this.#directory, `${name}.key`) };
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    fs.writeFileSync(paths.publicKey, publicKey.export({ type: "spki", format: "pem" }));
    fs.writeFileSync(paths.privateKey, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
    return paths;
  }

  async #sign(name: string, subject: string, words: readonly string[]): Promise<Identity> {
    const { certificate, key } = this.#own;
    const leaf = ["-CA", certificate, "-CAkey", key, "-addext", "basicConstraints=critical,CA:FALSE"];
    const usage = ["-addext", "keyUsage=critical,digitalSignature"];
    return this.#request(name, subject, [...leaf, ...usage, ...words]);
  }

  async #request(name: string, subject: string, words: readonly string[]): Promise<Identity> {
    const paths = this.#paths(name);
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const files = ["-keyout", paths.key, "-out", paths.certificate];
    await execute(PROGRAM, ["req", "-x509", ...newKey, ...files, "-days", "1", "-subj", subject, ...words]);
    return paths;
  }

  #paths(name: string): Identity {
    return { certificate: join(this.#directory, `${name}.crt`), key: join(this.#directory, `${name}.key`) };
  }
}
