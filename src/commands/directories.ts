/** Where the options say that the node's directories are. */
import { join } from "node:path";

import { KINDS, type FileKind, type Kind } from "../asset.ts";
import type { Given } from "../commands.ts";
import { findDirectoryIfUsable, type DirectoryRequest, type NodeDirectories } from "../node/directory.ts";
import { HOST_ROOT } from "../options.ts";

/** The directories of the node that hold assets. */
export function directoriesOf({
  hostRoot = HOST_ROOT,
  pluginDir = [],
  credentialsDir,
  configDir,
}: Pick<Given<"status">, "hostRoot" | "pluginDir" | "credentialsDir" | "configDir">): Record<
  FileKind,
  DirectoryRequest
> {
  // Runtimes look for plugins in several; configurations are in one.
  return {
    plugin: directoryOf("plugin", pluginDir, hostRoot),
    credentials: directoryOf("credentials", credentialsDir ?? [], hostRoot),
    config: directoryOf("config", configDir ?? [], hostRoot),
  };
}

function directoryOf(kind: FileKind, given: readonly string[] | string, hostRoot: string): DirectoryRequest {
  const auto = given === "auto";
  const [first, ...more] = auto ? [] : [given].flat();
  return {
    holds: KINDS[kind].option,
    path: first ?? join(hostRoot, KINDS[kind].directory),
    option: `--${kind}-dir`,
    named: first !== undefined,
    auto,
    more,
    hostRoot,
    // Who names the default says no more than who names nothing.
    hostRootNamed: hostRoot !== HOST_ROOT,
  };
}

/** Can something be held of a kind? Nothing is, whose directory is not mounted. */
export function canBeHeld(kind: Kind, { directories }: NodeDirectories): boolean {
  return findDirectoryIfUsable(directories[KINDS[kind].recordedIn]) !== undefined;
}
