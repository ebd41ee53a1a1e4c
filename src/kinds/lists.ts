/** What the options of the kinds list. */
import type { Kind } from "../asset.ts";
import { isName } from "../cni/names.ts";
import { usage } from "../errors.ts";
import type { HeldAsset } from "../host/record.ts";
import { objectionToName, parseObjectName, type ObjectName } from "../system/name.ts";

/**
 * What an option asks for: the desired names and, when the caller says what is there (`desired:current`), the current
 * ones. Both in the given order, without duplicates.
 */
export interface Lists {
  desired: string[];
  current?: string[];
  /** Of credentials: whose they are, by name. */
  accounts?: Readonly<Record<string, ObjectName>>;
}

/**
 * Reads `desired[:current]`: names split on commas and any white space, empties and duplicates harmless.
 *
 * @throws Failure `usage` for two colons and for a name that is not a file name.
 */
export function parseLists(option: string, text: string): Lists {
  const [desired = "", current, ...more] = text.split(":");
  if (more.length > 0) {
    throw usage(option, "has two colons, one may separate desired from current", `write ${option}=DESIRED:CURRENT`);
  }
  return current === undefined
    ? { desired: parseNames(option, desired) }
    : { desired: parseNames(option, desired), current: parseNames(option, current) };
}

/** Reads a list of names, as `parseLists` without a colon. */
function parseNames(option: string, text: string): string[] {
  const names = text.split(/[,\s]+/u).filter((name) => name !== "");
  for (const name of names) checkName(option, name);
  return [...new Set(names)];
}

/** How a list that is not an option has the assets of a kind: by their names, or each with what else it needs. */
export interface ListForm {
  /** Reads a list without a colon. @throws Failure `usage`. */
  parse: (subject: string, text: string) => Lists;
  /** The list by which these were installed. */
  ofHeld: (assets: readonly Pick<HeldAsset, "name" | "account">[]) => Lists;
  /** Most clusters need none of the kind, so that nobody wonders where the list is. */
  isOptional: boolean;
}

const NAMES: ListForm = {
  parse: (subject, text) => ({ desired: parseNames(subject, text) }),
  ofHeld: (assets) => ({ desired: [...new Set(assets.map(({ name }) => name))] }),
  isOptional: false,
};

const ACCOUNTS: ListForm = {
  parse: parseAccounts,
  // The files of tokens belong to kubeconfigs.
  ofHeld: (assets) => accountsOf(assets.filter(({ name }) => !isTokenFile(name))),
  isOptional: true,
};

/** Of each kind. */
export const LIST_FORMS: Record<Kind, ListForm> = {
  manifest: NAMES,
  plugin: NAMES,
  credentials: ACCOUNTS,
  config: NAMES,
};

/** A plugin that is to be appended to a network: the template of the plugin, and the name of the network. */
export interface ChainItem {
  template: string;
  network: string;
}

/** Stands for the network that pods use. */
export const PRIMARY_NETWORK = "primary";

/** `tuning.json@primary` */
export function nameOfChain({ template, network }: ChainItem): string {
  return `${template}@${network}`;
}

/**
 * Reads `PLUGIN.json[@NETWORK|@primary],…`; without a network it is the primary.
 *
 * @throws Failure `usage`.
 */
export function parseChain(option: string, text: string): ChainItem[] {
  const items = text.split(/[,\s]+/u).filter((item) => item !== "");
  const read = items.map((item): ChainItem => {
    const [template = "", network = PRIMARY_NETWORK] = item.split(/@(.*)/su);
    checkName(option, template);
    if (isName(network)) return { template, network };
    const problem = `${JSON.stringify(item)} is not PLUGIN.json[@NETWORK]`;
    throw usage(option, problem, "for example tuning.json@cbr0, or tuning.json for the network that pods use");
  });
  return [...new Map(read.map((item) => [nameOfChain(item), item])).values()];
}

/** A token for `multus.kubeconfig` is in `multus.token`, if it has a file of its own. */
const TOKEN = ".token";

/** The file of the token that belongs to a kubeconfig. */
export function tokenFileOf(name: string): string {
  return `${stemOf(name)}${TOKEN}`;
}

/** Is this the name of such a file? */
export function isTokenFile(name: string): boolean {
  return name.endsWith(TOKEN);
}

function stemOf(name: string): string {
  return name.replace(/\.[^.]*$/u, "");
}

/**
 * Reads a list of credentials: as `parseLists`, each name with the service account whose token is to be in it,
 * `FILE[=[NAMESPACE/]NAME]`. Without one, the account is called like the file without its extension.
 *
 * @throws Failure `usage`.
 */
export function parseCredentials(option: string, text: string): Lists {
  // Whose those are that go does not matter.
  const [desired = ""] = text.split(":");
  return { ...parseLists(option, text.replaceAll(/=[^,\s:]*/gu, "")), ...parseAccounts(option, desired) };
}

/** Reads a list of credentials, as `parseCredentials` without a colon. */
function parseAccounts(option: string, text: string): Required<Omit<Lists, "current">> {
  const items = text.split(/[,\s]+/u).filter((item) => item !== "");
  const accounts = Object.fromEntries(items.map((item) => accountIn(option, item)));
  return { desired: parseNames(option, Object.keys(accounts).join(",")), accounts };
}

function accountIn(option: string, item: string): [file: string, account: ObjectName] {
  const [file = "", account = stemOf(file)] = item.split(/=(.*)/su);
  const name = parseObjectName(account);
  if (isTokenFile(file)) {
    throw usage(option, `${JSON.stringify(file)} is the name of a token`, "give the name of the kubeconfig");
  }
  if (name !== undefined) return [file, name];
  const problem = `${JSON.stringify(account)} is not [NAMESPACE/]NAME of a service account`;
  throw usage(option, problem, "each item is FILE=[NAMESPACE/]NAME, as in multus.kubeconfig=kube-system/multus");
}

/**
 * The same lists with the files of tokens.
 *
 * @param held the names of credentials that are held.
 * @param isOfToken kubeconfigs name files with their tokens; else such files go.
 * @throws Failure `usage` if two kubeconfigs would name one.
 */
export function withTokenFiles(lists: Lists, held: readonly string[], isOfToken: boolean): Lists {
  const { desired, current } = lists;
  const tokens = isOfToken ? desired.map(tokenFileOf) : [];
  if (new Set(tokens).size < tokens.length) {
    const problem = "two of these names differ in their extension only, so their tokens would be in one file";
    throw usage("--credentials", problem, "give them other names, or --credentials-form=inline");
  }
  const others = [...desired, ...(current ?? [])].map(tokenFileOf);
  const left = others.filter((name) => held.includes(name) && !tokens.includes(name));
  const named = (current ?? []).map(tokenFileOf).filter((name) => tokens.includes(name));
  const before = [...new Set([...left, ...named])];
  return {
    ...lists,
    desired: desired.flatMap((name) => (isOfToken ? [tokenFileOf(name), name] : [name])),
    ...(current === undefined && before.length === 0 ? {} : { current: [...before, ...(current ?? [])] }),
  };
}

/** The list of credentials whose accounts were written out. */
function accountsOf(assets: readonly Pick<HeldAsset, "name" | "account">[]): Lists {
  const accounts = assets.map(({ name: file, account = "" }) => {
    const [name = "", namespace] = account.split("/").toReversed();
    return [file, namespace === undefined ? { name } : { namespace, name }] as const;
  });
  return { desired: [...new Set(assets.map(({ name }) => name))], accounts: Object.fromEntries(accounts) };
}

/** The same account, written out. */
export function describeAccount({ namespace, name }: Required<ObjectName>): string {
  return `${namespace}/${name}`;
}

/** Asset names are one path component, so that no list can reach outside the target directories. */
function checkName(option: string, name: string): void {
  const objection = objectionToName(name);
  if (objection !== undefined) {
    throw usage(option, `${JSON.stringify(name)} is not an asset name: ${objection}`, "give file names, not paths");
  }
}
