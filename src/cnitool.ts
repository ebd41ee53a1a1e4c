/** The command line of libcni's cnitool, as one of `cni-node network`. */
import { resolve } from "node:path";

import { readLine, runLine, type Line } from "./cli.ts";
import type { Ending, World } from "./world.ts";

/** The verbs that take the path of a network namespace. */
const ON_NAMESPACE = new Set(["add", "check", "del"]);

/**
 * `cnitool add|check|del|gc|status NET NETNS [-i IFNAME]`. What cnitool does not have, options and verbs, is as in
 * `cni-node network`.
 */
export async function run(argv: readonly string[], world: World): Promise<Ending> {
  const line = readLine(argv.map((word) => (word === "-i" ? "--ifname" : word.replace(/^-i=?/u, "--ifname="))));
  const [verb = "", network, netns, ...more] = line.words;
  if (ON_NAMESPACE.has(verb)) {
    // Whatever it looks like, it is a path here.
    const target = netns === undefined ? undefined : resolve(netns);
    const words = ["network", verb, network, target, ...more].filter((word) => word !== undefined);
    const ifName = optionOf("ifname", world.env["CNI_IFNAME"] || "eth0");
    return runLine({ ...line, words, options: [ifName, ...line.options] }, world);
  }
  const words = ["network", ...line.words];
  // The namespace does not matter to these. Its garbage collection takes no attachment for valid.
  if (verb === "status" || verb === "gc") words.splice(3, 1);
  const options = verb === "gc" ? [optionOf("valid", ""), ...line.options] : line.options;
  return runLine({ ...line, words, options }, world);
}

function optionOf(name: string, text: string): Line["options"][number] {
  return { name, word: `--${name}`, text };
}
