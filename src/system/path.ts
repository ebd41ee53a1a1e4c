/** Where programs are, whatever PATH this process has: plugins look for iptables and the like. */
export const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
