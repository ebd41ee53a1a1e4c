/**
 * The long forms of the reliability tests (`make soak`): what was tried, and what was seen.
 * Arguments name the trials to run; without any, all run.
 */
import { randomKills, randomTerminations, type SignalFigures } from "../helpers/crash.ts";
import { SEED_NOTE } from "../helpers/random.ts";
import { COUNTS } from "./counts.ts";
import { fuzzAnswers, fuzzFiles, fuzzStates } from "./fuzz.ts";
import { keeping, type Kept } from "./keeping.ts";
import { executors, readers, watchers } from "./observers.ts";
import { races } from "./races.ts";

const {
  kills,
  terminations,
  races: rounds,
  readReinstalls,
  executeReinstalls,
  watchedRuns,
  keptChanges,
  fuzzedFiles,
  fuzzedAnswers,
  fuzzedStates,
} = COUNTS.long;

/** A trial: its name, what it does, and its figures in words. */
const TRIALS: Record<string, () => Promise<{ words: string; violations: string[] }>> = {
  kills: async () => describeSignals(await randomKills(kills)),
  terminations: async () => describeSignals(await randomTerminations(terminations)),
  races: async () => {
    const { runs, refused, violations } = await races(rounds);
    return {
      words: `${shown(runs)} runs, 20 at once, ${shown(refused)} refused for another owner's content`,
      violations,
    };
  },
  readers: async () => describeObservers("reads", await readers(readReinstalls)),
  executors: async () => describeObservers("executions", await executors(executeReinstalls)),
  "made-up files": async () => fuzzed(fuzzedFiles, fuzzFiles),
  "made-up state files": async () => fuzzed(fuzzedStates, fuzzStates),
  "made-up API answers": async () => fuzzed(fuzzedAnswers, fuzzAnswers),
  "a node that is kept": async () => describeKept(await keeping(keptChanges, false, showProgress)),
  "a node that is kept, with restarts": async () => describeKept(await keeping(keptChanges / 10, true)),
  watchers: async () => describeObservers("events", await watchers(watchedRuns)),
};

console.log(SEED_NOTE);
let broken = 0;
for (const [name, trial] of chosen(process.argv.slice(2))) {
  const { words, violations } = await trial();
  console.log(`${name}: ${words}, ${shown(violations.length)} broken`);
  for (const violation of violations.slice(0, 20)) console.log(`  ${violation}`);
  broken += violations.length;
}
process.exitCode = broken === 0 ? 0 : 1;

function chosen(names: readonly string[]): [string, (typeof TRIALS)[string]][] {
  const unknown = names.find((name) => !Object.hasOwn(TRIALS, name));
  if (unknown !== undefined) throw new Error(`no trial ${unknown}; there are: ${Object.keys(TRIALS).join(", ")}`);
  return Object.entries(TRIALS).filter(([name]) => names.length === 0 || names.includes(name));
}

/** This trial takes hours. */
function showProgress(done: number, { violations }: Kept, kib: number): void {
  if (done % 500 !== 0) return;
  console.error(`  ${shown(done)} changes, ${Math.round(kib / 1024)} MiB, ${shown(violations.length)} broken`);
}

function describeKept({ changes, restarts, outages, leftBehind, memory, violations }: Kept): {
  words: string;
  violations: string[];
} {
  const grown = memory === undefined ? "" : `, ${memory.map((kib) => Math.round(kib / 1024)).join(" then ")} MiB`;
  const words = `${shown(changes)} changes, ${shown(restarts)} restarts, the API away ${shown(outages)} times, ${shown(leftBehind)} plugins left behind by a wipe${grown}`;
  return { words, violations };
}

async function fuzzed(
  runs: number,
  fuzz: (runs: number) => Promise<void> | void,
): Promise<{ words: string; violations: string[] }> {
  try {
    await fuzz(runs);
    return { words: `${shown(runs)} trials`, violations: [] };
  } catch (error) {
    return { words: `${shown(runs)} trials at most`, violations: [(error as Error).message] };
  }
}

function describeSignals(figures: SignalFigures): { words: string; violations: string[] } {
  const { trials, killed, untouched, halfway, complete, finished, violations } = figures;
  const found = `${shown(untouched)} before, ${shown(halfway)} amid, ${shown(complete)} after the changes`;
  const words = `${shown(trials)} trials, ${shown(killed)} ended by the signal, ${found}`;
  return { words: finished === 0 ? words : `${words}, ${shown(finished)} finished by the next run`, violations };
}

function describeObservers(
  what: string,
  { runs, looks, violations }: { runs: number; looks: number; violations: string[] },
): { words: string; violations: string[] } {
  return { words: `${shown(looks)} ${what} during ${shown(runs)} runs`, violations };
}

function shown(count: number): string {
  return count.toLocaleString("en");
}
