/** The names of section 3 of the CNI specification, and the kernel's of interfaces. Pure. */

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;
/** What `isName` asks for, for messages. */
export const NAME_RULE = "letters, digits, _ . - only, and a letter or digit first";

const MAX_IF_NAME = 15;
/** What `isIfName` asks for, for messages. */
export const IF_NAME_RULE = `1 to ${MAX_IF_NAME} bytes, not . or .., no / : or blanks`;

/** So long a file name may be; that of an attachment is made of all its names. */
const MAX_FILE_NAME = 255;

/** May a network or a container be called so? */
export function isName(text: string): boolean {
  return NAME.test(text);
}

/** May an interface be called so? */
export function isIfName(text: string): boolean {
  const isSized = text !== "" && Buffer.byteLength(text) <= MAX_IF_NAME;
  return isSized && text !== "." && text !== ".." && !/[/:\s\u0085\0]/u.test(text);
}

/** The name of the file of an attachment in libcni's cache. */
export function fileNameOf(key: { networkName: string; containerId: string; ifName: string }): string {
  return `${key.networkName}-${key.containerId}-${key.ifName}`;
}

/** How long it may be for the file system, for messages; undefined: it is no longer. */
export function excessOf(fileName: string): string | undefined {
  const length = Buffer.byteLength(fileName);
  return length > MAX_FILE_NAME ? `${length} bytes, more than ${MAX_FILE_NAME}` : undefined;
}
