/**
 * Collects the licences and notices of everything that is linked into built plugins: of Go, and of each Go module, from
 * where Go keeps the module's source.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const HERE = import.meta.dirname;
/** What projects name the files that the licences want handed on. */
const FILES = /^(?:licen[cs]e|notice|copying|copyright|patents|authors)(?:[.-][\w.-]+)?$/iu;

function main(args: string[]): void {
  const { values } = parseArgs({ args, options: { plugins: { type: "string" }, output: { type: "string" } } });
  if (values.plugins === undefined || values.output === undefined) {
    throw new Error("usage: node plugins/licences.ts --plugins=DIR (that build.ts has filled) --output=DIR");
  }
  const output = resolve(values.output);
  copy(go(".", "env", "GOROOT").trim(), join(output, "go", "go"));
  for (const [folder, packages] of packagesIn(values.plugins)) {
    for (const [name, source] of modulesOf(folder, packages)) copy(source, join(output, "go", name));
  }
}

/** The Go packages of the plugins in a directory, by the folder whose go.mod pins what they are built with. */
function packagesIn(directory: string): Map<string, string[]> {
  const { modules } = readJson(join(HERE, "catalogue.json")) as {
    modules: { folder: string; module: string; plugins: Record<string, string> }[];
  };
  const { plugins } = readJson(join(directory, ".catalogue.json")) as { plugins: { name: string }[] };
  const built = new Set(plugins.map(({ name }) => name));
  return new Map(
    modules.map(({ folder, module, plugins: packages }) => {
      const own = Object.entries(packages).filter(([name]) => built.has(name));
      return [folder, own.map(([, path]) => `${module}/${path}`)] as const;
    }),
  );
}

/** `PATH@VERSION` of each module that these packages are linked with, and where its source is. */
function modulesOf(folder: string, packages: readonly string[]): Map<string, string> {
  if (packages.length === 0) return new Map();
  const lines = go(
    folder,
    "list",
    "-deps",
    "-f",
    "{{with .Module}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}",
    ...packages,
  );
  const found = lines.split("\n").filter((line) => line !== "");
  return new Map(found.map((line) => line.split(" ", 2) as [string, string]));
}

/** @throws when there is none: nobody may hand on what has no licence. */
function copy(source: string, target: string): void {
  const names = fs.readdirSync(source).filter((name) => FILES.test(name));
  if (!names.some((name) => /^(?:licen[cs]e|copying)/iu.test(name))) throw new Error(`${source}: no licence is found`);
  fs.mkdirSync(target, { recursive: true });
  for (const name of names) {
    fs.copyFileSync(join(source, name), join(target, name));
    fs.chmodSync(join(target, name), 0o644);
  }
}

/** Runs go in a module's folder, as build.ts does; gives what it prints. */
function go(folder: string, ...args: string[]): string {
  const { error, status, stdout } = spawnSync("go", args, {
    cwd: join(HERE, folder),
    env: { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-mod=readonly", GOOS: "linux", GOWORK: "off" },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${folder}: go ${args[0]} failed with ${status}`);
  return stdout;
}

function readJson(path: string): unknown {
  return JSON.parse(fs.readFileSync(path, "utf8"));
}

main(process.argv.slice(2));
