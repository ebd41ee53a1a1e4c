/** A strict reader of Prometheus' text format, with the rules of `promtool check metrics`. */
import assert from "node:assert/strict";

/** A metric family. */
export interface Family {
  name: string;
  help: string;
  type: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/u;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([+-]?(?:Inf|NaN|[0-9.eE+-]+))$/u;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/u;
const SUFFIXES: Record<string, readonly string[]> = { histogram: ["_bucket", "_sum", "_count"] };
const UNITS = /_(?:milliseconds|ms|minutes|hours|kilobytes|kib|mib|percent)(?:_|$)/u;

/** Reads everything, and refuses what Prometheus or promtool would object to. */
export function readExposition(text: string): Map<string, Family> {
  assert.ok(text.endsWith("\n"), "the last line ends");
  const families = new Map<string, Family>();
  const series = new Set<string>();
  let help: [string, string] | undefined;
  let family: Family | undefined;
  for (const line of text.split("\n").filter((one) => one !== "")) {
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/u.exec(line) ?? [];
    if (word === "HELP") help = [name, rest];
    else if (word === "TYPE") {
      assert.match(name, NAME);
      assert.equal(help?.[0], name, `HELP comes before TYPE: ${line}`);
      assert.ok(!families.has(name), `only one family is ${name}`);
      family = { name, help: help[1], type: rest, samples: [] };
      families.set(name, family);
    } else {
      assert.ok(family, `TYPE comes before a sample: ${line}`);
      const [, of = "", labels = "", value = ""] = SAMPLE.exec(line) ?? assert.fail(`this is not a sample: ${line}`);
      const names = (SUFFIXES[family.type] ?? [""]).map((suffix) => `${family?.name}${suffix}`);
      assert.ok(names.includes(of), `${of} is within its family`);
      const sample = { name: of, labels: labelsOf(labels), value: Number(value.replace("Inf", "Infinity")) };
      const key = `${of} ${JSON.stringify(
        Object.entries(sample.labels)
          .map((pair) => pair.join("="))
          .toSorted(),
      )}`;
      assert.ok(!series.has(key), `only one series is ${key}`);
      series.add(key);
      family.samples.push(sample);
    }
  }
  for (const one of families.values()) lint(one);
  return families;
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== "";) {
    const [all, name = "", value = ""] = LABEL.exec(rest) ?? assert.fail(`these are not labels: ${text}`);
    assert.ok(!Object.hasOwn(labels, name), `only one label is ${name}`);
    labels[name] = value;
    rest = rest.slice(all.length);
  }
  return labels;
}

function lint({ name, help, type, samples }: Family): void {
  assert.ok(help.length > 0 && ["counter", "gauge", "histogram"].includes(type), name);
  assert.equal(name.endsWith("_total"), type === "counter", `counters, and only they, end in _total: ${name}`);
  assert.doesNotMatch(name, UNITS, "units are base units");
  assert.doesNotMatch(name, /[a-z][A-Z]|:|_(?:bucket|sum|count|counter|gauge|histogram)$/u, "reserved words");
  if (type === "counter") for (const { value } of samples) assert.ok(value >= 0, name);
  if (type !== "histogram") return;
  const buckets = samples.filter((sample) => sample.name.endsWith("_bucket"));
  const bounds = buckets.map(({ labels }) => Number((labels["le"] ?? "").replace("+Inf", "Infinity")));
  assert.deepEqual(
    bounds,
    bounds.toSorted((one, other) => one - other),
  );
  assert.equal(bounds.at(-1), Number.POSITIVE_INFINITY);
  const values = buckets.map(({ value }) => value);
  assert.deepEqual(
    values,
    values.toSorted((one, other) => one - other),
    "buckets are cumulative",
  );
  assert.equal(values.at(-1), samples.find((sample) => sample.name.endsWith("_count"))?.value);
}
