/** A container image of one program, as an archive that `ctr images import` reads. */
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { basename, join } from "node:path";

/** Writes the archive into the directory. @param links names of the program in /bin. @returns its path. */
export function writeImage(directory: string, name: string, program: string, links: readonly string[] = []): string {
  const tar = (archive: string, from: string, ...files: string[]): void => {
    execFileSync("tar", ["--create", `--file=${join(directory, archive)}`, `--directory=${from}`, ...files]);
  };
  const bin = join(directory, "root/bin");
  fs.mkdirSync(bin, { recursive: true });
  for (const link of links) fs.symlinkSync(`../${basename(program)}`, join(bin, link));
  fs.copyFileSync(program, join(directory, "root", basename(program)));
  fs.chmodSync(join(directory, "root", basename(program)), 0o755);
  tar("layer.tar", join(directory, "root"), ".");
  fs.rmSync(join(directory, "root"), { recursive: true });
  const layer = hash("sha256", fs.readFileSync(join(directory, "layer.tar")));
  const platform = { architecture: process.arch === "x64" ? "amd64" : process.arch, os: "linux" };
  const config = { Entrypoint: [`/${basename(program)}`] };
  write(directory, "config.json", { ...platform, config, rootfs: { type: "layers", diff_ids: [`sha256:${layer}`] } });
  write(directory, "manifest.json", [{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }]);
  tar("image.tar", directory, "config.json", "layer.tar", "manifest.json");
  return join(directory, "image.tar");
}

function write(directory: string, file: string, value: object): void {
  fs.writeFileSync(join(directory, file), JSON.stringify(value));
}
