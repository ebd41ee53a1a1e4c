/**
 * Server-side apply of single objects: looked at, tried on the server without effect, applied, undone, deleted.
 * What is equal is not written. Objects are sent and compared as plain data, nothing of them is lost.
 */
import { randomBytes } from "node:crypto";

import * as v from "valibot";

import { Failure, reasonOf } from "../errors.ts";
import { isSecret } from "../secrets.ts";
import { shellWord } from "../system/text.ts";
import { isEqualJson, type JsonObject, type JsonValue } from "./json.ts";
import { findContent } from "./contents.ts";
import { clientSideManagers, mayBeWrittenBy, mergedFields, withoutDropped } from "./managed-fields.ts";
import { asSent, conditionsOf, contains, exportedFields, isSame, metadataOf } from "./object.ts";
import type { Api, ApiResponse } from "./request.ts";
import {
  apiFailure,
  describeIdentity,
  Discovery,
  isAbsent,
  isDefinition,
  isNamespace,
  messageOf,
  objectIn,
  pathOf,
  ruleFor,
  type Identity,
  type Resource,
} from "./resource.ts";
import { isAppliedBy, marksOf, objectionToUndo, withMark } from "./unsettled.ts";

/** What is to be applied. */
export interface DesiredObject extends Identity {
  value: JsonObject;
  /** Where it comes from, for messages. */
  file: string;
  /** Variables of the file that stand without quotes and became something else than a text, and their lines. */
  unquoted: readonly { name: string; line: number }[];
}

/** An object that the server has been asked about. */
export interface Checked {
  desired: DesiredObject;
  resource: Resource;
  path: string;
  outcome: "created" | "configured" | "unchanged";
  /** As read; undefined: it is not there. */
  live: JsonObject | undefined;
  /** As it would be; undefined: it could not be tried yet. */
  result: JsonObject | undefined;
  /** What the server warns of. */
  warnings: string[];
  /** The role lacks `patch`: it can only be created. */
  createOnly: boolean;
}

/** An object that the server refuses, perhaps only until something of the same run is there. */
export interface RefusedObject {
  desired: DesiredObject;
  isUnknownKind: boolean;
  /** In the server's words. */
  reason: string;
  failure: Failure;
}

/** An object that was written, and as what. */
export interface Applied {
  checked: Checked;
  after: JsonObject;
  /** It carries the mark of this run, until that is done. */
  isMarked: boolean;
}

/** An object that is there and is to be deleted. */
export interface Found {
  identity: Identity;
  resource: Resource;
  path: string;
  live: JsonObject;
}

export interface ClusterOptions {
  /** Who is named in managedFields: two owners with one name would drop each other's fields. */
  fieldManager: string;
  /** Take over fields that others manage. */
  forceConflicts: boolean;
  /** May others rely on the object as well, or is it of this node only? */
  isShared: (desired: DesiredObject) => boolean;
}

/** The Kubernetes API as a place where objects are applied and deleted. */
export class Cluster {
  readonly #api: Api;
  readonly #options: ClusterOptions;
  readonly #discovery: Discovery;
  /** Whose the objects are that are not settled yet. */
  readonly #run = randomBytes(8).toString("hex");

  constructor(api: Api, options: ClusterOptions) {
    this.#api = api;
    this.#options = options;
    this.#discovery = new Discovery(api);
  }

  /** Fills in the namespace that kubectl would: that of the access, none where the kind has none. */
  async locate<Object extends Identity>(object: Object): Promise<{ object: Object; resource?: Resource }> {
    const resource = await this.#discovery.find(object);
    if (resource === undefined) return { object };
    const { namespace = this.#api.access.namespace, ...rest } = object;
    // The kind decides: a namespace given to an object that has none is ignored, as kubectl does.
    return { object: (resource.namespaced ? { ...rest, namespace } : rest) as Object, resource };
  }

  /** An object that is not there, as people know it: with a namespace only if its kind has them, as far as can be told. */
  async describeAbsent(absent: Identity): Promise<string> {
    const { object, resource } = await this.locate(absent);
    const { namespace, ...rest } = object;
    const isGuessed = resource === undefined && namespace === this.#api.access.namespace;
    return describeIdentity(isGuessed ? rest : object);
  }

  /**
   * Reads an object and tries on the server what applying it would do. Writes nothing.
   *
   * @throws Failure `api-forbidden`, `apply-conflict`, `not-gone`.
   */
  async check(wanted: DesiredObject): Promise<Checked | RefusedObject> {
    const { object, resource } = await this.locate(wanted);
    if (resource === undefined) return unknownKind(wanted, await this.#discovery.findVersion(wanted));
    const desired = { ...object, value: asSent(object.value) };
    const path = pathOf(desired, resource);
    const live = await this.#readLasting(desired, resource, path);
    const tried = await this.#try(path, bodyOf(desired, resource), live);
    if (isDenied(tried, "patch")) return this.#checkWithoutPatch(desired, resource, path, live, tried);
    if (live !== undefined && (await this.#isInTheWayOfItself(desired, resource, live, tried))) {
      const { warnings } = tried;
      return { desired, resource, path, outcome: "configured", live, result: undefined, warnings, createOnly: false };
    }
    if (!isAccepted(tried)) return refused(desired, resource, tried);
    const result = withoutDropped(objectIn(tried, subjectOf(desired)), live, this.#options.fieldManager);
    const isEqual = live !== undefined && isSame(live, result) && !this.#mustBeSeen(live);
    const outcome = live === undefined ? "created" : isEqual ? "unchanged" : "configured";
    return { desired, resource, path, outcome, live, result, warnings: tried.warnings, createOnly: false };
  }

  /** Does the API say that we have written this object, or of nobody that they have? */
  mayHaveWritten(live: JsonObject): boolean {
    return mayBeWrittenBy(live, this.#options.fieldManager);
  }

  /** Whoever has made it may yet take it back, unless it says that we rely on it, too. */
  #mustBeSeen(live: JsonObject): boolean {
    return marksOf(live).length > 0 && !isAppliedBy(live, this.#options.fieldManager);
  }

  async #read(identity: Identity, resource: Resource, path: string): Promise<JsonObject | undefined> {
    const response = await this.#api.request({ method: "GET", path });
    if (isAbsent(response)) return undefined;
    if (response.status === 200) return objectIn(response, describeIdentity(identity));
    throw apiFailure(
      describeIdentity(identity),
      "cannot be read",
      response,
      response.status === 403 ? ruleFor(["get"], resource) : undefined,
    );
  }

  /** Waits for the end of an object that is being deleted: it could only be applied to go. */
  async #readLasting(identity: Identity, resource: Resource, path: string): Promise<JsonObject | undefined> {
    for (let attempt = 0; ; attempt++) {
      const live = await this.#read(identity, resource, path);
      if (live === undefined) return undefined;
      if (metadataOf(live)["deletionTimestamp"] === undefined) return live;
      if (this.#api.expired) throw this.#notGone(identity, live);
      await this.#api.pause(attempt);
    }
  }

  async #patch(
    path: string,
    body: JsonObject,
    { dryRun, force }: { dryRun: boolean; force: boolean },
  ): Promise<ApiResponse> {
    return this.#api.request({
      method: "PATCH",
      path,
      body,
      contentType: "application/apply-patch+yaml",
      query: {
        fieldManager: this.#options.fieldManager,
        fieldValidation: "Strict",
        ...(force ? { force: "true" } : {}),
        ...(dryRun ? { dryRun: "All" } : {}),
      },
    });
  }

  /** A dry run. What kubectl's client-side apply holds will be migrated, so that it is not a conflict. */
  async #try(path: string, body: JsonObject, live: JsonObject | undefined): Promise<ApiResponse> {
    const { forceConflicts } = this.#options;
    const tried = await this.#patch(path, body, { dryRun: true, force: forceConflicts });
    if (tried.status !== 409 || forceConflicts) return tried;
    const managers = clientSideManagers(live).map(({ manager }) => `conflict with "${manager as string}"`);
    const conflicts = conflictsOf(tried.body);
    const isOurs = conflicts.every((conflict) => managers.some((manager) => conflict.includes(manager)));
    return conflicts.length > 0 && isOurs ? this.#patch(path, body, { dryRun: true, force: true }) : tried;
  }

  /**
   * Is the object refused only for what kubectl's client-side apply holds of it, such as the former type of a volume?
   * That goes once its fields are ours, which cannot be tried. As a new object, what is wanted must be valid.
   */
  async #isInTheWayOfItself(
    desired: DesiredObject,
    resource: Resource,
    live: JsonObject,
    tried: ApiResponse,
  ): Promise<boolean> {
    if (tried.status !== 422 || clientSideManagers(live).length === 0) return false;
    if (isUnchangeable(messageOf(tried.body) ?? "")) return false;
    const asNew = await this.#create(desired, resource, true);
    return isDenied(asNew, "create") || (asNew.status === 409 && conflictsOf(asNew.body).length === 0);
  }

  /** The ancestor's role: get, create and delete. What is there can only be compared. */
  async #checkWithoutPatch(
    desired: DesiredObject,
    resource: Resource,
    path: string,
    live: JsonObject | undefined,
    denied: ApiResponse,
  ): Promise<Checked | RefusedObject> {
    const common = { desired, resource, path, live, warnings: [], createOnly: true };
    if (live !== undefined) {
      if (contains(live, desired.value)) {
        await this.#waitUntilSettled(desired, resource, path);
        return { ...common, outcome: "unchanged", result: live };
      }
      const hint = ruleFor(["patch"], resource, desired.name);
      throw apiFailure(subjectOf(desired), "differs from what is there and cannot be changed", denied, hint);
    }
    const tried = await this.#create(desired, resource, true);
    if (tried.status === 409) {
      // Somebody has made it in between.
      const made = await this.#read(desired, resource, path);
      if (made !== undefined) return this.#checkWithoutPatch(desired, resource, path, made, denied);
    }
    if (!isAccepted(tried)) return refused(desired, resource, tried);
    const { warnings } = tried;
    return { ...common, outcome: "created", result: objectIn(tried, subjectOf(desired)), warnings };
  }

  /** Whoever has made an object and may take it back cannot be told that we rely on it: that takes moments. */
  async #waitUntilSettled(desired: DesiredObject, resource: Resource, path: string): Promise<void> {
    for (let attempt = 0; attempt < PAUSES_TO_SETTLE && !this.#api.expired; attempt++) {
      const now = await this.#read(desired, resource, path);
      if (now === undefined || marksOf(now).length === 0) return;
      await this.#api.pause(attempt);
    }
  }

  async #create(desired: DesiredObject, resource: Resource, dryRun: boolean): Promise<ApiResponse> {
    return this.#api.request({
      method: "POST",
      path: pathOf(desired, resource, true),
      body: bodyOf(desired, resource),
      query: {
        fieldManager: this.#options.fieldManager,
        fieldValidation: "Strict",
        ...(dryRun ? { dryRun: "All" } : {}),
      },
    });
  }

  /**
   * Applies an object that `check` found different.
   *
   * @returns undefined where somebody else made it the same in between.
   */
  async apply(checked: Checked): Promise<Applied | undefined> {
    const { desired, resource, path, live, createOnly } = checked;
    if (createOnly) {
      const made = await this.#create(desired, resource, false);
      return made.status === 409
        ? this.#existsNow(checked, made)
        : { checked, after: accepted(desired, resource, made), isMarked: false };
    }
    await this.#migrate(path, desired, live);
    const isMarked = live === undefined && this.#options.isShared(desired);
    const body = bodyOf(desired, resource);
    const options = { dryRun: false, force: this.#options.forceConflicts };
    const response = await this.#patch(path, isMarked ? withMark(body, this.#run) : body, options);
    const after = accepted(desired, resource, response);
    if (!isMarked || response.status === 201) return { checked, after, isMarked };
    // Somebody else has made it in between, or we have and the answer was lost: it is not ours to take back.
    await this.#patch(path, body, options);
    return { checked, after, isMarked: false };
  }

  /** The run is done: what it has made is no longer taken back. A mark that stays is removed by the next apply. */
  async settle({ checked: { desired, resource, path }, isMarked }: Applied): Promise<void> {
    if (!isMarked) return;
    await this.#patch(path, bodyOf(desired, resource), { dryRun: false, force: this.#options.forceConflicts });
  }

  /** Made by another node, or by an attempt of ours whose answer was lost. */
  async #existsNow({ desired, resource, path }: Checked, conflict: ApiResponse): Promise<undefined> {
    const live = await this.#read(desired, resource, path);
    if (live !== undefined && contains(live, desired.value)) return undefined;
    throw apiFailure(subjectOf(desired), "cannot be created", conflict, ruleFor(["patch"], resource, desired.name));
  }

  /** Fields that `kubectl apply` manages on the client's side become ours, so that those we drop go, as with kubectl. */
  async #migrate(path: string, desired: DesiredObject, live: JsonObject | undefined): Promise<void> {
    const managers = clientSideManagers(live);
    if (live === undefined || managers.length === 0) return;
    const { managedFields = [], resourceVersion } = metadataOf(live);
    const patch = fieldsOf(mergedFields(managedFields, managers, this.#options.fieldManager), resourceVersion);
    const response = await this.#api.request({
      method: "PATCH",
      path,
      body: patch,
      contentType: "application/json-patch+json",
      query: { fieldManager: this.#options.fieldManager },
    });
    if (response.status !== 200) {
      throw apiFailure(subjectOf(desired), "cannot be taken over from kubectl's client-side apply", response);
    }
  }

  /**
   * Puts back what an apply has changed: nothing where there was nothing, else the object as it was read.
   *
   * @throws Failure when somebody has changed it since.
   */
  async undo({ checked, after }: Applied): Promise<void> {
    const { desired, path, live } = checked;
    const metadata = metadataOf(after);
    if (live === undefined) return this.#undoCreated(checked, metadata.uid);
    const fields = { ...live, metadata: { ...metadataOf(live), resourceVersion: metadata.resourceVersion } };
    // A patch, for which the role has the verb; `add` replaces what is there.
    const changes = Object.entries(fields).map(([key, value]) => ({ op: "add", path: pointerTo(key), value }));
    const additions = Object.keys(after).filter((key) => !Object.hasOwn(live, key));
    const removals = additions.map((key) => ({ op: "remove", path: pointerTo(key) }));
    const back = await this.#patchBack(desired, path, [...changes, ...removals]);
    const { managedFields } = metadataOf(live);
    if (managedFields === undefined) return;
    // The server has given us the fields that were put back: they are whose they were.
    await this.#patchBack(desired, path, fieldsOf(managedFields, metadataOf(back).resourceVersion));
  }

  /** Deletes what was made, unless somebody else relies on it by now. */
  async #undoCreated({ desired, resource, path, createOnly }: Checked, uid: string): Promise<void> {
    const subject = describeIdentity(desired);
    for (let attempt = 0; ; attempt++) {
      const now = await this.#read(desired, resource, path);
      if (now === undefined || metadataOf(now).uid !== uid) return;
      const objection = await this.#objectionToUndo(desired, now, createOnly);
      if (objection !== undefined) throw keptShared(subject, objection);
      const gone = await this.#delete(path, uid, false, metadataOf(now).resourceVersion);
      if ([200, 202, 404].includes(gone.status)) return;
      // It has changed since it was looked at.
      if (gone.status !== 409 || attempt === ATTEMPTS_TO_UNDO) throw apiFailure(subject, "cannot be deleted", gone);
    }
  }

  async #objectionToUndo(desired: DesiredObject, now: JsonObject, createOnly: boolean): Promise<string | undefined> {
    if (!this.#options.isShared(desired)) return undefined;
    if (createOnly) return "without the right to patch it cannot be seen who else relies on it";
    const objection = objectionToUndo(now, this.#run, this.#options.fieldManager);
    if (objection !== undefined || !(isNamespace(desired) || isDefinition(desired))) return objection;
    try {
      const content = await findContent(this.#api, desired, now);
      return content === undefined ? undefined : `${content} is in it, which this run has not made`;
    } catch (error) {
      return `it cannot be seen whether it is empty (${reasonOf(error)})`;
    }
  }

  async #patchBack(desired: DesiredObject, path: string, body: JsonValue): Promise<JsonObject> {
    const query = { fieldManager: this.#options.fieldManager };
    const contentType = "application/json-patch+json";
    const response = await this.#api.request({ method: "PATCH", path, body, contentType, query });
    if (response.status !== 200) throw apiFailure(describeIdentity(desired), "cannot be put back", response);
    return objectIn(response, describeIdentity(desired));
  }

  /** The same for an apply that failed: parts of it may have been done, or all where the answer was lost. */
  async undoFailed(checked: Checked): Promise<void> {
    const { desired, resource, path, live, result } = checked;
    const now = await this.#read(desired, resource, path);
    if (now === undefined) return;
    const { managedFields = [], resourceVersion } = metadataOf(now);
    const isShared = this.#options.isShared(desired) && !checked.createOnly;
    // Without our mark somebody else has made it.
    if (live === undefined && isShared && !marksOf(now).includes(this.#run)) return;
    const isOurs =
      live === undefined
        ? managedFields.some(({ manager }) => manager === this.#options.fieldManager) && contains(now, desired.value)
        : resourceVersion !== metadataOf(live).resourceVersion &&
          (isSame(now, live) || (result === undefined ? this.#isApplied(checked, now) : isSame(now, result)));
    if (isOurs) await this.undo({ checked, after: now, isMarked: isShared });
  }

  /** Is it as wanted, and has nobody else written it since it was read? For where the result is not known. */
  #isApplied({ desired, live }: Checked, now: JsonObject): boolean {
    const migrated = clientSideManagers(live);
    const othersIn = (object: JsonObject | undefined): JsonObject[] =>
      (object === undefined ? [] : (metadataOf(object).managedFields ?? [])).filter(
        (entry) => entry["manager"] !== this.#options.fieldManager && !migrated.includes(entry),
      );
    return contains(now, desired.value) && isEqualJson(othersIn(now), othersIn(live));
  }

  /** Waits until the server serves what a CustomResourceDefinition defines. */
  async waitUntilServed({ desired, resource, path }: Checked): Promise<void> {
    if (!isDefinition(desired)) return;
    for (let attempt = 0; ; attempt++) {
      const live = await this.#read(desired, resource, path);
      if (conditionsOf(live).some(({ type, status }) => type === "Established" && status === "True")) return;
      if (this.#api.expired) {
        throw new Failure({
          code: "not-established",
          subject: describeIdentity(desired),
          problem: `is not established in time: ${this.#api.redact(
            conditionsOf(live)
              .map(({ message }) => message)
              .join(", ") || "no condition says why",
          )}`,
          hint: "look at it with kubectl describe; --timeout gives it more time",
        });
      }
      await this.#api.pause(attempt);
    }
  }

  /** Reads an object that is to be deleted; undefined: it, or its kind, is not there. */
  async find(identity: Identity): Promise<Found | undefined> {
    const { object, resource } = await this.locate(identity);
    if (resource === undefined) {
      // What was applied in a version that is no longer served lives on in those that are.
      const apiVersion = await this.#discovery.findVersion(identity);
      return apiVersion === undefined ? undefined : this.find({ ...identity, apiVersion });
    }
    const path = pathOf(object, resource);
    const live = await this.#read(object, resource, path);
    return live === undefined ? undefined : { identity: object, resource, path, live };
  }

  /**
   * Deletes an object that was found, and no other of its name, and waits until it is gone.
   *
   * @throws Failure `not-gone` naming the finalizers that hold it.
   */
  async remove(found: Found): Promise<void> {
    const { identity, path, live } = found;
    const { uid } = metadataOf(live);
    refuseUnlessDeleted(found, await this.#delete(path, uid));
    for (let attempt = 0; ; attempt++) {
      const now = await this.#api.request({ method: "GET", path });
      if (isAbsent(now)) return;
      if (now.status !== 200) throw apiFailure(describeIdentity(identity), "cannot be read, to see it gone", now);
      const left = objectIn(now, describeIdentity(identity));
      if (metadataOf(left).uid !== uid) return;
      if (this.#api.expired) throw this.#notGone(identity, left);
      await this.#api.pause(attempt);
    }
  }

  /** Would it be deleted? Asked before anything is touched. */
  async tryRemove(found: Found): Promise<void> {
    refuseUnlessDeleted(found, await this.#delete(found.path, metadataOf(found.live).uid, true));
  }

  #notGone(identity: Identity, live: JsonObject): Failure {
    const { finalizers = [] } = metadataOf(live);
    const own = finalizers.length === 0 ? [] : [`it waits for its finalizers ${finalizers.join(", ")}`];
    // A namespace says so of what is in it.
    const inside = isNamespace(identity) ? conditionsOf(live).filter(({ status }) => status === "True") : [];
    const why = [...own, ...inside.map(({ message }) => message)].join("; ") || "it is still there";
    return new Failure({
      code: "not-gone",
      subject: describeIdentity(identity),
      problem: `is being deleted, but not gone in time: ${this.#api.redact(why)}`,
      hint: isDefinition(identity)
        ? `its objects hold it: look at kubectl get ${shellWord(identity.name)} --all-namespaces for finalizers, which the one who set them must remove; --timeout waits longer`
        : "the one who set the finalizer must remove it; --timeout waits longer",
    });
  }

  async #delete(path: string, uid: string, dryRun = false, resourceVersion?: string): Promise<ApiResponse> {
    // The server reads the body and, where there is one, not the query, which is for those who watch requests.
    const body = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      preconditions: { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      propagationPolicy: "Background",
      ...(dryRun ? { dryRun: ["All"] } : {}),
    };
    return this.#api.request({ method: "DELETE", path, body, ...(dryRun ? { query: { dryRun: "All" } } : {}) });
  }
}

/** Some ten seconds; a mark may also be left by a run that was killed. */
const PAUSES_TO_SETTLE = 5;
/** Controllers write their status at any time. */
const ATTEMPTS_TO_UNDO = 10;

function keptShared(subject: string, why: string): Failure {
  return new Failure({ code: "kept-shared", subject, problem: `made by this run, it stays: ${why}` });
}

/** 404, 409: it is gone, or another object of that name is there now. */
function refuseUnlessDeleted({ identity, resource }: Found, response: ApiResponse): void {
  if ([200, 202, 404, 409].includes(response.status)) return;
  const hint = isDenied(response, "delete") ? ruleFor(["delete"], resource) : undefined;
  throw apiFailure(describeIdentity(identity), "cannot be deleted", response, hint);
}

/** Whose the fields are, for an object of this version, as a JSON patch. */
function fieldsOf(managedFields: JsonObject[], resourceVersion: string): JsonObject[] {
  return [
    { op: "replace", path: "/metadata/managedFields", value: managedFields },
    { op: "replace", path: "/metadata/resourceVersion", value: resourceVersion },
  ];
}

function pointerTo(key: string): string {
  return `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Did the role refuse it? Admission says 403 too, of other things. */
function isDenied({ status, body }: ApiResponse, verb: string): boolean {
  return status === 403 && messageOf(body)?.includes(` cannot ${verb} resource `) === true;
}

function bodyOf({ value, namespace }: DesiredObject, { namespaced }: Resource): JsonObject {
  if (!namespaced) return value;
  return { ...value, metadata: { ...(value["metadata"] as JsonObject), namespace: namespace ?? "" } };
}

function isAccepted({ status }: ApiResponse): boolean {
  return status === 200 || status === 201;
}

function accepted(desired: DesiredObject, resource: Resource, response: ApiResponse): JsonObject {
  if (isAccepted(response)) return objectIn(response, subjectOf(desired));
  throw refused(desired, resource, response).failure;
}

/** @throws Failure where it does not depend on what else is there. */
function refused(desired: DesiredObject, resource: Resource, response: ApiResponse): RefusedObject {
  const conflicts = response.status === 409 ? conflictsOf(response.body) : [];
  if (conflicts.length > 0) {
    throw new Failure({
      code: "apply-conflict",
      subject: subjectOf(desired),
      problem: `others manage fields that it sets: ${conflicts.join("; ")}`,
      hint: "leave these fields to them, or take them over with --force-conflicts",
    });
  }
  const reason = withoutSecrets(desired, messageOf(response.body) ?? `HTTP status ${response.status}`);
  const said = { ...response, body: { message: reason } };
  if (isDenied(response, "create")) {
    throw apiFailure(subjectOf(desired), "cannot be created", said, ruleFor(["create", "patch"], resource));
  }
  const failure = apiFailure(subjectOf(desired), "was refused", said, hintFor(desired, reason));
  return { desired, isUnknownKind: false, reason, failure };
}

/** What deleting an object and making it again interrupts. */
const INTERRUPTIONS: Record<string, string> = {
  ClusterRoleBinding: "its subjects have no rights in between",
  RoleBinding: "its subjects have no rights in between",
  DaemonSet: "its pods are stopped on every node",
  Deployment: "all its pods are stopped",
  StatefulSet: "all its pods are stopped",
  Job: "its pods are ended, and it runs once more",
  Service: "nothing reaches it in between, and it may get another address",
};

/** Is a field refused because it differs from what is there? */
function isUnchangeable(reason: string): boolean {
  return /immutable|cannot change roleRef|may not change once set|updates to statefulset|pod updates may not/u.test(
    reason,
  );
}

/** What can be done about a refusal, where the server's words do not say. */
function hintFor({ kind, value, unquoted }: DesiredObject, reason: string): string | undefined {
  const exported = exportedFields(value);
  if (exported.length > 0)
    return `leave out ${exported.join(", ")}: the object was exported, and only the server sets them`;
  if (isUnchangeable(reason)) {
    const interrupted = INTERRUPTIONS[kind];
    const warning = interrupted === undefined ? "" : ` (this interrupts: ${interrupted})`;
    return `such a field cannot be changed: uninstall the manifest, then install it${warning}`;
  }
  if (unquoted.length > 0 && /expected string|cannot unmarshal|[Ii]nvalid type|must be of type string/u.test(reason)) {
    const places = unquoted.map(({ name, line }) => `$${name} (line ${line})`).join(", ");
    return `the value of ${places} is read as a number or a boolean: write it in double quotes in the manifest`;
  }
  return undefined;
}

/** The server quotes a value that is of another type than it should be, such as a password of digits only. */
function withoutSecrets({ kind }: Identity, said: string): string {
  return said
    .replaceAll(/^(.*: expected .*, got ).*$/gmu, (line, path: string) =>
      kind === "Secret" || isSecret(path) ? `${path}***` : line,
    )
    .replaceAll(/((?:Invalid|Unsupported|Duplicate) value: )(?:"(?:[^"\\]|\\.)*"|[^\s:"]+)/gu, (line, before: string) =>
      kind === "Secret" ? `${before}"***"` : line,
    );
}

/** @param served a version of the kind that the server knows. */
function unknownKind(desired: DesiredObject, served: string | undefined): RefusedObject {
  const reason = `the server does not know ${desired.kind} of ${desired.apiVersion}`;
  const failure = new Failure({
    code: "api-refused",
    subject: subjectOf(desired),
    problem: `cannot be applied: ${reason}`,
    hint:
      served === undefined
        ? "apply the CustomResourceDefinition first, or in the same run"
        : `the server serves it as ${served}: write the object in that version`,
  });
  return { desired, isUnknownKind: true, reason, failure };
}

const Conflict = v.object({
  details: v.object({
    causes: v.array(
      v.object({ reason: v.optional(v.string()), field: v.optional(v.string()), message: v.optional(v.string()) }),
    ),
  }),
});

/** `.data.a is managed by kubectl-edit`: each cause names a manager and a field. */
function conflictsOf(body: JsonValue): string[] {
  const parsed = v.safeParse(Conflict, body);
  const causes = parsed.success ? parsed.output.details.causes : [];
  return causes
    .filter(({ reason }) => reason === "FieldManagerConflict")
    .map(({ field, message }) => `${field}: ${message}`);
}

function subjectOf({ file, ...identity }: DesiredObject): string {
  return `${file}: ${describeIdentity(identity)}`;
}
