/** What the runtimes take, by their own libraries, against what `src/cni/selection.ts` says that they take. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";

import { isConfigName } from "../../src/cni/config.ts";
import { askVersion, findPlugin } from "../../src/cni/invoke.ts";
import { isObject } from "../../src/cni/json.ts";
import type { DirectoryListing, Network } from "../../src/cni/listing.ts";
import { readDirectoryListing } from "../../src/cni/load.ts";
import { selectByName, selectForContainerd, selectForCrio } from "../../src/cni/selection.ts";
import { SEED, SEED_NOTE } from "../helpers/random.ts";
import { findSelectionPrograms } from "../selection/build.ts";
import {
  answerOf,
  generateCases,
  make,
  makePlugins,
  NETWORKS,
  PLUGIN_TYPES,
  type Case,
  type Made,
} from "../selection/directories.ts";

/** As test/selection/runtimes/main.go writes them. */
interface TheirNetwork {
  file?: string;
  name: string;
  cniVersion: string;
  text: string;
  plugins: { type: string; text: string }[];
  flags?: { disableCheck: boolean; disableGC: boolean; loadOnlyInlinedPlugins: boolean };
}
interface Theirs {
  containerd: { error?: string; networks: TheirNetwork[] };
  crio: {
    default: string;
    networks: Record<string, TheirNetwork>;
    found: string[];
    ignored: string[];
    refused: string[];
  };
  byName: { error?: string; missing: boolean; network?: TheirNetwork }[];
}

const COUNT = 600;

const root = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
const pluginDirs = makePlugins(join(root, "plugins"));
after(() => {
  fs.rmSync(root, { recursive: true, force: true });
});

function makeCases(name: string, cases: readonly Case[]): string[] {
  return cases.map(({ content }, index) => {
    const directory = join(root, `${name}-${index}`, "net.d");
    make(directory, content);
    return directory;
  });
}

function askRuntimes(cases: readonly Case[], directories: readonly string[]): Theirs[] {
  const requests = cases.map(({ maxConfNum, defaultNetwork }, index) => ({
    Directory: directories[index],
    PluginDirs: pluginDirs,
    MaxConfNum: maxConfNum,
    DefaultNetwork: defaultNetwork,
    Names: NETWORKS,
  }));
  const input = JSON.stringify(requests);
  const options = { input, encoding: "utf8", maxBuffer: 1024 ** 3 } as const;
  const { status, stdout, stderr } = spawnSync(join(findSelectionPrograms(), "runtimes"), options);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Theirs[];
}

/** Both sides in one form. */
function ourView({ list }: Network): unknown {
  const { name, cniVersion, text, plugins } = list;
  return { name, cniVersion, text, plugins: plugins.map(withNumbers) };
}

/** An integer beyond a number's precision, which we keep as text, is a number to them. */
function withNumbers(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNumbers);
  if (isObject(value))
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withNumbers(member)]));
  return typeof value === "object" && value !== null ? Number(JSON.stringify(value)) : value;
}

function theirView({ name, cniVersion, text, plugins }: TheirNetwork): unknown {
  return {
    name,
    cniVersion: cniVersion || "0.1.0",
    text,
    plugins: plugins.map(({ type, text: config }) => ({ ...(JSON.parse(config) as object), type })),
  };
}

type Difference = [what: string, ours: unknown, theirs: unknown];

function differencesOf(one: Case, directory: string, theirs: Theirs): Difference[] {
  const listing = readDirectoryListing(directory);
  return [
    ...differencesOfContainerd(one, listing, directory, theirs.containerd),
    ...differencesOfCrio(one, listing, theirs.crio),
    ...NETWORKS.flatMap((name, index) => differencesByName(listing, name, theirs.byName[index])),
  ].filter(([, ours, them]) => !isDeepStrictEqual(ours, them));
}

function differencesOfContainerd(
  { maxConfNum }: Case,
  listing: DirectoryListing,
  directory: string,
  { error = "", networks }: Theirs["containerd"],
): Difference[] {
  const selection = selectForContainerd(listing, { maxConfNum });
  const taken = selection.files.filter(({ verdict }) => verdict === "chosen" || verdict === "loaded");
  const brokenFile = selection.files.find(({ verdict }) => verdict === "broken")?.file;
  return [
    ["containerd's networks", taken.map(({ network }) => network && ourView(network)), networks.map(theirView)],
    [
      "containerd's first network",
      selection.chosen && ourView(selection.chosen),
      networks[0] && theirView(networks[0]),
    ],
    ["containerd finds no file", selection.error?.code === "no-file", error.includes("no network config found")],
    ["containerd stops at a file", brokenFile, brokenFileOf(error, directory, listing)],
  ];
}

/** The file that an error of go-cni or libcni is about. */
function brokenFileOf(error: string, directory: string, { entries }: DirectoryListing): string | undefined {
  // A name may be the beginning of another.
  const names = [...entries.keys()].sort((a, b) => b.length - a.length);
  return names.find((file) => {
    const path = join(directory, file);
    return [`file ${path}: `, `found in ${path}: `, `file ${path} to `].some((part) => error.includes(part));
  });
}

function differencesOfCrio({ defaultNetwork }: Case, listing: DirectoryListing, theirs: Theirs["crio"]): Difference[] {
  const selection = selectForCrio(listing, answerOf, { defaultNetwork });
  const ofVerdict = (...verdicts: string[]): string[] =>
    selection.files.filter(({ verdict }) => verdicts.includes(verdict)).map(({ file }) => file);
  const chosen = theirs.networks[theirs.default];
  const networks = selection.files.filter(({ verdict }) => verdict === "chosen" || verdict === "loaded");
  const unread = [...listing.entries.keys()].filter((file) => !isConfigName(file));
  return [
    ["CRI-O's network", selection.chosen?.file, chosen?.file],
    ["CRI-O's network as loaded", selection.chosen && ourView(selection.chosen), chosen && theirView(chosen)],
    [
      "CRI-O's networks",
      Object.fromEntries(networks.map(({ file, network }) => [network?.list.name, file])),
      Object.fromEntries(Object.entries(theirs.networks).map(([name, { file }]) => [name, file])),
    ],
    ["CRI-O has none", selection.error !== undefined, chosen === undefined],
    ["CRI-O finds", ofVerdict("chosen", "loaded", "shadowed"), theirs.found],
    ["CRI-O ignores", ofVerdict("shadowed").filter((file) => theirs.found.includes(file)), theirs.ignored],
    ["CRI-O refuses", ofVerdict("refused"), theirs.refused],
    ["CRI-O does not read", unread.filter((file) => theirs.found.includes(file)), []],
  ];
}

function differencesByName(
  listing: DirectoryListing,
  name: string,
  theirs: Theirs["byName"][number] | undefined,
): Difference[] {
  const selected = selectByName(listing, name);
  const network = selected && "network" in selected ? selected.network : undefined;
  const flags = network && {
    disableCheck: network.list.disableCheck,
    disableGC: network.list.disableGC,
    loadOnlyInlinedPlugins: network.list.loadOnlyInlinedPlugins,
  };
  const their = theirs?.network;
  return [
    [`the network ${JSON.stringify(name)}`, network && ourView(network), their && theirView(their)],
    [`the flags of ${JSON.stringify(name)}`, flags, their?.flags],
    [`there is no ${JSON.stringify(name)}`, selected === undefined, theirs?.missing],
  ];
}

test("the plugins of the directories answer us as the table of their answers says", async () => {
  for (const type of PLUGIN_TYPES) {
    const path = findPlugin(type, pluginDirs);
    const answer = path === undefined ? undefined : await askVersion({ plugin: type, path }).catch(() => "problem");
    const expected = answerOf(type);
    assert.deepEqual(answer, expected && ("versions" in expected ? expected.versions : "problem"), type);
  }
});

test(`of ${COUNT} generated directories, each runtime takes what we say that it takes`, (t) => {
  t.diagnostic(SEED_NOTE);
  const cases = generateCases(COUNT, SEED);
  const directories = makeCases("generated", cases);
  const theirs = askRuntimes(cases, directories);
  const different = cases.flatMap((one, index) => {
    const found = differencesOf(one, directories[index] ?? "", theirs[index] as Theirs);
    return found.length === 0 ? [] : [inspect({ ...one, found }, { depth: null, maxStringLength: null })];
  });
  const shown = different.slice(0, 3).join("\n");
  assert.equal(different.length, 0, `${SEED_NOTE}: ${different.length} of ${COUNT} differ:\n${shown}`);
  const [containerd, crio] = [
    theirs.filter(({ containerd: { networks } }) => networks.length > 0).length,
    theirs.filter(({ crio: { networks } }) => Object.keys(networks).length > 0).length,
  ];
  t.diagnostic(`containerd has a network in ${containerd}, CRI-O in ${crio} of them`);
  for (const count of [containerd, crio]) assert.ok(count > COUNT / 5 && count < (COUNT * 4) / 5, String(count));
});

/** The only differences that are known. None of them is made by generateCases; each is shown to be one. */
const KNOWN: { what: string; reason: string; content: Record<string, Made>; nameless?: string }[] = [
  {
    what: "a file of more than 2 MiB is broken to us",
    reason: "we do not fill the memory of a node with it; the libraries read it, whatever its size",
    content: { "a.conf": { file: `{"name":"a","type":"good"}${" ".repeat(2 * 1024 * 1024)}` } },
  },
  {
    what: "a nesting of more than 1,000 levels is broken to us",
    reason: "whoever goes through such a value comes to the end of the stack; Go stops at 10,000",
    content: { "a.conf": { file: `{"name":"a","type":"good","x":${"[".repeat(2000)}${"]".repeat(2000)}}` } },
  },
  {
    what: "of a key that is given twice in a single we see the last only",
    reason: "JSON.parse does; libcni stumbles over the first, too, if it has the wrong type",
    content: { "a.conf": { file: '{"name":1,"name":"a","type":"good"}' } },
  },
  {
    what: "half of a pair of UTF-16 surrogates in a name stays what it is",
    reason: "it is a text in JavaScript; Go puts U+FFFD in its place",
    content: { "a.conf": { file: '{"name":"a\\ud800","type":"good"}' } },
  },
  {
    what: "the beginning of a UTF-8 sequence in a text becomes one U+FFFD",
    reason: "the Encoding standard wants it so; Go puts one for each byte",
    content: { "a.conf": { file: Buffer.from('{"name":"a","x":"\xe2\x82","type":"good"}', "latin1") } },
  },
  {
    what: "file names that are no UTF-8 are sorted as if they had U+FFFD in it",
    reason: "names are texts here, and no configuration has such a name",
    content: { "\u{1f600}.conf": { file: '{"name":"a","type":"good"}' } },
    nameless: '{"name":"b","type":"good"}',
  },
  {
    what: "among more than 12 cniVersions with several spellings of one version, another spelling is taken",
    reason: "libcni compares them so that the order of equal ones is left to the sorting algorithm",
    content: {
      "a.conflist": {
        file: JSON.stringify({
          name: "a",
          cniVersions: ["1.0.0", ...Array.from({ length: 6 }, () => ["1.0", "1"]).flat(), "1.0.0"],
          plugins: [{ type: "good" }],
        }),
      },
    },
  },
  // And one that cannot be shown: of a pipe or a device with the name of a configuration we say that it is broken;
  // the libraries open it, and may wait for ever.
];

test("the known differences are differences", () => {
  const cases = KNOWN.map(({ content }) => ({ content, maxConfNum: 1, defaultNetwork: "" }));
  const directories = makeCases("known", cases);
  for (const [index, { nameless }] of KNOWN.entries()) {
    if (nameless === undefined) continue;
    fs.writeFileSync(
      Buffer.concat([Buffer.from(`${directories[index]}/`), Buffer.from("\xff.conf", "latin1")]),
      nameless,
    );
  }
  const theirs = askRuntimes(cases, directories);
  for (const [index, one] of cases.entries()) {
    const { what, reason } = KNOWN[index] as (typeof KNOWN)[number];
    const found = differencesOf(one, directories[index] ?? "", theirs[index] as Theirs);
    assert.ok(found.length > 0, `it is none any more: ${what}: ${reason}`);
  }
});
