/** Many at once: runs beside runs, and others who read, execute and watch what is being replaced. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { randomTerminations } from "./helpers/crash.ts";
import { SEED_NOTE } from "./helpers/random.ts";
import { COUNTS, FORM } from "./soak/counts.ts";
import { executors, readers, watchers } from "./soak/observers.ts";
import { races } from "./soak/races.ts";

const { terminations, races: rounds, readReinstalls, executeReinstalls, watchedRuns } = COUNTS[FORM];

test("20 runs at once leave what some order of them would: whole versions, right records, plugins with their configs", async (t) => {
  t.diagnostic(SEED_NOTE);
  const { violations, ...figures } = await races(rounds);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
});

test("a reader never sees a configuration that is empty, cut, mixed or missing during re-installations", async (t) => {
  const { violations, ...figures } = await readers(readReinstalls);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
  assert.ok(figures.looks > figures.runs);
});

test("a plugin that is executed all the time always starts during re-installations", async (t) => {
  const { violations, ...figures } = await executors(executeReinstalls);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
  assert.ok(figures.looks > figures.runs);
});

test("SIGTERM at any moment: all has happened or nothing, the run ends by the signal, and nothing is left over", async (t) => {
  t.diagnostic(SEED_NOTE);
  const { violations, ...figures } = await randomTerminations(terminations);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(violations, []);
  assert.ok(figures.killed > 0 && figures.complete > 0);
});

const lacksInotify = spawnSync("inotifywait", ["--help"]).error === undefined ? false : "needs inotifywait";

test(
  "who watches net.d sees one temporary name that is renamed for each changed file, and nothing else",
  { skip: lacksInotify },
  async (t) => {
    const { violations, ...figures } = await watchers(watchedRuns);
    t.diagnostic(JSON.stringify(figures));
    assert.deepEqual(violations, []);
    assert.ok(figures.looks > 0);
  },
);
