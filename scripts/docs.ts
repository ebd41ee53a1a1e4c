/** Writes the generated part of the README, the options of the commands, from the program's own --help. */
import { readFileSync, writeFileSync } from "node:fs";

import { run } from "../src/cli.ts";

const README = new URL("../README.md", import.meta.url);

/** The README with its generated part as it should be. */
export async function documented(): Promise<string> {
  const readme = readFileSync(README, "utf8");
  const table = await optionTable();
  return readme.replace(/(<!-- generated: options -->\n)[^]*?(<!-- end -->)/u, (_, begin: string, end: string) => {
    return `${begin}${table}${end}`;
  });
}

async function optionTable(): Promise<string> {
  const commands = entriesOf(await helpOf(), "Commands:").map(([name, summary]) => [name.split(" ")[0] ?? "", summary]);
  const options = new Map<string, { text: string; commands: string[] }>();
  for (const [command = ""] of commands) {
    for (const [flags, text] of entriesOf(await helpOf(command), "Options:")) {
      const known = options.get(flags) ?? { text, commands: [] };
      options.set(flags, { text, commands: [...known.commands, command] });
    }
  }
  const rows = [...options].filter(([flags]) => !flags.startsWith("-h"));
  return [
    "| command | |",
    "| --- | --- |",
    ...commands.map(([command, summary]) => `| \`${command}\` | ${summary} |`),
    "",
    "| option | of | |",
    "| --- | --- | --- |",
    ...rows.map(
      ([flags, option]) => `| \`${flags.replaceAll("|", "\\|")}\` | ${option.commands.join(", ")} | ${option.text} |`,
    ),
    "",
  ].join("\n");
}

async function helpOf(...command: string[]): Promise<string> {
  let text = "";
  const { signal } = new AbortController();
  await run([...command, "--help"], { env: {}, stdout: (part) => (text += part), stderr: () => undefined, signal });
  return text;
}

/** The two columns of a section of the help; a text may go on in the following lines. */
function entriesOf(help: string, section: string): [string, string][] {
  const lines = help.slice(help.indexOf(section)).split("\n").slice(1);
  const end = lines.indexOf("");
  const entries: [string, string][] = [];
  for (const line of lines.slice(0, end === -1 ? lines.length : end)) {
    const [, flags, text] = /^ {2}(\S.*?) {2,}(\S.*)$/u.exec(line) ?? [];
    const last = entries.at(-1);
    if (flags !== undefined && text !== undefined) entries.push([flags, text]);
    else if (last !== undefined) last[1] += ` ${line.trim()}`;
  }
  return entries;
}

if (import.meta.main) writeFileSync(README, await documented());
