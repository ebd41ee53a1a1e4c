/** What the options of the `network` commands come to. */
import type { Args } from "../cni/invoke.ts";
import type { NetworkList } from "../cni/config.ts";
import { isObject } from "../cni/json.ts";
import { Failure } from "../errors.ts";
import { networkNamed, type Wanted } from "../network/attach.ts";
import {
  environmentOfPlugins,
  networkDirectories,
  requireLockable,
  type NetworkDirectories,
} from "../network/directories.ts";
import type { Operator } from "../network/operator.ts";
import { findPlace, type Place } from "../node/host.ts";
import { parseNetwork, readNetworkFile, unlessInterrupted } from "../network/source.ts";
import type { Target } from "../network/target.ts";
import { durationOf, isSet, textOf, type OptionTexts } from "../options.ts";
import { printMessage } from "../report.ts";
import { formatCall } from "../trace.ts";
import type { World } from "../world.ts";
import type { CachedAttachment } from "../cni/cache.ts";

/** The directories that the options, or the variables of cnitool, say. @throws Failure `runtime-directory-unknown` */
export async function directoriesOf(
  texts: OptionTexts,
  env: World["env"],
  place: Place | undefined,
): Promise<NetworkDirectories> {
  const named = {
    hostRoot: textOf(texts, "host-root"),
    isRootNamed: texts["host-root"] !== undefined,
    pluginPath: texts["plugin-dir"] || env["CNI_PATH"],
    configDir: texts["config-dir"] || env["NETCONFPATH"],
    cacheDir: texts["cache-dir"],
  };
  return networkDirectories(named, place);
}

/** @throws Failure `host-unreachable`. */
function findHost(texts: OptionTexts): Place {
  return findPlace(textOf(texts, "host-root"), texts["host-root"] !== undefined);
}

/** Undefined: this process is in a container and sees nothing of the host but what is mounted. */
export function findHostIfSeen(texts: OptionTexts): Place | undefined {
  try {
    return findHost(texts);
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** @throws Failure `host-unreachable`, `mount-missing`, `runtime-directory-unknown`. */
export async function operatorOf(texts: OptionTexts, world: World): Promise<Operator & NetworkDirectories> {
  const place = findHost(texts);
  const directories = await directoriesOf(texts, world.env, place);
  const { pluginDirs, cacheDir } = directories;
  requireLockable(cacheDir, place, textOf(texts, "host-root"));
  return {
    ...directories,
    place,
    runtime: {
      pluginDirs,
      pluginRoot: place.root,
      cacheDir,
      wrapper: place.wrapper,
      env: environmentOfPlugins(world.env),
      timeoutMs: durationOf(texts, "plugin-timeout"),
      signal: world.signal,
      ...(isSet(texts, "trace")
        ? {
            trace: (call) => {
              world.stderr(formatCall(call));
            },
          }
        : {}),
    },
    lockTimeoutMs: durationOf(texts, "lock-timeout"),
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
export function wordsOf(texts: OptionTexts, operands: readonly string[], takesTarget: boolean): Words {
  const names = [...(texts.file === undefined ? ["NETWORK"] : []), ...(takesTarget ? ["TARGET"] : [])];
  const missing = names[operands.length];
  if (missing !== undefined) throw usage(missing, "is missing", "add --help to the command to see what it takes");
  const extra = operands[names.length];
  if (extra !== undefined)
    throw usage(JSON.stringify(extra), "is an argument too many", "--file is given in the place of NETWORK");
  const [first = "", second = ""] = operands;
  if (texts.file === undefined) return takesTarget ? { network: first, target: second } : { network: first };
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
  texts: OptionTexts,
  configDir: string,
  world: World,
  remembered: (name: string) => CachedAttachment | undefined = () => undefined,
): Promise<NetworkList> {
  const file = texts.file ?? "-";
  if (network === undefined && file !== "-") return readNetworkFile(file, world.signal);
  if (network === undefined || network === "-") {
    return parseNetwork("standard input", await unlessInterrupted(world.stdin(), world.signal));
  }
  return networkNamed(network, configDir, remembered, ({ message }) => {
    printMessage(world, `warning: ${message}: it is used as it was when the container was added`);
  });
}

/** @throws Failure `usage`. */
export function wantedOf(texts: OptionTexts, env: World["env"], target: Target): Wanted {
  const ifName = texts.ifname || env["CNI_IFNAME"] || undefined;
  const containerId = texts["container-id"] ?? target.containerId;
  return {
    target: { ...target, containerId },
    ifName,
    args: parseArgs(texts.args, env["CNI_ARGS"] ?? ""),
    capabilityArgs: parseCapabilityArgs(texts["capability-args"], env["CAP_ARGS"] ?? ""),
    allowDefaultRoute: isSet(texts, "allow-default-route"),
    isIdGiven: texts["container-id"] !== undefined,
  };
}

function parseArgs(option: string | undefined, variable: string): Args {
  const text = option ?? variable;
  return text
    .split(";")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const [, key, value = ""] = /^([^=]+)=(.*)$/su.exec(pair) ?? [];
      if (key !== undefined) return [key, value] as const;
      throw usage(
        option === undefined ? "CNI_ARGS" : "--args",
        `${JSON.stringify(pair)} is no KEY=VALUE`,
        "pairs are joined by ;",
      );
    });
}

function parseCapabilityArgs(option: string | undefined, variable: string): Record<string, unknown> {
  const text = option ?? variable;
  if (text === "") return {};
  try {
    const value = JSON.parse(text) as unknown;
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  const subject = option === undefined ? "CAP_ARGS" : "--capability-args";
  throw usage(
    subject,
    "is no JSON object",
    'an object by capability: {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}',
  );
}

/** A command that is used wrongly. */
export function usage(subject: string, problem: string, hint: string): Failure {
  return new Failure({ code: "usage", subject, problem, hint, exitCode: 2 });
}
