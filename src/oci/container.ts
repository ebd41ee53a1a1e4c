/** The container that a hook is called for: its state, and what its bundle says of it. */
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import { isObject, parseJson } from "../cni/json.ts";
import { isName, NAME_RULE } from "../cni/names.ts";
import { Failure, systemFailure } from "../errors.ts";
import { remove } from "../system/disk.ts";
import { readText, readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
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

/** In the bundle: why a hook failed. crun does not show it to anybody. */
const REASON = ".cni-node-failure";

/** Keeps why a hook of the container failed, until it is asked for; undefined: it has not. */
export function keepReason({ bundle }: Container, reason: string | undefined): void {
  const path = join(bundle, REASON);
  try {
    remove(path);
    if (reason !== undefined) fs.writeFileSync(path, reason, { flag: "wx", mode: 0o600 });
  } catch {
    // It is on stderr as well.
  }
}

/** Why a hook of the container failed, if it has. */
export function takeReason(container: Container): string | undefined {
  const reason = readTextIfPossible(join(container.bundle, REASON), SIZE_LIMITS.config);
  keepReason(container, undefined);
  return reason;
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
