/**
 * Builds Go programs that tests and measurements need, once: they are kept in a cache, under a hash of all that they are made from.
 */
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { getSystemErrorMessage } from "node:util";

/** Programs of one Go module. */
export interface GoPrograms {
  /** What they are for, the name of their folder in the cache. */
  name: string;
  /** The folder of go.mod and go.sum. */
  directory: string;
  /** The Go package of each program. go.mod names those of other modules as its tools. */
  packages: Record<string, string>;
  /** The module's own files beside go.mod and go.sum. */
  sources: string[];
  /** What goes into the programs as `-ldflags`, beside the usual. */
  ldflags?: string[];
  /** Build tags. */
  tags?: string[];
}

const CACHE = resolve(process.env["CNI_NODE_CACHE"] || join(homedir(), ".cache", "cni-node"));
const TEMPORARY = ".tmp-";
const DAY = 24 * 60 * 60 * 1000;

/** The same for every build, so that nothing of a user's own settings shows in the programs. */
const GO_SETTINGS = { CGO_ENABLED: "0", GOFLAGS: "-mod=readonly", GOOS: "linux", GOWORK: "off" };

class Failure extends Error {}

/** The directory of the programs; an error says why there are none. */
export function findPrograms(programs: GoPrograms): string {
  const directory = programDirectory(programs);
  if (isWhole(programs, directory)) return directory;
  throw new Failure(`the programs for ${programs.name} are not built: run node ${builderOf(programs)}`);
}

/** Builds the programs if they are not there, prints the directory that they are in, or why not. */
export function buildPrograms(programs: GoPrograms): void {
  try {
    process.stdout.write(`${build(programs)}\n`);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`${builderOf(programs)}: ${error.message}\n`);
    process.exitCode = 1;
  }
}

function builderOf({ directory }: GoPrograms): string {
  return relative(process.cwd(), join(directory, "build.ts"));
}

function build(programs: GoPrograms): string {
  const cache = join(CACHE, programs.name);
  fs.mkdirSync(cache, { recursive: true });
  sweep(cache);
  const directory = programDirectory(programs);
  if (!isWhole(programs, directory)) {
    const names = Object.keys(programs.packages).join(", ");
    process.stderr.write(`building ${names}: this takes a while, once\n`);
    const work = fs.mkdtempSync(join(cache, TEMPORARY));
    try {
      const packages = Object.entries(programs.packages);
      go(programs, "build", ...buildFlags(programs), "-o", `${work}/`, ...packages.map(([, path]) => path));
      for (const [name, path] of packages) fs.renameSync(join(work, builtName(path)), join(work, name));
      store(programs, work, directory);
    } finally {
      fs.rmSync(work, { recursive: true, force: true });
    }
  }
  const now = new Date();
  fs.utimesSync(directory, now, now);
  return directory;
}

function programDirectory(programs: GoPrograms): string {
  const sources = ["go.mod", "go.sum", ...programs.sources].map((name) =>
    fs.readFileSync(join(programs.directory, name), "utf8"),
  );
  const toolchain = go(programs, "env", "GOVERSION", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140");
  const inputs = [programs.packages, GO_SETTINGS, buildFlags(programs), toolchain, sources];
  return join(CACHE, programs.name, hash("sha256", JSON.stringify(inputs)));
}

function buildFlags({ ldflags = [], tags = [] }: GoPrograms): string[] {
  // Debug information would be made and thrown away.
  const flags = [
    "-trimpath",
    "-buildvcs=false",
    "-gcflags=all=-dwarf=false",
    `-ldflags=${["-s -w", ...ldflags].join(" ")}`,
  ];
  return tags.length === 0 ? flags : [...flags, `-tags=${tags.join()}`];
}

/** What go names the program of a package. */
function builtName(path: string): string {
  return basename(path.replace(/\/v\d+$/u, ""));
}

/** Runs go with its messages going to ours; gives what it prints. */
function go(programs: GoPrograms, ...args: string[]): string {
  const { error, signal, status, stdout } = spawnSync("go", args, {
    cwd: programs.directory,
    env: { ...process.env, ...GO_SETTINGS },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (error) throw new Failure(`go cannot be run: ${reasonOf(error)}`);
  if (status !== 0) throw new Failure(`go ${args[0]} failed: ${signal ?? `exit code ${status}`}`);
  return stdout;
}

/** Moves the programs to their place, all at once. */
function store(programs: GoPrograms, work: string, directory: string): void {
  try {
    fs.renameSync(work, directory);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes(String((error as NodeJS.ErrnoException).code))) throw error;
    if (isWhole(programs, directory)) return; // another run was faster
    fs.rmSync(directory, { recursive: true, force: true });
    fs.renameSync(work, directory);
  }
}

/** A crash of the machine may have left empty files. */
function isWhole({ packages }: GoPrograms, directory: string): boolean {
  return Object.keys(packages).every((name) => (sizeOf(join(directory, name)) ?? 0) > 0);
}

function sizeOf(path: string): number | undefined {
  return fs.statSync(path, { throwIfNoEntry: false })?.size;
}

/** Removes what killed runs have left behind, and programs that nobody has asked for in a long time. */
function sweep(cache: string): void {
  for (const name of fs.readdirSync(cache)) {
    const path = join(cache, name);
    const age = Date.now() - (fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
    if (age > (name.startsWith(TEMPORARY) ? 1 : 30) * DAY) fs.rmSync(path, { recursive: true, force: true });
  }
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.errno === undefined ? error.message : getSystemErrorMessage(error.errno);
}
