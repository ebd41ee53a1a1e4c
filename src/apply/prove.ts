/** Nothing unproved goes live: what a run is about to put on the node is looked at and tried, before anything changes. */
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { configFiles, loadFile, type DirectoryListing } from "../cni/listing.ts";
import { usesOf } from "../cni/references.ts";
import { selectForContainerd } from "../cni/selection.ts";
import { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { directoryFindings } from "../host/trust.ts";
import type { Changes, Wanted } from "../kinds/kind.ts";
import { withCommand } from "../node/cure.ts";
import { examineConfigs, isSameReason, type About } from "../node/checks.ts";
import type { CatalogueEntry } from "../node/catalogue.ts";
import type { NodeView } from "../node/view.ts";
import { isStatic } from "../system/elf.ts";

/**
 * Proves what a run is about to put on the node: the plugins that it writes answer, the configurations that it writes
 * can work, and others that worked still can. What was wrong before for the same reason is not this run's affair.
 *
 * @param view the node as it is.
 * @returns what was found; errors are objections (`objectionsIn`), unless the validation is lenient.
 * @throws Interrupted
 */
export async function prove(
  { configs, plugins, files, entries, restored, refused, pluginDirectory }: Changes,
  view: NodeView,
  { validate, force, dryRun, sources }: Pick<Wanted, "validate" | "force" | "sources"> & { dryRun: boolean },
): Promise<Finding[]> {
  if (validate === "off") return [];
  const after = view.after(plugins, files);
  const found = (await examinePlugins(plugins, entries, after)).map((one) => ({
    ...one,
    path: join(pluginDirectory, one.path),
    ...(restored.has(one.path) ? { severity: "warning" as const } : {}),
  }));
  if (configs !== undefined) {
    const { directory, written } = configs;
    const own = await examineConfigs(configs.after, after, written.filter(isConfigName));
    const others = await examineConfigs(configs.after, after, changedPluginsOf(configs.after, written, plugins));
    const wrong = [...own, ...others.filter(({ severity }) => severity === "error")];
    const wasWrong = wrong.some(isError) ? await wrongBefore(configs.before, view) : () => false;
    const isTolerated = (one: About): boolean =>
      wasWrong(one) || restored.has(one.path) || (force && isGone(one, plugins));
    const judged = wrong
      .filter((one) => !(one.code === "plugin-missing" && refused.has(one.about)))
      .filter((one) => own.includes(one) || !wasWrong(one))
      .map((one) => (isTolerated(one) ? { ...one, severity: "warning" as const } : one));
    found.push(...judged.map((one) => ({ ...one, path: join(directory, one.path) })));
  }
  if (plugins.size > 0) found.push(...directoryFindings(pluginDirectory, pluginDirectory));
  const configDirectory = configs?.directory ?? "";
  if (configs?.written.length) found.push(...directoryFindings(configDirectory, configDirectory));
  // A source gets its mode when it is copied.
  const isUnasked = ({ code }: Finding): boolean => dryRun && code === "plugin-mode";
  const isRefusing = validate === "strict";
  return found
    .filter((one) => !isUnasked(one))
    .map(({ about: _about, ...one }: Finding & { about?: string }) =>
      withCommand(one.severity === "error" && !isRefusing ? { ...one, severity: "warning" } : one, sources),
    );
}

/** Of what the proof has found, that for which the run is refused. */
export function objectionsIn(found: readonly Finding[]): Failure[] {
  return found.filter(isError).map(refusal);
}

/** The rest of it. */
export function warningsIn(found: readonly Finding[]): Finding[] {
  return found.filter((one) => !isError(one));
}

/** So many plugins are asked at a time: each is a process with memory of its own. */
const AT_ONCE = 4;

/**
 * Asks the plugins. One speaks for all of its build: whether this node runs programs of that directory is one question,
 * and the catalogue answers for the content of a static binary. If it does not answer, each is asked.
 */
async function examinePlugins(
  plugins: Changes["plugins"],
  entries: Changes["entries"],
  view: NodeView,
): Promise<Finding[]> {
  const written = [...plugins].flatMap(([name, path]) => (path === undefined ? [] : [{ name, path }]));
  const builds = Map.groupBy(written, ({ name, path }) => buildOf(path, entries.get(name)) ?? name);
  const speakers = [...builds.values()].flatMap(([speaker]) => speaker?.name ?? []);
  await view.plugins(speakers, AT_ONCE);
  for (const [speaker, ...others] of builds.values()) {
    if (speaker === undefined || !("versions" in (await view.plugin(speaker.name)))) continue;
    for (const { name, path } of others) view.believe(path, entries.get(name)?.cniVersions ?? []);
  }
  const names = written.map(({ name }) => name);
  const answers = await view.plugins(names, AT_ONCE);
  return answers.flatMap(([name, plugin]) => ("objection" in plugin ? [{ path: name, ...plugin.objection }] : []));
}

/** What tells plugins of one build, which all run on a node or none does. Undefined: only the plugin itself can tell. */
function buildOf(path: string, entry: CatalogueEntry | undefined): string | undefined {
  const { module, version, cniVersions } = entry ?? {};
  if (module === undefined || version === undefined || cniVersions === undefined) return undefined;
  return isStatic(path) ? `${module}/${version}` : undefined;
}

/** The files of configurations that stay as they are, and whose plugins do not. */
export function changedPluginsOf(
  listing: DirectoryListing,
  written: readonly string[],
  plugins: Changes["plugins"],
): string[] {
  if (plugins.size === 0) return [];
  return configFiles(listing).filter((file) => {
    const loaded = written.includes(file) ? undefined : loadFile(file, listing);
    if (loaded === undefined || "objection" in loaded) return false;
    return usesOf({ plugins: loaded.network.list.plugins }).some(({ type }) => plugins.has(type));
  });
}

/**
 * What is wrong already, in the very file or in the one that pods get now, is no worse for being wrong again. What is
 * wrong in a file that nobody uses excuses nothing: the new one may be used (issue 14, A1).
 */
async function wrongBefore(listing: DirectoryListing, view: NodeView): Promise<(one: About) => boolean> {
  const used = selectForContainerd(listing).chosen?.file;
  const before = (await examineConfigs(listing, view)).filter(isError);
  return (one) => before.some((old) => isSameReason(old, one) && (old.path === one.path || old.path === used));
}

function isError({ severity }: Pick<Finding, "severity">): boolean {
  return severity === "error";
}

/** Whoever removes a plugin by force knows that configurations name it. */
function isGone({ code, about }: About, plugins: Changes["plugins"]): boolean {
  return code === "plugin-missing" && plugins.has(about) && plugins.get(about) === undefined;
}

function refusal({ code, path, message, hint }: Finding): Failure {
  const anyway = "--validate=warn installs it anyway";
  return new Failure({ code, subject: path, problem: message, hint: [hint ?? [], anyway].flat() });
}
