/**
 * Masquerade for what pods send out of the cluster. The rules are a table of nftables of our own for each family, which
 * `nft` replaces whole: there is no moment without them, and no rule of others is touched.
 */
import { runProgram, type End } from "../cni/process.ts";
import { Failure, throwIfInterrupted } from "../errors.ts";

/** The name of the tables, which marks them as ours. */
const TABLE = "cni-node";

/** So long `nft` may take, milliseconds. */
const PATIENCE = 30_000;

const FAMILIES = {
  ipv4: { word: "ip", type: "ipv4_addr", multicast: "224.0.0.0/4" },
  ipv6: { word: "ip6", type: "ipv6_addr", multicast: "ff00::/8" },
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

/** The table of a family; undefined: it needs none. */
function tableOf(family: Family, { sources, kept }: Ranges): string | undefined {
  const { word, type, multicast } = FAMILIES[family];
  if (sources.length === 0) return undefined;
  const setOf = (name: string, elements: readonly string[]): string =>
    `  set ${name} { type ${type}; flags interval; auto-merge; elements = { ${elements.join(", ")} }; }`;
  const rule = `${word} saddr @pods ${word} daddr != @cluster ${word} daddr != ${multicast} masquerade fully-random`;
  return [
    `table ${word} ${TABLE} {`,
    setOf("pods", sources),
    setOf("cluster", [...sources, ...kept]),
    "  chain postrouting {",
    "    type nat hook postrouting priority 100; policy accept;",
    `    ${rule} comment "cni-node routes sync --masquerade"`,
    "  }",
    "}",
    "",
  ].join("\n");
}

/** The rules in the network that this process is in. */
export class Masquerade {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #signal: AbortSignal;
  /** What was asked for last, and how `nft` printed it then. */
  readonly #last = new Map<Family, { table: string; printed: string }>();

  constructor(env: Readonly<Record<string, string | undefined>>, signal: AbortSignal) {
    this.#env = env;
    this.#signal = signal;
  }

  /** Sets the rules for these ranges. A family without sources gets none. @throws Failure `masquerade-failed`. */
  async set({ sources, kept }: Ranges): Promise<Masqueraded[]> {
    const done: Masqueraded[] = [];
    for (const family of NAMES) {
      const isOf = (cidr: string): boolean => cidr.includes(":") === (family === "ipv6");
      const ranges = { sources: sources.filter(isOf), kept: kept.filter(isOf) };
      const state = await this.#make(family, tableOf(family, ranges));
      if (state !== undefined) done.push({ family, state, sources: ranges.sources });
    }
    return done;
  }

  /** Removes all of them. @throws Failure `masquerade-failed`. */
  async remove(): Promise<Masqueraded[]> {
    return this.set({ sources: [], kept: [] });
  }

  /** @returns undefined: there is nothing, and nothing is to be there. */
  async #make(family: Family, table: string | undefined): Promise<Masqueraded["state"] | undefined> {
    const { word } = FAMILIES[family];
    const before = await this.#printed(family);
    const last = this.#last.get(family);
    if (table === undefined) {
      if (before === undefined) return undefined;
      await this.#nft(["-f", "-"], `delete table ${word} ${TABLE}\n`);
      return "deleted";
    }
    if (last !== undefined && last.table === table && last.printed === before) return "unchanged";
    // The first line makes the second one right even if there is no table yet.
    await this.#nft(["-f", "-"], `add table ${word} ${TABLE}\ndelete table ${word} ${TABLE}\n${table}`);
    const printed = (await this.#printed(family)) ?? "";
    this.#last.set(family, { table, printed });
    return before === undefined ? "created" : before === printed ? "unchanged" : "configured";
  }

  /** The table of a family as `nft` prints it; undefined: it is missing. */
  async #printed(family: Family): Promise<string | undefined> {
    const { word } = FAMILIES[family];
    const tables = await this.#nft(["list", "tables", word]);
    if (!tables.split("\n").includes(`table ${word} ${TABLE}`)) return undefined;
    return this.#nft(["list", "table", word, TABLE]);
  }

  async #nft(words: readonly string[], stdin = ""): Promise<string> {
    const program = { file: "nft", argv0: "nft", words, env: this.#env, stdin };
    const end = await runProgram(program, { timeoutMs: PATIENCE, signal: this.#signal });
    throwIfInterrupted(this.#signal);
    if (end.exitCode === 0) return end.stdout;
    throw failed(end);
  }
}

function failed({ systemCode, stderr, exitCode, signal, stopped }: End): Failure {
  const [first = ""] = stderr.split("\n");
  const problem =
    systemCode === undefined ? first || `ended with ${stopped ?? exitCode ?? signal}` : `cannot be run: ${systemCode}`;
  return new Failure({
    code: "masquerade-failed",
    subject: "nft",
    problem,
    hint: "it needs nftables, which the image of cni-node has, CAP_NET_ADMIN, and a kernel with nf_tables and its NAT",
  });
}
