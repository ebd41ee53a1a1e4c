/** What people see: a program on a terminal of its own, by script(1) of util-linux, and the screens that were approved. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";

import { shellWord } from "../../src/system/text.ts";
import { endOf } from "./node.ts";

/** Why tests on a real terminal are skipped; false: they run. */
export const cannotRunScript =
  spawnSync("script", ["--version"]).status === 0 ? false : "needs script (util-linux, bsdutils)";

/** The directory of the approved screens. */
const SCREENS = new URL("../screens/", import.meta.url);

/** Runs it on a terminal of 80 columns, or of so many, and gives what that got. */
export async function onTerminal(words: readonly string[], columns = 80): Promise<string> {
  const command = `stty cols ${columns}; exec ${words.map(shellWord).join(" ")}`;
  const child = spawn("script", ["--quiet", "--command", command, "/dev/null"], {
    env: { PATH: process.env["PATH"], TERM: "xterm" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return (await endOf(child)).stdout.replaceAll("\r\n", "\n");
}

/** What people read, with colours as `{32:text}`. */
export function shown(screen: string): string {
  // oxlint-disable-next-line no-control-regex -- colours begin with ESC
  return screen.replaceAll(/\u001B\[(\d+)m/gu, (_, code: string) => (code === "0" ? "}" : `{${code}:`));
}

/** The screen is the one in `test/screens`, and fits. `CNI_NODE_APPROVE=1` writes it there. */
export function assertApproved(name: string, columns: number, screen: string): void {
  const file = new URL(`${name}-${columns}.txt`, SCREENS);
  if (process.env["CNI_NODE_APPROVE"] === "1") fs.writeFileSync(file, screen);
  assert.equal(screen, fs.readFileSync(file, "utf8"));
  assertFits(screen, columns);
}

/** No line is wider, but for a word or a command that is alone in its line. */
export function assertFits(screen: string, columns: number): void {
  for (const line of screen.replaceAll(/\{\d+:|\}/gu, "").split("\n")) {
    assert.ok(line.length <= columns || /^ *(?:[^ ]*|\(?(?:cni-node|docker run) [^;]*)$/u.test(line), line);
  }
}
