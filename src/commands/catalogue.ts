import { updateCatalogue } from "../node/catalogue.ts";
import type { Given } from "../commands.ts";
import { formatSteps, printJson, printWarnings } from "../report.ts";
import type { Ending, World } from "../world.ts";

/** Rebuilds the catalogue of the plugins in an image to which some were added. */
export async function runCatalogue(options: Given<"catalogue">, world: World): Promise<Ending> {
  const { plugins, warnings } = await updateCatalogue(options.pluginSource);
  printWarnings(world, warnings);
  if (options.output === "json") {
    printJson(world, { command: "catalogue", result: "done", exitCode: 0, plugins, warnings });
  } else {
    world.stdout(
      formatSteps(
        plugins.map((plugin) => ({ kind: "plugin" as const, ...plugin })),
        world.view,
      ),
    );
  }
  return { exitCode: 0 };
}
