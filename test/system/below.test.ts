import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { followBelow, hostPath, pathOnNode, seenBelow, shownAs } from "../../src/system/below.ts";

test("a path of the node is seen below the root, and has its name back", () => {
  assert.equal(seenBelow("/nowhere", hostPath("/opt/cni/bin")), "/nowhere/opt/cni/bin");
  for (const [root, here, onNode] of [
    ["/host", "/host/opt/cni/bin", "/opt/cni/bin"],
    ["/host", "/host", "/"],
    ["/host", "/hostile/bin", undefined],
    ["/host", "/opt/cni/bin", undefined],
    ["/", "/opt/cni/bin", "/opt/cni/bin"],
  ] as const) {
    assert.equal(pathOnNode(root, here), onNode);
    assert.equal(shownAs(root, here), onNode ?? here);
  }
});

test("links are followed as the node does, and those outside as this process does", () => {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
  try {
    for (const name of ["host", "outside"]) fs.mkdirSync(join(root, name));
    fs.symlinkSync("/there", join(root, "host/link"));
    fs.symlinkSync(join(root, "host"), join(root, "outside/link"));
    assert.equal(followBelow(join(root, "host"), join(root, "host/link/file")), join(root, "host/there/file"));
    assert.equal(followBelow(join(root, "host"), join(root, "outside/link/file")), join(root, "host/file"));
    // `..` behind a link leads to what is above its target.
    fs.mkdirSync(join(root, "host/a/b"), { recursive: true });
    fs.symlinkSync("/a/b", join(root, "host/deep"));
    assert.equal(seenBelow(join(root, "host"), hostPath("/deep/../c")), join(root, "host/a/c"));
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
});
