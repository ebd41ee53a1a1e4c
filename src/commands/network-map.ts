/** network map: draws the network of the node, and changes nothing. */
import type { Given } from "../commands.ts";
import type { Failure } from "../errors.ts";
import { readMap } from "../network/map-read.ts";
import { mapDot } from "../network/map-dot.ts";
import { mapSvg } from "../network/map-svg.ts";
import { mapText } from "../network/map-text.ts";
import type { IdFormat, NodeMap } from "../network/map.ts";
import { idFormat, printJson } from "../report.ts";
import type { Ending, World } from "../world.ts";
import { describeProblem, findDirectoriesFor, findHostFor, warnOfProblem } from "./network-options.ts";

const DRAWINGS: Readonly<
  Record<"text" | "dot" | "svg", (map: NodeMap, columns?: number, formatId?: IdFormat) => string>
> = {
  text: mapText,
  dot: mapDot,
  svg: mapSvg,
};

/** Draws the network of the node. */
export async function runMap(options: Given<"network map">, world: World): Promise<Ending> {
  const host = findHostFor(options);
  const { cacheDir } = await findDirectoriesFor(options, host, world.signal);
  const problems: Failure[] = [];
  const map = await readMap(host, cacheDir, world.signal, (problem) => {
    problems.push(problem);
    warnOfProblem(problem, world);
  });
  const { output } = options;
  if (output === "json" || output === "yaml") {
    const said = problems.map(describeProblem);
    printJson(world, { command: "network map", result: "done", exitCode: 0, ...map, problems: said });
  } else world.stdout(DRAWINGS[output](map, world.view?.terminal?.columns, idFormat(output, world.view)));
  return { exitCode: 0 };
}
