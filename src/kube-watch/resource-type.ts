/** What kubectl's users call a kind of objects: `configmap`, `cm`, `deployments.apps`. */
import * as v from "valibot";

import type { Channel } from "../cluster/channel.ts";
import { apiFailure, CONFIG_MAPS, type Identity, type Resource } from "../cluster/resource.ts";
import { usage } from "../errors.ts";

/** A kind as the API has it. */
export interface ResourceType {
  apiVersion: string;
  kind: string;
  resource: Resource;
}

const Served = v.object({
  resources: v.array(
    v.object({
      name: v.string(),
      singularName: v.optional(v.string(), ""),
      shortNames: v.optional(v.array(v.string()), []),
      kind: v.string(),
      namespaced: v.boolean(),
    }),
  ),
});
const Groups = v.object({
  groups: v.array(v.object({ name: v.string(), preferredVersion: v.object({ groupVersion: v.string() }) })),
});

/** Most watch these: the API need not be asked. */
const KNOWN: ResourceType = { apiVersion: "v1", kind: "ConfigMap", resource: CONFIG_MAPS };

/**
 * Finds the kind, in the core group first, as kubectl does.
 *
 * @throws Failure `usage` if the server serves no such kind; what `Channel.get` throws.
 */
export async function findType(type: string, channel: Channel, signal: AbortSignal): Promise<ResourceType> {
  const [, word = "", wantedGroup] = /^([^.]+)(?:\.(.+))?$/u.exec(type.toLowerCase()) ?? [];
  if (["configmap", "configmaps", "cm"].includes(word) && wantedGroup === undefined) return KNOWN;
  const core = wantedGroup === undefined ? await kindIn("v1", word, channel, signal) : undefined;
  if (core !== undefined) return core;
  const answer = await channel.get("/apis", signal);
  if (answer.status !== 200) throw apiFailure("/apis", "the types of the API cannot be listed", answer);
  const groups = v.safeParse(Groups, answer.body);
  for (const { name, preferredVersion } of groups.success ? groups.output.groups : []) {
    if (wantedGroup !== undefined && name !== wantedGroup) continue;
    const found = await kindIn(preferredVersion.groupVersion, word, channel, signal);
    if (found !== undefined) return found;
  }
  throw usage("TYPE", `the server has no resource type ${JSON.stringify(type)}`, "kubectl api-resources lists them");
}

async function kindIn(
  apiVersion: string,
  word: string,
  channel: Channel,
  signal: AbortSignal,
): Promise<ResourceType | undefined> {
  const path = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const answer = await channel.get(path, signal);
  // A group whose own server is away is passed over, as kubectl does.
  if (answer.status === 404 || answer.status === 503) return undefined;
  if (answer.status !== 200) throw apiFailure(path, "the types of the API cannot be listed", answer);
  const served = v.safeParse(Served, answer.body);
  if (!served.success) return undefined;
  const found = served.output.resources.find(({ name, singularName, shortNames, kind }) => {
    return !name.includes("/") && [name, singularName, kind.toLowerCase(), ...shortNames].includes(word);
  });
  if (found === undefined) return undefined;
  const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
  return {
    apiVersion,
    kind: found.kind,
    resource: { group, name: found.name, namespaced: found.namespaced },
  };
}

/** The object of a kind. @param namespace of objects that are named without one. */
export function objectIdentity(
  { apiVersion, kind, resource }: ResourceType,
  name: string,
  namespace: string,
): Identity {
  return { apiVersion, kind, name, ...(resource.namespaced && { namespace }) };
}
