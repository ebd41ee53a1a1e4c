/** All checks that are no tests, at once. Prints what each objects to and how to fix it; fails if one does. */
import { spawn, spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Debian's, which is not in node_modules; where it is missing, CI finds what it would say. */
const SHELLCHECK = {
  name: "shell script",
  command: ["shellcheck", "scripts/oci.sh"],
  fix: "correct the script",
};

const CHECKS = [
  ...(spawnSync("shellcheck", ["--version"]).status === 0 ? [SHELLCHECK] : []),
  { name: "types", command: ["tsc", "--project", "."], fix: "correct the types" },
  {
    name: "lint",
    command: ["oxlint", "--type-aware", "--deny-warnings", "src", "test", "scripts", "plugins", "bench"],
    fix: "correct the code; a rule is switched off for one line with a reason only",
  },
  {
    name: "format",
    command: ["oxfmt", "--check", "{src,test,scripts,plugins,bench}/**/*.{ts,mjs,json}", "*.json"],
    fix: "run make format",
  },
  {
    name: "dead code and dependencies",
    command: ["knip", "--no-progress"],
    fix: "remove what nothing uses, or name a new entry point in knip.json",
  },
];

const results = await Promise.all(CHECKS.map(async (check) => ({ ...check, ...(await execute(check.command)) })));
for (const { name, fix, code, output } of results) {
  console.log(`${code === 0 ? "ok  " : "FAIL"}  ${name}`);
  if (code !== 0) console.log(`${output.trimEnd()}\n  fix it: ${fix}`);
}
process.exitCode = results.every(({ code }) => code === 0) ? 0 : 1;

async function execute([program = "", ...words]: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    const path = program === "shellcheck" ? program : join(root, "node_modules/.bin", program);
    const child = spawn(path, words, { cwd: root });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => {
      resolve({ code: code ?? 1, output });
    });
  });
}
