/** Events of Kubernetes about what `watch` does: on the node and, if it is known, on the pod. */
import { randomBytes } from "node:crypto";

import type { Answer, Channel } from "../cluster/channel.ts";
import type { JsonObject } from "../cluster/json.ts";
import { apiFailure, pathOf, ruleFor, type Resource } from "../cluster/resource.ts";
import { Failure } from "../errors.ts";
import { maskTokens } from "../secrets/prose.ts";
import { visible } from "../system/text.ts";
import { CHANGES, nameOfStep, type StepResult } from "../kinds/kind.ts";
import type { Observer, Reconcile } from "./reconcile.ts";

const API_VERSION = "events.k8s.io/v1";
const RESOURCE: Resource = { group: "events.k8s.io", name: "events", namespaced: true };
/** Bytes, as the API server has them. */
const LONGEST_NOTE = 1024;
const LONGEST_INSTANCE = 128;
const LONGEST_NAME = 200;

/** Milliseconds, and numbers of Events. */
export const EVENT_TIMING = {
  /** They are sent so much later at most, by chance: a change in the cluster makes all nodes write at once. */
  jitter: 2_000,
  /** The same again within this is a series. */
  series: 600_000,
  /** Of one object: so many at once, then one in each interval, as client-go has it. */
  burst: 25,
  interval: 300_000,
  /** More wait for the API no longer. */
  queue: 50,
  /** One that could not be sent is tried so often; the pause doubles up to the longest. */
  tries: 5,
  firstPause: 10_000,
  longestPause: 300_000,
  /** What is forbidden is tried again after this. */
  forbidden: 1_800_000,
  /** The last ones may be sent for so long. */
  flush: 300,
};

/** Whom Events are about and where they go. */
export interface EventsOptions {
  channel: Channel;
  node: string;
  pod?: { name: string; namespace: string; uid?: string } | undefined;
  /** Says that Events cannot be written: once for each namespace. */
  say: (text: string, hint: string) => void;
}

/** What happened, for all the objects that it is about. */
export interface Happening {
  type: "Normal" | "Warning";
  reason: string;
  action: string;
  note: string;
}

/**
 * The object that an Event is about; its namespace has the Events. Times as `performance.now()` counts: the clock of a
 * node may jump.
 */
interface Regarding {
  namespace: string;
  object: JsonObject & { name: string };
  tokens: number;
  tokensAt: number;
  forbiddenUntil: number;
}

/** The same Event once or more often. */
interface Series extends Happening {
  regarding: Regarding;
  begin: Date;
  last: Date;
  /** `last`, as `performance.now()` counts. */
  lastAt: number;
  count: number;
  /** How often it had happened when the API was told last; 0: it was not told. */
  sentCount: number;
  tries: number;
  /** The name of the Event; undefined: there is none. */
  name: string | undefined;
}

/** Writes Events behind what goes on: nothing waits for them, and a failure to write one is not an Event. */
export class Events implements Observer, AsyncDisposable {
  readonly #options: EventsOptions;
  readonly #timing: typeof EVENT_TIMING;
  readonly #regarding: Regarding[];
  readonly #series = new Map<string, Series>();
  /** What the API is to be told. */
  readonly #pending = new Set<Series>();
  readonly #end = new AbortController();
  readonly #said = new Set<string>();
  #sending: Promise<void> | undefined;
  #pause: NodeJS.Timeout | undefined;
  #pauses = 0;
  #isClosed = false;

  constructor(options: EventsOptions, timing: Partial<typeof EVENT_TIMING> = {}) {
    this.#options = options;
    this.#timing = { ...EVENT_TIMING, ...timing };
    const { node, pod } = options;
    const full = { tokens: this.#timing.burst, tokensAt: performance.now(), forbiddenUntil: 0 };
    // The kubelet's Events have the name of the node as its UID, and kubectl describe looks for that.
    const ofNode = { apiVersion: "v1", kind: "Node", name: node, uid: node };
    this.#regarding = [{ namespace: "default", object: ofNode, ...full }];
    if (pod === undefined) return;
    const { name, namespace, uid } = pod;
    const ofPod = { apiVersion: "v1", kind: "Pod", name, namespace, ...(uid === undefined ? {} : { uid }) };
    this.#regarding.push({ namespace, object: ofPod, ...full });
  }

  /** Is nothing being sent right now? */
  get isIdle(): boolean {
    return this.#sending === undefined;
  }

  reconciled(reconcile: Reconcile): void {
    if (this.#isClosed) return;
    for (const happening of happeningsOf(reconcile)) this.note(happening);
    if (this.#sending === undefined && this.#pause === undefined) this.#rest(this.#timing.jitter * Math.random());
  }

  /** What is no reconcile. It is sent with the next ones, or at the end. */
  note(happening: Happening): void {
    const cut = { ...happening, note: noteOf(happening.note) };
    for (const regarding of this.#regarding) this.#note(cut, regarding);
  }

  /** Sends the last ones for a moment; then nothing more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#pause);
    this.#pause = undefined;
    // What the API has refused or not answered is not tried again now.
    if (this.#pauses === 0) this.#send();
    const timer = setTimeout(() => this.#end.abort(new Error("the process ends")), this.#timing.flush);
    await this.#sending;
    clearTimeout(timer);
  }

  /** What cannot be followed is of the way to the API, as a rule: the log and /statusz tell of it. */
  troubled(): void {
    // Not an Event.
  }

  #note(happening: Happening, regarding: Regarding): void {
    const now = performance.now();
    const date = new Date();
    const { type, reason, note } = happening;
    const key = JSON.stringify([regarding.object.name, regarding.namespace, type, reason, note]);
    this.#forget(now);
    const known = this.#series.get(key);
    const series = known ?? {
      ...happening,
      regarding,
      begin: date,
      last: date,
      lastAt: now,
      count: 0,
      sentCount: 0,
      tries: 0,
      name: undefined,
    };
    series.count++;
    series.last = date;
    series.lastAt = now;
    this.#series.delete(key);
    this.#series.set(key, series);
    // The more there are, the more rarely they are told.
    if (this.#pending.has(series) || series.count < series.sentCount * 2) return;
    if (regarding.forbiddenUntil > now || this.#pending.size >= this.#timing.queue) return;
    if (!this.#takeToken(regarding, now)) return;
    series.tries = 0;
    this.#pending.add(series);
  }

  /** Series that are over, and the oldest ones of too many. */
  #forget(now: number): void {
    for (const [key, { lastAt }] of this.#series) {
      if (this.#series.size < this.#timing.queue * 2 && now - lastAt < this.#timing.series) break;
      this.#series.delete(key);
    }
  }

  #takeToken(regarding: Regarding, now: number): boolean {
    const { burst, interval } = this.#timing;
    const more = Math.max(0, Math.floor((now - regarding.tokensAt) / interval));
    regarding.tokens = Math.min(burst, regarding.tokens + more);
    regarding.tokensAt += more * interval;
    if (regarding.tokens === 0) return false;
    regarding.tokens--;
    return true;
  }

  #send(): void {
    if (this.#sending !== undefined || this.#pause !== undefined) return;
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const [series] = this.#pending;
      if (series === undefined) return;
      const pause = await this.#tell(series);
      if (this.#end.signal.aborted) return;
      if (pause === undefined) continue;
      if (!this.#isClosed) this.#rest(pause);
      return;
    }
  }

  #rest(milliseconds: number): void {
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#send();
    }, milliseconds).unref();
  }

  /** Milliseconds to wait before the next one; undefined: none. */
  async #tell(series: Series): Promise<number | undefined> {
    const { count } = series;
    let answer: Answer | undefined;
    try {
      answer = await this.#request(series);
    } catch (error) {
      if (this.#end.signal.aborted) return undefined;
      if (!(error instanceof Failure)) throw error;
      // A name that cannot be part of a path will not be one the next time.
      if (error.code === "manifest-invalid") this.#pending.delete(series);
    }
    if (answer !== undefined && answer.status < 300) {
      series.sentCount = count;
      this.#pauses = 0;
    } else if (answer === undefined || isPassing(answer.status)) return this.#retry(series, answer);
    else if (answer.status === 404 && series.name !== undefined) {
      // It has expired. The series begins again.
      series.name = undefined;
      series.sentCount = 0;
      return undefined;
    } else if (answer.status === 403) this.#noteForbidden(series, answer);
    this.#pending.delete(series);
    return undefined;
  }

  #retry(series: Series, answer: Answer | undefined): number {
    const { tries, firstPause, longestPause } = this.#timing;
    if (answer?.status === 401) this.#options.channel.refused();
    if (++series.tries >= tries) this.#pending.delete(series);
    const pause = Math.min(longestPause, firstPause * 2 ** this.#pauses++) * (0.5 + Math.random());
    return Math.max(pause, Math.min(longestPause, (answer?.retryAfter ?? 0) * 1000));
  }

  #noteForbidden({ regarding, name }: Series, answer: Answer): void {
    const verb = name === undefined ? "create" : "patch";
    const subject = `Events of namespace ${regarding.namespace}`;
    const failure = apiFailure(subject, "cannot be written", answer, ruleFor(["create", "patch"], RESOURCE));
    if (failure.code !== "api-forbidden") return;
    regarding.forbiddenUntil = performance.now() + this.#timing.forbidden;
    if (this.#said.has(`${verb} ${subject}`)) return;
    this.#said.add(`${verb} ${subject}`);
    this.#options.say(failure.message, `${failure.hint ?? ""}, or give --events=false`);
  }

  async #request(series: Series): Promise<Answer> {
    const { channel, node, pod } = this.#options;
    const { regarding, type, reason, action, note, begin, last, count } = series;
    const { namespace, object } = regarding;
    const many = count > 1 ? { series: { count, lastObservedTime: microTime(last) } } : {};
    const pathTo = (name: string, isNew: boolean): string =>
      pathOf({ apiVersion: API_VERSION, kind: "Event", namespace, name }, RESOURCE, isNew);
    if (series.name !== undefined) {
      const sent = { method: "PATCH", contentType: "application/merge-patch+json", body: many } as const;
      return channel.send(pathTo(series.name, false), sent, this.#end.signal);
    }
    const name = nameFor(object.name);
    const body = {
      apiVersion: API_VERSION,
      kind: "Event",
      metadata: { name, namespace },
      eventTime: microTime(begin),
      reportingController: "cni-node.io/watch",
      reportingInstance: (pod?.name ?? node).slice(0, LONGEST_INSTANCE),
      regarding: object,
      type,
      reason,
      action,
      note,
      ...many,
    };
    const sent = { method: "POST", contentType: "application/json", body } as const;
    const answer = await channel.send(pathTo(name, true), sent, this.#end.signal);
    if (answer.status < 300) series.name = name;
    return answer;
  }
}

function isPassing(status: number): boolean {
  return status === 401 || status === 429 || status >= 500;
}

function done(steps: readonly StepResult[], outcomes: readonly string[]): string {
  return steps
    .filter(({ outcome }) => outcomes.includes(outcome))
    .map((step) => `${step.outcome} ${nameOfStep(step)}`)
    .join(", ");
}

/** What is told of a reconcile: names and codes, never contents. */
function happeningsOf({ changed, repaired, findings, failure }: Reconcile): Happening[] {
  const happenings: Happening[] = [];
  const add = (type: Happening["type"], reason: string, action: string, note: string): void => {
    if (note !== "") happenings.push({ type, reason, action, note });
  };
  const wanted = changed.filter((step) => !repaired.includes(step));
  add("Warning", "Repaired", "Repair", done(repaired, CHANGES));
  add("Normal", "Installed", "Install", done(wanted, ["created", "configured"]));
  add("Normal", "Removed", "Uninstall", done(wanted, ["deleted"]));
  if (failure !== undefined) {
    const reasons = [failure, ...failure.others].map(({ code, subject }) => `${code}: ${subject}`).join(", ");
    if (failure.exitCode === 4) add("Warning", "PartlyApplied", "Reconcile", reasons);
    else add("Warning", "RefusedToApply", "Reconcile", reasons);
  }
  for (const { code, path } of findings) {
    if (code === "asset-fought-over") add("Warning", "FightingOverFile", "Repair", `${code}: ${path}`);
  }
  return happenings;
}

/** A note that the API server accepts. */
function noteOf(text: string): string {
  const shown = visible(maskTokens(text));
  if (Buffer.byteLength(shown) <= LONGEST_NOTE) return shown;
  const cut = Buffer.from(shown)
    .subarray(0, LONGEST_NOTE - 3)
    .toString("utf8")
    .replace(/\uFFFD+$/u, "");
  return `${cut}…`;
}

/** A name of its own for each Event, in the form of client-go's. */
function nameFor(object: string): string {
  return `${object.slice(0, LONGEST_NAME).replace(/[^a-z0-9]+$/u, "")}.${randomBytes(8).toString("hex")}`;
}

/** A time with microseconds, as Events have it. */
function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}
