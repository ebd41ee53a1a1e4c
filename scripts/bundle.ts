/**
 * Bundles src/launch.ts to dist/cni-node.js, split so that a command loads only what it needs, and the library
 * src/cni/index.ts to dist/cni.js, with the licences of what is in them. Tests give another program and another
 * directory. Where there is no repository (an image build),
 * CNI_NODE_VERSION and GIT_SHA say what is bundled.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version, engines } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
  engines: { node: string };
};
const [program, directory = "dist"] = process.argv.slice(2);
const entryPoints =
  program === undefined
    ? { "cni-node": "src/launch.ts", cni: "src/cni/index.ts" }
    : { [basename(program, ".ts")]: program };
const outdir = resolve(root, directory);

rmSync(outdir, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints,
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
  metafile: true,
  define: {
    CNI_NODE_VERSION: JSON.stringify(process.env["CNI_NODE_VERSION"] || version),
    CNI_NODE_REVISION: JSON.stringify(revision()),
    CNI_NODE_ENGINE: JSON.stringify(engines.node.replace(/^>=/u, "")),
  },
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as cniNodeRequire } from "node:module"; const require = cniNodeRequire(import.meta.url);',
  },
  logLevel: "warning",
});
if (program === undefined) chmodSync(join(outdir, "cni-node.js"), 0o755);
const inputs = Object.keys(metafile.inputs).map((path) => /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//u.exec(path));
for (const [from = "", module = ""] of inputs.filter((found) => found !== null)) copyLicence(from, module);

/** @throws when it has none: nobody may hand on what has no licence. */
function copyLicence(from: string, module: string): void {
  const files = readdirSync(join(root, from)).filter((file) => /^(?:(?:un)?licen[cs]e|notice|copying)/iu.test(file));
  if (files.length === 0) throw new Error(`${from} has no licence`);
  const target = join(outdir, "licences", module);
  mkdirSync(target, { recursive: true });
  for (const file of files) copyFileSync(join(root, from, file), join(target, file));
}

/** The commit. */
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
