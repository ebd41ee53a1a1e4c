import type { Given } from "../commands.ts";
import { printJson } from "../report.ts";
import type { Ending, World } from "../world.ts";

/** Put in by the bundler (scripts/bundle.ts); absent when the sources are run as they are. */
declare const CNI_NODE_VERSION: string | undefined;
declare const CNI_NODE_REVISION: string | undefined;

/** What this program is. */
export const BUILD = {
  version: typeof CNI_NODE_VERSION === "string" ? CNI_NODE_VERSION : "unbundled",
  revision: typeof CNI_NODE_REVISION === "string" ? CNI_NODE_REVISION : "unknown",
};

/** Prints `VERSION (git-SHA)`. */
export async function runVersion({ output }: Given<"version">, world: World): Promise<Ending> {
  const { version, revision } = BUILD;
  if (output === "json")
    printJson(world, { command: "version", result: "done", exitCode: 0, cniNode: version, revision });
  else world.stdout(`${version} (${revision})\n`);
  return Promise.resolve({ exitCode: 0 });
}
