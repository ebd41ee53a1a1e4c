/** The command line of kube-watch: handlers are called with the data of an object or a file, at the start and whenever it changes. */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { aborted, Failure, isSystemError, reasonOf } from "./errors.ts";
import { readArguments, USAGE, type ObjectSource } from "./kube-watch/arguments.ts";
import { Handling } from "./kube-watch/handling.ts";
import { endingOfDone, reportFailure } from "./report.ts";
import { saveMemory } from "./system/memory.ts";
import { readText, SIZE_LIMITS } from "./system/read.ts";
import { DirectoryWatch } from "./system/watch.ts";
import type { Ending, World } from "./world.ts";

/** Milliseconds between attempts to find out what a kind is called; each further one doubles it. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [1000, 45_000];

/** Runs until the signal comes. */
export async function run(argv: readonly string[], world: World): Promise<Ending> {
  try {
    const given = readArguments(argv);
    if (given === "help") {
      world.stdout(USAGE);
      return { exitCode: 0 };
    }
    if (given === "version") {
      const { runVersion } = await import("./commands/version.ts");
      return await runVersion({ output: "text", operands: [] }, world);
    }
    saveMemory();
    const { source, ...options } = given;
    const handling = new Handling(options, world);
    const following =
      "file" in source ? followFile(source.file, handling, world) : followObject(source.object, handling, world);
    await Promise.all([following, handling.run()]);
    return endingOfDone(world.signal, 0);
  } catch (error) {
    const ending = reportFailure(error, "kube-watch", false, world);
    if (error instanceof Failure && error.code === "usage") world.stderr(`\n${USAGE}`);
    return ending;
  }
}

/** A file that is written in place counts when nothing has changed for so long; an empty one may still be written. */
const SETTLED = { usual: 150, empty: 2000 };
/** How often to look without a cause, milliseconds: a link may lead to a file elsewhere. */
const RESYNC_MS = 10_000;

/** Of a file that is gone nothing is handed on: it may be on its way. */
async function followFile(path: string, handling: Handling, world: World): Promise<void> {
  let said = "";
  let latest = "";
  let since = 0;
  let timer: NodeJS.Timeout | undefined;
  const read = (): { state: string; text: string } | undefined => {
    try {
      const text = readText(path, SIZE_LIMITS.config).trimEnd();
      // Of the time after it: what is written while it is read is another state.
      const { ino, size, mtimeNs } = statSync(path, { bigint: true });
      said = "";
      return { state: [ino, size, mtimeNs].join(), text };
    } catch (error) {
      const problem = isSystemError(error, "ENOENT") ? "is not there yet" : `cannot be read: ${reasonOf(error)}`;
      if (said !== problem) world.stderr(`kube-watch: ${path} ${problem}\n`);
      said = problem;
      return undefined;
    }
  };
  const look = (): void => {
    clearTimeout(timer);
    const begin = performance.now();
    const { state = "", text = "" } = read() ?? {};
    if (state !== latest) {
      latest = state;
      since = performance.now();
    }
    if (state === "") return;
    const rest = since + (text === "" ? SETTLED.empty : SETTLED.usual) - begin;
    if (rest > 0) timer = setTimeout(look, rest);
    else handling.update(text);
  };
  using watch = new DirectoryWatch(dirname(path), look);
  void watch;
  const resync = setInterval(look, RESYNC_MS);
  look();
  await aborted(world.signal);
  clearInterval(resync);
  clearTimeout(timer);
}

async function followObject(source: ObjectSource, handling: Handling, world: World): Promise<void> {
  const { signal, env } = world;
  const [{ findAccess }, { Channel }, { ObjectWatch }, { findType, objectIdentity }, { parseTemplate, render }] =
    await Promise.all([
      import("./cluster/access.ts"),
      import("./cluster/channel.ts"),
      import("./cluster/watch.ts"),
      import("./kube-watch/resource-type.ts"),
      import("./kube-watch/jsonpath.ts"),
    ]);
  const template = parseTemplate(source.jsonpath);
  const find = (): ReturnType<typeof findAccess> => findAccess({ kubeconfig: env["KUBECONFIG"] || undefined, env });
  using channel = new Channel(find);
  const say = saying(world);
  const found = await retried(
    async () => ({ type: await findType(source.type, channel, signal), common: find().namespace }),
    say,
    signal,
  );
  if (found === undefined) return;
  const { type, common } = found;
  const identity = objectIdentity(type, source.name, source.namespace ?? common);
  const watch = new ObjectWatch(channel, identity, type.resource, () => {
    say(watch.trouble);
    const object = watch.known?.object;
    // What is deleted is left as it was: handlers that remove what is no longer desired would remove everything.
    if (object !== undefined) handling.update(render(template, object));
  });
  await watch.follow(signal);
}

/** Says each trouble once. */
function saying(world: World): (trouble: Failure | undefined) => void {
  let said = "";
  return (trouble) => {
    if (trouble !== undefined && trouble.message !== said) reportFailure(trouble, "kube-watch", false, world);
    said = trouble?.message ?? "";
  };
}

/** @returns undefined: the signal has come. */
async function retried<Value>(
  act: () => Promise<Value>,
  say: (trouble: Failure) => void,
  signal: AbortSignal,
): Promise<Value | undefined> {
  for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, pause * 2)) {
    try {
      return await act();
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!(error instanceof Failure) || error.exitCode === 2) throw error;
      say(error);
    }
    await sleep(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
  }
}
