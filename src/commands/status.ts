/** status: says what is on a node, and what is wrong with it. */
import type { Given } from "../commands.ts";
import { isWrong } from "../finding.ts";
import { printJson } from "../report.ts";
import { lookAtNode, type NodeStatus } from "../status/status.ts";
import { formatStatus } from "../status/text.ts";
import { shorten } from "../system/text.ts";
import type { Ending, World } from "../world.ts";
import { directoriesOf } from "./directories.ts";

/** Looks at a node, prints what was found, and ends with 3 if something is wrong. */
export async function runStatus(options: Given<"status">, world: World): Promise<Ending> {
  const { pluginSource, checksum, criSocket, output } = options;
  const status = await lookAtNode(
    {
      directories: directoriesOf(options),
      sources: { plugin: pluginSource },
      checksum,
      versionLimit: world.versionLimit,
      criSocket,
    },
    world.signal,
  );
  const exitCode = status.findings.some(isWrong) ? 3 : 0;
  if (output === "json") {
    const shown = shortened(jsonOf(status)) as Record<string, unknown>;
    printJson(world, { command: "status", result: "done", exitCode, ...shown });
  } else {
    world.stdout(formatStatus(status, world.view));
  }
  return { exitCode };
}

/** The same value with every text as long as somebody reads it. */
function shortened(value: unknown): unknown {
  if (typeof value === "string") return shorten(value);
  if (Array.isArray(value)) return value.map(shortened);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shortened(one)]));
}

/** Without the contents of configurations: there may be secrets in them. */
function jsonOf({ choices, runtime, rules, configDirectory, plugins, ...status }: NodeStatus): Record<string, unknown> {
  const networks = rules.map((rule) => {
    const { chosen, error } = choices?.[rule] ?? {};
    if (chosen === undefined) return { rule, reason: error?.message };
    const { name, cniVersion } = chosen.list;
    const chain = chosen.list.plugins.map(({ type }) => type);
    return { rule, file: chosen.file, name, cniVersion, plugins: chain };
  });
  return {
    ...status,
    plugins: plugins.map(({ path: _path, ...plugin }) => plugin),
    ...(choices === undefined ? {} : { configDirectory, networks }),
    ...(runtime === undefined ? {} : { runtime: jsonOfRuntime(runtime) }),
  };
}

function jsonOfRuntime(runtime: NonNullable<NodeStatus["runtime"]>): Record<string, unknown> {
  const { name, version, networkReady, reason, message, configDir, pluginDirs, loadError, networks } = runtime;
  const loaded = networks?.map((one) => ({ name: one.name, cniVersion: one.cniVersion }));
  const because = networkReady ? {} : { reason: message === "" ? reason : message };
  return { name, version, networkReady, ...because, configDir, pluginDirs, loadError, networks: loaded };
}
