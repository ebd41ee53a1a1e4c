import { Failure } from "../errors.ts";
import type { TextPosition } from "../system/text-position.ts";
import { DocumentProblem, readDocuments, type Document } from "./documents.ts";
import type { JsonObject, JsonValue } from "./json.ts";

/** A Kubernetes object of a manifest. */
export interface ManifestObject {
  apiVersion: string;
  kind: string;
  name: string;
  namespace?: string;
  /** The whole object as plain data. */
  value: JsonObject;
  /** The line in the file where its document begins, from 1. */
  line: number;
}

/** The text of a manifest: UTF-8, or UTF-16 with a byte order mark. kubectl would replace what is neither. */
export function decodeManifest(file: string, bytes: Uint8Array): string {
  const mark = Buffer.from(bytes.subarray(0, 2)).toString("hex");
  const encoding = { fffe: "utf-16le", feff: "utf-16be" }[mark] ?? "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    const before = new TextDecoder(encoding).decode(bytes).split("\uFFFD", 1).join();
    const problem = `line ${before.split("\n").length}: is not ${encoding.toUpperCase()} text`;
    throw invalid(file, problem, "save it as UTF-8");
  }
}

/**
 * The objects of a manifest, YAML or JSON, read as kubectl reads them, in order and out of their lists. What kubectl
 * would read only in part or change is refused, and so are keys that are given twice.
 *
 * @param originOf where a position of the text is in the file, for messages.
 */
export function parseManifest(
  file: string,
  text: string,
  originOf: (position: TextPosition) => TextPosition = (position) => position,
): ManifestObject[] {
  try {
    return readDocuments(text.replace(/^\uFEFF/u, "")).flatMap(({ value, line: at }) => {
      const { line } = originOf({ line: at, column: 1 });
      return objectsOf(file, { value, line }).map((object) => toManifestObject(file, object, line));
    });
  } catch (error) {
    if (!(error instanceof DocumentProblem)) throw error;
    const { line, column } = originOf(error.position);
    throw invalid(
      file,
      `line ${line}, column ${column}: ${error.message}`,
      "write it in plain YAML or JSON: each key once, spaces for indentation, unusual texts in double quotes",
    );
  }
}

/** As for kubectl, whatever has items is a list. */
function objectsOf(file: string, { value, line }: Document): JsonObject[] {
  if (value === null) return [];
  if (!isObject(value)) throw invalid(file, `line ${line}: the document is not an object`, OBJECT_HINT);
  if (!Object.hasOwn(value, "items")) return [value];
  const { items, kind, apiVersion } = value as { items: JsonValue; kind?: JsonValue; apiVersion?: JsonValue };
  if (textOf(kind) === "") throw invalid(file, `line ${line}: the list has no kind`, OBJECT_HINT);
  if (items === null) return [];
  if (!Array.isArray(items)) throw invalid(file, `line ${line}: items is not a list`, OBJECT_HINT);
  return items.map((item) => {
    if (!isObject(item)) throw invalid(file, `line ${line}: an item of the list is not an object`, OBJECT_HINT);
    if (Array.isArray(item["items"])) {
      throw invalid(
        file,
        `line ${line}: a list stands in a list, which kubectl does not read`,
        "put its items into the outer list",
      );
    }
    if (textOf(item["kind"]) !== "" || textOf(item["apiVersion"]) !== "") return item;
    return { ...item, kind: textOf(kind).replace(/List$/u, ""), apiVersion: textOf(apiVersion) };
  });
}

const OBJECT_HINT =
  "a manifest holds Kubernetes objects, each with apiVersion, kind and metadata.name, or lists of them";

function toManifestObject(file: string, value: JsonObject, line: number): ManifestObject {
  const refuse = (problem: string, hint: string): never => {
    throw invalid(file, `line ${line}: ${problem}`, hint);
  };
  const required = (of: JsonObject, key: string, path: string): string => {
    const found = of[key];
    if (typeof found === "string" && found !== "") return found;
    const described = describeKind(value);
    if (found === undefined || found === null || found === "")
      return refuse(`${described} has no ${path}`, OBJECT_HINT);
    return refuse(`${described} has a ${path} that is not a string: ${typeof found}`, "put it in quotes");
  };
  const apiVersion = required(value, "apiVersion", "apiVersion");
  const kind = required(value, "kind", "kind");
  const metadata = isObject(value["metadata"]) ? value["metadata"] : {};
  if (textOf(metadata["name"]) === "" && textOf(metadata["generateName"]) !== "") {
    refuse(
      `${kind} has generateName and no name`,
      "give it a name: as with kubectl apply, it could not be found again",
    );
  }
  const name = required(metadata, "name", "metadata.name");
  const { namespace = null } = metadata as { namespace?: JsonValue };
  if (namespace !== null && typeof namespace !== "string") {
    refuse(`${kind} ${name} has a metadata.namespace that is not a string: ${typeof namespace}`, "put it in quotes");
  }
  return { apiVersion, kind, name, ...(textOf(namespace) === "" ? {} : { namespace: textOf(namespace) }), value, line };
}

function describeKind(object: JsonObject): string {
  return textOf(object["kind"]) || "the object";
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(file: string, problem: string, hint: string): Failure {
  return new Failure({ code: "manifest-invalid", subject: file, problem, hint });
}
