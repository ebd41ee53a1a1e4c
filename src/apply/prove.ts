/** Nothing unproved goes live: what a run is about to put on the node is looked at and tried, before anything changes. */
import { join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { configFiles, loadFile, type DirectoryListing } from "../cni/listing.ts";
import { usesOf } from "../cni/references.ts";
import { selectForContainerd } from "../cni/selection.ts";
import { Failure, Objections } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { directoryFindings } from "../host/trust.ts";
import { examineConfigs, type About } from "../node/checks.ts";
import type { NodeView } from "../node/view.ts";
import type { Validation } from "./config.ts";

/** What a run is about to change, as the proof sees it. */
export interface Changes {
  /** The node's directory of configurations; undefined: it cannot be seen. */
  configs?: {
    directory: string;
    before: DirectoryListing;
    after: DirectoryListing;
    /** The names of files that get new content. */
    written: readonly string[];
  };
  /** Plugins by name, and where their new content is now; undefined: it goes. */
  plugins: ReadonlyMap<string, string | undefined>;
  /** The names of plugins and configurations that were there before cni-node, and come back as they were. */
  restored: ReadonlySet<string>;
  /** Where they are installed, if any are. */
  pluginDirectory: string;
}

/**
 * Proves what a run is about to put on the node: the plugins that it writes answer, the configurations that it writes
 * can work, and others that worked still can. What was wrong before for the same reason is not this run's affair.
 *
 * @param view the node as it is.
 * @returns warnings.
 * @throws Failure with the code of the first finding, which knows the others; Interrupted.
 */
export async function prove(
  { configs, plugins, restored, pluginDirectory }: Changes,
  view: NodeView,
  { validate, force, dryRun }: { validate: Validation; force: boolean; dryRun: boolean },
): Promise<string[]> {
  if (validate === "off") return [];
  const after = view.after(plugins);
  const found = (await examinePlugins(plugins, after)).map((one) => ({
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
      wasWrong(one) || restored.has(one.path) || (force && isGone(one.about, plugins));
    const judged = wrong
      .filter((one) => own.includes(one) || !wasWrong(one))
      .map((one) => (isTolerated(one) ? { ...one, severity: "warning" as const } : one));
    found.push(...judged.map((one) => ({ ...one, path: join(directory, one.path) })));
  }
  if (plugins.size > 0) found.push(...directoryFindings(pluginDirectory, pluginDirectory));
  const configDirectory = configs?.directory ?? "";
  if (configs?.written.length) found.push(...directoryFindings(configDirectory, configDirectory));
  // A source gets its mode when it is copied.
  const isUnasked = ({ code }: Finding): boolean => dryRun && code === "plugin-mode";
  return weigh(
    found.filter((one) => !isUnasked(one)),
    validate,
  );
}

function weigh(found: readonly Finding[], validate: Validation): string[] {
  const objections = new Objections();
  for (const one of validate === "strict" ? found.filter(isError) : []) objections.add(refusal(one));
  objections.throwIfAny();
  return found.map(({ path, message, hint }) => `${path}: ${message}${hint === undefined ? "" : `; ${hint}`}`);
}

/** So many plugins are asked at a time: each is a process with memory of its own. */
const AT_ONCE = 4;

async function examinePlugins(plugins: Changes["plugins"], view: NodeView): Promise<Finding[]> {
  const names = [...plugins].flatMap(([name, path]) => (path === undefined ? [] : [name]));
  const asked = await view.plugins(names, AT_ONCE);
  return asked.flatMap(([name, plugin]) => ("objection" in plugin ? [{ path: name, ...plugin.objection }] : []));
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
  return ({ about, path }) => before.some((one) => one.about === about && (one.path === path || one.path === used));
}

function isError({ severity }: Finding): boolean {
  return severity === "error";
}

/** Whoever removes a plugin by force knows that configurations name it. */
function isGone(about: string, plugins: Changes["plugins"]): boolean {
  return [...plugins].some(([name, path]) => path === undefined && about === `missing ${name}`);
}

function refusal({ code, path, message, hint }: Finding): Failure {
  const anyway = "--validate=warn installs it all the same";
  return new Failure({ code, subject: path, problem: message, hint: [hint ?? [], anyway].flat() });
}
