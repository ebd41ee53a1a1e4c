import { test } from "node:test";

import { COUNTS, FORM } from "../soak/counts.ts";
import { fuzzAnswers, fuzzFiles, fuzzStates } from "../soak/fuzz.ts";

const counts = COUNTS[FORM];

test("files on a node that are made up reach nothing outside, crash nothing and are shown nowhere", async () => {
  await fuzzFiles(counts.fuzzedFiles);
});

test("answers of an API server that are made up reach nothing outside, crash nothing and leave no run half done", async () => {
  await fuzzAnswers(counts.fuzzedAnswers);
});

test("state files of container runtimes that are made up name no namespace that is none, and are shown nowhere", () => {
  fuzzStates(counts.fuzzedStates);
});
