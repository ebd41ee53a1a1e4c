/** What was found on a node, for somebody who has never seen it and is in a hurry: the worst first. Pure. */
import { isWrong, type Finding } from "../finding.ts";
import { plain } from "../system/style.ts";
import { alignRows, shorten, visible, visibleLines, wrapLines } from "../system/text.ts";
import type { Meaning, View } from "../world.ts";
import { rangeOf } from "../cni/version.ts";
import type { Network } from "../cni/listing.ts";
import type { Selection } from "../cni/selection.ts";
import type { Rule } from "../node/runtime.ts";
import type { FileStatus, PluginStatus } from "./network.ts";
import type { NodeStatus } from "./status.ts";
import { formatWatch } from "./watches.ts";

/** Ends in a newline. On a terminal that is lower, the summary is repeated at the end. */
export function formatStatus(status: NodeStatus, view?: View): string {
  const section = (title: string, ...tables: readonly Table[]): string => formatSection(title, tables, view);
  const sections = [
    formatFindings(status.findings, view),
    section("network", ...sentences([...formatChoices(status), ...formatRuntime(status)])),
    section("plugins of the network", status.plugins.map(pluginRow)),
    section(`files in ${status.configDirectory ?? ""}`, ...formatFiles(status)),
    section("installed by cni-node", assetRows(status.assets, view?.isVerbose === true)),
    section("kept right by cni-node watch", ...sentences(status.watches.flatMap(formatWatch))),
    section(
      "kept of what was there before",
      status.backups.map(({ name, path }) => [name, path]),
    ),
    section(
      "interrupted runs",
      ...sentences(status.unfinished.map(({ directory, next }) => `${directory}: the next run will ${next}`)),
    ),
    section("containers that were attached", status.attachments.map(attachmentRow)),
    section("not examined", ...sentences(status.unseen)),
  ];
  const text = sections.filter((one) => one !== "").join("\n");
  const isLong = view?.terminal !== undefined && text.split("\n").length > view.terminal.rows;
  return isLong ? `${text}\n${summaryOf(status.findings, view)}` : text;
}

/** Rows of cells. */
type Table = readonly (readonly string[])[];

function formatSection(title: string, tables: readonly Table[], view: View | undefined): string {
  const lines = tables.flatMap((rows) => {
    const cells = rows.map((row) => row.map((cell, column) => `${column === 0 ? "  " : ""}${shorten(cell)}`));
    return alignRows(cells, view?.terminal?.columns);
  });
  if (lines.length === 0) return "";
  return `${(view?.paint.stdout ?? plain)("strong", visible(title))}\n${lines.map((line) => `${line}\n`).join("")}`;
}

/** Each stands for itself. */
function sentences(lines: readonly string[]): Table[] {
  return lines.map((line) => [[line]]);
}

/** `1 error, 2 warnings` */
function summaryOf(findings: readonly Finding[], view: View | undefined): string {
  const counts = (["error", "warning", "note"] as const)
    .map((kind) => count(findings.filter(({ severity }) => severity === kind).length, kind))
    .filter((text) => text !== "");
  if (!findings.some(isWrong)) counts.unshift("healthy: nothing is wrong that can be seen from here");
  const [worst] = findings;
  const meaning = worst === undefined || !isWrong(worst) ? "good" : MEANINGS[worst.severity];
  return `${(view?.paint.stdout ?? plain)(meaning, counts.join(", "))}\n`;
}

const MEANINGS = { error: "bad", warning: "warn", note: "faint" } as const satisfies Record<string, Meaning>;

function formatFindings(findings: readonly Finding[], view: View | undefined): string {
  const summary = summaryOf(findings, view);
  if (findings.length === 0) return summary;
  const paint = view?.paint.stdout ?? plain;
  const columns = view?.terminal?.columns ?? Infinity;
  const alike = Map.groupBy(findings, ({ severity, code, message, hint }) =>
    JSON.stringify([severity, code, message, hint]),
  );
  const blocks = [...alike.values()].map((group) => {
    const [{ severity, code, message, hint }] = group as [Finding];
    const paths = group
      .map(({ path }, index) => `${index === 0 ? "" : "         "}${visible(shorten(path))}`)
      .join("\n");
    const cure = hint === undefined ? "" : `         → ${inside(shorten(hint), columns - 11, "           ")}\n`;
    const said = inside(`${shorten(message).trimEnd()} [${code}]`, columns - 9, "         ");
    return `${paint(MEANINGS[severity], severity)}${" ".repeat(9 - severity.length)}${paths}\n         ${said}\n${cure}`;
  });
  return `${summary}\n${blocks.join("\n")}`;
}

/** Lines of others stay further inside than ours. @param indent of our own lines after the first. */
function inside(text: string, columns: number, indent: string): string {
  const lines = visibleLines(text).trimEnd().split("\n");
  const wrapped = lines.map((line, index) => {
    const own = index === 0 ? line : line.trimStart();
    const lead = index === 0 ? "" : line.slice(0, line.length - own.length) + "             ";
    return wrapLines(own, columns - Math.max(0, lead.length - indent.length)).map((part, at) => {
      return index === 0 ? (at === 0 ? part : indent + part) : lead + part;
    });
  });
  return wrapped.flat().join("\n");
}

function count(number: number, what: string): string {
  return number === 0 ? "" : `${number} ${what}${number === 1 ? "" : "s"}`;
}

function formatChoices({ choices, rules }: NodeStatus): string[] {
  if (choices === undefined) return [];
  const taken = rules.map((rule) => ({ rule, text: takenBy(choices[rule]) }));
  const [first, second] = taken;
  if (first === undefined) return [];
  const isSame = second === undefined || second.text === first.text;
  const names = taken.map(({ rule }) => rule).join(" and ");
  if (isSame) return [`${names} ${taken.length === 1 ? "takes" : "take"} ${first.text}`];
  return taken.map(({ rule, text }) => `${rule} takes ${text}`);
}

function takenBy({ chosen, error }: Selection): string {
  return chosen === undefined ? `no network: ${error?.message ?? ""}` : describe(chosen);
}

function describe({ file, list }: Network): string {
  const chain = list.plugins.map(({ type }) => type).join(" → ");
  return `${file}: network ${JSON.stringify(list.name)}, cniVersion ${list.cniVersion}, ${chain}`;
}

function formatRuntime({ runtime }: NodeStatus): string[] {
  if (runtime === undefined) return [];
  const state = runtime.networkReady ? "its network is ready" : "its network is not ready";
  const loaded = runtime.networks?.map(({ name }) => JSON.stringify(name)).join(", ");
  const networks = loaded === undefined ? "" : loaded === "" ? ", it has loaded none" : `, it has loaded ${loaded}`;
  return [`${runtime.name} ${runtime.version} itself says: ${state}${networks}`];
}

function pluginRow({ name, state, directory = "", cniVersions, reason }: PluginStatus): string[] {
  return [name, state, directory, cniVersions === undefined ? (reason ?? "") : `CNI ${rangeOf(cniVersions)}`];
}

function formatFiles({ files, rules, choices }: NodeStatus): Table[] {
  const [first = "containerd", second] = rules;
  const isSame = second === undefined || choices?.[first].chosen?.file === choices?.[second].chosen?.file;
  if (isSame) return [files.map((file) => fileRow(file, first))];
  return rules.flatMap((rule) => [
    [[`by ${rule}'s rule`]],
    files.map((file) => {
      const [name = "", ...more] = fileRow(file, rule);
      return [`  ${name}`, ...more];
    }),
  ]);
}

function fileRow({ name, containerd, crio }: FileStatus, rule: Rule): string[] {
  const { verdict, reason } = rule === "CRI-O" ? crio : containerd;
  return [name, verdict, reason.message];
}

/** Where many of a kind are unchanged, they are counted. */
function assetRows(assets: readonly Asset[], isVerbose: boolean): string[][] {
  const unchanged = Map.groupBy(assets.filter(isPlain), keyOf);
  return assets.flatMap((asset) => {
    const alike = isPlain(asset) && !isVerbose ? (unchanged.get(keyOf(asset)) ?? []) : [];
    if (alike.length <= MOST_UNCHANGED) return [assetRow(asset)];
    if (alike[0] !== asset) return [];
    return [["unchanged", asset.kind, `${alike.length} ${asset.kind}s`, "", asset.owners.join(", ") || "nobody", ""]];
  });
}

type Asset = NodeStatus["assets"][number];

function isPlain({ state, reason, account }: Asset): boolean {
  return state === "unchanged" && reason === undefined && account === undefined;
}

function keyOf({ kind, owners }: Asset): string {
  return JSON.stringify([kind, owners]);
}

/** So many have a line each. */
const MOST_UNCHANGED = 5;

function assetRow({ owners, kind, name, version = "", state, reason, account }: Asset): string[] {
  return [state, kind, name, version, owners.join(", ") || "nobody", reason ?? account ?? ""];
}

function attachmentRow({ plugin, living, gone }: NodeStatus["attachments"][number]): string[] {
  const left =
    gone === 1 ? "1 attachment of a container that is gone" : `${gone} attachments of containers that are gone`;
  return [plugin, `${living} there`, gone === 0 ? "" : `${left} → cni-node network gc`];
}
