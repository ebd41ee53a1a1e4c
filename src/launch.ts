/**
 * What is started: loads the program, by the Node.js that it needs. This file is read by any Node.js, so that it has no
 * words which an old one does not know; and it imports nothing before it must, for signals are not handled yet.
 */
/** Put in by the bundler: `engines` of package.json, `24.15.0`. */
declare const CNI_NODE_ENGINE: string;

if (isEnough(process.versions.node)) void import("./main.ts");
else void useOther();

/** Runs the program by a Node.js that is new enough, if there is one. */
async function useOther(): Promise<void> {
  const own = await findNode();
  if (own === undefined) {
    const [major, minor] = CNI_NODE_ENGINE.split(".");
    process.stderr.write(
      `cni-node: Node.js ${process.versions.node} is too old: version ${major}.${minor} or newer is needed\n`,
    );
    process.exitCode = 1;
  } else await runBy(own);
}

function isEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [neededMajor = 0, neededMinor = 0] = CNI_NODE_ENGINE.split(".").map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor);
}

/** The project's own: beside the program, or where npm puts it. */
async function findNode(): Promise<string | undefined> {
  const [{ existsSync, realpathSync }, { posix }] = await Promise.all([import("node:fs"), import("node:path")]);
  const here = posix.dirname(realpathSync(process.argv[1] ?? ""));
  const paths = ["node", "../node_modules/.bin/node", "../../.bin/node"].map((path) => posix.join(here, path));
  return paths.find((path) => existsSync(path) && realpathSync(path) !== realpathSync(process.execPath));
}

/** As if it had been started by that one. */
async function runBy(node: string): Promise<void> {
  const [{ spawn }, { constants }] = await Promise.all([import("node:child_process"), import("node:os")]);
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
