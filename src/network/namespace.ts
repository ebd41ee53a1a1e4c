/** Network namespaces: what is in them, and those that are made here. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";

import { parseIp } from "../cni/ip.ts";
import { systemMessage } from "../cni/invoke.ts";
import { runProgram, type End } from "../cni/process.ts";
import { Failure, hintFor, reasonOf } from "../errors.ts";
import { hostPath, seenBelow } from "../system/below.ts";
import { searchPath, SYSTEM_PATH } from "../system/path.ts";
import { isExecutable, readText, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import { pathHere, type Host } from "../node/host.ts";

/** Where named network namespaces are, as ip-netns(8) has it. */
export const NAMED = "/run/netns";

/** NSFS_MAGIC: what the file of a namespace is on. */
const NSFS = 0x6e_73_66_73;

/**
 * The kernel's number of the namespace that a path leads to; undefined when it leads to none. Another namespace may get
 * it when this one is gone.
 */
export function identityOf(path: string): string | undefined {
  try {
    return fs.statfsSync(path).type === NSFS ? String(fs.statSync(path).ino) : undefined;
  } catch {
    return undefined;
  }
}

/** A process's way, or a thread's, to its network namespace. */
const OF_TASK = /^(\/proc\/(?:self|\d+)(?:\/task\/\d+)?)\/ns\/net$/u;

/**
 * What tells the namespace behind a path from a later one of the same number behind the same path: since when the
 * process or thread runs, or the namespace is mounted or held open there. It stays the same as long as the path leads
 * there. Undefined when the path leads to none.
 */
export function sinceWhen(path: string): string | undefined {
  try {
    const [, task] = OF_TASK.exec(seenBelow("", hostPath(path)) ?? path) ?? [];
    // Nothing pins the inode of a process's link: it is a new one whenever it is looked at.
    return task === undefined ? String(fs.statSync(path, { bigint: true }).ctimeNs) : startOf(task);
  } catch {
    return undefined;
  }
}

/** When a process or thread was started, in ticks since the boot: the 22nd field of its `stat`. */
function startOf(task: string): string | undefined {
  // The second one is a name in brackets, which may have anything in it.
  return readText(`${task}/stat`, SIZE_LIMITS.proc).split(") ").at(-1)?.split(" ")[19];
}

/** The network namespace in which plugins act: that of this process where it is on the host. */
export function netnsOfHost({ wrapper }: Host): string {
  return wrapper.length === 0 ? "/proc/self/ns/net" : "/proc/1/ns/net";
}

/** Its number. */
export function identityOfHost(host: Host): string | undefined {
  return identityOf(netnsOfHost(host));
}

/** What is in a network namespace. */
export interface Interior {
  interfaces: string[];
  /** In their canonical form, without the length of a prefix. */
  addresses: string[];
  /** By the version of IP, the interface of the default route. */
  defaultRoutes: Partial<Record<"4" | "6", string | undefined>>;
  /** Its metric: of two, that with the smaller one is used. */
  defaultMetrics: Partial<Record<"4" | "6", number>>;
}

const LOOK_LIMIT_MS = 10_000;

/**
 * Looks into a network namespace. A process that is in it shows its tables in /proc; one that is named has perhaps none,
 * so a process enters it and waits.
 *
 * @param path as this process sees it.
 * @throws Failure `netns-unreadable`.
 */
export async function lookInto(path: string): Promise<Interior> {
  try {
    const [, task] = OF_TASK.exec(path) ?? [];
    if (task !== undefined) return readTables(`${task}/net`);
    await using held = await HeldNamespace.enter(path);
    return readTables(held.tables);
  } catch (error) {
    throw new Failure({
      code: "netns-unreadable",
      subject: path,
      problem: `the network namespace cannot be looked into: ${reasonOf(error)}`,
      hint: hintFor(error) ?? "run as root, with nsenter (util-linux) and sh in PATH",
    });
  }
}

/** @param directory a process's `net` in /proc. */
function readTables(directory: string): Interior {
  const rows = (table: string): string[][] => {
    const path = join(directory, table);
    // The kernel may lack it: there need be no IPv6.
    const text = table === "dev" || fs.existsSync(path) ? readText(path, SIZE_LIMITS.proc) : "";
    return text.split("\n").map((line) => line.trim().split(/\s+/u));
  };
  const route4 = rows("route").find(([, destination, , , , , , mask]) => destination === ZERO4 && mask === ZERO4);
  const route6 = rows("ipv6_route").find(
    ([destination = "", length, ...rest]) => destination === ZERO6 && length === "00" && rest.at(-1) !== "lo",
  );
  return {
    // Two lines of headings.
    interfaces: rows("dev")
      .slice(2)
      .flatMap(([name = ""]) => (name === "" ? [] : name.replace(/:.*$/u, ""))),
    addresses: [...localAddresses(rows("fib_trie")), ...rows("if_inet6").flatMap(([hex = ""]) => addressOf(hex) ?? [])],
    defaultRoutes: {
      ...(route4 === undefined ? {} : { 4: route4[0] }),
      ...(route6 === undefined ? {} : { 6: route6.at(-1) }),
    },
    defaultMetrics: {
      ...(route4 === undefined ? {} : { 4: Number(route4[6]) }),
      ...(route6 === undefined ? {} : { 6: Number.parseInt(route6[5] ?? "", 16) }),
    },
  };
}

/** The hardware addresses of the interfaces in a network namespace, by their names; undefined when it cannot be told. */
export async function hardwareIn(path: string): Promise<Map<string, string> | undefined> {
  try {
    const stdout = await readOutput(["nsenter", `--net=${path}`, "--", "ip", "-o", "link"]);
    const found = stdout.matchAll(/^\d+: ([^:@\s]+)[^\n]*? link\/\S+ (\S+)/gmu);
    return new Map(Array.from(found, ([, name = "", address = ""]) => [name, address]));
  } catch {
    return undefined;
  }
}

/**
 * What `ip -json` prints in a network namespace. Throws what it said of its failure.
 *
 * @param path as this process sees it.
 */
export async function ipJson(path: string, host: Host, words: readonly string[]): Promise<string> {
  return readOutput([...host.wrapper, "nsenter", `--net=${path}`, "--", ipOf(host), "-json", ...words]);
}

/**
 * Removes a bridge that nothing is connected to; one that is gone or in use is left.
 *
 * @param path of its network namespace, as this process sees it.
 */
export async function removeIdleBridge(name: string, path: string): Promise<void> {
  const ip = async (...words: string[]): Promise<string> =>
    readOutput(["nsenter", `--net=${path}`, "--", "ip", ...words]);
  try {
    const links = (await ip("-o", "link")).split("\n");
    if (links.some((link) => link.includes(` master ${name} `))) return;
    await ip("link", "delete", "dev", name);
  } catch {
    // It is gone, or there is no ip: an empty bridge does no harm.
  }
}

const ZERO4 = "0".repeat(8);
const ZERO6 = "0".repeat(32);

/** `|-- 10.1.0.5` with `/32 host LOCAL` in the line below; the trie is printed twice. */
function localAddresses(rows: readonly string[][]): string[] {
  const found = rows.flatMap(([mark, address = ""], index) => {
    const isLocal = mark === "|--" && rows[index + 1]?.join(" ") === "/32 host LOCAL";
    return isLocal ? [address] : [];
  });
  return [...new Set(found)];
}

function addressOf(hex: string): string | undefined {
  return hex.length === 32 ? parseIp((hex.match(/.{4}/gu) ?? []).join(":"))?.text : undefined;
}

/**
 * Makes a named network namespace on the host.
 *
 * @throws Failure `netns-exists`, `netns-failed`.
 */
export async function makeNamed(name: string, host: Host): Promise<void> {
  await ipNetns("add", name, host);
}

/** Deletes a named network namespace of the host, if it is there. Throws `Failure`, `netns-failed`. */
export async function deleteNamed(name: string, host: Host): Promise<void> {
  if (!fs.existsSync(pathHere(host, join(NAMED, name)))) return;
  await ipNetns("delete", name, host);
}

/** A plain file of that name is in the way, too. */
function isStray(name: string, host: Host): boolean {
  return identityOf(pathHere(host, join(NAMED, name))) === undefined;
}

/** The host's ip by its path: BusyBox, which is nsenter in the image, would take a name for its own ip. */
function ipOf(host: Host): string {
  // PATH of a process in a container says nothing about the host.
  const directories = host.wrapper.length === 0 ? searchPath(process.env["PATH"]) : SYSTEM_PATH;
  const paths = directories.map((directory) => join(directory, "ip"));
  return paths.find((path) => isExecutable(pathHere(host, path))) ?? "ip";
}

async function ipNetns(verb: "add" | "delete", name: string, host: Host): Promise<void> {
  const { wrapper } = host;
  try {
    await readOutput([...wrapper, ipOf(host), "netns", verb, name]);
  } catch (error) {
    const saying = reasonOf(error);
    const exists = saying.includes("File exists");
    const [inTheWay, cure] = isStray(name, host)
      ? ["there is a file of that name, which is not a namespace", `remove it: ip netns delete ${shellWord(name)}`]
      : ["there is such a network namespace already", "leave out --new to use it, or choose another name"];
    throw new Failure({
      code: exists ? "netns-exists" : "netns-failed",
      subject: `${NAMED}/${name}`,
      problem: exists ? inTheWay : `ip netns ${verb} failed: ${saying}`,
      hint: exists ? cure : (hintFor(error) ?? "run as root, with ip (iproute2) on the host"),
    });
  }
}

/** Runs a program that Ctrl-C at a terminal does not reach. */
export async function runQuietly([file = "", ...words]: readonly string[], signal?: AbortSignal): Promise<End> {
  const program = { file, argv0: file, words, env: process.env, stdin: "" };
  return runProgram(program, { timeoutMs: LOOK_LIMIT_MS, signal });
}

/** What it prints. Throws what it said of its failure. */
async function readOutput(words: readonly string[]): Promise<string> {
  const end = await runQuietly(words);
  if (end.exitCode === 0) return end.stdout;
  throw Object.assign(new Error(explainEnd(words[0] ?? "", end)), { code: end.systemCode });
}

/** Why a program did not succeed: in its own words, if it said something. */
export function explainEnd(file: string, { stderr, exitCode, signal, systemCode, stopped }: End): string {
  if (systemCode !== undefined) return `${file} cannot be run: ${systemMessage(systemCode)}`;
  return stderr.trim() || `${file} ended: ${stopped ?? signal ?? `exit code ${exitCode ?? 0}`}`;
}

/** A network namespace that a process of ours waits in. A new one ends with this process, whatever ends that. */
export class HeldNamespace implements AsyncDisposable {
  readonly #keeper: ChildProcess;

  private constructor(keeper: ChildProcess) {
    this.#keeper = keeper;
  }

  /** Enters one. Throws what nsenter said of its failure. */
  static async enter(path: string): Promise<HeldNamespace> {
    return HeldNamespace.#start("nsenter", `--net=${path}`);
  }

  /** Makes one. Throws `Failure`, `netns-failed`. */
  static async make(): Promise<HeldNamespace> {
    try {
      return await HeldNamespace.#start("unshare", "--net");
    } catch (error) {
      throw new Failure({
        code: "netns-failed",
        subject: "network namespace",
        problem: `none can be made: ${reasonOf(error)}`,
        hint: "run as root, with unshare (util-linux) and sh in PATH",
      });
    }
  }

  static async #start(file: string, option: string): Promise<HeldNamespace> {
    // It waits for input that never comes, and ends when the other end of the pipe does.
    const child = spawn(file, [option, "--", "sh", "-c", "echo inside; read -r line"], {
      stdio: ["pipe", "pipe", "pipe"],
      // Ctrl-C at a terminal does not reach it.
      detached: true,
    });
    const limit = setTimeout(() => child.kill("SIGKILL"), LOOK_LIMIT_MS);
    let said = "";
    let code: unknown;
    const ended = once(child, "close").catch((error: unknown) => {
      said = `${file} cannot be run: ${reasonOf(error)}`;
      ({ code } = error as NodeJS.ErrnoException);
    });
    // Node has none of them if it has no descriptors left.
    const { stdout, stderr } = child as Partial<typeof child>;
    stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const first = await (stdout ? Promise.race([once(stdout, "data").catch(() => []), ended]) : ended);
    clearTimeout(limit);
    if (String(first?.[0]) === "inside\n") return new HeldNamespace(child);
    throw Object.assign(new Error(said.trim() || `${file} ended`), { code });
  }

  /** What the kernel shows of it in /proc. */
  get tables(): string {
    return `/proc/${this.#keeper.pid ?? 0}/net`;
  }

  /** As the host's processes see it. */
  get path(): string {
    return `/proc/${this.#keeper.pid ?? 0}/ns/net`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#keeper.exitCode !== null || this.#keeper.signalCode !== null) return;
    const ended = once(this.#keeper, "exit");
    this.#keeper.stdin?.end();
    await ended;
  }
}
