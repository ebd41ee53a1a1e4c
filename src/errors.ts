import type { Stats } from "node:fs";
import { getSystemErrorMessage } from "node:util";

import type { FailureCode, FindingCode } from "./codes.ts";
import { allOf, warning, type Finding } from "./finding.ts";

/** Exit codes (docs/reference.md, "Exit codes"): 1 nothing changed, 2 usage, 3 differences or findings, 4 not everything undone. */
export type FailureExitCode = 1 | 2 | 3 | 4;

/** What a run that is blocked waits for: an event of the directory of configurations; `poll`: no event tells. */
export type Waker = "configs" | "poll";

interface FailureDetails {
  /** Stable and meant for programs; src/codes.ts says what each means. */
  code: FailureCode;
  /** The file, directory, option or object that it is about. */
  subject: string;
  /** What was attempted and why it did not work: `cannot be read: permission denied`. */
  problem: string;
  /** Lines of a text, with the place in it that is wrong. */
  excerpt?: string | undefined;
  /** What the user can do about it; several if some of it helps against other failures, too. */
  hint?: string | readonly string[];
  /** 1 when not given: nothing has changed. */
  exitCode?: FailureExitCode;
  /** What may fix this by itself, so that `--wait` is worth it. */
  passing?: Waker | undefined;
  /** The error in the terms of the CNI specification. */
  cni?: CniDetails;
  cause?: unknown;
}

/** An error of the CNI specification, section 5, and the call that it is of. */
export interface CniDetails {
  code: number;
  msg: string;
  details?: string;
  plugin?: string;
  command?: string;
}

/** A failure that the user can understand and fix. Everything else that is thrown is a bug of ours. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: FailureCode;
  readonly subject: string;
  /** The message without the subject and the excerpt. */
  readonly problem: string;
  readonly excerpt: string | undefined;
  readonly hints: readonly string[];
  readonly exitCode: FailureExitCode;
  readonly cni: CniDetails | undefined;
  /** Why the same run is refused, besides. */
  others: readonly Failure[] = [];
  /** Something had been changed already, and all of it was put back. */
  undone = false;
  /** What the run has found besides, and what it has finished of an earlier one. */
  findings: readonly Finding[] = [];
  readonly #passing: Waker | undefined;

  constructor(details: FailureDetails) {
    super([`${details.subject}: ${details.problem}`, details.excerpt ?? []].flat().join("\n"), {
      cause: details.cause,
    });
    this.code = details.code;
    this.subject = details.subject;
    this.problem = details.problem;
    this.excerpt = details.excerpt;
    this.hints = [details.hint ?? []].flat();
    this.exitCode = details.exitCode ?? 1;
    this.#passing = details.passing;
    this.cni = details.cni;
  }

  /** The same, with one more sentence in its problem, or other hints. */
  extendedBy(more: string, hint: string | readonly string[] = this.hints): Failure {
    const { code, subject, problem, excerpt, exitCode, cni, cause } = this;
    const common = {
      code,
      subject,
      problem: more === "" ? problem : `${problem}; ${more}`,
      excerpt,
      hint,
      exitCode,
      passing: this.#passing,
      cause,
    };
    const failure = new Failure({ ...common, ...(cni === undefined ? {} : { cni }) });
    failure.others = this.others;
    failure.undone = this.undone;
    failure.findings = this.findings;
    return failure;
  }

  /** The same as a warning: it keeps nothing from being done. */
  asWarning(code: FindingCode, hint = this.hint): Finding {
    return warning(code, this.subject, [this.problem, this.excerpt ?? []].flat().join("\n"), hint);
  }

  /** The message without the excerpt. */
  get summary(): string {
    return `${this.subject}: ${this.problem}`;
  }

  get hint(): string | undefined {
    return this.hints.length === 0 ? undefined : this.hints.join("; ");
  }

  /** Something outside may fix this by itself, and the other reasons as well. */
  get passing(): boolean {
    return this.#passing !== undefined && this.others.every(({ passing }) => passing);
  }

  /** What may fix this, and the other reasons. */
  get wakers(): ReadonlySet<Waker> {
    return new Set([this.#passing ?? [], ...this.others.map(({ wakers }) => [...wakers])].flat());
  }
}

/** A command line that is wrong: nothing has been tried. */
export function usage(subject: string, problem: string, hint?: string): Failure {
  return new Failure({ code: "usage", subject, problem, ...(hint !== undefined && { hint }), exitCode: 2 });
}

/** What an error is about, and what is wrong, for the message of another one. */
export function troubleOf(error: unknown): { subject: string; problem: string } {
  return error instanceof Failure ? error : { subject: "this run", problem: reasonOf(error) };
}

/** Collects why a run is refused, so that all of it is told at once. */
export class Objections {
  readonly #found = new Map<string, Failure>();

  /** Adds one; the same again does not count. */
  add(failure: Failure): void {
    const { code, message } = failure;
    this.#found.set(`${code} ${message}`, this.#found.get(`${code} ${message}`) ?? failure);
  }

  /** What `look` returns; undefined: it is an objection. What has changed while it was looked at is thrown at once. */
  catch<Result>(look: () => Result): Result | undefined {
    try {
      return look();
    } catch (error) {
      return this.#catch(error);
    }
  }

  /** The same, of what takes time. @param isThrown what is thrown, too. */
  async catchLater<Result>(
    look: () => Promise<Result>,
    isThrown: (failure: Failure) => boolean = () => false,
  ): Promise<Result | undefined> {
    try {
      return await look();
    } catch (error) {
      if (error instanceof Failure && isThrown(error)) throw error;
      return this.#catch(error);
    }
  }

  /** Is there any? */
  get any(): boolean {
    return this.#found.size > 0;
  }

  #catch(error: unknown): undefined {
    if (!(error instanceof Failure) || error.exitCode !== 1 || error.code === "changed-meanwhile") throw error;
    for (const one of [error, ...error.others]) this.add(one);
    return undefined;
  }

  /** The first, which knows the others. */
  get failure(): Failure | undefined {
    const [first, ...others] = this.#found.values();
    if (first !== undefined) first.others = others;
    return first;
  }

  /** @throws Failure the first, which knows the others. */
  throwIfAny(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

/** A newer run does what this one would do. */
export const SUPERSEDED = "superseded";

/** Why a run is cancelled: by a signal to the process, or because a newer run does what it would do. */
export type Cancellation = NodeJS.Signals | typeof SUPERSEDED;

/** The run was cancelled; if nothing else is said, before its commit point: nothing has happened. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly reason: Cancellation;
  /** What it has finished of an earlier run, and what is left. */
  findings: readonly Finding[] = [];

  constructor(reason: Cancellation, when = " before anything was changed") {
    super(`ended by ${reason === SUPERSEDED ? "a newer run" : reason}${when}`);
    this.reason = reason;
  }
}

/** The same failure, which tells these findings as well. What a run that is ended has seen, the next one sees again. */
export function withFindings<Thrown>(error: Thrown, findings: readonly Finding[]): Thrown {
  if (error instanceof Failure) error.findings = allOf(findings, error.findings);
  return error;
}

/** The same error of a run, which tells what was done nevertheless: of an earlier run, and what could not be tidied up. */
export function withDone<Thrown>(error: Thrown, done: readonly Finding[]): Thrown {
  if (error instanceof Failure || error instanceof Interrupted) error.findings = allOf(done, error.findings);
  return error;
}

/** Why the run of a signal that is aborted is cancelled. What aborts one gives a `Cancellation` as the reason. */
export function cancellationOf({ reason }: AbortSignal): Cancellation {
  return reason as Cancellation;
}

/** Waits for the signal. The timer keeps the process alive. */
export async function aborted(signal: AbortSignal): Promise<void> {
  const keepAlive = setInterval(() => undefined, 2 ** 31 - 1);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  clearInterval(keepAlive);
}

/** Throws `Interrupted` once the run is cancelled. */
export function throwIfInterrupted(signal: AbortSignal): void {
  if (signal.aborted) throw new Interrupted(cancellationOf(signal));
}

/** Is this the system's error of that code (`ENOENT`)? */
export function isSystemError(error: unknown, ...codes: string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

/** Does the error of the system mean that there is no such file? None has a name that is too long or has a NUL. */
export function isAbsence(error: unknown): boolean {
  return isSystemError(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE");
}

const EXHAUSTED = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]);

/**
 * Has this process, or the node, run out of descriptors, memory or processes? Then nothing is wrong with what it was
 * about to read or run.
 */
export function isExhaustion(error: unknown): boolean {
  const { code, systemCode = code } = (error ?? {}) as { code?: unknown; systemCode?: unknown };
  return EXHAUSTED.has(String(systemCode));
}

/** The reason in the system's own words (`no space left on device`), else the error's message. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errno, code } = error as NodeJS.ErrnoException;
  return errno !== undefined && typeof code === "string" && errno < 0 ? getSystemErrorMessage(errno) : error.message;
}

const HINTS: Record<string, string> = {
  EROFS: "the file system is mounted read-only: mount it writable, or name another directory",
  EACCES:
    "run as root, or as a user that may read and write there; where it is root already, SELinux or AppArmor denies it: see the audit log, and give the container the label that it needs (seLinuxOptions, docker -v …:z)",
  EPERM: "run as root; a file with the immutable attribute (lsattr) must be released first (chattr -i)",
  ENOSPC: "free some space on that file system and run again",
  EDQUOT: "free some space on that file system and run again",
  EIO: "the disk reported an error: look at the kernel's log (dmesg)",
  EMFILE: "this process may not open enough files: raise its limit (ulimit -n, docker run --ulimit nofile=1024)",
  ENFILE: "the node has no file descriptors left: look at which process holds them (lsof), and at fs.file-max",
  ENOMEM: "the memory is used up: give the container more, or find out which other process uses it",
};

/** What the user can do about an error of the system; undefined when there is nothing to be said in general. */
export function hintFor(error: unknown): string | undefined {
  return HINTS[String((error as { code?: unknown } | undefined)?.code)];
}

/** `not-a-file`: reading anything but a regular file might never end. @param attempt what does not work then. */
export function notRegular(subject: string, attempt: string, stat: Stats): Failure {
  const hint = "where a file that is to be mounted does not exist, docker run -v makes an empty directory";
  const problem = `${attempt}: it is not a regular file`;
  return new Failure({ code: "not-a-file", subject, problem, ...(stat.isDirectory() && { hint }) });
}

/** Turns an error of the system into a `Failure` about `subject`; a `Failure` passes as it is. */
export function systemFailure(subject: string, attempt: string, error: unknown): Error {
  if (error instanceof Failure || error instanceof Interrupted) return error;
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).errno === undefined) return error as Error;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const hint = hintFor(error);
  return new Failure({
    code: code === "" ? "system-error" : `system-${code.toLowerCase()}`,
    subject,
    problem: `${attempt}: ${reasonOf(error)}`,
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}
