/** Where programs are, whatever PATH this process has: plugins look for iptables and the like. */
export const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Where programs are looked for: the directories of a PATH, then the system's. None is relative. */
export function searchPath(path = ""): string[] {
  return [...new Set([...path.split(":"), ...SYSTEM_PATH])].filter((directory) => directory.startsWith("/"));
}
