/**
 * The base images of the Dockerfile, made on this machine under their public names, so that nothing is pulled: Debian
 * by debootstrap, Go and Node.js as this machine has them.
 */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { output, run, type Builder } from "./builder.ts";

/** A base image by its name in the Dockerfile: `DEBIAN`, `GOLANG`, `NODE`. */
export type BaseNames = Record<string, string>;

/** This machine's own certificate authorities: the steps that download need those that it trusts. */
const TRUSTED = "/etc/ssl/certs/ca-certificates.crt";

/** Makes them all. Takes a minute, and the network. @param work an empty directory. */
export function makeBases(builder: Builder, names: BaseNames, work: string): void {
  const debian = join(work, "debian");
  run("debootstrap", ["--variant=minbase", "bookworm", debian]);
  for (const path of ["var/lib/apt/lists", "var/cache/apt/archives"]) {
    fs.rmSync(join(debian, path), { recursive: true, force: true });
    fs.mkdirSync(join(debian, path, "partial"), { recursive: true });
  }
  fs.mkdirSync(join(debian, dirname(TRUSTED)), { recursive: true });
  fs.copyFileSync(TRUSTED, join(debian, TRUSTED));
  builder.make(nameOf(names, "DEBIAN"), "scratch", (image) => image.copy(debian, "/"));

  const go = output("go", ["env", "GOROOT"]).trim();
  builder.make(nameOf(names, "GOLANG"), nameOf(names, "DEBIAN"), (image) => {
    image.copy(go, "/usr/local/go");
    image.set("--env", "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  });
  const npm = dirname(dirname(fs.realpathSync(output("sh", ["-c", "command -v npm"]).trim())));
  builder.make(nameOf(names, "NODE"), nameOf(names, "DEBIAN"), (image) => {
    image.copy(process.execPath, "/usr/local/bin/node");
    image.copy(npm, "/usr/local/lib/node_modules/npm");
    image.run("ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm");
    for (const name of ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]) image.set("--env", `${name}=${TRUSTED}`);
  });
}

function nameOf(names: BaseNames, name: string): string {
  const found = names[name];
  if (found === undefined) throw new Error(`the Dockerfile has no ARG ${name}`);
  return found;
}
