/** Runs scripts of a runtime's operations with libcni, or with src/cni, and tells what came of each step. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { parseNetworkList } from "../../src/cni/config.ts";
import { CniError, type ErrorObject } from "../../src/cni/error.ts";
import { gc } from "../../src/cni/gc.ts";
import { PluginError, type Args } from "../../src/cni/invoke.ts";
import { add, check, del, status, version, type PluginVersions } from "../../src/cni/network.ts";
import type { ValidAttachment } from "../../src/cni/request.ts";
import type { RuntimeConf } from "../../src/cni/runtime.ts";
import { callsOf, Recorder, type RecordedCall } from "../helpers/recorder.ts";
import { findLibcniPrograms } from "./build.ts";

/** One step: an operation with all its parameters, or a file below the root that is written. */
export type Step =
  | ({ do: "add" | "check" | "del" } & Operation & Attachment)
  | ({ do: "gc"; valid: readonly ValidAttachment[] } & Operation)
  | ({ do: "status" | "version" } & Operation)
  | { do: "write"; path: string; text: string };

interface Operation {
  /** The text of the network configuration list. */
  list: string;
}

export interface Attachment {
  containerId: string;
  netns: string;
  ifName: string;
  args: Args;
  capabilityArgs: Record<string, unknown>;
}

/** What came of a step. */
export interface Outcome {
  result?: unknown;
  versions?: Record<string, string[]>;
  /** One for each plugin that failed; with the specification's error object, if the plugin has given one. */
  errors: (ErrorObject & { text: string })[];
  calls: RecordedCall[];
  /** The files of the cache, by name; as data if they are JSON. */
  cache: Record<string, unknown>;
}

/** Runs each script on its own root with libcni. */
export function runLibcni(scripts: readonly { root: string; steps: readonly Step[] }[]): Outcome[][] {
  const outcomes = libcni("run", scripts) as (Omit<Outcome, "calls"> & { calls: string })[][];
  return outcomes.map((steps) =>
    steps.map(({ calls, cache, errors, ...rest }) => ({
      ...rest,
      errors: errors.map(withoutOwnWords),
      calls: callsOf(calls),
      cache: dataOf(cache),
    })),
  );
}

/** What libcni says where the plugin has said nothing in the specification's form. */
function withoutOwnWords(error: Outcome["errors"][number]): Outcome["errors"][number] {
  return error.msg.startsWith("netplugin failed") ? { ...error, msg: "" } : error;
}

/** Converts results with libcni; null where it does not. */
export function convertWithLibcni(conversions: readonly { result: string; version: string }[]): unknown[] {
  return libcni("convert", conversions) as unknown[];
}

let program: string | undefined;

function libcni(mode: string, input: unknown): unknown {
  program ??= join(findLibcniPrograms(), "libcni");
  const { status: code, stdout } = spawnSync(program, [mode], {
    input: JSON.stringify(input),
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["pipe", "pipe", "ignore"],
  });
  if (code !== 0) throw new Error(`libcni ${mode} ended with ${code}`);
  return JSON.parse(stdout);
}

/** Runs one step with src/cni. */
export async function runOurs(recorder: Recorder, step: Step): Promise<Outcome> {
  const outcome: Outcome = { errors: [], calls: [], cache: {} };
  try {
    Object.assign(outcome, await perform(recorder, step));
  } catch (error) {
    outcome.errors.push(failureOf(error));
  }
  return { ...outcome, calls: recorder.take(), cache: dataOf(cacheOf(recorder)) };
}

async function perform({ root, bin, cacheDir }: Recorder, step: Step): Promise<Partial<Outcome>> {
  if (step.do === "write") {
    fs.mkdirSync(dirname(join(root, step.path)), { recursive: true });
    fs.writeFileSync(join(root, step.path), step.text);
    return {};
  }
  const read = parseNetworkList("a.conflist", step.list);
  if ("objection" in read) throw new CniError({ code: 7, msg: read.objection.message });
  const runtime = { pluginDirs: [bin], cacheDir };
  switch (step.do) {
    case "add":
      return { result: await add(read.list, confOf(step, runtime)) };
    case "check":
      await check(read.list, confOf(step, runtime));
      return {};
    case "del":
      await del(read.list, confOf(step, runtime));
      return {};
    case "gc":
      return { errors: (await gc(read.list, step.valid, runtime)).errors.map(failureOf) };
    case "status":
      await status(read.list, runtime);
      return {};
    case "version":
      return { versions: versionsOf(await version(read.list, runtime)) };
    default:
      throw new TypeError(`unknown step ${JSON.stringify(step)}`);
  }
}

function versionsOf(answers: readonly PluginVersions[]): Record<string, string[]> {
  const given = answers.filter(({ error }) => error === undefined);
  return Object.fromEntries(given.map(({ plugin, supportedVersions }) => [plugin, supportedVersions]));
}

function confOf(
  { containerId, netns, ifName, args, capabilityArgs }: Attachment,
  runtime: { pluginDirs: string[]; cacheDir: string },
): RuntimeConf {
  return { ...runtime, containerId, netns, ifName, args, capabilityArgs };
}

/** Of errors that are no plugin's own there is no more to compare than that they occur. */
function failureOf(error: unknown): Outcome["errors"][number] {
  if (!(error instanceof CniError)) throw error;
  const { message: text, code, msg, details = "" } = error;
  if (!(error instanceof PluginError && error.reason === "exit")) return { text, code: 0, msg: "", details: "" };
  return error.stdout.includes('"msg"') ? { text, code, msg, details } : { text, code, msg: "", details: "" };
}

function cacheOf({ cacheDir }: Recorder): Record<string, string> {
  const directory = join(cacheDir, "results");
  if (!(fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() ?? false)) return {};
  const names = fs.readdirSync(directory).filter((name) => name !== ".cni-node");
  return Object.fromEntries(names.map((name) => [name, fs.readFileSync(join(directory, name), "utf8")]));
}

function dataOf(files: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, parseOrText(String(text))]));
}

function parseOrText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
