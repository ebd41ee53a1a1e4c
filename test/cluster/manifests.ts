/** Manifests that kubectl's reading and ours are compared on: hand-written, generated, damaged. */
import * as fc from "fast-check";

/** Whole manifests; those of SPECS stand in an object. */
const MANIFESTS: Record<string, string> = {
  nothing: "",
  "an empty line": "\n",
  "a comment": "# a",
  "only separators": "---\n---\n---",
  "documents that mean nothing": "---\n# a\n---\nnull\n---\n~\n---\n\n",
  "several documents": `${thing()}---\n${thing()}---\n${thing()}`,
  "separators with spaces and comments": `---  \n${thing()}--- # a\n${thing()}---\t\n${thing()}`,
  "a separator at the end without newline": `${thing()}---`,
  "a separator with content": `--- {}\n${thing()}`,
  "a separator with a word": `---a\n${thing()}`,
  "four dashes": `${thing()}----\n${thing()}`,
  "an indented separator": `${thing("a: |\n  ---\n  b")} ---\n${thing()}`,
  "a separator in quotes": `${thing('a: "b')}---\n  c"\n`,
  "a document end": `${thing()}...\n`,
  "document ends and separators": `${thing()}... # a\n---\n${thing()}...\n# b\n`,
  "no document end": `${thing()}....\n`,
  "quoted texts over lines, not indented at all": `${thing()}b: '{\n"a": 1\n}'\nc: "d\n\n\t\ne"\n`,
  "a percent sign at the beginning of a line in quotes": `${thing()}b: 'c\n%d'\n`,
  "a document end in quotes": `${thing()}b: 'c\n... \nd'\n`,
  "a separator of old line ends in quotes": `${thing()}b: 'c\r---\rd'\n`,
  directives: `%YAML 1.1\n---\n${thing()}`,
  "directives without separator": `%YAML 1.1\n${thing()}`,
  "Windows line ends": `${thing("a: |\n  b\n  c\nd: 'e\n\n  f'")}---\n${thing("a: b")}`.replaceAll("\n", "\r\n"),
  "old line ends": thing("a: b").replaceAll("\n", "\r"),
  "a byte order mark": `\uFEFF${thing()}`,
  "a byte order mark before a separator": `\uFEFF---\n${thing()}`,
  "a byte order mark before JSON": '\uFEFF{"kind": "A", "apiVersion": "v1", "metadata": {"name": "a"}}',
  "no newline at the end": thing("a: |\n  b").trimEnd(),
  "no newline at the end of a folded text": thing("a: >+\n  b").trimEnd(),
  JSON: JSON.stringify({ apiVersion: "v1", kind: "A", metadata: { name: "a" }, spec: [1, "b", null, true] }),
  "JSON over lines, with tabs": json().replaceAll(/([{,])/gu, "$1\n\t"),
  "JSON over lines, with tabs, behind a comment": `# a\n${json().replaceAll(/([{,])/gu, "$1\n\t")}`,
  "JSON over lines, with tabs, behind a separator": `---\n${json("[1,2,{}]").replaceAll(/([{,])/gu, "$1\n\t")}`,
  "JSON values one after another": `${json()}${json()}\n${json()}  \n\n${json()}`,
  "JSON and separators": `${json()}\n---\n${json()}\n---\n${json()}`,
  "JSON after a separator": `---\n${json()}\n---\n${json()}`,
  "JSON, then YAML": `${json()}\n---\n${thing()}`,
  "JSON, then YAML at once": `${json()}\n${thing()}`,
  "JSON, then YAML on the line": `${json()} ${thing()}`,
  "two JSON values, then YAML": `${json()}\n${json()}\n---\n${thing()}`,
  "JSON, then what is nothing": `${json()} null\n`,
  "JSON, then an array": `${json()} []\n`,
  "JSON, then three bytes": `${json()}\n--`,
  "JSON, then four bytes": `${json()}\n---`,
  "JSON, then spaces and four bytes": `${json()}  ---\n`,
  "JSON with a comma too many": '{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a",},}',
  "JSON with comments": `{"apiVersion": "v1", # a\n "kind": "A", "metadata": {"name": "a"}}`,
  "JSON that is cut": json().slice(0, -1),
  "JSON with numbers of all kinds": json(
    "[0, -0, -0.0, 1.0, 1e3, 1E-7, 9007199254740993, -9223372036854775808, 1e20, 1e21]",
  ),
  "JSON with integers that are too large": json(
    "[9223372036854775808, 18446744073709551615, 123456789012345678901234567890]",
  ),
  "JSON with a number that is out of range": json("1e400"),
  "JSON with a number that is too small": json("1e-400"),
  "JSON with escapes": json('"\\u00e9\\ud83d\\ude00\\/\\b\\u0000 \u2028\u0085\uFEFF"'),
  "JSON with a key __proto__": json('{"__proto__": {"a": 1}, "constructor": 2}'),
  "YAML that looks like JSON": `{apiVersion: v1, kind: A, metadata: {name: a}, spec: yes}\n`,
  "YAML that looks like JSON, after spaces": ` \n \n{apiVersion: v1, kind: A, metadata: {name: a}}\n---\n${thing()}`,
  "a list": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: a}}\n",
  "a list that says no version": "kind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: a}}\n",
  "a list of a kind": "apiVersion: v1\nkind: AList\nitems:\n- {metadata: {name: a}}\n- metadata: {name: b}\n",
  "a list of a kind, with items of another": "apiVersion: v1\nkind: AList\nitems:\n- {kind: B, metadata: {name: a}}\n",
  "a list that has no kind": "apiVersion: v1\nitems: []\n",
  "an empty list": "apiVersion: v1\nkind: List\nitems: []\n",
  "a list of nothing": "apiVersion: v1\nkind: List\nitems:\n",
  "a list of nulls": "apiVersion: v1\nkind: List\nitems: [null]\n",
  "a list of numbers": "apiVersion: v1\nkind: List\nitems: [1]\n",
  "a list that is a mapping": "apiVersion: v1\nkind: List\nitems: {}\n",
  "items in a kind that is not a list": "apiVersion: v1\nkind: A\nitems: [{metadata: {name: a}}]\n",
  "a list in a list": `apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n`,
  "a list without items": "apiVersion: v1\nkind: List\nmetadata: {name: a}\n",
  "an array": `- ${json()}\n`,
  "a text": "a",
  "a number": "1",
  "what is not an object after an object": `${thing()}---\na\n`,
};

const SPECS: Record<string, string> = {
  "an alias": "a: &a {b: [c]}\nd: *a\ne: [*a, *a]",
  "an anchor that is given twice": "a: &a 1\nb: *a\nc: &a 2\nd: *a",
  "an alias before its anchor": "a: *a\nb: &a 1",
  "an alias of another document": "a: &a 1\n---\nb: *a",
  "an alias within its anchor": "a: &a [*a]",
  "an alias as a key": "a: &a b\n*a : c",
  "an anchor at a key": "&a b: *a",
  "an anchor at nothing": "a: &a\nb: *a",
  "merged keys": "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne:\n  <<: *a\n  <<: {f: 4}",
  "merged keys of several": "a: [&a {b: 1, c: 1}, &b {c: 2, d: 2}]\ne: {<<: [*a, *b], d: 3}",
  "keys that are merged through": "a: &a {b: 1}\nc: &c {<<: *a, d: 2}\ne: {<<: *c}",
  "what cannot be merged": "a: {<<: 1}",
  "a null that cannot be merged": "a: {<<: }",
  "a list that cannot be merged": "a: &a [{}]\nb: {<<: *a}",
  "<< in quotes": 'a: {"<<": {b: 1}}',
  "<< as a text": "a: <<",
  "<< as !!merge and as !!str": "a: {!!merge <<: {b: 1}}\nc: {!!str <<: {d: 1}}",
  "many aliases, but not too many": `a: &a [${"b, ".repeat(50)}]\nc: [${"*a, ".repeat(50)}]`,
  "keys that are no texts":
    "1: a\n1.5: b\ntrue: c\n0x10: d\n1e3: e\n-0.0: f\n.inf: g\n1e-7: h\n123456789.5: i\n2001-01-01: j",
  "keys that are words": "yes: a\nNo: b",
  "a key y": "x: 1\ny: 2",
  "a key that is null": "~: a",
  "a key that is nothing": ": a",
  "a key that is a list": "[a]: b",
  "a key that is a mapping": "? {a: b}\n: c",
  "a key that is an integer too large": "18446744073709551615: a",
  "a long key": `? ${"a".repeat(1100)}\n: b`,
  "a key that is too long": `${"a".repeat(1100)}: b`,
  "keys with ?": "? a\n: b\n? c\n? |\n  d\n: - e",
  "keys in quotes": `"a": 1\n'b': 2\n"c d" : 3`,
  "block sequences": "a:\n- b\n- - c\n  - d\n-\n  e: f\n- g: h\n  i: j\n-\n",
  "flow collections": `a: [b, "c", 'd', [e], {f: g, "h": i, j}, k: l, ]\nm: {}\nn: []\no: {p: , q: [ ]}`,
  "flow collections over lines": "a: [\n  b,\n  # c\n  d\n]\ne: {\n  f: g\n  }",
  "flow collections with a colon that touches": 'a: {"b":c, "d":[e]}',
  "flow collections with holes": "a: [b, , c]",
  "flow collections that are open": "a: [b",
  "texts with special characters": "a: b:c\nd: e#f\ng: h #i\nj: -k\nl: ?m\nn: :o\np: 'q''r'\ns: a, b [c]\nt: x=y&z*",
  "reserved characters": "a: @b",
  "a backtick": "a: `b`",
  "a percent sign": "a: %b",
  "plain texts over lines": "a: b\n  c\n\n  d\n   e",
  "quoted texts over lines that are not indented": `a: 'b\nc\n\n d''e'\nf: "g\n\\\n\th\\"\n\n\\ i"\nj: ['k\nl', m]\nn:\n- "o\np"`,
  "quotes that are not closed, behind some that are not indented": "a: 'b\nc'\nd: \"e\nf",
  "a problem behind quotes that are not indented": "a: 'b\nc'\nd: @e",
  "quoted texts over lines": `a: "b\n  c\n\n  d \\\n  e\\n"\nf: 'g\n\n\n  h '`,
  escapes: '"\\0\\a\\b\\t\\n\\v\\f\\r\\e\\ \\"\\\\\\N\\_\\L\\P\\x41\\u00e9\\U0001F600": "\\\ta"',
  "the escape of a slash": '"a": "\\/"',
  "half a character": 'a: "\\ud83d\\ude00"',
  "an unknown escape": 'a: "\\q"',
  "literal texts":
    "a: |\n  b\n   c\n\n  d\n\n\ne: |-\n  f\n\ng: |+\n  h\n\ni: |2\n    j\nk: | # l\n  m\nn: |\no: |+\n\n",
  "folded texts": "a: >\n  b\n  c\n\n  d\n    e\n   f\n\n  g\nh: >-\n  i\n  j\n\nk: >+\n\n  l\n\nm: >1\n  n\n  o",
  "literal texts with tabs": "a: |\n  b\tc\n  \td\n",
  "a literal text with leading empty lines": "a: |\n\n   \n    b\n",
  "a literal text with too much space before": "a: |\n     \n  b\n",
  "a literal text with trailing spaces": "a: |\n  b  \n    \n  c\n   \n",
  "a literal text at the end": "a: |+\n  b\n\n",
  "tabs as space": "a:\tb\t# c\nd: [\te,\n  \tf]",
  "tabs as indentation": "a:\n\tb: c",
  "a tab after a dash": "a:\n-\tb",
  "an empty line of tabs": "a: 'b'\n\t\nc: d",
  "indentation that changes": "a:\n    b: c\nd:\n e: f",
  "indentation that is wrong": "a:\n    b: c\n   d: e",
  "a mapping on the line of its key": "a: b: c",
  "a sequence on the line of its key": "a: - b",
  "a very long line": `a: ${"b ".repeat(100_000)}\nc: "${"d".repeat(200_000)}"`,
  "a control character": "a: b\u0007",
  DEL: "a: b\u007f",
  "characters outside the first plane": "a: \u{1f600}\n\u{1f600}: é",
  "!!binary": "a: !!binary YWJj\nb: !!binary |\n  YWJj\n  ZGVm\n!!binary ZA==: e",
  "!!binary that is none": "a: !!binary a",
  "tags of Kubernetes' own":
    'a: !!str 1\nb: !!int "2"\nc: !!float 3\nd: !!bool "yes"\ne: !!null ""\nf: ! 4\ng: !!float "5.5"',
  "unknown tags":
    "a: !b c\nd: !!e f\ng: !h {i: 1}\nj: !<k> l\nm: !n\no: !!map {p: 1}\nq: !!seq [r]\ns: !!set {t}\nu: !!omap [v: 1]",
  "tags that cannot be": "a: !!int b",
  "a tag that is not defined": "a: !b!c d",
  "!!str of nothing": "a: !!str\nb: !!str ''\nc: !!null",
};

/** As a value and as a key, plain, quoted and tagged. */
const SCALARS =
  "y Y yes Yes YES yEs n N no No NO true True TRUE tRue false False FALSE on On ON off Off OFF ~ null Null NULL nUll " +
  "0 -0 +0 1 -1 +1 007 08 017 -017 0o17 0O17 0o8 0x1F 0X1f 0x -0x1F 0b11 0B11 -0b11 0b12 0b-1 1_000 1__0 _1 1_ 0_7 0x_F " +
  "9007199254740992 9007199254740993 -9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 " +
  "-9223372036854775809 18446744073709551615 18446744073709551616 +18446744073709551615 123456789012345678901234567890 " +
  "0xFFFFFFFFFFFFFFFF 0x10000000000000000 1.0 1. .5 -.5 +.5 1e3 1E3 1e+3 1e-3 1.5e300 1e21 1e20 1e-7 1e400 -1e400 1e-400 " +
  "0.1 1_0.5 ._5 .5_0 .5_ .e5 1e 1e5.5 .1.2 . .. + - -.inf .inf .Inf .INF +.inf .iNF .nan .NaN .NAN -.nan inf nan NaN Infinity " +
  "1:30 190:20:30 1:30.5 2001-01-01 2001-1-1 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z 12:00:00 1.2.3 1.2.3.4 " +
  "10.0.0.0/8 100m 1Gi 1e3k 0x1p4 1,000 = << 1- - 0.0 -0.0 00 0.";
const TAGS = ["", "!!str ", "!!int ", "!!float ", "!!bool ", "!!null ", "! ", "!x "];

/** Hand-written manifests of every construct, by what they show. */
export const CORPUS: readonly (readonly [name: string, text: string])[] = [
  ...Object.entries(MANIFESTS),
  ...Object.entries(SPECS).map(([name, spec]) => [name, thing(spec)] as const),
  ...SCALARS.split(" ").flatMap((scalar) =>
    TAGS.flatMap((tag) =>
      [scalar, `"${scalar}"`].map((written) => [`${tag}${written}`, thing(`a: ${tag}${written}`)] as const),
    ),
  ),
  ...SCALARS.split(" ").map((scalar) => [`${scalar} as a key`, thing(`${scalar}: a`)] as const),
];

/** Manifests of all constructs, most of them valid; the same ones every time. */
export function generateManifests(count: number, seed = 1): string[] {
  return fc.sample(manifest, { numRuns: count, seed });
}

/** Hand-written and generated manifests with some characters gone or put in; the same ones every time. */
export function damageManifests(count: number, seed = 1): string[] {
  const whole = fc.oneof(
    fc.constantFrom(...CORPUS.map(([, text]) => text).filter(({ length }) => length < 1000)),
    manifest,
  );
  const damaged = fc.tuple(whole, fc.array(damage, { minLength: 1, maxLength: 3 })).map(([text, all]) =>
    all.reduce((before, { place, length, put }) => {
      const begin = before.indexOf("spec") + 1;
      const at = begin + Math.floor((place / 10_000) * (before.length - begin));
      return `${before.slice(0, at)}${put}${before.slice(at + length)}`.toWellFormed();
    }, text),
  );
  return fc.sample(damaged, { numRuns: count, seed });
}

/** How a value is written behind `key:` or `-`, at an indentation, or in brackets. */
type Written = (indent: string, inBrackets: boolean) => string;

const PLAIN = fc.constantFrom(
  ...SCALARS.split(" "),
  "a",
  "b c",
  "d:e",
  "f#g",
  "é",
  "-h",
  "/i/j",
  "k=l",
  "$(m)",
  "n\\o",
  "10%",
);
const TEXT = fc.string({
  unit: fc.constantFrom(...Array.from("ab :#-?,[]{}&*!|>%@`\\'\"1.é😀\t"), " ", " "),
  maxLength: 12,
});
const LINES = fc.array(fc.constantFrom("a", "  b", "c: d", "", "", "# e", "- f", "g ", " h", "\ti"), { maxLength: 5 });

const tagged = fc
  .tuple(
    fc.constantFrom("", "", "", "", "!!str ", "!!int ", "!!float ", "!!bool ", "!!null ", "! ", "!x ", "&d "),
    fc.oneof(PLAIN, TEXT.map(singleQuoted), TEXT.map(doubleQuoted), PLAIN.map(singleQuoted), PLAIN.map(doubleQuoted)),
  )
  .map((parts) => parts.join(""));

const scalar = tagged.map(
  (text): Written =>
    () =>
      ` ${text}`,
);
const overLines = fc.array(fc.constantFrom("a", "b", "1", "c:d"), { minLength: 2, maxLength: 4 }).chain((words) =>
  fc.constantFrom("", "'", '"').map(
    (quote): Written =>
      (indent) =>
        ` ${quote}${words.join(`\n${indent}`)}${quote}`,
  ),
);
const blockScalar = fc.tuple(fc.constantFrom("|", "|-", "|+", ">", ">-", ">+", "|2", ">2-", "| # a"), LINES).map(
  ([head, lines]): Written =>
    (indent, inBrackets) =>
      inBrackets ? " a" : ` ${head}${lines.map((line) => (line === "" ? "\n" : `\n${indent}${line}`)).join("")}`,
);
const alias = fc.constantFrom("a", "b", "c").map(
  (name): Written =>
    () =>
      ` *${name} `,
);
const key = fc.oneof(
  { arbitrary: fc.constantFrom("a", "b", "c d", "e/f", "'g'", '"h"', "i-j", "k.l"), weight: 3 },
  fc.constantFrom("1", "1.5", "true", "no", "0x10", "~", "<<", "'<<'", "&e m", "!!str 2", "*c ", "? n\n", "{}"),
);
const noise = fc.constantFrom("", "", "", "", " # a", "\n", "\n# b", "\n      # c\n\n");

const { value } = fc.letrec<{ value: Written; map: Written; list: Written }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    overLines,
    blockScalar,
    alias,
    tie("map"),
    tie("list"),
  ),
  map: fc
    .tuple(
      fc.array(fc.tuple(key, tie("value"), noise), { maxLength: 4 }),
      fc.boolean(),
      fc.constantFrom("", "", " &f", " !!map"),
    )
    .map(([entries, flow, properties]) => writeMap(entries, flow, properties)),
  list: fc
    .tuple(
      fc.array(fc.tuple(tie("value"), noise), { maxLength: 4 }),
      fc.boolean(),
      fc.constantFrom("", "", " &g", " !!seq"),
    )
    .map(([items, flow, properties]) => writeList(items, flow, properties)),
}));

function writeMap(entries: [key: string, value: Written, noise: string][], flow: boolean, properties: string): Written {
  return (indent, inBrackets) => {
    if (flow || inBrackets || entries.length === 0) {
      return `${properties} {${entries.map(([name, write]) => `${name}:${write(`${indent}  `, true)}`).join(", ")}}`;
    }
    const written = entries.map(([name, write, after]) => {
      const colon = name.startsWith("?") ? `${name}${indent}:` : `${name}:`;
      return `\n${indent}${colon}${write(`${indent}  `, false)}${after}`;
    });
    return `${properties}${written.join("")}`;
  };
}

function writeList(items: [value: Written, noise: string][], flow: boolean, properties: string): Written {
  return (indent, inBrackets) => {
    if (flow || inBrackets || items.length === 0) {
      return `${properties} [${items.map(([write]) => write(`${indent}  `, true)).join(",")}]`;
    }
    const written = items.map(([write, after]) => {
      const text = write(`${indent}  `, false);
      // A block may begin behind the dash.
      const compact = text.replace(new RegExp(`^\n${indent}  (?=[a-z-])`, "u"), " ");
      return `\n${indent}-${compact}${after}`;
    });
    return `${properties}${written.join("")}`;
  };
}

function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function doubleQuoted(text: string): string {
  return JSON.stringify(text);
}

const yamlDocument = fc.tuple(value, fc.constantFrom("", "", "", "...\n", "# a\n", "\n\n")).map(([write, end]) => {
  const anchors = "anchors: [&a {a: 1, x: y}, &b [z], &c w]";
  return `apiVersion: v1\nkind: A\nmetadata: {name: a}\n${anchors}\nspec:${write("  ", false)}\n${end}`;
});
const jsonDocument = fc
  .tuple(fc.jsonValue(), fc.constantFrom(0, 1, "\t"), fc.constantFrom("", "1.0", "1e5", "-0", "12345678901234567890"))
  .map(([spec, space, number]) =>
    JSON.stringify({ kind: "A", apiVersion: "v1", metadata: { name: "a" }, spec, number: 0 }, undefined, space).replace(
      /0(?=\s*\}$)/u,
      number || "0",
    ),
  );
const SEPARATORS = ["---\n", "---\n", "---\n", "--- # a\n", "\n---\n---\n"];
const YAML_BEGINNINGS = ["", "", "---\n", "\uFEFF", "# a\n"];
const manifest: fc.Arbitrary<string> = fc
  .tuple(
    fc.oneof(
      { arbitrary: joined(YAML_BEGINNINGS, yamlDocument, SEPARATORS), weight: 3 },
      joined(YAML_BEGINNINGS, fc.oneof(jsonDocument, yamlDocument), ["\n---\n", "\n---  # a\n\n"]),
      joined(["", " ", "\uFEFF"], jsonDocument, ["", "\n", " "]),
    ),
    fc.boolean(),
  )
  .map(([text, isWindows]) => (isWindows ? text.replaceAll("\n", "\r\n") : text));

function joined(beginnings: string[], document: fc.Arbitrary<string>, separators: string[]): fc.Arbitrary<string> {
  return fc
    .tuple(
      fc.constantFrom(...beginnings),
      fc.array(document, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...separators),
    )
    .map(([beginning, documents, separator]) => beginning + documents.join(separator));
}

const TOKENS = Array.from(" \n\t-:?,[]{}#&*!|>'\"%@`\\~=").concat(
  ["  ", "\n\n", "\n  ", ": ", "- ", " #", "&a ", "*a", "!!str ", "!x", "|\n", ">+\n", "|2\n", "''", '\\"', "\\\n"],
  ["---", "...\n", "a: b\n", "- a\n", "<<: *a", "{a: b}", "[a]", "a\n b", "0o17", "1_0", "yes", "y", "null"],
  ["\r", "\u0085", "é"],
);
/** The place is a part of what comes behind the object's name, which is needed. */
const damage = fc.noBias(fc.record({ place: fc.nat(9999), length: fc.nat(2), put: fc.constantFrom(...TOKENS) }));

/** An object that has this YAML in its spec. */
export function thing(spec = "a: b"): string {
  return `apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n${spec.replaceAll(/^(?=.)/gmu, "  ")}\n`;
}

/** An object that has this JSON in its spec. */
export function json(spec = "1"): string {
  return `{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "spec": ${spec}}`;
}
