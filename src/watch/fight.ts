/** What is said of a file that another agent changes again and again. */
import * as fs from "node:fs";
import { join } from "node:path";

import { warning, type Finding } from "../finding.ts";
import type { Fight } from "./driver.ts";

/** @param directory that of the configurations: an agent that renames them leaves its trace there. */
export function fightFinding({ asset, repairs }: Fight, directory: string): Finding {
  const name = asset.slice(asset.indexOf(" ") + 1);
  const byCilium = fs.existsSync(join(directory, `${name}.cilium_bak`));
  return warning(
    "asset-fought-over",
    asset,
    `was repaired ${repairs} times, and changed again each time${byCilium ? " by Cilium, which renames it to .cilium_bak" : ""}: it is repaired less often now`,
    byCilium
      ? "set cni.exclusive=false in Cilium's Helm values (cni-exclusive in its ConfigMap)"
      : "find out which process changes it, such as another installer or configuration management",
  );
}
