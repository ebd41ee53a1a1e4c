/**
 * Builds plugins of catalogue.json into a directory, and a `.catalogue.json` beside them that tells what they are.
 * Binaries are kept in a cache, each under a hash of all that it is made from.
 */
import { spawnSync } from "node:child_process";
import { hash, randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { getSystemErrorMessage, parseArgs } from "node:util";

const USAGE = `usage: node plugins/build.ts [option...]
  --output=DIR           where the plugins go (build/plugins/linux-ARCH of this clone)
  --plugins=WORD,...     names of plugins, module folders, or all (all)
  --named-in=TEXT        also the plugins whose names are words of TEXT
  --goos=linux           the only one
  --goarch=amd64|arm64   the architecture (this machine's)`;

/** One entry of catalogue.json. */
interface Source {
  /** The folder here whose go.mod pins the module and all that it is built with. */
  folder: string;
  module: string;
  /** The module's own licence, by its SPDX name. */
  licence: string;
  /** Go variable, seen from the module's root, to the text that is linked into it. */
  stamp: Record<string, string>;
  /** More options of go build, that make the binary smaller and nothing else. */
  flags?: string[];
  /** Plugin to Go package, seen from the module's root. Two plugins of one package are one binary. */
  plugins: Record<string, string>;
}

interface Module extends Source {
  version: string;
  buildFlags: string[];
  /** All that its binaries are made from, but for the package and the architecture. */
  inputs: string[];
}

interface Binary {
  /** The first plugin that it is. */
  name: string;
  module: Module;
  package: string;
}

interface Plugin {
  name: string;
  binary: Binary;
}

/** What is known of a binary once it is built; lies beside it in the cache. */
interface Facts {
  size: number;
  sha256: string;
  /** The versions of the CNI specification that it speaks, in its own order. */
  cniVersions: string[];
}

/** What `.catalogue.json` holds. */
interface Listing {
  version: 1;
  platform: string;
  plugins: ({ name: string; module: string; version: string; licence: string } & Facts)[];
}

interface Request {
  output: string;
  selection: string[];
  /** Words of which some may be names of plugins. */
  mentioned: string[];
  arch: string;
}

/** Plugins by name, in the order of their names. */
type Catalogue = Map<string, Plugin>;

const HERE = import.meta.dirname;
const CACHE = resolve(process.env["CNI_NODE_CACHE"] || join(homedir(), ".cache", "cni-node"), "plugins");
const LISTING = ".catalogue.json";
const TEMPORARY = ".tmp-";
const DAY = 24 * 60 * 60 * 1000;
const DIGESTS = new Map<string, string>();

/** Go's name of each architecture that plugins are built for, by Node's. */
const ARCHITECTURES: Record<string, string> = { x64: "amd64", arm64: "arm64" };
const NATIVE = ARCHITECTURES[process.arch] ?? process.arch;

/** The same for every build, so that nothing of a user's own settings shows in the binaries. */
const GO_SETTINGS = {
  CGO_ENABLED: "0",
  GOAMD64: "v1",
  GOARM64: "v8.0",
  GOFLAGS: "-mod=readonly",
  GOOS: "linux",
  GOWORK: "off",
};

class Failure extends Error {
  readonly exitCode: 1 | 2;

  constructor(subject: string, problem: string, exitCode: 1 | 2 = 1) {
    super(`${subject}: ${problem}`);
    this.exitCode = exitCode;
  }
}

function main(args: string[]): void {
  const request = readRequest(args);
  const catalogue = readCatalogue();
  const wanted = selectPlugins(catalogue, request);

  fillCache(wanted, request.arch);
  fs.mkdirSync(request.output, { recursive: true });
  sweep(request.output);
  for (const plugin of [...wanted, ...keptPlugins(catalogue, request)]) place(plugin, catalogue, request);
  // Another run may have placed plugins after this one looked; done is who finds the listing right.
  while (!isListed(catalogue, request));
}

function readRequest(args: string[]): Request {
  const { values: options } = parseArgs({
    args,
    options: {
      output: { type: "string" },
      plugins: { type: "string", default: "all" },
      "named-in": { type: "string", default: "" },
      goos: { type: "string", default: "linux" },
      goarch: { type: "string", default: NATIVE },
    },
  });
  const { goos, goarch: arch } = options;
  const known = Object.values(ARCHITECTURES);
  if (goos !== "linux") throw new Failure("--goos", `cannot be ${goos}: the plugins are for linux`, 2);
  if (!known.includes(arch)) throw new Failure("--goarch", `cannot be ${arch}: known are ${known.join(", ")}`, 2);
  return {
    output: resolve(options.output ?? join(dirname(HERE), "build", "plugins", `linux-${arch}`)),
    selection: words(options.plugins, /[,\s]/),
    mentioned: words(options["named-in"], /[,:=\s]/),
    arch,
  };
}

function words(text: string, separator: RegExp): string[] {
  return text.split(separator).filter((word) => word !== "");
}

function readCatalogue(): Catalogue {
  const { modules } = JSON.parse(readText(join(HERE, "catalogue.json"))) as { modules: Source[] };
  const plugins = modules.flatMap((source) => pluginsOf(readModule(source)));
  return new Map(plugins.map((plugin) => [plugin.name, plugin] as const).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function readModule(source: Source): Module {
  const folder = join(HERE, source.folder);
  const goMod = readText(join(folder, "go.mod"));
  const version = requiredVersion(goMod, source.module);
  if (version === undefined) throw new Failure(join(folder, "go.mod"), `does not require ${source.module}`);

  const stamps = Object.entries(source.stamp).map(
    ([variable, text]) => `-X ${source.module}/${variable}=${text.replace("{version}", version)}`,
  );
  const linkerFlags = `-ldflags=${["-s -w", ...stamps].join(" ")}`;
  const buildFlags = ["-trimpath", "-buildvcs=false", "-mod=readonly", linkerFlags, ...(source.flags ?? [])];
  // Asked in each folder, as its go.mod may call for another toolchain than the installed one.
  const toolchain = go(source.folder, ["env", "GOVERSION", "GOEXPERIMENT", "GOFIPS140"]);
  const goSum = readText(join(folder, "go.sum"));
  return {
    ...source,
    version,
    buildFlags,
    inputs: [goMod, goSum, toolchain, JSON.stringify(GO_SETTINGS), ...buildFlags],
  };
}

function requiredVersion(goMod: string, module: string): string | undefined {
  const lines = goMod.split("\n").map((line) => words(line.replace(/^require\s/, ""), /\s/));
  return lines.find(([path, version]) => path === module && version?.startsWith("v"))?.[1];
}

function pluginsOf(module: Module): Plugin[] {
  const binaries = new Map<string, Binary>();
  return Object.entries(module.plugins).map(([name, path]) => {
    const binary = binaries.get(path) ?? { name, module, package: `${module.module}/${path}` };
    binaries.set(path, binary);
    return { name, binary };
  });
}

function selectPlugins(catalogue: Catalogue, { selection, mentioned }: Request): Plugin[] {
  const all = [...catalogue.values()];
  const chosen = selection.flatMap((word) => {
    const plugin = catalogue.get(word);
    const plugins = plugin ? [plugin] : all.filter(({ binary }) => word === "all" || word === binary.module.folder);
    if (plugins.length > 0) return plugins;
    throw new Failure("--plugins", `no plugin is named ${word}: known are ${[...catalogue.keys()].join(", ")}`, 2);
  });
  const names = new Set([...mentioned, ...chosen.map(({ name }) => name)]);
  return all.filter(({ name }) => names.has(name));
}

/** Builds the binaries of these plugins that the cache lacks, those of a module together. */
function fillCache(plugins: Plugin[], arch: string): void {
  fs.mkdirSync(CACHE, { recursive: true });
  sweep(CACHE);
  const lacking = plugins.filter(({ binary }) => readFacts(binary, arch) === undefined);
  // A foreign binary cannot be asked for its CNI versions: its native twin can.
  if (arch !== NATIVE && lacking.length > 0) fillCache(lacking, NATIVE);
  for (const [module, group] of Map.groupBy(lacking, ({ binary }) => binary.module)) build(module, group, arch);
}

function build(module: Module, plugins: Plugin[], arch: string): void {
  const names = plugins.map(({ name }) => name).join(", ");
  say(`building ${names} (${basename(module.module)} ${module.version})${arch === NATIVE ? "" : ` for ${arch}`}`);

  const binaries = [...new Set(plugins.map(({ binary }) => binary))];
  const work = fs.mkdtempSync(join(CACHE, TEMPORARY));
  try {
    const packages = binaries.map((binary) => binary.package);
    go(module.folder, ["build", ...module.buildFlags, "-o", `${work}/`, ...packages], { GOARCH: arch });
    for (const binary of binaries) store(join(work, basename(binary.package)), binary, arch);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/** Runs go in a module's folder with its messages going to ours; gives what it prints. */
function go(folder: string, args: string[], settings: NodeJS.ProcessEnv = {}): string {
  const { error, signal, status, stdout } = spawnSync("go", args, {
    cwd: join(HERE, folder),
    env: { ...process.env, ...GO_SETTINGS, ...settings },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (error) throw new Failure("go", `cannot be run: ${reasonOf(error)}`);
  if (status !== 0) throw new Failure(folder, `go ${args[0]} failed: ${signal ?? `exit code ${status}`}`);
  return stdout;
}

/** Moves a new binary into the cache, whole and with its facts or not at all. */
function store(built: string, binary: Binary, arch: string): void {
  const entry = dirname(cachePath(binary, arch));
  const prepared = join(dirname(built), basename(entry));
  const file = join(prepared, binary.name);
  fs.mkdirSync(prepared);
  fs.renameSync(built, file);
  const facts: Facts = {
    size: fs.statSync(file).size,
    sha256: digest(file),
    cniVersions: arch === NATIVE ? askVersions(file, binary.name) : factsOf(binary, NATIVE).cniVersions,
  };
  fs.writeFileSync(join(prepared, "facts.json"), JSON.stringify(facts));
  try {
    fs.renameSync(prepared, entry);
  } catch (error) {
    if (!isSystemError(error, "ENOTEMPTY", "EEXIST")) throw error;
    if (readFacts(binary, arch)) return; // another run was faster
    fs.rmSync(entry, { recursive: true, force: true });
    fs.renameSync(prepared, entry);
  }
}

/** The binary's file in the cache, in a directory of its own. */
function cachePath(binary: Binary, arch: string): string {
  const inputs = [...binary.module.inputs, arch, binary.package, binary.name];
  return join(CACHE, hash("sha256", JSON.stringify(inputs)), binary.name);
}

/** Asks a plugin which versions of the CNI specification it speaks. */
function askVersions(file: string, name: string): string[] {
  const { error, signal, status, stdout, stderr } = spawnSync(file, {
    argv0: name,
    env: {
      CNI_COMMAND: "VERSION",
      CNI_CONTAINERID: "none",
      CNI_IFNAME: "none",
      CNI_NETNS: "/none",
      CNI_PATH: "/none",
    },
    input: '{"cniVersion":"1.1.0"}',
    timeout: 10_000,
    killSignal: "SIGKILL",
    encoding: "utf8",
  });
  // An error alone tells nothing: there is one (EPIPE) too when it answered without reading what it was sent.
  const versions = status === 0 ? supportedVersions(stdout) : undefined;
  if (versions) return versions;
  const reason = status === null ? (signal ?? reasonOf(error)) : `exit code ${status}`;
  const said = [stdout, stderr].join("").trim() || "it printed nothing";
  throw new Failure(name, `does not tell its CNI versions: ${reason}: ${said}`);
}

function supportedVersions(answer: string): string[] | undefined {
  try {
    const { supportedVersions: versions } = JSON.parse(answer) as { supportedVersions?: unknown };
    return Array.isArray(versions) && versions.length > 0 ? versions.map(String) : undefined;
  } catch {
    return undefined;
  }
}

/** The plugins of earlier runs that can be brought up to date without a build. */
function keptPlugins(catalogue: Catalogue, { output, arch }: Request): Plugin[] {
  const listed = readListing(output).names;
  const present = fs.readdirSync(output).filter((name) => listed.has(name));
  const known = present.flatMap((name) => catalogue.get(name) ?? []);
  return known.filter(({ binary }) => readFacts(binary, arch));
}

/** Puts a plugin into the output directory, unless it lies there already. */
function place(plugin: Plugin, catalogue: Catalogue, { output, arch }: Request): void {
  const facts = factsOf(plugin.binary, arch);
  const target = join(output, plugin.name);
  if (isFile(target, facts)) return;

  const temporary = join(output, TEMPORARY + randomUUID());
  const twins = [...catalogue.values()]
    .filter(({ binary }) => binary === plugin.binary)
    .map(({ name }) => join(output, name));
  const twin = twins.find((path) => isFile(path, facts));
  try {
    if (twin) fs.linkSync(twin, temporary);
    else copyFromCache(plugin.binary, facts, temporary, arch);
    fs.renameSync(temporary, target);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

/** A copy and no link, so that whatever befalls a file of the output leaves the cache as it is. */
function copyFromCache(binary: Binary, facts: Facts, target: string, arch: string): void {
  const file = cachePath(binary, arch);
  fs.copyFileSync(file, target, fs.constants.COPYFILE_FICLONE);
  fs.chmodSync(target, 0o755);
  if (isFile(target, facts)) return;
  fs.rmSync(dirname(file), { recursive: true, force: true });
  throw new Failure(file, "was damaged and has been removed: run again to build it");
}

/**
 * Lists the output directory's plugins in its `.catalogue.json`. Those of earlier runs that cannot be known to be
 * current are removed; files of other origin are left alone. False: the listing was out of date.
 */
function isListed(catalogue: Catalogue, { output, arch }: Request): boolean {
  const before = readListing(output);
  const plugins: Listing["plugins"] = [];
  for (const name of fs.readdirSync(output).toSorted()) {
    const binary = catalogue.get(name)?.binary;
    const facts = binary && readFacts(binary, arch);
    if (facts && isFile(join(output, name), facts)) {
      const { module, version, licence } = binary.module;
      plugins.push({ name, module, version, licence, ...facts });
    } else if (before.names.has(name)) {
      say(`removing ${name}: the cache has no current build of it`);
      fs.rmSync(join(output, name), { force: true });
    }
  }
  const listing: Listing = { version: 1, platform: `linux/${arch}`, plugins };
  const text = `${JSON.stringify(listing, null, 2)}\n`;
  if (text === before.text) return true;

  const temporary = join(output, TEMPORARY + randomUUID());
  fs.writeFileSync(temporary, text);
  fs.renameSync(temporary, join(output, LISTING));
  return false;
}

function readListing(output: string): { text: string; names: Set<string> } {
  const file = join(output, LISTING);
  const text = fs.existsSync(file) ? readText(file) : "";
  try {
    return { text, names: new Set((JSON.parse(text) as Listing).plugins.map(({ name }) => name)) };
  } catch {
    return { text, names: new Set() };
  }
}

/** Removes what runs that were killed have left behind. */
function sweep(directory: string): void {
  for (const name of fs.readdirSync(directory).filter((entry) => entry.startsWith(TEMPORARY))) {
    const path = join(directory, name);
    const age = Date.now() - (fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
    if (age > DAY) fs.rmSync(path, { recursive: true, force: true });
  }
}

function factsOf(binary: Binary, arch: string): Facts {
  const facts = readFacts(binary, arch);
  if (!facts) throw new Failure(cachePath(binary, arch), "is gone: the cache was changed by someone else");
  return facts;
}

/** Undefined: the binary is not in the cache, or not whole. */
function readFacts(binary: Binary, arch: string): Facts | undefined {
  const file = cachePath(binary, arch);
  try {
    const facts = JSON.parse(readText(join(dirname(file), "facts.json"))) as Facts;
    return fs.statSync(file).size === facts.size ? facts : undefined;
  } catch {
    return undefined;
  }
}

function isFile(path: string, { size, sha256 }: Facts): boolean {
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && found.size === size && (found.mode & 0o7777) === 0o755 && digest(path) === sha256;
}

/** Each file is read once: a run looks at the output directory more than once. */
function digest(file: string): string {
  const { dev, ino, size, mtimeNs } = fs.statSync(file, { bigint: true });
  const identity = `${dev} ${ino} ${size} ${mtimeNs}`;
  const sha256 = DIGESTS.get(identity) ?? hash("sha256", fs.readFileSync(file));
  DIGESTS.set(identity, sha256);
  return sha256;
}

function readText(file: string): string {
  return fs.readFileSync(file, "utf8");
}

function isSystemError(error: unknown, ...codes: string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

function reasonOf(error: unknown): string {
  const { errno, message } = error as NodeJS.ErrnoException;
  return errno === undefined ? message : getSystemErrorMessage(errno);
}

function say(message: string): void {
  process.stderr.write(`${message}\n`);
}

/** Undefined: a bug of this script. */
function asFailure(error: unknown): Failure | undefined {
  if (error instanceof Failure) return error;
  const { code = "", errno, syscall, path = "build", dest = path } = error as NodeJS.ErrnoException & { dest?: string };
  if (code.startsWith("ERR_PARSE_ARGS")) return new Failure("options", `${reasonOf(error)}\n${USAGE}`, 2);
  return errno === undefined ? undefined : new Failure(dest, `${syscall} failed: ${reasonOf(error)}`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  const failure = asFailure(error);
  if (!failure) throw error;
  say(`plugins/build.ts: ${failure.message}`);
  process.exitCode = failure.exitCode;
}
