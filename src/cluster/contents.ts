/** Whether a namespace or a definition holds something, before it is taken back. */
import * as v from "valibot";

import { Failure } from "../errors.ts";
import { ANSWER_LIMITS, type Api } from "./request.ts";
import { describeIdentity, isAbsent, type Identity } from "./resource.ts";

/** What the cluster itself puts into every namespace; the first two are one object each. */
const OWN = new Set(["ServiceAccount default", "ConfigMap kube-root-ca.crt"]);
const OWN_KINDS = new Set(["Event"]);

const Groups = v.object({
  groups: v.array(v.object({ preferredVersion: v.object({ groupVersion: v.string() }) })),
});
const Kinds = v.object({
  resources: v.array(
    v.object({
      name: v.pipe(v.string(), v.regex(/^[\w./-]+$/u)),
      kind: v.string(),
      namespaced: v.boolean(),
      verbs: v.optional(v.array(v.string()), []),
    }),
  ),
});
const List = v.object({ items: v.array(v.object({ metadata: v.object({ name: v.string() }) })) });
const Definition = v.object({
  spec: v.object({
    group: v.string(),
    names: v.object({ plural: v.string(), kind: v.string() }),
    versions: v.array(v.object({ name: v.string(), served: v.boolean() })),
  }),
});

/**
 * An object that is in a namespace, or that a definition defines; undefined: there is none.
 *
 * @throws Failure where that cannot be seen.
 */
export async function findContent(api: Api, identity: Identity, live: unknown): Promise<string | undefined> {
  return identity.kind === "Namespace" ? findInNamespace(api, identity.name) : findDefined(api, live);
}

async function findDefined(api: Api, live: unknown): Promise<string | undefined> {
  const { group, names, versions } = v.parse(Definition, live).spec;
  const version = versions.find(({ served }) => served)?.name;
  return version === undefined ? undefined : findIn(api, `/apis/${group}/${version}/${names.plural}`, names.kind);
}

async function findInNamespace(api: Api, namespace: string): Promise<string | undefined> {
  const { groups } = await read(api, "/apis", Groups);
  const paths = ["/api/v1", ...groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`)];
  for (const path of paths) {
    const { resources } = await read(api, path, Kinds);
    for (const { name, kind, namespaced, verbs } of resources) {
      if (!namespaced || name.includes("/") || !verbs.includes("list") || OWN_KINDS.has(kind)) continue;
      const found = await findIn(api, `${path}/namespaces/${encodeURIComponent(namespace)}/${name}`, kind);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

async function findIn(api: Api, path: string, kind: string): Promise<string | undefined> {
  const { items } = await read(api, path, List, { limit: "3" });
  const names = items.map(({ metadata }) => describeIdentity({ apiVersion: "", kind, name: metadata.name }));
  return names.find((name) => !OWN.has(name));
}

async function read<Schema extends v.GenericSchema>(
  api: Api,
  path: string,
  schema: Schema,
  query: Record<string, string> = {},
): Promise<v.InferOutput<Schema>> {
  const response = await api.request({ method: "GET", path, query, limit: ANSWER_LIMITS.discovery });
  const parsed = v.safeParse(schema, isAbsent(response) ? { items: [] } : response.body);
  if (response.status < 300 && parsed.success) return parsed.output;
  if (isAbsent(response) && parsed.success) return parsed.output;
  throw new Failure({
    code: "api-refused",
    subject: path,
    problem: `cannot be listed: HTTP status ${response.status}`,
  });
}
