/** `.catalogue.json` beside the plugins of an image: what is known of each. The build writes it (plugins/README.md). */
import * as fs from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

import { askVersion, PluginError } from "../cni/invoke.ts";
import { Failure, isAbsence, systemFailure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { digestOfFile, replaceDurably } from "../system/disk.ts";
import { describeJsonError } from "../system/json.ts";
import { readText, readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import { shellWord } from "../system/text.ts";
import { pluginNames } from "./source.ts";

const Entry = v.looseObject({
  name: v.string(),
  /** The Go module that it is built from, its version and its licence; not known of plugins that others add. */
  module: v.optional(v.string()),
  version: v.optional(v.string()),
  licence: v.optional(v.string()),
  /** Bytes. */
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** 64 hexadecimal digits. */
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/u)),
  /** The versions of the CNI specification that it speaks; absent: it could not be asked. */
  cniVersions: v.optional(v.array(v.string())),
});

const Catalogue = v.looseObject({ version: v.literal(1), platform: v.optional(v.string()), plugins: v.array(Entry) });

/** What is known of one plugin. */
export type CatalogueEntry = v.InferOutput<typeof Entry>;

/** What is known of the plugins in a directory. */
export type Catalogue = v.InferOutput<typeof Catalogue>;

/** What became of the entry of one plugin. */
export interface EntryUpdate {
  name: string;
  outcome: "created" | "configured" | "unchanged" | "deleted";
  reason?: string;
}

/**
 * Reads the catalogue of a directory of plugins.
 *
 * @returns undefined where there is none.
 * @throws Failure `catalogue-invalid`.
 */
export function readCatalogue(source: string): Catalogue | undefined {
  const path = catalogueOf(source);
  let text: string;
  try {
    text = readText(path, SIZE_LIMITS.state);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw systemFailure(path, "the catalogue of plugins cannot be read", error);
  }
  try {
    return v.parse(Catalogue, JSON.parse(text));
  } catch (error) {
    // The message of a parser quotes the text.
    const why = error instanceof v.ValiError ? "has entries that are not of a plugin" : describeJsonError(text);
    throw new Failure({
      code: "catalogue-invalid",
      subject: path,
      problem: `is not a catalogue of plugins: it ${why}`,
      hint: `cni-node catalogue --plugin-source=${shellWord(source)} rewrites it`,
      cause: error,
    });
  }
}

/** What the catalogue says of that plugin. */
export function entryOf(catalogue: Catalogue | undefined, name: string): CatalogueEntry | undefined {
  return catalogue?.plugins.find((entry) => entry.name === name);
}

/**
 * Brings the catalogue to what lies in the directory: a plugin that is as its entry says keeps all that is known of it,
 * of others the file is looked at and asked. A catalogue that is right already is not touched.
 *
 * @throws Failure: nothing has changed.
 */
export async function updateCatalogue(source: string): Promise<{ plugins: EntryUpdate[]; warnings: Finding[] }> {
  const names = pluginNames(source);
  const { catalogue: before, warnings } = readIfUsable(source);
  const entries: CatalogueEntry[] = [];
  const plugins: EntryUpdate[] = [];
  for (const name of names) {
    const known = entryOf(before, name);
    const { entry, warning: ofEntry } = await describe(source, name, known);
    if (ofEntry !== undefined) warnings.push(ofEntry);
    entries.push(entry);
    const outcome = known === undefined ? "created" : entry === known ? "unchanged" : "configured";
    plugins.push({ name, outcome });
  }
  for (const { name } of before?.plugins ?? []) {
    if (!names.includes(name)) plugins.push({ name, outcome: "deleted", reason: "there is no such file" });
  }
  write(source, {
    platform: `linux/${ARCHITECTURES[process.arch] ?? process.arch}`,
    ...before,
    version: 1,
    plugins: entries,
  });
  return { plugins, warnings };
}

/** Go's name of each architecture, by Node's. */
const ARCHITECTURES: Record<string, string> = { x64: "amd64" };

/** A broken catalogue is one without entries. */
function readIfUsable(source: string): { catalogue: Catalogue | undefined; warnings: Finding[] } {
  try {
    return { catalogue: readCatalogue(source), warnings: [] };
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "catalogue-invalid") throw error;
    return { catalogue: undefined, warnings: [error.asWarning("catalogue-unusable", "it is rewritten")] };
  }
}

/** What was known, if the file is the one that it was known of. */
async function describe(
  source: string,
  name: string,
  known: CatalogueEntry | undefined,
): Promise<{ entry: CatalogueEntry; warning?: Finding }> {
  const path = join(source, name);
  const measured = await measure(path);
  if (known?.size === measured.size && known.sha256 === measured.sha256) return { entry: known };
  const entry = { name, ...measured };
  try {
    return { entry: { ...entry, cniVersions: await askVersion({ plugin: name, path }, { timeoutMs: PATIENCE }) } };
  } catch (error) {
    if (!(error instanceof PluginError)) throw error;
    const message = `does not report its CNI versions: ${error.msg}`;
    return { entry, warning: warning("catalogue-version", path, message) };
  }
}

async function measure(path: string): Promise<{ size: number; sha256: string }> {
  try {
    return { size: fs.statSync(path).size, sha256: (await digestOfFile(path)).replace("sha256:", "") };
  } catch (error) {
    throw systemFailure(path, "cannot be examined", error);
  }
}

/** How long a plugin may take to say its versions, milliseconds: images are also built by emulation. */
const PATIENCE = 10_000;

function write(source: string, catalogue: Catalogue): void {
  const path = catalogueOf(source);
  const text = `${JSON.stringify(catalogue, null, 2)}\n`;
  try {
    if (readTextIfPossible(path, SIZE_LIMITS.state) === text) return;
    replaceDurably(path, text, 0o644);
  } catch (error) {
    throw systemFailure(path, "cannot be written", error);
  }
}

function catalogueOf(source: string): string {
  return join(source, ".catalogue.json");
}
