/** What `--help` prints, from the tables of commands and options. */
import { COMMANDS, GROUPS, OPERANDS, type CommandSpec } from "./commands.ts";
import { GLOBAL_OPTIONS, groupOptions, OPTIONS, SHORT_OPTIONS, type Option } from "./options.ts";
import { wrapLines } from "./system/text.ts";

const SPECS: Readonly<Record<string, CommandSpec>> = COMMANDS;

/** Terminals are at least so wide. */
const COLUMNS = 80;
/** Where the texts behind commands and options begin. What is longer has a line of its own. */
const TEXT_COLUMN = { commands: 24, options: 29 };

/** For who sees the program for the first time. */
const EXAMPLES = [
  "install --plugins=bridge,host-local --configs=10-bridge.conflist",
  "apply --plugins=bridge,vlan:macvlan --pause",
];

/** The help of a command or a group; of the program, if the name is empty. */
export function helpOf(name: string): string {
  const more =
    SPECS[name] === undefined
      ? `${["cni-node", name].join(" ").trimEnd()} COMMAND --help shows the options of a command.`
      : "Every option can be given as an environment variable, CNI_NODE_OPTION_NAME; the option wins.";
  return `${usageOf(name)}\n${linesOf(wrapLines(more, COLUMNS))}`;
}

/** The same without its last words. Ends in a newline. */
export function usageOf(name: string): string {
  const { [name]: command } = SPECS;
  if (command !== undefined) {
    const { summary, operands = [], options, examples } = command;
    const groups = groupOptions(options).map(([title, found]): [string, string] => [title, rowsOf(found, options)]);
    const words = [name, ...operands, ...(groups.length === 0 ? [] : ["[OPTIONS]"])];
    const meanings = operandTexts(command).map((row) => formatRow(...row));
    const before: [string, string][] = meanings.length === 0 ? [] : [["Arguments", meanings.join("")]];
    return formatUsage(words, summary, [["Examples", examplesOf(examples)], ...before, ...groups, HELP]);
  }
  const { [name]: group } = GROUPS;
  if (group !== undefined) {
    return formatUsage([name, "COMMAND", "[OPTIONS]"], group, [["Commands", commandsOf(`${name} `)], HELP]);
  }
  // What most runs need: who sees the usage for the first time sees how the program is used.
  const { plugins, configs, manifests, pause } = OPTIONS;
  const common = { plugins, configs, manifests, pause };
  return formatUsage(
    ["COMMAND", "[OPTIONS]"],
    "Installs CNI plugins and networks on a node, and finds out why a node has none.",
    [
      ["Commands", commandsOf("")],
      ["Options of install, uninstall and apply", rowsOf(Object.entries(common), common)],
      HELP,
      ["Examples", examplesOf(EXAMPLES)],
    ],
  );
}

/** What the words behind the command stand for. */
export function operandTexts({ operands = [] }: CommandSpec): [operand: string, text: string][] {
  return operands.map((operand) => [operand, OPERANDS[operand.replaceAll(/[[\]]/gu, "")] ?? ""]);
}

/** The option as it is written, with what stands for its value: `--plugins <LIST>`, `-q, --quiet`. */
export function optionWords(name: string, { type }: Option): string {
  const [short] = Object.entries(SHORT_OPTIONS).find(([, long]) => long === name) ?? [];
  return `${short === undefined ? "" : `-${short}, `}--${name}${type.form === "flag" ? "" : ` ${type.shown}`}`;
}

/** What is said about an option. @param others the options of its command. */
export function optionText(option: Option, others: Readonly<Record<string, Option>>): string {
  const { help, env = [], default: preset, otherwise = preset, needs } = option;
  const defaults = [...env.map((variable) => `$${variable}`), otherwise ?? []].flat().join(" or ");
  const needed = needs?.options.filter((one) => Object.hasOwn(others, one)).map((one) => `--${one}`) ?? [];
  const notes = [
    ...(needed.length === 0 ? [] : [`needs ${needed.join(" or ")}`]),
    ...(defaults === "" ? [] : [`default: ${defaults}`]),
  ];
  return [help, ...notes.map((note) => `(${note})`)].join(" ");
}

const HELP: [string, string] = [
  "Every command",
  rowsOf(Object.entries(GLOBAL_OPTIONS), {}) + formatRow("-h, --help", "show this help"),
];

function formatUsage(words: readonly string[], summary: string, sections: readonly [string, string][]): string {
  const parts = sections.map(([title, rows]) => `${title}:\n${rows}`);
  const sentence = summary.replace(/^./u, (first) => first.toUpperCase());
  const usage = `Usage: ${["cni-node", ...words].join(" ")}\n`;
  return [usage, linesOf(wrapLines(sentence, COLUMNS)), ...parts].join("\n");
}

function examplesOf(examples: readonly string[]): string {
  return linesOf(examples.map((words) => `  cni-node ${words}`));
}

/** The commands whose names begin so, a group in the place of its commands. */
function commandsOf(start: string): string {
  const names = Object.keys(SPECS).filter((name) => name.startsWith(start));
  const words = new Set(
    names.map((name) => {
      const [first = ""] = name.split(" ");
      return start === "" && Object.hasOwn(GROUPS, first) ? first : name.slice(start.length);
    }),
  );
  const rows = Array.from(words, (word) => {
    const { summary, operands = [] } = SPECS[`${start}${word}`] ?? {
      summary: GROUPS[word] ?? "",
      operands: ["COMMAND"],
    };
    return formatRow([word, ...operands].join(" "), summary, TEXT_COLUMN.commands);
  });
  return rows.join("");
}

function rowsOf(options: readonly (readonly [string, Option])[], others: Readonly<Record<string, Option>>): string {
  return options.map(([name, option]) => formatRow(optionWords(name, option), optionText(option, others))).join("");
}

function formatRow(words: string, text: string, column = TEXT_COLUMN.options): string {
  const left = `  ${words}  `;
  const lines = wrapLines(text, COLUMNS - column).map((line) => `${" ".repeat(column)}${line}`);
  if (left.length > column) return linesOf([left.trimEnd(), ...lines]);
  return linesOf([left.padEnd(column) + (lines[0] ?? "").trimStart(), ...lines.slice(1)]);
}

function linesOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
