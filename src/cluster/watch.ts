/** Follows one object of the API by its name: the newest state counts, no event does. */
import type { Channel, Opened } from "./channel.ts";
import type { JsonObject, JsonValue } from "./json.ts";
import { describeIdentity, isAbsent, objectIn, pathOf, ruleFor, type Identity, type Resource } from "./resource.ts";
import { metadataOf, versionOf, Watching, type WatchEnd, type Timing, type WatchEvent } from "./watching.ts";

export type { Timing } from "./watching.ts";

/** What is known of an object. */
export interface Known {
  /** As the server has it; undefined: no object has this name. */
  object: JsonObject | undefined;
}

/**
 * An object that is followed.
 *
 * A watch begins without a version and the object is read once it has begun: nothing that happens in between is lost,
 * and an object that was last changed before the server's oldest event needs no second attempt. A watch that ends is
 * begun again at the last version that the server named, for which bookmarks keep it young.
 */
export class ObjectWatch extends Watching {
  readonly #identity: Identity;
  readonly #resource: Resource;
  #known: Known | undefined;

  /** @param onChange is called when something else is known, or when trouble begins or ends. */
  constructor(
    channel: Channel,
    identity: Identity,
    resource: Resource,
    onChange: () => void,
    timing: Partial<Timing> = {},
  ) {
    super(channel, describeIdentity(identity), onChange, timing);
    this.#identity = identity;
    this.#resource = resource;
  }

  /** The newest state; undefined: nothing is known yet. What was known stays if the API cannot be reached. */
  get known(): Known | undefined {
    return this.#known;
  }

  protected override rule(): string {
    return ruleFor(["get", "watch"], this.#resource, this.#identity.name);
  }

  protected override async watch(signal: AbortSignal): Promise<WatchEnd> {
    const { name } = this.#identity;
    const since = this.version;
    const path = pathOf(this.#identity, this.#resource, true);
    const { opened: stream, longest } = await this.openWatch(path, { fieldSelector: `metadata.name=${name}` }, signal);
    using opened = stream;
    if (opened.status !== 200) return await this.#refused(opened, signal);
    // What had happened until then is read, and comes with the watch again.
    const readAt = since === undefined ? await this.#read(signal) : undefined;
    this.nowLive();
    const take = ({ type, object }: WatchEvent): void => {
      if (type === "BOOKMARK" || nameOf(object) !== name) return;
      const version = versionOf(object);
      this.version = version ?? this.version;
      if (!isAtMost(version, readAt)) this.#learn(type === "DELETED" ? undefined : object);
    };
    return await this.receive(opened, longest, take, signal);
  }

  /** Reads the object; returns its version. */
  async #read(signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.channel.get(pathOf(this.#identity, this.#resource), signal);
    if (isAbsent(answer)) {
      this.#learn(undefined);
      return undefined;
    }
    if (answer.status !== 200) throw this.refusal(answer, "cannot be read");
    const object = objectIn(answer, describeIdentity(this.#identity));
    this.#learn(object);
    return versionOf(object);
  }

  /** The watch was refused. The object is still read, though less often. */
  async #refused(opened: Opened, signal: AbortSignal): Promise<WatchEnd> {
    const answer = await this.channel.finish(opened, "the watch", signal);
    const { status } = answer;
    // What the server does not understand, or is too young for, is begun anew. Else it is only not the time for it.
    if (status !== 401 && status !== 429 && status !== 503) this.version = undefined;
    if (status === 410) return "expired";
    const refused = this.refusal(answer, "cannot be watched");
    if (refused.isLasting) await this.#read(signal);
    throw refused;
  }

  #learn(object: JsonObject | undefined): void {
    const before = this.#known;
    this.#known = { object };
    if (before === undefined || !isSame(before.object, object)) this.onChange();
  }
}

function nameOf(object: JsonObject): JsonValue | undefined {
  return metadataOf(object)["name"];
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
