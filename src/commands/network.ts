/** network add, check and del. */
import { setImmediate } from "node:timers/promises";

import { upgradeResult, type AnyResult, type Route } from "../cni/result.ts";
import type { Given } from "../commands.ts";
import { Failure, reasonOf, usage } from "../errors.ts";
import {
  attach,
  checkAttached,
  detach,
  recallTarget,
  type AttachmentResult,
  type WantedAttachment,
} from "../network/attach.ts";
import type { Operator } from "../network/operator.ts";
import type { NetworkDirectories } from "../network/directories.ts";
import { undeclaredOf } from "../network/precheck.ts";
import type { CachedAttachment } from "../cni/cache.ts";
import { deleteNamed, makeNamed } from "../network/namespace.ts";
import { attachmentsOf, remembered, wholeId } from "../network/remembered.ts";
import { resolveTarget, type NetworkTarget } from "../network/target.ts";
import { formatOutcomes, formatRows, jsonText, printJson, printWarning, endingOfDone } from "../report.ts";
import type { Ending, World } from "../world.ts";
import { readNetwork, prepareOperator, wantedOf, wordsOf, type Words } from "./network-options.ts";

/** Adds a container to a network. */
export async function runAdd(options: Given<"network add">, world: World): Promise<Ending> {
  const words = wordsOf(options, true);
  const operator = await prepareOperator(options, world);
  const target = resolveTarget(words.target ?? "", operator.host, operator.cacheDir);
  const given = options.containerId;
  const containerId = given === undefined ? undefined : wholeId(given, operator.cacheDir);
  const wanted = wantedOf({ ...options, containerId }, target);
  const network = await readNetwork(words, options, operator.configDir, world);
  const { undeclared, declared } = undeclaredOf(network, wanted.capabilityArgs);
  if (undeclared.length > 0) {
    const there = declared.length === 0 ? "it has none" : `it has ${declared.join(", ")}`;
    printWarning(
      world,
      `--capability-args: no plugin of network ${network.name} declares the capability ${undeclared.join(", ")}: ${there}`,
    );
  }
  if (options.new) await makeNamed(requireName(target, "--new"), operator.host);
  let done: Awaited<ReturnType<typeof attach>>;
  try {
    done = await attach(network, wanted, operator);
  } catch (error) {
    if (options.new && !(error instanceof Failure && error.exitCode === 4)) {
      await deleteNamed(target.name ?? "", operator.host).catch((left: unknown) => {
        throw error instanceof Failure ? error.extendedBy(`and its namespace is left: ${reasonOf(left)}`) : error;
      });
    }
    throw error;
  }
  const { result } = done;
  if (options.output === undefined) world.stdout(`${jsonText(result, 4)}\n`);
  else if (options.output === "text") world.stdout(`${lineOf("added", done, world)}${formatResult(result, world)}`);
  else printDone(world, "network add", done, { cniResult: result });
  return endingAfter(world);
}

/** Asks the plugins whether an attachment is as it should be. */
export async function runCheck(options: Given<"network check">, world: World): Promise<Ending> {
  const { network, wanted, operator } = await findWanted(options, world);
  const { isChecked, ...done } = await checkAttached(network, wanted, operator);
  if (options.output === "json") printDone(world, "network check", done, { checked: isChecked });
  else if (isChecked) world.stdout(lineOf("right", done, world));
  else world.stdout(lineOf("unchecked", done, world, "the configuration sets disableCheck"));
  return endingAfter(world);
}

/** Deletes an attachment. */
export async function runDel(options: Given<"network del">, world: World): Promise<Ending> {
  const { network, wanted, operator } = await findWanted(options, world);
  const name = options.deleteNetns ? requireName(wanted.target, "--delete-netns") : undefined;
  const { wasThere, left, ...done } = await detach(network, wanted, operator);
  for (const what of left) printWarning(world, `the network namespace is gone: ${what}`);
  if (name !== undefined) await deleteNamed(name, operator.host);
  const outcome = wasThere ? "deleted" : "absent";
  if (options.output === "json") printDone(world, "network del", done, { outcome });
  else
    world.stdout(lineOf(outcome, done, world, wasThere ? "" : "it is not remembered; the plugins were called anyway"));
  return endingAfter(world);
}

/** For check and del: a container that may be gone, on a network whose configuration may be. */
async function findWanted(
  options: Given<"network check" | "network del">,
  world: World,
): Promise<{
  network: Awaited<ReturnType<typeof readNetwork>>;
  wanted: WantedAttachment;
  operator: Operator & NetworkDirectories;
}> {
  const words = wordsOf(options, true);
  const operator = await prepareOperator(options, world);
  const found = findTarget(words, operator);
  const target = found instanceof Failure ? undefined : found;
  const given = options.containerId;
  const idIn = (name: string): string | undefined =>
    given === undefined ? target?.containerId : wholeId(given, operator.cacheDir, name);
  const network = await readNetwork(words, options, operator.configDir, world, (name) => {
    const id = idIn(name);
    return id === undefined ? rememberedAs(words, name, operator) : attachmentsOf(name, id, operator.cacheDir)[0];
  });
  const containerId = idIn(network.name);
  const known = target ?? recallTarget(network.name, words.target ?? "", operator.cacheDir);
  if (known === undefined && containerId === undefined && found instanceof Failure) throw found;
  const { text, netns } = known ?? { text: words.target ?? "", netns: "" };
  const wanted = wantedOf(
    { ...options, containerId: given === undefined ? undefined : containerId },
    { ...known, text, netns, containerId: containerId ?? known?.containerId ?? "" },
  );
  return { network, wanted, operator };
}

function rememberedAs(
  { target }: Words,
  network: string,
  { cacheDir }: NetworkDirectories,
): CachedAttachment | undefined {
  const known = recallTarget(network, target ?? "", cacheDir);
  return remembered(cacheDir, (one) => one.networkName === network && one.containerId === known?.containerId)[0];
}

/** The failure itself where its runtime does not know the container: it may be remembered. */
function findTarget(
  { target = "" }: Words,
  { host, cacheDir }: Operator & NetworkDirectories,
): NetworkTarget | Failure {
  try {
    return resolveTarget(target, host, cacheDir);
  } catch (error) {
    if (error instanceof Failure && error.code === "target-missing") return error;
    throw error;
  }
}

function requireName({ text, name }: NetworkTarget, option: string): string {
  if (name !== undefined) return name;
  throw usage(
    option,
    `requires the name of a network namespace; ${JSON.stringify(text)} is not one`,
    "a name in /run/netns has no / and no :; cnitool takes paths only",
  );
}

function printDone(world: World, command: string, done: AttachmentResult, more: Record<string, unknown> = {}): void {
  printJson(world, { command, result: "done", exitCode: 0, attachment: describe(done), ...more });
}

function lineOf(outcome: string, { network, target, ifName }: AttachmentResult, { view }: World, note = ""): string {
  return formatOutcomes([[outcome, network, target.text, ifName, note]], view);
}

function describe({ network, target, ifName }: AttachmentResult): Record<string, string> {
  return { network, target: target.text, containerId: target.containerId, netns: target.netns, ifName };
}

/** A result of any version, a line each. */
function formatResult(result: AnyResult, { view }: World): string {
  const { interfaces = [], ips = [], routes = [], dns = {} } = upgradeResult(result);
  const rows: [string, string][] = [
    ...interfaces.map(({ name, mac, mtu, sandbox }): [string, string] => {
      const size = mtu === undefined ? [] : `mtu ${mtu}`;
      return [
        "interface",
        [name, mac ?? [], size, sandbox === undefined ? "on the host" : "in the container"].flat().join(" "),
      ];
    }),
    ...ips.map(({ address, gateway }): [string, string] => {
      return ["address", gateway === undefined ? address : `${address} gateway ${gateway}`];
    }),
    ...routes.map((route): [string, string] => ["route", formatRoute(route)]),
    ...(["nameservers", "search", "options"] as const).flatMap((key) => {
      return (dns[key] ?? []).map((text): [string, string] => [key.replace(/s$/u, ""), text]);
    }),
    ...(dns.domain === undefined ? [] : [["domain", dns.domain] as [string, string]]),
  ];
  return formatRows(
    rows.map(([name, text]) => [`  ${name.padEnd(10)}`, text]),
    view,
  );
}

function formatRoute({ dst, gw, table, mtu, advmss, priority, scope }: Route): string {
  const more = Object.entries({ table, priority, mtu, advmss, scope });
  const said = more.flatMap(([key, value]) => (value === undefined ? [] : [`${key} ${value}`]));
  return [gw === undefined ? dst : `${dst} by ${gw}`, ...said].join(" ");
}

/** A signal that came too late to stop it ends the process all the same. */
async function endingAfter({ signal }: World): Promise<Ending> {
  await setImmediate();
  return endingOfDone(signal, 0);
}
