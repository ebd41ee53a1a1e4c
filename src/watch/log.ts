/** What `watch` says: a line for each reconcile that changes something or fails, as text or as JSON. */
import type { Logger } from "pino";

import type { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { nameOfStep } from "../kinds/kind.ts";
import { describedFailure, jsonText, printFailure, printJson, printMessage, printWarnings } from "../report.ts";
import { maskTokens } from "../secrets/prose.ts";
import type { World } from "../world.ts";
import type { Observer, Reconcile } from "./reconcile.ts";

/** How it is said. */
export interface LogOptions {
  /** `json`: an object on stdout for each line of the report. */
  output: "text" | "json";
  /** `json`: every message is an object on stderr. */
  format: "text" | "json";
}

/** If more different things are wrong, they are said again. */
const MOST_SAID = 100;
/** A line names no more assets and findings than this. */
const MOST_SHOWN = 100;

/** Opens the log; pino is loaded only if it is used. */
export async function openLog(world: World, { output, format }: LogOptions): Promise<Log> {
  if (format === "text") return new Log(world, output);
  const { default: pino } = await import("pino");
  const options = {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level: string) => ({ level }) },
  };
  // What steers a terminal would do it from JSON, too.
  const write = (line: string): void => world.stderr(`${jsonText(JSON.parse(line))}\n`);
  return new Log(world, output, pino(options, { write }));
}

/** Says everything once: the same failure or finding is said again only if it was gone meanwhile. */
export class Log implements Observer {
  readonly #world: World;
  readonly #output: "text" | "json";
  readonly #json: Logger | undefined;
  /** Failures that were said since the last success. */
  #said = new Set<string>();
  /**
   * What the last reconcile found that changed something; the last one that did not, which looks at less; and those
   * that have failed since then, which look at less still.
   */
  readonly #found = { changed: new Set<string>(), unchanged: new Set<string>(), failed: new Set<string>() };
  /** The last reconcile succeeded, and that was said. */
  #isSettled = false;

  constructor(world: World, output: "text" | "json", json?: Logger) {
    this.#world = world;
    this.#output = output;
    this.#json = json;
  }

  reconciled(reconcile: Reconcile): void {
    if (reconcile.failure !== undefined) return this.#fail(reconcile, reconcile.failure);
    if (reconcile.changed.length > 0 || !this.#isSettled) this.#succeed(reconcile);
    this.#isSettled = true;
    this.#said.clear();
    this.#sayAnew(reconcile);
  }

  /** Why something cannot be followed. The same trouble is said once. */
  troubled(failure: Failure): void {
    if (!this.#isNew(failure.message)) return;
    this.#sayFailure(failure);
    this.#printFailed(failure);
  }

  /** Says something at once: where the process listens, what is waited for. @param hint makes it a warning. */
  message(text: string, hint?: string): void {
    if (this.#json === undefined) printMessage(this.#world, text, hint);
    else if (hint === undefined) this.#json.info(maskTokens(text));
    else this.#json.warn({ hint }, maskTokens(text));
  }

  #succeed(reconcile: Reconcile): void {
    const { steps, changed, findings } = reconcile;
    if (this.#output === "json") {
      const shown = steps.map(({ action, kind, name, object, outcome, reason }) => {
        return { action, kind, name, object, outcome, reason };
      });
      printJson(this.#world, { command: "watch", result: "done", exitCode: 0, steps: shown, warnings: findings });
    }
    const done = changed.slice(0, MOST_SHOWN).map((step) => `${step.outcome} ${nameOfStep(step)}`);
    if (this.#json !== undefined) this.#json.info(fieldsOf(reconcile), done.join(", ") || "nothing to do");
    else if (this.#output === "text") this.#line(done.join(", ") || "nothing to do", reconcile);
  }

  #fail(reconcile: Reconcile, failure: Failure): void {
    this.#isSettled = false;
    this.#sayAnew(reconcile);
    if (!this.#isNew(failure.message)) return;
    if (this.#json === undefined) printFailure(failure, this.#world);
    else this.#json.error({ ...fieldsOf(reconcile), error: describedFailure(failure) }, maskTokens(failure.message));
    this.#printFailed(failure, reconcile.findings);
    if (this.#json === undefined && this.#output === "text") this.#line("failed", reconcile);
  }

  #line(what: string, { duration, causes }: Reconcile): void {
    const how = `${Math.round(duration)} ms, for ${causes.join(", ")}`;
    this.#world.stdout(`${new Date().toISOString()} ${what} (${how})\n`);
  }

  #sayFailure(failure: Failure): void {
    if (this.#json === undefined) printFailure(failure, this.#world);
    else this.#json.error({ error: describedFailure(failure) }, maskTokens(failure.message));
  }

  #printFailed(failure: Failure, findings: readonly Finding[] = []): void {
    if (this.#output !== "json") return;
    const warnings = findings.length === 0 ? {} : { warnings: findings };
    const { exitCode } = failure;
    const error = describedFailure(failure);
    printJson(this.#world, { command: "watch", result: "failed", exitCode, steps: [], ...warnings, error });
  }

  /** Says what was not said the last time; what has gone may be said again. */
  #sayAnew({ findings, changed, failure }: Reconcile): void {
    const fresh = findings.filter((finding) => !Object.values(this.#found).some((known) => known.has(keyOf(finding))));
    const keys = new Set(findings.map(keyOf));
    if (failure !== undefined)
      this.#found.failed = this.#found.failed.size > MOST_SAID ? keys : this.#found.failed.union(keys);
    else {
      this.#found[changed.length > 0 ? "changed" : "unchanged"] = keys;
      this.#found.failed = new Set();
    }
    if (this.#json === undefined) printWarnings(this.#world, fresh);
    else for (const finding of fresh) this.#json.warn(shownFinding(finding), maskTokens(finding.message));
  }

  #isNew(message: string): boolean {
    if (this.#said.has(message)) return false;
    if (this.#said.size >= MOST_SAID) this.#said.clear();
    this.#said.add(message);
    return true;
  }
}

function keyOf({ code, path }: Finding): string {
  return `${code} ${path}`;
}

function shownFinding({ code, path, hint }: Finding): object {
  return { code, subject: path, ...(hint === undefined ? {} : { hint }) };
}

/** What a line has as fields: names and codes, never contents. */
function fieldsOf({ causes, duration, steps, changed, findings, repaired }: Reconcile): object {
  const outcomes: Record<string, number> = {};
  for (const { outcome } of steps) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  const shown = changed
    .slice(0, MOST_SHOWN)
    .map(({ kind, name, object, outcome }) => ({ kind, name, object, outcome }));
  return {
    trigger: causes,
    duration: Math.round(duration),
    repair: repaired.length > 0,
    outcomes,
    changed: shown,
    findings: findings.slice(0, MOST_SHOWN).map(({ code, path }) => ({ code, subject: path })),
  };
}
