/** Where the options say that the node's directories are. */
import { join } from "node:path";

import type { Given } from "../commands.ts";
import type { DirectoryRequest } from "../host/directory.ts";
import { HOST_ROOT } from "../options.ts";

const BELOW = { plugin: "opt/cni/bin", config: "etc/cni/net.d" };

/** The directory of the node that holds assets of this kind. */
export function directoryOf(
  kind: "plugin" | "config",
  options: Pick<Given<"status">, "hostRoot" | "pluginDir" | "configDir">,
): DirectoryRequest {
  const { hostRoot = HOST_ROOT, [`${kind}Dir` as const]: named } = options;
  return {
    holds: `${kind}s`,
    path: named ?? join(hostRoot, BELOW[kind]),
    option: `--${kind}-dir`,
    named: named !== undefined,
    hostRoot,
    // Who names the default says no more than who names nothing.
    hostRootNamed: hostRoot !== HOST_ROOT,
  };
}
