import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { readFile, readText, readTextIfPossible } from "../../src/system/read.ts";

const directory = fs.mkdtempSync(join(tmpdir(), "read-"));
after(() => fs.rmSync(directory, { recursive: true }));
const path = (name: string): string => join(directory, name);

test("a file is read whole up to the limit, and one byte more is refused", () => {
  fs.writeFileSync(path("a"), "x".repeat(2000));
  assert.equal(readFile(path("a"), 2000).length, 2000);
  assert.throws(() => readFile(path("a"), 1999), { code: "file-too-large" });
});

test("a sparse file of 100 GB is refused without being read", () => {
  fs.writeFileSync(path("sparse"), "");
  fs.truncateSync(path("sparse"), 100e9);
  assert.throws(() => readFile(path("sparse"), 1 << 20), { code: "file-too-large" });
});

test("a file of the kernel's, which has no size, is read to its end", () => {
  assert.match(readText("/proc/self/status", 1 << 20), /^Name:/u);
  assert.throws(() => readText("/proc/self/status", 16), { code: "file-too-large" });
});

test("a FIFO, a socket, a device and a directory are refused at once", async () => {
  execFileSync("mkfifo", [path("fifo")]);
  const server = createServer().listen(path("socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    for (const name of [path("fifo"), path("socket"), "/dev/zero", directory]) {
      assert.throws(() => readFile(name, 1 << 20), { code: "not-a-file" }, name);
    }
  } finally {
    server.close();
  }
});

test("a link is followed, unless it must not be", () => {
  fs.writeFileSync(path("target"), "secret");
  fs.symlinkSync("target", path("link"));
  assert.equal(readText(path("link"), 100), "secret");
  assert.throws(() => readText(path("link"), 100, { follow: false }), { code: "ELOOP" });
});

test("what is not there is an error of the system, or nothing where it may be absent", () => {
  assert.throws(() => readFile(path("absent"), 1), { code: "ENOENT" });
  assert.equal(readTextIfPossible(path("absent"), 1), undefined);
});

test("text that is not UTF-8 is read as Go reads it, and a byte order mark stays", () => {
  fs.writeFileSync(path("bytes"), Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff]));
  assert.equal(readText(path("bytes"), 100), "\ufeffa\ufffd");
});
