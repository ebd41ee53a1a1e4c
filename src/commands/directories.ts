/** Where the options say that the node's directories are. */
import { join, resolve } from "node:path";

import type { DirectoryRequest } from "../host/directory.ts";
import { textOf, type OptionTexts } from "../options.ts";

const BELOW = { plugin: "opt/cni/bin", config: "etc/cni/net.d" };

/** The directory of the node that holds assets of this kind. */
export function directoryOf(kind: "plugin" | "config", texts: OptionTexts): DirectoryRequest {
  const hostRoot = resolve(textOf(texts, "host-root"));
  const { [`${kind}-dir` as const]: path } = texts;
  return {
    holds: `${kind}s`,
    path: path ?? join(hostRoot, BELOW[kind]),
    option: `--${kind}-dir`,
    named: path !== undefined,
    hostRoot,
    hostRootNamed: texts["host-root"] !== undefined,
  };
}
