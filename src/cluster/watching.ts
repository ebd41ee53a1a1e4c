/** What follows something of the API with a watch, whatever it is: attempts, pauses, and the events of the stream. */
import { setTimeout as sleep } from "node:timers/promises";

import { Failure } from "../errors.ts";
import type { Answer, Channel, Opened } from "./channel.ts";
import type { JsonObject, JsonValue } from "./json.ts";
import { ANSWER_LIMITS, parsed, tooLarge } from "./request.ts";
import { apiFailure } from "./resource.ts";

/** Milliseconds. Every one of them is jittered where many nodes would otherwise do the same at once. */
export interface Timing {
  /** The pause after the first failure; each further one doubles it, up to the longest. */
  firstPause: number;
  longestPause: number;
  /** A watch that has lasted so long was no failure. */
  healthy: number;
  /** A watch on which nothing comes for so long is begun anew; servers send a bookmark each minute. */
  silence: number;
  /** The server is asked to end a watch after this, up to twice as much. */
  lifetime: number;
  /** A server that adds nothing for so long, where a list is to come as a watch, sends no list so. */
  listSilence: number;
}

const TIMING: Timing = {
  firstPause: 1000,
  longestPause: 30_000,
  healthy: 30_000,
  silence: 180_000,
  lifetime: 300_000,
  listSilence: 10_000,
};

/** The longest Retry-After that is honored, in seconds. */
const LONGEST_RETRY_AFTER = 300;
/** What is refused for good, such as a missing right, is tried so many times as rarely. */
const LASTING = 10;
/** The server has so long to end a watch itself. */
const GRACE_MS = 30_000;

/** How a watch ended: the server closed it, or it no longer knows what happened since. */
export type WatchEnd = "closed" | "expired";

/** A watch that is begun again until the signal is aborted. */
export abstract class Watching {
  /** How often a watch was begun. */
  begun = 0;
  /** Where a watch goes on; undefined: everything must be read again. */
  protected version: string | undefined;
  protected readonly channel: Channel;
  protected readonly onChange: () => void;
  protected readonly timing: Timing;
  readonly #subject: string;
  #trouble: Failure | undefined;
  #isLive = false;

  /** @param subject what is followed, for messages. @param onChange is called, too, when trouble begins or ends. */
  constructor(channel: Channel, subject: string, onChange: () => void, timing: Partial<Timing>) {
    this.channel = channel;
    this.#subject = subject;
    this.onChange = onChange;
    this.timing = { ...TIMING, ...timing };
  }

  /** Why it cannot be followed at present. */
  get trouble(): Failure | undefined {
    return this.#trouble;
  }

  /** Would a change be noticed at once? */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** One attempt: begins a watch, and receives what comes. */
  protected abstract watch(signal: AbortSignal): Promise<WatchEnd>;

  /** What may be lacking if the API forbids it. */
  protected abstract rule(): string;

  /** Follows it until the signal is aborted. Nothing is left to wait for then. */
  async follow(signal: AbortSignal): Promise<void> {
    let failures = 0;
    let isRenewed = false;
    while (!signal.aborted) {
      const begin = performance.now();
      const lasted = (): number => performance.now() - begin;
      const answered = await this.watch(signal).catch((error: unknown) => {
        if (!signal.aborted && !(error instanceof Failure || error instanceof Refused)) throw error;
        return error as Failure | Refused;
      });
      this.#isLive = false;
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- it may have been aborted meanwhile
      if (signal.aborted) return;
      if (lasted() >= this.timing.healthy) {
        failures = 0;
        isRenewed = false;
      }
      if (answered === "closed" && lasted() >= this.timing.lifetime) continue;
      // Once, for what is expired or no longer accepted is read anew then.
      const isAnew = answered === "expired" || (answered instanceof Refused && answered.status === 401);
      if (isAnew && !isRenewed) {
        isRenewed = true;
        continue;
      }
      if (answered instanceof Error) this.#report(answered instanceof Refused ? answered.failure : answered);
      await this.#pause(failures++, answered instanceof Refused ? answered : undefined, signal);
    }
  }

  /** Opens a watch. @returns its stream, and how long it may last, milliseconds. */
  protected async openWatch(
    path: string,
    selector: Record<string, string>,
    signal: AbortSignal,
  ): Promise<{ opened: Opened; longest: number }> {
    const seconds = Math.ceil((this.timing.lifetime * (1 + Math.random())) / 1000);
    const query = {
      watch: "1",
      ...selector,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(seconds),
      ...(this.version !== undefined && { resourceVersion: this.version }),
    };
    const opened = await this.channel.open(path, query, signal);
    if (opened.status === 200) this.begun++;
    return { opened, longest: seconds * 1000 + GRACE_MS };
  }

  /** From now on changes are noticed at once. */
  protected nowLive(): void {
    this.#isLive = true;
    this.#report(undefined);
  }

  /** Gives each event but errors to `take`; `version` is that of a bookmark already, else still that of the event before. */
  protected async receive(
    opened: Opened,
    longest: number,
    take: (event: WatchEvent) => void,
    signal: AbortSignal,
  ): Promise<WatchEnd> {
    let isOver = false;
    const close = (): void => {
      isOver = true;
      opened[Symbol.dispose]();
    };
    const end = setTimeout(close, longest);
    const silence = setTimeout(() => {
      this.channel.reset();
      close();
    }, this.timing.silence);
    signal.addEventListener("abort", close);
    try {
      for await (const line of linesIn(opened.body, () => silence.refresh())) {
        const event = eventIn(line, this.#subject);
        if (event.type === "ERROR") return this.#failed(event.object);
        if (event.type === "BOOKMARK") this.version = versionOf(event.object) ?? this.version;
        take(event);
      }
    } catch (error) {
      if (error instanceof Failure || error instanceof Refused) throw error;
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- the timers change it
      if (!isOver) throw this.channel.lost(error);
    } finally {
      clearTimeout(end);
      clearTimeout(silence);
      signal.removeEventListener("abort", close);
    }
    return "closed";
  }

  /** The server ends the watch with a Status. */
  #failed(status: JsonObject): WatchEnd {
    const code = typeof status["code"] === "number" ? status["code"] : 500;
    this.version = undefined;
    if (code === 410) return "expired";
    const { retryAfterSeconds } = (status["details"] ?? {}) as { retryAfterSeconds?: unknown };
    const retryAfter = typeof retryAfterSeconds === "number" ? retryAfterSeconds : undefined;
    const body = this.channel.redacted(status);
    throw this.refusal({ status: code, body, retryAfter, warnings: [] }, "cannot be watched");
  }

  /** The failure that an answer stands for; new credentials are looked for if the API has not accepted them. */
  protected refusal(answer: Answer, attempt: string): Refused {
    if (answer.status === 401) this.channel.refused();
    const failure = apiFailure(this.#subject, attempt, answer, answer.status === 403 ? this.rule() : undefined);
    return new Refused(failure, answer.status, answer.retryAfter);
  }

  #report(trouble: Failure | undefined): void {
    const before = this.#trouble;
    this.#trouble = trouble;
    if (before?.message !== trouble?.message) this.onChange();
  }

  /** Waits before the next attempt: longer each time, never the same for two nodes, and as long as the server asks. */
  async #pause(failures: number, refused: Refused | undefined, signal: AbortSignal): Promise<void> {
    const { firstPause, longestPause } = this.timing;
    const longest = longestPause * (refused?.isLasting === true ? LASTING : 1);
    const asked = Math.min(refused?.retryAfter ?? 0, LONGEST_RETRY_AFTER) * 1000;
    const pause = Math.min(longest, firstPause * 2 ** failures) * (0.5 + Math.random());
    await sleep(asked + pause, undefined, { signal }).catch(() => undefined);
  }
}

/** The server has answered, but not with what was asked for. */
export class Refused extends Error {
  readonly failure: Failure;
  readonly status: number;
  /** Seconds. */
  readonly retryAfter: number;

  constructor(failure: Failure, status: number, retryAfter = 0) {
    super(failure.message);
    this.failure = failure;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** It will be refused the next time, too, until somebody changes something. */
  get isLasting(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 401 && this.status !== 429;
  }
}

/** The lines of a stream, each bounded as an object is. @param onData is called when something has come. */
async function* linesIn(body: AsyncIterable<Buffer>, onData: () => void): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    onData();
    let begin = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, begin)) {
      yield Buffer.concat([...parts, chunk.subarray(begin, end)]).toString("utf8");
      begin = end + 1;
      parts = [];
      size = 0;
    }
    if (begin < chunk.length) parts.push(chunk.subarray(begin));
    size += chunk.length - begin;
    if (size > ANSWER_LIMITS.object) throw tooLarge("the watch", ANSWER_LIMITS.object);
  }
  if (size > 0) yield Buffer.concat(parts).toString("utf8");
}

/** An event of a watch. */
export interface WatchEvent {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: JsonObject;
}

const TYPES = new Set<unknown>(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

/** @throws Failure `answer-invalid` */
function eventIn(line: string, subject: string): WatchEvent {
  const event = parsed(line);
  if (isObject(event) && TYPES.has(event["type"]) && isObject(event["object"])) return event as unknown as WatchEvent;
  throw new Failure({
    code: "answer-invalid",
    subject,
    problem: "the watch has sent something that is not an event of Kubernetes",
    hint: "see which server has the address of the API: a Kubernetes API server does not answer like this",
  });
}

/** Is it a JSON object? */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The metadata of an object; empty if it has none. */
export function metadataOf({ metadata }: JsonObject): JsonObject {
  return isObject(metadata) ? metadata : {};
}

/** The resource version of an object. */
export function versionOf(object: JsonObject): string | undefined {
  const { resourceVersion } = metadataOf(object);
  return typeof resourceVersion === "string" && resourceVersion !== "" ? resourceVersion : undefined;
}
