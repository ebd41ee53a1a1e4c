/** What kubectl makes of manifests, by its own code: for comparisons with ours. */
import { spawn } from "node:child_process";
import { join } from "node:path";

import { endOf } from "../helpers/node.ts";
import { findClusterPrograms } from "./build.ts";

/** What kubectl finds in one manifest. */
export interface Decoded {
  /** The objects that come before an error, lists taken apart. Integers beyond JavaScript's safe ones are bigint. */
  objects: unknown[];
  error?: string;
}

/** Decodes any number of manifests, in one process. */
export async function decode(manifests: readonly (string | Uint8Array)[]): Promise<Decoded[]> {
  const child = spawn(join(findClusterPrograms(), "decode"), ["-batch"]);
  const inputs = manifests.map((manifest) => Buffer.from(manifest as Uint8Array));
  child.stdin.end(Buffer.concat(inputs.flatMap((input) => [Buffer.from(`${input.length}\n`), input])));
  const { exitCode, stdout, stderr } = await endOf(child);
  if (exitCode !== 0) throw new Error(`decode: ${stderr}`);
  return stdout
    .trimEnd()
    .split("\n")
    .filter(Boolean)
    .map((line) => parseExactly(line) as Decoded);
}

/** Parses JSON; integers beyond JavaScript's safe ones become bigint. */
export function parseExactly(text: string): unknown {
  return JSON.parse(text, exactNumber);
}

function exactNumber(_key: string, value: unknown, context?: { source?: string }): unknown {
  const isInexact = Number.isInteger(value) && !Number.isSafeInteger(value);
  return isInexact && /^-?\d+$/u.test(context?.source ?? "") ? BigInt(context?.source ?? "") : value;
}
