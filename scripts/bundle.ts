/**
 * Bundles src/main.ts to dist/cni-node.js, split so that a command loads only what it needs. Tests give another program
 * and another directory.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
const [source = "src/main.ts", directory = "dist"] = process.argv.slice(2);
const name = source === "src/main.ts" ? "cni-node" : basename(source, ".ts");
const outdir = resolve(root, directory);

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: { [name]: source },
  outdir,
  chunkNames: "lib/[name]-[hash]",
  bundle: true,
  splitting: true,
  minify: true,
  keepNames: true,
  platform: "node",
  target: "node24",
  format: "esm",
  mainFields: ["module", "main"],
  legalComments: "linked",
  define: { CNI_NODE_VERSION: JSON.stringify(version), CNI_NODE_REVISION: JSON.stringify(revision()) },
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as cniNodeRequire } from "node:module"; const require = cniNodeRequire(import.meta.url);',
  },
  logLevel: "warning",
});
chmodSync(join(outdir, `${name}.js`), 0o755);

/** The commit, from the builder's environment where there is no repository (an image build). */
function revision(): string {
  if (process.env["GIT_SHA"]) return process.env["GIT_SHA"];
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "unknown";
  }
}
