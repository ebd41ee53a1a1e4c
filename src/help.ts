/** What `--help` prints, from the tables of commands and options. */
import { COMMANDS, GROUPS, type CommandSpec } from "./commands.ts";
import { OPTIONS, type Option } from "./options.ts";
import { formatRows } from "./report.ts";

const SPECS: Readonly<Record<string, CommandSpec>> = COMMANDS;

const EXAMPLES = `
Examples:
  cni-node install --plugins=bridge,host-local,portmap --configs=10-bridge.conflist
  cni-node apply --plugins=bridge,vlan:macvlan --pause
`;

/** The help of a command or a group; of the program, if the name is empty. */
export function helpOf(name: string): string {
  const more =
    SPECS[name] === undefined
      ? `${["cni-node", name].join(" ").trimEnd()} COMMAND --help shows the options of a command.`
      : "Every option can be given as an environment variable, CNI_NODE_OPTION_NAME; the option wins.";
  return `${usageOf(name)}\n${more}\n`;
}

/** The same without its last words. Ends in a newline. */
export function usageOf(name: string): string {
  const { [name]: command } = SPECS;
  if (command !== undefined) {
    const { summary, operands = [], options } = command;
    return formatUsage([name, ...operands], summary, { Options: [...rowsOf(options), HELP] });
  }
  const { [name]: group } = GROUPS;
  if (group !== undefined) {
    return formatUsage([name, "COMMAND"], group, { Options: [HELP], Commands: commandsOf(`${name} `) });
  }
  // What most runs need: who sees the usage for the first time sees how the program is used.
  const { plugins, configs, manifests, pause } = OPTIONS;
  const sections = {
    Options: [HELP],
    Commands: commandsOf(""),
    "Options of install, uninstall and apply": rowsOf({ plugins, configs, manifests, pause }),
  };
  return `${formatUsage(["COMMAND"], "Puts CNI on a node and proves that it works.", sections)}${EXAMPLES}`;
}

const HELP = ["  -h, --help", "show this help"];

function formatUsage(words: readonly string[], summary: string, sections: Record<string, string[][]>): string {
  const parts = Object.entries(sections).map(([title, rows]) => `${title}:\n${formatRows(rows)}`);
  return [`Usage: ${["cni-node", ...words, "[OPTIONS]"].join(" ")}\n`, `${summary}\n`, ...parts].join("\n");
}

/** The commands whose names begin so, a group in the place of its commands. */
function commandsOf(start: string): string[][] {
  const names = Object.keys(SPECS).filter((name) => name.startsWith(start));
  const words = new Set(
    names.map((name) => {
      const [first = ""] = name.split(" ");
      return start === "" && Object.hasOwn(GROUPS, first) ? first : name.slice(start.length);
    }),
  );
  return Array.from(words, (word) => {
    const { summary, operands = [] } = SPECS[`${start}${word}`] ?? {
      summary: GROUPS[word] ?? "",
      operands: ["COMMAND"],
    };
    return [`  ${[word, ...operands, "[OPTIONS]"].join(" ")}`, summary];
  });
}

function rowsOf(options: Readonly<Record<string, Option>>): string[][] {
  return Object.entries(options).map(([name, { type, help, env = [], default: preset, otherwise = preset, needs }]) => {
    const defaults = [...env.map((variable) => `$${variable}`), otherwise ?? []].flat().join(" or ");
    const needed = needs?.options.filter((one) => Object.hasOwn(options, one)).map((one) => `--${one}`) ?? [];
    const notes = [
      ...(needed.length === 0 ? [] : [`needs ${needed.join(" or ")}`]),
      ...(defaults === "" ? [] : [`default: ${defaults}`]),
    ];
    return [`  --${name} ${type.shown}`, [help, ...notes.map((note) => `(${note})`)].join(" ")];
  });
}
