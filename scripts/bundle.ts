/**
 * Bundles the program src/launch.ts to dist/cni-node.cjs and the library src/cni/index.ts to dist/cni.js, with the
 * licences of what is in them. Tests give another program and another directory. Where there is no repository (an image
 * build), CNI_NODE_VERSION and GIT_SHA say what is bundled.
 *
 * The program is CommonJS, which Node.js starts faster than modules, in few files (docs/architecture.md, "Start").
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build as bundle, transform, type BuildOptions, type Plugin } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version, engines } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  version: string;
  engines: { node: string };
};
const [program, directory = "dist"] = process.argv.slice(2);
const outdir = resolve(root, directory);

/** Loaded when they are first used, not when they are imported: they take milliseconds, and few runs use them. */
const LATE_PACKAGES = ["jsonc-parser", "yaml"];
const LATE_MODULES =
  "node:child_process node:crypto node:events node:http node:https node:net node:os node:sqlite node:stream node:timers/promises node:tls node:url node:util";
const LATE = new Set([...LATE_MODULES.split(" "), ...LATE_PACKAGES.map((one) => `./${one}.cjs`)]);

/** Each package is a file of its own. */
const latePackages: Plugin = {
  name: "late packages",
  setup(build) {
    build.onResolve({ filter: new RegExp(`^(?:${LATE_PACKAGES.join("|")})$`) }, ({ path }) => ({
      path: `./${path}.cjs`,
      external: true,
    }));
  },
};

/**
 * What every command loads is one file, and what most commands load is another: one more file takes as long as 15 kB
 * more in a file. esbuild puts into one file what the same entry points import, so each dynamic import imports these.
 */
const SHARED = [
  "src/cli.ts",
  ...globSync("src/{cni,host,node,system,template}/*.ts", {
    cwd: root,
    exclude: ["src/node/configured.ts"],
  }).toSorted(),
];

const sharedFiles: Plugin = {
  name: "shared files",
  setup(build) {
    build.onResolve({ filter: /^\.\.?\// }, ({ kind, importer, resolveDir, path }) => {
      const isShared = kind === "dynamic-import" && !/\/(?:launch|main)\.ts$/u.test(importer);
      return isShared ? { path: relative(root, join(resolveDir, path)), namespace: "later" } : undefined;
    });
    build.onLoad({ filter: /^/, namespace: "later" }, ({ path }) => ({
      contents: [`export * from "./${path}";`, ...SHARED.map((shared) => `import "./${shared}";`)].join("\n"),
      resolveDir: root,
    }));
  },
};

/** What hooks of containers run is one file of its own: they take few milliseconds beside the start of Node.js. */
const ALONE = "src/oci.ts";

/** @param file what it has become, beside `cni-node.cjs`. */
function alone(file: string): Plugin {
  return {
    name: "alone",
    setup(build) {
      build.onResolve({ filter: /^\.\/oci\.ts$/ }, ({ importer }) =>
        importer === join(root, "src/main.ts") ? { path: file, external: true } : undefined,
      );
    },
  };
}

/** Names are kept, for stack traces. That is faster than short names with `keepNames`. */
const common = {
  absWorkingDir: root,
  outdir,
  bundle: true,
  minifyWhitespace: true,
  minifySyntax: true,
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
  logLevel: "warning",
} as const satisfies BuildOptions;

rmSync(outdir, { recursive: true, force: true });
const hooks = await bundle({
  ...common,
  entryPoints: [ALONE],
  entryNames: "lib/[name]-[hash]",
  outExtension: { ".js": ".cjs" },
  plugins: [latePackages],
  write: false,
});
const hooksFile = hooks.outputFiles.find(({ path }) => path.endsWith(".cjs"))?.path ?? "";
const { outputFiles, metafile } = await bundle({
  ...common,
  entryPoints: { [program === undefined ? "cni-node" : basename(program, ".ts")]: program ?? "src/launch.ts" },
  outExtension: { ".js": ".cjs" },
  chunkNames: "lib/[name]-[hash]",
  splitting: true,
  plugins: [alone(`./${basename(hooksFile)}`), latePackages, sharedFiles],
  write: false,
});
for (const { path, text } of [...hooks.outputFiles, ...outputFiles]) await write(path, text);
const late = await bundle({
  ...common,
  entryPoints: LATE_PACKAGES.map((one) => ({ in: one, out: `lib/${one}` })),
  outExtension: { ".js": ".cjs" },
  format: "cjs",
});
if (program === undefined) {
  // People read the library, and its stack traces.
  const readable = { minifyWhitespace: false, minifySyntax: false };
  await bundle({ ...common, ...readable, entryPoints: { cni: "src/cni/index.ts" } });
  copyFileSync(join(root, "scripts/oci.sh"), join(outdir, "oci.sh"));
  chmodSync(join(outdir, "oci.sh"), 0o755);
}
const inputs = Object.keys({ ...hooks.metafile.inputs, ...metafile.inputs, ...late.metafile.inputs });
const packages = inputs.map((path) => /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//u.exec(path));
for (const [from = "", module = ""] of packages.filter((found) => found !== null)) copyLicence(from, module);

/** Writes a file of esbuild's, which splits only ECMAScript modules, as CommonJS. */
async function write(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  if (!path.endsWith(".cjs")) return writeFileSync(path, text);
  const { minifyWhitespace, minifySyntax, platform, target, logLevel } = common;
  const options = { minifyWhitespace, minifySyntax, platform, target, logLevel };
  const transformed = await transform(text, { ...options, format: "cjs", supported: { "dynamic-import": false } });
  // esbuild copies the properties of a module of Node.js for every file that imports it as a namespace.
  const direct = transformed.code.replaceAll(/=__toESM\((require\("node:[\w/]+"\))(?:,1)?\)/gu, "=$1");
  const code = direct.replaceAll(/(?<=import_\w+=)require\("([^"]+)"\)/gu, (load, name: string) =>
    LATE.has(name) ? `late(()=>${load})` : load,
  );
  const head = code === direct ? "" : "const late=load=>new Proxy({},{get:(_,name)=>load()[name]});";
  if (path !== join(outdir, "cni-node.cjs")) writeFileSync(path, head + code);
  else writeFileSync(path, `#!/usr/bin/env node\n${head}${code}`, { mode: 0o755 });
}

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
