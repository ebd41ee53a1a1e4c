/** Follows all objects of one kind with one watch. Of each object only what is asked for is kept. */
import type { Answer, Channel } from "./channel.ts";
import type { JsonObject } from "./json.ts";
import { objectIn, pathOf, ruleFor, wrongShape, type Resource } from "./resource.ts";
import {
  isObject,
  metadataOf,
  Refused,
  versionOf,
  Watching,
  type WatchEnd,
  type Timing,
  type WatchEvent,
} from "./watching.ts";

/** What is followed. */
export interface Collection<Item> {
  apiVersion: string;
  kind: string;
  resource: Resource;
  /** What is kept of an object. Two that are the same to `isSame` are no change. */
  pick: (name: string, object: JsonObject) => Item;
  isSame: (a: Item, b: Item) => boolean;
}

/** Asks for the list as the first events of the watch, object by object: servers do so from Kubernetes 1.32 on. */
const STREAMED = { sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" };
/** The annotation of the bookmark that ends this list. */
const LIST_END = "k8s.io/initial-events-end";
/** The server does not know the query, or does not let it be used: it is not asked again. */
const NEVER_STREAMED = new Set([400, 422]);
/** The server would refuse the list in pages, too. Where it refuses the watch only, these may still be read. */
const REFUSES_ALL = new Set([401, 429, 503]);
/** Of other servers so many objects are asked for at once. With 500, as kubectl asks for, 5,000 Nodes take 57 MiB more. */
const PAGE = 100;
/** More of one kind than any cluster has nodes. What is behind them is an error, and nothing is known then. */
const MOST_OBJECTS = 50_000;

/**
 * The objects of one kind that are not in a namespace.
 *
 * Only a whole list counts: while one is read, and if it fails, what was known before stays. A watch that ends is begun
 * again at the last version that the server named; if the server no longer knows that, the list is read anew: as the
 * beginning of the watch, or in pages of servers that do not send it so.
 */
export class ListWatch<Item> extends Watching {
  readonly #collection: Collection<Item>;
  #items: Map<string, Item> | undefined;
  #isPaged = false;

  constructor(
    channel: Channel,
    collection: Collection<Item>,
    onChange: () => void = () => undefined,
    timing: Partial<Timing> = {},
  ) {
    super(channel, collection.resource.name, onChange, timing);
    this.#collection = collection;
  }

  /** The newest state, by name; undefined: nothing is known yet. What was known stays if the API cannot be reached. */
  get items(): ReadonlyMap<string, Item> | undefined {
    return this.#items;
  }

  /** Reads the list once. @throws Failure as `Channel.open`, `api-refused`, `api-forbidden`, `answer-invalid`. */
  async list(signal: AbortSignal): Promise<ReadonlyMap<string, Item>> {
    const whole = new AbortController();
    let items: ReadonlyMap<string, Item> | undefined;
    try {
      const onWhole = (found: Map<string, Item>): void => {
        items = found;
        whole.abort();
      };
      await this.#stream(onWhole, AbortSignal.any([signal, whole.signal]));
      signal.throwIfAborted();
      return items ?? (await this.#readPages(signal));
    } catch (error) {
      throw error instanceof Refused ? error.failure : error;
    }
  }

  /**
   * Reads the list as the beginning of a watch.
   *
   * @param onWhole is given the list; afterwards what changes counts.
   * @returns how the watch ended; undefined: the list did not come so, but perhaps in pages.
   */
  async #stream(onWhole: (items: Map<string, Item>) => void, signal: AbortSignal): Promise<WatchEnd | undefined> {
    this.version = undefined;
    const { opened: stream, longest } = await this.openWatch(this.#path(), STREAMED, signal);
    using opened = stream;
    if (opened.status !== 200) {
      const answer = await this.channel.finish(opened, "the list", signal);
      if (REFUSES_ALL.has(answer.status)) throw this.refusal(answer, "cannot be listed");
      this.#isPaged = NEVER_STREAMED.has(answer.status);
      return undefined;
    }
    let items: Map<string, Item> | undefined = new Map();
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), this.timing.listSilence);
    const take = ({ type, object }: WatchEvent): void => {
      if (items === undefined) return this.#take(type, object);
      // Of a server that does not know the query, what happens at other times comes, too.
      if (type === "ADDED") timer.refresh();
      if (type !== "BOOKMARK") return this.#put(items, type, object);
      if (!isListEnd(object)) return;
      clearTimeout(timer);
      const found = items;
      items = undefined;
      onWhole(found);
    };
    try {
      const end = await this.receive(opened, longest, take, AbortSignal.any([signal, silence.signal]));
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- `take` changes it
      return items === undefined || signal.aborted ? end : undefined;
    } catch (error) {
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- `take` changes it
      if (items === undefined || !(error instanceof Refused) || REFUSES_ALL.has(error.status)) throw error;
      return undefined;
    } finally {
      clearTimeout(timer);
      // That of a part of the list is not one to go on at.
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- `take` changes it
      if (items !== undefined) this.version = undefined;
    }
  }

  async #readPages(signal: AbortSignal): Promise<Map<string, Item>> {
    const { resource } = this.#collection;
    const items = new Map<string, Item>();
    let next: string | undefined;
    do {
      const query = { limit: String(PAGE), ...(next !== undefined && { continue: next }) };
      const answer = await this.#page(query, signal);
      if (answer.status !== 200) throw this.refusal(answer, "cannot be listed");
      const { metadata, items: page } = objectIn(answer, resource.name);
      if (!isObject(metadata) || !Array.isArray(page)) throw wrongShape(resource.name, "a list of objects");
      for (const object of page) this.#put(items, "ADDED", object as JsonObject);
      next = typeof metadata["continue"] === "string" && metadata["continue"] !== "" ? metadata["continue"] : undefined;
      if (next !== undefined && page.length === 0) throw wrongShape(resource.name, "a list that has an end");
      this.version = versionOf({ metadata });
    } while (next !== undefined);
    return items;
  }

  protected override rule(): string {
    return ruleFor(["list", "watch"], this.#collection.resource);
  }

  protected override async watch(signal: AbortSignal): Promise<WatchEnd> {
    if (this.#items === undefined || this.version === undefined) {
      const streamed = this.#isPaged ? undefined : await this.#stream((items) => this.#begin(items), signal);
      if (streamed !== undefined) return streamed;
      try {
        this.#learn(await this.#readPages(signal));
      } catch (error) {
        // That of a page is not one to go on at.
        this.version = undefined;
        if (error instanceof Refused && error.status === 410) return "expired";
        throw error;
      }
    }
    const { opened: stream, longest } = await this.openWatch(this.#path(), {}, signal);
    using opened = stream;
    if (opened.status !== 200) {
      const answer = await this.channel.finish(opened, "the watch", signal);
      if (![401, 429, 503].includes(answer.status)) this.version = undefined;
      if (answer.status === 410) return "expired";
      throw this.refusal(answer, "cannot be watched");
    }
    this.nowLive();
    return await this.receive(opened, longest, ({ type, object }) => this.#take(type, object), signal);
  }

  async #page(query: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    using opened = await this.channel.open(this.#path(), query, signal);
    return await this.channel.finish(opened, `a page of ${this.#collection.resource.name}`, signal, "page");
  }

  #path(): string {
    const { apiVersion, kind, resource } = this.#collection;
    return pathOf({ apiVersion, kind, name: "" }, resource, true);
  }

  /** The watch goes on from a list that is whole. */
  #begin(items: Map<string, Item>): void {
    this.#learn(items);
    this.nowLive();
  }

  #take(type: WatchEvent["type"], object: JsonObject): void {
    if (type === "BOOKMARK" || this.#items === undefined) return;
    this.version = versionOf(object) ?? this.version;
    const name = nameOf(object);
    const before = this.#items.get(name);
    this.#put(this.#items, type, object);
    const after = this.#items.get(name);
    const isSame =
      before === undefined || after === undefined ? before === after : this.#collection.isSame(before, after);
    if (!isSame) this.onChange();
  }

  #put(items: Map<string, Item>, type: WatchEvent["type"], object: JsonObject): void {
    const name = nameOf(object);
    if (type === "DELETED") items.delete(name);
    else if (name !== "") items.set(name, this.#collection.pick(name, object));
    if (items.size <= MOST_OBJECTS) return;
    throw wrongShape(this.#collection.resource.name, `a list of at most ${MOST_OBJECTS} objects`);
  }

  #learn(items: Map<string, Item>): void {
    const before = this.#items;
    this.#items = items;
    const isSame =
      before?.size === items.size &&
      [...items].every(([name, item]) => {
        const one = before.get(name);
        return one !== undefined && this.#collection.isSame(one, item);
      });
    if (!isSame) this.onChange();
  }
}

function isListEnd(object: JsonObject): boolean {
  const { annotations } = metadataOf(object);
  return isObject(annotations) && annotations[LIST_END] === "true";
}

/** Empty: it has none. */
function nameOf(object: JsonObject): string {
  const { name } = isObject(object) ? metadataOf(object) : {};
  return typeof name === "string" ? name : "";
}
