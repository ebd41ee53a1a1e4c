/** Addresses as results have them, in the one form that Go's net package writes: `2001:db8::1/64`. */

/** An address, or a network with the bits of its host. */
export interface Address {
  /** In its canonical form. */
  text: string;
  version: "4" | "6";
}

/** Reads an IP address; undefined when it is none. */
export function parseIp(text: string): Address | undefined {
  if (IPV4.test(text)) return { text, version: "4" };
  if (!/^[\d:.a-f]+$/iu.test(text) || !URL.canParse(`http://[${text}]`)) return undefined;
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([\da-f]+):([\da-f]+)$/u.exec(canonical);
  if (mapped === null) return { text: canonical, version: "6" };
  const octets = mapped
    .slice(1)
    .flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return { text: octets.join("."), version: "4" };
}

/** Reads an address with the length of its prefix; undefined when it is none. */
export function parseCidr(text: string): Address | undefined {
  const [, host = "", digits = ""] = /^([^/]*)\/(\d+)$/u.exec(text) ?? [];
  const address = parseIp(host);
  if (address === undefined) return undefined;
  const bits = host.includes(":") ? 128 : 32;
  const length = Number(digits);
  if (length > bits) return undefined;
  // An IPv4 address in IPv6 form is one of IPv4, and so is its prefix.
  const written = address.version === "4" ? Math.max(0, length - (bits - 32)) : length;
  return { text: `${address.text}/${written}`, version: address.version };
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/u;
