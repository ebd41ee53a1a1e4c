import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { compareVersions, isVersion, negotiateVersion, NEWEST_VERSION } from "../../src/cni/version.ts";

test("a version is one to three numbers; the empty text counts as 0.1.0", () => {
  for (const version of ["1.0.0", "1.0", "1", "0.3.1", "", "01.2", "+1.-0.0"]) assert.ok(isVersion(version), version);
  for (const version of ["1.", ".1", "v1", "1.0.0.0", "1.0.0-rc1", " 1", "1_0", "9223372036854775808"]) {
    assert.ok(!isVersion(version), version);
  }
});

test("versions are compared by their numbers, and a missing number is 0", () => {
  const sorted = ["", "0.2.0", "0.3", "0.3.1", "0.4.0", "0.10.0", "1", "1.0.1", "1.1.0", "10.0.0"];
  assert.deepEqual(sorted.toReversed().sort(compareVersions), sorted);
  assert.equal(compareVersions("1", "1.0.0"), 0);
  assert.equal(compareVersions("", "0.1.0"), 0);
  assert.throws(() => compareVersions("1.0.0", "x"), RangeError);
});

describe("the version to use is the newest that is given and known", () => {
  const cases: [cniVersion: string, cniVersions: string[] | undefined, used: string][] = [
    ["", undefined, "0.1.0"],
    ["0.3.1", undefined, "0.3.1"],
    ["", [], "0.1.0"],
    ["0.3.1", [], "0.3.1"],
    ["0.3.1", ["0.4.0", "1.0.0"], "1.0.0"],
    ["1.0.0", ["0.3.1", "0.4.0"], "1.0.0"],
    ["0.3.1", ["0.10.0", "0.9.0"], "0.10.0"],
    ["1.1.0", ["1.2.0", "0.4.0", "2.0.0"], "1.1.0"],
    // One that is alone in being too new is used all the same, and the plugins decide.
    ["2.0.0", undefined, "2.0.0"],
    ["2.0.0", ["3.0.0"], "2.0.0"],
    ["2.0.0", ["0.4.0"], "0.4.0"],
    ["", ["1.2.0"], "0.1.0"],
    ["2.0.0", [""], "0.1.0"],
    ["1.0", ["1.0.0"], "1.0.0"],
    ["1.0.0", ["1.0"], "1.0"],
  ];
  for (const [cniVersion, cniVersions, used] of cases) {
    test(`${JSON.stringify(cniVersion)} of ${JSON.stringify(cniVersions)}: ${used}`, () =>
      assert.equal(negotiateVersion(cniVersion, cniVersions), used));
  }
  test(`none newer than ${NEWEST_VERSION} is chosen from several`, () =>
    assert.equal(negotiateVersion("1.0.0", [NEWEST_VERSION, "1.1.1"]), NEWEST_VERSION));
});
