import { statSync } from "node:fs";
import { join } from "node:path";

import { rangeOf } from "../cni/version.ts";
import { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { Given } from "../commands.ts";
import type { Catalogue, CatalogueEntry } from "../node/catalogue.ts";
import { pluginNames } from "../node/source.ts";
import { formatRows, printJson, printWarnings } from "../report.ts";
import { visible } from "../system/text.ts";
import type { Ending, World } from "../world.ts";

/** Prints the plugins that can be installed: one name a line, byte-sorted; as JSON, all that is known of them. */
export async function runList({ pluginSource: source, output }: Given<"list">, world: World): Promise<Ending> {
  const names = pluginNames(source);
  if (output === "text") {
    world.stdout(names.map((name) => `${visible(name)}\n`).join(""));
    return { exitCode: 0 };
  }
  const { entryOf, readCatalogue } = await import("../node/catalogue.ts");
  const { catalogue, warnings } = ifUsable(() => readCatalogue(source));
  printWarnings(world, warnings);
  const plugins = names.map((name) => {
    return Object.assign({ name, size: statSync(join(source, name)).size }, entryOf(catalogue, name));
  });
  if (output === "wide") world.stdout(formatRows(plugins.map(wideRow), world.view));
  else printJson(world, { command: "list", result: "done", exitCode: 0, plugins, warnings });
  return { exitCode: 0 };
}

/** `bridge  1.9.1  CNI 0.1.0 … 1.1.0  4.6 MB` */
function wideRow({
  name,
  size,
  version = "",
  cniVersions,
}: { name: string; size: number } & Partial<CatalogueEntry>): string[] {
  const range = cniVersions === undefined || cniVersions.length === 0 ? "" : `CNI ${rangeOf(cniVersions)}`;
  return [name, version, range, `${(size / 1e6).toFixed(1)} MB`];
}

/** What can be listed is listed without a catalogue, too. */
function ifUsable(read: () => Catalogue | undefined): { catalogue: Catalogue | undefined; warnings: Finding[] } {
  try {
    return { catalogue: read(), warnings: [] };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { catalogue: undefined, warnings: [error.asWarning("catalogue-unusable")] };
  }
}
