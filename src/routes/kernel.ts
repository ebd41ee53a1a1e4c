/** The addresses and routes of this process' network, read and changed with `ip` of iproute2. */
import * as v from "valibot";

import type { End } from "../cni/process.ts";
import { Failure, throwIfInterrupted } from "../errors.ts";
import { readAddress } from "./prefix.ts";
import { PROTOCOL, type InterfaceAddress, type PresentRoute } from "./plan.ts";
import { runTool } from "./tool.ts";

/** So long `ip` may take, milliseconds. */
const PATIENCE = 30_000;

const Addresses = v.array(
  v.object({
    ifname: v.optional(v.string(), ""),
    addr_info: v.optional(
      v.array(
        v.object({
          local: v.optional(v.string(), ""),
          prefixlen: v.optional(v.number(), 0),
          scope: v.optional(v.string(), ""),
        }),
      ),
      [],
    ),
  }),
);
const Routes = v.array(
  v.object({
    dst: v.string(),
    gateway: v.optional(v.string()),
    dev: v.optional(v.string()),
    protocol: v.optional(v.string()),
  }),
);

/** What `ip` reads as one word of a batch; other names of interfaces are not used. */
const WORD = /^[^\s'"#\\]+$/u;

/** A command that the kernel has refused. */
export interface RefusedCommand {
  /** Its place among the commands. */
  index: number;
  /** In the kernel's words. */
  reason: string;
}

/** The network that this process is in. */
export class Kernel {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #signal: AbortSignal;

  constructor(env: Readonly<Record<string, string | undefined>>, signal: AbortSignal) {
    this.#env = env;
    this.#signal = signal;
  }

  /** The addresses of interfaces that are up, but those that are for one link or this host only. */
  async addresses(): Promise<InterfaceAddress[]> {
    const found = await this.#read(Addresses, "-json", "address", "show", "up");
    const usable = found.filter(({ ifname }) => WORD.test(ifname));
    return usable.flatMap(({ ifname, addr_info: addresses }) =>
      addresses.flatMap(({ local, prefixlen, scope }) =>
        scope === "global" ? [{ ifName: ifname, cidr: `${local}/${prefixlen}` }] : [],
      ),
    );
  }

  /** The routes of the main table. */
  async routes(): Promise<PresentRoute[]> {
    const read = async (family: string): Promise<PresentRoute[]> => {
      // Protocols as numbers: their names are in a file.
      const found = await this.#read(Routes, "-json", "-N", family, "route", "show", "table", "main");
      return found.map(({ dst, gateway, dev, protocol }) => {
        const { length } = readAddress(dst) ?? {};
        const destination = length === undefined ? dst : `${dst}/${length}`;
        return { destination, gateway, ifName: dev, isOurs: protocol === String(PROTOCOL) };
      });
    };
    return [...(await read("-4")), ...(await read("-6"))];
  }

  /**
   * Carries out commands of `ip`, all of them even if some are refused, or if the signal comes meanwhile.
   *
   * @throws Failure `iproute-failed`: not all were tried.
   */
  async change(commands: readonly string[]): Promise<RefusedCommand[]> {
    if (commands.length === 0) return [];
    const stdin = commands.map((command) => `${command}\n`).join("");
    throwIfInterrupted(this.#signal);
    const end = await this.#run(["-force", "-batch", "-"], stdin);
    if (end.exitCode === 0) return [];
    // Ended early: which commands were done is not known, the next look at the routes says it.
    if (end.exitCode === undefined || end.stopped !== undefined) throw failed(end);
    const refusals: RefusedCommand[] = [];
    let reason = "";
    for (const line of end.stderr.split("\n")) {
      const [, number] = /^Command failed .*:(\d+)$/u.exec(line) ?? [];
      if (number !== undefined) refusals.push({ index: Number(number) - 1, reason });
      else if (line !== "") reason = line.replace(/^(?:RTNETLINK answers|Error): /u, "");
    }
    if (refusals.length === 0) throw failed(end);
    return refusals;
  }

  async #read<Schema extends v.GenericSchema>(schema: Schema, ...words: string[]): Promise<v.InferOutput<Schema>> {
    const end = await this.#run(words, "", this.#signal);
    throwIfInterrupted(this.#signal);
    if (end.exitCode !== 0) throw failed(end);
    try {
      return v.parse(schema, JSON.parse(end.stdout === "" ? "[]" : end.stdout));
    } catch {
      throw failed({ ...end, stderr: "its output is not what ip of iproute2 prints" });
    }
  }

  async #run(words: readonly string[], stdin: string, signal?: AbortSignal): Promise<End> {
    const end = await runTool("ip", words, { env: this.#env, signal, stdin, timeoutMs: PATIENCE });
    if (end.systemCode === undefined && !/busybox/iu.test(end.stderr)) return end;
    throw new Failure({
      code: "iproute-missing",
      subject: "ip",
      problem: end.systemCode === undefined ? "is not that of iproute2" : `cannot be run: ${end.systemCode}`,
      hint: "install iproute2; the image of cni-node has it",
    });
  }
}

function failed({ stderr, stopped, exitCode, signal }: End): Failure {
  const [first = ""] = stderr.split("\n");
  const ends = { timeout: "it did not end in time", aborted: "it was ended", output: "it prints more than 8 MiB" };
  const problem = stopped === undefined ? first || `it ended with ${exitCode ?? signal}` : ends[stopped];
  return new Failure({
    code: "iproute-failed",
    subject: "ip",
    problem,
    hint: "it needs CAP_NET_ADMIN to change routes",
  });
}
