/** What was found on a node, for somebody who has never seen it and is in a hurry: the worst first. Pure. */
import { isWrong, type Finding } from "../finding.ts";
import { alignRows, shorten, visible, visibleLines } from "../system/text.ts";
import type { Network } from "../cni/listing.ts";
import type { Selection } from "../cni/selection.ts";
import type { Rule } from "../node/runtime.ts";
import type { FileStatus, PluginStatus } from "./network.ts";
import type { NodeStatus } from "./status.ts";
import { formatWatch } from "./watches.ts";

/** Ends in a newline. */
export function formatStatus(status: NodeStatus): string {
  const sections = [
    formatFindings(status.findings),
    section("network", [...formatChoices(status), ...formatWord(status)]),
    section("plugins of the network", table(status.plugins.map(pluginRow))),
    section(`files in ${status.configDirectory ?? ""}`, formatFiles(status)),
    section("installed by cni-node", table(status.assets.map(assetRow))),
    section("kept right by cni-node watch", status.watches.flatMap(formatWatch)),
    section("kept of what was there before", table(status.backups.map(({ name, path }) => [name, path]))),
    section(
      "ended half way",
      status.unfinished.map(({ directory, next }) => `${directory}: the next run will ${next}`),
    ),
    section("containers that were attached", table(status.attachments.map(attachmentRow))),
    section("not looked at", status.unseen),
  ];
  return sections.filter((text) => text !== "").join("\n");
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0
    ? ""
    : `${visible(title)}\n${lines.map((line) => `  ${visible(shorten(line))}\n`).join("")}`;
}

function table(rows: readonly (readonly string[])[]): string[] {
  return alignRows(rows.map((row) => row.map((cell) => shorten(cell))));
}

function formatFindings(findings: readonly Finding[]): string {
  const counts = (["error", "warning", "note"] as const)
    .map((kind) => count(findings.filter(({ severity }) => severity === kind).length, kind))
    .filter((text) => text !== "");
  if (!findings.some(isWrong)) counts.unshift("healthy: nothing is wrong that can be seen from here");
  if (findings.length === 0) return `${counts.join(", ")}\n`;
  const alike = Map.groupBy(findings, ({ severity, code, message, hint }) =>
    JSON.stringify([severity, code, message, hint]),
  );
  const blocks = [...alike.values()].map((group) => {
    const [{ severity, code, message, hint }] = group as [Finding];
    const paths = group
      .map(({ path }, index) => `${index === 0 ? "" : "         "}${visible(shorten(path))}`)
      .join("\n");
    const cure = hint === undefined ? "" : `         → ${inside(shorten(hint))}\n`;
    return `${severity.padEnd(7)}  ${paths}\n         ${inside(shorten(message))} [${code}]\n${cure}`;
  });
  return `${counts.join(", ")}\n\n${blocks.join("\n")}`;
}

/** Lines of others stay further inside than ours. */
function inside(text: string): string {
  return visibleLines(text).trimEnd().replaceAll("\n", "\n             ");
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

function formatWord({ word }: NodeStatus): string[] {
  if (word === undefined) return [];
  const state = word.networkReady ? "its network is ready" : "its network is not ready";
  const loaded = word.networks?.map(({ name }) => JSON.stringify(name)).join(", ");
  const told = loaded === undefined ? "" : loaded === "" ? ", it has loaded none" : `, it has loaded ${loaded}`;
  return [`${word.name} ${word.version} itself says: ${state}${told}`];
}

function pluginRow({ name, state, directory = "", cniVersions, reason }: PluginStatus): string[] {
  return [name, state, directory, cniVersions === undefined ? (reason ?? "") : `CNI ${rangeOf(cniVersions)}`];
}

function rangeOf(versions: readonly string[]): string {
  const [first = "", ...more] = versions;
  return more.length === 0 ? first : `${first} … ${more.at(-1) ?? ""}`;
}

function formatFiles({ files, rules, choices }: NodeStatus): string[] {
  const [first = "containerd", second] = rules;
  const isSame = second === undefined || choices?.[first].chosen?.file === choices?.[second].chosen?.file;
  if (isSame) return table(files.map((file) => fileRow(file, first)));
  return rules.flatMap((rule) => [
    `by ${rule}'s rule`,
    ...table(files.map((file) => fileRow(file, rule))).map((row) => `  ${row}`),
  ]);
}

function fileRow({ name, containerd, crio }: FileStatus, rule: Rule): string[] {
  const { verdict, reason } = rule === "CRI-O" ? crio : containerd;
  return [name, verdict, reason.message];
}

function assetRow({
  owners,
  kind,
  name,
  version = "",
  state,
  reason,
  account,
}: NodeStatus["assets"][number]): string[] {
  return [state, kind, name, version, owners.join(", ") || "nobody", reason ?? account ?? ""];
}

function attachmentRow({ plugin, living, gone }: NodeStatus["attachments"][number]): string[] {
  const left =
    gone === 1 ? "1 attachment of a container that is gone" : `${gone} attachments of containers that are gone`;
  return [plugin, `${living} there`, gone === 0 ? "" : `${left} → cni-node network gc`];
}
