import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { changeFiles, fileToWrite } from "../../src/engine/files.ts";
import { lockDirectory } from "../../src/host/lock.ts";
import { LockedDirectories } from "../../src/host/locked.ts";
import { Deadline } from "../../src/system/deadline.ts";

const { signal } = new AbortController();

/** Directories of a run, none of which is there yet. */
function scene(): { root: string; first: string; second: string; locks: LockedDirectories } & Disposable {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-"));
  const [first, second] = [join(root, "new/first"), join(root, "second")] as const;
  const modeOf = (directory: string): number => (directory === first ? 0o700 : 0o755);
  const locks = new LockedDirectories([first, second], { signal, lockTimeout: 0, onWait: () => undefined, modeOf });
  const end = (): void => {
    locks[Symbol.dispose]();
    fs.rmSync(root, { recursive: true });
  };
  return { root, first, second, locks, [Symbol.dispose]: end };
}

function modeAt(path: string): number {
  return fs.statSync(path).mode & 0o777;
}

test("directories are made with a mode of their own, and those above them with the usual one", async () => {
  using s = scene();
  assert.equal(s.locks.look(s.first), undefined);
  await s.locks.lock([s.first]);
  assert.deepEqual([modeAt(join(s.root, "new")), modeAt(s.first)], [0o755, 0o700]);
  assert.deepEqual([s.locks.holds([s.first]), s.locks.holds([s.first, s.second])], [true, false]);
  await s.locks.lock([s.second]);
  assert.ok(s.locks.holds([s.first, s.second]), "what was locked before is locked again");
  assert.equal(s.locks.look(s.first), s.locks.targetOf(s.first));
  assert.deepEqual(s.locks.inOrder(new Set([s.second, "/elsewhere", s.first])), [s.first, s.second]);
});

test("a run that failed leaves no directory that it made", async () => {
  using s = scene();
  await s.locks.lock([s.first, s.second]);
  fs.writeFileSync(join(s.second, "foreign"), "");
  s.locks.abandon();
  assert.deepEqual(fs.readdirSync(s.root), ["second"]);
});

test("files of several directories: what was made goes also if another run keeps one of them locked", async () => {
  using s = scene();
  fs.mkdirSync(s.second);
  const lock = await lockDirectory(s.second, new Deadline(0), signal);
  try {
    const files = [s.first, s.second].map((directory) => {
      return fileToWrite({ directory, name: "a", kind: "config", owner: "o" }, { text: "a" });
    });
    const options = { signal, lockTimeoutMs: 0, dryRun: false, onWait: () => undefined };
    await assert.rejects(changeFiles(files, [s.first, s.second], options), { code: "lock-timeout" });
  } finally {
    lock.release();
  }
  assert.deepEqual(fs.readdirSync(s.root), ["second"]);
});
