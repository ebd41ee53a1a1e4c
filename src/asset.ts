/** The kinds of assets that cni-node installs, as data; what each does is a module of `src/kinds/`. Pure. */

/**
 * In the order in which they are installed, each needing those before it; removal goes backwards (docs/install.md, "Order").
 * `option` lists the assets of a kind. Assets are recorded in the directory of the kind `recordedIn`; kinds that name
 * themselves are files of the node, in a target directory of their own, whose usual path is `directory`.
 */
export const KINDS = {
  manifest: { option: "manifests", recordedIn: "config" },
  plugin: { option: "plugins", recordedIn: "plugin", directory: "/opt/cni/bin" },
  credentials: { option: "credentials", recordedIn: "credentials", directory: "/etc/cni/credentials" },
  config: { option: "configs", recordedIn: "config", directory: "/etc/cni/net.d" },
} as const;

/** What cni-node installs. */
export type Kind = keyof typeof KINDS;

/** Those that are files of the node; others are objects of the cluster. */
export type FileKind = (typeof KINDS)[Kind]["recordedIn"];

/** In order. */
export const ALL_KINDS = Object.keys(KINDS) as readonly Kind[];

/** Are its assets files of the node? */
export function isFileKind(kind: Kind): kind is FileKind {
  return KINDS[kind].recordedIn === kind;
}

/** In order, as runs lock and change their directories. */
export const FILE_KINDS = ALL_KINDS.filter(isFileKind);

/** One value for each target directory. */
export function byFileKind<Value>(valueOf: (kind: FileKind) => Value): Record<FileKind, Value> {
  return Object.fromEntries(FILE_KINDS.map((kind) => [kind, valueOf(kind)])) as Record<FileKind, Value>;
}
