/**
 * The base images of the Dockerfile, made on this machine under their public names, so that nothing is pulled: Debian
 * by debootstrap, Go and Node.js as this machine has them, and the last one of Debian's packages, as its makers do.
 */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { output, run, type Builder } from "./builder.ts";

/** A base image by its name in the Dockerfile: `DEBIAN`, `GOLANG`, `NODE`, `BASE`. */
export type BaseNames = Record<string, string>;

/** What the base of the last stage is made of: what is the same for all architectures, and what is not. */
const PACKAGES = ["ca-certificates", "netbase", "tzdata"];
const BINARY_PACKAGES = ["base-files", "libc6", "libgcc-s1", "libstdc++6"];
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
  makeBase(builder, names, nameOf(names, "BASE"), work);
}

/** The base of the last stage, for an architecture by Debian's name. */
export function makeBase(builder: Builder, names: BaseNames, name: string, work: string, arch = "amd64"): void {
  const root = join(work, `base-${arch}`);
  fs.mkdirSync(root);
  const packages = [...PACKAGES, ...BINARY_PACKAGES.map((one) => `${one}:${arch}`)];
  builder.within(nameOf(names, "DEBIAN"), (image) => {
    image.run(`
      dpkg --add-architecture ${arch}; apt-get update
      mkdir /base /debs; cd /debs; apt-get download ${packages.join(" ")}
      for deb in *.deb; do dpkg-deb --extract "$deb" /base; done
      cat /base/usr/share/ca-certificates/mozilla/*.crt >/base/etc/ssl/certs/ca-certificates.crt
      echo root:x:0:0:root:/root:/sbin/nologin >/base/etc/passwd; echo root:x:0: >/base/etc/group
      printf 'hosts: files dns\\n' >/base/etc/nsswitch.conf
    `);
    fs.cpSync(join(image.root, "base"), root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  });
  builder.make(name, "scratch", (image) => {
    image.copy(root, "/");
    image.set("--arch", arch);
    image.set("--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt");
  });
}

function nameOf(names: BaseNames, name: string): string {
  const found = names[name];
  if (found === undefined) throw new Error(`the Dockerfile has no ARG ${name}`);
  return found;
}
