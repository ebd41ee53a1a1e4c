/** Links in a node's directories: followed as the node does, not as this container would. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { isConfigName } from "../cni/config.ts";
import { seenBelow } from "../cni/invoke.ts";
import { MAX_SIZE } from "../cni/load.ts";
import type { Finding } from "../finding.ts";
import { isBelow } from "../host/directory.ts";
import type { TargetDirectory } from "./places.ts";

/** What the links in a directory lead to. Followed from here, they would lead elsewhere in this container. */
export interface Links {
  /** The texts of the files that they lead to, by name. */
  texts: Map<string, string>;
  /** What those lead to that cannot be seen from here, by name. */
  hidden: Map<string, string>;
  /** Those that lead nowhere, and are no configurations: what is wrong with these is said otherwise. */
  dangling: Finding[];
}

/** Looks at the links in a directory. */
export function linksOf({ path, shown }: TargetDirectory, hostRoot: string): Links {
  const links: Links = { texts: new Map(), hidden: new Map(), dangling: [] };
  const entries = fs.existsSync(path) ? fs.readdirSync(path, { withFileTypes: true }) : [];
  // A name that is no text cannot be followed.
  for (const { name } of entries.filter((entry) => entry.isSymbolicLink() && !entry.name.includes("\uFFFD"))) {
    const target = isBelow(path, hostRoot) ? seenBelow(hostRoot, join(shown, name)) : seenBelow("/", join(path, name));
    const stat = target === undefined ? undefined : fs.statSync(target, { throwIfNoEntry: false });
    const leads = fs.readlinkSync(join(path, name));
    if (stat !== undefined) {
      if (stat.isFile() && stat.size <= MAX_SIZE && isConfigName(name))
        links.texts.set(name, fs.readFileSync(target ?? "", "utf8"));
    } else if (hostRoot !== "/" && target !== undefined && !fs.existsSync(dirname(target))) {
      links.hidden.set(name, leads);
    } else if (!isConfigName(name)) {
      const message = `is a link that leads nowhere (${leads})`;
      const hint = "remove it, or make what it leads to";
      links.dangling.push({ code: "link-dangling", severity: "warning", path: join(shown, name), message, hint });
    }
  }
  return links;
}

/** What would be an error if a link led nowhere may be none if its target is only not mounted. */
export function doubted(finding: Finding, { hidden }: Links, shown: string): Finding {
  const leads = hidden.get(basename(finding.path));
  if (leads !== undefined && finding.code === "config-invalid") {
    return {
      code: "link-unseen",
      severity: "warning",
      path: finding.path,
      message: `is a link to ${leads}, which is not mounted: what it configures cannot be seen, and runtimes may take other files than is said here`,
      hint: "mount the directory that it leads to",
    };
  }
  return hidden.size > 0 && finding.path === shown ? { ...finding, severity: "warning" } : finding;
}
