import * as fs from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

import { Failure, isSystemError, systemFailure } from "../errors.ts";
import { textOf, type OptionTexts } from "../options.ts";
import { printJson, printWarnings } from "../report.ts";
import type { Ending, World } from "../world.ts";

/** What the build knows of the plugins in the image (plugins/README.md). Lies beside them. */
const Catalogue = v.looseObject({
  version: v.literal(1),
  plugins: v.array(
    v.looseObject({
      name: v.string(),
      module: v.string(),
      version: v.string(),
      licence: v.string(),
      size: v.number(),
      sha256: v.string(),
      cniVersions: v.array(v.string()),
    }),
  ),
});

/** Prints the plugins that can be installed: one name a line, byte-sorted; as JSON, all that is known of them. */
export async function runList(texts: OptionTexts, world: World): Promise<Ending> {
  const source = textOf(texts, "plugin-source");
  const names = pluginNames(source);
  if (texts.output !== "json") {
    world.stdout(names.map((name) => `${name}\n`).join(""));
    return Promise.resolve({ exitCode: 0 });
  }
  const { known, warnings } = readCatalogue(join(source, ".catalogue.json"));
  printWarnings(world, warnings);
  const plugins = names.map((name) => {
    const entry = known.find((candidate) => candidate.name === name);
    return Object.assign({ name, size: fs.statSync(join(source, name)).size }, entry);
  });
  printJson(world, { command: "list", result: "done", exitCode: 0, plugins, warnings });
  return { exitCode: 0 };
}

/** Regular files and links to them, no dotfiles. Names that are no text cannot be named and are left out. */
function pluginNames(source: string): string[] {
  try {
    return fs
      .readdirSync(source, { encoding: "buffer" })
      .toSorted((a, b) => Buffer.compare(a, b))
      .filter((name) => Buffer.from(name.toString()).equals(name))
      .map((name) => name.toString())
      .filter((name) => !name.startsWith(".") && isFile(join(source, name)));
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) throw systemFailure(source, "cannot be listed", error);
    throw new Failure({
      code: "source-missing",
      subject: source,
      problem: "no such directory to list plugins from",
      hint: "name the directory of the plugin binaries with --plugin-source",
    });
  }
}

/** Links that lead nowhere, or to themselves, are no plugins. */
function isFile(path: string): boolean {
  try {
    return fs.statSync(path).isFile();
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ELOOP", "ENOTDIR")) return false;
    throw error;
  }
}

function readCatalogue(path: string): {
  known: v.InferOutput<typeof Catalogue>["plugins"];
  warnings: string[];
} {
  try {
    return { known: v.parse(Catalogue, JSON.parse(fs.readFileSync(path, "utf8"))).plugins, warnings: [] };
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return { known: [], warnings: [] };
    return { known: [], warnings: [`${path}: is no catalogue of plugins: ${(error as Error).message}`] };
  }
}
