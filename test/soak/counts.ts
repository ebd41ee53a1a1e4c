/** How often each reliability test tries: in `make test`, and in `make soak`. */
export const COUNTS = {
  short: {
    kills: 300,
    terminations: 60,
    races: 3,
    readReinstalls: 50,
    executeReinstalls: 40,
    watchedRuns: 6,
    fuzzedFiles: 40,
    fuzzedAnswers: 15,
    fuzzedStates: 300,
  },
  long: {
    kills: 1000,
    terminations: 500,
    races: 20,
    readReinstalls: 400,
    executeReinstalls: 300,
    watchedRuns: 60,
    fuzzedFiles: 5000,
    fuzzedAnswers: 1000,
    fuzzedStates: 50_000,
  },
} as const;
