/** Where the options say that the node's directories are. */
import { join, resolve } from "node:path";

import type { DirectoryRequest, FileKind } from "../node/directory.ts";
import { USUAL } from "../node/runtime.ts";
import { textOf, type OptionName, type OptionTexts } from "../options.ts";

/** The path that an option names, absolute: a name alone would be looked for in PATH where it is run. */
export function pathOf(texts: OptionTexts, name: OptionName): string {
  return resolve(textOf(texts, name));
}

/** The directories of the node that hold assets. */
export function directoriesOf(texts: OptionTexts): Record<FileKind, DirectoryRequest> {
  // Runtimes look for plugins in several; configurations are in one.
  const plugins = texts["plugin-dir"]?.split(":").filter((path) => path !== "") ?? [];
  const configs = [texts["config-dir"] ?? []].flat();
  return { plugin: directoryOf("plugin", plugins, texts), config: directoryOf("config", configs, texts) };
}

function directoryOf(kind: FileKind, given: readonly string[], texts: OptionTexts): DirectoryRequest {
  const hostRoot = pathOf(texts, "host-root");
  const auto = given.length === 1 && given[0] === "auto";
  const [first, ...more] = auto ? [] : given.map((path) => resolve(path));
  return {
    holds: `${kind}s`,
    path: first ?? join(hostRoot, USUAL[kind]),
    option: `--${kind}-dir`,
    named: first !== undefined,
    auto,
    more,
    hostRoot,
    // Who names the default says no more than who names nothing.
    hostRootNamed: hostRoot !== pathOf({}, "host-root"),
  };
}
