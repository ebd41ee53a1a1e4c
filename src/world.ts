/** Everything outside the program, in one value: a test is a call, not a process. */
export interface World {
  env: Readonly<Record<string, string | undefined>>;
  /** What is given on standard input, to its end; rejected when the signal is aborted. */
  stdin(): Promise<string>;
  /** The report, and nothing else. */
  stdout(text: string): void;
  /** Notes, warnings and errors. */
  stderr(text: string): void;
  /** Aborted by the first signal that ends the process; the reason is its name (`SIGTERM`), a `Cancellation`. */
  signal: AbortSignal;
  /** How long a plugin may take to answer VERSION, milliseconds. Default: 5 seconds. */
  versionLimit?: number | undefined;
}

/** How a run ends: by an exit code, or by the signal that interrupted it. */
export interface Ending {
  exitCode: number;
  signal?: NodeJS.Signals;
}
