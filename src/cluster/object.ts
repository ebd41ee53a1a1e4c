/** What is said about an object as the server gives it. Pure. */
import * as v from "valibot";

import { isEqualJson, type JsonObject, type JsonValue } from "./json.ts";

/** What the server writes into the metadata of every object that it stores. */
type ServerMetadata = JsonObject & {
  uid: string;
  resourceVersion: string;
  finalizers?: string[];
  managedFields?: JsonObject[];
};

/** The metadata of an object that the server has given. */
export function metadataOf(object: JsonObject): ServerMetadata {
  return object["metadata"] as ServerMetadata;
}

/** Fields as managedFields has them: objects, and nothing else. */
const Fields: v.GenericSchema = v.record(
  v.string(),
  v.lazy(() => Fields),
);
const Texts = v.nullish(v.record(v.string(), v.string()));

/** What is relied upon of an object that a server gives. */
const ServerObject = v.looseObject({
  metadata: v.looseObject({
    uid: v.optional(v.string()),
    resourceVersion: v.optional(v.string()),
    deletionTimestamp: v.optional(v.string()),
    finalizers: v.optional(v.array(v.string())),
    labels: Texts,
    annotations: Texts,
    managedFields: v.optional(
      v.array(v.looseObject({ manager: v.optional(v.string()), fieldsV1: v.optional(Fields) })),
    ),
  }),
});

/** Does an answer have the shape of a Kubernetes object? */
export function isServerObject(body: JsonValue): body is JsonObject {
  return v.is(ServerObject, body);
}

const Conditions = v.object({
  status: v.object({
    conditions: v.array(v.object({ type: v.string(), status: v.string(), message: v.optional(v.string(), "") })),
  }),
});

/** The conditions in an object's status. */
export function conditionsOf(object: JsonObject | undefined): { type: string; status: string; message: string }[] {
  const parsed = v.safeParse(Conditions, object);
  return parsed.success ? parsed.output.status.conditions : [];
}

/** What an export of an object holds, and only the server may set. */
const EXPORTED = ["managedFields", "uid", "resourceVersion", "deletionTimestamp"];

/** The fields of an object that come from an export, as paths. */
export function exportedFields(object: JsonObject): string[] {
  const metadata = (object["metadata"] ?? {}) as JsonObject;
  return EXPORTED.filter((key) => Object.hasOwn(metadata, key)).map((key) => `metadata.${key}`);
}

/**
 * An object as it is sent: without `selfLink`, which servers ignore and would be a difference for ever, and the texts of
 * a Secret as data, for the server does not remember that they were ours.
 */
export function asSent(object: JsonObject): JsonObject {
  const { selfLink: _, ...metadata } = (object["metadata"] ?? {}) as JsonObject;
  const sent = { ...object, metadata };
  const { stringData, data, ...others } = sent as JsonObject & { stringData?: JsonValue; data?: JsonValue };
  const isSecret = object["apiVersion"] === "v1" && object["kind"] === "Secret";
  if (!isSecret || !isTexts(stringData) || !(data === undefined || data === null || isTexts(data))) return sent;
  const encoded = Object.entries(stringData).map(([key, text]) => [key, Buffer.from(text).toString("base64")] as const);
  return { ...others, data: { ...data, ...Object.fromEntries(encoded) } };
}

function isTexts(value: JsonValue | undefined): value is Record<string, string> {
  return v.is(v.record(v.string(), v.string()), value);
}

/** Without what only the server writes. */
export function withoutServerFields(object: JsonObject): JsonObject {
  const {
    managedFields: _,
    resourceVersion: _version,
    generation: _generation,
    ...metadata
  } = (object["metadata"] ?? {}) as JsonObject;
  return { ...object, metadata };
}

/** Are they the same, but for what only the server writes? */
export function isSame(live: JsonObject, result: JsonObject): boolean {
  return isEqualJson(withoutServerFields(live), withoutServerFields(result));
}

/** Is everything that is wanted there, whatever else is? null wants nothing. */
export function contains(live: JsonValue | undefined, wanted: JsonValue): boolean {
  if (wanted === null) return true;
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(live) && live.length === wanted.length && wanted.every((item, index) => contains(live[index], item))
    );
  }
  if (typeof wanted === "object") {
    return (
      typeof live === "object" &&
      live !== null &&
      !Array.isArray(live) &&
      Object.entries(wanted).every(([key, value]) => contains(live[key], value))
    );
  }
  return live !== undefined && isEqualJson(live, wanted);
}
