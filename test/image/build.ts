/**
 * Builds the image for tests, from base images that are made here, and keeps everything that this takes in the cache:
 * the second time takes seconds. Prints what the layers weigh and where the image is. Run it before tests that use it.
 */
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { BUILDAH_OPTIONS, buildArguments, formatLayers, layersOf } from "../../scripts/image.ts";
import { makeBases, type BaseNames } from "./bases.ts";
import { Builder, output } from "./builder.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CACHE = resolve(process.env["CNI_NODE_CACHE"] || join(homedir(), ".cache", "cni-node"));
const IMAGES = join(CACHE, "image");
/** Layers of images that nobody needs any more are not told from others: when it is too much, it is all removed. */
const MOST_BYTES = 20e9;

/** The name that README.md and docs/image.md give to the image. */
const IMAGE = "cni-node";

/** Where the image is; an error says why there is none. */
export function findImage(): string {
  const archive = join(cacheDirectory(), "image.tar");
  if (!fs.existsSync(archive)) throw new Error("the image is not built: run node test/image/build.ts");
  return archive;
}

/** A builder that has the base images. */
export function preparedBuilder(): Builder {
  const directory = cacheDirectory();
  fs.mkdirSync(directory, { recursive: true });
  const builder = new Builder(directory);
  const done = join(directory, "bases");
  if (fs.existsSync(done)) return builder;
  process.stderr.write("making the base images of the Dockerfile: this takes a minute, once\n");
  const work = join(directory, "work");
  fs.rmSync(work, { recursive: true, force: true });
  fs.mkdirSync(work);
  makeBases(builder, baseNames(), work);
  fs.rmSync(work, { recursive: true, force: true });
  fs.writeFileSync(done, "");
  return builder;
}

/** Builds the Dockerfile of the clone, with the caches of this machine. */
export function buildImage(builder: Builder, tag: string, options: readonly string[] = [], cache = CACHE): void {
  const words = ["build", ...BUILDAH_OPTIONS, "--pull-never", `--tag=${tag}`, ...buildArguments(), ...options, ROOT];
  builder.buildah(words, { TMPDIR: temporaryWithCaches(cache) });
}

/**
 * The environment of a program that calls buildah by itself, for the same base images and caches. It needs a mount
 * namespace of its own, as in `Builder`.
 */
export function buildahEnvironment(builder: Builder): NodeJS.ProcessEnv {
  const directory = cacheDirectory();
  const driver = builder.buildah(["info", "--format", "{{.store.GraphDriverName}}"]).trim();
  const file = join(directory, "storage.conf");
  const [graphroot, runroot] = ["store", "run"].map((name) => JSON.stringify(join(directory, name)));
  fs.writeFileSync(
    file,
    `[storage]\ndriver = ${JSON.stringify(driver)}\ngraphroot = ${graphroot}\nrunroot = ${runroot}\n`,
  );
  return { CONTAINERS_STORAGE_CONF: file, BUILDAH_ISOLATION: "chroot", TMPDIR: temporaryWithCaches() };
}

/** TMPDIR of a buildah whose caches are those of this machine: it keeps there what `RUN --mount=type=cache` names. */
function temporaryWithCaches(cache = CACHE): string {
  const temporary = join(cacheDirectory(), "tmp", hash("sha256", cache).slice(0, 8));
  const [goBuild, goModules] = output("go", ["env", "GOCACHE", "GOMODCACHE"]).split("\n");
  const mounts = {
    "cni-node-plugins": join(cache, "plugins"),
    "cni-node-go-build": goBuild ?? "",
    "cni-node-go-mod": goModules ?? "",
  };
  fs.mkdirSync(join(temporary, "buildah-cache"), { recursive: true });
  for (const [id, directory] of Object.entries(mounts)) {
    const link = join(temporary, "buildah-cache", id);
    fs.mkdirSync(directory, { recursive: true });
    if (!fs.existsSync(link)) fs.symlinkSync(directory, link);
  }
  return temporary;
}

/** Writes an image of the builder to a file that engines can load. */
export function saveImage(builder: Builder, tag: string, archive: string): void {
  fs.rmSync(archive, { force: true });
  builder.buildah(["push", "--quiet", tag, `docker-archive:${archive}:${tag}:latest`]);
}

/** The names of the base images, by the names of the arguments that give them. */
function baseNames(): BaseNames {
  const dockerfile = fs.readFileSync(join(ROOT, "Dockerfile"), "utf8");
  const names = dockerfile.matchAll(/^ARG ([A-Z]+)=(\S+\/\S+)$/gmu);
  return Object.fromEntries(Array.from(names, ([, argument = "", name = ""]) => [argument, name]));
}

/** One for each way to make the base images. */
function cacheDirectory(): string {
  const sources = ["bases.ts", "builder.ts"].map((name) => fs.readFileSync(join(import.meta.dirname, name), "utf8"));
  const inputs = [sources, baseNames(), process.version, output("go", ["env", "GOVERSION"])];
  return join(IMAGES, hash("sha256", JSON.stringify(inputs)));
}

/** Removes the images of other base images, and all when it has become too much. */
function sweep(directory: string): void {
  if (!fs.existsSync(IMAGES)) return;
  const kilobytes = Number(output("du", ["-skx", IMAGES]).split("\t")[0]);
  for (const name of fs.readdirSync(IMAGES)) {
    const path = join(IMAGES, name);
    if (path !== directory || kilobytes * 1024 > MOST_BYTES) fs.rmSync(path, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  sweep(cacheDirectory());
  const builder = preparedBuilder();
  const archive = join(cacheDirectory(), "image.tar");
  buildImage(builder, IMAGE);
  saveImage(builder, IMAGE, `${archive}.new`);
  process.stdout.write(formatLayers(layersOf(`${archive}.new`)));
  fs.renameSync(`${archive}.new`, archive);
  process.stdout.write(`${archive}\n`);
}
