/** Follows all objects of one kind: a list in pages, then one watch. Of each object only what is asked for is kept. */
import type { Answer, Channel } from "./channel.ts";
import type { JsonObject } from "./json.ts";
import { objectIn, pathOf, ruleFor, wrongShape, type Resource } from "./resource.ts";
import { isObject, metadataOf, Refused, versionOf, Watching, type End, type Timing } from "./watching.ts";

/** What is followed. */
export interface Collection<Item> {
  apiVersion: string;
  kind: string;
  resource: Resource;
  /** What is kept of an object. Two that are the same to `isSame` are no change. */
  pick: (name: string, object: JsonObject) => Item;
  isSame: (a: Item, b: Item) => boolean;
}

/** So many objects are asked for at once. With 500, as kubectl asks for, 5,000 Nodes take 57 MiB more. */
const PAGE = 100;
/** More of one kind than any cluster has nodes. What is behind them is an error, and nothing is known then. */
const MOST_OBJECTS = 50_000;

/**
 * The objects of one kind that are not in a namespace.
 *
 * Only a whole list counts: while one is read, and if it fails, what was known before stays. A watch that ends is begun
 * again at the last version that the server named; if the server no longer knows that, the list is read anew.
 */
export class ListWatch<Item> extends Watching {
  readonly #collection: Collection<Item>;
  #items: Map<string, Item> | undefined;

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
    try {
      return await this.#read(signal);
    } catch (error) {
      throw error instanceof Refused ? error.failure : error;
    }
  }

  async #read(signal: AbortSignal): Promise<Map<string, Item>> {
    const { resource } = this.#collection;
    const items = new Map<string, Item>();
    let next: string | undefined;
    do {
      const query = { limit: String(PAGE), ...(next !== undefined && { continue: next }) };
      const answer = await this.#page(query, signal);
      if (answer.status !== 200) throw this.refusal(answer, "cannot be listed");
      const { metadata, items: page } = objectIn(answer, resource.name);
      if (!isObject(metadata) || !Array.isArray(page)) throw wrongShape(resource.name, "a list of objects");
      for (const object of page) this.#add(items, object as JsonObject);
      if (items.size > MOST_OBJECTS) throw wrongShape(resource.name, `a list of at most ${MOST_OBJECTS} objects`);
      next = typeof metadata["continue"] === "string" && metadata["continue"] !== "" ? metadata["continue"] : undefined;
      if (next !== undefined && page.length === 0) throw wrongShape(resource.name, "a list that has an end");
      this.version = versionOf({ metadata });
    } while (next !== undefined);
    return items;
  }

  protected override rule(): string {
    return ruleFor(["list", "watch"], this.#collection.resource);
  }

  protected override async watch(signal: AbortSignal): Promise<End> {
    if (this.#items === undefined || this.version === undefined) {
      try {
        this.#learn(await this.#read(signal));
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

  #take(type: string, object: JsonObject): void {
    this.version = versionOf(object) ?? this.version;
    const { name } = metadataOf(object);
    if (this.#items === undefined || typeof name !== "string") return;
    if (type === "DELETED") {
      if (this.#items.delete(name)) this.onChange();
      return;
    }
    const before = this.#items.get(name);
    this.#add(this.#items, object);
    const after = this.#items.get(name);
    if (before === undefined || after === undefined || !this.#collection.isSame(before, after)) this.onChange();
  }

  #add(items: Map<string, Item>, object: JsonObject): void {
    const { name } = isObject(object) ? metadataOf(object) : {};
    if (typeof name === "string") items.set(name, this.#collection.pick(name, object));
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
