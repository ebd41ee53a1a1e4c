/** A program on a terminal of its own, by script(1) of util-linux. */
import { spawn, spawnSync } from "node:child_process";

import { shellWord } from "../../src/system/text.ts";
import { endOf } from "./node.ts";

/** Why tests on a real terminal are skipped; false: they run. */
export const cannotRunScript =
  spawnSync("script", ["--version"]).status === 0 ? false : "needs script (util-linux, bsdutils)";

/** Runs it, and gives what the terminal got. */
export async function onTerminal(words: readonly string[]): Promise<string> {
  const command = words.map(shellWord).join(" ");
  const child = spawn("script", ["--quiet", "--command", command, "/dev/null"], {
    env: { PATH: process.env["PATH"], TERM: "xterm" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return (await endOf(child)).stdout;
}
