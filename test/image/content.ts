/** What is in an image: its configuration, and every file of its layers. */
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The part of an image's configuration that is looked at (the OCI image specification, config.md). */
interface Configuration {
  architecture: string;
  created: string;
  config: { Env: string[]; Entrypoint: string[]; User?: string; Labels: Record<string, string> };
}

/** An unpacked image. */
export class Content implements Disposable {
  readonly configuration: Configuration;
  /** All layers, one over the other. */
  readonly root: string;
  readonly #directory: string;
  readonly #layers: readonly string[];

  /** @param archive as `docker save` writes it. */
  constructor(archive: string) {
    this.#directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
    execFileSync("tar", ["-C", this.#directory, "-xf", archive]);
    const manifest = this.#readJson("manifest.json") as { Config: string; Layers: string[] }[];
    const { Config: configuration = "", Layers: layers = [] } = manifest[0] ?? {};
    this.configuration = this.#readJson(configuration) as Configuration;
    this.#layers = layers;
    this.root = join(this.#directory, "root");
    for (const [index, layer] of layers.entries()) {
      const own = join(this.#directory, String(index));
      for (const target of [own, this.root]) {
        fs.mkdirSync(target, { recursive: true });
        execFileSync("tar", ["-C", target, "--same-permissions", "-xf", join(this.#directory, layer)]);
      }
    }
  }

  /** Of each layer, the lowest first: every entry by its path, with type, mode, owner, time and what is in it. */
  get entries(): Record<string, string>[] {
    return this.#layers.map((_, index) => entriesOf(join(this.#directory, String(index))));
  }

  #readJson(name: string): unknown {
    return JSON.parse(fs.readFileSync(join(this.#directory, name), "utf8"));
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Everything below a directory, by its path. */
function entriesOf(directory: string): Record<string, string> {
  const names = fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).toSorted();
  return Object.fromEntries(names.map((name) => [name, describe(join(directory, name))]));
}

function describe(path: string): string {
  const stat = fs.lstatSync(path);
  const content = stat.isSymbolicLink()
    ? fs.readlinkSync(path)
    : stat.isFile()
      ? hash("sha256", fs.readFileSync(path))
      : "";
  return `${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtime.toISOString()} ${content}`;
}

/** What an executable is for; undefined: it is not an ELF file. See elf(5). */
export function elfOf(
  path: string,
): { machine: "amd64" | "arm64"; isStatic: boolean; isStripped: boolean } | undefined {
  const content = fs.readFileSync(path);
  if (content.toString("latin1", 0, 4) !== "\x7fELF") return undefined;
  const machine = ({ 62: "amd64", 183: "arm64" } as const)[content.readUInt16LE(18)];
  if (machine === undefined) throw new Error(`${path}: an ELF file of another machine`);
  const types = (table: number, size: number, count: number, at: number): number[] =>
    Array.from({ length: count }, (_, index) => content.readUInt32LE(table + index * size + at));
  const segments = types(Number(content.readBigUInt64LE(32)), content.readUInt16LE(54), content.readUInt16LE(56), 0);
  const sections = types(Number(content.readBigUInt64LE(40)), content.readUInt16LE(58), content.readUInt16LE(60), 4);
  const [INTERPRETER, SYMBOL_TABLE] = [3, 2];
  return { machine, isStatic: !segments.includes(INTERPRETER), isStripped: !sections.includes(SYMBOL_TABLE) };
}
