/** Where the options say that the node's directories are. */
import { join, resolve } from "node:path";

import type { DirectoryRequest } from "../node/directory.ts";
import { textOf, type OptionName, type OptionTexts } from "../options.ts";

const BELOW = { plugin: "opt/cni/bin", config: "etc/cni/net.d" };

/** The path that an option names, absolute: a name alone would be looked for in PATH where it is run. */
export function pathOf(texts: OptionTexts, name: OptionName): string {
  return resolve(textOf(texts, name));
}

/** The directory of the node that holds assets of this kind. */
export function directoryOf(kind: "plugin" | "config", texts: OptionTexts): DirectoryRequest {
  const hostRoot = pathOf(texts, "host-root");
  const name = `${kind}-dir` as const;
  const named = texts[name] !== undefined;
  return {
    holds: `${kind}s`,
    path: named ? pathOf(texts, name) : join(hostRoot, BELOW[kind]),
    option: `--${name}`,
    named,
    hostRoot,
    // Who names the default says no more than who names nothing.
    hostRootNamed: hostRoot !== pathOf({}, "host-root"),
  };
}
