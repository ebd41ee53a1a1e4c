import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import * as fc from "fast-check";

import { DirectoryWatch } from "../../src/system/watch.ts";
import { SUPERSEDED } from "../../src/errors.ts";
import { Driver, TIMING, type Cause, type Clock, type RunOutcome } from "../../src/watch/driver.ts";
import { until } from "../helpers/node.ts";

const DONE: RunOutcome = { result: "done", changed: [], repaired: [] };

/** Time that passes when a test wants it to. */
class FakeClock implements Clock {
  time = 1000;
  chance = 0.5;
  readonly #timers = new Set<{ at: number; call: () => void }>();

  now(): number {
    return this.time;
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = { at: this.time + milliseconds, call };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  random(): number {
    return this.chance;
  }

  get pending(): number {
    return this.#timers.size;
  }

  async advance(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.call();
      await new Promise(setImmediate);
    }
    this.time = end;
    await new Promise(setImmediate);
  }
}

/** A run of the driver, which a test ends. */
interface Begun {
  at: number;
  causes: readonly string[];
  signal: AbortSignal;
  end(outcome: RunOutcome): Promise<void>;
}

/** A driver whose runs are ended by the test, or at once with `outcome`. */
class Scene {
  readonly clock = new FakeClock();
  readonly runs: Begun[] = [];
  readonly driver: Driver;
  atOnce: (() => RunOutcome) | undefined;

  constructor(outcome?: RunOutcome) {
    if (outcome !== undefined) this.atOnce = () => outcome;
    this.driver = new Driver(async (signal, causes) => {
      const { promise, resolve } = Promise.withResolvers<RunOutcome>();
      const end = async (result: RunOutcome): Promise<void> => {
        resolve(result);
        await new Promise(setImmediate);
      };
      this.runs.push({ at: this.clock.time, causes, signal, end });
      return this.atOnce === undefined ? promise : this.atOnce();
    }, this.clock);
  }

  wake(cause: Cause, about: string = cause): void {
    this.driver.wake(cause, about);
  }

  get last(): Begun {
    return this.runs.at(-1) ?? assert.fail("no run");
  }
}

test("a burst is one run: when it has been quiet for 20 ms, and after 200 ms at the latest", async () => {
  const s = new Scene(DONE);
  for (let index = 0; index < 5; index++) {
    s.wake("node", `file ${index}`);
    await s.clock.advance(10);
  }
  assert.equal(s.runs.length, 0);
  await s.clock.advance(10);
  assert.deepEqual(
    s.runs.map(({ at, causes }) => [at, causes.length]),
    [[1060, 5]],
  );
  for (let index = 0; index < 30; index++) {
    s.wake("node");
    await s.clock.advance(10);
  }
  assert.equal(s.runs[1]?.at, 1060 + 200);
});

test("the first of several whole states is reached at once, the others together when it has been quiet for 20 ms", async () => {
  const s = new Scene();
  for (let index = 0; index < 10; index++) s.driver.wake("desired", `object ${index}`, true);
  await s.clock.advance(TIMING.lead);
  assert.deepEqual(
    s.runs.map(({ at, causes }) => [at, causes.length]),
    [[1000 + TIMING.lead, 10]],
    "what comes together is one",
  );
  for (let index = 0; index < 10; index++) {
    s.driver.wake("desired", "more", true);
    assert.equal(s.last.signal.reason, SUPERSEDED);
    await s.clock.advance(10);
  }
  await s.last.end({ result: "superseded" });
  await s.clock.advance(10);
  assert.equal(s.runs.length, 2, "a burst is two runs");
  await s.last.end(DONE);
  await s.clock.advance(1000);
  // A file may be half written.
  s.driver.wake("desired", "object", true);
  s.wake("desired", "file");
  const { time } = s.clock;
  await s.clock.advance(1000);
  assert.deepEqual([s.runs.length, s.last.at - time], [3, TIMING.quiet]);
  await s.last.end(DONE);
  s.driver.wake("node", "file", true);
  await s.clock.advance(TIMING.quiet - 1);
  assert.equal(s.runs.length, 3, "changes on the node are waited for");
});

test("nothing happens before the first wake, and then a slow resync that differs between nodes", async () => {
  const s = new Scene(DONE);
  await s.clock.advance(10 * TIMING.resync);
  assert.equal(s.runs.length, 0);
  s.wake("desired");
  await s.clock.advance(20);
  for (const [chance, factor] of [
    [0, 0.9],
    [1, 1.1],
    [0.5, 1],
  ] as const) {
    s.clock.chance = chance;
    s.wake("desired");
    await s.clock.advance(20);
    const { at } = s.last;
    assert.ok(Math.abs((s.driver.nextIn ?? 0) + s.clock.now() - at - TIMING.resync * factor) < 1);
  }
  const count = s.runs.length;
  await s.clock.advance(TIMING.resync);
  assert.deepEqual([s.runs.length, s.last.causes], [count + 1, ["resync"]]);
});

test("a failed run is tried again, later each time, and a corrected state at once", async () => {
  const s = new Scene({ result: "failed" });
  s.wake("desired");
  await s.clock.advance(3_600_000);
  const pauses = s.runs.slice(1).map(({ at }, index) => at - (s.runs[index]?.at ?? 0));
  assert.deepEqual(
    pauses.slice(0, 10),
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 300].map((seconds) => seconds * 1000),
  );
  assert.deepEqual(s.last.causes, ["retry"]);
  s.atOnce = () => DONE;
  s.wake("desired", "corrected");
  const before = s.clock.time;
  await s.clock.advance(20);
  assert.deepEqual([s.last.at - before, s.last.causes], [20, ["corrected"]]);
  s.atOnce = () => ({ result: "failed" });
  s.wake("desired");
  await s.clock.advance(20);
  const { at } = s.last;
  await s.clock.advance(1000);
  assert.equal(s.last.at - at, 1000, "a success begins anew");
});

test("the run for an older desired state is ended, and the newest one follows; a change on the node waits", async () => {
  const s = new Scene();
  s.wake("desired", "1");
  await s.clock.advance(20);
  s.wake("node", "file");
  await s.clock.advance(500);
  assert.equal(s.last.signal.aborted, false);
  s.wake("desired", "2");
  s.wake("desired", "3");
  assert.equal(s.last.signal.reason, SUPERSEDED);
  await s.clock.advance(500);
  assert.equal(s.runs.length, 1, "one at a time");
  await s.last.end({ result: "superseded" });
  await s.clock.advance(0);
  assert.deepEqual(s.last.causes, ["file", "2", "3"]);
  await s.last.end(DONE);
  await s.clock.advance(1000);
  assert.equal(s.runs.length, 2);
});

test("a desired state that changes all the time is reached now and then all the same", async () => {
  const s = new Scene();
  let done = 0;
  for (let index = 0; index < 400; index++) {
    s.wake("desired", String(index));
    await s.clock.advance(50);
    const run = s.runs.at(-1);
    if (run === undefined) continue;
    if (run.signal.aborted) await run.end({ result: "superseded" });
    else if (s.clock.time - run.at > 500) {
      done++;
      await run.end(DONE);
    }
  }
  assert.ok(done >= 2 && done <= 5, String(done));
});

test("what a run changed is looked at once more; a look that changes nothing is the last", async () => {
  const s = new Scene({ result: "done", changed: ["config 10-net.conflist"], repaired: ["config 10-net.conflist"] });
  s.wake("desired");
  await s.clock.advance(20);
  s.atOnce = () => DONE;
  s.wake("node", "its own writes");
  await s.clock.advance(TIMING.resync / 2);
  assert.deepEqual(
    s.runs.map(({ causes }) => causes),
    [["desired"], ["check", "its own writes"]],
  );
});

test("stories 14, 15: a file that others change after each repair is repaired ever more rarely, and is named", async () => {
  const s = new Scene({
    result: "done",
    changed: ["config a", "config 10-net.conflist"],
    repaired: [],
  });
  s.wake("desired");
  await s.clock.advance(20);
  const repairs: number[] = [];
  s.atOnce = () => {
    repairs.push(s.clock.time);
    return { result: "done", changed: ["config 10-net.conflist"], repaired: ["config 10-net.conflist"] };
  };
  await s.clock.advance(3_600_000);
  const pauses = repairs.slice(1).map((at, index) => at - (repairs[index] ?? 0));
  assert.deepEqual(pauses.slice(0, 4), [20, 20, 1000, 2000]);
  assert.equal(pauses.at(-1), TIMING.longestTruce);
  assert.ok(repairs.length < 25, String(repairs.length));
  assert.deepEqual(s.driver.fights, [{ asset: "config 10-net.conflist", repairs: repairs.length }]);
  // A newer desired state does not wait for it.
  s.atOnce = () => DONE;
  const before = s.clock.time;
  s.wake("desired", "new");
  await s.clock.advance(20);
  assert.deepEqual([s.last.at - before, s.last.causes.at(-1)], [20, "new"]);
  await s.clock.advance(2 * TIMING.longestTruce + TIMING.resync * 2);
  assert.deepEqual(s.driver.fights, [], "it is over when nobody changes the file any more");
});

test("repairs that are far apart are no fight", async () => {
  const s = new Scene(DONE);
  s.wake("desired");
  await s.clock.advance(20);
  for (let round = 0; round < 10; round++) {
    s.atOnce = () => {
      s.atOnce = () => DONE;
      return { result: "done", changed: ["plugin bridge"], repaired: ["plugin bridge"] };
    };
    s.wake("node");
    await s.clock.advance(TIMING.memory + 1000);
    assert.deepEqual(s.driver.fights, []);
  }
});

test("changes on the node without end, which mean nothing, cost one run each second", async () => {
  const s = new Scene(DONE);
  s.wake("desired");
  for (let index = 0; index < 6000; index++) {
    s.wake("node");
    await s.clock.advance(10);
  }
  assert.ok(s.runs.length <= 60 + TIMING.burst + 2, String(s.runs.length));
});

test("changes that mean something are answered at once, one each second and for ever", async () => {
  const s = new Scene(DONE);
  s.wake("desired");
  await s.clock.advance(100);
  for (let count = 0; count < 50; count++) {
    const { time } = s.clock;
    let isChanged = false;
    s.atOnce = () => {
      const changed = isChanged ? [] : ["config a"];
      isChanged = true;
      return { result: "done", changed, repaired: [] };
    };
    const before = s.runs.length;
    s.wake("node", "the target of a pointer");
    await s.clock.advance(1100);
    assert.deepEqual([s.runs[before]?.at, s.runs.length], [time + TIMING.quiet, before + 2], `change ${count}`);
  }
});

test("a stop ends the run and waits for it, and nothing is left", async () => {
  const s = new Scene();
  s.wake("desired");
  await s.clock.advance(20);
  const stopped = s.driver.stop("SIGTERM");
  assert.equal(s.last.signal.reason, "SIGTERM");
  s.wake("desired");
  await s.last.end({ result: "superseded" });
  await stopped;
  await s.clock.advance(TIMING.resync * 2);
  assert.deepEqual([s.runs.length, s.clock.pending], [1, 0]);
  await new Scene().driver.stop("SIGTERM");
});

test("whatever happens in whatever order, it ends at the newest state, one run at a time", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("desired" as const), isWhole: fc.boolean() }),
    fc.record({ do: fc.constant("node" as const) }),
    fc.record({ do: fc.constant("pass" as const), milliseconds: fc.nat(3000) }),
    fc.record({ do: fc.constant("end" as const), result: fc.constantFrom("done", "changed", "failed") }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const clock = new FakeClock();
      let newest = 0;
      let drift = 0;
      const node = { state: -1, drift: 0 };
      let running = 0;
      let finish: ((result: string) => void) | undefined;
      const driver = new Driver(async (signal) => {
        assert.equal(++running, 1);
        const reads = { state: newest, drift };
        const ended = Promise.withResolvers<string>();
        finish = ended.resolve;
        signal.addEventListener("abort", () => ended.resolve("superseded"));
        const result = await ended.promise;
        running--;
        finish = undefined;
        if (result === "failed" || result === "superseded") return { result };
        Object.assign(node, reads);
        const changed = result === "changed" ? ["config a"] : [];
        return { result: "done", changed, repaired: changed };
      }, clock);
      driver.wake("desired", "start");
      for (const one of steps) {
        if (one.do === "desired") newest++;
        if (one.do === "node") drift++;
        if (one.do === "desired") driver.wake("desired", "x", one.isWhole);
        if (one.do === "node") driver.wake("node", "x");
        if (one.do === "pass") await clock.advance(one.milliseconds);
        if (one.do === "end") finish?.(one.result);
        await new Promise(setImmediate);
      }
      for (let round = 0; round < 8; round++) {
        await clock.advance(600_000);
        finish?.("done");
        await new Promise(setImmediate);
      }
      assert.deepEqual(node, { state: newest, drift });
      await driver.stop("SIGTERM");
      assert.equal(clock.pending, 0);
    }),
    { numRuns: 150 },
  );
});

test("story 16: real directories: what is desired is reached, whatever is changed while it is being reached", async () => {
  const root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-driver-"));
  const [source, target] = [join(root, "source"), join(root, "target")];
  for (const path of [source, target]) fs.mkdirSync(path);
  const read = (directory: string): string | undefined => {
    const path = join(directory, "x");
    return fs.existsSync(path) ? fs.readFileSync(path, "utf8") : undefined;
  };
  let runs = 0;
  const driver = new Driver(async (signal) => {
    runs++;
    const wanted = read(source);
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (signal.aborted) return { result: "superseded" };
    if (wanted === undefined || wanted === read(target)) return DONE;
    fs.writeFileSync(join(target, ".cni-node.tmp"), wanted);
    fs.renameSync(join(target, ".cni-node.tmp"), join(target, "x"));
    return { result: "done", changed: ["x"], repaired: ["x"] };
  });
  // Watched first, read afterwards.
  using watches = new DisposableStack();
  watches.use(new DirectoryWatch(source, () => driver.wake("desired", "source")));
  watches.use(new DirectoryWatch(target, () => driver.wake("node", "target")));
  driver.wake("desired", "start");
  fs.writeFileSync(join(source, "x"), "0");
  await until(() => read(target) === "0");
  for (let index = 1; index <= 200; index++) {
    fs.writeFileSync(join(source, "x"), String(index));
    if (index % 7 === 0) fs.rmSync(join(target, "x"), { force: true });
    if (index % 11 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await until(() => read(target) === "200");
  fs.rmSync(target, { recursive: true });
  fs.mkdirSync(target);
  await until(() => read(target) === "200");
  assert.ok(runs < 100, `a burst is few runs: ${runs}`);
  await driver.stop("SIGTERM");
  fs.rmSync(root, { recursive: true });
});
