import { compareVersions } from "./version.ts";

/** The operations of section 2 of the CNI specification, as they stand in CNI_COMMAND. */
export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** The version of the specification that brought an operation; the others were there from the beginning. */
const SINCE: Partial<Record<Command, string>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/** Does this version of the specification have the operation? Throws `RangeError` when it is not a version. */
export function hasCommand(command: Command, cniVersion: string): boolean {
  return compareVersions(cniVersion, SINCE[command] ?? "") >= 0;
}
