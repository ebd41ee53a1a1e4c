/** Manifests: what they say on this node, and what the Kubernetes API makes of it. Loaded where there are some. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";

import { findAccess } from "../cluster/access.ts";
import {
  Cluster,
  type Applied,
  type Checked,
  type ClusterOptions,
  type DesiredObject,
  type Found,
  type Refused,
} from "../cluster/apply.ts";
import { LAST_APPLIED } from "../cluster/managed-fields.ts";
import { withoutServerFields } from "../cluster/object.ts";
import { isEqualJson, stringifyJson, type JsonObject, type JsonValue } from "../cluster/json.ts";
import { decodeManifest, parseManifest } from "../cluster/manifest.ts";
import { Api } from "../cluster/request.ts";
import { describeIdentity, isDefinition, isNamespace, type Identity } from "../cluster/resource.ts";
import { commentsIn } from "../cluster/yaml-syntax.ts";
import { readYaml } from "../cluster/yaml.ts";
import { Failure, isSystemError, notRegular, Objections, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { HeldAsset } from "../host/record.ts";
import type { OutsideChange } from "../host/transaction.ts";
import { Lines } from "../system/place.ts";
import { parseShellFormat, substituteVariables } from "../template/variables.ts";
import { hintOfMissing } from "./source.ts";
import { heldReason, ownersAfter, type Step, type StepResult } from "./plan.ts";

/** How manifests are read and applied. */
export interface ManifestOptions {
  source: string;
  /** Where variables have their values. */
  env: Readonly<Record<string, string | undefined>>;
  /** GNU's SHELL-FORMAT: only the variables in it are substituted. */
  variables?: string | undefined;
  allowUnset: boolean;
  /** This node's name; undefined: unknown, so that no object is of this node. */
  nodeName: string | undefined;
  kubeconfig: string | undefined;
  /** Of the kubeconfig; undefined: its current one. */
  context: string | undefined;
  forceConflicts: boolean;
  /** How long the API may take, milliseconds. */
  timeout: number;
}

interface Whose {
  owner: string;
  takeOver: boolean;
}

/** The label that makes an object one of a node. */
const NODE_LABEL = "cni-node.io/node";

/** One manifest that is to be applied, or whose objects are to be deleted. */
export interface PreparedManifest {
  step: Step;
  /** To be applied. */
  desired: DesiredObject[];
  /**
   * To be deleted, in this order. `automatic`: nobody named it, so that it must be of this node. `isRecorded`: only the
   * record says that it is ours, so that the API must say it too. `sharedWith`: the manifest that holds it as well, and
   * stays.
   */
  obsolete: (Identity & { automatic: boolean; isRecorded: boolean; sharedWith?: string })[];
  /** Why nothing is done. */
  kept?: string;
  held: HeldAsset | undefined;
  /** What the record says afterwards; undefined: nothing. */
  asset: HeldAsset | undefined;
  warnings: Finding[];
}

/**
 * Reads, substitutes and parses the manifest of a step.
 *
 * @param staying the manifests that are held and not uninstalled by this run.
 * @throws Failure `source-missing`, `variable-unset`, `manifest-invalid`, `held-by-other`.
 */
export function prepareManifest(
  step: Step,
  held: HeldAsset | undefined,
  staying: readonly HeldAsset[],
  wanted: Whose & { prune: boolean; manifests: ManifestOptions },
): PreparedManifest {
  if (step.action === "leave") return { step, desired: [], obsolete: [], held, asset: held, warnings: [] };
  const options = { ...wanted.manifests, owner: wanted.owner, takeOver: wanted.takeOver };
  const prepared =
    step.action === "install"
      ? prepareInstall(step, held, wanted.prune, options)
      : prepareUninstall(step, held, options);
  const others = staying.filter(({ name }) => name !== step.name);
  const obsolete = prepared.obsolete.map((object) => {
    const sharedWith = others.find(({ objects = [] }) => objects.some((one) => isSameIdentity(one, object)))?.name;
    return sharedWith === undefined ? object : { ...object, sharedWith };
  });
  return { ...prepared, obsolete };
}

function prepareInstall(
  step: Step,
  held: HeldAsset | undefined,
  prune: boolean,
  options: ManifestOptions & Whose,
): PreparedManifest {
  const { text, desired, warnings } = readManifest(step.name, options);
  const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
  const owners = ownersAfter({
    path: join(options.source, step.name),
    held,
    owner: options.owner,
    sameAsHeld: held?.digest === digest,
    takeOver: options.takeOver,
  });
  if (desired.length === 0 && prune && (held?.objects ?? []).length > 0) {
    throw new Failure({
      code: "manifest-empty",
      subject: join(options.source, step.name),
      problem: "holds no objects any more, and --prune would delete all that were applied from it",
      hint: "uninstall the manifest if that is meant; else look at what has emptied the file",
    });
  }
  // With the namespace of this access: that of a later one may be another.
  const { namespace } = findAccess(options);
  const wanted = desired.map((object) => identityOf({ namespace, ...object }));
  // What an earlier version of the manifest applied stays known, so that an uninstall finds it.
  const recorded = (held?.objects ?? []).map((old) => identityOf({ namespace, ...old }));
  const dropped = recorded.filter((old) => !wanted.some((object) => isSameIdentity(object, old)));
  const objects = [...wanted, ...(prune ? [] : dropped)];
  const asset: HeldAsset = { ...held, name: step.name, kind: "manifest", owners, digest, objects };
  return {
    step,
    desired,
    obsolete: prune ? dropped.toReversed().map((object) => ({ ...object, automatic: true, isRecorded: true })) : [],
    held,
    asset: isUnchanged(held, asset) ? held : asset,
    warnings,
  };
}

function isUnchanged(held: HeldAsset | undefined, asset: HeldAsset): boolean {
  return (
    JSON.stringify([held?.owners, held?.digest, held?.objects]) ===
    JSON.stringify([asset.owners, asset.digest, asset.objects])
  );
}

function prepareUninstall(step: Step, held: HeldAsset | undefined, options: ManifestOptions & Whose): PreparedManifest {
  const others = held?.owners.filter((owner) => owner !== options.owner) ?? [];
  if (held !== undefined && others.length > 0) {
    const asset = others.length === held.owners.length ? held : { ...held, owners: others };
    return { step, desired: [], obsolete: [], kept: heldReason(held, others), held, asset, warnings: [] };
  }
  const recorded = held?.objects ?? [];
  const isGone = !fs.existsSync(join(options.source, step.name));
  const read = step.pruned === true || (isGone && held !== undefined) ? [] : readManifest(step.name, options).desired;
  const named = read.map((object) => recorded.find((old) => isSameIdentity({ ...old, ...object }, old)) ?? object);
  const more = recorded.filter((old) => !named.some((object) => isSameIdentity(object, old)));
  const automatic = step.pruned === true;
  const obsolete = [
    ...more.map((object) => ({ ...identityOf(object), automatic, isRecorded: true })),
    ...named.map((object) => ({ ...identityOf(object), automatic, isRecorded: false })),
  ];
  return {
    step,
    desired: [],
    obsolete: obsolete.toReversed(),
    held,
    asset: undefined,
    warnings: [],
  };
}

function identityOf({ apiVersion, kind, namespace, name }: Identity): Identity {
  return { apiVersion, kind, ...(namespace === undefined ? {} : { namespace }), name };
}

function isSameIdentity(a: Identity, b: Identity): boolean {
  return a.apiVersion === b.apiVersion && a.kind === b.kind && a.namespace === b.namespace && a.name === b.name;
}

function readManifest(
  name: string,
  options: ManifestOptions,
): { text: string; desired: DesiredObject[]; warnings: Finding[] } {
  const path = join(options.source, name);
  const template = readText(path);
  const substituted = substituteVariables(template, (variable) => options.env[variable], variablesOf(options));
  const { text, missing } = substituted;
  const lines = new Lines(template);
  const isComment = commentsIn(template);
  const unset = options.allowUnset ? [] : missing.filter((place) => !isComment(lines.offsetOf(place)));
  const objections = new Objections();
  for (const { name: variable, line, column } of unset) {
    if (unset.find((other) => other.name === variable)?.line !== line) continue;
    objections.add(
      new Failure({
        code: "variable-unset",
        subject: path,
        problem: `line ${line}, column ${column}: the variable ${variable} is not set`,
        hint: `set it, put empty text in its place with --allow-unset, or substitute only some with --variables='$A $B'`,
      }),
    );
  }
  objections.throwIfAny();
  const newLines = new Lines(text);
  const objects = parseManifest(path, text, (place) =>
    lines.placeOf(substituted.originalOffset(newLines.offsetOf(place))),
  );
  const unquoted = unquotedVariables(template, options);
  return {
    text,
    desired: objects.map((object) => ({ ...object, file: path, unquoted })),
    warnings: untouchedIn(template, path, options),
  };
}

/** Warns of what a shell would expand and is not a variable here, once a name: `${MTU:-1500}`. Defaults may be secret. */
function untouchedIn(template: string, path: string, options: ManifestOptions): Finding[] {
  const only = variablesOf(options);
  const lines = new Lines(template);
  const isComment = commentsIn(template);
  const places = new Map<string, string>();
  for (const { 1: name = "", index } of template.matchAll(/\$\{([A-Za-z_]\w*)[^\w}\n][^}\n]*\}/gu)) {
    if (isComment(index) || only?.has(name) === false || places.has(name)) continue;
    const { line, column } = lines.placeOf(index);
    places.set(name, `line ${line}, column ${column}: \${${name}…} stays as it is`);
  }
  const why = "only $NAME and ${NAME} are variables, without defaults and other operators of a shell";
  const hint = "--variables='$A $B' names those that are meant";
  return Array.from(places.values(), (place) => warning("variable-unsupported", path, `${place}: ${why}`, hint));
}

/** Variables that are a whole value without quotes, and that YAML reads as a number, a boolean or nothing. */
function unquotedVariables(template: string, { env, ...options }: ManifestOptions): DesiredObject["unquoted"] {
  const only = variablesOf({ ...options, env });
  return template.split("\n").flatMap((text, index) => {
    const [, plain, braced] = /(?::|-)\s+\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})\s*(?:#.*)?$/u.exec(text) ?? [];
    const name = plain ?? braced ?? "";
    if (name === "" || only?.has(name) === false) return [];
    return isText(env[name] ?? "") ? [] : [{ name, line: index + 1 }];
  });
}

function isText(value: string): boolean {
  try {
    return typeof readYaml(`${value}\n`) === "string";
  } catch {
    return true;
  }
}

function variablesOf({ variables }: ManifestOptions): ReadonlySet<string> | undefined {
  return variables === undefined ? undefined : parseShellFormat(variables);
}

function readText(path: string): string {
  let stat: fs.Stats;
  try {
    stat = fs.statSync(path);
    if (stat.isFile()) return decodeManifest(path, fs.readFileSync(path));
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
      throw systemFailure(path, "the manifest cannot be read", error);
    }
    throw new Failure({
      code: "source-missing",
      subject: path,
      problem: "there is no such manifest, and no record of what was applied from it",
      hint: hintOfMissing(path, "manifests", "--manifest-source"),
    });
  }
  throw notRegular(path, "the manifest cannot be read", stat);
}

/** What became of one object. */
type ObjectResult = Omit<StepResult, "action" | "kind" | "name">;

type Obsolete = PreparedManifest["obsolete"][number];

/** Manifests that the API has been asked about: ready to be applied, undone, deleted. */
export class CheckedManifests implements OutsideChange {
  readonly #api: Api;
  readonly #cluster: Cluster;
  readonly #checked: (Checked | Refused)[] = [];
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
    const api = new Api(findAccess(options), performance.now() + timeout, signal);
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
  #refuseUnlessComing(object: Checked | Refused): void {
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
      texts: { before: textOf(hideSecret(found.live, found.live)), after: "" },
    };
  }

  /** Namespaces and definitions of the whole run first; what needs them is checked before the first of it is applied. */
  async act(): Promise<void> {
    const first = this.#checked.filter((object) => isFoundation(object.desired));
    const rest = this.#checked.filter((object) => !isFoundation(object.desired));
    for (const object of first) await this.#apply(object);
    const ready: (Checked | Refused)[] = [];
    for (const object of rest) ready.push("outcome" in object ? object : await this.#cluster.check(object.desired));
    for (const object of ready) refuseUnlessComing(object, ready);
    for (const object of ready) await this.#apply(object);
  }

  async #apply(object: Checked | Refused): Promise<void> {
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
   * Deletes what is obsolete, definitions and namespaces last: with the first of them there is no way back.
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
  const message = error instanceof Error ? error.message : String(error);
  const described = checked === undefined ? "" : describeIdentity(checked.desired);
  return message.includes(described) ? message : `${described} (${message})`;
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

function isAsItShouldBe(one: Checked | Refused): boolean {
  return "outcome" in one && one.outcome === "unchanged";
}

/** What is refused now must be accepted once other objects of this run are there. @param more of these. */
function refuseUnlessComing(
  object: Checked | Refused,
  all: readonly (Checked | Refused)[],
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

function repeated({ desired }: Checked | Refused): Pick<StepResult, "object" | "outcome" | "reason"> {
  return { object: describeIdentity(desired), outcome: "unchanged", reason: `the same as in ${desired.file}` };
}

const UNTRIED = "not tried: the fields of kubectl apply that are in the way become cni-node's first";

function resultOf(object: Checked | Refused): Pick<StepResult, "object" | "outcome" | "reason" | "texts"> {
  const described = describeIdentity(object.desired);
  if (!("outcome" in object)) {
    return { object: described, outcome: "created", reason: `not checked: ${object.reason}` };
  }
  const { outcome, live, result, warnings } = object;
  const reasons = [
    ...(result === undefined ? [UNTRIED] : []),
    ...(warnings.length > 0 ? [`the server warns: ${warnings.join("; ")}`] : []),
  ];
  const common = { object: described, outcome, ...(reasons.length > 0 && { reason: reasons.join("; ") }) };
  return outcome === "unchanged" || result === undefined ? common : { ...common, texts: textsOf(live, result) };
}

function textsOf(live: JsonObject | undefined, result: JsonObject): { before: string; after: string } {
  const hidden = hideSecret(result, live);
  if (live !== undefined) return { before: textOf(hideSecret(live, live)), after: textOf(hidden) };
  const { uid: _uid, creationTimestamp: _created, ...metadata } = hidden["metadata"] as JsonObject;
  return { before: "", after: textOf({ ...hidden, metadata }) };
}

function textOf(object: JsonObject): string {
  return `${stringifyJson(withoutServerFields(object), 2)}\n`;
}

/** The values of a Secret are shown to nobody, only that one differs. */
function hideSecret(object: JsonObject, before: JsonObject | undefined): JsonObject {
  if (object["kind"] !== "Secret") return object;
  const hidden: JsonObject = { ...object, metadata: withoutLastApplied(object["metadata"] as JsonObject) };
  for (const field of ["data", "stringData"]) {
    const values = object[field];
    if (typeof values !== "object" || values === null) continue;
    const old = (before?.[field] ?? {}) as JsonObject;
    const entries = Object.entries(values as JsonObject).map(([key, value]) => {
      const isSame = old[key] === undefined || isEqualJson(old[key], value);
      return [key, isSame ? "***" : "*** (other)"] as const;
    });
    hidden[field] = Object.fromEntries(entries);
  }
  return hidden;
}

/** `kubectl apply` keeps a copy of the whole object in an annotation. */
function withoutLastApplied(metadata: JsonObject): JsonObject {
  const annotations = metadata["annotations"] as JsonObject | undefined;
  if (annotations?.[LAST_APPLIED] === undefined) return metadata;
  return { ...metadata, annotations: { ...annotations, [LAST_APPLIED]: "***" } };
}

function notRemoved(error: unknown, left: readonly string[]): Failure {
  return new Failure({
    code: error instanceof Failure ? error.code : "not-removed",
    subject: (error as Error).message,
    problem: `not deleted: ${left.join(", ")}; everything else is done`,
    hint: `${error instanceof Failure && error.hint !== undefined ? `${error.hint}; ` : ""}run the same command again: it goes on where it stopped`,
    exitCode: 4,
    cause: error,
  });
}
