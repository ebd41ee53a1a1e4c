/** The process: arguments, signals, exit. Nothing is imported before the signals are handled. */
import { constants } from "node:os";

import type { World } from "./world.ts";

const controller = new AbortController();
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
for (const name of SIGNALS) process.on(name, () => controller.abort(name));

// A reader that goes away (cni-node list | head -1) is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

const world: World = {
  env: process.env,
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  signal: controller.signal,
};

const { run } = await import("./cli.ts");
const { exitCode, signal } = await run(process.argv.slice(2), world);
if (signal !== undefined) endBy(signal);
else process.exitCode = exitCode;

/** Whoever started the process sees the truth; process 1 cannot end itself by a signal. */
function endBy(name: NodeJS.Signals): void {
  process.exitCode = 128 + constants.signals[name];
  if (process.pid === 1) return;
  for (const handled of SIGNALS) process.removeAllListeners(handled);
  process.kill(process.pid, name);
}
