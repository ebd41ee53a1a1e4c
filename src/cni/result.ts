/**
 * Results of ADD in all versions of the CNI specification (section 5 in each), and the way from one to the other.
 *
 * There are three forms: that of 0.1.0 and 0.2.0, that of 0.3.0 to 0.4.0, and that of 1.0.0 and 1.1.0. What a form
 * does not have is dropped, as libcni does: plugins have always been given their predecessor's result so.
 */
import { describeJsonError } from "../system/json.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import { parseCidr, parseIp, type Address } from "./ip.ts";
import { isObject } from "./json.ts";
import { NEWEST_VERSION } from "./version.ts";

/** A result of 0.3.0 or newer. */
export interface Result {
  cniVersion: string;
  interfaces?: Interface[];
  ips?: IPConfig[];
  routes?: Route[];
  dns?: DNS;
}

/** A result of 0.1.0 or 0.2.0: one address of each kind. */
export interface LegacyResult {
  cniVersion: string;
  ip4?: LegacyIPConfig;
  ip6?: LegacyIPConfig;
  dns?: DNS;
}

/** An interface that plugins have made. */
export interface Interface {
  name: string;
  mac?: string;
  /** From 1.0.0 on. */
  mtu?: number;
  /** The path of its network namespace; absent when it is on the host. */
  sandbox?: string;
  /** From 1.0.0 on. */
  socketPath?: string;
  /** From 1.0.0 on. */
  pciID?: string;
}

/** An address of an interface. */
export interface IPConfig {
  /** "4" or "6"; before 1.0.0 only. */
  version?: string;
  /** The index of its interface in `interfaces`. */
  interface?: number;
  /** With the length of its prefix: `10.1.0.5/16`. */
  address: string;
  gateway?: string;
}

/** The address of one kind, with its routes. */
export interface LegacyIPConfig {
  /** With the length of its prefix. */
  ip: string;
  gateway?: string;
  routes?: Route[];
}

/** A route in the container. Without `gw` it goes by the gateway of the address. */
export interface Route {
  /** With the length of its prefix. */
  dst: string;
  gw?: string;
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

/** What resolv.conf(5) has. */
export interface DNS {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

/** A result of any version; `cniVersion` says of which. */
export type AnyResult = Result | LegacyResult;

/** The form of a version's results. */
type Form = "0.1" | "0.3" | "1.0";

const FORMS = new Map<string, Form>([
  ["0.1.0", "0.1"],
  ["0.2.0", "0.1"],
  ["0.3.0", "0.3"],
  ["0.3.1", "0.3"],
  ["0.4.0", "0.3"],
  ["1.0.0", "1.0"],
  ["1.1.0", "1.0"],
]);

/**
 * Reads the result that a plugin has printed, in the result's own version.
 *
 * @param cniVersion that of the request; a result that does not say its version is of this one.
 * @throws CniError when it is not a result.
 */
export function readResult(stdout: string, cniVersion: string): AnyResult {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    throw notDecoded(`it ${describeJsonError(stdout)}`);
  }
  const given = value ?? {};
  if (!isObject(given)) throw notDecoded("it is not a JSON object");
  const { cniVersion: own } = given as { cniVersion?: unknown };
  return parseResult({ ...given, cniVersion: typeof own === "string" && own !== "" ? own : cniVersion });
}

/**
 * Takes a value for a result: checks it, and puts it in its normal form. A result that does not say its version is of
 * 0.1.0.
 *
 * @throws CniError when it is not a result.
 */
export function parseResult(value: unknown): AnyResult {
  const result = new Fields(value, "");
  const cniVersion = result.string("cniVersion") || "0.1.0";
  const form = formOf(cniVersion);
  const dns = parseDns(result.object("dns"));
  if (form === "0.1") {
    const [ip4, ip6] = [result.object("ip4"), result.object("ip6")].map((ip) => ip && parseLegacyIp(ip));
    return compact({ cniVersion, ip4, ip6, dns });
  }
  return compact({
    cniVersion,
    interfaces: result.list("interfaces").map((one) => parseInterface(one, form)),
    ips: result.list("ips").map((one) => parseIpConfig(one, form)),
    routes: result.list("routes").map(parseRoute),
    // Before 1.0.0, libcni writes it also when it is empty.
    dns: form === "1.0" && Object.keys(dns).length === 0 ? undefined : dns,
  });
}

/**
 * Converts a result to another version.
 *
 * @throws CniError when there is no such version; when an older form needs an address, and there is none.
 */
export function convertResult(result: AnyResult, cniVersion: string): AnyResult {
  const version = cniVersion || "0.1.0";
  const [from, to] = [formOf(result.cniVersion), formOf(version)];
  if (result.cniVersion === version) return result;
  if (from === to) return { ...result, cniVersion: version };
  const current = from === "0.1" ? fromLegacy(result) : (result as Result);
  return to === "0.1" ? toLegacy(current, version) : toForm(current, version, to);
}

/** A result of any version in the newest form. */
export function upgradeResult(result: AnyResult): Result {
  return convertResult(result, NEWEST_VERSION);
}

/** To the form of 0.3.0; it has what that of 1.0.0 has, too. */
function fromLegacy({ cniVersion, ip4, ip6, dns = {} }: LegacyResult): Result {
  const given = [
    ["4", ip4],
    ["6", ip6],
  ] as const;
  return {
    cniVersion,
    ips: given.flatMap(([version, ip]) => (ip ? [compact({ version, address: ip.ip, gateway: ip.gateway })] : [])),
    routes: given.flatMap(([, ip]) => ip?.routes ?? []),
    dns,
  };
}

/** Between the forms of 0.3.0 and 1.0.0: reading it again drops what the other does not have. */
function toForm({ interfaces = [], ips = [], routes = [], dns = {} }: Result, cniVersion: string, form: Form): Result {
  const converted = form === "0.3" ? ips.map((ip) => ({ ...ip, version: versionOf(ip) })) : ips;
  return parseResult({ cniVersion, interfaces, ips: converted, routes, dns });
}

function toLegacy({ ips = [], routes = [], dns = {} }: Result, cniVersion: string): LegacyResult {
  const [ip4, ip6] = (["4", "6"] as const).map((version) => {
    const first = ips.find((ip) => versionOf(ip) === version);
    const ofFamily = routes
      .filter(({ dst }) => parseCidr(dst)?.version === version)
      .map(({ dst, gw }) => compact({ dst, gw }));
    return first && compact({ ip: first.address, gateway: first.gateway, routes: ofFamily });
  });
  if (ip4 === undefined && ip6 === undefined) {
    const msg = `a result without addresses cannot be one of version ${cniVersion}`;
    throw new CniError({ code: ERROR_CODES.decodingFailure, msg });
  }
  return compact({ cniVersion, ip4, ip6, dns });
}

function versionOf({ version, address }: IPConfig): string | undefined {
  return version ?? parseCidr(address)?.version;
}

function formOf(cniVersion: string): Form {
  const form = FORMS.get(cniVersion);
  if (form !== undefined) return form;
  const msg = `results of version ${JSON.stringify(cniVersion)} are not known`;
  throw new CniError({ code: ERROR_CODES.incompatibleVersion, msg });
}

function parseInterface(one: Fields, form: Form): Interface {
  return compact({
    name: one.string("name"),
    mac: one.text("mac"),
    sandbox: one.text("sandbox"),
    ...(form === "1.0" ? { mtu: one.size("mtu"), socketPath: one.text("socketPath"), pciID: one.text("pciID") } : {}),
  });
}

function parseIpConfig(one: Fields, form: Form): IPConfig {
  return compact({
    ...(form === "0.3" ? { version: one.string("version") } : {}),
    interface: one.integer("interface"),
    address: one.cidr("address"),
    gateway: one.ip("gateway"),
  });
}

function parseLegacyIp(one: Fields): LegacyIPConfig {
  return compact({ ip: one.cidr("ip"), gateway: one.ip("gateway"), routes: one.list("routes").map(parseRoute) });
}

function parseRoute(one: Fields): Route {
  return compact({
    dst: one.cidr("dst"),
    gw: one.ip("gw"),
    mtu: one.size("mtu"),
    advmss: one.size("advmss"),
    priority: one.size("priority"),
    table: one.integer("table"),
    scope: one.integer("scope"),
  });
}

function parseDns(dns: Fields | undefined): DNS {
  return compact({
    nameservers: dns?.strings("nameservers"),
    domain: dns?.text("domain"),
    search: dns?.strings("search"),
    options: dns?.strings("options"),
  });
}

/** A value without the keys that are undefined or an empty list. */
type Compact<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
} & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> };

function compact<T extends object>(value: T): Compact<T> {
  const kept = Object.entries(value).filter(
    ([, one]) => one !== undefined && !(Array.isArray(one) && one.length === 0),
  );
  return Object.fromEntries(kept) as Compact<T>;
}

/** An object of a result, read with Go's rules: null counts as absent. */
class Fields {
  readonly #value: Record<string, unknown>;
  readonly #where: string;

  /** @param where its path in the result, for messages. */
  constructor(value: unknown, where: string) {
    if (!isObject(value)) throw notDecoded(`${where || "it"} is not a JSON object`);
    this.#value = value;
    this.#where = where;
  }

  /** Empty when it is absent. */
  string(key: string): string {
    const value = this.#value[key] ?? "";
    if (typeof value !== "string") throw notDecoded(`${this.#pathOf(key)} is not a string`);
    return value;
  }

  /** Undefined when it is absent or empty. */
  text(key: string): string | undefined {
    return this.string(key) || undefined;
  }

  /** Undefined when it is absent; 0 is a value. */
  integer(key: string): number | undefined {
    const value = this.#value[key] ?? undefined;
    if (value !== undefined && !Number.isSafeInteger(value)) throw notDecoded(`${this.#pathOf(key)} is not an integer`);
    return value as number | undefined;
  }

  /** Undefined when it is absent or 0. */
  size(key: string): number | undefined {
    const value = this.integer(key);
    return value === 0 ? undefined : value;
  }

  cidr(key: string): string {
    return this.#address(key, parseCidr, "no address with a prefix length");
  }

  ip(key: string): string | undefined {
    return this.string(key) === "" ? undefined : this.#address(key, parseIp, "no IP address");
  }

  object(key: string): Fields | undefined {
    const value = this.#value[key] ?? undefined;
    return value === undefined ? undefined : new Fields(value, this.#pathOf(key));
  }

  /** Empty when it is absent. */
  list(key: string): Fields[] {
    return this.#list(key).map((one, index) => new Fields(one, `${this.#pathOf(key)}[${index}]`));
  }

  /** Empty when it is absent. */
  strings(key: string): string[] {
    const list = this.#list(key);
    const wrong = list.findIndex((one) => typeof one !== "string");
    if (wrong !== -1) throw notDecoded(`${this.#pathOf(key)}[${wrong}] is not a string`);
    return list as string[];
  }

  #list(key: string): unknown[] {
    const value = this.#value[key] ?? [];
    if (!Array.isArray(value)) throw notDecoded(`${this.#pathOf(key)} is not a list`);
    return value as unknown[];
  }

  #address(key: string, parse: (text: string) => Address | undefined, problem: string): string {
    const text = this.string(key);
    const address = parse(text);
    if (address === undefined) throw notDecoded(`${this.#pathOf(key)} is ${JSON.stringify(text)}, ${problem}`);
    return address.text;
  }

  #pathOf(key: string): string {
    return this.#where === "" ? key : `${this.#where}.${key}`;
  }
}

function notDecoded(why: string): CniError {
  return new CniError({ code: ERROR_CODES.decodingFailure, msg: `the result cannot be read: ${why}` });
}
