import * as fs from "node:fs";
import { join } from "node:path";

import { Failure, isSystemError, systemFailure, type Objections } from "../errors.ts";
import { createCopy, digestOfFile } from "../system/disk.ts";
import { entryOf, readCatalogue, type CatalogueEntry } from "../node/catalogue.ts";
import { pluginNames } from "../node/source.ts";
import { shellWord } from "../system/text.ts";
import { hasBytes, type Content } from "./content.ts";
import type { FileAssets } from "./kind.ts";
import { didYouMean } from "./missing-source.ts";
import { keepNeeded } from "./policies.ts";
import { restoredFile } from "./restore.ts";

/** Programs that container runtimes call. */
export const plugins: FileAssets = {
  read: async (names, { sources, checksum }, _directory, objections) => {
    const contents = objections.catch(() => readPlugins(sources.plugin, names, checksum, objections));
    return Promise.resolve({ contents: contents ?? new Map<string, Content>(), warnings: [] });
  },
  isShown: false,
  keep: keepNeeded,
  changes: (files, { wanted: { sources }, desired: { contents }, refused, directory, surroundings }) => {
    const changed = new Map<string, string | undefined>();
    for (const { file, step } of files) {
      const restored = restoredFile(file, directory, surroundings);
      if (file?.effect === "write") changed.set(step.name, join(sources.plugin, step.name));
      else if (file?.effect === "remove" || restored !== undefined) changed.set(step.name, restored);
    }
    const entries = new Map(Array.from(contents, ([name, { entry }]) => [name, entry]));
    return { plugins: changed, entries, pluginDirectory: directory?.path ?? "", refused };
  },
  lossMeans: "pods that need it do not start, nor end",
};

const PLUGIN_MODE = 0o755;

/**
 * Finds the plugins that are to be installed.
 *
 * @param checksum read also those whose digest the catalogue knows.
 * @param objections receives `source-missing`, naming all that are missing; these have no content.
 * @throws Failure `source-missing` when the directory is, `catalogue-invalid`. What reads a plugin throws
 * `catalogue-mismatch` when it is not the one that the catalogue knows.
 */
function readPlugins(
  source: string,
  names: readonly string[],
  checksum: boolean,
  objections: Objections,
): Map<string, Content> {
  if (names.length === 0) return new Map();
  if (!fs.existsSync(source)) {
    throw new Failure({
      code: "source-missing",
      subject: source,
      problem: "no such directory to take plugins from",
      hint: "name the directory of the plugin binaries with --plugin-source",
    });
  }
  const stats = names.map((name) => [name, statSource(join(source, name))] as const);
  const found = stats.filter((one): one is [string, fs.Stats] => one[1]?.isFile() === true);
  const missing = names.filter((name) => !found.some(([other]) => other === name));
  if (missing.length > 0) {
    objections.add(
      new Failure({
        code: "source-missing",
        subject: missing.join(", "),
        problem: `not among the plugins in ${source}`,
        hint: `${didYouMean(missing, pluginNames(source))}cni-node list --plugin-source=${shellWord(source)} prints those that are`,
      }),
    );
  }
  const catalogue = readCatalogue(source);
  return new Map(
    found.map(([name, { size }]) => [
      name,
      pluginContent(join(source, name), size, entryOf(catalogue, name), checksum),
    ]),
  );
}

function statSource(path: string): fs.Stats | undefined {
  try {
    fs.accessSync(path, fs.constants.R_OK);
    return fs.statSync(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw systemFailure(path, "the plugin cannot be read", error);
  }
}

function pluginContent(path: string, size: number, entry: CatalogueEntry | undefined, checksum: boolean): Content {
  const expected = entry && `sha256:${entry.sha256}`;
  const checked = (digest: string): string => {
    if (expected === undefined || digest === expected) return digest;
    throw new Failure({
      code: "catalogue-mismatch",
      subject: path,
      problem: "is not the binary that the catalogue of the image knows by this name",
      hint: "if it was put there on purpose, run cni-node catalogue where the image is built",
    });
  };
  // The catalogue is believed of a file of the size that it says, until the file is copied.
  let known = expected !== undefined && entry?.size === size && !checksum ? Promise.resolve(expected) : undefined;
  const digest = async (): Promise<string> => (known ??= digestOfFile(path).then(checked));
  return {
    mode: () => PLUGIN_MODE,
    digest,
    entry,
    isCurrent: async (live, file, seen) => hasBytes(digest, size, live, file, seen),
    stage: async (target) => checked(await createCopy(path, target, { mode: PLUGIN_MODE })),
  };
}
