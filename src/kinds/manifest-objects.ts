/** The objects of manifests in the cluster: checked, applied, undone, deleted. */
import { findAccess } from "../cluster/access.ts";
import {
  Cluster,
  type Applied,
  type Checked,
  type ClusterOptions,
  type DesiredObject,
  type Found,
  type RefusedObject,
} from "../cluster/apply.ts";
import { isEqualJson, type JsonObject, type JsonValue } from "../cluster/json.ts";
import { Api } from "../cluster/request.ts";
import { describeIdentity, isDefinition, isNamespace, type Identity } from "../cluster/resource.ts";
import { Failure, troubleOf, type Objections } from "../errors.ts";
import type { OutsideChange } from "../host/transaction.ts";
import type { StepResult } from "./kind.ts";
import { isSameIdentity, type ManifestOptions, type PreparedManifest } from "./manifest-plan.ts";
import { deletedTexts, repeated, resultOf, type ObjectResult } from "./manifest-results.ts";
import { Deadline } from "../system/deadline.ts";

/** The label that makes an object one of a node. */
const NODE_LABEL = "cni-node.io/node";

type Obsolete = PreparedManifest["obsolete"][number];

/** Manifests that the API has been asked about: ready to be applied, undone, deleted. */
export class CheckedManifests implements OutsideChange {
  readonly #api: Api;
  readonly #cluster: Cluster;
  readonly #checked: (Checked | RefusedObject)[] = [];
  /** What could not be checked: there are objections to it. */
  readonly #objected: DesiredObject[] = [];
  readonly #applied: Applied[] = [];
  /** What is being applied. */
  #begun: Checked | undefined;
  readonly #obsolete: Found[] = [];
  readonly #results = new Map<PreparedManifest, StepResult[]>();

  private constructor(api: Api, options: ClusterOptions) {
    this.#api = api;
    this.#cluster = new Cluster(api, options);
  }

  /**
   * Asks the API about every object, without effect.
   *
   * @param objections receives why objects are refused.
   * @throws Failure when the API cannot be asked. Interrupted.
   */
  static async check(
    manifests: readonly PreparedManifest[],
    options: ManifestOptions,
    owner: string,
    signal: AbortSignal,
    objections: Objections,
  ): Promise<CheckedManifests> {
    const { timeout, forceConflicts } = options;
    const api = new Api(findAccess(options), new Deadline(timeout), signal);
    const fieldManager = owner === "cni-node" ? owner : `cni-node.${owner}`;
    const isShared = (object: DesiredObject): boolean => !isOfNode(object, object.value, options.nodeName);
    const checked = new CheckedManifests(api, { fieldManager, forceConflicts, isShared });
    for (const manifest of manifests) await checked.#check(manifest, objections);
    for (const object of checked.#checked) objections.catch(() => checked.#refuseUnlessComing(object));
    for (const manifest of manifests) await checked.#findObsolete(manifest, options.nodeName, objections);
    return checked;
  }

  /** What became, or would become, of each object of this manifest. */
  resultsOf(manifest: PreparedManifest): StepResult[] {
    return this.#results.get(manifest) ?? [];
  }

  /** Has something been applied? */
  get hasApplied(): boolean {
    return this.#applied.length > 0;
  }

  async #check(manifest: PreparedManifest, objections: Objections): Promise<void> {
    const { step, desired, kept } = manifest;
    const { action, kind, name } = step;
    const results: StepResult[] = [];
    this.#results.set(manifest, results);
    const reason = action === "leave" ? "in both lists, not compared" : kept;
    if (reason !== undefined)
      results.push({ action, kind, name, outcome: action === "leave" ? "unchanged" : "kept", reason });
    if (action === "install" && desired.length === 0 && reason === undefined) {
      results.push({
        action,
        kind,
        name,
        outcome: "unchanged",
        reason: "it holds no objects: it is empty, or comments only",
      });
    }
    for (const object of desired) {
      const result = await objections.catchLater(async () => this.#checkObject(object), isOfApi);
      if (result === undefined) this.#objected.push(object);
      else results.push({ action, kind, name, ...result });
    }
  }

  /** What is an objection of its own may come, too. */
  #refuseUnlessComing(object: Checked | RefusedObject): void {
    refuseUnlessComing(object, this.#checked, this.#objected);
  }

  async #checkObject(object: DesiredObject): Promise<ObjectResult> {
    const checked = await this.#cluster.check(object);
    const twin = this.#checked.find((other) => isSameIdentity(other.desired, checked.desired));
    if (twin === undefined) this.#checked.push(checked);
    else refuseUnlessEqual(checked.desired, twin.desired);
    return twin === undefined ? resultOf(checked) : repeated(twin);
  }

  async #findObsolete(manifest: PreparedManifest, nodeName: string | undefined, objections: Objections): Promise<void> {
    const { kind, name } = manifest.step;
    for (const object of manifest.obsolete) {
      const result = await objections.catchLater(async () => this.#find(object, nodeName), isOfApi);
      if (result !== undefined) this.#results.get(manifest)?.push({ action: "uninstall", kind, name, ...result });
    }
  }

  async #find(object: Obsolete, nodeName: string | undefined): Promise<ObjectResult> {
    const found = await this.#cluster.find(object);
    if (found === undefined) return { object: await this.#cluster.describeAbsent(object), outcome: "absent" };
    const described = describeIdentity(found.identity);
    // By uid: the same object may be asked for under another version of its kind.
    const isDesired = this.#checked.some((checked) => "live" in checked && uidOf(checked.live) === uidOf(found.live));
    const objection = object.automatic ? objectionToRemoval(found, nodeName) : undefined;
    const isForeign = object.isRecorded && !this.#cluster.mayHaveWritten(found.live);
    const foreign = isForeign
      ? "only the record on the node says that cni-node has written it, not the API"
      : undefined;
    const shared = object.sharedWith === undefined ? undefined : `manifest ${object.sharedWith} also has it`;
    const reason = isDesired ? "this run also installs it" : (shared ?? objection ?? foreign);
    if (reason !== undefined) return { object: described, outcome: "kept", reason };
    await this.#cluster.tryRemove(found);
    this.#obsolete.push(found);
    return {
      object: described,
      outcome: "deleted",
      ...(isFoundation(object) ? { reason: "with everything that hangs on it, which cannot be undone" } : {}),
      texts: deletedTexts(found.live),
    };
  }

  /** Namespaces and definitions of the whole run first; what needs them is checked before the first of it is applied. */
  async act(): Promise<void> {
    const first = this.#checked.filter((object) => isFoundation(object.desired));
    const rest = this.#checked.filter((object) => !isFoundation(object.desired));
    for (const object of first) await this.#apply(object);
    const ready: (Checked | RefusedObject)[] = [];
    for (const object of rest) ready.push("outcome" in object ? object : await this.#cluster.check(object.desired));
    for (const object of ready) refuseUnlessComing(object, ready);
    for (const object of ready) await this.#apply(object);
  }

  async #apply(object: Checked | RefusedObject): Promise<void> {
    const checked = "outcome" in object ? object : await this.#cluster.check(object.desired);
    if (!("outcome" in checked)) throw checked.failure;
    if (checked.outcome !== "unchanged") {
      this.#begun = checked;
      const applied = await this.#cluster.apply(checked);
      this.#begun = undefined;
      if (applied !== undefined) this.#applied.push(applied);
    }
    await this.#cluster.waitUntilServed(checked);
  }

  /** All is done: what was made is there to stay. Whatever fails here is made good by the next run. */
  async #settle(): Promise<void> {
    try {
      for (const applied of this.#applied) await this.#cluster.settle(applied);
    } catch {
      // The API is gone, or its answers are of no use; all that was asked for is done.
    }
  }

  async undo(): Promise<{ undone: number; stuck: string[] }> {
    this.#api.ignoreSignal();
    const stuck: string[] = [];
    try {
      if (this.#begun !== undefined) await this.#cluster.undoFailed(this.#begun);
    } catch (error) {
      stuck.push(stuckAt(this.#begun, error));
    }
    for (const applied of this.#applied.toReversed()) {
      try {
        await this.#cluster.undo(applied);
      } catch (error) {
        stuck.push(stuckAt(applied.checked, error));
      }
    }
    return { undone: this.#applied.length, stuck };
  }

  /**
   * Deletes what is obsolete, definitions and namespaces last: their deletion cannot be undone.
   *
   * @param changedBefore the run has changed something already, so that it goes on whatever comes.
   * @throws Failure; with exit code 4 when something had been deleted or changed before. Interrupted.
   */
  async remove(changedBefore: boolean): Promise<void> {
    if (!changedBefore) this.#api.throwIfInterrupted();
    this.#api.ignoreSignal();
    await this.#settle();
    const last = this.#obsolete.filter(({ identity }) => isFoundation(identity));
    const ordered = [...this.#obsolete.filter((found) => !last.includes(found)), ...last];
    for (const [index, found] of ordered.entries()) {
      try {
        await this.#cluster.remove(found);
      } catch (error) {
        if (index === 0 && !changedBefore && !(error instanceof Failure && error.code === "not-gone")) throw error;
        throw notRemoved(
          error,
          ordered.slice(index).map(({ identity }) => describeIdentity(identity)),
        );
      }
    }
  }
}

/** What could not be undone, and why; that the API is unreachable says nothing of the object. */
function stuckAt(checked: Checked | undefined, error: unknown): string {
  const { subject, problem } = troubleOf(error);
  const described = checked === undefined ? subject : describeIdentity(checked.desired);
  return subject === described ? `${subject}: ${problem}` : `${described} (${subject}: ${problem})`;
}

function uidOf(object: JsonObject | undefined): JsonValue | undefined {
  return (object?.["metadata"] as JsonObject | undefined)?.["uid"];
}

function isFoundation(identity: Identity): boolean {
  return isDefinition(identity) || isNamespace(identity);
}

/** The API cannot be asked: the next object would fail for the same reason. */
function isOfApi({ code }: Failure): boolean {
  return code === "api-unreachable" || code.startsWith("answer-");
}

function isAsItShouldBe(one: Checked | RefusedObject): boolean {
  return "outcome" in one && one.outcome === "unchanged";
}

/** What is refused now must be accepted once other objects of this run are there. @param more of these. */
function refuseUnlessComing(
  object: Checked | RefusedObject,
  all: readonly (Checked | RefusedObject)[],
  more: readonly DesiredObject[] = [],
): void {
  if ("outcome" in object) return;
  const { desired, isUnknownKind, reason, failure } = object;
  const isAwaited = (other: DesiredObject): boolean => {
    if (defines(other, desired)) return true;
    return !isUnknownKind && /\bfound\b/u.test(reason) && reason.split(/[\s"/]/u).includes(other.name);
  };
  const others = all.filter((other) => other !== object);
  const coming = [...others.filter((other) => !isAsItShouldBe(other)).map((other) => other.desired), ...more];
  const isDefined = isUnknownKind && others.some((other) => defines(other.desired, desired));
  if (!isDefined && !coming.some(isAwaited)) throw failure;
}

/** With every run they would take each other's fields away. */
function refuseUnlessEqual(object: DesiredObject, twin: DesiredObject): void {
  if (isEqualJson(object.value, twin.value)) return;
  throw new Failure({
    code: "manifest-invalid",
    subject: `${object.file}: ${describeIdentity(object)}`,
    problem: `is also in ${twin.file}, and not the same there`,
    hint: "keep one of them",
  });
}

/** Does this CustomResourceDefinition define that object's kind? */
function defines(definition: DesiredObject, { apiVersion, kind }: Identity): boolean {
  if (!isDefinition(definition)) return false;
  const { spec } = definition.value as {
    spec?: { group?: string; names?: { kind?: string }; versions?: { name?: string; served?: boolean }[] };
  };
  const [group, version] = apiVersion.split("/");
  const isServed = spec?.versions?.some(({ name, served }) => name === version && served === true) === true;
  return isServed && spec.group === group && spec.names?.kind === kind;
}

/** Automatic removal touches nothing that others may use. */
function objectionToRemoval(
  { identity, live }: { identity: Identity; live: JsonObject },
  nodeName: string | undefined,
): string | undefined {
  if (isFoundation(identity)) return `a ${identity.kind} is only deleted by an explicit uninstall`;
  if (nodeName === undefined) return "whose object it is cannot be told without --node-name";
  return isOfNode(identity, live, nodeName) ? undefined : `it is not of node ${nodeName}, others may use it`;
}

/** Is the object of this node, by its name or its label? */
function isOfNode(identity: Identity, object: JsonObject, nodeName: string | undefined): boolean {
  if (nodeName === undefined || isFoundation(identity)) return false;
  const { labels } = object["metadata"] as { labels?: JsonObject | null };
  return identity.name.includes(nodeName) || labels?.[NODE_LABEL] === nodeName;
}

function notRemoved(error: unknown, left: readonly string[]): Failure {
  const { subject, problem } = troubleOf(error);
  return new Failure({
    code: error instanceof Failure ? error.code : "not-removed",
    subject,
    problem: `${problem}; not deleted: ${left.join(", ")}; everything else is done`,
    hint: `${error instanceof Failure && error.hint !== undefined ? `${error.hint}; ` : ""}run the same command again: it goes on where it stopped`,
    exitCode: 4,
    cause: error,
  });
}
