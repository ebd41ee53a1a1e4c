/** Arguments → command. */
import { COMMANDS, GROUPS, type CommandName, type CommandSpec, type Given } from "./commands.ts";
import { runList } from "./commands/list.ts";
import { runVersion } from "./commands/version.ts";
import { Failure, usage } from "./errors.ts";
import { helpOf, usageOf } from "./help.ts";
import { isTruthValue } from "./option-types.ts";
import {
  environmentName,
  GLOBAL_OPTIONS,
  objectionsToEnvironment,
  OPTIONS,
  SHORT_OPTIONS,
  valuesOf,
  type Option,
  type Values,
} from "./options.ts";
import { printWarning, reportFailure } from "./report.ts";
import { saveMemory } from "./system/memory.ts";
import { coloured, isColoured, plain } from "./system/style.ts";
import { nearestTo } from "./system/nearest.ts";
import type { Ending, World } from "./world.ts";

type Run<What> = (given: What, world: World) => Promise<Ending>;

/** The code of each command; loaded when it is run, unless it is short. */
const RUNS: { readonly [Name in CommandName]: Run<Given<Name>> } = {
  install: async (...given) => (await import("./commands/apply.ts")).runApply("install", ...given),
  credentials: async (...given) => (await import("./commands/apply.ts")).runCredentials(...given),
  uninstall: async (...given) => (await import("./commands/apply.ts")).runApply("uninstall", ...given),
  apply: async (...given) => (await import("./commands/apply.ts")).runApply("apply", ...given),
  plan: async (...given) => (await import("./commands/apply.ts")).runApply("plan", ...given),
  watch: async (...given) => (await import("./commands/watch.ts")).runWatch(...given),
  status: async (...given) => (await import("./commands/status.ts")).runStatus(...given),
  routes: async (...given) => (await import("./commands/routes.ts")).runRoutes(...given),
  "routes remove": async (...given) => (await import("./commands/routes.ts")).runRemove(...given),
  "routes sync": async (...given) => (await import("./commands/routes.ts")).runSync(...given),
  "network add": async (...given) => (await import("./commands/networks.ts")).runAdd(...given),
  "network check": async (...given) => (await import("./commands/networks.ts")).runCheck(...given),
  "network del": async (...given) => (await import("./commands/networks.ts")).runDel(...given),
  "network gc": async (...given) => (await import("./commands/networks.ts")).runGc(...given),
  "network status": async (...given) => (await import("./commands/networks.ts")).runStatus(...given),
  "network version": async (...given) => (await import("./commands/networks.ts")).runNetworkVersion(...given),
  "network probe": async (...given) => (await import("./commands/networks.ts")).runProbe(...given),
  "network list": async (...given) => (await import("./commands/networks.ts")).runNetworkList(...given),
  "network show": async (...given) => (await import("./commands/networks.ts")).runShow(...given),
  "network map": async (...given) => (await import("./commands/networks.ts")).runMap(...given),
  "engine enable": async (...given) => (await import("./commands/engine.ts")).runEnable(...given),
  "engine disable": async (...given) => (await import("./commands/engine.ts")).runDisable(...given),
  "engine status": async (...given) => (await import("./commands/engine.ts")).runEngineStatus(...given),
  "engine cdi": async (...given) => (await import("./commands/engine.ts")).runCdi(...given),
  "engine hooks": async (...given) => (await import("./commands/engine.ts")).runHooks(...given),
  list: runList,
  catalogue: async (...given) => (await import("./commands/catalogue.ts")).runCatalogue(...given),
  completion: async (...given) => (await import("./commands/completion.ts")).runCompletion(...given),
  version: runVersion,
};

/** These have ended before memory matters. */
const SHORT: ReadonlySet<CommandName> = new Set(["list", "completion", "version"]);

/** A command line, taken apart. */
export interface Line {
  /** The command and its operands. */
  words: readonly string[];
  options: readonly GivenOption[];
  wantsHelp: boolean;
}

/** `word` is as it was written, `name` without dashes, empty if it has one only; without `text`, one is missing. */
interface GivenOption {
  word: string;
  name: string;
  text: string | undefined;
}

/**
 * Takes a command line apart. A flag takes the word behind it only if that is a truth value; other options take what
 * does not begin with two dashes. (util.parseArgs knows no flag that may have a value, and takes any word for one.)
 */
export function readLine(argv: readonly string[]): Line {
  const words: string[] = [];
  const options: GivenOption[] = [];
  const following = [...argv];
  for (let next = following.shift(); next !== undefined; next = following.shift()) {
    if (next === "--") words.push(...following.splice(0));
    else if (next.startsWith("-") && next !== "-") options.push(readOption(next, following));
    else words.push(next);
  }
  return { words, options, wantsHelp: argv.includes("--help") || argv.includes("-h") || words[0] === "help" };
}

function readOption(given: string, following: string[]): GivenOption {
  const [, word = "", text] = /^(-o)([^=].*)$/su.exec(given) ?? /^([^=]*)(?:=(.*))?$/su.exec(given) ?? [];
  const name = word.startsWith("--") ? word.slice(2) : (SHORT_OPTIONS[word.slice(1)] ?? "");
  const option = Object.hasOwn(OPTIONS, name) ? (OPTIONS as Readonly<Record<string, Option>>)[name] : undefined;
  if (text !== undefined || option === undefined) return { word, name, text };
  const [next] = following;
  if (option.type.form === "flag") return { word, name, text: isTruthValue(next) ? following.shift() : "true" };
  return { word, name, text: next?.startsWith("--") === false ? following.shift() : undefined };
}

/** Runs one command line. Never throws: every failure becomes a message and an exit code. */
export async function run(argv: readonly string[], world: World): Promise<Ending> {
  const isVersion = argv.length === 1 && argv[0] === "--version";
  return runLine(readLine(isVersion ? ["version"] : argv), world);
}

/** Runs a command line that has been taken apart. */
export async function runLine(line: Line, outer: World): Promise<Ending> {
  const world = await shownBy(line, outer);
  const name = commandIn(line.words[0] === "help" ? line.words.slice(1) : line.words);
  try {
    if (line.wantsHelp) {
      world.stdout(helpOf(name));
      return { exitCode: 0 };
    }
    const command = requireCommand(name, line);
    const { options, operands = [] } = COMMANDS[command] as CommandSpec;
    const known = { ...options, ...GLOBAL_OPTIONS };
    for (const option of line.options) checkOption(option, command, known);
    const words = line.words.slice(command.split(" ").length);
    if (words.length > operands.length) throw strayFailure(words[operands.length], operands.length);
    const given: Record<string, unknown> = { ...valuesOf(options, line.options, world.env), operands: words };
    for (const objection of objectionsToEnvironment(world.env)) printWarning(world, objection);
    const output = given["output"] === "yaml" ? "json" : given["output"];
    const isQuiet = globalsOf(line, world).quiet && output !== "json" && command !== "completion";
    const printed = isQuiet ? { ...world, stdout: () => undefined } : world;
    if (!SHORT.has(command)) saveMemory();
    return await (RUNS[command] as Run<unknown>)({ ...given, output }, printed);
  } catch (error) {
    const ending = reportFailure(error, name, isForPrograms(outputOf(line, world.env)), world);
    if (error instanceof Failure && error.code === "usage-command") {
      world.stderr(`\n${usageOf(name)}`);
    }
    return ending;
  }
}

/** The command that the words begin with, or the group; empty: neither. */
function commandIn([first = "", second = ""]: readonly string[]): string {
  return (
    [`${first} ${second}`, first].find((name) => Object.hasOwn(COMMANDS, name) || Object.hasOwn(GROUPS, name)) ?? ""
  );
}

/** @throws Failure `usage`, `usage-command` if there is no command to say more about. */
function requireCommand(name: string, { words, options }: Line): CommandName {
  if (Object.hasOwn(COMMANDS, name)) return name as CommandName;
  const isGroup = name !== "";
  const word = words[isGroup ? 1 : 0];
  const stranger = options.find((option) => !Object.hasOwn(OPTIONS, option.name));
  if (word === undefined && !isGroup && stranger !== undefined) throw unknownOption(stranger.word, []);
  if (word === undefined) throw commandFailure(`no command ${isGroup ? `of ${name} ` : ""}given`);
  const start = isGroup ? `${name} ` : "";
  const names = Object.keys({ ...COMMANDS, ...GROUPS }).filter((one) => one.startsWith(start));
  const known = names.map((one) => one.slice(start.length));
  const grouped = known.find((one) => one.endsWith(` ${word}`));
  throw commandFailure(`unknown command '${word}'`, grouped ?? nearestTo(word, known));
}

function commandFailure(problem: string, nearest?: string): Failure {
  const hint = nearest === undefined ? [] : `did you mean ${nearest}?`;
  return new Failure({ code: "usage-command", subject: "usage", problem, hint, exitCode: 2 });
}

/** @throws Failure `usage`. */
function checkOption({ name, word, text }: GivenOption, command: string, own: CommandSpec["options"]): void {
  if (!Object.hasOwn(OPTIONS, name)) throw unknownOption(word, Object.keys(own));
  if (!Object.hasOwn(own, name)) {
    const hint = `other commands have it; cni-node ${command} --help shows those of this one`;
    throw usage(command, `unknown option '${word}'`, hint);
  }
  if (text === undefined) throw usage(word, "needs a value");
}

function unknownOption(word: string, known: readonly string[]): Failure {
  const nearest = nearestTo(word.replace(/^-+/u, ""), known);
  const hint = nearest === undefined ? "add --help to the command to see its options" : `did you mean --${nearest}?`;
  return usage("usage", `unknown option '${word}'`, hint);
}

function strayFailure(word = "", most: number): Failure {
  return usage(
    JSON.stringify(word),
    `unexpected argument${most === 0 ? "; this command takes only options" : ""}`,
    "a list is one word, --plugins=bridge,vlan, or in quotes; an option has two dashes",
  );
}

/** The format of the report, right or wrong. */
function outputOf({ options }: Line, env: World["env"]): string | undefined {
  const given = options.findLast(({ name }) => name === "output")?.text;
  return given ?? env[environmentName("output")];
}

function isForPrograms(output: string | undefined): boolean {
  return output === "json" || output === "yaml";
}

/** The world as the options that all commands have say that texts are shown. */
async function shownBy(line: Line, world: World): Promise<World> {
  const { color, verbose } = globalsOf(line, world);
  const { stdout, stderr } = world.terminals?.() ?? { stderr: false };
  const isPainted = {
    stdout: isColoured(color, stdout !== undefined, world.env),
    stderr: isColoured(color, stderr, world.env),
  };
  const paint = { stdout: isPainted.stdout ? coloured : plain, stderr: isPainted.stderr ? coloured : plain };
  const isYaml = outputOf(line, world.env) === "yaml";
  return {
    ...world,
    view: {
      paint,
      terminal: stdout,
      isSeen: stderr,
      isVerbose: verbose,
      ...(isYaml && { formatReport: await yamlFormat() }),
    },
    stdout: (text) => world.stdout(text, isPainted.stdout),
    stderr: (text) => world.stderr(text, isPainted.stderr),
  };
}

/** What is wrong with them is said when the others are read. */
function globalsOf({ options }: Line, { env }: World): Values<typeof GLOBAL_OPTIONS> {
  try {
    return valuesOf(GLOBAL_OPTIONS, options, env);
  } catch {
    return { color: "auto", quiet: false, verbose: false };
  }
}

/** Each object becomes a document. */
async function yamlFormat(): Promise<(json: string) => string> {
  const { stringify } = await import("yaml");
  let count = 0;
  return (json) => {
    const document = stringify(JSON.parse(json), { lineWidth: 0 });
    return count++ === 0 ? document : `---\n${document}`;
  };
}
