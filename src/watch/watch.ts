/** One process that keeps a node as desired: what it follows, what it does about it, and how it is. */
import { randomBytes } from "node:crypto";

import { apply, type ApplyRequest, type ApplyResult } from "../apply/apply.ts";
import { API_KINDS, FILE_KINDS, isFileKind, KINDS, type Kind } from "../asset.ts";
import type { Channel } from "../cluster/channel.ts";
import { SUBJECT } from "../cluster/token.ts";
import type { ObjectWatch } from "../cluster/watch.ts";
import { Failure, Interrupted, SUPERSEDED, withFindings } from "../errors.ts";
import { allOf, warning, type Finding } from "../finding.ts";
import { ControlSockets, type StandDownReason } from "../host/control.ts";
import { readRecord, type HeldAsset } from "../host/record.ts";
import { isDelegateName } from "../kinds/delegate.ts";
import { CHANGES, nameOfStep } from "../kinds/kind.ts";
import { FILES } from "../kinds/table.ts";
import { LIST_FORMS, type Lists } from "../kinds/lists.ts";
import { findDirectoryIfUsable } from "../node/directory.ts";
import type { ObjectName } from "../system/name.ts";
import { DirectoryWatch } from "../system/watch.ts";
import { describeWatching } from "./describe.ts";
import { desiredIn, type DesiredLists } from "./desired.ts";
import { Driver, type Cause, type RunOutcome } from "./driver.ts";
import { fightFinding } from "./fight.ts";
import type { Followed, Observer, Reconcile, Watching } from "./reconcile.ts";
import { delayOf } from "./spread.ts";
import { templatesIn } from "./templates.ts";
import { liveTokens, type LiveToken } from "./tokens.ts";

/** The API, and the namespace of objects that are named without one. */
export interface ClusterAccess {
  channel: Channel;
  namespace: string;
}

/** What is to be kept, and how. */
export interface WatchRequest {
  /** What apply is given each time; its lists count unless a ConfigMap has them. */
  base: ApplyRequest;
  /** The ConfigMap that has the lists. */
  configMap: ObjectName | undefined;
  /** ConfigMaps that have the templates, and the manifests. */
  configTemplates: readonly ObjectName[];
  manifestTemplates: readonly ObjectName[];
  /** Directories with what the API is reached by: new credentials follow a new certificate authority. */
  access: readonly string[];
  /** Undefined: nothing of the API is followed, but perhaps the Node. */
  cluster: ClusterAccess | undefined;
  /** The API, for the Node if values of templates come from there. @throws Failure `kubeconfig-invalid`, `no-cluster`. */
  connect: () => Promise<ClusterAccess>;
  /** A change of an object of the API is answered after a part of this, milliseconds, which depends on the node. */
  spread: number;
  /** What tells this node from others. */
  node: string;
}

/** An object that is followed, and what of it counts. */
interface FollowedObject {
  name: string;
  /** Does it have the lists, or what is installed by them? */
  holds: "lists" | "config" | "manifest";
  watch: ObjectWatch;
  /** As it was when it was accepted: at first at once, then after the delay of this node. */
  accepted: ObjectWatch["known"];
  isDelayed: boolean;
}

/** The Node that values of templates are made of. */
interface FollowedNode {
  name: string;
  channel: Channel;
  watch: ObjectWatch;
  following: Promise<void>;
}

/** Keeps a node as desired until it is stopped. */
export class Watcher {
  readonly #request: WatchRequest;
  readonly #observers: readonly Observer[];
  readonly #driver: Driver;
  readonly #since = new Date();
  readonly #id = randomBytes(8).toString("hex");
  readonly #directories: DirectoryWatch[] = [];
  readonly #objects: FollowedObject[] = [];
  #node: FollowedNode | undefined;
  /** Ends everything. */
  #signal: AbortSignal | undefined;
  readonly #broken = Promise.withResolvers<never>();
  readonly #sockets: ControlSockets;
  #claimTroubles: Finding[] = [];
  /** What runs have found that were superseded: the next report says it. */
  #unsaid: Finding[] = [];
  #runningSince: number | undefined;
  #desired: Partial<Record<Kind, Lists>> | undefined;
  #last: Reconcile | undefined;
  #lastSuccess: Date | undefined;
  #lastChange: Reconcile | undefined;
  #standsDown: StandDownReason | undefined;
  /** The API could not be reached, or gave no token, when manifests or credentials were to be brought. */
  #isApiAway = false;
  #tokens: readonly LiveToken[] = [];
  #renewal: NodeJS.Timeout | undefined;

  /** @param observers hear of everything, in this order. */
  constructor(request: WatchRequest, observers: readonly Observer[]) {
    this.#request = request;
    this.#observers = observers;
    this.#driver = new Driver(async (signal, causes, isReached) => this.#reconcile(signal, causes, isReached));
    this.#sockets = new ControlSockets(request.base.owner, {
      describe: () => describeWatching(this.#id, this.watching),
      standDown: async (reason) => this.#standDown(reason),
      resume: () => this.#resume(),
    });
  }

  /** How it is right now. */
  get watching(): Watching {
    const { nextIn } = this.#driver;
    return {
      owner: this.#request.base.owner,
      since: this.#since,
      follows: [...this.#directories.map(followedDirectory), ...this.#followedObjects.map(followedObject)],
      desired: this.#desired && namesOf(this.#desired),
      last: this.#last,
      lastSuccess: this.#lastSuccess,
      lastChange: this.#lastChange,
      next:
        nextIn === undefined
          ? undefined
          : { at: new Date(Date.now() + nextIn), isRetry: this.#last?.failure !== undefined },
      fights: this.#driver.fights,
      tokens: this.#tokens,
      ...(this.#standsDown !== undefined && { standsDown: STANDS_DOWN[this.#standsDown] }),
      requests: (this.#request.cluster ?? this.#node)?.channel.requests ?? 0,
    };
  }

  get #followedObjects(): Pick<FollowedObject, "name" | "watch">[] {
    const { name, watch } = this.#node ?? {};
    return [...this.#objects, ...(watch === undefined ? [] : [{ name: `Node ${name}`, watch }])];
  }

  /** Has a newer process of the same owner, or an uninstall, taken the node over? */
  get isReplaced(): boolean {
    return this.#standsDown !== undefined;
  }

  /** Since when a reconcile has been going on; undefined: none does. */
  get runningSince(): number | undefined {
    return this.#runningSince;
  }

  /** Follows everything until the signal comes. Watches come before the first look. */
  async keep(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    using resources = new DisposableStack();
    resources.use(this.#sockets);
    const { sources, manifests, directories } = this.#request.base;
    const onNode = Object.values(directories).flatMap(({ path, more }) => [path, ...more]);
    for (const path of new Set([sources.plugin, sources.config, manifests.source])) {
      this.#followDirectory(path, "desired", resources);
    }
    const follows = [...onNode, ...this.#request.access];
    for (const path of new Set(follows)) this.#followDirectory(path, "node", resources);
    await this.#claim();
    const { cluster, configMap, configTemplates, manifestTemplates } = this.#request;
    const objects = [
      ...(configMap === undefined ? [] : [{ ...configMap, holds: "lists" as const }]),
      ...configTemplates.map((one) => ({ ...one, holds: "config" as const })),
      ...manifestTemplates.map((one) => ({ ...one, holds: "manifest" as const })),
    ];
    const following =
      cluster === undefined || objects.length === 0 ? undefined : this.#followObjects(objects, cluster, signal);
    if (following === undefined) this.#driver.wake("desired", "start");
    // Nothing else need keep the process.
    const alive = setInterval(() => undefined, 2 ** 31 - 1);
    try {
      const ended = Promise.withResolvers<undefined>();
      signal.addEventListener("abort", () => ended.resolve(undefined), { once: true });
      if (!signal.aborted) await Promise.race([ended.promise, following ?? ended.promise, this.#broken.promise]);
    } finally {
      clearInterval(alive);
      clearTimeout(this.#renewal);
      await this.#driver.stop(signal.reason);
    }
    await following;
    await this.#node?.following;
  }

  #followDirectory(path: string, cause: "desired" | "node", resources: DisposableStack): void {
    this.#directories.push(resources.use(new DirectoryWatch(path, () => this.#driver.wake(cause, path))));
  }

  /** Begins to follow objects of the API. Ends when the signal comes. */
  async #followObjects(
    names: readonly (ObjectName & Pick<FollowedObject, "holds">)[],
    { channel, namespace: common }: ClusterAccess,
    signal: AbortSignal,
  ): Promise<void> {
    const [{ ObjectWatch }, { CONFIG_MAPS }] = await Promise.all([
      import("../cluster/watch.ts"),
      import("../cluster/resource.ts"),
    ]);
    for (const { namespace = common, name, holds } of names) {
      const identity = { apiVersion: "v1", kind: "ConfigMap", namespace, name };
      const watch = new ObjectWatch(channel, identity, CONFIG_MAPS, () => this.#heard(followed));
      const followed = { name: `ConfigMap ${namespace}/${name}`, holds, watch, accepted: undefined, isDelayed: false };
      this.#objects.push(followed);
    }
    await Promise.all(this.#objects.map(async ({ watch }) => watch.follow(signal)));
  }

  /** Something else is known of an object, or it cannot be followed. */
  #heard(object: FollowedObject): void {
    const { known, trouble } = object.watch;
    if (trouble !== undefined) for (const observer of this.#observers) observer.troubled(trouble);
    if (known === undefined) return this.#wakeWhenKnown("node", object);
    if (object.accepted === undefined) return this.#accept(object);
    if (object.accepted === known || object.isDelayed) return;
    object.isDelayed = true;
    const delay = delayOf(this.#request.node, this.#request.spread);
    if (delay === 0) this.#accept(object);
    else setTimeout(() => this.#accept(object), delay).unref();
  }

  /** What is known of an object counts from now on. */
  #accept(object: FollowedObject): void {
    object.accepted = object.watch.known;
    object.isDelayed = false;
    this.#wakeWhenKnown("desired", object);
  }

  /** Begins to follow the Node once values of templates were made of it, or were to be. */
  async #followNode(): Promise<void> {
    const { base, connect } = this.#request;
    const name = base.facts.askedNode;
    const signal = this.#signal;
    if (name === undefined || this.#node !== undefined || signal === undefined || signal.aborted) return;
    const [{ ObjectWatch }, { NODES }, { pickNode, isSameNode }] = await Promise.all([
      import("../cluster/watch.ts"),
      import("../cluster/resource.ts"),
      import("../cluster/node.ts"),
    ]);
    const cluster = await connect().catch(unlessFailure);
    if (cluster === undefined) return;
    const { channel } = cluster;
    let last: ObjectWatch["known"];
    const heard = (): void => {
      const { known, trouble } = watch;
      if (trouble !== undefined) for (const observer of this.#observers) observer.troubled(trouble);
      // What is known already may be older than what a reconcile has read since.
      if (known === undefined || known === last) return;
      last = known;
      const before = base.facts.knownNode(name);
      const node = known.object === undefined ? undefined : pickNode(name, known.object);
      base.facts.learnNode(name, node);
      if (!isSameNode(before, node)) this.#driver.wake("desired", `Node ${name}`, true);
    };
    const watch = new ObjectWatch(channel, { apiVersion: "v1", kind: "Node", name }, NODES, heard);
    const following = watch.follow(signal);
    following.catch((error: unknown) => this.#broken.reject(error));
    this.#node = { name, channel, watch, following };
  }

  /** At the start, all that is followed is waited for, but what cannot be followed. */
  #wakeWhenKnown(cause: Cause, { name }: FollowedObject): void {
    const isReady = this.#objects.every(({ accepted, watch }) => accepted !== undefined || watch.trouble !== undefined);
    if (isReady) this.#driver.wake(cause, name, cause === "desired");
  }

  async #standDown(reason: StandDownReason): Promise<void> {
    this.#standsDown = reason;
    await this.#driver.pause();
  }

  #resume(): void {
    this.#standsDown = undefined;
    this.#driver.resume();
  }

  /** Others find this process in the directories that it keeps. */
  async #claim(): Promise<void> {
    const directories = FILE_KINDS.flatMap((kind) => findDirectoryIfUsable(this.#request.base.directories[kind]) ?? []);
    const troubles = await this.#sockets.claim(directories);
    const message = "cannot be listened in: cni-node status and uninstall do not find this process";
    this.#claimTroubles = troubles.map(({ directory, reason }) =>
      warning("watch-unseen", directory, `${message} (${reason})`),
    );
  }

  async #reconcile(signal: AbortSignal, causes: readonly string[], isReached: boolean): Promise<RunOutcome> {
    this.#runningSince = performance.now();
    try {
      const outcome = await this.#reconcileSince(this.#runningSince, signal, causes, isReached);
      await this.#followNode();
      return outcome;
    } finally {
      this.#runningSince = undefined;
    }
  }

  async #reconcileSince(
    from: number,
    signal: AbortSignal,
    causes: readonly string[],
    isReached: boolean,
  ): Promise<RunOutcome> {
    const begin = new Date();
    const report = (result: Omit<Reconcile, "begin" | "duration" | "causes">): void => {
      this.#report({ begin, duration: performance.now() - from, causes, ...result });
    };
    try {
      const { request, findings } = this.#findDesired();
      this.#desired = request.lists;
      const { warnings, failure, ...result } = await this.#apply(request, signal);
      await this.#claim();
      this.#lookAtTokens();
      const steps = result.steps.map(({ texts: _texts, ...step }) => step);
      const changed = steps.filter(({ outcome }) => CHANGES.includes(outcome));
      // Of objects no record tells whether somebody else has changed them.
      const repaired = changed.filter(({ kind, isRepair = false }) => (isFileKind(kind) ? isRepair : isReached));
      const because = failure === undefined ? {} : { failure };
      report({
        steps,
        changed,
        repaired,
        findings: allOf(this.#takeUnsaid(), [...findings, ...warnings, ...this.#findings()]),
        ...because,
      });
      if (failure !== undefined) return { result: "failed" };
      return { result: "done", changed: changed.map(nameOfStep), repaired: repaired.map(nameOfStep) };
    } catch (error) {
      if (error instanceof Interrupted) {
        this.#unsaid = allOf(this.#unsaid, error.findings);
        return { result: signal.reason === SUPERSEDED ? "superseded" : "failed" };
      }
      if (!(error instanceof Failure)) throw error;
      const findings = allOf(this.#takeUnsaid(), [...error.findings, ...this.#findings()]);
      report({ steps: [], changed: [], repaired: [], findings, failure: error });
      return { result: "failed" };
    }
  }

  /**
   * Objects of the cluster must not keep the files of the node from being repaired: if the API cannot be reached, and
   * the manifests that are desired were applied before, only the files are brought to what is desired.
   */
  async #apply(request: ApplyRequest, signal: AbortSignal): Promise<ApplyResult & { failure?: Failure }> {
    const files = withoutApi(request.lists);
    const isApplied = API_KINDS.every((kind) => this.#areHeld(kind, request.lists[kind]));
    // What the API is waited for must not delay a repair the second time, nor may a repair that fails the rest.
    const first =
      this.#isApiAway && isApplied ? await orFailure(apply({ ...request, lists: files }, signal)) : undefined;
    const repaired = first instanceof Failure ? undefined : first;
    const found = (first instanceof Failure ? first.findings : first?.warnings) ?? [];
    try {
      const result = await apply(request, signal);
      this.#isApiAway = false;
      return {
        ...result,
        steps: [...(repaired?.steps.filter(({ outcome }) => CHANGES.includes(outcome)) ?? []), ...result.steps],
        warnings: allOf(found, result.warnings),
      };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      withFindings(error, found);
      if (/^(?:primary|chain)-/u.test(error.code) || error.code === "value-missing")
        return alongside(await this.#applyOthers(request, error, isApplied, signal), error);
      this.#isApiAway = error.code === "api-unreachable" || isOfToken(error);
      // What has been repaired is reported, whatever is said of the manifests.
      if (repaired === undefined && (!this.#isApiAway || !isApplied)) throw error;
      return alongside(repaired ?? (await apply({ ...request, lists: files }, signal)), error);
    }
  }

  /** Without a primary, a value or a network to chain into, configurations stay as they are; everything else is kept as desired. */
  async #applyOthers(
    request: ApplyRequest,
    failure: Failure,
    isApplied: boolean,
    signal: AbortSignal,
  ): Promise<ApplyResult> {
    const { config: _config, ...others } = request.lists;
    const isAway = failure.cause instanceof Failure && failure.cause.code === "api-unreachable";
    if (isAway) this.#isApiAway = true;
    const lists = isAway && isApplied ? withoutApi(others) : others;
    const result = await orFailure(apply({ ...request, lists, delegate: undefined, chain: undefined }, signal));
    if (result instanceof Failure) throw withFindings(failure, result.findings);
    return result;
  }

  #areHeld(kind: Kind, { desired }: Lists = { desired: [] }): boolean {
    const held = desired.length === 0 ? [] : this.#held(kind);
    return desired.every((name) => held.includes(name));
  }

  /** Looks at the tokens that are live, and when the first of them is to be replaced. */
  #lookAtTokens(): void {
    clearTimeout(this.#renewal);
    const directory = findDirectoryIfUsable(this.#request.base.directories.credentials);
    const names = this.#desired?.credentials?.desired ?? [];
    this.#tokens = directory === undefined ? [] : liveTokens(directory, names, Date.now());
    const next = Math.min(...this.#tokens.map(({ renewal }) => renewal)) - Date.now();
    // One that is due already is a matter of the driver's retries.
    if (!Number.isFinite(next) || next <= 0) return;
    const wake = (): void => this.#driver.wake("node", "the life of a token");
    this.#renewal = setTimeout(wake, Math.min(next + RENEWAL_DELAY_MS, LONGEST_TIMER_MS));
  }

  /**
   * As long as the lists are not known, what is held of files is desired: it is repaired, even if the API is away. A
   * kind stays as it is while what would be installed is not known.
   *
   * @throws Failure `desired-missing`, `desired-invalid`, `templates-missing`, `templates-invalid`, `templates-duplicate`.
   */
  #findDesired(): { request: ApplyRequest; findings: Finding[] } {
    const { base } = this.#request;
    const unknown = this.#objects.filter(({ accepted }) => accepted === undefined);
    const findings = unknown.map(({ name }) => warning("desired-unknown", name, UNKNOWN));
    const { lists, ...said } = this.#findLists();
    for (const { holds } of unknown) if (holds !== "lists") delete lists[holds];
    // Plugins in networks of others stay as they are while their templates are not known, and so does the rest of net.d.
    const unknownParts = new Set(unknown.map(({ holds }) => holds));
    const isChainUnknown = base.chain !== undefined && unknownParts.has("config");
    const delegate = isChainUnknown ? undefined : this.#delegateFor(lists, unknownParts);
    if (isChainUnknown || (base.delegate !== undefined && delegate === undefined)) delete lists.config;
    const templates = this.#textsOf("config", lists);
    const manifests = this.#textsOf("manifest", lists);
    return {
      request: {
        ...base,
        lists,
        delegate,
        ...(isChainUnknown && { chain: undefined }),
        ...(templates !== undefined && { configTexts: templates.texts }),
        ...(manifests !== undefined && { manifests: { ...base.manifests, texts: manifests.texts } }),
      },
      findings: [...findings, ...said.findings, ...(templates?.findings ?? []), ...(manifests?.findings ?? [])],
    };
  }

  /**
   * Multus stays as it is while what it is made of is not known: the template of its keys, or, before it is there for
   * the first time, the lists.
   */
  #delegateFor(lists: DesiredLists["lists"], unknown: ReadonlySet<FollowedObject["holds"]>): ApplyRequest["delegate"] {
    const { delegate } = this.#request.base;
    if (delegate === undefined) return undefined;
    const isThere = this.#held("config").some(isDelegateName);
    const isUnknown =
      (unknown.has("config") && delegate.keys !== undefined) || (unknown.has("lists") && !(isThere && lists.config));
    return isUnknown ? undefined : delegate;
  }

  #findLists(): DesiredLists {
    const lists = this.#objects.find(({ holds }) => holds === "lists");
    if (lists === undefined) return { lists: { ...this.#request.base.lists }, findings: [] };
    if (lists.accepted === undefined) return { lists: this.#heldLists(), findings: [] };
    return desiredIn(lists.accepted.object, lists.name);
  }

  /** Undefined: there is no ConfigMap of this kind, or nothing of it is asked for. */
  #textsOf(kind: "config" | "manifest", lists: DesiredLists["lists"]): ReturnType<typeof templatesIn> | undefined {
    const { base } = this.#request;
    const objects = this.#objects.filter(({ holds }) => holds === kind);
    const isAsked = lists[kind] !== undefined || (isFileKind(kind) && FILES[kind].isAsked?.(base) === true);
    if (objects.length === 0 || !isAsked || objects.some(({ accepted }) => accepted === undefined)) return undefined;
    return templatesIn(objects.map(({ name, accepted }) => ({ name, object: accepted?.object })));
  }

  /** The files that the owner holds. */
  #heldLists(): Partial<Record<Kind, Lists>> {
    const held = FILE_KINDS.map((kind) => [kind, LIST_FORMS[kind].ofHeld(this.#heldAssets(kind))] as const);
    return Object.fromEntries(held.filter(([, { desired }]) => desired.length > 0));
  }

  /**
   * The names of the assets that the owner holds, even by a run that was ended half way.
   *
   * @throws Failure `state-untrusted`, `record-unreadable`.
   */
  #held(kind: Kind): string[] {
    return [...new Set(this.#heldAssets(kind).map(({ name }) => name))];
  }

  #heldAssets(kind: Kind): HeldAsset[] {
    const { owner, directories } = this.#request.base;
    const directory = findDirectoryIfUsable(directories[KINDS[kind].recordedIn]);
    const record = directory === undefined ? undefined : readRecord(directory);
    const assets = [...(record?.assets ?? []), ...(record?.pending?.assets ?? [])];
    return assets.filter((asset) => asset.kind === kind && asset.owners.includes(owner));
  }

  #findings(): Finding[] {
    const { path } = this.#request.base.directories.config;
    return [
      ...this.#driver.fights.map((fight) => fightFinding(fight, path)),
      ...this.#directories.flatMap(({ finding }) => finding ?? []),
      ...this.#claimTroubles,
    ];
  }

  #takeUnsaid(): Finding[] {
    const unsaid = this.#unsaid;
    this.#unsaid = [];
    return unsaid;
  }

  #report(reconcile: Reconcile): void {
    this.#last = reconcile;
    const end = new Date(reconcile.begin.getTime() + reconcile.duration);
    if (reconcile.failure === undefined) this.#lastSuccess = end;
    if (reconcile.changed.length > 0) this.#lastChange = reconcile;
    for (const observer of this.#observers) observer.reconciled(reconcile);
  }
}

/** A token is due by then, whatever the precision of timers. */
const RENEWAL_DELAY_MS = 5;
/** The longest time that a timer takes. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What can be brought to what is desired without the API. */
function withoutApi(lists: ApplyRequest["lists"]): ApplyRequest["lists"] {
  return Object.fromEntries(Object.entries(lists).filter(([kind]) => !API_KINDS.some((one) => one === kind)));
}

/** A run whose failure is told by another one. */
async function orFailure(run: Promise<ApplyResult>): Promise<ApplyResult | Failure> {
  try {
    return await run;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** What was done although the whole failed. */
function alongside(result: ApplyResult, failure: Failure): ApplyResult & { failure: Failure } {
  return { ...result, warnings: allOf(failure.findings, result.warnings), failure };
}

const UNKNOWN = "is not known yet: what is installed by it stays as it is, and other files are repaired";

const STANDS_DOWN: Record<StandDownReason, string> = {
  uninstall: "an uninstall by the same owner: nothing is kept until this process is started again",
  newer: "a newer process of the same owner keeps this node",
};

/** No new token is given: the old one stays, and everything else goes on. */
function isOfToken({ subject }: Failure): boolean {
  return subject.startsWith(SUBJECT);
}

function namesOf(lists: Partial<Record<Kind, Lists>>): Partial<Record<Kind, readonly string[]>> {
  return Object.fromEntries(Object.entries(lists).map(([kind, { desired }]) => [kind, desired]));
}

function followedDirectory({ path, finding }: DirectoryWatch): Followed {
  const trouble = finding === undefined ? {} : { trouble: finding.message };
  return { name: path, source: "directory", isLive: finding === undefined, restarts: 0, ...trouble };
}

/** The API may be found later. */
function unlessFailure(error: unknown): undefined {
  if (!(error instanceof Failure)) throw error;
}

function followedObject({ name, watch: { isLive, begun, trouble } }: Pick<FollowedObject, "name" | "watch">): Followed {
  const because = trouble === undefined ? {} : { trouble: trouble.message };
  return { name, source: "object", isLive, restarts: Math.max(0, begun - 1), ...because };
}
