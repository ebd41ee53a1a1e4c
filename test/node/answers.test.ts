/** A process that lives long asks a plugin again only if its file is another one. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { answerOf, asked } from "../../src/node/answers.ts";
import { REFERENCE_PLUGINS } from "../helpers/network.ts";

/** Longer than a file counts as just changed. */
const SETTLED = 300;

const ask = async (): Promise<string[]> => Promise.resolve(["1.0.0"]);

test("the answer of a static binary is remembered until its file changes, is replaced or goes", async () => {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-answers-"));
  const path = join(root, "loopback");
  fs.copyFileSync(join(REFERENCE_PLUGINS, "loopback"), path);
  await asked(path, ask);
  assert.equal(answerOf(path), undefined, "it may be written to again within the same tick of the clock");
  const changes = [
    () => fs.chmodSync(path, 0o644),
    () => fs.appendFileSync(path, "x"),
    () => {
      fs.copyFileSync(join(REFERENCE_PLUGINS, "loopback"), `${path}.new`);
      fs.renameSync(`${path}.new`, path);
    },
    () => fs.rmSync(path),
  ];
  for (const change of changes) {
    await sleep(SETTLED);
    await asked(path, ask);
    assert.deepEqual(answerOf(path), ["1.0.0"]);
    change();
    assert.equal(answerOf(path), undefined);
  }
  assert.equal(answerOf(root), undefined);
  fs.rmSync(root, { recursive: true });
});

test("what depends on other files is asked each time, and so is what did not answer", async () => {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-answers-"));
  const [script, binary] = [join(root, "script"), join(root, "loopback")];
  fs.writeFileSync(script, "#!/bin/sh\n", { mode: 0o755 });
  fs.copyFileSync(join(REFERENCE_PLUGINS, "loopback"), binary);
  await sleep(SETTLED);
  await asked(script, ask);
  assert.equal(answerOf(script), undefined);
  await assert.rejects(asked(binary, async () => Promise.reject(new Error("no answer"))));
  assert.equal(answerOf(binary), undefined);
  // It was replaced while it answered.
  await asked(binary, async () => {
    fs.chmodSync(binary, 0o755);
    await sleep(SETTLED);
    return ["1.0.0"];
  });
  assert.equal(answerOf(binary), undefined);
  fs.rmSync(root, { recursive: true });
});
