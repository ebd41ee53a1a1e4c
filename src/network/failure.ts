/** Errors of the CNI specification, said as failures that the user can fix. */
import { leftBehind, UNKNOWN_ARGS } from "../cni/cleanup.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { PluginError } from "../cni/invoke.ts";
import type { FailureCode } from "../codes.ts";
import { Failure, hintFor, isExhaustion, type FailureExitCode } from "../errors.ts";
import { mask } from "../secrets.ts";
import { shellWord } from "../system/text.ts";

/** By the code of the specification, what `error.code` of a report says. */
const CODES: Record<number, FailureCode> = {
  [ERROR_CODES.incompatibleVersion]: "cni-incompatible-version",
  [ERROR_CODES.unsupportedField]: "cni-unsupported-field",
  [ERROR_CODES.unknownContainer]: "cni-unknown-container",
  [ERROR_CODES.invalidEnvironment]: "cni-invalid-environment",
  [ERROR_CODES.ioFailure]: "cni-io-failure",
  [ERROR_CODES.decodingFailure]: "cni-decoding-failure",
  [ERROR_CODES.invalidNetworkConfig]: "cni-invalid-config",
  [ERROR_CODES.tryAgainLater]: "cni-try-again-later",
  [ERROR_CODES.pluginNotAvailable]: "cni-plugin-not-available",
  [ERROR_CODES.limitedConnectivity]: "cni-limited-connectivity",
};

const HINTS: Record<number, string> = {
  [ERROR_CODES.incompatibleVersion]: "cni-node network version says which versions each plugin supports",
  [ERROR_CODES.unknownContainer]: "cni-node network list --attachments shows what has been added",
  [ERROR_CODES.ioFailure]: "run as root; --cache-dir says where attachments are remembered",
  [ERROR_CODES.tryAgainLater]: "wait, and do it again",
};

/**
 * What went wrong in an operation on a network.
 *
 * @param attempt the operation, as it is said of a network: `container c1 cannot be added as eth0`.
 */
export function operationFailure(
  network: string,
  attempt: string,
  error: CniError,
  exitCode?: FailureExitCode,
): Failure {
  const { code, msg, details } = error;
  const isPlugin = error instanceof PluginError;
  const left = leftBehind(error).length > 0;
  return new Failure({
    code: codeOfRefusal(error) ?? CODES[code] ?? (isPlugin ? "cni-plugin-failed" : "cni-failed"),
    subject: networkSubject(network),
    problem: `${attempt}: ${explain(error, error.message)}`,
    hint: left ? "fix it, then delete the attachment with cni-node network del" : hintOf(error),
    exitCode: left ? 4 : (exitCode ?? 1),
    cni: {
      code,
      msg: said(msg),
      ...(details ? { details: said(details) } : {}),
      ...(isPlugin ? { plugin: error.plugin, command: error.command } : {}),
    },
    cause: error,
  });
}

/** What errors call a network; one that is read from a file need not have a name. */
export function networkSubject(name: string): string {
  return name === "" ? "the network" : `network ${name}`;
}

/** What we refuse ourselves has a code of its own. */
function codeOfRefusal({ cause }: CniError): FailureCode | undefined {
  return cause instanceof Failure ? cause.code : undefined;
}

/** What went wrong, in all. A plugin may repeat what it was given. @param text the error's own. */
export function explain(error: CniError, text: string): string {
  const cleanup = leftBehind(error).map(({ message }) => message);
  const rest = cleanup.length > 0 ? `; and it could not be taken back: ${cleanup.join("; ")}` : "";
  return said(`${text}${error.code === 0 ? "" : ` (code ${error.code})`}${rest}`);
}

/** More than anybody reads of a message. */
const LONGEST = 64 * 1024;

function said(text: string): string {
  return mask(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
}

function hintOf(error: CniError): string {
  if (error.cause instanceof Failure && error.cause.hint !== undefined) return error.cause.hint;
  if (!(error instanceof PluginError)) {
    // What a plugin has against its environment is its own business; this is about ours.
    if (error.code === ERROR_CODES.invalidEnvironment) {
      return "choose another one with --ifname or --container-id; cni-node network del deletes an attachment";
    }
    return (
      hintFor(error.cause) ??
      HINTS[error.code] ??
      "cni-node network show prints the configuration, cni-node network version finds the plugins"
    );
  }
  if (UNKNOWN_ARGS.test(error.msg)) {
    return "the plugin does not know a key of --args: leave it out, or put IgnoreUnknown=1 before it (--args='IgnoreUnknown=1;KEY=VALUE')";
  }
  if (error.reason === "timeout") return "--plugin-timeout gives plugins more time; --trace shows what they were given";
  if (isExhaustion(error)) return hintFor({ code: error.systemCode }) ?? "";
  if (error.systemCode === "EACCES") {
    const mode = `chmod 755 ${shellWord(error.path)}`;
    return `make it executable: ${mode}; where it is, its file system is mounted noexec, or SELinux or AppArmor denies it`;
  }
  if (error.reason === "start") return "is it a plugin for this machine? cni-node network version asks all of them";
  return HINTS[error.code] ?? "--trace shows what the plugin was given and what it answered";
}
