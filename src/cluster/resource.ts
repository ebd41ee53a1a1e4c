/** What the server calls a kind, and where its objects are. */
import * as v from "valibot";

import { Failure } from "../errors.ts";
import { mask } from "../secrets.ts";
import type { JsonObject, JsonValue } from "./json.ts";
import { isServerObject } from "./object.ts";
import { ANSWER_LIMITS, type Api, type ApiResponse } from "./request.ts";

/** An object by what it is, not by what it holds. */
export type Identity = {
  apiVersion: string;
  kind: string;
  name: string;
  /** Absent: the namespace of the access, or none for kinds without namespaces. */
  namespace?: string;
};

/** A kind as this server serves it. */
export interface Resource {
  group: string;
  /** Plural, as in paths and rules: `clusterrolebindings`. */
  name: string;
  namespaced: boolean;
}

/** Nodes, as every server serves them. */
export const NODES: Resource = { group: "", name: "nodes", namespaced: false };
/** ConfigMaps, as every server serves them. */
export const CONFIG_MAPS: Resource = { group: "", name: "configmaps", namespaced: true };

/** `ClusterRoleBinding multus-cni-n1`, `ConfigMap kube-system/a`: for people. */
export function describeIdentity({ kind, namespace, name }: Identity): string {
  return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

export function isDefinition({ apiVersion, kind }: Identity): boolean {
  return kind === "CustomResourceDefinition" && groupOf(apiVersion) === "apiextensions.k8s.io";
}

export function isNamespace({ apiVersion, kind }: Identity): boolean {
  return kind === "Namespace" && apiVersion === "v1";
}

function groupOf(apiVersion: string): string {
  return apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
}

/** What every API server serves. */
const CORE = "v1";

/** What is relied upon of an APIResourceList; names with a slash are subresources. */
const ServedResources = v.object({
  resources: v.array(
    v.object({
      name: v.pipe(v.string(), v.regex(/^[\w.-]+(?:\/[\w./-]+)?$/u)),
      kind: v.string(),
      namespaced: v.boolean(),
    }),
  ),
});

const ServedGroup = v.object({ versions: v.array(v.object({ groupVersion: v.string() })) });

/** Kinds that have left their group. */
const MOVED: Record<string, Record<string, string>> = {
  extensions: {
    DaemonSet: "apps",
    Deployment: "apps",
    ReplicaSet: "apps",
    Ingress: "networking.k8s.io",
    NetworkPolicy: "networking.k8s.io",
  },
};

type ServedResource = v.InferOutput<typeof ServedResources>["resources"][number];

/** The kinds of a server, asked for by group and version as they are needed. */
export class Discovery {
  readonly #api: Api;
  readonly #known = new Map<string, ServedResource[]>();

  constructor(api: Api) {
    this.#api = api;
  }

  /** Undefined: the server does not serve this kind, yet. What was not there is asked for again. */
  async find({ apiVersion, kind }: Identity): Promise<Resource | undefined> {
    const served = this.#known.get(apiVersion)?.find((resource) => resource.kind === kind);
    const resource = served ?? (await this.#ask(apiVersion)).find((candidate) => candidate.kind === kind);
    if (resource === undefined) return undefined;
    return { group: groupOf(apiVersion), name: resource.name, namespaced: resource.namespaced };
  }

  /** A version that is served of a kind that `find` does not find; undefined: the kind is not served at all. */
  async findVersion({ apiVersion, kind }: Identity): Promise<string | undefined> {
    const own = groupOf(apiVersion);
    const group = MOVED[own]?.[kind] ?? own;
    for (const version of group === "" ? [] : await this.#versionsOf(group)) {
      if ((await this.find({ apiVersion: version, kind, name: "" })) !== undefined) return version;
    }
    return undefined;
  }

  async #versionsOf(group: string): Promise<string[]> {
    const path = pathOfVersion(`${group}/`).replace(/\/$/u, "");
    const response = await this.#api.request({ method: "GET", path, limit: ANSWER_LIMITS.discovery });
    if (response.status === 404) return [];
    if (response.status !== 200) throw apiFailure(group, "cannot be looked up", response);
    const parsed = v.safeParse(ServedGroup, response.body);
    if (!parsed.success) throw wrongShape(group, "a group of kinds");
    return parsed.output.versions.map(({ groupVersion }) => groupVersion);
  }

  async #ask(apiVersion: string): Promise<ServedResource[]> {
    const response = await this.#api.request({
      method: "GET",
      path: pathOfVersion(apiVersion),
      limit: ANSWER_LIMITS.discovery,
    });
    if (response.status === 404 && apiVersion !== CORE) {
      // Whatever stands in the API's place may know nothing at all; then nothing is said of the kind.
      if (!this.#known.has(CORE)) await this.#ask(CORE);
      return [];
    }
    if (response.status !== 200) throw apiFailure(apiVersion, "cannot be looked up", response);
    const parsed = v.safeParse(ServedResources, response.body);
    if (!parsed.success) throw wrongShape(apiVersion, "a list of kinds");
    const served = parsed.output.resources.filter(({ name }) => !name.includes("/"));
    this.#known.set(apiVersion, served);
    return served;
  }
}

/** Is this the API's word that an object is not there? A load balancer's 404 says nothing of it. */
export function isAbsent({ status, body }: ApiResponse): boolean {
  return status === 404 && messageOf(body) !== undefined;
}

/**
 * The path of an object; `collection`: of all of its kind and namespace.
 *
 * @throws Failure `manifest-invalid`: no object can have such a name.
 */
export function pathOf(identity: Identity, resource: Resource, collection = false): string {
  const { apiVersion, namespace = "", name } = identity;
  const within = resource.namespaced ? `/namespaces/${segmentOf(namespace)}` : "";
  return `${pathOfVersion(apiVersion)}${within}/${resource.name}${collection ? "" : `/${segmentOf(name)}`}`;
}

function pathOfVersion(apiVersion: string): string {
  return [apiVersion.includes("/") ? "/apis" : "/api", ...apiVersion.split("/").map(segmentOf)].join("/");
}

/** Another place of the API must not be reached: `.` is all objects of a kind, `..` their namespace, `a/log` a part. */
function segmentOf(name: string): string {
  if (name !== "." && name !== ".." && !/[/%]/u.test(name)) return encodeURIComponent(name);
  throw new Failure({
    code: "manifest-invalid",
    subject: JSON.stringify(name),
    problem: "cannot be a name in Kubernetes: it is . or .., or has a / or %",
    hint: "look at apiVersion, metadata.name and metadata.namespace of the objects, and at the namespace of the kubeconfig",
  });
}

/**
 * The object that the API has answered with.
 *
 * @throws Failure `answer-invalid`.
 */
export function objectIn({ body }: ApiResponse, subject: string): JsonObject {
  if (isServerObject(body)) return body;
  throw wrongShape(subject, "an object of Kubernetes");
}

/** The API answered with something else. */
export function wrongShape(subject: string, what: string): Failure {
  return new Failure({
    code: "answer-invalid",
    subject,
    problem: `the answer of the API is not ${what}`,
    hint: "see which server has the address of the API: a Kubernetes API server does not answer like this",
  });
}

/** Something that the API said no to, in its own words, with what can be done about it. */
export function apiFailure(subject: string, attempt: string, response: ApiResponse, hint?: string): Failure {
  const { status, body } = response;
  const said = messageOf(body) ?? `HTTP status ${status}`;
  // Admission says 403, too, of what no right would allow.
  const isForbidden = status === 403 && /cannot \S+ (?:resource|path) |attempting to grant/u.test(said);
  const more = hint ?? (status === 403 && !isForbidden ? ADMISSION_HINT : HINTS[status]);
  return new Failure({
    code: isForbidden ? "api-forbidden" : status === 401 ? "api-unauthorized" : "api-refused",
    subject,
    problem: `${attempt}: ${said}`,
    ...(more === undefined ? {} : { hint: more }),
  });
}

const ADMISSION_HINT = "this is not a matter of rights: change the object, or what in the cluster refuses it";

const HINTS: Record<number, string> = {
  401: "the credentials are not valid or have expired: look at the kubeconfig or the service account",
  403: "grant it to the service account or user that cni-node runs as",
  404: "apply what is not there first, or in the same run; if it is there, look at the address in the kubeconfig",
  503: "look at kubectl get apiservices for one that is not available, and at the server that it names; --timeout gives it more time",
};

/** The rule that a Role or ClusterRole needs. */
export function ruleFor(verbs: readonly string[], { group, name }: Resource, objectName?: string): string {
  const names = objectName === undefined ? "" : `, resourceNames: ["${objectName}"]`;
  return `add to its Role or ClusterRole the rule {apiGroups: ["${group}"], resources: ["${name}"]${names}, verbs: [${verbs.map((verb) => `"${verb}"`).join(", ")}]}`;
}

/** The message of a Status object. */
export function messageOf(body: JsonValue): string | undefined {
  const message = typeof body === "object" && body !== null && !Array.isArray(body) ? body["message"] : undefined;
  return typeof message === "string" && message !== "" ? mask(message) : undefined;
}
