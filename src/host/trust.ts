/** Who may write to the target directories of a node (docs/security.md). */
import * as fs from "node:fs";

import type { Finding } from "../finding.ts";
import { isWritableByOthers, shownMode } from "../system/owner.ts";

/**
 * Who else than root may put files into a directory from which root runs programs: they can become root. Told by a run
 * that writes there and by `status`.
 *
 * @param here where it is seen from here. @param path as the message names it.
 */
export function directoryFindings(here: string, path: string): Finding[] {
  const stat = fs.statSync(here, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  const found: Finding[] = [];
  const why = "and the container runtime runs as root what lies there";
  if (isWritableByOthers(stat)) {
    const who = (stat.mode & 0o002) !== 0 ? "everybody" : `group ${stat.gid}`;
    const message = `has mode ${shownMode(stat)}: ${who} may write there, ${why}`;
    found.push({ code: "writable-by-others", severity: "warning", path, message, hint: "chmod go-w" });
  }
  if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) {
    const message = `belongs to user ${stat.uid}, who may write there, ${why}`;
    found.push({ code: "directory-owner", severity: "warning", path, message, hint: "chown root:root" });
  }
  return found;
}
