/**
 * Writes the generated parts of documents: docs/reference.md and docs/cni-node.8 from the tables of commands and options,
 * the variables of templates, in docs/how-cni-config-is-chosen.md what becomes of each example directory, in
 * docs/troubleshooting.md the codes of findings and errors, docs/images/map.svg, and the terminals that documents show.
 */
import { readFileSync, writeFileSync } from "node:fs";

import { FAILURE_CODES, FINDING_CODES } from "../src/codes.ts";
import { isConfigName } from "../src/cni/config.ts";
import type { DirectoryListing, ListingEntry, Unreadable } from "../src/cni/listing.ts";
import { mapSvg } from "../src/network/map-svg.ts";
import { VARIABLES } from "../src/template/values.ts";
import { selectForContainerd, selectForCrio, type Selection } from "../src/cni/selection.ts";
import { exampleMap } from "../test/helpers/map.ts";
import { commandSections, manualPage } from "./reference.ts";
import { recordScreens } from "./screens.ts";

const TEMPLATES = new URL("../docs/templates.md", import.meta.url);
const REFERENCE = new URL("../docs/reference.md", import.meta.url);
const MANUAL = new URL("../docs/cni-node.8", import.meta.url);
const README = new URL("../README.md", import.meta.url);
const INSTALL = new URL("../docs/install.md", import.meta.url);
const TROUBLESHOOTING = new URL("../docs/troubleshooting.md", import.meta.url);
const MAP = new URL("../docs/images/map.svg", import.meta.url);
const CHOICE = new URL("../docs/how-cni-config-is-chosen.md", import.meta.url);

/** docs/templates.md with its generated part as it should be. */
export function documentedTemplates(): string {
  return replacePart(readFileSync(TEMPLATES, "utf8"), "variables", variableTable());
}

/** docs/reference.md, and the manual page, as they should be. */
export function documentedReference(): { reference: string; manual: string } {
  const reference = replacePart(readFileSync(REFERENCE, "utf8"), "commands", commandSections());
  const exitCodes = Array.from(reference.matchAll(/^\| (\d[\d, ]*) \| (.*) \|$/gmu), ([, code = "", text = ""]) => {
    return [code, text] as const;
  });
  return { reference, manual: manualPage(exitCodes) };
}

function replacePart(document: string, name: string, text: string): string {
  const part = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- end -->)`, "u");
  return document.replace(part, (_, begin: string, end: string) => `${begin}${text}${end}`);
}

/** The variables of templates, as docs/templates.md lists them. */
function variableTable(): string {
  const rows = Object.entries(VARIABLES).map(([name, meaning]) => `| \`__${name}__\` | ${meaning} |`);
  return ["| variable | |", "| --- | --- |", ...rows, ""].join("\n");
}

/** docs/images/map.svg as it should be. */
export function documentedMap(): string {
  return mapSvg(exampleMap());
}

/** The documents that show a terminal, with what it shows as it should be: in README.md, the beginning of `status`. */
export async function documentedScreens(): Promise<{ readme: string; install: string; troubleshooting: string }> {
  const { plan, status } = await recordScreens();
  const [summary = "", problem = ""] = status.split("\n\n");
  return {
    readme: replacePart(readFileSync(README, "utf8"), "status", textBlock(`${summary}\n\n${problem}`)),
    install: replacePart(readFileSync(INSTALL, "utf8"), "plan", textBlock(plan)),
    troubleshooting: replacePart(readFileSync(TROUBLESHOOTING, "utf8"), "status", textBlock(status)),
  };
}

function textBlock(text: string): string {
  return `\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;
}

/** docs/troubleshooting.md with the tables of codes as they should be. */
export function documentedCodes(): string {
  const document = replacePart(readFileSync(TROUBLESHOOTING, "utf8"), "codes", codeTable(FINDING_CODES));
  return replacePart(document, "error codes", codeTable(FAILURE_CODES));
}

function codeTable(codes: Readonly<Record<string, string>>): string {
  const rows = Object.entries(codes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return ["| code | what it means |", "| --- | --- |", ...rows, ""].join("\n");
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
  const entries = new Map<string, ListingEntry>();
  const dropIns = new Map<string, ReadonlyMap<string, ListingEntry> | Unreadable>();
  for (const { path, content } of lines) {
    const [name = "", inside] = path.split("/");
    const entry: ListingEntry = inside === undefined ? entryOf(name, content) : { type: "directory" };
    entries.set(name, entry);
    if (inside) dropIns.set(name, new Map([[inside, entryOf(inside, content)]]));
    if (entry.type === "other") dropIns.set(name, { type: "unreadable", reason: "cannot be read: not a directory" });
  }
  return { entries, dropIns };
}

function entryOf(name: string, content: string): ListingEntry {
  if (!isConfigName(name)) return { type: "other" };
  if (content.startsWith("->")) return { type: "unreadable", reason: "is a link that leads nowhere" };
  return { type: "file", text: content === "(empty)" ? "" : content };
}

if (import.meta.main) {
  const { reference, manual } = documentedReference();
  writeFileSync(TEMPLATES, documentedTemplates());
  writeFileSync(REFERENCE, reference);
  writeFileSync(MANUAL, manual);
  writeFileSync(MAP, documentedMap());
  writeFileSync(CHOICE, documentedChoice());
  writeFileSync(TROUBLESHOOTING, documentedCodes());
  const { readme, install, troubleshooting } = await documentedScreens();
  writeFileSync(README, readme);
  writeFileSync(INSTALL, install);
  writeFileSync(TROUBLESHOOTING, troubleshooting);
}
