/** Arguments → command. The command tree is data; commander reads it and writes the help. */
import { Command, CommanderError } from "commander";

import { networkArguments } from "./cnitool.ts";
import { Failure } from "./errors.ts";
import {
  checkOption,
  environmentName,
  isOptionName,
  objectionsToEnvironment,
  specOf,
  type OptionName,
  type OptionTexts,
} from "./options.ts";
import { formatRows, printMessage, reportFailure } from "./report.ts";
import type { Ending, World } from "./world.ts";

/** One command. Its code is loaded when it is run. */
interface CommandSpec {
  summary: string;
  /** The words that it takes beside options: as help shows them, and how many at most. */
  operands?: { shown: string; most: number };
  options: readonly OptionName[];
  run(texts: OptionTexts, world: World, operands: readonly string[]): Promise<Ending>;
}

const LISTS = ["plugins", "configs", "manifests"] as const;
const PLACES = ["plugin-source", "config-source", "manifest-source", "host-root", "plugin-dir", "config-dir"] as const;
const RUN = ["owner", "checksum", "lock-timeout", "cri-socket", "output"] as const;
const RENDER = ["take-over", "validate", "config-mode", "wait"] as const;
const PROBE = ["probe", "probe-add", "trace"] as const;
const OBJECTS = ["variables", "allow-unset", "node-name", "kubeconfig", "context", "timeout"] as const;
const REMOVAL = ["force", "drain"] as const;
const ADDITION = [...RENDER, ...PROBE, ...OBJECTS, "force-conflicts"] as const;
const CHANGE = ["dry-run", "exit-code", "pause", "no-confirm", ...RUN] as const;

/** What commands of two words begin with. */
const GROUPS: Record<string, string> = {
  network: "be the CNI runtime of a network namespace: add, check, delete, look",
};

const WHERE = ["host-root", "config-dir", "plugin-dir", "cache-dir"] as const;
const CALLS = ["plugin-timeout", "trace", "output"] as const;
const ATTACHMENT = ["ifname", "container-id", "args", "capability-args"] as const;
const NETWORK_AND_TARGET = { shown: "NETWORK TARGET", most: 2 };
const NETWORK = { shown: "NETWORK", most: 1 };

const COMMANDS: Record<string, CommandSpec> = {
  install: {
    summary: "install plugins, configs and manifests; what is right already is left alone",
    options: [...LISTS, ...PLACES, ...ADDITION, ...CHANGE],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("install", texts, world),
  },
  uninstall: {
    summary: "remove them, in reverse order; what was there before comes back",
    options: [...LISTS, ...PLACES, ...REMOVAL, "validate", ...OBJECTS, ...CHANGE],
    run: async (texts, world) => (await import("./commands/apply.ts")).runApply("uninstall", texts, world),
  },
  apply: {
    summary: "go from the current to the desired set: lists are DESIRED or DESIRED:CURRENT",
    options: [...LISTS, ...PLACES, "refresh", "prune", "allow-no-network", ...REMOVAL, ...ADDITION, ...CHANGE],
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
  "network add": {
    summary:
      "add a container to a network; prints the result as the CNI specification has it, unless --output is given",
    operands: NETWORK_AND_TARGET,
    options: ["file", ...ATTACHMENT, "new", "allow-default-route", ...WHERE, "lock-timeout", ...CALLS],
    run: async (...given) => (await import("./commands/network.ts")).runAdd(...given),
  },
  "network check": {
    summary: "ask the plugins whether an attachment is as it should be",
    operands: NETWORK_AND_TARGET,
    options: ["file", ...ATTACHMENT, ...WHERE, "lock-timeout", ...CALLS],
    run: async (...given) => (await import("./commands/network.ts")).runCheck(...given),
  },
  "network del": {
    summary: "delete a container's attachment; what is gone already is no error",
    operands: NETWORK_AND_TARGET,
    options: ["file", ...ATTACHMENT, "delete-netns", ...WHERE, "lock-timeout", ...CALLS],
    run: async (...given) => (await import("./commands/network.ts")).runDel(...given),
  },
  "network gc": {
    summary: "release attachments that cni-node has added and whose namespace is gone",
    operands: { shown: "[NETWORK]", most: 1 },
    options: ["valid", "all", ...WHERE, "lock-timeout", ...CALLS],
    run: async (...given) => (await import("./commands/network-gc.ts")).runGc(...given),
  },
  "network status": {
    summary: "ask the plugins of a network whether they are ready",
    operands: NETWORK,
    options: ["file", ...WHERE, ...CALLS],
    run: async (...given) => (await import("./commands/network-show.ts")).runStatus(...given),
  },
  "network version": {
    summary: "ask the plugins of a network for the versions that they support",
    operands: NETWORK,
    options: ["file", ...WHERE, ...CALLS],
    run: async (...given) => (await import("./commands/network-show.ts")).runNetworkVersion(...given),
  },
  "network probe": {
    summary: "try whether a network works, the one of pods if none is named, and leave nothing of it",
    operands: { shown: "[NETWORK]", most: 1 },
    options: ["file", "add", ...WHERE, "lock-timeout", ...CALLS],
    run: async (...given) => (await import("./commands/network-probe.ts")).runProbe(...given),
  },
  "network list": {
    summary: "list the networks of the node, or the attachments to them",
    options: ["attachments", ...WHERE, "output"],
    run: async (texts, world) => (await import("./commands/network-show.ts")).runNetworkList(texts, world),
  },
  "network show": {
    summary: "print the configuration of a network as it is used, with secrets masked",
    operands: NETWORK,
    options: ["file", "host-root", "config-dir", "output"],
    run: async (...given) => (await import("./commands/network-show.ts")).runShow(...given),
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

/** Programs that this one is, too, when it is called so: their command lines, as ours. */
const ALIASES: Record<string, (argv: readonly string[], env: World["env"]) => string[]> = {
  cnitool: networkArguments,
};

/**
 * Runs one command line. Never throws: every failure becomes a message and an exit code.
 *
 * @param program what the program was called.
 */
export async function run(given: readonly string[], world: World, program = "cni-node"): Promise<Ending> {
  const argv = ALIASES[program]?.(given, world.env) ?? given;
  let command = commandIn(argv);
  try {
    if (argv.includes("--help") || argv.includes("-h") || argv[0] === "help") return printHelp(command, world);
    if (argv.length === 1 && argv[0] === "--version") command = "version";
    const words = command === "version" && argv[0] === "--version" ? ["version"] : argv;
    const { operands, options, ...parsed } = parse(words, world.env);
    ({ command } = parsed);
    for (const objection of objectionsToEnvironment(world.env)) printMessage(world, `warning: ${objection}`);
    return await (COMMANDS[command] as CommandSpec).run(options, world, operands);
  } catch (error) {
    const ending = reportFailure(error, command, wantsJson(argv, world.env), world);
    if (error instanceof Failure && error.code === "usage-command") {
      world.stderr(`\n${usageOf(commandNamed(commandTree(), command))}`);
    }
    return ending;
  }
}

/** The command of a line that may not be a right one: the first word that is one, or a group with the word behind it. */
function commandIn(argv: readonly string[]): string {
  const first = argv.findIndex((word) => Object.hasOwn(COMMANDS, word) || Object.hasOwn(GROUPS, word));
  const [word = "", ...rest] = first === -1 ? [] : argv.slice(first);
  if (Object.hasOwn(COMMANDS, word)) return word;
  const second = rest.find((one) => Object.hasOwn(COMMANDS, `${word} ${one}`));
  return second === undefined ? word : `${word} ${second}`;
}

/** Also of a command line that could not be read. */
function wantsJson(argv: readonly string[], env: World["env"]): boolean {
  const given = argv.flatMap((word, index) => {
    return word === "--output" ? (argv[index + 1] ?? []) : word.startsWith("--output=") ? word.slice(9) : [];
  });
  return (given.at(-1) ?? env[environmentName("output")]) === "json";
}

function printHelp(command: string, world: World): Ending {
  const shown = commandNamed(commandTree(), command);
  world.stdout(
    shown.commands.length > 0
      ? `${usageOf(shown)}\ncni-node ${`${command} `.trimStart()}COMMAND --help shows the options of a command.\n`
      : `${shown.helpInformation()}\nEvery option can be given as an environment variable, CNI_NODE_OPTION_NAME; the option wins.\n`,
  );
  return { exitCode: 0 };
}

/** What most runs need of the program: whoever sees its usage for the first time sees how it is used. */
const ESSENTIALS = [...LISTS, "pause"] as const;
const EXAMPLES = `
Examples:
  cni-node install --plugins=bridge,host-local,portmap --configs=10-bridge.conflist
  cni-node apply --plugins=bridge,vlan:macvlan --pause
`;

/** Ends in a newline. */
function usageOf(shown: Command): string {
  const usage = shown.helpInformation();
  if (shown.parent !== null) return usage;
  const options = formatRows(ESSENTIALS.map((name) => [`  --${name} ${shownValue(name)}`, helpOf(name)]));
  return `${usage}\nOptions of install, uninstall and apply:\n${options}${EXAMPLES}`;
}

interface Parsed {
  command: string;
  operands: string[];
  options: OptionTexts;
}

/** @throws Failure `usage`, `usage-command` when there is no command to say more about. */
function parse(argv: readonly string[], env: World["env"]): Parsed {
  if (argv.length === 0) throw commandFailure("no command given");
  let parsed: Parsed | undefined;
  const tree = commandTree((found) => (parsed = found));
  try {
    tree.parse(normalize(argv), { from: "user" });
  } catch (error) {
    throw error instanceof CommanderError ? usageFailure(error) : error;
  }
  if (parsed === undefined) throw commandFailure("no command given");
  const { command, operands, options } = parsed;
  const { operands: { most } = NO_OPERANDS } = COMMANDS[command] ?? {};
  const [stray] = operands.slice(most);
  if (stray !== undefined) throw strayFailure(stray, most);
  for (const [name, text] of Object.entries(options)) checkOption(name as OptionName, text, `--${name}`);
  for (const name of COMMANDS[command]?.options ?? []) {
    const text = env[environmentName(name)] ?? "";
    if (options[name] !== undefined || text === "") continue;
    checkOption(name, text, environmentName(name));
    options[name] = text;
  }
  return parsed;
}

/** Commander's own message, in the form of ours. */
function usageFailure(error: CommanderError): Failure {
  const message = error.message.replace(/^error: /u, "");
  const [suggestion, nearest] = /\n\(Did you mean (.*)\?\)$/u.exec(message) ?? [];
  const problem = message.slice(0, message.length - (suggestion?.length ?? 0));
  const hint = nearest === undefined ? undefined : `did you mean ${nearest}?`;
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
  const [first = "", second = ""] = operands;
  const command = Object.hasOwn(GROUPS, first) ? `${first} ${second}` : first;
  if (Object.hasOwn(GROUPS, command.trim())) throw commandFailure(`no command of ${first} given`);
  for (const option of options) refuseForeign(command, option);
  const areKnown = options.every((option) => isOptionName(nameOf(option)));
  if (operands.length === 0 && areKnown) throw commandFailure("no command given");
  const { operands: { most } = NO_OPERANDS } = COMMANDS[command] ?? {};
  const stray = operands.slice(command.split(" ").length)[most];
  if (stray !== undefined && areKnown && Object.hasOwn(COMMANDS, command)) throw strayFailure(stray, most);
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

const NO_OPERANDS = { shown: "", most: 0 };

function strayFailure(word: string, most: number): Failure {
  return new Failure({
    code: "usage",
    subject: JSON.stringify(word),
    problem: `is an argument too many${most === 0 ? ": commands take options only" : ""}`,
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

function commandTree(onCommand: (found: Parsed) => void = () => undefined): Command {
  const tree = configured(new Command("cni-node"))
    .description("Puts CNI on a node and proves that it works.")
    .usage("COMMAND [OPTIONS]")
    .helpCommand(false);
  for (const [name, { summary, options, operands = NO_OPERANDS }] of Object.entries(COMMANDS)) {
    const [word = "", group] = name.split(" ").toReversed();
    const command = configured((group === undefined ? tree : groupNamed(tree, group)).command(word))
      .description(summary)
      .usage([operands.shown, "[OPTIONS]"].join(" ").trim())
      .allowExcessArguments(false);
    if (operands.most > 0) command.argument("[operands...]");
    for (const option of options) addOption(command, option);
    command.action(() => {
      const texts = Object.fromEntries(options.flatMap((option) => entryOf(command, option)));
      onCommand({ command: name, operands: command.args, options: texts });
    });
  }
  return tree;
}

function groupNamed(tree: Command, name: string): Command {
  const known = tree.commands.find((command) => command.name() === name);
  if (known !== undefined) return known;
  return configured(tree.command(name))
    .description(GROUPS[name] ?? "")
    .usage("COMMAND [OPTIONS]")
    .helpCommand(false);
}

/** The command of that name, `network add`; as much of it as there is. */
function commandNamed(tree: Command, name: string): Command {
  const [first, ...rest] = name.split(" ");
  const found = tree.commands.find((command) => command.name() === first);
  return found === undefined ? tree : commandNamed(found, rest.join(" "));
}

function configured(command: Command): Command {
  return command
    .exitOverride()
    .configureHelp({ subcommandTerm: (shown) => `${shown.name()} ${shown.usage()}` })
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined, getOutHelpWidth: () => 120 })
    .helpOption("-h, --help", "show this help");
}

function addOption(command: Command, name: OptionName): void {
  const { type } = specOf(name);
  // A list that is given twice is one list; of anything else the last one counts.
  command.option(`--${name} ${shownValue(name)}`, helpOf(name), (given: string, before: string | undefined) => {
    if (type !== "list" || before === undefined) return given;
    if (`${before}${given}`.includes(":")) throw splitTwice(name);
    return `${before},${given}`;
  });
}

function shownValue(name: OptionName): string {
  const { type, value } = specOf(name);
  if (typeof type !== "string") return `<${type.join("|")}>`;
  return type === "flag" ? "[BOOL]" : `<${value}>`;
}

function helpOf(name: OptionName): string {
  const { default: preset, help } = specOf(name);
  return preset === undefined ? help : `${help} (default: ${preset})`;
}

/** What is behind the colon of one is removed: it must not get there from the other. */
function splitTwice(name: OptionName): Failure {
  return new Failure({
    code: "usage",
    subject: `--${name}`,
    problem: "is given twice, and one of the lists has a colon",
    hint: `write --${name}=DESIRED:CURRENT once`,
    exitCode: 2,
  });
}

function entryOf(command: Command, name: OptionName): [OptionName, string][] {
  const option = command.options.find(({ long }) => long === `--${name}`);
  const values = command.opts<Record<string, unknown>>();
  // Commander gives an option that begins with "no-" a value of its own, which is no text.
  const { [option?.attributeName() ?? ""]: text } = values;
  return typeof text === "string" ? [[name, text]] : [];
}
