/** What others see of the node while cni-node re-installs: readers, executors, watchers. */
import { execFile, spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";

import { TestNode } from "../helpers/node.ts";

/** What observers saw. */
export interface Observations {
  runs: number;
  /** How often they looked. */
  looks: number;
  violations: string[];
}

const VERSIONS = ["1", "2"] as const;
const CONFIGS = ["10-one.conflist", "20-two.conf"] as const;

/** Runs the bundle so many times with the contents of the two versions in turn, while an observer is at work. */
async function reinstall(
  node: TestNode,
  times: number,
  { lists, prepare }: { lists: readonly string[]; prepare: (version: string) => void },
  observe: (isOver: () => boolean, figures: Observations) => Promise<void>,
): Promise<Observations> {
  const figures: Observations = { runs: 0, looks: 0, violations: [] };
  const run = async (): Promise<void> => {
    prepare(VERSIONS[figures.runs % 2] ?? "");
    const { exitCode, stderr } = await node.bundle(["install", ...lists]);
    if (exitCode !== 0 || stderr !== "") figures.violations.push(`a run ended with ${exitCode}: ${stderr}`);
    figures.runs++;
  };
  await run();
  let over = false;
  const observer = observe(() => over, figures);
  while (figures.runs <= times) await run();
  over = true;
  await observer;
  return figures;
}

/** Observers look very often: the first hundred sentences are enough. */
function violated({ violations }: Observations, sentence: string): void {
  if (violations.length < 100) violations.push(sentence);
}

/** Reads every configuration, at every event in net.d and all the time: each is one version or the other, whole. */
export async function readers(times: number): Promise<Observations> {
  using node = new TestNode();
  const known = new Set(CONFIGS.flatMap((name) => VERSIONS.map((version) => configText(name, version))));
  const lists = [`--configs=${CONFIGS.join()}`];
  const prepare = (version: string): void => writeTemplates(node, version);
  return await reinstall(node, times, { lists, prepare }, async (isOver, figures) => {
    const read = (): void => {
      for (const name of CONFIGS) {
        figures.looks++;
        const text = textOf(join(node.netd, name));
        if (!known.has(text)) violated(figures, `${name} was read as ${JSON.stringify(text.slice(0, 200))}`);
      }
    };
    const watcher = fs.watch(node.netd, read);
    while (!isOver()) {
      read();
      await nextTurn();
    }
    watcher.close();
  });
}

function writeTemplates(node: TestNode, version: string): void {
  for (const name of CONFIGS) node.template(name, configText(name, version));
}

function configText(name: string, version: string): string {
  const plugin = { type: "bridge", description: version.repeat(60_000) };
  const network = { cniVersion: "1.0.0", name: name.replace(/\W/gu, "-") };
  const config = name.endsWith(".conf") ? { ...network, ...plugin } : { ...network, plugins: [plugin] };
  return `${JSON.stringify(config)}\n`;
}

function textOf(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    return String(error);
  }
}

/** Executes a script and a binary all the time: each of them starts and answers. */
export async function executors(times: number): Promise<Observations> {
  using node = new TestNode();
  const machineCode = fs.readFileSync("/bin/true");
  const prepare = (version: string): void => {
    node.plugin("script", version, 300_000);
    // What follows the program in its file is not looked at.
    fs.writeFileSync(join(node.plugins, "binary"), Buffer.concat([machineCode, Buffer.alloc(3_000_000, version)]));
  };
  const execute = promisify(execFile);
  // Programs that do something else than plugins are run, too.
  const lists = ["--plugins=script,binary", "--validate=off"];
  return await reinstall(node, times, { lists, prepare }, async (isOver, figures) => {
    const loop = async (name: string, says: RegExp): Promise<void> => {
      while (!isOver()) {
        figures.looks++;
        const running = execute(join(node.bin, name), { timeout: 60_000 });
        running.child.stdin?.on("error", () => undefined).end();
        const { stdout } = await running.catch((error: unknown) => ({ stdout: String(error) }));
        if (!says.test(stdout)) violated(figures, `${name} answered ${JSON.stringify(stdout)}`);
      }
    };
    await Promise.all([loop("script", /^\{.*"version":"[12]"\}\n$/u), loop("binary", /^$/u)]);
  });
}

/**
 * Watches net.d during installations, replacements, repeated installations, restorations and removals: every change of
 * a file is one temporary name that is made and renamed, or a removal, and nothing else is seen.
 */
export async function watchers(runs: number): Promise<Observations> {
  using node = new TestNode();
  const figures: Observations = { runs: 0, looks: 0, violations: [] };
  fs.writeFileSync(
    join(node.netd, CONFIGS[0]),
    JSON.stringify({ cniVersion: "1.0.0", name: "was", plugins: [{ type: "x" }] }),
  );
  const [first, second] = CONFIGS;
  const both = [...replaced(first), ...replaced(second)];
  const story = [
    { verb: "install", version: "1", sees: both },
    { verb: "install", version: "2", sees: both },
    { verb: "install", version: "2", sees: [] },
    { verb: "uninstall", version: "2", sees: [`DELETE ${second}`, ...replaced(first)] },
  ] as const;
  await using inotify = await Inotify.start(node.netd);
  const seen = new Set<string>();
  const watcher = fs.watch(node.netd, (event, name) => void seen.add(`${event} ${name}`));
  for (; figures.runs < runs; figures.runs++) {
    const { verb, version, sees } = story[figures.runs % story.length] ?? story[0];
    writeTemplates(node, version);
    const { exitCode, stderr } = await node.bundle([verb, `--configs=${CONFIGS.join()}`]);
    if (exitCode !== 0) figures.violations.push(`${verb} ended with ${exitCode}: ${stderr}`);
    const events = await inotify.eventsSoFar();
    figures.looks += events.length;
    if (events.join() !== sees.join())
      figures.violations.push(`${verb} of ${version} was seen as ${events.join(", ")}`);
  }
  watcher.close();
  const expected = new Set([".cni-node", ".cni-node.tmp", ...CONFIGS].map((name) => `rename ${name}`));
  const others = [...seen.difference(expected)].filter((event) => !event.startsWith("rename mark-"));
  figures.violations.push(...others.map((event) => `fs.watch saw ${event}`));
  return figures;
}

function replaced(name: string): string[] {
  return ["CREATE .cni-node.tmp", "MOVED_FROM .cni-node.tmp", `MOVED_TO ${name}`];
}

/** `inotifywait` on a directory. */
class Inotify implements AsyncDisposable {
  readonly #directory: string;
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  #text = "";
  #marks = 0;

  private constructor(directory: string, process: ChildProcessByStdio<null, Readable, Readable>) {
    this.#directory = directory;
    this.#process = process;
    process.stdout.setEncoding("utf8").on("data", (text: string) => (this.#text += text));
  }

  static async start(directory: string): Promise<Inotify> {
    const events = ["create", "modify", "attrib", "move", "delete", "close_write"].flatMap((event) => ["-e", event]);
    const words = ["--monitor", ...events, "--format", "%e %f", directory];
    const process = spawn("inotifywait", words, { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    while (!said.includes("Watches established")) said += String((await once(process.stderr, "data"))[0]);
    return new Inotify(directory, process);
  }

  /** The events since the last call, without those of the state directory. A mark of our own tells when all are here. */
  async eventsSoFar(): Promise<string[]> {
    const mark = `mark-${++this.#marks}`;
    fs.mkdirSync(join(this.#directory, mark));
    fs.rmdirSync(join(this.#directory, mark));
    while (!this.#text.includes(`DELETE,ISDIR ${mark}\n`)) await once(this.#process.stdout, "data");
    const lines = this.#text.split("\n").filter((line) => line !== "" && !/ (?:\.cni-node|mark-\d+)$/u.test(line));
    this.#text = "";
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.kill();
    await ended;
  }
}
