/** Runs the commands of docs/by-hand.md, one block after the other, and compares what they print. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { cannotMount, Namespace } from "../helpers/namespace.ts";
import { REFERENCE_PLUGINS } from "../helpers/network.ts";
import { BUNDLE } from "../helpers/node.ts";

/** A block of commands, and what the block behind it says that they print. */
interface Step {
  commands: string;
  /** On stderr: the last command fails, or is traced. */
  isError: boolean;
  output: string | undefined;
}

function stepsOf(document: string): Step[] {
  const blocks = Array.from(document.matchAll(/^```(\w+)\n([^]*?)^```$/gmu), ([, kind, text = ""]) => ({ kind, text }));
  return blocks.flatMap(({ kind, text }, index) => {
    const next = blocks[index + 1];
    if (kind !== "sh") return [];
    return { commands: text, isError: next?.kind === "error", output: next?.kind === "sh" ? undefined : next?.text };
  });
}

/** `…` stands for anything in a line. */
function patternOf(text: string): RegExp {
  const escaped = text.split("…").map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/gu, String.raw`\$&`));
  return new RegExp(`^${escaped.join(".*")}$`, "u");
}

/** A machine of its own: what is written to /etc, /opt, /run and /var/lib goes with it. */
const MACHINE = [
  // Namespaces of this machine that are hidden below the new /run would be counted by network map.
  "umount -R /run/netns 2>/dev/null || true",
  "mount -t tmpfs none /run",
  "mkdir /run/netns /run/bin /run/upper /run/work",
  "mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc",
  "mount -t tmpfs none /var/lib",
  "mount -t tmpfs none /opt",
  "mkdir -p /opt/cni/bin /etc/cni /var/lib/cni",
  "mount -t tmpfs none /etc/cni",
  `printf '#!/bin/sh\\nexec ${process.execPath} ${BUNDLE} "$@"\\n' > /run/bin/cni-node`,
  "chmod +x /run/bin/cni-node",
  "ip link set lo up",
].join("\n");

test("the commands of docs/by-hand.md do what it says", { skip: cannotMount }, async () => {
  const steps = stepsOf(fs.readFileSync(new URL("../../docs/by-hand.md", import.meta.url), "utf8"));
  assert.ok(steps.length >= 15);
  const work = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
  await using machine = await Namespace.make(MACHINE, { pid: true, net: true });
  const env = {
    PATH: `/run/bin:${process.env["PATH"] ?? ""}`,
    CNI_NODE_PLUGIN_SOURCE: REFERENCE_PLUGINS,
    CNI_NODE_HOST_ROOT: "/",
  };
  const run = (script: string): { status: number | null; stdout: string; stderr: string } => {
    const words = [...machine.entrance, "sh", "-c", `cd ${work}\n${script}`];
    return spawnSync("nsenter", words, { env, encoding: "utf8" });
  };
  try {
    for (const { commands, isError, output } of steps) {
      const { status, stdout, stderr } = run(isError ? commands : `set -e\n${commands}`);
      const said = `${commands}\n${stdout}${stderr}`;
      if (!isError) assert.equal(status, 0, said);
      if (output !== undefined) assertPrinted(isError ? stderr : stdout, output, said);
    }
  } finally {
    run("for name in c1 c2; do runc delete --force $name; done");
    fs.rmSync(work, { recursive: true });
  }
});

function assertPrinted(actual: string, expected: string, said: string): void {
  const [lines, patterns] = [actual, expected].map((text) => text.trimEnd().split("\n"));
  assert.equal(lines?.length, patterns?.length, said);
  for (const [index, pattern] of (patterns ?? []).entries()) {
    assert.match(lines?.[index]?.trimEnd() ?? "", patternOf(pattern.trimEnd()), said);
  }
}
