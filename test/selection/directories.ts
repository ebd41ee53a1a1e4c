/** Directories of network configurations, good and bad, and plugins for them. */
import * as fc from "fast-check";
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import type { PluginAnswer } from "../../src/cni/selection.ts";

/** What is made under a name: a file, a link, or a directory of these. */
export type Made = { file: string | Uint8Array } | { link: string } | { directory: Record<string, Made> };

/** Makes everything below a directory, which is made as well. */
export function make(directory: string, content: Readonly<Record<string, Made>>): void {
  fs.mkdirSync(directory, { recursive: true });
  for (const [name, made] of Object.entries(content)) {
    const path = join(directory, name);
    fs.mkdirSync(dirname(path), { recursive: true });
    if ("file" in made) fs.writeFileSync(path, made.file);
    else if ("link" in made) fs.symlinkSync(made.link, path);
    else make(path, made.directory);
  }
}

const ALL = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** Plugins in two directories, and what they answer to VERSION; undefined: runtimes do not find one. */
const PLUGINS: Record<string, { first?: Made; second?: Made; mode?: number; answer: PluginAnswer | undefined }> = {
  good: { first: answering({ cniVersion: "1.1.0", supportedVersions: ALL }), answer: { versions: ALL } },
  old: {
    first: answering({ cniVersion: "0.4.0", supportedVersions: ALL.slice(0, 5) }),
    answer: { versions: ALL.slice(0, 5) },
  },
  new: { first: answering({ cniVersion: "1.1.0", supportedVersions: ["1.1.0"] }), answer: { versions: ["1.1.0"] } },
  ancient: {
    first: answering({ code: 4, msg: "unknown CNI_COMMAND: VERSION" }, 1),
    answer: { versions: ["0.1.0"] },
  },
  listless: { first: answering({ cniVersion: "0.2.0" }), answer: { versions: ["0.1.0", "0.2.0"] } },
  silent: { first: answering({ cniVersion: "1.0.0" }), answer: { problem: "names no versions" } },
  failing: { first: answering({ code: 7, msg: "no" }, 1), answer: { problem: "fails" } },
  talking: { first: { file: "#!/bin/sh\ncat >/dev/null\necho hello\n" }, answer: { problem: "prints no JSON" } },
  plain: { first: { file: "#!/bin/sh\n" }, mode: 0o644, answer: { problem: "is not executable" } },
  empty: { first: { file: "" }, answer: { problem: "is empty" } },
  folder: { first: { directory: {} }, answer: undefined },
  dangling: { first: { link: "nowhere" }, answer: undefined },
  linked: { first: { link: "good" }, answer: { versions: ALL } },
  second: {
    first: { directory: {} },
    second: answering({ cniVersion: "1.1.0", supportedVersions: ALL }),
    answer: { versions: ALL },
  },
  covered: { first: { file: "" }, second: { link: "second" }, answer: { problem: "is empty" } },
};

function answering(value: unknown, exitCode = 0): Made {
  return { file: `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify(value)}'\nexit ${exitCode}\n` };
}

/** The types of the plugins; some of them are not there. */
export const PLUGIN_TYPES = [...Object.keys(PLUGINS), "absent"];

/** Makes the plugins. @returns their directories, in the order in which they are searched. */
export function makePlugins(directory: string): string[] {
  const directories = [join(directory, "first"), join(directory, "second")] as const;
  for (const [name, { first, second, mode = 0o755 }] of Object.entries(PLUGINS)) {
    make(directories[0], first ? { [name]: first } : {});
    make(directories[1], second ? { [name]: second } : {});
    for (const [made, path] of [
      [first, join(directories[0], name)],
      [second, join(directories[1], name)],
    ] as const) {
      if (made !== undefined && "file" in made) fs.chmodSync(path, mode);
    }
  }
  return [...directories];
}

/** What a plugin of `makePlugins` answers. */
export function answerOf(type: string): PluginAnswer | undefined {
  return Object.hasOwn(PLUGINS, type) ? PLUGINS[type]?.answer : undefined;
}

/** The names of the networks in generated directories. */
export const NETWORKS = [
  "a",
  "b",
  "net.c",
  "",
  "x y",
  "../a",
  "a/b",
  "é<&>\u2028",
  "10-a.conf",
  "kubeconfig",
  "absent",
];

/** A directory, and how the runtimes are set up. */
export interface Case {
  content: Record<string, Made>;
  maxConfNum: number;
  defaultNetwork: string;
}

/** Generates directories. @returns the same ones for the same seed. */
export function generateCases(count: number, seed: number): Case[] {
  const content = fc.tuple(networkFiles(), otherNames(), dropInDirectories()).map((parts) => merge(...parts));
  const one = fc.record({
    content,
    maxConfNum: fc.constantFrom(1, 1, 1, 1, 0, 2),
    defaultNetwork: fc.constantFrom("", "", "a", "net.c"),
  });
  return fc.sample(one, { numRuns: count, seed });
}

function merge(...parts: Record<string, Made>[]): Record<string, Made> {
  return Object.fromEntries(parts.flatMap((part) => Object.entries(part)));
}

function networkFiles(): fc.Arbitrary<Record<string, Made>> {
  const stem = fc.constantFrom(
    "00-multus",
    "05-a",
    "10-a",
    "10-b",
    "9",
    "Z",
    "_",
    "é",
    "\uffee",
    "\u{1f600}",
    "x y: z",
    "",
  );
  const list = stem.chain((name) => text(true).map((file) => [`${name}.conflist`, { file }] as const));
  const single = fc
    .tuple(stem, fc.constantFrom(".conf", ".conf", ".json"))
    .chain(([name, extension]) => text(false).map((file) => [`${name}${extension}`, { file }] as const));
  const wrong = stem.chain((name) => text(false).map((file) => [`${name}.conflist`, { file }] as const));
  const files = fc.oneof(
    { arbitrary: list, weight: 16 },
    { arbitrary: single, weight: 8 },
    { arbitrary: wrong, weight: 1 },
  );
  return fc.array(files, { maxLength: 5 }).map((entries) => Object.fromEntries(entries));
}

/** What also lies there: links, directories, backups, temporary files. */
function otherNames(): fc.Arbitrary<Record<string, Made>> {
  const name = fc.constantFrom(
    ..."07-link.conf 06-link.conflist 05-a.json 99.json kubeconfig multus.d .hidden.conf a.conf.bak".split(" "),
    ..."10-a.conflist.cilium_bak 10-a.conf~ .tmp-1 README.CONF a.conflist.tmp .conf 00.yaml".split(" "),
  );
  const target = fc.constantFrom("10-a.conflist", "05-a.conf", "nowhere", "/dev/null", "a", ".", "07-link.conf");
  const made: fc.Arbitrary<Made> = fc.oneof(
    target.map((link) => ({ link })),
    target.map((link) => ({ link })),
    fc.constant({ directory: { "10-a.conf": { file: '{"name":"inside","type":"good"}' } } }),
    fc.constantFrom({ file: "" }, { file: '{"name":"b","type":"good"}' }, { file: "secret" }),
  );
  const entry = fc.tuple(name, made);
  return fc
    .oneof({ arbitrary: fc.constant([]), weight: 2 }, { arbitrary: fc.array(entry, { maxLength: 3 }), weight: 1 })
    .map((entries) => Object.fromEntries(entries));
}

function dropInDirectories(): fc.Arbitrary<Record<string, Made>> {
  const files = fc.array(
    fc.tuple(
      fc.constantFrom("1.conf", "2.conf", "é.conf", "10.conf", "3.conflist", "4.json", ".conf", "5.conf.bak"),
      mostly<Made>(
        text(false).map((file) => ({ file })),
        { link: "nowhere" },
        { link: "1.conf" },
        { directory: {} },
      ),
    ),
    { minLength: 1, maxLength: 3 },
  );
  const made = mostly<Made>(
    files.map((entries) => ({ directory: Object.fromEntries(entries) })),
    { file: "" },
    { link: "nowhere" },
    { link: "." },
  );
  const entry = fc.tuple(fc.constantFrom("a", "b", "net.c", "x y"), made);
  return fc
    .oneof(
      { arbitrary: fc.constant([]), weight: 1 },
      { arbitrary: fc.array(entry, { minLength: 1, maxLength: 3 }), weight: 1 },
    )
    .map((entries) => Object.fromEntries(entries));
}

/** Mostly the one, sometimes one of the others. */
function mostly<T>(usual: fc.Arbitrary<T>, ...unusual: T[]): fc.Arbitrary<T> {
  return fc.oneof({ arbitrary: usual, weight: 60 }, { arbitrary: fc.constantFrom(...unusual), weight: 1 });
}

/** Stands for a number that no double holds. */
const HUGE = "@huge@";

/** The text of a configuration: mostly good, sometimes with a value of the wrong type, sometimes no JSON. */
function text(isList: boolean): fc.Arbitrary<string | Uint8Array> {
  const value = isList ? network() : plugin();
  const written = fc
    .tuple(value, withWrongValue(value), fc.nat(9), fc.constantFrom(undefined, 1, "\t"))
    .map(([good, wrong, which, indent]) => JSON.stringify(which === 0 ? wrong : good, undefined, indent))
    .map((json) => json.replaceAll(`"${HUGE}"`, "-1e999"));
  // Keys that are given twice, of which libcni takes the last, at least in a list.
  const twice = written.map((json) => (isList ? json.replace("{", '{"name":1,"plugins":"","name":"b",') : json));
  return fc.oneof<fc.MaybeWeightedArbitrary<string | Uint8Array>[]>(
    { arbitrary: written, weight: 25 },
    { arbitrary: twice, weight: 1 },
    { arbitrary: damaged(written), weight: 2 },
    // Bytes that are no UTF-8.
    { arbitrary: written.map((json) => Buffer.from(json.replaceAll("é", "\xff"), "latin1")), weight: 1 },
    {
      arbitrary: fc.constantFrom(
        "",
        " \n",
        "null",
        "[]",
        '"a"',
        "{}",
        '{"name":"a"}',
        '\ufeff{"name":"a","type":"good"}',
      ),
      weight: 1,
    },
  );
}

const VERSIONS = fc.constantFrom(...ALL, "", "1.2.0", "2.0.0");

function network(): fc.Arbitrary<Record<string, unknown>> {
  const flag = mostly<unknown>(fc.constantFrom(true, false, "true", "FALSE", false), "yes", null, 1, "");
  return fc.record(
    {
      name: mostly<unknown>(
        fc.oneof({ arbitrary: fc.constantFrom("a", "b", "net.c"), weight: 3 }, fc.constantFrom(...NETWORKS)),
        null,
        1,
      ),
      cniVersion: mostly<unknown>(fc.oneof(fc.constant("1.0.0"), VERSIONS), "x", "1.0", "+1.0.0", null),
      cniVersions: mostly<unknown>(
        fc.array(VERSIONS, { maxLength: 4 }),
        ["1.0.0", "x"],
        ["1.0", "1.0.0"],
        "1.0.0",
        null,
      ),
      disableCheck: flag,
      disableGC: flag,
      loadOnlyInlinedPlugins: flag,
      plugins: mostly<unknown>(fc.array(plugin(), { minLength: 1, maxLength: 3 }), [], null, ["good"], {}),
      other: mostly<unknown>(fc.constantFrom(null, 1, [], "é"), HUGE),
    },
    { requiredKeys: ["name", "plugins"] },
  );
}

const GOOD = fc.constantFrom("good", "good", "good", "good", "good", "linked", "second", "old");
const TYPES = fc.oneof({ arbitrary: GOOD, weight: 3 }, fc.constantFrom(...PLUGIN_TYPES, "../good"));

function plugin(): fc.Arbitrary<Record<string, unknown>> {
  const ranges = [[{ subnet: "10.1.0.0/24" }]];
  const characters = '\u2028\u0007\u007f\\"é<&>';
  const keys: Record<string, fc.Arbitrary<unknown>> = {
    type: mostly<unknown>(TYPES, "", null, 1),
    name: mostly<unknown>(fc.constantFrom("a", "b", "net.c", ...NETWORKS), null, 1),
    cniVersion: mostly<unknown>(VERSIONS, "x", "1.0", null, 1),
    ipam: mostly<unknown>(
      fc.constantFrom({ type: "host-local", ranges }, {}, { TYPE: "dhcp" }, { type: null }, null),
      "x",
    ),
    dns: mostly<unknown>(
      fc.constantFrom({ nameservers: ["1.1.1.1", null], Search: [] }, {}, null, { domain: "é" }),
      [],
    ),
    capabilities: mostly<unknown>(fc.constantFrom({ portMappings: true, mac: null }, {}, null), { mac: "true" }),
    prevResult: mostly<unknown>(fc.constantFrom({ ips: [] }, null), []),
    "cni.dev/valid-attachments": fc.constantFrom<unknown[]>([], null, [null, { containerID: "a", IFNAME: "b" }]),
    // What a plugin may have besides, with what can be written in more than one way.
    "b<": fc.constantFrom<unknown[]>(-0, 1e21, 1e-7, 1.5, 2 ** 63, characters, { z: 1, a: null }),
    "10": mostly<unknown>(fc.constant(1), HUGE),
    "9": fc.constant(1),
    plugins: fc.constantFrom<unknown[]>([], null),
  };
  // Go does not tell the cases of keys apart.
  const spelled = mostly<[string, unknown]>(
    fc.tuple(fc.constantFrom("Type", "tYPE", "NAME"), fc.constantFrom("good", "", null)),
    ["ipAM", "good"],
    ["ipAM", {}],
  );
  return fc
    .tuple(
      fc.record(keys, { requiredKeys: ["type"] }),
      fc.subarray(Object.keys(keys), { maxLength: 6 }),
      fc.option(spelled, { freq: 9 }),
    )
    .map(([values, chosen, extra]) =>
      Object.fromEntries([
        ...["type", ...chosen].filter((key) => key in values).map((key) => [key, values[key]]),
        ...(extra === null ? [] : [extra]),
      ]),
    );
}

/** Puts something else in the place of one value, at the top or one level below. */
function withWrongValue(value: fc.Arbitrary<Record<string, unknown>>): fc.Arbitrary<Record<string, unknown>> {
  const wrong = fc.constantFrom<unknown[]>(null, 1, "", "x", true, [], {}, [1], [{}], [null], { type: 1 }, { a: 1 });
  return fc.tuple(value, fc.nat(), wrong).map(([whole, at, instead]) => {
    const key = Object.keys(whole)[at % Math.max(1, Object.keys(whole).length)] ?? "x";
    const inner = whole[key];
    const isNested = at % 2 === 0 && typeof inner === "object" && inner !== null && !Array.isArray(inner);
    const innerKey = isNested ? (Object.keys(inner)[0] ?? "x") : "";
    return { ...whole, [key]: isNested ? { ...inner, [innerKey]: instead } : instead };
  });
}

function damaged(json: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const inserted = fc.constantFrom(...'"\\{}[]:,-.e0 \n\u00a0\ufeff/*'.split(""), "", "", "{}", "__10-a.conf__");
  return fc
    .tuple(json, fc.nat(), fc.nat({ max: 3 }), inserted, fc.boolean())
    .map(([one, where, removed, put, isCut]) => {
      const at = where % (one.length + 1);
      return isCut ? one.slice(0, at) : `${one.slice(0, at)}${put}${one.slice(at + removed)}`;
    });
}
