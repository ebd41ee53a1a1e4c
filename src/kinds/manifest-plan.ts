/** Manifests: what they say on this node, and which objects a run applies and deletes for them. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";

import { findAccess } from "../cluster/access.ts";
import type { DesiredObject } from "../cluster/apply.ts";
import { decodeManifest, parseManifest } from "../cluster/manifest.ts";
import type { Identity } from "../cluster/resource.ts";
import { commentsIn } from "../cluster/yaml-syntax.ts";
import { readYaml } from "../cluster/yaml.ts";
import { Failure, isSystemError, notRegular, Objections, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { HeldAsset } from "../host/record.ts";
import { Lines } from "../system/text-position.ts";
import { SIZE_LIMITS } from "../system/read.ts";
import { parseShellFormat, substituteVariables } from "../template/variables.ts";
import type { Step } from "./kind.ts";
import { heldReason, ownersAfter } from "./owners.ts";
import { Source, type Texts } from "./source.ts";

/** How manifests are read and applied. */
export interface ManifestOptions {
  source: string;
  /** Manifests that win over the files of `source`. */
  texts?: Texts;
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
    path: sourceOf(options).nameOf(step.name),
    held,
    owner: options.owner,
    sameAsHeld: held?.digest === digest,
    takeOver: options.takeOver,
  });
  if (desired.length === 0 && prune && (held?.objects ?? []).length > 0) {
    throw new Failure({
      code: "manifest-empty",
      subject: sourceOf(options).nameOf(step.name),
      problem: "holds no objects any more, and --prune would delete all that were applied from it",
      hint: "uninstall the manifest if that is meant; else find out which program has emptied the file",
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
  const isGone = !sourceOf(options).has(step.name);
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

/** Are both the same object? */
export function isSameIdentity(a: Identity, b: Identity): boolean {
  return a.apiVersion === b.apiVersion && a.kind === b.kind && a.namespace === b.namespace && a.name === b.name;
}

function readManifest(
  name: string,
  options: ManifestOptions,
): { text: string; desired: DesiredObject[]; warnings: Finding[] } {
  const source = sourceOf(options);
  const path = source.nameOf(name);
  const template = readText(source, name);
  const substituted = substituteVariables(template, (variable) => options.env[variable], variablesOf(options));
  const { text, missing } = substituted;
  const lines = new Lines(template);
  const isComment = commentsIn(template);
  const unset = options.allowUnset ? [] : missing.filter((position) => !isComment(lines.offsetOf(position)));
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
  const objects = parseManifest(path, text, (position) =>
    lines.positionOf(substituted.originalOffset(newLines.offsetOf(position))),
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
  const untouched = new Map<string, string>();
  for (const { 1: name = "", index } of template.matchAll(/\$\{([A-Za-z_]\w*)[^\w}\n][^}\n]*\}/gu)) {
    if (isComment(index) || only?.has(name) === false || untouched.has(name)) continue;
    const { line, column } = lines.positionOf(index);
    untouched.set(name, `line ${line}, column ${column}: \${${name}…} stays as it is`);
  }
  const why = "only $NAME and ${NAME} are variables, without defaults and other operators of a shell";
  const hint = "--variables='$A $B' names those that are meant";
  return Array.from(untouched.values(), (which) => warning("variable-unsupported", path, `${which}: ${why}`, hint));
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

function sourceOf({ source, texts }: ManifestOptions): Source {
  return new Source(source, texts);
}

function readText(source: Source, name: string): string {
  const path = source.nameOf(name);
  try {
    return decodeManifest(path, source.read(name, SIZE_LIMITS.manifest, readFile));
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
      throw systemFailure(path, "the manifest cannot be read", error);
    }
    const problem = "there is no such manifest, and no record of what was applied from it";
    throw source.missing(name, problem, "manifests", "--manifest-source");
  }
}

function readFile(path: string): Buffer {
  const stat = fs.statSync(path);
  if (stat.isFile()) return fs.readFileSync(path);
  throw notRegular(path, "the manifest cannot be read", stat);
}
