/** The `docker` commands of README.md. */
import { readFileSync } from "node:fs";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** Each as it stands there, in order. */
export const EXAMPLES: readonly string[] = Array.from(README.matchAll(/```sh\n([^]*?)```/gu), ([, block = ""]) =>
  block.replaceAll("\\\n", "").split("\n"),
)
  .flat()
  .filter((line) => line.startsWith("docker "))
  .map((line) => line.replaceAll(/ +/gu, " "));
