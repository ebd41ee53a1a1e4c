import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { createCopy, createFile } from "../../src/system/disk.ts";
import { HANDLE, PROMISES, SYNC } from "../helpers/faults.ts";

const source = fileURLToPath(new URL("../../src", import.meta.url));

const READING =
  /^(?:access|close|exists|fstat|lstat|opendir|read|readFile|readdir|readlink|realpath|stat|statfs)Sync$/u;

const NO_PART = new Set(["cni/pipes.ts", "oci/standby.ts", "oci/resolv.ts", "oci/log.ts"]);

test("faults are put in front of every function of node:fs that changes a file, in the whole program", () => {
  const called = readdirSync(source, { recursive: true, encoding: "utf8" })
    // Pipes are not files; a container's resolv.conf and the log of its hooks are no part of a run.
    .filter((file) => file.endsWith(".ts") && !NO_PART.has(file))
    .flatMap((file) => Array.from(readFileSync(join(source, file), "utf8").matchAll(/\bfs\.(\w+Sync)\b/gu)))
    .map(([, name = ""]) => name);
  assert.ok(called.includes("renameSync"));
  assert.deepEqual(
    called.filter((name) => !READING.test(name) && !SYNC.includes(name)),
    [],
  );
});

test("and of every promise and file handle that disk.ts changes files by", () => {
  const text = readFileSync(join(source, "system/disk.ts"), "utf8");
  const called = (pattern: RegExp): string[] => Array.from(text.matchAll(pattern), ([, name = ""]) => name);
  const promises = called(/\bfs\.promises\.([a-z]\w*)/gu);
  const handles = called(/\bfile\.(\w+)\(/gu);
  assert.ok(promises.includes("copyFile") && handles.includes("sync"));
  assert.deepEqual(
    promises.filter((name) => !PROMISES.includes(name)),
    [],
  );
  assert.deepEqual(
    handles.filter((name) => !["stat", "read", "close", ...HANDLE].includes(name)),
    [],
  );
});

test("a new file is older than the tick of the kernel's clock in which it was made, so that any later write shows", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "cni-node-disk-"));
  t.after(() => {
    rmSync(directory, { recursive: true });
  });
  const [made, copied] = [join(directory, "made"), join(directory, "copied")];
  await createFile(made, Buffer.from("content"), { mode: 0o600 });
  await createCopy(made, copied, { mode: 0o600 });
  for (const path of [made, copied]) {
    const { ctimeMs, mtimeMs } = statSync(path);
    assert.ok(ctimeMs - mtimeMs >= 10, `${path}: ${ctimeMs - mtimeMs}`);
  }
});
