/** What a look at a node has found: told by the proof of a run and by `status`. */
export interface Finding {
  /** Kebab case; stays the same when the words change. */
  code: string;
  severity: "error" | "warning";
  /** What it is about: a path as the node sees it, or the name of an asset. */
  path: string;
  /** What is wrong with it, as the rest of a sentence that begins with the path, and why that matters. */
  message: string;
  /** What to do. */
  hint?: string;
}
