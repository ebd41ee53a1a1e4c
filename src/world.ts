/** What a piece of text means. */
export type Meaning = "good" | "bad" | "warn" | "strong" | "faint";

/** Marks a piece of text by what it means. */
export type Paint = (meaning: Meaning, text: string) => string;

/** A terminal. */
export interface Terminal {
  columns: number;
  rows: number;
}

/** How texts are shown. */
export interface View {
  paint: { stdout: Paint; stderr: Paint };
  /** What stdout is, if it is one. */
  terminal?: Terminal | undefined;
  /** Somebody sees what goes to stderr as it comes. */
  isSeen: boolean;
  /** Nothing is left out. */
  isVerbose: boolean;
  /** Makes of a report in JSON what is printed. */
  formatReport?: (json: string) => string;
}

/** Everything outside the program, in one value: a test is a call, not a process. */
export interface World {
  env: Readonly<Record<string, string | undefined>>;
  /** What is given on standard input, to its end; rejected when the signal is aborted. */
  stdin(): Promise<string>;
  /** The report, and nothing else. @param isPainted its colours are ours. */
  stdout(this: void, text: string, isPainted?: boolean): void;
  /** Notes, warnings and errors. */
  stderr(this: void, text: string, isPainted?: boolean): void;
  /** What stdout and stderr are. Asked once it counts: opening them takes time. Default: no terminals. */
  terminals?(): { stdout?: Terminal | undefined; stderr: boolean };
  /** Default: plain texts. */
  view?: View;
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
