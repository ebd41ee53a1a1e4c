/**
 * Builds the programs of a Kubernetes control plane for tests, once: they are kept in a cache, under a hash of all
 * that they are made from. Prints the directory that they are in. Run it before tests that start a cluster.
 */
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import { getSystemErrorMessage } from "node:util";

/** The Go package of each program. go.mod names those of other modules as its tools. */
const PROGRAMS = {
  etcd: "go.etcd.io/etcd/server/v3",
  "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
  "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
  kubectl: "k8s.io/kubernetes/cmd/kubectl",
  decode: "./decode",
};

const HERE = import.meta.dirname;
const CACHE = resolve(process.env["CNI_NODE_CACHE"] || join(homedir(), ".cache", "cni-node"), "cluster");
const TEMPORARY = ".tmp-";
const DAY = 24 * 60 * 60 * 1000;

/** The same for every build, so that nothing of a user's own settings shows in the programs. */
const GO_SETTINGS = { CGO_ENABLED: "0", GOFLAGS: "-mod=readonly", GOOS: "linux", GOWORK: "off" };

class Failure extends Error {}

/** The directory of the programs; an error says why there are none. */
export function findPrograms(): string {
  const directory = programDirectory();
  if (!isWhole(directory)) throw new Failure("the cluster's programs are not built: run node test/cluster/build.ts");
  return directory;
}

function build(): string {
  fs.mkdirSync(CACHE, { recursive: true });
  sweep();
  const directory = programDirectory();
  if (!isWhole(directory)) {
    process.stderr.write(`building ${Object.keys(PROGRAMS).join(", ")}: this takes minutes, once\n`);
    const work = fs.mkdtempSync(join(CACHE, TEMPORARY));
    try {
      go("build", ...buildFlags(), "-o", `${work}/`, ...Object.values(PROGRAMS));
      for (const [name, path] of Object.entries(PROGRAMS)) fs.renameSync(join(work, builtName(path)), join(work, name));
      store(work, directory);
    } finally {
      fs.rmSync(work, { recursive: true, force: true });
    }
  }
  const now = new Date();
  fs.utimesSync(directory, now, now);
  return directory;
}

function programDirectory(): string {
  const sources = ["go.mod", "go.sum", "decode/main.go"].map(readText);
  const toolchain = go("env", "GOVERSION", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140");
  const inputs = [PROGRAMS, GO_SETTINGS, buildFlags(), toolchain, sources];
  return join(CACHE, hash("sha256", JSON.stringify(inputs)));
}

function buildFlags(): string[] {
  const [, version, major, minor] = /^\s*k8s\.io\/kubernetes (v(\d+)\.(\d+)\S+)/mu.exec(readText("go.mod")) ?? [];
  if (version === undefined) throw new Failure("go.mod does not require k8s.io/kubernetes");
  const stamp = { gitVersion: version, gitMajor: major, gitMinor: minor };
  const stamps = Object.entries(stamp).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
  // Debug information would be made and thrown away.
  return ["-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", `-ldflags=${["-s -w", ...stamps].join(" ")}`];
}

/** What go names the program of a package. */
function builtName(path: string): string {
  return basename(path.replace(/\/v\d+$/u, ""));
}

/** Runs go with its messages going to ours; gives what it prints. */
function go(...args: string[]): string {
  const { error, signal, status, stdout } = spawnSync("go", args, {
    cwd: HERE,
    env: { ...process.env, ...GO_SETTINGS },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (error) throw new Failure(`go cannot be run: ${reasonOf(error)}`);
  if (status !== 0) throw new Failure(`go ${args[0]} failed: ${signal ?? `exit code ${status}`}`);
  return stdout;
}

/** Moves the programs to their place, all at once. */
function store(work: string, directory: string): void {
  try {
    fs.renameSync(work, directory);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes(String((error as NodeJS.ErrnoException).code))) throw error;
    if (isWhole(directory)) return; // another run was faster
    fs.rmSync(directory, { recursive: true, force: true });
    fs.renameSync(work, directory);
  }
}

/** A crash of the machine may have left empty files. */
function isWhole(directory: string): boolean {
  return Object.keys(PROGRAMS).every((name) => (sizeOf(join(directory, name)) ?? 0) > 0);
}

function sizeOf(path: string): number | undefined {
  return fs.statSync(path, { throwIfNoEntry: false })?.size;
}

/** Removes what killed runs have left behind, and programs that nobody has asked for in a long time. */
function sweep(): void {
  for (const name of fs.readdirSync(CACHE)) {
    const path = join(CACHE, name);
    const age = Date.now() - (fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
    if (age > (name.startsWith(TEMPORARY) ? 1 : 30) * DAY) fs.rmSync(path, { recursive: true, force: true });
  }
}

function readText(name: string): string {
  return fs.readFileSync(join(HERE, name), "utf8");
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.errno === undefined ? error.message : getSystemErrorMessage(error.errno);
}

if (import.meta.main) {
  try {
    process.stdout.write(`${build()}\n`);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`test/cluster/build.ts: ${error.message}\n`);
    process.exitCode = 1;
  }
}
