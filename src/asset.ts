/** The kinds of assets that cni-node installs, as data; what each does is a module of `src/kinds/`. Pure. */

/**
 * In the order in which they are installed, each needing those before it; removal goes backwards (docs/install.md, "Order").
 * `option` lists the assets of a kind, and `command` installs one. Assets are recorded in the directory of the kind
 * `recordedIn`; kinds that name themselves are files of the node, in a target directory of their own, whose usual path
 * is `directory`, and which is made with `mode`.
 */
export const KINDS = {
  manifest: { option: "manifests", command: "install --manifests=", needsApi: true, recordedIn: "config" },
  plugin: {
    option: "plugins",
    command: "install --plugins=",
    needsApi: false,
    recordedIn: "plugin",
    directory: "/opt/cni/bin",
    mode: 0o755,
  },
  credentials: {
    option: "credentials",
    command: "credentials ",
    needsApi: true,
    recordedIn: "credentials",
    directory: "/etc/cni/credentials",
    // Nobody else need know which there are.
    mode: 0o700,
  },
  config: {
    option: "configs",
    command: "install --configs=",
    needsApi: false,
    recordedIn: "config",
    directory: "/etc/cni/net.d",
    mode: 0o755,
  },
} as const;

/** Where the image has the plugins that it installs. */
export const PLUGIN_SOURCE = "/opt/cni/bin";

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

/** Those that are objects of the cluster. */
export const OBJECT_KINDS = ALL_KINDS.filter((kind) => !isFileKind(kind));

/** Those that cannot be installed without the Kubernetes API. */
export const API_KINDS = ALL_KINDS.filter((kind) => KINDS[kind].needsApi);

/** One value for each target directory. */
export function byFileKind<Value>(valueOf: (kind: FileKind) => Value): Record<FileKind, Value> {
  return Object.fromEntries(FILE_KINDS.map((kind) => [kind, valueOf(kind)])) as Record<FileKind, Value>;
}
