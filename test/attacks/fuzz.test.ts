import { test } from "node:test";

import { COUNTS } from "../soak/counts.ts";
import { fuzzAnswers, fuzzFiles, fuzzStates } from "../soak/fuzz.ts";

test("files on a node that are made up reach nothing outside, crash nothing and are shown nowhere", async () => {
  await fuzzFiles(COUNTS.short.fuzzedFiles);
});

test("answers of an API server that are made up reach nothing outside, crash nothing and leave no run half done", async () => {
  await fuzzAnswers(COUNTS.short.fuzzedAnswers);
});

test("state files of container runtimes that are made up name no namespace that is none, and are shown nowhere", () => {
  fuzzStates(COUNTS.short.fuzzedStates);
});
