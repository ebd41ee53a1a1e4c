/** Follows one object of the API by its name: the newest state counts, no event does. */
import { setTimeout as sleep } from "node:timers/promises";

import { Failure } from "../errors.ts";
import type { Answer, Channel, Opened } from "./channel.ts";
import type { JsonObject, JsonValue } from "./json.ts";
import { ANSWER_LIMITS, parsed, tooLarge } from "./request.ts";
import {
  apiFailure,
  describeIdentity,
  isAbsent,
  objectIn,
  pathOf,
  ruleFor,
  type Identity,
  type Resource,
} from "./resource.ts";

/** What is known of an object. */
export interface Known {
  /** As the server has it; undefined: no object has this name. */
  object: JsonObject | undefined;
}

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
}

const TIMING: Timing = {
  firstPause: 1000,
  longestPause: 30_000,
  healthy: 30_000,
  silence: 180_000,
  lifetime: 300_000,
};

/** The longest Retry-After that is honored, in seconds. */
const LONGEST_RETRY_AFTER = 300;
/** What is refused for good, such as a missing right, is tried so many times as rarely. */
const LASTING = 10;
/** The server has so long to end a watch itself. */
const GRACE_MS = 30_000;

/** How a watch ended: the server closed it, or it no longer knows what happened since. */
type End = "closed" | "expired";

/**
 * An object that is followed.
 *
 * A watch begins without a version and the object is read once it has begun: nothing that happens in between is lost,
 * and an object that was last changed before the server's oldest event needs no second attempt. A watch that ends is
 * begun again at the last version that the server named, for which bookmarks keep it young.
 */
export class ObjectWatch {
  /** How often a watch was begun. */
  begun = 0;
  readonly #channel: Channel;
  readonly #identity: Identity;
  readonly #resource: Resource;
  readonly #onChange: () => void;
  readonly #timing: Timing;
  #known: Known | undefined;
  #trouble: Failure | undefined;
  #isLive = false;
  /** Where a watch goes on; undefined: the object must be read again. */
  #version: string | undefined;

  /** @param onChange is called when something else is known, or when trouble begins or ends. */
  constructor(
    channel: Channel,
    identity: Identity,
    resource: Resource,
    onChange: () => void,
    timing: Partial<Timing> = {},
  ) {
    this.#channel = channel;
    this.#identity = identity;
    this.#resource = resource;
    this.#onChange = onChange;
    this.#timing = { ...TIMING, ...timing };
  }

  /** The newest state; undefined: nothing is known yet. What was known stays if the API cannot be reached. */
  get known(): Known | undefined {
    return this.#known;
  }

  /** Why the object cannot be followed at present. */
  get trouble(): Failure | undefined {
    return this.#trouble;
  }

  /** Would a change be noticed at once? */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Follows the object until the signal is aborted. Nothing is left to wait for then. */
  async follow(signal: AbortSignal): Promise<void> {
    let failures = 0;
    let isRenewed = false;
    while (!signal.aborted) {
      const begin = performance.now();
      const lasted = (): number => performance.now() - begin;
      const answered = await this.#watch(signal).catch((error: unknown) => {
        if (!signal.aborted && !(error instanceof Failure || error instanceof Refused)) throw error;
        return error as Failure | Refused;
      });
      this.#isLive = false;
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- it may have been aborted meanwhile
      if (signal.aborted) return;
      if (lasted() >= this.#timing.healthy) {
        failures = 0;
        isRenewed = false;
      }
      if (answered === "closed" && lasted() >= this.#timing.lifetime) continue;
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

  async #watch(signal: AbortSignal): Promise<End> {
    const { name } = this.#identity;
    const seconds = Math.ceil((this.#timing.lifetime * (1 + Math.random())) / 1000);
    const since = this.#version;
    using opened = await this.#channel.open(
      pathOf(this.#identity, this.#resource, true),
      {
        watch: "1",
        fieldSelector: `metadata.name=${name}`,
        allowWatchBookmarks: "true",
        timeoutSeconds: String(seconds),
        ...(since !== undefined && { resourceVersion: since }),
      },
      signal,
    );
    this.begun++;
    if (opened.status !== 200) return await this.#refused(opened, signal);
    const readAt = since === undefined ? await this.#read(signal) : undefined;
    this.#isLive = true;
    this.#report(undefined);
    return await this.#receive(opened, readAt, seconds * 1000 + GRACE_MS, signal);
  }

  /** Reads the object; returns its version. */
  async #read(signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#channel.get(pathOf(this.#identity, this.#resource), signal);
    if (isAbsent(answer)) {
      this.#learn(undefined);
      return undefined;
    }
    if (answer.status !== 200) throw this.#refusal(answer, "cannot be read");
    const object = objectIn(answer, describeIdentity(this.#identity));
    this.#learn(object);
    return versionOf(object);
  }

  /** The watch was refused. The object is still read, though less often. */
  async #refused(opened: Opened, signal: AbortSignal): Promise<End> {
    const answer = await this.#channel.finish(opened, "the watch", signal);
    const { status } = answer;
    // What the server does not understand, or is too young for, is begun anew. Else it is only not the time for it.
    if (status !== 401 && status !== 429 && status !== 503) this.#version = undefined;
    if (status === 410) return "expired";
    const refused = this.#refusal(answer, "cannot be watched");
    if (refused.isLasting) await this.#read(signal);
    throw refused;
  }

  #refusal(answer: Answer, attempt: string): Refused {
    if (answer.status === 401) this.#channel.refused();
    const rule = answer.status === 403 ? ruleFor(["get", "watch"], this.#resource, this.#identity.name) : undefined;
    const failure = apiFailure(describeIdentity(this.#identity), attempt, answer, rule);
    return new Refused(failure, answer.status, answer.retryAfter);
  }

  /** @param readAt the version at which the object was read after the watch had begun. */
  async #receive(opened: Opened, readAt: string | undefined, longest: number, signal: AbortSignal): Promise<End> {
    let isOver = false;
    const close = (): void => {
      isOver = true;
      opened[Symbol.dispose]();
    };
    const end = setTimeout(close, longest);
    const silence = setTimeout(() => {
      this.#channel.reset();
      close();
    }, this.#timing.silence);
    signal.addEventListener("abort", close);
    try {
      for await (const line of linesIn(opened.body, () => silence.refresh())) {
        const event = eventIn(line, describeIdentity(this.#identity));
        if (event.type === "ERROR") return this.#failed(event.object);
        if (nameOf(event.object) !== this.#identity.name && event.type !== "BOOKMARK") continue;
        const version = versionOf(event.object);
        this.#version = version ?? this.#version;
        if (event.type === "BOOKMARK" || isAtMost(version, readAt)) continue;
        this.#learn(event.type === "DELETED" ? undefined : event.object);
      }
    } catch (error) {
      if (error instanceof Failure || error instanceof Refused) throw error;
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- the timers change it
      if (!isOver) throw this.#channel.lost(error);
    } finally {
      clearTimeout(end);
      clearTimeout(silence);
      signal.removeEventListener("abort", close);
    }
    return "closed";
  }

  /** The server ends the watch with a Status. */
  #failed(status: JsonObject): End {
    const code = typeof status["code"] === "number" ? status["code"] : 500;
    this.#version = undefined;
    if (code === 410) return "expired";
    const { retryAfterSeconds } = (status["details"] ?? {}) as { retryAfterSeconds?: unknown };
    const retryAfter = typeof retryAfterSeconds === "number" ? retryAfterSeconds : undefined;
    const body = this.#channel.redacted(status);
    throw this.#refusal({ status: code, body, retryAfter, warnings: [] }, "cannot be watched");
  }

  #learn(object: JsonObject | undefined): void {
    const before = this.#known;
    this.#known = { object };
    if (before === undefined || !isSame(before.object, object)) this.#onChange();
  }

  #report(trouble: Failure | undefined): void {
    const before = this.#trouble;
    this.#trouble = trouble;
    if (before?.message !== trouble?.message) this.#onChange();
  }

  /** Waits before the next attempt: longer each time, never the same for two nodes, and as long as the server asks. */
  async #pause(failures: number, refused: Refused | undefined, signal: AbortSignal): Promise<void> {
    const { firstPause, longestPause } = this.#timing;
    const longest = longestPause * (refused?.isLasting === true ? LASTING : 1);
    const asked = Math.min(refused?.retryAfter ?? 0, LONGEST_RETRY_AFTER) * 1000;
    const pause = Math.min(longest, firstPause * 2 ** failures) * (0.5 + Math.random());
    await sleep(asked + pause, undefined, { signal }).catch(() => undefined);
  }
}

/** The server has answered, but not with what was asked for. */
class Refused extends Error {
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

interface Event {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: JsonObject;
}

const TYPES = new Set<unknown>(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

/** @throws Failure `answer-invalid` */
function eventIn(line: string, subject: string): Event {
  const event = parsed(line);
  if (isObject(event) && TYPES.has(event["type"]) && isObject(event["object"])) return event as unknown as Event;
  throw new Failure({
    code: "answer-invalid",
    subject,
    problem: "the watch has sent something that is not an event of Kubernetes",
    hint: "look at what stands at the address of the API: a server of Kubernetes does not answer so",
  });
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function metadataOf({ metadata }: JsonObject): JsonObject {
  return isObject(metadata) ? metadata : {};
}

function nameOf(object: JsonObject): JsonValue | undefined {
  return metadataOf(object)["name"];
}

function versionOf(object: JsonObject): string | undefined {
  const { resourceVersion } = metadataOf(object);
  return typeof resourceVersion === "string" && resourceVersion !== "" ? resourceVersion : undefined;
}

function isSame(a: JsonObject | undefined, b: JsonObject | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const version = versionOf(a);
  return version !== undefined && version === versionOf(b) && metadataOf(a)["uid"] === metadataOf(b)["uid"];
}

/** Is a version not newer than the other? Versions of the API are decimal numbers; others are newer. */
function isAtMost(version: string | undefined, other: string | undefined): boolean {
  if (version === undefined || other === undefined) return false;
  if (!/^\d+$/u.test(version) || !/^\d+$/u.test(other)) return version === other;
  return BigInt(version) <= BigInt(other);
}
