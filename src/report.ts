/** Results → text or JSON. The report goes to stdout, everything else to stderr. */
import { constants } from "node:os";

import type { StepResult } from "./kinds/kind.ts";
import { CniError } from "./cni/error.ts";
import type { FailureCode } from "./codes.ts";
import { cancellationOf, Failure, Interrupted, SUPERSEDED, type Cancellation } from "./errors.ts";
import type { Finding } from "./finding.ts";
import { maskTokens } from "./secrets/prose.ts";
import { alignRows, shortId, visibleJson, visibleLines, wrapLines } from "./system/text.ts";
import { plain } from "./system/style.ts";
import type { Ending, Meaning, View, World } from "./world.ts";

/** What `--output=json` prints, one object a run (docs/schemas/report.json). */
export interface JsonReport {
  version: 1;
  command: string;
  result: "done" | "failed" | "undone" | "partial";
  exitCode: number;
  [detail: string]: unknown;
}

/** Prints one object. */
export function printJson(world: World, report: Omit<JsonReport, "version">): void {
  const json = jsonText({ version: 1, ...report });
  world.stdout(world.view?.formatReport?.(json) ?? `${json}\n`);
}

/** The same value, with what cannot be seen as `\u202e`: what steers a terminal would do it from JSON, too. */
export function jsonText(value: unknown, indent?: number): string {
  return visibleJson(JSON.stringify(value, undefined, indent));
}

/** Says something on stderr, as `cni-node: …`. */
export function printMessage(world: World, text: string, hint?: string): void {
  printLines(world, [["strong", "cni-node:"]], text);
  printHint(world, hint);
}

/** Says what does not keep a run from being done, as `cni-node: warning: …`. */
export function printWarning(world: World, text: string, hint?: string): void {
  printLines(world, [["cni-node:"], ["warn", "warning:"]], text);
  printHint(world, hint);
}

function printHint(world: World, hint: string | undefined): void {
  if (hint !== undefined) printLines(world, [[" "], ["strong", "hint:"]], hint);
}

/** A message, which may have several lines and quote others: only its first line begins as ours do. */
function printLines({ view, stderr }: World, begin: readonly ([string] | [Meaning, string])[], text: string): void {
  const columns = view?.isSeen === true ? view.terminal?.columns : undefined;
  const words = begin.map((word) => word.at(-1) ?? "").join(" ");
  const lines = `${words} ${visibleLines(maskTokens(text)).trimEnd()}`.split("\n");
  const said = lines.flatMap((line) => wrapLines(line, (columns ?? Infinity) - 4)).join("\n    ");
  const paint = view?.paint.stderr ?? plain;
  const painted = begin.map((word) => (word.length === 1 ? word[0] : paint(...word))).join(" ");
  // On a terminal of a few columns the first words have lines of their own.
  stderr(said.startsWith(words) ? `${painted}${said.slice(words.length)}\n` : `${said}\n`);
}

/** Lines of cells in columns of equal width; the last cell is as long as it is, or as a terminal is wide. */
export function formatRows(rows: readonly (readonly string[])[], view?: View): string {
  return alignRows(rows, view?.terminal?.columns)
    .map((line) => `${line}\n`)
    .join("");
}

/** Container IDs, or what contains them, as a report has them: short on a terminal, whole where programs may read them. */
export function idFormat(output: string, view?: View): (id: string) => string {
  return output === "wide" || view?.terminal === undefined ? String : shortId;
}

/** What is shown of a step. */
type ShownStep = Pick<StepResult, "name" | "object" | "reason"> & { outcome: string; kind: string };

/** So many unchanged assets of a kind have a line each; more are counted. */
const MOST_UNCHANGED = 5;

/**
 * Aligned lines that begin with what has become of something, in its colour.
 *
 * @param isPlanned nothing of it has been done.
 */
export function formatOutcomes(
  rows: readonly (readonly [outcome: string, ...more: string[]])[],
  view?: View,
  isPlanned = false,
): string {
  const paint = view?.paint.stdout ?? plain;
  const shown = rows.map(([outcome, ...more]) => {
    return [(isPlanned ? (PLANNED[outcome] ?? outcome) : outcome).padEnd(10), ...more];
  });
  return alignRows(shown, view?.terminal?.columns)
    .map((line, index) => {
      const meaning = MEANINGS[rows[index]?.[0] ?? ""];
      return `${meaning === undefined ? line : line.replace(/^(?:would )?\S+/u, (word) => paint(meaning, word))}\n`;
    })
    .join("");
}

/** One aligned line a step. @param isPlanned nothing of it has been done. */
export function formatSteps(steps: readonly ShownStep[], view?: View, isPlanned = false): string {
  if (steps.length === 0) return "nothing to do\n";
  const shown = view?.isVerbose === true ? steps : summarized(steps);
  const rows = shown.map(({ outcome, kind, name, object, reason }) => {
    const more = [object, reason].filter((text) => text !== undefined).join(": ");
    return [outcome, kind.padEnd(8), name, more] as const;
  });
  return formatOutcomes(rows, view, isPlanned);
}

/** The outcomes of what has not been done yet. */
const PLANNED: Readonly<Record<string, string>> = {
  created: "would create",
  configured: "would configure",
  deleted: "would delete",
};

const MEANINGS: Readonly<Record<string, Meaning>> = {
  created: "good",
  configured: "good",
  deleted: "warn",
  absent: "warn",
  kept: "warn",
  unchanged: "faint",
};

/** Where many assets of a kind are unchanged, the first of them stands for all. */
function summarized(steps: readonly ShownStep[]): ShownStep[] {
  const isPlain = ({ outcome, object, reason }: ShownStep): boolean => {
    return outcome === "unchanged" && object === undefined && reason === undefined;
  };
  const unchanged = Map.groupBy(steps.filter(isPlain), ({ kind }) => kind);
  return steps.flatMap((step) => {
    const alike = isPlain(step) ? (unchanged.get(step.kind) ?? []) : [];
    if (alike.length <= MOST_UNCHANGED) return [step];
    return alike[0] === step ? [{ ...step, name: `${alike.length} ${step.kind}s` }] : [];
  });
}

/** Warnings are for people; in JSON they are part of the object. */
export function printWarnings(world: World, warnings: readonly Finding[]): void {
  for (const { path, message, hint } of warnings) {
    printWarning(world, `${path}: ${message}${hint === undefined ? "" : `; ${hint}`}`);
  }
}

/** Says what failed and why, and gives the exit code. */
export function reportFailure(error: unknown, command: string, json: boolean, world: World): Ending {
  const ending = endingOf(error);
  const findings = findingsOf(error);
  printWarnings(world, findings);
  printFailure(error, world);
  if (json) {
    const { exitCode } = ending;
    const result = exitCode === 4 ? "partial" : error instanceof Failure && error.undone ? "undone" : "failed";
    const warnings = findings.length === 0 ? {} : { warnings: findings };
    printJson(world, { command, result, exitCode, steps: [], ...warnings, error: describedFailure(error) });
  }
  return ending;
}

/** Says on stderr what failed and why; of a run that is refused, all of it. */
export function printFailure(error: unknown, world: World): void {
  const [, message, hint] = describe(error);
  if (error instanceof Failure && error.others.length > 0) printObjections([error, ...error.others], message, world);
  else printMessage(world, message, hint);
}

function findingsOf(error: unknown): readonly Finding[] {
  return error instanceof Failure || error instanceof Interrupted ? error.findings : [];
}

/** The same for programs: `error` of the JSON report. */
export function describedFailure(error: unknown): object {
  const [code, message, hint] = describe(error);
  const { cni, others = [] } = error instanceof Failure ? error : {};
  return {
    code,
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(cni === undefined ? {} : { cni }),
    ...(others.length === 0 ? {} : { objections: [error as Failure, ...others].map(objectionOf) }),
  };
}

function objectionOf({ code, subject, message, hint }: Failure): object {
  return { code, subject, message, ...(hint === undefined ? {} : { hint }) };
}

/** Several reasons for one refusal; what helps against all of them is said once. @param first how the first is told. */
function printObjections(objections: readonly Failure[], first: string, world: World): void {
  const [{ hints } = { hints: [] }] = objections;
  const common = hints.filter((hint) => objections.every((one) => one.hints.includes(hint)));
  for (const [index, { message, hints: own }] of objections.entries()) {
    printMessage(world, index === 0 ? first : message, joined(own.filter((hint) => !common.includes(hint))));
  }
  printMessage(world, `${objections.length} objections`, joined(common));
}

function joined(hints: readonly string[]): string | undefined {
  return hints.length === 0 ? undefined : hints.join("; ");
}

function endingOf(error: unknown): Ending {
  if (error instanceof Failure) return { exitCode: error.exitCode };
  if (error instanceof Interrupted) return cancelledEnding(error.reason, 1);
  return { exitCode: 1 };
}

/** How a run ends that was completed, even if it was cancelled meanwhile. @param exitCode unless a signal came. */
export function endingOfDone(signal: AbortSignal, exitCode: number): Ending {
  return signal.aborted ? cancelledEnding(cancellationOf(signal), exitCode) : { exitCode };
}

/** How a run ends that is cancelled. @param exitCode of a run that is superseded: no signal ends the process. */
function cancelledEnding(reason: Cancellation, exitCode: number): Ending {
  // By the signal itself or, of process 1, by the exit code that stands for it.
  return reason === SUPERSEDED ? { exitCode } : { exitCode: 128 + constants.signals[reason], signal: reason };
}

function describe(error: unknown): [code: FailureCode, message: string, hint?: string] {
  if (error instanceof Failure) {
    const message = error.undone ? `${error.message}; what had been done was undone` : error.message;
    return error.hint === undefined ? [error.code, message] : [error.code, message, error.hint];
  }
  if (error instanceof Interrupted) return ["interrupted", error.message];
  if (error instanceof CniError)
    return ["cni-failed", error.message, "run as root; --cache-dir says where attachments are"];
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return ["internal", `this is a defect of cni-node: ${stack}`, "please report it with this text"];
}
