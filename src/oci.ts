/**
 * The program as an OCI runtime, and as a hook of one: `oci [--config FILE] -- WORDS`, `cni [--config FILE]
 * --command add|del|check [--network NAME]`. scripts/oci.sh stands before it, and does what needs no Node.js.
 */
import { appendFileSync } from "node:fs";
import { resolve } from "node:path";

import { preparePipes } from "./cni/pipes.ts";
import { Failure, usage } from "./errors.ts";
import { addContainer, checkContainer, deleteContainer, deleteFailed, hookedBy } from "./oci/attach.ts";
import { MAKERS, readRuntimeCall, type RuntimeCall } from "./oci/call.ts";
import { readOciConfig, readOciConfigAnyway } from "./oci/config.ts";
import { keepReason, readContainer, takeReason, type Container } from "./oci/container.ts";
import { forHooks } from "./oci/hints.ts";
import { lineOf, openOciLog, timestamp, type OciLog } from "./oci/log.ts";
import { standBy } from "./oci/standby.ts";
import { findRuntime, frontPath, grammarOf, hooksOf, prepareBundle, runRuntime } from "./oci/wrapper.ts";
import { printFailure, printMessage, printWarning, reportFailure } from "./report.ts";
import { maskTokens } from "./secrets/prose.ts";
import type { Ending, World } from "./world.ts";

const OCI_USAGE = "cni-node oci [--config FILE] -- RUNTIME ARGUMENTS";
const HOOK_USAGE = "cni-node cni [--config FILE] --command add|del|check [--network NAME]";

/** The values of the options at the beginning, and what is behind them. */
interface Words {
  options: ReadonlyMap<string, string[]>;
  rest: readonly string[];
}

/** Options of one or two dashes, as those of docker-cni. @throws Failure `usage` */
function readWords(argv: readonly string[], known: readonly string[], usageText: string): Words {
  const rest = [...argv];
  const options = new Map<string, string[]>();
  for (let [word = ""] = rest; word.startsWith("-"); [word = ""] = rest) {
    rest.shift();
    if (word === "--") break;
    const [, name = "", text] = /^--?([^=]*)(?:=(.*))?$/su.exec(word) ?? [];
    if (!known.includes(name)) throw usage(word, "unknown option", usageText);
    const value = text ?? rest.shift();
    if (value === undefined || value === "") throw usage(word, "needs a value", usageText);
    options.set(name, [...(options.get(name) ?? []), value]);
  }
  return { options, rest };
}

/** `cni-node oci` */
export async function runOci(argv: readonly string[], world: World): Promise<Ending> {
  const warn = warner(world);
  let words: Words;
  try {
    words = readWords(argv, ["config"], OCI_USAGE);
  } catch (error) {
    return reportFailure(error, "oci", false, world);
  }
  const { rest } = words;
  const file = words.options.get("config")?.at(-1);
  let call = readRuntimeCall(rest);
  try {
    // A container that is there must be stopped and deleted even if the file is wrong; none is made then.
    const config = MAKERS.includes(call.command ?? "") ? readOciConfig(file) : readOciConfigAnyway(file, warn);
    const log = openOciLog(config, "oci", warn);
    const runtime = findRuntime(config, world.env);
    call = readRuntimeCall(rest, grammarOf(runtime));
    const done = await prepareBundle(call, () =>
      hooksOf(frontPath(), file === undefined ? undefined : resolve(file), world.env),
    );
    log.say("debug", `${runtime} ${call.command ?? ""}: config.json is ${done}`);
    const ending = await runRuntime(runtime, rest, call);
    if (ending.exitCode !== 0 && done !== "untouched" && grammarOf(runtime) === "argp")
      await cleanUp(file, call, world);
    return ending;
  } catch (thrown) {
    const error = thrown instanceof Failure ? forHooks(thrown) : thrown;
    sayToEngine(reasonText(error), call);
    return reportFailure(error, "oci", false, world);
  }
}

/** crun runs no poststop hooks of a container that it could not create. */
async function cleanUp(file: string | undefined, call: RuntimeCall, world: World): Promise<void> {
  const { id, bundle = ".", log, logFormat } = call;
  const state = JSON.stringify({ id, bundle: resolve(bundle) });
  const options = { config: file, log, "log-format": logFormat };
  const words = Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]));
  await runHook([...words, "--command", "failed"], { ...world, stdin: async () => Promise.resolve(state) });
}

/** Engines show what is in the log of the runtime, and not what it prints. */
function sayToEngine(reason: string, { log, logFormat }: Pick<RuntimeCall, "log" | "logFormat">): void {
  if (log === undefined || log === "") return;
  const text = maskTokens(`cni-node: ${reason}`);
  const entry = { level: "error", msg: text, time: timestamp() };
  try {
    appendFileSync(log, `${logFormat === "json" ? JSON.stringify(entry) : lineOf("error", text)}\n`, { mode: 0o600 });
  } catch {
    // It is on stderr as well.
  }
}

/** In one text, for logs that have no room for a hint of its own. */
function reasonText(error: unknown): string {
  if (!(error instanceof Failure)) return String(error);
  const { message, hint } = error;
  return hint === undefined ? message : `${message} (hint: ${hint})`;
}

/** Says what does not keep a container from running. */
function warner(world: World): (problem: string) => void {
  return (problem) => {
    printWarning(world, problem);
  };
}

/** `cni-node standby ROOM`: the front calls it beside a runtime that makes a container. */
export async function runStandby(argv: readonly string[], world: World): Promise<Ending> {
  return standBy(argv, world, runHook);
}

/** The front calls the last one, after a runtime that runs no poststop hooks. */
const COMMANDS = { add: addContainer, del: deleteContainer, check: checkContainer, failed: deleteFailed } as const;

/** `cni-node cni` */
export async function runHook(argv: readonly string[], world: World): Promise<Ending> {
  const warn = warner(world);
  let log: OciLog | undefined;
  let container: Container | undefined;
  try {
    const known = ["config", "command", "network", "log", "log-format"];
    const { options, rest } = readWords(argv, known, HOOK_USAGE);
    const command = options.get("command")?.at(-1) ?? "";
    if (rest.length > 0) throw usage(JSON.stringify(rest[0]), "unexpected argument", HOOK_USAGE);
    if (!Object.hasOwn(COMMANDS, command)) throw usage("--command", "is not add, del or check", HOOK_USAGE);
    if (command !== "check") preparePipes();
    const file = options.get("config")?.at(-1);
    const config = command === "add" ? readOciConfig(file) : readOciConfigAnyway(file, warn);
    log = openOciLog(config, "hook", warn);
    container = readContainer(await world.stdin());
    const reason = takeReason(container);
    if (command === "failed" && reason !== undefined) {
      const [format] = options.get("log-format") ?? [];
      sayToEngine(reason, { log: options.get("log")?.at(-1), logFormat: format });
      printMessage(world, reason);
    }
    log.say("debug", `${command} of container ${container.id}`);
    // Plugins run there if the program stands by, too; everything that may be named from here has been opened.
    process.chdir("/");
    await COMMANDS[command as keyof typeof COMMANDS](
      container,
      (options.get("network") ?? []).flatMap((names) => names.split(",")),
      hookedBy(config, log, world, warn),
    );
    return { exitCode: 0 };
  } catch (thrown) {
    const error = thrown instanceof Failure ? forHooks(thrown) : thrown;
    log?.say("error", reasonText(error));
    if (container !== undefined) keepReason(container, reasonText(error));
    if (log !== undefined) printFailure(error, { ...world, stderr: log.print });
    return reportFailure(error, "cni", false, world);
  }
}
