/** network probe. */
import { readDirectoryListing } from "../cni/load.ts";
import type { NetworkList } from "../cni/config.ts";
import { selectForContainerd } from "../cni/selection.ts";
import type { Given } from "../commands.ts";
import { Failure } from "../errors.ts";
import { probe, type ProbeStep } from "../network/probe.ts";
import { formatRows, printJson } from "../report.ts";
import { visible } from "../system/text.ts";
import type { Ending, World } from "../world.ts";
import { readNetwork, prepareOperator, wordsOf } from "./network-options.ts";

/** Says whether a network works; the one of pods, if none is named. */
export async function runProbe(options: Given<"network probe">, world: World): Promise<Ending> {
  const operator = await prepareOperator(options, world);
  const isNamed = options.operands.length > 0 || options.file !== undefined;
  const network = isNamed
    ? await readNetwork(wordsOf(options, false), options, operator.configDir, world)
    : primaryOf(operator.configDir);
  const steps = await probe(network, options.add, operator);
  const failed = steps.filter(({ outcome }) => outcome === "failed");
  const exitCode = failed.length === 0 ? 0 : failed.some(({ isLeft }) => isLeft) ? 4 : 3;
  if (options.output === "json") {
    const result = exitCode === 4 ? "partial" : "done";
    printJson(world, { command: "network probe", result, exitCode, network: network.name, steps });
  } else {
    world.stdout(`${visible(network.name)}\n${formatRows(steps.map(rowOf), world.view)}`);
  }
  return { exitCode };
}

function primaryOf(configDir: string): NetworkList {
  const { chosen } = selectForContainerd(readDirectoryListing(configDir));
  if (chosen !== undefined) return chosen.list;
  throw new Failure({
    code: "network-missing",
    subject: configDir,
    problem: "it has no network for pods",
    hint: "cni-node network list shows what is there; name a network",
  });
}

function rowOf({ step, outcome, plugin, reason }: ProbeStep): string[] {
  const more = step === "add" && outcome === "skipped" ? "; --add tries it" : "";
  return [outcome.padEnd(7), step.padEnd(7), `${[plugin ?? [], reason].flat().join(": ")}${more}`];
}
