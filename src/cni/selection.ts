/**
 * Which network configuration a container runtime takes from its directory, and why not the others: containerd's rule
 * (go-cni 1.1.14), CRI-O's (ocicni 0.4.3) and that of libcni's look-up by name. A listing → values; nothing is run.
 */
import { isConfigName, isListName, objectionToNetworkName, parsePlugin, type Objection } from "./config.ts";
import { configFiles, loadFile, sortBytes, type DirectoryListing, type ListingEntry, type Network } from "./listing.ts";
import { stringOf } from "./plugin-keys.ts";
import { compareVersions, isVersion, NEWEST_VERSION, VERSIONS } from "./version.ts";

/** A stable code for programs, and a sentence for people whose subject is the file or the directory. */
export interface Reason {
  code: string;
  message: string;
}

/** What becomes of a file. */
export type Verdict =
  /** Pods get their network from it. */
  | "chosen"
  /** containerd: pods get this network, too. CRI-O: it is there for those who ask for it by its name. */
  | "loaded"
  /** It could be loaded, if others did not come before it. */
  | "shadowed"
  /** It cannot be loaded. */
  | "broken"
  /** CRI-O: a plugin of it is missing or does not support its version. */
  | "refused"
  /** containerd: it has nothing to do with it, but another one is broken, and so nothing is loaded. */
  | "spoiled"
  /** Runtimes do not look at it. */
  | "ignored";

/** What becomes of one file, and why. */
export interface FileVerdict {
  file: string;
  verdict: Verdict;
  reason: Reason;
  /** What it configures, if it can be loaded. */
  network?: Network;
  /** Why it could not be loaded; a shadowed file may be broken as well, and waits for its turn. */
  objection?: Objection;
}

/** What a runtime makes of a directory. */
export interface Selection {
  /** The network of the pods. */
  chosen?: Network;
  /** The runtime has no network for pods: it reports `NetworkReady=false`. */
  error?: Reason;
  /** Every file in the directory, in the order in which runtimes read them. */
  files: FileVerdict[];
  /** What will go wrong with the chosen network although it is loaded. */
  warnings: Reason[];
}

/**
 * What containerd takes: the first files in the order of their names, `maxConfNum` of them. A broken one among them
 * ends it all, and containerd is left without a network.
 *
 * @param options.maxConfNum `max_conf_num` of containerd's configuration; 0 is all.
 */
export function selectForContainerd(listing: DirectoryListing, { maxConfNum = 1 } = {}): Selection {
  const turns = maxConfNum > 0 ? maxConfNum : Infinity;
  const files = configFiles(listing).map((file) => ({ file, ...loadFile(file, listing) }));
  const [first] = files;
  const broken = files.slice(0, turns).find((one) => "objection" in one);

  function verdictOf(file: string, index: number): [Verdict, Reason] {
    if (file === broken?.file) return ["broken", { code: "invalid", message: broken.objection.message }];
    if (broken !== undefined) {
      return ["spoiled", { code: "stopped", message: `is not loaded, because containerd stops at ${broken.file}` }];
    }
    if (index === 0) return ["chosen", { code: "first", message: "comes first" }];
    if (index < turns) return ["loaded", { code: "among-first", message: "is one of the first that containerd takes" }];
    return ["shadowed", shadowOf(file, first?.file ?? "", "containerd takes no more")];
  }

  return selectionOf({
    listing,
    chosen: broken === undefined && first !== undefined && "network" in first ? first.network : undefined,
    error: broken === undefined ? NO_FILE : { code: "broken", message: `${broken.file} ${broken.objection.message}` },
    files: files.map((one, index) => {
      const [verdict, reason] = verdictOf(one.file, index);
      return { verdict, reason, ...one };
    }),
  });
}

/** What a plugin said when it was asked for its VERSION: the versions that it supports, or why it did not say. */
export type PluginAnswer = { versions: readonly string[] } | { problem: string };

/**
 * What CRI-O takes: the first file in the order of the names that can be loaded, and whose plugins are all there and
 * support its version; else the network that its configuration names, from the first such file.
 *
 * @param ask what the plugin of a type answers; undefined when there is none in any of CRI-O's directories.
 * @param options.defaultNetwork `cni_default_network` of CRI-O's configuration.
 */
export function selectForCrio(
  listing: DirectoryListing,
  ask: (type: string) => PluginAnswer | undefined,
  { defaultNetwork = "" } = {},
): Selection {
  const networks = new Map<string, Network>();
  const files: FileVerdict[] = [];
  for (const file of configFiles(listing)) {
    const loaded = loadFile(file, listing);
    if ("objection" in loaded) {
      files.push({
        file,
        verdict: "broken",
        reason: { code: "invalid", message: loaded.objection.message },
        ...loaded,
      });
      continue;
    }
    // CRI-O calls a network without a name after its file.
    const network = { ...loaded.network, list: { ...loaded.network.list, name: loaded.network.list.name || file } };
    const { name } = network.list;
    const before = networks.get(name);
    const refusal = refusalOf(network, ask);
    if (refusal === undefined && before === undefined) networks.set(name, network);
    files.push({ file, network, ...(refusal ?? (before ? sameNetwork(name, before.file) : byName(name))) });
  }
  const [first] = networks.keys();
  const chosen = networks.get(defaultNetwork || (first ?? ""));
  return selectionOf({
    listing,
    chosen,
    error: defaultNetwork === "" ? (files.length === 0 ? NO_FILE : NONE_USABLE) : noDefault(defaultNetwork),
    files: files.map((one) => (one.file === chosen?.file ? { ...one, ...asChosen(defaultNetwork) } : one)),
  });
}

/**
 * What libcni's `LoadNetworkConf` takes for those who ask for a network by its name, as cnitool does: the first list of
 * that name, else the first single. A broken file that comes before it ends the search.
 *
 * @returns the network, or the file that ends the search and why, or neither when there is no such network.
 */
export function selectByName(
  listing: DirectoryListing,
  name: string,
): { network: Network } | { file: string; objection: Objection } | undefined {
  const files = configFiles(listing);
  for (const file of [...files.filter(isListName), ...files.filter((one) => !isListName(one))]) {
    const loaded = loadFile(file, listing);
    if ("network" in loaded ? loaded.network.list.name === name : !isPassedOver(file, name, listing)) {
      return "network" in loaded ? loaded : { file, ...loaded };
    }
  }
  return undefined;
}

/** A single is made a list only if it has the name, so that what is wrong with that list stays unknown. */
function isPassedOver(file: string, name: string, { entries }: DirectoryListing): boolean {
  const entry = entries.get(file);
  if (isListName(file) || entry?.type !== "file") return false;
  const parsed = parsePlugin(entry.text);
  return "plugin" in parsed && stringOf(parsed.plugin, "name") !== name;
}

const NO_FILE: Reason = { code: "no-file", message: "has no file that ends in .conf, .conflist or .json" };
const NONE_USABLE: Reason = { code: "none-usable", message: "has no configuration that CRI-O can use" };

function noDefault(name: string): Reason {
  const message = `has no configuration that CRI-O can use of the network ${JSON.stringify(name)}, which its cni_default_network names`;
  return { code: "no-default", message };
}

function shadowOf(file: string, first: string, why: string): Reason {
  return stemOf(file) === stemOf(first)
    ? { code: "twin", message: `has the same name as ${first}, which comes first` }
    : { code: "later", message: `comes after ${first}, and ${why}` };
}

function stemOf(file: string): string {
  return file.replace(/\.[^.]*$/u, "");
}

type Decision = Pick<FileVerdict, "verdict" | "reason">;

function sameNetwork(name: string, first: string): Decision {
  const message = `configures the network ${JSON.stringify(name)} as ${first} does, which comes first`;
  return { verdict: "shadowed", reason: { code: "same-network", message } };
}

function byName(name: string): Decision {
  const message = `is there for those who ask for the network ${JSON.stringify(name)}`;
  return { verdict: "loaded", reason: { code: "by-name", message } };
}

function asChosen(defaultNetwork: string): Decision {
  return defaultNetwork === ""
    ? { verdict: "chosen", reason: { code: "first", message: "comes first of those that CRI-O can use" } }
    : { verdict: "chosen", reason: { code: "default", message: "has the network that cni_default_network names" } };
}

/** libcni's `ValidateNetworkList`: every plugin is there, and lists exactly the version of the network. */
function refusalOf({ list }: Network, ask: (type: string) => PluginAnswer | undefined): Decision | undefined {
  for (const { type } of list.plugins) {
    const answer = type.includes("/") ? undefined : ask(type);
    if (answer === undefined) return refuse("plugin-missing", `needs the plugin ${type}, which is not there`);
    if ("problem" in answer) {
      return refuse("plugin-fails", `needs the plugin ${type}, which does not say its versions: ${answer.problem}`);
    }
    if (!answer.versions.includes(list.cniVersion)) {
      const supported = `supports ${answer.versions.join(", ")}, not ${list.cniVersion}`;
      return refuse("plugin-version", `needs the plugin ${type}, which ${supported}`);
    }
  }
  return undefined;
}

function refuse(code: string, message: string): Decision {
  return { verdict: "refused", reason: { code, message } };
}

function selectionOf({
  listing,
  chosen,
  error,
  files,
}: {
  listing: DirectoryListing;
  chosen: Network | undefined;
  /** Why there is none, if there is none. */
  error: Reason;
  files: readonly FileVerdict[];
}): Selection {
  const verdicts = new Map(files.map((one) => [one.file, one]));
  return {
    ...(chosen === undefined ? { error } : { chosen }),
    files: sortBytes(listing.entries.keys()).map((file) => verdicts.get(file) ?? ignored(file, listing)),
    warnings: chosen === undefined ? [] : warningsOf(chosen),
  };
}

function ignored(file: string, { entries, dropIns }: DirectoryListing): FileVerdict {
  return { file, verdict: "ignored", reason: whyIgnored(file, entries.get(file), dropIns.has(file)) };
}

function whyIgnored(file: string, entry: ListingEntry | undefined, hasDropIns: boolean): Reason {
  if (entry?.type === "directory") {
    return hasDropIns
      ? { code: "drop-ins", message: `has plugins that are dropped into the network ${JSON.stringify(file)}` }
      : { code: "directory", message: "is a directory" };
  }
  const isRenamed = isConfigName(stemOf(file)) || isConfigName(file.replace(/~$/u, ""));
  if (!isRenamed) return { code: "name", message: "does not end in .conf, .conflist or .json" };
  const who = file.endsWith(".cilium_bak")
    ? "; Cilium does that to what is not its own, unless cni.exclusive is false"
    : "";
  return { code: "set-aside", message: `is a configuration that was renamed${who}` };
}

function warningsOf({ list, dropIns }: Network): Reason[] {
  const { cniVersion, plugins } = list;
  const name = objectionToNetworkName(list.name);
  const path = plugins.find(({ type }) => type.includes("/"));
  const isNewer = isVersion(cniVersion) && compareVersions(cniVersion, NEWEST_VERSION) > 0;
  return [
    name === undefined ? undefined : { code: "name", message: `${name}: it is loaded, and no pod can be attached` },
    path && {
      code: "type",
      message: `has the plugin type ${JSON.stringify(path.type)}, not the file name of a plugin: it is not found`,
    },
    isNewer
      ? {
          code: "version-newer",
          message: `has the cniVersion ${cniVersion}; libcni 1.3 knows ${NEWEST_VERSION} at most, and cannot read the results`,
        }
      : undefined,
    isNewer || VERSIONS.includes(cniVersion)
      ? undefined
      : { code: "version", message: `has the cniVersion ${JSON.stringify(cniVersion)}, which no plugin supports` },
    dropIns.length === 0
      ? undefined
      : {
          code: "drop-ins",
          message: `has plugins from ${dropIns.join(", ")}: runtimes with a libcni before 1.3.0 leave them out`,
        },
  ].filter((warning) => warning !== undefined);
}
