/** What keeps packets of pods from being forwarded although the routes are right. */
import { warning, type Finding } from "../finding.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { NeededRoute } from "./plan.ts";
import { runTool } from "./tool.ts";

/** So long a look at the firewall may take, milliseconds. */
const PATIENCE = 10_000;

type Family = "4" | "6";

/** Where the kernel says whether it forwards, and the command of the firewall, by family. */
const OF_FAMILY = {
  "4": { forwarding: "net/ipv4/ip_forward", firewall: "iptables" },
  "6": { forwarding: "net/ipv6/conf/all/forwarding", firewall: "ip6tables" },
} as const;

/** Looks at what concerns the routes that are needed. What cannot be read is not judged. */
export async function forwardingFindings(
  routes: readonly NeededRoute[],
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const families = (["4", "6"] as const).filter((family) =>
    routes.some(({ destination }) => destination.includes(":") === (family === "6")),
  );
  const policies = await Promise.all(families.map(async (family) => policyFinding(family, env, signal)));
  return [...families.flatMap(switchFinding), ...filterFindings(routes), ...policies.flat()];
}

function switchFinding(family: Family): Finding[] {
  const { forwarding } = OF_FAMILY[family];
  const name = forwarding.replaceAll("/", ".");
  if (setting(forwarding) !== "0") return [];
  return [
    warning(
      "forwarding-off",
      `/proc/sys/${forwarding}`,
      "the kernel does not forward packets, so pods do not reach pods of other nodes",
      `sysctl -w ${name}=1, and in /etc/sysctl.d/ for the next start`,
    ),
  ];
}

/** A node whose packets come in on another interface than the route back is not heard. */
function filterFindings(routes: readonly NeededRoute[]): Finding[] {
  const names = [
    ...new Set(routes.filter(({ destination }) => !destination.includes(":")).map(({ ifName }) => ifName)),
  ];
  if (names.length < 2) return [];
  return names.flatMap((name) => {
    const own = `net/ipv4/conf/${name}/rp_filter`;
    const value = Math.max(Number(setting("net/ipv4/conf/all/rp_filter") ?? 0), Number(setting(own) ?? 0));
    if (value !== 1) return [];
    return [
      warning(
        "rp-filter-strict",
        `/proc/sys/${own}`,
        "strict, and the routes of this node use several interfaces: packets that take another way back are dropped",
        `sysctl -w net.ipv4.conf.${name.replaceAll(".", "/")}.rp_filter=2 accepts them`,
      ),
    ];
  });
}

async function policyFinding(
  family: Family,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { firewall } = OF_FAMILY[family];
  const ask = async (name: string, ...words: string[]): Promise<string> =>
    (await runTool(name, words, { env, signal, timeoutMs: PATIENCE })).stdout;
  const rules = await ask(firewall, "-S", "FORWARD");
  const chain =
    rules === "" ? await ask("nft", "list", "chain", family === "4" ? "ip" : "ip6", "filter", "FORWARD") : "";
  if (!/^-P FORWARD DROP$/mu.test(rules) && !/\bpolicy drop;/u.test(chain)) return [];
  return [
    warning(
      "forward-policy-drop",
      `${firewall}: FORWARD`,
      "the policy is DROP: packets of pods that no rule accepts are dropped",
      `accept the networks of pods (${firewall} -A FORWARD -s CIDR -j ACCEPT, and with -d), or set the policy (${firewall} -P FORWARD ACCEPT)`,
    ),
  ];
}

function setting(path: string): string | undefined {
  return readTextIfPossible(`/proc/sys/${path}`, SIZE_LIMITS.proc)?.trim();
}
