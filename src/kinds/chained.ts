/** The plugins that are appended to networks of others (`--chain`): which files that changes, and to what. */
import { join } from "node:path";

import { isListName } from "../cni/config.ts";
import { isObject, parseJson } from "../cni/json.ts";
import { configFiles, loadFile, type DirectoryListing } from "../cni/listing.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { compareVersions } from "../cni/version.ts";
import { Failure, type Objections } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import { inspect } from "../host/inspect.ts";
import { assetsOf, type HeldAsset } from "../host/record.ts";
import { editChain, listOfSingle, type ChainEntry, type ChainPlugin } from "../node/chain-edit.ts";
import { typeOf } from "../node/chain.ts";
import { findPrimary } from "../node/primary.ts";
import { changesBeside, DELEGATE_NAMES, heldConfigs, noPrimary } from "./delegate.ts";
import type { Chained, Directory, Wanted } from "./kind.ts";
import { nameOfChain, PRIMARY_NETWORK, type ChainItem, type Lists } from "./lists.ts";
import { Source } from "./source.ts";

/** What renders templates of the same run. */
export interface Rendering {
  /** The configurations of these names; those with objections are left out. */
  textsOf: (names: readonly string[]) => Promise<ReadonlyMap<string, string>>;
  /** The template of one plugin, whatever it is. Undefined: there are objections. */
  pluginOf: (name: string) => Promise<string | undefined>;
}

/**
 * Adds the files to what is desired in which plugins are chained or no longer chained, as if they had templates.
 *
 * @param objections receives `chain-network`, `chain-own`, `chain-held`, `chain-invalid`, `chain-version`, `primary-missing`,
 * `primary-invalid`, `not-a-file`, and what a template has.
 */
export async function withChain(
  wanted: Wanted,
  target: Directory | undefined,
  rendering: Rendering,
  objections: Objections,
): Promise<{ wanted: Wanted; warnings: Finding[] }> {
  const { chain = [], unchain } = wanted;
  const held = assetsOf(target?.record, "config").filter(({ chained }) => chained !== undefined);
  for (const asset of held) objections.catch(() => refuseTemplate(asset, wanted, target));
  const isIdle = chain.length === 0 && unchain === undefined && !(isPruned(wanted) && held.length > 0);
  if (target === undefined || isIdle) return { wanted, warnings: [] };
  const lists = listsBesideChain(wanted, target);
  const listing = readDirectoryListing(target.path, await changesBeside(lists, wanted, target, rendering.textsOf));
  const about: About = { wanted, lists, held, listing, target, isGone: goneBy(wanted) };
  const byFile = await readChain(chain, about, rendering, objections);
  // While it is not known what is to be there, nothing goes.
  const others = objections.any ? [] : held.filter(({ name, chained }) => !byFile.has(chained?.copyOf ?? name));
  const edits = [
    ...Array.from(byFile, ([file, plugins]) => objections.catch(() => edit(file, plugins, about))),
    ...others.map((asset) => objections.catch(() => withoutGone(asset, about))),
  ].filter((one) => one !== undefined);
  return {
    wanted: withEdits(wanted, lists, edits),
    warnings: [...edits.flatMap(({ warnings }) => warnings), ...absentIn(wanted, held)],
  };
}

/** What the files are decided upon. */
interface About {
  wanted: Wanted;
  /** The configurations besides. */
  lists: Lists;
  /** The files that have plugins of ours. */
  held: readonly HeldAsset[];
  listing: DirectoryListing;
  target: Directory;
  /** Does an entry go, of those that are not asked for? */
  isGone: (entry: ChainEntry) => boolean;
}

/** The plugins by the files of their networks. */
async function readChain(
  chain: readonly ChainItem[],
  about: About,
  { pluginOf }: Rendering,
  objections: Objections,
): Promise<Map<string, ChainPlugin[]>> {
  const { wanted } = about;
  const byFile = new Map<string, ChainPlugin[]>();
  for (const item of chain) {
    const text = await pluginOf(item.template);
    const file = objections.catch(() => fileOfItem(item, about));
    const value = text === undefined ? undefined : objections.catch(() => pluginIn(text, item, wanted));
    if (file === undefined || value === undefined) continue;
    byFile.set(file, [...(byFile.get(file) ?? []), { from: nameOfChain(item), owner: wanted.owner, value }]);
  }
  return byFile;
}

function withEdits(wanted: Wanted, lists: Lists, edits: readonly Edit[]): Wanted {
  const written = edits.filter(({ text }) => text !== undefined);
  const gone = edits.filter(({ text }) => text === undefined).map(({ name }) => name);
  const desired = [...lists.desired, ...written.map(({ name }) => name)];
  const current = [...(lists.current ?? []), ...gone];
  const isKnown = lists.current !== undefined || gone.length > 0;
  const texts = written.map(({ name, text = "" }) => [name, { text, from: "--chain", isFinal: true }] as const);
  return {
    ...wanted,
    lists: { ...wanted.lists, config: isKnown ? { desired, current } : { desired } },
    configTexts: {
      from: wanted.configTexts?.from ?? [],
      byName: new Map([...(wanted.configTexts?.byName ?? []), ...texts]),
    },
    chained: new Map(written.map(({ name, chained }) => [name, chained])),
  };
}

/** A list of which every plugin of ours goes has no text. */
interface Edit {
  name: string;
  text?: string;
  chained: Chained;
  warnings: Finding[];
}

/** Which entries go, of those that are not asked for. */
function goneBy(wanted: Wanted): (entry: ChainEntry) => boolean {
  const { owner, unchain = [], chain = [] } = wanted;
  const named = new Set([...unchain, ...chain].map(nameOfChain));
  const isAllGone = isPruned(wanted);
  // What is asked for is in one place: where it was before, it goes.
  return (entry) => entry.owner === owner && (isAllGone || named.has(entry.from));
}

/** Do the plugins go that nobody asks for? Only a run that is about configurations removes any. */
function isPruned({ prune, lists, chain, delegate }: Wanted): boolean {
  return prune && (lists.config !== undefined || chain !== undefined || delegate !== undefined);
}

/** A file of others that has plugins of ours cannot become ours as a whole: nobody could tell what to put back. */
function refuseTemplate({ name, chained }: HeldAsset, { lists }: Wanted, target: Directory | undefined): void {
  const { desired = [], current = [] } = lists.config ?? {};
  if (chained?.copyOf !== undefined || !desired.includes(name) || current.includes(name)) return;
  const items = (chained?.entries ?? []).map(({ from, owner }) => `${from} (--owner=${owner})`).join(", ");
  throw new Failure({
    code: "chain-held",
    subject: join(target?.path ?? "", name),
    problem: `has plugins that --chain put there: ${items}`,
    hint: "uninstall these first, and add the plugins to the template",
  });
}

/** Who prunes and names no configurations leaves those that are held, but for the copies that are made here. */
function listsBesideChain(wanted: Wanted, target: Directory): Lists {
  if (wanted.lists.config !== undefined) return wanted.lists.config;
  if (!wanted.prune) return { desired: [] };
  const held = heldConfigs(target.record, wanted.owner);
  return { desired: held, current: held };
}

/** The file of the network of an item. */
function fileOfItem({ network, template }: ChainItem, { wanted, lists, held, listing, target }: About): string {
  const copies = new Set(held.flatMap(({ name, chained }) => (chained?.copyOf === undefined ? [] : [name])));
  const file = network === PRIMARY_NETWORK ? primaryIn(listing, copies, target) : fileOf(network, listing, copies);
  if (file === undefined) {
    throw new Failure({
      code: "chain-network",
      subject: target.path,
      problem: `has no configuration of the network ${JSON.stringify(network)}, into which --chain is to put ${template}`,
      hint: "cni-node network list shows the networks; if it comes later, wait for it with --wait=60s",
      passing: "configs",
    });
  }
  const owners = assetsOf(target.record, "config").find(({ name }) => name === file)?.owners ?? [];
  if (lists.desired.includes(file) || owners.length > 0) {
    throw new Failure({
      code: "chain-own",
      subject: join(target.path, file),
      problem: "is installed by cni-node from a template, so --chain does not edit it",
      hint: `add the plugin of ${new Source(wanted.sources.config, wanted.configTexts).nameOf(template)} to that template`,
    });
  }
  const { type } = inspect(target.path, file);
  if (type === "file") return file;
  throw new Failure({
    code: "not-a-file",
    subject: join(target.path, file),
    problem: `is ${type === "link" ? "a link" : "not a file"}, which --chain does not edit`,
    hint: "let its installer write a file, or install a configuration of your own from a template",
  });
}

function primaryIn(listing: DirectoryListing, copies: ReadonlySet<string>, { path }: Directory): string {
  const found = findPrimary(listing, { except: new Set([...copies, ...DELEGATE_NAMES]) });
  if ("text" in found) return found.file;
  throw noPrimary(found, path, "--chain", undefined);
}

function fileOf(network: string, listing: DirectoryListing, copies: ReadonlySet<string>): string | undefined {
  return configFiles(listing).find((file) => {
    const loaded = copies.has(file) ? undefined : loadFile(file, listing);
    return loaded !== undefined && "network" in loaded && loaded.network.list.name === network;
  });
}

/** Keys that belong to the list. */
const OF_LIST = ["cniVersion", "cniVersions", "name", "plugins"];

function pluginIn(text: string, { template }: ChainItem, { sources, configTexts }: Wanted): Record<string, unknown> {
  const subject = new Source(sources.config, configTexts).nameOf(template);
  const invalid = (problem: string, hint?: string): Failure => {
    return new Failure({ code: "chain-invalid", subject, problem, ...(hint !== undefined && { hint }) });
  };
  const parsed = parseJson(text);
  if ("objection" in parsed) throw invalid(parsed.objection.message);
  const { value } = parsed;
  const example = 'one plugin as it stands in "plugins", such as {"type": "tuning", "sysctl": {}}';
  if (!isObject(value)) throw invalid("is not a JSON object", example);
  const ofList = OF_LIST.find((key) => Object.hasOwn(value, key));
  if (ofList !== undefined)
    throw invalid(`has the key ${ofList}, which belongs to a network, not to a plugin`, example);
  if (typeOf(value) === "") throw invalid("has no type", example);
  return value;
}

function edit(file: string, plugins: readonly ChainPlugin[], { held, listing, isGone, target }: About): Edit {
  const text = textIn(listing, file);
  if (isListName(file)) {
    const entries = held.find(({ name }) => name === file)?.chained?.entries ?? [];
    const edited = editChain(text, entries, plugins, (entry) => !isGone(entry));
    if (edited === undefined) throw notEditable(target.path, file);
    return made(file, edited, { before: text, target });
  }
  refuseOldVersion(file, listing, target);
  const name = `${file.replace(/\.[^.]*$/u, "")}${OF_COPY}`;
  const copy = held.find((asset) => asset.name === name)?.chained?.entries ?? [];
  const lost = copy.filter(
    (entry) => !isGone(entry) && !plugins.some(({ from, owner }) => from === entry.from && owner === entry.owner),
  );
  if (lost.length > 0) throw copyWithout(target, name, file, lost);
  const list = listOfSingle(text);
  const edited = list === undefined ? undefined : editChain(list, [], plugins, () => true);
  if (edited === undefined) throw notEditable(target.path, file);
  return made(name, edited, { before: text, target, copyOf: file });
}

/** The list that takes the place of a single plugin's configuration comes before it: `10-a-chained.conflist`. */
const OF_COPY = "-chained.conflist";

function made(
  name: string,
  { text, entries }: { text: string; entries: ChainEntry[] },
  { before, target, copyOf }: { before: string; target: Directory; copyOf?: string },
): Edit {
  const live = copyOf === undefined ? { live: inspect(target.path, name) } : { copyOf };
  return {
    name,
    text,
    chained: { entries, ...live },
    warnings: text === before ? [] : twice(name, text, entries, target),
  };
}

/** Two plugins of one type are seldom meant. */
function twice(name: string, text: string, entries: readonly ChainEntry[], { path }: Directory): Finding[] {
  const { plugins } = JSON.parse(text) as { plugins: unknown[] };
  const types = new Set(
    entries.filter(({ type }) => plugins.filter((one) => typeOf(one) === type).length > 1).map(({ type }) => type),
  );
  return Array.from(types, (type) => {
    const message = `has ${type} more than once in its chain: one of the network's own, and one of --chain`;
    return warning("chain-type-twice", join(path, name), message, "check that both are meant");
  });
}

/** A file that is held and not asked for in this run. Undefined: nothing of it changes. */
function withoutGone({ name, chained }: HeldAsset, { isGone, listing, target }: About): Edit | undefined {
  const { entries = [], copyOf } = chained ?? {};
  const left = entries.filter((entry) => !isGone(entry));
  if (listing.entries.get(name) === undefined && left.length > 0) return undefined;
  if (left.length === entries.length) return undefined;
  if (left.length === 0) return { name, chained: { entries }, warnings: [] };
  if (copyOf !== undefined) throw copyWithout(target, name, copyOf, left);
  const edited = editChain(textIn(listing, name), entries, [], (entry) => !isGone(entry));
  if (edited === undefined) throw notEditable(target.path, name);
  return {
    name,
    text: edited.text,
    chained: { entries: edited.entries, live: inspect(target.path, name) },
    warnings: [],
  };
}

function textIn({ entries }: DirectoryListing, file: string): string {
  const entry = entries.get(file);
  return entry?.type === "file" ? entry.text : "";
}

/** Chains came with CNI 0.3.0. */
function refuseOldVersion(file: string, listing: DirectoryListing, target: Directory): void {
  const loaded = loadFile(file, listing);
  const { cniVersion } = "network" in loaded ? loaded.network.list : { cniVersion: "" };
  if (cniVersion !== "" && compareVersions(cniVersion, "0.3.0") >= 0) return;
  throw new Failure({
    code: "chain-version",
    subject: join(target.path, file),
    problem: `has the CNI version ${cniVersion || "0.1.0"}, which has no chains`,
    hint: "give it 0.3.1 or newer, if its plugin supports that",
  });
}

/** Somebody may be writing it. */
export function notEditable(directory: string, file: string): Failure {
  return new Failure({
    code: "chain-network",
    subject: join(directory, file),
    problem: "is not a configuration list that --chain can edit",
    hint: "if it is being written, wait with --wait=60s",
    passing: "configs",
  });
}

/** A copy is made of templates: those that are not asked for in this run are not known. */
function copyWithout({ path }: Directory, name: string, copyOf: string, left: readonly ChainEntry[]): Failure {
  const items = left.map(({ from }) => from).join(",");
  const owners = [...new Set(left.map(({ owner }) => owner))].join(", ");
  return new Failure({
    code: "chain-own",
    subject: join(path, name),
    problem: `is made of ${copyOf} and ${items} of the owner ${owners}, and cannot be made without these`,
    hint: `name all of them in one run: --chain=${items},…`,
  });
}

/** What was to go and is not there. */
function absentIn({ unchain = [], owner }: Wanted, held: readonly HeldAsset[]): Finding[] {
  const entries = held.flatMap(({ chained }) => chained?.entries ?? []).filter((entry) => entry.owner === owner);
  return unchain
    .map(nameOfChain)
    .filter((name) => !entries.some(({ from }) => from === name))
    .map((name) => warning("chain-absent", name, `is not chained into any network for the owner ${owner}`));
}
