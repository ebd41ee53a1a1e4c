/**
 * Masquerade for what pods send out of the cluster: a chain of our own in the table `nat` of each family, changed with
 * iptables-restore in one transaction, and one rule in POSTROUTING for each podCIDR of the node that leads there.
 */
import type { End } from "../cni/process.ts";
import { Failure, throwIfInterrupted } from "../errors.ts";
import { merged, readAddress, readNetwork } from "./prefix.ts";
import { runTool } from "./tool.ts";

const CHAIN = "CNI-NODE-MASQUERADE";
const JUMP = `-m comment --comment "cni-node routes sync --masquerade" -j ${CHAIN}`;

/** So long a command may take, milliseconds. */
const PATIENCE = 30_000;

const FAMILIES = {
  ipv4: { program: "iptables", multicast: "224.0.0.0/4" },
  ipv6: { program: "ip6tables", multicast: "ff00::/8" },
} as const;
type Family = keyof typeof FAMILIES;
const NAMES = Object.keys(FAMILIES) as Family[];

/** Whose traffic is masqueraded. Networks and addresses are in their canonical form. */
export interface Ranges {
  /** The pods of this node. */
  sources: readonly string[];
  /** What they reach with their own addresses. */
  kept: readonly string[];
}

/** What was done about a family. */
export interface Masqueraded {
  family: Family;
  state: "created" | "configured" | "unchanged" | "deleted";
  sources: readonly string[];
}

/** What was done, and what could not be: a family does not keep the other one back. */
export interface MasqueradeResult {
  done: readonly Masqueraded[];
  /** `masquerade-failed`. */
  failures: readonly Failure[];
}

/** The rules in the network that this process is in. */
export class Masquerade {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #signal: AbortSignal;
  /** What was asked for last, and how iptables printed it then. */
  readonly #last = new Map<Family, { rules: string; printed: string }>();

  constructor(env: Readonly<Record<string, string | undefined>>, signal: AbortSignal) {
    this.#env = env;
    this.#signal = signal;
  }

  /** Sets the rules for these ranges. A family without sources gets none. */
  async set({ sources, kept }: Ranges): Promise<MasqueradeResult> {
    const done: Masqueraded[] = [];
    const failures: Failure[] = [];
    for (const family of NAMES) {
      const isOf = (cidr: string): boolean => cidr.includes(":") === (family === "ipv6");
      const own = sources.filter(isOf);
      try {
        const state = await this.#make(family, rulesOf(family, { sources: own, kept: kept.filter(isOf) }));
        if (state !== undefined) done.push({ family, state, sources: own });
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        failures.push(error);
      }
    }
    return { done, failures };
  }

  /** Removes all of them. */
  async remove(): Promise<MasqueradeResult> {
    return this.set({ sources: [], kept: [] });
  }

  /** @param rules empty: none. @returns undefined: there are none, and none are to be there. */
  async #make(family: Family, rules: string): Promise<Masqueraded["state"] | undefined> {
    const { jumps, chain } = await this.#present(family, rules === "");
    const before = [...jumps, chain].join("\n");
    const last = this.#last.get(family);
    if (rules === "" ? before === "" : last?.rules === rules && last.printed === before) {
      return rules === "" ? undefined : "unchanged";
    }
    const removals = jumps.map((jump) => jump.replace(/^-A/u, "-D"));
    const added = rules === "" ? `-X ${CHAIN}` : rules;
    // The declaration of the chain empties it.
    const script = ["*nat", `:${CHAIN} - [0:0]`, ...removals, added, "COMMIT", ""].join("\n");
    const { program } = FAMILIES[family];
    const end = await this.#run(`${program}-restore`, ["--noflush", "-w", "10"], script);
    if (end.exitCode !== 0) throw failed(program, end);
    if (rules === "") return "deleted";
    const now = await this.#present(family, false);
    const printed = [...now.jumps, now.chain].join("\n");
    // Somebody may have changed them before they were looked at: what is not whole is set again with the next call.
    if (countRules(printed) === countRules(rules)) this.#last.set(family, { rules, printed });
    else this.#last.delete(family);
    return before === "" ? "created" : before === printed ? "unchanged" : "configured";
  }

  /**
   * The rules that lead to our chain, and those in it, as iptables prints them.
   *
   * @param mayLack none are there if this node has no iptables, or its kernel no such table.
   */
  async #present(family: Family, mayLack: boolean): Promise<{ jumps: string[]; chain: string }> {
    const { program } = FAMILIES[family];
    const all = await this.#run(program, ["-w", "10", "-t", "nat", "-S", "POSTROUTING"]);
    if (mayLack && isLacking(all)) return { jumps: [], chain: "" };
    if (all.exitCode !== 0) throw failed(program, all);
    const jumps = all.stdout.split("\n").filter((line) => line.endsWith(` -j ${CHAIN}`));
    // A chain that is missing is an error of the command.
    const { exitCode, stdout } = await this.#run(program, ["-w", "10", "-t", "nat", "-S", CHAIN]);
    return { jumps, chain: exitCode === 0 ? stdout : "" };
  }

  async #run(name: string, words: readonly string[], stdin = ""): Promise<End> {
    const end = await runTool(name, words, { env: this.#env, signal: this.#signal, stdin, timeoutMs: PATIENCE });
    throwIfInterrupted(this.#signal);
    return end;
  }
}

function isLacking({ systemCode, exitCode, stderr }: End): boolean {
  return systemCode !== undefined || (exitCode !== 0 && /Table does not exist|not supported/u.test(stderr));
}

/** The lines of iptables-restore that add the rules of a family; empty: it needs none. */
function rulesOf(family: Family, { sources, kept }: Ranges): string {
  if (sources.length === 0) return "";
  const ranges = [...sources, ...kept].flatMap((text) => readNetwork(text) ?? readAddress(text) ?? []);
  const returns = [...merged(ranges).map(({ text }) => text), FAMILIES[family].multicast];
  return [
    ...returns.map((text) => `-A ${CHAIN} -d ${text} -j RETURN`),
    `-A ${CHAIN} -j MASQUERADE --random-fully`,
    ...sources.map((source) => `-A POSTROUTING -s ${source} ${JUMP}`),
  ].join("\n");
}

/** `-N CHAIN` is none. */
function countRules(lines: string): number {
  return lines.split("\n").filter((line) => line.startsWith("-A ")).length;
}

function failed(program: string, { systemCode, stderr, exitCode, signal, stopped }: End): Failure {
  const [first = ""] = stderr.split("\n");
  const problem =
    systemCode === undefined ? first || `ended with ${stopped ?? exitCode ?? signal}` : `cannot be run: ${systemCode}`;
  return new Failure({
    code: "masquerade-failed",
    subject: program,
    problem,
    hint: "it needs iptables, which the image of cni-node has, CAP_NET_ADMIN, and a kernel with NAT",
  });
}
