import assert from "node:assert/strict";
import { test } from "node:test";

import { Failure, Interrupted, Objections, withDone, withFindings } from "../src/errors.ts";
import { warning } from "../src/finding.ts";

const about = { code: "pointer-missing", subject: "a.conf", problem: "is not there" } as const;

test("a run that is refused for several reasons waits for what fixes each, and not at all if one stays", () => {
  const objections = new Objections();
  objections.add(new Failure({ ...about, passing: "configs" }));
  objections.add(new Failure({ ...about, subject: "b.conf", passing: "poll" }));
  assert.deepEqual([...(objections.failure?.wakers ?? [])], ["configs", "poll"]);
  assert.equal(objections.failure?.passing, true);
  objections.add(new Failure({ ...about, subject: "c.conf" }));
  assert.equal(objections.failure.passing, false);
});

test("a failure with an excerpt has it at the end of its message, even if more is said of the problem", () => {
  const failure = new Failure({ ...about, excerpt: "    1 | {\n        ^" });
  assert.equal(failure.message, "a.conf: is not there\n    1 | {\n        ^");
  const more = failure.extendedBy("waited 1 s for it (--wait)");
  assert.equal(more.message, "a.conf: is not there; waited 1 s for it (--wait)\n    1 | {\n        ^");
  assert.equal(more.summary, "a.conf: is not there; waited 1 s for it (--wait)");
});

test("what a run has found goes with the error that ends it, each finding once and the earliest first", () => {
  const [first, second] = [warning("run-finished", "/a", "one"), warning("files-left", "/b", "two")];
  const failure = withFindings(withFindings(new Failure(about), [second]), [first, second]);
  assert.deepEqual(failure.findings, [first, second]);
  assert.deepEqual(failure.extendedBy("more").findings, [first, second]);
  const ended = withFindings(withDone(new Interrupted("SIGTERM"), [first]), [second]);
  assert.deepEqual(ended.findings, [first], "the next run sees again what this one has seen");
  assert.equal(withFindings("thrown", [first]), "thrown");
});
