/** What the options of the `network` commands come to. */
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import type { NetworkList } from "../cni/config.ts";
import { loadNetwork } from "../cni/load.ts";
import { Failure, usage } from "../errors.ts";
import { recallNetwork, type Wanted } from "../network/attach.ts";
import type { Operator } from "../network/operator.ts";
import { findPlace, pathOnHost, seen, type Place } from "../network/place.ts";
import { parseNetwork, readNetworkFile, unlessInterrupted } from "../network/source.ts";
import type { Target } from "../network/target.ts";
import { HOST_ROOT } from "../options.ts";
import { printMessage } from "../report.ts";
import { formatCall } from "../trace.ts";
import type { World } from "../world.ts";
import type { Given } from "../commands.ts";
import type { CachedAttachment } from "../cni/cache.ts";
import { seenBelow } from "../system/below.ts";
import { shellWord } from "../system/text.ts";

/** Where plugins find iptables and the like, whatever PATH this process has. */
const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** What says where everything is. */
type PlaceOptions = Partial<Pick<Given<"network add">, "hostRoot" | "configDir" | "pluginDir" | "cacheDir">>;

/** The directories, as this process sees them; those of plugins as the host does. */
export interface Places {
  configDir: string;
  cacheDir: string;
  pluginDirs: string[];
}

/**
 * Where everything is.
 *
 * @param place undefined: the host cannot be reached, and what is mounted of it has to do.
 */
export function placesOf(options: PlaceOptions, place: Place | undefined): Places {
  const { hostRoot = HOST_ROOT } = options;
  // Links are followed as on the host; plugins are looked up there, where links lead as they do for the host.
  const mounted = (path: string): string => seenBelow(hostRoot, path) ?? join(hostRoot, path);
  const [onHost, onHostForPlugins] =
    options.hostRoot !== undefined || place === undefined
      ? [mounted, mounted]
      : [(path: string): string => seen(place, path), (path: string): string => path];
  const { pluginDir = [resolve(onHostForPlugins("/opt/cni/bin"))] } = options;
  return {
    configDir: options.configDir ?? onHost("/etc/cni/net.d"),
    cacheDir: resolve(options.cacheDir ?? mountedCache(hostRoot, place) ?? onHost("/var/lib/cni")),
    pluginDirs: pluginDir.map((directory) =>
      place === undefined ? directory : pathOnHost(place, hostRoot, directory),
    ),
  };
}

/** The host's cache where it is mounted in this container; undefined on the host itself. */
function mountedCache(hostRoot: string, place: Place | undefined): string | undefined {
  if (place === undefined || place.root === "") return undefined;
  const mounted = seenBelow(hostRoot, "/var/lib/cni") ?? "";
  const [here, there] = [mounted, seen(place, "/var/lib/cni")].map((path) => {
    return fs.statSync(path, { throwIfNoEntry: false, bigint: true });
  });
  return here !== undefined && here.dev === there?.dev && here.ino === there.ino ? mounted : undefined;
}

/** @throws Failure `host-unreachable`. */
function findHost({ hostRoot }: Pick<PlaceOptions, "hostRoot">): Place {
  return findPlace(hostRoot ?? HOST_ROOT, hostRoot !== undefined);
}

/** Undefined: this process is in a container and sees nothing of the host but what is mounted. */
export function findHostIfSeen(options: Pick<PlaceOptions, "hostRoot">): Place | undefined {
  try {
    return findHost(options);
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** @throws Failure `host-unreachable`, `mount-missing`. */
export function operatorOf(
  options: PlaceOptions & { lockTimeout?: number; pluginTimeout: number; trace: boolean },
  world: World,
): Operator & Places {
  const place = findHost(options);
  const places = placesOf(options, place);
  // SQLite, which locks it, follows the links of a path itself, and would come out in this container.
  if (place.root !== "" && places.cacheDir.startsWith("/proc/")) {
    throw new Failure({
      code: "mount-missing",
      subject: "/var/lib/cni",
      problem: "the host's directory of attachments is not mounted in this container",
      hint: `mount it: docker run -v ${shellWord(`/var/lib/cni:${join(options.hostRoot ?? HOST_ROOT, "var/lib/cni")}`)}`,
    });
  }
  const { PATH = "", ...env } = world.env;
  const path = [...new Set([...PATH.split(":"), ...SYSTEM_PATH])].filter((directory) => directory !== "").join(":");
  return {
    ...places,
    place,
    runtime: {
      pluginDirs: places.pluginDirs,
      pluginRoot: place.root,
      cacheDir: places.cacheDir,
      wrapper: place.wrapper,
      env: { ...env, PATH: path },
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
export function warnOfProblem({ message, hint = "" }: Failure, world: World): void {
  world.stderr(`cni-node: warning: ${message}\n  hint: ${hint}\n`);
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
export async function networkOf(
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
  try {
    return loadNetwork(configDir, network);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const its = recallNetwork(remembered(network));
    if (its === undefined) throw error;
    printMessage(world, `warning: ${error.message}: it is used as it was when the container was added`);
    return its;
  }
}

/** What is to be added, checked or deleted. */
export function wantedOf(
  options: Pick<Given<"network check">, "ifname" | "containerId" | "args" | "capabilityArgs"> & {
    allowDefaultRoute?: boolean;
  },
  target: Target,
): Wanted {
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
