/**
 * What is started: loads the program, by the Node.js that it needs. This file is read by any Node.js, so that it has no
 * words which an old one does not know.
 */
import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Put in by the bundler: `engines` of package.json, `24.15.0`. */
declare const CNI_NODE_ENGINE: string;

if (isEnough(process.versions.node)) await import("./main.ts");
else {
  const own = findNode();
  if (own === undefined) {
    const [major, minor] = CNI_NODE_ENGINE.split(".");
    process.stderr.write(
      `cni-node: Node.js ${process.versions.node} is too old: version ${major}.${minor} or newer is needed\n`,
    );
    process.exitCode = 1;
  } else runBy(own);
}

function isEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [neededMajor = 0, neededMinor = 0] = CNI_NODE_ENGINE.split(".").map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor);
}

/** The project's own: beside the program, or where npm puts it. */
function findNode(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  const paths = ["node", "../node_modules/.bin/node", "../../.bin/node"].map((path) => join(here, path));
  return paths.find((path) => existsSync(path) && realpathSync(path) !== realpathSync(process.execPath));
}

/** As if it had been started by that one. */
function runBy(node: string): void {
  const [, program = "", ...words] = process.argv;
  const child = spawn(node, [program, ...words], { stdio: "inherit" });
  const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`cni-node: ${node}: cannot be run: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal ?? "SIGTERM"];
    if (signal === null || process.pid === 1) return;
    for (const handled of signals) process.removeAllListeners(handled);
    process.kill(process.pid, signal);
  });
}
