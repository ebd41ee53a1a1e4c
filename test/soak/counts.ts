/**
 * How often each reliability test tries: in a developer's `make test`, in CI (CI=true), and in `make soak`
 * (CNI_NODE_TEST_LONG=1).
 */
export const COUNTS = {
  short: {
    kills: 40,
    terminations: 15,
    races: 1,
    readReinstalls: 12,
    executeReinstalls: 10,
    watchedRuns: 4,
    keptChanges: 75,
    fuzzedFiles: 15,
    fuzzedAnswers: 8,
    fuzzedStates: 100,
    /** Every so many file operations a run is killed, or fails; so many units of space are added at a time. */
    step: 5,
    /** Every so many of them it is killed twice. */
    stride: 13,
    distances: [1],
  },
  middle: {
    kills: 300,
    terminations: 60,
    races: 3,
    readReinstalls: 50,
    executeReinstalls: 40,
    watchedRuns: 6,
    keptChanges: 200,
    fuzzedFiles: 40,
    fuzzedAnswers: 15,
    fuzzedStates: 300,
    step: 1,
    stride: 5,
    distances: [1, 3],
  },
  long: {
    kills: 1000,
    terminations: 500,
    races: 20,
    readReinstalls: 400,
    executeReinstalls: 300,
    watchedRuns: 60,
    keptChanges: 10000,
    fuzzedFiles: 5000,
    fuzzedAnswers: 1000,
    fuzzedStates: 50_000,
    step: 1,
    stride: 1,
    distances: [1, 2, 3, 4, 5],
  },
} as const;

const { CI, CNI_NODE_TEST_LONG } = process.env;
/** The form that this run is to have. */
export const FORM = CNI_NODE_TEST_LONG === "1" ? "long" : CI === "true" ? "middle" : "short";
