/** The command line of libcni's cnitool, as one of `cni-node network`. */
import { resolve } from "node:path";

import { OPTIONS } from "./options.ts";

/** The verbs that take the path of a network namespace. */
const ON_NAMESPACE = new Set(["add", "check", "del"]);

/**
 * `cnitool add|check|del|gc|status NET NETNS [-i IFNAME]`. What cnitool does not have, options and verbs, is as in
 * `cni-node network`.
 */
export function networkArguments(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): string[] {
  const { operands, options, ifName = env["CNI_IFNAME"] || "eth0" } = split(argv);
  const [verb = "", network = [], netns = [], ...more] = operands;
  if (ON_NAMESPACE.has(verb)) {
    // A name is that of a file here.
    const target = typeof netns === "string" && !/^[a-z]+:/u.test(netns) ? resolve(netns) : netns;
    return ["network", verb, ...[network, target, more].flat(), `--ifname=${ifName}`, ...options];
  }
  // Its garbage collection takes no attachment for valid.
  if (verb === "gc") return ["network", "gc", ...[network, more].flat(), "--valid=", ...options];
  if (verb === "status") return ["network", "status", ...[network, more].flat(), ...options];
  return ["network", ...argv];
}

function split(argv: readonly string[]): { operands: string[]; options: string[]; ifName?: string } {
  const words = [...argv];
  const operands: string[] = [];
  const options: string[] = [];
  let ifName: string | undefined;
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const [, given] = /^(?:-i=?|--ifname=)(.*)$/su.exec(word) ?? [];
    if (word === "-i" || word === "--ifname") ifName = words.shift() ?? "";
    else if (given !== undefined) ifName = given;
    else if (word.startsWith("-") && word !== "-") options.push(word, ...(takesValue(word) ? words.splice(0, 1) : []));
    else operands.push(word);
  }
  return { operands, options, ...(ifName === undefined ? {} : { ifName }) };
}

/** Is the value of that option the next word? */
function takesValue(word: string): boolean {
  const { [word.replace(/^--/u, "")]: option } = OPTIONS as Partial<Record<string, { type: unknown }>>;
  return option !== undefined && option.type !== "flag";
}
