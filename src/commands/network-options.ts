/** What the options of the `network` commands come to. */
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import type { Args } from "../cni/invoke.ts";
import type { NetworkList } from "../cni/config.ts";
import { isObject } from "../cni/json.ts";
import { loadNetwork } from "../cni/load.ts";
import { Failure } from "../errors.ts";
import { recallNetwork, type Wanted } from "../network/attach.ts";
import type { Operator } from "../network/operator.ts";
import { findPlace, pathOnHost, seen, type Place } from "../node/host.ts";
import { parseNetwork, readNetworkFile, unlessInterrupted } from "../network/source.ts";
import type { Target } from "../network/target.ts";
import { durationOf, isSet, textOf, type OptionTexts } from "../options.ts";
import { printMessage } from "../report.ts";
import { formatCall } from "../trace.ts";
import type { World } from "../world.ts";
import type { CachedAttachment } from "../cni/cache.ts";
import { seenBelow } from "../system/below.ts";
import { shellWord } from "../system/text.ts";

/** Where plugins find iptables and the like, whatever PATH this process has. */
const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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
export function placesOf(texts: OptionTexts, env: World["env"], place: Place | undefined): Places {
  const hostRoot = textOf(texts, "host-root");
  const isNamed = texts["host-root"] !== undefined;
  const root = resolve(hostRoot);
  // Links are followed as on the host; plugins are looked up there, where links lead as they do for the host.
  const mounted = (path: string): string => seenBelow(root, path) ?? join(root, path);
  const [onHost, onHostForPlugins] =
    isNamed || place === undefined
      ? [mounted, mounted]
      : [(path: string): string => seen(place, path), (path: string): string => path];
  const pluginPath = texts["plugin-dir"] || env["CNI_PATH"] || onHostForPlugins("/opt/cni/bin");
  return {
    configDir: texts["config-dir"] || env["NETCONFPATH"] || onHost("/etc/cni/net.d"),
    cacheDir: resolve(texts["cache-dir"] || mountedCache(hostRoot, place) || onHost("/var/lib/cni")),
    pluginDirs: pluginPath
      .split(":")
      .filter((directory) => directory !== "")
      .map((directory) => (place === undefined ? resolve(directory) : pathOnHost(place, hostRoot, resolve(directory)))),
  };
}

/** The host's cache where it is mounted in this container; undefined on the host itself. */
function mountedCache(hostRoot: string, place: Place | undefined): string | undefined {
  if (place === undefined || place.root === "") return undefined;
  const mounted = seenBelow(resolve(hostRoot), "/var/lib/cni") ?? "";
  const [here, there] = [mounted, seen(place, "/var/lib/cni")].map((path) => {
    return fs.statSync(path, { throwIfNoEntry: false, bigint: true });
  });
  return here !== undefined && here.dev === there?.dev && here.ino === there.ino ? mounted : undefined;
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

/** @throws Failure `host-unreachable`, `mount-missing`. */
export function operatorOf(texts: OptionTexts, world: World): Operator & Places {
  const place = findHost(texts);
  const places = placesOf(texts, world.env, place);
  // SQLite, which locks it, follows the links of a path itself, and would come out in this container.
  if (place.root !== "" && places.cacheDir.startsWith("/proc/")) {
    throw new Failure({
      code: "mount-missing",
      subject: "/var/lib/cni",
      problem: "the host's directory of attachments is not mounted in this container",
      hint: `mount it: docker run -v ${shellWord(`/var/lib/cni:${join(resolve(textOf(texts, "host-root")), "var/lib/cni")}`)}`,
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
