import { statSync } from "node:fs";
import { join } from "node:path";

import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Given } from "../commands.ts";
import type { Catalogue } from "../node/catalogue.ts";
import { pluginNames } from "../node/source.ts";
import { printJson, printWarnings } from "../report.ts";
import { visible } from "../system/text.ts";
import type { Ending, World } from "../world.ts";

/** Prints the plugins that can be installed: one name a line, byte-sorted; as JSON, all that is known of them. */
export async function runList({ pluginSource: source, output }: Given<"list">, world: World): Promise<Ending> {
  const names = pluginNames(source);
  if (output !== "json") {
    world.stdout(names.map((name) => `${visible(name)}\n`).join(""));
    return { exitCode: 0 };
  }
  const { entryOf, readCatalogue } = await import("../node/catalogue.ts");
  const warnings: Finding[] = [];
  const catalogue = catalogueOrWarning(() => readCatalogue(source), warnings);
  printWarnings(world, warnings);
  const plugins = names.map((name) => {
    return Object.assign({ name, size: statSync(join(source, name)).size }, entryOf(catalogue, name));
  });
  printJson(world, { command: "list", result: "done", exitCode: 0, plugins, warnings });
  return { exitCode: 0 };
}

/** What can be listed is listed without a catalogue, too. */
function catalogueOrWarning(read: () => Catalogue | undefined, warnings: Finding[]): Catalogue | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    warnings.push(warning("catalogue-unusable", error.subject, error.problem));
    return undefined;
  }
}
