/** A call of a plugin, for people to read. */
import type { PluginCall } from "./cni/invoke.ts";
import { isSecret, mask } from "./secrets.ts";
import { visible, visibleLines } from "./system/text.ts";

/** What a plugin was given and what it answered, with what looks like a secret masked. */
export function formatCall(call: PluginCall): string {
  const { plugin, path, command, env, stdin, stdout, stderr, durationMs } = call;
  const variables = Object.entries(env).map(([name, value]) =>
    visible(`${name}=${name === "CNI_ARGS" ? maskArgs(value) : maskValue(name, value)}`),
  );
  return [
    `${visible(`trace: plugin ${plugin}: ${command}: ${endOf(call)}, ${durationMs} ms`)}\n`,
    block("path", visible(path)),
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
  const lines = visibleLines(text).trimEnd().split("\n");
  if (lines.length === 1) return `  ${name}: ${lines[0]}`.trimEnd().concat("\n");
  return [`  ${name}:`, ...lines.map((line) => `    ${line}`)].map((line) => `${line}\n`).join("");
}

function maskArgs(args: string): string {
  return args
    .split(";")
    .map((pair) => {
      const [name = ""] = pair.split("=", 1);
      return `${name}${pair.slice(name.length, name.length + 1)}${maskValue(name, pair.slice(name.length + 1))}`;
    })
    .join(";");
}

function maskValue(name: string, value: string): string {
  return isSecret(name) && value !== "" ? "***" : mask(value);
}
