/**
 * Builds the image with the builder that is there, and prints what its layers weigh. `make image` runs it.
 *
 *     node scripts/image.ts [--builder=docker|podman|buildah] [--tag=cni-node] [--plugins=all] [OPTION OF THE BUILDER...]
 */
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const ROOT = join(import.meta.dirname, "..");
const BUILDERS = ["docker", "podman", "buildah"];
/**
 * What buildah, which is in podman, wants to be told and BuildKit knows: to keep what did not change, and the platform
 * that the steps run on when the image is for another one.
 */
export const BUILDAH_OPTIONS: readonly string[] = [
  "--layers",
  `--build-arg=BUILDPLATFORM=linux/${process.arch === "x64" ? "amd64" : process.arch}`,
];

/** A layer of an image: bytes, unpacked and as registries keep it, and where most of them are. */
interface Layer {
  size: number;
  compressed: number;
  content: string;
}

/** The build arguments that say what is built: version, commit and its time; SOURCE_DATE_EPOCH if it is set. */
export function buildArguments(): string[] {
  const { version } = JSON.parse(fs.readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  const epoch = process.env["SOURCE_DATE_EPOCH"];
  const seconds = epoch ?? git("log", "-1", "--format=%ct") ?? "0";
  const created = new Date(Number(seconds) * 1000).toISOString().replace(".000", "");
  const revision = process.env["GIT_SHA"] ?? git("rev-parse", "--short", "HEAD") ?? "unknown";
  const times = epoch === undefined ? {} : { SOURCE_DATE_EPOCH: epoch };
  const settings = { VERSION: version, GIT_SHA: revision, CREATED: created, ...times };
  return Object.entries(settings).map(([name, value]) => `--build-arg=${name}=${value}`);
}

/** The layers in an archive that `docker save` or its like has written, the lowest first. */
export function layersOf(archive: string): Layer[] {
  const directory = fs.mkdtempSync(join(tmpdir(), "cni-node-image-"));
  try {
    execFileSync("tar", ["-C", directory, "-xf", archive]);
    const manifest = JSON.parse(fs.readFileSync(join(directory, "manifest.json"), "utf8")) as { Layers: string[] }[];
    return (manifest[0]?.Layers ?? []).map((name) => layerOf(join(directory, name)));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** One line a layer and one for all. */
export function formatLayers(layers: readonly Layer[]): string {
  const total = { content: "all" };
  const sum = (key: "size" | "compressed"): number => layers.reduce((bytes, layer) => bytes + layer[key], 0);
  const lines = [...layers, { ...total, size: sum("size"), compressed: sum("compressed") }];
  return lines
    .map(({ size, compressed, content }) => `${megabytes(size)} MB  ${megabytes(compressed)} MB gzip  ${content}\n`)
    .join("");
}

function layerOf(path: string): Layer {
  const content = fs.readFileSync(path);
  const listed = execFileSync("tar", ["-tvf", path], { encoding: "utf8", maxBuffer: 1 << 28 });
  const files = listed.split("\n").flatMap((line) => {
    const [mode = "", , size = "", , , name = ""] = line.split(/\s+/u);
    return mode.startsWith("-") ? [{ size: Number(size), name }] : [];
  });
  const [largest] = files.toSorted((a, b) => b.size - a.size);
  const share = `${files.length} files, the largest is ${largest?.name ?? "none"}`;
  return { size: content.length, compressed: gzipSync(content).length, content: share };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1).padStart(6);
}

function git(...args: string[]): string | undefined {
  const { status, stdout } = spawnSync("git", args, { cwd: ROOT, encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

function build(builder: string, tag: string, more: readonly string[]): void {
  const env = { ...process.env, DOCKER_BUILDKIT: "1" };
  const options = { cwd: ROOT, env, stdio: "inherit" } as const;
  const own = builder === "docker" ? [] : BUILDAH_OPTIONS;
  execFileSync(builder, ["build", ...own, `--tag=${tag}`, ...buildArguments(), ...more, "."], options);
  const directory = fs.mkdtempSync(join(tmpdir(), "cni-node-image-"));
  try {
    const archive = join(directory, "image.tar");
    const save = builder === "buildah" ? ["push", tag, `docker-archive:${archive}`] : ["save", "-o", archive, tag];
    execFileSync(builder, save, options);
    process.stdout.write(formatLayers(layersOf(archive)));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { values, tokens } = parseArgs({ strict: false, tokens: true });
  const own = new Set(["builder", "tag", "plugins"]);
  const more = tokens.flatMap((token) => (token.kind === "option" && own.has(token.name) ? [] : [argumentOf(token)]));
  const found = BUILDERS.find((name) => spawnSync(name, ["--version"]).status === 0);
  const builder = typeof values["builder"] === "string" ? values["builder"] : found;
  if (builder === undefined) throw new Error(`none of ${BUILDERS.join(", ")} is here to build the image`);
  const plugins = typeof values["plugins"] === "string" ? [`--build-arg=PLUGINS=${values["plugins"]}`] : [];
  build(builder, typeof values["tag"] === "string" ? values["tag"] : "cni-node", [...plugins, ...more]);
}

function argumentOf(token: { index: number }): string {
  return process.argv[token.index + 2] ?? "";
}
