/** Whose the fields of an object are, as metadata.managedFields has it; and what kubectl's client-side apply left. Pure. */
import { isEqualJson, parseJsonExactly, type JsonObject, type JsonValue } from "./json.ts";
import { contains, metadataOf } from "./object.ts";

/** kubectl's client-side apply, whose fields are taken over as kubectl itself does. */
export const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** Whoever updates the annotation of the last applied configuration is a client-side apply (kubectl's own rule). */
export function clientSideManagers(live: JsonObject | undefined): JsonObject[] {
  return (live === undefined ? [] : (metadataOf(live).managedFields ?? [])).filter((entry) => {
    const fields = entry["fieldsV1"] as JsonObject | undefined;
    const metadata = fields?.["f:metadata"] as JsonObject | undefined;
    const annotations = metadata?.["f:annotations"] as JsonObject | undefined;
    const isUpdate = entry["operation"] === "Update" && entry["subresource"] === undefined;
    return isUpdate && annotations?.[`f:${LAST_APPLIED}`] !== undefined;
  });
}

/** The union of two sets of fields, as managedFields writes them. */
function mergeFields(a: JsonObject, b: JsonObject): JsonObject {
  const merged = { ...a };
  for (const [key, value] of Object.entries(b)) {
    merged[key] = merged[key] === undefined ? value : mergeFields(merged[key] as JsonObject, value as JsonObject);
  }
  return merged;
}

/** An object as tried, without the fields that go once those of kubectl's client-side apply have become ours. */
export function withoutDropped(result: JsonObject, live: JsonObject | undefined, fieldManager: string): JsonObject {
  const managers = clientSideManagers(live);
  if (live === undefined || managers.length === 0) return result;
  const { managedFields = [] } = metadataOf(result);
  const isMigrated = ({ manager, operation }: JsonObject): boolean =>
    managers.some((other) => other["manager"] === manager && other["operation"] === operation);
  const given = managers.reduce<JsonObject>((union, entry) => mergeFields(union, entry["fieldsV1"] as JsonObject), {});
  const kept = managedFields
    .filter((entry) => !isMigrated(entry) || (entry["manager"] === fieldManager && entry["operation"] === "Apply"))
    .reduce<JsonObject>((union, entry) => mergeFields(union, entry["fieldsV1"] as JsonObject), {});
  return withoutFields(result, given, kept, lastApplied(live) ?? result) as JsonObject;
}

/** What `kubectl apply` was given. It also manages the defaults beside, but without it they are the same again. */
function lastApplied(live: JsonObject): JsonObject | undefined {
  const { annotations = {} } = metadataOf(live) as { annotations?: JsonObject };
  try {
    const applied = parseJsonExactly(annotations[LAST_APPLIED] as string) as JsonObject;
    // In another version, the same field may have another place.
    return applied["apiVersion"] === live["apiVersion"] ? applied : undefined;
  } catch {
    return undefined;
  }
}

/** Without what `dropped` names and `kept` does not, as managedFields write them, and `applied` has. */
function withoutFields(value: JsonValue, dropped: JsonObject, kept: JsonObject, applied: JsonValue): JsonValue {
  if (typeof value !== "object" || value === null) return value;
  let left = value;
  for (const [field, below] of Object.entries(dropped)) {
    const index = indexOf(left, field, (item, keys) => contains(item, keys));
    // A key that has a default need not have been given.
    const given = indexOf(applied, field, (item, keys) => contains({ ...keys, ...(item as JsonObject) }, keys));
    if (index === undefined || given === undefined) continue;
    // The annotation itself is no difference: an object that kubectl keeps as it is wanted stays as it is.
    if (field === `f:${LAST_APPLIED}`) continue;
    const present = (left as JsonObject)[index] as JsonValue;
    const keptBelow = kept[field] as JsonObject | undefined;
    const without = (what: JsonValue): JsonValue => withoutFields(present, below as JsonObject, keptBelow ?? {}, what);
    const appliedBelow = (applied as JsonObject)[given] as JsonValue;
    const rest = without(appliedBelow);
    // A dot says that the field itself is held, not only what is below it: it goes with its defaults.
    const isBare = (): boolean => isEmpty(appliedBelow === present ? rest : without(present));
    const isHeld = isLeaf(below) || (Object.hasOwn(below as JsonObject, ".") && isBare());
    const isGone = keptBelow === undefined && isHeld;
    left = withField(left, index, isGone ? undefined : rest);
  }
  return left;
}

function isLeaf(fields: JsonValue): boolean {
  return Object.keys(fields as JsonObject).length === 0;
}

function isEmpty(value: JsonValue): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function withField(value: JsonObject | JsonValue[], index: string, field: JsonValue | undefined): typeof value {
  if (Array.isArray(value)) {
    return value.flatMap((item, at) => (at === Number(index) ? (field === undefined ? [] : [field]) : [item]));
  }
  const { [index]: _, ...others } = value;
  return field === undefined ? others : { ...value, [index]: field };
}

/** Where a field of managedFields is: `f:` a key, `k:` an item by its keys, `v:` an item by its value. */
function indexOf(
  value: JsonValue,
  field: string,
  hasKeys: (item: JsonValue, keys: JsonObject) => boolean,
): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const [, type, text = ""] = /^([fkv]):(.*)$/su.exec(field) ?? [];
  if (type === "f") return !Array.isArray(value) && Object.hasOwn(value, text) ? text : undefined;
  if (type === undefined || !Array.isArray(value)) return undefined;
  const wanted = parseJsonExactly(text);
  const found = value.findIndex((item) =>
    type === "k" ? hasKeys(item, wanted as JsonObject) : isEqualJson(item, wanted),
  );
  return found < 0 ? undefined : String(found);
}

/** The entries with those of client-side applies made this manager's own, as kubectl migrates them. */
export function mergedFields(
  entries: readonly JsonObject[],
  managers: readonly JsonObject[],
  fieldManager: string,
): JsonObject[] {
  const ours = entries.find((entry) => entry["manager"] === fieldManager && entry["operation"] === "Apply");
  const [first] = managers as [JsonObject];
  const all = [...managers, ...(ours === undefined ? [] : [ours])];
  const fields = all.reduce<JsonObject>((union, entry) => mergeFields(union, entry["fieldsV1"] as JsonObject), {});
  const entry = { ...(ours ?? first), manager: fieldManager, operation: "Apply", fieldsV1: fields };
  return [...entries.filter((other) => !all.includes(other)), entry];
}

/**
 * Can this manager have written the object? It is named in it, for whatever it has done there, or nobody is: the API
 * notes no manager of an object that has no fields beside its name.
 */
export function mayBeWrittenBy(object: JsonObject, manager: string): boolean {
  const entries = metadataOf(object).managedFields ?? [];
  return entries.length === 0 || entries.some((entry) => entry["manager"] === manager);
}
