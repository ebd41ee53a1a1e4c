/**
 * Writes the generated parts of documents: in the README and docs/network.md the options of the commands, from the
 * program's own --help, and the variables of templates; in docs/how-cni-config-is-chosen.md what becomes of each example directory; in
 * docs/troubleshooting.md the codes of findings; docs/images/map.svg.
 */
import { readFileSync, writeFileSync } from "node:fs";

import { run } from "../src/cli.ts";
import { FINDING_CODES } from "../src/codes.ts";
import { isConfigName } from "../src/cni/config.ts";
import type { DirectoryListing, Entry } from "../src/cni/listing.ts";
import { mapSvg } from "../src/network/map-svg.ts";
import { VARIABLES } from "../src/template/values.ts";
import { selectForContainerd, selectForCrio, type Selection } from "../src/cni/selection.ts";
import { exampleMap } from "../test/helpers/map.ts";

const README = new URL("../README.md", import.meta.url);
const NETWORK = new URL("../docs/network.md", import.meta.url);
const TROUBLESHOOTING = new URL("../docs/troubleshooting.md", import.meta.url);
const MAP = new URL("../docs/images/map.svg", import.meta.url);
const CHOICE = new URL("../docs/how-cni-config-is-chosen.md", import.meta.url);

/** The README with its generated parts as they should be. */
export async function documented(): Promise<string> {
  const readme = readFileSync(README, "utf8");
  const table = await optionTable();
  return readme
    .replace(/(<!-- generated: options -->\n)[^]*?(<!-- end -->)/u, (_, begin: string, end: string) => {
      return `${begin}${table}${end}`;
    })
    .replace(/(<!-- generated: variables -->\n)[^]*?(<!-- end -->)/u, (_, begin: string, end: string) => {
      return `${begin}${variableTable()}${end}`;
    });
}

/** The variables of templates, as the README lists them. */
function variableTable(): string {
  const rows = Object.entries(VARIABLES).map(([name, meaning]) => `| \`__${name}__\` | ${meaning} |`);
  return ["| variable | |", "| --- | --- |", ...rows, ""].join("\n");
}

/** docs/network.md with its generated part as it should be. */
export async function documentedNetwork(): Promise<string> {
  const document = readFileSync(NETWORK, "utf8");
  const table = await optionTable("network");
  const options = table.slice(table.indexOf("| option"));
  return document.replace(
    /(<!-- generated: network options -->\n)[^]*?(<!-- end -->)/u,
    (_, begin: string, end: string) => {
      return `${begin}${options}${end}`;
    },
  );
}

/** docs/images/map.svg as it should be. */
export function documentedMap(): string {
  return mapSvg(exampleMap());
}

/** docs/troubleshooting.md with the table of codes as it should be. */
export function documentedCodes(): string {
  const rows = Object.entries(FINDING_CODES).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  const table = ["| code | what it means |", "| --- | --- |", ...rows].join("\n");
  return readFileSync(TROUBLESHOOTING, "utf8").replace(
    /(<!-- generated: codes -->\n)[^]*?(<!-- end -->)/u,
    (_, begin: string, end: string) => `${begin}${table}\n${end}`,
  );
}

/** @param group what commands of two words begin with; of the others, if it is not given. */
async function optionTable(...group: string[]): Promise<string> {
  const commands = entriesOf(await helpOf(...group), "Commands:").map(([name, summary]) => [
    /^[a-z]+(?: [a-z]+)*/u.exec(name)?.[0] ?? "",
    summary,
  ]);
  const options = new Map<string, { flags: string; text: string; commands: string[] }>();
  for (const [command = ""] of commands) {
    for (const [flags, text] of entriesOf(await helpOf(...group, ...command.split(" ")), "Options:")) {
      // An option may mean something else to another command.
      const { commands: others } = options.get(`${flags} ${text}`) ?? { commands: [] };
      options.set(`${flags} ${text}`, { flags, text, commands: [...others, command] });
    }
  }
  const rows = [...options.values()].filter(({ flags }) => !flags.startsWith("-h"));
  return [
    "| command | |",
    "| --- | --- |",
    ...commands.map(([command, summary]) => `| \`${command}\` | ${summary} |`),
    "",
    "| option | of | |",
    "| --- | --- | --- |",
    ...rows.map(
      ({ flags, text, commands: of }) => `| \`${flags.replaceAll("|", "\\|")}\` | ${of.join(", ")} | ${text} |`,
    ),
    "",
  ].join("\n");
}

async function helpOf(...command: string[]): Promise<string> {
  let text = "";
  await run([...command, "--help"], {
    env: {},
    stdin: async () => Promise.resolve(""),
    stdout: (part) => (text += part),
    stderr: () => undefined,
    signal: new AbortController().signal,
  });
  return text;
}

/** The two columns of a section of the help. */
function entriesOf(help: string, section: string): [string, string][] {
  const [, lines = ""] = new RegExp(`\n${section}\n((?:  .*\n)*)`, "u").exec(help) ?? [];
  return Array.from(lines.matchAll(/^ {2}(\S.*?) {2,}(\S.*)$/gmu), ([, flags = "", text = ""]) => [flags, text]);
}

/** The document with the tables as they should be, one behind each directory. */
export function documentedChoice(): string {
  const document = readFileSync(CHOICE, "utf8");
  return document.replace(
    /(```net\.d(?: missing=(\S+))?\n([^]*?)```\n\n)(?:\|.*\n)*\n?/gu,
    (_, block: string, missing: string | undefined, directory: string) =>
      `${block}${choiceTable(directory, missing)}\n`,
  );
}

/** @param missing the plugin that is not installed; all others are, and support every version. */
function choiceTable(directory: string, missing: string | undefined): string {
  const listing = listingOf(directory);
  const versions = ["0.3.1", "0.4.0", "1.0.0"];
  const selections = [
    selectForContainerd(listing),
    selectForCrio(listing, (type) => (type === missing ? undefined : { versions })),
  ];
  const rows = selections[0]?.files.map(({ file }, index) => [
    `\`${file}\``,
    ...selections.map(({ files }) => `${files[index]?.verdict}: ${files[index]?.reason.message}`),
  ]);
  const lines = [
    ["file", "containerd", "CRI-O"],
    ["---", "---", "---"],
    ...(rows ?? []),
    ["**pods get**", ...selections.map(outcomeOf)],
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

function outcomeOf({ chosen, warnings }: Selection): string {
  if (chosen === undefined) return "**no network**";
  const { name, cniVersion, plugins } = chosen.list;
  const chain = plugins.map(({ type }) => type).join(", ");
  const doubts = warnings.map(({ message }) => `; ${message}`);
  return `**${name}** (${chain}; version ${cniVersion})${doubts.join("")}`;
}

/** A line for each file: its name, then its text, `(empty)`, `-> a link that leads nowhere`, or what it is. */
function listingOf(directory: string): DirectoryListing {
  const lines = Array.from(directory.matchAll(/^(\S+)\s+(.*)$/gmu), ([, path = "", content = ""]) => ({
    path,
    content,
  }));
  const entries = new Map<string, Entry>();
  const dropIns = new Map<string, ReadonlyMap<string, Entry> | string>();
  for (const { path, content } of lines) {
    const [name = "", inside] = path.split("/");
    const entry: Entry = inside === undefined ? entryOf(name, content) : { type: "directory" };
    entries.set(name, entry);
    if (inside) dropIns.set(name, new Map([[inside, entryOf(inside, content)]]));
    if (entry.type === "other") dropIns.set(name, "cannot be read: not a directory");
  }
  return { entries, dropIns };
}

function entryOf(name: string, content: string): Entry {
  if (!isConfigName(name)) return { type: "other" };
  if (content.startsWith("->")) return { type: "unreadable", reason: "is a link that leads nowhere" };
  return { type: "file", text: content === "(empty)" ? "" : content };
}

if (import.meta.main) {
  writeFileSync(README, await documented());
  writeFileSync(NETWORK, await documentedNetwork());
  writeFileSync(MAP, documentedMap());
  writeFileSync(CHOICE, documentedChoice());
  writeFileSync(TROUBLESHOOTING, documentedCodes());
}
