import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { isStatic, programFormatOf } from "../../src/system/elf.ts";

const program = fs.readFileSync(process.execPath).subarray(0, 1 << 16);

function formatOf(content: Buffer | string): unknown {
  const directory = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
  try {
    const path = join(directory, "program");
    fs.writeFileSync(path, content);
    return programFormatOf(path);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

function changed(at: number, value: number): Buffer {
  const copy = Buffer.from(program);
  copy.writeUInt16LE(value, at);
  return copy;
}

test("this machine's programs are native, and those that name a loader are not static", () => {
  assert.deepEqual([programFormatOf(process.execPath), isStatic(process.execPath)], ["native", false]);
  assert.deepEqual([formatOf(program), formatOf("#!/bin/sh\n")], ["native", "script"]);
});

test("an ELF file that the kernel refuses is not a program: the C library would have a shell interpret it", () => {
  const refused: Record<string, Buffer> = {
    "cut in its header": program.subarray(0, 40),
    "cut in its table of segments": program.subarray(0, 100),
    "an object file": changed(16, 1),
    "without segments": changed(56, 0),
    "segments of another size": changed(54, 32),
    "zeros behind its magic number and machine": Buffer.concat([program.subarray(0, 20), Buffer.alloc(4096)]),
  };
  for (const [what, content] of Object.entries(refused)) assert.equal(formatOf(content), "none", what);
});

test("a program of another processor is named, and one that cannot be read is unknown", () => {
  assert.deepEqual(formatOf(changed(18, 243)), { foreign: "riscv" });
  assert.equal(programFormatOf("/nonexistent"), "unknown");
});
