/** The certificate authorities of the system, where Go, and so kubectl, looks for them. */
import { X509Certificate } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";

import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";

const FILES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];
const DIRECTORIES = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/** More than any system has. */
const MOST_FILES = 2000;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/gu;

/** Certificates as PEM: of the first file that is there, and of all in the directories. */
export function systemAuthorities(env: Readonly<Record<string, string | undefined>>): string[] {
  const files = env["SSL_CERT_FILE"] ? [env["SSL_CERT_FILE"]] : FILES;
  const directories = env["SSL_CERT_DIR"] ? env["SSL_CERT_DIR"].split(":") : DIRECTORIES;
  const bundle = files.map(read).find((text) => text !== undefined);
  const texts = [bundle ?? "", ...directories.flatMap(filesIn).map((path) => read(path) ?? "")];
  return [...new Set(texts.flatMap((text) => text.match(CERTIFICATE) ?? []))];
}

/** Does a text hold a certificate as PEM? Node takes one that holds none without a word, and trusts nobody. */
export function hasCertificate(text: string): boolean {
  return (text.match(CERTIFICATE) ?? []).some((certificate) => {
    try {
      return new X509Certificate(certificate).raw.length > 0;
    } catch {
      return false;
    }
  });
}

function read(path: string): string | undefined {
  return readTextIfPossible(path, SIZE_LIMITS.credentials);
}

function filesIn(directory: string): string[] {
  try {
    return fs
      .readdirSync(directory)
      .slice(0, MOST_FILES)
      .map((name) => join(directory, name));
  } catch {
    return [];
  }
}
