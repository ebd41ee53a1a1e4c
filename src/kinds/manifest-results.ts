/** What becomes of the objects of manifests, for people. Values of Secrets are hidden. Pure. */
import type { Checked, RefusedObject } from "../cluster/apply.ts";
import { isEqualJson, stringifyJson, type JsonObject } from "../cluster/json.ts";
import { LAST_APPLIED } from "../cluster/managed-fields.ts";
import { withoutServerFields } from "../cluster/object.ts";
import { describeIdentity } from "../cluster/resource.ts";
import type { StepResult } from "./kind.ts";

/** What became of one object. */
export type ObjectResult = Omit<StepResult, "action" | "kind" | "name">;

/** Of an object that an earlier one of the same run is equal to. */
export function repeated({ desired }: Checked | RefusedObject): ObjectResult {
  return { object: describeIdentity(desired), outcome: "unchanged", reason: `the same as in ${desired.file}` };
}

const UNTRIED = "not tried: the fields of kubectl apply that are in the way become cni-node's first";

/** Of an object that was checked, or that the API refuses until others of the run are there. */
export function resultOf(object: Checked | RefusedObject): ObjectResult {
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

/** Of an object that is deleted. */
export function deletedTexts(live: JsonObject): ObjectResult["texts"] & {} {
  return { before: textOf(hideSecret(live, live)), after: "" };
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
