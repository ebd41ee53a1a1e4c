/** The commands and their options as Markdown and as a manual page, from the tables of the program. */
import { COMMANDS, GROUPS, OPERANDS, type CommandSpec } from "../src/commands.ts";
import { operandTexts, optionText, optionWords } from "../src/help.ts";
import { GLOBAL_OPTIONS, groupOptions, type Option } from "../src/options.ts";

const SPECS: readonly (readonly [string, CommandSpec])[] = Object.entries(COMMANDS);

/** The options that all commands have. */
const EVERY_COMMAND = Object.entries<Option>(GLOBAL_OPTIONS).map(
  ([name, option]) => [optionWords(name, option), optionText(option, {})] as const,
);

/** A section for each command, behind a table of all. */
export function commandSections(): string {
  const rows = SPECS.map(([name, { summary }]) => `| [\`${name}\`](#cni-node-${anchorOf(name)}) | ${summary} |`);
  const sections = SPECS.map(([name, command]) => {
    const { summary, operands = [], options, examples } = command;
    const groups = groupOptions(options);
    const tables = [
      ...tableOf("Arguments", operandTexts(command)),
      ...groups.flatMap(([title, found]) =>
        tableOf(
          title,
          found.map(([option, spec]) => [optionWords(option, spec), optionText(spec, options)]),
        ),
      ),
    ];
    const words = [name, ...operands, ...(groups.length === 0 ? [] : ["[OPTIONS]"])].join(" ");
    const commands = examples.map((example) => `cni-node ${example}`);
    const head = [`### cni-node ${name}`, "", `\`cni-node ${words}\`: ${summary}.`, ""];
    return [...head, "```sh", ...commands, "```", "", ...tables].join("\n");
  });
  const global = tableOf("Every command", EVERY_COMMAND);
  return ["| command | |", "| --- | --- |", ...rows, "", ...global, ...sections].join("\n");
}

/** A table, if there is anything in it. */
function tableOf(title: string, rows: readonly (readonly [string, string])[]): string[] {
  const lines = rows.map(([words, text]) => `| ${codeOf(words)} | ${cellOf(text)} |`);
  return rows.length === 0 ? [] : [[`| ${title} | |`, "| --- | --- |", ...lines, ""].join("\n")];
}

/** docs/cni-node.8. @param exitCodes each with its meaning, as Markdown. */
export function manualPage(exitCodes: readonly (readonly [string, string])[]): string {
  const commands = SPECS.flatMap(([name, { summary, operands = [], examples }]) => [
    `.SS ${roff([name, ...operands].join(" "))}`,
    roff(`${capitalized(summary)}.`),
    ...examples.flatMap((example) => [".br", `.B ${roff(`cni-node ${example}`)}`]),
  ]);
  const groups = Object.entries(GROUPS).map(([name, summary]) => [`${name} COMMAND`, summary] as const);
  const meanings = [...groups, ...Object.entries(OPERANDS)];
  return [
    '.TH CNI-NODE 8 "" cni-node "System Administration"',
    ".nh",
    ".ad l",
    ".SH NAME",
    String.raw`cni-node \- installs CNI plugins and networks on a node, and finds out why it has none`,
    ".SH SYNOPSIS",
    ".B cni-node",
    ".I COMMAND",
    "[OPTIONS]",
    ".SH DESCRIPTION",
    "cni-node installs CNI plugins, CNI configurations rendered from templates, and the Kubernetes objects that they need,",
    "and removes all of them again. A run is carried out completely or not at all.",
    "It says which network the container runtime uses and what is wrong with it, and it is a CNI runtime for people.",
    ".PP",
    "In a container, the node's file system is expected at /host. On the node itself, give",
    `.BR ${roff("--host-root=/")} .`,
    ".SH COMMANDS",
    ...commands,
    ".SS Arguments",
    ...meanings.flatMap(([words, text]) => [".TP", `.B ${roff(words)}`, roff(text)]),
    ".SH OPTIONS",
    `Options are written as ${roff("--name=value")} or ${roff("--name value")}. Behind each option are the commands that have it.`,
    ".SS Every command",
    ...EVERY_COMMAND.flatMap(([words, text]) => [".TP", `.B ${roff(words)}`, roff(text)]),
    ...optionSections(),
    ".SH ENVIRONMENT",
    ".TP",
    ".B CNI_NODE_OPTION_NAME",
    "The value of the option of that name. The option on the command line takes precedence.",
    ".SH FILES",
    ".TP",
    ".B /opt/cni/bin",
    "The plugins of the image, and of the node.",
    ".TP",
    ".B /etc/cni/net.d",
    "The templates of configurations, and the configurations of the node.",
    ".TP",
    ".B .cni-node/",
    "In each directory that cni-node writes to: what it installed, for whom, and what was there before.",
    ".SH EXIT STATUS",
    ...exitCodes.flatMap(([code, text]) => [".TP", `.B ${code}`, roff(`${capitalized(text.replaceAll("`", ""))}.`)]),
    "",
  ].join("\n");
}

/** Every option in its group, once for each meaning that it has. */
function optionSections(): string[] {
  const groups = new Map<string, Map<string, string[]>>();
  for (const [command, { options }] of SPECS) {
    for (const [title, found] of groupOptions(options)) {
      const entries = groups.get(title) ?? new Map<string, string[]>();
      groups.set(title, entries);
      for (const [name, option] of found) {
        const key = [`.B ${roff(optionWords(name, option))}`, roff(`${optionText(option, options)}:`)].join("\n");
        entries.set(key, [...(entries.get(key) ?? []), command]);
      }
    }
  }
  return Array.from(groups, ([title, entries]) => [
    `.SS ${title}`,
    ...Array.from(entries, ([entry, of]) => [".TP", entry, `.IR ${roff(`"${of.join(", ")}"`)} .`]).flat(),
  ]).flat();
}

/** The text for roff: no word of it is a request. */
function roff(text: string): string {
  const escaped = text
    .replaceAll("\\", String.raw`\e`)
    .replaceAll("-", String.raw`\-`)
    .replaceAll("…", "...");
  return escaped.replace(/^[.']/u, String.raw`\&$&`);
}

function capitalized(text: string): string {
  return text.replace(/^./u, (first) => first.toUpperCase());
}

function codeOf(text: string): string {
  return `\`${cellOf(text)}\``;
}

function cellOf(text: string): string {
  return text.replaceAll("|", String.raw`\|`).replaceAll("__", String.raw`\_\_`);
}

function anchorOf(name: string): string {
  return name.replaceAll(" ", "-");
}
