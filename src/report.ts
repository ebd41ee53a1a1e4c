/** Results → text or JSON. The report goes to stdout, everything else to stderr. */
import { constants } from "node:os";

import type { StepResult } from "./apply/plan.ts";
import { CniError } from "./cni/error.ts";
import { Failure, Interrupted } from "./errors.ts";
import { visible } from "./system/text.ts";
import type { Ending, World } from "./world.ts";

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
  world.stdout(`${JSON.stringify({ version: 1, ...report })}\n`);
}

/** One aligned line a step. */
export function formatSteps(
  steps: readonly (Pick<StepResult, "name" | "object" | "reason"> & { outcome: string; kind: string })[],
): string {
  if (steps.length === 0) return "nothing to do\n";
  const width = Math.max(...steps.map(({ name }) => name.length));
  return steps
    .map(({ outcome, kind, name, object, reason }) => {
      const more = [object, reason].filter((text) => text !== undefined).join(": ");
      return visible(`${outcome.padEnd(10)}  ${kind.padEnd(8)}  ${name.padEnd(width)}  ${more}`.trimEnd());
    })
    .map((line) => `${line}\n`)
    .join("");
}

/** Warnings are for people; in JSON they are part of the object. */
export function printWarnings(world: World, warnings: readonly string[]): void {
  for (const warning of warnings) world.stderr(`cni-node: warning: ${warning}\n`);
}

/** Says what failed and why, and gives the exit code. */
export function reportFailure(error: unknown, command: string, json: boolean, world: World): Ending {
  const ending = endingOf(error);
  const [code, message, hint] = describe(error);
  world.stderr(`cni-node: ${message}\n${hint === undefined ? "" : `  hint: ${hint}\n`}`);
  if (json) {
    const { exitCode } = ending;
    const result = exitCode === 4 ? "partial" : error instanceof Failure && error.undone ? "undone" : "failed";
    const cni = error instanceof Failure ? error.cni : undefined;
    const described = { code, message, ...(hint === undefined ? {} : { hint }), ...(cni === undefined ? {} : { cni }) };
    printJson(world, { command, result, exitCode, steps: [], error: described });
  }
  return ending;
}

function endingOf(error: unknown): Ending {
  if (error instanceof Failure) return { exitCode: error.exitCode };
  if (error instanceof Interrupted) return signalEnding(error.signal);
  return { exitCode: 1 };
}

/** By the signal itself or, of process 1, by the exit code that stands for it. */
export function signalEnding(signal: NodeJS.Signals): Ending {
  return { exitCode: 128 + constants.signals[signal], signal };
}

function describe(error: unknown): [code: string, message: string, hint?: string] {
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
