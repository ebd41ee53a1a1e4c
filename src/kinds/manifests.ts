/** Manifests: objects of the cluster. What they need is loaded only if a run has some. */
import type { Objections } from "../errors.ts";
import type { HeldAsset } from "../host/record.ts";
import { heldAs, type Step, type Wanted } from "./kind.ts";
import type { CheckedManifests } from "./manifest-objects.ts";
import type { PreparedManifest } from "./manifest-plan.ts";

/**
 * Reads the manifests of these steps.
 *
 * @param held all assets that are held. @param objections to manifests, which are left out.
 */
export async function prepareManifests(
  steps: readonly Step[],
  held: readonly HeldAsset[],
  wanted: Wanted,
  objections: Objections,
): Promise<Map<Step, PreparedManifest>> {
  const prepared = new Map<Step, PreparedManifest>();
  if (steps.length === 0) return prepared;
  const { prepareManifest } = await import("./manifest-plan.ts");
  const removed = new Set(steps.filter(({ action }) => action === "uninstall").map(({ name }) => name));
  const staying = held.filter(({ kind, name }) => kind === "manifest" && !removed.has(name));
  for (const step of steps) {
    const manifest = objections.catch(() => prepareManifest(step, heldAs(held, step), staying, wanted));
    if (manifest !== undefined) prepared.set(step, manifest);
  }
  return prepared;
}

/** Checks all objects with the API server. Undefined if the run has no manifests. @throws as `CheckedManifests.check`. */
export async function checkManifests(
  manifests: readonly PreparedManifest[],
  { manifests: options, owner }: Wanted,
  signal: AbortSignal,
  objections: Objections,
): Promise<CheckedManifests | undefined> {
  if (manifests.length === 0) return undefined;
  const loaded = await import("./manifest-objects.ts");
  return loaded.CheckedManifests.check(manifests, options, owner, signal, objections);
}
