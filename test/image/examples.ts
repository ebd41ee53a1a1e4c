/** The `docker` commands of README.md and docs/troubleshooting.md. */
import { readFileSync } from "node:fs";

const DOCUMENTS = ["README.md", "docs/troubleshooting.md"]
  .map((name) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8"))
  .join("");

/** Each as it stands there, in order. */
export const EXAMPLES: readonly string[] = Array.from(DOCUMENTS.matchAll(/```sh\n([^]*?)```/gu), ([, block = ""]) =>
  block.replaceAll("\\\n", "").split("\n"),
)
  .flat()
  .filter((line) => line.startsWith("docker "))
  .map((line) => line.replaceAll(/ +/gu, " "));
