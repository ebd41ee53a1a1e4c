/** What a look brings to light beside what was looked for, collected. */
import { Failure, isSystemError, reasonOf } from "../errors.ts";
import type { Finding } from "../finding.ts";

/** What was found, and what could not be looked at. */
export interface Noted {
  findings: Finding[];
  /** A sentence each. */
  unseen: string[];
}

/** Nobody reads more. */
export const MOST_NOTES = 500;

/** Is it that this user may not? */
function isDenied(error: unknown): boolean {
  if (error instanceof Failure) return error.code === "system-eacces" || error.code === "system-eperm";
  return isSystemError(error, "EACCES", "EPERM");
}

/** What failed, without the subject: the rest of a sentence that begins with it. */
export function problemOf(error: unknown): string {
  if (!(error instanceof Failure)) return `cannot be read: ${reasonOf(error)}`;
  return error.problem;
}

/** Collects notes, as `Objections` collects why a run is refused. */
export class Notes implements Noted {
  readonly findings: Finding[] = [];
  readonly unseen: string[] = [];

  /** All of it, as data. */
  get noted(): Noted {
    return { findings: this.findings, unseen: this.unseen };
  }

  add(...findings: readonly Finding[]): void {
    this.findings.push(...findings);
  }

  /** What could not be looked at, a sentence each. */
  addUnseen(...sentences: readonly string[]): void {
    this.unseen.push(...sentences);
  }

  /**
   * Notes that something could not be looked at: what this user may not do is nothing that is wrong with the node.
   *
   * @param finding what it is otherwise. @throws what is not an error of the system and no Failure.
   */
  addFailure(error: unknown, path: string, finding: (problem: string) => Finding): void {
    const isKnown = error instanceof Failure || (error as NodeJS.ErrnoException).errno !== undefined;
    if (!isKnown) throw error;
    if (!isDenied(error)) {
      if (this.findings.length < MOST_NOTES) this.add(finding(problemOf(error)));
    } else if (this.unseen.length < MOST_NOTES) {
      this.addUnseen(`${path}: ${problemOf(error)}; run as root to see it`);
    }
  }
}

/** A directory with more entries than are looked at. */
export function crowded(path: string): Finding {
  return {
    code: "directory-crowded",
    severity: "warning",
    path,
    message: "has more entries than any node needs: only the first were examined",
    hint: "see which program fills it, and remove what is not needed",
  };
}
