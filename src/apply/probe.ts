/** The networks that a run changes are tried before it goes live: with the plugins as they will be. */
import { dirname, join, relative } from "node:path";

import { isConfigName, type NetworkList } from "../cni/config.ts";
import { loadFile, sortBytes } from "../cni/listing.ts";
import { Failure, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { isSameFile } from "../system/inode.ts";
import { isBelow } from "../system/below.ts";
import { makeLinks } from "../system/disk.ts";
import type { Operator } from "../network/operator.ts";
import { pathOnHost, pathHere } from "../node/host.ts";
import { probe, type ProbeStep } from "../network/probe.ts";
import type { Changes } from "../kinds/kind.ts";
import { changedPluginsOf } from "./prove.ts";
import type { NodeView } from "../node/view.ts";

/** How networks are tried. */
export interface ProbeOptions {
  operator: Operator;
  /** Add a container also where it is not known to be harmless. */
  addAnyway: boolean;
}

/** The directory of links by which staged plugins are found: by descriptor, and as the host's processes find it. */
export interface ProbeLinks {
  here: string;
  path: string;
}

/** What came of one network. */
export interface Probed {
  network: string;
  /** The file that configures it. */
  file: string;
  steps: ProbeStep[];
}

/**
 * Tries the networks whose configurations a run writes, and those whose plugins it replaces. What has failed of the
 * latter before as well is not this run's affair.
 *
 * @param changes with the plugins where they are staged.
 * @param isStrict what fails ends it; else it is a warning. `links`: needed if a plugin is staged.
 * @throws Failure `probe-failed`, `host-unreachable`; with exit code 4 when something of the probe is left. Interrupted.
 */
export async function probeNetworks(
  changes: Changes,
  view: NodeView,
  { operator, addAnyway }: ProbeOptions,
  { isStrict, links }: { isStrict: boolean; links: ProbeLinks | undefined },
): Promise<{ probes: Probed[]; warnings: Finding[] }> {
  const networks = networksOf(changes);
  const probes: Probed[] = [];
  const warnings: Finding[] = [];
  if (networks.length === 0) return { probes, warnings };
  const { hostRoot } = view.paths;
  const before = operatorWith(operator, view.pluginPaths(), hostRoot);
  const onHost = (path: string): string => pathOnHost(operator.host, hostRoot, path);
  const after = operatorWith(operator, [...linkStaged(changes, links, onHost), ...view.pluginPaths()], hostRoot);
  for (const { network, file, isWritten } of networks) {
    const steps = await tryNetwork(network, addAnyway, after);
    probes.push({ network: network.name, file, steps });
    const subject = join(changes.configs?.directory ?? "", file);
    const failed = failureIn(steps);
    if (failed !== undefined) {
      const isOld = !isWritten && failureIn(await tryNetwork(network, addAnyway, before))?.step === failed.step;
      const failure = failureOf(subject, network, failed, isOld);
      if (isStrict && !isOld) throw failure;
      warnings.push(failure.asWarning("probe-failed"));
    }
    const skipped = steps.find(({ step, outcome }) => step === "add" && outcome === "skipped");
    if (skipped !== undefined) {
      const message = `no container was added to network ${network.name}: ${skipped.reason}`;
      warnings.push(warning("probe-skipped", subject, message, "--probe-add tries it"));
    }
  }
  return { probes, warnings };
}

/** In the order in which runtimes read them. */
function networksOf({
  configs,
  plugins,
  restored,
}: Changes): { network: NetworkList; file: string; isWritten: boolean }[] {
  if (configs === undefined) return [];
  const { after, written } = configs;
  const own = written.filter((file) => isConfigName(file) && !restored.has(file));
  const files = sortBytes([...own, ...changedPluginsOf(after, written, plugins)]);
  return files.flatMap((file) => {
    const loaded = loadFile(file, after);
    return "objection" in loaded ? [] : [{ network: loaded.network.list, file, isWritten: own.includes(file) }];
  });
}

/** What is wrong before any plugin is called is a step that has failed, too. */
async function tryNetwork(network: NetworkList, addAnyway: boolean, operator: Operator): Promise<ProbeStep[]> {
  try {
    return await probe(network, addAnyway, operator);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [{ step: "version", outcome: "failed", reason: error.message }];
  }
}

/** What is left weighs more than why it was to go. */
function failureIn(steps: readonly ProbeStep[]): ProbeStep | undefined {
  const failed = steps.filter(({ outcome }) => outcome === "failed");
  return failed.find(({ isLeft }) => isLeft) ?? failed[0];
}

function failureOf(subject: string, { name }: NetworkList, failed: ProbeStep, isOld: boolean): Failure {
  const { step, plugin, reason, isLeft = false } = failed;
  const who = [step.toUpperCase(), plugin === undefined ? [] : `plugin ${plugin}`].flat().join(": ");
  const anyway = "--trace shows what plugins were given and answered; without --probe it is installed anyway";
  const remembered = "fix it, then cni-node network gc releases what is left of the container";
  return new Failure({
    code: "probe-failed",
    subject,
    problem: `network ${name} does not work${isOld ? ", as before" : ""}: ${who}: ${reason}`,
    hint: step === "del" ? remembered : anyway,
    exitCode: isLeft ? 4 : 1,
  });
}

/**
 * Plugins find each other by their names: until they are live, as links to what is staged, or to where a link leads
 * that comes back. The run sweeps them away.
 *
 * @param onHost the path of a file as the host's processes find it.
 * @returns the directory of the links, if there are any.
 */
function linkStaged({ plugins }: Changes, links: ProbeLinks | undefined, onHost: (path: string) => string): string[] {
  const staged = [...plugins].filter((one): one is [string, string] => one[1] !== undefined);
  if (staged.length === 0 || links === undefined) return [];
  try {
    const state = dirname(links.here);
    const targetOf = (path: string): string => (isBelow(path, state) ? relative(links.here, path) : onHost(path));
    makeLinks(links.here, new Map(staged.map(([name, path]) => [name, targetOf(path)])));
  } catch (error) {
    throw systemFailure(links.path, "the links to the new plugins cannot be made", error);
  }
  return [links.path];
}

/** @param paths the directories of plugins, as this process sees them; none: those of the operator. */
function operatorWith(operator: Operator, paths: readonly string[], hostRoot: string): Operator {
  const { host, caller } = operator;
  if (paths.length === 0) return operator;
  const pluginDirs = paths.map((path) => {
    const onHost = pathOnHost(host, hostRoot, path);
    if (host.root === "" || isSameFile(pathHere(host, onHost), path)) return onHost;
    throw new Failure({
      code: "host-unreachable",
      subject: path,
      problem: `the host's processes do not find these plugins at ${onHost}, so they cannot be tried`,
      hint: `mount the host's directory at its own path below ${hostRoot}`,
    });
  });
  return { ...operator, caller: { ...caller, pluginDirs } };
}
