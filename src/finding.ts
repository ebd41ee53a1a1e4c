/** What a look at a node has found: told by the proof of a run and by `status`. */
export interface Finding {
  /** Kebab case; stays the same when the words change. */
  code: string;
  /** A note is about what most nodes have: a scanner may object to it, and nothing is wrong. */
  severity: "error" | "warning" | "note";
  /** What it is about: a path as the node sees it, or the name of an asset. */
  path: string;
  /** What is wrong with it, as the rest of a sentence that begins with the path, and why that matters. */
  message: string;
  /** What to do. */
  hint?: string;
}

/** Is it more than a note? */
export function isWrong({ severity }: Finding): boolean {
  return severity !== "note";
}
