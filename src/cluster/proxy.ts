/** By which proxy a server is reached: the rules of Go's net/http, and so of kubectl. */
import { BlockList, isIP, isIPv6 } from "node:net";

type Env = Readonly<Record<string, string | undefined>>;

/** The proxy that the environment names for that server; undefined: it is reached without. */
export function proxyFromEnvironment(server: URL, env: Env): URL | undefined {
  const name = server.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const proxy = parseProxy(first(env, name));
  return proxy === undefined || isExempt(server, first(env, "NO_PROXY")) ? undefined : proxy;
}

/** The address of a proxy; `http` if it names no scheme. Undefined: it is not an address of a proxy that we can use. */
export function parseProxy(text: string): URL | undefined {
  if (text === "") return undefined;
  const url = text.includes("://") ? URL.parse(text) : URL.parse(`http://${text}`);
  const isKnown = url !== null && /^(?:https?|socks5h?):$/u.test(url.protocol) && url.hostname !== "";
  return isKnown ? url : undefined;
}

/** A host without the brackets of IPv6. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/u, "$1");
}

/** The port, also where it is the usual one. */
export function portOf({ protocol, port }: URL): number {
  if (port !== "") return Number(port);
  return { "https:": 443, "http:": 80 }[protocol] ?? 1080;
}

function first(env: Env, name: string): string {
  return env[name] || env[name.toLowerCase()] || "";
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8);
LOOPBACK.addAddress("::1", "ipv6");

/** Does NO_PROXY, or that it is this machine, exempt the server? */
function isExempt(server: URL, noProxy: string): boolean {
  const host = hostOf(server).toLowerCase();
  const port = String(portOf(server));
  if (host === "localhost" || isIn(LOOPBACK, host)) return true;
  return noProxy
    .split(",")
    .map((rule) => rule.trim().toLowerCase())
    .some((rule) => rule !== "" && matches(rule, host, port));
}

function matches(rule: string, host: string, port: string): boolean {
  if (rule === "*") return true;
  const subnet = subnetOf(rule);
  if (subnet !== undefined) return isIn(subnet, host);
  const [name, onlyPort] = splitPort(rule);
  if (onlyPort !== "" && onlyPort !== port) return false;
  if (isIP(name) !== 0) return isIP(host) !== 0 && isIn(subnetOf(`${name}/${isIPv6(name) ? 128 : 32}`), host);
  if (name === "" || isIP(host) !== 0) return false;
  const suffix = name.replace(/^\*(?=\.)/u, "");
  return suffix.startsWith(".") ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

/** `host:80`, `[::1]:80`; an address of IPv6 without brackets has no port. */
function splitPort(rule: string): [name: string, port: string] {
  if (isIPv6(rule)) return [rule, ""];
  const [, bracketed, plain, port = ""] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/u.exec(rule) ?? [];
  return [bracketed ?? plain ?? "", port];
}

function subnetOf(rule: string): BlockList | undefined {
  const [, address = "", length = ""] = /^([^/]+)\/(\d{1,3})$/u.exec(rule) ?? [];
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  if (length === "" || Number(length) > bits) return undefined;
  const list = new BlockList();
  list.addSubnet(address, Number(length), bits === 128 ? "ipv6" : "ipv4");
  return list;
}

function isIn(list: BlockList | undefined, host: string): boolean {
  const kind = isIP(host);
  return kind !== 0 && list?.check(host, kind === 6 ? "ipv6" : "ipv4") === true;
}
