/**
 * Objects that a run has made and may yet take back. They carry an annotation of the run until it is done: whoever
 * applies such an object takes the annotation away, or is named as a manager beside it, so that the run knows that
 * somebody else relies on the object. Pure.
 */
import type { JsonObject } from "./json.ts";
import { metadataOf } from "./object.ts";

const PREFIX = "unsettled.cni-node.io/";

/** The object with the annotation of a run. */
export function withMark(object: JsonObject, run: string): JsonObject {
  const metadata = object["metadata"] as JsonObject;
  const annotations = (metadata["annotations"] ?? {}) as JsonObject;
  return { ...object, metadata: { ...metadata, annotations: { ...annotations, [`${PREFIX}${run}`]: "" } } };
}

/** The runs that have made the object, or think so, and are not done. */
export function marksOf(object: JsonObject): string[] {
  const annotations = (metadataOf(object)["annotations"] ?? {}) as JsonObject;
  return Object.keys(annotations).flatMap((key) => (key.startsWith(PREFIX) ? [key.slice(PREFIX.length)] : []));
}

/** Is this manager named in the object for what it has applied? */
export function isAppliedBy(object: JsonObject, manager: string): boolean {
  return appliersOf(object).includes(manager);
}

/** Why an object that a run has made must stay; undefined: nobody else relies on it, as far as it says. */
export function objectionToUndo(object: JsonObject, run: string, manager: string): string | undefined {
  const marks = marksOf(object);
  const others = appliersOf(object).filter((other) => other !== manager);
  if (others.length > 0) return `${others.join(", ")} has applied it as well`;
  return marks.length === 1 && marks[0] === run ? undefined : "another run of cni-node has applied it as well";
}

function appliersOf(object: JsonObject): string[] {
  const entries = metadataOf(object).managedFields ?? [];
  return entries.flatMap(({ manager, operation }) =>
    operation === "Apply" ? [typeof manager === "string" ? manager : ""] : [],
  );
}
