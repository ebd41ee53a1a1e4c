/** The hooks by which an engine without a wrapper calls the program: CDI specifications and hooks.d files. Pure. */
import { HOOK_STAGES, hookOf } from "../oci/spec.ts";

import { SYSTEM_PATH } from "../system/path.ts";

/** How the program is called on the host. */
export interface Call {
  /** The path of the front on the host. */
  front: string;
  /** The configuration on the host; undefined: the default one. */
  config: string | undefined;
}

/** The environment of a hook is all that it has. */
const PATH = SYSTEM_PATH.join(":");

const COMMANDS = ["add", "del"] as const;

/** The kind of our CDI devices: `--device cni-node.io/net=NAME`. */
const DEVICE_KIND = "cni-node.io/net";
/** The file of the specification in a CDI directory. */
export const CDI_FILE = "cni-node.json";

/** Can a network be a CDI device? (The CDI specification, "name"; tags.cncf.io/container-device-interface/pkg/parser) */
export function isDeviceName(name: string): boolean {
  return /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/u.test(name);
}

/** A CDI specification with a device for each network. */
export function cdiSpecification(call: Call, networks: readonly string[]): string {
  const devices = networks.map((name) => ({
    name,
    containerEdits: {
      hooks: COMMANDS.map((command) => ({
        hookName: HOOK_STAGES[command],
        ...hookOf({ ...call, path: PATH }, command, name),
      })),
    },
  }));
  return textOf({ cdiVersion: "0.5.0", kind: DEVICE_KIND, devices });
}

/** The files of a hooks.d directory, by their names: they act on containers with the annotation. */
export function hookFiles(call: Call): ReadonlyMap<string, string> {
  return new Map(
    COMMANDS.map((command) => [
      HOOK_FILES[command],
      textOf({
        version: "1.0.0",
        hook: hookOf({ ...call, path: PATH }, command),
        when: { annotations: { [String.raw`^io\.cni-node\.network$`]: ".+" } },
        stages: [HOOK_STAGES[command]],
      }),
    ]),
  );
}

/** The names of these files. */
export const HOOK_FILES = { add: "10-cni-node-add.json", del: "10-cni-node-del.json" } as const;

function textOf(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
