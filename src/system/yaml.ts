/** How YAML is parsed where every text counts as it is written. Pure. */

/** Options of the package `yaml`: the words of YAML 1.1, nothing resolved, nothing merged, nothing printed. */
export const AS_WRITTEN = {
  version: "1.1",
  schema: "failsafe",
  merge: false,
  resolveKnownTags: false,
  uniqueKeys: false,
  keepSourceTokens: false,
  prettyErrors: false,
  logLevel: "silent",
} as const;
