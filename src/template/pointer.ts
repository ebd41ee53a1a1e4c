import { positionOf, positionsIn, type TextPosition } from "../system/text-position.ts";
import type { Written } from "./values.ts";

/** A `__NAME__` in a template; the half-open range `[start, end)` of the text is what its content takes the place of. */
export interface Pointer extends TextPosition {
  name: string;
  start: number;
  end: number;
  /** It stands inside a JSON string, where no file can stand. */
  inString: boolean;
}

/** A template whose pointers have been replaced. */
export interface Rendered {
  /** Ends in exactly one newline. */
  text: string;
  template: string;
  /** Where the character at this offset of `text` comes from: the template, or the file that `pointer` names. */
  origin: (offset: number) => TextPosition & { pointer?: string };
}

/** One underscore may separate words, two end the name; a pointer touches no other word character. */
const POINTER = /(?<![A-Za-z0-9_])__([A-Za-z0-9][A-Za-z0-9.+@-]*(?:_[A-Za-z0-9.+@-]+)*)__(?![A-Za-z0-9_])/g;

/** What a pointer is, for messages. */
export const POINTER_RULE =
  "a pointer is __NAME__, where NAME is a file in the directory of configurations itself: letters, digits, . + @ - and single underscores, the first one a letter or digit";

/** Finds the word outside of strings that has two underscores: JSON knows none, so that it was meant as a pointer. */
export function findStray(text: string): { word: string; offset: number } | undefined {
  const outside = text.replaceAll(/"(?:\\.|[^"\\\n])*"?/gu, (string) => " ".repeat(string.length));
  const found = outside.indexOf("__");
  if (found === -1) return undefined;
  let [start, end] = [found, found];
  while (start > 0 && isInWord(outside, start - 1)) start--;
  while (end < outside.length && isInWord(outside, end)) end++;
  return { word: outside.slice(start, end), offset: start };
}

function isInWord(text: string, index: number): boolean {
  return !/[\s,:[\]{}]/u.test(text.charAt(index));
}

/** What the installers of others replace in their templates, in the form of our pointers. */
const PLACEHOLDERS: Record<string, string> = {
  "Calico's":
    "LOG_LEVEL LOG_FILE_PATH LOG_FILE_MAX_SIZE LOG_FILE_MAX_AGE LOG_FILE_MAX_COUNT DATASTORE_TYPE KUBERNETES_NODE_NAME KUBECONFIG_FILEPATH CNI_MTU KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT SERVICEACCOUNT_TOKEN CALICO_API_GROUP ETCD_CERT_FILE ETCD_CA_CERT_FILE ETCD_KEY_FILE ETCD_ENDPOINTS ETCD_DISCOVERY_SRV REQUIRE_MTU_FILE KUBERNETES_SERVICE_CIDRS KUBERNETES_ROUTE_POLICIES ROUTE_TYPE VNI MAC_PREFIX NODENAME_FILE KUBERNETES_DNS_SERVERS MODE IPAM_TYPE DSR_SUPPORT TOKEN KUBERNETES_SERVICE_PROTOCOL KUBERNETES_SERVICE_ENDPOINT TLS_CFG",
  "AWS VPC CNI's":
    "VETHPREFIX MTU PODSGENFORCINGMODE PLUGINLOGFILE PLUGINLOGLEVEL EGRESSPLUGINLOGFILE EGRESSPLUGINENABLED EGRESSPLUGINIPAMSUBNET EGRESSPLUGINIPAMDST EGRESSPLUGINIPAMDATADIR RANDOMIZESNAT NODEIP",
  "Linkerd's": "KUBECONFIG_FILEPATH",
};

/** Whose placeholder a name is: `Calico's or Linkerd's`; undefined: it may well be the name of a file. */
export function placeholderOf(name: string): string | undefined {
  const owners = Object.keys(PLACEHOLDERS).filter((owner) => PLACEHOLDERS[owner]?.split(" ").includes(name));
  if (owners.length > 0) return owners.join(" or ");
  return /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/u.test(name) ? "another" : undefined;
}

/** The name of the first pointer in a text. */
export function firstPointer(text: string): string | undefined {
  const [match] = text.matchAll(POINTER);
  return match?.[1];
}

/** Finds the pointers of a template, leftmost first. One that is alone on its line stands for the whole line. */
export function findPointers(template: string): Pointer[] {
  const positionAt = positionsIn(template);
  return Array.from(template.matchAll(POINTER), (match) => {
    const start = match.index;
    const end = start + match[0].length;
    const lineStart = template.lastIndexOf("\n", start - 1) + 1;
    const lineEnd = template.indexOf("\n", end) === -1 ? template.length : template.indexOf("\n", end);
    const before = template.slice(lineStart, start);
    const alone = before.trim() === "" && template.slice(end, lineEnd).trim() === "";
    return {
      name: match[1] as string,
      ...positionAt(start),
      start: alone ? lineStart : start,
      end: alone ? lineEnd : end,
      inString: endsInString(before),
    };
  });
}

/**
 * Replaces each pointer by the content of that name, verbatim but for its final newline, or by the value of that
 * variable. Neither is searched for pointers.
 */
export function substitute(template: string, contents: ReadonlyMap<string, string | Written>): Rendered {
  const pieces: { text: string; from: number; pointer?: string; isValue?: true }[] = [];
  let position = 0;
  for (const { name, start, end, inString } of findPointers(template)) {
    const content = contents.get(name);
    if (content === undefined) throw new RangeError(`no content for pointer ${name}`);
    pieces.push({ text: template.slice(position, start), from: position });
    if (typeof content === "string") pieces.push({ text: content.replace(/\r?\n$/u, ""), from: 0, pointer: name });
    else pieces.push({ text: inString ? content.inString : content.alone, from: start, isValue: true });
    position = end;
  }
  pieces.push({ text: template.slice(position), from: position });
  const text = `${pieces
    .map((piece) => piece.text)
    .join("")
    .replace(/[\r\n]+$/u, "")}\n`;

  function origin(offset: number): TextPosition & { pointer?: string } {
    let remaining = offset;
    for (const piece of pieces) {
      if (remaining < piece.text.length) {
        if (piece.isValue === true) return positionOf(template, piece.from);
        return piece.pointer === undefined
          ? positionOf(template, piece.from + remaining)
          : { ...positionOf(contents.get(piece.pointer) as string, remaining), pointer: piece.pointer };
      }
      remaining -= piece.text.length;
    }
    return positionOf(template, template.length);
  }
  return { text, template, origin };
}

/** JSON strings do not span lines: the part of the line before the pointer decides. */
function endsInString(line: string): boolean {
  return (line.replace(/\\./gsu, "").match(/"/gu)?.length ?? 0) % 2 === 1;
}
