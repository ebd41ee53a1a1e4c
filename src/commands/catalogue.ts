import { updateCatalogue } from "../node/catalogue.ts";
import type { OptionTexts } from "../options.ts";
import { formatSteps, printJson, printWarnings } from "../report.ts";
import type { Ending, World } from "../world.ts";
import { pathOf } from "./directories.ts";

/** Writes down what is known of the plugins in an image to which some were added. */
export async function runCatalogue(texts: OptionTexts, world: World): Promise<Ending> {
  const { plugins, warnings } = await updateCatalogue(pathOf(texts, "plugin-source"));
  printWarnings(world, warnings);
  if (texts.output === "json") {
    printJson(world, { command: "catalogue", result: "done", exitCode: 0, plugins, warnings });
  } else {
    world.stdout(formatSteps(plugins.map((plugin) => ({ kind: "plugin" as const, ...plugin }))));
  }
  return { exitCode: 0 };
}
