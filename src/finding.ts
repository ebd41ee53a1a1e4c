import type { Kind } from "./asset.ts";
import type { FindingCode } from "./codes.ts";

/** Something that is wrong or worth knowing: `status`, the proof of a run and its warnings are made of these. */
export interface Finding {
  code: FindingCode;
  /** A note is about what most nodes have: a scanner may object to it, and nothing is wrong. */
  severity: "error" | "warning" | "note";
  /** What it is about: a path as the node sees it, or the name of an asset. */
  path: string;
  /** What is wrong with it, as the rest of a sentence that begins with the path, and why that matters. */
  message: string;
  /** What to do. */
  hint?: string;
  /** The command that does it, until it is shown: `withCommand` puts it at the end of the hint. */
  cure?: Cure;
}

/** What a command of cni-node does about a finding: it installs an asset, or releases what is left in a network. */
export type Cure = CureOfAsset | { kind: "network"; name: string } | { kind: "chain"; name: string; owner: string };

/** Installs an asset: of `owner`, or whoever runs it. */
export interface CureOfAsset {
  kind: Kind;
  name: string;
  owner?: string;
  /** Of credentials: whose they are. */
  account?: string | undefined;
  /** Their token is in a file beside the kubeconfig. */
  form?: "token-file";
}

/** A finding that keeps nothing from being done. */
export function warning(code: FindingCode, path: string, message: string, hint?: string): Finding {
  return { code, severity: "warning", path, message, ...(hint === undefined ? {} : { hint }) };
}

/** Both, each finding once. */
export function allOf(first: readonly Finding[], next: readonly Finding[]): Finding[] {
  return [...new Map([...first, ...next].map((one) => [JSON.stringify(one), one])).values()];
}

/** Is it more than a note? */
export function isWrong({ severity }: Finding): boolean {
  return severity !== "note";
}
