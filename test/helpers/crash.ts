/** Signals to the bundle at random moments, and what must hold after each. */
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { readRecord } from "../../src/host/record.ts";
import { statePaths } from "../../src/host/target.ts";
import { conflist, endOf, TestNode, type Ran } from "./node.ts";
import { Random, SEED } from "./random.ts";
import { problemsOf } from "./state.ts";

/** What came of a number of signals. */
export interface SignalFigures {
  trials: number;
  /** Runs that the signal found alive, and ended. */
  killed: number;
  /** What it found on the node: no change yet, some files changed, all of them. */
  untouched: number;
  halfway: number;
  complete: number;
  /** Runs that had written their journal, and were completed, not undone, by the one after them. */
  finished: number;
  /** Promises that were broken, a sentence each. */
  violations: string[];
}

/** What the node is to be brought to. */
type Goal = "nothing" | "a" | "b";

/** Mode and content by path below the host root; what is not there is absent. */
type Files = Map<string, string>;

const PLUGINS = ["p1", "p2", "p3", "p4", "p5", "p6"];
const CONFIGS = ["10-one.conflist", "20-two.conflist", "30-three.conf"];
const LISTS = [`--plugins=${PLUGINS.join()}`, `--configs=${CONFIGS.join()}`];
const GOALS: readonly Goal[] = ["nothing", "a", "b"];
const PLUGIN_SIZE = 200_000;
const DISK = "/var/tmp";
/** A node is used for so many trials: each begins where the one before it ended. */
const TRIALS_PER_NODE = 25;

/**
 * Kills installations, re-installations and removals at random moments. After each kill every live file must be the
 * old or the new one, whole; then either the same run again must bring the node to its goal, or a run that wants
 * something else must leave all files old or all files new; and nothing may be left over.
 *
 * @param lanes how many nodes at the same time.
 */
export async function randomKills(trials: number, lanes = 2): Promise<SignalFigures> {
  return inLanes(trials, lanes, async (node) => node.kill());
}

/**
 * Sends SIGTERM at random moments. The run must end by it, having done all or nothing, with a report that says so, and
 * nothing may be left over, without a next run.
 */
export async function randomTerminations(trials: number, lanes = 2): Promise<SignalFigures> {
  return inLanes(trials, lanes, async (node) => node.terminate());
}

async function inLanes(
  trials: number,
  lanes: number,
  trial: (node: SignalledNode) => Promise<void>,
): Promise<SignalFigures> {
  let nodes = 0;
  const nextNode = (pace: number): SignalledNode => new SignalledNode(figures, pace, new Random(SEED + nodes++));
  const none = { killed: 0, untouched: 0, halfway: 0, complete: 0, finished: 0 };
  const figures: SignalFigures = { trials: 0, ...none, violations: [] };
  using undisturbed = nextNode(0);
  const pace = await undisturbed.measurePace();
  const lane = async (): Promise<void> => {
    while (figures.trials < trials) {
      using node = nextNode(pace);
      for (let count = 0; count < TRIALS_PER_NODE && figures.trials < trials; count++) {
        figures.trials++;
        await trial(node);
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return figures;
}

/** A run that a signal came upon. */
interface Signalled extends Ran {
  goal: Goal;
  from: Files;
  to: Files;
  /** For messages. */
  way: string;
}

class SignalledNode implements Disposable {
  // In memory all is done before a signal can come between.
  readonly #node = new TestNode(undefined, DISK);
  readonly #figures: SignalFigures;
  readonly #pace: number;
  readonly #random: Random;
  /** Some nodes had files of these names before; they must come back. */
  readonly #foreign: Files;
  #state: Goal = "nothing";
  #otherIsThere = false;

  /** @param pace how long a run takes on this machine, milliseconds. */
  constructor(figures: SignalFigures, pace: number, random: Random) {
    this.#pace = pace;
    this.#figures = figures;
    this.#random = random;
    this.#foreign = random.once(2) ? new Map() : this.#writeForeign();
    this.#node.plugin("other", "1");
    this.#node.template("99-other.conflist", conflist("other", "other"));
  }

  async measurePace(): Promise<number> {
    this.#writeImage("a");
    const started = performance.now();
    await this.#node.bundle(["install", ...LISTS, "--validate=off"]);
    return performance.now() - started;
  }

  async kill(): Promise<void> {
    const run = await this.#signal("SIGKILL");
    this.#judge(run);
    for (let again = 0; again < 2 && this.#random.once(5); again++) await this.#killNext(run);
    if (this.#random.once(2)) await this.#repeat(run);
    else await this.#runOther(run);
  }

  async terminate(): Promise<void> {
    const run = await this.#signal("SIGTERM");
    const { signal, exitCode, from, to, goal, way, stdout, stderr } = run;
    this.#judge(run);
    this.#judgeRest(way);
    const live = this.#live();
    const isDone = isEqual(live, to);
    if (!isDone && !isEqual(live, from)) this.#violated(way, "it was left half done");
    if (signal === undefined && (exitCode !== 0 || !isDone))
      this.#violated(way, `it ended with ${exitCode}: ${stderr}`);
    if (signal !== undefined && signal !== "SIGTERM") this.#violated(way, `it was ended by ${signal}`);
    if (isDone !== (stdout !== "")) this.#violated(way, `the report is not what happened: ${stdout}${stderr}`);
    if (
      !/^(?:cni-node: (?:ended by SIGTERM before anything was changed|warning: .* no CNI configuration is left: .*)\n)?$/u.test(
        stderr,
      )
    ) {
      this.#violated(way, `it said ${stderr}`);
    }
    if (isDone) this.#state = goal;
  }

  /** Starts a run towards another goal and sends it a signal. */
  async #signal(signal: NodeJS.Signals): Promise<Signalled> {
    const goal = this.#random.pick(GOALS.filter((candidate) => candidate !== this.#state));
    const [from, to] = [this.#expected(this.#state), this.#expected(goal)];
    if (goal !== "nothing") this.#writeImage(goal);
    const ran = await this.#signalled(goal, signal);
    return { ...ran, goal, from, to, way: `${this.#state} → ${goal}` };
  }

  async #signalled(goal: Goal, signal: NodeJS.Signals): Promise<Ran> {
    // Most of a run is its proof: half of them go without, so that enough are met while they change files.
    const proof = this.#random.once(2) ? [] : ["--validate=off"];
    const child = this.#node.start([goal === "nothing" ? "uninstall" : "install", ...LISTS, ...proof]);
    const ended = endOf(child);
    await this.#randomMoment(child);
    child.kill(signal);
    return ended;
  }

  /** Kills the run that would finish or undo a killed one. */
  async #killNext(run: Signalled): Promise<void> {
    await this.#signalled(run.goal, "SIGKILL");
    this.#judgeFiles(run);
  }

  [Symbol.dispose](): void {
    this.#node[Symbol.dispose]();
  }

  /** Any moment of the process, or one not long after it has made its first change, or its first to a live file. */
  async #randomMoment(child: ChildProcess): Promise<void> {
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const [kind, fraction] = [this.#random.fraction(), this.#random.fraction()];
    if (kind < 0.3) {
      await Promise.race([exited, sleep(fraction * 1.5 * this.#pace)]);
      return;
    }
    const isEarly = kind < 0.6;
    await Promise.race([exited, isEarly ? this.#firstChange() : this.#firstLiveChange(exited)]);
    const moment = performance.now() + fraction * (isEarly ? 0.2 : 0.02) * this.#pace;
    await Promise.race([exited, sleep(Math.max(0, moment - performance.now() - 2))]);
    // Timers are too coarse for a run that acts within a millisecond.
    while (performance.now() < moment) await new Promise((resolve) => void setImmediate(resolve));
  }

  async #firstChange(): Promise<void> {
    const { state, objects } = statePaths(this.#node.bin);
    const watched = [objects, state, this.#node.bin].find((path) => fs.existsSync(path)) ?? this.#node.bin;
    const changed = Promise.withResolvers<void>();
    const watcher = fs.watch(watched, () => changed.resolve());
    await Promise.race([changed.promise, sleep(1000)]);
    watcher.close();
  }

  async #firstLiveChange(exited: Promise<void>): Promise<void> {
    const changed = Promise.withResolvers<void>();
    const watchers = [this.#node.bin, this.#node.netd].map((directory) =>
      fs.watch(directory, (_, name) => {
        if (name?.startsWith(".cni-node") !== true) changed.resolve();
      }),
    );
    await Promise.race([changed.promise, exited]);
    for (const watcher of watchers) watcher.close();
  }

  /** Every live file is old or new; counts what the signal found. */
  #judge(run: Signalled): void {
    const { from, to, signal } = run;
    if (signal !== undefined) this.#figures.killed++;
    this.#judgeFiles(run);
    const live = this.#live();
    const moved = [...new Set([...from.keys(), ...to.keys()])].filter((name) => from.get(name) !== to.get(name));
    const changed = moved.filter((name) => live.get(name) === to.get(name)).length;
    if (changed === 0) this.#figures.untouched++;
    else if (changed < moved.length) this.#figures.halfway++;
    else this.#figures.complete++;
  }

  #judgeFiles({ from, to, way }: Signalled): void {
    const live = this.#live();
    for (const name of new Set([...from.keys(), ...to.keys(), ...live.keys()])) {
      const text = live.get(name);
      if (text !== from.get(name) && text !== to.get(name)) this.#violated(way, `${name} is neither old nor new`);
    }
  }

  /** The same run again brings the node to its goal. */
  async #repeat({ goal, to, way }: Signalled): Promise<void> {
    await this.#succeeds([goal === "nothing" ? "uninstall" : "install", ...LISTS], way);
    if (!isEqual(this.#live(), to)) this.#violated(way, "the same run again did not make it right");
    this.#state = goal;
    this.#judgeRest(way);
  }

  /** A run that wants something else leaves the killed one done or not done, and nothing between. */
  async #runOther({ goal, from, to, way }: Signalled): Promise<void> {
    const verb = this.#otherIsThere ? "uninstall" : "install";
    const untouched = isEqual(this.#live(), from);
    const isCommitted = readRecord(this.#node.netd)?.pending !== undefined;
    await this.#succeeds([verb, "--plugins=other", "--configs=99-other.conflist"], way);
    this.#otherIsThere = !this.#otherIsThere;
    const live = this.#live();
    if (isEqual(live, to)) this.#state = goal;
    else if (!isEqual(live, from)) this.#violated(way, "another run left it half done");
    else if (!untouched || isCommitted) this.#violated(way, "another run undid what had been committed");
    if (isCommitted) this.#figures.finished++;
    this.#judgeRest(way);
  }

  async #succeeds(argv: readonly string[], way: string): Promise<void> {
    const { exitCode, stderr } = await this.#node.bundle(argv);
    if (exitCode !== 0) this.#violated(way, `the next run failed with ${exitCode}: ${stderr}`);
  }

  #judgeRest(way: string): void {
    for (const directory of [this.#node.bin, this.#node.netd]) {
      for (const problem of problemsOf(directory)) this.#violated(way, `${directory}: ${problem}`);
    }
  }

  #violated(way: string, sentence: string): void {
    this.#figures.violations.push(`trial ${this.#figures.trials}, ${way}: ${sentence}`);
  }

  #writeImage(version: string): void {
    for (const name of PLUGINS) this.#node.plugin(name, version, PLUGIN_SIZE);
    for (const name of CONFIGS) this.#node.template(name, configText(name, version));
  }

  #writeForeign(): Files {
    const answer = '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}';
    fs.writeFileSync(join(this.#node.bin, "p1"), `#!/bin/sh\necho '${answer}'\n: foreign\n`, { mode: 0o700 });
    fs.writeFileSync(join(this.#node.netd, "10-one.conflist"), conflist("foreign", "foreign"), { mode: 0o640 });
    return this.#live();
  }

  /** What the node looks like in this state. */
  #expected(state: Goal): Files {
    if (state === "nothing") return this.#foreign;
    // The image is all that writes plugins, so that it is asked what they are.
    this.#writeImage(state);
    const plugins = PLUGINS.map((name) => {
      const text = fs.readFileSync(join(this.#node.plugins, name), "latin1");
      return [`opt/cni/bin/${name}`, `755 ${text}`] as const;
    });
    const configs = CONFIGS.map((name) => {
      const path = `etc/cni/net.d/${name}`;
      const mode = this.#foreign.get(path)?.split(" ", 1)[0] ?? "600";
      return [path, `${mode} ${configText(name, state)}`] as const;
    });
    return new Map([...plugins, ...configs]);
  }

  #live(): Files {
    const others = new Set(["other", "99-other.conflist", ".cni-node", ".cni-node.tmp"]);
    return new Map(
      [this.#node.bin, this.#node.netd].flatMap((directory) => {
        const names = fs.readdirSync(directory).filter((name) => !others.has(name));
        return names.map((name) => {
          const path = join(directory, name);
          const mode = (fs.lstatSync(path).mode & 0o7777).toString(8);
          return [path.slice(this.#node.host.length + 1), `${mode} ${fs.readFileSync(path, "latin1")}`] as const;
        });
      }),
    );
  }
}

function configText(name: string, version: string): string {
  const description = version.repeat(5000);
  return name.endsWith(".conf")
    ? `${JSON.stringify({ cniVersion: "1.0.0", name: "single", type: "p1", description })}\n`
    : `${JSON.stringify({ cniVersion: "1.0.0", name: basename(name, ".conflist"), plugins: [{ type: "p1", description }, { type: "p2" }] })}\n`;
}

function isEqual(a: Files, b: Files): boolean {
  return a.size === b.size && [...a].every(([name, text]) => b.get(name) === text);
}
