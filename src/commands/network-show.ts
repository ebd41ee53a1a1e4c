/** network status, version, list and show: they look, and change nothing. */
import * as fs from "node:fs";
import { setImmediate } from "node:timers/promises";

import type { CachedAttachment } from "../cni/cache.ts";
import type { NetworkList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { parseJson } from "../cni/json.ts";
import { listNetworks } from "../cni/load.ts";
import { status, version, type PluginVersions } from "../cni/network.ts";
import type { Given } from "../commands.ts";
import { mask } from "../secrets.ts";
import { cancellationOf, Interrupted, throwIfInterrupted, type Failure } from "../errors.ts";
import { explain, operationFailure } from "../network/failure.ts";
import { abridge, lookForNamespaces, netnsOf, findPresence, readMark } from "../network/mark.ts";
import { addressesOf } from "../network/precheck.ts";
import { pickRemembered } from "../network/remembered.ts";
import { formatRows, idFormat, jsonText, printJson } from "../report.ts";
import { visible } from "../system/text.ts";
import type { Ending, World } from "../world.ts";
import {
  describeProblem,
  findDirectoriesFor,
  findHostIfSeen,
  readNetwork,
  prepareOperator,
  warnOfProblem,
  wordsOf,
} from "./network-options.ts";

/** Asks the plugins of a network whether they are ready. */
export async function runStatus(options: Given<"network status">, world: World): Promise<Ending> {
  const words = wordsOf(options, false);
  const { configDir, caller, signal } = await prepareOperator(options, world);
  const network = await readNetwork(words, options, configDir, world);
  try {
    const asked = (await status(network, caller)) === "ready";
    const plugins = network.plugins.map(({ type }) => type);
    if (options.output === "json") {
      printJson(world, {
        command: "network status",
        result: "done",
        exitCode: 0,
        network: network.name,
        asked,
        plugins,
      });
    } else {
      const row = asked
        ? ["ready".padEnd(9), network.name, plugins.join(", ")]
        : ["not asked", network.name, `STATUS needs CNI 1.1.0; this network is ${network.cniVersion}`];
      world.stdout(formatRows([row], world.view));
    }
    return { exitCode: 0 };
  } catch (error) {
    if (signal.aborted) throw new Interrupted(cancellationOf(signal), " before all plugins had been asked");
    if (!(error instanceof CniError)) throw error;
    const isFinding = "reason" in error && error.reason === "exit";
    throw operationFailure(network.name, "it is not ready", error, isFinding ? 3 : 1);
  }
}

/** Asks the plugins of a network for the versions that they support. */
export async function runNetworkVersion(options: Given<"network version">, world: World): Promise<Ending> {
  const words = wordsOf(options, false);
  const { configDir, caller, signal } = await prepareOperator(options, world);
  const network = await readNetwork(words, options, configDir, world);
  const answers = await version(network, caller);
  if (signal.aborted) throw new Interrupted(cancellationOf(signal), " before all plugins had been asked");
  const exitCode = answers.every(({ supportsNetwork }) => supportsNetwork) ? 0 : 3;
  if (options.output === "json") {
    const plugins = answers.map(({ error, ...answer }) => ({
      ...answer,
      ...(error === undefined ? {} : { error: explain(error, error.message) }),
    }));
    const { name, cniVersion } = network;
    printJson(world, { command: "network version", result: "done", exitCode, network: name, cniVersion, plugins });
  } else {
    world.stdout(
      `${visible(`${network.name}  ${network.cniVersion}`)}\n${formatRows(
        answers.map((answer) => versionRow(answer, network)),
        world.view,
      )}`,
    );
  }
  return { exitCode };
}

function versionRow(
  { plugin, supportedVersions, supportsNetwork, error }: PluginVersions,
  network: NetworkList,
): string[] {
  const outcome = supportsNetwork ? "supported" : error === undefined ? "unsupported" : "no answer";
  const more =
    (error === undefined ? undefined : explain(error, error.message)) ??
    `${supportedVersions.join(", ")}${supportsNetwork ? "" : `, not ${network.cniVersion}`}`;
  return [outcome.padEnd(11), plugin, more];
}

/** Lists the networks of the node, or the attachments to them. */
export async function runNetworkList(options: Given<"network list">, world: World): Promise<Ending> {
  return options.attachments ? listAttached(options, world) : listConfigured(options, world);
}

async function listConfigured(options: Given<"network list">, world: World): Promise<Ending> {
  const { configDir } = await findDirectoriesFor(options, findHostIfSeen(options), world.signal);
  const networks = listNetworks(configDir).map((loaded) => {
    const { file } = loaded;
    if ("objection" in loaded) return { file, problem: loaded.objection.message };
    const { name, cniVersion, plugins } = loaded.network.list;
    return { file, name, cniVersion, plugins: plugins.map(({ type }) => type) };
  });
  if (options.output === "json") {
    printJson(world, { command: "network list", result: "done", exitCode: 0, directory: configDir, networks });
  } else {
    const rows = networks.map(({ file, name = "-", cniVersion = "-", plugins = [], problem }) => {
      return [name, cniVersion, file, problem ?? plugins.join(", ")];
    });
    const none = fs.existsSync(configDir)
      ? "has no network"
      : "is not there: mount it, or name another with --config-dir";
    world.stdout(formatRows(rows.length === 0 ? [[`${configDir} ${none}`]] : rows, world.view));
  }
  return { exitCode: 0 };
}

async function listAttached(options: Given<"network list">, world: World): Promise<Ending> {
  // No plugin is called: what is mounted of the host will do.
  const host = findHostIfSeen(options);
  const { cacheDir } = await findDirectoriesFor(options, host, world.signal);
  const problems: Failure[] = [];
  const there = lookForNamespaces();
  const found = pickRemembered(
    cacheDir,
    (one) => ({ row: rowOf(one), one: abridge(one) }),
    (problem) => {
      problems.push(problem);
      warnOfProblem(problem, world);
    },
  );
  const attachments = [];
  for (const { row, one } of found) {
    // Signals are heard of in between only.
    await setImmediate();
    throwIfInterrupted(world.signal);
    attachments.push({ ...row, presence: host === undefined ? "unknown" : await findPresence(one, host, () => there) });
  }
  if (options.output === "json") {
    printJson(world, {
      command: "network list",
      result: "done",
      exitCode: 0,
      directory: cacheDir,
      attachments,
      problems: problems.map(describeProblem),
    });
  } else {
    const formatId = idFormat(options.output, world.view);
    const rows = attachments.map(({ network, containerId, ifName, addresses, addedBy, target = "", presence }) => {
      const row = [network, ifName, presence, addresses.join(" ") || "-", addedBy];
      return [...row, formatId(containerId), formatId(target)];
    });
    const none = fs.existsSync(cacheDir)
      ? "has no attachment"
      : "is not there: nothing has been attached, or it is not mounted";
    world.stdout(formatRows(rows.length === 0 ? [[`${cacheDir} ${none}`]] : rows, world.view));
  }
  return { exitCode: 0 };
}

interface Row {
  network: string;
  containerId: string;
  ifName: string;
  netns: string;
  addresses: string[];
  addedBy: "cni-node" | "others";
  target?: string;
}

function rowOf(one: CachedAttachment): Row {
  const { networkName, containerId, ifName, result } = one;
  const mark = readMark(one);
  return {
    network: networkName,
    containerId,
    ifName,
    netns: netnsOf(one),
    addresses: addressesOf(result),
    addedBy: mark === undefined ? "others" : "cni-node",
    ...(mark === undefined ? {} : { target: mark.target }),
  };
}

/** Prints the configuration of a network as it is used. */
export async function runShow(options: Given<"network show">, world: World): Promise<Ending> {
  const words = wordsOf(options, false);
  const { configDir } = await findDirectoriesFor(options, findHostIfSeen(options), world.signal);
  const network = await readNetwork(words, options, configDir, world);
  const { name, cniVersion, disableCheck, disableGC, plugins } = network;
  const used = { cniVersion, name, disableCheck, disableGC, plugins };
  if (options.output === "json") {
    const shown = parseJson(mask(JSON.stringify(used)));
    const configuration = "value" in shown ? shown.value : undefined;
    printJson(world, { command: "network show", result: "done", exitCode: 0, configuration });
  } else {
    world.stdout(`${mask(jsonText(used, 2))}\n`);
  }
  return { exitCode: 0 };
}
