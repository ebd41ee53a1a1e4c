import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { DirectoryListing, ListingEntry } from "../../src/cni/listing.ts";
import {
  selectByName,
  selectForContainerd,
  selectForCrio,
  type PluginAnswer,
  type Selection,
} from "../../src/cni/selection.ts";

type Directory = Record<string, string | ListingEntry>;

function entriesOf(files: Directory): Map<string, ListingEntry> {
  return new Map(
    Object.entries(files).map(([name, entry]) => [
      name,
      typeof entry === "string" ? { type: "file", text: entry } : entry,
    ]),
  );
}

function listing(files: Directory, dropIns: Record<string, Directory | string> = {}): DirectoryListing {
  const read = Object.entries(dropIns).map(
    ([name, inside]) =>
      [
        name,
        typeof inside === "string" ? ({ type: "unreadable", reason: inside } as const) : entriesOf(inside),
      ] as const,
  );
  return { entries: entriesOf(files), dropIns: new Map(read) };
}

function list(name: string, ...types: string[]): string {
  return JSON.stringify({ name, cniVersion: "1.0.0", plugins: types.map((type) => ({ type })) });
}

function single(name: string, type: string): string {
  return JSON.stringify({ name, cniVersion: "1.0.0", type });
}

const ALL_VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

function hasAll(): PluginAnswer {
  return { versions: ALL_VERSIONS };
}

function has(...types: string[]): (type: string) => PluginAnswer | undefined {
  return (type) => (types.includes(type) ? hasAll() : undefined);
}

/** `05-a.conf shadowed later`, by file. */
function verdictsOf({ files }: Selection): string[] {
  return files.map(({ file, verdict, reason }) => `${file} ${verdict} ${reason.code}`);
}

function whyOf({ files }: Selection, name: string): string | undefined {
  return files.find(({ file }) => file === name)?.reason.message;
}

describe("containerd", () => {
  test("takes the first file in the order of the names, whatever the networks are called", () => {
    const selection = selectForContainerd(
      listing({
        "10-calico.conflist": list("a", "calico", "portmap"),
        "9-flannel.conf": single("b", "flannel"),
        "05-z.json": single("z", "ptp"),
        Z: { type: "other" },
      }),
    );
    assert.equal(selection.chosen?.file, "05-z.json");
    assert.equal(selection.error, undefined);
    assert.deepEqual(verdictsOf(selection), [
      "05-z.json chosen first",
      "10-calico.conflist shadowed later",
      "9-flannel.conf shadowed later",
      "Z ignored name",
    ]);
  });

  test("orders names by their bytes: numbers, capitals, small letters, then what is not ASCII", () => {
    const names = ["10.conf", "9.conf", "A.conf", "_.conf", "a.conf", "ä.conf", "\uffee.conf", "\u{1f600}.conf"];
    const selection = selectForContainerd(listing(Object.fromEntries(names.map((name) => [name, single("n", "a")]))));
    assert.deepEqual(
      selection.files.map(({ file }) => file),
      names,
    );
  });

  test("takes the .conf of two twins, and says so of the .conflist", () => {
    const selection = selectForContainerd(
      listing({ "00-multus.conflist": list("new", "multus"), "00-multus.conf": single("old", "multus") }),
    );
    assert.equal(selection.chosen?.list.name, "old");
    assert.deepEqual(verdictsOf(selection), ["00-multus.conf chosen first", "00-multus.conflist shadowed twin"]);
    assert.equal(whyOf(selection, "00-multus.conflist"), "has the same name as 00-multus.conf, which comes first");
  });

  test("is left without a network by one broken file that comes first, and stops there", () => {
    const selection = selectForContainerd(
      listing({ "05-new.conflist": "", "10-calico.conflist": list("a", "calico") }),
    );
    assert.equal(selection.chosen, undefined);
    assert.deepEqual(selection.error, { code: "broken", message: "05-new.conflist is empty" });
    assert.deepEqual(verdictsOf(selection), ["05-new.conflist broken invalid", "10-calico.conflist spoiled stopped"]);
    assert.equal(whyOf(selection, "10-calico.conflist"), "is not loaded, because containerd stops at 05-new.conflist");
  });

  test("does not get to a broken file behind, of which it is told all the same", () => {
    const selection = selectForContainerd(listing({ "05-a.conflist": list("a", "ptp"), "10-b.conflist": "{" }));
    assert.equal(selection.chosen?.file, "05-a.conflist");
    assert.deepEqual(verdictsOf(selection), ["05-a.conflist chosen first", "10-b.conflist shadowed later"]);
    assert.match(selection.files[1]?.objection?.message ?? "", /^is not JSON/u);
  });

  test("with max_conf_num 2 takes two, of which none may be broken; with 0 it takes all", () => {
    const files = { "1.conf": single("a", "a"), "2.conf": single("b", "b"), "3.conf": "broken" };
    assert.deepEqual(verdictsOf(selectForContainerd(listing(files), { maxConfNum: 2 })), [
      "1.conf chosen first",
      "2.conf loaded among-first",
      "3.conf shadowed later",
    ]);
    assert.deepEqual(verdictsOf(selectForContainerd(listing(files), { maxConfNum: 0 })), [
      "1.conf spoiled stopped",
      "2.conf spoiled stopped",
      "3.conf broken invalid",
    ]);
  });

  test("does not look for the plugins", () => {
    assert.equal(selectForContainerd(listing({ "a.conf": single("a", "no-such-plugin") })).chosen?.file, "a.conf");
  });

  test("cannot read a link that leads nowhere, and so loads nothing", () => {
    const link: ListingEntry = { type: "unreadable", reason: "is a link that leads nowhere" };
    const selection = selectForContainerd(listing({ "05-a.conf": link, "10-b.conf": single("b", "b") }));
    assert.deepEqual(selection.error, { code: "broken", message: "05-a.conf is a link that leads nowhere" });
  });

  test("finds nothing where nothing has the right name", () => {
    const none = { code: "no-file", message: "has no file that ends in .conf, .conflist or .json" };
    for (const files of [{}, { "a.conf": { type: "directory" }, "b.yaml": { type: "other" } }] satisfies Directory[]) {
      assert.deepEqual(selectForContainerd(listing(files)).error, none);
    }
  });
});

describe("CRI-O", () => {
  test("skips what is broken and takes the next", () => {
    const selection = selectForCrio(
      listing({ "05-new.conflist": "", "10-calico.conflist": list("a", "calico"), "20-b.conf": single("b", "ptp") }),
      hasAll,
    );
    assert.equal(selection.chosen?.file, "10-calico.conflist");
    assert.deepEqual(verdictsOf(selection), [
      "05-new.conflist broken invalid",
      "10-calico.conflist chosen first",
      "20-b.conf loaded by-name",
    ]);
  });

  test("skips a configuration of which a plugin is missing, does not answer, or does not support the version", () => {
    const answers: Record<string, PluginAnswer> = {
      old: { versions: ["0.3.1", "0.4.0"] },
      dead: { problem: "exit code 1" },
      good: { versions: ALL_VERSIONS },
      "../good": { versions: ALL_VERSIONS },
    };
    const selection = selectForCrio(
      listing({
        "1.conflist": list("a", "good", "absent"),
        "2.conf": single("b", "old"),
        "3.conf": single("c", "dead"),
        "4.conf": single("d", "../good"),
        "5.conf": single("e", "good"),
      }),
      (type) => answers[type],
    );
    assert.equal(selection.chosen?.file, "5.conf");
    assert.deepEqual(verdictsOf(selection), [
      "1.conflist refused plugin-missing",
      "2.conf refused plugin-version",
      "3.conf refused plugin-fails",
      "4.conf refused plugin-missing",
      "5.conf chosen first",
    ]);
    assert.equal(whyOf(selection, "1.conflist"), "needs the plugin absent, which is not there");
    assert.equal(whyOf(selection, "2.conf"), "needs the plugin old, which supports 0.3.1, 0.4.0, not 1.0.0");
    assert.equal(whyOf(selection, "3.conf"), "needs the plugin dead, which does not say its versions: exit code 1");
  });

  test("asks for version 0.1.0 where the configuration has none", () => {
    const files = listing({ "a.conf": '{"type":"a"}' });
    assert.equal(selectForCrio(files, hasAll).chosen, undefined);
    assert.equal(selectForCrio(files, () => ({ versions: ["0.1.0"] })).chosen?.list.cniVersion, "0.1.0");
  });

  test("calls a network without a name after its file", () => {
    const selection = selectForCrio(listing({ "10-a.conf": '{"cniVersion":"1.0.0","type":"a"}' }), hasAll);
    assert.equal(selection.chosen?.list.name, "10-a.conf");
    assert.deepEqual(selection.warnings, []);
  });

  test("takes the first of two files with the same network", () => {
    const selection = selectForCrio(
      listing({ "1.conf": single("a", "gone"), "2.conf": single("a", "x"), "3.conf": single("a", "x") }),
      has("x"),
    );
    assert.deepEqual(verdictsOf(selection), [
      "1.conf refused plugin-missing",
      "2.conf chosen first",
      "3.conf shadowed same-network",
    ]);
  });

  test("takes the network that its configuration names, and no other", () => {
    const files = listing({ "1.conf": single("a", "x"), "2.conf": single("b", "x") });
    const selection = selectForCrio(files, hasAll, { defaultNetwork: "b" });
    assert.deepEqual(verdictsOf(selection), ["1.conf loaded by-name", "2.conf chosen default"]);
    assert.deepEqual(selectForCrio(files, hasAll, { defaultNetwork: "c" }).error?.code, "no-default");
  });

  test("says why it has none", () => {
    assert.equal(selectForCrio(listing({}), hasAll).error?.code, "no-file");
    assert.equal(selectForCrio(listing({ "a.conf": "" }), hasAll).error?.code, "none-usable");
  });
});

describe("whoever asks for a network by its name", () => {
  const files = listing({ "1.conf": single("a", "x"), "2.conflist": list("a", "y"), "3.conf": single("b", "z") });

  test("gets the first list of that name, else the first single", () => {
    const fileOf = (name: string): unknown => {
      const selected = selectByName(files, name);
      return selected && "network" in selected ? selected.network.file : selected;
    };
    assert.deepEqual(["a", "b", "c"].map(fileOf), ["2.conflist", "3.conf", undefined]);
  });

  test("is stopped by a broken file that comes before it, not by one that comes after it", () => {
    const broken = listing({
      "1.conf": "",
      "2.conflist": list("a", "x"),
      "3.conflist": "",
      "0.conf": single("c", "x"),
    });
    assert.deepEqual(selectByName(broken, "b"), { file: "3.conflist", objection: { message: "is empty" } });
    assert.ok("network" in (selectByName(broken, "a") ?? {}));
  });

  test("is not stopped by a single of another name that could not be made a list", () => {
    const huge = listing({ "1.conf": '{"name":"x","type":"x","mtu":1e999}', "2.conf": single("a", "x") });
    assert.ok("network" in (selectByName(huge, "a") ?? {}));
    assert.deepEqual(selectByName(huge, "x"), {
      file: "1.conf",
      objection: { message: "has a number that is too large" },
    });
  });
});

describe("plugins that are dropped into the directory of a network", () => {
  const tuning = JSON.stringify({ type: "tuning" });

  test("are appended in the order of their names", () => {
    const dropIns = {
      a: {
        "20.conf": '{"type":"c"}',
        "10.conf": '{"type":"b"}',
        "é.conf": '{"type":"d"}',
        "30.conflist": "",
        "x.conf": { type: "directory" },
      },
    } as const;
    const { chosen, warnings } = selectForContainerd(listing({ "1.conflist": list("a", "ptp") }, dropIns));
    assert.deepEqual(
      chosen?.list.plugins.map(({ type }) => type),
      ["ptp", "b", "c", "d"],
    );
    assert.deepEqual(chosen.dropIns, ["a/10.conf", "a/20.conf", "a/é.conf"]);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["drop-ins"],
    );
  });

  test("may be all that a list has, and are left out where it says so, or where it is not a list", () => {
    const bare = JSON.stringify({ name: "a", cniVersion: "1.0.0" });
    const only = JSON.stringify({ name: "a", loadOnlyInlinedPlugins: true, plugins: [{ type: "ptp" }] });
    const chainOf = (file: string, text: string): unknown =>
      selectForContainerd(listing({ [file]: text }, { a: { "1.conf": tuning } })).chosen?.list.plugins.map(
        ({ type }) => type,
      );
    assert.deepEqual(chainOf("1.conflist", bare), ["tuning"]);
    assert.deepEqual(chainOf("1.conflist", only), ["ptp"]);
    assert.deepEqual(chainOf("1.conf", single("a", "ptp")), ["ptp"]);
  });

  test("spoil the network when one of them is broken", () => {
    const messages = [
      { "1.conf": "{}" },
      { "1.conf": { type: "unreadable", reason: "is a link that leads nowhere" } as const },
      "cannot be read: not a directory",
    ].map((inside) => selectForContainerd(listing({ "1.conflist": list("a", "ptp") }, { a: inside })).error?.message);
    assert.deepEqual(messages, [
      "1.conflist has the plugin file a/1.conf, which has no plugin type in the configuration (key type)",
      "1.conflist has the plugin file a/1.conf, which is a link that leads nowhere",
      "1.conflist has more plugins in the directory a/, which cannot be read: not a directory",
    ]);
  });

  test("are missed where a list has no plugins of its own", () => {
    const bare = listing({ "1.conflist": '{"name":"a"}' }, { a: { "1.json": tuning } });
    assert.equal(
      selectForContainerd(bare).error?.message,
      "1.conflist is a network configuration list (.conflist) without plugins, and a/ has none",
    );
  });
});

describe("a chosen network that cannot work is warned of", () => {
  const cases: [text: string, code: string][] = [
    ['{"cniVersion":"1.0.0","type":"a"}', "name"],
    [single("a b", "a"), "name"],
    [single("a", "bin/a"), "type"],
    ['{"cniVersion":"1.2.0","name":"a","type":"a"}', "version-newer"],
    ['{"cniVersion":"1.0","name":"a","type":"a"}', "version"],
    ['{"cniVersion":"one","name":"a","type":"a"}', "version"],
  ];
  for (const [text, code] of cases) {
    test(`${text}: ${code}`, () => {
      const { chosen, warnings } = selectForContainerd(listing({ "a.conf": text }));
      assert.ok(chosen);
      assert.deepEqual(
        warnings.map((warning) => warning.code),
        [code],
      );
    });
  }
  test("and one that can is not", () => {
    for (const cniVersion of ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", ""]) {
      const text = JSON.stringify({ name: "a", cniVersion, type: "a" });
      assert.deepEqual(selectForContainerd(listing({ "a.conf": text })).warnings, []);
    }
  });
});

describe("the stories of the field that selection decides", () => {
  const calico = list("k8s-pod-network", "calico", "portmap");

  test("2: of a list that is written in place, containerd and CRI-O see the half, and one of them goes dark", () => {
    for (let length = 0; length < calico.length; length++) {
      const half = listing({ "10-calico.conflist": calico.slice(0, length), "20-old.conflist": list("old", "ptp") });
      assert.equal(selectForContainerd(half).error?.code, "broken");
      assert.equal(selectForCrio(half, hasAll).chosen?.file, "20-old.conflist");
    }
  });

  test("12: the primary network is found behind what oneself has installed, by its content, whatever its name is", () => {
    const { chosen, files } = selectForContainerd(
      listing({
        "00-multus.conf": single("multus-cni-network", "multus"),
        "10-calico.conflist": calico,
        "05-multus-2.conflist": list("m", "multus-shim"),
      }),
    );
    assert.equal(chosen?.file, "00-multus.conf");
    const primary = files.find(({ network }) => network?.list.plugins.every(({ type }) => !type.startsWith("multus")));
    assert.deepEqual([primary?.file, primary?.verdict], ["10-calico.conflist", "shadowed"]);
  });

  test("13: what comes later to the directory and first by its name is taken from then on", () => {
    const ovn = { "10-kube-ovn.conflist": list("kube-ovn", "kube-ovn") };
    const both = { ...ovn, "05-cilium.conflist": list("cilium", "cilium-cni") };
    assert.equal(selectForContainerd(listing(ovn)).chosen?.list.name, "kube-ovn");
    const selection = selectForContainerd(listing(both));
    assert.equal(selection.chosen?.list.name, "cilium");
    assert.equal(
      whyOf(selection, "10-kube-ovn.conflist"),
      "comes after 05-cilium.conflist, and containerd takes no more",
    );
  });

  test("14: a configuration that Cilium renamed is named as such", () => {
    const selection = selectForContainerd(
      listing({ "00-multus.conf.cilium_bak": { type: "other" }, "05-cilium.conflist": list("cilium", "cilium-cni") }),
    );
    assert.deepEqual(verdictsOf(selection), [
      "00-multus.conf.cilium_bak ignored set-aside",
      "05-cilium.conflist chosen first",
    ]);
    assert.match(whyOf(selection, "00-multus.conf.cilium_bak") ?? "", /renamed; Cilium .* cni\.exclusive/u);
  });

  test("other files in the directory are told apart", () => {
    const files: Directory = {
      "10-a.conf.bak": { type: "other" },
      "10-a.conflist~": { type: "other" },
      "calico-kubeconfig": { type: "other" },
      "multus.d": { type: "directory" },
      n: { type: "directory" },
      "x.conf": { type: "directory" },
    };
    assert.deepEqual(verdictsOf(selectForContainerd(listing(files, { n: {} }))), [
      "10-a.conf.bak ignored set-aside",
      "10-a.conflist~ ignored set-aside",
      "calico-kubeconfig ignored name",
      "multus.d ignored directory",
      "n ignored drop-ins",
      "x.conf ignored directory",
    ]);
  });
});
