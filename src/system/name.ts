/** Names of others that become a part of a path: of files, owners and objects. Pure. */

/**
 * Why a text must not be taken for a file name below a directory of ours: it is one path component, not hidden, and
 * nobody can hide characters in it. Undefined: it may.
 */
export function objectionToName(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (name.includes("/")) return "it contains a slash";
  if (name.startsWith(".")) return "it begins with a dot";
  // \ufffd stands for bytes that were no text.
  if (/[\p{Cc}\ufffd]/u.test(name)) return "it contains a control or undecodable character";
  if (Buffer.byteLength(name) > 255) return "it is longer than 255 bytes";
  return undefined;
}

/** An object of the cluster, of a kind that is known. */
export interface ObjectName {
  /** Undefined: that of the kubeconfig or the pod. */
  namespace?: string;
  name: string;
}

const LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const OBJECT_NAME = new RegExp(`^(?:(${LABEL})/)?(?=.{1,253}$)(${LABEL}(?:\\.${LABEL})*)$`, "u");

/** Reads `[NAMESPACE/]NAME`, as Kubernetes allows it of most objects. Undefined: no object is called so. */
export function parseObjectName(text: string): ObjectName | undefined {
  const [, namespace, name] = OBJECT_NAME.exec(text) ?? [];
  return name === undefined ? undefined : { ...(namespace !== undefined && { namespace }), name };
}

/** Who holds assets: `--owner`. */
export const OWNER = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/u;
