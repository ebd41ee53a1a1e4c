/** A call of a plugin, for people to read. */
import type { PluginCall } from "./cni/invoke.ts";
import { isSecret, mask } from "./secrets.ts";

/** What a plugin was given and what it answered, with what looks like a secret masked. */
export function formatCall(call: PluginCall): string {
  const { plugin, path, command, env, stdin, stdout, stderr, durationMs } = call;
  const variables = Object.entries(env).map(
    ([name, value]) => `${name}=${name === "CNI_ARGS" ? maskArgs(value) : value}`,
  );
  return [
    `trace: plugin ${plugin}: ${command}: ${endOf(call)}, ${durationMs} ms\n`,
    block("path", path),
    block("environment", variables.join("\n")),
    block("stdin", mask(stdin)),
    block("stdout", mask(stdout)),
    block("stderr", mask(stderr)),
  ].join("");
}

function endOf({ exitCode, signal, systemCode, stopped }: PluginCall): string {
  const end =
    systemCode ??
    (exitCode === undefined ? (signal === undefined ? "not started" : `ended by ${signal}`) : `exit code ${exitCode}`);
  return stopped === undefined ? end : `${end} (${stopped})`;
}

/** Behind a name, on lines of their own where there is more than one. */
function block(name: string, text: string): string {
  const lines = text.trimEnd().split("\n");
  if (lines.length === 1) return `  ${name}: ${lines[0]}`.trimEnd().concat("\n");
  return [`  ${name}:`, ...lines.map((line) => `    ${line}`)].map((line) => `${line}\n`).join("");
}

function maskArgs(args: string): string {
  return args
    .split(";")
    .map((pair) => (isSecret(pair.split("=", 1)[0] ?? "") ? pair.replace(/=.*$/su, "=***") : pair))
    .join(";");
}
