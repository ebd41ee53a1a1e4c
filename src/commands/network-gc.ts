/** network gc. */
import type { Given } from "../commands.ts";
import { usage, type Failure } from "../errors.ts";
import { collectGone, collectInvalid, type Collected } from "../network/collect.ts";
import { wholeId } from "../network/remembered.ts";
import { formatOutcomes, idFormat, printJson, printMessage } from "../report.ts";
import type { Ending, World } from "../world.ts";
import { describeProblem, readNetwork, prepareOperator, warnOfProblem } from "./network-options.ts";

/** Releases attachments that nobody needs any more. */
export async function runGc(options: Given<"network gc">, world: World): Promise<Ending> {
  const { valid, all, output, operands } = options;
  const [name] = operands;
  if (valid !== undefined && name === undefined) throw usage("NETWORK", "is missing", "--valid is for one network");
  const problems: Failure[] = [];
  const operator = {
    ...(await prepareOperator(options, world)),
    onProblem: (problem: Failure) => {
      problems.push(problem);
    },
  };
  let collected: Collected[];
  if (valid === undefined || name === undefined) {
    collected = await collectGone(({ networkName }) => name === undefined || networkName === name, operator);
  } else {
    const network = await readNetwork({ network: name }, {}, operator.configDir, world);
    const listed = valid.map(({ containerID, ifname }) => {
      return { containerID: wholeId(containerID, operator.cacheDir, network.name), ifname };
    });
    collected = await collectInvalid(network, listed, all, operator);
  }
  const failures = collected.flatMap(({ failure }) => failure ?? []);
  for (const problem of problems) warnOfProblem(problem, world);
  print({ collected, failures, problems }, output, world);
  return { exitCode: failures.length === 0 ? 0 : 1 };
}

interface Printed {
  collected: readonly Collected[];
  failures: readonly Failure[];
  problems: readonly Failure[];
}

function print({ collected, failures, problems }: Printed, output: string, world: World): void {
  for (const { message, hint } of failures) printMessage(world, message, hint);
  const attachments = collected.map(({ attachment: { networkName, containerId, ifName }, outcome, reason }) => {
    return { network: networkName, containerId, ifName, outcome, ...(reason === undefined ? {} : { reason }) };
  });
  if (output === "json") {
    const isDone = failures.length === 0;
    printJson(world, {
      command: "network gc",
      result: isDone ? "done" : "failed",
      exitCode: isDone ? 0 : 1,
      attachments,
      problems: problems.map(describeProblem),
    });
    return;
  }
  const formatId = idFormat(output, world.view);
  const rows = attachments.map(({ network, containerId, ifName, outcome, reason = "" }) => {
    return [outcome, network, formatId(containerId), ifName, reason] as const;
  });
  world.stdout(rows.length === 0 ? "nothing to do\n" : formatOutcomes(rows, world.view));
}
