/** The `docker` commands of README.md, docs/install.md and docs/troubleshooting.md. */
import { readFileSync } from "node:fs";

const DOCUMENTS = ["README.md", "docs/install.md", "docs/troubleshooting.md"]
  .map((name) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8"))
  .join("");

/** The blocks with these commands. */
const BLOCKS = Array.from(DOCUMENTS.matchAll(/```sh\n([^]*?)```/gu), ([, block = ""]) => block);

/** The block that has these words. */
export function blockWith(words: string): string {
  return BLOCKS.find((block) => block.includes(words)) ?? "";
}

/** Each command once, as it stands there, in order. */
export const EXAMPLES: readonly string[] = [
  ...new Set(
    BLOCKS.flatMap((block) => block.replaceAll("\\\n", "").split("\n"))
      .filter((line) => line.startsWith("docker "))
      .map((line) => line.replaceAll(/ +/gu, " ")),
  ),
];
