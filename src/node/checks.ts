/** Can a configuration work on its node? The checks are data: named, in order; every objection is reported. */
import { isListName, type NetworkList, type PluginConfig } from "../cni/config.ts";
import { isObject, parseJson } from "../cni/json.ts";
import { configFiles, loadFile, type DirectoryListing } from "../cni/listing.ts";
import { objectionsToReference } from "../cni/reference-plugins.ts";
import { kubeconfigsOf, usesOf, type PluginUse } from "../cni/references.ts";
import { compareVersions, isVersion, NEWEST_VERSION, VERSIONS } from "../cni/version.ts";
import type { Finding } from "../finding.ts";
import { isMultus } from "./primary.ts";
import type { NodeView } from "./view.ts";
import { firstPointer, placeholderOf } from "../template/pointer.ts";

/** What is found of one configuration. Two with the same code and `about` are wrong for the same reason. */
type Found = Omit<Finding, "path"> & { about: string };

/** The same with the configuration that it is of. */
export type About = Finding & { about: string };

/** A configuration that is looked at. */
interface Examined {
  file: string;
  list: NetworkList;
  text: string;
  listing: DirectoryListing;
}

interface Check {
  name: string;
  run(examined: Examined, view: NodeView): Promise<Found[]> | Found[];
}

/** In the order in which a runtime would come upon them. */
const CHECKS: readonly Check[] = [
  { name: "every pointer is replaced", run: ({ text }) => leftPointers(text) },
  { name: "no key is one of the runtime's", run: ({ list }) => reservedKeys(list) },
  { name: "no plugin delegates to itself", run: ({ list }) => selfDelegation(list) },
  { name: "its version is one of the specification", run: ({ list }) => unknownVersion(list) },
  { name: "it has a version", run: withoutVersion },
  { name: "its plugins are there, run, and support its version", run: async ({ list }, view) => uses(list, view) },
  {
    name: "the kubeconfigs that it names are there, and can work",
    run: async ({ list }, view) => kubeconfigs(list, view),
  },
  { name: "runtimes know its version", run: ({ list }) => newVersion(list) },
  { name: "reference plugins accept their keys", run: ({ list }) => wrongKeys(list) },
  { name: "runtimes pass what its plugins are for", run: withoutCapabilities },
];

/**
 * Looks at the configurations of a directory as they are or will be.
 *
 * @param files which; by default all that runtimes read.
 * @throws Interrupted
 */
export async function examineConfigs(
  listing: DirectoryListing,
  view: NodeView,
  files: readonly string[] = configFiles(listing),
): Promise<About[]> {
  const found: About[] = [];
  for (const file of files) {
    for (const one of await examineConfig(file, listing, view)) found.push({ ...one, path: file });
  }
  return found;
}

async function examineConfig(file: string, listing: DirectoryListing, view: NodeView): Promise<Found[]> {
  const loaded = loadFile(file, listing);
  if ("objection" in loaded) {
    const hint = "fix it or move it away: containerd stops at the first file that it cannot load";
    const { message } = loaded.objection;
    return [{ code: "config-invalid", severity: "error", message, hint, about: file }];
  }
  const entry = listing.entries.get(file);
  const { list } = loaded.network;
  const examined = { file, list, text: entry?.type === "file" ? entry.text : "", listing };
  const found: Found[] = [];
  for (const check of CHECKS) found.push(...(await check.run(examined, view)));
  return found;
}

/** Other installers' templates leave their own of the same form (Calico's `__CNI_MTU__`). */
export function leftPointers(text: string): Found[] {
  const name = firstPointer(text);
  if (name === undefined) return [];
  const pointer = `__${name}__`;
  const owner = placeholderOf(name);
  return [
    {
      code: "pointer-left",
      severity: "warning",
      message: `still has ${pointer}, which was not replaced`,
      hint:
        owner === undefined
          ? "look at where it came from: the file that a pointer names is taken as it is"
          : `it looks like a placeholder of ${owner} installer, which a script of that one replaces: have it write the file again, or write the value there`,
      about: pointer,
    },
  ];
}

/** CNI specification, section 1, "Reserved keys, used by the protocol", and what runtimes insert by section 4. */
function reservedKeys({ plugins }: NetworkList): Found[] {
  return plugins.flatMap((plugin) =>
    Object.keys(plugin)
      .filter(isReserved)
      .map((key): Found => {
        const message = `sets ${key} for ${plugin.type}, which runtimes set themselves`;
        return {
          code: "reserved-key",
          severity: "warning",
          message,
          hint: "leave it out",
          about: `${plugin.type} ${key}`,
        };
      }),
  );
}

function isReserved(key: string): boolean {
  return ["runtimeConfig", "args", "prevResult"].includes(key) || key.startsWith("cni.dev/");
}

/** Each ADD would start another, without end, until the node is full of processes. */
function selfDelegation({ plugins }: NetworkList): Found[] {
  return plugins.flatMap((plugin) => {
    const { type, delegates, delegate } = plugin;
    const inner = [...usesOf({ delegates }), ...usesOf({ plugins: [delegate] })];
    if (!inner.some((use) => use.type === type)) return [];
    const message = `has ${type} delegate to itself: every new pod would start plugins without end`;
    const hint = "let it delegate to the configuration of the primary network, not to its own";
    return [{ code: "delegates-to-itself", severity: "error", message, hint, about: type }];
  });
}

async function uses(list: NetworkList, view: NodeView): Promise<Found[]> {
  const found: Found[] = [];
  // Of a version that there is none of, nobody need be told that plugins do not support it.
  const version = unknownVersion(list).length > 0 ? undefined : list.cniVersion;
  for (const use of usesOf({ plugins: list.plugins }, version)) {
    const objection = await objectionToUse(use, view);
    if (objection !== undefined && !found.some((one) => isSameReason(one, objection))) found.push(objection);
  }
  return found;
}

async function objectionToUse({ type, cniVersion }: PluginUse, view: NodeView): Promise<Found | undefined> {
  const plugin = await view.plugin(type);
  if ("missing" in plugin) {
    // To install what no plugin is called, for a blank or another character that people overlook, would not help.
    const shown = /^[A-Za-z0-9_.+/-]+$/u.test(type) ? type : JSON.stringify(type);
    const message = `needs the plugin ${shown}, which is not in ${plugin.missing}`;
    const common = { code: "plugin-missing", severity: "error", message, about: type } as const;
    if (type.includes("/")) return { ...common, hint: "give the file name of the plugin only" };
    if (shown !== type) {
      return { ...common, hint: `correct the type in the configuration, ${shown}: it is the file name of a plugin` };
    }
    const hint = "install it before or together with the configuration";
    return { ...common, hint, cure: { kind: "plugin", name: type } };
  }
  if ("unseen" in plugin) {
    return {
      code: "plugin-unseen",
      severity: "warning",
      message: `needs the plugin ${type}; whether it is there cannot be seen: ${plugin.unseen}`,
      hint: "mount the node's directory of plugins, /opt/cni/bin, below the host root",
      about: type,
    };
  }
  if ("objection" in plugin) {
    const { message, ...objection } = plugin.objection;
    return { ...objection, message: `needs the plugin ${type}, which ${message}`, about: type };
  }
  if (cniVersion === undefined || !isVersion(cniVersion) || supports(plugin.versions, cniVersion)) return undefined;
  return {
    code: "version-unsupported",
    severity: "error",
    message: `has cniVersion ${cniVersion}, which the plugin ${type} does not support: it knows ${plugin.versions.join(", ")}`,
    hint: "use one of these as cniVersion, or another version of the plugin",
    about: `${cniVersion} ${type}`,
  };
}

function supports(versions: readonly string[], cniVersion: string): boolean {
  return versions.some((version) => isVersion(version) && compareVersions(version, cniVersion) === 0);
}

/** Multus' and the ptp family's `kubeconfig`, Calico's, Istio's and whereabouts' `kubernetes.kubeconfig`. */
async function kubeconfigs({ plugins }: NetworkList, view: NodeView): Promise<Found[]> {
  const paths = new Set(plugins.flatMap(kubeconfigsOf).filter((path) => path.startsWith("/")));
  if (paths.size === 0) return [];
  const { objectionToKubeconfig } = await import("../cluster/kubeconfig-check.ts");
  return [...paths].flatMap((path): Found[] => {
    if (view.isComing(path)) return [];
    const here = view.fileAt(path);
    const about = path;
    if (here !== undefined) {
      const objection = objectionToKubeconfig(here, (named) => view.hasFile(named));
      if (objection === undefined) return [];
      const message = `names the kubeconfig ${path}, which its plugin cannot use: ${objection}`;
      return [{ code: "kubeconfig-invalid", severity: "error", message, hint: "have its agent write it again", about }];
    }
    return view.hasFile(path) === false
      ? [
          {
            code: "kubeconfig-missing",
            severity: "error",
            message: `names the kubeconfig ${path}, which is not there: its plugin would fail for every new pod`,
            hint: "write the kubeconfig first",
            about,
          },
        ]
      : [
          {
            code: "kubeconfig-unseen",
            severity: "warning",
            message: `names the kubeconfig ${path}; whether it is there cannot be seen, because its directory is not mounted`,
            about,
          },
        ];
  });
}

function newVersion({ cniVersion }: NetworkList): Found[] {
  if (!isVersion(cniVersion) || compareVersions(cniVersion, NEWEST_VERSION) <= 0) return [];
  const message = `has cniVersion ${cniVersion}, newer than ${NEWEST_VERSION}, the newest that is known`;
  const hint = "name older ones beside it: cniVersions";
  return [{ code: "version-too-new", severity: "warning", message, hint, about: cniVersion }];
}

/** Plugins compare it with those that they support, letter by letter. */
function unknownVersion({ cniVersion }: NetworkList): Found[] {
  if (VERSIONS.includes(cniVersion)) return [];
  if (isVersion(cniVersion) && compareVersions(cniVersion, NEWEST_VERSION) > 0) return [];
  const message = `has cniVersion ${JSON.stringify(cniVersion)}, which is not a version of the CNI specification`;
  const hint = `use one of ${VERSIONS.join(", ")}${cniVersion.startsWith("v") ? ", without a v" : ""}`;
  return [{ code: "version-unknown", severity: "error", message, hint, about: cniVersion }];
}

/** Runtimes take no version for the oldest, and a list's key in another spelling for none. */
function withoutVersion({ file, list, text }: Examined): Found[] {
  const parsed = parseJson(text);
  if (!("value" in parsed) || !isObject(parsed.value) || list.cniVersions !== undefined) return [];
  const { value } = parsed;
  const spelt = Object.keys(value).find((key) => key.toLowerCase() === "cniversion");
  const isRead = spelt === "cniVersion" || (spelt !== undefined && !isListName(file));
  if (isRead && value[spelt] !== "" && value[spelt] !== null) return [];
  const instead = spelt === undefined || isRead ? "" : ` (it has ${JSON.stringify(spelt)}, which is another key)`;
  return [
    {
      code: "version-missing",
      severity: "warning",
      message: `has no cniVersion${instead}: runtimes take it for ${list.cniVersion}, the oldest, which newer plugins may not support`,
      hint: 'add "cniVersion": "1.0.0", or "0.3.1" with old plugins',
      about: "cniVersion",
    },
  ];
}

/** The chains of a configuration: its own, and those that Multus delegates to. */
function chainsOf(chain: readonly PluginConfig[]): (readonly PluginConfig[])[] {
  const delegates = chain
    .filter(({ type }) => isMultus(type))
    .flatMap(({ delegates: list }) => (Array.isArray(list) ? list : []));
  return [chain, ...delegates.flatMap((one) => chainsOf(chainIn(one)))];
}

/** The plugins of a configuration inside of another: of a list, or the one that it is. */
function chainIn(config: unknown): PluginConfig[] {
  if (!isObject(config)) return [];
  const plugins = Array.isArray(config["plugins"]) ? (config["plugins"] as unknown[]) : [config];
  return plugins.filter((one): one is PluginConfig => isObject(one) && typeof one["type"] === "string");
}

function wrongKeys({ plugins }: NetworkList): Found[] {
  return chainsOf(plugins)
    .flat()
    .flatMap((plugin) =>
      objectionsToReference(plugin).map((objection) => ({
        code: "plugin-config",
        severity: "warning",
        message: `has ${plugin.type} fail for every new pod: ${objection}`,
        hint: "correct it in the configuration, or in what wrote it",
        about: `${plugin.type} ${objection}`,
      })),
    );
}

/** What runtimes of pods pass, and what is lost where they do not. */
const LOST: Readonly<Record<string, string>> = {
  portMappings: "the host ports of pods",
  bandwidth: "the bandwidth annotations of pods",
};

/** What these do nothing without. */
const NEEDED: Readonly<Record<string, string>> = { portmap: "portMappings", bandwidth: "bandwidth" };

/** Runtimes pass to a plugin only what it declares. */
function withoutCapabilities({ list, listing }: Examined): Found[] {
  const chains = chainsOf(list.plugins);
  return [
    ...chains.flat().flatMap(({ type, capabilities, ingressRate, egressRate }) => {
      const needed = Object.hasOwn(NEEDED, type) ? (NEEDED[type] ?? "") : "";
      const isLimited = type === "bandwidth" && (ingressRate !== undefined || egressRate !== undefined);
      return needed === "" || isLimited || hasCapability(capabilities, needed) ? [] : [lost(type, [needed], "")];
    }),
    ...chains.flat().flatMap((plugin) => {
      const inner = isMultus(plugin.type) ? primaryOf(plugin, listing) : [];
      const missing = Object.keys(LOST).filter(
        (name) =>
          inner.some(({ capabilities }) => hasCapability(capabilities, name)) &&
          !hasCapability(plugin["capabilities"], name),
      );
      return missing.length === 0 ? [] : [lost(plugin.type, missing, ", which its primary network has")];
    }),
  ];
}

function hasCapability(capabilities: unknown, name: string): boolean {
  return isObject(capabilities) && capabilities[name] === true;
}

function lost(type: string, names: readonly string[], why: string): Found {
  const what = names.map((name) => LOST[name] ?? name).join(" and ");
  const declared = JSON.stringify({ capabilities: Object.fromEntries(names.map((name) => [name, true])) }).slice(1, -1);
  return {
    code: "capability-missing",
    severity: "warning",
    message: `has ${type} without the capability ${names.join(", ")}${why}: ${what} are lost without an error`,
    hint: `add ${declared} to ${type}`,
    about: `${type} ${names.join()}`,
  };
}

/** The plugins of the network that Multus gives every pod. */
function primaryOf({ delegates, clusterNetwork }: PluginConfig, listing: DirectoryListing): PluginConfig[] {
  if (Array.isArray(delegates) && delegates.length > 0) return chainIn(delegates[0]);
  const file =
    typeof clusterNetwork === "string" ? /\/etc\/cni\/net\.d\/([^/]+)$/u.exec(clusterNetwork)?.[1] : undefined;
  const loaded = file === undefined ? undefined : loadFile(file, listing);
  return loaded !== undefined && "network" in loaded ? loaded.network.list.plugins : [];
}

/** Is it wrong for the same reason? */
export function isSameReason(a: Found, b: Found): boolean {
  return a.code === b.code && a.about === b.about;
}
