/** What the options of the `network` commands come to. */
import type { NetworkList } from "../cni/config.ts";
import type { Given } from "../commands.ts";
import { Failure, usage } from "../errors.ts";
import { networkNamed, type WantedAttachment } from "../network/attach.ts";
import {
  environmentOfPlugins,
  networkDirectories,
  requireLockable,
  type NetworkDirectories,
} from "../network/directories.ts";
import type { Operator } from "../network/operator.ts";
import { findHost, pathHere, type Host } from "../node/host.ts";
import { readOciConfig } from "../oci/config.ts";
import { parseNetwork, readNetworkFile, unlessInterrupted } from "../network/source.ts";
import type { NetworkTarget } from "../network/target.ts";
import { HOST_ROOT, OPTIONS, pick, valuesOf } from "../options.ts";
import { printMessage, printWarning } from "../report.ts";
import { formatCall } from "../trace.ts";
import type { World } from "../world.ts";
import type { CachedAttachment } from "../cni/cache.ts";

/** What says where everything is. */
type DirectoryOptions = Partial<
  Pick<Given<"network gc">, "hostRoot" | "configDir" | "pluginDir" | "cacheDir" | "ociConfig" | "criSocket">
>;

/** The directories that the options say. @throws Failure `runtime-directory-unknown`; those of `readOciConfig`. */
export async function findDirectoriesFor(
  { hostRoot, pluginDir, configDir, cacheDir, ociConfig, criSocket }: DirectoryOptions,
  host: Host | undefined,
  signal: AbortSignal,
): Promise<NetworkDirectories> {
  const isRootNamed = hostRoot !== undefined;
  const config = ociConfig === undefined || host === undefined ? undefined : readOciConfig(pathHere(host, ociConfig));
  const usual = config && { ...config, configDir: config.confDir };
  const named = { hostRoot: hostRoot ?? HOST_ROOT, isRootNamed, pluginDir, configDir, cacheDir, usual, criSocket };
  return networkDirectories(named, host, signal);
}

/** @throws Failure `host-unreachable`. */
export function findHostFor({ hostRoot }: DirectoryOptions): Host {
  return findHost(hostRoot ?? HOST_ROOT, hostRoot !== undefined);
}

/** Undefined: this process is in a container and sees nothing of the host but what is mounted. */
export function findHostIfSeen(options: DirectoryOptions): Host | undefined {
  try {
    return findHostFor(options);
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** @throws Failure `host-unreachable`, `mount-missing`, `runtime-directory-unknown`. */
export async function prepareOperator(
  options: DirectoryOptions & { lockTimeout?: number; pluginTimeout: number; trace: boolean },
  world: World,
): Promise<Operator & NetworkDirectories> {
  const host = findHostFor(options);
  const directories = await findDirectoriesFor(options, host, world.signal);
  const { pluginDirs, cacheDir } = directories;
  requireLockable(cacheDir, host, options.hostRoot ?? HOST_ROOT);
  return {
    ...directories,
    host,
    caller: {
      pluginDirs,
      pluginRoot: host.root,
      cacheDir,
      wrapper: host.wrapper,
      env: environmentOfPlugins(world.env),
      timeoutMs: options.pluginTimeout,
      signal: world.signal,
      ...(options.trace
        ? {
            trace: (call) => {
              world.stderr(formatCall(call));
            },
          }
        : {}),
    },
    pluginSource: valuesOf(pick(OPTIONS, "plugin-source"), [], world.env).pluginSource,
    lockTimeoutMs: options.lockTimeout ?? 0,
    signal: world.signal,
    onWait: (what) => {
      printMessage(world, `waiting for ${what}`);
    },
    onProblem: (problem) => {
      warnOfProblem(problem, world);
    },
  };
}

/** Says what is remembered and cannot be used. */
export function warnOfProblem({ message, hint }: Failure, world: World): void {
  printWarning(world, message, hint);
}

/** The same for programs. */
export function describeProblem({ code, message, hint }: Failure): object {
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

/** The words of a command line: NETWORK is left out where `--file` is given. */
export interface Words {
  /** Absent with `--file`. */
  network?: string;
  target?: string;
}

/** @throws Failure `usage`. */
export function wordsOf(
  { file, operands }: Pick<Given<"network add">, "file" | "operands">,
  takesTarget: boolean,
): Words {
  const names = [...(file === undefined ? ["NETWORK"] : []), ...(takesTarget ? ["TARGET"] : [])];
  const missing = names[operands.length];
  if (missing !== undefined) throw usage(missing, "is missing", "add --help to the command to see what it takes");
  const extra = operands[names.length];
  if (extra !== undefined)
    throw usage(JSON.stringify(extra), "unexpected argument", "--file takes the place of NETWORK");
  const [first = "", second = ""] = operands;
  if (file === undefined) return takesTarget ? { network: first, target: second } : { network: first };
  return takesTarget ? { target: first } : {};
}

/**
 * The network: from a file, standard input, or by its name from the directory of configurations.
 *
 * @param remembered what a network of that name was, if the directory does not have it any more.
 * @throws Failure.
 */
export async function readNetwork(
  { network }: Words,
  { file = "-" }: { file?: string | undefined },
  configDir: string,
  world: World,
  remembered: (name: string) => CachedAttachment | undefined = () => undefined,
): Promise<NetworkList> {
  if (network === undefined && file !== "-") return readNetworkFile(file, world.signal);
  if (network === undefined || network === "-") {
    return parseNetwork("standard input", await unlessInterrupted(world.stdin(), world.signal));
  }
  return networkNamed(network, configDir, remembered, ({ message }) => {
    printWarning(world, `${message}: it is used as it was when the container was added`);
  });
}

/** What is to be added, checked or deleted. */
export function wantedOf(
  options: Pick<Given<"network check">, "ifname" | "containerId" | "args" | "capabilityArgs"> & {
    allowDefaultRoute?: boolean;
  },
  target: NetworkTarget,
): WantedAttachment {
  const { ifname: ifName, containerId = target.containerId, args = [], capabilityArgs = {} } = options;
  return {
    target: { ...target, containerId },
    ifName,
    args,
    capabilityArgs,
    allowDefaultRoute: options.allowDefaultRoute ?? false,
    isIdGiven: options.containerId !== undefined,
  };
}
