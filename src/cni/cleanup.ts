/** What a failed ADD has left behind. */
import { ERROR_CODES, type CniError } from "./error.ts";
import { PluginError } from "./invoke.ts";

/**
 * What went wrong when a failed ADD was taken back. A plugin that does not support the version has done nothing, and
 * says the same again; and so it is with one that cannot be started.
 */
export function leftBehind(error: CniError): CniError[] {
  const { incompatibleVersion } = ERROR_CODES;
  return error.cleanup.filter(
    (one) =>
      (error.code !== incompatibleVersion || one.code !== incompatibleVersion) &&
      !isUnstarted(error, one) &&
      !isSameRefusal(error, one),
  );
}

/** What libcni's `LoadArgs` says of a key in CNI_ARGS that a plugin does not know, before the plugin does anything. */
export const UNKNOWN_ARGS = /\bunknown args \[/u;

/** It refused the arguments of ADD, and those of DEL are the same. */
function isSameRefusal(error: CniError, cleanup: CniError): boolean {
  if (!(error instanceof PluginError && cleanup instanceof PluginError)) return false;
  return UNKNOWN_ARGS.test(error.msg) && UNKNOWN_ARGS.test(cleanup.msg) && error.plugin === cleanup.plugin;
}

function isUnstarted(error: CniError, cleanup: CniError): boolean {
  const failures = [error, cleanup].map((one) => (one instanceof PluginError ? one : undefined));
  const [first, second] = failures;
  return failures.every((one) => one?.reason === "start") && first?.plugin === second?.plugin;
}
