/**
 * Measures cni-node beside programs that do less or the same, and prints a table (bench/README.md).
 *
 *     node bench/run.ts [--runs=15] [--smoke] [--markdown] [ROW...]
 */
import * as os from "node:os";
import { parseArgs } from "node:util";

import { measure, type Measured, type Row } from "./measure.ts";
import { makeRows } from "./rows.ts";

// As on a node: each Node.js would read those certificates first, and keep them in memory.
delete process.env["NODE_EXTRA_CA_CERTS"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string" },
    smoke: { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
  },
});
/** Few runs of what takes least. */
const SMOKE = ["version", "list", "plugins-first", "plugins-again", "network", "memory"];
const runs = Number(values.runs ?? (values.smoke ? 3 : 15));

process.exitCode = await main();
process.exit();

async function main(): Promise<number> {
  const { rows, notes } = makeRows();
  const names = rows.map(({ name }) => name);
  const unknown = positionals.filter((name) => !names.includes(name));
  if (unknown.length > 0 || !(runs >= 1)) {
    process.stderr.write(`bench: ${unknown.join(", ") || "--runs"}: unknown; rows: ${names.join(" ")}\n`);
    return 2;
  }
  const chosen = positionals.length > 0 ? positionals : values.smoke ? SMOKE : names;
  const model = os.cpus()[0]?.model ?? "processor";
  print(`${os.cpus().length} × ${model}, Linux ${os.release()}, Node.js ${process.versions.node}.`);
  print(`Median and quartiles of up to ${runs} interleaved runs. ${notes.join(" ")}\n`);
  if (values.markdown) print("| row | work | cni-node | beside it | limited by |\n| --- | --- | --- | --- | --- |");
  for (const row of rows.filter(({ name }) => chosen.includes(name))) {
    const measured = await measure(row, Math.min(runs, row.runs ?? runs));
    print(values.markdown ? markdownOf(row, measured) : textOf(row, measured));
  }
  return 0;
}

function markdownOf(row: Row, measured: readonly Measured[]): string {
  const [ours, ...others] = measured;
  const beside = others.map((one) => `${one.name}: ${shown(one, row)}${ratio(ours, one)}${added(one, row, measured)}`);
  return `| ${row.name} | ${row.work} | ${ours && shown(ours, row) + added(ours, row, measured)} | ${beside.join("<br>")} | ${row.limit} |`;
}

function textOf(row: Row, measured: readonly Measured[]): string {
  const [ours] = measured;
  const width = Math.max(...measured.map(({ name }) => name.length));
  const lines = measured.map((one) => {
    const beside = `${one === ours ? "" : ratio(ours, one)}${added(one, row, measured)}`;
    return `  ${one.name.padEnd(width)}  ${shown(one, row).padEnd(24)}${beside}`.trimEnd();
  });
  return [`${row.name}: ${row.work}`, ...lines].join("\n");
}

function shown({ median, low, high }: Measured, { unit = "ms" }: Row): string {
  const text = (value: number): string => value.toFixed(value < 10 && unit === "ms" ? 1 : 0);
  return `${text(median)} ${unit}${text(low) === text(high) ? "" : ` (${text(low)}–${text(high)})`}`;
}

function ratio(ours: Measured | undefined, { median }: Measured): string {
  return ours === undefined || median === 0 ? "" : ` × ${(ours.median / median).toFixed(2)}`;
}

function added({ name, median }: Measured, { over, unit = "ms" }: Row, measured: readonly Measured[]): string {
  const base = measured.find((one) => one.name === over);
  return base === undefined || name === over ? "" : `, adds ${(median - base.median).toFixed(0)} ${unit}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
