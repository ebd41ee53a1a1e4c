/** What is said about an object as the server gives it. Pure. */
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

/** The conditions in an object's status. */
export function conditionsOf(object: JsonObject | undefined): { type: string; status: string; message: string }[] {
  const { status } = (object ?? {}) as { status?: { conditions?: ReturnType<typeof conditionsOf> } };
  return status?.conditions ?? [];
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
