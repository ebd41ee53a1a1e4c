/** The container that a hook is called for: its state, and what its bundle says of it. */
import { join, resolve } from "node:path";

import { isObject, parseJson } from "../cni/json.ts";
import { isName, NAME_RULE } from "../cni/names.ts";
import { Failure, systemFailure } from "../errors.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { annotationsOf, readSpec, type Spec } from "./spec.ts";

export interface Container {
  id: string;
  /** Undefined: it has no process, or has none any more. */
  pid: number | undefined;
  bundle: string;
  spec: Spec;
}

/**
 * Reads the state that runtimes give a hook, and config.json of the bundle.
 *
 * @throws Failure `oci-state-invalid`, `oci-spec-invalid`; others when the bundle cannot be read.
 */
export function readContainer(state: string): Container {
  const parsed = parseJson(state);
  const value = "value" in parsed && isObject(parsed.value) ? parsed.value : {};
  const { id, pid, bundle, annotations } = value as Partial<Record<string, unknown>>;
  if (typeof id !== "string" || typeof bundle !== "string" || !bundle.startsWith("/")) {
    throw invalid("it has no state of a container on its standard input");
  }
  if (!isName(id)) throw invalid(`the ID of the container is ${JSON.stringify(id)}, and CNI allows ${NAME_RULE}`);
  const spec = readBundle(bundle);
  return {
    id,
    pid: Number.isSafeInteger(pid) && Number(pid) > 0 ? Number(pid) : undefined,
    bundle,
    spec: { ...spec, annotations: new Map([...spec.annotations, ...annotationsOf(annotations)]) },
  };
}

function readBundle(bundle: string): Spec {
  const path = join(resolve(bundle), "config.json");
  try {
    return readSpec(readText(path, SIZE_LIMITS.state), path);
  } catch (error) {
    throw systemFailure(path, "the configuration of the container cannot be read", error);
  }
}

function invalid(problem: string): Failure {
  return new Failure({
    code: "oci-state-invalid",
    subject: "hook",
    problem,
    hint: "an OCI runtime calls it: for people there is cni-node network",
  });
}
