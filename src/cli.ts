/** Arguments → command. The command tree is data; commander reads it and writes the help. */
import { Command, CommanderError } from "commander";

import { Failure } from "./errors.ts";
import { checkOption, environmentName, isOptionName, specOf, type OptionName, type OptionTexts } from "./options.ts";
import { reportFailure } from "./report.ts";
import type { Ending, World } from "./world.ts";

/** One command. Its code is loaded when it is run. */
interface CommandSpec {
  summary: string;
  options: readonly OptionName[];
  run(texts: OptionTexts, world: World): Promise<Ending>;
}

const LISTS = ["plugins", "configs", "manifests"] as const;
const PLACES = ["plugin-source", "config-source", "manifest-source", "host-root", "plugin-dir", "config-dir"] as const;
const RUN = ["owner", "checksum", "lock-timeout", "cri-socket", "output"] as const;
const RENDER = ["take-over", "validate", "config-mode", "wait"] as const;
const OBJECTS = ["variables", "allow-unset", "node-name", "kubeconfig", "context", "timeout"] as const;
const REMOVAL = ["force", "drain"] as const;
const DRY = ["dry-run", "exit-code"] as const;

const COMMANDS: Record<string, CommandSpec> = {
  install: {
    summary: "install plugins, configs and manifests; what is right already is left alone",
    options: [...LISTS, ...PLACES, ...RENDER, ...OBJECTS, "force-conflicts", ...DRY, "pause", "no-confirm", ...RUN],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("install", texts, world),
  },
  uninstall: {
    summary: "remove them, in reverse order; what was there before comes back",
    options: [...LISTS, ...PLACES, ...REMOVAL, "validate", ...OBJECTS, ...DRY, "pause", "no-confirm", ...RUN],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("uninstall", texts, world),
  },
  apply: {
    summary: "go from the current to the desired set: lists are DESIRED or DESIRED:CURRENT",
    options: [
      ...LISTS,
      ...PLACES,
      "refresh",
      "prune",
      "allow-no-network",
      ...REMOVAL,
      ...RENDER,
      ...OBJECTS,
      "force-conflicts",
      ...DRY,
      "pause",
      "no-confirm",
      ...RUN,
    ],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("apply", texts, world),
  },
  plan: {
    summary: "say what apply would do, with the differences of configs and objects",
    options: [
      ...LISTS,
      ...PLACES,
      "refresh",
      "prune",
      "allow-no-network",
      "force",
      ...RENDER,
      ...OBJECTS,
      "force-conflicts",
      "exit-code",
      ...RUN,
    ],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("plan", texts, world),
  },
  status: {
    summary: "say what is on the node, what the container runtime takes, and what is wrong",
    options: ["plugin-source", "host-root", "plugin-dir", "config-dir", "cri-socket", "checksum", "output"],
    run: async (texts, world) => (await import("./commands/status.ts")).runStatus(texts, world),
  },
  list: {
    summary: "print the plugins that can be installed",
    options: ["plugin-source", "output"],
    run: async (texts, world) => (await import("./commands/list.ts")).runList(texts, world),
  },
  catalogue: {
    summary: "write down what is known of the plugins in an image to which some were added",
    options: ["plugin-source", "output"],
    run: async (texts, world) => (await import("./commands/catalogue.ts")).runCatalogue(texts, world),
  },
  version: {
    summary: "print the version",
    options: ["output"],
    run: async (texts, world) => (await import("./commands/version.ts")).runVersion(texts, world),
  },
};

/** Runs one command line. Never throws: every failure becomes a message and an exit code. */
export async function run(argv: readonly string[], world: World): Promise<Ending> {
  let command = argv.find((word) => Object.hasOwn(COMMANDS, word)) ?? "";
  try {
    if (argv.includes("--help") || argv.includes("-h") || argv[0] === "help") return printHelp(command, world);
    if (argv.length === 1 && argv[0] === "--version") command = "version";
    const words = command === "version" && argv[0] === "--version" ? ["version"] : argv;
    const texts = parse(words, world.env);
    command = texts.command;
    return await (COMMANDS[command] as CommandSpec).run(texts.options, world);
  } catch (error) {
    const ending = reportFailure(error, command, wantsJson(argv, world.env), world);
    if (error instanceof Failure && error.code === "usage-command") {
      world.stderr(`\n${program().helpInformation()}`);
    }
    return ending;
  }
}

/** Also of a command line that could not be read. */
function wantsJson(argv: readonly string[], env: World["env"]): boolean {
  const given = argv.flatMap((word, index) => {
    return word === "--output" ? (argv[index + 1] ?? []) : word.startsWith("--output=") ? word.slice(9) : [];
  });
  return (given.at(-1) ?? env[environmentName("output")]) === "json";
}

function printHelp(command: string, world: World): Ending {
  const whole = program();
  const shown = whole.commands.find((candidate) => candidate.name() === command);
  world.stdout(
    shown === undefined
      ? `${whole.helpInformation()}\ncni-node COMMAND --help shows the options of a command.\n`
      : `${shown.helpInformation()}\nEvery option can be given as an environment variable, CNI_NODE_OPTION_NAME; the option wins.\n`,
  );
  return { exitCode: 0 };
}

/** @throws Failure `usage`, `usage-command` when there is no command to say more about. */
function parse(argv: readonly string[], env: World["env"]): { command: string; options: OptionTexts } {
  if (argv.length === 0) throw commandFailure("no command given");
  let parsed: { command: string; options: OptionTexts } | undefined;
  const tree = program((command, options) => (parsed = { command, options }));
  try {
    tree.parse(normalize(argv), { from: "user" });
  } catch (error) {
    throw error instanceof CommanderError ? usageFailure(error) : error;
  }
  if (parsed === undefined) throw commandFailure("no command given");
  const { command, options } = parsed;
  for (const [name, text] of Object.entries(options)) checkOption(name as OptionName, text, `--${name}`);
  for (const name of COMMANDS[command]?.options ?? []) {
    const text = env[environmentName(name)] ?? "";
    if (options[name] !== undefined || text === "") continue;
    checkOption(name, text, environmentName(name));
    options[name] = text;
  }
  return { command, options };
}

/** Commander's own message, in the form of ours. */
function usageFailure(error: CommanderError): Failure {
  const [problem = "", suggestion] = error.message.replace(/^error: /u, "").split("\n");
  const hint = suggestion?.replace(/^\(Did you mean (.*)\?\)$/u, "did you mean $1?");
  if (error.code === "commander.unknownCommand") return commandFailure(problem, hint);
  return new Failure({
    code: "usage",
    subject: "usage",
    problem,
    hint: hint ?? "add --help to the command to see its options",
    exitCode: 2,
  });
}

function commandFailure(problem: string, hint?: string): Failure {
  const more = hint === undefined ? {} : { hint };
  return new Failure({ code: "usage-command", subject: "usage", problem, ...more, exitCode: 2 });
}

/**
 * Brings arguments into the form that commander reads without guessing: the command first, options as `--name=value`.
 * A flag takes the word behind it only if that is a truth value; other options refuse one that looks like an option.
 */
function normalize(argv: readonly string[]): string[] {
  const words = [...argv];
  const operands: string[] = [];
  const options: string[] = [];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word.startsWith("-") && word !== "-") options.push(withValue(word, words));
    else operands.push(word);
  }
  const [command = "", stray] = operands;
  for (const option of options) refuseForeign(command, option);
  const areKnown = options.every((option) => isOptionName(nameOf(option)));
  if (stray !== undefined && areKnown && Object.hasOwn(COMMANDS, command)) throw strayFailure(stray);
  return [...operands, ...options];
}

/** The option with its value, which may be the next word. */
function withValue(word: string, following: string[]): string {
  const name = nameOf(word);
  // Without its value, so that commander finds the nearest name.
  if (!word.startsWith("--") || !isOptionName(name)) return word.split("=")[0] ?? "";
  if (word.includes("=")) return word;
  const [next] = following;
  if (specOf(name).type === "flag") {
    return `${word}=${/^(?:true|false|1|0)$/u.test(next ?? "") ? following.shift() : "true"}`;
  }
  if (next === undefined || next.startsWith("--")) {
    throw new Failure({ code: "usage", subject: word, problem: "needs a value", exitCode: 2 });
  }
  return `${word}=${following.shift()}`;
}

function nameOf(option: string): string {
  return (option.split("=")[0] ?? "").slice(2);
}

function strayFailure(word: string): Failure {
  return new Failure({
    code: "usage",
    subject: JSON.stringify(word),
    problem: "is an argument too many: commands take options only",
    hint: "a list is one word, --plugins=bridge,vlan, or in quotes; an option has two dashes",
    exitCode: 2,
  });
}

/** An option of other commands. */
function refuseForeign(command: string, option: string): void {
  const given = nameOf(option);
  const own = Object.hasOwn(COMMANDS, command) ? COMMANDS[command]?.options : undefined;
  if (own === undefined || !isOptionName(given) || own.includes(given)) return;
  throw new Failure({
    code: "usage",
    subject: command,
    problem: `unknown option '--${given}'`,
    hint: `other commands have it; cni-node ${command} --help shows those of this one`,
    exitCode: 2,
  });
}

function program(onCommand: (name: string, options: OptionTexts) => void = () => undefined): Command {
  const tree = configured(new Command("cni-node"))
    .description("Puts CNI on a node and proves that it works.")
    .usage("COMMAND [OPTIONS]")
    .helpCommand(false);
  for (const [name, { summary, options }] of Object.entries(COMMANDS)) {
    const command = configured(tree.command(name)).description(summary).usage("[OPTIONS]").allowExcessArguments(false);
    for (const option of options) addOption(command, option);
    command.action(() => {
      onCommand(name, Object.fromEntries(options.flatMap((option) => entryOf(command, option))));
    });
  }
  return tree;
}

function configured(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined, getOutHelpWidth: () => 120 })
    .helpOption("-h, --help", "show this help");
}

function addOption(command: Command, name: OptionName): void {
  const { type, value, default: preset, help } = specOf(name);
  const shown = typeof type === "string" ? (type === "flag" ? "[BOOL]" : `<${value}>`) : `<${type.join("|")}>`;
  const text = preset === undefined ? help : `${help} (default: ${preset})`;
  // A list that is given twice is one list; of anything else the last one counts.
  command.option(`--${name} ${shown}`, text, (given: string, before: string | undefined) => {
    return type === "list" && before !== undefined ? `${before},${given}` : given;
  });
}

function entryOf(command: Command, name: OptionName): [OptionName, string][] {
  const option = command.options.find(({ long }) => long === `--${name}`);
  const values = command.opts<Record<string, unknown>>();
  // Commander gives an option that begins with "no-" a value of its own, which is no text.
  const { [option?.attributeName() ?? ""]: text } = values;
  return typeof text === "string" ? [[name, text]] : [];
}
